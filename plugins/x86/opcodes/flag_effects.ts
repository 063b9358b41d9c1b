// The flags that one decoded instruction reads and writes: its row's masks, sharpened where a shift's immediate count
// or a repeat prefix decides (SDM 2B, SAL/SAR/SHL/SHR, RCL/RCR/ROL/ROR, SHLD, SHRD). For flag liveness.

import { CF, type Instruction, OF, type OpcodeRow, STATUS_FLAGS } from "../instruction.ts";

/** EFLAGS masks with the meaning that OpcodeRow gives them. */
export type FlagEffects = Pick<OpcodeRow, "reads" | "writes" | "undefined">;

/** Processors from the 80286 on take a shift count modulo 32. */
const COUNT_MASK = 31;

const NO_EFFECTS: FlagEffects = { reads: 0, writes: 0, undefined: 0 };

/**
 * EFLAGS bits that the instruction reads, writes and leaves undefined. A bit that may keep its value is in `reads`, so
 * a bit in `writes` and not in `reads` is dead before the instruction.
 */
export function flagEffects(instruction: Instruction): FlagEffects {
  const { row } = instruction;
  switch (row.handler) {
    case "shift":
    case "shld":
    case "shrd":
      return row.operands.at(-1) === "Ib" ? effectsOfCount(row, instruction.immediate & COUNT_MASK) : row;
    case "cmps":
    case "scas":
      // A count of zero in eCX passes the status flags through.
      return instruction.repeat === 0 ? row : { ...row, reads: row.reads | STATUS_FLAGS };
    default:
      return row;
  }
}

/** The row's masks cover any count; of a known one, nothing passes through, and a count of one defines OF. */
function effectsOfCount(row: OpcodeRow, count: number): FlagEffects {
  if (count === 0) return NO_EFFECTS;
  const reads = rotatesThroughCarry(row) ? CF : 0;
  const undefinedFlags = count === 1 ? row.undefined & ~OF : row.undefined;
  return { reads, writes: row.writes, undefined: undefinedFlags };
}

const RCL = 2, RCR = 3;

function rotatesThroughCarry(row: OpcodeRow): boolean {
  return row.handler === "shift" && (row.variant === RCL || row.variant === RCR);
}
