// FADD, FSUB, FMUL, FDIV in all forms, FSQRT, FRNDINT, FCHS and FABS in emitted code (Intel SDM 1, 8.3.5; SDM 2A): operands
// come from the stack's locals or from memory, and routines compute (x87_runtime.ts).

import type { Instruction } from "../../x86/mod.ts";
import { Op } from "../wasm.ts";
import type { Emitter } from "./emitter.ts";
import type { Chooser } from "./operands.ts";
import { loadOperand } from "./x87_memory.ts";
import { SIGN } from "./x87_rounding.ts";
import { Routine } from "./x87_runtime.ts";
import { type Value, x87Of, type X87Stack } from "./x87_stack.ts";

/** Variants of `farith` and `farithp`, as the opcode's reg field has them; the others add. */
const MULTIPLY = 1, SUBTRACT = 4, REVERSED_SUBTRACT = 5, DIVIDE = 6, REVERSED_DIVIDE = 7;

/** Calls the routine for `left (operation) right` and returns its result. */
function compute(x: X87Stack, operation: number, left: Value, right: Value): Value {
  const { f } = x.e;
  const isReversed = operation === REVERSED_SUBTRACT || operation === REVERSED_DIVIDE;
  const [a, b] = isReversed ? [right, left] : [left, right];
  f.get(a.significand).get(a.signExponent).get(b.significand).get(b.signExponent);
  if (operation === SUBTRACT || operation === REVERSED_SUBTRACT) f.constant(SIGN).op(Op.i32Xor);
  if (operation === MULTIPLY) x.call(Routine.multiply);
  else if (operation === DIVIDE || operation === REVERSED_DIVIDE) x.call(Routine.divide);
  else x.call(Routine.add);
  return x.result();
}

const farith: Chooser = (instruction) => {
  const { variant, operands } = instruction.row;
  if (!instruction.isMemory) {
    return operands[0] === "ST0"
      ? (e) => betweenRegisters(e, instruction, 0, instruction.rm, false)
      : (e) => betweenRegisters(e, instruction, instruction.rm, 0, false);
  }
  return (e) => {
    const x = x87Of(e);
    x.wait();
    x.needValid(0);
    const operand = loadOperand(x, instruction);
    const result = compute(x, variant, x.value(0), operand);
    x.store(0, result);
    x.record(instruction);
  };
};

const farithp: Chooser = (instruction) => (e) => betweenRegisters(e, instruction, instruction.rm, 0, true);

function betweenRegisters(e: Emitter, instruction: Instruction, to: number, from: number, pops: boolean): void {
  const x = x87Of(e);
  x.wait();
  x.needValid(to);
  x.needValid(from);
  const result = compute(x, instruction.row.variant, x.value(to), x.value(from));
  x.store(to, result);
  if (pops) x.pop();
  x.record(instruction);
}

/** FSQRT and FRNDINT. */
function replaceTop(routine: number): Chooser {
  return (instruction) => (e) => {
    const x = x87Of(e);
    x.wait();
    x.needValid(0);
    x.push(0);
    x.call(routine);
    x.store(0, x.result());
    x.record(instruction);
  };
}

/** FCHS and FABS: any value. */
function changeSign(operation: number, operand: number): Chooser {
  return (instruction) => (e) => {
    const x = x87Of(e);
    x.wait();
    x.needValid(0);
    const { signExponent } = x.value(0);
    e.f.get(signExponent).constant(operand).op(operation).set(signExponent);
    x.clearC1();
    x.record(instruction);
  };
}

export const x87ComputeChoosers: Readonly<Record<string, Chooser>> = {
  farith,
  farithp,
  fsqrt: replaceTop(Routine.squareRoot),
  frndint: replaceTop(Routine.roundToInteger),
  fabs: changeSign(Op.i32And, ~SIGN),
  fchs: changeSign(Op.i32Xor, SIGN),
};
