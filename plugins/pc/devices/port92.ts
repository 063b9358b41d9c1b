// System control port A: fast A20 gate and fast reset (IBM PS/2 Hardware Interface Technical Reference; 82371SB section
// 2.5.7).

import type { Hasher, Saved, StateOwner } from "../../../core/mod.ts";
import type { ByteDevice } from "./isa.ts";

export const SYSTEM_CONTROL_A = 0x92;

/** Bits of port 92h. */
export const PortA = { FAST_RESET: 0x01, A20_ENABLED: 0x02 } as const;
const KEPT = 0xfc;

/** A20 is always on here: its bit reads as set, whatever was written. A rising reset bit resets the machine. */
export class SystemControlA implements StateOwner, ByteDevice {
  #kept = 0;

  constructor(readonly reset: () => void) {}

  readByte(_port: number): number {
    return this.#kept | PortA.A20_ENABLED;
  }

  writeByte(_port: number, value: number): void {
    this.#kept = value & KEPT;
    if ((value & PortA.FAST_RESET) !== 0) this.reset();
  }

  save(): Saved {
    return { kept: this.#kept };
  }
  restore(saved: Saved): void {
    this.#kept = (saved as { kept: number }).kept;
  }
  hash(hasher: Hasher): void {
    hasher.saved(this.save());
  }
}
