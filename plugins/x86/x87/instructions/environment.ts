// FLDENV, FNSTENV, FRSTOR and FNSAVE: the environment's images in memory, 14 or 28 bytes by operand size, with pointers as
// selector and offset in protected mode and as linear addresses in real and V86 mode (Intel SDM 1, 8.1.10, figures 8-9 to
// 8-12), and the eight registers of ten bytes after it.

import { type Binder, type Operation, readAddress, writeAddress } from "../../interpreter/operation.ts";
import type { Processor } from "../../processor.ts";
import { ALL_EXCEPTIONS, Float80 } from "../float80.ts";
import { type Fpu, REGISTERS } from "../fpu.ts";
import { available, nativeErrors, waited } from "./entry.ts";
import { readFloat80, writeFloat80 } from "./transfer.ts";

export const environmentBinders: Readonly<Record<string, Binder>> = {
  fldenv: () => loadEnvironment,
  fnstenv: () => storeEnvironment,
  frstor: () => restoreState,
  fnsave: () => saveState,
};

/** Fields of an image, in their order: words in the 16-bit format, doublewords in the 32-bit one. */
const CONTROL = 0, STATUS = 1, TAGS = 2, INSTRUCTION_OFFSET = 3, INSTRUCTION_SELECTOR = 4, DATA_OFFSET = 5;
const DATA_SELECTOR = 6, FIELDS = 7;
const REGISTER_BYTES = 10;
/** Reserved upper halves of doublewords are stored as ones. */
const RESERVED_HIGH = 0xffff_0000;
const OPCODE = 0x7ff, OPCODE_SHIFT = 16;
/** Where bits 16 to 31 of a linear address lie in its second field: at 12 in both formats. */
const LINEAR_HIGH_SHIFT = 12;

const image = new Int32Array(FIELDS);
const registers = Array.from({ length: REGISTERS }, () => new Float80());

function fieldBytes(op: Operation): number {
  return op.instruction.operandSize / 8;
}

function hasSelectors(cpu: Processor): boolean {
  return cpu.isProtected && !cpu.isV86;
}

function loadEnvironment(cpu: Processor, op: Operation): void {
  const fpu = waited(cpu);
  const bytes = fieldBytes(op);
  readImage(cpu, readAddress(cpu, op, FIELDS * bytes), bytes);
  acceptImage(cpu, fpu, bytes);
}

function storeEnvironment(cpu: Processor, op: Operation): void {
  const fpu = available(cpu);
  const bytes = fieldBytes(op);
  const address = writeAddress(cpu, op, FIELDS * bytes);
  cpu.checkWrite(address, FIELDS * bytes);
  composeImage(cpu, fpu, bytes);
  writeImage(cpu, address, bytes);
  fpu.control |= ALL_EXCEPTIONS;
  fpu.updatePending(nativeErrors(cpu));
}

function restoreState(cpu: Processor, op: Operation): void {
  const fpu = waited(cpu);
  const bytes = fieldBytes(op), imageBytes = FIELDS * bytes;
  const address = readAddress(cpu, op, imageBytes + REGISTERS * REGISTER_BYTES);
  readImage(cpu, address, bytes);
  for (let i = 0; i < REGISTERS; i++) readFloat80(cpu, (address + imageBytes + i * REGISTER_BYTES) | 0, registers[i]);
  for (let i = 0; i < REGISTERS; i++) fpu.store(i + (image[STATUS] >>> 11 & 7) - fpu.top, registers[i]);
  acceptImage(cpu, fpu, bytes);
}

function saveState(cpu: Processor, op: Operation): void {
  const fpu = available(cpu);
  const bytes = fieldBytes(op), imageBytes = FIELDS * bytes;
  const address = writeAddress(cpu, op, imageBytes + REGISTERS * REGISTER_BYTES);
  cpu.checkWrite(address, imageBytes + REGISTERS * REGISTER_BYTES);
  composeImage(cpu, fpu, bytes);
  writeImage(cpu, address, bytes);
  const [value] = registers;
  for (let i = 0; i < REGISTERS; i++) {
    fpu.load(i, value);
    writeFloat80(cpu, (address + imageBytes + i * REGISTER_BYTES) | 0, value);
  }
  fpu.initialise();
  fpu.updatePending(nativeErrors(cpu));
}

function composeImage(cpu: Processor, fpu: Fpu, bytes: number): void {
  const high = bytes === 4 ? RESERVED_HIGH : 0;
  image[CONTROL] = high | fpu.control;
  image[STATUS] = high | fpu.statusWord;
  image[TAGS] = high | fpu.tagWord;
  if (hasSelectors(cpu)) {
    image[INSTRUCTION_OFFSET] = fpu.instructionOffset;
    image[INSTRUCTION_SELECTOR] = fpu.opcode << OPCODE_SHIFT | fpu.instructionSelector;
    image[DATA_OFFSET] = fpu.dataOffset;
    image[DATA_SELECTOR] = high | fpu.dataSelector;
  } else {
    const instruction = (fpu.instructionSelector << 4) + fpu.instructionOffset;
    const data = (fpu.dataSelector << 4) + fpu.dataOffset;
    image[INSTRUCTION_OFFSET] = high | instruction & 0xffff;
    image[INSTRUCTION_SELECTOR] = instruction >>> 16 << LINEAR_HIGH_SHIFT | fpu.opcode;
    image[DATA_OFFSET] = high | data & 0xffff;
    image[DATA_SELECTOR] = data >>> 16 << LINEAR_HIGH_SHIFT;
  }
}

/** Takes over an image. A linear address becomes an offset to selector 0; a 16-bit image has no room for all of it. */
function acceptImage(cpu: Processor, fpu: Fpu, bytes: number): void {
  fpu.control = image[CONTROL];
  fpu.statusWord = image[STATUS];
  fpu.tagWord = image[TAGS];
  if (hasSelectors(cpu)) {
    fpu.instructionOffset = image[INSTRUCTION_OFFSET];
    fpu.instructionSelector = image[INSTRUCTION_SELECTOR] & 0xffff;
    fpu.opcode = bytes === 4 ? image[INSTRUCTION_SELECTOR] >>> OPCODE_SHIFT & OPCODE : 0;
    fpu.dataOffset = image[DATA_OFFSET];
    fpu.dataSelector = image[DATA_SELECTOR] & 0xffff;
  } else {
    fpu.instructionOffset = image[INSTRUCTION_OFFSET] & 0xffff |
      image[INSTRUCTION_SELECTOR] >>> LINEAR_HIGH_SHIFT << 16;
    fpu.instructionSelector = 0;
    fpu.opcode = image[INSTRUCTION_SELECTOR] & OPCODE;
    fpu.dataOffset = image[DATA_OFFSET] & 0xffff | image[DATA_SELECTOR] >>> LINEAR_HIGH_SHIFT << 16;
    fpu.dataSelector = 0;
  }
  fpu.updatePending(nativeErrors(cpu));
}

function readImage(cpu: Processor, address: number, bytes: number): void {
  for (let i = 0; i < FIELDS; i++) {
    const at = (address + i * bytes) | 0;
    image[i] = bytes === 4 ? cpu.read32(at) : cpu.read16(at);
  }
}

function writeImage(cpu: Processor, address: number, bytes: number): void {
  for (let i = 0; i < FIELDS; i++) {
    const at = (address + i * bytes) | 0;
    if (bytes === 4) cpu.write32(at, image[i]);
    else cpu.write16(at, image[i] & 0xffff);
  }
}
