// The state of x87, MMX and SSE as a whole: FXSAVE and FXRSTOR with their image of 512 bytes, MXCSR loaded and stored, EMMS;
// and what acts on caches and the order of accesses, of which this processor has none to act on (Intel SDM 1, 10.4.6,
// 10.5 and 11.4.4; SDM 2A, FXSAVE, tables 3-43 and 3-44).

import { type Binder, type Operation, readAddress, writeAddress } from "../interpreter/operation.ts";
import type { Processor } from "../processor.ts";
import * as S from "../state.ts";
import { REGISTERS } from "../x87/fpu.ts";
import { available, nativeErrors } from "../x87/instructions/entry.ts";
import { requireMmx, requireSse } from "./entry.ts";
import { MXCSR_BITS } from "./environment.ts";

/** The image: bytes, and byte offsets of its 32-bit words. */
const IMAGE_BYTES = 512, ALIGNMENT = 16;
const CONTROL_STATUS = 0, TAG_OPCODE = 4, INSTRUCTION_OFFSET = 8, INSTRUCTION_SELECTOR = 12, DATA_OFFSET = 16;
const DATA_SELECTOR = 20, MXCSR = 24, MXCSR_MASK = 28, X87_REGISTERS = 32, XMM_REGISTERS = 160;
/** Bytes from one x87 register of the image to the next. Ten are used. */
const X87_STRIDE = 16;
/** Words of all XMM registers. */
const XMM_WORDS = 32;
const OPCODE_SHIFT = 16, OPCODE = 0x7ff, ALL_REGISTERS = 0xff;

/** Address of the image after the checks that both instructions make. */
function imageAddress(cpu: Processor, op: Operation, isWrite: boolean): number {
  available(cpu);
  const linear = isWrite ? writeAddress(cpu, op, IMAGE_BYTES) : readAddress(cpu, op, IMAGE_BYTES);
  if ((linear & (ALIGNMENT - 1)) !== 0) cpu.raise(S.Vector.generalProtection, 0);
  if (isWrite) cpu.checkWrite(linear, IMAGE_BYTES);
  else cpu.checkRead(linear, IMAGE_BYTES);
  return linear;
}

/** Reserved parts of the image stay as they are. XMM registers are saved whether or not CR4.OSFXSR is set. */
function fxsave(cpu: Processor, op: Operation): void {
  const image = imageAddress(cpu, op, true);
  const { fpu, r } = cpu;
  const write = (offset: number, value: number) => cpu.write32((image + offset) | 0, value);
  write(CONTROL_STATUS, fpu.control | fpu.statusWord << 16);
  // The tag word in short: a bit for each physical register that is not empty.
  write(TAG_OPCODE, ~fpu.empty & ALL_REGISTERS | fpu.opcode << OPCODE_SHIFT);
  write(INSTRUCTION_OFFSET, fpu.instructionOffset);
  write(INSTRUCTION_SELECTOR, fpu.instructionSelector);
  write(DATA_OFFSET, fpu.dataOffset);
  write(DATA_SELECTOR, fpu.dataSelector);
  write(MXCSR, r[S.MXCSR]);
  write(MXCSR_MASK, MXCSR_BITS);
  for (let position = 0; position < REGISTERS; position++) {
    const register = (fpu.top + position) % REGISTERS, at = X87_REGISTERS + position * X87_STRIDE;
    write(at, fpu.significands[register * 2] | 0);
    write(at + 4, fpu.significands[register * 2 + 1] | 0);
    cpu.write16((image + at + 8) | 0, fpu.se[register]);
  }
  for (let word = 0; word < XMM_WORDS; word++) write(XMM_REGISTERS + word * 4, r[S.XMM + word]);
}

/** Reserved bits of MXCSR in the image raise #GP(0) before anything is loaded. */
function fxrstor(cpu: Processor, op: Operation): void {
  const image = imageAddress(cpu, op, false);
  const { fpu, r } = cpu;
  const read = (offset: number) => cpu.read32((image + offset) | 0);
  const mxcsr = read(MXCSR);
  if ((mxcsr & ~MXCSR_BITS) !== 0) cpu.raise(S.Vector.generalProtection, 0);
  const controlStatus = read(CONTROL_STATUS), tagOpcode = read(TAG_OPCODE);
  fpu.control = controlStatus & 0xffff;
  fpu.statusWord = controlStatus >>> 16;
  fpu.empty = ~tagOpcode & ALL_REGISTERS;
  fpu.opcode = tagOpcode >>> OPCODE_SHIFT & OPCODE;
  fpu.instructionOffset = read(INSTRUCTION_OFFSET);
  fpu.instructionSelector = read(INSTRUCTION_SELECTOR) & 0xffff;
  fpu.dataOffset = read(DATA_OFFSET);
  fpu.dataSelector = read(DATA_SELECTOR) & 0xffff;
  for (let position = 0; position < REGISTERS; position++) {
    const register = (fpu.top + position) % REGISTERS, at = X87_REGISTERS + position * X87_STRIDE;
    fpu.significands[register * 2] = read(at);
    fpu.significands[register * 2 + 1] = read(at + 4);
    fpu.se[register] = cpu.read16((image + at + 8) | 0);
  }
  fpu.updatePending(nativeErrors(cpu));
  r[S.MXCSR] = mxcsr;
  for (let word = 0; word < XMM_WORDS; word++) r[S.XMM + word] = read(XMM_REGISTERS + word * 4);
}

/** Sets flags and unmasks them at will: no exception follows until an instruction raises one (SDM 1, 10.2.3.1). */
function ldmxcsr(cpu: Processor, op: Operation): void {
  requireSse(cpu);
  const value = cpu.read32(readAddress(cpu, op, 4));
  if ((value & ~MXCSR_BITS) !== 0) cpu.raise(S.Vector.generalProtection, 0);
  cpu.r[S.MXCSR] = value;
}

function stmxcsr(cpu: Processor, op: Operation): void {
  requireSse(cpu);
  cpu.write32(writeAddress(cpu, op, 4), cpu.r[S.MXCSR]);
}

/** Gives the registers back to the x87: all empty. */
function emms(cpu: Processor): void {
  const fpu = requireMmx(cpu);
  fpu.top = 0;
  fpu.empty = ALL_REGISTERS;
}

/** CLFLUSH is a load as far as segments and pages see it. */
function clflush(cpu: Processor, op: Operation): void {
  cpu.checkRead(readAddress(cpu, op, 1), 1);
}

/** LFENCE, MFENCE, SFENCE: memory accesses are in program order already. */
function fence(): void {}

/** PAUSE: a hint to loops that wait. */
function pause(): void {}

export const controlSimdBinders: Readonly<Record<string, Binder>> = {
  fxsave: () => fxsave,
  fxrstor: () => fxrstor,
  ldmxcsr: () => ldmxcsr,
  stmxcsr: () => stmxcsr,
  emms: () => emms,
  clflush: () => clflush,
  fence: () => fence,
  pause: () => pause,
};
