// Guest `balloon`: a working set with checksums beside a balloon driver, so that ballooning can be tried without an operating
// system. Every page of the working set carries a pattern that is checked on each touch; pages that come back from the balloon
// must read as zeros.

import { addr, type Assembler, eax, ebx, ecx, edi, edx, esi, mem32 } from "./assembler/mod.ts";
import { balloonDriver, heldPages, mostHeldPages, refusedPages, starts } from "./balloon_driver.ts";
import { defineGuest } from "./guest.ts";
import { PAGE_SIZE } from "./hardware.ts";
import {
  HELD_TABLE,
  MAX_POOL_MIB,
  pagePool,
  POOL_OVERHEAD_MIB,
  poolPages,
  TABLE_1,
  wholePages,
  zeroMemory,
} from "./page_pool.ts";
import { buildProtected, print } from "./runtime.ts";
import { startTimer, ticks, TIMER_HZ } from "./timer.ts";

const MS_PER_SECOND = 1000;
const PAGE_SHIFT = Math.log2(PAGE_SIZE);
/** A page's pattern is its number times an odd factor: no two pages share one, none is zero. */
const PATTERN_FACTOR = 0x9e37_79b1;

export const balloon = defineGuest({
  name: "balloon",
  summary: "a checksummed working set beside a balloon driver",
  description:
    "Takes `workingSetMib` of its pool of `poolMib`, page by page at random, fills each page with a pattern of " +
    "its own and touches all of them every `passMs`, checking each. Once a second it polls the hypervisor for the size of " +
    "its balloon (VMware's protocol) and moves up to `pagesPerPoll` pages of the pool towards it. After `seconds` it checks " +
    "every word and prints `balloon: N pages intact, checksum X` and `balloon: H pages held, at most M, S starts, R " +
    "refused`; a page whose contents are not what they must be ends the machine with `balloon: corrupt page P`. With " +
    "`popEvery` it uses a page that is in its balloon at every so many polls, as no guest should. Needs " +
    `${POOL_OVERHEAD_MIB} MiB more than the pool.`,
  memoryMib: 32,
  options: {
    poolMib: { default: 28, min: 1, max: MAX_POOL_MIB, describe: "MiB of memory to be handed out" },
    workingSetMib: { default: 8, max: MAX_POOL_MIB, describe: "MiB that are kept in use, of the pool's" },
    seconds: { default: 10, min: 1, describe: "polls, one a second, before it ends" },
    pagesPerPoll: { default: 2048, min: 1, describe: "most pages that go into the balloon or come out in a poll" },
    batched: { default: 1, max: 1, describe: "1: up to 512 pages a command; 0: one" },
    passMs: { default: 100, min: 10, describe: "milliseconds from one pass over the working set to the next" },
    hz: { default: 100, ...TIMER_HZ, describe: "timer interrupts a second, by which it wakes" },
    zeroesAll: {
      default: 0,
      max: 1,
      describe: "1: writes zeros to the whole pool first, as Windows does when it boots",
    },
    popEvery: { default: 0, describe: "polls after which a page in the balloon is used; 0 for never" },
    seed: { default: 1, describe: "seed of the order of pages" },
  },
  build: ({ poolMib, workingSetMib, seconds, pagesPerPoll, batched, passMs, hz, zeroesAll, popEvery, seed }) =>
    buildProtected((asm) => {
      if (workingSetMib > poolMib) {
        throw new Error(
          `guest balloon, option workingSetMib: ${workingSetMib}; expected at most the pool's ${poolMib}`,
        );
      }
      const pages = poolPages(poolMib), workingPages = poolPages(workingSetMib);
      variables(asm, hz, popEvery);
      pagePool(asm, pages, seed);
      wholePages(asm, "balloon");
      balloonDriver(asm, { pages: poolPages(poolMib + POOL_OVERHEAD_MIB), pagesPerPoll, isBatched: batched === 1 });
      asm.section("routines", () => {
        workingSetRoutines(asm, workingPages);
        if (popEvery > 0) popRoutine(asm, popEvery);
      });

      if (zeroesAll === 1) zeroMemory(asm, pages);
      asm.call("fillPool");
      asm.call("takeWorkingSet");
      startTimer(asm, hz);
      // Interrupts are off between the look at the clock and HLT, so that no tick slips through.
      asm.label("loop").cli().mov(eax, ticks).cmp(eax, nextPoll).jae("poll").cmp(eax, nextPass).jae("pass");
      asm.sti().hlt().jmp("loop");
      asm.label("pass").add(nextPass, Math.ceil((passMs * hz) / MS_PER_SECOND)).sti().call("touchWorkingSet").jmp(
        "loop",
      );
      asm.label("poll").add(nextPoll, hz).sti().call("pollBalloon");
      if (popEvery > 0) asm.call("popPage");
      asm.inc(polls).cmp(polls, seconds).jb("loop").cli();
      report(asm, workingPages);
    }),
});

function variables(asm: Assembler, hz: number, popEvery: number): void {
  asm.section("data", () => {
    // Apart from code: a store near it makes engines forget it.
    asm.align(64);
    for (const name of ["passes", "polls", "nextPass", "checksum"]) asm.label(name).dd(0);
    asm.label("nextPoll").dd(hz).label("nextPop").dd(popEvery);
  });
}

function workingSetRoutines(asm: Assembler, pages: number): void {
  // takeWorkingSet: fills TABLE_1 with pages of the pool, and each page with its pattern.
  asm.align(16).label("takeWorkingSet").xor(esi, esi).label("take.next").cmp(esi, pages).jae("take.done");
  asm.call("takePage").mov(workingPage, eax).call("patternOf").call("fillPage").inc(esi).jmp("take.next");
  asm.label("take.done").ret();

  // touchWorkingSet: word 0 of each page is its pattern plus the passes so far. Another word is looked at, in turn.
  asm.align(16).label("touchWorkingSet").xor(esi, esi).label("touch.next").cmp(esi, pages).jae("touch.done");
  asm.call("locate").mov(edx, passes).add(edx, ebx).cmp(mem32(edi), edx).jne("corrupt").inc(edx).mov(mem32(edi), edx);
  asm.mov(ecx, passes).and(ecx, WORD_MASK).jz("touch.same").cmp(mem32(edi, { index: ecx, scale: 4 }), ebx).jne(
    "corrupt",
  );
  asm.label("touch.same").inc(esi).jmp("touch.next").label("touch.done").inc(passes).ret();

  // locate: number eax, address edi and pattern ebx of page esi of the working set. patternOf: pattern ebx of page eax.
  asm.align(16).label("locate").mov(eax, workingPage).mov(edi, eax).shl(edi, PAGE_SHIFT);
  asm.label("patternOf").imul(ebx, eax, PATTERN_FACTOR).ret();
}

/** popPage: at every `popEvery`th poll, reads a page that is in the balloon, which must be zeros, and writes to it. */
function popRoutine(asm: Assembler, popEvery: number): void {
  asm.align(16).label("popPage").dec(mem32(addr("nextPop"))).jnz("pop.done").mov(mem32(addr("nextPop")), popEvery);
  asm.cmp(heldPages, 0).je("pop.done").mov(eax, mem32({ disp: HELD_TABLE })).xor(ebx, ebx).call("checkPage");
  asm.call("patternOf").call("fillPage").label("pop.done").ret();
}

function report(asm: Assembler, pages: number): void {
  asm.xor(esi, esi).label("check").cmp(esi, pages).jae("checked").call("locate");
  asm.mov(edx, passes).add(edx, ebx).cmp(mem32(edi), edx).jne("corrupt").mov(mem32(edi), ebx).call("checkPage");
  asm.rol(checksum, 5).xor(checksum, ebx).inc(esi).jmp("check").label("checked");
  print(asm, "balloon: ");
  asm.mov(eax, esi).call("printDecimal");
  print(asm, " pages intact, checksum ");
  asm.mov(eax, checksum).call("printHex");
  print(asm, "\nballoon: ");
  asm.mov(eax, heldPages).call("printDecimal");
  print(asm, " pages held, at most ");
  asm.mov(eax, mostHeldPages).call("printDecimal");
  print(asm, ", ");
  asm.mov(eax, starts).call("printDecimal");
  print(asm, " starts, ");
  asm.mov(eax, refusedPages).call("printDecimal");
  print(asm, " refused\n");
}

const WORD_MASK = PAGE_SIZE / 4 - 1;
const passes = mem32(addr("passes"));
const polls = mem32(addr("polls"));
const nextPass = mem32(addr("nextPass"));
const nextPoll = mem32(addr("nextPoll"));
const checksum = mem32(addr("checksum"));
/** Page esi of the working set. */
const workingPage = mem32({ index: esi, scale: 4, disp: TABLE_1 });
