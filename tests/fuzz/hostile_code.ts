// Instructions that nobody in his right mind would write: every line of the opcode table, the privileged ones too, with any
// prefixes, addresses among tables, devices and the end of memory, and now and then bytes that are no instruction.

import { type OpcodeRow, opcodeTable, type Operand } from "../../plugins/x86/mod.ts";
import { ignoresMod, OPERAND_ENCODING } from "../../plugins/x86/opcodes/builder.ts";
import type { Dice } from "./target.ts";

export interface CodeOptions {
  readonly bits: 16 | 32;
  /** Linear addresses that operands are near to. */
  readonly addresses: readonly number[];
  /** Ports that IN and OUT like. */
  readonly ports: readonly number[];
  /** Offsets of slots of code, for jumps: so many bytes from the first, which is 0 unless the segment begins elsewhere. */
  readonly codeBytes: number;
  readonly codeStart?: number;
  /** Whether slots jump, call and loop to each other, so that code gets hot; and memory is mostly what there is. */
  readonly isBusy?: boolean;
}

/** Of busy code, one in so many is a jump, and of the rest a plain access to memory. */
const JUMP_EVERY = 7, PLAIN_EVERY = 7;
/** Of addresses in 32 bits: without a register. */
const ABSOLUTE = 2;
/** Bytes from one place that is jumped to to the next. */
export const SLOT = 16;
const OPERAND_SIZE = 0x66, ADDRESS_SIZE = 0x67;
const PREFIXES = [0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0xf0, 0xf2, 0xf3];
const LOOP = 0xe2, JCC_BYTE = 0x70, TWO_BYTES = 0x0f, JCC = 0x80, CALL = 0xe8, RET = 0xc3, LONGEST_JUMP = 6;
const MOV_EAX = 0xb8, MOV_ECX = 0xb9, MOV_EDX = 0xba, NOP = 0x90;
/** What ends a program early. */
const ENDING = new Set(["hlt"]);
const MSRS = [0x10, 0x1b, 0x174, 0x175, 0x176, 0x277, 0x179, 0x2ff, 0x200, 0xc000_0080, 0x8b, 0xfe];

const rowsByHandler = [...Map.groupBy(opcodeTable, (row) => row.handler).values()];
const plainRows = [
  ...Map.groupBy(opcodeTable.filter((row) => row.class === "innocuous"), (row) => row.handler).values(),
];
const systemRows = [
  ...Map.groupBy(
    opcodeTable.filter((row) => row.class !== "innocuous" && row.class !== "control"),
    (row) => row.handler,
  )
    .values(),
];

/** Code of a whole number of slots. */
export function hostileCode(dice: Dice, slots: number, options: CodeOptions): Uint8Array {
  const code: number[] = [];
  while (code.length < slots * SLOT) {
    const end = (Math.floor(code.length / SLOT) + 1) * SLOT;
    if (options.isBusy && dice.oneIn(JUMP_EVERY)) {
      code.push(...jump(dice, code, slots));
      continue;
    }
    const bytes = options.isBusy && dice.oneIn(PLAIN_EVERY) ? plainAccess(dice, options) : instruction(dice, options);
    if (code.length + bytes.length <= end || dice.oneIn(8)) code.push(...bytes);
    else while (code.length < end) code.push(NOP);
  }
  return Uint8Array.from(code.slice(0, slots * SLOT));
}

/** Code that goes on at the beginning of another slot, mostly a near one, behind what there is; or counts ECX for a loop. */
function jump(dice: Dice, code: number[], slots: number): readonly number[] {
  const room = SLOT - code.length % SLOT;
  if (room < LONGEST_JUMP) code.push(...new Array<number>(room).fill(NOP));
  const here = code.length / SLOT | 0;
  const slotAt = (distance: number) => Math.max(0, Math.min(slots - 1, here + distance)) * SLOT;
  const near = slotAt(dice.below(7) - 4), far = dice.oneIn(2) ? near : dice.below(slots) * SLOT;
  const byte = (opcode: number) => [opcode, (near - code.length - 2) & 0xff];
  switch (dice.below(8)) {
    case 0:
    case 1:
      return [MOV_ECX, ...word(1 + dice.below(dice.oneIn(4) ? 400 : 12))];
    case 2:
    case 3:
      return byte(LOOP);
    case 4:
      return byte(JCC_BYTE + dice.below(16));
    case 5:
      return [TWO_BYTES, JCC + dice.below(16), ...word((far - code.length - 6) >>> 0)];
    case 6:
      return [CALL, ...word((far - code.length - 5) >>> 0)];
    default:
      return [RET];
  }
}

/** A load, a store, or an addition to memory, at what may be a table or a device: such accesses trap, and may be adapted. */
function plainAccess(dice: Dice, options: CodeOptions): readonly number[] {
  const modrm = 0x05 | dice.below(8) << 3;
  return [dice.pick([0x88, 0x89, 0x89, 0x89, 0x8a, 0x8b, 0x8b, 0x01]), modrm, ...word(address(dice, options))];
}

function instruction(dice: Dice, options: CodeOptions): readonly number[] {
  switch (dice.below(24)) {
    case 0:
      return [...dice.bytes(1 + dice.below(15))];
    case 1:
      return [MOV_EAX, ...immediate(dice.value(), options.bits)];
    case 2:
      return [MOV_EDX, ...immediate(dice.pick(options.ports), options.bits), dice.pick([0xec, 0xed, 0xee, 0xef])];
    case 3:
      return [dice.pick([0xe4, 0xe5, 0xe6, 0xe7]), dice.byte()];
    case 4:
      return [MOV_ECX, ...immediate(dice.pick(MSRS), options.bits), 0x0f, dice.pick([0x30, 0x32])];
    case 5: {
      const register = dice.pick([0, 1, 2, 3, 5, 6, 7]);
      return [MOV_EAX + register, ...immediate(address(dice, options), options.bits)];
    }
    case 6:
    case 7:
      return encode(dice, dice.pick(dice.pick(systemRows)), options);
    case 8:
      return encode(dice, dice.pick(dice.pick(rowsByHandler)), options);
    default:
      return encode(dice, dice.pick(dice.pick(plainRows)), options);
  }
}

function encode(dice: Dice, row: OpcodeRow, options: CodeOptions): readonly number[] {
  if (ENDING.has(row.handler) && !dice.oneIn(20)) return [NOP];
  const prefixes: number[] = [];
  if (dice.oneIn(6)) prefixes.push(OPERAND_SIZE);
  if (dice.oneIn(12)) prefixes.push(ADDRESS_SIZE);
  while (dice.oneIn(6)) prefixes.push(dice.pick(PREFIXES));
  if (row.prefix !== undefined) prefixes.push(row.prefix);
  const isWide = (prefix: number) => (options.bits === 32) !== prefixes.includes(prefix);
  const bytes = [...prefixes, ...(row.map === "0f" ? [0x0f] : []), row.opcode];
  if (row.modrm) bytes.push(...modrm(dice, row, isWide(ADDRESS_SIZE), options));
  for (const operand of row.operands) bytes.push(...constant(dice, operand, isWide, options));
  return bytes;
}

function modrm(dice: Dice, row: OpcodeRow, isWide: boolean, options: CodeOptions): number[] {
  const reg = row.extension ?? dice.below(8);
  if (row.rm !== undefined) return [0xc0 | (reg << 3) | row.rm];
  const isMemory = row.form === "memory" || (row.form === undefined && !ignoresMod(row.operands) && !dice.oneIn(3));
  const field = reg << 3;
  if (!isMemory) return [0xc0 | field | dice.below(8)];
  if (!isWide) {
    const mod = dice.below(3), rm = dice.below(8), size = mod === 0 ? (rm === 6 ? 2 : 0) : mod;
    return [(mod << 6) | field | rm, ...word(address(dice, options)).slice(0, size)];
  }
  switch (options.isBusy && !dice.oneIn(4) ? ABSOLUTE : dice.below(3)) {
    case 0: {
      const base = dice.below(8);
      return [0x40 | field | base, ...(base === 4 ? [dice.byte()] : []), dice.byte()];
    }
    case 1: {
      const base = dice.below(8);
      return [0x80 | field | base, ...(base === 4 ? [dice.byte()] : []), ...word(address(dice, options))];
    }
    default:
      return [0x05 | field, ...word(address(dice, options))];
  }
}

function constant(
  dice: Dice,
  operand: Operand,
  isWide: (prefix: number) => boolean,
  options: CodeOptions,
): readonly number[] {
  const slot = () => (options.codeStart ?? 0) + dice.below(options.codeBytes / SLOT) * SLOT;
  switch (OPERAND_ENCODING[operand]) {
    case "imm8":
    case "imm8s":
      return [dice.value() & 0xff];
    case "rel8":
      return [dice.below(0x40) & ~0xf];
    case "imm16":
      return word(dice.value()).slice(0, 2);
    case "immZ":
      return immediate(dice.oneIn(2) ? dice.value() : address(dice, options), isWide(OPERAND_SIZE) ? 32 : 16);
    case "relZ":
      return immediate(dice.below(0x400) & ~0xf, isWide(OPERAND_SIZE) ? 32 : 16);
    case "moffs":
      return immediate(address(dice, options), isWide(ADDRESS_SIZE) ? 32 : 16);
    case "far":
      return [...immediate(slot(), isWide(OPERAND_SIZE) ? 32 : 16), dice.below(32) << 3 | dice.below(4), 0];
    default:
      return [];
  }
}

function address(dice: Dice, { addresses }: CodeOptions): number {
  return dice.oneIn(30) ? dice.word() : (dice.pick(addresses) + dice.below(0x110) - 8) >>> 0;
}

function immediate(value: number, bits: 16 | 32): number[] {
  return word(value).slice(0, bits / 8);
}

/** A word's bytes. */
export function word(value: number): number[] {
  return [value & 0xff, (value >>> 8) & 0xff, (value >>> 16) & 0xff, value >>> 24];
}
