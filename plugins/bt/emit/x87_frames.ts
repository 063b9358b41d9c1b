// Where the x87 stacks of a region's units lie (x87_stack.ts): registers are numbered region-wide, and a unit's frame is the
// number of ST(0) at its start. Units that follow each other are placed so that what the one leaves is what the next finds.

import { FunctionBody } from "../wasm.ts";
import { type Region, successorsOf, type Unit } from "../units.ts";
import { Emitter } from "./emitter.ts";
import { x87Choosers } from "./x87.ts";
import { REGISTER, REGISTERS, type X87Use } from "./x87_stack.ts";

const ALL_REGISTERS = 0xff;

/** Frames by unit, the set of registers that the region uses, and whether it has x87 instructions at all. */
export interface X87Frames {
  readonly frames: readonly number[];
  readonly registers: number;
  readonly isUsed: boolean;
}

/** Places the units of a region. An edge between units that cannot both be satisfied has to leave the region. */
export function x87Frames({ units, indexOf }: Pick<Region, "units" | "indexOf">): X87Frames {
  const uses = units.map(useOf);
  const frames: (number | undefined)[] = units.map(() => undefined);
  for (const start of frames.keys()) {
    if (frames[start] !== undefined) continue;
    frames[start] = 0;
    const pending = [start];
    for (let unit = pending.pop(); unit !== undefined; unit = pending.pop()) {
      const frame = ((frames[unit] ?? 0) + (uses[unit]?.moves ?? 0)) & REGISTER;
      for (const offset of successorsOf(units[unit])) {
        const next = indexOf.get(offset);
        if (next === undefined || frames[next] !== undefined) continue;
        frames[next] = frame;
        pending.push(next);
      }
    }
  }
  const placed = frames.map((frame) => frame ?? 0);
  const registers = uses.reduce((all, use, unit) => all | rotate(use?.registers ?? 0, placed[unit]), 0);
  return { frames: placed, registers, isUsed: uses.some((use) => use !== undefined) };
}

/** What a unit's x87 instructions do to the stack, if it has any: found by emitting them into a body that is thrown away. */
function useOf({ instructions }: Unit): X87Use | undefined {
  const x87 = instructions.filter(({ instruction }) => Object.hasOwn(x87Choosers, instruction.row.handler));
  if (x87.length === 0) return undefined;
  const scratch = new Emitter(new FunctionBody(1), 0);
  for (const { instruction, emit } of x87) {
    scratch.beginInstruction(0, 0, 0);
    emit?.(scratch, instruction);
  }
  return scratch.x87?.use;
}

/** Renumbers a set of registers. */
function rotate(set: number, by: number): number {
  return (set << by | set >>> (REGISTERS - by)) & ALL_REGISTERS;
}
