// The arithmetic and logic of the ALU instructions with their flags, for every instruction that adds, subtracts or
// compares (SDM 1, appendix A). AF is 0 after logic, as on the interpreter's named processor.

import { Op } from "../wasm.ts";
import type { Emitter } from "./emitter.ts";
import { type Bits, extend } from "./operands.ts";

/** Operations as opcodes number them. */
export const ADD = 0, OR = 1, ADC = 2, SBB = 3, AND = 4, SUB = 5, XOR = 6, CMP = 7;

/** Leaves the result of an ALU operation on the stack and records its flags. The operands may have any extension. */
export function aluOperation(
  e: Emitter,
  operation: number,
  bits: Bits,
  pushA: () => void,
  pushB: () => void,
): void {
  const { f } = e;
  if (operation === ADC || operation === SBB) return aluWithCarry(e, operation, bits, pushA, pushB);
  const locals = e.newFlagLocals();
  const [a, b, result] = locals;
  pushA();
  extend(e, bits);
  f.set(a);
  pushB();
  extend(e, bits);
  f.set(b).get(a).get(b);
  const isAdd = operation === ADD, isSub = operation === SUB || operation === CMP;
  f.op(isAdd ? Op.i32Add : isSub ? Op.i32Sub : operation === OR ? Op.i32Or : operation === AND ? Op.i32And : Op.i32Xor);
  if (isAdd || isSub) extend(e, bits);
  f.tee(result);
  e.setFlags(isAdd ? "add" : isSub ? "sub" : "logic", bits, locals);
}

/** ADC and SBB: the flags are stored at once, because the shortcuts for ADD and SUB do not hold. */
function aluWithCarry(e: Emitter, operation: number, bits: Bits, pushA: () => void, pushB: () => void): void {
  const { f } = e;
  const carry = e.temporary(), result = e.temporary();
  e.pushCarry();
  f.set(carry);
  const locals = e.newFlagLocals();
  const [a, b, sum] = locals;
  pushA();
  extend(e, bits);
  f.set(a);
  pushB();
  extend(e, bits);
  f.set(b).get(a).get(b).op(operation === ADC ? Op.i32Add : Op.i32Sub);
  f.get(carry).op(operation === ADC ? Op.i32Add : Op.i32Sub);
  extend(e, bits);
  f.tee(sum).set(result);
  e.setFlags(operation === ADC ? "add" : "sub", bits, locals);
  f.get(result);
  e.pushAux();
  e.setStoredFlags();
  f.get(result);
}
