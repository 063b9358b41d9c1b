// SSE and SSE2 arithmetic and comparison where no flag of MXCSR can change: operands and result are ordinary, that is normal or
// zero, and the precision flag is set already or the result is exact (Intel SDM 1, 11.5). WebAssembly's arithmetic is
// correctly rounded to nearest. Anything else leaves to the interpreter.

import type { Instruction } from "../../x86/mod.ts";
import * as L from "../layout.ts";
import { Access, F32, F64, MACHINE, Op, V128 } from "../wasm.ts";
import type { Emitter } from "./emitter.ts";
import type { Chooser } from "./operands.ts";
import { requireArithmetic, requireExact } from "./simd_exact.ts";
import { pushVectorAddress, sourceVector } from "./simd_operands.ts";
import { V } from "./simd_opcodes.ts";

/** Bits of `Emitter.ordinary`: the low and the high double, and the four singles from the low end. */
const LOW_DOUBLE = 1, HIGH_DOUBLE = 2, SINGLES = [4, 8, 16, 32];
const ALL_DOUBLES = LOW_DOUBLE | HIGH_DOUBLE, ALL_SINGLES = 60;
export const ALL_ORDINARY = ALL_DOUBLES | ALL_SINGLES;

/** The low element of each format, and what is left of a register's bits when one is written. */
export const ORDINARY = {
  lowDouble: LOW_DOUBLE,
  lowSingle: SINGLES[0],
  besideLowDouble: HIGH_DOUBLE | SINGLES[2] | SINGLES[3],
  besideLowSingle: HIGH_DOUBLE | SINGLES[1] | SINGLES[2] | SINGLES[3],
} as const;

/** What WebAssembly calls things in a format. */
export interface Format {
  readonly bits: 32 | 64;
  readonly type: typeof F32 | typeof F64;
  readonly load: number;
  readonly extract: number;
  readonly replace: number;
  readonly constant: (e: Emitter, value: number) => void;
  /** Pushed by a scalar's local: its exponent field in the high bits of a word, below the sign. */
  readonly pushHighWord: (e: Emitter, local: number) => void;
  /** Added to twice that word, so that a shift by `exponentShift` gives zero exactly if the exponent is extreme. */
  readonly bias: number;
  readonly shift: number;
  /** The same on vectors. */
  readonly vectorShift: number;
  readonly vectorBias: readonly number[];
  readonly shiftLeft: number;
  readonly addBias: number;
  readonly shiftRight: number;
  readonly allTrue: number;
  readonly notEqualInteger: number;
  /** Scalar and vector opcodes. */
  readonly scalar: Record<"add" | "sub" | "mul" | "div" | "sqrt" | "eq" | "ne" | "lt" | "gt" | "le" | "ge", number>;
  readonly vector: Record<
    "add" | "sub" | "mul" | "div" | "sqrt" | "eq" | "ne" | "lt" | "gt" | "le" | "ge" | "pmin" | "pmax" | "abs",
    number
  >;
  readonly low: number;
  readonly besideLow: number;
  readonly all: number;
}

export const DOUBLE: Format = {
  bits: 64,
  type: F64,
  load: Access.f64Load,
  extract: V.f64x2ExtractLane,
  replace: V.f64x2ReplaceLane,
  constant: (e, value) => e.f.constantF64(value),
  pushHighWord: (e, local) => e.f.get(local).op(Op.i64ReinterpretF64).constant64(32).op(Op.i64ShrU).op(Op.i32WrapI64),
  bias: 1 << 21,
  shift: 23,
  vectorBias: [0, 1 << 21, 0, 1 << 21],
  vectorShift: 55,
  shiftLeft: V.i64x2Shl,
  addBias: V.i64x2Add,
  shiftRight: V.i64x2ShrU,
  allTrue: V.i64x2AllTrue,
  notEqualInteger: V.i64x2Ne,
  scalar: {
    add: Op.f64Add,
    sub: Op.f64Sub,
    mul: Op.f64Mul,
    div: Op.f64Div,
    sqrt: Op.f64Sqrt,
    eq: Op.f64Eq,
    ne: Op.f64Ne,
    lt: Op.f64Lt,
    gt: Op.f64Gt,
    le: Op.f64Le,
    ge: Op.f64Ge,
  },
  vector: {
    add: V.f64x2Add,
    sub: V.f64x2Sub,
    mul: V.f64x2Mul,
    div: V.f64x2Div,
    sqrt: V.f64x2Sqrt,
    eq: V.f64x2Eq,
    ne: V.f64x2Ne,
    lt: V.f64x2Lt,
    gt: V.f64x2Gt,
    le: V.f64x2Le,
    ge: V.f64x2Ge,
    pmin: V.f64x2Pmin,
    pmax: V.f64x2Pmax,
    abs: V.f64x2Abs,
  },
  low: LOW_DOUBLE,
  besideLow: ORDINARY.besideLowDouble,
  all: ALL_DOUBLES,
};

export const SINGLE: Format = {
  bits: 32,
  type: F32,
  load: Access.f32Load,
  extract: V.f32x4ExtractLane,
  replace: V.f32x4ReplaceLane,
  constant: (e, value) => e.f.constantF32(value),
  pushHighWord: (e, local) => e.f.get(local).op(Op.i32ReinterpretF32),
  bias: 1 << 24,
  shift: 26,
  vectorBias: [1 << 24, 1 << 24, 1 << 24, 1 << 24],
  vectorShift: 26,
  shiftLeft: V.i32x4Shl,
  addBias: V.i32x4Add,
  shiftRight: V.i32x4ShrU,
  allTrue: V.i32x4AllTrue,
  notEqualInteger: V.i32x4Ne,
  scalar: {
    add: Op.f32Add,
    sub: Op.f32Sub,
    mul: Op.f32Mul,
    div: Op.f32Div,
    sqrt: Op.f32Sqrt,
    eq: Op.f32Eq,
    ne: Op.f32Ne,
    lt: Op.f32Lt,
    gt: Op.f32Gt,
    le: Op.f32Le,
    ge: Op.f32Ge,
  },
  vector: {
    add: V.f32x4Add,
    sub: V.f32x4Sub,
    mul: V.f32x4Mul,
    div: V.f32x4Div,
    sqrt: V.f32x4Sqrt,
    eq: V.f32x4Eq,
    ne: V.f32x4Ne,
    lt: V.f32x4Lt,
    gt: V.f32x4Gt,
    le: V.f32x4Le,
    ge: V.f32x4Ge,
    pmin: V.f32x4Pmin,
    pmax: V.f32x4Pmax,
    abs: V.f32x4Abs,
  },
  low: SINGLES[0],
  besideLow: ORDINARY.besideLowSingle,
  all: ALL_SINGLES,
};

const ZERO = [0, 0, 0, 0];

// Whether a value is ordinary. With the exponent field e of n bits, (e + 1) mod 2^n is less than four for zeros and
// denormals, for infinities and NaNs, and for the two smallest normal exponents, which tell a result that was tiny before
// it was rounded from one that was not only by its last bit: one addition and one shift find what needs a second look.

/** Leaves unless a scalar is normal, or `pushIsGood` pushes that it is all right. */
export function requireOrdinary(e: Emitter, format: Format, local: number, pushIsGood: () => void): void {
  const { f } = e;
  format.pushHighWord(e, local);
  f.constant(1).op(Op.i32Shl).constant(format.bias).op(Op.i32Add).constant(format.shift).op(Op.i32ShrU);
  f.op(Op.i32Eqz).unlikely().if();
  pushIsGood();
  f.op(Op.i32Eqz).unlikely().if();
  e.exitInstruction();
  f.end();
  f.end();
}

/** Leaves unless all elements of a vector are normal, or where `pushIsGood` pushes ones for them. */
export function requireAllOrdinary(e: Emitter, format: Format, local: number, pushIsGood: () => void): void {
  const { f } = e;
  const exponents = e.temporary(V128);
  f.get(local).constant(1).vector(format.shiftLeft).constant128(format.vectorBias).vector(format.addBias);
  f.constant(format.vectorShift).vector(format.shiftRight).tee(exponents).vector(format.allTrue);
  f.op(Op.i32Eqz).unlikely().if();
  f.get(exponents).constant128(ZERO).vector(format.notEqualInteger);
  pushIsGood();
  f.vector(V.v128Or).vector(format.allTrue).op(Op.i32Eqz).unlikely().if();
  e.exitInstruction();
  f.end();
  f.end();
}

/** Pushes whether a scalar is zero. */
function pushIsZero(e: Emitter, format: Format, local: number): void {
  e.f.get(local);
  format.constant(e, 0);
  e.f.op(format.scalar.eq);
}

/** Pushes which elements are zero. */
function pushAreZero(e: Emitter, format: Format, local: number): void {
  e.f.get(local).constant128(ZERO).vector(format.vector.eq);
}

/** Pushes whether a scalar is zero or infinite; 0 * x differs from 0 for infinities and NaNs. */
function pushIsZeroOrInfinite(e: Emitter, format: Format, local: number): void {
  pushIsZero(e, format, local);
  for (const infinity of [Infinity, -Infinity]) {
    e.f.get(local);
    format.constant(e, infinity);
    e.f.op(format.scalar.eq).op(Op.i32Or);
  }
}

function pushAreZeroOrInfinite(e: Emitter, format: Format, local: number): void {
  const { f } = e;
  pushAreZero(e, format, local);
  f.get(local).vector(format.vector.abs);
  format.constant(e, Infinity);
  f.vector(format.bits === 64 ? V.f64x2Splat : V.f32x4Splat).vector(format.vector.eq).vector(V.v128Or);
}

// Operands.

/** Low element of an XMM register in a local. */
export function lowElement(e: Emitter, format: Format, register: number): number {
  const local = e.temporary(format.type);
  e.f.get(e.xmm(register)).lane(format.extract, 0).set(local);
  return local;
}

/** Low element of the second operand in a local. */
export function scalarOperand(e: Emitter, format: Format, instruction: Instruction): number {
  if (!instruction.isMemory) return lowElement(e, format, instruction.rm);
  const local = e.temporary(format.type);
  if (format.bits === 64) pushVectorAddress(e, instruction, 64, false, false);
  else {
    e.pushAddress(instruction);
    e.translateOperand(instruction, 32, false);
  }
  e.f.memory(format.load, MACHINE, 0).set(local);
  return local;
}

/** Sets the low element of an XMM register from a local. */
export function setLowElement(e: Emitter, format: Format, register: number, local: number, isOrdinary: boolean): void {
  const known = (e.ordinary[register] & format.besideLow) | (isOrdinary ? format.low : 0);
  e.f.get(e.xmm(register)).get(local).lane(format.replace, 0);
  e.setXmm(register);
  e.ordinary[register] = known;
}

/** XMM register that the ModR/M operand is, or -1. */
function registerOf({ isMemory, rm }: Instruction): number {
  return isMemory ? -1 : rm;
}

/** Leaves unless the low element of a register (or of memory: -1), which is in a local, is ordinary; then that is known. */
function requireOperand(e: Emitter, format: Format, register: number, local: number): void {
  if (register >= 0 && (e.ordinary[register] & format.low) !== 0) return;
  requireOrdinary(e, format, local, () => pushIsZero(e, format, local));
  if (register >= 0) e.ordinary[register] |= format.low;
}

function requireOperands(e: Emitter, format: Format, register: number, local: number): void {
  if (register >= 0 && (e.ordinary[register] & format.all) === format.all) return;
  requireAllOrdinary(e, format, local, () => pushAreZero(e, format, local));
  if (register >= 0) e.ordinary[register] |= format.all;
}

// Arithmetic.

export type Operation = "add" | "sub" | "mul" | "div" | "sqrt";

/** Pushes whether a result that is no normal number is an exact zero: a sum always, else by the operand that must be one. */
function pushIsExactZero(e: Emitter, format: Format, operation: Operation, x: number, y: number, result: number): void {
  const { f } = e;
  pushIsZero(e, format, result);
  if (operation === "mul" || operation === "div") {
    pushIsZero(e, format, x);
    if (operation === "mul") {
      pushIsZero(e, format, y);
      f.op(Op.i32Or);
    }
    f.op(Op.i32And);
  }
}

function pushAreExactZeros(
  e: Emitter,
  format: Format,
  operation: Operation,
  x: number,
  y: number,
  result: number,
): void {
  const { f } = e;
  pushAreZero(e, format, result);
  if (operation === "mul" || operation === "div") {
    pushAreZero(e, format, x);
    if (operation === "mul") {
      pushAreZero(e, format, y);
      f.vector(V.v128Or);
    }
    f.vector(V.v128And);
  }
}

function scalarArithmetic(format: Format, operation: Operation): Chooser {
  return (instruction) => (e) => {
    const { f } = e;
    const { reg } = instruction;
    requireArithmetic(e);
    const y = scalarOperand(e, format, instruction), result = e.temporary(format.type);
    requireOperand(e, format, registerOf(instruction), y);
    let x = y;
    if (operation !== "sqrt") {
      x = lowElement(e, format, reg);
      requireOperand(e, format, reg, x);
      f.get(x);
    }
    f.get(y).op(format.scalar[operation]).set(result);
    requireOrdinary(e, format, result, () => pushIsExactZero(e, format, operation, x, y, result));
    requireExact(e, { format, isPacked: false, operation, x, y, result });
    setLowElement(e, format, reg, result, true);
  };
}

function packedArithmetic(format: Format, operation: Operation): Chooser {
  return (instruction) => (e) => {
    const { f } = e;
    const { reg } = instruction;
    requireArithmetic(e);
    const y = sourceVector(e, instruction), result = e.temporary(V128);
    requireOperands(e, format, registerOf(instruction), y);
    let x = y;
    if (operation !== "sqrt") {
      x = e.xmm(reg);
      requireOperands(e, format, reg, x);
      f.get(x);
    }
    f.get(y).vector(format.vector[operation]).set(result);
    requireAllOrdinary(e, format, result, () => pushAreExactZeros(e, format, operation, x, y, result));
    requireExact(e, { format, isPacked: true, operation, x, y, result });
    f.get(result);
    e.setXmm(reg);
    e.ordinary[reg] = format.all;
  };
}

// Comparisons, minima and maxima: nothing is rounded, and MXCSR matters only for NaNs and denormals.

/** Leaves unless both scalars are ordinary or infinite. */
function requireComparable(e: Emitter, format: Format, register: number, local: number): void {
  if (register >= 0 && (e.ordinary[register] & format.low) !== 0) return;
  requireOrdinary(e, format, local, () => pushIsZeroOrInfinite(e, format, local));
}

function requireAllComparable(e: Emitter, format: Format, register: number, local: number): void {
  if (register >= 0 && (e.ordinary[register] & format.all) === format.all) return;
  requireAllOrdinary(e, format, local, () => pushAreZeroOrInfinite(e, format, local));
}

/** The result is the second operand unless the first is less, or greater. */
function scalarExtreme(format: Format, relation: "lt" | "gt"): Chooser {
  return (instruction) => (e) => {
    const { f } = e;
    const { reg } = instruction, other = registerOf(instruction);
    e.requireFloatingPoint(L.FP_SSE);
    const y = scalarOperand(e, format, instruction), x = lowElement(e, format, reg), result = e.temporary(format.type);
    requireComparable(e, format, other, y);
    requireComparable(e, format, reg, x);
    f.get(x).get(y).get(x).get(y).op(format.scalar[relation]).op(Op.select).set(result);
    const isOrdinary = other >= 0 && (e.ordinary[reg] & e.ordinary[other] & format.low) !== 0;
    setLowElement(e, format, reg, result, isOrdinary);
  };
}

function packedExtreme(format: Format, operation: "pmin" | "pmax"): Chooser {
  return (instruction) => (e) => {
    const { reg } = instruction, other = registerOf(instruction);
    e.requireFloatingPoint(L.FP_SSE);
    const y = sourceVector(e, instruction), x = e.xmm(reg);
    requireAllComparable(e, format, other, y);
    requireAllComparable(e, format, reg, x);
    // pmin(a, b) is b < a ? b : a; pmax(a, b) is a < b ? b : a.
    e.f.get(y).get(x).vector(format.vector[operation]);
    const known = other < 0 ? 0 : e.ordinary[reg] & e.ordinary[other] & format.all;
    e.setXmm(reg);
    e.ordinary[reg] = known;
  };
}

/** The predicates without NaNs: UNORD never, ORD always holds. */
const PREDICATES = ["eq", "lt", "le", "never", "ne", "ge", "gt", "always"] as const;

function scalarCompare(format: Format): Chooser {
  return (instruction) => {
    const { reg, immediate } = instruction;
    const predicate = PREDICATES[immediate & 7];
    return (e) => {
      const { f } = e;
      e.requireFloatingPoint(L.FP_SSE);
      const y = scalarOperand(e, format, instruction), x = lowElement(e, format, reg);
      requireComparable(e, format, registerOf(instruction), y);
      requireComparable(e, format, reg, x);
      f.get(e.xmm(reg));
      const pushMask = () => {
        if (predicate === "never") f.constant(0);
        else if (predicate === "always") f.constant(-1);
        else f.constant(0).get(x).get(y).op(format.scalar[predicate]).op(Op.i32Sub);
      };
      pushMask();
      if (format.bits === 64) f.op(Op.i64ExtendI32S).lane(V.i64x2ReplaceLane, 0);
      else f.lane(V.i32x4ReplaceLane, 0);
      e.setXmm(reg);
    };
  };
}

function packedCompare(format: Format): Chooser {
  return (instruction) => {
    const { reg, immediate } = instruction;
    const predicate = PREDICATES[immediate & 7];
    return (e) => {
      const { f } = e;
      e.requireFloatingPoint(L.FP_SSE);
      const y = sourceVector(e, instruction), x = e.xmm(reg);
      requireAllComparable(e, format, registerOf(instruction), y);
      requireAllComparable(e, format, reg, x);
      if (predicate === "never") f.constant128(ZERO);
      else if (predicate === "always") f.constant128([-1, -1, -1, -1]);
      else f.get(x).get(y).vector(format.vector[predicate]);
      e.setXmm(reg);
    };
  };
}

/** FLAG_AUX (plugins/x86/state.ts): CF in bit 31 and CF xor OF in bit 30; bit 1 inverts PF. */
const AUX_CARRY = 0xc0000000 | 0, AUX_NO_PARITY = 2;

/**
 * COMISD and its kin: CF where the first operand is less, ZF where both are equal, no other flag. The result is 1 or 0, with
 * PF inverted where it is 0.
 */
function compareToFlags(format: Format): Chooser {
  return (instruction) => (e) => {
    const { f } = e;
    const { reg } = instruction;
    e.requireFloatingPoint(L.FP_SSE);
    const y = scalarOperand(e, format, instruction), x = lowElement(e, format, reg);
    requireComparable(e, format, registerOf(instruction), y);
    requireComparable(e, format, reg, x);
    f.get(x).get(y).op(format.scalar.ne);
    f.constant(AUX_CARRY).constant(0).get(x).get(y).op(format.scalar.lt).op(Op.select);
    f.constant(AUX_NO_PARITY).constant(0).get(x).get(y).op(format.scalar.eq).op(Op.select).op(Op.i32Or);
    e.setStoredFlags();
  };
}

function fourForms(name: Operation): Record<string, Chooser> {
  return {
    [`${name}ps`]: packedArithmetic(SINGLE, name),
    [`${name}pd`]: packedArithmetic(DOUBLE, name),
    [`${name}ss`]: scalarArithmetic(SINGLE, name),
    [`${name}sd`]: scalarArithmetic(DOUBLE, name),
  };
}

export const floatSimdChoosers: Readonly<Record<string, Chooser>> = {
  ...fourForms("add"),
  ...fourForms("sub"),
  ...fourForms("mul"),
  ...fourForms("div"),
  ...fourForms("sqrt"),
  minss: scalarExtreme(SINGLE, "lt"),
  minsd: scalarExtreme(DOUBLE, "lt"),
  minps: packedExtreme(SINGLE, "pmin"),
  minpd: packedExtreme(DOUBLE, "pmin"),
  maxss: scalarExtreme(SINGLE, "gt"),
  maxsd: scalarExtreme(DOUBLE, "gt"),
  maxps: packedExtreme(SINGLE, "pmax"),
  maxpd: packedExtreme(DOUBLE, "pmax"),
  cmpss: scalarCompare(SINGLE),
  cmpsd: scalarCompare(DOUBLE),
  cmpps: packedCompare(SINGLE),
  cmppd: packedCompare(DOUBLE),
  comiss: compareToFlags(SINGLE),
  comisd: compareToFlags(DOUBLE),
  ucomiss: compareToFlags(SINGLE),
  ucomisd: compareToFlags(DOUBLE),
};
