// Guest `toucher`: the memory toucher of the ESX paper (Waldspurger, OSDI 2002, section 5.3, figure 6): it keeps a working set
// of a known size active and changes the size on a schedule. Every page carries a pattern that is checked on each touch, so that
// ballooning, sharing or swapping that loses or mixes up a page is caught here.

import { addr, type Assembler, eax, ebx, ecx, edi, edx, esi, mem, mem32 } from "./assembler/mod.ts";
import { defineGuest } from "./guest.ts";
import { MIB, PAGE_SIZE } from "./hardware.ts";
import { buildProtected, fail, FREE_MEMORY, print } from "./runtime.ts";
import { startTimer, ticks } from "./timer.ts";

/** One stretch of the schedule: a working set of `sizeMib` for `durationMs` of guest time. */
interface Phase {
  readonly sizeMib: number;
  readonly durationMs: number;
}

const TIMER_HZ = 100;
const TICK_MS = 1000 / TIMER_HZ;
/** Touched memory starts here; below it, from FREE_MEMORY on, is a counter of touches per page. */
const TOUCHED_MEMORY = 0x40_0000;
/** The counters' room bounds the working set. */
const MAX_PAGES = (TOUCHED_MEMORY - FREE_MEMORY) / 4;
const MAX_MIB = (MAX_PAGES * PAGE_SIZE) / MIB;
const PAGE_SHIFT = Math.log2(PAGE_SIZE);
const WORDS_PER_PAGE = PAGE_SIZE / 4;
/** A page's pattern is its number, with the seed above it, times an odd factor: no two pages or seeds share one, none is zero. */
const PATTERN_FACTOR = 0x9e37_79b1;
const SEED_SHIFT = Math.log2(MAX_PAGES);
const MAX_SEED = 2 ** (32 - SEED_SHIFT) - 1;

export const toucher = defineGuest({
  name: "toucher",
  summary: "touches a working set that changes on a schedule",
  description:
    "For each phase of `schedule` it prints `toucher: phase K: M MiB for T ms` and touches the first M MiB of its " +
    "memory, page by page, once every `passMs` (0: without a pause), timed by PIT ticks. A page is filled with a pattern of " +
    "its own on its first touch; each later touch checks and changes one word. At the end every page touched so far is " +
    "checked to its last word and `toucher: N pages intact, checksum X` is printed; a page whose contents are not what was " +
    "written there ends the machine with `toucher: corrupt page P`. Needs 4 MiB more than the largest phase.",
  memoryMib: 64,
  options: {
    schedule: {
      default: "0:500,16:1000,48:1000,8:1000",
      describe: "phases as MiB:milliseconds, separated by commas",
    },
    passMs: { default: 100, describe: "milliseconds from one pass over the working set to the next; 0 for no pause" },
    seed: {
      default: 1,
      min: 1,
      max: MAX_SEED,
      describe: "seed of the pages' patterns; machines with different seeds touch no two pages alike",
    },
  },
  build: ({ schedule, passMs, seed }) =>
    buildProtected((asm) => {
      const phases = parseSchedule(schedule);
      variables(asm);
      asm.section("routines", () => {
        phaseRoutine(asm, passMs);
        touchRoutine(asm, seed);
        corruptRoutine(asm);
      });
      startTimer(asm, TIMER_HZ);
      asm.sti();
      phases.forEach((phase, i) => {
        print(asm, `toucher: phase ${i + 1}: ${phase.sizeMib} MiB for ${phase.durationMs} ms\n`);
        asm.mov(pages, pagesOf(phase)).add(deadline, Math.ceil(phase.durationMs / TICK_MS)).call("runPhase");
      });
      finalCheck(asm, phases);
    }),
});

function parseSchedule(text: string): readonly Phase[] {
  return text.split(",").map((part) => {
    const numbers = /^(\d+):(\d+)$/.exec(part.trim());
    if (numbers === null) throw new Error(`guest toucher, option schedule: "${part}"; expected MiB:milliseconds`);
    const [sizeMib, durationMs] = [Number(numbers[1]), Number(numbers[2])];
    if (sizeMib > MAX_MIB) {
      throw new Error(`guest toucher, option schedule: ${sizeMib} MiB; expected at most ${MAX_MIB}`);
    }
    if (durationMs > MAX_DURATION_MS) {
      throw new Error(`guest toucher, option schedule: ${durationMs} ms; expected at most ${MAX_DURATION_MS}`);
    }
    return { sizeMib, durationMs };
  });
}

/** A week. Deadlines in ticks stay within 32 bits for hundreds of phases of it. */
const MAX_DURATION_MS = 7 * 24 * 3_600_000;

function variables(asm: Assembler): void {
  asm.section("data", () => {
    asm.align(4);
    for (const name of ["pages", "deadline", "nextPass", "checksum", "intact"]) asm.label(name).dd(0);
  });
}

/** Runs one phase: passes over the working set, asleep in between, until the deadline. Page number in esi. */
function phaseRoutine(asm: Assembler, passMs: number): void {
  asm.align(16).label("runPhase").mov(eax, ticks).add(eax, Math.ceil(passMs / TICK_MS)).mov(nextPass, eax).xor(
    esi,
    esi,
  );
  asm.label("nextPage").mov(eax, ticks).cmp(eax, deadline).jae("phaseEnd");
  asm.cmp(esi, pages).jae("passEnd").call("touchPage").inc(esi).jmp("nextPage");
  // Interrupts are off between the look at the clock and HLT, so that no tick slips through.
  asm.label("passEnd").cli().mov(eax, ticks).cmp(eax, deadline).jae("phaseEnd");
  asm.cmp(pages, 0).je("asleep").cmp(eax, nextPass).jae("startPass");
  asm.label("asleep").sti().hlt().jmp("passEnd");
  asm.label("startPass").sti().jmp("runPhase");
  asm.label("phaseEnd").sti().ret();
}

/**
 * Touches page esi. Word 0 is the page's pattern plus its touches, all others are the pattern; one of those is looked at each
 * time. A page touched for the first time must read as zeros throughout.
 */
function touchRoutine(asm: Assembler, seed: number): void {
  asm.align(16).label("touchPage").call("locatePage").test(edx, edx).jz("firstTouch");
  asm.lea(eax, mem(ebx, { index: edx })).cmp(mem32(edi), eax).jne("corrupt");
  asm.mov(eax, edx).and(eax, WORDS_PER_PAGE - 1).jz("touch").cmp(mem32(edi, { index: eax, scale: 4 }), ebx).jne(
    "corrupt",
  );
  asm.label("touch").inc(edx).mov(touches, edx).lea(eax, mem(ebx, { index: edx })).mov(mem(edi), eax).ret();
  asm.label("firstTouch").xor(eax, eax).mov(ecx, WORDS_PER_PAGE).repe().scasd().jne("corrupt");
  asm.sub(edi, PAGE_SIZE).mov(eax, ebx).mov(ecx, WORDS_PER_PAGE).rep().stosd().sub(edi, PAGE_SIZE).jmp("touch");

  // locatePage: edi = address of page esi, ebx = its pattern, edx = its touches so far.
  asm.align(16).label("locatePage").mov(edi, esi).shl(edi, PAGE_SHIFT).add(edi, TOUCHED_MEMORY);
  asm.lea(ebx, mem(esi, { disp: seed * 2 ** SEED_SHIFT })).imul(ebx, ebx, PATTERN_FACTOR).mov(edx, touches).ret();
}

/** Checks every word of every page touched and reports. */
function finalCheck(asm: Assembler, phases: readonly Phase[]): void {
  const mostPages = Math.max(...phases.map(pagesOf));
  asm.cli().xor(esi, esi).label("check").cmp(esi, mostPages).jae("checked");
  asm.call("locatePage").test(edx, edx).jz("checkNext");
  asm.lea(eax, mem(ebx, { index: edx })).scasd().jne("corrupt");
  asm.mov(eax, ebx).mov(ecx, WORDS_PER_PAGE - 1).repe().scasd().jne("corrupt");
  asm.inc(intact).rol(checksum, 5).xor(checksum, ebx).label("checkNext").inc(esi).jmp("check");
  asm.label("checked");
  print(asm, "toucher: ");
  asm.mov(eax, intact).call("printDecimal");
  print(asm, " pages intact, checksum ");
  asm.mov(eax, checksum).call("printHex");
  print(asm, "\n");
}

function corruptRoutine(asm: Assembler): void {
  asm.label("corrupt").cli();
  print(asm, "toucher: corrupt page ");
  asm.mov(eax, esi).call("printDecimal");
  print(asm, "\n");
  fail(asm);
}

function pagesOf({ sizeMib }: Phase): number {
  return (sizeMib * MIB) / PAGE_SIZE;
}

const pages = mem32(addr("pages"));
const deadline = mem32(addr("deadline"));
const nextPass = mem32(addr("nextPass"));
const checksum = mem32(addr("checksum"));
const intact = mem32(addr("intact"));
/** The counter of touches of page esi. */
const touches = mem32({ index: esi, scale: 4, disp: FREE_MEMORY });
