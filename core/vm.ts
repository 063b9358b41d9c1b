// A virtual machine as the core sees it: a name, a claim on CPU and memory, a guest clock, and how it ended. What its
// processor, memory and devices are is known to plugins alone.

import { GuestClock } from "./clock.ts";
import { decide, observe, reduce, service } from "./token.ts";

/** What a VM is given. Sizes in MiB; `shares` are relative to those of other VMs. */
export interface VmConfig {
  readonly name: string;
  readonly memoryMib: number;
  readonly minMib: number;
  readonly shares: number;
  readonly cpuMhz: number;
  /** Per-VM plugin options, checked by each plugin's own schema. */
  readonly options: Readonly<Record<string, unknown>>;
}

/** How a VM ended. `status` is its contribution to the exit status of the run. */
export interface VmExit {
  readonly reason:
    | "power-off"
    | "halt"
    | "reset"
    | "debug-exit"
    | "triple-fault"
    | "panic"
    | "stalled"
    | "failed"
    | "limit"
    | "stopped";
  readonly status: number;
  /** More for a person to read: a register dump, a panic line. */
  readonly detail?: string;
}

/** `ready` to run; `waiting` for a timer or input; `suspended` by a mechanism; `exited`. */
export type VmState = "ready" | "waiting" | "suspended" | "exited";

export class Vm {
  readonly clock: GuestClock;
  state: VmState = "ready";
  exit: VmExit | undefined;
  /** Host time at which a waiting VM becomes ready; Infinity while only input can wake it. */
  wakeHostNs = Infinity;
  /** Host time at which it began to wait. */
  haltedHostNs = 0;
  /** Host time spent running this VM, and charged to it beyond its own steps. */
  cpuNs = 0;
  chargedNs = 0;
  /** How much of `chargedNs` is in `cpuNs` already; the rest falls due with the next turn. */
  billedNs = 0;
  /** Host time for which it was ready and another ran. */
  stolenNs = 0;
  /** Since when it has been ready without running. */
  readySinceNs = 0;
  /** Mechanisms that hold it suspended. */
  readonly suspendedBy = new Set<string>();
  /** What it was doing when it was suspended, and does again afterwards. */
  suspendedFrom: Exclude<VmState, "suspended" | "exited"> = "ready";
  /** Steps at which the next checkpoint falls, and between checkpoints; Infinity for none. */
  checkpointSteps = Infinity;
  checkpointEverySteps = Infinity;

  constructor(readonly id: number, readonly config: VmConfig) {
    this.clock = new GuestClock(config.cpuMhz);
  }

  get name(): string {
    return this.config.name;
  }

  /** Ends the VM; the first reason given stays. Takes effect at the engine's next check. */
  end(exit: VmExit): void {
    this.exit ??= exit;
    this.clock.endTurn();
  }

  /** Makes a VM that waits for input ready again. */
  wake(hostNowNs: number): void {
    this.wakeHostNs = Math.min(this.wakeHostNs, hostNowNs);
  }

  /** Emits `vmCheckpoint` at every multiple of `steps`. */
  checkpointEvery(steps: number): void {
    this.checkpointEverySteps = steps;
    this.checkpointSteps = (Math.floor(this.clock.steps / steps) + 1) * steps;
  }
}

/** How a turn ended: it `ran` to its deadline, or the guest `halted` until its next timer or input. */
export type Turn = "ran" | "halted";

/** What the core asks of whoever executes guests. `run` returns at the clock's deadline, on a halt, or when `vm.exit` is set. */
export interface Executor {
  run(vm: Vm): Turn;
}

/** The executor, provided by the processor's plugin. */
export const executor = service<Executor>("core.executor");

/** Asked before a VM is admitted: an answer refuses it, and says why. */
export const vmAdmission = decide<VmConfig, string>("core.vmAdmission");
/** A VM was admitted: every plugin's state for it exists. */
export const vmAdmitted = observe<Vm>("core.vmAdmitted");
/** A VM is about to end: listeners that know more of why replace the exit. */
export const vmEnding = reduce<VmExit, Vm>("core.vmEnding");
/** A VM has ended; `vm.exit` says how. */
export const vmExited = observe<Vm>("core.vmExited");
/** A turn ended: `steps` and `hostNs` it took. */
export const turnEnded = observe<{ vm: Vm; steps: number; hostNs: number }>("core.turnEnded");
/** A VM reached a checkpoint's exact step. */
export const vmCheckpoint = observe<Vm>("core.vmCheckpoint");
