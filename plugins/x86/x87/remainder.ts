// FPREM and FPREM1: the exact partial remainder, truncating or to nearest, with the low quotient bits that go into the
// condition codes (Intel SDM 1, 8.3.5; SDM 2A, FPREM and FPREM1).

import {
  classify,
  EXTENDED_PRECISION,
  Float80,
  FpuEnvironment,
  INFINITY_CLASS,
  setZero,
  SIGN,
  ZERO_CLASS,
} from "./float80.ts";
import { DIGIT_BITS, Remainder } from "./division.ts";
import { denormalStops, invalid, settleNaNs, significandLess, unpack, Unpacked } from "./operands.ts";
import { normaliseRoundAndPack } from "./rounding.ts";

/** Set in the result while the reduction is incomplete (C2); otherwise the result is the quotient's low three bits. */
export const INCOMPLETE = 1 << 3;
/** The quotient bits that the condition codes report: Q2, Q1, Q0 go to C0, C3, C1. */
export const QUOTIENT_BITS = 7;
/** Exponent differences below this are reduced at once. */
const COMPLETE_BELOW = 64;

const left = new Unpacked(), right = new Unpacked();
const rest = new Remainder();

/**
 * out = a - q b with q = a / b truncated (FPREM) or, with `nearest`, rounded to the nearest, ties to even (FPREM1).
 * Returns q modulo 8, or INCOMPLETE if only part of the exponent difference was taken off, for the instruction to be repeated.
 * Returns 0 for invalid operands. `out` may be `a` or `b`.
 */
export function remainder(
  env: FpuEnvironment,
  out: Float80,
  a: Readonly<Float80>,
  b: Readonly<Float80>,
  nearest: boolean,
): number {
  const classA = classify(a), classB = classify(b);
  if (settleNaNs(env, out, a, b, classA, classB)) return 0;
  if (classA === INFINITY_CLASS || classB === ZERO_CLASS) {
    invalid(env, out);
    return 0;
  }
  if (denormalStops(env, classA, classB)) return 0;
  if (classA === ZERO_CLASS) {
    out.copy(a);
    return 0;
  }
  unpack(a, left);
  if (classB === INFINITY_CLASS) {
    pack(env, out, left.sign, left.exponent, left.hi, left.lo);
    return 0;
  }
  unpack(b, right);
  const difference = left.exponent - right.exponent;
  if (difference < 0) return keep(env, out, nearest && difference === -1);
  if (difference >= COMPLETE_BELOW) {
    const reduced = (difference & 31) + 32;
    reduce(reduced);
    pack(env, out, left.sign, left.exponent - reduced, rest.hi, rest.lo);
    return INCOMPLETE;
  }
  let quotient = reduce(difference);
  let sign = left.sign;
  if (nearest && roundsUp(quotient)) {
    quotient += 1;
    complement();
    sign ^= SIGN;
  }
  pack(env, out, sign, right.exponent, rest.hi, rest.lo);
  return quotient & QUOTIENT_BITS;
}

/** A dividend with the smaller exponent: it stays, unless it is nearer to the divisor than to zero (`close`). */
function keep(env: FpuEnvironment, out: Float80, close: boolean): number {
  // With an exponent one below the divisor's, the dividend passes half the divisor if its significand is the larger.
  if (!close || !significandLess(right.hi, right.lo, left.hi, left.lo)) {
    pack(env, out, left.sign, left.exponent, left.hi, left.lo);
    return 0;
  }
  // divisor - dividend, in units of the dividend: 2 b - a = b - (a - b).
  rest.hi = left.hi;
  rest.lo = left.lo;
  rest.subtract(right.hi, right.lo);
  complement();
  pack(env, out, left.sign ^ SIGN, left.exponent, rest.hi, rest.lo);
  return 1;
}

/** rest = left * 2^bits mod right, in units of right; returns the quotient's low bits. */
function reduce(bits: number): number {
  rest.hi = left.hi;
  rest.lo = left.lo;
  let quotient = 0;
  if (!significandLess(rest.hi, rest.lo, right.hi, right.lo)) {
    rest.subtract(right.hi, right.lo);
    quotient = 1;
  }
  for (let remaining = bits; remaining > 0; remaining -= DIGIT_BITS) {
    const step = Math.min(remaining, DIGIT_BITS);
    quotient = quotient << step | rest.divide(step, right.hi | 0, right.lo | 0);
  }
  return quotient;
}

function roundsUp(quotient: number): boolean {
  const half = rest.compareDouble(right.hi, right.lo);
  return half > 0 || (half === 0 && (quotient & 1) !== 0);
}

/** rest = right - rest. */
function complement(): void {
  const { hi, lo } = rest;
  rest.hi = right.hi;
  rest.lo = right.lo;
  rest.subtract(hi, lo);
}

/** Packs an exact remainder; zero takes the dividend's sign. */
function pack(env: FpuEnvironment, out: Float80, sign: number, exponent: number, hi: number, lo: number): void {
  if (hi === 0 && lo === 0) setZero(out, left.sign);
  else normaliseRoundAndPack(env, out, sign, exponent, hi, lo, 0, EXTENDED_PRECISION);
}
