// MUL, IMUL, DIV and IDIV (Intel SDM 2A and 2B), exact without BigInt: 64-bit products from 16-bit limbs, quotients digit by
// digit in doubles that hold every intermediate exactly.
//
// Undefined flags follow the AMD Zen 4, as measured (tests/fixtures/integer):
//   MUL, IMUL   SF, ZF, AF and PF unchanged
//   DIV, IDIV   AF 1; SF, ZF and PF 0; CF and OF unchanged

import type { Processor } from "../processor.ts";
import { EAX, EDX } from "../instruction.ts";
import { FLAG_AUX, FLAG_RESULT, Vector } from "../state.ts";
import { AUX_AF, AUX_CF, AUX_CF_OF } from "./arithmetic.ts";
import { bindOneOperand, type OneOperandForms, operandBits, operandRegister, viewIndex } from "./operands.ts";
import { type Binder, type Handler, type Operation, readAddress } from "./operation.ts";

/** Binders by handler name. */
export const multiplyBinders: Record<string, Binder> = {
  mul: (op) => bindOneOperand(op, MUL_FORMS),
  imul1: (op) => bindOneOperand(op, IMUL_FORMS),
  div: (op) => bindOneOperand(op, DIV_FORMS),
  idiv: (op) => bindOneOperand(op, IDIV_FORMS),
  imul: bindImul,
};

/** Indices of the accumulators in r8 and r16. */
const AL = 0, AH = 1, AX = 0, DX = 4;

/** Upper 32 bits of the product of two unsigned words, as an int32. */
export function mulHighUnsigned(a: number, b: number): number {
  const aLow = a & 0xffff, aHigh = a >>> 16, bLow = b & 0xffff, bHigh = b >>> 16;
  // Each sum is below 2^32: (2^16 - 1)^2 + 2^16 - 1 < 2^32.
  const middle = aHigh * bLow + ((aLow * bLow) >>> 16);
  const carry = aLow * bHigh + (middle & 0xffff);
  return (aHigh * bHigh + (middle >>> 16) + (carry >>> 16)) | 0;
}

/** Upper 32 bits of the product of two signed words. */
export function mulHighSigned(a: number, b: number): number {
  return (mulHighUnsigned(a, b) - (a < 0 ? b : 0) - (b < 0 ? a : 0)) | 0;
}

/** CF and OF after a multiplication: both tell that the upper half is significant. */
function productFlags(cpu: Processor, overflows: boolean): void {
  cpu.r[FLAG_AUX] = (cpu.r[FLAG_AUX] & ~AUX_CF_OF) | (overflows ? AUX_CF : 0);
}

// MUL and one-operand IMUL.

function mul8(cpu: Processor, b: number): void {
  const product = cpu.r8[AL] * b;
  cpu.r16[AX] = product;
  productFlags(cpu, product > 0xff);
}
function mul16(cpu: Processor, b: number): void {
  const product = cpu.r16[AX] * b;
  cpu.r16[AX] = product;
  cpu.r16[DX] = product >>> 16;
  productFlags(cpu, product > 0xffff);
}
function mul32(cpu: Processor, b: number): void {
  const a = cpu.r[EAX];
  const high = mulHighUnsigned(a, b);
  cpu.r[EAX] = Math.imul(a, b);
  cpu.r[EDX] = high;
  productFlags(cpu, high !== 0);
}
function imul8(cpu: Processor, b: number): void {
  const product = ((cpu.r8[AL] << 24) >> 24) * ((b << 24) >> 24);
  cpu.r16[AX] = product;
  productFlags(cpu, product !== (product << 24) >> 24);
}
function imul16(cpu: Processor, b: number): void {
  const product = Math.imul((cpu.r16[AX] << 16) >> 16, (b << 16) >> 16);
  cpu.r16[AX] = product;
  cpu.r16[DX] = product >>> 16;
  productFlags(cpu, product !== (product << 16) >> 16);
}
function imul32(cpu: Processor, b: number): void {
  const a = cpu.r[EAX];
  const low = Math.imul(a, b), high = mulHighSigned(a, b);
  cpu.r[EAX] = low;
  cpu.r[EDX] = high;
  productFlags(cpu, high !== low >> 31);
}

// Two- and three-operand IMUL: op.reg = op.rm or memory, times op.reg or an immediate.

/** Low half of a product; a double tells overflow exactly, because it rounds no product back into 32 bits. */
function multiply32(cpu: Processor, a: number, b: number): number {
  const low = Math.imul(a, b);
  productFlags(cpu, a * b !== low);
  return low;
}
function multiply16(cpu: Processor, a: number, b: number): number {
  const product = Math.imul((a << 16) >> 16, (b << 16) >> 16);
  productFlags(cpu, product !== (product << 16) >> 16);
  return product;
}

function bindImul(op: Operation): Handler {
  const { operands } = op.instruction.row;
  const bits = operandBits(op, operands[0]);
  op.reg = viewIndex(op.reg, bits);
  const source = operandRegister(op, operands[1]);
  if (source >= 0) op.rm = viewIndex(source, bits);
  if (operands.length === 3) {
    if (source >= 0) return bits === 32 ? imulRegisterImmediate32 : imulRegisterImmediate16;
    return bits === 32 ? imulMemoryImmediate32 : imulMemoryImmediate16;
  }
  if (source >= 0) return bits === 32 ? imulRegister32 : imulRegister16;
  return bits === 32 ? imulMemory32 : imulMemory16;
}

function imulRegister16(cpu: Processor, op: Operation): void {
  cpu.r16[op.reg] = multiply16(cpu, cpu.r16[op.reg], cpu.r16[op.rm]);
}
function imulRegister32(cpu: Processor, op: Operation): void {
  cpu.r[op.reg] = multiply32(cpu, cpu.r[op.reg], cpu.r[op.rm]);
}
function imulMemory16(cpu: Processor, op: Operation): void {
  cpu.r16[op.reg] = multiply16(cpu, cpu.r16[op.reg], cpu.read16(readAddress(cpu, op, 2)));
}
function imulMemory32(cpu: Processor, op: Operation): void {
  cpu.r[op.reg] = multiply32(cpu, cpu.r[op.reg], cpu.read32(readAddress(cpu, op, 4)));
}
function imulRegisterImmediate16(cpu: Processor, op: Operation): void {
  cpu.r16[op.reg] = multiply16(cpu, cpu.r16[op.rm], op.immediate);
}
function imulRegisterImmediate32(cpu: Processor, op: Operation): void {
  cpu.r[op.reg] = multiply32(cpu, cpu.r[op.rm], op.immediate);
}
function imulMemoryImmediate16(cpu: Processor, op: Operation): void {
  cpu.r16[op.reg] = multiply16(cpu, cpu.read16(readAddress(cpu, op, 2)), op.immediate);
}
function imulMemoryImmediate32(cpu: Processor, op: Operation): void {
  cpu.r[op.reg] = multiply32(cpu, cpu.read32(readAddress(cpu, op, 4)), op.immediate);
}

// DIV and IDIV. #DE for a divisor of zero or a quotient that does not fit, before anything changes.

function div8(cpu: Processor, divisor: number): void {
  const dividend = cpu.r16[AX];
  if (divisor === 0) divideError(cpu);
  const quotient = (dividend / divisor) | 0;
  if (quotient > 0xff) divideError(cpu);
  cpu.r8[AL] = quotient;
  cpu.r8[AH] = dividend - quotient * divisor;
  divisionFlags(cpu);
}
function div16(cpu: Processor, divisor: number): void {
  const dividend = ((cpu.r16[DX] << 16) | cpu.r16[AX]) >>> 0;
  if (divisor === 0) divideError(cpu);
  const quotient = Math.floor(dividend / divisor);
  if (quotient > 0xffff) divideError(cpu);
  cpu.r16[AX] = quotient;
  cpu.r16[DX] = dividend - quotient * divisor;
  divisionFlags(cpu);
}
function div32(cpu: Processor, divisor: number): void {
  const high = cpu.r[EDX] >>> 0, low = cpu.r[EAX] >>> 0, by = divisor >>> 0;
  // Covers a divisor of zero.
  if (high >= by) divideError(cpu);
  divide64(high, low, by);
  cpu.r[EAX] = division.quotient;
  cpu.r[EDX] = division.remainder;
  divisionFlags(cpu);
}
function idiv8(cpu: Processor, operand: number): void {
  const dividend = (cpu.r16[AX] << 16) >> 16, divisor = (operand << 24) >> 24;
  if (divisor === 0) divideError(cpu);
  const quotient = (dividend / divisor) | 0;
  if (quotient !== (quotient << 24) >> 24) divideError(cpu);
  cpu.r8[AL] = quotient;
  cpu.r8[AH] = dividend - quotient * divisor;
  divisionFlags(cpu);
}
function idiv16(cpu: Processor, operand: number): void {
  const dividend = (cpu.r16[DX] << 16) | cpu.r16[AX], divisor = (operand << 16) >> 16;
  if (divisor === 0) divideError(cpu);
  const quotient = Math.trunc(dividend / divisor);
  if (quotient < -0x8000 || quotient > 0x7fff) divideError(cpu);
  cpu.r16[AX] = quotient;
  cpu.r16[DX] = dividend - quotient * divisor;
  divisionFlags(cpu);
}
function idiv32(cpu: Processor, divisor: number): void {
  let high = cpu.r[EDX], low = cpu.r[EAX];
  const isNegative = high < 0, isQuotientNegative = isNegative !== divisor < 0;
  if (isNegative) {
    low = -low | 0;
    high = (~high + (low === 0 ? 1 : 0)) | 0;
  }
  const by = Math.abs(divisor);
  if ((high >>> 0) >= by) divideError(cpu);
  divide64(high >>> 0, low >>> 0, by);
  const { quotient, remainder } = division;
  if (quotient > (isQuotientNegative ? 0x80000000 : 0x7fffffff)) divideError(cpu);
  cpu.r[EAX] = isQuotientNegative ? -quotient : quotient;
  cpu.r[EDX] = isNegative ? -remainder : remainder;
  divisionFlags(cpu);
}

/** Result of divide64: one object for all, so that a division allocates nothing. */
const division = { quotient: 0, remainder: 0 };

/**
 * Divides high * 2^32 + low by `by`, all unsigned, with high < by: the quotient fits in 32 bits. Two digits of 16 bits,
 * each from a dividend below 2^48, for which the floor of the double quotient is exact.
 */
function divide64(high: number, low: number, by: number): void {
  if (high === 0) {
    const quotient = Math.floor(low / by);
    division.quotient = quotient;
    division.remainder = low - quotient * by;
    return;
  }
  const upper = high * 0x10000 + (low >>> 16);
  const upperDigit = Math.floor(upper / by);
  const lower = (upper - upperDigit * by) * 0x10000 + (low & 0xffff);
  const lowerDigit = Math.floor(lower / by);
  division.quotient = upperDigit * 0x10000 + lowerDigit;
  division.remainder = lower - lowerDigit * by;
}

function divisionFlags(cpu: Processor): void {
  // A result that is positive, not zero and of odd parity: SF, ZF and PF are 0.
  cpu.r[FLAG_RESULT] = 1;
  cpu.r[FLAG_AUX] = (cpu.r[FLAG_AUX] & AUX_CF_OF) | AUX_AF;
}

function divideError(cpu: Processor): never {
  return cpu.raise(Vector.divideError);
}

// Handlers by form.

function mulRegister8(cpu: Processor, op: Operation): void {
  mul8(cpu, cpu.r8[op.rm]);
}
function mulRegister16(cpu: Processor, op: Operation): void {
  mul16(cpu, cpu.r16[op.rm]);
}
function mulRegister32(cpu: Processor, op: Operation): void {
  mul32(cpu, cpu.r[op.rm]);
}
function mulMemory8(cpu: Processor, op: Operation): void {
  mul8(cpu, cpu.read8(readAddress(cpu, op, 1)));
}
function mulMemory16(cpu: Processor, op: Operation): void {
  mul16(cpu, cpu.read16(readAddress(cpu, op, 2)));
}
function mulMemory32(cpu: Processor, op: Operation): void {
  mul32(cpu, cpu.read32(readAddress(cpu, op, 4)));
}
function imulOneRegister8(cpu: Processor, op: Operation): void {
  imul8(cpu, cpu.r8[op.rm]);
}
function imulOneRegister16(cpu: Processor, op: Operation): void {
  imul16(cpu, cpu.r16[op.rm]);
}
function imulOneRegister32(cpu: Processor, op: Operation): void {
  imul32(cpu, cpu.r[op.rm]);
}
function imulOneMemory8(cpu: Processor, op: Operation): void {
  imul8(cpu, cpu.read8(readAddress(cpu, op, 1)));
}
function imulOneMemory16(cpu: Processor, op: Operation): void {
  imul16(cpu, cpu.read16(readAddress(cpu, op, 2)));
}
function imulOneMemory32(cpu: Processor, op: Operation): void {
  imul32(cpu, cpu.read32(readAddress(cpu, op, 4)));
}
function divRegister8(cpu: Processor, op: Operation): void {
  div8(cpu, cpu.r8[op.rm]);
}
function divRegister16(cpu: Processor, op: Operation): void {
  div16(cpu, cpu.r16[op.rm]);
}
function divRegister32(cpu: Processor, op: Operation): void {
  div32(cpu, cpu.r[op.rm]);
}
function divMemory8(cpu: Processor, op: Operation): void {
  div8(cpu, cpu.read8(readAddress(cpu, op, 1)));
}
function divMemory16(cpu: Processor, op: Operation): void {
  div16(cpu, cpu.read16(readAddress(cpu, op, 2)));
}
function divMemory32(cpu: Processor, op: Operation): void {
  div32(cpu, cpu.read32(readAddress(cpu, op, 4)));
}
function idivRegister8(cpu: Processor, op: Operation): void {
  idiv8(cpu, cpu.r8[op.rm]);
}
function idivRegister16(cpu: Processor, op: Operation): void {
  idiv16(cpu, cpu.r16[op.rm]);
}
function idivRegister32(cpu: Processor, op: Operation): void {
  idiv32(cpu, cpu.r[op.rm]);
}
function idivMemory8(cpu: Processor, op: Operation): void {
  idiv8(cpu, cpu.read8(readAddress(cpu, op, 1)));
}
function idivMemory16(cpu: Processor, op: Operation): void {
  idiv16(cpu, cpu.read16(readAddress(cpu, op, 2)));
}
function idivMemory32(cpu: Processor, op: Operation): void {
  idiv32(cpu, cpu.read32(readAddress(cpu, op, 4)));
}

const MUL_FORMS: OneOperandForms = {
  register: [mulRegister8, mulRegister16, mulRegister32],
  memory: [mulMemory8, mulMemory16, mulMemory32, mulMemory32],
};
const IMUL_FORMS: OneOperandForms = {
  register: [imulOneRegister8, imulOneRegister16, imulOneRegister32],
  memory: [imulOneMemory8, imulOneMemory16, imulOneMemory32, imulOneMemory32],
};
const DIV_FORMS: OneOperandForms = {
  register: [divRegister8, divRegister16, divRegister32],
  memory: [divMemory8, divMemory16, divMemory32, divMemory32],
};
const IDIV_FORMS: OneOperandForms = {
  register: [idivRegister8, idivRegister16, idivRegister32],
  memory: [idivMemory8, idivMemory16, idivMemory32, idivMemory32],
};
