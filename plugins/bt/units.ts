// Translation units and regions. A translation unit is a basic block of at most so many instructions (BT paper 3.2); a region
// is a set of units that can be reached from a hot one, on its page and on others, compiled into one function.

import { decode, type Instruction } from "../x86/mod.ts";
import { emitterOf } from "./emit/instructions.ts";
import { type Emit, isPlainAddress } from "./emit/operands.ts";
import { FASTEST_FORMS, type Form, type SensitiveChoice, sensitiveChoice } from "./emit/sensitive.ts";
import { findFlow, type Flow } from "./flow.ts";

const PAGE_BYTES = 4096, PAGE_SHIFT = 12, PAGE_MASK = 0xfff;
const LONGEST_INSTRUCTION = 15;

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
  /** The next instruction crosses the page, and the other page is not at hand: it is emulated. */
  | "edge";

/** One translated instruction: where it begins, as in `Unit`, and how it is emitted (none for the one that ends the unit). */
export interface UnitInstruction {
  readonly offset: number;
  readonly instruction: Instruction;
  readonly emit?: Emit;
  /** Of a sensitive instruction. */
  readonly form?: Form;
}

export interface Unit {
  /** Offset of the first instruction, and of what follows the last, from the page of the region's entry. */
  readonly offset: number;
  readonly end: number;
  readonly instructions: readonly UnitInstruction[];
  readonly ending: Ending;
  /** Offsets of successors, likewise. */
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

/**
 * Finds the unit that begins at `offset` of the page at machine address `page`; `choose` says how sensitive instructions are
 * translated. Offsets in what is returned count from `base` bytes before the page. An instruction that crosses the page is a
 * unit of its own, where `nextPage` gives the machine address of the page behind.
 */
export function findUnit(
  bytes: Uint8Array,
  page: number,
  offset: number,
  cap: number,
  choose: SensitiveChoice = fastest,
  base = 0,
  nextPage: () => number = nowhere,
): Unit {
  const instructions: UnitInstruction[] = [];
  let at = offset;
  const unit = (ending: Ending, taken?: number, next?: number): Unit => ({
    offset: base + offset,
    end: base + at,
    instructions,
    ending,
    taken: taken === undefined ? undefined : (base + taken) | 0,
    next: next === undefined ? undefined : (base + next) | 0,
  });
  while (instructions.length < cap || (cap > 1 && endsWithSti(instructions))) {
    if (at >= PAGE_BYTES) return unit("next", undefined, at);
    let instruction = decode(bytes, page + at, page + PAGE_BYTES, 32);
    const crosses = instruction === "truncated";
    if (crosses && nextPage() >= 0) {
      if (instructions.length > 0) return unit("next", undefined, at);
      instruction = decodeAcross(bytes, page + at, nextPage());
    }
    if (typeof instruction === "string") return unit(crosses ? "edge" : "interpret", undefined, at);
    const ending = endingOf(instruction);
    if (ending !== undefined) {
      instructions.push({ offset: base + at, instruction });
      at += instruction.length;
      const target = ending === "jcc" || ending === "jmp" || ending === "call" ? at + instruction.immediate : undefined;
      return unit(ending, target, ending === "jcc" ? at : undefined);
    }
    const sensitive = choose(instruction);
    const emit = sensitive?.emit ?? emitterOf(instruction);
    if (emit === undefined) return unit("interpret", undefined, at + instruction.length);
    instructions.push({ offset: base + at, instruction, emit, form: sensitive?.form });
    at += instruction.length;
    if (sensitive?.followedBy === "away") return unit("emulate", undefined, at);
    if (sensitive?.followedBy === "next" || crosses) break;
  }
  return unit("next", undefined, at);
}

const fastest = sensitiveChoice(FASTEST_FORMS);
const nowhere = () => -1;

/** Decodes the instruction that begins at a machine address and goes on at the beginning of another page. */
function decodeAcross(bytes: Uint8Array, from: number, page: number): ReturnType<typeof decode> {
  const first = bytes.subarray(from, (from | PAGE_MASK) + 1);
  const both = new Uint8Array(first.length + LONGEST_INSTRUCTION);
  both.set(first);
  both.set(bytes.subarray(page, page + LONGEST_INSTRUCTION), first.length);
  return decode(both, 0, both.length, 32);
}

/** Whether a unit lies in two pages: it is one instruction then. */
export function crossesPage({ offset, end }: Pick<Unit, "offset" | "end">): boolean {
  return (end - 1) >> PAGE_SHIFT !== offset >> PAGE_SHIFT;
}

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
  /** Frames by page, counted from the entry's; -1 for those that the region stays out of. */
  readonly frames: ReadonlyMap<number, number>;
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

/** Where a region's direct jumps, calls and fall-throughs lead out of it. */
export function exitsOf({ units, indexOf }: Pick<Region, "units" | "indexOf">): number[] {
  return [...new Set(units.flatMap(successorsOf))].filter((offset) => !indexOf.has(offset));
}

/** Steps that an entry can be asked to have left at the most: what fits the jump cache's word (runtime.ts). */
const MOST_STEPS = 127;

/** What a region is to be made of. */
export interface RegionRequest {
  /** Machine memory. */
  readonly bytes: Uint8Array;
  /** Frame of the page that offsets are relative to. */
  readonly mpn: number;
  /** Where units begin from which the others are found; the first is the region's entry. */
  readonly offsets: readonly number[];
  /** Instructions of a unit, and units, at the most. */
  readonly limits: { readonly cap: number; readonly units: number };
  /** What is translated already stays outside: compiling code twice costs more than the way between two regions. */
  readonly isKnown?: (offset: number) => boolean;
  /** Where a jump or a return leads to that has never been run stays outside, too: it need not be compiled at all. */
  readonly hasRun?: (offset: number) => boolean;
  /** Frame of the page that lies so many pages behind the entry's, or -1 to stay out of it. Without it, the region is one page. */
  readonly frameOf?: (page: number) => number;
  readonly choose?: SensitiveChoice;
}

/** Finds the units that are reachable from some offsets. */
export function findRegion(request: RegionRequest): Region {
  const { bytes, mpn, offsets, limits, isKnown, hasRun, frameOf, choose } = request;
  const units: Unit[] = [];
  const indexOf = new Map<number, number>();
  /** Offsets at which the region is entered from outside. */
  const returns = new Set<number>(offsets.slice(1));
  const frames = new Map([[0, mpn]]);
  const pending = [...offsets];
  const frameAt = (offset: number): number => {
    const page = offset >> PAGE_SHIFT;
    let frame = frames.get(page);
    if (frame === undefined) frames.set(page, frame = frameOf?.(page) ?? -1);
    return frame;
  };
  const ran = (offset: number) => hasRun === undefined || (frameAt(offset) >= 0 && hasRun(offset));
  while (pending.length > 0 && units.length < limits.units) {
    const at = pending.shift();
    if (at === undefined || indexOf.has(at)) continue;
    const frame = frameAt(at), base = at & ~PAGE_MASK;
    if (frame < 0 || (at !== offsets[0] && isKnown?.(at) === true)) continue;
    const unit = findUnit(
      bytes,
      frame * PAGE_BYTES,
      at & PAGE_MASK,
      limits.cap,
      choose,
      base,
      () => frameAt(base + PAGE_BYTES) * PAGE_BYTES,
    );
    if (unit.instructions.length === 0 && at !== offsets[0]) continue;
    indexOf.set(at, units.length);
    units.push(unit);
    const { ending, next, taken, end } = unit;
    // The fall-through first, so that it tends to lie next.
    if (next !== undefined && (ending === "next" || (ending === "jcc" && ran(next)))) pending.unshift(next);
    if (taken !== undefined && ran(taken)) pending.push(taken);
    // The way to another page may find it unmapped: it is gone then as if from outside.
    for (const successor of successorsOf(unit)) if ((successor & ~PAGE_MASK) !== base) returns.add(successor);
    // Where calls return to, and where emulation comes back, is entered from outside; it belongs here, because what follows does.
    if (ending === "emulate" || ((ending === "call" || ending === "callIndirect") && ran(end))) {
      pending.push(end);
      returns.add(end);
    }
    if (ending === "interpret" && next !== undefined) {
      pending.push(next);
      returns.add(next);
    }
  }
  return regionOf(units, indexOf, returns, frames);
}

function regionOf(
  units: readonly Unit[],
  indexOf: ReadonlyMap<number, number>,
  returns: ReadonlySet<number>,
  frames: ReadonlyMap<number, number>,
): Region {
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
  const first = [...new Set([0, ...[...returns].flatMap((offset) => indexOf.get(offset) ?? [])])];
  // After a turn's end the interpreter goes on until a head: heads are entries too, so that it does not go on for long.
  const flow = findFlow(graph(first), MOST_STEPS);
  // So are those of loops that control leaves on the way, by a call or an emulated instruction.
  const targets = units.flatMap(({ offset, taken }) =>
    taken !== undefined && taken <= offset ? indexOf.get(taken) ?? [] : []
  );
  const entries = [...new Set([...first, ...flow.checkpoints, ...targets])];
  const isComplete = entries.length === first.length;
  return { units, indexOf, entries, frames, flow: isComplete ? flow : findFlow(graph(entries), MOST_STEPS) };
}
