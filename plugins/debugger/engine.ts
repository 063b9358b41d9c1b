// The engine under a debugger: another engine that comes back where somebody wants to look. Code is not patched. Pages
// with a breakpoint are made unfetchable for the other engine (Mmu.setFetchStops), and instructions in them are stepped and
// compared; everywhere else it runs at its own speed. Watchpoints see every access, and so step everything.

import type { Vm } from "../../core/mod.ts";
import * as x86 from "../x86/mod.ts";
import type { StopReason, WatchKind } from "./services.ts";

interface Watchpoint {
  readonly address: number;
  readonly size: number;
  readonly kind: WatchKind;
}

/** What the debugger wants of one VM. */
export class DebuggedVm {
  /** Linear addresses, with how many asked for each. */
  readonly breakpoints = new Map<number, number>();
  readonly watchpoints: Watchpoint[] = [];
  /** The step at which the breakpoint at EIP is to be passed: where it stopped last. */
  passSteps = -1;
  /** The step after which a single step is done; undefined while none is asked for. */
  stepFrom: number | undefined;
  /** The watchpoint that the present instruction has met. */
  met: StopReason | undefined;
  /** What the executor clears before it steps, as the last instruction left it. */
  shadow = 0;
  otherFlags = 0;
  shadowSteps = -1;

  get isActive(): boolean {
    return this.breakpoints.size > 0 || this.watchpoints.length > 0 || this.stepFrom !== undefined;
  }
}

/** RF, which the executor clears with the shadow. */
const CLEARED_FLAGS = x86.RF;

export class DebuggedEngine implements x86.Engine {
  readonly name: string;

  /** `stop` is told that a VM should stop; true if it does. */
  constructor(
    readonly inner: x86.Engine,
    readonly processorOf: (vm: Vm) => x86.Processor,
    readonly debuggedOf: (vm: Vm) => DebuggedVm,
    readonly stop: (vm: Vm, reason: StopReason) => boolean,
  ) {
    this.name = `${inner.name} (debugged)`;
  }

  execute(vm: Vm): void {
    const debugged = this.debuggedOf(vm);
    if (!debugged.isActive) return this.inner.execute(vm);
    const cpu = this.processorOf(vm), { clock } = vm;
    while (clock.steps < clock.deadlineSteps && cpu.attention === 0) {
      if (debugged.stepFrom === undefined && !this.#isInStopPage(debugged, cpu)) this.#runFree(vm, cpu);
      else this.#step(vm, cpu, debugged);
    }
    this.#remember(vm, cpu, debugged);
  }

  step(vm: Vm): boolean {
    const debugged = this.debuggedOf(vm);
    if (!debugged.isActive) return this.inner.step(vm);
    const cpu = this.processorOf(vm), { steps } = vm.clock;
    const completed = this.#step(vm, cpu, debugged);
    if (vm.clock.steps !== steps) this.#remember(vm, cpu, debugged);
    else if (debugged.shadowSteps === steps) {
      // The VM stopped before the instruction: it is still to be executed in the shadow of the one before.
      cpu.r[x86.state.INTERRUPT_SHADOW] = debugged.shadow;
      cpu.r[x86.state.FLAGS_OTHER] |= debugged.otherFlags & CLEARED_FLAGS;
    }
    return completed;
  }

  /** Until the deadline, or a fetch from a page with a breakpoint. */
  #runFree(vm: Vm, cpu: x86.Processor): void {
    cpu.mmu.stopsFetches = true;
    try {
      this.inner.execute(vm);
    } catch (signal) {
      if (!(signal instanceof x86.FetchStop)) throw signal;
    } finally {
      cpu.mmu.stopsFetches = false;
    }
    cpu.blockSteps = vm.clock.steps;
    cpu.index = 0;
  }

  /** One instruction, unless the VM stops before it: then no step is made, and the turn ends. */
  #step(vm: Vm, cpu: x86.Processor, debugged: DebuggedVm): boolean {
    const { clock } = vm, { steps } = clock;
    const reason = this.#reasonBefore(cpu, debugged, steps);
    if (reason !== undefined) {
      debugged.passSteps = steps;
      debugged.stepFrom = undefined;
      if (this.stop(vm, reason)) {
        clock.endTurn();
        return false;
      }
    }
    debugged.met = undefined;
    const completed = this.inner.step(vm);
    cpu.blockSteps = clock.steps;
    cpu.index = 0;
    const isStepDone = debugged.stepFrom !== undefined && clock.steps > debugged.stepFrom;
    const after: StopReason | undefined = debugged.met ?? (isStepDone ? { kind: "step" } : undefined);
    if (after !== undefined) {
      debugged.stepFrom = undefined;
      debugged.met = undefined;
      if (this.stop(vm, after)) clock.endTurn();
    }
    return completed;
  }

  #reasonBefore(cpu: x86.Processor, debugged: DebuggedVm, steps: number): StopReason | undefined {
    const address = linearEip(cpu);
    if (debugged.breakpoints.has(address) && debugged.passSteps !== steps) return { kind: "breakpoint", address };
    // An event was delivered since the step was asked for.
    if (debugged.stepFrom !== undefined && steps > debugged.stepFrom) return { kind: "step" };
  }

  #isInStopPage(debugged: DebuggedVm, cpu: x86.Processor): boolean {
    if (debugged.breakpoints.size === 0) return false;
    const page = linearEip(cpu) >>> 12;
    for (const address of debugged.breakpoints.keys()) if (address >>> 12 === page) return true;
    return false;
  }

  #remember(vm: Vm, cpu: x86.Processor, debugged: DebuggedVm): void {
    debugged.shadow = cpu.r[x86.state.INTERRUPT_SHADOW];
    debugged.otherFlags = cpu.r[x86.state.FLAGS_OTHER];
    debugged.shadowSteps = vm.clock.steps;
  }
}

/** The linear address of the instruction at EIP. */
export function linearEip(cpu: x86.Processor): number {
  return (cpu.r[x86.state.BASE + x86.CS] + cpu.r[x86.state.EIP]) >>> 0;
}

/** Makes the processor heed the breakpoints and watchpoints that are set. */
export function armProcessor(cpu: x86.Processor, debugged: DebuggedVm): void {
  cpu.mmu.setFetchStops(new Set([...debugged.breakpoints.keys()].map((address) => address >>> 12)));
  const { watchpoints } = debugged;
  cpu.accessWatch = watchpoints.length === 0 ? undefined : (linear, size, isWrite) => {
    for (const { address, size: watched, kind } of watchpoints) {
      const isWanted = kind === "access" || (kind === "write") === isWrite;
      const overlaps = (address - linear) >>> 0 < size || (linear - address) >>> 0 < watched;
      if (isWanted && overlaps) debugged.met ??= { kind: "watchpoint", address, watch: kind, isWrite };
    }
  };
  cpu.updateAttention();
}
