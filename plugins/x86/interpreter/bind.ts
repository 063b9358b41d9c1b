// Binding: from a decoded instruction and the mode it was decoded in to an operation with its handler.

import { type DecodeFailure, type Instruction, NO_REGISTER } from "../instruction.ts";
import { opcodeTable } from "../opcodes/table.ts";
import type { Processor } from "../processor.ts";
import { simdBinders } from "../simd/instructions.ts";
import * as S from "../state.ts";
import { x87Binders } from "../x87/instructions.ts";
import { callSiteOf } from "./dispatch.ts";
import { integerBinders } from "./integer.ts";
import { type Binder, Operation } from "./operation.ts";
import { segmentBinders } from "./segmentops.ts";
import { systemBinders } from "./system.ts";
import { transferBinders } from "./transferops.ts";

/** Every handler by the name the opcode table gives it. */
export const binders: Readonly<Record<string, Binder>> = {
  ...integerBinders,
  ...segmentBinders,
  ...systemBinders,
  ...transferBinders,
  ...x87Binders,
  ...simdBinders,
};

/** Makes an instruction ready to execute, `start` bytes into its block. */
export function bind(instruction: Instruction, mode: number, start: number): Operation {
  const binder = binders[instruction.row.handler];
  if (binder === undefined) {
    throw new Error(`opcode table names handler "${instruction.row.handler}", which no file has`);
  }
  const operation = new Operation(unbound, instruction, mode, start);
  operation.handler = binder(operation);
  operation.callSite = callSiteOf(operation.handler);
  return operation;
}

function unbound(): never {
  throw new Error("an operation was executed before it was bound");
}

/** An operation that raises what undecodable bytes raise: #UD, or #GP(0) for an instruction that is too long. */
export function bindFailure(failure: DecodeFailure, mode: number): Operation {
  const operation = new Operation(unbound, undecodable, mode, 0);
  operation.handler = failure === "invalid" ? raiseInvalidOpcode : raiseTooLong;
  operation.callSite = callSiteOf(operation.handler);
  return operation;
}

function raiseInvalidOpcode(cpu: Processor): void {
  cpu.raise(S.Vector.invalidOpcode);
}

function raiseTooLong(cpu: Processor): void {
  cpu.raise(S.Vector.generalProtection, 0);
}

const udRow = opcodeTable.find((row) => row.handler === "ud");
if (udRow === undefined) throw new Error("the opcode table has no row for UD2");

/** Stands for bytes that form no instruction. */
const undecodable: Instruction = {
  row: udRow,
  length: 1,
  operandSize: 32,
  addressSize: 32,
  segment: 3,
  segmentOverride: false,
  repeat: 0,
  lock: false,
  mod: -1,
  reg: -1,
  rm: -1,
  isMemory: false,
  base: NO_REGISTER,
  index: NO_REGISTER,
  scale: 0,
  displacement: 0,
  immediate: 0,
  immediate2: 0,
};
