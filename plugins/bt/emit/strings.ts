// String instructions on flat 32-bit addresses (SDM 2A and 2B; SDM 1, 7.3.9), and XLAT. A repeated MOVS or STOS is done at
// once where it lies in one page of each operand, goes upwards and fits the budget, as one memory operation; CMPS and SCAS
// are a loop where they end within such a run. Every other repetition is the interpreter's. One iteration is one step
// (design: steps).

import { CS, DF, EAX, EBX, ECX, EDI, ESI, FS, type Instruction } from "../../x86/mod.ts";
import { state as S } from "../../x86/mod.ts";
import * as L from "../layout.ts";
import { Access, HYPERVISOR, Op } from "../wasm.ts";
import { aluOperation, SUB } from "./alu.ts";
import { type Emitter } from "./emitter.ts";
import { BUDGET } from "./locals.ts";
import { type Bits, bitsOf, type Chooser, type Emit } from "./operands.ts";

/** Place of DF in EFLAGS. */
const DF_BIT = 10;
const REPNE = 0xf2;
const PAGE_BYTES = 4096, PAGE_OFFSET = PAGE_BYTES - 1;

/** Chooses between the single and the repeated form; `repeated` is undefined where the interpreter does it. */
function stringOperation(
  once: (e: Emitter, bits: Bits) => void,
  repeated?: (e: Emitter, bits: Bits, instruction: Instruction) => void,
): Chooser {
  return (instruction: Instruction): Emit | undefined => {
    const element = instruction.row.operands.find((operand) => operand[0] === "X" || operand[0] === "Y");
    if (element === undefined || instruction.addressSize !== 32) return undefined;
    if (instruction.segment >= FS || instruction.segment === CS) return undefined;
    const bits = bitsOf(instruction, element);
    const form = instruction.repeat === 0 ? once : repeated;
    return form === undefined ? undefined : (e) => form(e, bits, instruction);
  };
}

/** Moves an index register by one element, down where DF is set. */
function advance(e: Emitter, bits: Bits, ...registers: readonly number[]): void {
  const { f } = e;
  const stride = e.temporary(), size = bits / 8;
  pushFlagsOther(e);
  // DF becomes twice the size, which is then taken off.
  f.constant(DF).op(Op.i32And).constant(DF_BIT - 1 - Math.log2(size)).op(Op.i32ShrU).set(stride);
  for (const register of registers) {
    f.get(e.register(register)).constant(size).op(Op.i32Add).get(stride).op(Op.i32Sub);
    e.setRegister(register);
  }
}

function pushFlagsOther(e: Emitter): void {
  e.f.constant(0).memory(Access.i32Load, HYPERVISOR, L.STATE + S.FLAGS_OTHER * 4);
}

function movs(e: Emitter, bits: Bits): void {
  const { f } = e;
  const value = e.temporary();
  f.get(e.register(ESI));
  e.translate(bits, false);
  // Read before the destination is looked at: that may set bits in what is read, or give its frame away.
  e.load(bits);
  f.set(value).get(e.register(EDI));
  e.translate(bits, true);
  f.get(value);
  e.store(bits);
  advance(e, bits, ESI, EDI);
}

function stos(e: Emitter, bits: Bits): void {
  e.f.get(e.register(EDI));
  e.translate(bits, true);
  e.pushRegister(EAX, bits);
  e.store(bits);
  advance(e, bits, EDI);
}

function lods(e: Emitter, bits: Bits): void {
  e.f.get(e.register(ESI));
  e.translate(bits, false);
  e.load(bits);
  e.popRegister(EAX, bits);
  advance(e, bits, ESI);
}

function cmps(e: Emitter, bits: Bits): void {
  const { f } = e;
  const left = e.temporary(), right = e.temporary();
  f.get(e.register(ESI));
  e.translate(bits, false);
  e.load(bits);
  f.set(left).get(e.register(EDI));
  e.translate(bits, false);
  e.load(bits);
  f.set(right);
  aluOperation(e, SUB, bits, () => f.get(left), () => f.get(right));
  f.op(Op.drop);
  advance(e, bits, ESI, EDI);
}

function scas(e: Emitter, bits: Bits): void {
  const { f } = e;
  const right = e.temporary();
  f.get(e.register(EDI));
  e.translate(bits, false);
  e.load(bits);
  f.set(right);
  aluOperation(e, SUB, bits, () => e.pushRegister(EAX, bits), () => f.get(right));
  f.op(Op.drop);
  advance(e, bits, EDI);
}

// Repetition.

/** Leaves before the instruction where the value on the stack is not zero. */
function leaveIf(e: Emitter): void {
  e.f.if();
  e.exitInstruction();
  e.f.end();
}

/**
 * Leaves unless all ECX iterations, which are not zero, can be done here: upwards, within the budget. Sets the local `bytes`
 * to their length.
 */
function checkCount(e: Emitter, bits: Bits, bytes: number): void {
  const { f } = e;
  const count = e.register(ECX);
  pushFlagsOther(e);
  f.constant(DF).op(Op.i32And);
  f.get(count).constant(PAGE_BYTES).op(Op.i32GtU).op(Op.i32Or);
  f.get(count).constant(1).op(Op.i32Sub).get(BUDGET).op(Op.i32GtS).op(Op.i32Or);
  leaveIf(e);
  f.get(count).constant(Math.log2(bits / 8)).op(Op.i32Shl).set(bytes);
}

/** Sets `machine` to the machine address of `bytes` bytes at an index register, or leaves. They lie in one page of plain memory. */
function translateRun(
  e: Emitter,
  run: {
    readonly register: number;
    readonly bytes: number;
    readonly bits: Bits;
    readonly isWrite: boolean;
    readonly mayFill: boolean;
  },
  machine: number,
): void {
  const { f } = e;
  const linear = e.register(run.register);
  f.get(linear).constant(PAGE_OFFSET).op(Op.i32And).get(run.bytes).op(Op.i32Add).constant(PAGE_BYTES).op(Op.i32GtU);
  leaveIf(e);
  f.get(linear);
  e.translateRun(run.bits, run.isWrite, run.mayFill);
  f.set(machine);
}

/** Takes the iterations but one, which the unit has paid for, from the budget. */
function payIterations(e: Emitter): void {
  e.f.get(BUDGET).get(e.register(ECX)).constant(1).op(Op.i32Sub).op(Op.i32Sub).set(BUDGET);
}

function finish(e: Emitter, bytes: number, ...registers: readonly number[]): void {
  const { f } = e;
  for (const register of registers) {
    f.get(e.register(register)).get(bytes).op(Op.i32Add);
    e.setRegister(register);
  }
  payIterations(e);
  f.constant(0);
  e.setRegister(ECX);
}

function repeatMovs(e: Emitter, bits: Bits): void {
  const { f } = e;
  const bytes = e.temporary(), from = e.temporary(), to = e.temporary();
  f.get(e.register(ECX)).if();
  checkCount(e, bits, bytes);
  // Neither page may be filled in: filling in the one may set bits in the other, or give its frame away.
  translateRun(e, { register: ESI, bytes, bits, isWrite: false, mayFill: false }, from);
  translateRun(e, { register: EDI, bytes, bits, isWrite: true, mayFill: false }, to);
  // Where the destination begins inside the source, each element read may be one that was written.
  f.get(to).get(from).op(Op.i32Sub).get(bytes).op(Op.i32LtU);
  leaveIf(e);
  f.get(to).get(from).get(bytes).memoryCopy();
  finish(e, bytes, ESI, EDI);
  f.end();
}

function repeatStos(e: Emitter, bits: Bits): void {
  const { f } = e;
  const bytes = e.temporary(), to = e.temporary(), end = e.temporary();
  f.get(e.register(ECX)).if();
  checkCount(e, bits, bytes);
  translateRun(e, { register: EDI, bytes, bits, isWrite: true, mayFill: true }, to);
  if (bits === 8) f.get(to).get(e.register(EAX)).get(bytes).memoryFill();
  else {
    // Zero, nearly always, is a fill; another value is stored element by element.
    f.get(e.register(EAX)).op(Op.i32Eqz).if();
    f.get(to).constant(0).get(bytes).memoryFill();
    f.else();
    f.get(to).get(bytes).op(Op.i32Add).set(end);
    const again = f.loop();
    f.get(to).get(e.register(EAX));
    e.store(bits);
    f.get(to).constant(bits / 8).op(Op.i32Add).tee(to).get(end).op(Op.i32Ne).brIf(again);
    f.end().end();
  }
  finish(e, bytes, EDI);
  f.end();
}

/** REPE and REPNE CMPS, with ESI, and SCAS: until a pair of elements ends it or ECX is zero. Sets the flags by the last pair. */
function repeatCompare(hasSource: boolean): (e: Emitter, bits: Bits, instruction: Instruction) => void {
  return (e, bits, { repeat }) => {
    const { f } = e, size = bits / 8, shift = Math.log2(size);
    const limit = e.temporary(), count = e.temporary(), left = e.temporary(), right = e.temporary();
    const from = e.temporary(), to = e.temporary(), other = e.temporary();
    // No iteration leaves the flags alone.
    f.get(e.register(ECX)).op(Op.i32Eqz);
    pushFlagsOther(e);
    f.constant(DF).op(Op.i32And).op(Op.i32Or);
    leaveIf(e);
    const atMost = (push: () => void) => {
      push();
      f.tee(other).get(limit).get(other).get(limit).op(Op.i32LtU).op(Op.select).set(limit);
    };
    f.get(e.register(ECX)).set(limit);
    atMost(() => f.get(BUDGET).constant(1).op(Op.i32Add));
    const run = (register: number, machine: number) => {
      const linear = e.register(register);
      atMost(() => {
        f.constant(PAGE_BYTES).get(linear).constant(PAGE_OFFSET).op(Op.i32And).op(Op.i32Sub);
        f.constant(shift).op(Op.i32ShrU);
      });
      f.get(linear);
      e.translateRun(bits, false, false);
      f.set(machine);
    };
    run(EDI, to);
    if (hasSource) run(ESI, from);
    else {
      e.pushRegister(EAX, bits);
      f.set(left);
    }
    f.get(limit).op(Op.i32Eqz);
    leaveIf(e);
    f.constant(0).set(count);
    const element = (machine: number) => {
      f.get(machine).get(count).constant(shift).op(Op.i32Shl).op(Op.i32Add);
      e.load(bits);
    };
    const done = f.block(), again = f.loop();
    if (hasSource) {
      element(from);
      f.set(left);
    }
    element(to);
    f.set(right).get(count).constant(1).op(Op.i32Add).set(count);
    f.get(left).get(right).op(repeat === REPNE ? Op.i32Eq : Op.i32Ne).brIf(done);
    f.get(count).get(limit).op(Op.i32LtU).brIf(again).end();
    // More iterations than could be done here: all of them are the interpreter's.
    f.get(count).get(e.register(ECX)).op(Op.i32Ne);
    leaveIf(e);
    f.end();
    aluOperation(e, SUB, bits, () => f.get(left), () => f.get(right));
    f.op(Op.drop);
    for (const register of hasSource ? [ESI, EDI] : [EDI]) {
      f.get(e.register(register)).get(count).constant(shift).op(Op.i32Shl).op(Op.i32Add);
      e.setRegister(register);
    }
    f.get(e.register(ECX)).get(count).op(Op.i32Sub);
    e.setRegister(ECX);
    f.get(BUDGET).get(count).constant(1).op(Op.i32Sub).op(Op.i32Sub).set(BUDGET);
  };
}

/** XLAT: AL = [EBX + AL]. */
const xlat: Chooser = (instruction) => {
  if (instruction.addressSize !== 32 || instruction.segment >= FS || instruction.segment === CS) return undefined;
  return (e) => {
    const { f } = e;
    e.pushRegister(EAX, 8);
    f.get(e.register(EBX)).op(Op.i32Add);
    e.translate(8, false);
    e.load(8);
    e.popRegister(EAX, 8);
  };
};

export const stringChoosers: Readonly<Record<string, Chooser>> = {
  movs: stringOperation(movs, repeatMovs),
  stos: stringOperation(stos, repeatStos),
  lods: stringOperation(lods),
  cmps: stringOperation(cmps, repeatCompare(true)),
  scas: stringOperation(scas, repeatCompare(false)),
  xlat,
};
