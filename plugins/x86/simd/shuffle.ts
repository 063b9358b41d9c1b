// Elements moved about: unpacking, packing with saturation, shuffles, words inserted and extracted (Intel SDM 1, 9.4.4,
// 9.4.5, 10.4.1.4 and 11.4.1.4; SDM 2B under each instruction).

import { type Binder, type Operation, readAddress } from "../interpreter/operation.ts";
import type { Processor } from "../processor.ts";
import { enterMmx, isMmx, requireMmx, requireSse } from "./entry.ts";
import { destination, type Lanes, loadMmx, loadXmm, result, source, storeMmx, storeXmm } from "./lanes.ts";
import { packed } from "./packed.ts";

function copyResult(a: Lanes): void {
  a.i32.set(result.i32);
}

/** Interleaves the low or high halves of both operands, a's element first. */
function unpack(elementBytes: number, fromHigh: boolean): Binder {
  return packed((a, b, bytes) => {
    const from = fromHigh ? bytes / 2 : 0;
    let to = 0;
    for (let at = from; at < from + bytes / 2; at += elementBytes) {
      for (let i = 0; i < elementBytes; i++) result.u8[to++] = a.u8[at + i];
      for (let i = 0; i < elementBytes; i++) result.u8[to++] = b.u8[at + i];
    }
    copyResult(a);
  });
}

function clamp(value: number, lowest: number, highest: number): number {
  return value < lowest ? lowest : value > highest ? highest : value;
}

/** Packs signed elements into half their width, a's in the low half. */
function pack(
  from: "i16" | "i32",
  to: "i8" | "u8" | "i16",
  lowest: number,
  highest: number,
): Binder {
  return packed((a, b, bytes) => {
    const count = bytes / a[from].BYTES_PER_ELEMENT, narrow = result[to];
    for (let i = 0; i < count; i++) {
      narrow[i] = clamp(a[from][i], lowest, highest);
      narrow[count + i] = clamp(b[from][i], lowest, highest);
    }
    copyResult(a);
  });
}

/** Four elements from `from`, each by two bits of the order, into result's elements from `at` on. */
function choose(to: Uint16Array | Int32Array, from: Uint16Array | Int32Array, at: number, order: number): void {
  for (let i = 0; i < 4; i++) to[at + i] = from[at + (order >> 2 * i & 3)];
}

function shuffleDoublewords(a: Lanes, b: Lanes, _bytes: number, order: number): void {
  choose(result.i32, b.i32, 0, order);
  copyResult(a);
}

/** PSHUFW and PSHUFLW: the low four words; what lies above comes unchanged from b. */
function shuffleLowWords(a: Lanes, b: Lanes, _bytes: number, order: number): void {
  result.i32.set(b.i32);
  choose(result.u16, b.u16, 0, order);
  copyResult(a);
}

function shuffleHighWords(a: Lanes, b: Lanes, _bytes: number, order: number): void {
  result.i32.set(b.i32);
  choose(result.u16, b.u16, 4, order);
  copyResult(a);
}

/** SHUFPS: two of a's elements below two of b's. */
function shuffleSingles(a: Lanes, b: Lanes, _bytes: number, order: number): void {
  for (let i = 0; i < 4; i++) result.i32[i] = (i < 2 ? a : b).i32[order >> 2 * i & 3];
  copyResult(a);
}

function shuffleDoubles(a: Lanes, b: Lanes, _bytes: number, order: number): void {
  for (let i = 0; i < 4; i++) result.i32[i] = (i < 2 ? a : b).i32[(order >> (i >> 1) & 1) * 2 + (i & 1)];
  copyResult(a);
}

/** The word to insert. */
function wordOperand(cpu: Processor, op: Operation): number {
  return op.instruction.isMemory ? cpu.read16(readAddress(cpu, op, 2)) : cpu.r[op.rm];
}

function insertInMmx(cpu: Processor, op: Operation): void {
  const fpu = requireMmx(cpu);
  const word = wordOperand(cpu, op);
  enterMmx(fpu);
  loadMmx(fpu, op.reg, destination);
  destination.u16[op.immediate & 3] = word;
  storeMmx(fpu, op.reg, destination);
}

function insertInXmm(cpu: Processor, op: Operation): void {
  requireSse(cpu);
  const word = wordOperand(cpu, op);
  loadXmm(cpu, op.reg, destination);
  destination.u16[op.immediate & 7] = word;
  storeXmm(cpu, op.reg, destination);
}

function extractFromMmx(cpu: Processor, op: Operation): void {
  const fpu = requireMmx(cpu);
  enterMmx(fpu);
  loadMmx(fpu, op.rm, source);
  cpu.r[op.reg] = source.u16[op.immediate & 3];
}

function extractFromXmm(cpu: Processor, op: Operation): void {
  requireSse(cpu);
  loadXmm(cpu, op.rm, source);
  cpu.r[op.reg] = source.u16[op.immediate & 7];
}

const MIN_INT8 = -0x80, MAX_INT8 = 0x7f, MAX_UINT8 = 0xff, MIN_INT16 = -0x8000, MAX_INT16 = 0x7fff;

export const shuffleBinders: Readonly<Record<string, Binder>> = {
  punpcklbw: unpack(1, false),
  punpcklwd: unpack(2, false),
  punpckldq: unpack(4, false),
  punpcklqdq: unpack(8, false),
  punpckhbw: unpack(1, true),
  punpckhwd: unpack(2, true),
  punpckhdq: unpack(4, true),
  punpckhqdq: unpack(8, true),
  packsswb: pack("i16", "i8", MIN_INT8, MAX_INT8),
  packuswb: pack("i16", "u8", 0, MAX_UINT8),
  packssdw: pack("i32", "i16", MIN_INT16, MAX_INT16),
  pshufw: packed(shuffleLowWords),
  pshuflw: packed(shuffleLowWords),
  pshufhw: packed(shuffleHighWords),
  pshufd: packed(shuffleDoublewords),
  shufps: packed(shuffleSingles),
  shufpd: packed(shuffleDoubles),
  pinsrw: (op) => isMmx(op.instruction.row.operands[0]) ? insertInMmx : insertInXmm,
  pextrw: (op) => isMmx(op.instruction.row.operands[1]) ? extractFromMmx : extractFromXmm,
};
