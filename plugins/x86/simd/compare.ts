// CMPPS and its kin, which make masks, and COMISS to UCOMISD, which set EFLAGS (Intel SDM 1, 10.4.1.3 and 11.4.1.3; SDM 2A,
// CMPPS and COMISS).

import { CF, PF, ZF } from "../instruction.ts";
import type { Binder, Operation } from "../interpreter/operation.ts";
import type { Processor } from "../processor.ts";
import * as S from "../state.ts";
import { INVALID, QUIET_NAN_CLASS, SIGNALLING_NAN_CLASS } from "../x87/float80.ts";
import { type ElementOperation, floatOperation } from "./arithmetic.ts";
import { readOperand, requireSse } from "./entry.ts";
import { environment } from "./environment.ts";
import { destination, type Lanes, loadXmm, source } from "./lanes.ts";
import { classOf, DOUBLE, type Format, noteDenormals, setMask, SINGLE, valueOf } from "./scalar.ts";

/** How two elements compare. */
const LESS = 1, EQUAL = 2, GREATER = 4, UNORDERED = 8;

/** The predicates EQ, LT, LE, UNORD, NEQ, NLT, NLE and ORD: for which relations each is true. */
const PREDICATES = [
  EQUAL,
  LESS,
  LESS | EQUAL,
  UNORDERED,
  LESS | GREATER | UNORDERED,
  EQUAL | GREATER | UNORDERED,
  GREATER | UNORDERED,
  LESS | EQUAL | GREATER,
];
/** Bit n: predicate n raises IE for quiet NaNs too. */
const SIGNALS_QUIET = 1 << 1 | 1 << 2 | 1 << 5 | 1 << 6;

/** Compares an element of each operand and raises IE and DE. */
function relation(format: Format, a: Lanes, b: Lanes, index: number, signalsQuiet: boolean): number {
  const classA = classOf(format, a, index), classB = classOf(format, b, index);
  if (classA >= QUIET_NAN_CLASS || classB >= QUIET_NAN_CLASS) {
    const signalling = classA === SIGNALLING_NAN_CLASS || classB === SIGNALLING_NAN_CLASS;
    if (signalsQuiet || signalling) environment.raised |= INVALID;
    return UNORDERED;
  }
  noteDenormals(classA, classB);
  const x = valueOf(format, a, index, classA), y = valueOf(format, b, index, classB);
  return x < y ? LESS : x > y ? GREATER : EQUAL;
}

function compareBy(predicate: number): ElementOperation {
  const signalsQuiet = (SIGNALS_QUIET >> predicate & 1) !== 0;
  return (format, a, b, index) => {
    const found = relation(format, a, b, index, signalsQuiet);
    setMask(format, a, index, (PREDICATES[predicate] & found) !== 0);
  };
}

/** A binder for each predicate: the immediate byte chooses, its upper bits being reserved and ignored. */
function compareForms(format: Format, isPacked: boolean): Binder {
  const binders = PREDICATES.map((_, predicate) => floatOperation(format, isPacked, compareBy(predicate)));
  return (op) => binders[op.immediate & 7](op);
}

/** EFLAGS after COMISS and UCOMISS by relation; OF, SF and AF are cleared. */
const FLAGS_OF_RELATION: Readonly<Record<number, number>> = {
  [LESS]: CF,
  [EQUAL]: ZF,
  [GREATER]: 0,
  [UNORDERED]: ZF | PF | CF,
};

function compareToFlags(format: Format, signalsQuiet: boolean): Binder {
  const handler = (cpu: Processor, op: Operation) => {
    requireSse(cpu);
    if (op.instruction.isMemory) readOperand(cpu, op, format.bytes, source);
    else loadXmm(cpu, op.rm, source);
    loadXmm(cpu, op.reg, destination);
    environment.begin(cpu.r[S.MXCSR]);
    const found = relation(format, destination, source, 0, signalsQuiet);
    environment.settle(cpu);
    cpu.setStatusFlags(FLAGS_OF_RELATION[found]);
  };
  return () => handler;
}

export const compareSimdBinders: Readonly<Record<string, Binder>> = {
  cmpps: compareForms(SINGLE, true),
  cmppd: compareForms(DOUBLE, true),
  cmpss: compareForms(SINGLE, false),
  cmpsd: compareForms(DOUBLE, false),
  comiss: compareToFlags(SINGLE, true),
  comisd: compareToFlags(DOUBLE, true),
  ucomiss: compareToFlags(SINGLE, false),
  ucomisd: compareToFlags(DOUBLE, false),
};
