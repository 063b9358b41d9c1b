// DAA, DAS, AAA, AAS, AAM and AAD (Intel SDM 2A).
//
// Undefined flags follow the AMD Zen 4, as measured (tests/fixtures/integer):
//   DAA, DAS   OF as the 8-bit addition or subtraction of the whole correction gives it
//   AAA, AAS   SF, ZF, PF and OF of the 16-bit addition to AX, or subtraction, of the correction (0 or 0106h), before AL is cut
//   AAM        CF, OF and AF 0
//   AAD        CF, OF and AF of the 8-bit addition of AL and AH * base

import type { Processor } from "../processor.ts";
import { FLAG_AUX, Vector } from "../state.ts";
import { add16, add8, AUX_AF, AUX_CF, AUX_CF_OF, AUX_CF_XOR_OF, logic, sub16, sub8 } from "./arithmetic.ts";
import type { Binder, Operation } from "./operation.ts";

/** Binders by handler name. */
export const decimalBinders: Record<string, Binder> = {
  daa: () => daa,
  das: () => das,
  aaa: () => aaa,
  aas: () => aas,
  aam: () => aam,
  aad: () => aad,
};

/** Indices of the accumulator in r8 and r16. */
const AL = 0, AH = 1, AX = 0;
/** What turns a hexadecimal digit above 9 into a decimal one and a carry, low and high digit of AL. */
const LOW_CORRECTION = 0x06, HIGH_CORRECTION = 0x60;
/** The same for AX with one digit a byte. */
const UNPACKED_CORRECTION = 0x0106;

function daa(cpu: Processor): void {
  const al = cpu.r8[AL];
  const af = needsLow(cpu, al), cf = needsHigh(cpu, al);
  cpu.r8[AL] = add8(cpu, al, (af ? LOW_CORRECTION : 0) + (cf ? HIGH_CORRECTION : 0));
  setCarries(cpu, cf, af);
}

function das(cpu: Processor): void {
  const al = cpu.r8[AL];
  const af = needsLow(cpu, al), cf = needsHigh(cpu, al);
  cpu.r8[AL] = sub8(cpu, al, (af ? LOW_CORRECTION : 0) + (cf ? HIGH_CORRECTION : 0));
  // The low digit's correction alone may borrow.
  setCarries(cpu, cf || (af && al < LOW_CORRECTION), af);
}

function aaa(cpu: Processor): void {
  const adjusts = needsLow(cpu, cpu.r8[AL]);
  cpu.r16[AX] = add16(cpu, cpu.r16[AX], adjusts ? UNPACKED_CORRECTION : 0);
  cpu.r8[AL] &= 0xf;
  setCarries(cpu, adjusts, adjusts);
}

function aas(cpu: Processor): void {
  const adjusts = needsLow(cpu, cpu.r8[AL]);
  cpu.r16[AX] = sub16(cpu, cpu.r16[AX], adjusts ? UNPACKED_CORRECTION : 0);
  cpu.r8[AL] &= 0xf;
  setCarries(cpu, adjusts, adjusts);
}

function aam(cpu: Processor, op: Operation): void {
  const al = cpu.r8[AL], base = op.immediate;
  if (base === 0) cpu.raise(Vector.divideError);
  const quotient = (al / base) | 0;
  cpu.r8[AH] = quotient;
  cpu.r8[AL] = al - quotient * base;
  logic(cpu, (cpu.r8[AL] << 24) >> 24);
}

function aad(cpu: Processor, op: Operation): void {
  const sum = add8(cpu, cpu.r8[AL], (cpu.r8[AH] * op.immediate) & 0xff);
  cpu.r16[AX] = sum;
}

function needsLow(cpu: Processor, al: number): boolean {
  return (al & 0xf) > 9 || cpu.af !== 0;
}

function needsHigh(cpu: Processor, al: number): boolean {
  return al > 0x99 || cpu.cf !== 0;
}

/** Replaces CF and AF and leaves OF. */
function setCarries(cpu: Processor, cf: boolean, af: boolean): void {
  const of = cpu.of !== 0;
  const kept = cpu.r[FLAG_AUX] & ~(AUX_CF_OF | AUX_AF);
  cpu.r[FLAG_AUX] = kept | (cf ? AUX_CF : 0) | (cf !== of ? AUX_CF_XOR_OF : 0) | (af ? AUX_AF : 0);
}
