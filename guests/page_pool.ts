// A pool of free pages, for guests that hand memory out: a stack of page numbers, shuffled once, so that neighbours in it are
// no neighbours in memory. And the checks that such guests make of whole pages.

import { addr, type Assembler, eax, ebx, ecx, edi, edx, esi, mem, mem32 } from "./assembler/mod.ts";
import { MIB, PAGE_SIZE } from "./hardware.ts";
import { fail, FREE_MEMORY, LOAD_ADDRESS, print } from "./runtime.ts";

const PAGE_SHIFT = Math.log2(PAGE_SIZE), WORDS_PER_PAGE = PAGE_SIZE / 4;
/** Pages of a pool lie from here on. */
export const POOL_MEMORY = 0x40_0000;
const FIRST_PPN = POOL_MEMORY >> PAGE_SHIFT;
/** Between FREE_MEMORY and the pool there is room for four tables of a word for each page. */
const TABLE_BYTES = (POOL_MEMORY - FREE_MEMORY) / 4;
const FREE_STACK = FREE_MEMORY;
export const HELD_TABLE = FREE_MEMORY + TABLE_BYTES;
export const TABLE_1 = FREE_MEMORY + 2 * TABLE_BYTES, TABLE_2 = FREE_MEMORY + 3 * TABLE_BYTES;
export const MAX_POOL_PAGES = TABLE_BYTES / 4;
export const MAX_POOL_MIB = (MAX_POOL_PAGES * PAGE_SIZE) / MIB;
/** MiB that a guest with a pool needs beside it. */
export const POOL_OVERHEAD_MIB = POOL_MEMORY / MIB;

/** A linear congruential generator modulo 2^32 (Numerical Recipes). Its high bits are the random ones. */
const LCG_FACTOR = 0x0019_660d, LCG_INCREMENT = 0x3c6e_f35f;

/** Pages in the pool. */
export const freePages = mem32(addr("freePages"));
/** The generator's state. */
const randomState = mem32(addr("randomState"));

/** Pages of a pool of so many MiB. */
export function poolPages(sizeMib: number): number {
  return (sizeMib * MIB) / PAGE_SIZE;
}

/**
 * Emits a pool of `pages` pages, two at least, that `fillPool` fills (it clobbers every register), and with it:
 * `takePage`, the number of a page in eax, 0 if none is left; `givePage`, which takes one back (both clobber ecx);
 * `random`, 24 random bits in eax.
 */
export function pagePool(asm: Assembler, pages: number, seed: number): void {
  asm.section("data", () => asm.align(4).label("freePages").dd(0).label("randomState").dd(seed));
  asm.section("routines", () => {
    asm.align(16).label("fillPool").xor(ecx, ecx).label("fillPool.next").lea(eax, mem(ecx, { disp: FIRST_PPN }));
    asm.mov(freeEntry(ecx), eax).inc(ecx).cmp(ecx, pages).jb("fillPool.next").mov(freePages, ecx);
    // Fisher and Yates's shuffle, from the top.
    asm.mov(esi, pages - 1).label("fillPool.shuffle").call("random").lea(ebx, mem(esi, { disp: 1 }));
    asm.xor(edx, edx).div(ebx).mov(eax, freeEntry(edx)).xchg(freeEntry(esi), eax).mov(freeEntry(edx), eax);
    asm.dec(esi).jnz("fillPool.shuffle").ret();

    asm.align(16).label("takePage").xor(eax, eax).mov(ecx, freePages).test(ecx, ecx).jz("takePage.none");
    asm.dec(ecx).mov(freePages, ecx).mov(eax, freeEntry(ecx)).label("takePage.none").ret();

    asm.align(16).label("givePage").mov(ecx, freePages).mov(freeEntry(ecx), eax).inc(freePages).ret();

    asm.align(16).label("random").imul(eax, randomState, LCG_FACTOR).add(eax, LCG_INCREMENT).mov(randomState, eax);
    asm.shr(eax, 8).ret();
  });
}

/**
 * Emits `fillPage`, which fills page eax with the word ebx, and `checkPage`, which fails the guest, with a message of
 * `guest`, unless every word of page eax is ebx. Both clobber ecx and edi alone.
 */
export function wholePages(asm: Assembler, guest: string): void {
  asm.section("routines", () => {
    asm.align(16).label("fillPage").push(eax).mov(edi, eax).shl(edi, PAGE_SHIFT).mov(eax, ebx);
    asm.mov(ecx, WORDS_PER_PAGE).rep().stosd().pop(eax).ret();

    asm.align(16).label("checkPage").push(eax).mov(edi, eax).shl(edi, PAGE_SHIFT).mov(eax, ebx);
    asm.mov(ecx, WORDS_PER_PAGE).repe().scasd().pop(eax).jne("corrupt").ret();

    asm.align(16).label("corrupt").cli();
    print(asm, `${guest}: corrupt page `);
    asm.call("printDecimal");
    print(asm, "\n");
    fail(asm);
  });
}

/** What lies between a guest's stack and the first holes, and what is left to a guest's image, which is far smaller. */
const LOW_MEMORY = 0x1_0000, LOW_END = 0x8_0000, IMAGE_END = LOAD_ADDRESS + 0x4_0000;

/** Writes zeros to all memory but the image, a pool of `pages` included: to be done before the pool is filled. */
export function zeroMemory(asm: Assembler, pages: number): void {
  asm.xor(eax, eax).mov(edi, LOW_MEMORY).mov(ecx, (LOW_END - LOW_MEMORY) / 4).rep().stosd();
  asm.mov(edi, IMAGE_END).mov(ecx, (POOL_MEMORY - IMAGE_END) / 4 + pages * WORDS_PER_PAGE).rep().stosd();
}

function freeEntry(index: typeof ecx | typeof edx | typeof esi) {
  return mem32({ index, scale: 4, disp: FREE_STACK });
}
