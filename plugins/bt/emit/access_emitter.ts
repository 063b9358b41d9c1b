// Registers in WebAssembly locals, and memory through the inline TLB (BT paper 3.2): what every instruction's emitter reads and
// writes. An access that the fast path cannot do leaves the region before its instruction.

import { FS, type Instruction, NO_REGISTER } from "../../x86/mod.ts";
import { state as S } from "../../x86/mod.ts";
import { type AdaptedSite, packAccess } from "../adaptation.ts";
import * as L from "../layout.ts";
import { type MissedAccess, packMiss } from "../miss.ts";
import { Access, type FunctionBody, HYPERVISOR, I32, I64, MACHINE, Op, V128 } from "../wasm.ts";
import { FlagEmitter } from "./flag_emitter.ts";
import { ADAPTED_MISS, MISS } from "./imports.ts";
import { BUDGET, REGISTERS } from "./locals.ts";
import { type Run, type Runs, RunTracker } from "./run_tracker.ts";
import { movedValueOf, type Place, placeOf } from "./runs.ts";

/** In the sets of a region's registers, the XMM registers come after the general ones; they have eight. */
export const XMM = 8;
const PAGE_MASK = 0xfffff000 | 0;

/** What is known of an instruction's accesses before it is emitted. */
export interface AccessPlan {
  /** Its specialised form, if it has one. */
  readonly adapted?: AdaptedSite;
  /** Whether none of them is to begin a run. */
  readonly isLone?: boolean;
}

export abstract class AccessEmitter extends FlagEmitter {
  /** Registers read or written anywhere in the region: loaded at its entry; and written: stored at its exits. */
  readonly used = new Set<number>();
  readonly written = new Set<number>();
  /** How many instructions of the unit are not yet complete, the present one included. */
  incomplete = 0;
  readonly #xmmLocals: number[] = [];
  /** By XMM register: which elements the unit knows to be normal or zero (simd_float.ts). */
  readonly ordinary = new Uint8Array(8);
  readonly runs = new RunTracker(() => this.keptLocal());
  /** The specialised form that the present instruction has, and whether it has made use of it. */
  #adapted: AdaptedSite | undefined;
  hasAdapted = false;
  /** Whether the present instruction is to begin no run. */
  #isLone = false;

  /** `dataBank`: offset of the bank of the data TLB. */
  constructor(f: FunctionBody, readonly dataBank: number) {
    super(f);
  }

  /** Leaves before the present instruction, to have it interpreted. */
  abstract exitInstruction(): void;

  /** Begins an instruction's accesses. */
  beginAccesses({ adapted, isLone = false }: AccessPlan): void {
    this.runs.beginInstruction();
    this.#adapted = adapted;
    this.hasAdapted = false;
    this.#isLone = isLone;
  }

  // Registers.

  /** Local of a 32-bit register that is read. */
  register(number: number): number {
    this.used.add(number);
    return REGISTERS + number;
  }

  /** Sets a 32-bit register from the stack. */
  setRegister(number: number): void {
    this.used.add(number);
    this.written.add(number);
    this.runs.noteWritten(number);
    this.f.set(REGISTERS + number);
  }

  /** Says that the next value a register is set to is the one that `from` has now, plus `by` (RunTracker.moves). */
  moves(number: number, by: number, from?: number): void {
    this.runs.moves(number, by, from);
  }

  /** Takes note of what the instruction that is about to be emitted does to the register which it sets. */
  noteMove(instruction: Instruction): void {
    const move = movedValueOf(instruction);
    if (move !== undefined) this.moves(move.register, move.by, move.from);
  }

  /** Pushes a register of 8, 16 or 32 bits, zero-extended. */
  pushRegister(number: number, bits: 8 | 16 | 32): void {
    const { f } = this;
    if (bits === 32) f.get(this.register(number));
    else if (bits === 16) f.get(this.register(number)).constant(0xffff).op(Op.i32And);
    else if (number < 4) f.get(this.register(number)).constant(0xff).op(Op.i32And);
    else f.get(this.register(number - 4)).constant(8).op(Op.i32ShrU).constant(0xff).op(Op.i32And);
  }

  /** Pops a value into a register of 8, 16 or 32 bits; its other bits stay. The value's high bits are ignored. */
  popRegister(number: number, bits: 8 | 16 | 32): void {
    if (bits === 32) return this.setRegister(number);
    const { f } = this;
    const whole = bits === 8 && number >= 4 ? number - 4 : number;
    const mask = bits === 16 ? 0xffff : number < 4 ? 0xff : 0xff00;
    if (mask === 0xff00) f.constant(8).op(Op.i32Shl);
    f.constant(mask).op(Op.i32And);
    f.get(this.register(whole)).constant(~mask).op(Op.i32And).op(Op.i32Or);
    this.setRegister(whole);
  }

  /** Local of an XMM register that is read. */
  xmm(number: number): number {
    this.used.add(XMM + number);
    return this.#xmmLocals[number] ??= this.f.local(V128);
  }

  /** Sets an XMM register from the stack. */
  setXmm(number: number): void {
    this.written.add(XMM + number);
    this.ordinary[number] = 0;
    this.f.set(this.xmm(number));
  }

  // Addresses and memory.

  /**
   * Pushes the linear address of the memory operand. ES, SS and DS are flat by the mode; FS and GS have a base, and must be
   * found writable and without a limit when the code runs.
   */
  pushAddress(instruction: Instruction): void {
    const { f } = this;
    const { segment } = instruction;
    const load = (word: number) => f.constant(0).memory(Access.i32Load, HYPERVISOR, L.STATE + word * 4);
    if (segment < FS) return this.pushOffset(instruction);
    load(S.ATTRIBUTES + segment).constant(S.SEG_CODE | S.SEG_EXPAND_DOWN | S.SEG_WRITABLE | S.SEG_NULL).op(Op.i32And);
    f.constant(S.SEG_WRITABLE).op(Op.i32Ne);
    load(S.LIMIT + segment).constant(-1).op(Op.i32Ne).op(Op.i32Or).unlikely().if();
    this.exitInstruction();
    f.end();
    this.pushOffset(instruction);
    load(S.BASE + segment).op(Op.i32Add);
  }

  /** Pushes the memory operand's offset in its segment. */
  pushOffset(instruction: Instruction): void {
    const { f } = this;
    let pushed = false;
    const add = () => {
      if (pushed) f.op(Op.i32Add);
      pushed = true;
    };
    if (instruction.base !== NO_REGISTER) {
      f.get(this.register(instruction.base));
      add();
    }
    if (instruction.index !== NO_REGISTER) {
      f.get(this.register(instruction.index));
      if (instruction.scale > 0) f.constant(instruction.scale).op(Op.i32Shl);
      add();
    }
    if (instruction.displacement !== 0 || !pushed) {
      f.constant(instruction.displacement);
      add();
    }
  }

  /**
   * Pops a linear address and pushes the machine address of `bits` there, checked for reading or writing. What the TLB's
   * fast path cannot do leaves the region before the instruction. `place`: how the address was computed, if accesses near it
   * may share its look-up.
   */
  translate(bits: 8 | 16 | 32, isWrite: boolean, place?: Place): void {
    const { f } = this;
    const adapted = this.#adapted?.isWrite === isWrite ? this.#adapted : undefined;
    const bytes = bits / 8;
    this.#endRuns();
    const near = adapted === undefined ? place : undefined;
    const joined = near && this.runs.join(near, bytes, isWrite);
    if (joined !== undefined) {
      f.get(joined.addend).op(Op.i32Add);
      return;
    }
    const run = near && !this.#isLone ? this.runs.plan(near, bytes, isWrite, this.incomplete, f.depth) : undefined;
    const writes = isWrite || run?.isWrite === true;
    const linear = this.temporary(), pair = this.temporary(I64);
    // Tag and addend in one load: V8 checks the bounds of each.
    const low = () => f.get(pair).op(Op.i32WrapI64);
    const high = () => f.get(pair).constant64(32).op(Op.i64ShrU).op(Op.i32WrapI64);
    f.tee(linear);
    const below = near === undefined || run === undefined ? 0 : this.runs.aboveFirst(run, near);
    let begin = linear;
    if (below > 0) f.constant(below).op(Op.i32Sub).tee(begin = this.temporary());
    f.constant(8).op(Op.i32ShrU).constant(L.DATA_BANK_BYTES - 16).op(Op.i32And);
    f.memory(Access.i64Load, HYPERVISOR, L.DATA_TLB + this.dataBank + (writes ? L.TLB_ADDEND : L.TLB_READ)).set(pair);
    (writes ? high : low)();
    f.get(begin);
    const last = (run === undefined ? bytes : run.end - run.first) - 1;
    if (last > 0) f.constant(last).op(Op.i32Add);
    f.constant(PAGE_MASK).op(Op.i32And).op(Op.i32Eq);
    f.likely().if(I32);
    if (adapted !== undefined) this.#countInnocent(adapted);
    (writes ? low : high)();
    if (run !== undefined) f.tee(run.addend);
    f.get(linear).op(Op.i32Add);
    f.else();
    if (adapted !== undefined) this.#pushAdaptedMiss(linear, bytes, isWrite, adapted);
    else this.#pushMiss(linear, bytes, isWrite, run, below);
    f.end();
    if (run !== undefined) this.runs.start(run);
  }

  /** Pushes the machine address of what the fast path has missed, by which a run may go on, or leaves the region. */
  #pushMiss(linear: number, bytes: number, isWrite: boolean, run: Run | undefined, below: number): void {
    const { f } = this;
    const machine = this.temporary();
    f.get(linear);
    this.callMiss(bytes, isWrite, run && { below, bytes: run.end - run.first, isWrite: run.isWrite });
    f.tee(machine).constant(-1).op(Op.i32Eq).unlikely().if();
    this.exitInstruction();
    f.end();
    if (run !== undefined) f.get(machine).get(linear).op(Op.i32Sub).set(run.addend);
    f.get(machine);
  }

  /** The same for an access of an adapted site. */
  #pushAdaptedMiss(linear: number, bytes: number, isWrite: boolean, adapted: AdaptedSite): void {
    const { f } = this;
    const machine = this.temporary();
    this.hasAdapted = true;
    f.constant(0).get(BUDGET).memory(Access.i32Store, HYPERVISOR, L.BUDGET);
    f.get(linear).constant(packAccess(adapted, bytes, isWrite, this.incomplete)).call(ADAPTED_MISS);
    f.tee(machine).constant(-1).op(Op.i32Eq).unlikely().if();
    this.exitInstruction();
    f.end();
    f.get(machine);
  }

  /** Pops a linear address and pushes the machine address that the slow path finds for it, or -1. Runs go on behind it. */
  callMiss(bytes: number, isWrite: boolean, run?: MissedAccess["run"]): void {
    this.f.constant(packMiss({ bytes, isWrite, relies: this.runs.active.length > 0, run })).call(MISS);
    this.harmlessCalls++;
  }

  /** Pops the linear address of a memory operand, which `pushAddress` has pushed, as `translate` does. */
  translateOperand(instruction: Instruction, bits: 8 | 16 | 32, isWrite: boolean): void {
    this.translate(bits, isWrite, placeOf(instruction));
  }

  /** The runs that there are at this point of the code. */
  snapshotRuns(): Runs {
    this.#endRuns();
    return this.runs.snapshot();
  }

  /** Begins a unit's accesses (RunTracker.beginUnit). */
  beginRuns(ahead: readonly { readonly instruction: Instruction }[], own: number, from: Runs | undefined): void {
    this.runs.beginUnit(ahead, own, this.f.depth, from);
    this.harmlessCalls = this.f.calls;
  }

  /** Forgets all runs where code was emitted that may change how addresses are translated. */
  #endRuns(): void {
    if (this.f.calls === this.harmlessCalls) return;
    this.harmlessCalls = this.f.calls;
    this.runs.end();
  }

  /**
   * As `translate`, for a run of elements of `bits` that lies in one page: its address is good for the whole run only where
   * the fast path has the page, so that a page with code in it leaves the region. Without `mayFill`, so does a miss.
   */
  translateRun(bits: 8 | 16 | 32, isWrite: boolean, mayFill: boolean): void {
    const { f } = this;
    const linear = this.temporary(), entry = this.temporary();
    const isHit = () => {
      f.get(entry);
      f.memory(Access.i32Load, HYPERVISOR, L.DATA_TLB + this.dataBank + (isWrite ? L.TLB_WRITE : L.TLB_READ));
      f.get(linear).constant(PAGE_MASK).op(Op.i32And).op(Op.i32Eq);
    };
    f.tee(linear).constant(8).op(Op.i32ShrU).constant(L.DATA_BANK_BYTES - 16).op(Op.i32And).set(entry);
    isHit();
    f.op(Op.i32Eqz).unlikely().if();
    if (mayFill) {
      f.get(linear);
      this.callMiss(bits / 8, isWrite);
      f.constant(-1).op(Op.i32Eq);
      isHit();
      f.op(Op.i32Eqz).op(Op.i32Or).if();
      this.exitInstruction();
      f.end();
    } else this.exitInstruction();
    f.end();
    f.get(entry).memory(Access.i32Load, HYPERVISOR, L.DATA_TLB + this.dataBank + L.TLB_ADDEND).get(linear);
    f.op(Op.i32Add);
  }

  /** Counts an access of an adapted site to plain memory. */
  #countInnocent({ index }: AdaptedSite): void {
    const { f } = this, at = L.ADAPTED_COUNTS + index * 4;
    f.constant(0).constant(0).memory(Access.i32Load, HYPERVISOR, at).constant(1).op(Op.i32Add);
    f.memory(Access.i32Store, HYPERVISOR, at);
  }

  /** Pops a machine address and pushes the value there, zero-extended. */
  load(bits: 8 | 16 | 32): void {
    const access = bits === 8 ? Access.i32Load8U : bits === 16 ? Access.i32Load16U : Access.i32Load;
    this.f.memory(access, MACHINE, 0);
  }

  /** Pops a value and a machine address below it, and stores. */
  store(bits: 8 | 16 | 32): void {
    const access = bits === 8 ? Access.i32Store8 : bits === 16 ? Access.i32Store16 : Access.i32Store;
    this.f.memory(access, MACHINE, 0);
  }

  /** Pushes a memory operand's value, zero-extended. */
  pushMemory(instruction: Instruction, bits: 8 | 16 | 32): void {
    this.pushAddress(instruction);
    this.translateOperand(instruction, bits, false);
    this.load(bits);
  }

  /** Pushes the ModR/M operand's value, zero-extended. */
  pushOperand(instruction: Instruction, bits: 8 | 16 | 32): void {
    if (instruction.isMemory) this.pushMemory(instruction, bits);
    else this.pushRegister(instruction.rm, bits);
  }
}
