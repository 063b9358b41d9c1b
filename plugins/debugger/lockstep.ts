// Two engines over one guest: both run to the same steps, hashes of all that the guest can see are compared, and the first
// difference is narrowed by bisection over saved states to the one instruction after which the states differ. Memory is
// hashed by what was written since the last comparison (plugins/memory/memory_hash.ts), so that it is part of every one.

import { type Host, type SavedVm, type Vm } from "../../core/mod.ts";
import * as x86 from "../x86/mod.ts";
import { describeDifferences } from "./differences.ts";

/** One of the two: a host with its engine, and the VM in it. Both hosts have the same plugins but for the engine. */
export interface LockstepSide {
  /** What the engine is called in reports. */
  readonly name: string;
  readonly host: Host;
  readonly vm: Vm;
}

export interface LockstepOptions {
  /** Steps between comparisons; default 10,000. */
  readonly everySteps?: number;
  /** Steps between saved states, from which a difference is looked for again; default 20,000,000. */
  readonly saveEverySteps?: number;
  readonly nameOf?: x86.NameOf;
}

/** Where the engines part. */
export interface Divergence {
  /** Steps after which the states are still equal; the next one makes them differ. */
  readonly steps: number;
  /** Linear address of the instruction that the next step is of, and its text. */
  readonly address: number;
  readonly instruction: string;
  /** All of it for a person: the instruction, the state before, and what differs after. */
  readonly report: string;
  /** False where the difference did not come again from a saved state: it hangs on what an engine keeps beside the state. */
  readonly isExact: boolean;
}

interface SavedPair {
  readonly steps: number;
  readonly first: SavedVm;
  readonly second: SavedVm;
}

/** Runs two sides step by step alike. */
export class Lockstep {
  readonly #everySteps: number;
  readonly #saveEverySteps: number;
  #saved: SavedPair;
  #comparisons = 0;

  /** The states must be equal as they are; throws where they are not. */
  constructor(readonly first: LockstepSide, readonly second: LockstepSide, readonly options: LockstepOptions = {}) {
    this.#everySteps = options.everySteps ?? 10_000;
    this.#saveEverySteps = options.saveEverySteps ?? 20_000_000;
    if (!this.#areEqual()) throw new Error(`${first.name} and ${second.name} do not start from the same state`);
    this.#saved = this.#save();
  }

  /** How often states have been compared. */
  get comparisons(): number {
    return this.#comparisons;
  }

  /**
   * Goes on to the next comparison, at most to `untilSteps`. The difference, if there is one; else "ended" where both VMs
   * have ended, wait for ever or are at `untilSteps`, and "equal" where there is more to run.
   */
  advance(untilSteps = Infinity): Divergence | "equal" | "ended" {
    const from = this.first.vm.clock.steps;
    const target = Math.min(untilSteps, nextMultiple(from, this.#everySteps));
    this.#runTo(target);
    const isEnd = this.first.vm.exit !== undefined || this.first.vm.clock.steps < target || target === untilSteps;
    this.#comparisons++;
    if (!this.#areEqual()) return this.#bisect(from);
    if (isEnd) return "ended";
    if (target - this.#saved.steps >= this.#saveEverySteps) this.#saved = this.#save();
    return "equal";
  }

  #runTo(steps: number): void {
    for (const { host, vm } of [this.first, this.second]) host.runTo(vm, steps);
  }

  #areEqual(): boolean {
    return hashOf(this.first) === hashOf(this.second);
  }

  #save(): SavedPair {
    const { first, second } = this;
    return { steps: first.vm.clock.steps, first: first.host.save(first.vm), second: second.host.save(second.vm) };
  }

  #restore(saved: SavedPair): void {
    this.first.host.restore(this.first.vm, saved.first);
    this.second.host.restore(this.second.vm, saved.second);
  }

  /** From a difference now, and equality at `lastEqual` and in `#saved`, to the step that makes it. */
  #bisect(lastEqual: number): Divergence {
    const seen = describeDifferences(this.first, this.second);
    let high = Math.max(this.first.vm.clock.steps, this.second.vm.clock.steps);
    this.#restore(this.#saved);
    this.#runTo(high);
    if (this.#areEqual()) return this.#notRepeated(lastEqual, high, seen);
    let low = this.#saved;
    while (high - low.steps > 1) {
      // The last comparison narrows it most, if what was equal then is equal again.
      const isHint = low.steps < lastEqual && lastEqual < high;
      const middle = isHint ? lastEqual : low.steps + Math.floor((high - low.steps) / 2);
      this.#restore(low);
      this.#runTo(middle);
      // A VM that ended or waits for ever stands before `middle`.
      const reached = this.first.vm.clock.steps;
      if (!this.#areEqual()) high = middle;
      else if (reached < middle) break;
      else low = this.#save();
    }
    return this.#describe(low);
  }

  #describe(low: SavedPair): Divergence {
    this.#restore(low);
    const { first, second } = this, { nameOf } = this.options;
    const cpu = first.host.service(x86.processor)(first.vm);
    const [line] = x86.disassembleAt(cpu, cpu.r[x86.state.EIP], 1, nameOf);
    const address = (cpu.r[x86.state.BASE + x86.CS] + cpu.r[x86.state.EIP]) >>> 0;
    const instruction = line?.text ?? "(not mapped)";
    const before = x86.describeState(cpu, nameOf);
    this.#runTo(low.steps + 1);
    const report = [
      `${first.name} and ${second.name} are equal after ${low.steps} steps and differ after the next.`,
      "",
      "State before",
      before,
      "",
      `What differs after \`${instruction}\` (or the event delivered in its place): ${first.name} | ${second.name}`,
      describeDifferences(first, second),
    ].join("\n");
    return { steps: low.steps, address, instruction, report, isExact: true };
  }

  #notRepeated(lastEqual: number, high: number, seen: string): Divergence {
    const { first, second } = this;
    const report = [
      `${first.name} and ${second.name} were found equal at step ${lastEqual} and different at step ${high}, but not again`,
      `from the state saved at step ${this.#saved.steps}: the difference hangs on what an engine keeps beside the state,`,
      `such as translated code. What differed at step ${high}: ${first.name} | ${second.name}`,
      seen,
    ].join("\n");
    const cpu = first.host.service(x86.processor)(first.vm);
    const address = (cpu.r[x86.state.BASE + x86.CS] + cpu.r[x86.state.EIP]) >>> 0;
    return { steps: lastEqual, address, instruction: "", report, isExact: false };
  }
}

function nextMultiple(value: number, of: number): number {
  return (Math.floor(value / of) + 1) * of;
}

function hashOf({ host, vm }: LockstepSide): string {
  return `${host.stateHash(vm)} ${vm.exit?.reason ?? ""}`;
}
