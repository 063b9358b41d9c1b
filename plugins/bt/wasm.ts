// A WebAssembly encoder: one small class that writes a function body as bytes, and one that puts functions into a module
// (WebAssembly 3.0 core specification, chapter 5: binary format; tail calls; appendix A.6: branch hints).

/** Value and block types. */
export const I32 = 0x7f, I64 = 0x7e, F32 = 0x7d, F64 = 0x7c, V128 = 0x7b, VOID = 0x40;

/** What an access is to: a machine address, or a place in the hypervisor's area behind the frames (layout.ts). */
export const MACHINE = 0, HYPERVISOR = 1;
/** Bytes of an offset that is known when the module is made: a LEB128 of fixed length. */
const FIXED_LENGTH = 5;

/** Opcodes without immediates, by the specification's names. */
export const Op = {
  unreachable: 0x00,
  return: 0x0f,
  drop: 0x1a,
  select: 0x1b,
  i32Eqz: 0x45,
  i32Eq: 0x46,
  i32Ne: 0x47,
  i32LtS: 0x48,
  i32LtU: 0x49,
  i32GtS: 0x4a,
  i32GtU: 0x4b,
  i32LeS: 0x4c,
  i32LeU: 0x4d,
  i32GeS: 0x4e,
  i32GeU: 0x4f,
  i64Eqz: 0x50,
  i64Eq: 0x51,
  i64Ne: 0x52,
  i64LtS: 0x53,
  i64LtU: 0x54,
  i64GtU: 0x56,
  i64GeU: 0x5a,
  f32Eq: 0x5b,
  f32Ne: 0x5c,
  f32Lt: 0x5d,
  f32Gt: 0x5e,
  f32Le: 0x5f,
  f32Ge: 0x60,
  f64Eq: 0x61,
  f64Ne: 0x62,
  f64Lt: 0x63,
  f64Gt: 0x64,
  f64Le: 0x65,
  f64Ge: 0x66,
  i32Clz: 0x67,
  i32Ctz: 0x68,
  i32Popcnt: 0x69,
  i32Add: 0x6a,
  i32Sub: 0x6b,
  i32Mul: 0x6c,
  i32DivS: 0x6d,
  i32DivU: 0x6e,
  i32RemU: 0x70,
  i32And: 0x71,
  i32Or: 0x72,
  i32Xor: 0x73,
  i32Shl: 0x74,
  i32ShrS: 0x75,
  i32ShrU: 0x76,
  i32Rotl: 0x77,
  i32Rotr: 0x78,
  i64Clz: 0x79,
  i64Ctz: 0x7a,
  i64Add: 0x7c,
  i64Sub: 0x7d,
  i64Mul: 0x7e,
  i64DivS: 0x7f,
  i64DivU: 0x80,
  i64RemS: 0x81,
  i64RemU: 0x82,
  i64And: 0x83,
  i64Or: 0x84,
  i64Xor: 0x85,
  i64Shl: 0x86,
  i64ShrS: 0x87,
  i64ShrU: 0x88,
  f32Sqrt: 0x91,
  f32Add: 0x92,
  f32Sub: 0x93,
  f32Mul: 0x94,
  f32Div: 0x95,
  f64Trunc: 0x9d,
  f64Nearest: 0x9e,
  f64Sqrt: 0x9f,
  f64Add: 0xa0,
  f64Sub: 0xa1,
  f64Mul: 0xa2,
  f64Div: 0xa3,
  i32WrapI64: 0xa7,
  i64ExtendI32S: 0xac,
  i64ExtendI32U: 0xad,
  i64TruncF64S: 0xb0,
  i64TruncF64U: 0xb1,
  f32ConvertI32S: 0xb2,
  f32DemoteF64: 0xb6,
  f64ConvertI32S: 0xb7,
  f64ConvertI64U: 0xba,
  f64PromoteF32: 0xbb,
  i32ReinterpretF32: 0xbc,
  i64ReinterpretF64: 0xbd,
  f32ReinterpretI32: 0xbe,
  i32Extend8S: 0xc0,
  i32Extend16S: 0xc1,
} as const;

/** Loads and stores. */
export const Access = {
  i32Load: 0x28,
  i64Load: 0x29,
  f32Load: 0x2a,
  f64Load: 0x2b,
  i32Load8S: 0x2c,
  i32Load8U: 0x2d,
  i32Load16S: 0x2e,
  i32Load16U: 0x2f,
  i32Store: 0x36,
  i64Store: 0x37,
  i32Store8: 0x3a,
  i32Store16: 0x3b,
} as const;

const NO_OFFSET = new Uint8Array(FIXED_LENGTH);

/** First byte of every vector instruction. */
const VECTOR_PREFIX = 0xfd;

const textEncoder = new TextEncoder();
/** Names in UTF-8: every module has the same few. */
const encodedNames = new Map<string, Uint8Array>();

/** Bytes of a module or a function body in the making. */
export class Bytes {
  #bytes = new Uint8Array(1024);
  length = 0;

  byte(value: number): this {
    if (this.length === this.#bytes.length) this.#reserve(1);
    this.#bytes[this.length++] = value;
    return this;
  }

  /** Makes room for some more bytes. */
  #reserve(count: number): void {
    const least = this.length + count;
    if (least <= this.#bytes.length) return;
    const larger = new Uint8Array(Math.max(this.#bytes.length * 2, least));
    larger.set(this.#bytes);
    this.#bytes = larger;
  }

  /** Unsigned LEB128. */
  unsigned(value: number): this {
    let rest = value >>> 0;
    while (rest > 0x7f) {
      this.byte((rest & 0x7f) | 0x80);
      rest >>>= 7;
    }
    return this.byte(rest);
  }

  /** Signed LEB128 of a 32-bit value. */
  signed(value: number): this {
    let rest = value | 0;
    for (;;) {
      const low = rest & 0x7f;
      rest >>= 7;
      if ((rest === 0 && !(low & 0x40)) || (rest === -1 && (low & 0x40) !== 0)) return this.byte(low);
      this.byte(low | 0x80);
    }
  }

  bytes(values: Uint8Array): this {
    this.#reserve(values.length);
    this.#bytes.set(values, this.length);
    this.length += values.length;
    return this;
  }

  append(other: Bytes): this {
    return this.bytes(other.#bytes.subarray(0, other.length));
  }

  /** Unsigned LEB128 in five bytes, over what is there. */
  overwrite(at: number, value: number): void {
    const bytes = this.#bytes;
    bytes[at] = value & 0x7f | 0x80;
    bytes[at + 1] = value >>> 7 & 0x7f | 0x80;
    bytes[at + 2] = value >>> 14 & 0x7f | 0x80;
    bytes[at + 3] = value >>> 21 & 0x7f | 0x80;
    bytes[at + 4] = value >>> 28;
  }

  name(text: string): this {
    let encoded = encodedNames.get(text);
    if (encoded === undefined) encodedNames.set(text, encoded = textEncoder.encode(text));
    return this.unsigned(encoded.length).bytes(encoded);
  }

  clear(): this {
    this.length = 0;
    return this;
  }

  take(): Uint8Array<ArrayBuffer> {
    return this.#bytes.slice(0, this.length);
  }

  /** The same without a copy: only until more is written. */
  view(): Uint8Array<ArrayBuffer> {
    return this.#bytes.subarray(0, this.length);
  }
}

/** One function: parameters are locals 0.., further locals are made as they are needed. */
export class FunctionBody {
  readonly code = new Bytes();
  /** Branches whose likelihood is known, by where their opcodes lie in the code. */
  readonly hints: { readonly at: number; readonly likelihood: number }[] = [];
  /** Where in the code the bytes of offsets into the hypervisor's area lie, each followed by the offset. */
  readonly #fixups: number[] = [];
  /** Code that is placed before. */
  #prologue: FunctionBody | undefined;
  #locals: number[] = [];
  readonly #free = new Map<number, number[]>();
  /** Functions of its module, from the first one on, of which it calls the last: an import costs a region 1 us (measured). */
  callees = 0;
  /** Calls in it. */
  calls = 0;
  /** Open blocks, for relative branch depths. */
  depth = 0;

  constructor(readonly parameters: number) {}

  /** A new local of a type. */
  local(type: number): number {
    const free = this.#free.get(type)?.pop();
    if (free !== undefined) return free;
    this.#locals.push(type);
    return this.parameters + this.#locals.length - 1;
  }

  /** Gives a local back for reuse. */
  release(type: number, local: number): void {
    const list = this.#free.get(type);
    if (list === undefined) this.#free.set(type, [local]);
    else list.push(local);
  }

  op(opcode: number): this {
    this.code.byte(opcode);
    return this;
  }

  constant(value: number): this {
    this.code.byte(0x41).signed(value);
    return this;
  }

  /** A small 64-bit constant. */
  constant64(value: number): this {
    this.code.byte(0x42).signed(value);
    return this;
  }

  /** A 64-bit constant of two words. */
  constantI64(high: number, low: number): this {
    this.code.byte(0x42);
    let upper = high | 0, lower = low | 0;
    for (;;) {
      const digit = lower & 0x7f;
      lower = (lower >>> 7) | (upper << 25);
      upper >>= 7;
      const isLast = (digit & 0x40) === 0 ? (upper | lower) === 0 : (upper & lower) === -1;
      if (isLast) {
        this.code.byte(digit);
        return this;
      }
      this.code.byte(digit | 0x80);
    }
  }

  get(local: number): this {
    this.code.byte(0x20).unsigned(local);
    return this;
  }

  set(local: number): this {
    this.code.byte(0x21).unsigned(local);
    return this;
  }

  tee(local: number): this {
    this.code.byte(0x22).unsigned(local);
    return this;
  }

  /** A load or store at the address on the stack plus `offset`. Alignment is claimed as one byte: it is a hint. */
  memory(access: number, memory: number, offset: number): this {
    this.code.byte(access);
    return this.#place(memory, offset);
  }

  #place(memory: number, offset: number): this {
    this.code.unsigned(0);
    if (memory === MACHINE) this.code.unsigned(offset);
    else {
      this.#fixups.push(this.code.length, offset);
      this.code.bytes(NO_OFFSET);
    }
    return this;
  }

  /** A 64-bit float. */
  constantF64(value: number): this {
    this.code.byte(0x44).bytes(new Uint8Array(Float64Array.of(value).buffer));
    return this;
  }

  constantF32(value: number): this {
    this.code.byte(0x43).bytes(new Uint8Array(Float32Array.of(value).buffer));
    return this;
  }

  /** Pops a binary64 and pushes it as an int32, the nearest to it if it is out of range, truncated. */
  truncateSaturated(): this {
    this.code.byte(0xfc).unsigned(2);
    return this;
  }

  // Vectors of 128 bits. Opcodes are those of emit/simd_opcodes.ts.

  vector(opcode: number): this {
    this.code.byte(VECTOR_PREFIX).unsigned(opcode);
    return this;
  }

  /** An opcode with a lane: `extract_lane`, `replace_lane`. */
  lane(opcode: number, lane: number): this {
    this.code.byte(VECTOR_PREFIX).unsigned(opcode).byte(lane);
    return this;
  }

  /** Sixteen bytes of the two vectors on the stack: numbers from 16 on are the upper one's. */
  shuffle(lanes: readonly number[]): this {
    this.code.byte(VECTOR_PREFIX).unsigned(0x0d);
    for (const lane of lanes) this.code.byte(lane);
    return this;
  }

  /** A vector of four words, the least significant first. */
  constant128(words: readonly number[]): this {
    this.code.byte(VECTOR_PREFIX).unsigned(0x0c).bytes(new Uint8Array(Int32Array.from(words).buffer));
    return this;
  }

  /** A vector load or store, as `memory`; of a single lane where one is given. */
  vectorMemory(opcode: number, memory: number, offset: number, lane?: number): this {
    this.code.byte(VECTOR_PREFIX).unsigned(opcode);
    this.#place(memory, offset);
    if (lane !== undefined) this.code.byte(lane);
    return this;
  }

  /** memory.copy within machine memory: destination, source and length are on the stack. */
  memoryCopy(): this {
    this.code.byte(0xfc).unsigned(10).byte(0).byte(0);
    return this;
  }

  /** memory.fill in machine memory: destination, byte and length are on the stack. */
  memoryFill(): this {
    this.code.byte(0xfc).unsigned(11).byte(0);
    return this;
  }

  /** Says of the `if` or `brIf` that comes next that it is taken seldom, or nearly always. */
  unlikely(): this {
    return this.#hint(0);
  }

  likely(): this {
    return this.#hint(1);
  }

  #hint(likelihood: number): this {
    this.hints.push({ at: this.code.length, likelihood });
    return this;
  }

  block(type = VOID): number {
    this.code.byte(0x02).byte(type);
    return ++this.depth;
  }

  loop(): number {
    this.code.byte(0x03).byte(VOID);
    return ++this.depth;
  }

  if(type = VOID): number {
    this.code.byte(0x04).byte(type);
    return ++this.depth;
  }

  else(): this {
    this.code.byte(0x05);
    return this;
  }

  end(): this {
    this.code.byte(0x0b);
    this.depth--;
    return this;
  }

  /** Branches to a label that `block`, `loop` or `if` returned. */
  br(label: number): this {
    this.code.byte(0x0c).unsigned(this.depth - label);
    return this;
  }

  brIf(label: number): this {
    this.code.byte(0x0d).unsigned(this.depth - label);
    return this;
  }

  brTable(labels: readonly number[], otherwise: number): this {
    this.code.byte(0x0e).unsigned(labels.length);
    for (const label of labels) this.code.unsigned(this.depth - label);
    this.code.unsigned(this.depth - otherwise);
    return this;
  }

  call(index: number): this {
    this.calls++;
    this.callees = Math.max(this.callees, index + 1);
    this.code.byte(0x10).unsigned(index);
    return this;
  }

  returnCall(index: number): this {
    this.callees = Math.max(this.callees, index + 1);
    this.code.byte(0x12).unsigned(index);
    return this;
  }

  /** Tail call through table 0: arguments, then the slot, are on the stack. */
  returnCallIndirect(type: number): this {
    this.code.byte(0x13).unsigned(type).unsigned(0);
    return this;
  }

  /** Places the code of another body, without locals and labels of its own, before this one's. */
  prepend(prologue: FunctionBody): this {
    this.#prologue = prologue;
    return this;
  }

  /** The body's bytes where the hypervisor's area begins at machine address `area`. */
  encode(area: number): Uint8Array {
    const bytes = new Bytes();
    this.encodeTo(bytes, area);
    return bytes.take();
  }

  /** Adds the same to others. */
  encodeTo(bytes: Bytes, area: number): void {
    const locals = this.#locally();
    bytes.unsigned(locals.length + (this.#prologue?.code.length ?? 0) + this.code.length + 1).append(locals);
    if (this.#prologue !== undefined) this.#prologue.#placeTo(bytes, area);
    this.#placeTo(bytes, area);
    bytes.byte(0x0b);
  }

  /** The hints as the custom section has them: their number, then each one's place in the body, its length and its value. */
  encodeHintsTo(bytes: Bytes): void {
    const start = this.#locally().length + (this.#prologue?.code.length ?? 0);
    bytes.unsigned(this.hints.length);
    for (const { at, likelihood } of this.hints) bytes.unsigned(start + at).byte(1).byte(likelihood);
  }

  /** Adds the code with its offsets filled in. */
  #placeTo(bytes: Bytes, area: number): void {
    const start = bytes.length, fixups = this.#fixups;
    bytes.append(this.code);
    for (let i = 0; i < fixups.length; i += 2) bytes.overwrite(start + fixups[i], area + fixups[i + 1]);
  }

  /** The body's beginning: the locals' types. */
  #locally(): Bytes {
    const bytes = new Bytes().unsigned(this.#locals.length);
    for (const type of this.#locals) bytes.unsigned(1).byte(type);
    return bytes;
  }
}

/** A function type: parameters and results. */
export interface FunctionType {
  readonly parameters: readonly number[];
  readonly results: readonly number[];
}

/** An imported function. */
export interface FunctionImport {
  readonly name: string;
  readonly type: number;
}

/**
 * Encodes a module that imports machine memory ("m"."machine"), a table ("m"."table") and functions, and
 * places its own functions into the table's slots by active element segments. What it returns lies in `scratch`, if that is
 * given, until something else is written there.
 */
export function encodeModule(module: {
  readonly types: readonly FunctionType[];
  readonly imports: readonly FunctionImport[];
  readonly functions: readonly {
    readonly type: number;
    readonly body: FunctionBody;
    readonly slot?: number;
    readonly exported?: string;
  }[];
  /** Machine memory in WebAssembly pages, and where in it the hypervisor's area begins. */
  readonly machinePages: number;
  readonly area: number;
  readonly tableSlots: number;
}, scratch = new Bytes()): Uint8Array<ArrayBuffer> {
  const out = scratch.clear();
  out.bytes(Uint8Array.of(0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00));
  const content = sectionScratch;
  const section = (id: number, write: (bytes: Bytes) => void) => {
    write(content.clear());
    out.byte(id).unsigned(content.length).append(content);
  };
  section(1, (b) => {
    b.unsigned(module.types.length);
    for (const { parameters, results } of module.types) {
      b.byte(0x60).unsigned(parameters.length).bytes(Uint8Array.from(parameters));
      b.unsigned(results.length).bytes(Uint8Array.from(results));
    }
  });
  section(2, (b) => {
    b.unsigned(2 + module.imports.length);
    b.name("m").name("machine").byte(0x02).byte(0x01).unsigned(module.machinePages).unsigned(module.machinePages);
    b.name("m").name("table").byte(0x01).byte(0x70).byte(0x01).unsigned(module.tableSlots).unsigned(module.tableSlots);
    for (const { name, type } of module.imports) b.name("m").name(name).byte(0x00).unsigned(type);
  });
  section(3, (b) => {
    b.unsigned(module.functions.length);
    for (const { type } of module.functions) b.unsigned(type);
  });
  const exported = module.functions.flatMap((f, i) => f.exported === undefined ? [] : [[f.exported, i] as const]);
  section(7, (b) => {
    b.unsigned(exported.length);
    for (const [name, index] of exported) b.name(name).byte(0x00).unsigned(module.imports.length + index);
  });
  const placed = module.functions.flatMap((f, i) => f.slot === undefined ? [] : [[f.slot, i] as const]);
  section(9, (b) => {
    b.unsigned(placed.length);
    for (const [slot, index] of placed) {
      b.unsigned(0).byte(0x41).signed(slot).byte(0x0b).unsigned(1).unsigned(module.imports.length + index);
    }
  });
  const hinted = module.functions.flatMap(({ body }, i) => body.hints.length === 0 ? [] : [[body, i] as const]);
  if (hinted.length > 0) {
    section(0, (b) => {
      b.name("metadata.code.branch_hint").unsigned(hinted.length);
      for (const [body, index] of hinted) body.encodeHintsTo(b.unsigned(module.imports.length + index));
    });
  }
  section(10, (b) => {
    b.unsigned(module.functions.length);
    for (const { body } of module.functions) body.encodeTo(b, module.area);
  });
  return out.view();
}

/** One section's bytes, while a module is encoded: room for them costs more than they do. */
const sectionScratch = new Bytes();
