// A WebAssembly encoder: one small class that writes a function body as bytes, and one that puts functions into a module
// (WebAssembly 3.0 core specification, chapter 5: binary format; multi-memory and tail calls).

/** Value and block types. */
export const I32 = 0x7f, I64 = 0x7e, F64 = 0x7c, VOID = 0x40;

/** Index of a memory import: machine memory, then the hypervisor's own. */
export const MACHINE = 0, HYPERVISOR = 1;

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
  i64GtU: 0x56,
  i64GeU: 0x5a,
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
  i64Add: 0x7c,
  i64Sub: 0x7d,
  i64Mul: 0x7e,
  i64DivS: 0x7f,
  i64DivU: 0x80,
  i64RemS: 0x81,
  i64RemU: 0x82,
  i64Or: 0x84,
  i64Shl: 0x86,
  i64ShrS: 0x87,
  i64ShrU: 0x88,
  i32WrapI64: 0xa7,
  i64ExtendI32S: 0xac,
  i64ExtendI32U: 0xad,
  i32Extend8S: 0xc0,
  i32Extend16S: 0xc1,
} as const;

/** Loads and stores. */
export const Access = {
  i32Load: 0x28,
  i64Load: 0x29,
  i32Load8S: 0x2c,
  i32Load8U: 0x2d,
  i32Load16S: 0x2e,
  i32Load16U: 0x2f,
  i32Store: 0x36,
  i64Store: 0x37,
  i32Store8: 0x3a,
  i32Store16: 0x3b,
} as const;

/** Bytes of a module or a function body in the making. */
export class Bytes {
  #bytes = new Uint8Array(1024);
  length = 0;

  byte(value: number): this {
    if (this.length === this.#bytes.length) {
      const larger = new Uint8Array(this.length * 2);
      larger.set(this.#bytes);
      this.#bytes = larger;
    }
    this.#bytes[this.length++] = value;
    return this;
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
    for (let i = 0; i < values.length; i++) this.byte(values[i]);
    return this;
  }

  name(text: string): this {
    const encoded = new TextEncoder().encode(text);
    return this.unsigned(encoded.length).bytes(encoded);
  }

  take(): Uint8Array<ArrayBuffer> {
    return this.#bytes.slice(0, this.length);
  }
}

/** One function: parameters are locals 0.., further locals are made as they are needed. */
export class FunctionBody {
  readonly code = new Bytes();
  #locals: number[] = [];
  readonly #free = new Map<number, number[]>();
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
    if (memory === 0) this.code.unsigned(0);
    else this.code.unsigned(0x40).unsigned(memory);
    this.code.unsigned(offset);
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
    this.code.byte(0x10).unsigned(index);
    return this;
  }

  returnCall(index: number): this {
    this.code.byte(0x12).unsigned(index);
    return this;
  }

  /** Tail call through table 0: arguments, then the slot, are on the stack. */
  returnCallIndirect(type: number): this {
    this.code.byte(0x13).unsigned(type).unsigned(0);
    return this;
  }

  encode(): Uint8Array {
    const body = new Bytes();
    body.unsigned(this.#locals.length);
    for (const type of this.#locals) body.unsigned(1).byte(type);
    body.bytes(this.code.take()).byte(0x0b);
    return new Bytes().unsigned(body.length).bytes(body.take()).take();
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
 * Encodes a module that imports two memories ("m"."machine", "m"."hypervisor"), a table ("m"."table") and functions, and
 * places its own functions into the table's slots by active element segments.
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
  readonly machinePages: number;
  readonly hypervisorPages: number;
  readonly tableSlots: number;
}): Uint8Array<ArrayBuffer> {
  const out = new Bytes();
  out.bytes(Uint8Array.of(0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00));
  const section = (id: number, write: (bytes: Bytes) => void) => {
    const content = new Bytes();
    write(content);
    out.byte(id).unsigned(content.length).bytes(content.take());
  };
  section(1, (b) => {
    b.unsigned(module.types.length);
    for (const { parameters, results } of module.types) {
      b.byte(0x60).unsigned(parameters.length).bytes(Uint8Array.from(parameters));
      b.unsigned(results.length).bytes(Uint8Array.from(results));
    }
  });
  section(2, (b) => {
    b.unsigned(3 + module.imports.length);
    b.name("m").name("machine").byte(0x02).byte(0x01).unsigned(module.machinePages).unsigned(module.machinePages);
    b.name("m").name("hypervisor").byte(0x02).byte(0x01).unsigned(module.hypervisorPages).unsigned(
      module.hypervisorPages,
    );
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
  section(10, (b) => {
    b.unsigned(module.functions.length);
    for (const { body } of module.functions) b.bytes(body.encode());
  });
  return out.take();
}
