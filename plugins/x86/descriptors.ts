// Segment descriptors and segment registers (SDM 3A, chapter 3): reading a descriptor from GDT or LDT, filling a segment
// register from it, and the loads of data-segment registers, LDTR and TR with their checks.

import { CS, SS } from "./instruction.ts";
import type { Processor } from "./processor.ts";
import * as S from "./state.ts";

/** A descriptor's two words as they lie in the table, and where. */
export interface Descriptor {
  readonly low: number;
  readonly high: number;
  /** Linear address of the descriptor. */
  readonly address: number;
}

/** System descriptor types. */
export const SystemType = {
  tss16: 1,
  ldt: 2,
  tss16Busy: 3,
  callGate16: 4,
  taskGate: 5,
  interruptGate16: 6,
  trapGate16: 7,
  tss32: 9,
  tss32Busy: 11,
  callGate32: 12,
  interruptGate32: 14,
  trapGate32: 15,
} as const;

export const typeOf = (high: number): number => (high >>> 8) & 0xf;
export const dplOf = (high: number): number => (high >>> S.SEG_DPL_SHIFT) & 3;
export const isPresent = (high: number): boolean => (high & S.SEG_P) !== 0;
/** A code or data segment, not a system descriptor. */
export const isSegment = (high: number): boolean => (high & S.SEG_S) !== 0;
export const isCode = (high: number): boolean => (high & (S.SEG_S | S.SEG_CODE)) === (S.SEG_S | S.SEG_CODE);
export const isConforming = (high: number): boolean => (high & S.SEG_CONFORMING) !== 0;

export const baseOf = (d: Descriptor): number => (d.low >>> 16) | ((d.high & 0xff) << 16) | (d.high & 0xff000000);

/** Byte limit of a descriptor, as an unsigned number. */
export function limitOf(d: Descriptor): number {
  const limit = (d.low & 0xffff) | (d.high & 0xf0000);
  return (d.high & S.SEG_G ? (limit << 12) | 0xfff : limit) >>> 0;
}

/** A selector without its RPL, as error codes carry it. */
export const selectorError = (selector: number): number => selector & 0xfffc;

/** Reads a descriptor; raises `vector` with the selector where it lies beyond its table. `ext` is added to the code. */
export function readDescriptor(cpu: Processor, selector: number, vector: number, ext = 0): Descriptor {
  const d = tryReadDescriptor(cpu, selector);
  return d ?? cpu.raise(vector, selectorError(selector) | ext);
}

/** As readDescriptor; undefined where it lies beyond its table. */
export function tryReadDescriptor(cpu: Processor, selector: number): Descriptor | undefined {
  const { r } = cpu;
  const offset = selector & 0xfff8;
  let base = r[S.GDTR_BASE], limit = r[S.GDTR_LIMIT] >>> 0;
  if (selector & 4) {
    if (r[S.ATTRIBUTES + S.LDTR] & S.SEG_NULL) return undefined;
    base = r[S.BASE + S.LDTR];
    limit = r[S.LIMIT + S.LDTR] >>> 0;
  }
  if (offset + 7 > limit) return undefined;
  const address = (base + offset) | 0;
  return { low: cpu.systemRead32(address), high: cpu.systemRead32((address + 4) | 0), address };
}

/** Sets a descriptor's accessed bit in its table, as every load of a segment register does. */
export function markAccessed(cpu: Processor, d: Descriptor): Descriptor {
  if (d.high & S.SEG_ACCESSED) return d;
  const high = d.high | S.SEG_ACCESSED;
  cpu.systemWrite32((d.address + 4) | 0, high);
  return { ...d, high };
}

/** Fills a segment register from a descriptor that has been checked. */
export function setSegment(cpu: Processor, segment: number, selector: number, d: Descriptor): void {
  const { r } = cpu;
  r[S.SELECTOR + segment] = selector & 0xffff;
  r[S.BASE + segment] = baseOf(d);
  r[S.LIMIT + segment] = limitOf(d);
  r[S.ATTRIBUTES + segment] = d.high & 0x00f0ff00;
  cpu.updateMode();
}

/** Makes a segment register unusable, as a null selector does. */
export function setNullSegment(cpu: Processor, segment: number, selector: number): void {
  const { r } = cpu;
  r[S.SELECTOR + segment] = selector & 0xffff;
  r[S.BASE + segment] = 0;
  r[S.LIMIT + segment] = 0;
  r[S.ATTRIBUTES + segment] = S.SEG_NULL;
  cpu.updateMode();
}

/** Attributes of a real-mode or V86 segment: present, writable data, accessed. */
const REAL_ATTRIBUTES = S.SEG_P | S.SEG_S | S.SEG_WRITABLE | S.SEG_ACCESSED;

/** Loads a segment register as real mode does: base from the selector, limit and attributes as they were. */
export function setRealSegment(cpu: Processor, segment: number, selector: number): void {
  const { r } = cpu;
  r[S.SELECTOR + segment] = selector & 0xffff;
  r[S.BASE + segment] = (selector & 0xffff) << 4;
  if (r[S.ATTRIBUTES + segment] & S.SEG_NULL) r[S.ATTRIBUTES + segment] = REAL_ATTRIBUTES;
  if (segment === CS) r[S.ATTRIBUTES + CS] = (r[S.ATTRIBUTES + CS] & S.SEG_DB) | REAL_ATTRIBUTES;
  cpu.updateMode();
}

/** Sets a segment register as V86 mode has it: base from the selector, limit 64 KiB, DPL 3. */
export function setV86Segment(cpu: Processor, segment: number, selector: number): void {
  const { r } = cpu;
  r[S.SELECTOR + segment] = selector & 0xffff;
  r[S.BASE + segment] = (selector & 0xffff) << 4;
  r[S.LIMIT + segment] = 0xffff;
  r[S.ATTRIBUTES + segment] = REAL_ATTRIBUTES | (3 << S.SEG_DPL_SHIFT);
  cpu.updateMode();
}

/** MOV, POP or LxS to ES, SS, DS, FS or GS (SDM 2B, "MOV"). Nothing has changed where it faults. */
export function loadSegment(cpu: Processor, segment: number, selector: number): void {
  if (!cpu.isProtected) return setRealSegment(cpu, segment, selector);
  if (cpu.isV86) return setV86Segment(cpu, segment, selector);
  if (segment === SS) return loadStackSegment(cpu, selector, cpu.r[S.CPL], S.Vector.generalProtection);
  if (selectorError(selector) === 0) return setNullSegment(cpu, segment, selector);
  const d = readDescriptor(cpu, selector, S.Vector.generalProtection);
  const code = selectorError(selector);
  const readable = isSegment(d.high) && (!isCode(d.high) || (d.high & S.SEG_READABLE) !== 0);
  if (!readable) cpu.raise(S.Vector.generalProtection, code);
  const privilege = Math.max(cpu.r[S.CPL], selector & 3);
  if (!(isCode(d.high) && isConforming(d.high)) && privilege > dplOf(d.high)) {
    cpu.raise(S.Vector.generalProtection, code);
  }
  if (!isPresent(d.high)) cpu.raise(S.Vector.segmentNotPresent, code);
  setSegment(cpu, segment, selector, markAccessed(cpu, d));
}

/** Loads SS for a privilege level. `vector` is #GP, or #TS where the selector comes from a task-state segment. */
export function loadStackSegment(cpu: Processor, selector: number, cpl: number, vector: number, ext = 0): void {
  const d = checkStackSegment(cpu, selector, cpl, vector, ext);
  setSegment(cpu, SS, selector, markAccessed(cpu, d));
}

/** The checks of a load of SS alone. `absent` is what a segment that is not present raises: #NP in IRET, else #SS. */
export function checkStackSegment(
  cpu: Processor,
  selector: number,
  cpl: number,
  vector: number,
  ext = 0,
  absent: number = S.Vector.stackFault,
): Descriptor {
  const code = selectorError(selector) | ext;
  if (selectorError(selector) === 0) cpu.raise(vector, ext);
  const d = readDescriptor(cpu, selector, vector, ext);
  const writable = isSegment(d.high) && !isCode(d.high) && (d.high & S.SEG_WRITABLE) !== 0;
  if ((selector & 3) !== cpl || !writable || dplOf(d.high) !== cpl) cpu.raise(vector, code);
  if (!isPresent(d.high)) cpu.raise(absent, code);
  return d;
}

/** LLDT, after its privilege check. */
export function loadLdt(cpu: Processor, selector: number): void {
  if (selectorError(selector) === 0) return setNullSegment(cpu, S.LDTR, selector);
  const code = selectorError(selector);
  if (selector & 4) cpu.raise(S.Vector.generalProtection, code);
  const d = readDescriptor(cpu, selector, S.Vector.generalProtection);
  if (isSegment(d.high) || typeOf(d.high) !== SystemType.ldt) cpu.raise(S.Vector.generalProtection, code);
  if (!isPresent(d.high)) cpu.raise(S.Vector.segmentNotPresent, code);
  setSegment(cpu, S.LDTR, selector, d);
}

/** LTR, after its privilege check: marks the descriptor busy. */
export function loadTaskRegister(cpu: Processor, selector: number): void {
  const code = selectorError(selector);
  if (code === 0) cpu.raise(S.Vector.generalProtection, 0);
  if (selector & 4) cpu.raise(S.Vector.generalProtection, code);
  const d = readDescriptor(cpu, selector, S.Vector.generalProtection);
  const type = typeOf(d.high);
  if (isSegment(d.high) || (type !== SystemType.tss16 && type !== SystemType.tss32)) {
    cpu.raise(S.Vector.generalProtection, code);
  }
  if (!isPresent(d.high)) cpu.raise(S.Vector.segmentNotPresent, code);
  const busy = { ...d, high: d.high | (2 << 8) };
  cpu.systemWrite32((d.address + 4) | 0, busy.high);
  setSegment(cpu, S.TR, selector, busy);
}
