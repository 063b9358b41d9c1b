// Segment and control registers as a debugger writes them: the hidden part follows the selector, the TLB and the mode follow
// the control register, and what the instruction would refuse (SDM 2B, "MOV to/from Control Registers" and "MOV"; 3A, 5.5 to
// 5.8) is refused. Descriptors are looked at without touching the guest's tables, its TLB or the accessed bit.

import * as x86 from "../../x86/mod.ts";

const { state: S } = x86;

const SELECTOR_RPL = 3, SELECTOR_LDT = 4, SELECTOR_OFFSET = 0xfff8, SELECTOR_BITS = 0xffff;
const DESCRIPTOR_BYTES = 8;
/** Bits of a descriptor's high word that a segment register keeps (plugins/x86/state.ts). */
const KEPT_ATTRIBUTES = 0x00f0ff00;
/** What a segment is in real mode. */
const REAL_ATTRIBUTES = S.SEG_P | S.SEG_S | S.SEG_WRITABLE | S.SEG_ACCESSED;
const REAL_SHIFT = 4;

/**
 * Loads a segment register. CS takes the privilege level along, so that SS is to be loaded after it. False, and nothing has
 * changed, where no instruction of the guest could load this selector.
 */
export function writeSegment(cpu: x86.Processor, segment: number, selector: number): boolean {
  if (!cpu.isProtected || cpu.isV86) {
    setReal(cpu, segment, selector & SELECTOR_BITS);
    return true;
  }
  if ((selector & SELECTOR_OFFSET) === 0 && (selector & SELECTOR_LDT) === 0) {
    if (segment === x86.CS || segment === x86.SS) return false;
    setHidden(cpu, segment, selector, 0, 0, S.SEG_NULL);
    return true;
  }
  const descriptor = peekDescriptor(cpu, selector);
  if (descriptor === undefined || !isLoadable(cpu, segment, selector, descriptor.high)) return false;
  const { low, high } = descriptor;
  const base = (low >>> 16) | ((high & 0xff) << 16) | (high & 0xff000000);
  const units = (low & 0xffff) | (high & 0xf0000);
  const limit = high & S.SEG_G ? (units << 12) | 0xfff : units;
  setHidden(cpu, segment, selector, base, limit, high & KEPT_ATTRIBUTES);
  if (segment === x86.CS) cpu.setCpl(selector & SELECTOR_RPL);
  return true;
}

/** Base from the selector; limit and attributes stay as they are, but for those that a null selector left. */
function setReal(cpu: x86.Processor, segment: number, selector: number): void {
  const { r } = cpu;
  r[S.SELECTOR + segment] = selector;
  r[S.BASE + segment] = selector << REAL_SHIFT;
  if (r[S.ATTRIBUTES + segment] & S.SEG_NULL) r[S.ATTRIBUTES + segment] = REAL_ATTRIBUTES;
  cpu.updateMode();
}

function setHidden(
  cpu: x86.Processor,
  segment: number,
  selector: number,
  base: number,
  limit: number,
  attributes: number,
): void {
  const { r } = cpu;
  r[S.SELECTOR + segment] = selector & SELECTOR_BITS;
  r[S.BASE + segment] = base;
  r[S.LIMIT + segment] = limit;
  r[S.ATTRIBUTES + segment] = attributes;
  cpu.updateMode();
}

/** The two words behind a selector; undefined where they are beyond the table or not mapped. */
function peekDescriptor(cpu: x86.Processor, selector: number): { low: number; high: number } | undefined {
  const { r } = cpu, isLocal = (selector & SELECTOR_LDT) !== 0;
  if (isLocal && (r[S.ATTRIBUTES + S.LDTR] & S.SEG_NULL) !== 0) return undefined;
  const base = isLocal ? r[S.BASE + S.LDTR] : r[S.GDTR_BASE];
  const limit = (isLocal ? r[S.LIMIT + S.LDTR] : r[S.GDTR_LIMIT]) >>> 0;
  const offset = selector & SELECTOR_OFFSET;
  if (offset + DESCRIPTOR_BYTES - 1 > limit) return undefined;
  const bytes = cpu.mmu.peekBytes((base + offset) >>> 0, DESCRIPTOR_BYTES);
  if (bytes.length < DESCRIPTOR_BYTES) return undefined;
  const view = new DataView(bytes.buffer);
  return { low: view.getInt32(0, true), high: view.getInt32(4, true) };
}

/** Whether a descriptor goes into a segment register, by its kind and by privilege. */
function isLoadable(cpu: x86.Processor, segment: number, selector: number, high: number): boolean {
  if ((high & (S.SEG_P | S.SEG_S)) !== (S.SEG_P | S.SEG_S)) return false;
  const isCode = (high & S.SEG_CODE) !== 0, isConforming = isCode && (high & S.SEG_CONFORMING) !== 0;
  const rpl = selector & SELECTOR_RPL, dpl = (high >>> S.SEG_DPL_SHIFT) & SELECTOR_RPL, cpl = cpu.r[S.CPL];
  if (segment === x86.CS) return isCode && (isConforming ? dpl <= rpl : dpl === rpl);
  if (segment === x86.SS) return !isCode && (high & S.SEG_WRITABLE) !== 0 && rpl === cpl && dpl === cpl;
  return (!isCode || (high & S.SEG_READABLE) !== 0) && (isConforming || dpl >= Math.max(cpl, rpl));
}

/** CR0 bits that exist, and CR4 bits that the described processor has. */
const CR0_BITS = S.CR0_PE | S.CR0_MP | S.CR0_EM | S.CR0_TS | S.CR0_ET | S.CR0_NE | S.CR0_WP | S.CR0_AM | S.CR0_NW |
  S.CR0_CD | S.CR0_PG;
const CR4_BITS = S.CR4_TSD | S.CR4_DE | S.CR4_PSE | S.CR4_PAE | S.CR4_PGE | S.CR4_OSFXSR | S.CR4_OSXMMEXCPT;

/** A control register that is written as MOV does; false, and nothing has changed, where that would raise #GP. */
export type WriteControl = (cpu: x86.Processor, value: number) => boolean;

export const writeCr0: WriteControl = (cpu, value) => {
  const { r } = cpu, next = (value & CR0_BITS) | S.CR0_ET;
  if ((next & S.CR0_PG) !== 0 && (next & S.CR0_PE) === 0) return false;
  if ((next & S.CR0_NW) !== 0 && (next & S.CR0_CD) === 0) return false;
  if (!loadsPointers(cpu, next, r[S.CR4], r[S.CR3])) return false;
  const isModeChanged = ((next ^ r[S.CR0]) & S.CR0_PE) !== 0;
  r[S.CR0] = next;
  if (isModeChanged) cpu.setCpl(0);
  settle(cpu);
  return true;
};

export const writeCr2: WriteControl = (cpu, value) => {
  cpu.r[S.CR2] = value;
  return true;
};

export const writeCr3: WriteControl = (cpu, value) => {
  const { r } = cpu;
  if (!loadsPointers(cpu, r[S.CR0], r[S.CR4], value)) return false;
  r[S.CR3] = value;
  settle(cpu);
  return true;
};

export const writeCr4: WriteControl = (cpu, value) => {
  const { r } = cpu;
  if ((value & ~CR4_BITS) !== 0 || !loadsPointers(cpu, r[S.CR0], value, r[S.CR3])) return false;
  r[S.CR4] = value;
  settle(cpu);
  return true;
};

/** Loads the PAE pointers where these registers use them; false where one of them is malformed. */
function loadsPointers(cpu: x86.Processor, cr0: number, cr4: number, cr3: number): boolean {
  const isPae = (cr0 & S.CR0_PG) !== 0 && (cr4 & S.CR4_PAE) !== 0;
  return !isPae || cpu.mmu.loadPdptes(cr3);
}

/** Address translation may be another one now: nothing of the old one stays, global or not. */
function settle(cpu: x86.Processor): void {
  cpu.mmu.flush(false);
  cpu.updateMode();
  cpu.updateAttention();
}
