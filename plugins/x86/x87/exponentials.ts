// F2XM1, FYL2X and FYL2XP1: powers of two and logarithms (Intel SDM 1, 8.3.9; SDM 2A, F2XM1, and the tables of
// infinities and zeros of FYL2X and FYL2XP1). Every finite result other than zero counts as inexact.

import {
  classify,
  EXPONENT_BIAS,
  Float80,
  FpuEnvironment,
  INFINITY_CLASS,
  INTEGER_BIT,
  PRECISION,
  setInfinity,
  setZero,
  SIGN,
  ZERO_CLASS,
} from "./float80.ts";
import {
  bitLength,
  exponentialMinusOneSeries,
  lnOf2Fixed,
  logarithmSeries,
  packFixed,
  scaled,
  significandOf,
  unitPower,
} from "./fixed-point.ts";
import { denormalStops, invalid, settleNaN, settleNaNs, unpack, Unpacked, zeroDivideStops } from "./operands.ts";

/** Bits of the fixed-point numbers: a logarithm next to one still has 190 significant ones. */
const BITS = 256;
const UNIT = BigInt(BITS), FIXED_ONE = 1n << UNIT;
/** Biased exponent below which 2^x - 1 = x ln 2 and log2(1 + x) = x / ln 2 to more than 64 bits. */
const TINY = EXPONENT_BIAS - 100;

const left = new Unpacked(), right = new Unpacked();

/** out = 2^a - 1 for -1 <= a <= 1 (F2XM1); other numbers, which the SDM leaves undefined, stay. `out` may be `a`. */
export function exponentialMinusOne(env: FpuEnvironment, out: Float80, a: Readonly<Float80>): void {
  const classA = classify(a);
  if (settleNaN(env, out, a, classA)) return;
  const sign = a.se & SIGN;
  if (classA === INFINITY_CLASS) {
    if (sign === 0) setInfinity(out, 0);
    else out.set(SIGN | EXPONENT_BIAS, INTEGER_BIT, 0);
    return;
  }
  if (denormalStops(env, classA, ZERO_CLASS)) return;
  if (classA === ZERO_CLASS) {
    out.copy(a);
    return;
  }
  unpack(a, left);
  const significand = significandOf(left);
  if (left.exponent >= EXPONENT_BIAS) {
    packOutermost(env, out, a, sign);
    return;
  }
  if (left.exponent < TINY) {
    packFixed(env, out, sign, significand * lnOf2Fixed(BITS), unitPower(left) - BITS, false);
    return;
  }
  const x = scaled(significand, unitPower(left) + BITS) * lnOf2Fixed(BITS) >> UNIT;
  const value = exponentialMinusOneSeries(sign !== 0 ? -x : x, BITS);
  packFixed(env, out, sign, sign !== 0 ? -value : value, -BITS, false);
}

/** 2^a - 1 where |a| in `left` is one or more. */
function packOutermost(env: FpuEnvironment, out: Float80, a: Readonly<Float80>, sign: number): void {
  const isOne = left.exponent === EXPONENT_BIAS && left.hi === INTEGER_BIT && left.lo === 0;
  // AMD's processors take 2^1 - 1 for a little less than one, and every direction of rounding shows it.
  if (isOne && sign === 0) packFixed(env, out, 0, FIXED_ONE - 1n, -BITS, false);
  else if (isOne) packFixed(env, out, SIGN, FIXED_ONE, -BITS - 1, true);
  else {
    env.raised |= PRECISION;
    out.copy(a);
  }
}

/** out = y log2(x) (FYL2X: x is ST(0), y is ST(1)). `out` may be `x` or `y`. */
export function logarithm(env: FpuEnvironment, out: Float80, y: Readonly<Float80>, x: Readonly<Float80>): void {
  const classX = classify(x), classY = classify(y);
  if (settleNaNs(env, out, x, y, classX, classY)) return;
  const signY = y.se & SIGN;
  if (classX === ZERO_CLASS) {
    if (classY === ZERO_CLASS) invalid(env, out);
    else if (classY === INFINITY_CLASS || !zeroDivideStops(env)) setInfinity(out, signY ^ SIGN);
    return;
  }
  if ((x.se & SIGN) !== 0) {
    invalid(env, out);
    return;
  }
  if (classX === INFINITY_CLASS) {
    if (classY === ZERO_CLASS) invalid(env, out);
    else if (!denormalStops(env, classX, classY)) setInfinity(out, signY);
    return;
  }
  const isOne = x.se === EXPONENT_BIAS && x.hi === INTEGER_BIT && x.lo === 0;
  if (isOne && classY === INFINITY_CLASS) {
    invalid(env, out);
    return;
  }
  if (denormalStops(env, classX, classY)) return;
  // The logarithm of a number below one is negative.
  const sign = x.se < EXPONENT_BIAS ? signY ^ SIGN : signY;
  if (classY === INFINITY_CLASS) setInfinity(out, sign);
  else if (isOne || classY === ZERO_CLASS) setZero(out, sign);
  else {
    unpack(x, left);
    unpack(y, right);
    packProduct(env, out, sign, log2(significandOf(left), unitPower(left)), -BITS);
  }
}

/** log2(value * 2^power) for a positive value, in units of 2^-BITS. */
function log2(value: bigint, power: number): bigint {
  const length = bitLength(value);
  let fraction = scaled(value, BITS - (length - 1));
  let whole = power + length - 1;
  // Between 2/3 and 4/3, so that the logarithm of a number just below one is not the difference of two large ones.
  if (fraction * 3n > FIXED_ONE * 4n) {
    fraction >>= 1n;
    whole += 1;
  }
  const z = ((fraction - FIXED_ONE) << UNIT) / (fraction + FIXED_ONE);
  return (BigInt(whole) << UNIT) + (logarithmSeries(z, BITS) << UNIT) / lnOf2Fixed(BITS);
}

/** Packs |value| * 2^power * |right| with the given sign; a whole number of logarithms comes from a power of two and is exact. */
function packProduct(env: FpuEnvironment, out: Float80, sign: number, value: bigint, power: number): void {
  const magnitude = value < 0n ? -value : value;
  const exact = power === -BITS && (magnitude & (FIXED_ONE - 1n)) === 0n;
  packFixed(env, out, sign, magnitude * significandOf(right), power + unitPower(right), exact);
}

/**
 * out = y log2(x + 1) (FYL2XP1: x is ST(0), y is ST(1)). The SDM defines it for |x| < 1 - sqrt(2)/2; it is computed for
 * every x above -1, and smaller ones stay. `out` may be `x` or `y`.
 */
export function logarithmPlusOne(env: FpuEnvironment, out: Float80, y: Readonly<Float80>, x: Readonly<Float80>): void {
  const classX = classify(x), classY = classify(y);
  if (settleNaNs(env, out, x, y, classX, classY)) return;
  const signX = x.se & SIGN;
  const sign = signX ^ (y.se & SIGN);
  if (classX === INFINITY_CLASS) {
    if (signX !== 0 || classY === ZERO_CLASS) invalid(env, out);
    else if (!denormalStops(env, classX, classY)) setInfinity(out, sign);
    return;
  }
  if (classX === ZERO_CLASS && classY === INFINITY_CLASS) {
    invalid(env, out);
    return;
  }
  if (denormalStops(env, classX, classY)) return;
  if (classY === INFINITY_CLASS) setInfinity(out, sign);
  else if (classX === ZERO_CLASS || classY === ZERO_CLASS) setZero(out, sign);
  else {
    unpack(x, left);
    unpack(y, right);
    if (signX !== 0 && left.exponent >= EXPONENT_BIAS) {
      env.raised |= PRECISION;
      out.copy(x);
    } else packLogarithmPlusOne(env, out, sign);
  }
}

/** Packs right * log2(1 + left), of the given sign. */
function packLogarithmPlusOne(env: FpuEnvironment, out: Float80, sign: number): void {
  const significand = significandOf(left), power = unitPower(left);
  if (left.exponent < TINY) {
    packProduct(env, out, sign, (significand << 2n * UNIT) / lnOf2Fixed(BITS), power - BITS);
    return;
  }
  packProduct(env, out, sign, power > BITS ? log2(significand, power) : log2PlusOne(significand, power), -BITS);
}

/** log2(1 + x) for x = +-significand * 2^power with the sign of `left`, neither tiny nor beyond 2^BITS. */
function log2PlusOne(significand: bigint, power: number): bigint {
  const magnitude = scaled(significand, power + BITS);
  const x = left.sign !== 0 ? -magnitude : magnitude;
  if (magnitude * 2n >= FIXED_ONE) return log2(FIXED_ONE + x, -BITS);
  // ln(1 + x) = 2 artanh(x / (2 + x)) keeps the bits that 1 + x would cancel.
  return (logarithmSeries((x << UNIT) / (2n * FIXED_ONE + x), BITS) << UNIT) / lnOf2Fixed(BITS);
}
