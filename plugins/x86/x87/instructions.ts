// The x87 instructions by the handler names of opcodes/x87.ts (Intel SDM 1, chapter 8; SDM 2A). A name that is missing
// here is an error when the module is loaded.

import type { Instruction } from "../instruction.ts";
import type { Binder, Operation } from "../interpreter/operation.ts";
import { x87Rows } from "../opcodes/x87.ts";
import { arithmeticBinders } from "./instructions/arithmetic.ts";
import { comparisonBinders } from "./instructions/comparison.ts";
import { controlBinders } from "./instructions/control.ts";
import { transcendentalBinders } from "./instructions/transcendental.ts";
import { transferBinders } from "./instructions/transfer.ts";

const handlers: Readonly<Record<string, Binder>> = {
  ...arithmeticBinders,
  ...comparisonBinders,
  ...controlBinders,
  ...transcendentalBinders,
  ...transferBinders,
};

/** Binders of all x87 instructions and WAIT. They put the last-opcode field into the operation's immediate. */
export const x87Binders: Readonly<Record<string, Binder>> = Object.fromEntries(
  ["wait", ...new Set(x87Rows.map((row) => row.handler))].map((name) => [name, withOpcode(name)]),
);

function withOpcode(name: string): Binder {
  const binder = handlers[name];
  if (binder === undefined) throw new Error(`opcode table names x87 handler "${name}", which no file has`);
  return (op: Operation) => {
    op.immediate = lastOpcode(op.instruction);
    return binder(op);
  };
}

/** Low three bits of the escape and the ModR/M byte (SDM 1, 8.1.9). */
function lastOpcode({ row, mod, reg, rm }: Instruction): number {
  return (row.opcode & 7) << 8 | mod << 6 & 0xc0 | reg << 3 & 0x38 | rm & 7;
}
