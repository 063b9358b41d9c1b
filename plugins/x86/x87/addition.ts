// FADD, FSUB and FSUBR: sums and differences of 80-bit values at the precision that precision control selects
// (Intel SDM 1, 8.3.5; exceptions as SDM 2A, FADD and 2A, FSUB list them).

import {
  classify,
  Float80,
  FpuEnvironment,
  INFINITY_CLASS,
  INTEGER_BIT,
  LIMB,
  setInfinity,
  setZero,
  SIGN,
  ZERO_CLASS,
} from "./float80.ts";
import { denormalStops, invalid, settleNaNs, significandLess, unpack, Unpacked } from "./operands.ts";
import { Extended96, normaliseRoundAndPack, roundAndPack, signOfZeroSum } from "./rounding.ts";

/** out = a + b. `out` may be `a` or `b`; it is not written when an unmasked exception suppresses the operation. */
export function add(env: FpuEnvironment, out: Float80, a: Readonly<Float80>, b: Readonly<Float80>): void {
  addSigned(env, out, a, b, 0);
}

/** out = a - b, as `add`. */
export function subtract(env: FpuEnvironment, out: Float80, a: Readonly<Float80>, b: Readonly<Float80>): void {
  addSigned(env, out, a, b, SIGN);
}

const left = new Unpacked(), right = new Unpacked();
const aligned = new Extended96();

/** a + b with the sign of b flipped by `flip` (0 or SIGN); a NaN keeps its sign. */
function addSigned(
  env: FpuEnvironment,
  out: Float80,
  a: Readonly<Float80>,
  b: Readonly<Float80>,
  flip: number,
): void {
  const classA = classify(a), classB = classify(b);
  if (classA >= INFINITY_CLASS || classB >= INFINITY_CLASS) {
    if (settleNaNs(env, out, a, b, classA, classB)) return;
    addInfinity(env, out, a, b, classA, classB, flip);
    return;
  }
  if (denormalStops(env, classA, classB)) return;
  if (classA === ZERO_CLASS || classB === ZERO_CLASS) {
    addZero(env, out, a, b, classA, classB, flip);
    return;
  }
  unpack(a, left);
  unpack(b, right);
  right.sign ^= flip;
  if (left.exponent >= right.exponent) addUnpacked(env, out, left, right);
  else addUnpacked(env, out, right, left);
}

function addInfinity(
  env: FpuEnvironment,
  out: Float80,
  a: Readonly<Float80>,
  b: Readonly<Float80>,
  classA: number,
  classB: number,
  flip: number,
): void {
  const signA = a.se & SIGN, signB = (b.se & SIGN) ^ flip;
  if (classA === classB && signA !== signB) {
    invalid(env, out);
    return;
  }
  if (denormalStops(env, classA, classB)) return;
  setInfinity(out, classA === INFINITY_CLASS ? signA : signB);
}

function addZero(
  env: FpuEnvironment,
  out: Float80,
  a: Readonly<Float80>,
  b: Readonly<Float80>,
  classA: number,
  classB: number,
  flip: number,
): void {
  const signA = a.se & SIGN, signB = (b.se & SIGN) ^ flip;
  if (classA === classB) {
    setZero(out, signA === signB ? signA : signOfZeroSum(env.rounding));
    return;
  }
  // The other operand may still need rounding to a lower precision.
  unpack(classA === ZERO_CLASS ? b : a, left);
  const sign = classA === ZERO_CLASS ? signB : signA;
  roundAndPack(env, out, sign, left.exponent, left.hi | 0, left.lo | 0, 0, env.precision);
}

/** Adds two unpacked numbers of which the first has the larger or the same exponent. */
function addUnpacked(env: FpuEnvironment, out: Float80, a: Readonly<Unpacked>, b: Readonly<Unpacked>): void {
  aligned.shiftRight(b.hi | 0, b.lo | 0, 0, a.exponent - b.exponent);
  if (a.sign === b.sign) {
    let lo = a.lo + aligned.lo;
    let hi = a.hi + aligned.hi;
    let extra = aligned.extra;
    let exponent = a.exponent;
    if (lo >= LIMB) {
      lo -= LIMB;
      hi += 1;
    }
    if (hi >= LIMB) {
      extra = lo << 31 | extra >>> 1 | extra & 1;
      lo = hi << 31 | lo >>> 1;
      hi = (hi - LIMB) >>> 1 | INTEGER_BIT;
      exponent += 1;
    }
    roundAndPack(env, out, a.sign, exponent, hi | 0, lo | 0, extra | 0, env.precision);
    return;
  }
  let sign = a.sign;
  let hi: number, lo: number, extra: number;
  if (significandLess(a.hi | 0, a.lo | 0, aligned.hi | 0, aligned.lo | 0)) {
    // Only possible at equal exponents, hence without extra bits.
    sign = b.sign;
    extra = 0;
    lo = aligned.lo - a.lo;
    hi = aligned.hi - a.hi;
  } else {
    extra = -aligned.extra;
    lo = a.lo - aligned.lo;
    hi = a.hi - aligned.hi;
  }
  if (extra < 0) {
    extra += LIMB;
    lo -= 1;
  }
  if (lo < 0) {
    lo += LIMB;
    hi -= 1;
  }
  if (hi === 0 && lo === 0 && extra === 0) setZero(out, signOfZeroSum(env.rounding));
  else normaliseRoundAndPack(env, out, sign, a.exponent, hi | 0, lo | 0, extra | 0, env.precision);
}
