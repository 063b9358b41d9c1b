// Debug registers (SDM 3B, chapter 17): instruction, data and I/O breakpoints, DR6 and DR7, general detect. While a
// breakpoint is enabled the executor runs one instruction at a time and the TLB's fast paths miss (Processor.updateAttention),
// so that a processor without one pays nothing.

import type { Processor } from "./processor.ts";
import * as S from "./state.ts";

/** DR6 (17.2.3): general detect, single step, task switch; bits 0 to 3 tell which breakpoints matched. */
export const DR6_BD = 1 << 13, DR6_BS = 1 << 14, DR6_BT = 1 << 15;
const DR6_WRITABLE = 0xf | DR6_BD | DR6_BS | DR6_BT, DR6_ONES = 0xffff0ff0 | 0;

/** DR7 (17.2.4): L0, G0 .. L3, G3 in bits 0 to 7. */
export const DR7_ENABLES = 0xff;
const DR7_LOCAL_ENABLES = 0x55, DR7_GD = 1 << 13;
/** Bit 10 is one; 11, 12, 14 and 15 are zero. */
const DR7_ONES = 1 << 10, DR7_ZEROS = 0xd800;

/** The R/W field of a breakpoint. I/O exists with CR4.DE alone; without it the value is undefined and matches nothing here. */
const Condition = { execute: 0, write: 1, io: 2, readWrite: 3 } as const;

const BREAKPOINTS = 4;

const isEnabled = (dr7: number, i: number): boolean => ((dr7 >>> (i * 2)) & 3) !== 0;
const conditionOf = (dr7: number, i: number): number => (dr7 >>> (16 + i * 4)) & 3;
/** Bytes by the LEN field; 2 is undefined before 64-bit processors and taken as they take it, eight. */
const lengthOf = (dr7: number, i: number): number => [1, 2, 8, 4][(dr7 >>> (18 + i * 4)) & 3];

/** Whether [a, a + sizeA) and [b, b + sizeB) share a byte, in 32-bit addresses that wrap. */
const overlap = (a: number, sizeA: number, b: number, sizeB: number): boolean =>
  (b - a) >>> 0 < sizeA || (a - b) >>> 0 < sizeB;

/** MOV from DR6 or any other: `number` is 0 to 7, DR4 and DR5 resolved by the caller. */
export function readDebugRegister(cpu: Processor, number: number): number {
  return cpu.r[S.DR + number];
}

/** MOV to a debug register. A breakpoint it enables holds from the next instruction on. */
export function writeDebugRegister(cpu: Processor, number: number, value: number): void {
  const { r } = cpu, at = S.DR + number;
  if (at === S.DR6) r[at] = (value & DR6_WRITABLE) | DR6_ONES;
  else if (at === S.DR7) r[at] = (value & ~DR7_ZEROS) | DR7_ONES;
  else r[at] = value;
  cpu.updateAttention();
}

/** Raises #DB where DR7.GD guards the debug registers (17.2.4). */
export function detectDebugAccess(cpu: Processor): void {
  if (!(cpu.r[S.DR7] & DR7_GD)) return;
  cpu.r[S.DR6] |= DR6_BD;
  cpu.raise(S.Vector.debug);
}

/** The debug exception's handler is entered: it may use the debug registers. */
export function allowDebugAccess(cpu: Processor): void {
  cpu.r[S.DR7] &= ~DR7_GD;
}

/** A task switch clears the local enables. */
export function disableLocalBreakpoints(cpu: Processor): void {
  cpu.r[S.DR7] &= ~DR7_LOCAL_ENABLES;
}

/** DR6 bits of the breakpoints on the instruction that starts at a linear address; 0 where there are none. */
export function instructionBreakpoints(cpu: Processor, linear: number): number {
  const dr7 = cpu.r[S.DR7];
  let hits = 0;
  for (let i = 0; i < BREAKPOINTS; i++) {
    if (isEnabled(dr7, i) && conditionOf(dr7, i) === Condition.execute && cpu.r[S.DR + i] === linear) hits |= 1 << i;
  }
  return hits;
}

/** Notes data breakpoints that an access of `size` bytes at a linear address meets: a trap after the instruction. */
export function noteAccess(cpu: Processor, linear: number, size: number, isWrite: boolean): void {
  cpu.breakpointHits |= matches(
    cpu,
    linear,
    size,
    (condition) => condition === Condition.readWrite || (isWrite && condition === Condition.write),
  );
}

/** Notes I/O breakpoints that an access to ports meets. */
export function notePortAccess(cpu: Processor, port: number, size: number): void {
  if (!(cpu.r[S.CR4] & S.CR4_DE)) return;
  cpu.breakpointHits |= matches(cpu, port, size, (condition) => condition === Condition.io);
}

function matches(cpu: Processor, address: number, size: number, meets: (condition: number) => boolean): number {
  const dr7 = cpu.r[S.DR7];
  let hits = 0;
  for (let i = 0; i < BREAKPOINTS; i++) {
    if (!isEnabled(dr7, i) || !meets(conditionOf(dr7, i))) continue;
    // The low bits of the address that the length covers are ignored (17.2.5).
    const length = lengthOf(dr7, i), first = cpu.r[S.DR + i] & -length;
    if (overlap(first, length, address, size)) hits |= 1 << i;
  }
  return hits;
}

/** After an instruction or the delivery of an event: what it met becomes a debug trap. */
export function pendBreakpoints(cpu: Processor): void {
  if (cpu.breakpointHits === 0) return;
  pendDebugTrap(cpu, cpu.breakpointHits);
  cpu.breakpointHits = 0;
}

/** Sets bits of DR6 and asks for #DB before the next instruction. */
export function pendDebugTrap(cpu: Processor, dr6: number): void {
  cpu.r[S.DR6] |= dr6;
  cpu.r[S.PENDING] |= S.Pending.debugTrap;
  cpu.updateAttention();
}
