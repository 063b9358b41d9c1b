// The x87 routines that leave the format or compare (x87_runtime.ts): extended reals rounded to binary64, binary32 and
// integers, and their order (Intel SDM 1, 4.8, 8.3.2 and 8.3.6; SDM 2A, FST, FIST, FRNDINT, FCOM). NaNs, infinities,
// denormals and results out of the narrower format's normal range are refused.

import { FunctionBody, I32, I64, Op } from "../wasm.ts";
import {
  BIAS,
  C0,
  C3,
  clearC1,
  EXPONENT,
  HARD,
  pushIsNormal,
  pushIsZero,
  pushRoundsAway,
  refuse,
  reportRounding,
  SIGN,
} from "./x87_rounding.ts";

/** Parameters: significand and sign-and-exponent; of the second operand of a comparison; the width of an integer. */
const A = 0, SE_A = 1, B = 2, SE_B = 3, WIDTH = 2;
/** Biased exponent of a number whose significand is its magnitude. */
const INTEGER_EXPONENT = BIAS + 63;

/** A narrower format: bits of its fraction, its bias, and the place of its sign. */
interface Format {
  readonly fraction: number;
  readonly bias: number;
  readonly sign: number;
}

export const BINARY64: Format = { fraction: 52, bias: 1023, sign: 63 };
export const BINARY32: Format = { fraction: 23, bias: 127, sign: 31 };

/** Pushes the sign of A, as a bit of a 64-bit word. */
function pushSignAt(f: FunctionBody, place: number): FunctionBody {
  return f.get(SE_A).constant(15).op(Op.i32ShrU).op(Op.i64ExtendI32U).constant64(place).op(Op.i64Shl);
}

/** (significand, sign-and-exponent) -> (the narrower format's bits, status). */
export function narrowRoutine({ fraction, bias, sign }: Format): FunctionBody {
  const f = new FunctionBody(2);
  const exponent = f.local(I32), up = f.local(I32), bits = f.local(I64), extra = f.local(I64);
  const dropped = 63 - fraction, largest = 2 * bias;
  f.get(SE_A).constant(EXPONENT).op(Op.i32And).set(exponent);
  pushIsNormal(f, A, exponent).op(Op.i32Eqz).if();
  pushIsZero(f, A, exponent).if();
  clearC1(f);
  pushSignAt(f, sign).constant(0).op(Op.return);
  f.end();
  refuse(f);
  f.end();
  f.get(exponent).constant(BIAS - bias).op(Op.i32Sub).tee(exponent);
  f.constant(1).op(Op.i32Sub).constant(largest).op(Op.i32GeU).if();
  refuse(f);
  f.end();
  f.get(A).constant64(64 - dropped).op(Op.i64Shl).set(extra);
  f.get(A).constant64(dropped).op(Op.i64ShrU).set(bits);
  pushRoundsAway(f, extra, () => f.get(bits).constant64(1).op(Op.i64And), SE_A);
  // The integer bit, and a carry, are added to the exponent field.
  f.tee(up).op(Op.i64ExtendI32U).get(bits).op(Op.i64Add);
  f.get(exponent).constant(1).op(Op.i32Sub).op(Op.i64ExtendI32U).constant64(fraction).op(Op.i64Shl);
  f.op(Op.i64Add).tee(bits).constant64(fraction).op(Op.i64ShrU).constant64(largest).op(Op.i64GtU).if();
  refuse(f);
  f.end();
  reportRounding(f, extra, up);
  f.get(bits);
  pushSignAt(f, sign).op(Op.i64Or).constant(0);
  return f;
}

/** Leaves the integer part of the normal number A in `integer` and the bits below it in `extra`. Its exponent is below INTEGER_EXPONENT. */
function splitInteger(f: FunctionBody, exponent: number, integer: number, extra: number): void {
  const shift = f.local(I64);
  f.constant(INTEGER_EXPONENT).get(exponent).op(Op.i32Sub).op(Op.i64ExtendI32U).tee(shift);
  f.constant64(64).op(Op.i64LtU).if();
  f.get(A).get(shift).op(Op.i64ShrU).set(integer);
  f.get(A).constant64(64).get(shift).op(Op.i64Sub).op(Op.i64Shl).set(extra);
  f.else();
  // Below a half, unless the significand itself is what lies below.
  f.constant64(0).set(integer);
  f.get(A).constant64(1).get(shift).constant64(64).op(Op.i64Eq).op(Op.select).set(extra);
  f.end();
}

/** Rounds `integer` by the bits below it; `up` tells whether it grew. */
function roundInteger(f: FunctionBody, integer: number, extra: number, up: number): void {
  pushRoundsAway(f, extra, () => f.get(integer).constant64(1).op(Op.i64And), SE_A);
  f.tee(up).op(Op.i64ExtendI32U).get(integer).op(Op.i64Add).set(integer);
}

/** FIST: (significand, sign-and-exponent, width of the integer) -> (integer, status). */
export function toIntegerRoutine(): FunctionBody {
  const f = new FunctionBody(3);
  const exponent = f.local(I32), up = f.local(I32), integer = f.local(I64), extra = f.local(I64), spare = f.local(I64);
  f.get(SE_A).constant(EXPONENT).op(Op.i32And).set(exponent);
  pushIsZero(f, A, exponent).if();
  clearC1(f);
  f.constant64(0).constant(0).op(Op.return);
  f.end();
  pushIsNormal(f, A, exponent).get(exponent).constant(INTEGER_EXPONENT).op(Op.i32LtU).op(Op.i32And).op(Op.i32Eqz).if();
  refuse(f);
  f.end();
  splitInteger(f, exponent, integer, extra);
  roundInteger(f, integer, extra, up);
  // Minus 2^63 is left to the interpreter: no magnitude here may have a sign.
  f.get(integer).constant64(0).op(Op.i64LtS).if();
  refuse(f);
  f.end();
  f.constant64(0).get(integer).op(Op.i64Sub).get(integer);
  f.get(SE_A).constant(SIGN).op(Op.i32And).op(Op.select).set(integer);
  f.constant(64).get(WIDTH).op(Op.i32Sub).op(Op.i64ExtendI32U).set(spare);
  f.get(integer).get(spare).op(Op.i64Shl).get(spare).op(Op.i64ShrS).get(integer).op(Op.i64Ne).if();
  refuse(f);
  f.end();
  reportRounding(f, extra, up);
  f.get(integer).constant(0);
  return f;
}

/** FRNDINT: (significand, sign-and-exponent) -> the same of the rounded number. */
export function roundToIntegerRoutine(): FunctionBody {
  const f = new FunctionBody(2);
  const exponent = f.local(I32), up = f.local(I32), integer = f.local(I64), extra = f.local(I64);
  f.get(SE_A).constant(EXPONENT).op(Op.i32And).set(exponent);
  pushIsNormal(f, A, exponent);
  pushIsZero(f, A, exponent).op(Op.i32Or).op(Op.i32Eqz).if();
  refuse(f);
  f.end();
  f.get(exponent).constant(INTEGER_EXPONENT).op(Op.i32LtU).op(Op.i32Eqz).get(A).op(Op.i64Eqz).op(Op.i32Or).if();
  clearC1(f);
  f.get(A).get(SE_A).op(Op.return);
  f.end();
  splitInteger(f, exponent, integer, extra);
  roundInteger(f, integer, extra, up);
  reportRounding(f, extra, up);
  f.get(integer).get(integer).op(Op.i64Clz).tee(extra).op(Op.i64Shl);
  f.get(SE_A).constant(SIGN).op(Op.i32And);
  f.constant(INTEGER_EXPONENT).get(extra).op(Op.i32WrapI64).op(Op.i32Sub).constant(0);
  f.get(integer).op(Op.i64Eqz).op(Op.i32Eqz).op(Op.select).op(Op.i32Or);
  return f;
}

/** FCOM: (significand, sign-and-exponent, and those of the second) -> condition codes, or HARD. */
export function compareRoutine(): FunctionBody {
  const f = new FunctionBody(4);
  const a = f.local(I32), b = f.local(I32), order = f.local(I32);
  f.get(SE_A).constant(EXPONENT).op(Op.i32And).set(a);
  f.get(SE_B).constant(EXPONENT).op(Op.i32And).set(b);
  pushIsNormal(f, A, a);
  pushIsZero(f, A, a).op(Op.i32Or);
  pushIsNormal(f, B, b);
  pushIsZero(f, B, b).op(Op.i32Or).op(Op.i32And).op(Op.i32Eqz).if();
  f.constant(HARD).op(Op.return);
  f.end();
  clearC1(f);
  // Two zeros are equal, whatever their signs.
  f.get(A).get(B).op(Op.i64Or).op(Op.i64Eqz).if();
  f.constant(C3).op(Op.return);
  f.end();
  f.get(SE_A).get(SE_B).op(Op.i32Xor).constant(SIGN).op(Op.i32And).if();
  f.constant(C0).constant(0).get(SE_A).constant(SIGN).op(Op.i32And).op(Op.select).op(Op.return);
  f.end();
  // Magnitudes: 1 if that of A is less; a sign turns that around.
  f.get(a).get(b).op(Op.i32LtU);
  f.get(a).get(b).op(Op.i32Eq).get(A).get(B).op(Op.i64LtU).op(Op.i32And).op(Op.i32Or).set(order);
  f.get(a).get(b).op(Op.i32Eq).get(A).get(B).op(Op.i64Eq).op(Op.i32And).if();
  f.constant(C3).op(Op.return);
  f.end();
  f.get(order).get(SE_A).constant(15).op(Op.i32ShrU).op(Op.i32Xor).constant(8).op(Op.i32Shl);
  return f;
}
