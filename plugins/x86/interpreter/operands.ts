// How an instruction's operands become a handler's: which register view, which form (register, memory, immediate) and
// which size. Binders call these once per translation of a block (operand codes: Intel SDM 2D, A.2).

import { CS, type Operand } from "../instruction.ts";
import { Mode, type Processor } from "../processor.ts";
import { byteIndex, effectiveAddress, halfIndex, type Handler, type Operation, segmentAddress } from "./operation.ts";

/** Handlers of one form by operand size: 8, 16 and 32 bits. */
export type BySize = readonly [Handler, Handler, Handler];
/** As BySize for forms with a memory operand; the fourth is for 32 bits where the linear address needs no check. */
export type MemoryBySize = readonly [Handler, Handler, Handler, Handler];

/**
 * Handlers of a two-operand instruction by form. Afterwards `op.reg` is the destination and `op.rm` the source register,
 * each an index of the view of its size; with a memory operand `op.reg` is the register. `op.immediate` is cut to the size.
 */
export interface TwoOperandForms {
  readonly registerRegister: BySize;
  readonly registerImmediate: BySize;
  readonly registerMemory: MemoryBySize;
  readonly memoryRegister: MemoryBySize;
  readonly memoryImmediate: MemoryBySize;
}

/** Handlers of a one-operand instruction by form. The register is `op.rm`, an index of the view of its size. */
export interface OneOperandForms {
  readonly register: BySize;
  readonly memory: MemoryBySize;
}

/** Width of an operand in bits. */
export function operandBits(op: Operation, operand: Operand): 8 | 16 | 32 {
  if (operand === "al" || operand === "cl") return 8;
  if (operand === "ax" || operand === "dx") return 16;
  if (operand === "eAX") return op.instruction.operandSize;
  switch (operand[1]) {
    case "b":
      return 8;
    case "w":
      return 16;
    case "d":
      return 32;
    default:
      return op.instruction.operandSize;
  }
}

/** Number of the general register that an operand names, or -1 where it is in memory or no register. */
export function operandRegister(op: Operation, operand: Operand): number {
  const { instruction } = op;
  switch (operand) {
    case "al":
    case "ax":
    case "eAX":
      return 0;
    case "cl":
      return 1;
    case "dx":
      return 2;
  }
  switch (operand[0]) {
    case "E":
    case "R":
      return instruction.isMemory ? -1 : instruction.rm;
    case "G":
      return instruction.reg;
    case "Z":
      return instruction.row.variant;
    default:
      return -1;
  }
}

/** Index of a register in the view of `bits`. */
export function viewIndex(register: number, bits: 8 | 16 | 32): number {
  return bits === 8 ? byteIndex(register) : bits === 16 ? halfIndex(register) : register;
}

/** Cuts an immediate to an unsigned operand of `bits`; 32 bits stay an int32. */
export function cutImmediate(value: number, bits: 8 | 16 | 32): number {
  return bits === 8 ? value & 0xff : bits === 16 ? value & 0xffff : value;
}

/** Place of `bits` in BySize. */
export function sizeIndex(bits: 8 | 16 | 32): 0 | 1 | 2 {
  return bits === 8 ? 0 : bits === 16 ? 1 : 2;
}

/**
 * Whether the memory operand's linear address is its 32-bit effective address in this mode, without checks. Not through
 * CS, which may be read but not written.
 */
export function isFlat(op: Operation): boolean {
  return (op.mode & Mode.flat) !== 0 && op.segment < 4 && op.segment !== CS && !op.address16;
}

/** Place of `bits` in MemoryBySize. */
export function memoryIndex(op: Operation, bits: 8 | 16 | 32): 0 | 1 | 2 | 3 {
  return bits === 32 && isFlat(op) ? 3 : sizeIndex(bits);
}

/** Linear address of a memory operand for which `isFlat` holds. */
export function flatAddress(cpu: Processor, op: Operation): number {
  const r = cpu.r;
  return (r[op.base] + (r[op.index] << op.scale) + op.displacement) | 0;
}

/** Linear address `delta` bytes from the memory operand, wrapped at the address size, after the checks of its segment. */
export function displacedAddress(
  cpu: Processor,
  op: Operation,
  delta: number,
  size: number,
  isWrite: boolean,
): number {
  const sum = (effectiveAddress(cpu, op) + delta) | 0;
  const offset = op.address16 ? sum & 0xffff : sum;
  if (cpu.mode & Mode.flat && op.segment < 4 && !(isWrite && op.segment === CS)) return offset;
  return segmentAddress(cpu, op.segment, offset, size, isWrite);
}

/** Binds an instruction whose two operands have one size. */
export function bindTwoOperands(op: Operation, forms: TwoOperandForms): Handler {
  const [destination, source] = op.instruction.row.operands;
  const bits = operandBits(op, destination);
  const to = operandRegister(op, destination), from = operandRegister(op, source);
  if (source[0] === "I") {
    op.immediate = cutImmediate(op.immediate, bits);
    if (to < 0) return forms.memoryImmediate[memoryIndex(op, bits)];
    op.reg = viewIndex(to, bits);
    return forms.registerImmediate[sizeIndex(bits)];
  }
  if (to < 0) {
    op.reg = viewIndex(from, bits);
    return forms.memoryRegister[memoryIndex(op, bits)];
  }
  op.reg = viewIndex(to, bits);
  if (from < 0) return forms.registerMemory[memoryIndex(op, bits)];
  op.rm = viewIndex(from, bits);
  return forms.registerRegister[sizeIndex(bits)];
}

/** Binds an instruction with one register or memory operand, or whose further operands are implied. */
export function bindOneOperand(op: Operation, forms: OneOperandForms): Handler {
  const [operand] = op.instruction.row.operands;
  const bits = operandBits(op, operand);
  const register = operandRegister(op, operand);
  if (register < 0) return forms.memory[memoryIndex(op, bits)];
  op.rm = viewIndex(register, bits);
  return forms.register[sizeIndex(bits)];
}
