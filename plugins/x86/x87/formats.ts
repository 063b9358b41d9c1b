// FLD and FST of binary32 and binary64: exact widening and rounded narrowing with the exceptions of the narrower
// format (Intel SDM 1, 4.2.2, 4.8 and 8.5; SDM 2A, FLD and FST). Operands of arithmetic widen without exceptions of their own.

import {
  Bits64,
  classify,
  DENORMAL_OPERAND,
  DOUBLE_PRECISION,
  EXPONENT_BIAS,
  EXPONENT_MASK,
  EXTENDED_PRECISION,
  Float80,
  FpuEnvironment,
  INFINITY_CLASS,
  INTEGER_BIT,
  INVALID,
  LIMB,
  OVERFLOW,
  PRECISION,
  QUIET_BIT,
  QUIET_NAN_CLASS,
  setZero,
  SIGN,
  SIGNALLING_NAN_CLASS,
  SINGLE_PRECISION,
  UNDERFLOW,
  UNSUPPORTED_CLASS,
  ZERO_CLASS,
} from "./float80.ts";
import { unpack, Unpacked } from "./operands.ts";
import { Extended96, normaliseRoundAndPack, overflowsToInfinity, Rounded } from "./rounding.ts";

/** Exponent fields of binary32 and binary64. */
const BIAS32 = 127, MAX32 = 255, BIAS64 = 1023, MAX64 = 2047;
const FRACTION32 = 0x7f_ffff, FRACTION64_HI = 0xf_ffff;
/** Sign bit at the top of a 32-bit limb, from a sign in `se` and back. */
const SIGN32 = 0x8000_0000, SIGN_SHIFT = 16;
/** The default NaN of both formats, sign included, as the top limb. */
const INDEFINITE32 = 0xffc0_0000, INDEFINITE64_HI = 0xfff8_0000;

const exact = new FpuEnvironment();

/** Widens binary32 bits for arithmetic: exact, a signalling NaN stays one, a denormal is noted in `env.denormalOperand`. */
export function operandFromFloat32(env: FpuEnvironment, out: Float80, bits: number): void {
  const sign = bits >>> SIGN_SHIFT & SIGN;
  const exponent = bits >>> 23 & MAX32;
  const fraction = bits & FRACTION32;
  if (exponent === 0) {
    if (fraction === 0) setZero(out, sign);
    else {
      normaliseRoundAndPack(exact, out, sign, EXPONENT_BIAS - BIAS32 + 1, fraction << 8, 0, 0, EXTENDED_PRECISION);
      env.denormalOperand = true;
    }
    return;
  }
  const wide = exponent === MAX32 ? EXPONENT_MASK : exponent + EXPONENT_BIAS - BIAS32;
  out.set(sign | wide, (INTEGER_BIT | fraction << 8) >>> 0, 0);
}

/** Widens the binary64 whose limbs are hi:lo for arithmetic, as `operandFromFloat32`. */
export function operandFromFloat64(env: FpuEnvironment, out: Float80, hi: number, lo: number): void {
  const sign = hi >>> SIGN_SHIFT & SIGN;
  const exponent = hi >>> 20 & MAX64;
  const fraction = hi & FRACTION64_HI;
  const wideHi = (fraction << 11 | lo >>> 21) >>> 0, wideLo = lo << 11 >>> 0;
  if (exponent === 0) {
    if (fraction === 0 && lo === 0) setZero(out, sign);
    else {
      normaliseRoundAndPack(
        exact,
        out,
        sign,
        EXPONENT_BIAS - BIAS64 + 1,
        wideHi | 0,
        wideLo | 0,
        0,
        EXTENDED_PRECISION,
      );
      env.denormalOperand = true;
    }
    return;
  }
  const wide = exponent === MAX64 ? EXPONENT_MASK : exponent + EXPONENT_BIAS - BIAS64;
  out.set(sign | wide, (INTEGER_BIT | wideHi) >>> 0, wideLo);
}

/** Loads binary32 bits (FLD m32fp): denormals raise DE, signalling NaNs raise IE and become quiet. To be pushed unless `env.loadSuppressed()`. */
export function fromFloat32(env: FpuEnvironment, out: Float80, bits: number): void {
  operandFromFloat32(env, out, bits);
  finishLoad(env, out);
}

/** Loads the binary64 hi:lo (FLD m64fp), as `fromFloat32`. */
export function fromFloat64(env: FpuEnvironment, out: Float80, hi: number, lo: number): void {
  operandFromFloat64(env, out, hi, lo);
  finishLoad(env, out);
}

function finishLoad(env: FpuEnvironment, out: Float80): void {
  if (env.denormalOperand) {
    env.denormalOperand = false;
    env.raised |= DENORMAL_OPERAND;
  } else if (classify(out) === SIGNALLING_NAN_CLASS) {
    env.raised |= INVALID;
    out.hi = (out.hi | QUIET_BIT) >>> 0;
  }
}

const operand = new Unpacked();
const shifted = new Extended96();
const rounded = new Rounded();

/** a as binary32 bits (unsigned), rounded; not to be stored if `env.storeSuppressed()`. */
export function toFloat32(env: FpuEnvironment, a: Readonly<Float80>): number {
  const sign = a.se << SIGN_SHIFT & SIGN32;
  const classA = classify(a);
  if (classA >= QUIET_NAN_CLASS) {
    if (raisesInvalid(env, classA)) return INDEFINITE32;
    return (sign | MAX32 << 23 | (a.hi | QUIET_BIT) >>> 8 & FRACTION32) >>> 0;
  }
  const exponent = narrow(env, a, classA, SINGLE_PRECISION, BIAS32, MAX32);
  return (sign | exponent << 23 | rounded.hi >>> 8 & FRACTION32) >>> 0;
}

/** out = a as binary64 limbs, rounded; not to be stored if `env.storeSuppressed()`. */
export function toFloat64(env: FpuEnvironment, out: Bits64, a: Readonly<Float80>): void {
  const sign = a.se << SIGN_SHIFT & SIGN32;
  const classA = classify(a);
  let exponent = MAX64;
  let hi = a.hi, lo = a.lo;
  if (classA >= QUIET_NAN_CLASS) {
    if (raisesInvalid(env, classA)) {
      out.hi = INDEFINITE64_HI;
      out.lo = 0;
      return;
    }
    hi |= QUIET_BIT;
  } else {
    exponent = narrow(env, a, classA, DOUBLE_PRECISION, BIAS64, MAX64);
    hi = rounded.hi;
    lo = rounded.lo;
  }
  out.lo = (hi << 21 | lo >>> 11) >>> 0;
  out.hi = (sign | exponent << 20 | hi >>> 11 & FRACTION64_HI) >>> 0;
}

/** Raises IE as a NaN or unsupported value demands; returns whether the answer is the default NaN. */
function raisesInvalid(env: FpuEnvironment, classA: number): boolean {
  if (classA !== QUIET_NAN_CLASS) env.raised |= INVALID;
  return classA === UNSUPPORTED_CLASS;
}

/**
 * Rounds a number to a narrower format with exponent fields 1 to max - 1: leaves the significand in `rounded` and
 * returns the exponent field.
 */
function narrow(
  env: FpuEnvironment,
  a: Readonly<Float80>,
  classA: number,
  precision: number,
  bias: number,
  max: number,
): number {
  rounded.hi = rounded.lo = 0;
  if (classA === ZERO_CLASS) return 0;
  if (classA === INFINITY_CLASS) return max;
  unpack(a, operand);
  const exponent = operand.exponent - EXPONENT_BIAS + bias;
  rounded.round(env.rounding, precision, operand.sign, operand.hi | 0, operand.lo | 0, 0);
  const biased = rounded.carried ? exponent + 1 : exponent;
  if (exponent <= 0) return narrowTiny(env, exponent, precision, biased <= 0);
  if (biased >= max) return narrowHuge(env, max);
  env.roundedUp = rounded.up;
  if (rounded.inexact) env.raised |= PRECISION;
  return biased;
}

/** Rounds `operand` to a denormal; `tiny` says whether it is one after rounding with an unbounded exponent. */
function narrowTiny(env: FpuEnvironment, exponent: number, precision: number, tiny: boolean): number {
  if (tiny && (env.masks & UNDERFLOW) === 0) {
    env.raised |= UNDERFLOW;
    return 0;
  }
  shifted.shiftRight(operand.hi | 0, operand.lo | 0, 0, 1 - exponent);
  rounded.round(env.rounding, precision, operand.sign, shifted.hi | 0, shifted.lo | 0, shifted.extra | 0);
  env.roundedUp = rounded.up;
  if (rounded.inexact) env.raised |= tiny ? UNDERFLOW | PRECISION : PRECISION;
  return rounded.hi >= INTEGER_BIT ? 1 : 0;
}

function narrowHuge(env: FpuEnvironment, max: number): number {
  env.raised |= OVERFLOW;
  if ((env.masks & OVERFLOW) === 0) return max;
  env.raised |= PRECISION;
  env.roundedUp = overflowsToInfinity(env.rounding, operand.sign);
  rounded.hi = env.roundedUp ? 0 : LIMB - 1;
  rounded.lo = rounded.hi;
  return env.roundedUp ? max : max - 1;
}
