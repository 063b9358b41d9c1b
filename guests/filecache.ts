// Guest `filecache`: a guest that uses all memory it is given as a cache, as operating systems do with files, and gives up
// what it can best spare when its balloon grows: clean blocks, by second chance (Corbato's clock). How often it finds a block
// in the cache says what memory is worth to it.

import { addr, type Assembler, eax, ebx, ecx, edi, edx, esi, mem32 } from "./assembler/mod.ts";
import { balloonDriver } from "./balloon_driver.ts";
import { defineGuest } from "./guest.ts";
import { PAGE_SIZE } from "./hardware.ts";
import {
  MAX_POOL_MIB,
  pagePool,
  POOL_OVERHEAD_MIB,
  poolPages,
  TABLE_1,
  TABLE_2,
  wholePages,
  zeroMemory,
} from "./page_pool.ts";
import { buildProtected, print } from "./runtime.ts";
import { startTimer, ticks, TIMER_HZ } from "./timer.ts";

const PAGE_SHIFT = Math.log2(PAGE_SIZE), WORD_MASK = PAGE_SIZE / 4 - 1;
/** A block's contents: one word, its number times an odd factor, throughout. */
const PATTERN_FACTOR = 0x9e37_79b1;
/** Blocks of different seeds are so many apart, which is more than a file has. */
const OWN_BLOCKS = 2 ** 20;

export const filecache = defineGuest({
  name: "filecache",
  summary: "caches blocks of a file in all memory that its balloon leaves",
  description:
    "Reads blocks of 4 KiB of a file of `fileMib`, `readsPerTick` at each tick of its timer, the first ones more often than " +
    "the last; or so many of so large a file as `schedule` says. A block that is not in its cache is made anew, in a page of the pool of `poolMib` or, when that is used up, in " +
    "the page of a block that was not read for a while. With `clients`, so many read one block after the other in place of " +
    "`readsPerTick`: each is given a copy of its block, and where it is not in the cache waits for its turn at a disk that reads " +
    "`diskBlocksPerTick` a tick. Its balloon takes pages, too: once a second it polls the hypervisor for the size. Every " +
    "second it prints `filecache: N blocks cached, H hits, M misses`, counted anew each time, `seconds` times; a block whose contents are wrong ends the machine with `filecache: corrupt page P`. Needs " +
    `${POOL_OVERHEAD_MIB} MiB more than the pool.`,
  memoryMib: 32,
  options: {
    poolMib: { default: 28, min: 1, max: MAX_POOL_MIB, describe: "MiB of memory for the cache" },
    fileMib: { default: 48, min: 1, max: MAX_POOL_MIB, describe: "MiB of the file" },
    readsPerTick: { default: 40, min: 1, max: 10_000, describe: "blocks read at each tick" },
    schedule: {
      default: "",
      describe:
        "phases as reads a tick:MiB of the file:seconds, separated by commas; the last one stays; not with clients",
    },
    clients: { default: 0, max: 10_000, describe: "clients that read without a pause; 0: reads come at their rate" },
    diskBlocksPerTick: { default: 4, min: 1, max: 10_000, describe: "blocks that the clients' disk reads in a tick" },
    mapBytesPerPage: {
      default: 0,
      max: PAGE_SIZE,
      describe:
        "bytes for each page of the pool that go into tables of its own, and are no cache, whatever the balloon has",
    },
    zeroesAll: { default: 0, max: 1, describe: "1: writes zeros to all memory first, as Windows does when it boots" },
    hz: { default: 100, ...TIMER_HZ, describe: "timer ticks a second" },
    skew: {
      default: 2,
      min: 1,
      max: 8,
      describe: "a block is the least of so many random ones; 1: all are read alike",
    },
    commonMib: {
      default: MAX_POOL_MIB,
      max: MAX_POOL_MIB,
      describe: "MiB of the file, its first, that are alike whatever the seed is; the others depend on it",
    },
    seconds: { default: 10, min: 1, describe: "seconds before it ends" },
    pagesPerPoll: { default: 2048, min: 1, describe: "most pages that go into the balloon or come out in a poll" },
    seed: { default: 1, describe: "seed of the order of pages and reads" },
  },
  build: (options) =>
    buildProtected((asm) => {
      const { poolMib, fileMib, readsPerTick, clients, mapBytesPerPage, zeroesAll, hz, pagesPerPoll, seed } = options;
      const phases = options.schedule === "" ? [] : parseSchedule(options.schedule);
      asm.section("data", () => {
        // Apart from code: a store near it makes engines forget it.
        asm.align(64);
        for (const name of ["hits", "misses", "cachedBlocks", "hand", "nextTick", "queued"]) asm.label(name).dd(0);
        asm.label("nextPoll").dd(hz).label("ready").dd(clients);
        asm.label("reads").dd(readsPerTick).label("blocks").dd(poolPages(fileMib)).label("phase").dd(0);
        asm.label("phaseSeconds").dd(1).label("phases");
        for (const { reads, mib, seconds } of phases) asm.dd(reads).dd(poolPages(mib)).dd(seconds);
        if (clients > 0) {
          asm.align(PAGE_SIZE).label("clientBuffer").zeros(PAGE_SIZE).label("diskBuffer").zeros(PAGE_SIZE);
        }
      });
      pagePool(asm, poolPages(poolMib), seed);
      wholePages(asm, "filecache");
      const pages = poolPages(poolMib + POOL_OVERHEAD_MIB);
      balloonDriver(asm, { pages, pagesPerPoll, isBatched: true, allocate: "sparePage" });
      asm.section("routines", () => {
        readRoutine(asm, options);
        spareRoutine(asm, clients === 0);
        reportRoutine(asm);
        if (phases.length > 0) phaseRoutine(asm, phases.length);
      });

      if (zeroesAll === 1 || mapBytesPerPage > 0) zeroMemory(asm, zeroesAll === 1 ? poolPages(poolMib) : 0);
      asm.call("fillPool");
      reserveMap(asm, Math.ceil((poolPages(poolMib) * mapBytesPerPage) / PAGE_SIZE));
      if (phases.length > 0) asm.call("nextSecond");
      startTimer(asm, hz);
      // Interrupts are off between the look at the clock and HLT, so that no tick slips through.
      asm.label("loop").cli().mov(eax, ticks).cmp(eax, nextPoll).jae("poll").cmp(eax, nextTick).jae("work");
      if (clients > 0) asm.cmp(ready, 0).jne("serve");
      asm.sti().hlt().jmp("loop");
      if (clients > 0) serveClients(asm, options.diskBlocksPerTick);
      else {
        asm.label("work").inc(nextTick).sti().mov(esi, reads).test(esi, esi).jz("loop");
        asm.label("read").push(esi).call("readBlock").pop(esi).dec(esi).jnz("read").jmp("loop");
      }
      asm.label("poll").add(nextPoll, hz).sti().call("pollBalloon").call("report");
      if (phases.length > 0) asm.call("nextSecond");
      asm.cmp(nextPoll, hz * (options.seconds + 1)).jb("loop");
    }),
});

/** A stretch of time in which so many blocks of so large a file are read at each tick. */
interface Phase {
  readonly reads: number;
  readonly mib: number;
  readonly seconds: number;
}

function parseSchedule(text: string): readonly Phase[] {
  return text.split(",").map((part) => {
    const numbers = /^(\d+):(\d+):(\d+)$/.exec(part.trim());
    const [reads, mib, seconds] = (numbers ?? []).slice(1).map(Number);
    if (numbers === null || mib < 1 || mib > MAX_POOL_MIB || seconds < 1) {
      throw new Error(
        `guest filecache, option schedule: "${part}"; expected reads:MiB:seconds, MiB up to ${MAX_POOL_MIB}`,
      );
    }
    return { reads, mib, seconds };
  });
}

/** nextSecond: a second of the present phase is over; after its last the next one begins, if there is one. */
function phaseRoutine(asm: Assembler, phases: number): void {
  asm.align(16).label("nextSecond").dec(phaseSeconds).jnz("second.done").mov(ecx, phase).cmp(ecx, phases).jae(
    "second.last",
  );
  asm.inc(phase).lea(ecx, mem32(ecx, { index: ecx, scale: 2 }));
  asm.mov(eax, phaseWord(ecx, 0)).mov(reads, eax).mov(eax, phaseWord(ecx, 1)).mov(blocks, eax);
  asm.mov(eax, phaseWord(ecx, 2)).mov(phaseSeconds, eax).ret();
  asm.label("second.last").inc(phaseSeconds).label("second.done").ret();
}

/** Takes pages for tables, and uses them, before anything else can have them. */
function reserveMap(asm: Assembler, pages: number): void {
  if (pages === 0) return;
  asm.mov(esi, pages).label("map").call("takePage").mov(ebx, esi).call("fillPage").dec(esi).jnz("map");
}

/** A tick lets clients go on whose blocks the disk has read; between ticks, those that can read. */
function serveClients(asm: Assembler, diskBlocksPerTick: number): void {
  asm.label("work").inc(nextTick).sti().mov(eax, queued).cmp(eax, diskBlocksPerTick).jbe("work.all");
  asm.mov(eax, diskBlocksPerTick).label("work.all").sub(queued, eax).add(ready, eax).jmp("loop");
  asm.label("serve").sti().call("readBlock").jmp("loop");
}

function readRoutine(
  asm: Assembler,
  { skew, clients, commonMib, seed }: { skew: number; clients: number; commonMib: number; seed: number },
): void {
  const hasClients = clients > 0, commonBlocks = poolPages(commonMib);
  // readBlock: a block at random. The least of some numbers makes the first block the likeliest, the last the least.
  asm.align(16).label("readBlock").call("randomBlock").mov(esi, edx);
  for (let other = 2; other <= skew; other++) {
    asm.call("randomBlock").cmp(edx, esi).jae(`read.chosen${other}`).mov(esi, edx).label(`read.chosen${other}`);
  }
  asm.call("blockPattern").mov(eax, cacheEntry).test(eax, eax);
  asm.jz("read.miss").inc(hits).or(cacheEntry, REFERENCED).shr(eax, 1);
  // One word of the page is looked at, another one each time.
  asm.label("read.look").mov(ecx, hits).and(ecx, WORD_MASK).mov(edx, eax).shl(edx, PAGE_SHIFT);
  asm.cmp(mem32(edx, { index: ecx, scale: 4 }), ebx).jne("corrupt");
  if (hasClients) asm.mov(esi, edx).mov(edi, addr("clientBuffer")).mov(ecx, PAGE_SIZE / 4).rep().movsd();
  asm.ret().label("read.miss").inc(misses);
  if (hasClients) asm.dec(ready).inc(queued);
  asm.push(esi).call("sparePage").pop(esi).test(eax, eax).jz("read.done");
  asm.call("blockPattern");
  if (hasClients) {
    // As by programmed I/O: into a buffer first, and from there into the cache.
    asm.push(eax).push(esi).mov(eax, addr("diskBuffer")).shr(eax, PAGE_SHIFT).call("fillPage").pop(edx).pop(eax);
    asm.mov(edi, eax).shl(edi, PAGE_SHIFT).mov(esi, addr("diskBuffer")).mov(ecx, PAGE_SIZE / 4).rep().movsd();
    asm.mov(esi, edx);
  } else asm.call("fillPage");
  asm.lea(edx, mem32(eax, { index: eax })).mov(cacheEntry, edx);
  asm.mov(ecx, cachedBlocks).mov(cachedBlock(ecx), esi).inc(cachedBlocks);
  if (hasClients) asm.jmp("read.look");
  asm.label("read.done").ret();

  // blockPattern: what block esi holds, in ebx. The seed tells blocks apart that files have not in common.
  asm.align(16).label("blockPattern").mov(ebx, esi).cmp(ebx, commonBlocks).jb("pattern.common");
  asm.add(ebx, (seed * OWN_BLOCKS) | 0).label("pattern.common").imul(ebx, ebx, PATTERN_FACTOR).ret();

  asm.align(16).label("randomBlock").call("random").xor(edx, edx).div(blocks).ret();
}

/** sparePage: page eax of the pool, or that of a block not read since the hand came by; 0 if there is neither. */
function spareRoutine(asm: Assembler, checksAll: boolean): void {
  asm.align(16).label("sparePage").call("takePage").test(eax, eax).jnz("spare.done").cmp(cachedBlocks, 0).je(
    "spare.done",
  );
  asm.label("spare.next").mov(ecx, hand).cmp(ecx, cachedBlocks).jb("spare.look").xor(ecx, ecx).label("spare.look");
  asm.mov(esi, cachedBlock(ecx)).mov(eax, cacheEntry).inc(ecx).mov(hand, ecx).test(eax, REFERENCED).jz("spare.found");
  asm.and(cacheEntry, ~REFERENCED).jmp("spare.next");
  // The last block of the list takes the place of the one that goes, and is looked at next.
  asm.label("spare.found").mov(cacheEntry, 0).shr(eax, 1).call("checkSpare").dec(hand).dec(cachedBlocks);
  asm.mov(ecx, cachedBlocks).mov(edx, cachedBlock(ecx)).mov(ecx, hand).mov(cachedBlock(ecx), edx);
  asm.label("spare.done").ret();

  // A block that goes must be whole, page eax of block esi; clients look at blocks often enough.
  asm.align(16).label("checkSpare");
  if (checksAll) asm.call("blockPattern").jmp("checkPage");
  else asm.ret();
}

function reportRoutine(asm: Assembler): void {
  asm.align(16).label("report");
  print(asm, "filecache: ");
  asm.mov(eax, cachedBlocks).call("printDecimal");
  print(asm, " blocks cached, ");
  asm.mov(eax, hits).call("printDecimal");
  print(asm, " hits, ");
  asm.mov(eax, misses).call("printDecimal");
  print(asm, " misses\n");
  asm.mov(hits, 0).mov(misses, 0).ret();
}

/** A block's entry: number of its page times two, and whether it was read since the hand came by. 0: not cached. */
const REFERENCED = 1;
const hits = mem32(addr("hits"));
const misses = mem32(addr("misses"));
const cachedBlocks = mem32(addr("cachedBlocks"));
const hand = mem32(addr("hand"));
const nextTick = mem32(addr("nextTick"));
const nextPoll = mem32(addr("nextPoll"));
/** Blocks read a tick, and blocks of the file; the phase that comes next, and seconds of the present one. */
const reads = mem32(addr("reads"));
const blocks = mem32(addr("blocks"));
const phase = mem32(addr("phase"));
const phaseSeconds = mem32(addr("phaseSeconds"));
/** A word of the phase whose number times three is ecx. */
const phaseWord = (index: typeof ecx, word: number) => mem32({ index, scale: 4, disp: addr("phases", 4 * word) });
/** Clients that can read, and that wait for the disk. */
const ready = mem32(addr("ready"));
const queued = mem32(addr("queued"));
/** The entry of block esi. */
const cacheEntry = mem32({ index: esi, scale: 4, disp: TABLE_1 });
/** A block of those that are cached, in no order. */
const cachedBlock = (index: typeof ecx) => mem32({ index, scale: 4, disp: TABLE_2 });
