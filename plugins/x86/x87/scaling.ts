// FSCALE and FXTRACT: scaling by and separation into exponent and significand (Intel SDM 1, 8.3.5; SDM 2A, FSCALE and
// FXTRACT, table 3-26 for the infinities and zeros).

import {
  classify,
  EXPONENT_BIAS,
  EXPONENT_MASK,
  EXPONENT_WRAP,
  EXTENDED_PRECISION,
  Float80,
  FpuEnvironment,
  INFINITY_CLASS,
  MAX_EXPONENT,
  OVERFLOW,
  PRECISION,
  setInfinity,
  setZero,
  SIGN,
  UNDERFLOW,
  ZERO_CLASS,
} from "./float80.ts";
import { fromInt32 } from "./integers.ts";
import { denormalStops, invalid, settleNaN, settleNaNs, unpack, Unpacked, zeroDivideStops } from "./operands.ts";
import { roundAndPack } from "./rounding.ts";

/** Scale factors of 2^16 and more take any number out of range, wrapped exponent included. */
const LARGE_SCALE_EXPONENT = EXPONENT_BIAS + 16, LARGE_SCALE = 0x1_0000;

const operand = new Unpacked();

/** out = a * 2^(b truncated to an integer) (FSCALE). `out` may be `a` or `b`. */
export function scale(env: FpuEnvironment, out: Float80, a: Readonly<Float80>, b: Readonly<Float80>): void {
  const classA = classify(a), classB = classify(b);
  if (settleNaNs(env, out, a, b, classA, classB)) return;
  const sign = a.se & SIGN, signB = b.se & SIGN;
  if (classB === INFINITY_CLASS) {
    const undefinedProduct = signB !== 0 ? classA === INFINITY_CLASS : classA === ZERO_CLASS;
    if (undefinedProduct) {
      invalid(env, out);
      return;
    }
    if (denormalStops(env, classA, classB)) return;
    if (signB !== 0) setZero(out, sign);
    else setInfinity(out, sign);
    return;
  }
  if (denormalStops(env, classA, classB)) return;
  if (classA === ZERO_CLASS || classA === INFINITY_CLASS) {
    out.copy(a);
    return;
  }
  const magnitude = truncate(b);
  unpack(a, operand);
  const exponent = operand.exponent + (signB !== 0 ? -magnitude : magnitude);
  if (exponent - EXPONENT_WRAP > MAX_EXPONENT && (env.masks & OVERFLOW) === 0) {
    // No wrapped exponent can hold the unmasked result: SDM 1, 8.5.4 names infinity instead.
    env.raised |= OVERFLOW | PRECISION;
    env.roundedUp = true;
    setInfinity(out, sign);
    return;
  }
  if (exponent + EXPONENT_WRAP <= 0 && (env.masks & UNDERFLOW) === 0) {
    env.raised |= UNDERFLOW | PRECISION;
    setZero(out, sign);
    return;
  }
  roundAndPack(env, out, sign, exponent, operand.hi, operand.lo, 0, EXTENDED_PRECISION);
}

/** The integer part of a finite value's magnitude, at most LARGE_SCALE. */
function truncate(b: Readonly<Float80>): number {
  const exponent = b.se & EXPONENT_MASK;
  if (exponent < EXPONENT_BIAS) return 0;
  if (exponent >= LARGE_SCALE_EXPONENT) return LARGE_SCALE;
  return b.hi >>> (31 - (exponent - EXPONENT_BIAS));
}

/**
 * significand = a with exponent 0, exponent = a's unbiased exponent (FXTRACT); either may be `a`. Zero gives minus infinity
 * as its exponent and raises ZE.
 */
export function extract(env: FpuEnvironment, significand: Float80, exponent: Float80, a: Readonly<Float80>): void {
  const classA = classify(a);
  if (settleNaN(env, significand, a, classA)) {
    if (!env.suppressed()) exponent.copy(significand);
    return;
  }
  const sign = a.se & SIGN;
  if (classA === ZERO_CLASS) {
    if (zeroDivideStops(env)) return;
    setZero(significand, sign);
    setInfinity(exponent, SIGN);
    return;
  }
  if (classA === INFINITY_CLASS) {
    setInfinity(significand, sign);
    setInfinity(exponent, 0);
    return;
  }
  if (denormalStops(env, classA, ZERO_CLASS)) return;
  unpack(a, operand);
  fromInt32(exponent, operand.exponent - EXPONENT_BIAS);
  significand.set(sign | EXPONENT_BIAS, operand.hi, operand.lo);
}
