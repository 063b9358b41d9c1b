// Operands of SIMD instructions outside the registers: 16 bytes with a view for each kind of element, loaded from a register
// or memory, worked on, and stored (Intel SDM 1, 9.2 and 10.4). An MMX operand fills the low eight bytes.

import type { Processor } from "../processor.ts";
import * as S from "../state.ts";
import type { Fpu } from "../x87/fpu.ts";

/** Bytes of an MMX and of an XMM register. */
export const MMX_BYTES = 8, XMM_BYTES = 16;
/** Words of an XMM register. */
const XMM_WORDS = 4;
/** Sign and exponent of an x87 register that an MMX instruction wrote (SDM 1, 9.5.1). */
const MMX_SIGN_EXPONENT = 0xffff;

/** One operand. All views are of the same bytes; element 0 is the least significant. */
export class Lanes {
  readonly buffer = new ArrayBuffer(XMM_BYTES);
  readonly u8 = new Uint8Array(this.buffer);
  readonly i8 = new Int8Array(this.buffer);
  readonly u16 = new Uint16Array(this.buffer);
  readonly i16 = new Int16Array(this.buffer);
  readonly u32 = new Uint32Array(this.buffer);
  readonly i32 = new Int32Array(this.buffer);
  readonly f32 = new Float32Array(this.buffer);
  readonly f64 = new Float64Array(this.buffer);
}

/** The operands of the instruction being executed: handlers run to completion, so that one set serves all. */
export const destination = new Lanes(), source = new Lanes(), result = new Lanes();

export function loadXmm(cpu: Processor, register: number, into: Lanes): void {
  const { r } = cpu, { i32 } = into, at = S.XMM + register * XMM_WORDS;
  i32[0] = r[at];
  i32[1] = r[at + 1];
  i32[2] = r[at + 2];
  i32[3] = r[at + 3];
}

export function storeXmm(cpu: Processor, register: number, from: Lanes): void {
  const { r } = cpu, { i32 } = from, at = S.XMM + register * XMM_WORDS;
  r[at] = i32[0];
  r[at + 1] = i32[1];
  r[at + 2] = i32[2];
  r[at + 3] = i32[3];
}

/** Stores the low `words` words and leaves the others of the register. */
export function storeXmmLow(cpu: Processor, register: number, from: Lanes, words: number): void {
  const at = S.XMM + register * XMM_WORDS;
  for (let i = 0; i < words; i++) cpu.r[at + i] = from.i32[i];
}

/** MMX register n is the significand of physical x87 register n. */
export function loadMmx(fpu: Fpu, register: number, into: Lanes): void {
  into.u32[0] = fpu.significands[register * 2];
  into.u32[1] = fpu.significands[register * 2 + 1];
}

export function storeMmx(fpu: Fpu, register: number, from: Lanes): void {
  fpu.significands[register * 2] = from.u32[0];
  fpu.significands[register * 2 + 1] = from.u32[1];
  fpu.se[register] = MMX_SIGN_EXPONENT;
}

/** Reads 4, 8 or 16 bytes; the rest of `into` stays. A fault comes before anything changes that the guest can see. */
export function readLanes(cpu: Processor, linear: number, bytes: number, into: Lanes): void {
  for (let at = 0; at < bytes; at += 4) into.i32[at >> 2] = cpu.read32((linear + at) | 0);
}

/** Writes 4, 8 or 16 bytes, all or none of them. */
export function writeLanes(cpu: Processor, linear: number, bytes: number, from: Lanes): void {
  if (bytes > 4) cpu.checkWrite(linear, bytes);
  for (let at = 0; at < bytes; at += 4) cpu.write32((linear + at) | 0, from.i32[at >> 2]);
}
