// What the console plugin offers: each VM's serial console as a stream of bytes and as lines, and a queue for its input.

import { observe, service, type Vm } from "../../core/mod.ts";
import type { InputQueue } from "./input.ts";

/** One VM's console. */
export interface VmConsole {
  /** Bytes that wait until the guest's driver is ready for them. */
  readonly input: InputQueue;
  /** The guest's output that no newline has ended yet. */
  readonly unfinishedLine: string;
}

/** The console of a VM. */
export const consoleOf = service<(vm: Vm) => VmConsole>("console.console");

/** A guest wrote a byte to its console. */
export const output = observe<{ readonly vm: Vm; readonly byte: number }>("console.output");
/** A line of a guest's console is complete; without its line end. */
export const line = observe<{ readonly vm: Vm; readonly line: string }>("console.line");
