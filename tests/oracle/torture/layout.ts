// Where everything of the torture guest lies, and the names of the bits its cases set: fixed addresses, so that what it
// prints does not depend on how its code is laid out. Intel SDM volume 3A: chapters 2, 3, 4 and 7.

/** Guest-physical addresses. All below 4 MiB are mapped to themselves when paging is on. */
export const AT = {
  IMAGE: 0x10_0000,
  GDT: 0x1c_0000,
  IDT: 0x1c_1000,
  TSS: 0x1c_2000,
  LDT: 0x1c_5000,
  TSS16: 0x1c_6000,
  /** Tops of the stacks: the harness's own, a case's at CPL 0, what the TSS names for CPL 0 to 2, and CPL 3's. */
  HARNESS_STACK: 0x1d_1000,
  CASE_STACK: 0x1d_3000,
  RING_STACK: [0x1d_5000, 0x1d_7000, 0x1d_9000, 0x1d_b000],
  PAGE_DIRECTORY: 0x1e_0000,
  /** Maps the first 4 MiB to themselves; one entry a page. */
  IDENTITY_TABLE: 0x1e_1000,
  /** Maps the window. */
  WINDOW_TABLE: 0x1e_2000,
  PAE_POINTERS: 0x1e_3000,
  PAE_DIRECTORY: 0x1e_4000,
  PAE_WINDOW_TABLE: 0x1e_5000,
  /** Page frames that cases use; the first four are zeroed for every case. */
  FRAMES: 0x20_0000,
  /** Linear address of the window: the directory's second entry, the window table's pages. */
  WINDOW: 0x40_0000,
  /** Where a real-mode section's code and data are copied to. */
  LOW_CODE: 0x1_0000,
  LOW_DATA: 0x2_0000,
} as const;

export const PAGE_BYTES = 0x1000;
export const FRAMES_ZEROED = 4;

/** Selectors of the descriptors that every case finds. */
export const SELECTOR = {
  CODE: 0x08,
  DATA: 0x10,
  CODE3: 0x1b,
  DATA3: 0x23,
  TSS: 0x28,
  LDT: 0x30,
  /** 32-bit code based at the 16-bit gates' handlers. */
  GATE16_CODE: 0x38,
  TSS16: 0x40,
  CODE1: 0x49,
  DATA1: 0x51,
  CODE2: 0x5a,
  DATA2: 0x62,
  CONFORMING: 0x68,
  /** 16-bit code and data with base 0, whose base a case may set. */
  CODE16: 0x70,
  DATA16: 0x78,
  /** First of the descriptors that cases define themselves. */
  FREE: 0x80,
} as const;

/** Selectors of code, data and stack by privilege level. */
export const CODE_OF = [SELECTOR.CODE, SELECTOR.CODE1, SELECTOR.CODE2, SELECTOR.CODE3] as const;
export const DATA_OF = [SELECTOR.DATA, SELECTOR.DATA1, SELECTOR.DATA2, SELECTOR.DATA3] as const;

export const GDT_ENTRIES = 64;
export const DESCRIPTOR_BYTES = 8;
export const GDT_LIMIT = GDT_ENTRIES * DESCRIPTOR_BYTES - 1;
export const LDT_LIMIT = 4 * DESCRIPTOR_BYTES - 1;
export const IDT_LIMIT = 256 * DESCRIPTOR_BYTES - 1;
export const TSS_LIMIT = 0x67;
export const TSS16_LIMIT = 0x2b;

/** Fields of a 32-bit and of a 16-bit task-state segment. */
export const TSS = { ESP0: 4, SS0: 8, ESP1: 12, SS1: 16, ESP2: 20, SS2: 24, IO_MAP_BASE: 102 } as const;
export const TSS16 = { SP0: 2, SS0: 4 } as const;

/** Access byte of a descriptor: present, DPL, and the type (with S). */
export const PRESENT = 0x80;
export const TYPE = {
  DATA_RO: 0x10,
  DATA_RW: 0x12,
  DATA_RO_DOWN: 0x14,
  DATA_RW_DOWN: 0x16,
  CODE_XO: 0x18,
  CODE_XR: 0x1a,
  CODE_XO_CONFORMING: 0x1c,
  CODE_XR_CONFORMING: 0x1e,
  TSS16: 0x01,
  LDT: 0x02,
  TSS16_BUSY: 0x03,
  CALL_GATE16: 0x04,
  TASK_GATE: 0x05,
  INTERRUPT_GATE16: 0x06,
  TRAP_GATE16: 0x07,
  TSS32: 0x09,
  TSS32_BUSY: 0x0b,
  CALL_GATE32: 0x0c,
  INTERRUPT_GATE32: 0x0e,
  TRAP_GATE32: 0x0f,
} as const;
export const ACCESSED = 0x01;

/** Access byte of a present descriptor of `type` and `dpl`. */
export function access(type: number, dpl = 0): number {
  return PRESENT | (dpl << 5) | type;
}

/** A code, data or system segment. `limit` in bytes, or in pages with `pages`. */
export interface SegmentDescriptor {
  readonly base?: number;
  readonly limit?: number;
  readonly access: number;
  /** D/B: 32-bit operands, or a stack pointer of 32 bits. */
  readonly big?: boolean;
  readonly pages?: boolean;
}

const FLAG_BIG = 1 << 22, FLAG_PAGES = 1 << 23;

/** A segment descriptor's two words. */
export function segment(d: SegmentDescriptor): [low: number, high: number] {
  const { base = 0, limit = 0xf_ffff, big = true, pages = d.limit === undefined } = d;
  const low = ((base & 0xffff) << 16) | (limit & 0xffff);
  const high = (base & 0xff00_0000) | (limit & 0xf_0000) | ((base >>> 16) & 0xff) | (d.access << 8) |
    (big ? FLAG_BIG : 0) | (pages ? FLAG_PAGES : 0);
  return [low >>> 0, high >>> 0];
}

/** Bits of EFLAGS. */
export const FLAG = {
  CF: 0x1,
  FIXED: 0x2,
  PF: 0x4,
  AF: 0x10,
  ZF: 0x40,
  SF: 0x80,
  TF: 0x100,
  IF: 0x200,
  DF: 0x400,
  OF: 0x800,
  IOPL3: 0x3000,
  NT: 0x4000,
  RF: 0x1_0000,
  VM: 0x2_0000,
  AC: 0x4_0000,
  ID: 0x20_0000,
} as const;
/** All status flags set. */
export const STATUS = FLAG.CF | FLAG.PF | FLAG.AF | FLAG.ZF | FLAG.SF | FLAG.OF;

/** Bits of CR0 and CR4. */
export const CR0 = {
  PE: 1,
  MP: 2,
  EM: 4,
  TS: 8,
  ET: 0x10,
  NE: 0x20,
  WP: 0x1_0000,
  AM: 0x4_0000,
  NW: 0x2000_0000,
  CD: 0x4000_0000,
  PG: 0x8000_0000,
} as const;
export const CR4 = { TSD: 4, PSE: 0x10, PAE: 0x20, PGE: 0x80 } as const;

/** Bits of a page-table or page-directory entry. */
export const PAGE = { P: 1, RW: 2, US: 4, A: 0x20, D: 0x40, PS: 0x80, G: 0x100 } as const;
/** What the harness reports of an entry: all flags. */
export const PAGE_FLAGS = 0xfff;

/** Exception vectors. */
export const VECTOR = {
  DE: 0,
  DB: 1,
  BP: 3,
  OF: 4,
  BR: 5,
  UD: 6,
  NM: 7,
  DF: 8,
  TS: 10,
  NP: 11,
  SS: 12,
  GP: 13,
  PF: 14,
  /** INT 40 ends a case; 41 to 47 are free to call from ring 3; 48 to 4f have gates of DPL 0. */
  END: 0x40,
  USER: 0x41,
  KERNEL: 0x48,
  /** First vector of the interrupt controllers. */
  IRQ: 0x50,
} as const;
export const GATES = 0x60;

/** Vectors with an error code, SDM 3A table 6-1. */
export const WITH_ERROR_CODE: ReadonlySet<number> = new Set([8, 10, 11, 12, 13, 14, 17]);
