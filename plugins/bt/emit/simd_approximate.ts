// RCPPS, RCPSS, RSQRTPS and RSQRTSS of normal numbers: quotients in binary64, rounded to twelve fraction bits, as
// plugins/x86/simd/approximate.ts defines them. They read and raise nothing in MXCSR (Intel SDM 2B, RCPPS and RSQRTPS).

import * as L from "../layout.ts";
import { F32, Op, V128 } from "../wasm.ts";
import type { Emitter } from "./emitter.ts";
import type { Chooser } from "./operands.ts";
import { requireAllOrdinary, requireOrdinary, scalarOperand, setLowElement, SINGLE } from "./simd_float.ts";
import { sourceVector } from "./simd_operands.ts";
import { V } from "./simd_opcodes.ts";

/** Half a unit of the fraction bits that stay, and all that do. */
const HALF_UNIT = 0x400, KEPT_BITS = ~0x7ff;

/** Zeros and denormals, and what has such a result, are left. */
const never = (e: Emitter) => () => e.f.constant(0);
const nowhere = (e: Emitter) => () => e.f.constant128([0, 0, 0, 0]);

function scalar(isRoot: boolean): Chooser {
  return (instruction) => (e) => {
    const { f } = e;
    e.requireFloatingPoint(L.FP_SSE);
    const operand = scalarOperand(e, SINGLE, instruction), result = e.temporary(F32);
    requireOrdinary(e, SINGLE, operand, never(e));
    f.constantF64(1).get(operand).op(Op.f64PromoteF32);
    if (isRoot) f.op(Op.f64Sqrt);
    f.op(Op.f64Div).op(Op.f32DemoteF64).set(result);
    requireOrdinary(e, SINGLE, result, never(e));
    f.get(result).op(Op.i32ReinterpretF32).constant(HALF_UNIT).op(Op.i32Add).constant(KEPT_BITS).op(Op.i32And);
    f.op(Op.f32ReinterpretI32).set(result);
    setLowElement(e, SINGLE, instruction.reg, result, true);
  };
}

/** The high half of a vector, twice; the low halves of two. */
const HIGH_HALF = [8, 9, 10, 11, 12, 13, 14, 15, 8, 9, 10, 11, 12, 13, 14, 15];
const LOW_HALVES = [0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23];

function packed(isRoot: boolean): Chooser {
  return (instruction) => (e) => {
    const { f } = e;
    e.requireFloatingPoint(L.FP_SSE);
    const operand = sourceVector(e, instruction), result = e.temporary(V128);
    requireAllOrdinary(e, SINGLE, operand, nowhere(e));
    for (const isHigh of [false, true]) {
      f.constantF64(1).vector(V.f64x2Splat).get(operand);
      if (isHigh) f.get(operand).shuffle(HIGH_HALF);
      f.vector(V.f64x2PromoteLowF32x4);
      if (isRoot) f.vector(V.f64x2Sqrt);
      f.vector(V.f64x2Div).vector(V.f32x4DemoteF64x2Zero);
    }
    f.shuffle(LOW_HALVES).set(result);
    requireAllOrdinary(e, SINGLE, result, nowhere(e));
    f.get(result).constant(HALF_UNIT).vector(V.i32x4Splat).vector(V.i32x4Add);
    f.constant(KEPT_BITS).vector(V.i32x4Splat).vector(V.v128And);
    e.setXmm(instruction.reg);
  };
}

export const approximationChoosers: Readonly<Record<string, Chooser>> = {
  rcpps: packed(false),
  rcpss: scalar(false),
  rsqrtps: packed(true),
  rsqrtss: scalar(true),
};
