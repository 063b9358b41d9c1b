// Guest `churn`: memory that never rests. Pages are taken, filled, checked to the last word and given back in random order, so
// that whatever is shared, swapped or ballooned soon is not what it was. It has a balloon driver.

import { addr, type Assembler, eax, ebx, ecx, edx, esi, mem32 } from "./assembler/mod.ts";
import { balloonDriver } from "./balloon_driver.ts";
import { defineGuest } from "./guest.ts";
import { MAX_POOL_MIB, pagePool, POOL_OVERHEAD_MIB, poolPages, TABLE_1, TABLE_2, wholePages } from "./page_pool.ts";
import { buildProtected, print } from "./runtime.ts";
import { startTimer, ticks } from "./timer.ts";

const TIMER_HZ = 100;
/** A page's pattern is the number of its filling times an odd factor: no two fillings share one. */
const PATTERN_FACTOR = 0x9e37_79b1;

export const churn = defineGuest({
  name: "churn",
  summary: "takes, fills, checks and gives back pages at random",
  description:
    "Has room for `slotsMib` of pages out of a pool of `poolMib`. `changesPerTick` times every 10 ms it picks a " +
    "place at random: an empty one gets a page, filled with a pattern of this filling; a full one is checked to its last " +
    "word and given back. Once a second it polls the hypervisor for the size of its balloon. After `seconds` it checks " +
    "what it holds and prints `churn: F pages filled, C checked, checksum X`; a page whose contents are not what was " +
    `written there ends the machine with \`churn: corrupt page P\`. Needs ${POOL_OVERHEAD_MIB} MiB more than the pool.`,
  memoryMib: 32,
  options: {
    poolMib: { default: 28, min: 1, max: MAX_POOL_MIB, describe: "MiB of memory to be handed out" },
    slotsMib: { default: 16, min: 1, max: MAX_POOL_MIB, describe: "MiB of pages that may be in use at once" },
    changesPerTick: { default: 20, min: 1, max: 10_000, describe: "pages taken or given back every 10 ms" },
    seconds: { default: 10, min: 1, describe: "seconds before it ends" },
    pagesPerPoll: { default: 2048, min: 1, describe: "most pages that go into the balloon or come out in a poll" },
    seed: { default: 1, describe: "seed of all that is random" },
  },
  build: ({ poolMib, slotsMib, changesPerTick, seconds, pagesPerPoll, seed }) =>
    buildProtected((asm) => {
      const slots = poolPages(slotsMib);
      asm.section("data", () => {
        asm.align(4);
        for (const name of ["fillings", "checkings", "checksum", "nextTick"]) asm.label(name).dd(0);
        asm.label("nextPoll").dd(TIMER_HZ);
      });
      pagePool(asm, poolPages(poolMib), seed);
      wholePages(asm, "churn");
      balloonDriver(asm, { pages: poolPages(poolMib + POOL_OVERHEAD_MIB), pagesPerPoll, isBatched: true });
      asm.section("routines", () => changeRoutine(asm, slots));

      asm.call("fillPool");
      startTimer(asm, TIMER_HZ);
      // Interrupts are off between the look at the clock and HLT, so that no tick slips through.
      asm.label("loop").cli().mov(eax, ticks).cmp(eax, nextPoll).jae("poll").cmp(eax, nextTick).jae("work");
      asm.sti().hlt().jmp("loop");
      asm.label("work").inc(nextTick).sti().mov(esi, changesPerTick);
      asm.label("change").push(esi).call("changeOne").pop(esi).dec(esi).jnz("change").jmp("loop");
      asm.label("poll").add(nextPoll, TIMER_HZ).sti().call("pollBalloon").cmp(nextPoll, TIMER_HZ * (seconds + 1));
      asm.jb("loop").cli().xor(esi, esi);
      asm.label("last").call("checkSlot").inc(esi).cmp(esi, slots).jb("last");
      print(asm, "churn: ");
      asm.mov(eax, fillings).call("printDecimal");
      print(asm, " pages filled, ");
      asm.mov(eax, checkings).call("printDecimal");
      print(asm, " checked, checksum ");
      asm.mov(eax, checksum).call("printHex");
      print(asm, "\n");
    }),
});

function changeRoutine(asm: Assembler, slots: number): void {
  // changeOne: fills an empty place with a page of the pool, if there is one, or empties a full one.
  asm.align(16).label("changeOne").call("random").xor(edx, edx).mov(ecx, slots).div(ecx).mov(esi, edx);
  asm.cmp(pageOfSlot, 0).jne("checkSlot").call("takePage").test(eax, eax).jz("change.none").mov(pageOfSlot, eax);
  asm.inc(fillings).imul(ebx, fillings, PATTERN_FACTOR).mov(patternOfSlot, ebx).call("fillPage");
  asm.label("change.none").ret();

  // checkSlot: checks the page at place esi, if there is one, and gives it back.
  asm.align(16).label("checkSlot").mov(eax, pageOfSlot).test(eax, eax).jz("check.none").mov(pageOfSlot, 0);
  asm.mov(ebx, patternOfSlot).call("checkPage").inc(checkings).rol(checksum, 5).xor(checksum, ebx).call("givePage");
  asm.label("check.none").ret();
}

const fillings = mem32(addr("fillings"));
const checkings = mem32(addr("checkings"));
const checksum = mem32(addr("checksum"));
const nextTick = mem32(addr("nextTick"));
const nextPoll = mem32(addr("nextPoll"));
/** What is at place esi: a page's number or 0, and its pattern. */
const pageOfSlot = mem32({ index: esi, scale: 4, disp: TABLE_1 });
const patternOfSlot = mem32({ index: esi, scale: 4, disp: TABLE_2 });
