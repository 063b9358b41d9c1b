// A bound operation: one decoded instruction made ready to execute in one mode. The interpreter's block is an array of
// them, and a handler is a function of the processor and its operation.

import { CS, type Instruction } from "../instruction.ts";
import { Mode, type Processor } from "../processor.ts";
import * as S from "../state.ts";

/** Executes one instruction, or one iteration budget of a repeated one. Raises a fault before it changes anything. */
export type Handler = (cpu: Processor, op: Operation) => void;

/**
 * Chooses the handler for a decoded instruction by its operand size and form, and may replace operand numbers in the
 * operation by view indices or precomputed values. Runs once per translation of a block.
 */
export type Binder = (op: Operation) => Handler;

/** One class for all, with every field set in the same order: the run loop depends on it for speed. */
export class Operation {
  /** Operand registers by the index of the view they are used with: r (32), r16 (16) or r8 (8 bits). */
  reg: number;
  rm: number;
  /** Linear address of the memory operand: base + (index << scale) + displacement, cut to 16 bits where told. */
  readonly base: number;
  readonly index: number;
  readonly scale: number;
  readonly displacement: number;
  readonly address16: boolean;
  /** Segment register of the memory operand. */
  readonly segment: number;
  /** Immediate, as decoded; a handler's binder may replace it by what it precomputes. */
  immediate: number;
  /** Which call site of the run loop calls the handler: see dispatch.ts. */
  callSite = 0;
  /** The row's variant: ALU operation, shift, condition. */
  readonly variant: number;
  /** Bytes from the start of the block to this instruction and to the next one. */
  readonly start: number;
  readonly end: number;
  readonly instruction: Instruction;
  constructor(public handler: Handler, instruction: Instruction, readonly mode: number, start: number) {
    this.reg = instruction.reg;
    this.rm = instruction.rm;
    this.base = instruction.base;
    this.index = instruction.index;
    this.scale = instruction.scale;
    this.displacement = instruction.displacement;
    this.address16 = instruction.addressSize === 16;
    this.segment = instruction.segment;
    this.immediate = instruction.immediate;
    this.variant = instruction.row.variant;
    this.start = start;
    this.end = start + instruction.length;
    this.instruction = instruction;
  }
}

/** Index of an 8-bit register in `r8`: AL, CL, DL, BL, then AH, CH, DH, BH (little-endian words). */
export function byteIndex(register: number): number {
  return register < 4 ? register * 4 : (register - 4) * 4 + 1;
}

/** Index of a 16-bit register in `r16`. */
export function halfIndex(register: number): number {
  return register * 2;
}

/** Offset of the memory operand within its segment. */
export function effectiveAddress(cpu: Processor, op: Operation): number {
  const r = cpu.r;
  const offset = (r[op.base] + (r[op.index] << op.scale) + op.displacement) | 0;
  return op.address16 ? offset & 0xffff : offset;
}

/** Linear address of a memory operand of `size` bytes to read, after the segment's checks. */
export function readAddress(cpu: Processor, op: Operation, size: number): number {
  const offset = effectiveAddress(cpu, op);
  if (cpu.mode & Mode.flat && op.segment < 4) return offset;
  return segmentAddress(cpu, op.segment, offset, size, false);
}

/** As readAddress, to write; through CS that always fails the checks. */
export function writeAddress(cpu: Processor, op: Operation, size: number): number {
  const offset = effectiveAddress(cpu, op);
  if (cpu.mode & Mode.flat && op.segment < 4 && op.segment !== CS) return offset;
  return segmentAddress(cpu, op.segment, offset, size, true);
}

/**
 * Linear address of `offset` in a segment, after the checks of SDM 3A 5.3 to 5.5: null, type and limit. Raises #SS(0) for
 * SS and #GP(0) for the others.
 */
export function segmentAddress(
  cpu: Processor,
  segment: number,
  offset: number,
  size: number,
  isWrite: boolean,
): number {
  const r = cpu.r;
  const attributes = r[S.ATTRIBUTES + segment];
  const needed = isWrite ? S.SEG_WRITABLE : S.SEG_READABLE;
  // Data segments are always readable; code segments never writable. Real and V86 mode load data attributes everywhere.
  const isCode = (attributes & S.SEG_CODE) !== 0;
  const typeFails = isCode ? isWrite || !(attributes & needed) : isWrite && !(attributes & needed);
  if ((attributes & S.SEG_NULL) !== 0 || (typeFails && cpu.isProtected && !cpu.isV86)) segmentFault(cpu, segment);
  const first = offset >>> 0, last = first + size - 1;
  const limit = r[S.LIMIT + segment] >>> 0;
  if (!isCode && (attributes & S.SEG_EXPAND_DOWN) !== 0) {
    const top = attributes & S.SEG_DB ? 0xffffffff : 0xffff;
    if (first <= limit || last > top) segmentFault(cpu, segment);
  } else if (last > limit && !(limit === 0xffffffff && size > 1)) segmentFault(cpu, segment);
  return (r[S.BASE + segment] + offset) | 0;
}

function segmentFault(cpu: Processor, segment: number): never {
  return cpu.raise(segment === 2 ? S.Vector.stackFault : S.Vector.generalProtection, 0);
}
