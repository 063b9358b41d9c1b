// Operands of x87 instructions in memory: 64 and 80 bits through the inline TLB, and the formats of memory widened to the
// extended one (Intel SDM 1, 4.2; SDM 2A, FLD and FILD). What raises an exception when it is widened is left to the
// interpreter: denormals, infinities and NaNs.

import type { Instruction, Operand } from "../../x86/mod.ts";
import * as L from "../layout.ts";
import { Access, type FunctionBody, HYPERVISOR, I32, I64, MACHINE, Op } from "../wasm.ts";
import type { Emitter } from "./emitter.ts";
import { BIAS, SIGN, TOP_BIT } from "./x87_rounding.ts";
import type { Value, X87Stack } from "./x87_stack.ts";

const PAGE_BYTES = 4096, PAGE_MASK = -PAGE_BYTES;
/** Bytes that the slow path is asked for at a time. */
const MISS_BYTES = 4;
/** Bytes of the extended format. */
export const EXTENDED_BYTES = 10;

/**
 * Pushes the machine address of the memory operand's 8 or 10 bytes, checked for reading or writing. They must lie in one
 * page. In pages that hold code as well, which have no fast path for stores, each part is asked for.
 */
export function pushLongAddress(e: Emitter, instruction: Instruction, bytes: number, isWrite: boolean): void {
  const { f } = e;
  const linear = e.temporary(), pair = e.temporary(I64), machine = e.temporary();
  // Tag and addend in one load: the bounds of each are checked.
  const low = () => f.get(pair).op(Op.i32WrapI64);
  const high = () => f.get(pair).constant64(32).op(Op.i64ShrU).op(Op.i32WrapI64);
  e.pushAddress(instruction);
  f.tee(linear).constant(8).op(Op.i32ShrU).constant(L.DATA_BANK_BYTES - 16).op(Op.i32And);
  f.memory(Access.i64Load, HYPERVISOR, L.DATA_TLB + e.dataBank + (isWrite ? L.TLB_ADDEND : L.TLB_READ)).set(pair);
  (isWrite ? high : low)();
  f.get(linear).constant(bytes - 1).op(Op.i32Add).constant(PAGE_MASK).op(Op.i32And).op(Op.i32Eq).likely().if(I32);
  (isWrite ? low : high)();
  f.get(linear).op(Op.i32Add);
  f.else();
  const done = f.block(), leave = f.block();
  f.get(linear).constant(PAGE_BYTES - 1).op(Op.i32And).constant(PAGE_BYTES - bytes).op(Op.i32GtU).brIf(leave);
  for (let at = isWrite ? bytes - MISS_BYTES : 0; at >= 0; at = at === 0 ? -1 : Math.max(0, at - MISS_BYTES)) {
    f.get(linear).constant(at).op(Op.i32Add);
    e.callMiss(MISS_BYTES, isWrite);
    f.tee(machine).constant(-1).op(Op.i32Eq).brIf(leave);
  }
  f.br(done);
  f.end();
  e.exitInstruction();
  f.end();
  f.get(machine);
  f.end();
}

/** A floating-point format of memory. */
interface Format {
  readonly bias: number;
  readonly maxExponent: number;
  readonly fraction: number;
}

const BINARY32: Format = { bias: 127, maxExponent: 255, fraction: 23 };
const BINARY64: Format = { bias: 1023, maxExponent: 2047, fraction: 52 };

/** Leaves where a number of a format, whose bits are an i64 local, is no normal number or zero; else widens it. */
function widen(x: X87Stack, { bias, maxExponent, fraction }: Format, bits: number): Value {
  const { e } = x, { f } = e;
  const exponent = e.temporary(), sign = e.temporary();
  const value = x.newValue();
  const signPlace = fraction === BINARY64.fraction ? 63 : 31;
  // The upper half word: sign, exponent, and the fraction's first bits.
  f.get(bits).constant64(signPlace - 15).op(Op.i64ShrU).op(Op.i32WrapI64).tee(sign);
  f.constant(fraction - (signPlace - 15)).op(Op.i32ShrU).constant(maxExponent).op(Op.i32And).set(exponent);
  f.get(sign).constant(SIGN).op(Op.i32And).set(sign);
  f.get(exponent).constant(1).op(Op.i32Sub).constant(maxExponent - 1).op(Op.i32LtU).likely().if();
  f.get(bits).constant64(63 - fraction).op(Op.i64Shl).constantI64(TOP_BIT, 0).op(Op.i64Or).set(value.significand);
  f.get(exponent).constant(BIAS - bias).op(Op.i32Add).get(sign).op(Op.i32Or).set(value.signExponent);
  f.else();
  f.get(bits).constant64(64 - signPlace).op(Op.i64Shl).op(Op.i64Eqz).op(Op.i32Eqz).unlikely().if();
  e.exitInstruction();
  f.end();
  f.constant64(0).set(value.significand).get(sign).set(value.signExponent);
  f.end();
  return value;
}

/** Widens an integer in an i64 local, exactly. */
function widenInteger(x: X87Stack, integer: number): Value {
  const { e } = x, { f } = e;
  const sign = e.temporary(I64), zeros = e.temporary(I64), magnitude = e.temporary(I64);
  const value = x.newValue();
  f.get(integer).constant64(63).op(Op.i64ShrS).tee(sign).get(integer).op(Op.i64Xor).get(sign).op(Op.i64Sub);
  f.tee(magnitude).get(magnitude).op(Op.i64Clz).tee(zeros).op(Op.i64Shl).set(value.significand);
  f.get(sign).op(Op.i32WrapI64).constant(SIGN).op(Op.i32And);
  f.constant(BIAS + 63).get(zeros).op(Op.i32WrapI64).op(Op.i32Sub).op(Op.i32Or);
  f.constant(0).get(magnitude).op(Op.i64Eqz).op(Op.i32Eqz).op(Op.select).set(value.signExponent);
  return value;
}

/** Pushes the memory operand as an i64: of a narrow float its bits, of an integer its value. */
function pushNarrow(e: Emitter, instruction: Instruction, operand: Operand): FunctionBody {
  const { f } = e;
  switch (operand) {
    case "Mf32":
      e.pushMemory(instruction, 32);
      return f.op(Op.i64ExtendI32U);
    case "Mi32":
      e.pushMemory(instruction, 32);
      return f.op(Op.i64ExtendI32S);
    case "Mi16":
      e.pushMemory(instruction, 16);
      return f.op(Op.i32Extend16S).op(Op.i64ExtendI32S);
    default:
      pushLongAddress(e, instruction, 8, false);
      return f.memory(Access.i64Load, MACHINE, 0);
  }
}

/** The memory operand in a new value; leaves where widening it raises an exception. */
export function loadOperand(x: X87Stack, instruction: Instruction): Value {
  const { e } = x;
  const [operand] = instruction.row.operands;
  if (operand === "Mf80") return loadExtended(x, instruction);
  const bits = e.temporary(I64);
  pushNarrow(e, instruction, operand).set(bits);
  if (operand === "Mf32") return widen(x, BINARY32, bits);
  if (operand === "Mf64") return widen(x, BINARY64, bits);
  return widenInteger(x, bits);
}

function loadExtended(x: X87Stack, instruction: Instruction): Value {
  const { e } = x, { f } = e;
  const machine = e.temporary();
  const value = x.newValue();
  pushLongAddress(e, instruction, EXTENDED_BYTES, false);
  f.tee(machine).memory(Access.i64Load, MACHINE, 0).set(value.significand);
  f.get(machine).memory(Access.i32Load16U, MACHINE, 8).set(value.signExponent);
  return value;
}
