// String instructions: MOVS, CMPS, STOS, LODS, SCAS, INS, OUTS, and their repetition (Intel SDM 2A and 2B; SDM 1, 7.3.9).
// One iteration is one step of the VM. A repetition runs until its count, its condition or the budget of steps ends it, an
// iteration faults, or a device or a store to code wants the block to end; what is left runs as the instruction anew.

import { DF, EAX, ECX, EDI, EDX, ES, ESI } from "../instruction.ts";
import { checkPermission } from "../io.ts";
import { Mmu } from "../mmu.ts";
import { Mode, type Processor } from "../processor.ts";
import type { AccessSize } from "../services.ts";
import { ATTRIBUTES, BASE, EIP, FLAG_RESULT, FLAGS_OTHER, LIMIT, SEG_CODE, SEG_EXPAND_DOWN } from "../state.ts";
import { sub16, sub32, sub8 } from "./arithmetic.ts";
import { operandBits } from "./operands.ts";
import { type Binder, halfIndex, type Handler, type Operation, segmentAddress } from "./operation.ts";

/** Binders by handler name. Afterwards `op.immediate` is the size of an element in bytes: 1, 2 or 4. */
export const stringBinders: Record<string, Binder> = {
  movs: (op) => bindString(op, movs, repeatMovs),
  stos: (op) => bindString(op, stos, repeatStos),
  lods: (op) => bindString(op, lods, repeatLods),
  cmps: (op) => bindString(op, cmps, op.instruction.repeat === REPNE ? repneCmps : repeCmps),
  scas: (op) => bindString(op, scas, op.instruction.repeat === REPNE ? repneScas : repeScas),
  ins: (op) => bindString(op, ins, repeatIns),
  outs: (op) => bindString(op, outs, repeatOuts),
};

const REPNE = 0xf2;

function bindString(op: Operation, once: Handler, repeated: Handler): Handler {
  const element = op.instruction.row.operands.find((operand) => operand[0] === "X" || operand[0] === "Y");
  if (element === undefined) throw new Error(`${op.instruction.row.name} has no string operand`);
  op.immediate = operandBits(op, element) / 8;
  return op.instruction.repeat === 0 ? once : repeated;
}

// One iteration of each.

function movs(cpu: Processor, op: Operation): void {
  const size = op.immediate;
  const from = sourceAddress(cpu, op, size), to = destinationAddress(cpu, op, size, true);
  if (size === 1) cpu.write8(to, cpu.read8(from));
  else if (size === 2) cpu.write16(to, cpu.read16(from));
  else cpu.write32(to, cpu.read32(from));
  const stride = strideOf(cpu, size);
  advance(cpu, op, ESI, stride);
  advance(cpu, op, EDI, stride);
}

function stos(cpu: Processor, op: Operation): void {
  const size = op.immediate;
  const to = destinationAddress(cpu, op, size, true);
  if (size === 1) cpu.write8(to, cpu.r8[EAX]);
  else if (size === 2) cpu.write16(to, cpu.r16[EAX]);
  else cpu.write32(to, cpu.r[EAX]);
  advance(cpu, op, EDI, strideOf(cpu, size));
}

function lods(cpu: Processor, op: Operation): void {
  const size = op.immediate;
  const from = sourceAddress(cpu, op, size);
  if (size === 1) cpu.r8[EAX] = cpu.read8(from);
  else if (size === 2) cpu.r16[EAX] = cpu.read16(from);
  else cpu.r[EAX] = cpu.read32(from);
  advance(cpu, op, ESI, strideOf(cpu, size));
}

function cmps(cpu: Processor, op: Operation): void {
  const size = op.immediate;
  const left = sourceAddress(cpu, op, size), right = destinationAddress(cpu, op, size, false);
  if (size === 1) sub8(cpu, cpu.read8(left), cpu.read8(right));
  else if (size === 2) sub16(cpu, cpu.read16(left), cpu.read16(right));
  else sub32(cpu, cpu.read32(left), cpu.read32(right));
  const stride = strideOf(cpu, size);
  advance(cpu, op, ESI, stride);
  advance(cpu, op, EDI, stride);
}

function scas(cpu: Processor, op: Operation): void {
  const size = op.immediate;
  const right = destinationAddress(cpu, op, size, false);
  if (size === 1) sub8(cpu, cpu.r8[EAX], cpu.read8(right));
  else if (size === 2) sub16(cpu, cpu.r16[EAX], cpu.read16(right));
  else sub32(cpu, cpu.r[EAX], cpu.read32(right));
  advance(cpu, op, EDI, strideOf(cpu, size));
}

/** INS checks everything before it reads the port: a device may change by being read. */
function ins(cpu: Processor, op: Operation): void {
  const size = accessSize(op), port = cpu.r16[EDX * 2];
  checkPermission(cpu, port, size);
  const to = destinationAddress(cpu, op, size, true);
  cpu.checkWrite(to, size);
  const value = cpu.io.read(cpu, port, size);
  if (size === 1) cpu.write8(to, value & 0xff);
  else if (size === 2) cpu.write16(to, value & 0xffff);
  else cpu.write32(to, value | 0);
  advance(cpu, op, EDI, strideOf(cpu, size));
}

function outs(cpu: Processor, op: Operation): void {
  const size = accessSize(op), port = cpu.r16[EDX * 2];
  checkPermission(cpu, port, size);
  const from = sourceAddress(cpu, op, size);
  const value = size === 1 ? cpu.read8(from) : size === 2 ? cpu.read16(from) : cpu.read32(from);
  cpu.io.write(cpu, port, size, value);
  advance(cpu, op, ESI, strideOf(cpu, size));
}

function accessSize(op: Operation): AccessSize {
  return op.immediate === 1 ? 1 : op.immediate === 2 ? 2 : 4;
}

// Addresses and registers.

function sourceAddress(cpu: Processor, op: Operation, size: number): number {
  const offset = op.address16 ? cpu.r[ESI] & 0xffff : cpu.r[ESI];
  if (cpu.mode & Mode.flat && op.segment < 4) return offset;
  return segmentAddress(cpu, op.segment, offset, size, false);
}

/** The destination is in ES whatever prefix there is. */
function destinationAddress(cpu: Processor, op: Operation, size: number, isWrite: boolean): number {
  const offset = op.address16 ? cpu.r[EDI] & 0xffff : cpu.r[EDI];
  if (cpu.mode & Mode.flat) return offset;
  return segmentAddress(cpu, ES, offset, size, isWrite);
}

function strideOf(cpu: Processor, size: number): number {
  return cpu.r[FLAGS_OTHER] & DF ? -size : size;
}

/** Adds to a register as wide as addresses are. */
function advance(cpu: Processor, op: Operation, register: number, delta: number): void {
  if (op.address16) cpu.r16[halfIndex(register)] += delta;
  else cpu.r[register] += delta;
}

function remaining(cpu: Processor, op: Operation): number {
  return op.address16 ? cpu.r16[halfIndex(ECX)] : cpu.r[ECX] >>> 0;
}

// Repetition. Each of these loops keeps `cpu.blockSteps` exact: at the start of an iteration it counts all before it, and
// on return all but the last, which the engine counts as the operation's own step.

/**
 * After an iteration: true to run another. When the budget is used up, or somebody asked for the block to end, the
 * instruction is left in EIP to be run again.
 */
function goesOn(cpu: Processor, op: Operation): boolean {
  if (cpu.count !== 0 && cpu.attention === 0 && stepBudget(cpu) > 1) {
    cpu.blockSteps++;
    return true;
  }
  cpu.r[EIP] = cpu.blockEip + op.start;
  cpu.isRepeating = true;
  cpu.endBlock();
  return false;
}

/** Steps until the deadline, this operation's own included. */
function stepBudget(cpu: Processor): number {
  return cpu.vm.clock.deadlineSteps - (cpu.blockSteps + cpu.index);
}

function repeatMovs(cpu: Processor, op: Operation): void {
  while (remaining(cpu, op) !== 0) {
    if (moveBulk(cpu, op) === 0) {
      movs(cpu, op);
      advance(cpu, op, ECX, -1);
    }
    if (remaining(cpu, op) === 0 || !goesOn(cpu, op)) return;
  }
}

function repeatStos(cpu: Processor, op: Operation): void {
  while (remaining(cpu, op) !== 0) {
    if (fillBulk(cpu, op) === 0) {
      stos(cpu, op);
      advance(cpu, op, ECX, -1);
    }
    if (remaining(cpu, op) === 0 || !goesOn(cpu, op)) return;
  }
}

function repeatLods(cpu: Processor, op: Operation): void {
  while (remaining(cpu, op) !== 0) {
    lods(cpu, op);
    advance(cpu, op, ECX, -1);
    if (remaining(cpu, op) === 0 || !goesOn(cpu, op)) return;
  }
}

function repeCmps(cpu: Processor, op: Operation): void {
  while (remaining(cpu, op) !== 0) {
    cmps(cpu, op);
    advance(cpu, op, ECX, -1);
    if (cpu.r[FLAG_RESULT] !== 0 || remaining(cpu, op) === 0 || !goesOn(cpu, op)) return;
  }
}

function repneCmps(cpu: Processor, op: Operation): void {
  while (remaining(cpu, op) !== 0) {
    cmps(cpu, op);
    advance(cpu, op, ECX, -1);
    if (cpu.r[FLAG_RESULT] === 0 || remaining(cpu, op) === 0 || !goesOn(cpu, op)) return;
  }
}

function repeScas(cpu: Processor, op: Operation): void {
  while (remaining(cpu, op) !== 0) {
    scas(cpu, op);
    advance(cpu, op, ECX, -1);
    if (cpu.r[FLAG_RESULT] !== 0 || remaining(cpu, op) === 0 || !goesOn(cpu, op)) return;
  }
}

function repneScas(cpu: Processor, op: Operation): void {
  while (remaining(cpu, op) !== 0) {
    scas(cpu, op);
    advance(cpu, op, ECX, -1);
    if (cpu.r[FLAG_RESULT] === 0 || remaining(cpu, op) === 0 || !goesOn(cpu, op)) return;
  }
}

function repeatIns(cpu: Processor, op: Operation): void {
  while (remaining(cpu, op) !== 0) {
    ins(cpu, op);
    advance(cpu, op, ECX, -1);
    if (remaining(cpu, op) === 0 || !goesOn(cpu, op)) return;
  }
}

function repeatOuts(cpu: Processor, op: Operation): void {
  while (remaining(cpu, op) !== 0) {
    outs(cpu, op);
    advance(cpu, op, ECX, -1);
    if (remaining(cpu, op) === 0 || !goesOn(cpu, op)) return;
  }
}

// Bulk forms of MOVS and STOS: as many iterations at once as lie in one page of each operand whose translation is at hand
// for the access: plain memory without code. They return the number of iterations, 0 where one must go the slow way.

function moveBulk(cpu: Processor, op: Operation): number {
  const size = op.immediate, isDown = (cpu.r[FLAGS_OTHER] & DF) !== 0;
  const source = op.address16 ? cpu.r[ESI] & 0xffff : cpu.r[ESI];
  const destination = op.address16 ? cpu.r[EDI] & 0xffff : cpu.r[EDI];
  let count = bulkLimit(cpu, op);
  count = Math.min(count, segmentRun(cpu, op, op.segment, source, false));
  count = Math.min(count, segmentRun(cpu, op, ES, destination, true));
  if (count === 0) return 0;
  const from = (source + segmentBase(cpu, op.segment)) | 0, to = (destination + segmentBase(cpu, ES)) | 0;
  count = Math.min(count, pageRun(from, size, isDown), pageRun(to, size, isDown));
  if (count === 0) return 0;
  const fromEntry = entryOf(cpu, from), toEntry = entryOf(cpu, to);
  if (cpu.tlb[fromEntry] !== (from & PAGE_MASK) || cpu.tlb[toEntry + 2] !== (to & PAGE_MASK)) return 0;
  const fromHost = (cpu.tlb[fromEntry + 1] + from) >>> 0, toHost = (cpu.tlb[toEntry + 1] + to) >>> 0;
  if (isDown) copyDown(cpu, fromHost, toHost, size, count);
  else copyUp(cpu, fromHost, toHost, size, count);
  finishBulk(cpu, op, count);
  const distance = isDown ? -count * size : count * size;
  advance(cpu, op, ESI, distance);
  advance(cpu, op, EDI, distance);
  return count;
}

function fillBulk(cpu: Processor, op: Operation): number {
  const size = op.immediate, isDown = (cpu.r[FLAGS_OTHER] & DF) !== 0;
  const destination = op.address16 ? cpu.r[EDI] & 0xffff : cpu.r[EDI];
  let count = Math.min(bulkLimit(cpu, op), segmentRun(cpu, op, ES, destination, true));
  if (count === 0) return 0;
  const to = (destination + segmentBase(cpu, ES)) | 0;
  count = Math.min(count, pageRun(to, size, isDown));
  if (count === 0) return 0;
  const entry = entryOf(cpu, to);
  if (cpu.tlb[entry + 2] !== (to & PAGE_MASK)) return 0;
  const last = (cpu.tlb[entry + 1] + to) >>> 0;
  fill(cpu, isDown ? last - (count - 1) * size : last, size, count);
  finishBulk(cpu, op, count);
  advance(cpu, op, EDI, isDown ? -count * size : count * size);
  return count;
}

const PAGE_MASK = ~0xfff;

/** First word of the TLB entry of a linear address for accesses at the present CPL. */
function entryOf(cpu: Processor, linear: number): number {
  return cpu.bank + (((linear >>> 12) & Mmu.MASK) << 2);
}

/** Iterations that the count and the budget allow; one where every instruction boundary counts. */
function bulkLimit(cpu: Processor, op: Operation): number {
  return cpu.attention === 0 ? Math.min(remaining(cpu, op), Math.max(1, stepBudget(cpu))) : 1;
}

function finishBulk(cpu: Processor, op: Operation, count: number): void {
  cpu.blockSteps += count - 1;
  advance(cpu, op, ECX, -count);
}

function segmentBase(cpu: Processor, segment: number): number {
  return cpu.mode & Mode.flat && segment < 4 ? 0 : cpu.r[BASE + segment];
}

/**
 * How many elements from `offset` on the segment surely allows: as many as lie below its limit and before offsets wrap.
 * Raises what the first element would; 0 where elements must be looked at one by one.
 */
function segmentRun(cpu: Processor, op: Operation, segment: number, offset: number, isWrite: boolean): number {
  // Where offsets of 16 bits wrap, a page ends.
  if (cpu.mode & Mode.flat && segment < 4) return PAGE_BYTES;
  const size = op.immediate;
  segmentAddress(cpu, segment, offset, size, isWrite);
  const attributes = cpu.r[ATTRIBUTES + segment];
  if ((attributes & (SEG_CODE | SEG_EXPAND_DOWN)) === SEG_EXPAND_DOWN) return 0;
  const first = offset >>> 0, limit = cpu.r[LIMIT + segment] >>> 0;
  if (cpu.r[FLAGS_OTHER] & DF) return Math.floor(first / size) + 1;
  const last = op.address16 ? Math.min(limit, 0xffff) : limit;
  return Math.max(0, Math.floor((last + 1 - first) / size));
}

const PAGE_BYTES = 4096;

/** How many elements from a linear address on lie wholly within its page. */
function pageRun(linear: number, size: number, isDown: boolean): number {
  const offset = linear & 0xfff;
  if (!isDown) return Math.floor((PAGE_BYTES - offset) / size);
  return offset + size > PAGE_BYTES ? 0 : Math.floor(offset / size) + 1;
}

/** Copies elements in ascending order, each read after the one before has been written. */
function copyUp(cpu: Processor, from: number, to: number, size: number, count: number): void {
  const { bytes, view } = cpu;
  const length = count * size;
  if (to <= from || to >= from + length) bytes.copyWithin(to, from, from + length);
  else if (size === 1) { for (let i = 0; i < length; i++) bytes[to + i] = bytes[from + i]; }
  else if (size === 2) {
    for (let i = 0; i < length; i += 2) view.setUint16(to + i, view.getUint16(from + i, true), true);
  } else for (let i = 0; i < length; i += 4) view.setInt32(to + i, view.getInt32(from + i, true), true);
}

/** As copyUp in descending order: `from` and `to` are the highest elements. */
function copyDown(cpu: Processor, from: number, to: number, size: number, count: number): void {
  const { bytes, view } = cpu;
  const length = count * size;
  const fromStart = from + size - length, toStart = to + size - length;
  if (to >= from || to + length <= from) bytes.copyWithin(toStart, fromStart, fromStart + length);
  else if (size === 1) { for (let i = 0; i < length; i++) bytes[to - i] = bytes[from - i]; }
  else if (size === 2) {
    for (let i = 0; i < length; i += 2) view.setUint16(to - i, view.getUint16(from - i, true), true);
  } else for (let i = 0; i < length; i += 4) view.setInt32(to - i, view.getInt32(from - i, true), true);
}

/** Fills `count` elements from host address `start` with the accumulator. */
function fill(cpu: Processor, start: number, size: number, count: number): void {
  const { bytes, view } = cpu;
  const end = start + count * size;
  const byte = cpu.r8[EAX], half = cpu.r16[EAX], word = cpu.r[EAX];
  if (
    size === 1 || (size === 2 && half === byte * 0x101) || (size === 4 && word === (Math.imul(byte, 0x01010101) | 0))
  ) {
    bytes.fill(byte, start, end);
  } else if (size === 2) { for (let at = start; at < end; at += 2) view.setUint16(at, half, true); }
  else for (let at = start; at < end; at += 4) view.setInt32(at, word, true);
}
