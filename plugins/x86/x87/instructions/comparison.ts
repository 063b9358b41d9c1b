// FCOM, FUCOM, FICOM, FTST, FXAM with their condition codes, and FCOMI, FUCOMI with EFLAGS (Intel SDM 1, 8.3.6; SDM 2A).

import { CF, type Operand, PF, ZF } from "../../instruction.ts";
import { type Binder, type Handler, type Operation } from "../../interpreter/operation.ts";
import type { Processor } from "../../processor.ts";
import { compare, compareWithZero, EQUAL, GREATER, LESS, UNORDERED } from "../comparison.ts";
import {
  classify,
  DENORMAL_CLASS,
  INFINITY_CLASS,
  NORMAL_CLASS,
  SIGN,
  UNSUPPORTED_CLASS,
  ZERO_CLASS,
} from "../float80.ts";
import { C0, C2, C3, type Fpu } from "../fpu.ts";
import { finish, left, right, start } from "./entry.ts";
import { startWithFloat32, startWithFloat64, startWithInt16, startWithInt32 } from "./memory_operand.ts";

export const comparisonBinders: Readonly<Record<string, Binder>> = {
  fcom: (op) => op.instruction.isMemory ? memoryForm(op) : compareRegisters,
  fucom: () => compareRegistersQuietly,
  fcomi: () => compareToFlags,
  fucomi: () => compareToFlagsQuietly,
  ftst: () => test,
  fxam: () => examine,
};

function memoryForm(op: Operation): Handler {
  const handler = memoryForms[op.instruction.row.operands[0]];
  if (handler === undefined) throw new Error(`no comparison with operand ${op.instruction.row.operands[0]}`);
  return handler;
}

const memoryForms: { readonly [operand in Operand]?: Handler } = {
  Mf32: withFloat32,
  Mf64: withFloat64,
  Mi16: withInt16,
  Mi32: withInt32,
};

function compareRegisters(cpu: Processor, op: Operation): void {
  compareWithRegister(cpu, op, false);
}

function compareRegistersQuietly(cpu: Processor, op: Operation): void {
  compareWithRegister(cpu, op, true);
}

function compareWithRegister(cpu: Processor, op: Operation, quiet: boolean): void {
  const fpu = start(cpu, op);
  const ordering = orderRegisters(fpu, op.rm, quiet);
  fpu.setCodes(codesOf(ordering));
  pop(fpu, op.variant);
  finish(cpu, fpu);
}

/** Compares ST(0) with ST(position); empty registers are unordered. */
function orderRegisters(fpu: Fpu, position: number, quiet: boolean): number {
  if (fpu.isEmpty(0) || fpu.isEmpty(position)) {
    fpu.underflows();
    return UNORDERED;
  }
  fpu.load(0, left);
  fpu.load(position, right);
  return compare(fpu.environment, left, right, quiet);
}

/** Pops `count` registers unless an unmasked exception forbids it. */
function pop(fpu: Fpu, count: number): void {
  if (count === 0 || fpu.environment.suppressed()) return;
  fpu.pop();
  if (count === 2) fpu.pop();
}

function codesOf(ordering: number): number {
  return ordering === GREATER ? 0 : ordering === LESS ? C0 : ordering === EQUAL ? C3 : C0 | C2 | C3;
}

/** Compares ST(0) with `right`, which holds the memory operand. */
function withOperand(cpu: Processor, op: Operation, fpu: Fpu): void {
  const env = fpu.environment;
  let ordering = UNORDERED;
  if (fpu.isEmpty(0)) fpu.underflows();
  else {
    fpu.load(0, left);
    ordering = compare(env, left, right, false);
  }
  fpu.setCodes(codesOf(ordering));
  pop(fpu, op.variant);
  finish(cpu, fpu);
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

function compareToFlags(cpu: Processor, op: Operation): void {
  compareInFlags(cpu, op, false);
}

function compareToFlagsQuietly(cpu: Processor, op: Operation): void {
  compareInFlags(cpu, op, true);
}

/** OF, SF and AF are cleared. An unmasked invalid operand prevents the pop alone, as with FCOM: processors set the flags. */
function compareInFlags(cpu: Processor, op: Operation, quiet: boolean): void {
  const fpu = start(cpu, op);
  const ordering = orderRegisters(fpu, op.rm, quiet);
  cpu.setStatusFlags(
    ordering === GREATER ? 0 : ordering === LESS ? CF : ordering === EQUAL ? ZF : CF | PF | ZF,
  );
  pop(fpu, op.variant);
  finish(cpu, fpu);
}

function test(cpu: Processor, op: Operation): void {
  const fpu = start(cpu, op);
  let ordering = UNORDERED;
  if (fpu.isEmpty(0)) fpu.underflows();
  else {
    fpu.load(0, left);
    ordering = compareWithZero(fpu.environment, left);
  }
  fpu.setCodes(codesOf(ordering));
  finish(cpu, fpu);
}

/** C1 is the sign, of an empty register as well; the others tell the class (SDM 2A, FXAM). */
function examine(cpu: Processor, op: Operation): void {
  const fpu = start(cpu, op);
  fpu.load(0, left);
  fpu.environment.roundedUp = (left.se & SIGN) !== 0;
  finish(cpu, fpu);
  fpu.setCodes(fpu.isEmpty(0) ? C3 | C0 : classCodes(classify(left)));
}

function classCodes(kind: number): number {
  switch (kind) {
    case ZERO_CLASS:
      return C3;
    case NORMAL_CLASS:
      return C2;
    case DENORMAL_CLASS:
      return C3 | C2;
    case INFINITY_CLASS:
      return C2 | C0;
    case UNSUPPORTED_CLASS:
      return 0;
    default:
      return C0;
  }
}
