// The part of the translator that is itself WebAssembly: entering a region from the dispatcher, and chaining from one region
// to the next through the jump cache. An entry counts only while the instruction TLB maps its page to the frame that it was
// translated from, so that no change of address space has to clear the cache (design: chaining across pages).

import { X87_TYPES } from "./emit/x87_runtime.ts";
import * as L from "./layout.ts";
import { Access, FunctionBody, type FunctionType, HYPERVISOR, I32, Op } from "./wasm.ts";

/**
 * Type 0: a region, entry number to exit status. Type 1: the slow path of memory, linear address and kind to machine address.
 * Types 2 and 3: functions of three and of four words. Then those of the x87 routines.
 */
export const TYPES: readonly FunctionType[] = [
  { parameters: [I32], results: [I32] },
  { parameters: [I32, I32], results: [I32] },
  { parameters: [I32, I32, I32], results: [I32] },
  { parameters: [I32, I32, I32, I32], results: [I32] },
  ...X87_TYPES,
];
export const REGION_TYPE = 0;

/**
 * The jump cache's last word, which is never negative: the region's slot; the number, from 1, of the unit that is entered; and
 * how many steps must be left, so that the region need not look at the budget before its first loop.
 */
const UNIT_BITS = 8;
export const ENTRY_SHIFT = 16, SLOT_MASK = (1 << ENTRY_SHIFT) - 1, UNIT_MASK = (1 << UNIT_BITS) - 1;
/** Place of the number of steps in the word. */
export const COUNT_SHIFT = ENTRY_SHIFT + UNIT_BITS;

/** That word, for the unit at an index. */
export function entryWord(slot: number, unit: number, steps: number): number {
  return slot | ((unit + 1) << ENTRY_SHIFT) | (steps << COUNT_SHIFT);
}

/** Pushes the region's parameter and its slot, from a word in a local. */
export function pushEntry(f: FunctionBody, word: number): FunctionBody {
  f.get(word).constant(ENTRY_SHIFT).op(Op.i32ShrU).constant(UNIT_MASK).op(Op.i32And);
  return f.get(word).constant(SLOT_MASK).op(Op.i32And);
}

/** `enter(word)`: runs the region that a word names. One function for all: a call from JavaScript to each costs ten times as much. */
export function enterFunction(): FunctionBody {
  const WORD = 0;
  return pushEntry(new FunctionBody(1), WORD).returnCallIndirect(REGION_TYPE);
}

/** Bytes of an entry of the jump cache: 16. */
const ENTRY_BYTES_SHIFT = 4;

/** Counts an entry into a slot's region. */
export function countEntry(f: FunctionBody, slot: number): void {
  const at = L.ENTRIES + slot * 4;
  f.constant(0).constant(0).memory(Access.i32Load, HYPERVISOR, at).constant(1).op(Op.i32Add);
  f.memory(Access.i32Store, HYPERVISOR, at);
}

/**
 * `goto(eip)`: tail-calls the translation at EIP; where the jump cache has none that surely holds, or the budget is less than
 * what it needs, the interpreter of cold code (cold/interpreter.ts), which looks further.
 */
export function gotoFunction(): FunctionBody {
  const f = new FunctionBody(1);
  const EIP = 0;
  const entry = f.local(I32), tlb = f.local(I32), word = f.local(I32);
  const load = (base: number, at: number) => f.get(base).memory(Access.i32Load, HYPERVISOR, at);
  const global = (at: number) => f.constant(0).memory(Access.i32Load, HYPERVISOR, at);
  const cold = f.block();
  f.get(EIP).constant(8).op(Op.i32ShrU).constant(L.INSTRUCTION_BANK_BYTES - 16).op(Op.i32And);
  global(L.INSTRUCTION_BANK).op(Op.i32Add).tee(tlb);
  f.memory(Access.i32Load, HYPERVISOR, L.INSTRUCTION_TLB).get(EIP).constant(0xfffff000 | 0).op(Op.i32And).op(Op.i32Ne);
  f.brIf(cold);
  f.get(EIP).get(EIP).constant(12).op(Op.i32ShrU).op(Op.i32Xor).constant(L.JUMP_CACHE_ENTRIES - 1).op(Op.i32And);
  f.constant(ENTRY_BYTES_SHIFT).op(Op.i32Shl).set(entry);
  for (const isBeside of [false, true]) {
    const other = f.block();
    if (isBeside) f.get(entry).constant(1 << ENTRY_BYTES_SHIFT).op(Op.i32Xor).set(entry);
    load(entry, L.JUMP_CACHE).get(EIP).op(Op.i32Ne).brIf(other);
    load(entry, L.JUMP_CACHE + 4);
    global(L.MODE).op(Op.i32Ne).brIf(other);
    load(tlb, L.INSTRUCTION_TLB + L.TLB_MPN);
    load(entry, L.JUMP_CACHE + 8).op(Op.i32Ne).brIf(other);
    load(entry, L.JUMP_CACHE + 12).tee(word).constant(COUNT_SHIFT).op(Op.i32ShrU);
    global(L.BUDGET).op(Op.i32GtS).brIf(cold);
    pushEntry(f, word).returnCallIndirect(REGION_TYPE);
    f.end();
  }
  f.end();
  f.constant(1).constant(L.COLD_SLOT).returnCallIndirect(REGION_TYPE);
  f.constant(0);
  return f;
}

/** Instead of `goto` where translations are not to be chained: returns to the run loop, whatever is at EIP. */
export function leaveFunction(): FunctionBody {
  return new FunctionBody(1).constant(0);
}
