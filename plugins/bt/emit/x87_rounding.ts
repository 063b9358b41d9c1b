// Rounding and packing in the x87 routines (x87_runtime.ts): a normalised significand with 64 bits below it becomes an
// extended real, with PE and C1 as rounding control and precision control ask (Intel SDM 1, 4.8.4, 8.1.5 and 8.5). Results
// that overflow or underflow, and an inexact one that would be the first with PE unmasked, are refused: "hard".

import { state as S } from "../../x86/mod.ts";
import * as L from "../layout.ts";
import { Access, FunctionBody, HYPERVISOR, I32, I64, Op } from "../wasm.ts";

/** Sign bit of a sign-and-exponent; the exponent below it; the bias; the exponent of normal numbers is 1 to MAX_EXPONENT. */
export const SIGN = 0x8000, EXPONENT = 0x7fff, BIAS = 0x3fff, MAX_EXPONENT = 0x7ffe;
/** In place of a sign-and-exponent, or as a status: nothing has been done, the interpreter must do it. */
export const HARD = -1;
/** Status-word bits: PE, C1 and the condition codes of comparisons. */
export const PE = 0x20, C0 = 0x100, C1 = 0x200, C2 = 0x400, C3 = 0x4000, COMPARISON_CODES = C0 | C2 | C3;
/** Control word: PE's mask; precision and rounding control, their place, and how both stand after FNINIT. */
export const PRECISION_MASK = 0x20, MODES = 0xf00, DEFAULT_MODES = 0x300, PRECISION_CONTROL = 0x300;
export const ROUNDING_CONTROL = 0xc00, ROUNDING_SHIFT = 10, ROUND_DOWN = 1, ROUND_UP = 2;
const SINGLE = 0, DOUBLE = 0x200;
/** Bits of a significand that single and double precision drop. */
const SINGLE_DROPPED = 40, DOUBLE_DROPPED = 11;
/** From 1, or from the sign bit of a sign-and-exponent, to C1's place and to 1. */
const C1_SHIFT = 9, SIGN_SHIFT = 15;
/** Upper word of 2^63: half of a unit, and a significand's integer bit. */
export const TOP_BIT = 0x80000000 | 0;

/** Pushes a word of the FPU's state. */
export function pushState(f: FunctionBody, word: number): FunctionBody {
  return f.constant(0).memory(Access.i32Load, HYPERVISOR, L.STATE + word * 4);
}

/** Stores into a word of the FPU's state what `push` leaves. */
export function setState(f: FunctionBody, word: number, push: () => void): void {
  f.constant(0);
  push();
  f.memory(Access.i32Store, HYPERVISOR, L.STATE + word * 4);
}

/** Clears C1. */
export function clearC1(f: FunctionBody): void {
  setState(f, S.X87.ROUNDED_UP, () => f.constant(0));
}

/** Returns "hard" from a routine whose results are a significand, or another i64, and an i32. */
export function refuse(f: FunctionBody): void {
  f.constant64(0).constant(HARD).op(Op.return);
}

/** Pushes whether a number is normal: exponent 1 to 0x7ffe, integer bit set. */
export function pushIsNormal(f: FunctionBody, significand: number, exponent: number): FunctionBody {
  f.get(exponent).constant(1).op(Op.i32Sub).constant(MAX_EXPONENT).op(Op.i32LtU);
  return f.get(significand).constant64(0).op(Op.i64LtS).op(Op.i32And);
}

/** Added to an exponent of MODERATE_LEAST to three times as much, it sets this bit; other exponents leave it clear. */
const MODERATE_LEAST = 0x2000, MODERATE = 0x4000, MODERATE_SHIFT = 14;

/** Pushes whether two numbers are normal and their exponents moderate: 0x2000 to 0x5fff, as those of doubles are. */
export function pushAreModerate(
  f: FunctionBody,
  a: { readonly significand: number; readonly exponent: number },
  b: { readonly significand: number; readonly exponent: number },
): FunctionBody {
  f.get(a.significand).get(b.significand).op(Op.i64And).constant64(63).op(Op.i64ShrU).op(Op.i32WrapI64);
  f.get(a.exponent).constant(MODERATE_LEAST).op(Op.i32Add);
  f.get(b.exponent).constant(MODERATE_LEAST).op(Op.i32Add).op(Op.i32And);
  return f.constant(MODERATE).op(Op.i32And).constant(MODERATE_SHIFT).op(Op.i32ShrU).op(Op.i32And);
}

/** Pushes whether a number is a zero. */
export function pushIsZero(f: FunctionBody, significand: number, exponent: number): FunctionBody {
  return f.get(exponent).op(Op.i64ExtendI32U).get(significand).op(Op.i64Or).op(Op.i64Eqz);
}

/**
 * Pushes whether a magnitude is rounded away from zero: `extra` (i64) are the bits below it, the top one worth half a unit;
 * `pushOdd` leaves its lowest bit as an i64 of 0 or 1; `sign` is a sign-and-exponent.
 */
export function pushRoundsAway(f: FunctionBody, extra: number, pushOdd: () => void, sign: number): void {
  const mode = f.local(I32);
  pushState(f, S.X87.CONTROL).constant(ROUNDING_CONTROL).op(Op.i32And).tee(mode).op(Op.i32Eqz).if(I32);
  f.get(extra).constantI64(TOP_BIT, 0);
  pushOdd();
  f.op(Op.i64Sub).op(Op.i64GtU);
  f.else();
  // Down rounds negative numbers away, up positive ones.
  f.get(mode).constant(ROUNDING_SHIFT).op(Op.i32ShrU);
  f.constant(ROUND_UP).get(sign).constant(SIGN_SHIFT).op(Op.i32ShrU).constant(1).op(Op.i32And).op(Op.i32Sub);
  f.op(Op.i32Eq).get(extra).op(Op.i64Eqz).op(Op.i32Eqz).op(Op.i32And);
  f.end();
  f.release(I32, mode);
}

/** Sets PE if `extra` (i64) is not zero, or refuses, and C1 from `up` (0 or 1): the end of a routine that succeeds. */
export function reportRounding(f: FunctionBody, extra: number, up: number): void {
  const status = f.local(I32);
  f.get(extra).op(Op.i64Eqz).op(Op.i32Eqz);
  pushState(f, S.X87.STATUS).tee(status).constant(PE).op(Op.i32And).op(Op.i32Eqz).op(Op.i32And).if();
  pushState(f, S.X87.CONTROL).constant(PRECISION_MASK).op(Op.i32And).op(Op.i32Eqz).if();
  refuse(f);
  f.end();
  setState(f, S.X87.STATUS, () => f.get(status).constant(PE).op(Op.i32Or));
  f.end();
  setState(f, S.X87.ROUNDED_UP, () => f.get(up).constant(C1_SHIFT).op(Op.i32Shl));
  f.release(I32, status);
}

/** Locals of a number to be rounded: its sign (SIGN or 0), biased exponent, significand, and the 64 bits below it. */
export interface Wide {
  readonly sign: number;
  readonly exponent: number;
  readonly high: number;
  readonly low: number;
}

/** How rounding must stand for the fast path, in the two words from the status word on: default modes, PE set already. */
const FAST_MASK = [MODES, PE] as const, FAST = [DEFAULT_MODES, PE] as const;
/** From 1 to PE. */
const PE_SHIFT = 5;

/**
 * Rounds, packs and returns a normalised number: to the nearest of 64 bits here; what needs more is done by the routine with
 * index `round`: other modes, a carry out of the significand, the first inexact result; exponents out of range too, unless
 * `isInRange` says that there are none.
 */
export function roundAndReturn(f: FunctionBody, wide: Wide, round: number, isInRange = false): void {
  const { sign, exponent, high, low } = wide;
  const up = f.local(I32), rounded = f.local(I64);
  f.get(low).constantI64(TOP_BIT, 0).get(high).constant64(1).op(Op.i64And).op(Op.i64Sub).op(Op.i64GtU).tee(up);
  f.op(Op.i64ExtendI32U).get(high).op(Op.i64Add).tee(rounded).op(Op.i64Eqz);
  // What differs from FAST, of which PE does not matter to an exact result.
  f.constant(0).memory(Access.i64Load, HYPERVISOR, L.STATE + S.X87.STATUS * 4);
  f.constantI64(...FAST_MASK).op(Op.i64And).constantI64(...FAST).op(Op.i64Xor);
  f.get(low).op(Op.i64Eqz).op(Op.i64ExtendI32U).constant64(PE_SHIFT).op(Op.i64Shl).op(Op.i64GtU).op(Op.i32Or);
  if (!isInRange) f.get(exponent).constant(1).op(Op.i32Sub).constant(MAX_EXPONENT).op(Op.i32GeU).op(Op.i32Or);
  f.if();
  f.get(sign).get(exponent).get(high).get(low).returnCall(round);
  f.end();
  setState(f, S.X87.ROUNDED_UP, () => f.get(up).constant(C1_SHIFT).op(Op.i32Shl));
  f.get(rounded).get(sign).get(exponent).op(Op.i32Or);
}

/** The end of rounding: a significand that was carried out of 64 bits is zero here. */
function packAndReturn(f: FunctionBody, { sign, exponent, high, low }: Wide, up: number): void {
  f.get(high).op(Op.i64Eqz).if();
  f.constantI64(TOP_BIT, 0).set(high);
  // What rounding lifts to the least normal number was tiny before it: not decided here.
  f.get(exponent).constant(1).op(Op.i32LtS).if();
  refuse(f);
  f.end();
  f.get(exponent).constant(1).op(Op.i32Add).set(exponent);
  f.end();
  f.get(exponent).constant(1).op(Op.i32Sub).constant(MAX_EXPONENT).op(Op.i32GeU).if();
  refuse(f);
  f.end();
  reportRounding(f, low, up);
  f.get(high).get(sign).get(exponent).op(Op.i32Or);
}

/** The routine (sign, exponent, significand, bits below) -> (significand, sign-and-exponent) for every mode. */
export function roundRoutine(): FunctionBody {
  const f = new FunctionBody(4);
  const [sign, exponent, high, low] = [0, 1, 2, 3];
  const dropped = f.local(I64), unit = f.local(I64), up = f.local(I32), precision = f.local(I32);
  f.constant64(1).set(unit);
  pushState(f, S.X87.CONTROL).constant(PRECISION_CONTROL).op(Op.i32And).tee(precision);
  f.constant(SINGLE).op(Op.i32Eq).get(precision).constant(DOUBLE).op(Op.i32Eq).op(Op.i32Or).if();
  f.constant64(SINGLE_DROPPED).constant64(DOUBLE_DROPPED).get(precision).op(Op.i32Eqz).op(Op.select).set(dropped);
  f.constant64(1).get(dropped).op(Op.i64Shl).set(unit);
  // What is dropped goes on top of the bits below, of which a trace is kept.
  f.get(high).constant64(64).get(dropped).op(Op.i64Sub).op(Op.i64Shl);
  f.get(low).op(Op.i64Eqz).op(Op.i32Eqz).op(Op.i64ExtendI32U).op(Op.i64Or).set(low);
  f.get(high).constant64(0).get(unit).op(Op.i64Sub).op(Op.i64And).set(high);
  f.end();
  pushRoundsAway(f, low, () => {
    f.get(high).get(unit).op(Op.i64And).op(Op.i64Eqz).op(Op.i32Eqz).op(Op.i64ExtendI32U);
  }, sign);
  f.tee(up).op(Op.i64ExtendI32U).get(unit).op(Op.i64Mul).get(high).op(Op.i64Add).set(high);
  packAndReturn(f, { sign, exponent, high, low }, up);
  return f;
}
