// Translation units and regions. A translation unit is a basic block of at most so many instructions (BT paper 3.2); a region
// is the set of units that can be reached from a hot one without leaving its page, compiled into one function.

import { decode, type Instruction, STATUS_FLAGS } from "../x86/mod.ts";
import { flagEffects } from "../x86/mod.ts";
import { emitterOf } from "./emit/instructions.ts";
import { type Emit, isPlainAddress } from "./emit/operands.ts";

/** How a unit ends. */
export type Ending =
  /** Falls through: the cap was reached, or another unit begins. */
  | "next"
  /** An instruction that has no emitter follows: the interpreter's turn. */
  | "interpret"
  | "jcc"
  | "jmp"
  | "call"
  | "ret"
  | "jmpIndirect"
  | "callIndirect"
  /** The next instruction crosses the page, or bytes are undecodable. */
  | "edge";

/** One translated instruction: where it begins in its page, and how it is emitted (none for the one that ends the unit). */
export interface UnitInstruction {
  readonly offset: number;
  readonly instruction: Instruction;
  readonly emit?: Emit;
}

export interface Unit {
  /** Offset in the page of the first instruction, and of what follows the last. */
  readonly offset: number;
  readonly end: number;
  readonly instructions: readonly UnitInstruction[];
  readonly ending: Ending;
  /** Offsets of successors relative to the page; beyond it where they lie elsewhere. */
  readonly taken: number | undefined;
  readonly next: number | undefined;
  /** Status flags that somebody may see before the unit has overwritten them: by reading them, or by leaving. */
  readonly liveIn: number;
}

const endings: Readonly<Record<string, Ending>> = {
  jcc: "jcc",
  jmp: "jmp",
  call: "call",
  ret: "ret",
  jmpIndirect: "jmpIndirect",
  callIndirect: "callIndirect",
};

/** Finds the unit that begins at `offset` of the page at machine address `page`. */
export function findUnit(bytes: Uint8Array, page: number, offset: number, cap: number): Unit {
  const instructions: UnitInstruction[] = [];
  let at = offset;
  const unit = (ending: Ending, taken?: number, next?: number): Unit => ({
    offset,
    end: at,
    instructions,
    ending,
    taken,
    next,
    liveIn: liveIn(instructions),
  });
  while (instructions.length < cap) {
    if (at >= 4096) return unit("edge", undefined, at);
    const instruction = decode(bytes, page + at, page + 4096, 32);
    if (typeof instruction === "string") return unit("edge", undefined, at);
    const ending = endingOf(instruction);
    if (ending !== undefined) {
      instructions.push({ offset: at, instruction });
      at += instruction.length;
      const target = ending === "jcc" || ending === "jmp" || ending === "call" ? at + instruction.immediate : undefined;
      return unit(ending, target, ending === "jcc" ? at : undefined);
    }
    const emit = emitterOf(instruction);
    if (emit === undefined) return unit("interpret", undefined, at);
    instructions.push({ offset: at, instruction, emit });
    at += instruction.length;
  }
  return unit("next", undefined, at);
}

/** The ending that an instruction makes, where it can be translated. */
function endingOf(instruction: Instruction): Ending | undefined {
  const ending = endings[instruction.row.handler];
  if (ending === undefined || instruction.operandSize !== 32) return undefined;
  if (instruction.isMemory && !isPlainAddress(instruction)) return undefined;
  return ending;
}

/** Handlers whose instructions may leave though they have no ModR/M operand in memory. */
const LEAVING: ReadonlySet<string> = new Set([
  ...["push", "pop", "pushSegment", "pushf", "popf", "leave", "call", "ret", "callIndirect"],
  ...["movs", "stos", "lods", "cmps", "scas", "xlat", "div", "idiv", "cli", "sti"],
]);
/** Handlers with a ModR/M operand that they do not access. */
const NOT_ACCESSING: ReadonlySet<string> = new Set(["lea", "nop"]);
/** Handlers that leave flags which the manual calls undefined as they were, on the interpreter's named processor. */
const KEEPING: ReadonlySet<string> = new Set(["mul", "imul1", "imul", "div", "idiv", "bt"]);

/** Whether emitted code may leave in the middle of an instruction, so that all flags can be seen there. */
function mayLeave({ isMemory, row }: Instruction): boolean {
  return (isMemory && !NOT_ACCESSING.has(row.handler)) || LEAVING.has(row.handler);
}

function liveIn(instructions: readonly UnitInstruction[]): number {
  let live = STATUS_FLAGS;
  for (const { instruction } of instructions.toReversed()) {
    const effects = flagEffects(instruction);
    const kept = KEEPING.has(instruction.row.handler) ? effects.undefined : 0;
    const overwritten = effects.writes & ~effects.reads & ~kept;
    live = mayLeave(instruction) ? STATUS_FLAGS : (live & ~overwritten) | (effects.reads & STATUS_FLAGS);
  }
  return live & STATUS_FLAGS;
}

/** A region: its units in the order of discovery, the entry first. */
export interface Region {
  readonly units: readonly Unit[];
  readonly indexOf: ReadonlyMap<number, number>;
}

/**
 * Finds the units that are reachable from `offset` within the page, up to those at offsets that `isKnown` says are translated
 * already: they are chained to, for compiling code twice costs more than the way between two regions.
 */
export function findRegion(
  bytes: Uint8Array,
  page: number,
  offset: number,
  limits: { cap: number; units: number },
  isKnown: (offset: number) => boolean = () => false,
): Region {
  const units: Unit[] = [];
  const indexOf = new Map<number, number>();
  const pending = [offset];
  while (pending.length > 0 && units.length < limits.units) {
    const at = pending.shift();
    if (at === undefined || indexOf.has(at) || at < 0 || at >= 4096) continue;
    if (at !== offset && isKnown(at)) continue;
    const unit = findUnit(bytes, page, at, limits.cap);
    if (unit.instructions.length === 0 && at !== offset) continue;
    indexOf.set(at, units.length);
    units.push(unit);
    // The fall-through first, so that it tends to lie next.
    if (unit.next !== undefined && (unit.ending === "jcc" || unit.ending === "next")) pending.unshift(unit.next);
    if (unit.taken !== undefined) pending.push(unit.taken);
    // Where calls return to is entered from outside; it belongs here, because what follows it does.
    if (unit.ending === "call" || unit.ending === "callIndirect") pending.push(unit.end);
  }
  return { units, indexOf };
}
