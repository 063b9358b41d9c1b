// The virtual processor's run loop around an engine: timers at their exact steps, interrupts, NMIs and their shadow,
// single-step traps, halts. One event delivered is one step (design: steps).

import type { Executor, Turn, Vm } from "../../core/mod.ts";
import { IF, RF, TF } from "./instruction.ts";
import { deliverFault, deliverInterrupt } from "./interrupts.ts";
import type { Processor } from "./processor.ts";
import type { Engine, InterruptController } from "./services.ts";
import * as S from "./state.ts";

/** DR6.BS: a single-step trap. */
const DR6_BS = 1 << 14;

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
      if (this.#deliverPending(cpu)) continue;
      if (cpu.r[S.HALTED]) {
        if (cpu.r[S.FLAGS_OTHER] & IF) return "halted";
        vm.end({ reason: "halt", status: 0, detail: "halted with interrupts off" });
        return "ran";
      }
      this.#step(cpu);
    }
  }

  /** Delivers an NMI or interrupt that is due and not held back. */
  #deliverPending(cpu: Processor): boolean {
    const { r, vm } = cpu;
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
    cpu.vm.clock.steps++;
    cpu.updateAttention();
  }

  /** One instruction alone: its shadow ends, and TF traps after it. */
  #step(cpu: Processor): void {
    const { r } = cpu;
    const traps = (r[S.FLAGS_OTHER] & TF) !== 0;
    r[S.INTERRUPT_SHADOW] = S.Shadow.none;
    // RF lasts until one instruction has completed; IRET may set it anew.
    r[S.FLAGS_OTHER] &= ~RF;
    cpu.suppressTrap = false;
    const completed = this.engine.step(cpu.vm);
    cpu.updateAttention();
    if (!completed || !traps || cpu.suppressTrap || r[S.INTERRUPT_SHADOW] === S.Shadow.stackLoad) return;
    r[S.DR6] |= DR6_BS;
    deliverFault(cpu, S.Vector.debug, undefined);
    cpu.vm.clock.steps++;
    cpu.updateAttention();
  }
}
