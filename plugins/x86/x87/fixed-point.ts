// Fixed-point series on BigInt behind the transcendental instructions: numbers are integers in units of 2^-bits.
// Slow (tens of microseconds) and far more accurate than the 64 bits that are asked for, so that the rounded result is
// almost always the correctly rounded one (power series: Abramowitz & Stegun 4.2.1, 4.3.65, 4.3.66, 4.4.42, 4.1.27).

import { EXPONENT_BIAS, EXTENDED_PRECISION, Float80, FpuEnvironment, PRECISION, UNDERFLOW } from "./float80.ts";
import { Unpacked } from "./operands.ts";
import { roundAndPack } from "./rounding.ts";

const LIMB_MASK = 0xffff_ffffn;
/** Bits handed to rounding: a significand and a limb of extra bits. */
const PACKED_BITS = 96;

/** The 64-bit significand of an unpacked number; its unit is 2^(exponent - bias - 63). */
export function significandOf(x: Readonly<Unpacked>): bigint {
  return BigInt(x.hi) << 32n | BigInt(x.lo);
}

/** The power of two that the unit of an unpacked number's significand is worth. */
export function unitPower(x: Readonly<Unpacked>): number {
  return x.exponent - EXPONENT_BIAS - 63;
}

/** value * 2^shift, truncated towards minus infinity where bits are lost. */
export function scaled(value: bigint, shift: number): bigint {
  return shift >= 0 ? value << BigInt(shift) : value >> BigInt(-shift);
}

/** Number of bits of a positive integer. */
export function bitLength(value: bigint): number {
  const digits = value.toString(16);
  return digits.length * 4 - Math.clz32(parseInt(digits[0], 16)) + 28;
}

/**
 * Rounds value * 2^power (value > 0) to 64 bits into `out` as a transcendental instruction does: inexact, even if
 * `exact` says that nothing lies below `value` for a directed rounding to act on.
 */
export function packFixed(
  env: FpuEnvironment,
  out: Float80,
  sign: number,
  value: bigint,
  power: number,
  exact: boolean,
): void {
  const length = bitLength(value);
  const surplus = length - PACKED_BITS;
  const packed = scaled(value, -surplus);
  const exponent = power + length - 1 + EXPONENT_BIAS;
  const hi = Number(packed >> 64n), lo = Number(packed >> 32n & LIMB_MASK);
  const extra = exact ? Number(packed & LIMB_MASK) : (Number(packed & LIMB_MASK) | 1) >>> 0;
  roundAndPack(env, out, sign, exponent, hi, lo, extra, EXTENDED_PRECISION);
  env.raised |= exponent <= 0 && extra === 0 ? UNDERFLOW | PRECISION : PRECISION;
}

/** sin(x) for |x| below 1. */
export function sineSeries(x: bigint, bits: number): bigint {
  return alternatingSeries(x, x, bits, 2n);
}

/** cos(x) for |x| below 1. */
export function cosineSeries(x: bigint, bits: number): bigint {
  return alternatingSeries(1n << BigInt(bits), x, bits, 1n);
}

/** first - first x^2 / (n (n + 1)) + ..., n growing by two from `factor`. */
function alternatingSeries(first: bigint, x: bigint, bits: number, factor: bigint): bigint {
  const unit = BigInt(bits);
  const square = x * x >> unit;
  let sum = first;
  let term = first;
  for (let n = factor; term !== 0n && term !== -1n; n += 2n) {
    term = -(term * square >> unit) / (n * (n + 1n));
    sum += term;
  }
  return sum;
}

/** e^x - 1 for |x| below 1. */
export function exponentialMinusOneSeries(x: bigint, bits: number): bigint {
  const unit = BigInt(bits);
  let sum = x;
  let term = x;
  for (let n = 2n; term !== 0n && term !== -1n; n++) {
    term = (term * x >> unit) / n;
    sum += term;
  }
  return sum;
}

/** z + s z^3 / 3 + s^2 z^5 / 5 + ... with s = 1 (inverse hyperbolic tangent) or -1 (inverse tangent), |z| well below 1. */
function oddSeries(z: bigint, bits: number, alternate: boolean): bigint {
  const unit = BigInt(bits);
  const square = alternate ? -(z * z >> unit) : z * z >> unit;
  let sum = z;
  let power = z;
  for (let n = 3n; power !== 0n && power !== -1n; n += 2n) {
    power = power * square >> unit;
    sum += power / n;
  }
  return sum;
}

/** ln((1 + z) / (1 - z)) for |z| up to 1/3. */
export function logarithmSeries(z: bigint, bits: number): bigint {
  return 2n * oddSeries(z, bits, false);
}

/** Arctangents of k / 8 by width, filled on first use: they leave a series in numbers up to 1/16. */
const steps = new Map<number, bigint[]>();
const STEPS = 8;

/** atan(x) for 0 <= x <= 1. */
export function arctangentSeries(x: bigint, bits: number): bigint {
  const unit = BigInt(bits);
  const k = Number((x * BigInt(2 * STEPS) >> unit) + 1n) >> 1;
  if (k === 0) return oddSeries(x, bits, true);
  return arctangentSteps(bits)[k] + oddSeries(arctangentDifference(x, BigInt(k), bits), bits, true);
}

/** The number whose arctangent is atan(x) - atan(k / 8): (x - k / 8) / (1 + x k / 8). */
function arctangentDifference(x: bigint, k: bigint, bits: number): bigint {
  const unit = BigInt(bits), eight = BigInt(STEPS);
  return ((eight * x - (k << unit)) << unit) / ((eight << unit) + k * x);
}

function arctangentSteps(bits: number): bigint[] {
  let values = steps.get(bits);
  if (values === undefined) {
    values = [0n];
    for (let k = 1; k <= STEPS; k++) {
      const x = (BigInt(k) << BigInt(bits)) / BigInt(STEPS);
      values.push(values[k - 1] + oddSeries(arctangentDifference(x, BigInt(k - 1), bits), bits, true));
    }
    steps.set(bits, values);
  }
  return values;
}

/** pi = 4 atan(1). */
export function piFixed(bits: number): bigint {
  return arctangentSteps(bits)[STEPS] * 4n;
}

const logarithmsOf2 = new Map<number, bigint>();

/** ln(2) = 2 artanh(1/3). */
export function lnOf2Fixed(bits: number): bigint {
  let value = logarithmsOf2.get(bits);
  if (value === undefined) {
    value = logarithmSeries((1n << BigInt(bits)) / 3n, bits);
    logarithmsOf2.set(bits, value);
  }
  return value;
}
