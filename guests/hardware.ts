// The PC as guests program it: ports, register bits, selectors, exception vectors. Names are the manuals': 16550 UART
// (National PC16550D), 8259A PIC, 8254 PIT, Intel SDM volume 3A chapters 2, 4 and 6.

/** 16550 UART, first serial port. */
export const UART = {
  THR: 0x3f8,
  LCR: 0x3fb,
  LSR: 0x3fd,
  SCR: 0x3ff,
  /** LCR: 8 data bits, no parity, one stop bit, divisor latch off. */
  LCR_8N1: 0x03,
  /** LSR: transmitter holding register empty. */
  LSR_THRE: 0x20,
} as const;

/** Writing a value v ends the machine with status (v << 1) | 1. */
export const DEBUG_EXIT_PORT = 0xf4;

/** Value guests write to the debug-exit port when something went wrong. */
export const EXIT_FAILURE = 0x7f;

/** The power-on self-test code, which reads back what was written. */
export const POST_CODE_PORT = 0x80;

/** Registers of the local APIC, by physical address. */
export const LOCAL_APIC = { ID: 0xfee0_0020, TASK_PRIORITY: 0xfee0_0080 } as const;

/** 8259A interrupt controllers. */
export const PIC = {
  MASTER_COMMAND: 0x20,
  MASTER_DATA: 0x21,
  SLAVE_COMMAND: 0xa0,
  SLAVE_DATA: 0xa1,
  /** ICW1: edge triggered, cascaded, ICW4 follows. */
  ICW1_INIT: 0x11,
  /** ICW3: the slave hangs on the master's line 2. */
  ICW3_MASTER: 0x04,
  ICW3_SLAVE: 0x02,
  /** ICW4: 8086 mode, normal end of interrupt. */
  ICW4_8086: 0x01,
  /** OCW2: non-specific end of interrupt. */
  OCW2_EOI: 0x20,
  /** Vectors that the guests map IRQ 0 and IRQ 8 to, past the processor's own. */
  MASTER_VECTOR: 0x20,
  SLAVE_VECTOR: 0x28,
  TIMER_IRQ: 0,
} as const;

/** 8254 interval timer. */
export const PIT = {
  COUNTER_0: 0x40,
  CONTROL: 0x43,
  FREQUENCY_HZ: 1_193_182,
  /** Control word: counter 0, low byte then high byte, mode 2 (rate generator), binary. */
  CONTROL_COUNTER_0_RATE: 0x34,
} as const;

/** Selectors of the guests' own global descriptor table. */
export const SELECTOR = {
  CODE: 0x08,
  DATA: 0x10,
  USER_CODE: 0x18 | 3,
  USER_DATA: 0x20 | 3,
  TASK: 0x28,
} as const;

/** Vector of the page fault, Intel SDM volume 3A table 6-1. */
export const PAGE_FAULT_VECTOR = 14;

/** First vector that neither the processor nor the guests' interrupt controllers use. */
export const FIRST_FREE_VECTOR = 0x30;

/** Bits of EFLAGS. */
export const EFLAGS = { FIXED: 0x2, IF: 0x200 } as const;

/** Bits of CR0 and CR4. */
export const CR0 = { TS: 0x8, WP: 0x1_0000, PG: 0x8000_0000 } as const;
export const CR4 = { PSE: 0x10 } as const;

/** DR7 with every breakpoint off: one bit is fixed. */
export const DR7_DISABLED = 0x400;

/** CPUID leaf 1, EDX: page size extension. */
export const CPUID_EDX_PSE = 0x8;

/** Model-specific registers. */
export const MSR = { SYSENTER_CS: 0x174, SYSENTER_ESP: 0x175, SYSENTER_EIP: 0x176 } as const;

/** Bits of a page-table or page-directory entry, Intel SDM volume 3A section 4.3. */
export const PAGE = {
  PRESENT: 0x01,
  WRITABLE: 0x02,
  USER: 0x04,
  ACCESSED: 0x20,
  DIRTY: 0x40,
  /** Page directory entry: maps 4 MiB (needs CR4.PSE). */
  LARGE: 0x80,
} as const;

/** Bytes in a page. */
export const PAGE_SIZE = 4096;

/** Bits of a page fault's error code. */
export const PAGE_FAULT_ERROR = { PROTECTION: 1, WRITE: 2, USER: 4 } as const;

/** Bytes in a MiB. */
export const MIB = 1 << 20;
