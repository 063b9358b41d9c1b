// A guest that works its page tables at random and without discipline: aliased tables, a directory that maps itself, tables
// reached through the windows that they map, stores that change the page of the code that makes them, A and D bits cleared,
// entries left half written, and INVLPG or CR3 only now and then. What it computes is defined by the machine alone, so that
// engines can be compared; between two MMU plugins it may differ.

import {
  addr,
  Assembler,
  cr0,
  cr2,
  cr3,
  cr4,
  eax,
  ebp,
  ebx,
  ecx,
  edi,
  edx,
  esi,
  esp,
  mem,
  mem16,
  mem32,
  mem8,
} from "../../../guests/assembler/mod.ts";
import type { GuestImage } from "../../../guests/mod.ts";
import { PAGE, PAGE_FAULT_VECTOR, PAGE_SIZE } from "../../../guests/hardware.ts";
import { buildProtected, FREE_MEMORY, setGate } from "../../../guests/runtime.ts";

export interface TortureOptions {
  readonly seed: number;
  /** Random operations in the loop, and times round it. */
  readonly operations: number;
  readonly rounds: number;
  /** Global identity map, as kernels have it. */
  readonly isGlobal: boolean;
}

const [DIRECTORY_A, DIRECTORY_B] = [FREE_MEMORY, FREE_MEMORY + PAGE_SIZE];
const IDENTITY_TABLES = FREE_MEMORY + 2 * PAGE_SIZE;
const [TABLE_A, TABLE_B] = [FREE_MEMORY + 4 * PAGE_SIZE, FREE_MEMORY + 5 * PAGE_SIZE];
const [CODE_1, CODE_2] = [FREE_MEMORY + 6 * PAGE_SIZE, FREE_MEMORY + 7 * PAGE_SIZE];
const CODE_TABLE = FREE_MEMORY + 8 * PAGE_SIZE, TABLES_END = CODE_TABLE + PAGE_SIZE;
const FRAMES = 0x30_0000;
const WINDOW = 0x4000_0000, ALIAS = 0x4040_0000, CODE = 0x4080_0000, SELF = 0xffc0_0000;
/** Pages of the window; pages of code, which have a table of their own in both address spaces. */
const PAGES = 16, CODE_PAGES = 2;
const ALL = PAGE.PRESENT | PAGE.WRITABLE | PAGE.USER;
const CR4_PGE = 0x80, CR0_PG_WP = 0x8001_0000 | 0, GLOBAL = 0x100;
const FIRST_WINDOW_ENTRY = (WINDOW >>> 20) & 0xffc, ALIAS_ENTRY = (ALIAS >>> 20) & 0xffc;
const CODE_ENTRY = (CODE >>> 20) & 0xffc, SELF_ENTRY = 0xffc;

export function buildTorture({ seed, operations, rounds, isGlobal }: TortureOptions): GuestImage {
  const below = generator(seed);
  return buildProtected((asm) => {
    setGate(asm, PAGE_FAULT_VECTOR, "pageFault");
    buildTables(asm, isGlobal);
    codePages(asm);
    asm.mov(eax, DIRECTORY_A).mov(cr3, eax).mov(eax, cr0).or(eax, CR0_PG_WP).mov(cr0, eax);
    if (isGlobal) asm.mov(eax, cr4).or(eax, CR4_PGE).mov(cr4, eax);
    asm.xor(ebx, ebx).mov(ebp, rounds).label("round");
    for (let i = 0; i < operations; i++) operation(asm, below);
    asm.dec(ebp).jnz("round");
    faultHandler(asm);
  });
}

function buildTables(asm: Assembler, isGlobal: boolean): void {
  asm.mov(edi, DIRECTORY_A).mov(ecx, (TABLES_END - DIRECTORY_A) / 4).xor(eax, eax).rep().stosd();
  asm.mov(edi, IDENTITY_TABLES).mov(ecx, 2048).mov(eax, PAGE.PRESENT | PAGE.WRITABLE | (isGlobal ? GLOBAL : 0));
  asm.label("identity").stosd().add(eax, PAGE_SIZE).loop("identity");
  for (const directory of [DIRECTORY_A, DIRECTORY_B]) {
    for (let i = 0; i < 2; i++) asm.mov(mem32(directory + i * 4), (IDENTITY_TABLES + i * PAGE_SIZE) | ALL);
  }
  asm.call("repairDirectories");
  for (let page = 0; page < PAGES; page++) {
    for (const table of [TABLE_A, TABLE_B]) asm.mov(mem32(table + page * 4), (FRAMES + page * PAGE_SIZE) | ALL);
  }
  for (let page = 0; page < CODE_PAGES; page++) asm.mov(mem32(CODE_TABLE + page * 4), CODE_1 | ALL);
}

/** Two pages with the same routine but for a constant: it stores edx at ecx, which may change the page that it runs in. */
function codePages(asm: Assembler): void {
  for (const [page, constant] of [[CODE_1, 0x1111], [CODE_2, 0x2222]]) {
    const { bytes } = new Assembler({ origin: 0 }).mov(mem32(ecx), edx).add(ebx, constant).nop().add(ebx, constant)
      .jmp("on").label("on").add(ebx, constant).ret().assemble();
    for (const [at, byte] of bytes.entries()) asm.mov(mem8(page + at), byte);
  }
}

/** One random operation; its constants are the same each round. */
function operation(asm: Assembler, below: (bound: number) => number): void {
  const page = below(PAGES), word = WINDOW + page * PAGE_SIZE + below(1000) * 4;
  const linear = below(4) === 0 ? word - WINDOW + ALIAS : word;
  const value = anEntry(below, page);
  const at = anEntryAddress(below, page);
  const cases: (() => void)[] = [
    () => asm.mov(eax, mem(linear)).rol(ebx, 5).xor(ebx, eax),
    () => asm.mov(mem32(linear), (FRAMES + below(PAGES) * PAGE_SIZE) | ALL | (below(2) ? PAGE.ACCESSED : 0)),
    () => asm.mov(mem32(at), value),
    () => asm.mov(eax, value).xchg(mem(at), eax).xor(ebx, eax),
    () => asm.and(mem32(at), ~(below(2) ? PAGE.ACCESSED : PAGE.DIRTY | PAGE.ACCESSED)),
    () => asm.btr(mem32(at), below(7)),
    () => asm.or(mem32(at), ALL),
    () => asm.mov(mem8(at), value & 0xff),
    () => asm.mov(mem16(at), value & 0xffff),
    // Across two entries.
    () => asm.mov(eax, mem(at - 2 & ~1)).mov(mem(at - 2 & ~1), eax),
    () => asm.mov(eax, mem(at)).xor(ebx, eax),
    () => asm.invlpg(mem(word)),
    () => asm.mov(eax, below(2) ? DIRECTORY_A : DIRECTORY_B).mov(cr3, eax),
    () => asm.mov(eax, cr3).mov(cr3, eax),
    () => asm.mov(mem32(aDirectoryEntry(below)), [TABLE_A | ALL, TABLE_B | ALL, TABLE_A | 1, 0][below(4)]),
    () => asm.mov(edi, TABLE_A + page * 4).mov(ecx, Math.min(3, PAGES - page)).mov(eax, value).cld().rep().stosd(),
    () => asm.mov(esi, TABLE_A).mov(edi, TABLE_B).mov(ecx, PAGES).cld().rep().movsd(),
    () => asm.mov(esi, word).mov(edi, at).movsd(),
    // The code's own page.
    () => {
      const page = below(CODE_PAGES);
      asm.mov(ecx, CODE_TABLE + page * 4).mov(edx, (below(2) ? CODE_1 : CODE_2) | ALL | (below(2) ? PAGE.ACCESSED : 0));
      if (below(4) === 0) asm.mov(edx, 0);
      asm.mov(eax, CODE + page * PAGE_SIZE).call(eax);
    },
    // The table through a page that it maps itself.
    () =>
      asm.mov(mem32(TABLE_A + page * 4), TABLE_A | ALL).mov(mem32(WINDOW + page * PAGE_SIZE + below(PAGES) * 4), value),
  ];
  cases[below(cases.length)]();
}

/** A page-table entry: most lead to a frame of data, some to a table, some nowhere, some deny. */
function anEntry(below: (bound: number) => number, page: number): number {
  const frame = below(8) === 0 ? (below(2) ? TABLE_A : TABLE_B) : FRAMES + ((page * 5 + below(3)) % PAGES) * PAGE_SIZE;
  const flags =
    [ALL, ALL, ALL | PAGE.ACCESSED, ALL | PAGE.ACCESSED | PAGE.DIRTY, PAGE.PRESENT | PAGE.USER, 0][below(6)];
  return frame | flags;
}

/** A linear address of the entry of a window page: by the identity map, through the directory that maps itself, or aliased. */
function anEntryAddress(below: (bound: number) => number, page: number): number {
  switch (below(4)) {
    case 0:
      return SELF + (WINDOW >>> 10) + page * 4;
    case 1:
      return SELF + (ALIAS >>> 10) + page * 4;
    case 2:
      return TABLE_B + page * 4;
    default:
      return TABLE_A + page * 4;
  }
}

function aDirectoryEntry(below: (bound: number) => number): number {
  const entry = below(2) ? FIRST_WINDOW_ENTRY : ALIAS_ENTRY;
  return (below(3) === 0 ? SELF + 0x3ff000 : below(2) ? DIRECTORY_A : DIRECTORY_B) + entry;
}

function faultHandler(asm: Assembler): void {
  asm.section("routines", () => {
    asm.align(16).label("repairDirectories");
    for (const [directory, table] of [[DIRECTORY_A, TABLE_A], [DIRECTORY_B, TABLE_B]]) {
      asm.mov(mem32(directory + FIRST_WINDOW_ENTRY), table | ALL).mov(mem32(directory + ALIAS_ENTRY), TABLE_A | ALL);
      asm.mov(mem32(directory + SELF_ENTRY), directory | PAGE.PRESENT | PAGE.WRITABLE);
      asm.mov(mem32(directory + CODE_ENTRY), CODE_TABLE | ALL);
    }
    asm.ret();

    // Makes the page what it was at first, in every table; anything else is an error.
    asm.align(16).label("pageFault").push(eax).push(ecx).mov(eax, cr2).cmp(eax, WINDOW).jb("elsewhere");
    asm.call("repairDirectories").mov(ecx, eax).shr(ecx, 12).and(ecx, PAGES - 1);
    asm.add(ebx, eax).mov(eax, mem32({ index: ecx, scale: 4, disp: addr("defaults") }));
    asm.mov(mem32({ index: ecx, scale: 4, disp: TABLE_A }), eax).mov(
      mem32({ index: ecx, scale: 4, disp: TABLE_B }),
      eax,
    );
    for (let page = 0; page < CODE_PAGES; page++) asm.mov(mem32(CODE_TABLE + page * 4), CODE_1 | ALL);
    asm.mov(eax, cr2).invlpg(mem(eax)).pop(ecx).pop(eax).add(esp, 4).iret();
    asm.label("elsewhere").pop(ecx).pop(eax).push(PAGE_FAULT_VECTOR).jmp("exception");
  });
  asm.section("data", () => {
    asm.align(4).label("defaults");
    for (let page = 0; page < PAGES; page++) asm.dd((FRAMES + page * PAGE_SIZE) | ALL);
  });
}

/** A small linear congruential generator: numbers below a bound. */
function generator(seed: number): (bound: number) => number {
  let state = (seed * 0x9e37_79b9 + 1) >>> 0;
  return (bound) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * bound);
  };
}
