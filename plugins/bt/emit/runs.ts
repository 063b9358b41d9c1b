// Runs: accesses of a unit to addresses near one another, such as the pushes of a function's prologue or the fields of one
// structure. The first of them has one TLB entry stand for all that follow (BT paper 3.2: translations exploit what was just
// computed). What is foreseen here is only which accesses there will be; whether a register still has the value that the run was
// looked up with, the emitter knows exactly.

import { EBP, ESP, type Instruction, NO_REGISTER } from "../../x86/mod.ts";
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

/** The access that a run may begin with. */
export interface FirstAccess {
  readonly place: Place;
  readonly bytes: number;
  readonly isWrite: boolean;
}

/**
 * Foresees the run that begins with an access by the instruction at `at`; undefined where nothing follows it. `from` says of
 * each register how far its value is above that of the place's base, if that is known. The stack takes loads and stores alike;
 * elsewhere a page may well be read that must not be written.
 */
export function planRun(
  instructions: readonly { readonly instruction: Instruction }[],
  at: number,
  { place: { index, scale, displacement }, bytes, isWrite }: FirstAccess,
  from: readonly (number | undefined)[],
): RunPlan | undefined {
  let first = displacement, end = displacement + bytes, followers = 0, stores = isWrite;
  const distances = new Distances(from);
  const takesStores = isWrite || distances.of(ESP) !== undefined;
  const join = (distance: number | undefined, store: boolean) => {
    if (distance === undefined || (store && !takesStores)) return;
    const low = Math.min(first, distance), high = Math.max(end, distance + WORD);
    if (high - low > MOST_RUN_BYTES) return;
    first = low;
    end = high;
    followers++;
    stores ||= store;
  };
  for (let next = at; next < instructions.length; next++) {
    const { instruction } = instructions[next];
    if (next > at) {
      const { row } = instruction;
      const isNear = instruction.index === index && instruction.scale === scale && instruction.segment < FS;
      if (instruction.isMemory && row.handler !== "lea" && isNear) {
        join(distances.of(instruction.base, instruction.displacement), storesTo(instruction));
      }
      const implied = index === NO_REGISTER ? stackAccessOf(instruction) : undefined;
      if (implied !== undefined) join(distances.of(implied.base, implied.displacement), implied.displacement < 0);
    }
    const written = distances.follow(instruction);
    if (written !== NO_REGISTER && written === index) break;
  }
  return followers === 0 ? undefined : { first, end, followers, isWrite: stores };
}

/** The place on the stack that an instruction accesses besides its operand. */
function stackAccessOf({ row, operandSize }: Instruction): Place | undefined {
  if (operandSize !== 32) return undefined;
  switch (row.handler) {
    case "push":
    case "call":
    case "callIndirect":
      return stackPlace(-WORD);
    case "pop":
    case "ret":
      return stackPlace(0);
    case "leave":
      return { ...stackPlace(0), base: EBP };
  }
}

/** How far registers are above the value that a run goes by, where that is known, as instructions are gone through. */
class Distances {
  readonly #distances: (number | undefined)[];

  constructor(from: readonly (number | undefined)[]) {
    this.#distances = [...from];
  }

  /** That of an address, `displacement` bytes above a register. */
  of(register: number, displacement = 0): number | undefined {
    const distance = this.#distances[register];
    return distance === undefined ? undefined : distance + displacement;
  }

  /** Goes through an instruction; returns the register that is its destination, if one is. */
  follow(instruction: Instruction): number {
    const { row } = instruction, access = stackAccessOf(instruction);
    if (access !== undefined) {
      const { base, displacement } = access;
      this.#distances[ESP] = this.of(base, displacement === 0 ? WORD : displacement);
      if (row.handler === "leave") this.#distances[EBP] = undefined;
    }
    const written = readsOnly(instruction) ? -1 : registerOf(instruction, row.operands[0] ?? "1");
    if (written < 0) return NO_REGISTER;
    const moved = movedValueOf(instruction);
    this.#distances[written] = moved && this.of(moved.from, moved.by);
    return written;
  }
}

/** A 32-bit register that is given the value of another, or its own, plus a constant. */
export interface Move {
  readonly register: number;
  readonly from: number;
  readonly by: number;
}

/** What an instruction does to the register that is its destination, if it is a move in this sense and no more. */
export function movedValueOf(instruction: Instruction): Move | undefined {
  const { row, operandSize, immediate, base, index, displacement } = instruction;
  const [destination = "1", source = "1"] = row.operands;
  const register = registerOf(instruction, destination);
  if (register < 0 || operandSize !== 32 || destination[1] === "b" || destination === "al") return undefined;
  switch (row.handler) {
    case "alu":
      if (source[0] !== "I" || (row.variant !== ADD && row.variant !== SUB)) return undefined;
      return { register, from: register, by: row.variant === ADD ? immediate : -immediate };
    case "inc":
      return { register, from: register, by: 1 };
    case "dec":
      return { register, from: register, by: -1 };
    case "lea":
      if (index !== NO_REGISTER || instruction.addressSize !== 32) return undefined;
      return { register, from: base, by: displacement };
    case "mov": {
      if (source[0] === "I") return { register, from: NO_REGISTER, by: immediate };
      const from = registerOf(instruction, source);
      return from < 0 ? undefined : { register, from, by: 0 };
    }
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
