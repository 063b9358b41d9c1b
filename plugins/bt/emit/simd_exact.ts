// Whether a result is exact, for programs in which none was inexact yet: MXCSR's precision flag is clear, and the first
// inexact result, which sets it, is the interpreter's. Sums by the error of a sum (Knuth, The Art of Computer Programming 2,
// 4.2.2, theorem B), products and what they undo by the bits of their factors. A test may say no to an exact result.

import { state as S } from "../../x86/mod.ts";
import * as L from "../layout.ts";
import { Access, HYPERVISOR, Op, V128 } from "../wasm.ts";
import type { Emitter } from "./emitter.ts";
import type { Format, Operation } from "./simd_float.ts";
import { V } from "./simd_opcodes.ts";

/** MXCSR apart from its flags: all exceptions masked, round to nearest, neither FTZ nor DAZ (SDM 1, 10.2.3). */
const PLAIN = 0x1f80, SETTINGS = 0xffc0;
const PRECISION = 1 << 5;
/** Bits of a double's significand, and its leading one where the fraction is beside it. */
const DOUBLE_PRECISION = 53, LEADING_ONE_HIGH = 1 << 20;

function pushMxcsr(e: Emitter): void {
  e.f.constant(0).memory(Access.i32Load, HYPERVISOR, L.STATE + S.MXCSR * 4);
}

/** Leaves unless SSE may run and MXCSR's settings are those that WebAssembly's arithmetic has. */
export function requireArithmetic(e: Emitter): void {
  e.requireFloatingPoint(L.FP_SSE);
  if (e.isMxcsrPlain) return;
  e.isMxcsrPlain = true;
  pushMxcsr(e);
  e.f.constant(SETTINGS).op(Op.i32And).constant(PLAIN).op(Op.i32Ne).unlikely().if();
  e.exitInstruction();
  e.f.end();
}

/** A result and its operands, in locals of a format or of vectors. */
interface Computation {
  readonly format: Format;
  readonly isPacked: boolean;
  readonly operation: Operation;
  readonly x: number;
  readonly y: number;
  readonly result: number;
}

/** Leaves unless the result is exact, or the precision flag is set. */
export function requireExact(e: Emitter, computation: Computation): void {
  requireUnlessInexact(e, () => {
    const { format, operation } = computation;
    if (operation === "add" || operation === "sub") pushSumIsInexact(e, computation);
    else if (format.bits === 32) pushSinglesAreInexact(e, computation);
    else pushDoublesAreInexact(e, computation);
  });
}

/** Leaves where the precision flag is clear and `pushIsInexact` pushes that the result is not exact. */
export function requireUnlessInexact(e: Emitter, pushIsInexact: () => void): void {
  const { f } = e;
  pushMxcsr(e);
  f.constant(PRECISION).op(Op.i32And).op(Op.i32Eqz).unlikely().if();
  pushIsInexact();
  f.unlikely().if();
  e.exitInstruction();
  f.end();
  f.end();
}

/** x + y = r + ((x - (r - z)) + (y - z)) with z = r - x; for a difference, y is negated. */
function pushSumIsInexact(e: Emitter, { format, isPacked, operation, x, y, result }: Computation): void {
  const { f } = e;
  const { add, sub, ne } = isPacked ? format.vector : format.scalar;
  const op = (opcode: number) => isPacked ? f.vector(opcode) : f.op(opcode);
  const z = e.temporary(isPacked ? V128 : format.type);
  f.get(result).get(x);
  op(sub);
  f.set(z).get(x).get(result).get(z);
  op(sub);
  op(sub);
  f.get(y).get(z);
  op(operation === "add" ? sub : add);
  op(operation === "add" ? add : sub);
  if (isPacked) f.constant128([0, 0, 0, 0]);
  else format.constant(e, 0);
  op(ne);
  if (isPacked) f.vector(V.v128AnyTrue);
}

/** The two factors and what their product must be. */
function factorsOf({ operation, x, y, result }: Computation): readonly [number, number, number] {
  if (operation === "mul") return [x, y, result];
  return operation === "div" ? [result, y, x] : [result, result, y];
}

const HIGH_HALF = [8, 9, 10, 11, 12, 13, 14, 15, 8, 9, 10, 11, 12, 13, 14, 15];

/** Products of singles are exact in binary64. */
function pushSinglesAreInexact(e: Emitter, computation: Computation): void {
  const { f } = e;
  const [left, right, product] = factorsOf(computation);
  if (!computation.isPacked) {
    f.get(left).op(Op.f64PromoteF32).get(right).op(Op.f64PromoteF32).op(Op.f64Mul);
    f.get(product).op(Op.f64PromoteF32).op(Op.f64Ne);
    return;
  }
  for (const isHigh of [false, true]) {
    const push = (local: number) => {
      f.get(local);
      if (isHigh) f.get(local).shuffle(HIGH_HALF);
      f.vector(V.f64x2PromoteLowF32x4);
    };
    push(left);
    push(right);
    f.vector(V.f64x2Mul);
    push(product);
    f.vector(V.f64x2Ne);
  }
  f.vector(V.v128Or).vector(V.v128AnyTrue);
}

/** The zeros that two significands end with are as many as a product that fits leaves out, at the least. */
function pushDoublesAreInexact(e: Emitter, computation: Computation): void {
  const { f } = e;
  const { isPacked, operation } = computation;
  const [left, right, product] = factorsOf(computation);
  for (const lane of isPacked ? [0, 1] : [0]) {
    for (const factor of [left, right]) {
      f.get(factor);
      if (isPacked) f.lane(V.i64x2ExtractLane, lane);
      else f.op(Op.i64ReinterpretF64);
      f.constantI64(LEADING_ONE_HIGH, 0).op(Op.i64Or).op(Op.i64Ctz);
    }
    f.op(Op.i64Add).constant64(DOUBLE_PRECISION).op(Op.i64LtU);
    if (lane > 0) f.op(Op.i32Or);
  }
  if (operation === "mul") return;
  f.get(left).get(right);
  if (isPacked) f.vector(V.f64x2Mul).get(product).vector(V.f64x2Ne).vector(V.v128AnyTrue);
  else f.op(Op.f64Mul).get(product).op(Op.f64Ne);
  f.op(Op.i32Or);
}
