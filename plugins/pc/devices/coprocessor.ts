// The coprocessor error latch: FERR# becomes IRQ 13 on a PC, for systems that leave CR0.NE clear, and a write to port F0h
// takes it back (IBM PC/AT Technical Reference, "80287 Math Coprocessor"; 82371SB data sheet, "IRQ13" and "Coprocessor
// Error Register").

import type { Hasher, Saved, StateOwner } from "../../../core/mod.ts";
import type { ByteDevice } from "./isa.ts";

/** Clears the latch when it is written, whatever the value. */
export const COPROCESSOR_ERROR = 0xf0;

export class CoprocessorError implements StateOwner, ByteDevice {
  /** FERR#'s level, and whether its last rise has been answered. */
  #ferr = false;
  #latched = false;

  constructor(readonly setLine: (level: boolean) => void) {}

  /** The processor drives FERR#. */
  setFerr(level: boolean): void {
    const rises = level && !this.#ferr;
    this.#ferr = level;
    if (rises) this.#latch(true);
  }

  readByte(_port: number): number {
    return 0xff;
  }
  writeByte(_port: number, _value: number): void {
    this.#latch(false);
  }

  #latch(level: boolean): void {
    this.#latched = level;
    this.setLine(level);
  }

  save(): Saved {
    return { ferr: this.#ferr, latched: this.#latched };
  }
  restore(saved: Saved): void {
    const state = saved as { ferr: boolean; latched: boolean };
    this.#ferr = state.ferr;
    // The controllers know their inputs' levels, which this latch need not be alone in driving.
    this.#latched = state.latched;
  }
  hash(hasher: Hasher): void {
    hasher.word(Number(this.#ferr) | (Number(this.#latched) << 1));
  }
}
