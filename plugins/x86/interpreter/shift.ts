// Shifts and rotates: ROL, ROR, RCL, RCR, SHL, SHR, SAR, SHLD, SHRD (Intel SDM 2B). Counts are masked to 5 bits; a count of
// zero leaves all flags as they are.
//
// Undefined flags follow the AMD Zen 4, as measured (tests/fixtures/integer):
//   AF                  1 after SHL, SHR, SAR, SHLD and SHRD; unchanged by rotates
//   OF, left            CF xor the top bit of the result, whatever the count; after SHLD the top bit that the
//                       destination alone would have given
//   OF, right           the top bit of the result xor the bit below it, whatever the count
//   CF, count > width   0 after SHL, SHR, SHLD and SHRD; the sign after SAR
//   RCL, RCR            a count that is a multiple of width + 1 leaves CF, but sets OF by the rule above
//   16-bit SHLD, SHRD   counts above 16 shift in the source, then the source again

import type { Processor } from "../processor.ts";
import { FLAG_AUX, FLAG_RESULT } from "../state.ts";
import { AUX_AF, AUX_CF_OF, AUX_CF_XOR_OF } from "./arithmetic.ts";
import { bindOneOperand, type OneOperandForms, operandBits, operandRegister, viewIndex } from "./operands.ts";
import { type Binder, type Handler, type Operation, writeAddress } from "./operation.ts";

/** Binders by handler name. */
export const shiftBinders: Record<string, Binder> = { shift: bindShift, shld: bindDoubleShift, shrd: bindDoubleShift };

/** Sub-operations as ModR/M encodes them; 6 is an alias of SHL. */
const ROL = 0, ROR = 1, RCL = 2, RCR = 3, SHL = 4, SHR = 5, SAR = 7;

/** CL as an index of r8. */
const CL = 4;

function bindShift(op: Operation): Handler {
  const count = op.instruction.row.operands[1];
  if (count === "cl") return bindOneOperand(op, BY_CL);
  op.immediate = count === "1" ? 1 : op.immediate & 31;
  const general = bindOneOperand(op, BY_IMMEDIATE);
  if (general !== shiftRegisterImmediate32 || op.immediate === 0) return general;
  switch (op.variant) {
    case SHL:
      return shlRegisterImmediate;
    case SHR:
      return shrRegisterImmediate;
    case SAR:
      return sarRegisterImmediate;
    default:
      return general;
  }
}

// Results and flags; counts are 1 to 31, except that the 8- and 16-bit ones also take 0 and then change nothing.

/** SHL on 32 bits. */
function shl32(cpu: Processor, a: number, count: number): number {
  const result = a << count;
  const cf = (a >>> (32 - count)) & 1;
  // CF xor OF is the top bit of the result.
  cpu.r[FLAG_AUX] = (cf << 31) | ((result >>> 1) & AUX_CF_XOR_OF) | AUX_AF;
  return cpu.r[FLAG_RESULT] = result;
}

function shr32(cpu: Processor, a: number, count: number): number {
  const result = a >>> count;
  const cf = (a >>> (count - 1)) & 1;
  const of = (result >>> 30) & 1;
  cpu.r[FLAG_AUX] = (cf << 31) | ((cf ^ of) << 30) | AUX_AF;
  return cpu.r[FLAG_RESULT] = result | 0;
}

function sar32(cpu: Processor, a: number, count: number): number {
  const result = a >> count;
  const cf = (a >> (count - 1)) & 1;
  cpu.r[FLAG_AUX] = (cf << 31) | (cf << 30) | AUX_AF;
  return cpu.r[FLAG_RESULT] = result;
}

/** Any of the eight operations on 32 bits; `count` is 1 to 31. */
function shift32(cpu: Processor, operation: number, a: number, count: number): number {
  switch (operation) {
    case ROL: {
      const result = (a << count) | (a >>> (32 - count));
      return rotated(cpu, result, result & 1, result >>> 31);
    }
    case ROR: {
      const result = (a >>> count) | (a << (32 - count));
      return rotated(cpu, result, result >>> 31, (result >>> 30) & 1);
    }
    case RCL: {
      const result = (a << count) | (cpu.cf << (count - 1)) | (count > 1 ? a >>> (33 - count) : 0);
      return rotated(cpu, result, (a >>> (32 - count)) & 1, result >>> 31);
    }
    case RCR: {
      const result = (a >>> count) | (cpu.cf << (32 - count)) | (count > 1 ? a << (33 - count) : 0);
      const cf = (a >>> (count - 1)) & 1;
      return rotated(cpu, result, cf, cf ^ (result >>> 31) ^ ((result >>> 30) & 1));
    }
    case SHR:
      return shr32(cpu, a, count);
    case SAR:
      return sar32(cpu, a, count);
    default:
      return shl32(cpu, a, count);
  }
}

/** Any of the eight operations on an unsigned operand of 8 or 16 bits; `count` is 0 to 31. */
function shiftNarrow(cpu: Processor, operation: number, a: number, count: number, bits: 8 | 16): number {
  if (count === 0) return a;
  switch (operation) {
    case ROL: {
      const turn = count & (bits - 1);
      const result = (a << turn) | (a >>> (bits - turn));
      return rotated(cpu, result, result & 1, (result >>> (bits - 1)) & 1);
    }
    case ROR: {
      const turn = count & (bits - 1);
      const result = (a >>> turn) | (a << (bits - turn));
      return rotated(cpu, result, (result >>> (bits - 1)) & 1, (result >>> (bits - 2)) & 1);
    }
    case RCL: {
      const turn = count % (bits + 1), cf = cpu.cf;
      const result = turn === 0 ? a : (a << turn) | (cf << (turn - 1)) | (a >>> (bits + 1 - turn));
      const newCf = turn === 0 ? cf : (a >>> (bits - turn)) & 1;
      return rotated(cpu, result, newCf, (result >>> (bits - 1)) & 1);
    }
    case RCR: {
      const turn = count % (bits + 1), cf = cpu.cf;
      const result = turn === 0 ? a : (a >>> turn) | (cf << (bits - turn)) | (a << (bits + 1 - turn));
      const newCf = turn === 0 ? cf : (a >>> (turn - 1)) & 1;
      return rotated(cpu, result, newCf, newCf ^ ((result >>> (bits - 1)) & 1) ^ ((result >>> (bits - 2)) & 1));
    }
    case SHR: {
      const result = a >>> count, cf = (a >>> (count - 1)) & 1;
      return shifted(cpu, result, cf, cf ^ ((result >>> (bits - 2)) & 1), bits);
    }
    case SAR: {
      const signed = (a << (32 - bits)) >> (32 - bits);
      const cf = (signed >> (count - 1)) & 1;
      return shifted(cpu, signed >> count, cf, cf, bits);
    }
    default: {
      const result = a << count;
      return shifted(cpu, result, (result >>> bits) & 1, (result >>> (bits - 1)) & 1, bits);
    }
  }
}

/** Flags of a rotate: CF and OF alone. */
function rotated(cpu: Processor, result: number, cf: number, cfXorOf: number): number {
  cpu.r[FLAG_AUX] = (cpu.r[FLAG_AUX] & ~AUX_CF_OF) | (cf << 31) | (cfXorOf << 30);
  return result;
}

/** Flags of a narrow shift. */
function shifted(cpu: Processor, result: number, cf: number, cfXorOf: number, bits: 8 | 16): number {
  cpu.r[FLAG_AUX] = (cf << 31) | (cfXorOf << 30) | AUX_AF;
  cpu.r[FLAG_RESULT] = (result << (32 - bits)) >> (32 - bits);
  return result;
}

// Handlers.

function shlRegisterImmediate(cpu: Processor, op: Operation): void {
  cpu.r[op.rm] = shl32(cpu, cpu.r[op.rm], op.immediate);
}
function shrRegisterImmediate(cpu: Processor, op: Operation): void {
  cpu.r[op.rm] = shr32(cpu, cpu.r[op.rm], op.immediate);
}
function sarRegisterImmediate(cpu: Processor, op: Operation): void {
  cpu.r[op.rm] = sar32(cpu, cpu.r[op.rm], op.immediate);
}
function shiftRegisterImmediate8(cpu: Processor, op: Operation): void {
  cpu.r8[op.rm] = shiftNarrow(cpu, op.variant, cpu.r8[op.rm], op.immediate, 8);
}
function shiftRegisterImmediate16(cpu: Processor, op: Operation): void {
  cpu.r16[op.rm] = shiftNarrow(cpu, op.variant, cpu.r16[op.rm], op.immediate, 16);
}
function shiftRegisterImmediate32(cpu: Processor, op: Operation): void {
  if (op.immediate !== 0) cpu.r[op.rm] = shift32(cpu, op.variant, cpu.r[op.rm], op.immediate);
}
function shiftRegisterCl8(cpu: Processor, op: Operation): void {
  cpu.r8[op.rm] = shiftNarrow(cpu, op.variant, cpu.r8[op.rm], cpu.r8[CL] & 31, 8);
}
function shiftRegisterCl16(cpu: Processor, op: Operation): void {
  cpu.r16[op.rm] = shiftNarrow(cpu, op.variant, cpu.r16[op.rm], cpu.r8[CL] & 31, 16);
}
function shiftRegisterCl32(cpu: Processor, op: Operation): void {
  const count = cpu.r8[CL] & 31;
  if (count !== 0) cpu.r[op.rm] = shift32(cpu, op.variant, cpu.r[op.rm], count);
}
function shiftMemoryImmediate8(cpu: Processor, op: Operation): void {
  shiftMemory8(cpu, op, op.immediate);
}
function shiftMemoryImmediate16(cpu: Processor, op: Operation): void {
  shiftMemory16(cpu, op, op.immediate);
}
function shiftMemoryImmediate32(cpu: Processor, op: Operation): void {
  shiftMemory32(cpu, op, op.immediate);
}
function shiftMemoryCl8(cpu: Processor, op: Operation): void {
  shiftMemory8(cpu, op, cpu.r8[CL] & 31);
}
function shiftMemoryCl16(cpu: Processor, op: Operation): void {
  shiftMemory16(cpu, op, cpu.r8[CL] & 31);
}
function shiftMemoryCl32(cpu: Processor, op: Operation): void {
  shiftMemory32(cpu, op, cpu.r8[CL] & 31);
}

// A count of zero still reads and writes memory back, and faults as a write does.
function shiftMemory8(cpu: Processor, op: Operation, count: number): void {
  const address = writeAddress(cpu, op, 1);
  cpu.checkWrite(address, 1);
  cpu.write8(address, shiftNarrow(cpu, op.variant, cpu.read8(address), count, 8) & 0xff);
}
function shiftMemory16(cpu: Processor, op: Operation, count: number): void {
  const address = writeAddress(cpu, op, 2);
  cpu.checkWrite(address, 2);
  cpu.write16(address, shiftNarrow(cpu, op.variant, cpu.read16(address), count, 16) & 0xffff);
}
function shiftMemory32(cpu: Processor, op: Operation, count: number): void {
  const address = writeAddress(cpu, op, 4);
  cpu.checkWrite(address, 4);
  const value = cpu.read32(address);
  cpu.write32(address, count === 0 ? value : shift32(cpu, op.variant, value, count));
}

const BY_IMMEDIATE: OneOperandForms = {
  register: [shiftRegisterImmediate8, shiftRegisterImmediate16, shiftRegisterImmediate32],
  memory: [shiftMemoryImmediate8, shiftMemoryImmediate16, shiftMemoryImmediate32, shiftMemoryImmediate32],
};
const BY_CL: OneOperandForms = {
  register: [shiftRegisterCl8, shiftRegisterCl16, shiftRegisterCl32],
  memory: [shiftMemoryCl8, shiftMemoryCl16, shiftMemoryCl32, shiftMemoryCl32],
};

// SHLD and SHRD. `op.rm` is the destination register, `op.reg` the source, `op.immediate` the count or BY_REGISTER.

const BY_REGISTER = -1;

function bindDoubleShift(op: Operation): Handler {
  const { row } = op.instruction;
  const bits = operandBits(op, row.operands[0]);
  const destination = operandRegister(op, row.operands[0]);
  op.reg = viewIndex(op.reg, bits);
  if (destination >= 0) op.rm = viewIndex(destination, bits);
  op.immediate = row.operands[2] === "cl" ? BY_REGISTER : op.immediate & 31;
  const isLeft = row.handler === "shld";
  if (bits === 16) {
    if (destination >= 0) return isLeft ? shldRegister16 : shrdRegister16;
    return isLeft ? shldMemory16 : shrdMemory16;
  }
  if (destination >= 0) return isLeft ? shldRegister32 : shrdRegister32;
  return isLeft ? shldMemory32 : shrdMemory32;
}

function doubleShiftCount(cpu: Processor, op: Operation): number {
  return op.immediate === BY_REGISTER ? cpu.r8[CL] & 31 : op.immediate;
}

function shld32(cpu: Processor, a: number, source: number, count: number): number {
  if (count === 0) return a;
  const result = (a << count) | (source >>> (32 - count));
  const cf = (a >>> (32 - count)) & 1;
  cpu.r[FLAG_AUX] = (cf << 31) | (((a << count) >>> 1) & AUX_CF_XOR_OF) | AUX_AF;
  return cpu.r[FLAG_RESULT] = result;
}

function shrd32(cpu: Processor, a: number, source: number, count: number): number {
  if (count === 0) return a;
  const result = (a >>> count) | (source << (32 - count));
  const cf = (a >>> (count - 1)) & 1;
  const of = (result >>> 31) ^ ((result >>> 30) & 1);
  cpu.r[FLAG_AUX] = (cf << 31) | ((cf ^ of) << 30) | AUX_AF;
  return cpu.r[FLAG_RESULT] = result;
}

/** As if the source followed the destination twice: counts go up to 31. */
function shld16(cpu: Processor, a: number, source: number, count: number): number {
  if (count === 0) return a;
  const alone = a << count;
  const result = count <= 16 ? alone | (source >>> (16 - count)) : (source << (count - 16)) | (source >>> (32 - count));
  return shifted(cpu, result, (alone >>> 16) & 1, (alone >>> 15) & 1, 16);
}

function shrd16(cpu: Processor, a: number, source: number, count: number): number {
  if (count === 0) return a;
  const result = count <= 16
    ? (a >>> count) | (source << (16 - count))
    : (source >>> (count - 16)) | (source << (32 - count));
  const cf = (a >>> (count - 1)) & 1;
  return shifted(cpu, result, cf, cf ^ ((result >>> 15) & 1) ^ ((result >>> 14) & 1), 16);
}

function shldRegister16(cpu: Processor, op: Operation): void {
  cpu.r16[op.rm] = shld16(cpu, cpu.r16[op.rm], cpu.r16[op.reg], doubleShiftCount(cpu, op));
}
function shldRegister32(cpu: Processor, op: Operation): void {
  cpu.r[op.rm] = shld32(cpu, cpu.r[op.rm], cpu.r[op.reg], doubleShiftCount(cpu, op));
}
function shrdRegister16(cpu: Processor, op: Operation): void {
  cpu.r16[op.rm] = shrd16(cpu, cpu.r16[op.rm], cpu.r16[op.reg], doubleShiftCount(cpu, op));
}
function shrdRegister32(cpu: Processor, op: Operation): void {
  cpu.r[op.rm] = shrd32(cpu, cpu.r[op.rm], cpu.r[op.reg], doubleShiftCount(cpu, op));
}
function shldMemory16(cpu: Processor, op: Operation): void {
  const address = writeAddress(cpu, op, 2);
  cpu.checkWrite(address, 2);
  cpu.write16(address, shld16(cpu, cpu.read16(address), cpu.r16[op.reg], doubleShiftCount(cpu, op)) & 0xffff);
}
function shldMemory32(cpu: Processor, op: Operation): void {
  const address = writeAddress(cpu, op, 4);
  cpu.checkWrite(address, 4);
  cpu.write32(address, shld32(cpu, cpu.read32(address), cpu.r[op.reg], doubleShiftCount(cpu, op)));
}
function shrdMemory16(cpu: Processor, op: Operation): void {
  const address = writeAddress(cpu, op, 2);
  cpu.checkWrite(address, 2);
  cpu.write16(address, shrd16(cpu, cpu.read16(address), cpu.r16[op.reg], doubleShiftCount(cpu, op)) & 0xffff);
}
function shrdMemory32(cpu: Processor, op: Operation): void {
  const address = writeAddress(cpu, op, 4);
  cpu.checkWrite(address, 4);
  cpu.write32(address, shrd32(cpu, cpu.read32(address), cpu.r[op.reg], doubleShiftCount(cpu, op)));
}
