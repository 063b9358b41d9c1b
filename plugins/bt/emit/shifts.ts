// Shifts, rotates and double shifts (SDM 2B). Undefined flags are those of the interpreter's named processor
// (plugins/x86/interpreter/shift.ts): OF by one rule whatever the count, AF 1 after shifts, unchanged by rotates.

import { ECX, type Instruction, type Operand } from "../../x86/mod.ts";
import { Op } from "../wasm.ts";
import type { Emitter } from "./emitter.ts";
import { type Bits, bitsOf, type Chooser, extend, modify } from "./operands.ts";

/** Sub-operations as ModR/M encodes them; 6 is an alias of SHL, 5 is SHR. */
const ROL = 0, ROR = 1, RCL = 2, RCR = 3, SHL = 4, SAR = 7, SHL_ALIAS = 6;
/** The processor takes counts modulo 32. */
const COUNT_MASK = 31;
/** FLAG_AUX: CF in bit 31, CF xor OF in bit 30, AF in bit 3. */
const AUX_CF_BIT = 31, AUX_CF_XOR_OF_BIT = 30, AUX_AF = 8;

const shift: Chooser = (instruction) => {
  const [operand, counted] = instruction.row.operands;
  const bits = bitsOf(instruction, operand);
  const operation = instruction.row.variant === SHL_ALIAS ? SHL : instruction.row.variant;
  const throughCarry = operation === RCL || operation === RCR;
  if (counted === "cl") return throughCarry ? undefined : (e) => shiftByCl(e, instruction, operand, operation, bits);
  const count = counted === "1" ? 1 : instruction.immediate & COUNT_MASK;
  if (count === 0 || (throughCarry && count !== 1)) return undefined;
  return (e) =>
    modify(e, instruction, operand, (old) => {
      if (throughCarry) rotateThroughCarry(e, operation, bits, old);
      else shiftOrRotate(e, operation, bits, old, (mask) => e.f.constant(count & mask));
    });
};

/** By CL: a count of zero changes no flag, but a memory operand is written all the same. */
function shiftByCl(e: Emitter, instruction: Instruction, operand: Operand, operation: number, bits: Bits): void {
  const { f } = e;
  const count = e.temporary(), result = e.temporary();
  // Both ways must leave the flags in the same place.
  e.moveFlags();
  e.flagsAreMoved();
  f.get(e.register(ECX)).constant(COUNT_MASK).op(Op.i32And).set(count);
  modify(e, instruction, operand, (old) => {
    f.get(old).set(result).get(count).if();
    shiftOrRotate(e, operation, bits, old, (mask) => {
      f.get(count);
      if (mask !== COUNT_MASK) f.constant(mask).op(Op.i32And);
    });
    e.moveFlags();
    f.set(result).end().get(result);
    e.flagsAreMoved();
  });
}

/**
 * Leaves the result on the stack and stores the flags. The count is 1 to 31; `pushCount` pushes it, masked further for
 * rotates of narrow operands. `old` is zero-extended.
 */
function shiftOrRotate(
  e: Emitter,
  operation: number,
  bits: Bits,
  old: number,
  pushCount: (mask: number) => void,
): void {
  if (operation === ROL || operation === ROR) rotate(e, operation, bits, old, pushCount);
  else shiftBy(e, operation, bits, old, () => pushCount(COUNT_MASK));
}

function shiftBy(e: Emitter, operation: number, bits: Bits, old: number, pushCount: () => void): void {
  const { f } = e;
  const locals = e.newFlagLocals();
  const [value, count, result] = locals;
  f.get(old);
  if (operation === SAR) extend(e, bits);
  f.set(value);
  pushCount();
  f.set(count);
  f.get(value).get(count).op(operation === SHL ? Op.i32Shl : operation === SAR ? Op.i32ShrS : Op.i32ShrU);
  extend(e, bits);
  f.tee(result);
  e.setFlags(operation === SHL ? "shl" : operation === SAR ? "sar" : "shr", bits, locals);
}

/** ROL and ROR: CF and OF alone change. */
function rotate(e: Emitter, operation: number, bits: Bits, old: number, pushCount: (mask: number) => void): void {
  const { f } = e;
  const result = e.temporary();
  const isLeft = operation === ROL;
  f.get(old);
  if (bits === 32) {
    pushCount(COUNT_MASK);
    f.op(isLeft ? Op.i32Rotl : Op.i32Rotr);
  } else {
    // The narrow operand is zero-extended: a turn of zero leaves copies above it alone.
    pushCount(bits - 1);
    f.op(isLeft ? Op.i32Shl : Op.i32ShrU).get(old).constant(bits);
    pushCount(bits - 1);
    f.op(Op.i32Sub).op(isLeft ? Op.i32ShrU : Op.i32Shl).op(Op.i32Or);
  }
  f.set(result);
  setRotateFlags(
    e,
    () => f.get(result).constant(isLeft ? 0 : bits - 1).op(Op.i32ShrU).constant(1).op(Op.i32And),
    () => f.get(result).constant(isLeft ? bits - 1 : bits - 2).op(Op.i32ShrU).constant(1).op(Op.i32And),
  );
  f.get(result);
}

/** RCL and RCR by one. */
function rotateThroughCarry(e: Emitter, operation: number, bits: Bits, old: number): void {
  const { f } = e;
  const carry = e.temporary(), result = e.temporary();
  e.pushCarry();
  f.set(carry);
  const isLeft = operation === RCL;
  f.get(old).constant(1).op(isLeft ? Op.i32Shl : Op.i32ShrU).get(carry);
  if (!isLeft) f.constant(bits - 1).op(Op.i32Shl);
  f.op(Op.i32Or).set(result);
  const bitOf = (local: number, bit: number) => f.get(local).constant(bit).op(Op.i32ShrU).constant(1).op(Op.i32And);
  const out = isLeft ? bits - 1 : 0;
  setRotateFlags(e, () => bitOf(old, out), () => {
    bitOf(result, bits - 1);
    if (isLeft) return;
    bitOf(result, bits - 2).op(Op.i32Xor);
    bitOf(old, out).op(Op.i32Xor);
  });
  f.get(result);
}

/** Sets CF and CF xor OF, each pushed as 0 or 1; the other flags stay. */
function setRotateFlags(e: Emitter, pushCf: () => void, pushCfXorOf: () => void): void {
  const { f } = e;
  pushCf();
  f.constant(AUX_CF_BIT).op(Op.i32Shl);
  pushCfXorOf();
  f.constant(AUX_CF_XOR_OF_BIT).op(Op.i32Shl).op(Op.i32Or);
  e.setCarryAndOverflow();
}

/** SHLD and SHRD on 32 bits; 16-bit ones are interpreted. */
const doubleShift: Chooser = (instruction) => {
  const { operands, handler } = instruction.row;
  if (bitsOf(instruction, operands[0]) !== 32) return undefined;
  const isLeft = handler === "shld", isByCl = operands[2] === "cl";
  const fixed = instruction.immediate & COUNT_MASK;
  if (!isByCl && fixed === 0) return undefined;
  return (e) => {
    const { f } = e;
    const count = e.temporary(), result = e.temporary();
    if (isByCl) {
      e.moveFlags();
      e.flagsAreMoved();
      f.get(e.register(ECX)).constant(COUNT_MASK).op(Op.i32And).set(count);
    } else f.constant(fixed).set(count);
    modify(e, instruction, operands[0], (old) => {
      if (isByCl) f.get(old).set(result).get(count).if();
      doubleShiftBy(e, isLeft, old, e.register(instruction.reg), count);
      if (!isByCl) return;
      e.moveFlags();
      f.set(result).end().get(result);
      e.flagsAreMoved();
    });
  };
};

/** Leaves the result on the stack and stores the flags; the count, in a local, is 1 to 31. */
function doubleShiftBy(e: Emitter, isLeft: boolean, old: number, source: number, count: number): void {
  const { f } = e;
  const result = e.temporary(), cf = e.temporary(), alone = e.temporary();
  f.get(old).get(count).op(isLeft ? Op.i32Shl : Op.i32ShrU).tee(alone);
  f.get(source).constant(32).get(count).op(Op.i32Sub).op(isLeft ? Op.i32ShrU : Op.i32Shl).op(Op.i32Or).set(result);
  f.get(old);
  if (isLeft) f.constant(32).get(count).op(Op.i32Sub);
  else f.get(count).constant(1).op(Op.i32Sub);
  f.op(Op.i32ShrU).constant(1).op(Op.i32And).set(cf);
  f.get(result);
  f.get(cf).constant(AUX_CF_BIT).op(Op.i32Shl);
  // CF xor OF. Left: the top bit that the destination alone would have given; right: OF is the result's upper two bits' xor.
  if (isLeft) f.get(alone).constant(31).op(Op.i32ShrU);
  else {
    f.get(result).constant(31).op(Op.i32ShrU).get(result).constant(30).op(Op.i32ShrU).constant(1).op(Op.i32And);
    f.op(Op.i32Xor).get(cf).op(Op.i32Xor);
  }
  f.constant(AUX_CF_XOR_OF_BIT).op(Op.i32Shl).op(Op.i32Or).constant(AUX_AF).op(Op.i32Or);
  e.setStoredFlags();
  f.get(result);
}

export const shiftChoosers: Readonly<Record<string, Chooser>> = { shift, shld: doubleShift, shrd: doubleShift };
