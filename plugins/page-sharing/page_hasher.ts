// Hashes pages where they lie, near memory bandwidth: a WebAssembly function over machine memory with eight independent
// accumulators of four 32-bit lanes, so that multiplications overlap, folded into 64 bits at the end. Sharing compares pages
// in full, so that a hash need only be even, in the manner of MurmurHash3 (Appleby, 2011), and no defence.

import { type Mpn, PAGE_SIZE } from "../memory/mod.ts";

export const ACCUMULATORS = 8;
/** Constants of the hash, all odd. */
export const LANE_FACTOR = 0x9e3779b1 | 0, LANE_ROTATE = 13;
export const SEED_FACTOR = 0x85ebca6b | 0;
export const FOLD_FACTOR = -7046029254386353131n, FOLD_SHIFT = 29n;

/** Holds the result of its latest call, so that hashing allocates nothing. */
export class PageHasher {
  low = 0;
  high = 0;
  readonly #hash: (address: number) => number;
  readonly #highOf: () => number;
  readonly #zeroLow: number;
  readonly #zeroHigh: number;

  constructor(memory: WebAssembly.Memory) {
    const { hash, high } = instantiate(memory);
    this.#hash = hash;
    this.#highOf = high;
    // What zeros hash to: machine memory may be in use already, a memory of one page is zeros.
    const zeros = instantiate(new WebAssembly.Memory({ initial: 1 }));
    this.#zeroLow = zeros.hash(0);
    this.#zeroHigh = zeros.high();
  }

  /** Hashes a frame. */
  of(mpn: Mpn): void {
    this.low = this.#hash(mpn * PAGE_SIZE);
    this.high = this.#highOf();
  }

  /** Whether the hash is that of a page of zeros. */
  get isOfZeros(): boolean {
    return this.low === this.#zeroLow && this.high === this.#zeroHigh;
  }
}

interface HashFunctions {
  /** The low half of the hash of the page at an address. */
  readonly hash: (address: number) => number;
  /** The high half of the latest one. */
  readonly high: () => number;
}

function instantiate(memory: WebAssembly.Memory): HashFunctions {
  compiled ??= new WebAssembly.Module(moduleBytes());
  const { hash, high } = new WebAssembly.Instance(compiled, { machine: { memory } }).exports;
  return { hash, high } as unknown as HashFunctions;
}

let compiled: WebAssembly.Module | undefined;

/** Opcodes, WebAssembly 2.0, section 5.4; those of vectors follow the prefix SIMD. */
const OP = {
  LOOP: 0x03,
  END: 0x0b,
  BR_IF: 0x0d,
  LOCAL_GET: 0x20,
  LOCAL_SET: 0x21,
  LOCAL_TEE: 0x22,
  GLOBAL_GET: 0x23,
  GLOBAL_SET: 0x24,
  I32_CONST: 0x41,
  I64_CONST: 0x42,
  I32_LT_U: 0x49,
  I32_ADD: 0x6a,
  I64_MUL: 0x7e,
  I64_XOR: 0x85,
  I64_SHR_U: 0x88,
  I32_WRAP_I64: 0xa7,
} as const;
const SIMD = 0xfd;
const VECTOR = {
  LOAD: 0x00,
  I32X4_SPLAT: 0x11,
  I64X2_EXTRACT_LANE: 0x1d,
  OR: 0x50,
  XOR: 0x51,
  I32X4_SHL: 0xab,
  I32X4_SHR_U: 0xad,
  I32X4_MUL: 0xb5,
} as const;
const TYPE = { I32: 0x7f, I64: 0x7e, V128: 0x7b, FUNCTION: 0x60, NOTHING: 0x40 } as const;
const SECTION = { TYPE: 1, IMPORT: 2, FUNCTION: 3, GLOBAL: 6, EXPORT: 7, CODE: 10 } as const;
const KIND = { FUNCTION: 0x00, MEMORY: 0x02 } as const;
const MUTABLE = 0x01;
const VECTOR_BYTES = 16, VECTOR_ALIGN = 4, LANE_BITS = 32;
/** Locals of the function: the address, then those below. */
const ADDRESS = 0, END = 1, FOLD = 2, FACTOR = 3, PRODUCT = 4, FIRST_ACCUMULATOR = 5;

function moduleBytes(): Uint8Array<ArrayBuffer> {
  const magic = [..."\0asm"].map((c) => c.charCodeAt(0)), version = [1, 0, 0, 0];
  return Uint8Array.from([
    ...magic,
    ...version,
    ...section(SECTION.TYPE, vector([[TYPE.FUNCTION, 1, TYPE.I32, 1, TYPE.I32], [TYPE.FUNCTION, 0, 1, TYPE.I32]])),
    ...section(SECTION.IMPORT, vector([[...name("machine"), ...name("memory"), KIND.MEMORY, 0, 0]])),
    ...section(SECTION.FUNCTION, vector([[0], [1]])),
    ...section(SECTION.GLOBAL, vector([[TYPE.I32, MUTABLE, OP.I32_CONST, 0, OP.END]])),
    ...section(
      SECTION.EXPORT,
      vector([[...name("hash"), KIND.FUNCTION, 0], [...name("high"), KIND.FUNCTION, 1]]),
    ),
    ...section(SECTION.CODE, vector([body(hashBody()), body([0, OP.GLOBAL_GET, 0, OP.END])])),
  ]);
}

/** Locals and code of `hash`. */
function hashBody(): number[] {
  const accumulators = Array.from({ length: ACCUMULATORS }, (_, i) => FIRST_ACCUMULATOR + i);
  return [
    ...vector([[1, TYPE.I32], [1, TYPE.I64], [2 + ACCUMULATORS, TYPE.V128]]),
    ...[OP.LOCAL_GET, ADDRESS, OP.I32_CONST, ...signed(BigInt(PAGE_SIZE)), OP.I32_ADD, OP.LOCAL_SET, END],
    ...splat(LANE_FACTOR),
    ...[OP.LOCAL_SET, FACTOR],
    ...accumulators.flatMap((local, i) => [...splat(Math.imul(i + 1, SEED_FACTOR)), OP.LOCAL_SET, local]),
    ...[OP.LOOP, TYPE.NOTHING],
    ...accumulators.flatMap(takeVector),
    ...[OP.LOCAL_GET, ADDRESS, OP.I32_CONST, ...signed(BigInt(ACCUMULATORS * VECTOR_BYTES)), OP.I32_ADD],
    ...[OP.LOCAL_TEE, ADDRESS, OP.LOCAL_GET, END, OP.I32_LT_U, OP.BR_IF, 0, OP.END],
    ...accumulators.flatMap((local) => [...fold(local, 0), ...fold(local, 1)]),
    ...[OP.LOCAL_GET, FOLD, OP.I64_CONST, ...signed(BigInt(LANE_BITS)), OP.I64_SHR_U, OP.I32_WRAP_I64],
    ...[OP.GLOBAL_SET, 0, OP.LOCAL_GET, FOLD, OP.I32_WRAP_I64, OP.END],
  ];
}

/** accumulator = rotate((accumulator ^ memory) * factor), in each lane: a bijection of what was read. */
function takeVector(local: number, i: number): number[] {
  return [
    ...[OP.LOCAL_GET, local, OP.LOCAL_GET, ADDRESS, ...simd(VECTOR.LOAD), VECTOR_ALIGN, ...unsigned(i * VECTOR_BYTES)],
    ...[...simd(VECTOR.XOR), OP.LOCAL_GET, FACTOR, ...simd(VECTOR.I32X4_MUL), OP.LOCAL_TEE, PRODUCT],
    ...[OP.I32_CONST, LANE_ROTATE, ...simd(VECTOR.I32X4_SHL)],
    ...[OP.LOCAL_GET, PRODUCT, OP.I32_CONST, LANE_BITS - LANE_ROTATE, ...simd(VECTOR.I32X4_SHR_U)],
    ...[...simd(VECTOR.OR), OP.LOCAL_SET, local],
  ];
}

/** fold = (fold ^ half of an accumulator) * factor, and its upper bits over its lower ones. */
function fold(local: number, half: number): number[] {
  return [
    ...[OP.LOCAL_GET, FOLD, OP.LOCAL_GET, local, ...simd(VECTOR.I64X2_EXTRACT_LANE), half, OP.I64_XOR],
    ...[OP.I64_CONST, ...signed(FOLD_FACTOR), OP.I64_MUL, OP.LOCAL_TEE, FOLD],
    ...[OP.LOCAL_GET, FOLD, OP.I64_CONST, ...signed(FOLD_SHIFT), OP.I64_SHR_U, OP.I64_XOR, OP.LOCAL_SET, FOLD],
  ];
}

const splat = (value: number) => [OP.I32_CONST, ...signed(BigInt(value)), ...simd(VECTOR.I32X4_SPLAT)];
const simd = (opcode: number) => [SIMD, ...unsigned(opcode)];
const section = (id: number, contents: readonly number[]) => [id, ...unsigned(contents.length), ...contents];
const body = (code: readonly number[]) => [...unsigned(code.length), ...code];
const vector = (items: readonly (readonly number[])[]) => [...unsigned(items.length), ...items.flat()];
const name = (text: string) => [text.length, ...new TextEncoder().encode(text)];

/** LEB128 of a number that is not negative. */
function unsigned(value: number): number[] {
  return value < 0x80 ? [value] : [(value & 0x7f) | 0x80, ...unsigned(value >>> 7)];
}

/** LEB128 of a signed number. */
function signed(value: bigint): number[] {
  const low = Number(value & 0x7fn), rest = value >> 7n, sign = low & 0x40;
  const isLast = (rest === 0n && sign === 0) || (rest === -1n && sign !== 0);
  return isLast ? [low] : [low | 0x80, ...signed(rest)];
}
