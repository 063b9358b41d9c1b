// What lies where in the arena (arena.ts): page tables, descriptors, exception handlers, and pages of every kind. Tables
// after the Intel SDM 3A, chapters 3, 4 and 6.

import { Random } from "../../../core/mod.ts";
import { Mmu } from "../../../plugins/x86/mod.ts";

const CODE = 0x10000, CODE_PAGES = 4, DATA = 0x14000, DATA_PAGES = 4, STACK = 0x1c000, STACK_PAGES = 2;

/** Guest-physical addresses, which are the linear ones but for the aliases; indices of descriptors. */
export const L = {
  PAGE: 4096,
  PAGE_DIRECTORY: 0x1000,
  PAGE_TABLE: 0x2000,
  /** Page table for those linear addresses from 4 MiB on that are mapped: all code and data pages again. */
  HIGH_PAGE_TABLE: 0x8000,
  GDT: 0x3000,
  IDT: 0x3400,
  TSS: 0x3d00,
  HANDLERS: 0x4000,
  /** Next entry of the log, then the log of faults. */
  LOG: 0x5000,
  KERNEL_STACK: 0x7000,
  CODE,
  CODE_BYTES: CODE_PAGES * 4096,
  DATA,
  DATA_BYTES: DATA_PAGES * 4096,
  READ_ONLY: 0x18000,
  ABSENT: 0x19000,
  SUPERVISOR: 0x1a000,
  STACK,
  STACK_BYTES: STACK_PAGES * 4096,
  /** Other linear pages of the second code page and of the first data page. */
  CODE_ALIAS: 0x20000,
  DATA_ALIAS: 0x21000,
  /** All code and data pages again, where they meet the same instruction-TLB and the same data-TLB entries. */
  INSTRUCTION_CONFLICT: Mmu.INSTRUCTION_ENTRIES * 4096,
  DATA_CONFLICT: Mmu.ENTRIES * 4096,
  CODE_SYSTEM: 1,
  DATA_SYSTEM: 2,
  CODE_USER: 3,
  DATA_USER: 4,
  TASK: 5,
  CODE16_SYSTEM: 6,
  CODE16_USER: 7,
  /** Data segments for FS and GS: with a base, with a base and a limit, read-only, flat. */
  BASED: 8,
  LIMITED: 9,
  READ_ONLY_SEGMENT: 10,
  /** Bytes of a slot of code; handlers resume at the next slot. */
  SLOT: 16,
} as const;

const PRESENT = 1, WRITABLE = 2, USER = 4;
const GRANULAR = 8, BIG = 4;
const CODE_TYPE = 0xb, DATA_TYPE = 3, READ_ONLY_TYPE = 1, TSS_TYPE = 0xb, INTERRUPT_GATE = 0xe;

function descriptor(type: number, dpl: number, flags: number, base = 0, limit = 0xfffff, isSystem = false) {
  const low = (base << 16) | (limit & 0xffff);
  const high = ((base >>> 16) & 0xff) | (type << 8) | (isSystem ? 0 : 1 << 12) | (dpl << 13) | (1 << 15) |
    (limit & 0xf0000) | (flags << 20) | (base & 0xff000000);
  return [low | 0, high | 0] as const;
}

/** The GDT, by the indices in `L`. */
export const SEGMENTS: readonly (readonly [low: number, high: number])[] = [
  [0, 0],
  descriptor(CODE_TYPE, 0, GRANULAR | BIG),
  descriptor(DATA_TYPE, 0, GRANULAR | BIG),
  descriptor(CODE_TYPE, 3, GRANULAR | BIG),
  descriptor(DATA_TYPE, 3, GRANULAR | BIG),
  descriptor(TSS_TYPE, 0, 0, L.TSS, 103, true),
  descriptor(CODE_TYPE, 0, GRANULAR),
  descriptor(CODE_TYPE, 3, GRANULAR),
  descriptor(DATA_TYPE, 3, GRANULAR | BIG, DATA),
  descriptor(DATA_TYPE, 3, BIG, DATA, 0x1fff),
  descriptor(READ_ONLY_TYPE, 3, GRANULAR | BIG),
];

/** A selector for a privilege level. */
export function selectorOf(index: number, rpl: number): number {
  return index * 8 | (index === L.TASK ? 0 : rpl);
}

/** Values that instructions treat specially. */
export const INTERESTING: readonly number[] = [
  ...[0, 1, 2, 3, 4, 7, 8, 15, 16, 31, 32, 33, 0x7f, 0x80, 0x81, 0xff, 0x100, 0x7fff, 0x8000, 0xffff, 0x10000],
  ...[0x7fffffff, 0x80000000, 0x80000001, 0xffffffff, 0xfffffffe, 0xffffff80, 0xffff8000, 0x55555555, 0xaaaaaaaa],
];

/** Contents of the data and stack pages: pointers to code and data, special values, noise. */
export const DATA_WORDS: Int32Array = dataWords();

function dataWords(): Int32Array {
  const random = new Random("arena data");
  const pages = (L.STACK + L.STACK_BYTES - L.DATA) / 4;
  return Int32Array.from({ length: pages }, (_, at) => {
    const isStack = L.DATA + at * 4 >= L.STACK;
    switch (random.below(isStack ? 2 : 5) * (isStack && random.below(4) > 0 ? 0 : 1)) {
      case 0:
        return L.CODE + random.below(L.CODE_BYTES / L.SLOT) * L.SLOT;
      case 1:
        return L.DATA + random.below(L.DATA_BYTES);
      case 2:
        return INTERESTING[random.below(INTERESTING.length)];
      case 3:
        return L.STACK + random.below(L.STACK_BYTES) & ~3;
      default:
        return random.next();
    }
  });
}

/** Memory apart from code and data: tables, handlers, and code pages from which every slot jumps to the first. */
export function imageOfSystem(): Int32Array {
  const bytes = new Uint8Array(1 << 20);
  const view = new DataView(bytes.buffer);
  const put = (at: number, value: number) => view.setInt32(at, value, true);
  const map = (linear: number, physical: number, rights: number) => {
    const table = linear >>> 22 === 0 ? L.PAGE_TABLE : L.HIGH_PAGE_TABLE;
    put(table + ((linear >>> 12) & 0x3ff) * 4, physical | rights);
  };
  put(L.PAGE_DIRECTORY, L.PAGE_TABLE | PRESENT | WRITABLE | USER);
  for (const linear of [4 << 20, L.INSTRUCTION_CONFLICT, L.DATA_CONFLICT]) {
    put(L.PAGE_DIRECTORY + (linear >>> 22) * 4, L.HIGH_PAGE_TABLE | PRESENT | WRITABLE | USER);
  }
  for (let page = L.PAGE_DIRECTORY; page <= L.HIGH_PAGE_TABLE; page += L.PAGE) map(page, page, PRESENT | WRITABLE);
  const all = PRESENT | WRITABLE | USER;
  for (let page: number = L.CODE; page < L.STACK + L.STACK_BYTES; page += L.PAGE) {
    if (page === L.ABSENT) continue;
    const rights = page === L.READ_ONLY ? PRESENT | USER : page === L.SUPERVISOR ? PRESENT | WRITABLE : all;
    map(page, page, rights);
    map(page + L.INSTRUCTION_CONFLICT, page, rights);
    map(page + L.DATA_CONFLICT, page, rights);
  }
  map(L.CODE_ALIAS, L.CODE + L.PAGE, all);
  map(L.DATA_ALIAS, L.DATA, all);
  SEGMENTS.forEach(([low, high], index) => {
    put(L.GDT + index * 8, low);
    put(L.GDT + index * 8 + 4, high);
  });
  put(L.TSS + 4, L.KERNEL_STACK);
  put(L.TSS + 8, selectorOf(L.DATA_SYSTEM, 0));
  put(L.LOG, L.LOG + 16);
  putHandlers(bytes, view);
  for (let slot = 0; slot < L.CODE_BYTES; slot += L.SLOT) bytes.set(jump(L.CODE + slot, L.CODE), L.CODE + slot);
  return new Int32Array(bytes.buffer);
}

/** JMP rel32 at `at`. */
export function jump(at: number, target: number): number[] {
  return [0xe9, ...word(target - at - 5)];
}

/** A word's bytes. */
export function word(value: number): number[] {
  return [value & 0xff, (value >>> 8) & 0xff, (value >>> 16) & 0xff, value >>> 24];
}

const WITH_ERROR_CODE = [8, 10, 11, 12, 13, 14, 17];
const STUB_BYTES = 16;

/** Gates for every vector: each stub leaves its vector and an error code on the stack for the common part. */
function putHandlers(bytes: Uint8Array, view: DataView): void {
  const common = L.HANDLERS + 33 * STUB_BYTES;
  for (let vector = 0; vector < 256; vector++) {
    const number = Math.min(vector, 32), stub = L.HANDLERS + number * STUB_BYTES;
    view.setInt32(L.IDT + vector * 8, (selectorOf(L.CODE_SYSTEM, 0) << 16) | (stub & 0xffff), true);
    view.setInt32(
      L.IDT + vector * 8 + 4,
      (stub & 0xffff0000) | ((PRESENT << 7 | 3 << 5 | INTERRUPT_GATE) << 8),
      true,
    );
    const push = [...(WITH_ERROR_CODE.includes(number) ? [] : [0x6a, 0]), 0x6a, number];
    bytes.set([...push, ...jump(stub + push.length, common)], stub);
  }
  bytes.set(COMMON, common);
}

/**
 * Logs vector, error code and EIP, clears TF, NT and AC, and returns to the slot after EIP, or to the first where EIP lies
 * outside the code pages.
 */
const COMMON = [
  0x1e, // push ds
  0x50, // push eax
  0x53, // push ebx
  ...[0xb8, ...word(2 * 8)], // mov eax, data selector
  ...[0x8e, 0xd8], // mov ds, eax
  ...[0x8b, 0x1d, ...word(L.LOG)], // mov ebx, [log]
  ...[0x8b, 0x44, 0x24, 12, 0x89, 0x03], // mov eax, [esp+12]; mov [ebx], eax
  ...[0x8b, 0x44, 0x24, 16, 0x89, 0x43, 4], // mov eax, [esp+16]; mov [ebx+4], eax
  ...[0x8b, 0x44, 0x24, 20, 0x89, 0x43, 8], // mov eax, [esp+20]; mov [ebx+8], eax
  ...[0x83, 0xc3, 12], // add ebx, 12
  ...[0x81, 0xe3, ...word(L.LOG | 0x7ff)], // and ebx: the log wraps
  ...[0x83, 0xcb, 0x10], // or ebx, 16
  ...[0x89, 0x1d, ...word(L.LOG)], // mov [log], ebx
  ...[0x83, 0xc0, 16], // add eax, 16
  ...[0x83, 0xe0, 0xf0], // and eax, -16
  ...[0x8d, 0x98, ...word(-L.CODE)], // lea ebx, [eax - code]
  ...[0x81, 0xfb, ...word(L.CODE_BYTES)], // cmp ebx, size
  ...[0x72, 5], // jb over
  ...[0xb8, ...word(L.CODE)], // mov eax, code
  ...[0x89, 0x44, 0x24, 20], // mov [esp+20], eax
  ...[0x81, 0x64, 0x24, 28, ...word(~0x44100)], // and [esp+28], ~(TF | NT | AC)
  0x5b, // pop ebx
  0x58, // pop eax
  0x1f, // pop ds
  ...[0x83, 0xc4, 8], // add esp, 8
  0xcf, // iretd
];
