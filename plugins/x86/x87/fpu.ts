// The state of an x87 FPU: register stack, control, status and tag words, and the pointers to the last instruction and
// its operand (Intel SDM 1, 8.1). The instructions in instructions/ work on it; the processor owns it and saves it.

import type { Saved, StateOwner } from "../../../core/mod.ts";
import { ALL_EXCEPTIONS, classify, Float80, FpuEnvironment, INVALID, NORMAL_CLASS, ZERO_CLASS } from "./float80.ts";

/** Status-word bits above the exception flags (SDM 1, 8.1.3). */
export const STACK_FAULT = 1 << 6, ERROR_SUMMARY = 1 << 7, BUSY = 1 << 15;
export const C0 = 1 << 8, C1 = 1 << 9, C2 = 1 << 10, C3 = 1 << 14;
const TOP_SHIFT = 11;
/** The condition codes that comparisons write besides C1. */
export const COMPARISON_CODES = C0 | C2 | C3;
const CONDITION_CODES = C0 | C1 | C2 | C3;

/** Control word: bits that can be written, and the one that always reads as set (SDM 1, 8.1.5). */
const CONTROL_WRITABLE = 0x1f3f, CONTROL_ONE = 0x40;
/** Control word after power-on (SDM 3A, table 9-1) and after FNINIT (SDM 2A, FINIT). */
const CONTROL_AT_POWER_ON = 0x40, CONTROL_AT_INIT = 0x37f;

/** Number of registers, and the mask of their numbers. */
export const REGISTERS = 8;
const REGISTER = REGISTERS - 1, ALL_REGISTERS = 0xff;
/** Two-bit tags (SDM 1, 8.1.7). */
const TAG_VALID = 0, TAG_ZERO = 1, TAG_SPECIAL = 2, TAG_EMPTY = 3;

const tagged = new Float80();

/** The state owner. Stack positions count from the top, registers of the typed arrays are physical. */
export class Fpu implements StateOwner {
  /** Sign and exponent, and the limbs of the significand, by physical register. */
  readonly se = new Uint16Array(REGISTERS);
  readonly hi = new Uint32Array(REGISTERS);
  readonly lo = new Uint32Array(REGISTERS);
  /** Physical register that is ST(0). */
  top = 0;
  /** Bit i is set where physical register i is empty. The tag word is derived from it and the contents. */
  empty = 0;
  /** Exception flags, stack fault and condition codes at their places in the status word; no TOP, ES or B. */
  status = 0;
  /** ES and B: an exception flag is set that the control word does not mask. Derived. */
  pending = false;

  /** Offset, selector and opcode (11 bits) of the last instruction that was no control instruction. */
  instructionOffset = 0;
  instructionSelector = 0;
  opcode = 0;
  /** Offset and selector of its memory operand; instructions without one leave them. */
  dataOffset = 0;
  dataSelector = 0;

  /** Control word as operations read it, and what the present instruction raised. */
  readonly environment = new FpuEnvironment();

  /**
   * The FERR# pin, called with its level whenever it may have changed while CR0.NE is 0 (SDM 3A, 2.5, NE; SDM 1, 8.7).
   * A chipset turns it into IRQ 13. Waiting instructions then go on as if IGNNE# were asserted: the interrupt comes before
   * them unless it is masked, where hardware would stop until it arrives.
   */
  onError: ((level: boolean) => void) | undefined;

  #control = CONTROL_AT_POWER_ON;

  constructor() {
    this.reset();
  }

  get control(): number {
    return this.#control;
  }

  /** Sets the control word. Call `updatePending` after it. */
  set control(word: number) {
    this.#control = (word & CONTROL_WRITABLE) | CONTROL_ONE;
    this.environment.setControlWord(this.#control);
  }

  /** Power-on state (SDM 3A, table 9-1): all registers hold +0 and are tagged so. */
  reset(): void {
    this.initialise();
    this.control = CONTROL_AT_POWER_ON;
    this.empty = 0;
    this.se.fill(0);
    this.hi.fill(0);
    this.lo.fill(0);
  }

  /** FNINIT: everything but the registers' contents. */
  initialise(): void {
    this.control = CONTROL_AT_INIT;
    this.status = 0;
    this.top = 0;
    this.empty = ALL_REGISTERS;
    this.pending = false;
    this.instructionOffset = this.instructionSelector = this.opcode = 0;
    this.dataOffset = this.dataSelector = 0;
  }

  // The stack.

  isEmpty(position: number): boolean {
    return (this.empty >>> ((this.top + position) & REGISTER) & 1) !== 0;
  }

  /** out = ST(position). */
  load(position: number, out: Float80): void {
    const register = (this.top + position) & REGISTER;
    out.se = this.se[register];
    out.hi = this.hi[register];
    out.lo = this.lo[register];
  }

  /** ST(position) = value, no longer empty. */
  store(position: number, value: Readonly<Float80>): void {
    const register = (this.top + position) & REGISTER;
    this.se[register] = value.se;
    this.hi[register] = value.hi;
    this.lo[register] = value.lo;
    this.empty &= ~(1 << register);
  }

  push(value: Readonly<Float80>): void {
    this.top = (this.top - 1) & REGISTER;
    this.store(0, value);
  }

  pop(): void {
    this.empty |= 1 << this.top;
    this.top = (this.top + 1) & REGISTER;
  }

  /** Marks ST(position) empty; its contents stay. */
  free(position: number): void {
    this.empty |= 1 << ((this.top + position) & REGISTER);
  }

  /** Moves the top by `steps` without a look at the tags (FINCSTP, FDECSTP). */
  rotate(steps: number): void {
    this.top = (this.top + steps) & REGISTER;
  }

  // Status.

  /** An operand's register is empty: IE, SF, and C1 clear (SDM 1, 8.5.1.1). Returns whether the masked response is due. */
  underflows(): boolean {
    return this.#stackFault(false);
  }

  /** The register to push to is not empty: IE, SF and C1. Returns whether the masked response is due. */
  overflows(): boolean {
    return this.#stackFault(true);
  }

  #stackFault(overflow: boolean): boolean {
    const { environment } = this;
    environment.raised |= INVALID;
    environment.roundedUp = overflow;
    this.status |= STACK_FAULT;
    return (environment.masks & INVALID) !== 0;
  }

  /** Ends an instruction: its exceptions and C1 go into the status word. `nativeErrors` is CR0.NE. */
  settle(nativeErrors: boolean): void {
    const { raised, roundedUp, masks } = this.environment;
    this.status = (this.status & ~C1) | raised | (roundedUp ? C1 : 0);
    if ((raised & ~masks) !== 0) this.updatePending(nativeErrors);
  }

  /** Recomputes ES after the exception flags or their masks changed, and drives FERR# unless CR0.NE is set. */
  updatePending(nativeErrors: boolean): void {
    this.pending = (this.status & ~this.#control & ALL_EXCEPTIONS) !== 0;
    if (!nativeErrors) this.onError?.(this.pending);
  }

  /** C0, C2 and C3. */
  setCodes(codes: number): void {
    this.status = (this.status & ~COMPARISON_CODES) | codes;
  }

  get statusWord(): number {
    return this.status | this.top << TOP_SHIFT | (this.pending ? ERROR_SUMMARY | BUSY : 0);
  }

  /** Sets flags, codes and TOP; ES and B follow from the control word. Call `updatePending` after it. */
  set statusWord(word: number) {
    this.status = word & (ALL_EXCEPTIONS | STACK_FAULT | CONDITION_CODES);
    this.top = word >>> TOP_SHIFT & REGISTER;
  }

  /** Two bits a physical register, computed from the contents (SDM 1, 8.1.7). */
  get tagWord(): number {
    let word = 0;
    for (let register = 0; register < REGISTERS; register++) word |= this.#tag(register) << (register * 2);
    return word;
  }

  /** Only "empty" is taken from a tag word: the other tags follow from the contents. */
  set tagWord(word: number) {
    this.empty = 0;
    for (let register = 0; register < REGISTERS; register++) {
      if ((word >>> (register * 2) & TAG_EMPTY) === TAG_EMPTY) this.empty |= 1 << register;
    }
  }

  #tag(register: number): number {
    if ((this.empty >>> register & 1) !== 0) return TAG_EMPTY;
    const kind = classify(tagged.set(this.se[register], this.hi[register], this.lo[register]));
    return kind === NORMAL_CLASS ? TAG_VALID : kind === ZERO_CLASS ? TAG_ZERO : TAG_SPECIAL;
  }

  save(): Saved {
    return {
      signExponents: Int32Array.from(this.se),
      significandsHigh: Int32Array.from(this.hi),
      significandsLow: Int32Array.from(this.lo),
      control: this.#control,
      status: this.statusWord,
      empty: this.empty,
      opcode: this.opcode,
      instructionOffset: this.instructionOffset,
      instructionSelector: this.instructionSelector,
      dataOffset: this.dataOffset,
      dataSelector: this.dataSelector,
    };
  }

  restore(saved: Saved): void {
    const state = saved as SavedFpu;
    this.se.set(state.signExponents);
    this.hi.set(state.significandsHigh);
    this.lo.set(state.significandsLow);
    this.control = state.control;
    this.statusWord = state.status;
    this.pending = (state.status & ERROR_SUMMARY) !== 0;
    this.empty = state.empty;
    this.opcode = state.opcode;
    this.instructionOffset = state.instructionOffset;
    this.instructionSelector = state.instructionSelector;
    this.dataOffset = state.dataOffset;
    this.dataSelector = state.dataSelector;
  }
}

type SavedFpu = {
  readonly signExponents: Int32Array;
  readonly significandsHigh: Int32Array;
  readonly significandsLow: Int32Array;
  readonly control: number;
  readonly status: number;
  readonly empty: number;
  readonly opcode: number;
  readonly instructionOffset: number;
  readonly instructionSelector: number;
  readonly dataOffset: number;
  readonly dataSelector: number;
};
