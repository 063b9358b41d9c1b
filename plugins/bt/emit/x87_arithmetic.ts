// The x87 routines that compute (x87_runtime.ts): sum, product, quotient and square root of extended reals in 64-bit integer
// code without unpredictable branches, with 32-bit partial products (Intel SDM 1, 8.3.5; D. Knuth, The Art of Computer
// Programming 2, 4.3.1, for the division; P. Zimmermann, Karatsuba Square Root, INRIA RR-3805). Operands that are neither
// normal nor zero are refused.

import { state as S } from "../../x86/mod.ts";
import { FunctionBody, I32, I64, Op } from "../wasm.ts";
import {
  BIAS,
  clearC1,
  EXPONENT,
  pushAreModerate,
  pushIsNormal,
  pushIsZero,
  pushState,
  refuse,
  ROUND_DOWN,
  roundAndReturn,
  ROUNDING_CONTROL,
  ROUNDING_SHIFT,
  SIGN,
  type Wide,
} from "./x87_rounding.ts";

/** Parameters of a routine with two operands: significand and sign-and-exponent of each. */
const A = 0, SE_A = 1, B = 2, SE_B = 3;
const LOW_WORD = 0xffffffff;

/** The exponents of both operands in new locals. */
function exponents(f: FunctionBody): readonly [number, number] {
  const a = f.local(I32), b = f.local(I32);
  f.get(SE_A).constant(EXPONENT).op(Op.i32And).set(a);
  f.get(SE_B).constant(EXPONENT).op(Op.i32And).set(b);
  return [a, b];
}

/** Opens the branch for operands of which one is not normal. */
function ifNotBothNormal(f: FunctionBody, a: number, b: number): void {
  pushIsNormal(f, A, a);
  pushIsNormal(f, B, b).op(Op.i32And).op(Op.i32Eqz).if();
}

/** Opens the branch for operands that are not both moderate. */
function ifNotBothModerate(f: FunctionBody, a: number, b: number): void {
  pushAreModerate(f, { significand: A, exponent: a }, { significand: B, exponent: b }).op(Op.i32Eqz).if();
}

/** Pushes the sign of a product or quotient. */
function pushSignOfProduct(f: FunctionBody): FunctionBody {
  return f.get(SE_A).get(SE_B).op(Op.i32Xor).constant(SIGN).op(Op.i32And);
}

function returnZero(f: FunctionBody, pushSign: () => void): void {
  clearC1(f);
  f.constant64(0);
  pushSign();
  f.op(Op.return);
}

/** Pushes the low word of a 64-bit local. */
function pushLow(f: FunctionBody, local: number): FunctionBody {
  return f.get(local).constantI64(0, LOW_WORD).op(Op.i64And);
}

/** Pushes the high word of a 64-bit local. */
function pushHigh(f: FunctionBody, local: number): FunctionBody {
  return f.get(local).constant64(32).op(Op.i64ShrU);
}

/** Shifts high:low left by `count` (an i64 local, 0 to 63). */
function shiftLeft(f: FunctionBody, high: number, low: number, count: number): void {
  f.get(high).get(count).op(Op.i64Shl);
  f.get(low).constant64(1).op(Op.i64ShrU).constant64(63).get(count).op(Op.i64Sub).op(Op.i64ShrU).op(Op.i64Or).set(high);
  f.get(low).get(count).op(Op.i64Shl).set(low);
}

/** FMUL. Operands that are not both moderate go to the routine `special`. */
export function multiplyRoutine(round: number, special: number): FunctionBody {
  const f = new FunctionBody(4);
  const [a, b] = exponents(f);
  ifNotBothModerate(f, a, b);
  f.get(A).get(SE_A).get(B).get(SE_B).returnCall(special);
  f.end();
  productAndReturn(f, a, b, round);
  return f;
}

/** FMUL of any normal numbers, or by zero. */
export function multiplySpecialRoutine(round: number): FunctionBody {
  const f = new FunctionBody(4);
  const [a, b] = exponents(f);
  ifNotBothNormal(f, a, b);
  pushIsZero(f, A, a);
  pushIsZero(f, B, b).op(Op.i32Or);
  pushIsZero(f, A, a);
  pushIsNormal(f, A, a).op(Op.i32Or).op(Op.i32And);
  pushIsZero(f, B, b);
  pushIsNormal(f, B, b).op(Op.i32Or).op(Op.i32And).if();
  returnZero(f, () => pushSignOfProduct(f));
  f.end();
  refuse(f);
  f.end();
  productAndReturn(f, a, b, round);
  return f;
}

/** The product of A and B, which are normal. The locals of their exponents are used up. */
function productAndReturn(f: FunctionBody, a: number, b: number, round: number): void {
  const aLow = f.local(I64), aHigh = f.local(I64), bLow = f.local(I64), bHigh = f.local(I64);
  const lowest = f.local(I64), cross = f.local(I64), middle = f.local(I64);
  const high = f.local(I64), low = f.local(I64), mask = f.local(I64);
  pushLow(f, A).set(aLow);
  pushHigh(f, A).set(aHigh);
  pushLow(f, B).set(bLow);
  pushHigh(f, B).set(bHigh);
  f.get(aLow).get(bLow).op(Op.i64Mul).set(lowest);
  f.get(aLow).get(bHigh).op(Op.i64Mul).set(cross);
  // Does not overflow: (2^32 - 1)^2 + 2 (2^32 - 1) = 2^64 - 1.
  f.get(aHigh).get(bLow).op(Op.i64Mul);
  pushHigh(f, lowest).op(Op.i64Add);
  pushLow(f, cross).op(Op.i64Add).set(middle);
  f.get(aHigh).get(bHigh).op(Op.i64Mul);
  pushHigh(f, cross).op(Op.i64Add);
  pushHigh(f, middle).op(Op.i64Add).set(high);
  f.get(middle).constant64(32).op(Op.i64Shl);
  pushLow(f, lowest).op(Op.i64Or).set(low);
  // The product has 128 bits, or 127: then it is doubled, and the mask is all ones.
  f.get(high).constant64(63).op(Op.i64ShrS).constant64(-1).op(Op.i64Xor).set(mask);
  f.get(low).constant64(63).op(Op.i64ShrU).get(high).op(Op.i64Add).get(mask).op(Op.i64And).get(high).op(Op.i64Add);
  f.set(high).get(low).get(mask).op(Op.i64And).get(low).op(Op.i64Add).set(low);
  f.get(a).get(b).op(Op.i32Add).constant(BIAS - 1).op(Op.i32Sub).get(mask).op(Op.i32WrapI64).op(Op.i32Add).set(a);
  pushSignOfProduct(f).set(b);
  roundAndReturn(f, { sign: b, exponent: a, high, low }, round);
}

/**
 * FADD, and FSUB of a number with its sign turned. Operands that are not both moderate, or lie so far apart that one is only
 * a trace below the other, go to the routine `special`.
 */
export function addRoutine(round: number, special: number): FunctionBody {
  const f = new FunctionBody(4);
  const [a, b] = exponents(f);
  const toSpecial = () => f.get(A).get(SE_A).get(B).get(SE_B).returnCall(special);
  ifNotBothModerate(f, a, b);
  toSpecial();
  f.end();
  const distance = orderByMagnitude(f, a, b), high = f.local(I64), low = f.local(I64);
  f.get(distance).constant64(64).op(Op.i64LtU).op(Op.i32Eqz).if();
  toSpecial();
  f.end();
  alignNear(f, distance, high, low);
  sumAndReturn(f, { sign: b, exponent: a, high, low }, round, true);
  return f;
}

/** high:low = B:0 shifted right by one more than a distance below 64. */
function alignNear(f: FunctionBody, distance: number, high: number, low: number): void {
  f.get(B).constant64(1).op(Op.i64ShrU).get(distance).op(Op.i64ShrU).set(high);
  f.get(B).constant64(63).get(distance).op(Op.i64Sub).op(Op.i64Shl).set(low);
}

/** Makes A the greater magnitude and `a` its exponent; returns a local with the distance of the exponents. */
function orderByMagnitude(f: FunctionBody, a: number, b: number): number {
  const mask = f.local(I64), differs = f.local(I64), turned = f.local(I32);
  f.constant64(0).get(a).get(b).op(Op.i32LtU);
  f.get(a).get(b).op(Op.i32Eq).get(A).get(B).op(Op.i64LtU).op(Op.i32And).op(Op.i32Or);
  f.op(Op.i64ExtendI32U).op(Op.i64Sub).tee(mask);
  f.get(A).get(B).op(Op.i64Xor).op(Op.i64And).tee(differs).get(A).op(Op.i64Xor).set(A);
  f.get(B).get(differs).op(Op.i64Xor).set(B);
  f.get(SE_A).get(SE_B).op(Op.i32Xor).get(mask).op(Op.i32WrapI64).op(Op.i32And).tee(turned);
  f.get(SE_A).op(Op.i32Xor).tee(SE_A).constant(EXPONENT).op(Op.i32And).tee(a);
  f.get(SE_B).get(turned).op(Op.i32Xor).tee(SE_B).constant(EXPONENT).op(Op.i32And);
  f.op(Op.i32Sub).op(Op.i64ExtendI32U).set(mask);
  return mask;
}

/**
 * The sum of A, shifted right by one so that it cannot overflow, and high:low, which is complemented where the signs differ.
 * The local of the exponent has A's; that of the sign is set here.
 */
function sumAndReturn(f: FunctionBody, { sign, exponent, high, low }: Wide, round: number, isInRange = false): void {
  const mask = f.local(I64), shift = f.local(I64);
  // All ones where the signs differ.
  f.constant64(0).get(SE_A).get(SE_B).op(Op.i32Xor).constant(15).op(Op.i32ShrU).constant(1).op(Op.i32And);
  f.op(Op.i64ExtendI32U).op(Op.i64Sub).set(mask);
  f.get(SE_A).constant(SIGN).op(Op.i32And).set(sign);
  f.get(A).constant64(63).op(Op.i64Shl).get(mask).constant64(63).op(Op.i64ShrU).op(Op.i64Or).tee(shift);
  f.get(low).get(mask).op(Op.i64Xor).op(Op.i64Add).set(low);
  f.get(high).get(mask).op(Op.i64Xor).get(A).constant64(1).op(Op.i64ShrU).op(Op.i64Add);
  f.get(low).get(shift).op(Op.i64LtU).op(Op.i64ExtendI32U).op(Op.i64Add).set(high);

  f.get(exponent).constant(1).op(Op.i32Add).set(exponent);
  f.get(high).op(Op.i64Eqz).if();
  f.get(low).op(Op.i64Eqz).if();
  returnZero(f, () => pushSignOfZeroSum(f));
  f.end();
  f.get(low).set(high);
  f.constant64(0).set(low);
  f.get(exponent).constant(64).op(Op.i32Sub).set(exponent);
  f.end();
  f.get(high).op(Op.i64Clz).set(shift);
  shiftLeft(f, high, low, shift);
  f.get(exponent).get(shift).op(Op.i32WrapI64).op(Op.i32Sub).set(exponent);
  roundAndReturn(f, { sign, exponent, high, low }, round, isInRange);
}

/** Pushes the sign of a sum that cancels: minus only when rounding down (SDM 1, 4.8.3.1). */
function pushSignOfZeroSum(f: FunctionBody): void {
  pushState(f, S.X87.CONTROL).constant(ROUNDING_CONTROL).op(Op.i32And);
  f.constant(ROUND_DOWN << ROUNDING_SHIFT).op(Op.i32Eq).constant(15).op(Op.i32Shl);
}

/** FADD of any normal numbers, however far apart, or with a zero. */
export function addSpecialRoutine(round: number): FunctionBody {
  const f = new FunctionBody(4);
  const [a, b] = exponents(f);
  pushIsZero(f, A, a).if();
  pushIsZero(f, B, b).if();
  returnZero(f, () => {
    f.get(SE_A);
    pushSignOfZeroSum(f);
    f.get(SE_A).get(SE_B).op(Op.i32Eq).op(Op.select);
  });
  f.end();
  // The other operand may still need rounding to a lower precision.
  pushIsNormal(f, B, b).if();
  f.get(SE_B).constant(SIGN).op(Op.i32And).get(b).get(B).constant64(0).returnCall(round);
  f.end();
  f.end();
  pushIsZero(f, B, b);
  pushIsNormal(f, A, a).op(Op.i32And).if();
  f.get(SE_A).constant(SIGN).op(Op.i32And).get(a).get(A).constant64(0).returnCall(round);
  f.end();
  ifNotBothNormal(f, a, b);
  refuse(f);
  f.end();
  const distance = orderByMagnitude(f, a, b), high = f.local(I64), low = f.local(I64);
  f.get(distance).constant64(64).op(Op.i64LtU).if();
  alignNear(f, distance, high, low);
  f.else();
  // What is shifted out below 128 bits leaves a trace in the lowest one.
  f.get(distance).constant64(127).op(Op.i64LtU).if();
  f.get(B).get(distance).constant64(63).op(Op.i64Sub).op(Op.i64ShrU);
  f.get(B).constant64(127).get(distance).op(Op.i64Sub).op(Op.i64Shl).op(Op.i64Eqz).op(Op.i32Eqz);
  f.op(Op.i64ExtendI32U).op(Op.i64Or).set(low);
  f.else();
  f.constant64(1).set(low);
  f.end();
  f.end();
  sumAndReturn(f, { sign: b, exponent: a, high, low }, round);
  return f;
}

/** FDIV. Two digits of 32 bits, each estimated by the divisor's high word and corrected twice at the most. */
export function divideRoutine(round: number): FunctionBody {
  const f = new FunctionBody(4);
  const [a, b] = exponents(f);
  const sign = f.local(I32);
  pushSignOfProduct(f).set(sign);
  ifNotBothNormal(f, a, b);
  pushIsZero(f, A, a);
  pushIsNormal(f, B, b).op(Op.i32And).if();
  returnZero(f, () => f.get(sign));
  f.end();
  refuse(f);
  f.end();

  const rest = f.local(I64), next = f.local(I64), high = f.local(I64), low = f.local(I64), digit = f.local(I64);
  // The quotient has 64 bits: the dividend is halved where it is not less than the divisor.
  f.get(A).set(rest);
  f.get(a).get(b).op(Op.i32Sub).constant(BIAS - 1).op(Op.i32Add).set(a);
  f.get(A).get(B).op(Op.i64LtU).op(Op.i32Eqz).if();
  f.get(A).constant64(1).op(Op.i64ShrU).set(rest);
  f.get(A).constant64(63).op(Op.i64Shl).set(next);
  f.get(a).constant(1).op(Op.i32Add).set(a);
  f.end();
  quotientDigit(f, rest, () => pushHigh(f, next), digit);
  f.get(digit).constant64(32).op(Op.i64Shl).set(high);
  quotientDigit(f, rest, () => pushLow(f, next), digit);
  f.get(high).get(digit).op(Op.i64Or).set(high);
  // A quarter, a half or three quarters of a unit stand for any remainder.
  f.get(rest).op(Op.i64Eqz).if();
  f.constant64(0).set(low);
  f.else();
  f.constantI64(0x40000000, 0);
  f.get(rest).get(B).get(rest).op(Op.i64Sub).tee(next).op(Op.i64GtU).op(Op.i64ExtendI32U);
  f.get(rest).get(next).op(Op.i64GeU).op(Op.i64ExtendI32U).op(Op.i64Add);
  f.constant64(1).op(Op.i64Add).op(Op.i64Mul).set(low);
  f.end();
  roundAndReturn(f, { sign, exponent: a, high, low }, round);
  return f;
}

/** digit, rest = (rest * 2^32 + the next word) divided by B, where rest < B. */
function quotientDigit(f: FunctionBody, rest: number, pushNext: () => void, digit: number): void {
  const estimateRest = f.local(I64);
  pushHigh(f, B).set(estimateRest);
  f.get(rest).get(estimateRest).op(Op.i64DivU).set(digit);
  f.get(rest).get(digit).get(estimateRest).op(Op.i64Mul).op(Op.i64Sub).set(estimateRest);
  const done = f.block();
  const again = f.loop();
  // Too large while it has 33 bits, or while digit * low word of B > estimateRest * 2^32 + next.
  const lessen = f.block();
  pushHigh(f, digit).op(Op.i64Eqz).op(Op.i32Eqz).brIf(lessen);
  f.get(digit);
  pushLow(f, B).op(Op.i64Mul).get(estimateRest).constant64(32).op(Op.i64Shl);
  pushNext();
  f.op(Op.i64Or).op(Op.i64GtU).op(Op.i32Eqz).brIf(done);
  f.end();
  f.get(digit).constant64(1).op(Op.i64Sub).set(digit);
  f.get(estimateRest);
  pushHigh(f, B).op(Op.i64Add).set(estimateRest);
  pushHigh(f, estimateRest).op(Op.i64Eqz).brIf(again);
  f.end();
  f.end();
  f.get(rest).constant64(32).op(Op.i64Shl);
  pushNext();
  f.op(Op.i64Or).get(digit).get(B).op(Op.i64Mul).op(Op.i64Sub).set(rest);
  f.release(I64, estimateRest);
}

/** FSQRT of a number that is not negative. */
export function squareRootRoutine(round: number): FunctionBody {
  const f = new FunctionBody(2);
  const exponent = f.local(I32), sign = f.local(I32), shift = f.local(I64);
  f.get(SE_A).constant(EXPONENT).op(Op.i32And).set(exponent);
  pushIsZero(f, A, exponent).if();
  returnZero(f, () => f.get(SE_A));
  f.end();
  pushIsNormal(f, A, exponent).get(SE_A).constant(SIGN).op(Op.i32And).op(Op.i32Eqz).op(Op.i32And).op(Op.i32Eqz).if();
  refuse(f);
  f.end();

  // The radicand is top:bottom with top >= 2^62, so that its root has 64 bits; an even power of two costs a bit.
  const top = f.local(I64), bottom = f.local(I64), root = f.local(I64), rest = f.local(I64), digit = f.local(I64);
  f.get(exponent).constant(BIAS).op(Op.i32Sub).constant(1).op(Op.i32And).op(Op.i64ExtendI32U).constant64(1);
  f.op(Op.i64Xor).set(shift);
  f.get(A).get(shift).op(Op.i64ShrU).set(top);
  f.get(A).get(shift).op(Op.i64And).constant64(63).op(Op.i64Shl).set(bottom);
  rootOfWord(f, top, root, rest);
  // The second digit: (rest * 2^32 + high word of bottom) / (2 root), both halved; the word's lowest bit is 0.
  f.get(rest).constant64(31).op(Op.i64Shl).get(bottom).constant64(33).op(Op.i64ShrU).op(Op.i64Or).tee(rest);
  f.get(root).op(Op.i64DivU).set(digit);
  pushHigh(f, digit).op(Op.i64Eqz).op(Op.i32Eqz).if();
  f.constantI64(0, LOW_WORD).set(digit);
  f.end();
  // What is left, in words high:low, signed: 2 (rest - digit * root) * 2^32 - digit^2.
  const square = f.local(I64), high = f.local(I64), low = f.local(I64);
  f.get(digit).get(digit).op(Op.i64Mul).set(square);
  f.get(rest).get(digit).get(root).op(Op.i64Mul).op(Op.i64Sub).constant64(1).op(Op.i64Shl);
  pushHigh(f, square).op(Op.i64Sub).set(high);
  f.constant64(0);
  pushLow(f, square).op(Op.i64Sub).set(low);
  carryWords(f, high, low);
  f.get(high).constant64(0).op(Op.i64LtS).if();
  // One too large: add 2 root - 1.
  f.get(low).get(digit).constant64(1).op(Op.i64Shl).op(Op.i64Add).constant64(1).op(Op.i64Sub).set(low);
  f.get(high).get(root).constant64(1).op(Op.i64Shl).op(Op.i64Add).set(high);
  carryWords(f, high, low);
  f.get(digit).constant64(1).op(Op.i64Sub).set(digit);
  f.end();
  // A digit of -1 borrows from the first one by this addition.
  f.get(root).constant64(32).op(Op.i64Shl).get(digit).op(Op.i64Add).set(root);
  f.constant64(0).set(bottom);
  f.get(high).get(low).op(Op.i64Or).op(Op.i64Eqz).op(Op.i32Eqz).if();
  // The rest is at most 2 root: compared with root in words. A root is never halfway.
  f.constantI64(0x40000000, 0).constantI64(0xc0000000 | 0, 0);
  f.get(high);
  pushHigh(f, root).op(Op.i64LtU);
  f.get(high);
  pushHigh(f, root).op(Op.i64Eq).get(low);
  pushLow(f, root).op(Op.i64GtU).op(Op.i32Eqz).op(Op.i32And).op(Op.i32Or).op(Op.select).set(bottom);
  f.end();
  f.get(exponent).constant(BIAS).op(Op.i32Sub).constant(1).op(Op.i32ShrS).constant(BIAS).op(Op.i32Add).set(exponent);
  roundAndReturn(f, { sign, exponent, high: root, low: bottom }, round);
  return f;
}

/** root = the integer square root of `top`, rest = top - root^2; the estimate in double precision is off by one at most. */
function rootOfWord(f: FunctionBody, top: number, root: number, rest: number): void {
  f.get(top).op(Op.f64ConvertI64U).op(Op.f64Sqrt).op(Op.i64TruncF64U).tee(root);
  f.constantI64(0, LOW_WORD).op(Op.i64GtU).if();
  f.constantI64(0, LOW_WORD).set(root);
  f.end();
  f.get(top).get(root).get(root).op(Op.i64Mul).op(Op.i64Sub).tee(rest);
  f.constant64(0).op(Op.i64LtS).if();
  f.get(root).constant64(1).op(Op.i64Sub).set(root);
  f.get(rest).get(root).constant64(1).op(Op.i64Shl).op(Op.i64Add).constant64(1).op(Op.i64Add).set(rest);
  f.end();
  f.get(rest).get(root).constant64(1).op(Op.i64Shl).op(Op.i64GtU).if();
  f.get(rest).get(root).constant64(1).op(Op.i64Shl).op(Op.i64Sub).constant64(1).op(Op.i64Sub).set(rest);
  f.get(root).constant64(1).op(Op.i64Add).set(root);
  f.end();
}

/** Makes `low` a word from 0 to 2^32 - 1 again, with its carry or borrow in `high`. */
function carryWords(f: FunctionBody, high: number, low: number): void {
  f.get(high).get(low).constant64(32).op(Op.i64ShrS).op(Op.i64Add).set(high);
  pushLow(f, low).set(low);
}
