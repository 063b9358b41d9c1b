// FRNDINT, FILD and FIST: rounding to an integer and conversion from and to 16-, 32- and 64-bit integers in memory
// (Intel SDM 1, 8.3.2 and 8.3.5; SDM 2A, FRNDINT, FILD and FIST). FISTTP is FIST with rounding set to ROUND_TO_ZERO.

import {
  Bits64,
  classify,
  EXPONENT_BIAS,
  EXTENDED_PRECISION,
  Float80,
  FpuEnvironment,
  INFINITY_CLASS,
  INVALID,
  LIMB,
  PRECISION,
  setZero,
  SIGN,
  ZERO_CLASS,
} from "./float80.ts";
import { denormalStops, settleNaN, unpack, Unpacked } from "./operands.ts";
import { Extended96, normaliseRoundAndPack, roundsAway } from "./rounding.ts";

/** The integer indefinite of each width, the masked answer to an invalid conversion (SDM 1, 4.2.1). */
export const INDEFINITE_INT16 = -0x8000, INDEFINITE_INT32 = -0x8000_0000, INDEFINITE_INT64_HI = 0x8000_0000;
/** Biased exponent from which every number is an integer, and from which no 64-bit integer holds it. */
const ALWAYS_INTEGER = EXPONENT_BIAS + 63, BEYOND_INT64 = EXPONENT_BIAS + 64;

const operand = new Unpacked();
const shifted = new Extended96();
/** Environment of conversions that are always exact. */
const exact = new FpuEnvironment();

/** A rounded magnitude; `fits` says whether 64 unsigned bits hold it. */
export class Magnitude implements Bits64 {
  hi = 0;
  lo = 0;
  fits = false;
  up = false;
  inexact = false;

  /** Rounds a finite value's magnitude to an integer; raises nothing. */
  round(a: Readonly<Float80>, isZero: boolean, rounding: number): void {
    this.up = this.inexact = false;
    this.fits = true;
    this.hi = this.lo = 0;
    if (isZero) return;
    unpack(a, operand);
    if (operand.exponent >= BEYOND_INT64) {
      this.fits = false;
      return;
    }
    shifted.shiftRight(operand.hi | 0, operand.lo | 0, 0, ALWAYS_INTEGER - operand.exponent);
    this.hi = shifted.hi;
    this.lo = shifted.lo;
    if (shifted.extra === 0) return;
    this.inexact = true;
    this.up = roundsAway(rounding, operand.sign, (shifted.lo & 1) !== 0, shifted.extra | 0);
    if (!this.up) return;
    // A number with a fraction is below 2^63, so that the carry stays in the high limb.
    this.lo += 1;
    if (this.lo === LIMB) {
      this.lo = 0;
      this.hi += 1;
    }
  }
}

const magnitude = new Magnitude();

/** out = a rounded to an integer in the environment's direction (FRNDINT). `out` may be `a`. */
export function roundToInteger(env: FpuEnvironment, out: Float80, a: Readonly<Float80>): void {
  const classA = classify(a);
  if (settleNaN(env, out, a, classA)) return;
  if (denormalStops(env, classA, ZERO_CLASS)) return;
  if (classA === ZERO_CLASS || classA === INFINITY_CLASS) {
    out.copy(a);
    return;
  }
  magnitude.round(a, false, env.rounding);
  if (!magnitude.fits) {
    out.copy(a);
    return;
  }
  const sign = a.se & SIGN;
  if (magnitude.hi === 0 && magnitude.lo === 0) setZero(out, sign);
  else {normaliseRoundAndPack(
      exact,
      out,
      sign,
      ALWAYS_INTEGER,
      magnitude.hi | 0,
      magnitude.lo | 0,
      0,
      EXTENDED_PRECISION,
    );}
  env.roundedUp = magnitude.up;
  if (magnitude.inexact) env.raised |= PRECISION;
}

/** out = a signed 16- or 32-bit integer, exactly (FILD). */
export function fromInt32(out: Float80, value: number): void {
  if (value === 0) setZero(out, 0);
  else {
    const sign = value < 0 ? SIGN : 0;
    normaliseRoundAndPack(exact, out, sign, ALWAYS_INTEGER, 0, Math.abs(value) | 0, 0, EXTENDED_PRECISION);
  }
}

/** out = the signed 64-bit integer whose two's complement limbs (unsigned) are hi:lo, exactly (FILD). */
export function fromInt64(out: Float80, hi: number, lo: number): void {
  fromSignAndMagnitude(
    out,
    hi >= LIMB / 2 ? SIGN : 0,
    hi >= LIMB / 2 ? (~hi + (lo === 0 ? 1 : 0)) >>> 0 : hi,
    hi >= LIMB / 2 ? -lo >>> 0 : lo,
  );
}

/** out = an integer given by its sign (0 or SIGN) and its 64-bit magnitude, exactly; zero keeps its sign. */
export function fromSignAndMagnitude(out: Float80, sign: number, hi: number, lo: number): void {
  if (hi === 0 && lo === 0) setZero(out, sign);
  else normaliseRoundAndPack(exact, out, sign, ALWAYS_INTEGER, hi | 0, lo | 0, 0, EXTENDED_PRECISION);
}

/** a as a signed 16-bit integer, rounded in the environment's direction; out of range raises IE and gives the indefinite. */
export function toInt16(env: FpuEnvironment, a: Readonly<Float80>): number {
  return toSmallInteger(env, a, INDEFINITE_INT16);
}

/** a as a signed 32-bit integer, as `toInt16`. */
export function toInt32(env: FpuEnvironment, a: Readonly<Float80>): number {
  return toSmallInteger(env, a, INDEFINITE_INT32);
}

/** Rounds to an integer in [least, -least - 1]; `least` is the indefinite too. */
function toSmallInteger(env: FpuEnvironment, a: Readonly<Float80>, least: number): number {
  const classA = classify(a);
  const negative = (a.se & SIGN) !== 0;
  if (classA < INFINITY_CLASS) {
    magnitude.round(a, classA === ZERO_CLASS, env.rounding);
    if (magnitude.fits && magnitude.hi === 0 && magnitude.lo <= (negative ? -least : -least - 1)) {
      reportInexact(env);
      // 0 - x instead of -x: there is no minus zero among the integers.
      return negative ? 0 - magnitude.lo : magnitude.lo;
    }
  }
  env.raised |= INVALID;
  return least;
}

/** a as a signed 64-bit integer in two's complement limbs, as `toInt16`. */
export function toInt64(env: FpuEnvironment, out: Bits64, a: Readonly<Float80>): void {
  const classA = classify(a);
  const negative = (a.se & SIGN) !== 0;
  if (classA < INFINITY_CLASS) {
    magnitude.round(a, classA === ZERO_CLASS, env.rounding);
    const { hi, lo } = magnitude;
    if (magnitude.fits && (hi < INDEFINITE_INT64_HI || (negative && hi === INDEFINITE_INT64_HI && lo === 0))) {
      reportInexact(env);
      out.hi = negative ? (~hi + (lo === 0 ? 1 : 0)) >>> 0 : hi;
      out.lo = negative ? -lo >>> 0 : lo;
      return;
    }
  }
  env.raised |= INVALID;
  out.hi = INDEFINITE_INT64_HI;
  out.lo = 0;
}

function reportInexact(env: FpuEnvironment): void {
  env.roundedUp = magnitude.up;
  if (magnitude.inexact) env.raised |= PRECISION;
}
