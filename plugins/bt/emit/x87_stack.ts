// The x87 register stack in emitted code: the registers that a region uses lie in locals from its first x87 instruction to
// its exits, like the general ones (Intel SDM 1, 8.1). TOP is known only when the code runs, so registers are numbered from
// an origin that the first instruction computes such that every unit's stack lies where the compiler has put it: its frame.

import { CS, FS, type Instruction, state as S } from "../../x86/mod.ts";
import * as L from "../layout.ts";
import { Access, type FunctionBody, HYPERVISOR, I32, I64, Op } from "../wasm.ts";
import type { Emitter } from "./emitter.ts";
import { X87_ROUTINES } from "./imports.ts";
import { clearC1, pushState, setState } from "./x87_rounding.ts";

const { X87 } = S;
/** Number of registers, and the mask of their numbers. */
export const REGISTERS = 8, REGISTER = REGISTERS - 1;
const SIGNIFICANDS = L.STATE + X87.SIGNIFICAND * 4, SIGN_EXPONENTS = L.STATE + X87.SIGN_EXPONENT * 4;
const TAGS = L.STATE + X87.TAG * 4, LAST_INSTRUCTION = L.STATE + X87.INSTRUCTION_OFFSET * 4;
/** From a register's number to the offset of its significand, and of its sign-and-exponent. */
const SIGNIFICAND_SHIFT = 3, SIGN_EXPONENT_SHIFT = 1;
const VALID = 0, EMPTY = 1;

/** The locals of a number: significand (i64), sign and exponent (i32). */
export interface Value {
  readonly significand: number;
  readonly signExponent: number;
}

/** What a unit does to the stack. */
export interface X87Use {
  /** Set of the registers that it touches, numbered from ST(0) at its start. */
  readonly registers: number;
  /** By how much it moves TOP, modulo eight. */
  readonly moves: number;
}

export class X87Stack {
  readonly #f: FunctionBody;
  /** Locals: whether the registers are in locals; the physical number of register 0; the number of ST(0). */
  readonly #loaded: number;
  readonly #origin: number;
  readonly #top: number;
  /** Locals with what is recorded of the last instruction, as it lies in the state block. */
  readonly #instruction: number;
  /** By number, of the registers that the region uses: their values, and whether they are empty. */
  readonly #values: Value[] = [];
  readonly #tags: number[] = [];
  /** Number of ST(0) at this point of the code, and the registers that were touched. */
  #st0 = 0;
  #touched = 0;
  // What the unit knows here: the registers are in locals; whether they are empty; CS and the operand's segment are recorded;
  // C1 is clear.
  #isLoaded = false;
  readonly #knownTags: (number | undefined)[] = [];
  #hasSelector = false;
  #dataSegment = -1;
  #isC1Clear = false;

  /** `registers`: set of those that the region uses, by number. */
  constructor(readonly e: Emitter, readonly registers = 0) {
    const f = this.#f = e.f;
    this.#loaded = f.local(I32);
    this.#origin = f.local(I32);
    this.#top = f.local(I32);
    this.#instruction = f.local(I64);
    for (let number = 0; number < REGISTERS; number++) {
      this.#values.push({ significand: f.local(I64), signExponent: f.local(I32) });
      this.#tags.push(f.local(I32));
    }
  }

  /** At a unit's start: its frame is the number of ST(0). */
  beginUnit(frame: number): void {
    this.#st0 = frame;
    this.#forget();
  }

  get frame(): number {
    return this.#st0;
  }

  /** What the code since the start of its unit, whose frame was 0, has done. */
  get use(): X87Use {
    return { registers: this.#touched, moves: this.#st0 };
  }

  #forget(): void {
    this.#isLoaded = this.#hasSelector = this.#isC1Clear = false;
    this.#dataSegment = -1;
    this.#knownTags.length = 0;
  }

  // The registers' way between the state block and the locals.

  /** Makes sure that the FPU may be used, that no exception waits, and that the registers are in locals; or leaves. */
  wait(): void {
    if (this.#isLoaded) return;
    this.#isLoaded = true;
    const f = this.#f;
    f.get(this.#loaded).op(Op.i32Eqz).unlikely().if();
    pushState(f, X87.PENDING);
    f.constant(0).memory(Access.i32Load, HYPERVISOR, L.FP_STATE).constant(L.FP_X87).op(Op.i32And);
    f.op(Op.i32Eqz).op(Op.i32Or);
    this.leaveIf();
    f.constant(this.#st0).set(this.#top);
    pushState(f, X87.TOP).constant(this.#st0).op(Op.i32Sub).constant(REGISTER).op(Op.i32And).set(this.#origin);
    for (const number of this.#numbers()) {
      const { significand, signExponent } = this.#values[number];
      this.#pushRegister(f, number).memory(Access.i32Load8U, HYPERVISOR, TAGS).set(this.#tags[number]);
      this.#pushAddress(f, number, SIGNIFICAND_SHIFT).memory(Access.i64Load, HYPERVISOR, SIGNIFICANDS).set(significand);
      this.#pushAddress(f, number, SIGN_EXPONENT_SHIFT).memory(Access.i32Load16U, HYPERVISOR, SIGN_EXPONENTS);
      f.set(signExponent);
    }
    f.constant(0).memory(Access.i64Load, HYPERVISOR, LAST_INSTRUCTION).set(this.#instruction);
    f.constant(1).set(this.#loaded).end();
  }

  /** Puts the registers into the state block, where other code than this wants them. */
  spill(): void {
    this.emitWriteBack(this.#f);
    this.#f.constant(0).set(this.#loaded);
    this.#forget();
  }

  /** Stores what may have changed, if the registers are in locals: at the region's exit. */
  emitWriteBack(f: FunctionBody): void {
    f.get(this.#loaded).if();
    for (const number of this.#numbers()) {
      const { significand, signExponent } = this.#values[number];
      this.#pushRegister(f, number).get(this.#tags[number]).memory(Access.i32Store8, HYPERVISOR, TAGS);
      this.#pushAddress(f, number, SIGNIFICAND_SHIFT).get(significand);
      f.memory(Access.i64Store, HYPERVISOR, SIGNIFICANDS);
      this.#pushAddress(f, number, SIGN_EXPONENT_SHIFT).get(signExponent);
      f.memory(Access.i32Store16, HYPERVISOR, SIGN_EXPONENTS);
    }
    setState(f, X87.TOP, () => {
      f.get(this.#origin).get(this.#top).op(Op.i32Add).constant(REGISTER).op(Op.i32And);
    });
    f.constant(0).get(this.#instruction).memory(Access.i64Store, HYPERVISOR, LAST_INSTRUCTION).end();
  }

  #numbers(): number[] {
    return this.#values.map((_, number) => number).filter((number) => (this.registers >>> number & 1) !== 0);
  }

  /** Pushes the physical number of a register. */
  #pushRegister(f: FunctionBody, number: number): FunctionBody {
    return f.get(this.#origin).constant(number).op(Op.i32Add).constant(REGISTER).op(Op.i32And);
  }

  #pushAddress(f: FunctionBody, number: number, shift: number): FunctionBody {
    return this.#pushRegister(f, number).constant(shift).op(Op.i32Shl);
  }

  // The parts of an instruction.

  /** Records the instruction, and its operand in memory, for those who ask later. Comes after the last exit. */
  record(instruction: Instruction): void {
    const f = this.#f;
    const { row, mod, reg, rm, segment } = instruction;
    const opcode = (row.opcode & 7) << 8 | mod << 6 & 0xc0 | reg << 3 & 0x38 | rm & 7;
    f.constantI64(opcode, this.e.eip).set(this.#instruction);
    if (!this.#hasSelector) setState(f, X87.INSTRUCTION_SELECTOR, () => pushState(f, S.SELECTOR + CS));
    this.#hasSelector = true;
    if (!instruction.isMemory) return;
    setState(f, X87.DATA_OFFSET, () => this.e.pushOffset(instruction));
    if (this.#dataSegment === segment) return;
    setState(f, X87.DATA_SELECTOR, () => pushState(f, S.SELECTOR + segment));
    // What is translated may load a segment register within a unit: most often FS or GS.
    this.#dataSegment = segment < FS ? segment : -1;
  }

  clearC1(): void {
    if (!this.#isC1Clear) clearC1(this.#f);
    this.#isC1Clear = true;
  }

  /** Calls a routine, whose arguments are on the stack. */
  call(routine: number): void {
    this.#f.call(X87_ROUTINES + routine);
    this.#isC1Clear = false;
  }

  /** Pops a status and leaves if it is negative: a routine has refused. */
  leaveIfHard(): void {
    this.#f.constant(0).op(Op.i32LtS);
    this.leaveIf();
  }

  /** Pops a condition and leaves if it is not zero. */
  leaveIf(): void {
    this.#f.unlikely().if();
    this.e.exitInstruction();
    this.#f.end();
  }

  /** Locals for a result, until the instruction ends. */
  newValue(): Value {
    return { significand: this.e.temporary(I64), signExponent: this.e.temporary() };
  }

  /** Pops a routine's result into a new value, and leaves if it is "hard". */
  result(): Value {
    const value = this.newValue();
    this.#f.set(value.signExponent).set(value.significand).get(value.signExponent);
    this.leaveIfHard();
    return value;
  }

  // Positions of the stack.

  /** Leaves if ST(position) is empty. */
  needValid(position: number): void {
    const number = this.#number(position);
    if (this.#knownTags[number] === VALID) return;
    this.#f.get(this.#tags[number]);
    this.leaveIf();
    this.#knownTags[number] = VALID;
  }

  /** Leaves unless the register that a push writes is empty. */
  needRoom(): void {
    const number = this.#number(-1);
    if (this.#knownTags[number] === EMPTY) return;
    this.#f.get(this.#tags[number]).op(Op.i32Eqz);
    this.leaveIf();
    this.#knownTags[number] = EMPTY;
  }

  /** ST(position), in locals that only `store` and its like may write. */
  value(position: number): Value {
    return this.#values[this.#number(position)];
  }

  /** Pushes ST(position) as a routine's argument. */
  push(position: number): void {
    const { significand, signExponent } = this.value(position);
    this.#f.get(significand).get(signExponent);
  }

  /** ST(position) = a value, no longer empty. */
  store(position: number, { significand, signExponent }: Value): void {
    const to = this.value(position);
    this.#f.get(significand).set(to.significand).get(signExponent).set(to.signExponent);
    this.#setTag(position, VALID);
  }

  /** ST(0) and ST(position) change places. */
  exchange(position: number): void {
    const f = this.#f;
    const top = this.value(0), other = this.value(position), kept = this.newValue();
    f.get(top.significand).set(kept.significand).get(top.signExponent).set(kept.signExponent);
    this.store(0, other);
    this.store(position, kept);
  }

  /** Pushes a value; there is room. */
  pushRegister(value: Value): void {
    this.rotate(-1);
    this.store(0, value);
  }

  pop(): void {
    this.free(0);
    this.rotate(1);
  }

  /** Marks ST(position) empty; its contents stay. */
  free(position: number): void {
    this.#setTag(position, EMPTY);
  }

  /** Moves TOP. */
  rotate(steps: number): void {
    this.#st0 = (this.#st0 + steps) & REGISTER;
    this.#f.constant(this.#st0).set(this.#top);
  }

  /** Pushes TOP. */
  pushTop(): void {
    this.#pushRegister(this.#f, this.#st0);
  }

  #setTag(position: number, tag: number): void {
    const number = this.#number(position);
    if (this.#knownTags[number] !== tag) this.#f.constant(tag).set(this.#tags[number]);
    this.#knownTags[number] = tag;
  }

  #number(position: number): number {
    const number = (this.#st0 + position) & REGISTER;
    this.#touched |= 1 << number;
    return number;
  }
}

/** The stack of the region that is being emitted; or one that finds out what a unit uses. */
export function x87Of(e: Emitter): X87Stack {
  return e.x87 ??= new X87Stack(e);
}
