// The instruction decoder: from bytes in a window to a decoded Instruction, by table look-up (Intel SDM 2A, chapter 2).
// It reads no guest memory and knows no mode but the code size, so interpreter, translators and tools share it.

import {
  CS,
  type DecodeFailure,
  DS,
  EBP,
  EBX,
  EDI,
  ES,
  ESI,
  ESP,
  FS,
  GS,
  type Instruction,
  NO_REGISTER,
  type OpcodeRow,
  SS,
} from "./instruction.ts";
import { type Encoding, ignoresMod, OPERAND_ENCODING } from "./opcodes/builder.ts";
import { opcodeTable } from "./opcodes/table.ts";

/** Longest instruction in bytes; a longer one raises #GP(0) (SDM 2A, 2.3.11). */
export const MAX_INSTRUCTION_LENGTH = 15;

/**
 * Decodes the instruction that begins at `bytes[start]`.
 *
 * @param bytes window that holds it; only indices below `end` are read.
 * @param end where the window ends, for instance with the page; more than 15 bytes beyond `start` are never needed.
 * @param codeSize default operand and address size in bits: the D bit of CS.
 * @returns the instruction; `"invalid"` where the CPU raises #UD; `"too-long"` where it raises #GP(0);
 *   `"truncated"` where the bytes up to `end` do not decide it.
 */
export function decode(
  bytes: Uint8Array,
  start: number,
  end: number,
  codeSize: 16 | 32,
): Instruction | DecodeFailure | "truncated" {
  const limit = Math.min(end, start + MAX_INSTRUCTION_LENGTH);
  let at = start;
  let toggles = 0;
  let override = -1;
  let repeat: 0 | 0xf2 | 0xf3 = 0;
  let lock = false;
  let map = 0;
  let opcode: number;
  for (;;) {
    if (at >= limit) return shortage(start, end);
    opcode = bytes[at++];
    const kind = PREFIX_KIND[opcode];
    if (kind === NOT_A_PREFIX) break;
    if (kind < SEGMENT_OVERRIDES) override = kind;
    else if (kind === REPEAT) repeat = opcode === REPNE ? REPNE : REP;
    else if (kind === LOCK) lock = true;
    else toggles |= kind;
  }
  if (opcode === TWO_BYTE_ESCAPE) {
    if (at >= limit) return shortage(start, end);
    map = TWO_BYTE_MAP;
    opcode = bytes[at++];
  }
  const operandSize = (toggles & OPERAND_SIZE) === 0 === (codeSize === 32) ? 32 : 16;
  const addressSize = (toggles & ADDRESS_SIZE) === 0 === (codeSize === 32) ? 32 : 16;

  const slot = SLOTS[map | opcode];
  let entry = slot.entry;
  let mod = -1, reg = -1, rm = -1;
  let isMemory = false;
  let base = NO_REGISTER, index = NO_REGISTER, scale = 0, displacement = 0;
  let segment = override < 0 ? DS : override;
  if (slot.modrm) {
    if (at >= limit) return shortage(start, end);
    const modrm = bytes[at++];
    if (slot.entries !== null) {
      const prefix = slot.prefixed ? mandatoryPrefix(repeat, toggles) : 0;
      entry = slot.entries[prefix | modrm];
    }
    if (entry === null) return "invalid";
    mod = entry.ignoresMod ? MOD_REGISTER : modrm >> 6;
    reg = modrm >> 3 & 7;
    rm = modrm & 7;
    if (mod !== MOD_REGISTER) {
      isMemory = true;
      let displacementSize: number;
      if (addressSize === 32) {
        base = rm;
        if (rm === RM_SIB) {
          if (at >= limit) return shortage(start, end);
          const sib = bytes[at++];
          base = sib & 7;
          index = sib >> 3 & 7;
          if (index === SIB_NO_INDEX) index = NO_REGISTER;
          else scale = sib >> 6;
        }
        displacementSize = mod === 1 ? 1 : mod === 2 ? 4 : 0;
        if (mod === 0 && base === RM_DISPLACEMENT_32) {
          base = NO_REGISTER;
          displacementSize = 4;
        }
      } else {
        base = BASES_16[rm];
        index = INDICES_16[rm];
        displacementSize = mod;
        if (mod === 0 && rm === RM_DISPLACEMENT_16) {
          base = NO_REGISTER;
          displacementSize = 2;
        }
      }
      if (override < 0 && (base === EBP || base === ESP)) segment = SS;
      if (at + displacementSize > limit) return shortage(start, end);
      if (displacementSize === 1) displacement = bytes[at] << 24 >> 24;
      else if (displacementSize === 2) displacement = read16(bytes, at);
      else if (displacementSize === 4) displacement = read32(bytes, at);
      at += displacementSize;
    }
  } else {
    if (slot.entries !== null) entry = slot.entries[mandatoryPrefix(repeat, toggles)];
    if (entry === null) return "invalid";
  }

  let immediate = 0, immediate2 = 0;
  switch (entry.immediate) {
    case IMMEDIATE_NONE:
      break;
    case IMMEDIATE_8:
      if (at >= limit) return shortage(start, end);
      immediate = bytes[at++];
      break;
    case IMMEDIATE_8_SIGNED:
      if (at >= limit) return shortage(start, end);
      immediate = bytes[at++] << 24 >> 24;
      break;
    case IMMEDIATE_16:
      if (at + 2 > limit) return shortage(start, end);
      immediate = read16(bytes, at);
      at += 2;
      break;
    case IMMEDIATE_Z:
    case RELATIVE_Z:
      if (operandSize === 32) {
        if (at + 4 > limit) return shortage(start, end);
        immediate = read32(bytes, at);
        at += 4;
      } else {
        if (at + 2 > limit) return shortage(start, end);
        immediate = entry.immediate === RELATIVE_Z ? read16(bytes, at) << 16 >> 16 : read16(bytes, at);
        at += 2;
      }
      break;
    case MEMORY_OFFSET:
      isMemory = true;
      if (addressSize === 32) {
        if (at + 4 > limit) return shortage(start, end);
        displacement = read32(bytes, at);
        at += 4;
      } else {
        if (at + 2 > limit) return shortage(start, end);
        displacement = read16(bytes, at);
        at += 2;
      }
      break;
    case FAR_POINTER:
      if (operandSize === 32) {
        if (at + 6 > limit) return shortage(start, end);
        immediate = read32(bytes, at);
        at += 4;
      } else {
        if (at + 4 > limit) return shortage(start, end);
        immediate = read16(bytes, at);
        at += 2;
      }
      immediate2 = read16(bytes, at);
      at += 2;
      break;
    case IMMEDIATE_16_8:
      if (at + 3 > limit) return shortage(start, end);
      immediate = read16(bytes, at);
      immediate2 = bytes[at + 2];
      at += 3;
      break;
  }
  if (lock && !(entry.row.lockable && isMemory)) return "invalid";
  if (entry.usesEs) {
    segment = ES;
    override = -1;
  }
  return new DecodedInstruction(
    entry.row,
    at - start,
    operandSize,
    addressSize,
    segment,
    override >= 0,
    repeat,
    lock,
    mod,
    reg,
    rm,
    isMemory,
    base,
    index,
    scale,
    displacement,
    immediate,
    immediate2,
  );
}

/** An Instruction with one hidden class: readers' property accesses stay monomorphic. */
class DecodedInstruction implements Instruction {
  constructor(
    readonly row: OpcodeRow,
    readonly length: number,
    readonly operandSize: 16 | 32,
    readonly addressSize: 16 | 32,
    readonly segment: number,
    readonly segmentOverride: boolean,
    readonly repeat: 0 | 0xf2 | 0xf3,
    readonly lock: boolean,
    readonly mod: number,
    readonly reg: number,
    readonly rm: number,
    readonly isMemory: boolean,
    readonly base: number,
    readonly index: number,
    readonly scale: number,
    readonly displacement: number,
    readonly immediate: number,
    readonly immediate2: number,
  ) {}
}

/** Why bytes ran out: the window was short, or the instruction is longer than any may be. */
function shortage(start: number, end: number): "truncated" | "too-long" {
  return end - start < MAX_INSTRUCTION_LENGTH ? "truncated" : "too-long";
}

function read16(bytes: Uint8Array, at: number): number {
  return bytes[at] | bytes[at + 1] << 8;
}

function read32(bytes: Uint8Array, at: number): number {
  return bytes[at] | bytes[at + 1] << 8 | bytes[at + 2] << 16 | bytes[at + 3] << 24;
}

const TWO_BYTE_ESCAPE = 0x0f;
/** Index of the two-byte map in SLOTS. */
const TWO_BYTE_MAP = 0x100;

/** ModR/M and SIB special values (SDM 2A, tables 2-1 to 2-3). */
const MOD_REGISTER = 3, RM_SIB = 4, RM_DISPLACEMENT_32 = 5, RM_DISPLACEMENT_16 = 6, SIB_NO_INDEX = 4;

/** Base and index registers of 16-bit addresses by rm (SDM 2A, table 2-1). */
const BASES_16 = [EBX, EBX, EBP, EBP, ESI, EDI, EBP, EBX];
const INDICES_16 = [ESI, EDI, ESI, EDI, NO_REGISTER, NO_REGISTER, NO_REGISTER, NO_REGISTER];

/** Prefix bytes (SDM 2A, 2.1.1) and their kinds: below SEGMENT_OVERRIDES the segment register itself. */
const REPNE = 0xf2, REP = 0xf3;
const SEGMENT_OVERRIDES = 6, REPEAT = 6, LOCK = 7, OPERAND_SIZE = 8, ADDRESS_SIZE = 16, NOT_A_PREFIX = 255;
const PREFIX_KIND = prefixKinds();

function prefixKinds(): Uint8Array {
  const kinds = new Uint8Array(256).fill(NOT_A_PREFIX);
  kinds[0x26] = ES;
  kinds[0x2e] = CS;
  kinds[0x36] = SS;
  kinds[0x3e] = DS;
  kinds[0x64] = FS;
  kinds[0x65] = GS;
  kinds[0x66] = OPERAND_SIZE;
  kinds[0x67] = ADDRESS_SIZE;
  kinds[0xf0] = LOCK;
  kinds[REPNE] = REPEAT;
  kinds[REP] = REPEAT;
  return kinds;
}

/** What follows the addressing bytes. */
const IMMEDIATE_NONE = 0, IMMEDIATE_8 = 1, IMMEDIATE_8_SIGNED = 2, IMMEDIATE_16 = 3, IMMEDIATE_Z = 4, RELATIVE_Z = 5;
const MEMORY_OFFSET = 6, FAR_POINTER = 7, IMMEDIATE_16_8 = 8;
const IMMEDIATE_KIND: Readonly<Record<Encoding, number>> = {
  none: IMMEDIATE_NONE,
  modrm: IMMEDIATE_NONE,
  imm8: IMMEDIATE_8,
  imm8s: IMMEDIATE_8_SIGNED,
  rel8: IMMEDIATE_8_SIGNED,
  imm16: IMMEDIATE_16,
  immZ: IMMEDIATE_Z,
  relZ: RELATIVE_Z,
  moffs: MEMORY_OFFSET,
  far: FAR_POINTER,
};

/** What the decoder wants to know of a row. */
class Entry {
  readonly immediate: number;
  readonly ignoresMod: boolean;
  /** The only memory operand is ES:DI, which no prefix overrides. */
  readonly usesEs: boolean;

  constructor(readonly row: OpcodeRow) {
    this.immediate = immediateKind(row);
    this.ignoresMod = ignoresMod(row.operands);
    const has = (method: string) => row.operands.some((operand) => operand.startsWith(method));
    this.usesEs = has("Y") && !has("X");
  }
}

function immediateKind(row: OpcodeRow): number {
  const kinds = row.operands.map((operand) => IMMEDIATE_KIND[OPERAND_ENCODING[operand]])
    .filter((kind) => kind !== IMMEDIATE_NONE);
  if (kinds.length === 2 && kinds[0] === IMMEDIATE_16 && kinds[1] === IMMEDIATE_8) return IMMEDIATE_16_8;
  if (kinds.length > 1) throw new Error(`${describe(row)}: immediates ${row.operands.join()} have no decoder`);
  return kinds.length === 0 ? IMMEDIATE_NONE : kinds[0];
}

/** One opcode of either map: a row outright, or rows told apart by a mandatory prefix, the ModR/M byte or both. */
class Slot {
  entry: Entry | null = null;
  /** Indexed by mandatory prefix (NO_PREFIX to PREFIX_F3) and ModR/M byte, zero where there is none. */
  entries: (Entry | null)[] | null = null;
  modrm = false;
  prefixed = false;
}

/** Mandatory prefixes as indices; F2 and F3 outrank 66, the last of them counts. */
const NO_PREFIX = 0, PREFIX_66 = 0x100, PREFIX_F2 = 0x200, PREFIX_F3 = 0x300;

function mandatoryPrefix(repeat: 0 | 0xf2 | 0xf3, toggles: number): number {
  if (repeat === REPNE) return PREFIX_F2;
  if (repeat === REP) return PREFIX_F3;
  return (toggles & OPERAND_SIZE) !== 0 ? PREFIX_66 : NO_PREFIX;
}

const SLOTS = buildSlots(opcodeTable);

function buildSlots(table: readonly OpcodeRow[]): readonly Slot[] {
  const rowsOfSlot: OpcodeRow[][] = Array.from({ length: 2 * 256 }, () => []);
  for (const row of table) rowsOfSlot[(row.map === "0f" ? TWO_BYTE_MAP : 0) | row.opcode].push(row);
  return rowsOfSlot.map(buildSlot);
}

function buildSlot(rows: readonly OpcodeRow[]): Slot {
  const slot = new Slot();
  if (rows.length === 0) return slot;
  slot.modrm = rows[0].modrm;
  slot.prefixed = rows.some((row) => row.prefix !== undefined || row.noPrefix);
  if (rows.some((row) => row.modrm !== slot.modrm)) throw new Error(`${describe(rows[0])}: a ModR/M byte is in doubt`);
  const [first] = rows;
  if (rows.length === 1 && first.extension === undefined && first.form === undefined && !slot.prefixed) {
    slot.entry = new Entry(first);
    return slot;
  }
  if (!slot.modrm && !slot.prefixed) {
    throw new Error(`${describe(first)}: several rows, and no ModR/M byte to tell them apart`);
  }
  const entries: (Entry | null)[] = Array(slot.prefixed ? 4 * 256 : 256).fill(null);
  for (const row of rows) {
    const entry = new Entry(row);
    for (let modrm = 0; modrm < 256; modrm++) {
      if (!matches(row, modrm)) continue;
      const at = prefixIndex(row) | modrm;
      const other = entries[at];
      if (other !== null) throw new Error(`${describe(row)} and ${describe(other.row)} claim the same encoding`);
      entries[at] = entry;
    }
  }
  // Prefixes are mandatory in the two-byte map alone: NOP stays one under those that do not make it PAUSE.
  if (slot.prefixed && first.map === "1") {
    for (let at = PREFIX_66; at < entries.length; at++) entries[at] ??= entries[at & 0xff];
  }
  slot.entries = entries;
  return slot;
}

function matches(row: OpcodeRow, modrm: number): boolean {
  const form = modrm >> 6 === MOD_REGISTER ? "register" : "memory";
  return (row.extension === undefined || row.extension === (modrm >> 3 & 7)) &&
    (row.rm === undefined || row.rm === (modrm & 7)) &&
    (row.form === undefined || row.form === form);
}

function prefixIndex(row: OpcodeRow): number {
  return row.prefix === undefined
    ? NO_PREFIX
    : row.prefix === REPNE
    ? PREFIX_F2
    : row.prefix === REP
    ? PREFIX_F3
    : PREFIX_66;
}

function describe(row: OpcodeRow): string {
  return `${row.name} (${row.map === "0f" ? "0f " : ""}${row.opcode.toString(16).padStart(2, "0")})`;
}
