// The arithmetic of the ALU instructions: each function returns the result and leaves the status flags as what they are
// computed from (state.ts; SDM 1, 3.4.3.1 and appendix A). 8- and 16-bit operands are unsigned, 32-bit ones int32.
// Undefined flags follow the AMD Zen 4: AF is 0 after AND, OR, XOR and TEST.

import type { Processor } from "../processor.ts";
import { FLAG_AUX, FLAG_RESULT } from "../state.ts";

/** ALU operations as opcodes number them. */
export const ADD = 0, OR = 1, ADC = 2, SBB = 3, AND = 4, SUB = 5, XOR = 6, CMP = 7;

/** Bits of FLAG_AUX: CF, CF xor OF, AF; and the first two together. */
export const AUX_CF = 1 << 31, AUX_CF_XOR_OF = 1 << 30, AUX_AF = 1 << 3, AUX_CF_OF = AUX_CF | AUX_CF_XOR_OF;
const AUX_CARRIES = AUX_CF_OF | AUX_AF;

export function add32(cpu: Processor, a: number, b: number): number {
  const result = (a + b) | 0;
  // A bit's carry out: both addends have it, or one has and the sum has not. The carry out of bit 30 is CF xor OF.
  cpu.r[FLAG_AUX] = ((a & b) | ((a | b) & ~result)) & AUX_CARRIES;
  cpu.r[FLAG_RESULT] = result;
  return result;
}

export function sub32(cpu: Processor, a: number, b: number): number {
  const result = (a - b) | 0;
  cpu.r[FLAG_AUX] = ((~a & b) | ((~a | b) & result)) & AUX_CARRIES;
  cpu.r[FLAG_RESULT] = result;
  return result;
}

export function adc32(cpu: Processor, a: number, b: number): number {
  const result = (a + b + (cpu.r[FLAG_AUX] >>> 31)) | 0;
  cpu.r[FLAG_AUX] = ((a & b) | ((a | b) & ~result)) & AUX_CARRIES;
  cpu.r[FLAG_RESULT] = result;
  return result;
}

export function sbb32(cpu: Processor, a: number, b: number): number {
  const result = (a - b - (cpu.r[FLAG_AUX] >>> 31)) | 0;
  cpu.r[FLAG_AUX] = ((~a & b) | ((~a | b) & result)) & AUX_CARRIES;
  cpu.r[FLAG_RESULT] = result;
  return result;
}

/** Flags of AND, OR, XOR and TEST for a result sign-extended to 32 bits. */
export function logic(cpu: Processor, result: number): number {
  cpu.r[FLAG_AUX] = 0;
  cpu.r[FLAG_RESULT] = result;
  return result;
}

export function add16(cpu: Processor, a: number, b: number): number {
  return sum16(cpu, a, b, a + b);
}

export function sub16(cpu: Processor, a: number, b: number): number {
  return difference16(cpu, a, b, a - b);
}

export function add8(cpu: Processor, a: number, b: number): number {
  return sum8(cpu, a, b, a + b);
}

export function sub8(cpu: Processor, a: number, b: number): number {
  return difference8(cpu, a, b, a - b);
}

/** The operation numbered `operation` on 32 bits; CMP returns the difference. */
export function alu32(cpu: Processor, operation: number, a: number, b: number): number {
  switch (operation) {
    case ADD:
      return add32(cpu, a, b);
    case OR:
      return logic(cpu, a | b);
    case ADC:
      return adc32(cpu, a, b);
    case SBB:
      return sbb32(cpu, a, b);
    case AND:
      return logic(cpu, a & b);
    case XOR:
      return logic(cpu, a ^ b);
    default:
      return sub32(cpu, a, b);
  }
}

/** As alu32 on 16 bits. */
export function alu16(cpu: Processor, operation: number, a: number, b: number): number {
  switch (operation) {
    case ADD:
      return sum16(cpu, a, b, a + b);
    case OR:
      return logic(cpu, ((a | b) << 16) >> 16) & 0xffff;
    case ADC:
      return sum16(cpu, a, b, a + b + cpu.cf);
    case SBB:
      return difference16(cpu, a, b, a - b - cpu.cf);
    case AND:
      return logic(cpu, ((a & b) << 16) >> 16) & 0xffff;
    case XOR:
      return logic(cpu, ((a ^ b) << 16) >> 16) & 0xffff;
    default:
      return difference16(cpu, a, b, a - b);
  }
}

/** As alu32 on 8 bits. */
export function alu8(cpu: Processor, operation: number, a: number, b: number): number {
  switch (operation) {
    case ADD:
      return sum8(cpu, a, b, a + b);
    case OR:
      return logic(cpu, ((a | b) << 24) >> 24) & 0xff;
    case ADC:
      return sum8(cpu, a, b, a + b + cpu.cf);
    case SBB:
      return difference8(cpu, a, b, a - b - cpu.cf);
    case AND:
      return logic(cpu, ((a & b) << 24) >> 24) & 0xff;
    case XOR:
      return logic(cpu, ((a ^ b) << 24) >> 24) & 0xff;
    default:
      return difference8(cpu, a, b, a - b);
  }
}

export function inc32(cpu: Processor, a: number): number {
  const result = (a + 1) | 0;
  incrementFlags(cpu, result, result === -0x80000000, (result & 0xf) === 0);
  return result;
}

export function dec32(cpu: Processor, a: number): number {
  const result = (a - 1) | 0;
  incrementFlags(cpu, result, result === 0x7fffffff, (result & 0xf) === 0xf);
  return result;
}

export function inc16(cpu: Processor, a: number): number {
  const result = ((a + 1) << 16) >> 16;
  incrementFlags(cpu, result, result === -0x8000, (result & 0xf) === 0);
  return result & 0xffff;
}

export function dec16(cpu: Processor, a: number): number {
  const result = ((a - 1) << 16) >> 16;
  incrementFlags(cpu, result, result === 0x7fff, (result & 0xf) === 0xf);
  return result & 0xffff;
}

export function inc8(cpu: Processor, a: number): number {
  const result = ((a + 1) << 24) >> 24;
  incrementFlags(cpu, result, result === -0x80, (result & 0xf) === 0);
  return result & 0xff;
}

export function dec8(cpu: Processor, a: number): number {
  const result = ((a - 1) << 24) >> 24;
  incrementFlags(cpu, result, result === 0x7f, (result & 0xf) === 0xf);
  return result & 0xff;
}

/** Flags of INC and DEC: CF stays. */
function incrementFlags(cpu: Processor, result: number, overflows: boolean, carriesAux: boolean): void {
  const cf = cpu.r[FLAG_AUX] & AUX_CF;
  cpu.r[FLAG_AUX] = cf | ((cf >>> 1) ^ (overflows ? AUX_CF_XOR_OF : 0)) | (carriesAux ? AUX_AF : 0);
  cpu.r[FLAG_RESULT] = result;
}

/** `sum` is a + b, and a carry, not cut to 16 bits. */
function sum16(cpu: Processor, a: number, b: number, sum: number): number {
  const carries = (a & b) | ((a | b) & ~sum);
  cpu.r[FLAG_AUX] = ((carries << 16) & AUX_CF_OF) | (carries & AUX_AF);
  cpu.r[FLAG_RESULT] = (sum << 16) >> 16;
  return sum & 0xffff;
}

function difference16(cpu: Processor, a: number, b: number, difference: number): number {
  const borrows = (~a & b) | ((~a | b) & difference);
  cpu.r[FLAG_AUX] = ((borrows << 16) & AUX_CF_OF) | (borrows & AUX_AF);
  cpu.r[FLAG_RESULT] = (difference << 16) >> 16;
  return difference & 0xffff;
}

function sum8(cpu: Processor, a: number, b: number, sum: number): number {
  const carries = (a & b) | ((a | b) & ~sum);
  cpu.r[FLAG_AUX] = ((carries << 24) & AUX_CF_OF) | (carries & AUX_AF);
  cpu.r[FLAG_RESULT] = (sum << 24) >> 24;
  return sum & 0xff;
}

function difference8(cpu: Processor, a: number, b: number, difference: number): number {
  const borrows = (~a & b) | ((~a | b) & difference);
  cpu.r[FLAG_AUX] = ((borrows << 24) & AUX_CF_OF) | (borrows & AUX_AF);
  cpu.r[FLAG_RESULT] = (difference << 24) >> 24;
  return difference & 0xff;
}
