// The state of an x87 FPU: register stack, control, status and tag words, and the pointers to the last instruction and
// its operand (Intel SDM 1, 8.1). The instructions in instructions/ work on it; the processor owns it and saves it.

import type { Saved, StateOwner } from "../../../core/mod.ts";
import { X87, X87_STATE, X87_WORDS } from "../state.ts";
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

/** Words by their place in the FPU's part of the state block (state.ts). */
const TOP = X87.TOP - X87_STATE, PENDING = X87.PENDING - X87_STATE;
const STATUS = X87.STATUS - X87_STATE, ROUNDED_UP = X87.ROUNDED_UP - X87_STATE, CONTROL = X87.CONTROL - X87_STATE;
const INSTRUCTION_OFFSET = X87.INSTRUCTION_OFFSET - X87_STATE, OPCODE = X87.OPCODE - X87_STATE;
const INSTRUCTION_SELECTOR = X87.INSTRUCTION_SELECTOR - X87_STATE;
const DATA_OFFSET = X87.DATA_OFFSET - X87_STATE, DATA_SELECTOR = X87.DATA_SELECTOR - X87_STATE;

const tagged = new Float80();

/**
 * The state owner. Stack positions count from the top, registers of the typed arrays are physical. Everything lies in the
 * processor's state block (state.ts), where translated code works on it; alone, an FPU has a block of its own.
 */
export class Fpu implements StateOwner {
  /** Sign and exponent by physical register. */
  se!: Uint16Array<ArrayBufferLike>;
  /** The limbs of the significands: that of physical register r is significands[2r + 1]:significands[2r]. */
  significands!: Uint32Array<ArrayBufferLike>;
  /** 1 where a physical register is empty, else 0. */
  #tags!: Uint8Array<ArrayBufferLike>;
  #words!: Int32Array<ArrayBufferLike>;

  /** Control word as operations read it, from `begin` on, and what the present instruction raised. */
  readonly environment = new FpuEnvironment();

  /**
   * The FERR# pin, called with its level whenever it may have changed while CR0.NE is 0 (SDM 3A, 2.5, NE; SDM 1, 8.7).
   * A chipset turns it into IRQ 13. Waiting instructions then go on as if IGNNE# were asserted: the interrupt comes before
   * them unless it is masked, where hardware would stop until it arrives.
   */
  onError: ((level: boolean) => void) | undefined;

  /** The control word that `environment` was set by: translated code writes the one in the block alone. */
  #controlSeen = 0;

  constructor() {
    this.#place(new ArrayBuffer(X87_WORDS * 4), 0);
    this.reset();
  }

  /** Moves everything to `buffer`, from byte offset `at` on, which is a multiple of eight. */
  moveTo(buffer: ArrayBufferLike, at: number): void {
    const words = this.#words;
    this.#place(buffer, at);
    this.#words.set(words);
  }

  #place(buffer: ArrayBufferLike, at: number): void {
    const byte = (word: number) => at + (word - X87_STATE) * 4;
    this.significands = new Uint32Array(buffer, byte(X87.SIGNIFICAND), REGISTERS * 2);
    this.se = new Uint16Array(buffer, byte(X87.SIGN_EXPONENT), REGISTERS);
    this.#tags = new Uint8Array(buffer, byte(X87.TAG), REGISTERS);
    this.#words = new Int32Array(buffer, at, X87_WORDS);
  }

  /** Starts an instruction: nothing raised yet. */
  begin(): void {
    const control = this.#words[CONTROL];
    if (control !== this.#controlSeen) this.#readControl(control);
    this.environment.begin();
  }

  #readControl(word: number): void {
    this.#controlSeen = word;
    this.environment.setControlWord(word);
  }

  get control(): number {
    return this.#words[CONTROL];
  }

  /** Sets the control word. Call `updatePending` after it. */
  set control(word: number) {
    this.#words[CONTROL] = (word & CONTROL_WRITABLE) | CONTROL_ONE;
    this.#readControl(this.#words[CONTROL]);
  }

  /** Physical register that is ST(0). */
  get top(): number {
    return this.#words[TOP];
  }
  set top(register: number) {
    this.#words[TOP] = register;
  }

  /** Bit i is set where physical register i is empty. The tag word is derived from it and the contents. */
  get empty(): number {
    let bits = 0;
    for (let register = 0; register < REGISTERS; register++) bits |= this.#tags[register] << register;
    return bits;
  }
  set empty(bits: number) {
    for (let register = 0; register < REGISTERS; register++) this.#tags[register] = bits >>> register & 1;
  }

  /** Exception flags, stack fault and condition codes at their places in the status word; no TOP, ES or B. */
  get status(): number {
    return this.#words[STATUS] | this.#words[ROUNDED_UP];
  }
  set status(bits: number) {
    this.#words[STATUS] = bits & ~C1;
    this.#words[ROUNDED_UP] = bits & C1;
  }

  /** ES and B: an exception flag is set that the control word does not mask. Derived. */
  get pending(): boolean {
    return this.#words[PENDING] !== 0;
  }
  set pending(pending: boolean) {
    this.#words[PENDING] = pending ? 1 : 0;
  }

  /** Offset, selector and opcode (11 bits) of the last instruction that was no control instruction. */
  get instructionOffset(): number {
    return this.#words[INSTRUCTION_OFFSET];
  }
  set instructionOffset(offset: number) {
    this.#words[INSTRUCTION_OFFSET] = offset;
  }
  get instructionSelector(): number {
    return this.#words[INSTRUCTION_SELECTOR];
  }
  set instructionSelector(selector: number) {
    this.#words[INSTRUCTION_SELECTOR] = selector;
  }
  get opcode(): number {
    return this.#words[OPCODE];
  }
  set opcode(opcode: number) {
    this.#words[OPCODE] = opcode;
  }

  /** Offset and selector of its memory operand; instructions without one leave them. */
  get dataOffset(): number {
    return this.#words[DATA_OFFSET];
  }
  set dataOffset(offset: number) {
    this.#words[DATA_OFFSET] = offset;
  }
  get dataSelector(): number {
    return this.#words[DATA_SELECTOR];
  }
  set dataSelector(selector: number) {
    this.#words[DATA_SELECTOR] = selector;
  }

  /** Power-on state (SDM 3A, table 9-1): all registers hold +0 and are tagged so. */
  reset(): void {
    this.initialise();
    this.control = CONTROL_AT_POWER_ON;
    this.empty = 0;
    this.se.fill(0);
    this.significands.fill(0);
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
    return this.#tags[(this.#words[TOP] + position) & REGISTER] !== 0;
  }

  /** out = ST(position). */
  load(position: number, out: Float80): void {
    this.#read((this.#words[TOP] + position) & REGISTER, out);
  }

  #read(register: number, out: Float80): void {
    out.se = this.se[register];
    out.hi = this.significands[register * 2 + 1];
    out.lo = this.significands[register * 2];
  }

  /** ST(position) = value, no longer empty. */
  store(position: number, value: Readonly<Float80>): void {
    const register = (this.#words[TOP] + position) & REGISTER;
    this.se[register] = value.se;
    this.significands[register * 2 + 1] = value.hi;
    this.significands[register * 2] = value.lo;
    this.#tags[register] = 0;
  }

  push(value: Readonly<Float80>): void {
    this.rotate(-1);
    this.store(0, value);
  }

  pop(): void {
    this.free(0);
    this.rotate(1);
  }

  /** Marks ST(position) empty; its contents stay. */
  free(position: number): void {
    this.#tags[(this.#words[TOP] + position) & REGISTER] = 1;
  }

  /** Moves the top by `steps` without a look at the tags (FINCSTP, FDECSTP). */
  rotate(steps: number): void {
    this.#words[TOP] = (this.#words[TOP] + steps) & REGISTER;
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
    this.#words[STATUS] |= STACK_FAULT;
    return (environment.masks & INVALID) !== 0;
  }

  /** Ends an instruction: its exceptions and C1 go into the status word. `nativeErrors` is CR0.NE. */
  settle(nativeErrors: boolean): void {
    const { raised, roundedUp, masks } = this.environment;
    this.#words[STATUS] |= raised;
    this.#words[ROUNDED_UP] = roundedUp ? C1 : 0;
    if ((raised & ~masks) !== 0) this.updatePending(nativeErrors);
  }

  /** Recomputes ES after the exception flags or their masks changed, and drives FERR# unless CR0.NE is set. */
  updatePending(nativeErrors: boolean): void {
    this.pending = (this.status & ~this.control & ALL_EXCEPTIONS) !== 0;
    if (!nativeErrors) this.onError?.(this.pending);
  }

  /** C0, C2 and C3. */
  setCodes(codes: number): void {
    this.#words[STATUS] = (this.#words[STATUS] & ~COMPARISON_CODES) | codes;
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
    if (this.#tags[register] !== 0) return TAG_EMPTY;
    this.#read(register, tagged);
    const kind = classify(tagged);
    return kind === NORMAL_CLASS ? TAG_VALID : kind === ZERO_CLASS ? TAG_ZERO : TAG_SPECIAL;
  }

  save(): Saved {
    return {
      signExponents: Int32Array.from(this.se),
      significandsHigh: this.#limbs(1),
      significandsLow: this.#limbs(0),
      control: this.control,
      status: this.statusWord,
      empty: this.empty,
      opcode: this.opcode,
      instructionOffset: this.instructionOffset,
      instructionSelector: this.instructionSelector,
      dataOffset: this.dataOffset,
      dataSelector: this.dataSelector,
    };
  }

  /** Low (0) or high (1) limbs of all significands. */
  #limbs(which: 0 | 1): Int32Array {
    return Int32Array.from(this.se, (_, register) => this.significands[register * 2 + which]);
  }

  restore(saved: Saved): void {
    const state = saved as SavedFpu;
    this.se.set(state.signExponents);
    for (let register = 0; register < REGISTERS; register++) {
      this.significands[register * 2 + 1] = state.significandsHigh[register];
      this.significands[register * 2] = state.significandsLow[register];
    }
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
