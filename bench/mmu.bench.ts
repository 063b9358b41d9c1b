// What address translation costs: loads that hit the TLB, and loads that miss it every time and walk two levels of page
// tables (SDM 3A, 4.3). The difference of the two is a miss.

import { Assembler, cr0, cr3, eax, ecx, edi, edx, esi, mem32 } from "../guests/assembler/mod.ts";
import type { GuestImage } from "../guests/mod.ts";
import { runHere } from "./machine.ts";
import { Rates } from "./rates.ts";

const ORIGIN = 0x10_0000;
/** A page directory and the tables behind it, identity-mapped like all else. */
const PAGE_DIRECTORY = 0x20_0000, PAGE_TABLES = 0x20_1000;
/** The pages that are read. */
const DATA = 0x40_0000;
const PAGE_BYTES = 4096, ENTRIES = 1024;
const PRESENT_WRITABLE = 3;
const CR0_PG = 0x8000_0000 | 0;
const MEMORY_MIB = 24;
/** Page tables that map the memory. */
const TABLES = MEMORY_MIB / 4;
const LOADS = 2_000_000;

const rates = new Rates(`Address translation, ${LOADS / 1e6} M loads`);

const cases = [
  { name: "TLB hit: 16 pages in turn", pages: 16 },
  // Four times the data TLB's 1024 entries, so that a page is gone before its turn comes again.
  { name: "TLB miss: 4096 pages in turn", pages: 4096 },
];
for (const { name, pages } of cases) {
  Deno.bench(name, { group: "translation", n: 5, warmup: 1 }, async (bench) => {
    const image = loads(pages);
    bench.start();
    const measured = await runHere({ image }, { plugins: [] }, MEMORY_MIB);
    bench.end();
    rates.add(name, measured);
  });
}

/** Turns paging on and reads one word of each of `pages` pages in turn, LOADS times in all. */
function loads(pages: number): Omit<GuestImage, "symbols"> {
  const asm = new Assembler({ origin: ORIGIN });
  asm.mov(edi, PAGE_DIRECTORY).mov(eax, PAGE_TABLES | PRESENT_WRITABLE).mov(ecx, TABLES);
  asm.label("directory").mov(mem32(edi), eax).add(edi, 4).add(eax, PAGE_BYTES).dec(ecx).jnz("directory");
  asm.mov(edi, PAGE_TABLES).mov(eax, PRESENT_WRITABLE).mov(ecx, TABLES * ENTRIES);
  asm.label("tables").mov(mem32(edi), eax).add(edi, 4).add(eax, PAGE_BYTES).dec(ecx).jnz("tables");
  asm.mov(eax, PAGE_DIRECTORY).mov(cr3, eax).mov(eax, cr0).or(eax, CR0_PG).mov(cr0, eax);
  asm.mov(ecx, LOADS).xor(esi, esi);
  asm.align(16).label("load").mov(edx, mem32(esi, { disp: DATA })).add(esi, PAGE_BYTES);
  asm.and(esi, pages * PAGE_BYTES - 1).dec(ecx).jnz("load").cli().hlt();
  return { loads: [{ address: ORIGIN, bytes: asm.assemble().bytes }], entry: ORIGIN, mode: "protected" };
}
