// FBLD and FBSTP: conversion from and to packed decimal integers of 18 digits, ten bytes in memory, two digits a byte,
// the sign in the last one (Intel SDM 1, 4.7; SDM 2A, FBLD and FBSTP).

import {
  classify,
  Float80,
  FpuEnvironment,
  INFINITY_CLASS,
  INVALID,
  LIMB,
  PRECISION,
  SIGN,
  ZERO_CLASS,
} from "./float80.ts";
import { fromSignAndMagnitude, Magnitude } from "./integers.ts";
import { multiplyHigh } from "./multiplication.ts";

/** Bytes of a packed decimal integer; all but the last hold two digits each. */
export const BCD_BYTES = 10;
const SIGN_BYTE = BCD_BYTES - 1, NEGATIVE = 0x80;
/** Nine digits fit a 32-bit limb: a value is two groups of them. */
const GROUP = 1_000_000_000, GROUP_DIGITS = 9;
/** The packed decimal indefinite: its three highest bytes (SDM 1, 4.7); the others are zero. */
const INDEFINITE_HIGH_BYTES = [0xc0, 0xff, 0xff];
const HALF_LIMB = 0x1_0000;

/** out = a packed decimal integer, exactly. Digits above nine, undefined in the SDM, count as their value as on AMD's processors. */
export function fromBcd(out: Float80, bytes: Readonly<Uint8Array>): void {
  const low = groupFrom(bytes, 0), high = groupFrom(bytes, GROUP_DIGITS);
  const sum = (Math.imul(high, GROUP) >>> 0) + low % LIMB;
  const hi = multiplyHigh(high, GROUP) + Math.floor(low / LIMB) + Math.floor(sum / LIMB);
  fromSignAndMagnitude(out, (bytes[SIGN_BYTE] & NEGATIVE) !== 0 ? SIGN : 0, hi, sum >>> 0);
}

function groupFrom(bytes: Readonly<Uint8Array>, firstDigit: number): number {
  let group = 0;
  for (let i = firstDigit + GROUP_DIGITS - 1; i >= firstDigit; i--) {
    group = group * 10 + (bytes[i >>> 1] >>> ((i & 1) * 4) & 0xf);
  }
  return group;
}

const magnitude = new Magnitude();

/** Writes a, rounded to an integer, to ten `bytes`; more than 18 digits raise IE and give the packed decimal indefinite. */
export function toBcd(env: FpuEnvironment, bytes: Uint8Array, a: Readonly<Float80>): void {
  const classA = classify(a);
  if (classA < INFINITY_CLASS) {
    magnitude.round(a, classA === ZERO_CLASS, env.rounding);
    // hi:lo / 10^9, 16 bits at a time so that every dividend is exact.
    let dividend = (magnitude.hi % GROUP) * HALF_LIMB + (magnitude.lo >>> 16);
    let high = Math.floor(magnitude.hi / GROUP) * LIMB + Math.floor(dividend / GROUP) * HALF_LIMB;
    dividend = (dividend % GROUP) * HALF_LIMB + magnitude.lo % HALF_LIMB;
    high += Math.floor(dividend / GROUP);
    if (magnitude.fits && high < GROUP) {
      groupTo(bytes, 0, dividend % GROUP);
      groupTo(bytes, GROUP_DIGITS, high);
      bytes[SIGN_BYTE] = (a.se & SIGN) !== 0 ? NEGATIVE : 0;
      env.roundedUp = magnitude.up;
      if (magnitude.inexact) env.raised |= PRECISION;
      return;
    }
  }
  env.raised |= INVALID;
  bytes.fill(0, 0, BCD_BYTES);
  bytes.set(INDEFINITE_HIGH_BYTES, BCD_BYTES - INDEFINITE_HIGH_BYTES.length);
}

function groupTo(bytes: Uint8Array, firstDigit: number, group: number): void {
  for (let i = firstDigit; i < firstDigit + GROUP_DIGITS; i++) {
    const shift = (i & 1) * 4;
    bytes[i >>> 1] = bytes[i >>> 1] & ~(0xf << shift) | group % 10 << shift;
    group = Math.floor(group / 10);
  }
}
