// Which page is scanned next, and how fast: passes over each VM's pages in random or sequential order, at rates in pages of
// host time that are limited for each VM and for the host (ESX paper, section 4.3; defaults of its documentation since).

import type { Random, Saved, StateOwner, Vm } from "../../core/mod.ts";
import type { Ppn } from "../memory/mod.ts";

/** `idle` scans in random order while no VM has anything to do, and takes no time from any. */
export const scanPolicies = ["random", "sequential", "idle"] as const;
export type ScanPolicy = (typeof scanPolicies)[number];

const NS_PER_SECOND = 1e9;

/**
 * The order in which one VM's pages are looked at. Each pass visits every page once; a random one goes in steps of a random
 * size that has no factor in common with the number of pages.
 */
export class ScanOrder implements StateOwner {
  #visited = 0;
  #start = 0;
  #step = 1;
  #passes = 0;

  constructor(readonly pages: number, readonly policy: ScanPolicy, readonly random: Random) {
    this.#begin();
  }

  /** Passes completed. */
  get passes(): number {
    return this.#passes;
  }

  next(): Ppn {
    const ppn = (this.#start + this.#visited * this.#step) % this.pages;
    if (++this.#visited === this.pages) {
      this.#passes++;
      this.#begin();
    }
    return ppn;
  }

  save(): Saved {
    const [visited, start, step, passes] = [this.#visited, this.#start, this.#step, this.#passes];
    return { visited, start, step, passes, random: this.random.save() };
  }

  restore(saved: Saved): void {
    const state = saved as { visited: number; start: number; step: number; passes: number; random: number[] };
    this.#visited = state.visited;
    this.#start = state.start;
    this.#step = state.step;
    this.#passes = state.passes;
    this.random.restore(state.random);
  }

  #begin(): void {
    this.#visited = 0;
    if (this.policy === "sequential") return;
    this.#start = this.random.below(this.pages);
    do this.#step = 1 + this.random.below(this.pages); while (greatestCommonDivisor(this.#step, this.pages) > 1);
  }
}

/** Pages that may be scanned, earned as host time passes and spent one by one. At most a second's worth is kept. */
export class Allowance {
  #pages = 0;

  earn(ratePagesPerS: number, elapsedNs: number): void {
    const earned = this.#pages + (ratePagesPerS * elapsedNs) / NS_PER_SECOND;
    this.#pages = Math.min(earned, Math.max(1, ratePagesPerS));
    if (ratePagesPerS === 0) this.#pages = 0;
  }

  /** Whole pages that may be scanned now. */
  get pages(): number {
    return Math.floor(this.#pages);
  }

  spend(pages: number): void {
    this.#pages -= pages;
  }
}

/** The rates of a scan. */
export interface ScanRates {
  /** Of one VM, at most. */
  readonly maxRatePagesPerS: number;
  /** Of all VMs together. */
  readonly hostRatePagesPerS: number;
  /** In which a VM is to be scanned once, if the rates allow it. */
  readonly passSeconds: number;
}

/** One VM's part in the scan. */
interface Share {
  readonly vm: Vm;
  readonly pages: number;
}

/** Distributes scanning over VMs. */
export class ScanPace {
  readonly #host = new Allowance();
  readonly #vms = new Map<Vm, Allowance>();
  /** Who is served first: the next one each time, so that none is last always. */
  #turn = 0;

  /**
   * `elapsedNs` of host time have passed: `scan` looks at up to `quota` pages of a VM and returns how many it did.
   */
  advance(elapsedNs: number, vms: readonly Share[], rates: ScanRates, scan: (vm: Vm, quota: number) => number): void {
    if (vms.length === 0) return;
    const host = this.#host;
    host.earn(rates.hostRatePagesPerS, elapsedNs);
    this.#turn = (this.#turn + 1) % vms.length;
    for (let i = 0; i < vms.length; i++) {
      const { vm, pages } = vms[(this.#turn + i) % vms.length];
      let own = this.#vms.get(vm);
      if (own === undefined) this.#vms.set(vm, own = new Allowance());
      own.earn(Math.min(rates.maxRatePagesPerS, pages / rates.passSeconds), elapsedNs);
      const quota = Math.min(own.pages, Math.floor(host.pages / (vms.length - i)));
      if (quota < 1) continue;
      const scanned = scan(vm, quota);
      own.spend(scanned);
      host.spend(scanned);
    }
  }

  remove(vm: Vm): void {
    this.#vms.delete(vm);
  }
}

function greatestCommonDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestCommonDivisor(b, a % b);
}
