// Reads tests/fixtures/simd/cases.txt.gz, which says what SIMD instructions did on a real processor, and repeats its cases on a
// processor of ours: generate.c beside it says how a case's start follows from its number and what its digest covers.

import { assert } from "@std/assert";
import { decode } from "../../../../plugins/x86/decoder.ts";
import { STATUS_FLAGS } from "../../../../plugins/x86/instruction.ts";
import { bind } from "../../../../plugins/x86/interpreter/bind.ts";
import { GuestFault } from "../../../../plugins/x86/fault.ts";
import type { Processor } from "../../../../plugins/x86/processor.ts";
import * as S from "../../../../plugins/x86/state.ts";
import { peek, poke } from "../flat_processor.ts";

/** Cases of one instruction. */
export interface Line {
  readonly number: number;
  readonly bytes: Uint8Array;
  readonly pool: readonly Uint8Array[];
  readonly digests: readonly number[];
}

/** All lines, from the fixture or another file of its kind. */
export async function simdLines(
  url = new URL("../../../fixtures/simd/cases.txt.gz", import.meta.url),
): Promise<Line[]> {
  const file = await Deno.open(url);
  const text = await new Response(file.readable.pipeThrough(new DecompressionStream("gzip"))).text();
  const pools = new Map<string, Uint8Array[]>();
  const lines: Line[] = [];
  for (const line of text.trimEnd().split("\n")) {
    const [first, ...words] = line.split(" ");
    if (first.length === 1) {
      pools.set(first, words.map(fromHex));
      continue;
    }
    const [poolName, ...digests] = words, pool = pools.get(poolName);
    if (pool === undefined) throw new Error(`the case line ${line.slice(0, 40)} names no pool`);
    lines.push({
      number: lines.length,
      bytes: fromHex(first),
      pool,
      digests: digests.map((digest) => parseInt(digest, 16)),
    });
  }
  return lines;
}

/** Name of a line's instruction with its bytes, for messages. */
export function lineName({ bytes }: Line): string {
  const decoded = decode(bytes, 0, bytes.length, 32);
  return typeof decoded === "string" ? decoded : decoded.row.name;
}

const DATA = 0x3000, DATA_BYTES = 64, CODE = 0x4000;
const FILLER = 0x5a, FILLER_WORD = 0x5a5a5a5a, SIGN_EXPONENT = 0x3fff, FCW = 0x37f, NO_FAULT = 255;
const EDX = 2, EDI = 7;

/** What a line's cases came to. */
export interface Outcome {
  /** Descriptions of the cases whose digest differs, with what they came to here. */
  readonly failures: string[];
  /** Cases by vector. */
  readonly vectors: Map<number, number>;
}

/** Runs all cases of a line on a flat processor with CR4.OSFXSR and OSXMMEXCPT. */
export function runLine(cpu: Processor, line: Line): Outcome {
  const instruction = decode(line.bytes, 0, line.bytes.length, 32);
  if (typeof instruction === "string") throw new Error(`line ${line.number} does not decode: ${instruction}`);
  const operation = bind(instruction, cpu.mode, 0);
  const numbers = new Numbers(line.number);
  const failures: string[] = [], vectors = new Map<number, number>();
  for (const [index, digest] of line.digests.entries()) {
    const start = prepare(cpu, line.pool, numbers);
    let vector = NO_FAULT;
    cpu.blockEip = CODE;
    cpu.index = 0;
    cpu.count = 1;
    try {
      operation.handler(cpu, operation);
    } catch (signal) {
      if (!(signal instanceof GuestFault)) throw signal;
      ({ vector } = signal);
    }
    vectors.set(vector, (vectors.get(vector) ?? 0) + 1);
    if (digestOf(cpu, vector) !== digest) failures.push(`case ${index} ${start}: ${describe(cpu, vector)}`);
  }
  return { failures, vectors };
}

/** xorshift32 (Marsaglia, 2003), seeded by a line's number. */
class Numbers {
  #state: number;

  constructor(line: number) {
    this.#state = Math.imul(line, 0x9e3779b1) | 1;
  }

  next(): number {
    this.#state ^= this.#state << 13;
    this.#state ^= this.#state >>> 17;
    this.#state ^= this.#state << 5;
    return this.#state >>> 0;
  }
}

/** See mxcsrOf in generate.c. */
function mxcsrOf(number: number): number {
  const kind = number & 7;
  if (kind === 4) return 0x1f80;
  if (kind === 5) return 0x1fa0;
  let masks = 0x3f;
  if (kind === 6) masks = number >>> 23 & 0x3f;
  if (kind === 7) masks ^= 1 << (number >>> 23 & 7) % 6;
  const flags = (number >>> 22 & 1) !== 0 ? number >>> 16 & 0x3f : 0;
  const flush = (number >>> 10 & 3) === 3 ? 0x8000 : 0, denormals = (number >>> 12 & 3) === 3 ? 0x40 : 0;
  return masks << 7 | flags | (number >>> 8 & 3) << 13 | flush | denormals;
}

function prepare(cpu: Processor, pool: readonly Uint8Array[], numbers: Numbers): string {
  const { fpu, r } = cpu;
  const a = pool[numbers.next() % pool.length], b = pool[numbers.next() % pool.length];
  const stack = numbers.next();
  fpu.initialise();
  fpu.control = FCW;
  fpu.top = stack & 7;
  fpu.empty = ~(stack >>> 8) & 0xff;
  fpu.significands.fill(FILLER_WORD);
  fpu.se.fill(SIGN_EXPONENT);
  const mxcsr = r[S.MXCSR] = mxcsrOf(numbers.next());
  r.fill(FILLER_WORD, S.XMM, S.XMM + 32);
  for (const [register, operand] of [a, b].entries()) {
    const words = new DataView(operand.buffer);
    for (let i = 0; i < 4; i++) r[S.XMM + register * 4 + i] = words.getInt32(4 * i, true);
    fpu.significands[register * 2] = r[register] = words.getInt32(0, true);
    fpu.significands[register * 2 + 1] = words.getInt32(4, true);
  }
  r[EDX] = r[EDI] = DATA;
  cpu.setStatusFlags(0);
  const data = new Uint8Array(DATA_BYTES).fill(FILLER);
  data.set(b);
  poke(cpu, DATA, data);
  return `a=${hex(a)} b=${hex(b)} mxcsr=${mxcsr.toString(16)}`;
}

const image = new Uint8Array(1 + 2 + 1 + 8 * 10 + 8 * 16 + 4 + 4 + 4 + 2);

/** FNV-1a over the state. */
function digestOf(cpu: Processor, vector: number): number {
  const { fpu, r } = cpu;
  const view = new DataView(image.buffer);
  let at = 0;
  const add8 = (value: number) => view.setUint8(at++, value);
  const add16 = (value: number) => (view.setUint16(at, value, true), at += 2);
  const add32 = (value: number) => (view.setInt32(at, value, true), at += 4);
  add8(vector);
  add16(fpu.statusWord);
  add8(~fpu.empty & 0xff);
  for (let position = 0; position < 8; position++) {
    const register = (fpu.top + position) & 7;
    add32(fpu.significands[register * 2]);
    add32(fpu.significands[register * 2 + 1]);
    add16(fpu.se[register]);
  }
  for (let word = 0; word < 32; word++) add32(r[S.XMM + word]);
  add32(r[S.MXCSR]);
  add32(r[0]);
  add32(r[1]);
  add16(cpu.eflags() & STATUS_FLAGS);
  assert(at === image.length);
  let digest = 0x811c9dc5;
  for (const byte of image) digest = Math.imul(digest ^ byte, 0x01000193);
  for (const byte of peek(cpu, DATA, DATA_BYTES)) digest = Math.imul(digest ^ byte, 0x01000193);
  return digest >>> 0;
}

/** The state in the words of `generate LINE`. */
function describe(cpu: Processor, vector: number): string {
  const { fpu, r } = cpu;
  const word = (value: number) => (value >>> 0).toString(16).padStart(8, "0");
  const xmm = [3, 2, 1, 0].map((i) => word(r[S.XMM + i])).join("");
  const mmx = word(fpu.significands[1]) + word(fpu.significands[0]);
  return `vector=${vector.toString(16)} fsw=${fpu.statusWord.toString(16)} tags=${(~fpu.empty & 0xff).toString(16)}` +
    ` mm0=${mmx} xmm0=${xmm} mxcsr=${word(r[S.MXCSR])} eax=${word(r[0])} ecx=${word(r[1])}` +
    ` flags=${(cpu.eflags() & STATUS_FLAGS).toString(16)} data=${hex(peek(cpu, DATA, 16))}`;
}

/** Bytes as one number, the last first. */
function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).reverse().join("");
}

function fromHex(text: string): Uint8Array {
  return Uint8Array.from(text.match(/../g) ?? [], (byte) => parseInt(byte, 16));
}
