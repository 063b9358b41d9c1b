// The virtual processor's run loop around an engine: timers at their exact steps, interrupts, NMIs and their shadow,
// single-step traps, halts. One event delivered is one step (design: steps).

import type { Executor, Turn, Vm } from "../../core/mod.ts";
import { DR6_BS, instructionBreakpoints, pendBreakpoints, pendDebugTrap } from "./debug.ts";
import { CS, IF, RF, TF } from "./instruction.ts";
import { deliverFault, deliverInterrupt } from "./interrupts.ts";
import type { Processor } from "./processor.ts";
import type { Engine, InterruptController } from "./services.ts";
import * as S from "./state.ts";

export class VcpuExecutor implements Executor {
  constructor(
    readonly engine: Engine,
    readonly processorOf: (vm: Vm) => Processor,
    readonly controllerOf: (vm: Vm) => InterruptController | undefined,
  ) {}

  run(vm: Vm): Turn {
    const cpu = this.processorOf(vm), { clock } = vm;
    for (;;) {
      clock.fireDue();
      if (vm.exit !== undefined || clock.steps >= clock.deadlineSteps) return "ran";
      cpu.blockSteps = clock.steps;
      cpu.index = 0;
      if (cpu.attention === 0) {
        this.engine.execute(vm);
        continue;
      }
      if (cpu.r[S.HALTED] === S.SUSPENDED) return "halted";
      if (this.#deliverPending(cpu)) continue;
      if (cpu.r[S.HALTED]) {
        if (cpu.r[S.FLAGS_OTHER] & IF) return "halted";
        vm.end({ reason: "halt", status: 0, detail: "halted with interrupts off" });
        return "ran";
      }
      this.#step(cpu);
    }
  }

  /** Delivers a debug trap, an NMI or an interrupt that is due and not held back, in this order (SDM 3A, table 6-2). */
  #deliverPending(cpu: Processor): boolean {
    const { r, vm } = cpu;
    if ((r[S.PENDING] & S.Pending.debugTrap) !== 0 && r[S.INTERRUPT_SHADOW] !== S.Shadow.stackLoad) {
      r[S.PENDING] &= ~S.Pending.debugTrap;
      this.#debug(cpu);
      return true;
    }
    if (r[S.INTERRUPT_SHADOW] !== S.Shadow.none && !r[S.HALTED]) return false;
    if ((r[S.PENDING] & (S.Pending.nmi | S.Pending.nmiBlocked)) === S.Pending.nmi) {
      r[S.PENDING] = (r[S.PENDING] & ~S.Pending.nmi) | S.Pending.nmiBlocked;
      this.#deliver(cpu, S.Vector.nmi);
      return true;
    }
    const controller = this.controllerOf(vm);
    if (!(r[S.PENDING] & S.Pending.interrupt) || !(r[S.FLAGS_OTHER] & IF) || controller === undefined) return false;
    this.#deliver(cpu, controller.acknowledge());
    return true;
  }

  #deliver(cpu: Processor, vector: number): void {
    cpu.r[S.HALTED] = 0;
    cpu.r[S.INTERRUPT_SHADOW] = S.Shadow.none;
    deliverInterrupt(cpu, vector);
    this.#delivered(cpu);
  }

  /** #DB as a trap, or for an instruction breakpoint: RF is pushed as it is. */
  #debug(cpu: Processor): void {
    deliverFault(cpu, S.Vector.debug, undefined, 0);
    this.#delivered(cpu);
  }

  /** A delivery is a step; what it wrote may have met data breakpoints. */
  #delivered(cpu: Processor): void {
    cpu.vm.clock.steps++;
    cpu.updateAttention();
    pendBreakpoints(cpu);
  }

  /** One instruction alone: its shadow ends, and TF traps after it. */
  #step(cpu: Processor): void {
    const { r } = cpu;
    const traps = (r[S.FLAGS_OTHER] & TF) !== 0;
    // RF, and a load of SS before, suspend instruction breakpoints.
    if (cpu.watchesBreakpoints && !(r[S.FLAGS_OTHER] & RF) && r[S.INTERRUPT_SHADOW] !== S.Shadow.stackLoad) {
      const hits = instructionBreakpoints(cpu, (r[S.BASE + CS] + r[S.EIP]) | 0);
      if (hits !== 0) {
        r[S.DR6] |= hits;
        return this.#debug(cpu);
      }
    }
    r[S.INTERRUPT_SHADOW] = S.Shadow.none;
    // RF lasts until one instruction has completed; IRET and task switches may set it anew.
    r[S.FLAGS_OTHER] &= ~RF;
    cpu.suppressTrap = cpu.isRepeating = false;
    cpu.breakpointHits = 0;
    const completed = this.engine.step(cpu.vm);
    // Between the iterations of a repeated instruction RF is set: its breakpoint does not fire again.
    if (completed && cpu.isRepeating && (traps || cpu.watchesBreakpoints)) r[S.FLAGS_OTHER] |= RF;
    cpu.updateAttention();
    pendBreakpoints(cpu);
    const isHeld = cpu.suppressTrap || r[S.INTERRUPT_SHADOW] === S.Shadow.stackLoad;
    if (completed && traps && !isHeld) pendDebugTrap(cpu, DR6_BS);
  }
}
