// A Linux program that keeps memory and checks every word of it, over and over: written with the guests' assembler, put
// together as an ELF file, and typed into a shell, so that a machine that was saved without it can run it.

import { addr, Assembler, eax, ebp, ebx, ecx, edi, edx, esi } from "../../guests/assembler/mod.ts";

/** Where Linux loads it, and the sizes of the headers before its first instruction (System V ABI, figures 4-3 and 5-1). */
const BASE = 0x0804_8000, ELF_HEADER_BYTES = 52, PROGRAM_HEADER_BYTES = 32;
const ENTRY = BASE + ELF_HEADER_BYTES + PROGRAM_HEADER_BYTES;
/** System calls of i386 Linux, their gate, and the arguments of mmap2 for zeroed memory of one's own. */
const SYS_WRITE = 4, SYS_MMAP2 = 192, SYSCALL = 0x80, STDOUT = 1;
const PROT_READ_WRITE = 3, MAP_PRIVATE_ANONYMOUS = 0x22;
/** Results above this, unsigned, are errors. */
const LAST_RESULT = -4096;
const PAGE_SIZE = 4096, WORDS_PER_PAGE = PAGE_SIZE / 4;
/** What a page is filled with differs in its place, the pass and the machine: odd factors, so that no two agree. */
const PAGE_FACTOR = 0x9e37_79b1 | 0, PASS_STEP = 0x85eb_ca77 | 0, SEED_FACTOR = 0x27d4_eb2f;
/** What ends the input of a program that reads a terminal, at the start of a line. */
const END_OF_TRANSMISSION = "\x04";

export interface CheckerOptions {
  readonly pages: number;
  /** No two machines with different seeds hold a page alike. */
  readonly seed: number;
}

/** What it prints after each pass over its memory, and when a word is not what it wrote there. */
export const PASS_LINE = "pass", WRONG_LINE = "WRONG";

/** A command that takes the program from the terminal and runs it, and prints READY_LINE before. */
export const READY_LINE = "ready:", COMMAND = `echo ${READY_LINE}; base64 -d >/c; chmod +x /c; /c\n`;

/** The program as it is typed once READY_LINE was printed. */
export function typedChecker(options: CheckerOptions): string {
  const text = btoa(String.fromCharCode(...buildChecker(options)));
  const lines = text.match(/.{1,60}/g) ?? [];
  return [...lines, END_OF_TRANSMISSION].join("\n");
}

/** The program as an ELF file. Its memory must read as zeros at first; then each pass checks a page and fills it anew. */
export function buildChecker({ pages, seed }: CheckerOptions): Uint8Array {
  const asm = new Assembler({ origin: ENTRY });
  asm.mov(eax, SYS_MMAP2).xor(ebx, ebx).mov(ecx, pages * PAGE_SIZE).mov(edx, PROT_READ_WRITE);
  asm.mov(esi, MAP_PRIVATE_ANONYMOUS).mov(edi, -1).xor(ebp, ebp).int(SYSCALL);
  asm.cmp(eax, LAST_RESULT).ja("wrong");
  // EBP: the memory; EBX: what this pass adds to a page's pattern; ESI: 0 while patterns are zeros, then all ones.
  asm.mov(ebp, eax).mov(ebx, Math.imul(seed, SEED_FACTOR)).xor(esi, esi);
  asm.label("pass").mov(edi, ebp).xor(edx, edx);
  asm.label("page").imul(eax, edx, PAGE_FACTOR).add(eax, ebx).and(eax, esi);
  asm.mov(ecx, WORDS_PER_PAGE).repe().scasd().jnz("wrong").sub(edi, PAGE_SIZE);
  asm.imul(eax, edx, PAGE_FACTOR).add(eax, ebx).add(eax, PASS_STEP).mov(ecx, WORDS_PER_PAGE).rep().stosd();
  asm.inc(edx).cmp(edx, pages).jb("page");
  asm.add(ebx, PASS_STEP).mov(esi, -1).mov(ecx, addr("passText")).mov(edx, PASS_LINE.length + 1).call("print");
  asm.jmp("pass");
  asm.label("wrong").mov(ecx, addr("wrongText")).mov(edx, WRONG_LINE.length + 1).call("print");
  asm.label("ever").jmp("ever");
  asm.label("print").push(ebx).mov(eax, SYS_WRITE).mov(ebx, STDOUT).int(SYSCALL).pop(ebx).ret();
  asm.label("passText").string(`${PASS_LINE}\n`).label("wrongText").string(`${WRONG_LINE}\n`);
  return elf(asm.assemble().bytes);
}

/** One loadable segment, headers and all. */
function elf(code: Uint8Array): Uint8Array {
  const size = ELF_HEADER_BYTES + PROGRAM_HEADER_BYTES + code.length;
  const file = new Uint8Array(size), view = new DataView(file.buffer);
  const put = (at: number, halves: readonly number[]) =>
    halves.forEach((half, i) => view.setUint16(at + 2 * i, half, true));
  const putWords = (at: number, words: readonly number[]) =>
    words.forEach((word, i) => view.setUint32(at + 4 * i, word, true));
  // \x7fELF, 32 bits, little-endian, version 1; then: executable, i386.
  file.set([0x7f, 0x45, 0x4c, 0x46, 1, 1, 1]);
  put(16, [2, 3]);
  // Version, entry, program headers behind this one, no sections, no flags; then sizes and counts of headers.
  putWords(20, [1, ENTRY, ELF_HEADER_BYTES, 0, 0]);
  put(40, [ELF_HEADER_BYTES, PROGRAM_HEADER_BYTES, 1, 0, 0, 0]);
  // PT_LOAD: from the file's start to BASE; readable, writable and executable.
  putWords(ELF_HEADER_BYTES, [1, 0, BASE, BASE, size, size, 7, PAGE_SIZE]);
  file.set(code, ELF_HEADER_BYTES + PROGRAM_HEADER_BYTES);
  return file;
}
