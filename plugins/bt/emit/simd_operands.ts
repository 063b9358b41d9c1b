// Operands of vector instructions in emitted code: XMM registers, which are WebAssembly locals like the general ones, and 8 or
// 16 bytes of memory through the inline TLB, with the alignment that SSE demands (Intel SDM 1, 10.4 and 11.4; SDM 2A, 2.4).

import type { Instruction, Operand } from "../../x86/mod.ts";
import * as L from "../layout.ts";
import { Access, HYPERVISOR, MACHINE, Op, V128 } from "../wasm.ts";
import type { Emitter } from "./emitter.ts";
import { V } from "./simd_opcodes.ts";

const PAGE_MASK = 0xfffff000 | 0;
/** Bytes of an XMM register, and the alignment of one in memory. */
export const XMM_BYTES = 16;
/** Bytes that the slow path is asked for. */
const MISS_BYTES = 4;

/** Whether an operand is an MMX register, or one or memory. */
export function isMmx(operand: Operand): boolean {
  return operand[0] === "P" || operand[0] === "Q" || operand[0] === "N";
}

/** Whether the ModR/M operand is the destination. */
export function isStore(instruction: Instruction): boolean {
  const [to] = instruction.row.operands;
  return to !== "Vdq" && to !== "Pq";
}

/**
 * Pushes the machine address of the memory operand's 64 or 128 bits, checked for reading or writing. They must lie in one
 * page that the TLB's fast path has after one fill at the most, and 128 bits must be aligned if `isAligned`; otherwise the region is
 * left before the instruction.
 */
export function pushVectorAddress(
  e: Emitter,
  instruction: Instruction,
  bits: 64 | 128,
  isWrite: boolean,
  isAligned: boolean,
): void {
  const { f } = e;
  e.pushAddress(instruction);
  const linear = e.temporary(), entry = e.temporary();
  const pushMisses = () => {
    f.get(entry);
    f.memory(Access.i32Load, HYPERVISOR, L.DATA_TLB + e.dataBank + (isWrite ? L.TLB_WRITE : L.TLB_READ));
    f.get(linear);
    if (!isAligned) f.constant(bits / 8 - 1).op(Op.i32Add);
    f.constant(PAGE_MASK).op(Op.i32And).op(isAligned ? Op.i32Xor : Op.i32Ne);
    if (isAligned) f.get(linear).constant(XMM_BYTES - 1).op(Op.i32And).op(Op.i32Or);
  };
  f.tee(linear).constant(8).op(Op.i32ShrU).constant(L.DATA_BANK_BYTES - 16).op(Op.i32And).set(entry);
  pushMisses();
  const filled = f.unlikely().if(), leave = f.block();
  // #GP comes before the page is walked.
  if (isAligned) f.get(linear).constant(XMM_BYTES - 1).op(Op.i32And).brIf(leave);
  f.get(linear);
  e.callMiss(MISS_BYTES, isWrite);
  f.constant(-1).op(Op.i32Eq).brIf(leave);
  pushMisses();
  f.op(Op.i32Eqz).brIf(filled);
  f.end();
  e.exitInstruction();
  f.end();
  f.get(entry).memory(Access.i32Load, HYPERVISOR, L.DATA_TLB + e.dataBank + L.TLB_ADDEND).get(linear);
  f.op(Op.i32Add);
}

/** Local with the second operand of an instruction on whole XMM registers: a register, or 16 aligned bytes. */
export function sourceVector(e: Emitter, instruction: Instruction): number {
  if (!instruction.isMemory) return e.xmm(instruction.rm);
  const local = e.temporary(V128);
  pushVectorAddress(e, instruction, 128, false, true);
  e.f.vectorMemory(V.v128Load, MACHINE, 0).set(local);
  return local;
}

/** Local with the second operand of which only the low 64 bits count: a register, or 8 bytes with zeros above. */
export function sourceLowHalf(e: Emitter, instruction: Instruction): number {
  if (!instruction.isMemory) return e.xmm(instruction.rm);
  const local = e.temporary(V128);
  pushVectorAddress(e, instruction, 64, false, false);
  e.f.vectorMemory(V.v128Load64Zero, MACHINE, 0).set(local);
  return local;
}
