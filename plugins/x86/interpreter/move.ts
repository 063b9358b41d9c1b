// Data movement: MOV, MOVZX, MOVSX, LEA, XCHG, XADD, CMPXCHG, CMPXCHG8B, CMOVcc, SETcc, CBW, CWD, XLAT, BSWAP (Intel SDM 2A
// and 2B). Only XADD, CMPXCHG and CMPXCHG8B change flags. BSWAP of a 16-bit register, which is undefined, gives zero as on
// the AMD Zen 4 (tests/fixtures/integer).

import { Mode, type Processor } from "../processor.ts";
import { EAX, EBX, ECX, EDX, ZF } from "../instruction.ts";
import { add16, add32, add8, sub16, sub32, sub8 } from "./arithmetic.ts";
import {
  bindOneOperand,
  bindTwoOperands,
  flatAddress,
  type OneOperandForms,
  operandBits,
  operandRegister,
  type TwoOperandForms,
  viewIndex,
} from "./operands.ts";
import {
  type Binder,
  effectiveAddress,
  halfIndex,
  type Handler,
  type Operation,
  readAddress,
  segmentAddress,
  writeAddress,
} from "./operation.ts";

/** Binders by handler name. */
export const moveBinders: Record<string, Binder> = {
  mov: (op) => bindTwoOperands(op, MOV_FORMS),
  movzx: bindExtend,
  movsx: bindExtend,
  lea: bindLea,
  xchg: bindXchg,
  xadd: (op) => bindTwoOperands(op, XADD_FORMS),
  cmpxchg: (op) => bindTwoOperands(op, CMPXCHG_FORMS),
  cmpxchg8b: () => cmpxchg8b,
  cmov: bindCmov,
  setcc: (op) => bindOneOperand(op, SETCC_FORMS),
  cbw: (op) => op.instruction.operandSize === 32 ? cwde : cbw,
  cwd: (op) => op.instruction.operandSize === 32 ? cdq : cwd,
  xlat: () => xlat,
  bswap: bindBswap,
};

/** Indices of the accumulators in r8 and r16. */
const AL = 0, AX = 0, DX = 4;

// MOV.

function movRegisterRegister8(cpu: Processor, op: Operation): void {
  cpu.r8[op.reg] = cpu.r8[op.rm];
}
function movRegisterRegister16(cpu: Processor, op: Operation): void {
  cpu.r16[op.reg] = cpu.r16[op.rm];
}
function movRegisterRegister32(cpu: Processor, op: Operation): void {
  cpu.r[op.reg] = cpu.r[op.rm];
}
function movRegisterImmediate8(cpu: Processor, op: Operation): void {
  cpu.r8[op.reg] = op.immediate;
}
function movRegisterImmediate16(cpu: Processor, op: Operation): void {
  cpu.r16[op.reg] = op.immediate;
}
function movRegisterImmediate32(cpu: Processor, op: Operation): void {
  cpu.r[op.reg] = op.immediate;
}
function movRegisterMemory8(cpu: Processor, op: Operation): void {
  cpu.r8[op.reg] = cpu.read8(readAddress(cpu, op, 1));
}
function movRegisterMemory16(cpu: Processor, op: Operation): void {
  cpu.r16[op.reg] = cpu.read16(readAddress(cpu, op, 2));
}
function movRegisterMemory32(cpu: Processor, op: Operation): void {
  cpu.r[op.reg] = cpu.read32(readAddress(cpu, op, 4));
}
function movRegisterMemoryFlat(cpu: Processor, op: Operation): void {
  cpu.r[op.reg] = cpu.read32(flatAddress(cpu, op));
}
function movMemoryRegister8(cpu: Processor, op: Operation): void {
  cpu.write8(writeAddress(cpu, op, 1), cpu.r8[op.reg]);
}
function movMemoryRegister16(cpu: Processor, op: Operation): void {
  cpu.write16(writeAddress(cpu, op, 2), cpu.r16[op.reg]);
}
function movMemoryRegister32(cpu: Processor, op: Operation): void {
  cpu.write32(writeAddress(cpu, op, 4), cpu.r[op.reg]);
}
function movMemoryRegisterFlat(cpu: Processor, op: Operation): void {
  cpu.write32(flatAddress(cpu, op), cpu.r[op.reg]);
}
function movMemoryImmediate8(cpu: Processor, op: Operation): void {
  cpu.write8(writeAddress(cpu, op, 1), op.immediate);
}
function movMemoryImmediate16(cpu: Processor, op: Operation): void {
  cpu.write16(writeAddress(cpu, op, 2), op.immediate);
}
function movMemoryImmediate32(cpu: Processor, op: Operation): void {
  cpu.write32(writeAddress(cpu, op, 4), op.immediate);
}
function movMemoryImmediateFlat(cpu: Processor, op: Operation): void {
  cpu.write32(flatAddress(cpu, op), op.immediate);
}

const MOV_FORMS: TwoOperandForms = {
  registerRegister: [movRegisterRegister8, movRegisterRegister16, movRegisterRegister32],
  registerImmediate: [movRegisterImmediate8, movRegisterImmediate16, movRegisterImmediate32],
  registerMemory: [movRegisterMemory8, movRegisterMemory16, movRegisterMemory32, movRegisterMemoryFlat],
  memoryRegister: [movMemoryRegister8, movMemoryRegister16, movMemoryRegister32, movMemoryRegisterFlat],
  memoryImmediate: [movMemoryImmediate8, movMemoryImmediate16, movMemoryImmediate32, movMemoryImmediateFlat],
};

// MOVZX and MOVSX.

function bindExtend(op: Operation): Handler {
  const { operands, handler } = op.instruction.row;
  const from = operandBits(op, operands[1]) === 8 ? 8 : 16;
  const to = op.instruction.operandSize;
  const source = operandRegister(op, operands[1]);
  op.reg = viewIndex(op.reg, to);
  if (source >= 0) op.rm = viewIndex(source, from);
  const handlers = handler === "movzx" ? MOVZX : MOVSX;
  return handlers[(to === 32 ? 4 : 0) + (from === 16 ? 2 : 0) + (source < 0 ? 1 : 0)];
}

function movzxRegister8To16(cpu: Processor, op: Operation): void {
  cpu.r16[op.reg] = cpu.r8[op.rm];
}
function movzxMemory8To16(cpu: Processor, op: Operation): void {
  cpu.r16[op.reg] = cpu.read8(readAddress(cpu, op, 1));
}
function movzxRegister8To32(cpu: Processor, op: Operation): void {
  cpu.r[op.reg] = cpu.r8[op.rm];
}
function movzxMemory8To32(cpu: Processor, op: Operation): void {
  cpu.r[op.reg] = cpu.read8(readAddress(cpu, op, 1));
}
function movzxRegister16To32(cpu: Processor, op: Operation): void {
  cpu.r[op.reg] = cpu.r16[op.rm];
}
function movzxMemory16To32(cpu: Processor, op: Operation): void {
  cpu.r[op.reg] = cpu.read16(readAddress(cpu, op, 2));
}
function movsxRegister8To16(cpu: Processor, op: Operation): void {
  cpu.r16[op.reg] = (cpu.r8[op.rm] << 24) >> 24;
}
function movsxMemory8To16(cpu: Processor, op: Operation): void {
  cpu.r16[op.reg] = (cpu.read8(readAddress(cpu, op, 1)) << 24) >> 24;
}
function movsxRegister8To32(cpu: Processor, op: Operation): void {
  cpu.r[op.reg] = (cpu.r8[op.rm] << 24) >> 24;
}
function movsxMemory8To32(cpu: Processor, op: Operation): void {
  cpu.r[op.reg] = (cpu.read8(readAddress(cpu, op, 1)) << 24) >> 24;
}
function movsxRegister16To32(cpu: Processor, op: Operation): void {
  cpu.r[op.reg] = (cpu.r16[op.rm] << 16) >> 16;
}
function movsxMemory16To32(cpu: Processor, op: Operation): void {
  cpu.r[op.reg] = (cpu.read16(readAddress(cpu, op, 2)) << 16) >> 16;
}

/** By destination size, source size and form; from 16 bits to 16 bits both are MOV. */
const MOVZX: readonly Handler[] = [
  movzxRegister8To16,
  movzxMemory8To16,
  movRegisterRegister16,
  movRegisterMemory16,
  movzxRegister8To32,
  movzxMemory8To32,
  movzxRegister16To32,
  movzxMemory16To32,
];
const MOVSX: readonly Handler[] = [
  movsxRegister8To16,
  movsxMemory8To16,
  movRegisterRegister16,
  movRegisterMemory16,
  movsxRegister8To32,
  movsxMemory8To32,
  movsxRegister16To32,
  movsxMemory16To32,
];

// LEA: the offset, whatever the segment holds.

function bindLea(op: Operation): Handler {
  if (op.instruction.operandSize === 16) {
    op.reg = halfIndex(op.reg);
    return lea16;
  }
  return op.address16 ? lea32 : leaFlat;
}

function lea16(cpu: Processor, op: Operation): void {
  cpu.r16[op.reg] = effectiveAddress(cpu, op);
}
function lea32(cpu: Processor, op: Operation): void {
  cpu.r[op.reg] = effectiveAddress(cpu, op);
}
function leaFlat(cpu: Processor, op: Operation): void {
  cpu.r[op.reg] = flatAddress(cpu, op);
}

// XCHG. Its operands commute: the memory operand, if any, is written either way.

function bindXchg(op: Operation): Handler {
  return bindTwoOperands(op, XCHG_FORMS);
}

function xchgRegister8(cpu: Processor, op: Operation): void {
  const value = cpu.r8[op.reg];
  cpu.r8[op.reg] = cpu.r8[op.rm];
  cpu.r8[op.rm] = value;
}
function xchgRegister16(cpu: Processor, op: Operation): void {
  const value = cpu.r16[op.reg];
  cpu.r16[op.reg] = cpu.r16[op.rm];
  cpu.r16[op.rm] = value;
}
function xchgRegister32(cpu: Processor, op: Operation): void {
  const value = cpu.r[op.reg];
  cpu.r[op.reg] = cpu.r[op.rm];
  cpu.r[op.rm] = value;
}
function xchgMemory8(cpu: Processor, op: Operation): void {
  const address = writeAddress(cpu, op, 1);
  cpu.checkWrite(address, 1);
  const value = cpu.read8(address);
  cpu.write8(address, cpu.r8[op.reg]);
  cpu.r8[op.reg] = value;
}
function xchgMemory16(cpu: Processor, op: Operation): void {
  const address = writeAddress(cpu, op, 2);
  cpu.checkWrite(address, 2);
  const value = cpu.read16(address);
  cpu.write16(address, cpu.r16[op.reg]);
  cpu.r16[op.reg] = value;
}
function xchgMemory32(cpu: Processor, op: Operation): void {
  const address = writeAddress(cpu, op, 4);
  cpu.checkWrite(address, 4);
  const value = cpu.read32(address);
  cpu.write32(address, cpu.r[op.reg]);
  cpu.r[op.reg] = value;
}

/** Forms of the instructions that take register or memory first and a register second; the rest do not occur. */
function readModifyWriteForms(
  register: TwoOperandForms["registerRegister"],
  memory: readonly [Handler, Handler, Handler],
): TwoOperandForms {
  const [memory8, memory16, memory32] = memory;
  const memoryRegister = [memory8, memory16, memory32, memory32] as const;
  return {
    registerRegister: register,
    memoryRegister,
    registerMemory: memoryRegister,
    registerImmediate: register,
    memoryImmediate: memoryRegister,
  };
}

const XCHG_FORMS = readModifyWriteForms(
  [xchgRegister8, xchgRegister16, xchgRegister32],
  [xchgMemory8, xchgMemory16, xchgMemory32],
);

// XADD: the source gets the destination, the destination the sum (which wins where both are one register).

function xaddRegister8(cpu: Processor, op: Operation): void {
  const value = cpu.r8[op.reg];
  const sum = add8(cpu, value, cpu.r8[op.rm]);
  cpu.r8[op.rm] = value;
  cpu.r8[op.reg] = sum;
}
function xaddRegister16(cpu: Processor, op: Operation): void {
  const value = cpu.r16[op.reg];
  const sum = add16(cpu, value, cpu.r16[op.rm]);
  cpu.r16[op.rm] = value;
  cpu.r16[op.reg] = sum;
}
function xaddRegister32(cpu: Processor, op: Operation): void {
  const value = cpu.r[op.reg];
  const sum = add32(cpu, value, cpu.r[op.rm]);
  cpu.r[op.rm] = value;
  cpu.r[op.reg] = sum;
}
function xaddMemory8(cpu: Processor, op: Operation): void {
  const address = writeAddress(cpu, op, 1);
  cpu.checkWrite(address, 1);
  const value = cpu.read8(address);
  cpu.write8(address, add8(cpu, value, cpu.r8[op.reg]));
  cpu.r8[op.reg] = value;
}
function xaddMemory16(cpu: Processor, op: Operation): void {
  const address = writeAddress(cpu, op, 2);
  cpu.checkWrite(address, 2);
  const value = cpu.read16(address);
  cpu.write16(address, add16(cpu, value, cpu.r16[op.reg]));
  cpu.r16[op.reg] = value;
}
function xaddMemory32(cpu: Processor, op: Operation): void {
  const address = writeAddress(cpu, op, 4);
  cpu.checkWrite(address, 4);
  const value = cpu.read32(address);
  cpu.write32(address, add32(cpu, value, cpu.r[op.reg]));
  cpu.r[op.reg] = value;
}

const XADD_FORMS = readModifyWriteForms(
  [xaddRegister8, xaddRegister16, xaddRegister32],
  [xaddMemory8, xaddMemory16, xaddMemory32],
);

// CMPXCHG writes memory back when the comparison fails, so it faults as a write either way.

function cmpxchgRegister8(cpu: Processor, op: Operation): void {
  const value = cpu.r8[op.reg];
  if (sub8(cpu, cpu.r8[AL], value) === 0) cpu.r8[op.reg] = cpu.r8[op.rm];
  else cpu.r8[AL] = value;
}
function cmpxchgRegister16(cpu: Processor, op: Operation): void {
  const value = cpu.r16[op.reg];
  if (sub16(cpu, cpu.r16[AX], value) === 0) cpu.r16[op.reg] = cpu.r16[op.rm];
  else cpu.r16[AX] = value;
}
function cmpxchgRegister32(cpu: Processor, op: Operation): void {
  const value = cpu.r[op.reg];
  if (sub32(cpu, cpu.r[EAX], value) === 0) cpu.r[op.reg] = cpu.r[op.rm];
  else cpu.r[EAX] = value;
}
function cmpxchgMemory8(cpu: Processor, op: Operation): void {
  const address = writeAddress(cpu, op, 1);
  cpu.checkWrite(address, 1);
  const value = cpu.read8(address);
  if (sub8(cpu, cpu.r8[AL], value) === 0) cpu.write8(address, cpu.r8[op.reg]);
  else {
    cpu.write8(address, value);
    cpu.r8[AL] = value;
  }
}
function cmpxchgMemory16(cpu: Processor, op: Operation): void {
  const address = writeAddress(cpu, op, 2);
  cpu.checkWrite(address, 2);
  const value = cpu.read16(address);
  if (sub16(cpu, cpu.r16[AX], value) === 0) cpu.write16(address, cpu.r16[op.reg]);
  else {
    cpu.write16(address, value);
    cpu.r16[AX] = value;
  }
}
function cmpxchgMemory32(cpu: Processor, op: Operation): void {
  const address = writeAddress(cpu, op, 4);
  cpu.checkWrite(address, 4);
  const value = cpu.read32(address);
  if (sub32(cpu, cpu.r[EAX], value) === 0) cpu.write32(address, cpu.r[op.reg]);
  else {
    cpu.write32(address, value);
    cpu.r[EAX] = value;
  }
}

const CMPXCHG_FORMS = readModifyWriteForms(
  [cmpxchgRegister8, cmpxchgRegister16, cmpxchgRegister32],
  [cmpxchgMemory8, cmpxchgMemory16, cmpxchgMemory32],
);

function cmpxchg8b(cpu: Processor, op: Operation): void {
  const { r } = cpu;
  const address = writeAddress(cpu, op, 8), upper = (address + 4) | 0;
  cpu.checkWrite(address, 8);
  const low = cpu.read32(address), high = cpu.read32(upper);
  const isEqual = low === r[EAX] && high === r[EDX];
  cpu.write32(address, isEqual ? r[EBX] : low);
  cpu.write32(upper, isEqual ? r[ECX] : high);
  if (!isEqual) {
    r[EAX] = low;
    r[EDX] = high;
  }
  cpu.setStatusFlags((cpu.statusFlags() & ~ZF) | (isEqual ? ZF : 0));
}

// CMOVcc: memory is read whatever the condition says.

function bindCmov(op: Operation): Handler {
  const bits = op.instruction.operandSize;
  const source = operandRegister(op, "Ev");
  op.reg = viewIndex(op.reg, bits);
  if (source >= 0) op.rm = viewIndex(source, bits);
  if (source >= 0) return bits === 32 ? cmovRegister32 : cmovRegister16;
  return bits === 32 ? cmovMemory32 : cmovMemory16;
}

function cmovRegister16(cpu: Processor, op: Operation): void {
  if (cpu.condition(op.variant)) cpu.r16[op.reg] = cpu.r16[op.rm];
}
function cmovRegister32(cpu: Processor, op: Operation): void {
  if (cpu.condition(op.variant)) cpu.r[op.reg] = cpu.r[op.rm];
}
function cmovMemory16(cpu: Processor, op: Operation): void {
  const value = cpu.read16(readAddress(cpu, op, 2));
  if (cpu.condition(op.variant)) cpu.r16[op.reg] = value;
}
function cmovMemory32(cpu: Processor, op: Operation): void {
  const value = cpu.read32(readAddress(cpu, op, 4));
  if (cpu.condition(op.variant)) cpu.r[op.reg] = value;
}

// SETcc.

function setccRegister(cpu: Processor, op: Operation): void {
  cpu.r8[op.rm] = cpu.condition(op.variant) ? 1 : 0;
}
function setccMemory(cpu: Processor, op: Operation): void {
  cpu.write8(writeAddress(cpu, op, 1), cpu.condition(op.variant) ? 1 : 0);
}

const SETCC_FORMS: OneOperandForms = {
  register: [setccRegister, setccRegister, setccRegister],
  memory: [setccMemory, setccMemory, setccMemory, setccMemory],
};

// Sign extension of the accumulator.

function cbw(cpu: Processor): void {
  cpu.r16[AX] = (cpu.r8[AL] << 24) >> 24;
}
function cwde(cpu: Processor): void {
  cpu.r[EAX] = (cpu.r16[AX] << 16) >> 16;
}
function cwd(cpu: Processor): void {
  cpu.r16[DX] = (cpu.r16[AX] << 16) >> 31;
}
function cdq(cpu: Processor): void {
  cpu.r[EDX] = cpu.r[EAX] >> 31;
}

/** XLAT: AL = [(E)BX + AL]. */
function xlat(cpu: Processor, op: Operation): void {
  const sum = (cpu.r[EBX] + cpu.r8[AL]) | 0;
  const offset = op.address16 ? sum & 0xffff : sum;
  const isFree = (cpu.mode & Mode.flat) !== 0 && op.segment < 4;
  cpu.r8[AL] = cpu.read8(isFree ? offset : segmentAddress(cpu, op.segment, offset, 1, false));
}

function bindBswap(op: Operation): Handler {
  const register = operandRegister(op, "Zv");
  op.rm = register;
  if (op.instruction.operandSize === 32) return bswap32;
  op.rm = halfIndex(register);
  return bswap16;
}

function bswap32(cpu: Processor, op: Operation): void {
  const value = cpu.r[op.rm];
  cpu.r[op.rm] = (value << 24) | ((value & 0xff00) << 8) | ((value >>> 8) & 0xff00) | (value >>> 24);
}
function bswap16(cpu: Processor, op: Operation): void {
  cpu.r16[op.rm] = 0;
}
