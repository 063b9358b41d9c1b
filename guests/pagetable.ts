// Guest `pagetable`: works its own page tables the way a kernel does and checks what the processor promises about them (Intel SDM
// volume 3A, chapter 4): translations, accessed and dirty bits, page faults and their error codes, INVLPG and CR3 reloads, write
// protection of the kernel, user and supervisor pages, large pages. The part that a memory-management plugin is judged by.

import {
  addr,
  type Assembler,
  ax,
  cr0,
  cr2,
  cr3,
  cr4,
  ds,
  eax,
  ebp,
  ebx,
  ecx,
  edi,
  edx,
  es,
  esi,
  esp,
  fs,
  gs,
  mem,
  mem32,
  type Memory,
} from "./assembler/mod.ts";
import { checks, checksum, expectEqual, expectValue } from "./checks.ts";
import { defineGuest } from "./guest.ts";
import {
  CPUID_EDX_PSE,
  CR0,
  CR4,
  EFLAGS,
  FIRST_FREE_VECTOR,
  PAGE,
  PAGE_FAULT_ERROR,
  PAGE_FAULT_VECTOR,
  PAGE_SIZE,
  SELECTOR,
} from "./hardware.ts";
import { buildProtected, FREE_MEMORY, GATE, loadTaskRegister, print, setGate, STACK_TOP } from "./runtime.ts";

/** Physical layout. Two address spaces, A and B, share the identity map and differ in what the window shows. */
const DIRECTORY_A = FREE_MEMORY;
const DIRECTORY_B = DIRECTORY_A + PAGE_SIZE;
const IDENTITY_TABLES = DIRECTORY_B + PAGE_SIZE;
const IDENTITY_TABLE_COUNT = 2;
const WINDOW_TABLE_A = IDENTITY_TABLES + IDENTITY_TABLE_COUNT * PAGE_SIZE;
const WINDOW_TABLE_B = WINDOW_TABLE_A + PAGE_SIZE;
const FRAMES_A = 0x30_0000;
const FRAMES_B = 0x31_0000;

/** Linear layout: a window of a few pages onto the frames, and a large page onto the first 4 MiB. */
const WINDOW = 0x4000_0000;
const WINDOW_PAGES = 16;
const LARGE_WINDOW = 0x8000_0000;
const LARGE_PAGE_BITS = 22;

const ENTRY_BYTES = 4;
const ENTRIES = PAGE_SIZE / ENTRY_BYTES;
const PAGE_SHIFT = Math.log2(PAGE_SIZE);
const FLAGS_MASK = PAGE_SIZE - 1;
const KERNEL = PAGE.PRESENT | PAGE.WRITABLE;
const USED = KERNEL | PAGE.ACCESSED;
const WRITTEN = USED | PAGE.DIRTY;

/** Distance between the words that consecutive window pages are marked at, and where in a page the tests write. */
const MARK_STRIDE = 64;
const SPARE_OFFSET = 0x800;
/** Spreads round numbers over 32 bits. */
const ROUND_FACTOR = 0x9e37_79b1;
/** Stacks: the kernel's after entry from ring 3; ring 3 has window page 14, its code page 15. */
const ENTRY_STACK_TOP = STACK_TOP + PAGE_SIZE;
const USER_STACK_PAGE = 14;
const USER_CODE_PAGE = 15;

export const pagetable = defineGuest({
  name: "pagetable",
  summary: "works its own page tables and checks every promise about them",
  description:
    "Turns paging on and, each round, maps sixteen pages onto other frames, checks translations and accessed and " +
    "dirty bits, remaps with INVLPG, unmaps and handles the page faults, tries read-only pages with CR0.WP on and off, " +
    "switches address spaces by CR3, reads and writes supervisor and read-only pages from ring 3, and uses a 4 MiB page " +
    "where CPUID tells of PSE. Prints `pagetable: N rounds ok, checksum X`, or which check failed.",
  memoryMib: 8,
  options: { rounds: { default: 1000, min: 1, describe: "times round all checks" } },
  build: ({ rounds }) =>
    buildProtected((asm) => {
      checks(asm, "pagetable");
      routines(asm);
      setGate(asm, PAGE_FAULT_VECTOR, "pageFault");
      setGate(asm, FIRST_FREE_VECTOR, "leaveUser", GATE.USER_INTERRUPT);
      loadTaskRegister(asm, ENTRY_STACK_TOP);
      buildTables(asm);
      asm.mov(eax, DIRECTORY_A).mov(cr3, eax).mov(eax, cr0).or(eax, CR0.PG).mov(cr0, eax);
      detectLargePages(asm);
      asm.mov(ebp, rounds).label("round");
      for (const check of [mapWindow, translations, accessedAndDirty, remap, demandFaults, writeProtection]) check(asm);
      for (const check of [addressSpaces, userAccess, largePage, unmapWindow]) check(asm);
      asm.dec(ebp).jnz("round");
      print(asm, "pagetable: ");
      asm.mov(eax, rounds).call("printDecimal");
      print(asm, " rounds ok, checksum ");
      asm.mov(eax, checksum).call("printHex");
      print(asm, "\n");
    }),
});

/** Zeroed directories and tables, then the identity map and the window's directory entries. */
function buildTables(asm: Assembler): void {
  asm.mov(edi, DIRECTORY_A).mov(ecx, (WINDOW_TABLE_B + PAGE_SIZE - DIRECTORY_A) / 4).xor(eax, eax).rep().stosd();
  asm.mov(edi, IDENTITY_TABLES).mov(ecx, IDENTITY_TABLE_COUNT * ENTRIES).mov(eax, KERNEL);
  asm.label("identity").stosd().add(eax, PAGE_SIZE).loop("identity");
  for (const [directory, window] of [[DIRECTORY_A, WINDOW_TABLE_A], [DIRECTORY_B, WINDOW_TABLE_B]]) {
    for (let i = 0; i < IDENTITY_TABLE_COUNT; i++) {
      asm.mov(mem32(directory + i * ENTRY_BYTES), (IDENTITY_TABLES + i * PAGE_SIZE) | KERNEL);
    }
    asm.mov(directoryEntry(directory, WINDOW), window | KERNEL | PAGE.USER);
  }
  asm.section("data", () => {
    asm.align(4);
    for (
      const name of ["largePages", "kernelStack", "faults", "faultError", "faultAddress", "repairEntry", "repairValue"]
    ) {
      asm.label(name).dd(0);
    }
  });
}

function detectLargePages(asm: Assembler): void {
  asm.mov(eax, 1).cpuid().and(edx, CPUID_EDX_PSE).mov(variable("largePages"), edx).jz("noLargePages");
  asm.mov(eax, cr4).or(eax, CR4.PSE).mov(cr4, eax).label("noLargePages");
}

/** Window page i shows frame (5i + round) mod 16, differently each round; every page gets its mark. */
function mapWindow(asm: Assembler): void {
  forEachPage(asm, () => {
    asm.lea(eax, mem(ecx, { index: ecx, scale: 4 })).add(eax, ebp).and(eax, WINDOW_PAGES - 1).shl(eax, PAGE_SHIFT);
    asm.add(eax, FRAMES_A | KERNEL).mov(entryOfPage(WINDOW_TABLE_A), eax);
  });
  asm.mov(eax, cr3).mov(cr3, eax);
  forEachPage(asm, () => asm.call("markOfPage").mov(mem(edi), eax));
}

/** What was written through the window is found in the frame, and the translation is marked as used and written. */
function translations(asm: Assembler): void {
  forEachPage(asm, () => {
    asm.call("markOfPage").mov(ebx, eax).call("frameOfPage").mov(eax, mem(edi));
    expectEqual(asm, "a word written through the window, read in its frame");
    expectFlags(asm, entryOfPage(WINDOW_TABLE_A), WRITTEN, "a page's flags after a write");
  });
}

/** A read sets the accessed bit alone; a write then sets the dirty bit too, although the translation is cached. */
function accessedAndDirty(asm: Assembler): void {
  const entry = entryOfPage(WINDOW_TABLE_A);
  forEachPage(asm, () => {
    asm.and(entry, ~(PAGE.ACCESSED | PAGE.DIRTY)).call("markOfPage").invlpg(mem(edi)).mov(ebx, mem(edi));
    expectFlags(asm, entry, USED, "a page's flags after a read");
    asm.call("markOfPage").mov(mem(edi), eax);
    expectFlags(asm, entry, WRITTEN, "a page's flags after a read and a write");
  });
  expectFlags(
    asm,
    directoryEntry(DIRECTORY_A, WINDOW),
    USED | PAGE.USER,
    "the flags of the window's directory entry, which has no dirty bit",
  );
}

/** Two pages change places; INVLPG makes the processor see it. */
function remap(asm: Assembler): void {
  const swap = () => {
    asm.mov(eax, windowEntry(0)).xchg(windowEntry(1), eax).mov(windowEntry(0), eax);
    asm.invlpg(mem(windowPage(0))).invlpg(mem(windowPage(1)));
  };
  swap();
  asm.xor(ecx, ecx).call("markOfPage").mov(ebx, eax).mov(eax, mem(windowPage(1)));
  expectEqual(asm, "page 0's mark at page 1");
  asm.mov(ecx, 1).call("markOfPage").mov(ebx, eax).mov(eax, mem(windowPage(0) + MARK_STRIDE));
  expectEqual(asm, "page 1's mark at page 0");
  swap();
}

/** Accesses to pages that are not there fault, are repaired by the handler and run again as if nothing had been. */
function demandFaults(asm: Assembler): void {
  setFlags(asm, 2, 0, KERNEL);
  asm.mov(ecx, 2).call("markOfPage").mov(ebx, eax).mov(eax, mem(edi));
  expectEqual(asm, "a word read after its page was brought in");
  expectFault(asm, windowPage(2) + 2 * MARK_STRIDE, 0, "a read of an absent page");

  setFlags(asm, 3, 0, KERNEL);
  asm.mov(mem(windowPage(3) + SPARE_OFFSET), ebp);
  expectFault(asm, windowPage(3) + SPARE_OFFSET, PAGE_FAULT_ERROR.WRITE, "a write to an absent page");
  expectFlags(asm, windowEntry(3), WRITTEN, "flags of a page that a write brought in");

  // Two words fit before the page boundary and two come after it.
  setFlags(asm, 3, 0, KERNEL);
  asm.mov(eax, ebp).mov(edi, windowPage(3) - 8).mov(ecx, 4).rep().stosd().lea(eax, mem(edi, { index: ecx }));
  expectValue(asm, windowPage(3) + 8, "EDI after a string store into an absent page");
  expectFault(asm, windowPage(3), PAGE_FAULT_ERROR.WRITE, "a string store into an absent page");
  asm.mov(eax, mem(windowPage(3) - 4)).sub(eax, mem(windowPage(3) + 4));
  expectValue(asm, 0, "difference of the words stored before and after the fault");

  // A word across the boundary: half of it in a page that is there, half in one that is not.
  setFlags(asm, 3, 0, KERNEL);
  asm.mov(mem(windowPage(3) - 2), ebp);
  expectFault(asm, windowPage(3), PAGE_FAULT_ERROR.WRITE, "a write across the boundary to an absent page");
  asm.mov(eax, mem(windowPage(3) - 2)).mov(ebx, ebp);
  expectEqual(asm, "a word written across a page boundary");
}

/** The kernel may write to a read-only page unless CR0.WP is set. */
function writeProtection(asm: Assembler): void {
  asm.mov(eax, cr0).or(eax, CR0.WP).mov(cr0, eax);
  setFlags(asm, 4, PAGE.PRESENT, KERNEL);
  asm.mov(eax, mem(windowPage(4))).mov(mem(windowPage(4) + SPARE_OFFSET), ebp);
  const error = PAGE_FAULT_ERROR.PROTECTION | PAGE_FAULT_ERROR.WRITE;
  expectFault(asm, windowPage(4) + SPARE_OFFSET, error, "a kernel write to a read-only page under CR0.WP");

  asm.mov(eax, cr0).and(eax, ~CR0.WP).mov(cr0, eax);
  setFlags(asm, 5, PAGE.PRESENT);
  asm.mov(mem(windowPage(5) + SPARE_OFFSET), ebp);
  expectFlags(
    asm,
    windowEntry(5),
    PAGE.PRESENT | PAGE.ACCESSED | PAGE.DIRTY,
    "flags of a read-only page that the kernel wrote to without CR0.WP",
  );
  setFlags(asm, 5, KERNEL);
}

/** The same linear pages show other frames in another address space, and neither sees the other's writes. */
function addressSpaces(asm: Assembler): void {
  forEachPage(asm, () => {
    asm.mov(eax, ecx).shl(eax, PAGE_SHIFT).add(eax, FRAMES_B | KERNEL).mov(entryOfPage(WINDOW_TABLE_B), eax);
  });
  asm.mov(eax, DIRECTORY_B).mov(cr3, eax);
  forEachPage(asm, () => asm.call("markOfPage").not(eax).mov(mem(edi), eax));
  asm.mov(eax, DIRECTORY_A).mov(cr3, eax);
  forEachPage(asm, () => {
    asm.call("markOfPage").mov(ebx, eax).mov(eax, mem(edi));
    expectEqual(asm, "a mark of address space A after a visit to B");
    asm.not(ebx).mov(eax, mem(edi, { disp: FRAMES_B - WINDOW }));
    expectEqual(asm, "a mark of address space B in its frame");
  });
}

/** Ring 3 reaches user pages only, and writes to writable ones only; the handler grants what was missing. */
function userAccess(asm: Assembler): void {
  const { PROTECTION, WRITE, USER } = PAGE_FAULT_ERROR;
  setFlags(asm, USER_STACK_PAGE, KERNEL | PAGE.USER);
  setFlags(asm, USER_CODE_PAGE, KERNEL);
  asm.mov(esi, addr("userCode")).mov(edi, USER_CODE).mov(ecx, USER_CODE_BYTES / 4).rep().movsd();
  setFlags(asm, USER_CODE_PAGE, PAGE.PRESENT | PAGE.USER);

  setFlags(asm, 6, KERNEL, KERNEL | PAGE.USER);
  asm.mov(ecx, 6).call("markOfPage").mov(mem32(USER_WORD), 0).mov(esi, edi).mov(edi, USER_WORD).call("runUser");
  expectFault(asm, windowPage(6) + 6 * MARK_STRIDE, PROTECTION | USER, "a user's read of a kernel page");
  asm.mov(ecx, 6).call("markOfPage").mov(ebx, eax).mov(eax, mem(USER_WORD));
  expectEqual(asm, "the word that ring 3 copied");

  for (
    const [page, flags, error, what] of [
      [7, PAGE.PRESENT | PAGE.USER, PROTECTION | WRITE | USER, "a user's write to a read-only page"],
      [8, 0, WRITE | USER, "a user's write to an absent page"],
      [9, KERNEL, PROTECTION | WRITE | USER, "a user's write to a kernel page"],
    ] as const
  ) {
    setFlags(asm, page, flags, KERNEL | PAGE.USER);
    asm.mov(esi, USER_WORD).mov(edi, windowPage(page) + SPARE_OFFSET).call("runUser");
    expectFault(asm, windowPage(page) + SPARE_OFFSET, error, what);
    asm.mov(ebx, mem(USER_WORD)).mov(eax, mem(windowPage(page) + SPARE_OFFSET));
    expectEqual(asm, `the word that ring 3 stored (${what})`);
  }
}

/** One directory entry maps 4 MiB, with accessed and dirty bits of its own. */
function largePage(asm: Assembler): void {
  const entry = directoryEntry(DIRECTORY_A, LARGE_WINDOW);
  asm.cmp(variable("largePages"), 0).je("smallPagesOnly");
  asm.mov(entry, KERNEL | PAGE.LARGE).mov(ecx, 10).call("markOfPage").mov(ebx, eax).call("frameOfPage");
  asm.mov(eax, mem(edi, { disp: LARGE_WINDOW }));
  expectEqual(asm, "a mark read through a large page");
  expectFlags(asm, entry, USED | PAGE.LARGE, "a large page's flags after a read");
  asm.mov(mem(edi, { disp: LARGE_WINDOW + 4 }), ebp).mov(eax, mem(edi, { disp: 4 })).mov(ebx, ebp);
  expectEqual(asm, "a word written through a large page");
  expectFlags(asm, entry, WRITTEN | PAGE.LARGE, "a large page's flags after a write");
  asm.mov(entry, 0).invlpg(mem(LARGE_WINDOW)).label("smallPagesOnly");
}

/** After every entry is cleared and CR3 reloaded nothing of the old translations is left. */
function unmapWindow(asm: Assembler): void {
  asm.mov(eax, windowEntry(11)).mov(variable("repairValue"), eax);
  forEachPage(asm, () => asm.mov(entryOfPage(WINDOW_TABLE_A), 0));
  asm.mov(eax, cr3).mov(cr3, eax).mov(variable("repairEntry"), WINDOW_TABLE_A + 11 * ENTRY_BYTES);
  asm.mov(ecx, 11).call("markOfPage").mov(ebx, eax).mov(eax, mem(edi));
  expectEqual(asm, "a mark after its page was unmapped and brought back");
  expectFault(asm, windowPage(11) + 11 * MARK_STRIDE, 0, "a read of an unmapped page");
}

function routines(asm: Assembler): void {
  asm.section("routines", () => {
    // markOfPage: eax = what page ecx is marked with this round, edi = where.
    asm.align(16).label("markOfPage").imul(edi, ecx, PAGE_SIZE + MARK_STRIDE).add(edi, WINDOW);
    asm.imul(eax, ebp, ROUND_FACTOR).xor(eax, ecx).ret();

    // frameOfPage: edi = physical address of page ecx's mark.
    asm.align(16).label("frameOfPage").mov(edi, entryOfPage(WINDOW_TABLE_A)).and(edi, ~FLAGS_MASK).push(ecx);
    asm.shl(ecx, Math.log2(MARK_STRIDE)).add(edi, ecx).pop(ecx).ret();

    // The handler takes note of the fault, writes the entry it was given and lets the instruction run again.
    asm.align(16).label("pageFault").push(eax).push(ebx).mov(ebx, variable("repairEntry")).test(ebx, ebx).jz(
      "unexpected",
    );
    asm.inc(variable("faults")).mov(eax, mem(esp, { disp: 8 })).mov(variable("faultError"), eax);
    asm.mov(eax, variable("repairValue")).mov(mem(ebx), eax).mov(variable("repairEntry"), 0);
    asm.mov(eax, cr2).mov(variable("faultAddress"), eax).invlpg(mem(eax));
    asm.pop(ebx).pop(eax).add(esp, 4).iret();
    asm.label("unexpected").pop(ebx).pop(eax).push(PAGE_FAULT_VECTOR).jmp("exception");

    // runUser: runs the user code in ring 3 with esi and edi until it calls leaveUser's interrupt; clobbers eax.
    asm.align(16).label("runUser").mov(variable("kernelStack"), esp).mov(ax, SELECTOR.USER_DATA);
    for (const segment of [ds, es, fs, gs]) asm.mov(segment, ax);
    asm.push(SELECTOR.USER_DATA).push(windowPage(USER_STACK_PAGE) + PAGE_SIZE).push(EFLAGS.FIXED);
    asm.push(SELECTOR.USER_CODE).push(USER_CODE).iret();
    asm.align(16).label("leaveUser").mov(ax, SELECTOR.DATA);
    for (const segment of [ds, es, fs, gs]) asm.mov(segment, ax);
    asm.mov(esp, variable("kernelStack")).ret();

    // Copied to a user page. PUSH and POP fault on their memory operand and must leave ESP alone when they do.
    asm.align(16).label("userCode").push(mem32(esi)).pop(mem32(edi)).int(FIRST_FREE_VECTOR).align(USER_CODE_BYTES);
  });
}

const USER_CODE_BYTES = 16;
const USER_CODE = windowPage(USER_CODE_PAGE) + SPARE_OFFSET;
const USER_WORD = windowPage(USER_STACK_PAGE) + SPARE_OFFSET;

/** Gives window page `page` these flags; with `repair`, the next page fault replaces them. Clobbers eax and ebx. */
function setFlags(asm: Assembler, page: number, flags: number, repair?: number): void {
  asm.mov(eax, windowEntry(page)).and(eax, ~FLAGS_MASK);
  if (repair !== undefined) {
    asm.lea(ebx, mem(eax, { disp: repair })).mov(variable("repairValue"), ebx);
    asm.mov(variable("repairEntry"), WINDOW_TABLE_A + page * ENTRY_BYTES);
  }
  asm.or(eax, flags).mov(windowEntry(page), eax).invlpg(mem(windowPage(page)));
}

/** Checks that there was one fault since the last look, at `address` with this error code. Clobbers eax and ebx. */
function expectFault(asm: Assembler, address: number, error: number, what: string): void {
  asm.xor(eax, eax).xchg(eax, variable("faults"));
  expectValue(asm, 1, `faults by ${what}`);
  asm.mov(eax, variable("faultError"));
  expectValue(asm, error, `error code of ${what}`);
  asm.mov(eax, variable("faultAddress"));
  expectValue(asm, address, `CR2 after ${what}`);
}

/** Checks a table or directory entry's low twelve bits. Clobbers eax and ebx. */
function expectFlags(asm: Assembler, entry: Memory, flags: number, what: string): void {
  asm.mov(eax, entry).and(eax, FLAGS_MASK);
  expectValue(asm, flags, what);
}

/** Emits `body` for every window page, its number in ecx, which `body` keeps. */
function forEachPage(asm: Assembler, body: () => void): void {
  const label = asm.uniqueLabel("eachPage");
  asm.xor(ecx, ecx).label(label);
  body();
  asm.inc(ecx).cmp(ecx, WINDOW_PAGES).jb(label);
}

function variable(name: string): Memory {
  return mem32(addr(name));
}

function windowPage(page: number): number {
  return WINDOW + page * PAGE_SIZE;
}

function windowEntry(page: number): Memory {
  return mem32(WINDOW_TABLE_A + page * ENTRY_BYTES);
}

/** The entry of the page whose number is in ecx. */
function entryOfPage(table: number): Memory {
  return mem32({ index: ecx, scale: 4, disp: table });
}

function directoryEntry(directory: number, linear: number): Memory {
  return mem32(directory + (linear >>> LARGE_PAGE_BITS) * ENTRY_BYTES);
}
