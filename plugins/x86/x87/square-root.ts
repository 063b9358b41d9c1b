// FSQRT: the square root at the precision that precision control selects (Intel SDM 1, 8.3.5; exceptions as SDM 2A,
// FSQRT). The root's limbs are found one after the other (P. Zimmermann, Karatsuba Square Root, INRIA RR-3805, 1999).

import {
  classify,
  EXPONENT_BIAS,
  Float80,
  FpuEnvironment,
  INFINITY_CLASS,
  LIMB,
  setInfinity,
  setZero,
  SIGN,
  ZERO_CLASS,
} from "./float80.ts";
import { multiplyHigh } from "./multiplication.ts";
import { denormalStops, invalid, settleNaN, unpack, Unpacked } from "./operands.ts";
import { roundAndPack } from "./rounding.ts";

/** What stands for any remainder below and above half a unit; the square root of a 64-bit number is never halfway. */
const BELOW_HALF = 0x4000_0000, ABOVE_HALF = 0xc000_0000;
const HALF_LIMB = 0x1_0000;

const operand = new Unpacked();

/** out = sqrt(a); the root of -0 is -0. `out` may be `a`; it is not written when an unmasked exception suppresses it. */
export function squareRoot(env: FpuEnvironment, out: Float80, a: Readonly<Float80>): void {
  const classA = classify(a);
  if (settleNaN(env, out, a, classA)) return;
  const sign = a.se & SIGN;
  if (classA === ZERO_CLASS) setZero(out, sign);
  else if (sign !== 0) invalid(env, out);
  else if (classA === INFINITY_CLASS) setInfinity(out, sign);
  else if (!denormalStops(env, classA, ZERO_CLASS)) {
    unpack(a, operand);
    rootUnpacked(env, out, operand);
  }
}

function rootUnpacked(env: FpuEnvironment, out: Float80, a: Readonly<Unpacked>): void {
  // The radicand is top:bottom * 2^64 with top >= 2^62, so that its root has 64 bits; an odd exponent costs a bit.
  const power = a.exponent - EXPONENT_BIAS;
  const odd = (power & 1) !== 0;
  const topHi = odd ? a.hi : a.hi >>> 1;
  const topLo = odd ? a.lo : (a.hi << 31 | a.lo >>> 1) >>> 0;
  const bottom = odd ? 0 : (a.lo & 1) * (LIMB / 2);

  // The high limb of the root is right to within one; the remainder of its square is below 2^34 and exact.
  let high = Math.min(Math.floor(Math.sqrt(topHi * LIMB + topLo)), LIMB - 1);
  let rest = (topHi - multiplyHigh(high, high)) * LIMB + (topLo - (Math.imul(high, high) >>> 0));
  while (rest < 0) {
    high -= 1;
    rest += 2 * high + 1;
  }
  while (rest > 2 * high) {
    rest -= 2 * high + 1;
    high += 1;
  }

  // The low limb: (rest:bottom) / (2 high), 16 bits at a time.
  const divisor = 2 * high;
  let dividend = rest * HALF_LIMB + Math.floor(bottom / HALF_LIMB);
  const q1 = Math.floor(dividend / divisor);
  dividend = (dividend - q1 * divisor) * HALF_LIMB + bottom % HALF_LIMB;
  const q0 = Math.floor(dividend / divisor);
  let low = q1 * HALF_LIMB + q0;
  let restHi = dividend - q0 * divisor;
  if (low > LIMB - 1) {
    restHi += (low - (LIMB - 1)) * divisor;
    low = LIMB - 1;
  }
  // What is left is restHi:0 - low^2; below zero, the root was one too large.
  let restLo = -(Math.imul(low, low) >>> 0);
  restHi -= multiplyHigh(low, low);
  if (restLo < 0) {
    restLo += LIMB;
    restHi -= 1;
  }
  if (restHi < 0) {
    // Add 2 root - 1, then root -= 1.
    restLo += 2 * low - 1;
    restHi += 2 * high;
    low -= 1;
    if (low < 0) {
      low += LIMB;
      high -= 1;
    }
    const carry = Math.floor(restLo / LIMB);
    restLo -= carry * LIMB;
    restHi += carry;
  }
  let extra = 0;
  if (restHi !== 0 || restLo !== 0) {
    const above = restHi > high || (restHi === high && restLo > low);
    extra = above ? ABOVE_HALF : BELOW_HALF;
  }
  roundAndPack(env, out, 0, (power >> 1) + EXPONENT_BIAS, high | 0, low | 0, extra | 0, env.precision);
}
