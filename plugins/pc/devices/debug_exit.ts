// The debug-exit port: a guest ends its VM by writing a value to it, and the value becomes the exit status (QEMU's
// isa-debug-exit device, hw/misc/debugexit.c, which test guests are written for).

import type { VmExit } from "../../../core/mod.ts";
import type { AccessSize, PortDevice } from "../../x86/mod.ts";

/** First port and number of ports. */
export const DEBUG_EXIT = 0xf4, DEBUG_EXIT_PORTS = 4;

/** Exit statuses are one byte wide. */
const STATUS_MASK = 0xff;

/** Ends the VM on any write: status (value << 1) | 1, so that it is never 0. Reads as zero. */
export class DebugExit implements PortDevice {
  constructor(readonly end: (exit: VmExit) => void) {}

  read(_port: number, _size: AccessSize): number {
    return 0;
  }

  write(_port: number, _size: AccessSize, value: number): void {
    this.end({ reason: "debug-exit", status: ((value << 1) | 1) & STATUS_MASK });
  }
}
