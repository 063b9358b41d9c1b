// Active memory by statistical sampling: in each period of a VM's own time a few pages are chosen at random, their mappings
// dropped, and those that are used again are counted; three moving averages make an estimate of it that follows growth at
// once and decline slowly (ESX paper, section 5.3).

import type { Vm } from "../../core/mod.ts";
import type { Pages, Ppn } from "../memory/mod.ts";

export interface SamplingOptions {
  /** Pages in a sample. */
  readonly pages: number;
  /** Guest time of a period. */
  readonly periodNs: number;
  /** Gains of the slow and the fast average, from 0 to 1: the part of the way to the new value that each goes. */
  readonly slowGain: number;
  readonly fastGain: number;
}

/** One VM's sample and averages. */
interface Estimate {
  /** Sampled pages that were not used yet, and how many were. */
  untouched: Ppn[];
  touched: number;
  sampled: number;
  endNs: number;
  /** Undefined until the first period has ended. */
  slow: number | undefined;
  fast: number;
}

export class ActivitySampler {
  readonly #estimates = new Map<Vm, Estimate>();

  /** `below` gives random numbers for a VM's samples. */
  constructor(
    readonly options: SamplingOptions,
    readonly pages: Pages,
    readonly below: (vm: Vm, bound: number) => number,
  ) {}

  /** Begins with a VM. */
  add(vm: Vm): void {
    const none = { untouched: [], touched: 0, sampled: 0, endNs: 0, slow: undefined, fast: 0 };
    this.#estimates.set(vm, none);
    this.#begin(vm, none);
  }

  remove(vm: Vm): void {
    this.#estimates.delete(vm);
  }

  /** Ends a VM's period when it is over. To be called whenever its time has gone on; cheap while it is not. */
  look(vm: Vm): void {
    const estimate = this.#estimates.get(vm);
    if (estimate === undefined || vm.clock.nowNs() < estimate.endNs) return;
    this.#count(vm, estimate);
    const found = estimate.touched / estimate.sampled;
    const { slowGain, fastGain } = this.options;
    estimate.fast = estimate.slow === undefined ? found : estimate.fast + fastGain * (found - estimate.fast);
    estimate.slow = estimate.slow === undefined ? found : estimate.slow + slowGain * (found - estimate.slow);
    this.#begin(vm, estimate);
  }

  /** The part of its memory that a VM uses, from 0 to 1: the largest of the averages, and of the fast one as it stands. */
  fractionOf(vm: Vm): number | undefined {
    const estimate = this.#estimates.get(vm);
    if (estimate?.slow === undefined) return undefined;
    this.#count(vm, estimate);
    const { slow, fast, touched, sampled } = estimate;
    return Math.max(slow, fast, fast + this.options.fastGain * (touched / sampled - fast));
  }

  /** The averages by themselves, and the part of the sample used in the present period; zeros while nothing is known. */
  averagesOf(vm: Vm): { readonly slow: number; readonly fast: number; readonly current: number } {
    const estimate = this.#estimates.get(vm);
    if (estimate?.slow === undefined) return { slow: 0, fast: 0, current: 0 };
    this.#count(vm, estimate);
    return { slow: estimate.slow, fast: estimate.fast, current: estimate.touched / estimate.sampled };
  }

  #begin(vm: Vm, estimate: Estimate): void {
    const chosen = this.pages.sample(vm, this.options.pages, (bound) => this.below(vm, bound));
    for (const ppn of chosen) this.pages.testAndClearAccessed(vm, ppn);
    Object.assign(estimate, { untouched: chosen, touched: 0, sampled: chosen.length });
    estimate.endNs = vm.clock.nowNs() + this.options.periodNs;
  }

  /** Counts pages used since they were looked at last; each is counted, and looked for, once. */
  #count(vm: Vm, estimate: Estimate): void {
    estimate.untouched = estimate.untouched.filter((ppn) => !this.pages.isAccessed(vm, ppn));
    estimate.touched = estimate.sampled - estimate.untouched.length;
  }
}
