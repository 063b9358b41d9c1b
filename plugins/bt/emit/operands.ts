// What the emitters of all instructions share: the width and place of an operand, reading a source, and the frame of
// read-modify-write instructions (operand notation: SDM 2D, A.2; plugins/x86/instruction.ts).

import { CS, type Instruction, type Operand } from "../../x86/mod.ts";
import { EAX, ECX } from "../../x86/mod.ts";
import { Op } from "../wasm.ts";
import type { Emitter } from "./emitter.ts";

export type Bits = 8 | 16 | 32;

/** Emits one instruction that does not end its block. */
export type Emit = (e: Emitter, instruction: Instruction) => void;

/** Gives the emitter of an instruction, or undefined where it is to be interpreted. */
export type Chooser = (instruction: Instruction) => Emit | undefined;

/** A 32-bit address. CS, which is flat and readable by the mode, is for VERW alone: a store through it faults. */
export function isPlainAddress({ addressSize, segment, row }: Instruction): boolean {
  return addressSize === 32 && (segment !== CS || row.handler === "verw");
}

/** Width of an operand. */
export function bitsOf(instruction: Instruction, operand: Operand): Bits {
  if (operand === "al" || operand === "cl") return 8;
  if (operand === "eAX") return instruction.operandSize;
  switch (operand[1]) {
    case "b":
      return 8;
    case "w":
      return 16;
    case "d":
      return 32;
    default:
      return instruction.operandSize;
  }
}

/** Number of the register that an operand is, or -1. */
export function registerOf(instruction: Instruction, operand: Operand): number {
  if (operand === "al" || operand === "eAX") return EAX;
  if (operand === "cl") return ECX;
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

/** Pushes a source operand, zero-extended (immediates as they are). */
export function pushSource(e: Emitter, instruction: Instruction, operand: Operand): void {
  const bits = bitsOf(instruction, operand);
  const register = registerOf(instruction, operand);
  if (operand[0] === "I") e.f.constant(instruction.immediate);
  else if (register >= 0) e.pushRegister(register, bits);
  else e.pushMemory(instruction, bits);
}

/** Pops a value and pushes it sign-extended from `bits`. */
export function extend(e: Emitter, bits: Bits): void {
  if (bits === 8) e.f.op(Op.i32Extend8S);
  else if (bits === 16) e.f.op(Op.i32Extend16S);
}

/**
 * Reads the destination, applies `compute` (which leaves the result on the stack, given the local that holds the old value,
 * zero-extended) and writes it back, unless `discard`.
 */
export function modify(
  e: Emitter,
  instruction: Instruction,
  operand: Operand,
  compute: (old: number) => void,
  discard = false,
): void {
  const { f } = e;
  const bits = bitsOf(instruction, operand);
  const register = registerOf(instruction, operand);
  const old = e.temporary();
  if (register >= 0) {
    e.pushRegister(register, bits);
    f.set(old);
    compute(old);
    if (discard) f.op(Op.drop);
    else e.popRegister(register, bits);
    return;
  }
  if (discard) {
    e.pushMemory(instruction, bits);
    f.set(old);
    compute(old);
    f.op(Op.drop);
    return;
  }
  const machine = e.temporary();
  e.pushAddress(instruction);
  e.translateOperand(instruction, bits, true);
  f.tee(machine);
  e.load(bits);
  f.set(old).get(machine);
  compute(old);
  e.store(bits);
}
