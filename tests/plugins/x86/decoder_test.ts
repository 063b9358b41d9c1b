// The decoder against iced-x86 (every opcode of both maps, every ModR/M byte, prefixes, random bytes), and against the
// rules of SDM 2A, chapter 2 that a table of cases states best.

import { assert, assertEquals, assertStrictEquals } from "@std/assert";
import { decode, MAX_INSTRUCTION_LENGTH } from "../../../plugins/x86/decoder.ts";
import {
  CS,
  DS,
  EBP,
  EBX,
  ECX,
  ES,
  ESI,
  ESP,
  FS,
  GS,
  type Instruction,
  NO_REGISTER,
  type Operand,
  SS,
} from "../../../plugins/x86/instruction.ts";
import { type Disassembly, IcedOracle } from "./iced_oracle.ts";

const CODE_SIZES = [16, 32] as const;

/** Bytes from one case to the next: the longest instruction and one more. */
const STRIDE = 16;

Deno.test("every opcode with every ModR/M byte under every prefix decodes as iced says", () => {
  const prefixes = [[], [0x66], [0x67], [0x66, 0x67], [0xf0], [0xf2], [0xf3], [0x2e], [0x65, 0x67], [0xf2, 0xf3, 0x66]];
  const cases = 2 * 256 * 256;
  const bytes = new Uint8Array(cases * STRIDE);
  let legal = 0;
  for (const codeSize of CODE_SIZES) {
    for (const [seed, prefix] of prefixes.entries()) {
      fillRandom(bytes, seed + codeSize);
      for (let i = 0; i < cases; i++) {
        const escape = i < cases / 2 ? [] : [0x0f];
        bytes.set([...prefix, ...escape, i >> 8 & 0xff, i & 0xff], i * STRIDE);
      }
      legal += compareAll(bytes, codeSize);
    }
  }
  assert(legal > 1_000_000, `only ${legal} cases were instructions`);
});

Deno.test("every SIB byte under every mod decodes as iced says", () => {
  const cases = 3 * 256;
  const bytes = new Uint8Array(cases * STRIDE);
  fillRandom(bytes, 1);
  for (let i = 0; i < cases; i++) bytes.set([0x8b, i >> 8 << 6 | 4, i & 0xff], i * STRIDE);
  assertStrictEquals(compareAll(bytes, 32), cases);
});

Deno.test("random bytes decode as iced says", () => {
  const cases = 150_000;
  const bytes = new Uint8Array(cases * STRIDE);
  let legal = 0;
  for (const codeSize of CODE_SIZES) {
    fillRandom(bytes, 1000 + codeSize);
    legal += compareAll(bytes, codeSize);
  }
  assert(legal > 200_000, `only ${legal} cases were instructions`);
});

Deno.test("a run of prefixes counts for its last override, its last repeat and its length", () => {
  const overrides = [0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65], repeats = [0xf2, 0xf3], others = [0x66, 0x67, 0xf0];
  const prefixes = [...overrides, ...repeats, ...others, ...others];
  const cases = 20_000;
  const random = new Uint8Array(cases * 2 * STRIDE);
  for (const codeSize of CODE_SIZES) {
    fillRandom(random, 2000 + codeSize);
    const full = new Uint8Array(random.length);
    const reduced = new Uint8Array(random.length);
    const surplus: number[] = [];
    for (let start = 0; start < random.length; start += 2 * STRIDE) {
      const run = [...random.subarray(start, start + random[start + STRIDE - 1] % STRIDE)]
        .map((byte) => prefixes[byte % prefixes.length]);
      const last = (of: number[]) => run.filter((byte) => of.includes(byte)).slice(-1);
      const needed = [...last(overrides), ...last(repeats), ...others.filter((byte) => run.includes(byte))];
      const tail = random.subarray(start + STRIDE, start + 2 * STRIDE);
      full.set([...run, ...tail], start);
      reduced.set([...needed, ...tail], start);
      surplus.push(run.length - needed.length);
    }
    const oracle = new IcedOracle(reduced, codeSize);
    const lengths = new Set<number>();
    for (const [i, extra] of surplus.entries()) {
      const start = i * 2 * STRIDE;
      const theirs = oracle.at(start);
      const ours = decode(full, start, start + 2 * STRIDE, codeSize);
      const context = `${hex(full.subarray(start, start + 2 * STRIDE))} in ${codeSize}-bit code`;
      if (theirs === "invalid") assertStrictEquals(typeof ours, "string", context);
      else if (theirs.length + extra > MAX_INSTRUCTION_LENGTH) assertStrictEquals(ours, "too-long", context);
      else {
        assertStrictEquals(differenceOf(ours, { ...theirs, length: theirs.length + extra }), undefined, context);
        lengths.add(decoded(ours).length);
      }
    }
    oracle.free();
    assertStrictEquals(lengths.size, MAX_INSTRUCTION_LENGTH);
  }
});

Deno.test("a window that ends within an instruction is truncated, at whatever byte", () => {
  const instructions = [
    [0x90],
    [0x0f, 0xa2],
    [0x66, 0x81, 0x84, 0xb5, 1, 2, 3, 4, 5, 6],
    [0x81, 0x84, 0xb5, 1, 2, 3, 4, 5, 6, 7, 8],
    [0x67, 0x8b, 0x46, 0x10],
    [0x9a, 1, 2, 3, 4, 5, 6],
    [0xc8, 1, 2, 3],
    [0xa1, 1, 2, 3, 4],
    [0x6a, 1],
    [0xc2, 1, 2],
    [0x0f, 0x84, 1, 2, 3, 4],
  ];
  for (const instruction of instructions) {
    const bytes = Uint8Array.from([0xcc, ...instruction, 0xcc]);
    for (let end = 1; end <= instruction.length; end++) {
      assertStrictEquals(decode(bytes, 1, end, 32), "truncated", `${hex(instruction)} cut at ${end - 1}`);
    }
    assertStrictEquals(decoded(decode(bytes, 1, bytes.length, 32)).length, instruction.length, hex(instruction));
  }
});

Deno.test("an instruction of 15 bytes is legal, of 16 too long, and a short window of prefixes undecided", () => {
  const bytes = new Uint8Array(32).fill(0x66);
  bytes[14] = 0x90;
  assertStrictEquals(decoded(decode(bytes, 0, 32, 32)).length, 15);
  bytes[14] = 0x66;
  bytes[15] = 0x90;
  assertStrictEquals(decode(bytes, 0, 32, 32), "too-long");
  assertStrictEquals(decode(bytes, 0, 15, 32), "too-long");
  assertStrictEquals(decode(bytes, 0, 14, 32), "truncated");
});

Deno.test("effective addresses resolve to base, index, scale, displacement and default segment", () => {
  const none = NO_REGISTER;
  const cases: [16 | 32, number[], number, number, number, number, number][] = [
    // code size, bytes; base, index, scale, displacement, segment
    [32, [0x8b, 0x03], EBX, none, 0, 0, DS],
    [32, [0x8b, 0x05, 0x78, 0x56, 0x34, 0x82], none, none, 0, 0x82345678 | 0, DS],
    [32, [0x8b, 0x45, 0xfc], EBP, none, 0, -4, SS],
    [32, [0x8b, 0x04, 0x24], ESP, none, 0, 0, SS],
    [32, [0x8b, 0x04, 0x8b], EBX, ECX, 2, 0, DS],
    [32, [0x8b, 0x04, 0xed, 4, 0, 0, 0], none, EBP, 3, 4, DS],
    [32, [0x8b, 0x44, 0xa5, 8], EBP, none, 0, 8, SS],
    [32, [0x65, 0x8b, 0x45, 0], EBP, none, 0, 0, GS],
    [32, [0x64, 0x2e, 0x8b, 0x03], EBX, none, 0, 0, CS],
    [32, [0xa1, 1, 0, 0, 0x80], none, none, 0, 0x80000001 | 0, DS],
    [32, [0x67, 0xa1, 0xff, 0xff], none, none, 0, 0xffff, DS],
    [16, [0x8b, 0x02], EBP, ESI, 0, 0, SS],
    [16, [0x8b, 0x06, 0xfe, 0xff], none, none, 0, 0xfffe, DS],
    [16, [0x8b, 0x46, 0xfe], EBP, none, 0, -2, SS],
    [16, [0x8b, 0x80, 0xfe, 0xff], EBX, ESI, 0, 0xfffe, DS],
    [16, [0x64, 0x8b, 0x07], EBX, none, 0, 0, FS],
    [32, [0xaa], none, none, 0, 0, ES],
    [32, [0x64, 0xaa], none, none, 0, 0, ES],
    [32, [0x64, 0xa4], none, none, 0, 0, FS],
  ];
  for (const [codeSize, code, base, index, scale, displacement, segment] of cases) {
    const { base: b, index: i, scale: s, displacement: d, segment: seg } = decodeWhole(code, codeSize);
    assertEquals(
      { base: b, index: i, scale: s, displacement: d, segment: seg },
      { base, index, scale, displacement, segment },
      hex(code),
    );
  }
});

Deno.test("immediates, offsets and far pointers are extended as the operand says", () => {
  const cases: [16 | 32, number[], number, number][] = [
    // code size, bytes; both immediates
    [32, [0x04, 0x80], 0x80, 0], // Ib
    [32, [0x83, 0xc0, 0x80], -128, 0], // Ibs
    [16, [0x83, 0xc0, 0x80], -128, 0],
    [32, [0x6a, 0xff], -1, 0],
    [16, [0x05, 0x00, 0x80], 0x8000, 0], // Iz
    [32, [0x05, 0x00, 0x00, 0x00, 0x80], 0x80000000 | 0, 0],
    [32, [0xc2, 0x00, 0x80], 0x8000, 0], // Iw
    [32, [0xeb, 0xfe], -2, 0], // Jb
    [16, [0xe9, 0xfe, 0xff], -2, 0], // Jz
    [32, [0x66, 0xe9, 0xfe, 0xff], -2, 0],
    [32, [0xe9, 0xfe, 0xff, 0xff, 0xff], -2, 0],
    [32, [0x0f, 0x84, 0x00, 0x00, 0x00, 0x80], 0x80000000 | 0, 0],
    [16, [0xea, 0xff, 0xff, 0x00, 0xf0], 0xffff, 0xf000], // Ap
    [32, [0xea, 0xff, 0xff, 0xff, 0xff, 0x10, 0x80], -1, 0x8010],
    [32, [0xc8, 0x00, 0x80, 0xff], 0x8000, 0xff], // Iw, Ib
  ];
  for (const [codeSize, code, immediate, immediate2] of cases) {
    const instruction = decodeWhole(code, codeSize);
    assertEquals([instruction.immediate, instruction.immediate2], [immediate, immediate2], hex(code));
  }
});

Deno.test("LOCK is legal on read-modify-write instructions with a memory destination only", () => {
  const legal = [[0x01, 0x03], [0x80, 0x03, 1], [0x87, 0x03], [0x0f, 0xab, 0x03], [0x0f, 0xc7, 0x0b], [0xf7, 0x13]];
  const illegal = [
    [0x01, 0xc3], // a register destination
    [0x03, 0x03], // memory is the source
    [0x39, 0x03], // CMP writes nothing
    [0x0f, 0xa3, 0x03], // BT neither
    [0x89, 0x03], // MOV does not read
    [0x90],
    [0xa3, 1, 2, 3, 4],
  ];
  for (const code of legal) assert(decodeWhole([0xf0, ...code], 32).lock, hex(code));
  for (const code of illegal) assertStrictEquals(decode(padded([0xf0, ...code]), 0, STRIDE, 32), "invalid", hex(code));
});

Deno.test("control and debug register moves are register forms whatever mod says", () => {
  for (const opcode of [0x20, 0x21, 0x22, 0x23]) {
    for (let mod = 0; mod < 4; mod++) {
      const instruction = decodeWhole([0x0f, opcode, mod << 6 | 4], 32);
      assertEquals([instruction.mod, instruction.rm, instruction.isMemory], [3, 4, false]);
    }
  }
});

/** Decodes every stride of the bytes on both sides; returns how many were instructions. */
function compareAll(bytes: Uint8Array, codeSize: 16 | 32): number {
  const oracle = new IcedOracle(bytes, codeSize);
  let legal = 0;
  for (let start = 0; start < bytes.length; start += STRIDE) {
    const ours = decode(bytes, start, start + STRIDE, codeSize);
    const theirs = oracle.at(start);
    if (typeof ours === "object") legal++;
    const difference = differenceOf(ours, theirs);
    if (difference !== undefined) {
      throw new Error(`${hex(bytes.subarray(start, start + STRIDE))} in ${codeSize}-bit code: ${difference}`);
    }
  }
  oracle.free();
  return legal;
}

function differenceOf(ours: ReturnType<typeof decode>, theirs: Disassembly | "invalid"): string | undefined {
  if (typeof theirs === "string") {
    const expected = theirs === "invalid" ? "invalid" : "too-long";
    return ours === expected
      ? undefined
      : `expected ${expected}, got ${typeof ours === "string" ? ours : ours.row.name}`;
  }
  if (typeof ours === "string") return `expected ${theirs.mnemonic}, got ${ours}`;
  if (ours.length !== theirs.length) return `expected ${theirs.length} bytes, got ${ours.length}`;
  if (ours.row.name !== theirs.mnemonic) return `expected ${theirs.mnemonic}, got ${ours.row.name}`;
  if (ours.lock !== theirs.lock) return `${ours.row.name}: expected lock ${theirs.lock}`;
  const expected = theirs.operands();
  const operands = operandTexts(ours);
  if (operands !== expected) return `${ours.row.name}: expected operands ${expected}, got ${operands}`;
}

function decodeWhole(code: readonly number[], codeSize: 16 | 32): Instruction {
  const instruction = decoded(decode(padded(code), 0, STRIDE, codeSize));
  assertStrictEquals(instruction.length, code.length, hex(code));
  return instruction;
}

function decoded(result: ReturnType<typeof decode>): Instruction {
  if (typeof result === "string") throw new Error(`expected an instruction, got ${result}`);
  return result;
}

function padded(code: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(STRIDE);
  bytes.set(code);
  return bytes;
}

/** A xorshift generator (Marsaglia, 2003): the same bytes for a seed on every machine. */
function fillRandom(bytes: Uint8Array, seed: number): void {
  let state = Math.imul(seed + 1, 0x9e3779b1) | 1;
  for (let i = 0; i < bytes.length; i++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    bytes[i] = state >>> 12;
  }
}

function hex(bytes: ArrayLike<number>): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join(" ");
}

const REGISTERS_8 = ["al", "cl", "dl", "bl", "ah", "ch", "dh", "bh"];
const REGISTERS_16 = ["ax", "cx", "dx", "bx", "sp", "bp", "si", "di"];
const REGISTERS_32 = REGISTERS_16.map((name) => `e${name}`);
const SEGMENTS = ["es", "cs", "ss", "ds", "fs", "gs"];

/** The operands as IcedOracle writes them. */
function operandTexts(instruction: Instruction): string {
  if (instruction.row.handler === "xlat") return translateOperand(instruction);
  // The destination of a masked store is implied.
  const implied = instruction.row.handler === "maskmov" ? [`${SEGMENTS[instruction.segment]}:di`] : [];
  const stated = instruction.row.operands.map((operand, i) => operandText(instruction, operand, i));
  return [...implied, ...stated].join(", ");
}

function operandText(instruction: Instruction, operand: Operand, position: number): string {
  const { operandSize, reg, rm } = instruction;
  const general = operandSize === 32 ? REGISTERS_32 : REGISTERS_16;
  const register = instruction.row.opcode & 7;
  const immediate = position > 0 && instruction.row.handler === "enter"
    ? instruction.immediate2
    : instruction.immediate;
  switch (operand) {
    case "Eb":
      return instruction.isMemory ? memoryText(instruction) : REGISTERS_8[rm];
    case "Ew":
      if (instruction.isMemory) return memoryText(instruction);
      return instruction.row.map === "0f" && instruction.row.name.startsWith("mov") ? REGISTERS_16[rm] : general[rm];
    case "Ed":
      return instruction.isMemory ? memoryText(instruction) : REGISTERS_32[rm];
    case "Ev":
      return instruction.isMemory ? memoryText(instruction) : general[rm];
    case "Gb":
      return REGISTERS_8[reg];
    case "Gw":
    case "Gv":
      return general[reg];
    case "Rv":
      return general[rm];
    case "Gd":
      return REGISTERS_32[reg];
    case "Rd":
      return REGISTERS_32[rm];
    case "Cd":
      return `cr${reg}`;
    case "Dd":
      return `dr${reg}`;
    case "Sw":
      return SEGMENTS[reg];
    case "Zb":
      return REGISTERS_8[register];
    case "Zv":
      return general[register];
    case "eAX":
      return general[0];
    case "Ib":
    case "Iw":
    case "Iz":
      return `${immediate >>> 0}`;
    case "Ibs":
      return `${immediate >>> 0}`;
    case "Jb":
    case "Jz":
      return `+${operandSize === 32 ? immediate >>> 0 : immediate & 0xffff}`;
    case "Ap":
      return `${instruction.immediate2}:${immediate >>> 0}`;
    case "Xb":
    case "Xv":
      return `${SEGMENTS[instruction.segment]}:si`;
    case "Yb":
    case "Yv":
      return "es:di";
    case "ST0":
      return "st0";
    case "STi":
      return `st${rm}`;
    case "Ob":
    case "Ov":
      return memoryText(instruction);
    case "Pq":
      return `mm${reg}`;
    case "Nq":
      return `mm${rm}`;
    case "Qq":
    case "Qd":
      return instruction.isMemory ? memoryText(instruction) : `mm${rm}`;
    case "Vdq":
      return `xmm${reg}`;
    case "Udq":
      return `xmm${rm}`;
    default:
      if (operand.startsWith("W")) return instruction.isMemory ? memoryText(instruction) : `xmm${rm}`;
      return operand.startsWith("M") ? memoryText(instruction) : operand;
  }
}

function memoryText({ segment, base, index, scale, displacement, addressSize }: Instruction): string {
  const names = addressSize === 32 ? REGISTERS_32 : REGISTERS_16;
  const offset = addressSize === 32 ? displacement >>> 0 : displacement & 0xffff;
  return `${SEGMENTS[segment]}:${names[base] ?? "none"}+${names[index] ?? "none"}*${1 << scale}+${offset}`;
}

/** XLAT's operand, which iced names and our table leaves to the handler. */
function translateOperand({ segment, addressSize }: Instruction): string {
  return `${SEGMENTS[segment]}:${addressSize === 32 ? "ebx" : "bx"}+al*1+0`;
}
