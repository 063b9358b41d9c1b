// Runs: accesses of a unit to addresses near one another, such as the pushes of a function's prologue or the fields of one
// structure. The first of them has one TLB entry stand for all that follow (BT paper 3.2: translations exploit what was just
// computed). What is foreseen here is only which accesses there will be; whether a register still has the value that the run was
// looked up with, the emitter knows exactly.

import { ESP, type Instruction, NO_REGISTER } from "../../x86/mod.ts";
import { FS } from "../../x86/mod.ts";
import { ADD, CMP, SUB } from "./alu.ts";
import { MOST_RUN_BYTES } from "../miss.ts";
import { registerOf } from "./operands.ts";

/** Where an access lies, without its displacement: registers, and how far an index is shifted. */
export interface Place {
  readonly base: number;
  readonly index: number;
  readonly scale: number;
  readonly displacement: number;
}

/** What a run covers, in bytes from its registers' sum at its first access: from `first` up to `end`. */
export interface RunPlan {
  readonly first: number;
  readonly end: number;
  /** How many accesses are foreseen to follow. */
  readonly followers: number;
  /** Whether the run is for stores, which loads may join. */
  readonly isWrite: boolean;
}

const WORD = 4;

/** A place on the stack, `displacement` bytes above its top. */
export function stackPlace(displacement: number): Place {
  return { base: ESP, index: NO_REGISTER, scale: 0, displacement };
}

/** The place of a memory operand; undefined where its segment may have a base. */
export function placeOf(instruction: Instruction): Place | undefined {
  return instruction.segment < FS ? instruction : undefined;
}

/**
 * Foresees the run that begins with an access of `bytes` by the instruction at `at` of a unit; undefined where nothing
 * follows it. The stack takes loads and stores alike; elsewhere a page may well be read that must not be written.
 */
export function planRun(
  instructions: readonly { readonly instruction: Instruction }[],
  at: number,
  place: Place,
  bytes: number,
  isWrite: boolean,
): RunPlan | undefined {
  const { base, index, scale, displacement } = place;
  let first = displacement, end = displacement + bytes, followers = 0, stores = isWrite;
  let moved = 0;
  const isStack = base === ESP;
  const join = (from: number, size: number, store: boolean) => {
    if (store && !isWrite && !isStack) return;
    const low = Math.min(first, from), high = Math.max(end, from + size);
    if (high - low > MOST_RUN_BYTES) return;
    first = low;
    end = high;
    followers++;
    stores ||= store;
  };
  for (let next = at; next < instructions.length; next++) {
    const { instruction } = instructions[next];
    const { row } = instruction;
    const isFirst = next === at;
    if (!isFirst && instruction.isMemory && row.handler !== "lea" && instruction.segment < FS) {
      if (instruction.base === base && instruction.index === index && instruction.scale === scale) {
        join(instruction.displacement + moved, WORD, storesTo(instruction));
      }
    }
    if (isStack) {
      const by = stackMove(instruction);
      if (by === undefined) break;
      if (!isFirst && by !== 0 && row.handler !== "alu") join(by < 0 ? moved + by : moved, WORD, by < 0);
      moved += by;
    }
    const written = registerOf(instruction, row.operands[0] ?? "1");
    if (written >= 0 && !(isStack && written === ESP) && readsOnly(instruction) === false) {
      if (written === base || written === index) break;
    }
  }
  return followers === 0 ? undefined : { first, end, followers, isWrite: stores };
}

/** By how much an instruction moves ESP, as far as a run goes on behind it. */
function stackMove(instruction: Instruction): number | undefined {
  const { row, operandSize, immediate } = instruction;
  switch (row.handler) {
    case "push":
    case "call":
    case "callIndirect":
      return operandSize === 32 ? -WORD : undefined;
    case "pop":
    case "ret":
      return operandSize === 32 && registerOf(instruction, row.operands[0] ?? "1") !== ESP ? WORD : undefined;
    case "leave":
      return undefined;
    case "alu":
      if (registerOf(instruction, row.operands[0]) !== ESP || row.variant === CMP) return 0;
      if (row.operands[1][0] !== "I") return undefined;
      return row.variant === ADD ? immediate : row.variant === SUB ? -immediate : undefined;
    default:
      return registerOf(instruction, row.operands[0] ?? "1") === ESP ? undefined : 0;
  }
}

/** Whether an instruction leaves its first operand as it is. */
function readsOnly({ row }: Instruction): boolean {
  return row.handler === "test" || row.handler === "push" || (row.handler === "alu" && row.variant === CMP);
}

/** Whether an instruction with a memory operand is foreseen to store to it. */
function storesTo(instruction: Instruction): boolean {
  const [first] = instruction.row.operands;
  return first !== undefined && (first[0] === "E" || first[0] === "O") && !readsOnly(instruction);
}
