// FDIV and FDIVR, and the long division that FPREM shares with it: quotient digits of 21 bits are estimated in double
// precision and corrected with exact integers (Intel SDM 1, 8.3.5; exceptions as SDM 2A, FDIV).

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
import { denormalStops, invalid, settleNaNs, significandLess, unpack, Unpacked, zeroDivideStops } from "./operands.ts";
import { roundAndPack } from "./rounding.ts";

/** Bits of a quotient digit: the products of a digit and a limb must stay exact in a double. */
export const DIGIT_BITS = 21;
/** Half a unit below the quotient, and what stands for any remainder below and above it. */
const HALF = 0x8000_0000, BELOW_HALF = 0x4000_0000, ABOVE_HALF = 0xc000_0000;

const left = new Unpacked(), right = new Unpacked();

/** A running remainder, smaller than the divisor it is divided by. */
export class Remainder {
  hi = 0;
  lo = 0;

  /**
   * Multiplies the remainder by 2^bits (bits <= DIGIT_BITS), divides by the normalised divisor (hi:lo), keeps the new
   * remainder and returns the quotient digit, below 2^bits.
   */
  divide(bits: number, hi: number, lo: number): number {
    hi >>>= 0;
    lo >>>= 0;
    const scale = 1 << bits;
    // The relative error of the estimate is a few 2^-53, so its floor is off by one at most.
    let digit = Math.floor((this.hi * LIMB + this.lo) / (hi * LIMB + lo) * scale);
    // Each product is below 2^53, and the difference of the whole numbers is between -divisor and 2 * divisor.
    const low = this.lo * scale - digit * lo;
    const carry = Math.floor(low / LIMB);
    let restHi = this.hi * scale - digit * hi + carry;
    let restLo = low - carry * LIMB;
    if (restHi < 0) {
      digit -= 1;
      restHi += hi;
      restLo += lo;
      if (restLo >= LIMB) {
        restLo -= LIMB;
        restHi += 1;
      }
    } else if (restHi > hi || (restHi === hi && restLo >= lo)) {
      digit += 1;
      this.hi = restHi;
      this.lo = restLo;
      this.subtract(hi | 0, lo | 0);
      return digit;
    }
    this.hi = restHi;
    this.lo = restLo;
    return digit;
  }

  /** Subtracts (hi:lo), which must not be larger. */
  subtract(hi: number, lo: number): void {
    this.hi -= hi >>> 0;
    this.lo -= lo >>> 0;
    if (this.lo < 0) {
      this.lo += LIMB;
      this.hi -= 1;
    }
  }

  /** Doubled, compared with (hi:lo): -1, 0 or 1. */
  compareDouble(hi: number, lo: number): number {
    // Both terms are exact, and a rounded sum has the sign of the exact one.
    return Math.sign((this.hi * 2 - (hi >>> 0)) * LIMB + (this.lo * 2 - (lo >>> 0)));
  }
}

const rest = new Remainder();

/** out = a / b. `out` may be `a` or `b`; it is not written when an unmasked exception suppresses the operation. */
export function divide(env: FpuEnvironment, out: Float80, a: Readonly<Float80>, b: Readonly<Float80>): void {
  const classA = classify(a), classB = classify(b);
  const sign = (a.se ^ b.se) & SIGN;
  if (classA >= INFINITY_CLASS || classB >= INFINITY_CLASS) {
    if (settleNaNs(env, out, a, b, classA, classB)) return;
    if (classA === classB) invalid(env, out);
    else if (!denormalStops(env, classA, classB)) {
      if (classA === INFINITY_CLASS) setInfinity(out, sign);
      else setZero(out, sign);
    }
    return;
  }
  if (classB === ZERO_CLASS) {
    if (classA === ZERO_CLASS) invalid(env, out);
    else if (!zeroDivideStops(env)) setInfinity(out, sign);
    return;
  }
  if (denormalStops(env, classA, classB)) return;
  if (classA === ZERO_CLASS) {
    setZero(out, sign);
    return;
  }
  unpack(a, left);
  unpack(b, right);
  divideUnpacked(env, out, sign, left, right);
}

function divideUnpacked(
  env: FpuEnvironment,
  out: Float80,
  sign: number,
  a: Readonly<Unpacked>,
  b: Readonly<Unpacked>,
): void {
  let exponent = a.exponent - b.exponent + EXPONENT_BIAS;
  rest.hi = a.hi;
  rest.lo = a.lo;
  if (significandLess(a.hi | 0, a.lo | 0, b.hi | 0, b.lo | 0)) {
    // The leading one of 2a / b: doubling first would not fit, so 2a - b is a - (b - a) with b - a < 2^63.
    rest.hi = b.hi;
    rest.lo = b.lo;
    rest.subtract(a.hi | 0, a.lo | 0);
    const complementHi = rest.hi, complementLo = rest.lo;
    rest.hi = a.hi;
    rest.lo = a.lo;
    rest.subtract(complementHi | 0, complementLo | 0);
    exponent -= 1;
  } else {
    rest.subtract(b.hi | 0, b.lo | 0);
  }
  const q1 = rest.divide(DIGIT_BITS, b.hi | 0, b.lo | 0);
  const q2 = rest.divide(DIGIT_BITS, b.hi | 0, b.lo | 0);
  const q3 = rest.divide(DIGIT_BITS, b.hi | 0, b.lo | 0);
  const hi = 1 << 31 | q1 << 10 | q2 >>> 11, lo = q2 << 21 | q3;
  let extra = 0;
  if (rest.hi !== 0 || rest.lo !== 0) {
    const half = rest.compareDouble(b.hi | 0, b.lo | 0);
    extra = half < 0 ? BELOW_HALF : half > 0 ? ABOVE_HALF : HALF;
  }
  roundAndPack(env, out, sign, exponent, hi, lo, extra | 0, env.precision);
}
