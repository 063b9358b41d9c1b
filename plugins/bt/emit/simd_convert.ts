// Conversions between integers, binary32 and binary64 where they raise nothing that is not raised already (Intel SDM 1, 11.5;
// SDM 2A, CVTDQ2PD to CVTTSS2SI): integers in range, floats that are normal or zero, the precision flag set or the result
// exact. Anything else is left to the interpreter.

import type { Instruction } from "../../x86/mod.ts";
import * as L from "../layout.ts";
import { F32, F64, Op, V128 } from "../wasm.ts";
import type { Emitter } from "./emitter.ts";
import type { Chooser } from "./operands.ts";
import {
  DOUBLE,
  type Format,
  requireAllOrdinary,
  requireOrdinary,
  scalarOperand,
  setLowElement,
  SINGLE,
} from "./simd_float.ts";
import { requireArithmetic, requireUnlessInexact } from "./simd_exact.ts";
import { enterMmx, mmx, requireMmx, setMmx } from "./simd_mmx.ts";
import { isMmx, sourceLowHalf, sourceVector } from "./simd_operands.ts";
import { V } from "./simd_opcodes.ts";

const ZERO = [0, 0, 0, 0];
/** The greatest integer. */
const GREATEST = 0x7fffffff;

/** Pops a condition and leaves unless it holds. */
function require(e: Emitter): void {
  e.f.op(Op.i32Eqz).unlikely().if();
  e.exitInstruction();
  e.f.end();
}

// From integers.

function integerOperand(e: Emitter, instruction: Instruction): number {
  const local = e.temporary();
  if (instruction.isMemory) e.pushMemory(instruction, 32);
  else e.f.get(e.register(instruction.rm));
  e.f.set(local);
  return local;
}

const integerToDouble: Chooser = (instruction) => (e) => {
  e.requireFloatingPoint(L.FP_SSE);
  const integer = integerOperand(e, instruction), result = e.temporary(F64);
  e.f.get(integer).op(Op.f64ConvertI32S).set(result);
  setLowElement(e, DOUBLE, instruction.reg, result, true);
};

const integerToSingle: Chooser = (instruction) => (e) => {
  const { f } = e;
  requireArithmetic(e);
  const integer = integerOperand(e, instruction), result = e.temporary(F32);
  f.get(integer).op(Op.f32ConvertI32S).set(result);
  requireUnlessInexact(e, () => f.get(result).op(Op.f64PromoteF32).get(integer).op(Op.f64ConvertI32S).op(Op.f64Ne));
  setLowElement(e, SINGLE, instruction.reg, result, true);
};

/** Local with two integers of the second operand. */
function twoIntegers(e: Emitter, instruction: Instruction): number {
  if (!usesMmx(instruction)) return sourceLowHalf(e, instruction);
  requireMmx(e);
  return mmx(e, instruction.rm);
}

/** From an MMX register, integers put the FPU to MMX use; from memory they do not. */
function usesMmx({ isMemory, row }: Instruction): boolean {
  return !isMemory && isMmx(row.operands[1]);
}

const integersToDoubles: Chooser = (instruction) => (e) => {
  e.requireFloatingPoint(L.FP_SSE);
  const integers = twoIntegers(e, instruction);
  if (usesMmx(instruction)) enterMmx(e);
  e.f.get(integers).vector(V.f64x2ConvertLowI32x4S);
  e.setXmm(instruction.reg);
  e.ordinary[instruction.reg] = DOUBLE.all;
};

/** CVTPI2PS leaves the high half. */
const twoIntegersToSingles: Chooser = (instruction) => (e) => {
  const { reg } = instruction;
  requireArithmetic(e);
  const singles = toSingles(e, twoIntegers(e, instruction));
  if (usesMmx(instruction)) enterMmx(e);
  e.f.get(singles).get(e.xmm(reg)).shuffle(LOW_THEN_HIGH);
  e.setXmm(reg);
};

/** The low half of the first vector and the high half of the second. */
const LOW_THEN_HIGH = [0, 1, 2, 3, 4, 5, 6, 7, 24, 25, 26, 27, 28, 29, 30, 31];

/** Local with integers as singles. One that would be 2^31 is no integer, and inexact though it saturates to the greatest. */
function toSingles(e: Emitter, integers: number): number {
  const { f } = e;
  const singles = e.temporary(V128);
  f.get(integers).vector(V.f32x4ConvertI32x4S).set(singles);
  requireUnlessInexact(e, () => {
    f.get(singles).vector(V.i32x4TruncSatF32x4S).get(integers).vector(V.i32x4Ne);
    f.get(integers).constant128([GREATEST, GREATEST, GREATEST, GREATEST]).vector(V.i32x4Eq).vector(V.v128Or);
    f.vector(V.v128AnyTrue);
  });
  return singles;
}

const integersToSingles: Chooser = (instruction) => (e) => {
  requireArithmetic(e);
  e.f.get(toSingles(e, sourceVector(e, instruction)));
  e.setXmm(instruction.reg);
  e.ordinary[instruction.reg] = SINGLE.all;
};

// To integers.

/** A scalar, by way of binary64, which holds every integer; an integer out of range is not what it saturates to. */
function scalarToInteger(format: Format, rounding: number): Chooser {
  return (instruction) => (e) => {
    const { f } = e;
    requireArithmetic(e);
    const operand = scalarOperand(e, format, instruction);
    const value = format.bits === 64 ? operand : e.temporary(F64), rounded = e.temporary(F64);
    const integer = e.temporary();
    if (value !== operand) f.get(operand).op(Op.f64PromoteF32).set(value);
    f.get(value).op(rounding).tee(rounded).truncateSaturated().tee(integer).op(Op.f64ConvertI32S);
    f.get(rounded).op(Op.f64Eq);
    require(e);
    requireUnlessInexact(e, () => f.get(rounded).get(value).op(Op.f64Ne));
    f.get(integer);
    e.setRegister(instruction.reg);
  };
}

/** Sets the destination, which may be an MMX register, to the vector in a local. */
function setVector(e: Emitter, { reg, row }: Instruction, local: number): void {
  if (!isMmx(row.operands[0])) {
    e.f.get(local);
    return e.setXmm(reg);
  }
  enterMmx(e);
  e.f.get(local);
  setMmx(e, reg);
}

/** All may run that an instruction with this destination needs. */
function requireConversion(e: Emitter, { row }: Instruction): void {
  requireArithmetic(e);
  if (isMmx(row.operands[0])) requireMmx(e);
}

/** The low two singles, twice, so that a look at all four is one at these. */
const LOW_SINGLES = [0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7];

/** Local with the low two singles of the second operand, twice. */
function lowSingles(e: Emitter, instruction: Instruction): number {
  const operand = sourceLowHalf(e, instruction), singles = e.temporary(V128);
  e.f.get(operand).get(operand).shuffle(LOW_SINGLES).set(singles);
  return singles;
}

/** Singles; what saturates to the greatest integer was none, because a single cannot be that. */
function singlesToIntegers(rounding: number): Chooser {
  return (instruction) => (e) => {
    const { f } = e;
    requireConversion(e, instruction);
    const operand = instruction.row.operands[1] === "Wq" ? lowSingles(e, instruction) : sourceVector(e, instruction);
    const rounded = e.temporary(V128), integers = e.temporary(V128);
    f.get(operand).vector(rounding).tee(rounded);
    f.vector(V.i32x4TruncSatF32x4S).tee(integers).vector(V.f32x4ConvertI32x4S).get(rounded).vector(V.f32x4Eq);
    f.get(integers).constant128([GREATEST, GREATEST, GREATEST, GREATEST]).vector(V.i32x4Ne).vector(V.v128And);
    f.vector(V.i32x4AllTrue);
    require(e);
    requireUnlessInexact(e, () => f.get(rounded).get(operand).vector(V.f32x4Ne).vector(V.v128AnyTrue));
    setVector(e, instruction, integers);
  };
}

function doublesToIntegers(rounding: number): Chooser {
  return (instruction) => (e) => {
    const { f } = e;
    requireConversion(e, instruction);
    const operand = sourceVector(e, instruction), rounded = e.temporary(V128), integers = e.temporary(V128);
    f.get(operand).vector(rounding).tee(rounded);
    f.vector(V.i32x4TruncSatF64x2SZero).tee(integers).vector(V.f64x2ConvertLowI32x4S).get(rounded).vector(V.f64x2Eq);
    f.vector(V.i64x2AllTrue);
    require(e);
    requireUnlessInexact(e, () => f.get(rounded).get(operand).vector(V.f64x2Ne).vector(V.v128AnyTrue));
    setVector(e, instruction, integers);
  };
}

// Between floats.

const singleToDouble: Chooser = (instruction) => (e) => {
  const { f } = e;
  e.requireFloatingPoint(L.FP_SSE);
  const single = scalarOperand(e, SINGLE, instruction), result = e.temporary(F64);
  requireOrdinary(e, SINGLE, single, () => f.get(single).constantF32(0).op(Op.f32Eq));
  f.get(single).op(Op.f64PromoteF32).set(result);
  setLowElement(e, DOUBLE, instruction.reg, result, true);
};

const doubleToSingle: Chooser = (instruction) => (e) => {
  const { f } = e;
  requireArithmetic(e);
  const double = scalarOperand(e, DOUBLE, instruction), result = e.temporary(F32);
  f.get(double).op(Op.f32DemoteF64).set(result);
  requireOrdinary(e, SINGLE, result, () => f.get(double).constantF64(0).op(Op.f64Eq));
  requireUnlessInexact(e, () => f.get(result).op(Op.f64PromoteF32).get(double).op(Op.f64Ne));
  setLowElement(e, SINGLE, instruction.reg, result, true);
};

const singlesToDoubles: Chooser = (instruction) => (e) => {
  const { f } = e;
  e.requireFloatingPoint(L.FP_SSE);
  const singles = lowSingles(e, instruction);
  requireAllOrdinary(e, SINGLE, singles, () => f.get(singles).constant128(ZERO).vector(V.f32x4Eq));
  f.get(singles).vector(V.f64x2PromoteLowF32x4);
  e.setXmm(instruction.reg);
  e.ordinary[instruction.reg] = DOUBLE.all;
};

const doublesToSingles: Chooser = (instruction) => (e) => {
  const { f } = e;
  requireArithmetic(e);
  const operand = sourceVector(e, instruction), result = e.temporary(V128), singles = e.temporary(V128);
  f.get(operand).vector(V.f32x4DemoteF64x2Zero).tee(result).get(result).shuffle(LOW_SINGLES).set(singles);
  // An exact zero: the comparison of doubles, each of its results as two singles' mask, in the order of `singles`.
  const pushIsExactZero = () => {
    f.get(operand).constant128(ZERO).vector(V.f64x2Eq).get(operand).shuffle([
      ...[0, 1, 2, 3, 8, 9, 10, 11, 0, 1, 2, 3, 8, 9, 10, 11],
    ]);
  };
  requireAllOrdinary(e, SINGLE, singles, pushIsExactZero);
  requireUnlessInexact(e, () => {
    f.get(result).vector(V.f64x2PromoteLowF32x4).get(operand).vector(V.f64x2Ne).vector(V.v128AnyTrue);
  });
  f.get(result);
  e.setXmm(instruction.reg);
  e.ordinary[instruction.reg] = SINGLE.all;
};

export const conversionChoosers: Readonly<Record<string, Chooser>> = {
  cvtsi2sd: integerToDouble,
  cvtsi2ss: integerToSingle,
  cvtdq2pd: integersToDoubles,
  cvtdq2ps: integersToSingles,
  cvtpi2pd: integersToDoubles,
  cvtpi2ps: twoIntegersToSingles,
  cvtsd2si: scalarToInteger(DOUBLE, Op.f64Nearest),
  cvttsd2si: scalarToInteger(DOUBLE, Op.f64Trunc),
  cvtss2si: scalarToInteger(SINGLE, Op.f64Nearest),
  cvttss2si: scalarToInteger(SINGLE, Op.f64Trunc),
  cvtps2dq: singlesToIntegers(V.f32x4Nearest),
  cvttps2dq: singlesToIntegers(V.f32x4Trunc),
  cvtps2pi: singlesToIntegers(V.f32x4Nearest),
  cvttps2pi: singlesToIntegers(V.f32x4Trunc),
  cvtpd2dq: doublesToIntegers(V.f64x2Nearest),
  cvttpd2dq: doublesToIntegers(V.f64x2Trunc),
  cvtpd2pi: doublesToIntegers(V.f64x2Nearest),
  cvttpd2pi: doublesToIntegers(V.f64x2Trunc),
  cvtss2sd: singleToDouble,
  cvtsd2ss: doubleToSingle,
  cvtps2pd: singlesToDoubles,
  cvtpd2ps: doublesToSingles,
};
