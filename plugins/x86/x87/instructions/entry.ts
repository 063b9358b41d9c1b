// What all x87 instructions share: the checks before them (#NM, #MF), the pointers to the last instruction and its
// operand, and reusable operands (Intel SDM 1, 8.1.8 and 8.7; SDM 3A, 2.5 and table 12-1).

import { CS } from "../../instruction.ts";
import { effectiveAddress, type Operation } from "../../interpreter/operation.ts";
import type { Processor } from "../../processor.ts";
import * as S from "../../state.ts";
import { Float80 } from "../float80.ts";
import type { Fpu } from "../fpu.ts";

/** Operands and results: handlers run to completion, so that one set serves all and none is ever allocated. */
export const left = new Float80(), right = new Float80(), result = new Float80(), second = new Float80();

/** The FPU, if the operating system lets it be used: #NM while CR0.EM or CR0.TS is set. */
export function available(cpu: Processor): Fpu {
  if ((cpu.r[S.CR0] & (S.CR0_EM | S.CR0_TS)) !== 0) cpu.raise(S.Vector.deviceNotAvailable);
  return cpu.fpu;
}

/** As `available`, for instructions that wait: an exception left by an earlier one is reported first (#MF). */
export function waited(cpu: Processor): Fpu {
  const fpu = available(cpu);
  if (fpu.pending) reportPending(cpu);
  return fpu;
}

/** #MF with CR0.NE; without it FERR# has told the chipset already: see `Fpu.onError`. */
export function reportPending(cpu: Processor): void {
  if (nativeErrors(cpu)) cpu.raise(S.Vector.floatingPoint);
}

/** Starts a waiting instruction without a memory operand. */
export function start(cpu: Processor, op: Operation): Fpu {
  const fpu = waited(cpu);
  record(cpu, op, fpu);
  return fpu;
}

/** Starts an instruction whose memory operand has been read, or checked for the write: no fault comes after this. */
export function startMemory(cpu: Processor, op: Operation, fpu: Fpu): void {
  record(cpu, op, fpu);
  fpu.dataOffset = effectiveAddress(cpu, op);
  fpu.dataSelector = cpu.r[S.SELECTOR + op.segment];
}

function record(cpu: Processor, op: Operation, fpu: Fpu): void {
  fpu.instructionOffset = (cpu.blockEip + op.start) | 0;
  fpu.instructionSelector = cpu.r[S.SELECTOR + CS];
  fpu.opcode = op.immediate;
  fpu.begin();
}

/** Ends an instruction: exceptions and C1 into the status word. */
export function finish(cpu: Processor, fpu: Fpu): void {
  fpu.settle(nativeErrors(cpu));
}

/** CR0.NE. */
export function nativeErrors(cpu: Processor): boolean {
  return (cpu.r[S.CR0] & S.CR0_NE) !== 0;
}
