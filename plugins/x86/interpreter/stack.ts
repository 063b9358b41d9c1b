// Pushing and popping through SS: the stack pointer is ESP or SP by SS.B, and nothing has changed if an access faults
// (SDM 1, chapter 6). Multi-word operations check or read first and move the pointer last.

import { EBP, ESP, SS } from "../instruction.ts";
import { Mode, type Processor } from "../processor.ts";
import { segmentAddress } from "./operation.ts";

/** Linear address of `size` bytes at `pointer` in the stack segment, after its checks. */
export function stackAddress(cpu: Processor, pointer: number, size: number, isWrite: boolean): number {
  const offset = cpu.mode & Mode.stack32 ? pointer : pointer & 0xffff;
  return cpu.mode & Mode.flat ? offset : segmentAddress(cpu, SS, offset, size, isWrite);
}

/** Moves the stack pointer: all of ESP, or SP alone. */
export function setStackPointer(cpu: Processor, pointer: number): void {
  if (cpu.mode & Mode.stack32) cpu.r[ESP] = pointer;
  else cpu.r16[ESP * 2] = pointer;
}

/** The frame pointer as the stack's size sees it. */
export function framePointer(cpu: Processor): number {
  return cpu.mode & Mode.stack32 ? cpu.r[EBP] : cpu.r[EBP] & 0xffff;
}

export function push32(cpu: Processor, value: number): void {
  const pointer = (cpu.r[ESP] - 4) | 0;
  cpu.write32(stackAddress(cpu, pointer, 4, true), value);
  setStackPointer(cpu, pointer);
}

export function push16(cpu: Processor, value: number): void {
  const pointer = (cpu.r[ESP] - 2) | 0;
  cpu.write16(stackAddress(cpu, pointer, 2, true), value);
  setStackPointer(cpu, pointer);
}

export function pop32(cpu: Processor): number {
  const pointer = cpu.r[ESP];
  const value = cpu.read32(stackAddress(cpu, pointer, 4, false));
  setStackPointer(cpu, (pointer + 4) | 0);
  return value;
}

export function pop16(cpu: Processor): number {
  const pointer = cpu.r[ESP];
  const value = cpu.read16(stackAddress(cpu, pointer, 2, false));
  setStackPointer(cpu, (pointer + 2) | 0);
  return value;
}

/** Reads the word `displacement` bytes above the stack pointer and moves nothing. */
export function peekStack(cpu: Processor, displacement: number, size: 2 | 4): number {
  const address = stackAddress(cpu, (cpu.r[ESP] + displacement) | 0, size, false);
  return size === 4 ? cpu.read32(address) : cpu.read16(address);
}
