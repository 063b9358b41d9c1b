// Where a virtual processor's registers lie: word offsets into one Int32Array per VM, so that the interpreter, translated
// code, saved states and hashes all read the same place (Intel SDM 1, chapter 3; SDM 3A, chapter 2).

/** General registers at words 0..7, then a word that always holds zero (NO_REGISTER). */
export const REG = 0, REG_ZERO = 8;
export const EIP = 9;
/**
 * The six status flags, kept as what they were computed from and read on demand.
 * FLAG_RESULT: the last result, sign-extended to 32 bits: ZF and SF, and PF from its low byte.
 * FLAG_AUX: bit 31 CF, bit 30 CF xor OF, bit 3 AF; bit 0 inverts SF, bit 1 inverts PF, for flags that no result has.
 */
export const FLAG_RESULT = 10, FLAG_AUX = 11;
/** EFLAGS apart from the status flags; bit 1 is always set. */
export const FLAGS_OTHER = 12;
/** Current privilege level, 0..3: 3 in V86 mode, 0 in real mode. */
export const CPL = 13;
/** What holds interrupts back until the next instruction has completed: see `Shadow`. */
export const INTERRUPT_SHADOW = 14;
/** HLT has executed and nothing has woken the processor yet; SUSPENDED: only `resume` starts it. */
export const HALTED = 15;
export const SUSPENDED = 2;

/** Segment registers by number: ES, CS, SS, DS, FS, GS, then LDTR and TR. */
export const LDTR = 6, TR = 7, SEGMENT_COUNT = 8;
export const SELECTOR = 16, BASE = 24, LIMIT = 32, ATTRIBUTES = 40;
/**
 * ATTRIBUTES holds bits 8..23 of a descriptor's high word where they lie there (type, S, DPL, P, AVL, D/B, G), the limit's
 * bits taken out. LIMIT is in bytes, the granularity applied.
 */
export const SEG_TYPE = 0xf00, SEG_CODE = 1 << 11, SEG_EXPAND_DOWN = 1 << 10, SEG_CONFORMING = 1 << 10;
export const SEG_WRITABLE = 1 << 9, SEG_READABLE = 1 << 9, SEG_ACCESSED = 1 << 8, SEG_S = 1 << 12, SEG_DPL_SHIFT = 13;
export const SEG_P = 1 << 15, SEG_AVL = 1 << 20, SEG_DB = 1 << 22, SEG_G = 1 << 23;
/** Set in ATTRIBUTES of a register that was loaded with a null selector. */
export const SEG_NULL = 1;

export const GDTR_BASE = 48, GDTR_LIMIT = 49, IDTR_BASE = 50, IDTR_LIMIT = 51;
export const CR0 = 52, CR2 = 53, CR3 = 54, CR4 = 55;
/** DR0..DR7 at words 56..63. */
export const DR = 56, DR6 = 62, DR7 = 63;
export const SYSENTER_CS = 64, SYSENTER_ESP = 65, SYSENTER_EIP = 66;
/** Added to the clock's cycles to give the time-stamp counter (a WRMSR sets it), as low and high words. */
export const TSC_OFFSET_LOW = 67, TSC_OFFSET_HIGH = 68;
/** Events that wait: see `Pending`. */
export const PENDING = 69;
/** The four page-directory-pointer entries of PAE, loaded with CR3: low and high words. */
export const PDPTE = 72;
/** Microcode revision as IA32_BIOS_SIGN_ID returns it. */
export const MSR_BIOS_SIGN = 80;
/** MXCSR, and the eight XMM registers of four words each, from the least significant up (SDM 1, 10.2). */
export const MXCSR = 81, XMM = 96;
/** First word of the x87 FPU's part, whose layout is `X87` (x87/fpu.ts owns it). */
export const X87_STATE = 128;
/**
 * The x87 FPU's words, counted from the start of the block. SIGNIFICAND: eight of 64 bits, by physical register.
 * SIGN_EXPONENT: eight halves. TAG: eight bytes, 1 where the register is empty. PENDING is 1 where an exception waits. STATUS
 * has no C1: that is in ROUNDED_UP, at its place, because nearly every instruction writes it. CONTROL follows STATUS, so that
 * one load has both.
 */
export const X87 = {
  SIGNIFICAND: X87_STATE,
  SIGN_EXPONENT: X87_STATE + 16,
  TAG: X87_STATE + 20,
  TOP: X87_STATE + 22,
  PENDING: X87_STATE + 23,
  STATUS: X87_STATE + 24,
  CONTROL: X87_STATE + 25,
  ROUNDED_UP: X87_STATE + 26,
  INSTRUCTION_SELECTOR: X87_STATE + 27,
  INSTRUCTION_OFFSET: X87_STATE + 28,
  OPCODE: X87_STATE + 29,
  DATA_OFFSET: X87_STATE + 30,
  DATA_SELECTOR: X87_STATE + 31,
} as const;
/** Words of the FPU's part, and of the whole block. */
export const X87_WORDS = 32, STATE_WORDS = X87_STATE + X87_WORDS;

/** Values of INTERRUPT_SHADOW: a load of SS also holds back debug traps (SDM 3A, 6.8.3). */
export const Shadow = { none: 0, sti: 1, stackLoad: 2 } as const;

/** Bits of PENDING. */
export const Pending = { interrupt: 1, nmi: 2, debugTrap: 4, nmiBlocked: 8 } as const;

/** CR0 and CR4 bits (SDM 3A, 2.5). */
export const CR0_PE = 1 << 0, CR0_MP = 1 << 1, CR0_EM = 1 << 2, CR0_TS = 1 << 3, CR0_ET = 1 << 4, CR0_NE = 1 << 5;
export const CR0_WP = 1 << 16, CR0_AM = 1 << 18, CR0_NW = 1 << 29, CR0_CD = 1 << 30, CR0_PG = 1 << 31;
export const CR4_VME = 1 << 0, CR4_PVI = 1 << 1, CR4_TSD = 1 << 2, CR4_DE = 1 << 3, CR4_PSE = 1 << 4, CR4_PAE = 1 << 5;
export const CR4_MCE = 1 << 6, CR4_PGE = 1 << 7, CR4_PCE = 1 << 8, CR4_OSFXSR = 1 << 9, CR4_OSXMMEXCPT = 1 << 10;

/** MXCSR after power-on: all exceptions masked (SDM 3A, table 9-1). */
export const MXCSR_AT_POWER_ON = 0x1f80;

/** Exception vectors (SDM 3A, 6.3.1). */
export const Vector = {
  divideError: 0,
  debug: 1,
  nmi: 2,
  breakpoint: 3,
  overflow: 4,
  bound: 5,
  invalidOpcode: 6,
  deviceNotAvailable: 7,
  doubleFault: 8,
  coprocessorSegment: 9,
  invalidTss: 10,
  segmentNotPresent: 11,
  stackFault: 12,
  generalProtection: 13,
  pageFault: 14,
  floatingPoint: 16,
  alignmentCheck: 17,
  machineCheck: 18,
  simd: 19,
} as const;
