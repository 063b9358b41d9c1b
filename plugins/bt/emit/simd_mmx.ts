// MMX registers in emitted code: the significands of the x87 registers in the state block, and what every MMX instruction does
// to the rest of the FPU (Intel SDM 1, 9.2 and 9.5). They stay in memory: little code that is translated uses them.

import { type Instruction, state as S } from "../../x86/mod.ts";
import * as L from "../layout.ts";
import { Access, HYPERVISOR, I64, MACHINE, V128 } from "../wasm.ts";
import type { Emitter } from "./emitter.ts";
import { pushVectorAddress } from "./simd_operands.ts";
import { V } from "./simd_opcodes.ts";

const { X87 } = S;
/** Sign and exponent of a register that an MMX instruction wrote. */
const MMX_SIGN_EXPONENT = 0xffff;
const MMX_BYTES = 8, HALF_BYTES = 2;
/** Tags of all registers, a byte each: none is empty, all are. */
export const NONE_EMPTY = 0, ALL_EMPTY = 0x01010101;

function mmxAddress(register: number): number {
  return L.STATE + X87.SIGNIFICAND * 4 + register * MMX_BYTES;
}

/** Leaves unless MMX instructions may run and no x87 exception waits. */
export function requireMmx(e: Emitter): void {
  e.x87?.spill();
  e.requireFloatingPoint(L.FP_X87);
  if (e.eip === e.mmxEnd) return;
  e.f.constant(0).memory(Access.i32Load, HYPERVISOR, L.STATE + X87.PENDING * 4).unlikely().if();
  e.exitInstruction();
  e.f.end();
}

/** Makes TOP 0 and sets all tags: every MMX instruction does, after its last fault. The one right after it finds it so. */
export function enterMmx(e: Emitter, tags = NONE_EMPTY): void {
  const { f } = e;
  if (e.eip !== e.mmxEnd || tags !== NONE_EMPTY) {
    f.constant(0).constant(0).memory(Access.i32Store, HYPERVISOR, L.STATE + X87.TOP * 4);
    for (const half of [0, 1]) {
      f.constant(0).constant(tags).memory(Access.i32Store, HYPERVISOR, L.STATE + (X87.TAG + half) * 4);
    }
  }
  e.mmxEnd = tags === NONE_EMPTY ? e.nextEip : undefined;
}

/** Local with an MMX register in the low half, zeros above. */
export function mmx(e: Emitter, register: number): number {
  const local = e.temporary(V128);
  e.f.constant(0).vectorMemory(V.v128Load64Zero, HYPERVISOR, mmxAddress(register)).set(local);
  return local;
}

/** Local with the second operand: a register, or 32 or 64 bits of memory. */
export function mmxOperand(e: Emitter, instruction: Instruction): number {
  if (!instruction.isMemory) return mmx(e, instruction.rm);
  const local = e.temporary(V128);
  if (instruction.row.operands[1] === "Qd") {
    e.pushAddress(instruction);
    e.translate(32, false);
    e.f.vectorMemory(V.v128Load32Zero, MACHINE, 0).set(local);
  } else {
    pushVectorAddress(e, instruction, 64, false, false);
    e.f.vectorMemory(V.v128Load64Zero, MACHINE, 0).set(local);
  }
  return local;
}

/** Sets an MMX register from the low half of the vector on the stack. */
export function setMmx(e: Emitter, register: number): void {
  const { f } = e;
  const value = e.temporary(I64);
  f.lane(V.i64x2ExtractLane, 0).set(value);
  f.constant(0).get(value).memory(Access.i64Store, HYPERVISOR, mmxAddress(register));
  f.constant(0).constant(MMX_SIGN_EXPONENT);
  f.memory(Access.i32Store16, HYPERVISOR, L.STATE + X87.SIGN_EXPONENT * 4 + register * HALF_BYTES);
}

/** Stores an MMX register to the memory operand. */
export function storeMmx(e: Emitter, instruction: Instruction): void {
  pushVectorAddress(e, instruction, 64, true, false);
  e.f.constant(0).memory(Access.i64Load, HYPERVISOR, mmxAddress(instruction.reg)).memory(Access.i64Store, MACHINE, 0);
}
