// The assembler guests are written with: one method per mnemonic, typed by the instruction table, plus labels, sections and
// data. Instructions are encoded as they are written; `assemble` lays them out, lengthening branches until all reach.

import {
  AssemblyError,
  type Bits,
  describeInstruction,
  encode,
  type Encoding,
  type Fixup,
  littleEndian,
  SEGMENT_PREFIXES,
} from "./encode.ts";
import type { OperandsOf } from "./forms.ts";
import { instructions, type Mnemonic } from "./instructions.ts";
import { hex, type Immediate, type Operand, type SegmentRegister } from "./operands.ts";

/** An assembled program. */
export interface Program {
  readonly bytes: Uint8Array;
  /** Address of the first byte. */
  readonly origin: number;
  /** Address of each label. */
  readonly labels: Map<string, number>;
}

/** A method per mnemonic: `asm.add(eax, 5)`, `asm.rep().movsd()`. */
export type InstructionMethods = {
  readonly [M in Mnemonic]: (...operands: OperandsOf<(typeof instructions)[M][number]>) => Assembler;
};

/** See the class. */
export interface Assembler extends InstructionMethods {}

const NOP = 0x90;

type Item =
  | { readonly kind: "code"; readonly encoding: Encoding; readonly text: string }
  | { readonly kind: "branch"; short?: Encoding; readonly near?: Encoding; readonly text: string }
  | { readonly kind: "label"; readonly name: string }
  | { readonly kind: "align"; readonly boundary: number; readonly fill: number }
  | { readonly kind: "org"; readonly address: number; readonly fill: number };

/** Builds a program at a fixed address. Every method returns the assembler, so that prefixes and lines chain. */
export class Assembler {
  readonly origin: number;
  #bits: Bits;
  readonly #sections = new Map<string, Item[]>();
  #items: Item[];
  #uniqueLabels = 0;

  /** `origin` is the address of the first byte; `bits` the size of code, 32 by default. */
  constructor({ origin, bits = 32 }: { origin: number; bits?: Bits }) {
    this.origin = origin;
    this.#bits = bits;
    this.#items = [];
    this.#sections.set("text", this.#items);
  }

  /** Code from here on runs in 16- or 32-bit segments. */
  bits(bits: Bits): this {
    this.#bits = bits;
    return this;
  }

  /**
   * Continues in section `name`, or emits `body` there and comes back. The first section is "text"; sections are laid out one
   * after the other in the order they were first named.
   */
  section(name: string, body?: () => void): this {
    let items = this.#sections.get(name);
    if (items === undefined) {
      items = [];
      this.#sections.set(name, items);
    }
    const before = this.#items;
    this.#items = items;
    if (body !== undefined) {
      body();
      this.#items = before;
    }
    return this;
  }

  /** Names the current address. */
  label(name: string): this {
    this.#items.push({ kind: "label", name });
    return this;
  }

  /** A label name that nothing else uses, for code that is written out several times. */
  uniqueLabel(stem: string): string {
    return `${stem}.${this.#uniqueLabels++}`;
  }

  /** Pads to a multiple of `boundary` bytes, with NOPs by default so that code may run into it. */
  align(boundary: number, fill = NOP): this {
    this.#items.push({ kind: "align", boundary, fill });
    return this;
  }

  /** Pads with `fill` up to an absolute address, which must not lie behind. */
  org(address: number, fill = 0): this {
    this.#items.push({ kind: "org", address, fill });
    return this;
  }

  /** Bytes as they are: the escape hatch for what the table does not have. */
  bytes(bytes: Iterable<number>): this {
    return this.#code({ bytes: [...bytes], fixups: [] }, "bytes");
  }

  /** 8-bit data. */
  db(...values: Immediate[]): this {
    return this.#data("db", 1, values);
  }

  /** 16-bit data, little-endian. */
  dw(...values: Immediate[]): this {
    return this.#data("dw", 2, values);
  }

  /** 32-bit data, little-endian. */
  dd(...values: Immediate[]): this {
    return this.#data("dd", 4, values);
  }

  /** 64-bit data, little-endian. */
  dq(...values: bigint[]): this {
    const view = new DataView(new ArrayBuffer(8 * values.length));
    values.forEach((value, i) => view.setBigUint64(8 * i, BigInt.asUintN(64, value), true));
    return this.bytes(new Uint8Array(view.buffer));
  }

  /** Text in UTF-8, without a terminator. */
  string(text: string): this {
    return this.bytes(new TextEncoder().encode(text));
  }

  /** `count` bytes of zero. */
  zeros(count: number): this {
    return this.bytes(new Uint8Array(count));
  }

  /** Prefixes the next instruction with an operand size of 16 bits, where that is not the code's own. */
  o16(): this {
    return this.#sizePrefix(0x66, 16);
  }

  /** Prefixes the next instruction with an operand size of 32 bits, where that is not the code's own. */
  o32(): this {
    return this.#sizePrefix(0x66, 32);
  }

  /** Prefixes the next instruction with an address size of 16 bits, where that is not the code's own. */
  a16(): this {
    return this.#sizePrefix(0x67, 16);
  }

  /** Prefixes the next instruction with an address size of 32 bits, where that is not the code's own. */
  a32(): this {
    return this.#sizePrefix(0x67, 32);
  }

  /** Prefixes the next instruction with a segment override, for string instructions and xlatb. */
  override(segment: SegmentRegister): this {
    return this.bytes([SEGMENT_PREFIXES[segment.number]]);
  }

  /** One instruction by name; the methods named for mnemonics are this with their operands typed. */
  emit(mnemonic: Mnemonic, ...operands: readonly Operand[]): this {
    const choice = encode(mnemonic, operands, this.#bits);
    const text = describeInstruction(mnemonic, operands);
    if (choice.kind === "fixed") return this.#code(choice.encoding, text);
    this.#items.push({ kind: "branch", short: choice.short, near: choice.near, text });
    return this;
  }

  /**
   * Lays the program out. Throws AssemblyError on a label that is missing or defined twice, a short branch out of reach,
   * an address that does not fit its field, or an `org` that lies behind.
   */
  assemble(): Program {
    const items = [...this.#sections.values()].flat();
    let layout = this.#layOut(items);
    while (lengthenBranches(items, layout)) layout = this.#layOut(items);
    const bytes = new Uint8Array(layout.end - this.origin);
    items.forEach((item, i) => {
      const at = layout.addresses[i] - this.origin;
      const size = (layout.addresses[i + 1] ?? layout.end) - layout.addresses[i];
      if (item.kind === "align" || item.kind === "org") bytes.fill(item.fill, at, at + size);
      else if (item.kind !== "label") bytes.set(resolve(item, layout.addresses[i], layout.labels), at);
    });
    return { bytes, origin: this.origin, labels: layout.labels };
  }

  #code(encoding: Encoding, text: string): this {
    this.#items.push({ kind: "code", encoding, text });
    return this;
  }

  #data(directive: string, width: 1 | 2 | 4, values: readonly Immediate[]): this {
    const bytes: number[] = [];
    const fixups: Fixup[] = [];
    for (const value of values) {
      if (typeof value !== "number") fixups.push({ at: bytes.length, width, kind: "absolute", target: value });
      else checkRange(value, width, describeInstruction(directive, values));
      bytes.push(...littleEndian(typeof value === "number" ? value : 0, width));
    }
    return this.#code({ bytes, fixups }, describeInstruction(directive, values));
  }

  #sizePrefix(prefix: number, size: Bits): this {
    return size === this.#bits ? this : this.bytes([prefix]);
  }

  #layOut(items: readonly Item[]): Layout {
    const addresses: number[] = [];
    const labels = new Map<string, number>();
    let address = this.origin;
    for (const item of items) {
      addresses.push(address);
      if (item.kind === "label") {
        if (labels.has(item.name)) {
          throw new AssemblyError(`label ${item.name} is defined twice; expected one definition`);
        }
        labels.set(item.name, address);
      } else address += sizeAt(item, address);
    }
    return { addresses, labels, end: address };
  }
}

for (const mnemonic of Object.keys(instructions) as Mnemonic[]) {
  Object.defineProperty(Assembler.prototype, mnemonic, {
    value(this: Assembler, ...operands: Operand[]) {
      return this.emit(mnemonic, ...operands);
    },
  });
}

interface Layout {
  /** Address of each item. */
  readonly addresses: readonly number[];
  readonly labels: Map<string, number>;
  readonly end: number;
}

type Encoded = Extract<Item, { kind: "code" | "branch" }>;

function encodingOf(item: Encoded): Encoding {
  if (item.kind === "code") return item.encoding;
  const encoding = item.short ?? item.near;
  if (encoding === undefined) throw new AssemblyError(`${item.text}: a branch without an encoding`);
  return encoding;
}

function sizeAt(item: Exclude<Item, { kind: "label" }>, address: number): number {
  switch (item.kind) {
    case "align":
      return (item.boundary - (address % item.boundary)) % item.boundary;
    case "org":
      if (item.address < address) {
        throw new AssemblyError(
          `org ${hex(item.address)}: the program is at ${hex(address)} already; expected no less`,
        );
      }
      return item.address - address;
    default:
      return encodingOf(item).bytes.length;
  }
}

/** Gives up the short encoding of branches that it does not reach; true if any. Branches only grow, so this comes to an end. */
function lengthenBranches(items: readonly Item[], { addresses, labels }: Layout): boolean {
  let changed = false;
  items.forEach((item, i) => {
    if (item.kind !== "branch" || item.short === undefined || item.near === undefined) return;
    const distance = valueOf(item.short.fixups[0], item.short, addresses[i], labels, item.text);
    if (distance >= -128 && distance <= 127) return;
    item.short = undefined;
    changed = true;
  });
  return changed;
}

/** The item's bytes with its fixups written in. */
function resolve(item: Encoded, address: number, labels: ReadonlyMap<string, number>): Uint8Array {
  const encoding = encodingOf(item);
  const bytes = Uint8Array.from(encoding.bytes);
  for (const fixup of encoding.fixups) {
    const value = valueOf(fixup, encoding, address, labels, item.text);
    if (fixup.kind === "relative") checkReach(value, fixup.width, item.text);
    else checkRange(value, fixup.width, item.text);
    bytes.set(littleEndian(value, fixup.width), fixup.at);
  }
  return bytes;
}

function valueOf(
  { kind, target }: Fixup,
  { bytes }: Encoding,
  address: number,
  labels: ReadonlyMap<string, number>,
  text: string,
): number {
  let value: number;
  if (typeof target === "number") value = target;
  else {
    const labelled = labels.get(target.name);
    if (labelled === undefined) throw new AssemblyError(`${text}: label ${target.name} is not defined`);
    value = labelled + target.offset;
  }
  return kind === "relative" ? value - (address + bytes.length) : value;
}

function checkReach(distance: number, width: number, text: string): void {
  const limit = 2 ** (8 * width - 1);
  // A 32-bit displacement wraps around the address space and so reaches everything.
  if (width === 4 || (distance >= -limit && distance < limit)) return;
  throw new AssemblyError(`${text}: the target is ${distance} bytes away; expected -${limit} to ${limit - 1}`);
}

function checkRange(value: number, width: number, text: string): void {
  if (Number.isInteger(value) && value >= -(2 ** (8 * width - 1)) && value < 2 ** (8 * width)) return;
  throw new AssemblyError(`${text}: ${hex(value)} does not fit; expected ${8 * width} bits`);
}
