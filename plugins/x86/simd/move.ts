// Moves between SIMD registers, general registers and memory; masks of sign bits; masked and non-temporal stores, which are
// ordinary stores here (Intel SDM 1, 9.4.1, 10.4.1.1, 10.4.6, 11.4.1.1 and 11.4.4; SDM 2A and 2B under each instruction).

import { EDI, type Instruction } from "../instruction.ts";
import { type Binder, type Operation, readAddress, segmentAddress, writeAddress } from "../interpreter/operation.ts";
import type { Processor } from "../processor.ts";
import * as S from "../state.ts";
import {
  byForm,
  enterMmx,
  isMmx,
  operandBytes,
  readOperand,
  requireMmx,
  requireSse,
  requireSseAndMmx,
  writeOperand,
} from "./entry.ts";
import {
  destination,
  type Lanes,
  loadMmx,
  loadXmm,
  MMX_BYTES,
  readLanes,
  source,
  storeMmx,
  storeXmm,
  storeXmmLow,
  writeLanes,
  XMM_BYTES,
} from "./lanes.ts";

/** Words of half an XMM register. */
const HALF = 2;

/** The memory or rm operand is the destination. */
function isStore(instruction: Instruction): boolean {
  return instruction.row.operands[0] !== "Vdq" && instruction.row.operands[0] !== "Pq";
}

// MOVD, MOVQ and moves between the files.

/** MOVD from a general register or 32 bits of memory, the rest zero. */
function doublewordOperand(cpu: Processor, op: Operation): void {
  source.i32.fill(0);
  source.i32[0] = op.instruction.isMemory ? cpu.read32(readAddress(cpu, op, 4)) : cpu.r[op.rm];
}

function storeDoubleword(cpu: Processor, op: Operation, value: number): void {
  if (op.instruction.isMemory) cpu.write32(writeAddress(cpu, op, 4), value);
  else cpu.r[op.rm] = value;
}

function movdToMmx(cpu: Processor, op: Operation): void {
  const fpu = requireMmx(cpu);
  doublewordOperand(cpu, op);
  enterMmx(fpu);
  storeMmx(fpu, op.reg, source);
}

function movdFromMmx(cpu: Processor, op: Operation): void {
  const fpu = requireMmx(cpu);
  storeDoubleword(cpu, op, fpu.significands[op.reg * 2] | 0);
  enterMmx(fpu);
}

function movdToXmm(cpu: Processor, op: Operation): void {
  requireSse(cpu);
  doublewordOperand(cpu, op);
  storeXmm(cpu, op.reg, source);
}

function movdFromXmm(cpu: Processor, op: Operation): void {
  requireSse(cpu);
  storeDoubleword(cpu, op, cpu.r[S.XMM + op.reg * 4]);
}

function bindMovd(op: Operation) {
  const [to, from] = op.instruction.row.operands;
  if (isMmx(to)) return movdToMmx;
  if (isMmx(from)) return movdFromMmx;
  return to === "Vdq" ? movdToXmm : movdFromXmm;
}

function loadQuadwordMmx(cpu: Processor, op: Operation): void {
  const fpu = requireMmx(cpu);
  if (op.instruction.isMemory) readOperand(cpu, op, MMX_BYTES, source);
  else loadMmx(fpu, op.rm, source);
  enterMmx(fpu);
  storeMmx(fpu, op.reg, source);
}

function storeQuadwordMmx(cpu: Processor, op: Operation): void {
  const fpu = requireMmx(cpu);
  loadMmx(fpu, op.reg, source);
  if (op.instruction.isMemory) writeOperand(cpu, op, MMX_BYTES, source);
  enterMmx(fpu);
  if (!op.instruction.isMemory) storeMmx(fpu, op.rm, source);
}

/** MOVQ to an XMM register clears its high half, from a register too. */
function loadQuadwordXmm(cpu: Processor, op: Operation): void {
  requireSse(cpu);
  if (op.instruction.isMemory) readOperand(cpu, op, MMX_BYTES, source);
  else loadXmm(cpu, op.rm, source);
  source.i32[2] = source.i32[3] = 0;
  storeXmm(cpu, op.reg, source);
}

function storeQuadwordXmm(cpu: Processor, op: Operation): void {
  requireSse(cpu);
  loadXmm(cpu, op.reg, source);
  if (op.instruction.isMemory) {
    writeOperand(cpu, op, MMX_BYTES, source);
    return;
  }
  source.i32[2] = source.i32[3] = 0;
  storeXmm(cpu, op.rm, source);
}

function bindMovq(op: Operation) {
  const { operands } = op.instruction.row;
  if (operands.some(isMmx)) return isStore(op.instruction) ? storeQuadwordMmx : loadQuadwordMmx;
  return isStore(op.instruction) ? storeQuadwordXmm : loadQuadwordXmm;
}

function movq2dq(cpu: Processor, op: Operation): void {
  const fpu = requireSseAndMmx(cpu);
  enterMmx(fpu);
  loadMmx(fpu, op.rm, source);
  source.i32[2] = source.i32[3] = 0;
  storeXmm(cpu, op.reg, source);
}

function movdq2q(cpu: Processor, op: Operation): void {
  const fpu = requireSseAndMmx(cpu);
  enterMmx(fpu);
  loadXmm(cpu, op.rm, source);
  storeMmx(fpu, op.reg, source);
}

// Whole XMM registers.

function loadRegister(cpu: Processor, op: Operation): void {
  requireSse(cpu);
  loadXmm(cpu, op.rm, source);
  storeXmm(cpu, op.reg, source);
}

function storeRegister(cpu: Processor, op: Operation): void {
  requireSse(cpu);
  loadXmm(cpu, op.reg, source);
  storeXmm(cpu, op.rm, source);
}

function loadAligned(cpu: Processor, op: Operation): void {
  requireSse(cpu);
  readOperand(cpu, op, XMM_BYTES, source);
  storeXmm(cpu, op.reg, source);
}

function storeAligned(cpu: Processor, op: Operation): void {
  requireSse(cpu);
  loadXmm(cpu, op.reg, source);
  writeOperand(cpu, op, XMM_BYTES, source);
}

function loadUnaligned(cpu: Processor, op: Operation): void {
  requireSse(cpu);
  readLanes(cpu, readAddress(cpu, op, XMM_BYTES), XMM_BYTES, source);
  storeXmm(cpu, op.reg, source);
}

function storeUnaligned(cpu: Processor, op: Operation): void {
  requireSse(cpu);
  loadXmm(cpu, op.reg, source);
  writeLanes(cpu, writeAddress(cpu, op, XMM_BYTES), XMM_BYTES, source);
}

// Parts of XMM registers.

/** MOVSS and MOVSD between registers change the low element alone; from memory they clear the rest. */
function moveScalarRegister(words: number, store: boolean): (cpu: Processor, op: Operation) => void {
  return (cpu, op) => {
    requireSse(cpu);
    loadXmm(cpu, store ? op.reg : op.rm, source);
    storeXmmLow(cpu, store ? op.rm : op.reg, source, words);
  };
}

function loadScalar(bytes: number): (cpu: Processor, op: Operation) => void {
  return (cpu, op) => {
    requireSse(cpu);
    source.i32.fill(0);
    readOperand(cpu, op, bytes, source);
    storeXmm(cpu, op.reg, source);
  };
}

function storeScalar(bytes: number): (cpu: Processor, op: Operation) => void {
  return (cpu, op) => {
    requireSse(cpu);
    loadXmm(cpu, op.reg, source);
    writeOperand(cpu, op, bytes, source);
  };
}

/** By whether the elements are doubles. */
const REGISTER_SCALARS = [moveScalarRegister(1, false), moveScalarRegister(2, false)] as const;
const REGISTER_SCALAR_STORES = [moveScalarRegister(1, true), moveScalarRegister(2, true)] as const;
const SCALAR_LOADS = [loadScalar(4), loadScalar(8)] as const;
const SCALAR_STORES = [storeScalar(4), storeScalar(8)] as const;

function bindMovScalar(op: Operation) {
  const store = isStore(op.instruction);
  const kind = operandBytes(op.instruction.row.operands[store ? 0 : 1]) === 8 ? 1 : 0;
  if (op.instruction.isMemory) return (store ? SCALAR_STORES : SCALAR_LOADS)[kind];
  return (store ? REGISTER_SCALAR_STORES : REGISTER_SCALARS)[kind];
}

function loadHalf(cpu: Processor, op: Operation, at: number): void {
  requireSse(cpu);
  readOperand(cpu, op, MMX_BYTES, source);
  for (let i = 0; i < HALF; i++) cpu.r[S.XMM + op.reg * 4 + at + i] = source.i32[i];
}

function storeHalf(cpu: Processor, op: Operation, at: number): void {
  requireSse(cpu);
  for (let i = 0; i < HALF; i++) source.i32[i] = cpu.r[S.XMM + op.reg * 4 + at + i];
  writeOperand(cpu, op, MMX_BYTES, source);
}

const loadLow = (cpu: Processor, op: Operation) => loadHalf(cpu, op, 0);
const storeLow = (cpu: Processor, op: Operation) => storeHalf(cpu, op, 0);
const loadHigh = (cpu: Processor, op: Operation) => loadHalf(cpu, op, HALF);
const storeHigh = (cpu: Processor, op: Operation) => storeHalf(cpu, op, HALF);

const highToLow = (cpu: Processor, op: Operation) => moveHalf(cpu, op, 0, HALF);
const lowToHigh = (cpu: Processor, op: Operation) => moveHalf(cpu, op, HALF, 0);

/** One half of a register from the other half of another. */
function moveHalf(cpu: Processor, op: Operation, to: number, from: number): void {
  requireSse(cpu);
  const at = S.XMM + op.reg * 4 + to, source = S.XMM + op.rm * 4 + from;
  cpu.r.copyWithin(at, source, source + HALF);
}

// Masks.

/** The top bits of `count` elements, `step` apart in a view of signed numbers. */
function signs(elements: Int8Array | Int32Array, first: number, step: number, count: number): number {
  let mask = 0;
  for (let i = 0; i < count; i++) if (elements[first + i * step] < 0) mask |= 1 << i;
  return mask;
}

function byteMaskOfMmx(cpu: Processor, op: Operation): void {
  const fpu = requireMmx(cpu);
  enterMmx(fpu);
  loadMmx(fpu, op.rm, source);
  cpu.r[op.reg] = signs(source.i8, 0, 1, MMX_BYTES);
}

function byteMaskOfXmm(cpu: Processor, op: Operation): void {
  requireSse(cpu);
  loadXmm(cpu, op.rm, source);
  cpu.r[op.reg] = signs(source.i8, 0, 1, XMM_BYTES);
}

function singleMask(cpu: Processor, op: Operation): void {
  requireSse(cpu);
  loadXmm(cpu, op.rm, source);
  cpu.r[op.reg] = signs(source.i32, 0, 1, 4);
}

function doubleMask(cpu: Processor, op: Operation): void {
  requireSse(cpu);
  loadXmm(cpu, op.rm, source);
  cpu.r[op.reg] = signs(source.i32, 1, 2, 2);
}

/** MASKMOVQ and MASKMOVDQU store the bytes of `from` whose mask byte is negative, to DS:EDI, all or none; an empty mask cannot fault. */
function storeMasked(cpu: Processor, op: Operation, from: Lanes, mask: Lanes, bytes: number): void {
  let first = 0, last = bytes - 1;
  while (first < bytes && mask.i8[first] >= 0) first++;
  if (first === bytes) return;
  while (mask.i8[last] >= 0) last--;
  const edi = cpu.r[EDI], size = last - first + 1;
  const offset = ((op.address16 ? edi & 0xffff : edi) + first) | 0;
  const linear = segmentAddress(cpu, op.segment, offset, size, true);
  cpu.checkWrite(linear, size);
  for (let i = 0; i < size; i++) if (mask.i8[first + i] < 0) cpu.write8((linear + i) | 0, from.u8[first + i]);
}

function maskedMmx(cpu: Processor, op: Operation): void {
  const fpu = requireMmx(cpu);
  loadMmx(fpu, op.reg, destination);
  loadMmx(fpu, op.rm, source);
  storeMasked(cpu, op, destination, source, MMX_BYTES);
  enterMmx(fpu);
}

function maskedXmm(cpu: Processor, op: Operation): void {
  requireSse(cpu);
  loadXmm(cpu, op.reg, destination);
  loadXmm(cpu, op.rm, source);
  storeMasked(cpu, op, destination, source, XMM_BYTES);
}

/** MOVNTI stores a general register: no SIMD state, and none of its conditions. */
function movnti(cpu: Processor, op: Operation): void {
  cpu.write32(writeAddress(cpu, op, 4), cpu.r[op.reg]);
}

const bindRegisterLoad = byForm(loadRegister, loadAligned), bindRegisterStore = byForm(storeRegister, storeAligned);
const bindUnalignedLoad = byForm(loadRegister, loadUnaligned);
const bindUnalignedStore = byForm(storeRegister, storeUnaligned);

export const moveSimdBinders: Readonly<Record<string, Binder>> = {
  movd: bindMovd,
  movq: bindMovq,
  movq2dq: () => movq2dq,
  movdq2q: () => movdq2q,
  movAligned: (op) => isStore(op.instruction) ? bindRegisterStore(op) : bindRegisterLoad(op),
  movUnaligned: (op) => isStore(op.instruction) ? bindUnalignedStore(op) : bindUnalignedLoad(op),
  movScalar: bindMovScalar,
  movLow: (op) => isStore(op.instruction) ? storeLow : loadLow,
  movHigh: (op) => isStore(op.instruction) ? storeHigh : loadHigh,
  movhlps: () => highToLow,
  movlhps: () => lowToHigh,
  movmskps: () => singleMask,
  movmskpd: () => doubleMask,
  pmovmskb: (op) => isMmx(op.instruction.row.operands[1]) ? byteMaskOfMmx : byteMaskOfXmm,
  maskmov: (op) => isMmx(op.instruction.row.operands[0]) ? maskedMmx : maskedXmm,
  movnti: () => movnti,
};
