// Integer arithmetic, comparison, logic and shifts on packed elements (Intel SDM 1, 9.4, 10.4.4 and 11.4.2; SDM 2B under
// each instruction). The operations know nothing of registers: packed.ts applies them to either file.

import type { Binder } from "../interpreter/operation.ts";
import { multiplyHigh } from "../x87/multiplication.ts";
import type { Lanes } from "./lanes.ts";
import { packed, packedShift } from "./packed.ts";

/** One element of the result from one of each operand; the typed array wraps what does not fit. */
type Element = (a: number, b: number) => number;
type View = "u8" | "i8" | "u16" | "i16" | "u32" | "i32";

/** Applies an operation element by element. */
function eachElement(view: View, element: Element): Binder {
  return packed((a: Lanes, b: Lanes, bytes: number) => {
    const left = a[view], right = b[view], count = bytes / left.BYTES_PER_ELEMENT;
    for (let i = 0; i < count; i++) left[i] = element(left[i], right[i]);
  });
}

const add: Element = (a, b) => a + b;
const subtract: Element = (a, b) => a - b;
const equal: Element = (a, b) => a === b ? -1 : 0;
const greater: Element = (a, b) => a > b ? -1 : 0;
const least: Element = (a, b) => a < b ? a : b;
const greatest: Element = (a, b) => a > b ? a : b;
const average: Element = (a, b) => (a + b + 1) >> 1;

/** Limits of saturation. */
const INT8 = [-0x80, 0x7f] as const, UINT8 = [0, 0xff] as const;
const INT16 = [-0x8000, 0x7fff] as const, UINT16 = [0, 0xffff] as const;

function saturated(element: Element, [lowest, highest]: readonly [number, number]): Element {
  return (a, b) => {
    const value = element(a, b);
    return value < lowest ? lowest : value > highest ? highest : value;
  };
}

// What string functions and copies are made of is written out, one word at a time: measured, a quarter of the time.

function and(a: Lanes, b: Lanes, bytes: number): void {
  for (let i = 0; i < bytes >> 2; i++) a.i32[i] &= b.i32[i];
}

function andNot(a: Lanes, b: Lanes, bytes: number): void {
  for (let i = 0; i < bytes >> 2; i++) a.i32[i] = ~a.i32[i] & b.i32[i];
}

function or(a: Lanes, b: Lanes, bytes: number): void {
  for (let i = 0; i < bytes >> 2; i++) a.i32[i] |= b.i32[i];
}

function exclusiveOr(a: Lanes, b: Lanes, bytes: number): void {
  for (let i = 0; i < bytes >> 2; i++) a.i32[i] ^= b.i32[i];
}

function addDoublewords(a: Lanes, b: Lanes, bytes: number): void {
  for (let i = 0; i < bytes >> 2; i++) a.i32[i] += b.i32[i];
}

/** Bits 0 to 6 of each byte: adding them to a byte's own carries into its bit 7 unless they are all zero. */
const LOW_BITS = 0x7f7f_7f7f;

/** PCMPEQB, four bytes at once: those that differ nowhere get ones. */
function equalBytes(a: Lanes, b: Lanes, bytes: number): void {
  for (let i = 0; i < bytes >> 2; i++) {
    const difference = a.i32[i] ^ b.i32[i];
    const equalTops = ~((difference & LOW_BITS) + LOW_BITS | difference | LOW_BITS);
    a.i32[i] = Math.imul(equalTops >>> 7, 0xff);
  }
}

/** 64-bit elements as words, the carry or borrow between them by hand. */
function addQuadwords(a: Lanes, b: Lanes, bytes: number): void {
  for (let i = 0; i < bytes / 4; i += 2) {
    const low = a.u32[i] + b.u32[i];
    a.u32[i + 1] += b.u32[i + 1] + (low > 0xffff_ffff ? 1 : 0);
    a.u32[i] = low;
  }
}

function subtractQuadwords(a: Lanes, b: Lanes, bytes: number): void {
  for (let i = 0; i < bytes / 4; i += 2) {
    const low = a.u32[i] - b.u32[i];
    a.u32[i + 1] -= b.u32[i + 1] + (low < 0 ? 1 : 0);
    a.u32[i] = low;
  }
}

/** PMADDWD: sums of neighbouring products, which wrap only where all four words are -32768. */
function multiplyAdd(a: Lanes, b: Lanes, bytes: number): void {
  for (let i = 0; i < bytes / 4; i++) {
    const low = a.i16[2 * i] * b.i16[2 * i], high = a.i16[2 * i + 1] * b.i16[2 * i + 1];
    a.i32[i] = low + high;
  }
}

/** PMULUDQ: the even doublewords into 64 bits. */
function multiplyDoublewords(a: Lanes, b: Lanes, bytes: number): void {
  for (let i = 0; i < bytes / 4; i += 2) {
    const left = a.i32[i], right = b.i32[i];
    a.i32[i] = Math.imul(left, right);
    a.i32[i + 1] = multiplyHigh(left, right);
  }
}

/** PSADBW: the sum of absolute differences of eight bytes, into 64 bits. */
function sumDifferences(a: Lanes, b: Lanes, bytes: number): void {
  for (let i = 0; i < bytes; i += 8) {
    let sum = 0;
    for (let j = i; j < i + 8; j++) sum += Math.abs(a.u8[j] - b.u8[j]);
    a.i32[i >> 2] = sum;
    a.i32[(i >> 2) + 1] = 0;
  }
}

type Shift = (value: number, count: number) => number;
const left: Shift = (value, count) => value << count;
const right: Shift = (value, count) => value >>> count;
const arithmetic: Shift = (value, count) => value >> count;

/** Shifts elements of up to 32 bits; a count beyond the width gives zero, or the sign throughout. */
function shift(view: "u16" | "i16" | "u32" | "i32", element: Shift): Binder {
  return packedShift((a, count, bytes) => {
    const elements = a[view], width = elements.BYTES_PER_ELEMENT * 8, length = bytes * 8 / width;
    const clears = count >= width && element !== arithmetic;
    const within = Math.min(count, width - 1);
    for (let i = 0; i < length; i++) elements[i] = clears ? 0 : element(elements[i], within);
  });
}

function shiftQuadwordsLeft(a: Lanes, count: number, bytes: number): void {
  const { i32 } = a;
  for (let i = 0; i < bytes / 4; i += 2) {
    const low = i32[i], high = i32[i + 1];
    i32[i] = count >= 32 ? 0 : low << count;
    i32[i + 1] = count >= 64
      ? 0
      : count >= 32
      ? low << (count - 32)
      : count === 0
      ? high
      : high << count | low >>> (32 - count);
  }
}

function shiftQuadwordsRight(a: Lanes, count: number, bytes: number): void {
  const { i32 } = a;
  for (let i = 0; i < bytes / 4; i += 2) {
    const low = i32[i], high = i32[i + 1];
    i32[i + 1] = count >= 32 ? 0 : high >>> count;
    i32[i] = count >= 64
      ? 0
      : count >= 32
      ? high >>> (count - 32)
      : count === 0
      ? low
      : low >>> count | high << (32 - count);
  }
}

/** PSLLDQ and PSRLDQ count bytes. */
function shiftBytesLeft(a: Lanes, count: number, bytes: number): void {
  for (let i = bytes - 1; i >= 0; i--) a.u8[i] = i >= count ? a.u8[i - count] : 0;
}

function shiftBytesRight(a: Lanes, count: number, bytes: number): void {
  for (let i = 0; i < bytes; i++) a.u8[i] = i + count < bytes ? a.u8[i + count] : 0;
}

export const integerSimdBinders: Readonly<Record<string, Binder>> = {
  paddb: eachElement("u8", add),
  paddw: eachElement("u16", add),
  paddd: packed(addDoublewords),
  paddq: packed(addQuadwords),
  paddsb: eachElement("i8", saturated(add, INT8)),
  paddsw: eachElement("i16", saturated(add, INT16)),
  paddusb: eachElement("u8", saturated(add, UINT8)),
  paddusw: eachElement("u16", saturated(add, UINT16)),
  psubb: eachElement("u8", subtract),
  psubw: eachElement("u16", subtract),
  psubd: eachElement("u32", subtract),
  psubq: packed(subtractQuadwords),
  psubsb: eachElement("i8", saturated(subtract, INT8)),
  psubsw: eachElement("i16", saturated(subtract, INT16)),
  psubusb: eachElement("u8", saturated(subtract, UINT8)),
  psubusw: eachElement("u16", saturated(subtract, UINT16)),
  pmullw: eachElement("i16", (a, b) => a * b),
  pmulhw: eachElement("i16", (a, b) => a * b >> 16),
  pmulhuw: eachElement("u16", (a, b) => Math.imul(a, b) >>> 16),
  pmuludq: packed(multiplyDoublewords),
  pmaddwd: packed(multiplyAdd),
  psadbw: packed(sumDifferences),
  pavgb: eachElement("u8", average),
  pavgw: eachElement("u16", average),
  pminub: eachElement("u8", least),
  pmaxub: eachElement("u8", greatest),
  pminsw: eachElement("i16", least),
  pmaxsw: eachElement("i16", greatest),
  pcmpeqb: packed(equalBytes),
  pcmpeqw: eachElement("u16", equal),
  pcmpeqd: eachElement("i32", equal),
  pcmpgtb: eachElement("i8", greater),
  pcmpgtw: eachElement("i16", greater),
  pcmpgtd: eachElement("i32", greater),
  pand: packed(and),
  pandn: packed(andNot),
  por: packed(or),
  pxor: packed(exclusiveOr),
  psllw: shift("u16", left),
  pslld: shift("u32", left),
  psllq: packedShift(shiftQuadwordsLeft),
  psrlw: shift("u16", right),
  psrld: shift("u32", right),
  psrlq: packedShift(shiftQuadwordsRight),
  psraw: shift("i16", arithmetic),
  psrad: shift("i32", arithmetic),
  pslldq: packedShift(shiftBytesLeft),
  psrldq: packedShift(shiftBytesRight),
};
