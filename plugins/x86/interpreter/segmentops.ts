// Instructions that load, store and examine segment registers and descriptor-table registers (SDM 2A and 2B under each).

import { ESP, SS, ZF } from "../instruction.ts";
import * as D from "../descriptors.ts";
import type { Processor } from "../processor.ts";
import * as S from "../state.ts";
import { type Binder, halfIndex, type Operation, readAddress, writeAddress } from "./operation.ts";
import { pop16, pop32, push16, setStackPointer, stackAddress } from "./stack.ts";

/** Operand of 16 bits: a register's low half, or memory. */
export function readOperand16(cpu: Processor, op: Operation): number {
  return op.instruction.isMemory ? cpu.read16(readAddress(cpu, op, 2)) : cpu.r16[halfIndex(op.instruction.rm)];
}

/** Stores a 16-bit value as SLDT, STR, SMSW and MOV from a segment register do: zero-extended in a 32-bit register. */
function storeSelector(cpu: Processor, op: Operation, value: number): void {
  const { instruction } = op;
  if (instruction.isMemory) cpu.write16(writeAddress(cpu, op, 2), value);
  else if (instruction.operandSize === 32) cpu.r[instruction.rm] = value;
  else cpu.r16[halfIndex(instruction.rm)] = value;
}

/** Raises #GP(0) outside CPL 0. */
export function requireCpl0(cpu: Processor): void {
  if (cpu.r[S.CPL] !== 0) cpu.raise(S.Vector.generalProtection, 0);
}

/** Raises #UD in real and V86 mode, where descriptor instructions do not exist. */
function requireProtected(cpu: Processor): void {
  if (!cpu.isProtected || cpu.isV86) cpu.raise(S.Vector.invalidOpcode);
}

/** A load of SS holds interrupts back for one instruction. */
function shadowStackLoad(cpu: Processor, segment: number): void {
  if (segment !== SS) return;
  cpu.r[S.INTERRUPT_SHADOW] = S.Shadow.stackLoad;
  cpu.updateAttention();
}

function movToSegment(cpu: Processor, op: Operation): void {
  D.loadSegment(cpu, op.variant, readOperand16(cpu, op));
  shadowStackLoad(cpu, op.variant);
}

function movFromSegment(cpu: Processor, op: Operation): void {
  storeSelector(cpu, op, cpu.r[S.SELECTOR + op.variant]);
}

function pushSegment(cpu: Processor, op: Operation): void {
  const selector = cpu.r[S.SELECTOR + op.variant];
  if (op.instruction.operandSize === 16) return push16(cpu, selector);
  // A 32-bit push of a segment register moves ESP by four and writes the low half alone, as P6 and later do.
  const pointer = (cpu.r[ESP] - 4) | 0;
  cpu.write16(stackAddress(cpu, pointer, 4, true), selector);
  setStackPointer(cpu, pointer);
}

function popSegment(cpu: Processor, op: Operation): void {
  const before = cpu.r[ESP];
  const size = op.instruction.operandSize;
  const selector = size === 16 ? pop16(cpu) : pop32(cpu) & 0xffff;
  const after = cpu.r[ESP];
  cpu.r[ESP] = before;
  D.loadSegment(cpu, op.variant, selector);
  // A new SS takes the pointer as the old one's size moved it.
  cpu.r[ESP] = after;
  shadowStackLoad(cpu, op.variant);
}

function loadFarPointer(cpu: Processor, op: Operation): void {
  const size = op.instruction.operandSize / 8;
  const address = readAddress(cpu, op, size + 2);
  const offset = size === 4 ? cpu.read32(address) : cpu.read16(address);
  D.loadSegment(cpu, op.variant, cpu.read16((address + size) | 0));
  if (size === 4) cpu.r[op.instruction.reg] = offset;
  else cpu.r16[halfIndex(op.instruction.reg)] = offset;
  shadowStackLoad(cpu, op.variant);
}

/** Stores limit and base of GDTR or IDTR; a 16-bit operand size still stores all of the base, as P6 and later do. */
function storeTable(cpu: Processor, op: Operation, base: number, limit: number): void {
  const address = writeAddress(cpu, op, 6);
  cpu.checkWrite(address, 6);
  cpu.write16(address, limit);
  cpu.write32((address + 2) | 0, base);
}

function loadTable(cpu: Processor, op: Operation, baseWord: number, limitWord: number): void {
  requireCpl0(cpu);
  const address = readAddress(cpu, op, 6);
  const limit = cpu.read16(address), base = cpu.read32((address + 2) | 0);
  cpu.r[limitWord] = limit;
  cpu.r[baseWord] = op.instruction.operandSize === 16 ? base & 0xffffff : base;
}

/** The descriptor that VERR, VERW, LAR or LSL asks of, where it is visible at CPL and RPL; undefined otherwise. */
function visibleDescriptor(cpu: Processor, selector: number): D.Descriptor | undefined {
  if (D.selectorError(selector) === 0) return undefined;
  const d = D.tryReadDescriptor(cpu, selector);
  if (d === undefined) return undefined;
  const privilege = Math.max(cpu.r[S.CPL], selector & 3);
  if (D.isCode(d.high) && D.isConforming(d.high)) return d;
  return D.dplOf(d.high) < privilege ? undefined : d;
}

function setZf(cpu: Processor, set: boolean): void {
  cpu.setEflags(set ? ZF : 0, ZF);
}

function verify(cpu: Processor, op: Operation, forWrite: boolean): void {
  requireProtected(cpu);
  const d = visibleDescriptor(cpu, readOperand16(cpu, op));
  if (d === undefined || !D.isSegment(d.high)) return setZf(cpu, false);
  if (forWrite) return setZf(cpu, !D.isCode(d.high) && (d.high & S.SEG_WRITABLE) !== 0);
  setZf(cpu, !D.isCode(d.high) || (d.high & S.SEG_READABLE) !== 0);
}

/** System descriptor types that LAR and LSL know. */
const larTypes = new Set<number>([1, 2, 3, 4, 5, 9, 11, 12]);
const lslTypes = new Set<number>([1, 2, 3, 9, 11]);

function loadRightsOrLimit(
  cpu: Processor,
  op: Operation,
  types: ReadonlySet<number>,
  read: (d: D.Descriptor) => number,
): void {
  requireProtected(cpu);
  const d = visibleDescriptor(cpu, readOperand16(cpu, op));
  if (d === undefined || (!D.isSegment(d.high) && !types.has(D.typeOf(d.high)))) return setZf(cpu, false);
  const value = read(d);
  if (op.instruction.operandSize === 32) cpu.r[op.instruction.reg] = value;
  else cpu.r16[halfIndex(op.instruction.reg)] = value;
  setZf(cpu, true);
}

function rightsOf(d: D.Descriptor): number {
  return d.high & 0x00ffff00;
}

function segmentLimit(d: D.Descriptor): number {
  const limit = (d.low & 0xffff) | (d.high & 0xf0000);
  return d.high & S.SEG_G ? (limit << 12) | 0xfff : limit;
}

function arpl(cpu: Processor, op: Operation): void {
  requireProtected(cpu);
  const rpl = cpu.r[op.instruction.reg] & 3;
  const { isMemory, rm } = op.instruction;
  const selector = isMemory ? cpu.read16(readAddress(cpu, op, 2)) : cpu.r16[halfIndex(rm)];
  const adjusts = (selector & 3) < rpl;
  // A selector that stays as it is may lie in a read-only segment or page.
  if (adjusts && isMemory) cpu.write16(writeAddress(cpu, op, 2), (selector & ~3) | rpl);
  else if (adjusts) cpu.r16[halfIndex(rm)] = (selector & ~3) | rpl;
  setZf(cpu, adjusts);
}

/** Handlers by the opcode table's names. */
export const segmentBinders: Readonly<Record<string, Binder>> = {
  movToSegment: () => movToSegment,
  movFromSegment: () => movFromSegment,
  pushSegment: () => pushSegment,
  popSegment: () => popSegment,
  loadFarPointer: () => loadFarPointer,
  sgdt: () => (cpu, op) => storeTable(cpu, op, cpu.r[S.GDTR_BASE], cpu.r[S.GDTR_LIMIT]),
  sidt: () => (cpu, op) => storeTable(cpu, op, cpu.r[S.IDTR_BASE], cpu.r[S.IDTR_LIMIT]),
  lgdt: () => (cpu, op) => loadTable(cpu, op, S.GDTR_BASE, S.GDTR_LIMIT),
  lidt: () => (cpu, op) => loadTable(cpu, op, S.IDTR_BASE, S.IDTR_LIMIT),
  sldt: () => (cpu, op) => {
    requireProtected(cpu);
    storeSelector(cpu, op, cpu.r[S.SELECTOR + S.LDTR]);
  },
  str: () => (cpu, op) => {
    requireProtected(cpu);
    storeSelector(cpu, op, cpu.r[S.SELECTOR + S.TR]);
  },
  lldt: () => (cpu, op) => {
    requireProtected(cpu);
    requireCpl0(cpu);
    D.loadLdt(cpu, readOperand16(cpu, op));
  },
  ltr: () => (cpu, op) => {
    requireProtected(cpu);
    requireCpl0(cpu);
    D.loadTaskRegister(cpu, readOperand16(cpu, op));
  },
  verr: () => (cpu, op) => verify(cpu, op, false),
  verw: () => (cpu, op) => verify(cpu, op, true),
  lar: () => (cpu, op) => loadRightsOrLimit(cpu, op, larTypes, rightsOf),
  lsl: () => (cpu, op) => loadRightsOrLimit(cpu, op, lslTypes, segmentLimit),
  arpl: () => arpl,
  smsw: () => (cpu, op) => {
    const { instruction } = op;
    if (!instruction.isMemory && instruction.operandSize === 32) cpu.r[instruction.rm] = cpu.r[S.CR0];
    else storeSelector(cpu, op, cpu.r[S.CR0] & 0xffff);
  },
};
