// Random code for comparing engines: sequences over the whole opcode table with prefixes, operands that meet every kind of
// page of the arena, jumps among the code's own slots, and stores into it. One seed gives one code, another the state in
// which it begins.

import { Random } from "../../../core/mod.ts";
import { emitterOf } from "../../../plugins/bt/emit/instructions.ts";
import { decode, type OpcodeRow, opcodeTable, type Operand } from "../../../plugins/x86/mod.ts";
import { simdRows } from "../../../plugins/x86/opcodes/simd.ts";
import { type Encoding, ignoresMod, OPERAND_ENCODING } from "../../../plugins/x86/opcodes/builder.ts";
import type { Start } from "./arena.ts";
import { INTERESTING, L, word } from "./arena_layout.ts";

/** A case: where it starts, and after how many steps the engines are compared. */
export interface RandomCase {
  readonly seed: string;
  readonly start: Start;
  /** Ascending step counts; a negative one asks for an NMI there as well. */
  readonly stops: readonly number[];
  /** Instructions as [offset, length] in the code: what a shrinker may take out. */
  readonly parts: readonly (readonly [offset: number, length: number])[];
}

/** The case of the code of one seed, which begins in the state of another. */
export function randomCase(codeSeed: string, startSeed: string): RandomCase {
  return new CaseMaker(codeSeed, startSeed).make();
}

const MOST_SLOTS = 24, MOST_STEPS = 400, MOST_STOPS = 6;
/** One-byte instructions that fill a slot up. */
const FILLERS = [0x40, 0x41, 0x42, 0x43, 0x45, 0x48, 0x49, 0x4a, 0x4b, 0x4d, 0xf5, 0xf8, 0xf9, 0x98, 0x99, 0x9f, 0x90];
const OPERAND_SIZE = 0x66, ADDRESS_SIZE = 0x67, LOCK = 0xf0, REPNE = 0xf2, REP = 0xf3;
const SEGMENT_PREFIXES = [0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65];
const STRINGS = ["movs", "stos", "cmps", "scas", "lods", "ins", "outs"];
/** What would end a case at once, or make its rest dull. */
const RARE = ["hlt", "movToCr", "lgdt", "lidt", "lmsw", "wrmsr", "sysenter", "sysexit", "ltr", "lldt", "movToDr"];

/** Rows by handler, so that a handler with many rows is no more frequent than one with few. */
function rowsByHandler(include: (row: OpcodeRow) => boolean): readonly (readonly OpcodeRow[])[] {
  return [...Map.groupBy(opcodeTable.filter(include), (row) => row.handler).values()];
}

const everyRow = rowsByHandler((row) => !RARE.includes(row.handler));
const rareRows = rowsByHandler((row) => RARE.includes(row.handler));
/** Whether the translator has an emitter for some form of a row. */
function isTranslated(row: OpcodeRow): boolean {
  const { map, opcode, extension, prefix, rm } = row;
  const forms = [0xc0, 0x00].map((mod) => mod | (extension ?? 0) << 3 | (rm ?? 3));
  return forms.some((modrm) => {
    const bytes = [...(prefix === undefined ? [] : [prefix]), ...(map === "0f" ? [0x0f] : []), opcode, modrm];
    const instruction = decode(Uint8Array.from([...bytes, ...word(1), ...word(1)]), 0, bytes.length + 8, 32);
    return typeof instruction !== "string" && instruction.row === row && emitterOf(instruction) !== undefined;
  });
}

const simd: ReadonlySet<OpcodeRow> = new Set(simdRows);
const translatedRows = rowsByHandler((row) => !simd.has(row) && isTranslated(row));
const translatedSimdRows = rowsByHandler((row) => simd.has(row) && isTranslated(row));
const userRows = rowsByHandler((row) => row.class === "innocuous");
const jumpRows = rowsByHandler((row) => /^(jcc|jmp|call|ret|loop|jcxz)$/.test(row.handler));

const calmPages = [
  ...[L.DATA, L.DATA + L.PAGE, L.DATA + 2 * L.PAGE, L.DATA + 3 * L.PAGE, L.DATA_ALIAS],
  ...[L.DATA + L.INSTRUCTION_CONFLICT, L.DATA + L.DATA_CONFLICT],
];
const wildPages = [
  ...[L.DATA, L.DATA + L.PAGE, L.DATA + 2 * L.PAGE, L.DATA + 3 * L.PAGE, L.DATA_ALIAS, L.DATA + L.DATA_CONFLICT],
  ...[L.READ_ONLY, L.ABSENT, L.SUPERVISOR, L.STACK, L.CODE, L.CODE + L.PAGE, L.CODE_ALIAS],
  ...[L.CODE + L.INSTRUCTION_CONFLICT, L.PAGE_TABLE],
];

class CaseMaker {
  random: Random;
  readonly bits: 16 | 32;
  readonly code: number[] = [];
  readonly parts: [number, number][] = [];
  readonly entry: number;
  readonly slots: number;
  /** Keeps to what does not fault, most of the time, so that loops run long. */
  readonly isCalm: boolean;
  /** Mostly SIMD instructions, under some MXCSR. */
  readonly isSimd: boolean;

  constructor(readonly codeSeed: string, readonly startSeed: string) {
    this.random = new Random(codeSeed);
    this.bits = this.oneIn(25) ? 16 : 32;
    this.isCalm = !this.oneIn(3);
    this.isSimd = this.oneIn(3);
    this.slots = 2 + this.random.below(MOST_SLOTS);
    const page = this.random.below(3) * L.PAGE;
    // Often across the end of a page, and never over the first slot.
    this.entry = Math.max(
      L.SLOT,
      this.oneIn(3)
        ? page + L.PAGE - this.random.below(this.slots) * L.SLOT
        : page + this.random.below(L.PAGE / L.SLOT) * L.SLOT,
    );
  }

  make(): RandomCase {
    const { bits } = this;
    if (this.isSimd && bits === 32) this.#setMxcsr();
    while (this.code.length < this.slots * L.SLOT) this.#slot();
    this.#put(this.#jump(0xe9, this.oneIn(4) ? this.#target() : L.CODE + this.entry));
    const random = this.random = new Random(`${this.startSeed} start`);
    const registers = Array.from({ length: 8 }, () => this.#value());
    if (!this.oneIn(20)) registers[4] = L.STACK + 64 + random.below(L.STACK_BYTES - 128) & (this.oneIn(8) ? -1 : ~3);
    const stops: number[] = [];
    let at = 0;
    for (let count = random.below(MOST_STOPS); count >= 0; count--) {
      at += 1 + random.below(count === 0 ? MOST_STEPS : 40);
      stops.push(this.oneIn(20) ? -at : at);
    }
    const start: Start = {
      cpl: this.oneIn(3) ? 0 : 3,
      bits,
      registers,
      eflags: 2 | random.next() & 0x8d5 | (this.oneIn(10) ? 0x400 : 0) | (this.oneIn(40) ? 0x100 : 0) |
        (this.oneIn(20) ? 0x3000 : 0) | (this.oneIn(30) ? 0x40000 : 0),
      fs: this.#pick([0, L.BASED, L.LIMITED, L.READ_ONLY_SEGMENT, L.DATA_USER, L.BASED]),
      gs: this.#pick([0, L.BASED, L.LIMITED, L.DATA_USER]),
      entry: this.entry,
      code: Uint8Array.from(this.code),
    };
    return { seed: `${this.codeSeed} from ${this.startSeed}`, start, stops, parts: this.parts };
  }

  oneIn(count: number): boolean {
    return this.random.below(count) === 0;
  }

  #pick<T>(values: readonly T[]): T {
    return values[this.random.below(values.length)];
  }

  #put(bytes: readonly number[]): void {
    this.parts.push([this.code.length, bytes.length]);
    this.code.push(...bytes);
  }

  /** Instructions to the end of a slot; sometimes the last goes on into the next one. */
  #slot(): void {
    const end = (Math.floor(this.code.length / L.SLOT) + 1) * L.SLOT;
    while (this.code.length < end) {
      const bytes = this.#instruction();
      if (this.code.length + bytes.length <= end || this.oneIn(20)) this.#put(bytes);
      else while (this.code.length < end) this.#put([this.#pick(FILLERS)]);
    }
  }

  #instruction(): readonly number[] {
    const kind = this.random.below(this.isCalm ? 88 : 100);
    if (kind < 64) {
      const isVector = this.isSimd ? !this.oneIn(4) : this.oneIn(16);
      return this.#encode(this.#pick(this.#pick(isVector ? translatedSimdRows : translatedRows)));
    }
    if (kind < 76) return this.#encode(this.#pick(this.#pick(jumpRows)));
    if (kind < 81) return [0xb8 + this.#pick([0, 1, 2, 3, 5, 6, 7]), ...word(this.#value())];
    if (kind < 83) return this.#indirectJump();
    if (kind < 85) return [0xbc, ...word(L.STACK + 64 + this.random.below(L.STACK_BYTES - 128) & ~3)];
    if (kind < 87) return this.#encode(this.#pick(this.#pick(userRows)));
    if (kind < 89) {
      // A store into the code: a byte of what runs, or of the immediates and opcodes in it.
      const at = L.CODE + this.entry + this.random.below(this.slots * L.SLOT);
      return [0xc6, 0x05, ...word(this.oneIn(4) ? L.CODE_ALIAS + (at & 0xfff) : at), this.#pick(FILLERS)];
    }
    if (kind < 90) return this.#encode(this.#pick(this.#pick(rareRows)));
    return this.#encode(this.#pick(this.#pick(everyRow)));
  }

  /** Writes MXCSR to memory and loads it: mostly as a program finds it after its first inexact result. */
  #setMxcsr(): void {
    const value = this.oneIn(4) ? this.random.next() & 0xffff : this.oneIn(4) ? 0x1f80 : 0x1fa0;
    this.#put([0xc7, 0x05, ...word(L.DATA), ...word(value)]);
    this.#put([0x0f, 0xae, 0x15, ...word(L.DATA)]);
  }

  /** JMP or CALL through a register that has been loaded with a target. */
  #indirectJump(): readonly number[] {
    const register = this.#pick([0, 1, 2, 3, 5, 6, 7]);
    const extension = this.#pick([2, 4]);
    return [0xb8 + register, ...word(this.#target()), 0xff, 0xc0 | extension << 3 | register];
  }

  /** A register's or a word's value: often an address. */
  #value(): number {
    switch (this.random.below(this.isCalm ? 16 : 8)) {
      case 0:
      case 1:
        return this.#pick(INTERESTING) | 0;
      case 2:
        return this.random.next() | 0;
      case 3:
        return this.#target();
      default:
        return this.#address();
    }
  }

  /** A linear address: mostly of the data pages, often near a page's end. */
  #address(): number {
    const { random } = this;
    const page = this.#pick(this.isCalm && !this.oneIn(20) ? calmPages : wildPages);
    if (this.oneIn(this.isCalm ? 40 : 6)) return page + L.PAGE - random.below(this.isSimd ? 18 : 9);
    if (this.isSimd && !this.oneIn(4)) return page + random.below(L.PAGE / 16) * 16;
    return page + (this.oneIn(3) ? random.below(L.PAGE - 8) : random.below(L.PAGE / 4) * 4);
  }

  /** A linear address of code: a slot of this case, rarely some byte of it, rarely another page for it. */
  #target(): number {
    const offset = this.entry + this.random.below(this.slots) * L.SLOT + (this.oneIn(12) ? this.random.below(16) : 0);
    return L.CODE + offset + (this.oneIn(16) ? L.INSTRUCTION_CONFLICT : 0);
  }

  /** A jump or call at the present end of the code with a 32-bit relative offset. */
  #jump(opcode: number, target: number): number[] {
    const end = L.CODE + this.entry + this.code.length + (this.bits === 32 ? 5 : 3);
    return this.bits === 32 ? [opcode, ...word(target - end)] : [opcode, ...word(target - end).slice(0, 2)];
  }

  // Encoding.

  #encode(row: OpcodeRow): readonly number[] {
    const prefixes = this.#prefixes(row);
    const has = (prefix: number) => prefixes.includes(prefix);
    const is32 = (prefix: number) => (this.bits === 32) !== has(prefix);
    const bytes = [...prefixes, ...(row.map === "0f" ? [0x0f] : []), row.opcode];
    if (row.modrm) bytes.push(...this.#modrm(row, is32(ADDRESS_SIZE)));
    for (const operand of row.operands) bytes.push(...this.#immediate(operand, is32(OPERAND_SIZE), is32(ADDRESS_SIZE)));
    return this.#aim(row, bytes, is32(OPERAND_SIZE));
  }

  #prefixes(row: OpcodeRow): number[] {
    const prefixes: number[] = [];
    if (this.oneIn(6)) prefixes.push(OPERAND_SIZE);
    if (this.oneIn(25)) prefixes.push(ADDRESS_SIZE);
    if (this.oneIn(12)) prefixes.push(this.#pick(SEGMENT_PREFIXES));
    if (this.oneIn(row.lockable ? 6 : 80)) prefixes.push(LOCK);
    if (row.prefix !== undefined) prefixes.push(row.prefix);
    else if (this.oneIn(STRINGS.includes(row.handler) ? 2 : 60)) prefixes.push(this.#pick([REP, REPNE]));
    return prefixes;
  }

  #modrm(row: OpcodeRow, is32: boolean): number[] {
    const reg = row.extension ?? this.random.below(8);
    if (row.rm !== undefined) return [0xc0 | reg << 3 | row.rm];
    const isMemory = row.form === "memory" || (row.form === undefined && !ignoresMod(row.operands) && this.oneIn(2));
    const field = reg << 3;
    if (!isMemory) return [0xc0 | field | this.random.below(8)];
    if (!is32) return this.#memory16(field);
    switch (this.random.below(6)) {
      case 0:
      case 1:
      case 2:
        return [0x05 | field, ...word(this.#address())];
      case 3: {
        const base = this.random.below(8);
        return [0x40 | field | base, ...(base === 4 ? [0x24] : []), this.random.next() & 0xff];
      }
      case 4: {
        // No base, an index that is scaled, and a displacement that is an address.
        const index = this.#pick([0, 1, 2, 3, 5, 6, 7]);
        return [0x04 | field, this.random.below(4) << 6 | index << 3 | 5, ...word(this.#address())];
      }
      default: {
        const base = this.random.below(8);
        const sib = base === 4 ? [this.random.next() & 0xff] : [];
        return [0x80 | field | base, ...sib, ...word(this.oneIn(2) ? this.random.below(16) - 8 : this.#address())];
      }
    }
  }

  #memory16(field: number): number[] {
    const mod = this.random.below(3), rm = this.random.below(8);
    const size = mod === 0 ? (rm === 6 ? 2 : 0) : mod;
    return [mod << 6 | field | rm, ...word(this.random.next()).slice(0, size)];
  }

  #immediate(operand: Operand, is32: boolean, isAddress32: boolean): number[] {
    const encoding: Encoding = OPERAND_ENCODING[operand];
    switch (encoding) {
      case "imm8":
      case "imm8s":
      case "rel8":
        return [(this.oneIn(2) ? this.#pick(INTERESTING) : this.random.next()) & 0xff];
      case "imm16":
        return [this.oneIn(2) ? 4 * this.random.below(4) : this.random.next() & 0xff, 0];
      case "immZ":
      case "relZ":
        return word(this.#value()).slice(0, is32 ? 4 : 2);
      case "moffs":
        return word(this.#address()).slice(0, isAddress32 ? 4 : 2);
      case "far":
        return [...word(this.#target()).slice(0, is32 ? 4 : 2), this.random.below(12) << 3 | this.#pick([0, 3]), 0];
      default:
        return [];
    }
  }

  /** Gives a relative jump a target among the slots. */
  #aim(row: OpcodeRow, bytes: readonly number[], is32: boolean): readonly number[] {
    const [operand] = row.operands;
    const size = operand === "Jb" ? 1 : operand === "Jz" ? (is32 ? 4 : 2) : 0;
    if (size === 0 || this.oneIn(30)) return bytes;
    const end = L.CODE + this.entry + this.code.length + bytes.length;
    for (let tries = 0; tries < 4; tries++) {
      const distance = this.#target() - end;
      if (size > 1 || (distance >= -128 && distance < 128)) {
        return [...bytes.slice(0, -size), ...word(distance).slice(0, size)];
      }
    }
    return bytes;
  }
}
