// ADDPS to SQRTSD: arithmetic in four forms. An element is computed exactly, in the extended precision of the x87's
// arithmetic with a sticky bit, and rounded once (Intel SDM 1, 10.4.1.2 and 11.4.1.2); where no flag can change and the result
// is normal, JavaScript's own arithmetic gives the same bits: correctly rounded to nearest in binary64, and for binary32
// rounded twice innocuously, since 53 >= 2 * 24 + 2 (Figueroa, SIGNUM Newsletter 30(3), 1995).

import type { Binder, Handler } from "../interpreter/operation.ts";
import * as S from "../state.ts";
import { add, subtract } from "../x87/addition.ts";
import { divide } from "../x87/division.ts";
import {
  DENORMAL_CLASS,
  EXTENDED_PRECISION,
  Float80,
  FpuEnvironment,
  INVALID,
  PRECISION,
  QUIET_NAN_CLASS,
  ROUND_DOWN,
  ROUND_TO_ZERO,
  setZero,
  SIGN,
  SIGNALLING_NAN_CLASS,
  ZERO_CLASS,
  ZERO_DIVIDE,
} from "../x87/float80.ts";
import { operandFromFloat32, operandFromFloat64 } from "../x87/formats.ts";
import { multiply } from "../x87/multiplication.ts";
import { squareRoot } from "../x87/square-root.ts";
import { byForm, readOperand, requireSse } from "./entry.ts";
import { allowsNative, environment } from "./environment.ts";
import { destination, type Lanes, loadXmm, source, storeXmm, XMM_BYTES } from "./lanes.ts";
import {
  classOf,
  copyElement,
  copyQuiet,
  DOUBLE,
  type Format,
  noteDenormals,
  roundTo,
  setInvalid,
  SINGLE,
  valueOf,
} from "./scalar.ts";

/** An operation: element `index` of a = a op b, with its exceptions. */
export type ElementOperation = (format: Format, a: Lanes, b: Lanes, index: number) => void;

/** Tries an operation natively; false where it needs the exact one, `a` then being unchanged. */
type NativeOperation = (format: Format, a: Lanes, b: Lanes, index: number) => boolean;

/** Binder of a float instruction on `count` elements: all that fit for a packed form, one for a scalar form. */
export function floatOperation(
  format: Format,
  isPacked: boolean,
  exact: ElementOperation,
  native?: NativeOperation,
): Binder {
  const count = isPacked ? XMM_BYTES / format.bytes : 1, bytes = count * format.bytes;
  const compute: Handler = (cpu, op) => {
    loadXmm(cpu, op.reg, destination);
    let index = 0;
    if (native !== undefined && allowsNative(cpu)) {
      while (index < count && native(format, destination, source, index)) index++;
    }
    if (index < count) {
      environment.begin(cpu.r[S.MXCSR]);
      for (; index < count; index++) exact(format, destination, source, index);
      environment.settle(cpu);
    }
    storeXmm(cpu, op.reg, destination);
  };
  return byForm(
    (cpu, op) => {
      requireSse(cpu);
      loadXmm(cpu, op.rm, source);
      compute(cpu, op);
    },
    (cpu, op) => {
      requireSse(cpu);
      readOperand(cpu, op, bytes, source);
      compute(cpu, op);
    },
  );
}

/** Extended precision, rounding towards zero, nothing unmasked: an inexact result then differs from the exact one below its last bit. */
const extended = new FpuEnvironment();
extended.precision = EXTENDED_PRECISION;
extended.rounding = ROUND_TO_ZERO;

const left = new Float80(), right = new Float80(), computed = new Float80();

/** Widens an element of a given class, exactly. */
export function widen(format: Format, from: Lanes, index: number, elementClass: number, out: Float80): void {
  if (elementClass === ZERO_CLASS) setZero(out, isNegative(format, from, index) ? SIGN : 0);
  else if (format.isDouble) operandFromFloat64(extended, out, from.u32[2 * index + 1], from.u32[2 * index]);
  else operandFromFloat32(extended, out, from.u32[index]);
}

function isNegative(format: Format, from: Lanes, index: number): boolean {
  return (format.isDouble ? from.i32[2 * index + 1] : from.i32[index]) < 0;
}

/** Settles an operation on NaNs: the first that there is, made quiet (SDM 1, table 4-7). Returns whether there was one. */
function settleNaNs(format: Format, a: Lanes, b: Lanes, index: number, classA: number, classB: number): boolean {
  if (classA < QUIET_NAN_CLASS && classB < QUIET_NAN_CLASS) return false;
  if (classA === SIGNALLING_NAN_CLASS || classB === SIGNALLING_NAN_CLASS) environment.raised |= INVALID;
  copyQuiet(format, a, classA >= QUIET_NAN_CLASS ? a : b, index);
  return true;
}

/** Takes over what the extended operation raised and rounds its result. */
function finish(format: Format, a: Lanes, index: number, hasDenormal: boolean): void {
  if ((extended.raised & INVALID) !== 0) return setInvalid(format, a, index);
  // A division by zero comes before a denormal dividend and hides it (SDM 1, 4.9.2).
  if ((extended.raised & ZERO_DIVIDE) !== 0) environment.raised |= ZERO_DIVIDE;
  else if (hasDenormal) noteDenormals(DENORMAL_CLASS, DENORMAL_CLASS);
  if ((extended.raised & PRECISION) !== 0) computed.lo = (computed.lo | 1) >>> 0;
  roundTo(format, a, index, computed);
}

function binary(operation: typeof add): ElementOperation {
  const isSum = operation === add || operation === subtract;
  return (format, a, b, index) => {
    const classA = classOf(format, a, index), classB = classOf(format, b, index);
    if (settleNaNs(format, a, b, index, classA, classB)) return;
    widen(format, a, index, classA, left);
    widen(format, b, index, classB, right);
    extended.begin();
    operation(extended, computed, left, right);
    // A sum that cancels is -0 when rounding down; two zeros of one sign keep it.
    if (isSum && environment.rounding === ROUND_DOWN && computed.hi === 0) {
      const signB = operation === subtract ? right.se ^ SIGN : right.se;
      if (((left.se ^ signB) & SIGN) !== 0) setZero(computed, SIGN);
    }
    finish(format, a, index, classA === DENORMAL_CLASS || classB === DENORMAL_CLASS);
  };
}

function squareRootOf(format: Format, a: Lanes, b: Lanes, index: number): void {
  const classB = classOf(format, b, index);
  if (settleNaNs(format, a, b, index, ZERO_CLASS, classB)) return;
  widen(format, b, index, classB, right);
  extended.begin();
  squareRoot(extended, computed, right);
  finish(format, a, index, classB === DENORMAL_CLASS);
}

/** MINPS and its kin: IE for any NaN, and then, as for equal operands, the second operand, a NaN as it is (SDM 2B, MINPS). */
function extreme(chooses: (a: number, b: number) => boolean): ElementOperation {
  return (format, a, b, index) => {
    const classA = classOf(format, a, index), classB = classOf(format, b, index);
    const unordered = classA >= QUIET_NAN_CLASS || classB >= QUIET_NAN_CLASS;
    if (unordered) environment.raised |= INVALID;
    else noteDenormals(classA, classB);
    if (classB >= QUIET_NAN_CLASS) return copyElement(format, a, b, index);
    const x = valueOf(format, a, index, classA), y = valueOf(format, b, index, classB);
    const value = !unordered && chooses(x, y) ? x : y;
    if (format.isDouble) a.f64[index] = value;
    else a.f32[index] = value;
  };
}

function isNormalOrZero(format: Format, value: number): boolean {
  const magnitude = Math.abs(value);
  return magnitude === 0 || (magnitude >= format.smallestNormal && magnitude <= format.largest);
}

/** `isExactZero` says for which operands a result of zero is exact. */
function native(
  operation: (x: number, y: number) => number,
  isExactZero: (x: number, y: number) => boolean,
): NativeOperation {
  return (format, a, b, index) => {
    const x = format.isDouble ? a.f64[index] : a.f32[index], y = format.isDouble ? b.f64[index] : b.f32[index];
    if (!isNormalOrZero(format, x) || !isNormalOrZero(format, y)) return false;
    const full = operation(x, y), value = format.isDouble ? full : Math.fround(full), magnitude = Math.abs(value);
    // The smallest normal number itself may stand for a result that was tiny before it was rounded.
    const isNormal = magnitude > format.smallestNormal && magnitude <= format.largest;
    if (!isNormal && !(magnitude === 0 && isExactZero(x, y))) return false;
    if (format.isDouble) a.f64[index] = value;
    else a.f32[index] = value;
    return true;
  };
}

const always = () => true;
const nativeAdd = native((x, y) => x + y, always), nativeSubtract = native((x, y) => x - y, always);
const nativeMultiply = native((x, y) => x * y, (x, y) => x === 0 || y === 0);
const nativeDivide = native((x, y) => x / y, (x) => x === 0);

function nativeSquareRoot(format: Format, a: Lanes, b: Lanes, index: number): boolean {
  const y = format.isDouble ? b.f64[index] : b.f32[index];
  if (!isNormalOrZero(format, y) || y < 0) return false;
  if (format.isDouble) a.f64[index] = Math.sqrt(y);
  else a.f32[index] = Math.sqrt(y);
  return true;
}

/** The four forms of an operation by name. */
export function fourForms(
  name: string,
  exact: ElementOperation,
  nativeOperation?: NativeOperation,
): Record<string, Binder> {
  return {
    [`${name}ps`]: floatOperation(SINGLE, true, exact, nativeOperation),
    [`${name}pd`]: floatOperation(DOUBLE, true, exact, nativeOperation),
    [`${name}ss`]: floatOperation(SINGLE, false, exact, nativeOperation),
    [`${name}sd`]: floatOperation(DOUBLE, false, exact, nativeOperation),
  };
}

export const arithmeticSimdBinders: Readonly<Record<string, Binder>> = {
  ...fourForms("add", binary(add), nativeAdd),
  ...fourForms("sub", binary(subtract), nativeSubtract),
  ...fourForms("mul", binary(multiply), nativeMultiply),
  ...fourForms("div", binary(divide), nativeDivide),
  ...fourForms("sqrt", squareRootOf, nativeSquareRoot),
  ...fourForms("min", extreme((x, y) => x < y)),
  ...fourForms("max", extreme((x, y) => x > y)),
};
