// Page walks that may change code: where a page table lies in a frame that holds code, the A and D bits that a walk sets may
// change the very instruction that causes the walk. The interpreter, which decodes before it walks, is left to do those.

import { PageState } from "../memory/mod.ts";
import { type Processor, Right, state as S } from "../x86/mod.ts";

/** Page-directory entry bits (SDM 3A, 4.3 and 4.4), and the bits of a high word that are address. */
const PRESENT = 1, LARGE = 128, HIGH_ADDRESS = 0xf;
const PAGE_BYTES = 4096;

/**
 * Whether an access to a linear address may walk through entries in frames that hold code, or in `codeFrame`, which runs
 * without having been marked as such (-1: none). Changes nothing.
 */
export function walksThroughCode(cpu: Processor, linear: number, isWrite: boolean, codeFrame: number): boolean {
  const { r, mmu } = cpu;
  if ((r[S.CR0] & S.CR0_PG) === 0 || needsNoWalk(cpu, linear, isWrite)) return false;
  const isPae = (r[S.CR4] & S.CR4_PAE) !== 0;
  const pdpte = S.PDPTE + (linear >>> 30) * 2;
  if (isPae && (r[pdpte] & PRESENT) === 0) return false;
  const directory = machineAddress(cpu, isPae ? ppnOf(r[pdpte], r[pdpte + 1]) : r[S.CR3] >>> 12);
  if (directory < 0) return directory === UNKNOWN;
  if (mmu.code.hasCode[directory >>> 12] || directory >>> 12 === codeFrame) return true;
  const at = directory + (isPae ? (linear >>> 18) & 0xff8 : (linear >>> 20) & 0xffc);
  const entry = mmu.machine.view.getInt32(at, true);
  const isLarge = (entry & LARGE) !== 0 && (isPae || (r[S.CR4] & S.CR4_PSE) !== 0);
  if ((entry & PRESENT) === 0 || isLarge) return false;
  const table = machineAddress(cpu, isPae ? ppnOf(entry, mmu.machine.view.getInt32(at + 4, true)) : entry >>> 12);
  return table === UNKNOWN || (table >= 0 && (mmu.code.hasCode[table >>> 12] !== 0 || table >>> 12 === codeFrame));
}

/** Whether the TLB allows the access: most slow accesses are to data beside code, or to host halves that were dropped. */
function needsNoWalk({ r, mmu }: Processor, linear: number, isWrite: boolean): boolean {
  const { data } = mmu, index = data.index(linear);
  const needed = (r[S.CPL] === 3 ? Right.user : 0) | (isWrite ? Right.write | Right.dirty : 0);
  return data.hits(index, linear) && (data.rights[index] & needed) === needed;
}

function ppnOf(low: number, high: number): number {
  return (low >>> 12) | ((high & HIGH_ADDRESS) << 20);
}

/** In place of a machine address: nothing is there that can be an entry; it is not known what is. */
const NOTHING = -1, UNKNOWN = -2;

/** Machine address of a guest-physical page. One that is swapped out has none yet; one without contents holds no entries. */
function machineAddress({ mmu }: Processor, ppn: number): number {
  const { memory } = mmu;
  if (ppn >= memory.pages) return NOTHING;
  const state = memory.stateOf(ppn);
  if (state === PageState.swapped) return UNKNOWN;
  if (state === PageState.absent || state === PageState.ballooned) return NOTHING;
  // The walk that follows marks it as read on the host side, as this does.
  return memory.frameForRead(ppn) * PAGE_BYTES;
}
