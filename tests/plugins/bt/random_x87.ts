// Random operands of x87 instructions and random x87 code. Special operands are frequent: every class of value, exponents close
// together or far apart, significands that round, cancel or carry. One random source gives one sequence.

import type { Random } from "../../../core/mod.ts";
import { x87Choosers } from "../../../plugins/bt/emit/x87.ts";
import type { OpcodeRow, Operand } from "../../../plugins/x86/mod.ts";
import { x87Rows } from "../../../plugins/x86/opcodes/x87.ts";
import { Float80 } from "../../../plugins/x86/x87/float80.ts";
import type { Start } from "./arena.ts";
import { jump, L, word } from "./arena_layout.ts";

const LIMBS = [0, 1, 2, 0x400, 0x7ff, 0x800, 0xff, 0x100, 0x7fffffff, 0x80000000, 0x80000001, 0xffffffff, 0xfffff800];
/** Exponents of note: of zero, denormals, the least and largest of binary32 and binary64, one, integers, the largest, infinity. */
const EXPONENTS = [0, 1, 2, 0x3bcd, 0x3c00, 0x3c01, 0x3f81, 0x3fff, 0x4000, 0x400d, 0x401d, 0x403d, 0x403e, 0x403f];
const LARGE_EXPONENTS = [0x407e, 0x407f, 0x43fe, 0x43ff, 0x4400, 0x7ffe, 0x7fff];
const INTEGER_BIT = 0x80000000, PE = 0x20;

/** Control words that matter: each rounding and precision control, all masked; then PE, UE and IE unmasked, one and all. */
export const CONTROL_WORDS: readonly number[] = [
  ...[0, 2, 3].flatMap((precision) => [0, 1, 2, 3].map((rounding) => 0x7f | precision << 8 | rounding << 10)),
  ...[0x17f, 0x35f, 0x36f, 0x37e, 0x340, 0x25f],
];

/** A value: mostly a normal number of moderate size, such as programs have. */
export function randomFloat80(random: Random): Float80 {
  const pick = (values: readonly number[]) => values[random.below(values.length)];
  const sign = random.below(2) * 0x8000;
  const limb = () => random.below(3) === 0 ? pick(LIMBS) : random.next() >>> 0;
  const kind = random.below(16);
  const value = new Float80();
  if (kind === 0) return value.set(sign, 0, 0);
  if (kind === 1) return value.set(sign | pick(LARGE_EXPONENTS), (limb() | INTEGER_BIT) >>> 0, limb());
  if (kind === 2) return value.set(sign | pick(EXPONENTS), (limb() | INTEGER_BIT) >>> 0, limb());
  if (kind === 3 && random.below(4) === 0) return value.set(sign | random.below(0x8000), limb(), limb());
  // A double's significand, a single's, a small integer's, or any.
  const exponent = 0x3fff + random.below(kind < 8 ? 4 : 140) - (kind < 8 ? 2 : 70);
  const high = (limb() | INTEGER_BIT) >>> 0;
  switch (random.below(5)) {
    case 0:
      return value.set(sign | exponent, (high & 0xffffff00) >>> 0, 0);
    case 1:
      return value.set(sign | exponent, (high & 0xffe00000) >>> 0, 0);
    case 2:
      return value.set(sign | exponent, high, limb());
    default:
      return value.set(sign | exponent, high, (limb() & 0xfffff800) >>> 0);
  }
}

/** Two values, of which the second is often the first one's neighbour, its opposite or close to it. */
export function randomPair(random: Random): readonly [Float80, Float80] {
  const first = randomFloat80(random), second = randomFloat80(random);
  if (random.below(4) === 0) {
    second.copy(first);
    if (random.below(2) === 0) second.se ^= 0x8000;
    if (random.below(2) === 0) second.lo = (second.lo ^ random.below(4)) >>> 0;
    if (random.below(3) === 0) second.se = (second.se & 0x8000) | ((second.se + random.below(3) - 1) & 0x7fff);
    if (random.below(4) === 0) second.se = (second.se & 0x8000) | ((second.se + random.below(140) - 70) & 0x7fff);
  }
  return random.below(2) === 0 ? [first, second] : [second, first];
}

/** A sequence of x87 instructions among others, the memory they work on, and the FPU's state before them. */
export interface X87Case {
  readonly start: Start;
  /** Contents of the first data page. */
  readonly data: Uint8Array;
  readonly fpu: {
    readonly control: number;
    readonly status: number;
    readonly empty: number;
    readonly top: number;
    readonly registers: readonly Float80[];
  };
  /** Instructions as [offset, length] in the code. */
  readonly parts: readonly (readonly [offset: number, length: number])[];
}

/** The case of a random source: a loop over a dozen slots of code. */
export function x87Case(random: Random): X87Case {
  return new CaseMaker(random).make();
}

/** Rows by handler, those that are translated, so that a handler with many rows is no more frequent. */
const rows = Map.groupBy(x87Rows, ({ handler }) => handler);
const translated = [...rows].filter(([handler]) => handler in x87Choosers).map(([, list]) => list);
/** What compiled code is made of, more often than the rest. */
const frequent = ["farith", "farithp", "fld", "fst", "fild", "fist", "fxch", "fcomi"].map((name) =>
  rows.get(name) ?? []
);
const others = [...rows].filter(([handler]) => !(handler in x87Choosers)).map(([, list]) => list);

/** The data page: areas of slots by format. */
const SLOT_BYTES = 16, AREA_SLOTS = 16, AREA_BYTES = SLOT_BYTES * AREA_SLOTS;
const AREAS: readonly Operand[] = ["Mf64", "Mf32", "Mf80", "Mi16", "Mi32", "Mi64", "Mw"];
const NOP = 0x90, OPERAND_BYTES = 4;

class CaseMaker {
  readonly #code: number[] = [];
  readonly #parts: [number, number][] = [];
  readonly #depth: number;

  constructor(readonly random: Random) {
    this.#depth = random.below(9);
  }

  make(): X87Case {
    const { random } = this;
    const entry = L.SLOT * (1 + random.below(8));
    const slots = 3 + random.below(14);
    while (this.#code.length < slots * L.SLOT) this.#put(this.#instruction());
    // Jumps may lead beyond the last slot: from each slot there, to the first.
    for (let slot = 0; slot < 5; slot++) {
      const end = L.CODE + entry + this.#code.length;
      this.#code.push(...jump(end, L.CODE + entry));
      while (this.#code.length % L.SLOT !== 0) this.#code.push(NOP);
    }
    const control = this.#pick(CONTROL_WORDS);
    const top = random.below(8);
    // Depth registers from the top down are in use.
    let empty = 0xff;
    for (let position = 0; position < this.#depth; position++) empty &= ~(1 << ((top + position) & 7));
    const registers = Array.from({ length: 8 }, () => randomFloat80(random));
    const status = (random.below(3) === 0 ? random.next() & 0x4700 : 0) | (random.below(2) === 0 ? PE : 0);
    return {
      start: {
        cpl: random.below(2) === 0 ? 0 : 3,
        bits: 32,
        registers: Array.from({ length: 8 }, (_, register) => this.#register(register)),
        eflags: 2 | random.next() & 0x8d5,
        fs: L.BASED,
        gs: this.#pick([0, L.LIMITED, L.DATA_USER]),
        entry,
        code: Uint8Array.from(this.#code),
      },
      data: this.#data(),
      fpu: {
        control,
        status: status | top << 11,
        empty: random.below(12) === 0 ? random.below(256) : empty,
        top,
        registers,
      },
      parts: this.#parts,
    };
  }

  #pick<T>(values: readonly T[]): T {
    return values[this.random.below(values.length)];
  }

  #register(register: number): number {
    if (register === 4) return L.STACK + 0x800;
    return this.random.below(3) === 0 ? this.random.next() | 0 : L.DATA + this.random.below(AREA_BYTES * AREAS.length);
  }

  /** Puts an instruction; a fault goes on at the next slot, so that none lies over a slot's end. */
  #put(bytes: readonly number[]): void {
    const left = L.SLOT - this.#code.length % L.SLOT;
    if (bytes.length > left) { for (let i = 0; i < left; i++) this.#code.push(NOP); }
    this.#parts.push([this.#code.length, bytes.length]);
    this.#code.push(...bytes);
  }

  #instruction(): readonly number[] {
    const { random } = this;
    const kind = random.below(32);
    if (kind < 16) return this.#encode(this.#pick(this.#pick(frequent)));
    if (kind < 25) return this.#encode(this.#pick(this.#pick(translated)));
    if (kind === 25) return this.#pick([() => this.#encode(this.#pick(this.#pick(others))), () => this.#mmx()])();
    if (kind === 26) return [0x9e]; // sahf
    if (kind === 27) return [0xdb, 0xe2]; // fnclex
    if (kind === 28) return random.below(2) === 0 ? [0x39, 0xc0 | random.below(64)] : this.#jump(); // cmp
    if (kind === 29) return [0x40 + this.#pick([0, 1, 2, 3, 5, 6, 7])]; // inc
    // Makes room, or fills up, as programs keep the stack.
    return kind === 30 ? [0xdd, 0xc0 | this.#pick([5, 6, 7])] : [0xd9, this.#pick([0xe8, 0xeb, 0xee])];
  }

  /** Jcc to the start of a slot, where the stack may lie otherwise. */
  #jump(): readonly number[] {
    const at = this.#code.length + (L.SLOT - this.#code.length % L.SLOT < 2 ? 1 : 0) + 2;
    const distance = this.random.below(Math.floor(at / L.SLOT) + 4) * L.SLOT - at;
    return [0x70 | this.random.below(16), Math.max(-128, Math.min(127, distance)) & 0xff];
  }

  /** MOVQ, PADDB, MOVD, MOVQ to memory, EMMS. */
  #mmx(): readonly number[] {
    const modrm = 0xc0 | this.random.below(64);
    const forms = [[0x6f, modrm], [0xfc, modrm], [0x6e, modrm], [0x7f, 0x05, ...word(this.#address("Mf64"))], [0x77], [
      0x77,
    ]];
    return [0x0f, ...this.#pick(forms)];
  }

  #encode(row: OpcodeRow): readonly number[] {
    const { random } = this;
    const reg = row.extension ?? random.below(8);
    if (row.form !== "memory") {
      return [row.opcode, 0xc0 | reg << 3 | (row.rm ?? this.#position())].slice(0, row.modrm ? 2 : 1);
    }
    const prefix = random.below(20) === 0 ? [this.#pick([0x64, 0x65, 0x3e, 0x36, 0x2e])] : [];
    if (random.below(6) === 0) {
      return [...prefix, row.opcode, 0x40 | reg << 3 | this.#pick([0, 1, 2, 3, 5, 6, 7]), random.next() & 0xff];
    }
    return [...prefix, row.opcode, 0x05 | reg << 3, ...word(this.#address(row.operands[0]))];
  }

  /** A stack position: mostly one that is in use. */
  #position(): number {
    return this.#depth > 0 && this.random.below(10) > 0 ? this.random.below(this.#depth) : this.random.below(8);
  }

  #address(operand: Operand): number {
    const { random } = this;
    switch (random.below(24)) {
      case 0:
        return L.DATA + random.below(AREA_BYTES * AREAS.length);
      case 1:
        return L.DATA + L.PAGE - random.below(12);
      case 2:
        return this.#pick([L.READ_ONLY, L.ABSENT, L.SUPERVISOR, L.CODE + L.PAGE, L.DATA_ALIAS]) +
          random.below(64) * OPERAND_BYTES;
      default: {
        const area = Math.max(0, AREAS.indexOf(operand));
        return L.DATA + area * AREA_BYTES + random.below(AREA_SLOTS) * SLOT_BYTES;
      }
    }
  }

  #data(): Uint8Array {
    const { random } = this;
    const data = new Uint8Array(L.PAGE), view = new DataView(data.buffer);
    for (const [area, operand] of AREAS.entries()) {
      for (let slot = 0; slot < AREA_SLOTS; slot++) {
        const at = area * AREA_BYTES + slot * SLOT_BYTES;
        const { se, hi, lo } = randomFloat80(random);
        const number = (random.below(2) === 0 ? -1 : 1) * hi * 2 ** (random.below(60) - 60);
        const integer = random.below(3) === 0 ? this.#pick(LIMBS) | 0 : random.next() >> random.below(32);
        view.setInt32(at, lo, true);
        view.setInt32(at + 4, hi, true);
        view.setUint16(at + 8, se, true);
        // Rarely what the extended value's bits happen to be.
        if (random.below(8) === 0 || operand === "Mf80") continue;
        if (operand === "Mf64") view.setFloat64(at, random.below(12) === 0 ? 0 : number, true);
        else if (operand === "Mf32") view.setFloat32(at, random.below(12) === 0 ? 0 : number, true);
        else if (operand === "Mw") view.setUint16(at, this.#pick(CONTROL_WORDS), true);
        else view.setBigInt64(at, BigInt(integer), true);
      }
    }
    return data;
  }
}
