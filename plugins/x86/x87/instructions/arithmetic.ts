// FADD, FSUB, FMUL, FDIV and their reversed, popping, integer and memory forms, and the instructions that replace ST(0):
// FSQRT, FRNDINT, FSCALE, FPREM, FABS, FCHS (Intel SDM 1, 8.3.5; SDM 2A).

import type { Operand } from "../../instruction.ts";
import { type Binder, type Handler, type Operation } from "../../interpreter/operation.ts";
import type { Processor } from "../../processor.ts";
import { add, subtract } from "../addition.ts";
import { divide } from "../division.ts";
import {
  classify,
  type Float80,
  type FpuEnvironment,
  INVALID,
  QUIET_NAN_CLASS,
  setIndefinite,
  SIGN,
} from "../float80.ts";
import { C0, C2, C3, type Fpu } from "../fpu.ts";
import { roundToInteger } from "../integers.ts";
import { multiply } from "../multiplication.ts";
import { INCOMPLETE, remainder } from "../remainder.ts";
import { scale } from "../scaling.ts";
import { squareRoot } from "../square-root.ts";
import { finish, left, result, right, start } from "./entry.ts";
import { startWithFloat32, startWithFloat64, startWithInt16, startWithInt32 } from "./memory_operand.ts";

/** Variants of `farith` and `farithp`, as the opcode's reg field has them. */
const ADD = 0, MULTIPLY = 1, SUBTRACT = 4, REVERSED_SUBTRACT = 5, DIVIDE = 6;

export const arithmeticBinders: Readonly<Record<string, Binder>> = {
  farith: (op) =>
    op.instruction.isMemory ? memoryForm(op) : op.instruction.row.operands[0] === "ST0" ? toTop : toRegister,
  farithp: () => toRegisterAndPop,
  fsqrt: () => squareRootOfTop,
  frndint: () => roundTop,
  fscale: () => scaleTop,
  fprem: () => remainderOfTop,
  fabs: () => clearSign,
  fchs: () => changeSign,
};

function memoryForm(op: Operation): Handler {
  const handler = memoryForms[op.instruction.row.operands[0]];
  if (handler === undefined) throw new Error(`no arithmetic on operand ${op.instruction.row.operands[0]}`);
  return handler;
}

const memoryForms: { readonly [operand in Operand]?: Handler } = {
  Mf32: withFloat32,
  Mf64: withFloat64,
  Mi16: withInt16,
  Mi32: withInt32,
};

/** out = a (operation) b. A switch of direct calls: twice as fast as a table of functions, which nothing could inline. */
function compute(
  env: FpuEnvironment,
  operation: number,
  out: Float80,
  a: Readonly<Float80>,
  b: Readonly<Float80>,
): void {
  switch (operation) {
    case ADD:
      return add(env, out, a, b);
    case MULTIPLY:
      return multiply(env, out, a, b);
    case SUBTRACT:
      return subtract(env, out, a, b);
    case REVERSED_SUBTRACT:
      return subtract(env, out, b, a);
    case DIVIDE:
      return divide(env, out, a, b);
    default:
      return divide(env, out, b, a);
  }
}

function toTop(cpu: Processor, op: Operation): void {
  const fpu = start(cpu, op);
  betweenRegisters(fpu, op, 0, op.rm);
  finish(cpu, fpu);
}

function toRegister(cpu: Processor, op: Operation): void {
  const fpu = start(cpu, op);
  betweenRegisters(fpu, op, op.rm, 0);
  finish(cpu, fpu);
}

function toRegisterAndPop(cpu: Processor, op: Operation): void {
  const fpu = start(cpu, op);
  if (betweenRegisters(fpu, op, op.rm, 0)) fpu.pop();
  finish(cpu, fpu);
}

/** Returns whether the destination was written. */
function betweenRegisters(fpu: Fpu, op: Operation, destination: number, source: number): boolean {
  const env = fpu.environment;
  if (fpu.isEmpty(destination) || fpu.isEmpty(source)) {
    if (!fpu.underflows()) return false;
    setIndefinite(result);
  } else {
    fpu.load(destination, left);
    fpu.load(source, right);
    compute(env, op.variant, result, left, right);
    if (env.suppressed()) return false;
  }
  fpu.store(destination, result);
  return true;
}

/** ST(0) (operation) `right`, which holds the memory operand. */
function withOperand(cpu: Processor, op: Operation, fpu: Fpu): void {
  const env = fpu.environment;
  if (fpu.isEmpty(0)) {
    if (fpu.underflows()) storeIndefinite(fpu);
  } else {
    fpu.load(0, left);
    compute(env, op.variant, result, left, right);
    if (!env.suppressed()) fpu.store(0, result);
  }
  finish(cpu, fpu);
}

function storeIndefinite(fpu: Fpu): void {
  setIndefinite(result);
  fpu.store(0, result);
}

function withFloat32(cpu: Processor, op: Operation): void {
  withOperand(cpu, op, startWithFloat32(cpu, op));
}

function withFloat64(cpu: Processor, op: Operation): void {
  withOperand(cpu, op, startWithFloat64(cpu, op));
}

function withInt16(cpu: Processor, op: Operation): void {
  withOperand(cpu, op, startWithInt16(cpu, op));
}

function withInt32(cpu: Processor, op: Operation): void {
  withOperand(cpu, op, startWithInt32(cpu, op));
}

function squareRootOfTop(cpu: Processor, op: Operation): void {
  const fpu = start(cpu, op);
  if (takeTop(fpu)) {
    squareRoot(fpu.environment, result, left);
    replaceTop(fpu);
  }
  finish(cpu, fpu);
}

function roundTop(cpu: Processor, op: Operation): void {
  const fpu = start(cpu, op);
  if (takeTop(fpu)) {
    roundToInteger(fpu.environment, result, left);
    replaceTop(fpu);
  }
  finish(cpu, fpu);
}

function clearSign(cpu: Processor, op: Operation): void {
  const fpu = start(cpu, op);
  if (takeTop(fpu)) fpu.store(0, result.set(left.se & ~SIGN, left.hi, left.lo));
  finish(cpu, fpu);
}

function changeSign(cpu: Processor, op: Operation): void {
  const fpu = start(cpu, op);
  if (takeTop(fpu)) fpu.store(0, result.set(left.se ^ SIGN, left.hi, left.lo));
  finish(cpu, fpu);
}

function scaleTop(cpu: Processor, op: Operation): void {
  const fpu = start(cpu, op);
  if (takeTwo(fpu)) {
    scale(fpu.environment, result, left, right);
    replaceTop(fpu);
  }
  finish(cpu, fpu);
}

/**
 * FPREM and FPREM1 (variant 1). The quotient's low bits go to C0, C3 and C1 while C2 is clear. Without a quotient, which
 * invalid operands and NaNs do not have, C0 and C3 stay.
 */
function remainderOfTop(cpu: Processor, op: Operation): void {
  const fpu = start(cpu, op);
  const env = fpu.environment;
  fpu.status &= ~C2;
  if (takeTwo(fpu)) {
    const hasNumbers = classify(left) < QUIET_NAN_CLASS && classify(right) < QUIET_NAN_CLASS;
    const quotient = remainder(env, result, left, right, op.variant === 1);
    replaceTop(fpu);
    if (hasNumbers && !env.suppressed() && (env.raised & INVALID) === 0) {
      fpu.setCodes(quotient === INCOMPLETE ? C2 : (quotient & 4 ? C0 : 0) | (quotient & 2 ? C3 : 0));
      env.roundedUp = (quotient & 1) !== 0;
    }
  }
  finish(cpu, fpu);
}

/** left = ST(0). False where it is empty; the masked response has been given then. */
export function takeTop(fpu: Fpu): boolean {
  if (fpu.isEmpty(0)) {
    if (fpu.underflows()) storeIndefinite(fpu);
    return false;
  }
  fpu.load(0, left);
  return true;
}

/** left = ST(0), right = ST(1), as `takeTop`. */
function takeTwo(fpu: Fpu): boolean {
  if (fpu.isEmpty(0) || fpu.isEmpty(1)) {
    if (fpu.underflows()) storeIndefinite(fpu);
    return false;
  }
  fpu.load(0, left);
  fpu.load(1, right);
  return true;
}

/** ST(0) = result, unless an unmasked exception forbids it. */
export function replaceTop(fpu: Fpu): void {
  if (!fpu.environment.suppressed()) fpu.store(0, result);
}
