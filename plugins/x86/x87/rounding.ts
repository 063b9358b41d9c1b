// Rounding of an exact or sticky-extended result to the precision asked for, and packing it with overflow, underflow
// and inexact reported as the x87 does: tininess is detected after rounding (Intel SDM 1, 4.8.4 and 8.5.4 to 8.5.6).
// Limbs are passed as signed 32-bit integers (x | 0) on hot paths: V8 boxes an argument of 2^31 or more, which cost an
// addition 33 bytes of garbage; functions here take both and make them unsigned.

import {
  DOUBLE_PRECISION,
  EXPONENT_WRAP,
  EXTENDED_PRECISION,
  Float80,
  FpuEnvironment,
  INTEGER_BIT,
  LIMB,
  MAX_EXPONENT,
  OVERFLOW,
  PRECISION,
  ROUND_DOWN,
  ROUND_NEAREST,
  ROUND_UP,
  setInfinity,
  SIGN,
  UNDERFLOW,
} from "./float80.ts";

/** `extra` holds the bits below the significand: its top bit is worth half a unit, the rest is sticky. */
const HALF_UNIT = 0x8000_0000;
/** Bits of a significand that single and double precision drop: the low byte of `hi` with all of `lo`; 11 bits of `lo`. */
const SINGLE_DROPPED = 0xff, DOUBLE_DROPPED = 0x7ff;

/** A significand with the bits below it. */
export class Extended96 {
  hi = 0;
  lo = 0;
  extra = 0;

  /** Shifts a significand right by `count` >= 0 bits into this one; whatever falls out stays as a sticky bit. */
  shiftRight(hi: number, lo: number, extra: number, count: number): void {
    hi >>>= 0;
    lo >>>= 0;
    extra >>>= 0;
    if (count >= 32) {
      if (count >= 96) {
        this.extra = (hi | lo | extra) === 0 ? 0 : 1;
        this.hi = this.lo = 0;
        return;
      }
      extra = (lo | (extra === 0 ? 0 : 1)) >>> 0;
      lo = hi;
      hi = 0;
      count -= 32;
      if (count >= 32) {
        extra = (lo | (extra === 0 ? 0 : 1)) >>> 0;
        lo = 0;
        count -= 32;
      }
    }
    if (count === 0) {
      this.hi = hi;
      this.lo = lo;
      this.extra = extra;
      return;
    }
    const left = 32 - count;
    this.hi = hi >>> count;
    this.lo = (hi << left | lo >>> count) >>> 0;
    this.extra = (lo << left | extra >>> count | ((extra << left) === 0 ? 0 : 1)) >>> 0;
  }
}

/** A significand after rounding. `carried` says that it reached 2^64 (`hi` is then the integer bit of twice the weight). */
export class Rounded {
  hi = 0;
  lo = 0;
  carried = false;
  inexact = false;
  up = false;

  /** Rounds (hi:lo:extra) to the first `precision` bits of the 64; it need not be normalised. `negative` is a sign, 0 or not. */
  round(rounding: number, precision: number, negative: number, hi: number, lo: number, extra: number): void {
    hi >>>= 0;
    lo >>>= 0;
    extra >>>= 0;
    let unit = 1;
    if (precision !== EXTENDED_PRECISION) {
      if (precision === DOUBLE_PRECISION) {
        extra = (lo << 21 | (extra === 0 ? 0 : 1)) >>> 0;
        lo = (lo & ~DOUBLE_DROPPED) >>> 0;
        unit = DOUBLE_DROPPED + 1;
      } else {
        extra = (hi << 24 | ((lo | extra) === 0 ? 0 : 1)) >>> 0;
        hi = (hi & ~SINGLE_DROPPED) >>> 0;
        lo = 0;
        unit = 0;
      }
    }
    this.inexact = extra !== 0;
    this.carried = false;
    this.up = false;
    if (extra !== 0) {
      const odd = unit === 0 ? (hi & (SINGLE_DROPPED + 1)) !== 0 : (lo & unit) !== 0;
      if (roundsAway(rounding, negative, odd, extra | 0)) {
        this.up = true;
        if (unit === 0) {
          hi += SINGLE_DROPPED + 1;
        } else {
          lo += unit;
          if (lo >= LIMB) {
            lo -= LIMB;
            hi += 1;
          }
        }
        if (hi >= LIMB) {
          hi = INTEGER_BIT;
          this.carried = true;
        }
      }
    }
    this.hi = hi;
    this.lo = lo;
  }
}

/** Whether a magnitude with the nonzero bits `extra` below it is rounded away from zero. */
export function roundsAway(rounding: number, negative: number, odd: boolean, extra: number): boolean {
  if (rounding === ROUND_NEAREST) {
    const bits = extra >>> 0;
    return bits > HALF_UNIT || (bits === HALF_UNIT && odd);
  }
  return negative !== 0 ? rounding === ROUND_DOWN : rounding === ROUND_UP;
}

const rounded = new Rounded();
const shifted = new Extended96();

/**
 * Rounds a normalised significand to `precision` bits and packs it into `out`, raising OE, UE and PE.
 * `exponent` is biased and may lie outside the format's range; `sign` is 0 or SIGN.
 */
export function roundAndPack(
  env: FpuEnvironment,
  out: Float80,
  sign: number,
  exponent: number,
  hi: number,
  lo: number,
  extra: number,
  precision: number,
): void {
  rounded.round(env.rounding, precision, sign, hi, lo, extra);
  const biased = rounded.carried ? exponent + 1 : exponent;
  if (exponent <= 0) {
    // A result that rounding with an unbounded exponent lifts to the smallest normal number is not tiny.
    packTiny(env, out, sign, exponent, hi, lo, extra, precision, biased <= 0);
    return;
  }
  if (biased > MAX_EXPONENT) {
    packHuge(env, out, sign, biased, precision);
    return;
  }
  env.roundedUp = rounded.up;
  if (rounded.inexact) env.raised |= PRECISION;
  out.set(sign | biased, rounded.hi, rounded.lo);
}

function packTiny(
  env: FpuEnvironment,
  out: Float80,
  sign: number,
  exponent: number,
  hi: number,
  lo: number,
  extra: number,
  precision: number,
  tiny: boolean,
): void {
  if (tiny && (env.masks & UNDERFLOW) === 0) {
    const biased = rounded.carried ? exponent + 1 : exponent;
    env.raised |= UNDERFLOW | (rounded.inexact ? PRECISION : 0);
    env.roundedUp = rounded.up;
    out.set(sign | (biased + EXPONENT_WRAP), rounded.hi, rounded.lo);
    return;
  }
  shifted.shiftRight(hi, lo, extra, 1 - exponent);
  rounded.round(env.rounding, precision, sign, shifted.hi | 0, shifted.lo | 0, shifted.extra | 0);
  env.roundedUp = rounded.up;
  if (rounded.inexact) env.raised |= tiny ? UNDERFLOW | PRECISION : PRECISION;
  out.set(sign | (rounded.hi >= INTEGER_BIT ? 1 : 0), rounded.hi, rounded.lo);
}

/** Packs the overflowed significand in `rounded`. */
function packHuge(env: FpuEnvironment, out: Float80, sign: number, biased: number, precision: number): void {
  if ((env.masks & OVERFLOW) === 0) {
    env.raised |= OVERFLOW | (rounded.inexact ? PRECISION : 0);
    env.roundedUp = rounded.up;
    out.set(sign | (biased - EXPONENT_WRAP), rounded.hi, rounded.lo);
    return;
  }
  env.raised |= OVERFLOW | PRECISION;
  // The largest finite number stands for every larger one when rounding goes towards zero.
  env.roundedUp = overflowsToInfinity(env.rounding, sign);
  if (env.roundedUp) setInfinity(out, sign);
  else if (precision === EXTENDED_PRECISION) out.set(sign | MAX_EXPONENT, LIMB - 1, LIMB - 1);
  else if (precision === DOUBLE_PRECISION) out.set(sign | MAX_EXPONENT, LIMB - 1, LIMB - 1 - DOUBLE_DROPPED);
  else out.set(sign | MAX_EXPONENT, LIMB - 1 - SINGLE_DROPPED, 0);
}

/** Whether a masked overflow gives infinity rather than the largest finite number (SDM 1, table 4-10). */
export function overflowsToInfinity(rounding: number, sign: number): boolean {
  return rounding === ROUND_NEAREST || rounding === (sign !== 0 ? ROUND_DOWN : ROUND_UP);
}

/** Normalises a nonzero significand with its extra bits and packs it as `roundAndPack` does. */
export function normaliseRoundAndPack(
  env: FpuEnvironment,
  out: Float80,
  sign: number,
  exponent: number,
  hi: number,
  lo: number,
  extra: number,
  precision: number,
): void {
  while (hi === 0) {
    hi = lo;
    lo = extra;
    extra = 0;
    exponent -= 32;
  }
  const shift = Math.clz32(hi);
  if (shift !== 0) {
    hi = hi << shift | lo >>> (32 - shift);
    lo = lo << shift | extra >>> (32 - shift);
    extra <<= shift;
    exponent -= shift;
  }
  roundAndPack(env, out, sign, exponent, hi, lo, extra, precision);
}

/** The sign bit of a sum that cancels exactly: minus only when rounding down (SDM 1, 4.8.3.1). */
export function signOfZeroSum(rounding: number): number {
  return rounding === ROUND_DOWN ? SIGN : 0;
}
