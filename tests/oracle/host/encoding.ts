// Encodes the instruction of a case: prefixes, opcode, ModR/M, SIB, displacement and immediates, with a memory operand
// reached in a random one of all addressing forms (SDM 2A, tables 2-1 to 2-3).

import { EBP, EBX, EDI, ESI } from "../../../plugins/x86/instruction.ts";
import type { Form } from "./forms.ts";
import type { Numbers } from "./numbers.ts";

/** Prefix bytes. */
export const LOCK = 0xf0, REP = 0xf3, REPNE = 0xf2;
const OPERAND_SIZE = 0x66, ADDRESS_SIZE = 0x67;
/** ES, SS and DS: their base is 0 as that of the default segment. */
const OVERRIDES = [0x26, 0x36, 0x3e];

/** How an operand's address comes about in a case. */
export interface Addressing {
  readonly size: 16 | 32;
  readonly mod: number;
  readonly rm: number;
  /** With `rm` 4 in 32-bit addressing. */
  readonly sib: number;
  readonly displacementBytes: number;
  readonly displacement: number;
}

/** Base and index register of rm in 16-bit addressing; -1 where there is none. */
const BASES_16 = [EBX, EBX, EBP, EBP, ESI, EDI, EBP, EBX], INDICES_16 = [ESI, EDI, ESI, EDI, -1, -1, -1, -1];
const SIB = 4, NO_INDEX = 4, NO_BASE = 5, ABSOLUTE_16 = 6;

/**
 * Chooses how to reach `target` and gives a base register the value that it takes, or the displacement the value where the
 * base must keep its own. `kept` is a mask of registers that must.
 */
export function addressingOf(
  numbers: Numbers,
  registers: Int32Array,
  target: number,
  size: 16 | 32,
  kept: number,
): Addressing {
  const isKept = (register: number) => (kept >>> register & 1) !== 0;
  let mod = numbers.below(3);
  const rm = numbers.below(8);
  let sib = 0, base: number, index = -1, scale = 0;
  if (size === 16) {
    base = BASES_16[rm];
    index = INDICES_16[rm];
    if (mod === 0 && rm === ABSOLUTE_16) base = -1;
  } else {
    base = rm;
    if (rm === SIB) {
      sib = numbers.below(256);
      base = sib & 7;
      index = sib >> 3 & 7;
      scale = sib >> 6;
      if (index === NO_INDEX) index = -1;
    }
    if (mod === 0 && base === NO_BASE) base = -1;
  }
  // A base that must keep its value, or is the index too, leaves the displacement to be found.
  const free = base >= 0 && !isKept(base) && base !== index;
  if (!free && base >= 0) {
    mod = 2;
  }
  const displacementBytes = mod === 1 ? 1 : mod === 2 || base < 0 ? size / 8 : 0;
  const indexPart = index < 0 ? 0 : registers[index] << scale;
  if (free) {
    const displacement = mod === 0 ? 0 : mod === 1 ? numbers.next() << 24 >> 24 : numbers.next();
    const value = target - indexPart - displacement | 0;
    registers[base] = size === 16 ? registers[base] & ~0xffff | value & 0xffff : value;
    return { size, mod, rm, sib, displacementBytes, displacement };
  }
  const displacement = target - indexPart - (base < 0 ? 0 : registers[base]) | 0;
  return { size, mod, rm, sib, displacementBytes, displacement };
}

/** An encoding under construction. */
export class Encoder {
  readonly bytes = new Uint8Array(16);
  length = 0;

  put(value: number, bytes = 1): void {
    for (let i = 0; i < bytes; i++) this.bytes[this.length++] = value >>> 8 * i;
  }

  /** Prefixes in a fixed order: LOCK or repetition, segment, sizes; then the opcode with what a register adds to it. */
  begin(form: Form, options: { prefix: number; addressSize: 16 | 32; override: boolean }, numbers: Numbers): void {
    const { row } = form;
    this.length = 0;
    if (options.prefix !== 0) this.put(options.prefix);
    if (options.override) this.put(numbers.pick(OVERRIDES));
    if (options.addressSize === 16) this.put(ADDRESS_SIZE);
    if (form.operandSize === 16) this.put(OPERAND_SIZE);
    if (row.prefix !== undefined) this.put(row.prefix);
    if (row.map === "0f") this.put(0x0f);
    this.put(row.opcode);
  }

  registerOperand(reg: number, rm: number): void {
    this.put(0xc0 | reg << 3 | rm);
  }

  memoryOperand(reg: number, addressing: Addressing): void {
    const { size, mod, rm, sib, displacementBytes, displacement } = addressing;
    this.put(mod << 6 | reg << 3 | rm);
    if (size === 32 && rm === SIB) this.put(sib);
    this.put(displacement, displacementBytes);
  }
}
