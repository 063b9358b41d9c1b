// A balloon driver for guests with a page pool: VMware's protocol on I/O port 0x5670, as Linux's vmw_balloon speaks it
// (drivers/misc/vmw_balloon.c; ESX paper, section 3.2). It polls for its target, takes pages out of the pool or puts them
// back, at most so many a poll, and starts over with nothing when it is told to. Without a hypervisor that knows the port it
// does nothing.

import { addr, type Assembler, dx, eax, ebx, ecx, edi, edx, esi, mem32 } from "./assembler/mod.ts";
import { PAGE_SIZE } from "./hardware.ts";
import { HELD_TABLE } from "./page_pool.ts";

const PORT = 0x5670, MAGIC = 0x456c_6d6f;
const COMMAND = { START: 0, GET_TARGET: 1, LOCK: 2, UNLOCK: 3, GUEST_ID: 4 } as const;
/** From a command for one page to that for a batch of them. */
const TO_BATCHED = 4;
const STATUS = { RESET: 7, SUCCESS_WITH_CAPABILITIES: 0x0300_0000, MASK: 0x1f } as const;
const CAPABILITY = { BASIC: 1 << 1, BATCHED: 1 << 2 } as const;
/** What kind of guest this is: none that the protocol has a number for. */
const GUEST_ID_OTHER = 0;
const PAGE_SHIFT = Math.log2(PAGE_SIZE), HIGH_WORD_SHIFT = 32 - PAGE_SHIFT;
/** A batch page's entries: page address and status in the low word, the rest of the address in the high one. */
const ENTRY_BYTES = 8, MOST_ENTRIES = PAGE_SIZE / ENTRY_BYTES;

/** Pages in the balloon, and the most that were; starts of the protocol; pages that the hypervisor refused. */
export const heldPages = mem32(addr("heldPages"));
export const mostHeldPages = mem32(addr("mostHeldPages"));
export const starts = mem32(addr("starts"));
export const refusedPages = mem32(addr("refusedPages"));

export interface BalloonDriverOptions {
  /** Pages of the guest's own memory, for the hypervisor to know. */
  readonly pages: number;
  /** Most pages that a poll moves. */
  readonly pagesPerPoll: number;
  /** Whether to ask for batched commands. */
  readonly isBatched: boolean;
  /** Routine that gives a page for the balloon in eax, 0 if there is none; it may clobber every register. */
  readonly allocate?: string;
}

/** Emits `pollBalloon`, to be called once a second; it clobbers every register. Needs a page pool and its `checkPage`. */
export function balloonDriver(asm: Assembler, options: BalloonDriverOptions): void {
  asm.section("data", () => {
    asm.align(4);
    for (const name of ["heldPages", "mostHeldPages", "starts", "refusedPages"]) asm.label(name).dd(0);
    for (const name of ["balloonTarget", "budget", "batchCount", "batchCommand", "isBatched"]) asm.label(name).dd(0);
    asm.label("needsStart").dd(1);
    asm.align(PAGE_SIZE).label("batchPage").zeros(PAGE_SIZE);
  });
  asm.section("routines", () => {
    poll(asm, options);
    inflate(asm, options.allocate ?? "takePage");
    deflate(asm);
    start(asm, options.isBatched);
    batches(asm);
  });
}

function poll(asm: Assembler, { pages, pagesPerPoll }: BalloonDriverOptions): void {
  asm.align(16).label("pollBalloon").cmp(needsStart, 0).je("poll.started").call("startBalloon");
  asm.cmp(needsStart, 0).jne("poll.done").label("poll.started");
  asm.mov(ecx, COMMAND.GET_TARGET).mov(ebx, pages).xor(esi, esi).call("balloonCommand");
  asm.test(eax, eax).jnz("poll.done").mov(target, ebx).mov(budget, pagesPerPoll);
  // One batch after the other, until the balloon has its size, the budget is spent or something went wrong.
  asm.label("poll.more").cmp(needsStart, 0).jne("poll.done").mov(eax, target).sub(eax, heldPages).je("poll.done");
  asm.jb("poll.deflate").call("limitBatch").jz("poll.done").call("inflate").jnz("poll.more").ret();
  asm.label("poll.deflate").neg(eax).call("limitBatch").jz("poll.done").call("deflate").jmp("poll.more");
  asm.label("poll.done").ret();

  // limitBatch: eax pages, or what the budget or a batch allows; takes them from the budget. ZF: none.
  asm.align(16).label("limitBatch").cmp(eax, budget).jbe("limit.budget").mov(eax, budget).label("limit.budget");
  asm.cmp(eax, MOST_ENTRIES).jbe("limit.batch").mov(eax, MOST_ENTRIES).label("limit.batch");
  asm.sub(budget, eax).mov(batchCount, eax).test(eax, eax).ret();
}

/** inflate: `batchCount` pages go in, those that are to be had. ZF: there was none. */
function inflate(asm: Assembler, allocate: string): void {
  asm.align(16).label("inflate").xor(edi, edi).label("inflate.gather").cmp(edi, batchCount).jae("inflate.gathered");
  asm.push(edi).call(allocate).pop(edi).test(eax, eax).jz("inflate.gathered").call("putEntry").inc(edi);
  asm.jmp("inflate.gather").label("inflate.gathered").mov(batchCount, edi).test(edi, edi).jz("inflate.none");
  asm.mov(ecx, COMMAND.LOCK).call("sendBatch").xor(edi, edi);
  asm.label("inflate.next").cmp(edi, batchCount).jae("inflate.done").call("getEntry").inc(edi);
  asm.test(edx, edx).jnz("inflate.refused").call("hold").jmp("inflate.next");
  asm.label("inflate.refused").inc(refusedPages).call("givePage").jmp("inflate.next");
  asm.label("inflate.done").mov(eax, heldPages).cmp(eax, mostHeldPages).jbe("inflate.notMost");
  asm.mov(mostHeldPages, eax).label("inflate.notMost").test(edi, edi).label("inflate.none").ret();

  // hold: page eax is in the balloon. Clobbers ecx.
  asm.align(16).label("hold").mov(ecx, heldPages).mov(heldEntry, eax).inc(heldPages).ret();
}

/** deflate: `batchCount` pages come out. The hypervisor gives them back as zeros. */
function deflate(asm: Assembler): void {
  asm.align(16).label("deflate").xor(edi, edi).label("deflate.gather").cmp(edi, batchCount).jae("deflate.gathered");
  asm.dec(heldPages).mov(ecx, heldPages).mov(eax, heldEntry).call("putEntry").inc(edi).jmp("deflate.gather");
  asm.label("deflate.gathered").mov(ecx, COMMAND.UNLOCK).call("sendBatch").xor(edi, edi);
  asm.label("deflate.next").cmp(edi, batchCount).jae("deflate.done").call("getEntry").inc(edi);
  asm.test(edx, edx).jnz("deflate.refused").push(edi).xor(ebx, ebx).call("checkPage").pop(edi).call("givePage");
  asm.jmp("deflate.next").label("deflate.refused").inc(refusedPages).call("hold").jmp("deflate.next");
  asm.label("deflate.done").ret();
}

/** startBalloon: lets all pages go without a word, as the protocol wants it, and introduces the driver. */
function start(asm: Assembler, isBatched: boolean): void {
  asm.align(16).label("startBalloon").cmp(heldPages, 0).je("start.empty").dec(heldPages).mov(ecx, heldPages);
  asm.mov(eax, heldEntry).call("givePage").jmp("startBalloon").label("start.empty");
  asm.mov(ecx, COMMAND.START).mov(ebx, CAPABILITY.BASIC | (isBatched ? CAPABILITY.BATCHED : 0)).xor(esi, esi);
  asm.call("balloonCommand").cmp(eax, STATUS.SUCCESS_WITH_CAPABILITIES).je("start.granted");
  asm.test(eax, eax).jnz("start.done").mov(ecx, CAPABILITY.BASIC).label("start.granted");
  asm.and(ecx, CAPABILITY.BATCHED).mov(isBatchedVariable, ecx).mov(needsStart, 0).inc(starts);
  asm.mov(ecx, COMMAND.GUEST_ID).mov(ebx, GUEST_ID_OTHER).xor(esi, esi).call("balloonCommand");
  asm.label("start.done").ret();

  // balloonCommand: ecx with arguments ebx and esi; status in eax, result in ebx. Clobbers edx, and START ecx.
  asm.align(16).label("balloonCommand").mov(eax, MAGIC).mov(edx, PORT).in(eax, dx).cmp(eax, STATUS.RESET);
  asm.jne("command.done").mov(needsStart, 1).label("command.done").ret();
}

function batches(asm: Assembler): void {
  // sendBatch: command ecx, LOCK or UNLOCK, for every entry; each has its status afterwards. Clobbers every register.
  asm.align(16).label("sendBatch").xor(edi, edi).mov(batchCommand, ecx).cmp(isBatchedVariable, 0).je("send.next");
  asm.add(ecx, TO_BATCHED).mov(ebx, addr("batchPage")).shr(ebx, PAGE_SHIFT).mov(esi, batchCount);
  asm.call("balloonCommand").and(eax, STATUS.MASK).jnz("send.failed").ret();
  asm.label("send.failed").and(lowWord, ~STATUS.MASK).or(lowWord, eax).inc(edi).cmp(edi, batchCount);
  asm.jb("send.failed").ret();
  asm.label("send.next").call("getEntry").mov(ebx, eax).mov(esi, 1).mov(ecx, batchCommand).call("balloonCommand");
  asm.and(eax, STATUS.MASK).or(lowWord, eax).inc(edi).cmp(edi, batchCount).jb("send.next").ret();

  // putEntry: page eax becomes entry edi. Clobbers eax and ecx. getEntry: page eax and status edx of entry edi; ecx.
  asm.align(16).label("putEntry").mov(ecx, eax).shl(eax, PAGE_SHIFT).shr(ecx, HIGH_WORD_SHIFT);
  asm.mov(lowWord, eax).mov(highWord, ecx).ret();
  asm.align(16).label("getEntry").mov(eax, lowWord).mov(edx, eax).and(edx, STATUS.MASK).shr(eax, PAGE_SHIFT);
  asm.mov(ecx, highWord).shl(ecx, HIGH_WORD_SHIFT).or(eax, ecx).ret();
}

const needsStart = mem32(addr("needsStart"));
const target = mem32(addr("balloonTarget"));
const budget = mem32(addr("budget"));
const batchCount = mem32(addr("batchCount"));
const batchCommand = mem32(addr("batchCommand"));
const isBatchedVariable = mem32(addr("isBatched"));
const lowWord = mem32({ index: edi, scale: 8, disp: addr("batchPage") });
const highWord = mem32({ index: edi, scale: 8, disp: addr("batchPage", 4) });
/** Page ecx of the balloon. */
const heldEntry = mem32({ index: ecx, scale: 4, disp: HELD_TABLE });
