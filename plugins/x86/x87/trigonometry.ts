// FSIN, FCOS, FSINCOS, FPTAN and FPATAN (Intel SDM 1, 8.3.7 and 8.3.8; SDM 2A, FSIN, FPTAN and, with its table of
// infinities and zeros, FPATAN). Angles are reduced by the FPU's own pi, which has 66 bits.

import {
  classify,
  EXPONENT_BIAS,
  Float80,
  FpuEnvironment,
  INFINITY_CLASS,
  QUIET_NAN_CLASS,
  setZero,
  SIGN,
  ZERO_CLASS,
} from "./float80.ts";
import { loadConstant, ONE } from "./constants.ts";
import {
  arctangentSeries,
  cosineSeries,
  packFixed,
  piFixed,
  scaled,
  significandOf,
  sineSeries,
  unitPower,
} from "./fixed-point.ts";
import { denormalStops, invalid, settleNaN, settleNaNs, significandLess, unpack, Unpacked } from "./operands.ts";

/** pi / 2 as the FPU knows it, in units of 2^-HALF_PI_BITS (SDM 1, 8.3.8). */
const HALF_PI = 0x3_243f_6a88_85a3_08d3n, HALF_PI_BITS = 65;
/** Bits of precision kept below an operand's own unit, and below the unit of a result about one. */
const GUARD_BITS = 128, RESULT_BITS = 200;
/** Biased exponent from which an angle is out of range, and below which the first term of a series is the result. */
const OUT_OF_RANGE = EXPONENT_BIAS + 63, TINY_ANGLE = EXPONENT_BIAS - 70;
/** From this difference of exponents on, atan(y / x) = y / x to more than 64 bits. */
const TINY_RATIO = 70;

const left = new Unpacked(), right = new Unpacked();

/** sin(a) (FSIN). Returns false, and writes nothing, if |a| >= 2^63: the instruction then sets C2. `out` may be `a`. */
export function sine(env: FpuEnvironment, out: Float80, a: Readonly<Float80>): boolean {
  const classA = classify(a);
  if (isSettled(env, out, a, classA)) return true;
  if (classA === ZERO_CLASS) out.copy(a);
  else {
    if (!reduce(a)) return false;
    packReduced(env, out, angle.quadrant, a.se & SIGN);
  }
  return true;
}

/** cos(a) (FCOS), as `sine`. */
export function cosine(env: FpuEnvironment, out: Float80, a: Readonly<Float80>): boolean {
  const classA = classify(a);
  if (isSettled(env, out, a, classA)) return true;
  if (classA === ZERO_CLASS) loadConstant(env, out, ONE);
  else {
    if (!reduce(a)) return false;
    packReduced(env, out, angle.quadrant + 1, 0);
  }
  return true;
}

/** sin(a) and cos(a) (FSINCOS), as `sine`; `sineOut` may be `a`. */
export function sineCosine(
  env: FpuEnvironment,
  sineOut: Float80,
  cosineOut: Float80,
  a: Readonly<Float80>,
): boolean {
  const classA = classify(a);
  const sign = a.se & SIGN;
  if (isSettled(env, sineOut, a, classA)) {
    if (!env.suppressed()) cosineOut.copy(sineOut);
  } else if (classA === ZERO_CLASS) {
    sineOut.copy(a);
    loadConstant(env, cosineOut, ONE);
  } else {
    if (!reduce(a)) return false;
    // C1 tells of the sine, which therefore comes last.
    packReduced(env, cosineOut, angle.quadrant + 1, 0);
    packReduced(env, sineOut, angle.quadrant, sign);
  }
  return true;
}

/** tan(a), and the one that FPTAN pushes after it (a NaN if tan(a) is one), as `sine`; `out` may be `a`. */
export function tangent(env: FpuEnvironment, out: Float80, one: Float80, a: Readonly<Float80>): boolean {
  const classA = classify(a);
  if (isSettled(env, out, a, classA)) {
    if (!env.suppressed()) one.copy(out);
    return true;
  }
  if (classA === ZERO_CLASS) out.copy(a);
  else {
    if (!reduce(a)) return false;
    packTangent(env, out, a.se & SIGN);
  }
  loadConstant(env, one, ONE);
  return true;
}

/** Settles NaNs, infinities and denormals; returns whether the operation is over. */
function isSettled(env: FpuEnvironment, out: Float80, a: Readonly<Float80>, classA: number): boolean {
  if (settleNaN(env, out, a, classA)) return true;
  if (classA === INFINITY_CLASS) {
    invalid(env, out);
    return true;
  }
  return denormalStops(env, classA, ZERO_CLASS);
}

/** |a| = quadrant * pi/2 + rest with |rest| <= pi/4, in units of 2^-bits; a tiny one stays in `left`. */
const angle = { quadrant: 0, rest: 0n, bits: 0, tiny: false };

function reduce(a: Readonly<Float80>): boolean {
  unpack(a, left);
  if (left.exponent >= OUT_OF_RANGE) return false;
  const significand = significandOf(left), power = unitPower(left);
  angle.quadrant = 0;
  angle.tiny = left.exponent < TINY_ANGLE;
  if (angle.tiny) return true;
  if (power < -HALF_PI_BITS) {
    // Below a half: nothing to reduce.
    angle.bits = GUARD_BITS - power;
    angle.rest = significand << BigInt(GUARD_BITS);
    return true;
  }
  const whole = scaled(significand, power + HALF_PI_BITS);
  const turns = (whole + HALF_PI / 2n) / HALF_PI;
  angle.quadrant = Number(turns & 3n);
  angle.bits = HALF_PI_BITS + GUARD_BITS;
  angle.rest = (whole - turns * HALF_PI) << BigInt(GUARD_BITS);
  return true;
}

/** Packs the sine of quadrant * pi/2 + rest, its sign flipped by `sign`. */
function packReduced(env: FpuEnvironment, out: Float80, quadrant: number, sign: number): void {
  const cosineOfRest = (quadrant & 1) !== 0;
  if ((quadrant & 2) !== 0) sign ^= SIGN;
  if (angle.tiny) {
    // sin x is a little less than x, cos x a little less than one.
    const value = cosineOfRest ? 1n << BigInt(RESULT_BITS) : significandOf(left) << BigInt(GUARD_BITS);
    packFixed(env, out, sign, value - 1n, cosineOfRest ? -RESULT_BITS : unitPower(left) - GUARD_BITS, false);
    return;
  }
  const { rest, bits } = angle;
  packSigned(env, out, sign, cosineOfRest ? cosineSeries(rest, bits) : sineSeries(rest, bits), -bits);
}

function packTangent(env: FpuEnvironment, out: Float80, sign: number): void {
  if (angle.tiny) {
    // tan x is a little more than x.
    packFixed(env, out, sign, (significandOf(left) << BigInt(GUARD_BITS)) + 1n, unitPower(left) - GUARD_BITS, false);
    return;
  }
  const { rest, bits, quadrant } = angle;
  const sineOfRest = sineSeries(rest, bits), cosineOfRest = cosineSeries(rest, bits);
  const value = (quadrant & 1) !== 0
    ? -(cosineOfRest << BigInt(bits)) / sineOfRest
    : (sineOfRest << BigInt(bits)) / cosineOfRest;
  packSigned(env, out, sign, value, -bits);
}

function packSigned(env: FpuEnvironment, out: Float80, sign: number, value: bigint, power: number): void {
  if (value < 0n) packFixed(env, out, sign ^ SIGN, -value, power, false);
  else packFixed(env, out, sign, value, power, false);
}

/** The angle of the point (x, y), in (-pi, pi] with the sign of y (FPATAN: x is ST(0), y is ST(1)). */
export function arctangent(env: FpuEnvironment, out: Float80, y: Readonly<Float80>, x: Readonly<Float80>): void {
  const classX = classify(x), classY = classify(y);
  if (classX >= QUIET_NAN_CLASS || classY >= QUIET_NAN_CLASS) {
    settleNaNs(env, out, x, y, classX, classY);
    return;
  }
  if (denormalStops(env, classX, classY)) return;
  const sign = y.se & SIGN;
  const eighths = eighthsOfTurn(classX, classY, (x.se & SIGN) !== 0);
  if (eighths === 0) setZero(out, sign);
  else if (eighths > 0) packFixed(env, out, sign, piFixed(RESULT_BITS) * BigInt(eighths), -RESULT_BITS - 2, false);
  else {
    unpack(y, left);
    unpack(x, right);
    packArctangent(env, out, left, right);
  }
}

/** The angle in units of pi/4 where a zero or an infinity determines it, or -1. */
function eighthsOfTurn(classX: number, classY: number, negativeX: boolean): number {
  if (classY === INFINITY_CLASS && classX === INFINITY_CLASS) return negativeX ? 3 : 1;
  if (classY === ZERO_CLASS || classX === INFINITY_CLASS) return negativeX ? 4 : 0;
  if (classX === ZERO_CLASS || classY === INFINITY_CLASS) return 2;
  return -1;
}

function packArctangent(env: FpuEnvironment, out: Float80, y: Readonly<Unpacked>, x: Readonly<Unpacked>): void {
  const steep = y.exponent > x.exponent ||
    (y.exponent === x.exponent && significandLess(x.hi, x.lo, y.hi, y.lo));
  const small = steep ? x : y, large = steep ? y : x;
  const difference = large.exponent - small.exponent;
  const numerator = significandOf(small), denominator = significandOf(large);
  if (!steep && x.sign === 0 && difference >= TINY_RATIO) {
    // atan t is a little less than t.
    const shift = BigInt(GUARD_BITS);
    const dividend = numerator << shift;
    const quotient = dividend / denominator;
    const value = quotient * denominator === dividend ? quotient * 2n - 1n : quotient * 2n;
    packFixed(env, out, y.sign, value, -difference - GUARD_BITS - 1, false);
    return;
  }
  // The ratio of a difference that is not tiny, or that is added to a large angle, keeps enough bits in fixed point.
  const bits = RESULT_BITS + GUARD_BITS;
  const ratio = scaled(numerator, bits - difference) / denominator;
  let value = arctangentSeries(ratio, bits);
  const pi = piFixed(bits);
  if (steep) value = x.sign !== 0 ? pi / 2n + value : pi / 2n - value;
  else if (x.sign !== 0) value = pi - value;
  packFixed(env, out, y.sign, value, -bits, false);
}
