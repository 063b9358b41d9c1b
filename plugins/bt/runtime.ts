// The part of the translator that is itself WebAssembly: chaining from one region to the next through the jump cache. An
// entry counts only while the instruction TLB maps its page to the frame that it was translated from, so that no change of
// address space has to clear the cache (design: chaining across pages).

import * as L from "./layout.ts";
import { Access, FunctionBody, type FunctionType, HYPERVISOR, I32, Op } from "./wasm.ts";

/** Type 0: a region, entry number to exit status. Type 1: the slow path of memory, linear address and kind to machine address. */
export const TYPES: readonly FunctionType[] = [
  { parameters: [I32], results: [I32] },
  { parameters: [I32, I32], results: [I32] },
];
export const REGION_TYPE = 0, MISS_TYPE = 1;

/** The jump cache's last word: slot in the low bits, entry number above. */
export const SLOT_BITS = 20;

/**
 * `goto(eip)`: tail-calls the translation at EIP, or returns 0 where there is none that surely holds, or no budget is left.
 */
export function gotoFunction(): FunctionBody {
  const f = new FunctionBody(1);
  const EIP = 0;
  const entry = f.local(I32), tlb = f.local(I32);
  const load = (base: number, at: number) => f.get(base).memory(Access.i32Load, HYPERVISOR, at);
  const global = (at: number) => f.constant(0).memory(Access.i32Load, HYPERVISOR, at);
  const miss = f.block();
  global(L.BUDGET).constant(0).op(Op.i32LeS).brIf(miss);
  f.get(EIP).get(EIP).constant(12).op(Op.i32ShrU).op(Op.i32Xor).constant(L.JUMP_CACHE_ENTRIES - 1).op(Op.i32And);
  f.constant(4).op(Op.i32Shl).tee(entry).memory(Access.i32Load, HYPERVISOR, L.JUMP_CACHE).get(EIP).op(Op.i32Ne).brIf(
    miss,
  );
  load(entry, L.JUMP_CACHE + 4);
  global(L.MODE).op(Op.i32Ne).brIf(miss);
  f.get(EIP).constant(8).op(Op.i32ShrU).constant(L.INSTRUCTION_BANK_BYTES - 16).op(Op.i32And);
  global(L.INSTRUCTION_BANK).op(Op.i32Add).tee(tlb);
  f.memory(Access.i32Load, HYPERVISOR, L.INSTRUCTION_TLB).get(EIP).constant(0xfffff000 | 0).op(Op.i32And).op(Op.i32Ne)
    .brIf(miss);
  load(tlb, L.INSTRUCTION_TLB + L.TLB_MPN);
  load(entry, L.JUMP_CACHE + 8).op(Op.i32Ne).brIf(miss);
  load(entry, L.JUMP_CACHE + 12).constant(SLOT_BITS).op(Op.i32ShrU);
  load(entry, L.JUMP_CACHE + 12).constant((1 << SLOT_BITS) - 1).op(Op.i32And);
  f.returnCallIndirect(REGION_TYPE);
  f.end();
  f.constant(0);
  return f;
}
