// Guest `pager`: an operating system's paging, as far as it matters to a hypervisor that pages as well: more virtual pages than
// memory, the least recently used one written out when another is needed. What it writes out it reads first, and that may be on
// the hypervisor's disk already: double paging (ESX paper, section 3.1).

import { addr, type Assembler, eax, ebx, ecx, edi, edx, esi, esp, mem32 } from "./assembler/mod.ts";
import { defineGuest } from "./guest.ts";
import { PAGE_SIZE } from "./hardware.ts";
import { MAX_POOL_MIB, pagePool, POOL_MEMORY, POOL_OVERHEAD_MIB, poolPages, TABLE_1, TABLE_2 } from "./page_pool.ts";
import { buildProtected, fail, print } from "./runtime.ts";
import { startTimer, ticks, TIMER_HZ } from "./timer.ts";

const PAGE_SHIFT = Math.log2(PAGE_SIZE), WORDS_PER_PAGE = PAGE_SIZE / 4, WORD_MASK = WORDS_PER_PAGE - 1;
/** A page's contents: one word, its number times an odd factor, throughout. */
const PATTERN_FACTOR = 0x9e37_79b1;
/** Entries of a frame: the virtual page in it and, in the list from the least to the most recently used, its neighbours. */
const FRAME_BYTES = 16, OWNER = 0, EARLIER = 4, LATER = 8;
/** TABLE_2 holds the frames' entries. */
const MOST_MIB = MAX_POOL_MIB * 4 / FRAME_BYTES;

export const pager = defineGuest({
  name: "pager",
  summary: "pages by least recent use to a disk of its own",
  description:
    "Uses `virtualMib` of virtual pages in `memoryMib` of memory, `usesPerTick` at each tick of its timer, the first ones more " +
    "often than the last. A page that is not in memory takes the place of the least recently used one, which it reads as a whole " +
    "to write it to a disk. Each use checks a word; what is wrong ends the machine with `pager: corrupt page P`. Every second it " +
    `prints \`pager: U uses, F faults\`, counted anew each time, \`seconds\` times. Needs ${POOL_OVERHEAD_MIB} MiB beside its memory.`,
  memoryMib: 20,
  options: {
    memoryMib: { default: 16, min: 1, max: MOST_MIB, describe: "MiB of memory for its pages" },
    virtualMib: { default: 20, min: 1, max: MAX_POOL_MIB, describe: "MiB of virtual pages" },
    usesPerTick: { default: 50, min: 1, max: 10_000, describe: "pages used at each tick" },
    skew: { default: 2, min: 1, max: 8, describe: "a page is the least of so many random ones; 1: all are used alike" },
    hz: { default: 100, ...TIMER_HZ, describe: "timer ticks a second" },
    seconds: { default: 10, min: 1, describe: "seconds before it ends" },
    seed: { default: 1, describe: "seed of the order of uses" },
  },
  build: ({ memoryMib, virtualMib, usesPerTick, skew, hz, seconds, seed }) =>
    buildProtected((asm) => {
      const frames = poolPages(memoryMib), pages = poolPages(virtualMib);
      if (pages < frames) {
        throw new Error(`guest pager, option virtualMib: ${virtualMib}; expected at least its memory's ${memoryMib}`);
      }
      asm.section("data", () => {
        // Apart from code: a store near it makes engines forget it.
        asm.align(64);
        for (const name of ["uses", "faults", "nextTick", "oldest", "newest"]) asm.label(name).dd(0);
        asm.label("nextSecond").dd(hz).align(PAGE_SIZE).label("diskBuffer").zeros(PAGE_SIZE);
      });
      pagePool(asm, frames, seed);
      asm.section("routines", () => {
        listRoutines(asm);
        useRoutine(asm, pages, skew);
      });

      // Frame i holds page i at first.
      asm.xor(esi, esi).label("begin").call("frameEntry").mov(entry(OWNER), esi);
      asm.lea(eax, mem32(esi, { disp: -1 })).mov(entry(EARLIER), eax).lea(eax, mem32(esi, { disp: 1 }));
      asm.mov(entry(LATER), eax).mov(frameOfPage, eax).imul(ebx, esi, PATTERN_FACTOR).call("frameAddress");
      asm.mov(eax, ebx).mov(ecx, WORDS_PER_PAGE).rep().stosd().inc(esi).cmp(esi, frames).jb("begin");
      asm.mov(newest, frames - 1);
      startTimer(asm, hz);
      asm.label("loop").cli().mov(eax, ticks).cmp(eax, nextSecond).jae("second").cmp(eax, nextTick).jae("work");
      asm.sti().hlt().jmp("loop");
      asm.label("work").inc(nextTick).sti().mov(esi, usesPerTick);
      asm.label("use").push(esi).call("usePage").pop(esi).dec(esi).jnz("use").jmp("loop");
      asm.label("second").add(nextSecond, hz).sti();
      print(asm, "pager: ");
      asm.mov(eax, uses).call("printDecimal");
      print(asm, " uses, ");
      asm.mov(eax, faults).call("printDecimal");
      print(asm, " faults\n");
      asm.mov(uses, 0).mov(faults, 0).cmp(nextSecond, hz * (seconds + 1)).jb("loop");
    }),
});

/** Numbers of frames and places in lists are in esi; edx is the address of a frame's entry. */
function listRoutines(asm: Assembler): void {
  asm.align(16).label("frameEntry").mov(edx, esi).shl(edx, Math.log2(FRAME_BYTES)).add(edx, TABLE_2).ret();
  asm.align(16).label("frameAddress").mov(edi, esi).shl(edi, PAGE_SHIFT).add(edi, POOL_MEMORY).ret();

  // makeNewest: frame esi becomes the most recently used one. Clobbers eax, ecx and edx.
  asm.align(16).label("makeNewest").cmp(esi, newest).je("newest.done").call("frameEntry");
  asm.mov(eax, entry(EARLIER)).mov(ecx, entry(LATER)).push(esi);
  // Its neighbours become neighbours of each other.
  asm.mov(esi, ecx).call("frameEntry").mov(entry(EARLIER), eax).mov(esi, mem32(esp)).cmp(esi, oldest).jne(
    "newest.inner",
  );
  asm.mov(oldest, ecx).jmp("newest.append");
  asm.label("newest.inner").mov(esi, eax).call("frameEntry").mov(entry(LATER), ecx);
  asm.label("newest.append").mov(esi, newest).call("frameEntry").mov(eax, esi).pop(esi).mov(entry(LATER), esi);
  asm.call("frameEntry").mov(entry(EARLIER), eax).mov(newest, esi).label("newest.done").ret();
}

function useRoutine(asm: Assembler, pages: number, skew: number): void {
  asm.align(16).label("randomPage").call("random").xor(edx, edx).mov(ecx, pages).div(ecx).ret();

  // usePage: one at random. The least of some numbers makes the first page the likeliest, the last the least.
  asm.align(16).label("usePage").inc(uses).call("randomPage").mov(esi, edx);
  for (let other = 2; other <= skew; other++) {
    asm.call("randomPage").cmp(edx, esi).jae(`use.chosen${other}`).mov(esi, edx).label(`use.chosen${other}`);
  }
  asm.imul(ebx, esi, PATTERN_FACTOR).mov(eax, frameOfPage).test(eax, eax).jz("use.fault");
  asm.push(esi).lea(esi, mem32(eax, { disp: -1 })).call("makeNewest").call("frameAddress").pop(esi);
  // One word is looked at, another one each time, and written back.
  asm.mov(ecx, uses).and(ecx, WORD_MASK).mov(eax, mem32(edi, { index: ecx, scale: 4 })).cmp(eax, ebx).jne("corrupt");
  asm.mov(mem32(edi, { index: ecx, scale: 4 }), eax).ret();

  // Page esi takes the frame of the least recently used one, which is read to be written out.
  asm.label("use.fault").inc(faults).push(esi).mov(esi, oldest).call("frameEntry").call("frameAddress").push(esi);
  asm.mov(esi, entry(OWNER)).mov(frameOfPage, 0).push(edi).mov(esi, edi).mov(edi, addr("diskBuffer"));
  asm.mov(ecx, WORDS_PER_PAGE).rep().movsd().pop(edi).mov(eax, ebx).mov(ecx, WORDS_PER_PAGE).rep().stosd();
  asm.pop(ecx).pop(esi).mov(entry(OWNER), esi).lea(eax, mem32(ecx, { disp: 1 })).mov(frameOfPage, eax);
  asm.mov(esi, ecx).jmp("makeNewest");

  asm.label("corrupt").cli();
  print(asm, "pager: corrupt page ");
  asm.mov(eax, esi).call("printDecimal");
  print(asm, "\n");
  fail(asm);
}

const uses = mem32(addr("uses"));
const faults = mem32(addr("faults"));
const nextTick = mem32(addr("nextTick"));
const nextSecond = mem32(addr("nextSecond"));
const oldest = mem32(addr("oldest"));
const newest = mem32(addr("newest"));
/** A word of the frame's entry at edx. */
const entry = (word: number) => mem32(edx, { disp: word });
/** The number of the frame of page esi, and one more; 0: it is not in memory. */
const frameOfPage = mem32({ index: esi, scale: 4, disp: TABLE_1 });
