// FMUL: the product of two 80-bit values at the precision that precision control selects (Intel SDM 1, 8.3.5;
// exceptions as SDM 2A, FMUL). The 128-bit product of the significands is put together from 32-bit limbs.

import {
  classify,
  EXPONENT_BIAS,
  Float80,
  FpuEnvironment,
  INFINITY_CLASS,
  INTEGER_BIT,
  LIMB,
  setInfinity,
  setZero,
  SIGN,
  ZERO_CLASS,
} from "./float80.ts";
import { denormalStops, invalid, settleNaNs, unpack, Unpacked } from "./operands.ts";
import { roundAndPack } from "./rounding.ts";

/** The high 32 bits of the product of two unsigned 32-bit integers (`Math.imul` gives the low ones). */
export function multiplyHigh(a: number, b: number): number {
  const aLow = a & 0xffff, aHigh = a >>> 16, bLow = b & 0xffff, bHigh = b >>> 16;
  // Neither sum passes 2^32: (2^16 - 1)^2 + 2 (2^16 - 1) = 2^32 - 1.
  const middle = aHigh * bLow + (Math.imul(aLow, bLow) >>> 16);
  const other = aLow * bHigh + (middle & 0xffff);
  return aHigh * bHigh + (middle >>> 16) + (other >>> 16);
}

const left = new Unpacked(), right = new Unpacked();

/** out = a * b. `out` may be `a` or `b`; it is not written when an unmasked exception suppresses the operation. */
export function multiply(env: FpuEnvironment, out: Float80, a: Readonly<Float80>, b: Readonly<Float80>): void {
  const classA = classify(a), classB = classify(b);
  const sign = (a.se ^ b.se) & SIGN;
  if (classA >= INFINITY_CLASS || classB >= INFINITY_CLASS) {
    if (settleNaNs(env, out, a, b, classA, classB)) return;
    if (classA === ZERO_CLASS || classB === ZERO_CLASS) invalid(env, out);
    else if (!denormalStops(env, classA, classB)) setInfinity(out, sign);
    return;
  }
  if (denormalStops(env, classA, classB)) return;
  if (classA === ZERO_CLASS || classB === ZERO_CLASS) {
    setZero(out, sign);
    return;
  }
  unpack(a, left);
  unpack(b, right);
  multiplyUnpacked(env, out, sign, left, right);
}

function multiplyUnpacked(
  env: FpuEnvironment,
  out: Float80,
  sign: number,
  a: Readonly<Unpacked>,
  b: Readonly<Unpacked>,
): void {
  // Limbs w3:w2:w1:w0 of the product; sums of three limbs and a carry stay exact in a double.
  const w0 = Math.imul(a.lo, b.lo) >>> 0;
  const sum1 = multiplyHigh(a.lo, b.lo) + (Math.imul(a.hi, b.lo) >>> 0) + (Math.imul(a.lo, b.hi) >>> 0);
  const w1 = sum1 >>> 0;
  const sum2 = multiplyHigh(a.hi, b.lo) + multiplyHigh(a.lo, b.hi) + (Math.imul(a.hi, b.hi) >>> 0) +
    Math.floor(sum1 / LIMB);
  const w2 = sum2 >>> 0;
  const w3 = multiplyHigh(a.hi, b.hi) + Math.floor(sum2 / LIMB);
  const exponent = a.exponent + b.exponent - EXPONENT_BIAS;
  if (w3 >= INTEGER_BIT) {
    roundAndPack(env, out, sign, exponent + 1, w3 | 0, w2 | 0, w1 | (w0 === 0 ? 0 : 1), env.precision);
    return;
  }
  // All of w0 goes into the sticky bit: the half unit is bit 30 of w1.
  const hi = w3 << 1 | w2 >>> 31, lo = w2 << 1 | w1 >>> 31, extra = w1 << 1 | (w0 === 0 ? 0 : 1);
  roundAndPack(env, out, sign, exponent, hi, lo, extra, env.precision);
}
