// What SIMD instructions share: whether the operating system lets them run, the passage of the x87 registers to MMX use, and
// their memory operands with the alignment they demand (Intel SDM 1, 9.5 and 11.6; SDM 3A, 2.5, 13.1; SDM 2A, 2.4).

import type { Operand } from "../instruction.ts";
import { type Binder, type Handler, type Operation, readAddress, writeAddress } from "../interpreter/operation.ts";
import type { Processor } from "../processor.ts";
import * as S from "../state.ts";
import type { Fpu } from "../x87/fpu.ts";
import { nativeErrors } from "../x87/instructions/entry.ts";
import { type Lanes, readLanes, writeLanes, XMM_BYTES } from "./lanes.ts";

/** SSE and SSE2 instructions on XMM registers or MXCSR: #UD unless CR4.OSFXSR is set and CR0.EM clear, #NM while CR0.TS is set. */
export function requireSse(cpu: Processor): void {
  if ((cpu.r[S.CR0] & S.CR0_EM) !== 0 || (cpu.r[S.CR4] & S.CR4_OSFXSR) === 0) cpu.raise(S.Vector.invalidOpcode);
  if ((cpu.r[S.CR0] & S.CR0_TS) !== 0) cpu.raise(S.Vector.deviceNotAvailable);
}

/** Instructions on MMX registers alone: #UD with CR0.EM, #NM with CR0.TS, #MF for an x87 exception that waits. */
export function requireMmx(cpu: Processor): Fpu {
  if ((cpu.r[S.CR0] & S.CR0_EM) !== 0) cpu.raise(S.Vector.invalidOpcode);
  if ((cpu.r[S.CR0] & S.CR0_TS) !== 0) cpu.raise(S.Vector.deviceNotAvailable);
  return settledFpu(cpu);
}

/** Instructions on registers of both files. */
export function requireSseAndMmx(cpu: Processor): Fpu {
  requireSse(cpu);
  return settledFpu(cpu);
}

function settledFpu(cpu: Processor): Fpu {
  if (cpu.fpu.pending && nativeErrors(cpu)) cpu.raise(S.Vector.floatingPoint);
  return cpu.fpu;
}

/** Every MMX instruction but EMMS marks all x87 registers valid and sets TOP to 0 (SDM 1, 9.5.1). Call it after the last fault. */
export function enterMmx(fpu: Fpu): void {
  fpu.top = 0;
  fpu.empty = 0;
}

/** Bytes that an operand reads or writes in memory. */
const OPERAND_BYTES: Partial<Readonly<Record<Operand, number>>> = {
  ...{ Mw: 2, Ed: 4, Md: 4, Qd: 4, Wss: 4, Mq: 8, Qq: 8, Wq: 8, Wsd: 8 },
  ...{ Mdq: XMM_BYTES, Wdq: XMM_BYTES, Wps: XMM_BYTES, Wpd: XMM_BYTES },
};

/** Bytes that an operand reads or writes in memory. @throws Error for an operand that is no SIMD operand. */
export function operandBytes(operand: Operand): number {
  const bytes = OPERAND_BYTES[operand];
  if (bytes === undefined) throw new Error(`operand ${operand} has no size in SIMD instructions`);
  return bytes;
}

/** Whether an operand names an MMX register. */
export function isMmx(operand: Operand): boolean {
  return operand[0] === "P" || operand[0] === "Q" || operand[0] === "N";
}

/** Reads the memory operand. Sixteen bytes must be aligned, whatever the segment: #GP(0). */
export function readOperand(cpu: Processor, op: Operation, bytes: number, into: Lanes): void {
  const linear = readAddress(cpu, op, bytes);
  if (bytes === XMM_BYTES && (linear & (XMM_BYTES - 1)) !== 0) cpu.raise(S.Vector.generalProtection, 0);
  readLanes(cpu, linear, bytes, into);
}

/** Writes the memory operand, as `readOperand`. */
export function writeOperand(cpu: Processor, op: Operation, bytes: number, from: Lanes): void {
  const linear = writeAddress(cpu, op, bytes);
  if (bytes === XMM_BYTES && (linear & (XMM_BYTES - 1)) !== 0) cpu.raise(S.Vector.generalProtection, 0);
  writeLanes(cpu, linear, bytes, from);
}

/** Chooses between the handlers of a register and a memory form. */
export function byForm(register: Handler, memory: Handler): Binder {
  return (op) => op.instruction.isMemory ? memory : register;
}
