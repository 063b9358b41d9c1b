// Far jumps, calls and returns, software interrupts, IRET, SYSENTER and SYSEXIT as bound operations: they fetch their
// operands and leave the work to transfers.ts and interrupts.ts.

import { debugInterrupt, softwareInterrupt } from "../interrupts.ts";
import type { Processor } from "../processor.ts";
import * as S from "../state.ts";
import { callFar, jumpFar, returnFar, returnFromInterrupt, systemEnter, systemExit } from "../transfers.ts";
import { type Binder, type Operation, readAddress } from "./operation.ts";

const wordBytesOf = (op: Operation): 2 | 4 => op.instruction.operandSize === 32 ? 4 : 2;

const nextEip = (cpu: Processor, op: Operation): number => (cpu.blockEip + op.end) | 0;

/** A far pointer in memory: offset, then selector. */
function farPointer(cpu: Processor, op: Operation): [selector: number, offset: number] {
  const size = wordBytesOf(op);
  const address = readAddress(cpu, op, size + 2);
  const offset = size === 4 ? cpu.read32(address) : cpu.read16(address);
  return [cpu.read16((address + size) | 0), offset];
}

function jmpFar(cpu: Processor, op: Operation): void {
  jumpFar(cpu, op.instruction.immediate2, op.immediate, nextEip(cpu, op));
}

function jmpFarIndirect(cpu: Processor, op: Operation): void {
  jumpFar(cpu, ...farPointer(cpu, op), nextEip(cpu, op));
}

function callFarDirect(cpu: Processor, op: Operation): void {
  callFar(cpu, op.instruction.immediate2, op.immediate, wordBytesOf(op), nextEip(cpu, op));
}

function callFarIndirect(cpu: Processor, op: Operation): void {
  callFar(cpu, ...farPointer(cpu, op), wordBytesOf(op), nextEip(cpu, op));
}

/** INT n: in V86 mode it needs IOPL 3. */
function int(cpu: Processor, op: Operation): void {
  cpu.trap("int");
  if (cpu.isV86 && cpu.iopl < 3) cpu.raise(S.Vector.generalProtection, 0);
  softwareInterrupt(cpu, op.immediate & 0xff, nextEip(cpu, op));
}

function into(cpu: Processor, op: Operation): void {
  if (cpu.of) softwareInterrupt(cpu, S.Vector.overflow, nextEip(cpu, op));
}

function iret(cpu: Processor, op: Operation): void {
  cpu.trap("iret");
  returnFromInterrupt(cpu, wordBytesOf(op), nextEip(cpu, op));
}

export const transferBinders: Readonly<Record<string, Binder>> = {
  jmpFar: () => jmpFar,
  jmpFarIndirect: () => jmpFarIndirect,
  callFar: () => callFarDirect,
  callFarIndirect: () => callFarIndirect,
  retFar: () => (cpu, op) => returnFar(cpu, wordBytesOf(op), op.immediate & 0xffff),
  int: () => int,
  int1: () => (cpu, op) => debugInterrupt(cpu, nextEip(cpu, op)),
  int3: () => (cpu, op) => softwareInterrupt(cpu, S.Vector.breakpoint, nextEip(cpu, op)),
  into: () => into,
  iret: () => iret,
  sysenter: () => (cpu) => {
    cpu.trap("sysenter");
    systemEnter(cpu);
  },
  sysexit: () => (cpu) => {
    cpu.trap("sysexit");
    systemExit(cpu);
  },
};
