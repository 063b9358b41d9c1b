// Translation units and regions. A translation unit is a basic block of at most so many instructions (BT paper 3.2); a region
// is the set of units that can be reached from a hot one without leaving its page, compiled into one function.

import { decode, type Instruction } from "../x86/mod.ts";
import { emitterOf } from "./emit/instructions.ts";
import { type Emit, isPlainAddress } from "./emit/operands.ts";
import { FASTEST_FORMS, type Form, type SensitiveChoice, sensitiveChoice } from "./emit/sensitive.ts";
import { findFlow, type Flow } from "./flow.ts";

/** How a unit ends. */
export type Ending =
  /** Falls through: the cap was reached, or another unit begins. */
  | "next"
  /** An instruction that has no emitter follows: it is emulated. */
  | "interpret"
  /** Its last instruction is emulated, or leaves in its own way. */
  | "emulate"
  | "jcc"
  | "jmp"
  | "call"
  | "ret"
  | "jmpIndirect"
  | "callIndirect"
  /** The next instruction crosses the page: it is emulated. */
  | "edge";

/** One translated instruction: where it begins in its page, and how it is emitted (none for the one that ends the unit). */
export interface UnitInstruction {
  readonly offset: number;
  readonly instruction: Instruction;
  readonly emit?: Emit;
  /** Of a sensitive instruction. */
  readonly form?: Form;
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
}

const endings: Readonly<Record<string, Ending>> = {
  jcc: "jcc",
  jmp: "jmp",
  call: "call",
  ret: "ret",
  jmpIndirect: "jmpIndirect",
  callIndirect: "callIndirect",
};

/** Finds the unit that begins at `offset` of the page at machine address `page`; `choose` says how sensitive instructions are translated. */
export function findUnit(
  bytes: Uint8Array,
  page: number,
  offset: number,
  cap: number,
  choose: SensitiveChoice = fastest,
): Unit {
  const instructions: UnitInstruction[] = [];
  let at = offset;
  const unit = (ending: Ending, taken?: number, next?: number): Unit => ({
    offset,
    end: at,
    instructions,
    ending,
    taken,
    next,
  });
  while (instructions.length < cap || (cap > 1 && endsWithSti(instructions))) {
    if (at >= 4096) return unit("next", undefined, at);
    const instruction = decode(bytes, page + at, page + 4096, 32);
    if (typeof instruction === "string") return unit(instruction === "truncated" ? "edge" : "interpret", undefined, at);
    const ending = endingOf(instruction);
    if (ending !== undefined) {
      instructions.push({ offset: at, instruction });
      at += instruction.length;
      const target = ending === "jcc" || ending === "jmp" || ending === "call" ? at + instruction.immediate : undefined;
      return unit(ending, target, ending === "jcc" ? at : undefined);
    }
    const sensitive = choose(instruction);
    const emit = sensitive?.emit ?? emitterOf(instruction);
    if (emit === undefined) return unit("interpret", undefined, at + instruction.length);
    instructions.push({ offset: at, instruction, emit, form: sensitive?.form });
    at += instruction.length;
    if (sensitive?.followedBy === "away") return unit("emulate", undefined, at);
    if (sensitive?.followedBy === "next") break;
  }
  return unit("next", undefined, at);
}

const fastest = sensitiveChoice(FASTEST_FORMS);

/** STI in place is done together with the next instruction (flagops.ts): it does not end a unit. */
function endsWithSti(instructions: readonly UnitInstruction[]): boolean {
  const last = instructions.at(-1);
  return last?.form === "in-tc" && last.instruction.row.handler === "sti";
}

/** The ending that an instruction makes, where it can be translated. */
function endingOf(instruction: Instruction): Ending | undefined {
  const ending = endings[instruction.row.handler];
  if (ending === undefined || instruction.operandSize !== 32) return undefined;
  if (instruction.isMemory && !isPlainAddress(instruction)) return undefined;
  return ending;
}

/** A region: its units in the order of discovery, the entry first. Offsets are relative to the entry's page. */
export interface Region {
  readonly units: readonly Unit[];
  readonly indexOf: ReadonlyMap<number, number>;
  /** Indices of the units at which it can be entered: the first, where calls return to, and the heads of loops. */
  readonly entries: readonly number[];
  readonly flow: Flow;
}

/** Whether an instruction may take several steps. */
function isElastic({ repeat }: Instruction): boolean {
  return repeat !== 0;
}

/** Where a direct edge of a unit may lead, the one that would best follow it last. */
export function successorsOf({ ending, taken, next }: Unit): number[] {
  const offsets: number[] = [];
  if (taken !== undefined) offsets.push(taken);
  if (next !== undefined && (ending === "jcc" || ending === "next")) offsets.push(next);
  return offsets;
}

/** Steps that an entry can be asked to have left at the most: what fits the jump cache's word (runtime.ts). */
const MOST_STEPS = 127;

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
  choose: SensitiveChoice = fastest,
): Region {
  const units: Unit[] = [];
  const indexOf = new Map<number, number>();
  const returns = new Set<number>();
  const pending = [offset];
  while (pending.length > 0 && units.length < limits.units) {
    const at = pending.shift();
    if (at === undefined || indexOf.has(at) || at < 0 || at >= 4096) continue;
    if (at !== offset && isKnown(at)) continue;
    const unit = findUnit(bytes, page, at, limits.cap, choose);
    if (unit.instructions.length === 0 && at !== offset) continue;
    indexOf.set(at, units.length);
    units.push(unit);
    // The fall-through first, so that it tends to lie next.
    if (unit.next !== undefined && (unit.ending === "jcc" || unit.ending === "next")) pending.unshift(unit.next);
    if (unit.taken !== undefined) pending.push(unit.taken);
    // Where calls return to, and where emulation comes back, is entered from outside; it belongs here, because what follows does.
    if (["call", "callIndirect", "emulate"].includes(unit.ending)) {
      pending.push(unit.end);
      returns.add(unit.end);
    }
    if (unit.ending === "interpret" && unit.next !== undefined) {
      pending.push(unit.next);
      returns.add(unit.next);
    }
  }
  return regionOf(units, indexOf, returns);
}

function regionOf(units: readonly Unit[], indexOf: ReadonlyMap<number, number>, returns: ReadonlySet<number>): Region {
  const inside = units.map((unit) => successorsOf(unit).flatMap((offset) => indexOf.get(offset) ?? []));
  const graph = (entries: readonly number[]) => ({
    count: units.length,
    successors: (unit: number) => inside[unit],
    entries,
    steps: (unit: number) => units[unit].instructions.length,
    // Loops go back to lower addresses, most of all to their heads.
    likeliestHead: (members: readonly number[]) => {
      const isHead = (unit: number) =>
        members.some((from) => units[from].offset >= units[unit].offset && inside[from].includes(unit));
      return members.filter(isHead).toSorted((a, b) => units[a].offset - units[b].offset)[0] ?? members[0];
    },
    isElastic: (unit: number) => units[unit].instructions.some(({ instruction }) => isElastic(instruction)),
  });
  const first = [0, ...[...returns].flatMap((offset) => indexOf.get(offset) ?? [])].filter(isFirst);
  // After a turn's end the interpreter goes on until a head: heads are entries too, so that it does not go on for long.
  const { checkpoints } = findFlow(graph(first), MOST_STEPS);
  // So are those of loops that control leaves on the way, by a call or an emulated instruction.
  const targets = units.flatMap(({ offset, taken }) =>
    taken !== undefined && taken <= offset ? indexOf.get(taken) ?? [] : []
  );
  const entries = [...first, ...checkpoints, ...targets].filter(isFirst);
  return { units, indexOf, entries, flow: findFlow(graph(entries), MOST_STEPS) };
}

function isFirst<T>(value: T, index: number, all: readonly T[]): boolean {
  return all.indexOf(value) === index;
}
