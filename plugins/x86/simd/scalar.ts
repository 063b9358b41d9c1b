// Single elements of SSE's float vectors: their classes, their values, NaNs, and rounding of an exact result to binary32 or
// binary64 with SSE's treatment of overflow, underflow and flush-to-zero (Intel SDM 1, 4.8.3.5, 4.9.1.4, 4.9.1.5 and 10.2.3).
// `index` counts elements of the format; bits are moved as integers, because engines may change a NaN's.

import {
  DENORMAL_CLASS,
  DENORMAL_OPERAND,
  DOUBLE_PRECISION,
  EXPONENT_BIAS,
  EXPONENT_MASK,
  type Float80,
  INFINITY_CLASS,
  INVALID,
  NORMAL_CLASS,
  OVERFLOW,
  PRECISION,
  QUIET_NAN_CLASS,
  SIGN,
  SIGNALLING_NAN_CLASS,
  SINGLE_PRECISION,
  UNDERFLOW,
  ZERO_CLASS,
} from "../x87/float80.ts";
import { Extended96, overflowsToInfinity, Rounded } from "../x87/rounding.ts";
import { environment } from "./environment.ts";
import type { Lanes } from "./lanes.ts";

/** A float format of vectors. */
export interface Format {
  readonly isDouble: boolean;
  readonly bytes: 4 | 8;
  readonly precision: number;
  readonly bias: number;
  /** Exponent field of infinities and NaNs. */
  readonly maxExponent: number;
  /** Smallest normal and largest finite number. */
  readonly smallestNormal: number;
  readonly largest: number;
}

export const SINGLE: Format = {
  isDouble: false,
  bytes: 4,
  precision: SINGLE_PRECISION,
  bias: 127,
  maxExponent: 0xff,
  smallestNormal: 2 ** -126,
  largest: (2 - 2 ** -23) * 2 ** 127,
};
export const DOUBLE: Format = {
  isDouble: true,
  bytes: 8,
  precision: DOUBLE_PRECISION,
  bias: 1023,
  maxExponent: 0x7ff,
  smallestNormal: 2 ** -1022,
  largest: Number.MAX_VALUE,
};

const SIGN32 = 0x8000_0000, FRACTION32 = 0x7f_ffff, QUIET32 = 0x40_0000, EXPONENT32_SHIFT = 23;
const FRACTION64_HI = 0xf_ffff, QUIET64_HI = 0x8_0000, EXPONENT64_SHIFT = 20;
/** The real indefinite of both formats, as the word with the sign. */
const INDEFINITE32 = 0xffc0_0000, INDEFINITE64_HI = 0xfff8_0000;

/** Class of an element, a denormal being zero with DAZ. */
export function classOf(format: Format, from: Lanes, index: number): number {
  let exponent: number, fraction: number, isQuiet: boolean;
  if (format.isDouble) {
    const hi = from.i32[2 * index + 1];
    exponent = hi >>> EXPONENT64_SHIFT & format.maxExponent;
    fraction = hi & FRACTION64_HI | from.i32[2 * index];
    isQuiet = (hi & QUIET64_HI) !== 0;
  } else {
    const bits = from.i32[index];
    exponent = bits >>> EXPONENT32_SHIFT & format.maxExponent;
    fraction = bits & FRACTION32;
    isQuiet = (bits & QUIET32) !== 0;
  }
  if (exponent === 0) return fraction === 0 || environment.denormalsAreZeros ? ZERO_CLASS : DENORMAL_CLASS;
  if (exponent !== format.maxExponent) return NORMAL_CLASS;
  if (fraction === 0) return INFINITY_CLASS;
  return isQuiet ? QUIET_NAN_CLASS : SIGNALLING_NAN_CLASS;
}

/** Value of an element that is no NaN, given its class: with DAZ, that of a denormal is a zero of its sign. */
export function valueOf(format: Format, from: Lanes, index: number, elementClass: number): number {
  const value = format.isDouble ? from.f64[index] : from.f32[index];
  return elementClass === ZERO_CLASS ? 0 * value : value;
}

/** Raises DE if one of the classes is that of denormals. */
export function noteDenormals(classA: number, classB: number): void {
  if (classA === DENORMAL_CLASS || classB === DENORMAL_CLASS) environment.raised |= DENORMAL_OPERAND;
}

/** Copies an element's bits. */
export function copyElement(format: Format, to: Lanes, from: Lanes, index: number): void {
  if (format.isDouble) {
    to.i32[2 * index] = from.i32[2 * index];
    to.i32[2 * index + 1] = from.i32[2 * index + 1];
  } else to.i32[index] = from.i32[index];
}

/** Copies a NaN and makes it quiet. */
export function copyQuiet(format: Format, to: Lanes, from: Lanes, index: number): void {
  copyElement(format, to, from, index);
  if (format.isDouble) to.i32[2 * index + 1] |= QUIET64_HI;
  else to.i32[index] |= QUIET32;
}

/** Raises IE; the masked answer is the real indefinite. */
export function setInvalid(format: Format, to: Lanes, index: number): void {
  environment.raised |= INVALID;
  setIndefinite(format, to, index);
}

/** Sets the real indefinite without an exception. */
export function setIndefinite(format: Format, to: Lanes, index: number): void {
  if (format.isDouble) setBits64(to, index, INDEFINITE64_HI, 0);
  else to.i32[index] = INDEFINITE32;
}

/** Sets all bits of an element, or none. */
export function setMask(format: Format, to: Lanes, index: number, isTrue: boolean): void {
  const mask = isTrue ? -1 : 0;
  if (format.isDouble) setBits64(to, index, mask, mask);
  else to.i32[index] = mask;
}

function setBits64(to: Lanes, index: number, hi: number, lo: number): void {
  to.i32[2 * index] = lo;
  to.i32[2 * index + 1] = hi;
}

/** Element `toIndex` of the other format = a NaN made quiet, its payload cut or extended at the low end. */
export function convertNaN(from: Format, source: Lanes, fromIndex: number, to: Lanes, toIndex: number): void {
  if (from.isDouble) {
    const hi = source.i32[2 * fromIndex + 1], lo = source.i32[2 * fromIndex];
    to.i32[toIndex] = hi & SIGN32 | SINGLE.maxExponent << EXPONENT32_SHIFT | QUIET32 | (hi & FRACTION64_HI) << 3 |
      lo >>> 29;
  } else {
    const bits = source.i32[fromIndex];
    const hi = bits & SIGN32 | DOUBLE.maxExponent << EXPONENT64_SHIFT | QUIET64_HI | (bits & FRACTION32) >>> 3;
    setBits64(to, toIndex, hi, bits << 29);
  }
}

const rounded = new Rounded(), shifted = new Extended96();

/**
 * Rounds a result that is no NaN to an element, and raises OE, UE and PE. Its significand is exact, or inexact with the
 * lowest bit set as sticky: 64 bits are enough that rounding from them is rounding from the exact result.
 */
export function roundTo(format: Format, to: Lanes, index: number, x: Readonly<Float80>): void {
  const sign = x.se & SIGN, wide = x.se & EXPONENT_MASK;
  if (wide === EXPONENT_MASK) return pack(format, to, index, sign, format.maxExponent, 0, 0);
  if (x.hi === 0) return pack(format, to, index, sign, 0, 0, 0);
  const exponent = wide - EXPONENT_BIAS + format.bias;
  const { rounding, masks } = environment;
  rounded.round(rounding, format.precision, sign, x.hi | 0, x.lo | 0, 0);
  const biased = rounded.carried ? exponent + 1 : exponent;
  if (exponent <= 0) return roundTiny(format, to, index, x, exponent, biased <= 0);
  if (rounded.inexact) environment.raised |= PRECISION;
  if (biased < format.maxExponent) return pack(format, to, index, sign, biased, rounded.hi, rounded.lo);
  environment.raised |= OVERFLOW;
  if ((masks & OVERFLOW) === 0) return;
  environment.raised |= PRECISION;
  if (overflowsToInfinity(rounding, sign)) pack(format, to, index, sign, format.maxExponent, 0, 0);
  else pack(format, to, index, sign, format.maxExponent - 1, 0xffff_ffff, 0xffff_ffff);
}

/** `isTiny` tells whether the result is below the normal numbers after rounding with an unbounded exponent. */
function roundTiny(
  format: Format,
  to: Lanes,
  index: number,
  x: Readonly<Float80>,
  exponent: number,
  isTiny: boolean,
): void {
  const sign = x.se & SIGN;
  if (isTiny && (environment.masks & UNDERFLOW) === 0) {
    environment.raised |= rounded.inexact ? UNDERFLOW | PRECISION : UNDERFLOW;
    return;
  }
  if (isTiny && environment.flushesToZero) {
    environment.raised |= UNDERFLOW | PRECISION;
    pack(format, to, index, sign, 0, 0, 0);
    return;
  }
  shifted.shiftRight(x.hi | 0, x.lo | 0, 0, 1 - exponent);
  rounded.round(environment.rounding, format.precision, sign, shifted.hi | 0, shifted.lo | 0, shifted.extra | 0);
  if (rounded.inexact) environment.raised |= isTiny ? UNDERFLOW | PRECISION : PRECISION;
  pack(format, to, index, sign, rounded.hi >= SIGN32 ? 1 : 0, rounded.hi, rounded.lo);
}

/** Puts together an element from a sign (0 or SIGN), an exponent field and a 64-bit significand. */
function pack(
  format: Format,
  to: Lanes,
  index: number,
  sign: number,
  exponent: number,
  hi: number,
  lo: number,
): void {
  if (format.isDouble) {
    const high = sign << 16 | exponent << EXPONENT64_SHIFT | hi >>> 11 & FRACTION64_HI;
    setBits64(to, index, high, hi << 21 | lo >>> 11);
  } else to.i32[index] = sign << 16 | exponent << EXPONENT32_SHIFT | hi >>> 8 & FRACTION32;
}
