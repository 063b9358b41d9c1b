// ADD, OR, ADC, SBB, AND, SUB, XOR, CMP, TEST, INC, DEC, NEG and NOT (Intel SDM 2A and 2B). The 32-bit forms that make up
// most of a program's instructions have a function each, without an inner switch; the others go
// through alu8, alu16 and alu32.

import { Mmu } from "../mmu.ts";
import type { Processor } from "../processor.ts";
import {
  ADD,
  add32,
  alu16,
  alu32,
  alu8,
  AND,
  CMP,
  dec16,
  dec32,
  dec8,
  inc16,
  inc32,
  inc8,
  logic,
  OR,
  SUB,
  sub16,
  sub32,
  sub8,
  XOR,
} from "./arithmetic.ts";
import {
  bindOneOperand,
  bindTwoOperands,
  flatAddress,
  type OneOperandForms,
  type TwoOperandForms,
} from "./operands.ts";
import { type Binder, type Handler, type Operation, readAddress, writeAddress } from "./operation.ts";

/** Binders by handler name. */
export const aluBinders: Record<string, Binder> = {
  alu: bindAlu,
  test: bindTest,
  inc: (op) => bindOneOperand(op, INC_FORMS),
  dec: (op) => bindOneOperand(op, DEC_FORMS),
  neg: (op) => bindOneOperand(op, NEG_FORMS),
  not: (op) => bindOneOperand(op, NOT_FORMS),
};

function bindAlu(op: Operation): Handler {
  const general = bindTwoOperands(op, op.variant === CMP ? CMP_FORMS : ALU_FORMS);
  return SPECIAL.get(general)?.[op.variant] ?? general;
}

/** TEST's operands commute: the memory operand, if any, is only read. */
function bindTest(op: Operation): Handler {
  return bindTwoOperands(op, TEST_FORMS);
}

// ALU operations.

function aluRegisterRegister8(cpu: Processor, op: Operation): void {
  cpu.r8[op.reg] = alu8(cpu, op.variant, cpu.r8[op.reg], cpu.r8[op.rm]);
}
function aluRegisterRegister16(cpu: Processor, op: Operation): void {
  cpu.r16[op.reg] = alu16(cpu, op.variant, cpu.r16[op.reg], cpu.r16[op.rm]);
}
function aluRegisterRegister32(cpu: Processor, op: Operation): void {
  cpu.r[op.reg] = alu32(cpu, op.variant, cpu.r[op.reg], cpu.r[op.rm]);
}
function aluRegisterImmediate8(cpu: Processor, op: Operation): void {
  cpu.r8[op.reg] = alu8(cpu, op.variant, cpu.r8[op.reg], op.immediate);
}
function aluRegisterImmediate16(cpu: Processor, op: Operation): void {
  cpu.r16[op.reg] = alu16(cpu, op.variant, cpu.r16[op.reg], op.immediate);
}
function aluRegisterImmediate32(cpu: Processor, op: Operation): void {
  cpu.r[op.reg] = alu32(cpu, op.variant, cpu.r[op.reg], op.immediate);
}
function aluRegisterMemory8(cpu: Processor, op: Operation): void {
  cpu.r8[op.reg] = alu8(cpu, op.variant, cpu.r8[op.reg], cpu.read8(readAddress(cpu, op, 1)));
}
function aluRegisterMemory16(cpu: Processor, op: Operation): void {
  cpu.r16[op.reg] = alu16(cpu, op.variant, cpu.r16[op.reg], cpu.read16(readAddress(cpu, op, 2)));
}
function aluRegisterMemory32(cpu: Processor, op: Operation): void {
  cpu.r[op.reg] = alu32(cpu, op.variant, cpu.r[op.reg], cpu.read32(readAddress(cpu, op, 4)));
}
function aluRegisterMemoryFlat(cpu: Processor, op: Operation): void {
  cpu.r[op.reg] = alu32(cpu, op.variant, cpu.r[op.reg], cpu.read32(flatAddress(cpu, op)));
}
function aluMemoryRegister8(cpu: Processor, op: Operation): void {
  modify8(cpu, op, cpu.r8[op.reg]);
}
function aluMemoryRegister16(cpu: Processor, op: Operation): void {
  modify16(cpu, op, cpu.r16[op.reg]);
}
function aluMemoryRegister32(cpu: Processor, op: Operation): void {
  modify32(cpu, op, writeAddress(cpu, op, 4), cpu.r[op.reg]);
}
function aluMemoryRegisterFlat(cpu: Processor, op: Operation): void {
  modify32(cpu, op, flatAddress(cpu, op), cpu.r[op.reg]);
}
function aluMemoryImmediate8(cpu: Processor, op: Operation): void {
  modify8(cpu, op, op.immediate);
}
function aluMemoryImmediate16(cpu: Processor, op: Operation): void {
  modify16(cpu, op, op.immediate);
}
function aluMemoryImmediate32(cpu: Processor, op: Operation): void {
  modify32(cpu, op, writeAddress(cpu, op, 4), op.immediate);
}
function aluMemoryImmediateFlat(cpu: Processor, op: Operation): void {
  modify32(cpu, op, flatAddress(cpu, op), op.immediate);
}

/** Read-modify-write. After checkWrite nothing can fault, so that flags may change before memory does. */
function modify8(cpu: Processor, op: Operation, b: number): void {
  const address = writeAddress(cpu, op, 1);
  cpu.checkWrite(address, 1);
  cpu.write8(address, alu8(cpu, op.variant, cpu.read8(address), b));
}
function modify16(cpu: Processor, op: Operation, b: number): void {
  const address = writeAddress(cpu, op, 2);
  cpu.checkWrite(address, 2);
  cpu.write16(address, alu16(cpu, op.variant, cpu.read16(address), b));
}
function modify32(cpu: Processor, op: Operation, address: number, b: number): void {
  const entry = cpu.bank + (((address >>> 12) & Mmu.MASK) << 2);
  if (cpu.tlb[entry + 2] === ((address + 3) & 0xfffff000)) {
    // One look into the TLB for all three accesses: 60 M instead of 42 M instructions/s on a loop of these.
    const host = (cpu.tlb[entry + 1] + address) >>> 0;
    cpu.view.setInt32(host, alu32(cpu, op.variant, cpu.view.getInt32(host, true), b), true);
    return;
  }
  cpu.checkWrite(address, 4);
  cpu.write32(address, alu32(cpu, op.variant, cpu.read32(address), b));
}

const ALU_FORMS: TwoOperandForms = {
  registerRegister: [aluRegisterRegister8, aluRegisterRegister16, aluRegisterRegister32],
  registerImmediate: [aluRegisterImmediate8, aluRegisterImmediate16, aluRegisterImmediate32],
  registerMemory: [aluRegisterMemory8, aluRegisterMemory16, aluRegisterMemory32, aluRegisterMemoryFlat],
  memoryRegister: [aluMemoryRegister8, aluMemoryRegister16, aluMemoryRegister32, aluMemoryRegisterFlat],
  memoryImmediate: [aluMemoryImmediate8, aluMemoryImmediate16, aluMemoryImmediate32, aluMemoryImmediateFlat],
};

// The hottest 32-bit forms.

function addRegisterRegister(cpu: Processor, op: Operation): void {
  cpu.r[op.reg] = add32(cpu, cpu.r[op.reg], cpu.r[op.rm]);
}
function orRegisterRegister(cpu: Processor, op: Operation): void {
  cpu.r[op.reg] = logic(cpu, cpu.r[op.reg] | cpu.r[op.rm]);
}
function andRegisterRegister(cpu: Processor, op: Operation): void {
  cpu.r[op.reg] = logic(cpu, cpu.r[op.reg] & cpu.r[op.rm]);
}
function subRegisterRegister(cpu: Processor, op: Operation): void {
  cpu.r[op.reg] = sub32(cpu, cpu.r[op.reg], cpu.r[op.rm]);
}
function xorRegisterRegister(cpu: Processor, op: Operation): void {
  cpu.r[op.reg] = logic(cpu, cpu.r[op.reg] ^ cpu.r[op.rm]);
}
function addRegisterImmediate(cpu: Processor, op: Operation): void {
  cpu.r[op.reg] = add32(cpu, cpu.r[op.reg], op.immediate);
}
function orRegisterImmediate(cpu: Processor, op: Operation): void {
  cpu.r[op.reg] = logic(cpu, cpu.r[op.reg] | op.immediate);
}
function andRegisterImmediate(cpu: Processor, op: Operation): void {
  cpu.r[op.reg] = logic(cpu, cpu.r[op.reg] & op.immediate);
}
function subRegisterImmediate(cpu: Processor, op: Operation): void {
  cpu.r[op.reg] = sub32(cpu, cpu.r[op.reg], op.immediate);
}
function xorRegisterImmediate(cpu: Processor, op: Operation): void {
  cpu.r[op.reg] = logic(cpu, cpu.r[op.reg] ^ op.immediate);
}
function addRegisterMemory(cpu: Processor, op: Operation): void {
  cpu.r[op.reg] = add32(cpu, cpu.r[op.reg], cpu.read32(flatAddress(cpu, op)));
}
function orRegisterMemory(cpu: Processor, op: Operation): void {
  cpu.r[op.reg] = logic(cpu, cpu.r[op.reg] | cpu.read32(flatAddress(cpu, op)));
}
function andRegisterMemory(cpu: Processor, op: Operation): void {
  cpu.r[op.reg] = logic(cpu, cpu.r[op.reg] & cpu.read32(flatAddress(cpu, op)));
}
function subRegisterMemory(cpu: Processor, op: Operation): void {
  cpu.r[op.reg] = sub32(cpu, cpu.r[op.reg], cpu.read32(flatAddress(cpu, op)));
}
function xorRegisterMemory(cpu: Processor, op: Operation): void {
  cpu.r[op.reg] = logic(cpu, cpu.r[op.reg] ^ cpu.read32(flatAddress(cpu, op)));
}

/** Replacements of a general handler, by operation. */
const SPECIAL = new Map<Handler, Readonly<Record<number, Handler>>>([
  [aluRegisterRegister32, {
    [ADD]: addRegisterRegister,
    [OR]: orRegisterRegister,
    [AND]: andRegisterRegister,
    [SUB]: subRegisterRegister,
    [XOR]: xorRegisterRegister,
  }],
  [aluRegisterImmediate32, {
    [ADD]: addRegisterImmediate,
    [OR]: orRegisterImmediate,
    [AND]: andRegisterImmediate,
    [SUB]: subRegisterImmediate,
    [XOR]: xorRegisterImmediate,
  }],
  [aluRegisterMemoryFlat, {
    [ADD]: addRegisterMemory,
    [OR]: orRegisterMemory,
    [AND]: andRegisterMemory,
    [SUB]: subRegisterMemory,
    [XOR]: xorRegisterMemory,
  }],
]);

// CMP.

function cmpRegisterRegister8(cpu: Processor, op: Operation): void {
  sub8(cpu, cpu.r8[op.reg], cpu.r8[op.rm]);
}
function cmpRegisterRegister16(cpu: Processor, op: Operation): void {
  sub16(cpu, cpu.r16[op.reg], cpu.r16[op.rm]);
}
function cmpRegisterRegister32(cpu: Processor, op: Operation): void {
  sub32(cpu, cpu.r[op.reg], cpu.r[op.rm]);
}
function cmpRegisterImmediate8(cpu: Processor, op: Operation): void {
  sub8(cpu, cpu.r8[op.reg], op.immediate);
}
function cmpRegisterImmediate16(cpu: Processor, op: Operation): void {
  sub16(cpu, cpu.r16[op.reg], op.immediate);
}
function cmpRegisterImmediate32(cpu: Processor, op: Operation): void {
  sub32(cpu, cpu.r[op.reg], op.immediate);
}
function cmpRegisterMemory8(cpu: Processor, op: Operation): void {
  sub8(cpu, cpu.r8[op.reg], cpu.read8(readAddress(cpu, op, 1)));
}
function cmpRegisterMemory16(cpu: Processor, op: Operation): void {
  sub16(cpu, cpu.r16[op.reg], cpu.read16(readAddress(cpu, op, 2)));
}
function cmpRegisterMemory32(cpu: Processor, op: Operation): void {
  sub32(cpu, cpu.r[op.reg], cpu.read32(readAddress(cpu, op, 4)));
}
function cmpRegisterMemoryFlat(cpu: Processor, op: Operation): void {
  sub32(cpu, cpu.r[op.reg], cpu.read32(flatAddress(cpu, op)));
}
function cmpMemoryRegister8(cpu: Processor, op: Operation): void {
  sub8(cpu, cpu.read8(readAddress(cpu, op, 1)), cpu.r8[op.reg]);
}
function cmpMemoryRegister16(cpu: Processor, op: Operation): void {
  sub16(cpu, cpu.read16(readAddress(cpu, op, 2)), cpu.r16[op.reg]);
}
function cmpMemoryRegister32(cpu: Processor, op: Operation): void {
  sub32(cpu, cpu.read32(readAddress(cpu, op, 4)), cpu.r[op.reg]);
}
function cmpMemoryRegisterFlat(cpu: Processor, op: Operation): void {
  sub32(cpu, cpu.read32(flatAddress(cpu, op)), cpu.r[op.reg]);
}
function cmpMemoryImmediate8(cpu: Processor, op: Operation): void {
  sub8(cpu, cpu.read8(readAddress(cpu, op, 1)), op.immediate);
}
function cmpMemoryImmediate16(cpu: Processor, op: Operation): void {
  sub16(cpu, cpu.read16(readAddress(cpu, op, 2)), op.immediate);
}
function cmpMemoryImmediate32(cpu: Processor, op: Operation): void {
  sub32(cpu, cpu.read32(readAddress(cpu, op, 4)), op.immediate);
}
function cmpMemoryImmediateFlat(cpu: Processor, op: Operation): void {
  sub32(cpu, cpu.read32(flatAddress(cpu, op)), op.immediate);
}

const CMP_FORMS: TwoOperandForms = {
  registerRegister: [cmpRegisterRegister8, cmpRegisterRegister16, cmpRegisterRegister32],
  registerImmediate: [cmpRegisterImmediate8, cmpRegisterImmediate16, cmpRegisterImmediate32],
  registerMemory: [cmpRegisterMemory8, cmpRegisterMemory16, cmpRegisterMemory32, cmpRegisterMemoryFlat],
  memoryRegister: [cmpMemoryRegister8, cmpMemoryRegister16, cmpMemoryRegister32, cmpMemoryRegisterFlat],
  memoryImmediate: [cmpMemoryImmediate8, cmpMemoryImmediate16, cmpMemoryImmediate32, cmpMemoryImmediateFlat],
};

// TEST.

function testRegisterRegister8(cpu: Processor, op: Operation): void {
  logic(cpu, ((cpu.r8[op.reg] & cpu.r8[op.rm]) << 24) >> 24);
}
function testRegisterRegister16(cpu: Processor, op: Operation): void {
  logic(cpu, ((cpu.r16[op.reg] & cpu.r16[op.rm]) << 16) >> 16);
}
function testRegisterRegister32(cpu: Processor, op: Operation): void {
  logic(cpu, cpu.r[op.reg] & cpu.r[op.rm]);
}
function testRegisterImmediate8(cpu: Processor, op: Operation): void {
  logic(cpu, ((cpu.r8[op.reg] & op.immediate) << 24) >> 24);
}
function testRegisterImmediate16(cpu: Processor, op: Operation): void {
  logic(cpu, ((cpu.r16[op.reg] & op.immediate) << 16) >> 16);
}
function testRegisterImmediate32(cpu: Processor, op: Operation): void {
  logic(cpu, cpu.r[op.reg] & op.immediate);
}
function testMemoryRegister8(cpu: Processor, op: Operation): void {
  logic(cpu, ((cpu.read8(readAddress(cpu, op, 1)) & cpu.r8[op.reg]) << 24) >> 24);
}
function testMemoryRegister16(cpu: Processor, op: Operation): void {
  logic(cpu, ((cpu.read16(readAddress(cpu, op, 2)) & cpu.r16[op.reg]) << 16) >> 16);
}
function testMemoryRegister32(cpu: Processor, op: Operation): void {
  logic(cpu, cpu.read32(readAddress(cpu, op, 4)) & cpu.r[op.reg]);
}
function testMemoryImmediate8(cpu: Processor, op: Operation): void {
  logic(cpu, ((cpu.read8(readAddress(cpu, op, 1)) & op.immediate) << 24) >> 24);
}
function testMemoryImmediate16(cpu: Processor, op: Operation): void {
  logic(cpu, ((cpu.read16(readAddress(cpu, op, 2)) & op.immediate) << 16) >> 16);
}
function testMemoryImmediate32(cpu: Processor, op: Operation): void {
  logic(cpu, cpu.read32(readAddress(cpu, op, 4)) & op.immediate);
}

const TEST_MEMORY_REGISTER = [
  testMemoryRegister8,
  testMemoryRegister16,
  testMemoryRegister32,
  testMemoryRegister32,
] as const;

const TEST_FORMS: TwoOperandForms = {
  registerRegister: [testRegisterRegister8, testRegisterRegister16, testRegisterRegister32],
  registerImmediate: [testRegisterImmediate8, testRegisterImmediate16, testRegisterImmediate32],
  registerMemory: TEST_MEMORY_REGISTER,
  memoryRegister: TEST_MEMORY_REGISTER,
  memoryImmediate: [testMemoryImmediate8, testMemoryImmediate16, testMemoryImmediate32, testMemoryImmediate32],
};

// INC and DEC.

function incRegister8(cpu: Processor, op: Operation): void {
  cpu.r8[op.rm] = inc8(cpu, cpu.r8[op.rm]);
}
function incRegister16(cpu: Processor, op: Operation): void {
  cpu.r16[op.rm] = inc16(cpu, cpu.r16[op.rm]);
}
function incRegister32(cpu: Processor, op: Operation): void {
  cpu.r[op.rm] = inc32(cpu, cpu.r[op.rm]);
}
function incMemory8(cpu: Processor, op: Operation): void {
  const address = writeAddress(cpu, op, 1);
  cpu.checkWrite(address, 1);
  cpu.write8(address, inc8(cpu, cpu.read8(address)));
}
function incMemory16(cpu: Processor, op: Operation): void {
  const address = writeAddress(cpu, op, 2);
  cpu.checkWrite(address, 2);
  cpu.write16(address, inc16(cpu, cpu.read16(address)));
}
function incMemory32(cpu: Processor, op: Operation): void {
  const address = writeAddress(cpu, op, 4);
  cpu.checkWrite(address, 4);
  cpu.write32(address, inc32(cpu, cpu.read32(address)));
}
function decRegister8(cpu: Processor, op: Operation): void {
  cpu.r8[op.rm] = dec8(cpu, cpu.r8[op.rm]);
}
function decRegister16(cpu: Processor, op: Operation): void {
  cpu.r16[op.rm] = dec16(cpu, cpu.r16[op.rm]);
}
function decRegister32(cpu: Processor, op: Operation): void {
  cpu.r[op.rm] = dec32(cpu, cpu.r[op.rm]);
}
function decMemory8(cpu: Processor, op: Operation): void {
  const address = writeAddress(cpu, op, 1);
  cpu.checkWrite(address, 1);
  cpu.write8(address, dec8(cpu, cpu.read8(address)));
}
function decMemory16(cpu: Processor, op: Operation): void {
  const address = writeAddress(cpu, op, 2);
  cpu.checkWrite(address, 2);
  cpu.write16(address, dec16(cpu, cpu.read16(address)));
}
function decMemory32(cpu: Processor, op: Operation): void {
  const address = writeAddress(cpu, op, 4);
  cpu.checkWrite(address, 4);
  cpu.write32(address, dec32(cpu, cpu.read32(address)));
}

const INC_FORMS: OneOperandForms = {
  register: [incRegister8, incRegister16, incRegister32],
  memory: [incMemory8, incMemory16, incMemory32, incMemory32],
};
const DEC_FORMS: OneOperandForms = {
  register: [decRegister8, decRegister16, decRegister32],
  memory: [decMemory8, decMemory16, decMemory32, decMemory32],
};

// NEG is 0 - operand; NOT changes no flags.

function negRegister8(cpu: Processor, op: Operation): void {
  cpu.r8[op.rm] = sub8(cpu, 0, cpu.r8[op.rm]);
}
function negRegister16(cpu: Processor, op: Operation): void {
  cpu.r16[op.rm] = sub16(cpu, 0, cpu.r16[op.rm]);
}
function negRegister32(cpu: Processor, op: Operation): void {
  cpu.r[op.rm] = sub32(cpu, 0, cpu.r[op.rm]);
}
function negMemory8(cpu: Processor, op: Operation): void {
  const address = writeAddress(cpu, op, 1);
  cpu.checkWrite(address, 1);
  cpu.write8(address, sub8(cpu, 0, cpu.read8(address)));
}
function negMemory16(cpu: Processor, op: Operation): void {
  const address = writeAddress(cpu, op, 2);
  cpu.checkWrite(address, 2);
  cpu.write16(address, sub16(cpu, 0, cpu.read16(address)));
}
function negMemory32(cpu: Processor, op: Operation): void {
  const address = writeAddress(cpu, op, 4);
  cpu.checkWrite(address, 4);
  cpu.write32(address, sub32(cpu, 0, cpu.read32(address)));
}
function notRegister8(cpu: Processor, op: Operation): void {
  cpu.r8[op.rm] = ~cpu.r8[op.rm];
}
function notRegister16(cpu: Processor, op: Operation): void {
  cpu.r16[op.rm] = ~cpu.r16[op.rm];
}
function notRegister32(cpu: Processor, op: Operation): void {
  cpu.r[op.rm] = ~cpu.r[op.rm];
}
function notMemory8(cpu: Processor, op: Operation): void {
  const address = writeAddress(cpu, op, 1);
  cpu.checkWrite(address, 1);
  cpu.write8(address, ~cpu.read8(address) & 0xff);
}
function notMemory16(cpu: Processor, op: Operation): void {
  const address = writeAddress(cpu, op, 2);
  cpu.checkWrite(address, 2);
  cpu.write16(address, ~cpu.read16(address) & 0xffff);
}
function notMemory32(cpu: Processor, op: Operation): void {
  const address = writeAddress(cpu, op, 4);
  cpu.checkWrite(address, 4);
  cpu.write32(address, ~cpu.read32(address));
}

const NEG_FORMS: OneOperandForms = {
  register: [negRegister8, negRegister16, negRegister32],
  memory: [negMemory8, negMemory16, negMemory32, negMemory32],
};
const NOT_FORMS: OneOperandForms = {
  register: [notRegister8, notRegister16, notRegister32],
  memory: [notMemory8, notMemory16, notMemory32, notMemory32],
};
