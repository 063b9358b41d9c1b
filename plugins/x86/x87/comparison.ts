// FCOM, FUCOM, FTST, FCOMI and FXAM: ordering and examination of 80-bit values (Intel SDM 1, 8.3.6; SDM 2A, FCOM,
// FUCOM, FCOMI and FXAM). Results are numbers; the instructions turn them into condition codes or EFLAGS.

import {
  classify,
  Float80,
  FpuEnvironment,
  INFINITY_CLASS,
  INVALID,
  QUIET_NAN_CLASS,
  SIGN,
  ZERO_CLASS,
} from "./float80.ts";
import { denormalStops, significandLess, unpack, Unpacked } from "./operands.ts";

/** Results of `compare`. */
export const LESS = -1, EQUAL = 0, GREATER = 1, UNORDERED = 2;

const left = new Unpacked(), right = new Unpacked();

/**
 * Compares a with b. NaNs and unsupported values give UNORDERED and raise IE; with `quiet` (FUCOM) a quiet NaN does not.
 * The condition codes take the result even when an unmasked exception keeps the instruction from popping.
 */
export function compare(env: FpuEnvironment, a: Readonly<Float80>, b: Readonly<Float80>, quiet: boolean): number {
  const classA = classify(a), classB = classify(b);
  if (classA >= QUIET_NAN_CLASS || classB >= QUIET_NAN_CLASS) {
    if (!quiet || classA > QUIET_NAN_CLASS || classB > QUIET_NAN_CLASS) env.raised |= INVALID;
    return UNORDERED;
  }
  denormalStops(env, classA, classB);
  const signA = a.se & SIGN;
  if (classA === ZERO_CLASS || classB === ZERO_CLASS) {
    if (classA === classB) return EQUAL;
    if (classA === ZERO_CLASS) return (b.se & SIGN) !== 0 ? GREATER : LESS;
    return signA !== 0 ? LESS : GREATER;
  }
  if (((a.se ^ b.se) & SIGN) !== 0) return signA !== 0 ? LESS : GREATER;
  const magnitude = compareMagnitude(a, b, classA, classB);
  return signA !== 0 ? 0 - magnitude : magnitude;
}

function compareMagnitude(a: Readonly<Float80>, b: Readonly<Float80>, classA: number, classB: number): number {
  if (classA === INFINITY_CLASS || classB === INFINITY_CLASS) {
    if (classA === classB) return EQUAL;
    return classA === INFINITY_CLASS ? GREATER : LESS;
  }
  unpack(a, left);
  unpack(b, right);
  if (left.exponent !== right.exponent) return left.exponent < right.exponent ? LESS : GREATER;
  if (significandLess(left.hi, left.lo, right.hi, right.lo)) return LESS;
  return left.hi === right.hi && left.lo === right.lo ? EQUAL : GREATER;
}

const ZERO = new Float80();

/** Compares a with +0 (FTST), as `compare`. */
export function compareWithZero(env: FpuEnvironment, a: Readonly<Float80>): number {
  return compare(env, a, ZERO, false);
}
