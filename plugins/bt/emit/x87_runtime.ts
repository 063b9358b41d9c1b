// The x87 routines: one WebAssembly module of them serves all regions, which import and call what their instructions need.
// A routine takes numbers as significand (i64) and sign-and-exponent (i32), works on the status word in the processor's state
// and returns "hard" (HARD) where the interpreter must do it; nothing has changed then. Regions stay small this way, and lose
// nothing: with the two hot ones of a matrix product compiled into its region, of which V8 inlined one, it took as long.

import { type FunctionBody, type FunctionImport, type FunctionType, I32, I64 } from "../wasm.ts";
import {
  addRoutine,
  addSpecialRoutine,
  divideRoutine,
  multiplyRoutine,
  multiplySpecialRoutine,
  squareRootRoutine,
} from "./x87_arithmetic.ts";
import {
  BINARY32,
  BINARY64,
  compareRoutine,
  narrowRoutine,
  roundToIntegerRoutine,
  toIntegerRoutine,
} from "./x87_conversion.ts";
import { roundRoutine } from "./x87_rounding.ts";

/** What the routines' names begin with among a region's imports. */
const PREFIX = "x87.";
const NUMBER = [I64, I32];
const binary: FunctionType = { parameters: [...NUMBER, ...NUMBER], results: NUMBER };
const unary: FunctionType = { parameters: NUMBER, results: NUMBER };

/** Index of a routine, among the routines. */
export const Routine = {
  round: 0,
  add: 1,
  multiply: 2,
  divide: 3,
  squareRoot: 4,
  toBinary64: 5,
  toBinary32: 6,
  toInteger: 7,
  roundToInteger: 8,
  compare: 9,
  addSpecial: 10,
  multiplySpecial: 11,
} as const;

const TYPES: readonly FunctionType[] = [
  { parameters: [I32, I32, I64, I64], results: NUMBER },
  binary,
  binary,
  binary,
  unary,
  unary,
  unary,
  { parameters: [...NUMBER, I32], results: NUMBER },
  unary,
  { parameters: [...NUMBER, ...NUMBER], results: [I32] },
  binary,
  binary,
];

/** The routines in the order of their indices, for a module that imports no functions. */
export function x87Functions(): { readonly name: string; readonly type: FunctionType; readonly body: FunctionBody }[] {
  const bodies = [
    roundRoutine(),
    addRoutine(Routine.round, Routine.addSpecial),
    multiplyRoutine(Routine.round, Routine.multiplySpecial),
    divideRoutine(Routine.round),
    squareRootRoutine(Routine.round),
    narrowRoutine(BINARY64),
    narrowRoutine(BINARY32),
    toIntegerRoutine(),
    roundToIntegerRoutine(),
    compareRoutine(),
    addSpecialRoutine(Routine.round),
    multiplySpecialRoutine(Routine.round),
  ];
  return Object.entries(Routine).map(([name, index]) => ({
    name: PREFIX + name,
    type: TYPES[index],
    body: bodies[index],
  }));
}

/** What a region imports to call them: in this order, with types that are numbered from `firstType`. */
export function x87Imports(firstType: number): FunctionImport[] {
  return Object.entries(Routine).map(([name, index]) => ({ name: PREFIX + name, type: firstType + index }));
}

/** Their types, to follow a module's other types. */
export const X87_TYPES = TYPES;
