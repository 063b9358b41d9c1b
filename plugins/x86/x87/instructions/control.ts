// Processor control: control and status words, initialisation, stack-top moves, WAIT (Intel SDM 1, 8.3.11; SDM 2A). The
// FN forms do not wait: they leave a pending exception to the next instruction that does. Environments: environment.ts.

import { EAX } from "../../instruction.ts";
import { type Binder, halfIndex, type Operation, readAddress, writeAddress } from "../../interpreter/operation.ts";
import type { Processor } from "../../processor.ts";
import * as S from "../../state.ts";
import { ALL_EXCEPTIONS } from "../float80.ts";
import { C1, STACK_FAULT } from "../fpu.ts";
import { available, nativeErrors, reportPending, start, waited } from "./entry.ts";
import { environmentBinders } from "./environment.ts";

export const controlBinders: Readonly<Record<string, Binder>> = {
  ...environmentBinders,
  fldcw: () => loadControlWord,
  fnstcw: () => storeControlWord,
  fnstsw: (op) => op.instruction.isMemory ? storeStatusWord : storeStatusWordInAx,
  fnclex: () => clearExceptions,
  fninit: () => initialise,
  fnop: (op) => op.instruction.row.name === "fnop" ? noOperation : formerControl,
  fincstp: () => incrementTop,
  fdecstp: () => decrementTop,
  ffree: () => free,
  wait: () => wait,
};

function loadControlWord(cpu: Processor, op: Operation): void {
  const fpu = waited(cpu);
  fpu.control = cpu.read16(readAddress(cpu, op, 2));
  fpu.updatePending(nativeErrors(cpu));
}

function storeControlWord(cpu: Processor, op: Operation): void {
  const fpu = available(cpu);
  cpu.write16(writeAddress(cpu, op, 2), fpu.control);
}

function storeStatusWord(cpu: Processor, op: Operation): void {
  const fpu = available(cpu);
  cpu.write16(writeAddress(cpu, op, 2), fpu.statusWord);
}

function storeStatusWordInAx(cpu: Processor): void {
  cpu.r16[halfIndex(EAX)] = available(cpu).statusWord;
}

function clearExceptions(cpu: Processor): void {
  const fpu = available(cpu);
  fpu.status &= ~(ALL_EXCEPTIONS | STACK_FAULT);
  fpu.updatePending(nativeErrors(cpu));
}

function initialise(cpu: Processor): void {
  const fpu = available(cpu);
  fpu.initialise();
  fpu.updatePending(nativeErrors(cpu));
}

function noOperation(cpu: Processor, op: Operation): void {
  start(cpu, op);
}

/** FNENI, FNDISI and FNSETPM control nothing any more; they do not wait. */
function formerControl(cpu: Processor): void {
  available(cpu);
}

function incrementTop(cpu: Processor, op: Operation): void {
  const fpu = start(cpu, op);
  fpu.rotate(1);
  fpu.status &= ~C1;
}

function decrementTop(cpu: Processor, op: Operation): void {
  const fpu = start(cpu, op);
  fpu.rotate(-1);
  fpu.status &= ~C1;
}

/** FFREE, and FFREEP (variant 1), which pops as well. The SDM leaves the condition codes undefined; hardware clears C1. */
function free(cpu: Processor, op: Operation): void {
  const fpu = start(cpu, op);
  fpu.free(op.rm);
  if (op.variant === 1) fpu.pop();
  fpu.status &= ~C1;
}

/** WAIT heeds CR0.TS only with CR0.MP, and CR0.EM not at all (SDM 3A, table 2-2). */
function wait(cpu: Processor): void {
  const guards = S.CR0_MP | S.CR0_TS;
  if ((cpu.r[S.CR0] & guards) === guards) cpu.raise(S.Vector.deviceNotAvailable);
  if (cpu.fpu.pending) reportPending(cpu);
}
