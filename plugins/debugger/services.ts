// What the debugger offers: breakpoints and watchpoints that the guest cannot notice, single steps, pauses. While a VM is
// stopped the whole host stands still, so that looking at it changes nothing; whoever runs the host asks `stopped` between
// turns, as a limit of `Host.run`, and goes on when `whenResumed` settles.

import { decide, observe, service, type Vm } from "../../core/mod.ts";

/** Which accesses a watchpoint is for. */
export type WatchKind = "write" | "read" | "access";

/** Why a VM stopped. Addresses are linear. `pause`: somebody asked; `step`: the step that was asked for is done. */
export type StopReason =
  | { readonly kind: "breakpoint"; readonly address: number }
  | { readonly kind: "watchpoint"; readonly address: number; readonly watch: WatchKind; readonly isWrite: boolean }
  | { readonly kind: "step" | "pause" };

/** A VM that stopped, before the instruction at EIP, or after the one that met a watchpoint. */
export interface Stop {
  readonly vm: Vm;
  readonly reason: StopReason;
}

export interface Debugger {
  /** The VM that stopped, and why; undefined while the host may run. */
  readonly stopped: Stop | undefined;
  /** Settles when nothing is stopped any more. */
  whenResumed(): Promise<void>;
  /** Stops before the instruction at a linear address, whenever a VM comes there. Several may ask for the same. */
  addBreakpoint(vm: Vm, address: number): void;
  /** Takes back one `addBreakpoint`. False if there is none. */
  removeBreakpoint(vm: Vm, address: number): boolean;
  /** Stops after an instruction that accesses any of `size` bytes from a linear address. Slow: it steps the guest. */
  addWatchpoint(vm: Vm, address: number, size: number, kind: WatchKind): void;
  removeWatchpoint(vm: Vm, address: number, size: number, kind: WatchKind): boolean;
  /** Takes back every breakpoint and watchpoint of a VM. */
  clear(vm: Vm): void;
  /** Stops a VM where it is, and so the host. Call between turns. */
  pause(vm: Vm): void;
  /** Lets the host go on. */
  resume(how?: Resumption): void;
}

/** How a host goes on. */
export interface Resumption {
  /** VMs that stop after their next step: an instruction, or the delivery of an event. */
  readonly stepped?: readonly Vm[];
  /** VMs that do not run until the next stop. Their guests cannot notice. */
  readonly held?: readonly Vm[];
}

export const debug = service<Debugger>("debugger.debug");

/** A VM is about to stop: an answer makes it go on instead, after its answerer did what it wanted. */
export const stopping = decide<Stop, "go-on">("debugger.stopping");
/** A VM has stopped. */
export const stopped = observe<Stop>("debugger.stopped");
/** The host goes on; the VM is the one that had stopped. */
export const resumed = observe<Vm>("debugger.resumed");
