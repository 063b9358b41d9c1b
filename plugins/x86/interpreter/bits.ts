// BT, BTS, BTR, BTC, BSF and BSR (Intel SDM 2A).
//
// Undefined flags follow the AMD Zen 4, as measured (tests/fixtures/integer):
//   BT, BTS, BTR, BTC   all but CF unchanged
//   BSF, BSR            CF, OF, SF and AF 0; PF from the index; with a source of zero the destination is unchanged, PF 1

import type { Processor } from "../processor.ts";
import { FLAG_AUX, FLAG_RESULT } from "../state.ts";
import { displacedAddress, operandRegister, viewIndex } from "./operands.ts";
import { type Binder, type Handler, type Operation, readAddress } from "./operation.ts";

/** Binders by handler name. */
export const bitBinders: Record<string, Binder> = { bt: bindBitTest, bsf: bindBitScan, bsr: bindBitScan };

// Bit tests. The variant is the operation; `op.rm` is the tested register, `op.reg` the register with the offset.

const BTS = 1, BTR = 2, BTC = 3;

function bindBitTest(op: Operation): Handler {
  const bits = op.instruction.operandSize;
  const { operands } = op.instruction.row;
  const tested = operandRegister(op, operands[0]);
  if (tested >= 0) op.rm = viewIndex(tested, bits);
  if (operands[1] === "Ib") {
    op.immediate &= bits - 1;
    if (tested >= 0) return bits === 32 ? btRegisterImmediate32 : btRegisterImmediate16;
    return bits === 32 ? btMemoryImmediate32 : btMemoryImmediate16;
  }
  op.reg = viewIndex(op.reg, bits);
  if (tested >= 0) return bits === 32 ? btRegisterRegister32 : btRegisterRegister16;
  return bits === 32 ? btMemoryRegister32 : btMemoryRegister16;
}

/** Sets CF to the bit and returns the operand as the operation leaves it. */
function bitTest(cpu: Processor, operation: number, value: number, bit: number): number {
  cpu.setCf((value >>> bit) & 1);
  switch (operation) {
    case BTS:
      return value | (1 << bit);
    case BTR:
      return value & ~(1 << bit);
    case BTC:
      return value ^ (1 << bit);
    default:
      return value;
  }
}

function btRegisterImmediate16(cpu: Processor, op: Operation): void {
  cpu.r16[op.rm] = bitTest(cpu, op.variant, cpu.r16[op.rm], op.immediate);
}
function btRegisterImmediate32(cpu: Processor, op: Operation): void {
  cpu.r[op.rm] = bitTest(cpu, op.variant, cpu.r[op.rm], op.immediate);
}
function btRegisterRegister16(cpu: Processor, op: Operation): void {
  cpu.r16[op.rm] = bitTest(cpu, op.variant, cpu.r16[op.rm], cpu.r16[op.reg] & 15);
}
function btRegisterRegister32(cpu: Processor, op: Operation): void {
  cpu.r[op.rm] = bitTest(cpu, op.variant, cpu.r[op.rm], cpu.r[op.reg] & 31);
}
function btMemoryImmediate16(cpu: Processor, op: Operation): void {
  btMemory16(cpu, op, displacedAddress(cpu, op, 0, 2, op.variant !== 0), op.immediate);
}
function btMemoryImmediate32(cpu: Processor, op: Operation): void {
  btMemory32(cpu, op, displacedAddress(cpu, op, 0, 4, op.variant !== 0), op.immediate);
}
// A register's offset is signed and reaches beyond the operand.
function btMemoryRegister16(cpu: Processor, op: Operation): void {
  const offset = (cpu.r16[op.reg] << 16) >> 16;
  btMemory16(cpu, op, displacedAddress(cpu, op, (offset >> 4) * 2, 2, op.variant !== 0), offset & 15);
}
function btMemoryRegister32(cpu: Processor, op: Operation): void {
  const offset = cpu.r[op.reg];
  btMemory32(cpu, op, displacedAddress(cpu, op, (offset >> 5) * 4, 4, op.variant !== 0), offset & 31);
}
function btMemory16(cpu: Processor, op: Operation, address: number, bit: number): void {
  if (op.variant === 0) {
    cpu.setCf((cpu.read16(address) >>> bit) & 1);
    return;
  }
  cpu.checkWrite(address, 2);
  cpu.write16(address, bitTest(cpu, op.variant, cpu.read16(address), bit) & 0xffff);
}
function btMemory32(cpu: Processor, op: Operation, address: number, bit: number): void {
  if (op.variant === 0) {
    cpu.setCf((cpu.read32(address) >>> bit) & 1);
    return;
  }
  cpu.checkWrite(address, 4);
  cpu.write32(address, bitTest(cpu, op.variant, cpu.read32(address), bit));
}

// Bit scans.

function bindBitScan(op: Operation): Handler {
  const bits = op.instruction.operandSize;
  const { operands, handler } = op.instruction.row;
  const source = operandRegister(op, operands[1]);
  if (source >= 0) op.rm = viewIndex(source, bits);
  op.reg = viewIndex(op.reg, bits);
  if (handler === "bsf") {
    if (source >= 0) return bits === 32 ? bsfRegister32 : bsfRegister16;
    return bits === 32 ? bsfMemory32 : bsfMemory16;
  }
  if (source >= 0) return bits === 32 ? bsrRegister32 : bsrRegister16;
  return bits === 32 ? bsrMemory32 : bsrMemory16;
}

/** Index of the lowest set bit of a word that is not zero. */
function lowestBit(value: number): number {
  return 31 - Math.clz32(value & -value);
}

/** Index of the highest set bit of a word that is not zero. */
function highestBit(value: number): number {
  return 31 - Math.clz32(value);
}

/** Flags of a scan that found `index`, or -1: a bit above the low byte keeps ZF 0 when the index is 0. */
function scanFlags(cpu: Processor, index: number): void {
  cpu.r[FLAG_RESULT] = index < 0 ? 0 : index | 0x100;
  cpu.r[FLAG_AUX] = 0;
}

function scanned16(cpu: Processor, op: Operation, index: number): void {
  scanFlags(cpu, index);
  if (index >= 0) cpu.r16[op.reg] = index;
}
function scanned32(cpu: Processor, op: Operation, index: number): void {
  scanFlags(cpu, index);
  if (index >= 0) cpu.r[op.reg] = index;
}

// With a source of zero both functions give -1: Math.clz32(0) is 32.
function bsfRegister16(cpu: Processor, op: Operation): void {
  scanned16(cpu, op, lowestBit(cpu.r16[op.rm]));
}
function bsfRegister32(cpu: Processor, op: Operation): void {
  scanned32(cpu, op, lowestBit(cpu.r[op.rm]));
}
function bsfMemory16(cpu: Processor, op: Operation): void {
  scanned16(cpu, op, lowestBit(cpu.read16(readAddress(cpu, op, 2))));
}
function bsfMemory32(cpu: Processor, op: Operation): void {
  scanned32(cpu, op, lowestBit(cpu.read32(readAddress(cpu, op, 4))));
}
function bsrRegister16(cpu: Processor, op: Operation): void {
  scanned16(cpu, op, highestBit(cpu.r16[op.rm]));
}
function bsrRegister32(cpu: Processor, op: Operation): void {
  scanned32(cpu, op, highestBit(cpu.r[op.rm]));
}
function bsrMemory16(cpu: Processor, op: Operation): void {
  scanned16(cpu, op, highestBit(cpu.read16(readAddress(cpu, op, 2))));
}
function bsrMemory32(cpu: Processor, op: Operation): void {
  scanned32(cpu, op, highestBit(cpu.read32(readAddress(cpu, op, 4))));
}
