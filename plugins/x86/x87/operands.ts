// What every x87 operation does with its operands before it computes: unpacking, invalid operands, propagation of
// NaNs and the denormal-operand exception, in the order of precedence of Intel SDM 1, 4.9.2 and table 4-7.

import {
  DENORMAL_CLASS,
  DENORMAL_OPERAND,
  EXPONENT_MASK,
  Float80,
  FpuEnvironment,
  INVALID,
  QUIET_BIT,
  QUIET_NAN_CLASS,
  setIndefinite,
  SIGN,
  SIGNALLING_NAN_CLASS,
  UNSUPPORTED_CLASS,
  ZERO_DIVIDE,
} from "./float80.ts";

/** A finite nonzero number with its integer bit set: (hi:lo) * 2^(exponent - bias - 63); the exponent may lie below 1. */
export class Unpacked {
  sign = 0;
  exponent = 0;
  hi = 0;
  lo = 0;
}

/** Unpacks a finite nonzero supported value, normalising denormals. */
export function unpack(x: Readonly<Float80>, into: Unpacked): void {
  let exponent = x.se & EXPONENT_MASK;
  let hi = x.hi, lo = x.lo;
  if (exponent === 0) {
    exponent = 1;
    if (hi === 0) {
      hi = lo;
      lo = 0;
      exponent -= 32;
    }
    const shift = Math.clz32(hi);
    if (shift !== 0) {
      hi = (hi << shift | lo >>> (32 - shift)) >>> 0;
      lo = lo << shift >>> 0;
      exponent -= shift;
    }
  }
  into.sign = x.se & SIGN;
  into.exponent = exponent;
  into.hi = hi;
  into.lo = lo;
}

/** Raises IE; the masked answer is the real indefinite. */
export function invalid(env: FpuEnvironment, out: Float80): void {
  env.raised |= INVALID;
  if ((env.masks & INVALID) !== 0) setIndefinite(out);
}

/** Raises DE if an operand is denormal. Returns true when DE is unmasked, so that the operation must stop. */
export function denormalStops(env: FpuEnvironment, classA: number, classB: number): boolean {
  if (classA !== DENORMAL_CLASS && classB !== DENORMAL_CLASS && !env.denormalOperand) return false;
  env.raised |= DENORMAL_OPERAND;
  return (env.masks & DENORMAL_OPERAND) === 0;
}

/** Raises ZE. Returns true when ZE is unmasked, so that the operation must stop. */
export function zeroDivideStops(env: FpuEnvironment): boolean {
  env.raised |= ZERO_DIVIDE;
  return (env.masks & ZERO_DIVIDE) === 0;
}

function quieten(out: Float80, nan: Readonly<Float80>): void {
  out.set(nan.se, (nan.hi | QUIET_BIT) >>> 0, nan.lo);
}

/**
 * Settles an operation on one operand that is a NaN or unsupported. Returns whether it was: then `out` holds the
 * answer unless an unmasked IE suppresses it.
 */
export function settleNaN(env: FpuEnvironment, out: Float80, a: Readonly<Float80>, classA: number): boolean {
  if (classA < QUIET_NAN_CLASS) return false;
  if (classA === UNSUPPORTED_CLASS) {
    invalid(env, out);
    return true;
  }
  if (classA === SIGNALLING_NAN_CLASS) {
    env.raised |= INVALID;
    if ((env.masks & INVALID) === 0) return true;
  }
  quieten(out, a);
  return true;
}

/** As `settleNaN` for two operands, choosing between two NaNs as SDM 1, table 4-7 says. */
export function settleNaNs(
  env: FpuEnvironment,
  out: Float80,
  a: Readonly<Float80>,
  b: Readonly<Float80>,
  classA: number,
  classB: number,
): boolean {
  if (classA < QUIET_NAN_CLASS && classB < QUIET_NAN_CLASS) return false;
  if (classA === UNSUPPORTED_CLASS || classB === UNSUPPORTED_CLASS) {
    invalid(env, out);
    return true;
  }
  if (classA === SIGNALLING_NAN_CLASS || classB === SIGNALLING_NAN_CLASS) {
    env.raised |= INVALID;
    if ((env.masks & INVALID) === 0) return true;
  }
  quieten(out, choosesFirst(a, b, classA, classB) ? a : b);
  return true;
}

function choosesFirst(a: Readonly<Float80>, b: Readonly<Float80>, classA: number, classB: number): boolean {
  if (classB < QUIET_NAN_CLASS) return true;
  if (classA < QUIET_NAN_CLASS) return false;
  if (classA !== classB) return classA === QUIET_NAN_CLASS;
  if (a.hi !== b.hi) return a.hi > b.hi;
  if (a.lo !== b.lo) return a.lo > b.lo;
  return a.se <= b.se;
}

/** Whether the significand (hiA:loA) is less than (hiB:loB); limbs may be signed. */
export function significandLess(hiA: number, loA: number, hiB: number, loB: number): boolean {
  const a = hiA >>> 0, b = hiB >>> 0;
  return a < b || (a === b && loA >>> 0 < loB >>> 0);
}
