// The program `memory-toucher` for Linux: a working set with a checksum in every word. It is written with the guests' assembler,
// so that no compiler is needed; system calls follow Linux's i386 ABI (INT 0x80).

import { addr, al, Assembler, cl, eax, ebp, ebx, ecx, edi, edx, esi, mem, mem32, mem8 } from "../../assembler/mod.ts";
import { linuxExecutable, PROGRAM_ADDRESS } from "./elf.ts";

/** System calls, and what they are given. */
const SYS = { EXIT: 1, WRITE: 4, NANOSLEEP: 162, MMAP2: 192 } as const;
const LINUX = 0x80, STDOUT = 1, PROT_READ_WRITE = 3, MAP_PRIVATE_ANONYMOUS = 0x22, NO_FILE = -1;
/** Results from here on are errors. */
const FIRST_ERROR = -4096;
const ARGUMENTS = 4, MS_PER_SECOND = 1000, NS_PER_MS = 1_000_000;
const PAGE_SHIFT = 12, WORDS_PER_PAGE = 1024, PAGES_PER_MIB_SHIFT = 8;
/** A page's pattern is its number, from one on, times an odd factor: no two pages share one, none is zero. */
const PATTERN_FACTOR = 0x9e37_79b1;
/** Room for the digits of a number. */
const DIGITS = 12;

/**
 * `memory-toucher MIB PASSES PASS_MS` takes MIB of memory, which must be zeros, and fills each page with a pattern of its own;
 * then, PASSES times with a pause of PASS_MS before each, checks every word and changes it. It prints `toucher: N pages
 * filled` and at the end `toucher: N pages intact`, status 0; `toucher: corrupt page P`, status 1, at the first word that is
 * wrong; and status 2 for wrong arguments or no memory.
 */
export function memoryToucher(): Uint8Array<ArrayBuffer> {
  const asm = new Assembler({ origin: PROGRAM_ADDRESS });
  asm.cld().pop(ecx).cmp(ecx, ARGUMENTS).jne("usage").pop(eax);
  for (const variable of [pages, passes]) asm.pop(esi).call("parse").mov(variable, eax);
  asm.shl(pages, PAGES_PER_MIB_SHIFT).pop(esi).call("parse").xor(edx, edx).mov(ecx, MS_PER_SECOND).div(ecx);
  asm.mov(pauseSeconds, eax).imul(edx, edx, NS_PER_MS).mov(pauseNs, edx);

  asm.mov(eax, SYS.MMAP2).xor(ebx, ebx).mov(ecx, pages).shl(ecx, PAGE_SHIFT).mov(edx, PROT_READ_WRITE);
  asm.mov(esi, MAP_PRIVATE_ANONYMOUS).mov(edi, NO_FILE).xor(ebp, ebp).int(LINUX).cmp(eax, FIRST_ERROR).ja("usage");
  asm.mov(base, eax);

  // A word is its page's pattern and the passes so far.
  asm.xor(esi, esi).label("fill").cmp(esi, pages).jae("filled").call("locate").mov(edx, ebx).xor(ebx, ebx).call(
    "change",
  );
  asm.inc(esi).jmp("fill").label("filled");
  print(asm, "filled");
  asm.label("pass").cmp(passes, 0).je("done").dec(passes);
  asm.mov(eax, SYS.NANOSLEEP).mov(ebx, addr("pause")).xor(ecx, ecx).int(LINUX);
  asm.xor(esi, esi).label("check").cmp(esi, pages).jae("checked").call("locate").add(ebx, round);
  asm.lea(edx, mem(ebx, { disp: 1 })).call("change").inc(esi).jmp("check");
  asm.label("checked").inc(round).jmp("pass");
  asm.label("done");
  print(asm, "intact");
  asm.xor(ebx, ebx).label("exit").mov(eax, SYS.EXIT).int(LINUX);
  asm.label("usage").mov(ebx, 2).jmp("exit");
  asm.label("corrupt").mov(eax, esi);
  text(asm, "toucher: corrupt page ");
  asm.call("printNumber");
  text(asm, "\n");
  asm.mov(ebx, 1).jmp("exit");

  routines(asm);
  asm.section("data").align(4);
  for (const name of ["pages", "passes", "base", "round"]) asm.label(name).dd(0);
  asm.label("pause").dd(0, 0).label("digits").zeros(DIGITS);
  return linuxExecutable(asm);
}

function routines(asm: Assembler): void {
  asm.section("routines");
  // locate: address edi and first pattern ebx of page esi.
  asm.align(16).label("locate").mov(edi, esi).shl(edi, PAGE_SHIFT).add(edi, base).lea(ebx, mem(esi, { disp: 1 }));
  asm.imul(ebx, ebx, PATTERN_FACTOR).ret();

  // change: every word of the page at edi must be ebx, and becomes edx.
  asm.align(16).label("change").mov(eax, ebx).mov(ecx, WORDS_PER_PAGE).push(edi).repe().scasd().pop(edi).jne("corrupt");
  asm.mov(eax, edx).mov(ecx, WORDS_PER_PAGE).rep().stosd().ret();

  // parse: the decimal number at esi, in eax.
  asm.align(16).label("parse").xor(eax, eax).xor(ecx, ecx).label("parse.next").mov(cl, mem8(esi)).test(cl, cl);
  asm.jz("parse.done").sub(cl, "0".charCodeAt(0)).cmp(cl, 9).ja("usage").imul(eax, eax, 10).add(eax, ecx).inc(esi);
  asm.jmp("parse.next").label("parse.done").ret();

  // printNumber: eax. printText: edx bytes at ecx; keeps eax and esi.
  asm.align(16).label("printNumber").mov(ecx, addr("digits", DIGITS)).mov(ebx, 10).label("number.next").xor(edx, edx);
  asm.div(ebx).add(edx, "0".charCodeAt(0)).dec(ecx).push(eax).mov(eax, edx).mov(mem8(ecx), al).pop(eax);
  asm.test(eax, eax).jnz("number.next").mov(edx, addr("digits", DIGITS)).sub(edx, ecx);
  asm.label("printText").push(eax).mov(eax, SYS.WRITE).mov(ebx, STDOUT).int(LINUX).pop(eax).ret();
}

/** Prints `toucher: N pages WORD`. */
function print(asm: Assembler, word: string): void {
  text(asm, "toucher: ");
  asm.mov(eax, pages).call("printNumber");
  text(asm, ` pages ${word}\n`);
}

function text(asm: Assembler, message: string): void {
  const label = asm.uniqueLabel("text");
  asm.section("data", () => asm.label(label).string(message));
  asm.mov(ecx, addr(label)).mov(edx, message.length).call("printText");
}

const pages = mem32(addr("pages"));
const passes = mem32(addr("passes"));
const base = mem32(addr("base"));
const round = mem32(addr("round"));
const pauseSeconds = mem32(addr("pause"));
const pauseNs = mem32(addr("pause", 4));
