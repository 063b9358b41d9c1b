// Guest `mosaic`: memory with known contents, for page sharing: zeros, pages that every machine has alike, pages that it has many
// times itself, and pages that nobody else has, some of which it writes anew all the time (ESX paper, section 4.4).

import { addr, type Assembler, eax, ebx, ecx, edi, edx, esi, esp, mem32 } from "./assembler/mod.ts";
import { defineGuest } from "./guest.ts";
import { PAGE_SIZE } from "./hardware.ts";
import { MAX_POOL_MIB, POOL_MEMORY } from "./page_pool.ts";
import { buildProtected, print } from "./runtime.ts";
import { startTimer, ticks, TIMER_HZ } from "./timer.ts";

const WORDS_PER_PAGE = PAGE_SIZE / 4;
/** A page's contents: one word throughout, a number times an odd factor. Its high bits say whose it is, the low ones which. */
const PATTERN_FACTOR = 0x9e37_79b1, WHOSE_SHIFT = 26, ROUND_SHIFT = 13;
const WHOSE = { common: 62, repeated: 63 } as const;
/** Contents that are repeated and a machine's own: as those of a round that none comes to. */
const OWN_REPEATED = 2 ** (WHOSE_SHIFT - 1);
const MAX_SEED = 61, MOST_PAGES = MAX_POOL_MIB * 256, MOST_OWN_PAGES = 2 ** ROUND_SHIFT - 1;

const pagesOption = (value: number, describe: string) => ({ default: value, max: MOST_PAGES, describe });

export const mosaic = defineGuest({
  name: "mosaic",
  summary: "fills memory with pages that are zeros, common to all, repeated, or its own",
  description:
    "Fills pages from 4 MiB on: `zeroPages` of zeros, `commonPages` that every mosaic has, each different, `repeatedPages` of " +
    "`repeatedKinds` different contents, which every mosaic has too or which are its own, and `ownPages` that depend on `seed`. Then it writes " +
    "`churnPages` of its own anew every second, and ends after `seconds` with `mosaic: done`. Its own memory is below 4 MiB.",
  memoryMib: 16,
  options: {
    zeroPages: pagesOption(154, "pages of zeros"),
    commonPages: pagesOption(1200, "pages that all mosaics have, each different"),
    repeatedPages: pagesOption(200, "pages of few contents"),
    repeatedKinds: { default: 80, min: 1, max: MOST_PAGES, describe: "contents of those pages" },
    repeatedAlike: {
      default: 1,
      max: 1,
      describe: "1: of contents that every mosaic has; 0: of contents that depend on `seed`",
    },
    ownPages: { default: 700, max: MOST_OWN_PAGES, describe: "pages that no mosaic of another seed has" },
    churnPages: pagesOption(0, "of them, those written anew every second"),
    hz: { default: 20, ...TIMER_HZ, describe: "timer ticks a second" },
    seconds: { default: 10, min: 1, describe: "seconds before it ends" },
    seed: { default: 1, max: MAX_SEED, describe: "of its own pages" },
  },
  build: (options) =>
    buildProtected((asm) => {
      const { zeroPages, commonPages, repeatedPages, repeatedKinds, ownPages, churnPages, hz, seconds, seed } = options;
      if (churnPages > ownPages) {
        throw new Error(`guest mosaic, option churnPages: ${churnPages}; expected at most ownPages, ${ownPages}`);
      }
      const ownBase = seed * 2 ** WHOSE_SHIFT;
      const repeatedBase = options.repeatedAlike === 1 ? WHOSE.repeated * 2 ** WHOSE_SHIFT : ownBase + OWN_REPEATED;
      const ownAt = POOL_MEMORY + PAGE_SIZE * (zeroPages + commonPages + repeatedPages);
      asm.section("data", () => {
        // Apart from code: a store near it makes engines forget it.
        asm.align(64).label("round").dd(0).label("nextSecond").dd(hz);
      });
      asm.section("routines", () => fillRoutine(asm));
      asm.mov(edi, POOL_MEMORY).xor(eax, eax).mov(ecx, zeroPages * WORDS_PER_PAGE).rep().stosd();
      fill(asm, commonPages, WHOSE.common * 2 ** WHOSE_SHIFT, commonPages);
      fill(asm, repeatedPages, repeatedBase, repeatedKinds);
      fill(asm, ownPages, ownBase, ownPages);
      startTimer(asm, hz);
      asm.label("loop").cli().mov(eax, ticks).cmp(eax, nextSecond).jae("second").sti().hlt().jmp("loop");
      asm.label("second").add(nextSecond, hz).sti().inc(round);
      if (churnPages > 0) {
        // Never the contents of a round before, nor of another page or machine: the low bits are the round and the page.
        asm.mov(edi, ownAt);
        fill(asm, churnPages, ownBase, churnPages, true);
      }
      asm.cmp(nextSecond, hz * (seconds + 1)).jb("loop");
      print(asm, "mosaic: done\n");
    }),
});

/** Fills `pages` from edi on with contents `base` + i, i going round below `kinds`. */
function fill(asm: Assembler, pages: number, base: number, kinds: number, isAnew = false): void {
  if (pages === 0) return;
  asm.mov(ebx, base | 0);
  // A round's contents lie far apart: it goes into the bits between a page's number and the machine's.
  if (isAnew) asm.mov(eax, round).shl(eax, ROUND_SHIFT).add(ebx, eax);
  asm.mov(esi, pages).mov(edx, kinds).call("fillPages");
}

function fillRoutine(asm: Assembler): void {
  // fillPages: esi pages at edi, contents ebx + i with i going round below edx.
  asm.align(16).label("fillPages").push(ebx).mov(ecx, edx).push(ecx).label("fill.next");
  asm.imul(eax, ebx, PATTERN_FACTOR).mov(ecx, WORDS_PER_PAGE).rep().stosd().inc(ebx).dec(edx).jnz("fill.same");
  asm.mov(edx, mem32(esp)).mov(ebx, mem32(esp, { disp: 4 })).label("fill.same").dec(esi).jnz("fill.next");
  asm.pop(ecx).pop(ebx).ret();
}

const round = mem32(addr("round"));
const nextSecond = mem32(addr("nextSecond"));
