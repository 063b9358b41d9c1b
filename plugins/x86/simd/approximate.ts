// RCPPS, RCPSS, RSQRTPS and RSQRTSS: approximations with a relative error of at most 1.5 * 2^-12, which read and raise nothing
// in MXCSR (Intel SDM 2B, RCPPS and RSQRTPS). Processors differ in the bits; here a result is the quotient, rounded to twelve
// fraction bits (an error of 2^-13) from binary64, and therefore the same on every host.

import type { Binder } from "../interpreter/operation.ts";
import { byForm, readOperand, requireSse } from "./entry.ts";
import { destination, type Lanes, loadXmm, source, storeXmm, XMM_BYTES } from "./lanes.ts";
import { copyQuiet, setIndefinite, SINGLE } from "./scalar.ts";

/** Fraction bits of binary32 that are dropped, and half a unit of those that stay. */
const DROPPED_BITS = 0x7ff, HALF_UNIT = 0x400;

/** Rounds an element to twelve fraction bits; a carry into the exponent is right as it is. */
function shorten(to: Lanes, index: number): void {
  to.i32[index] = (to.i32[index] + HALF_UNIT) & ~DROPPED_BITS;
}

/** The operand's value, denormals being zeros of their sign whatever DAZ says. */
function operand(from: Lanes, index: number): number {
  const value = from.f32[index];
  return Math.abs(value) < SINGLE.smallestNormal ? 0 * value : value;
}

/** A result that would be denormal is a zero. */
function reciprocal(to: Lanes, from: Lanes, index: number): void {
  const value = operand(from, index);
  if (Number.isNaN(value)) return copyQuiet(SINGLE, to, from, index);
  const quotient = 1 / value;
  to.f32[index] = Math.abs(quotient) < SINGLE.smallestNormal ? 0 * quotient : quotient;
  if (Number.isFinite(quotient)) shorten(to, index);
}

/** A negative operand gives the indefinite; -0, and a negative denormal, minus infinity. */
function reciprocalSquareRoot(to: Lanes, from: Lanes, index: number): void {
  const value = operand(from, index);
  if (Number.isNaN(value)) return copyQuiet(SINGLE, to, from, index);
  if (value < 0) return setIndefinite(SINGLE, to, index);
  const quotient = value === 0 ? 1 / value : 1 / Math.sqrt(value);
  to.f32[index] = quotient;
  if (Number.isFinite(quotient)) shorten(to, index);
}

function approximation(element: (to: Lanes, from: Lanes, index: number) => void, count: number): Binder {
  const bytes = count * XMM_BYTES / 4;
  return byForm(
    (cpu, op) => {
      requireSse(cpu);
      loadXmm(cpu, op.rm, source);
      loadXmm(cpu, op.reg, destination);
      for (let i = 0; i < count; i++) element(destination, source, i);
      storeXmm(cpu, op.reg, destination);
    },
    (cpu, op) => {
      requireSse(cpu);
      readOperand(cpu, op, bytes, source);
      loadXmm(cpu, op.reg, destination);
      for (let i = 0; i < count; i++) element(destination, source, i);
      storeXmm(cpu, op.reg, destination);
    },
  );
}

export const approximationBinders: Readonly<Record<string, Binder>> = {
  rcpps: approximation(reciprocal, 4),
  rcpss: approximation(reciprocal, 1),
  rsqrtps: approximation(reciprocalSquareRoot, 4),
  rsqrtss: approximation(reciprocalSquareRoot, 1),
};
