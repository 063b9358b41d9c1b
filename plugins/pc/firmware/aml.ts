// An encoder for the part of ACPI's machine language (AML) that our DSDT needs: objects, packages, devices and resource
// descriptors (ACPI Specification 3.0b, chapters 19 and 6.4). Every function returns the bytes of one term.

/** Bytes of AML, or of resource descriptors. */
export type Aml = readonly number[];

/** Opcodes, by the specification's names. */
const Op = {
  zero: 0x00,
  one: 0x01,
  name: 0x08,
  bytePrefix: 0x0a,
  wordPrefix: 0x0b,
  dwordPrefix: 0x0c,
  scope: 0x10,
  buffer: 0x11,
  package: 0x12,
  extended: 0x5b,
  device: 0x82,
  processor: 0x83,
} as const;
const ROOT = "\\".charCodeAt(0), SEGMENT_LETTERS = 4;

// Terms.

/** A 32-bit integer, as short as it can be. */
export function integer(value: number): Aml {
  if (value === 0) return [Op.zero];
  if (value === 1) return [Op.one];
  if (value < 1 << 8) return [Op.bytePrefix, value];
  if (value < 1 << 16) return [Op.wordPrefix, ...little(value, 2)];
  return [Op.dwordPrefix, ...little(value, 4)];
}

/** Name(name, value). */
export function name(path: string, value: Aml): Aml {
  return [Op.name, ...namePath(path), ...value];
}

/** Scope(path) { terms }. */
export function scope(path: string, ...terms: readonly Aml[]): Aml {
  return [Op.scope, ...withLength([...namePath(path), ...terms.flat()])];
}

/** Device(name) { terms }. */
export function device(path: string, ...terms: readonly Aml[]): Aml {
  return [Op.extended, Op.device, ...withLength([...namePath(path), ...terms.flat()])];
}

/** Processor(name, id, no register block) {}. */
export function processor(path: string, id: number): Aml {
  return [Op.extended, Op.processor, ...withLength([...namePath(path), id, ...little(0, 4), 0])];
}

/** Package() { elements }: at most 255. */
export function packageOf(...elements: readonly Aml[]): Aml {
  return [Op.package, ...withLength([elements.length, ...elements.flat()])];
}

/** EisaId("PNP0A03"): three letters of five bits and four hexadecimal digits, most significant first. */
export function eisaId(id: string): Aml {
  const letters = [...id.slice(0, 3)].reduce((bits, letter) => (bits << 5) | (letter.charCodeAt(0) - 0x40), 0);
  const bytes = [letters >> 8, letters & 0xff, parseInt(id.slice(3, 5), 16), parseInt(id.slice(5), 16)];
  return [Op.dwordPrefix, ...bytes];
}

// Resource descriptors, gathered by resources().

const Resource = { irq: 0x22, dma: 0x2a, io: 0x47, end: 0x79, dwordSpace: 0x87, wordSpace: 0x88 } as const;
const SpaceType = { memory: 0, io: 1, bus: 2 } as const;
/** General flags of a window: what the device decodes by itself and passes on, at fixed ends. */
const WINDOW_FLAGS = 0x0c;
/** Type flags: all ports, ISA's or not; writable memory, not cached. */
const ENTIRE_RANGE = 0x03, READ_WRITE = 0x01;
const DECODES_16_BITS = 1;
const WORD_SPACE_LENGTH = 13, DWORD_SPACE_LENGTH = 23;

/** ResourceTemplate() { descriptors }. The end's checksum of 0 counts as right. */
export function resources(...descriptors: readonly Aml[]): Aml {
  const bytes = [...descriptors.flat(), Resource.end, 0];
  return [Op.buffer, ...withLength([...integer(bytes.length), ...bytes])];
}

/** IO(Decode16, first, first, 1, count). */
export function ports(first: number, count: number): Aml {
  return [Resource.io, DECODES_16_BITS, ...little(first, 2), ...little(first, 2), 1, count];
}

/** IRQNoFlags() { irq }: edge-triggered, active high. */
export function irq(line: number): Aml {
  return [Resource.irq, ...little(1 << line, 2)];
}

/** DMA(Compatibility, NotBusMaster, Transfer8_16) { channel }. */
export function dma(channel: number): Aml {
  return [Resource.dma, 1 << channel, 1];
}

/** WordBusNumber, WordIO and DWordMemory windows, both ends included. */
export function busWindow(first: number, last: number): Aml {
  return wordWindow(SpaceType.bus, 0, first, last);
}
export function portWindow(first: number, last: number): Aml {
  return wordWindow(SpaceType.io, ENTIRE_RANGE, first, last);
}
export function memoryWindow(first: number, last: number): Aml {
  const fields = [0, first, last, 0, last - first + 1].flatMap((field) => little(field, 4));
  return [
    Resource.dwordSpace,
    ...little(DWORD_SPACE_LENGTH, 2),
    SpaceType.memory,
    WINDOW_FLAGS,
    READ_WRITE,
    ...fields,
  ];
}

function wordWindow(type: number, typeFlags: number, first: number, last: number): Aml {
  const fields = [0, first, last, 0, last - first + 1].flatMap((field) => little(field, 2));
  return [Resource.wordSpace, ...little(WORD_SPACE_LENGTH, 2), type, WINDOW_FLAGS, typeFlags, ...fields];
}

// Encoding.

/** A name of up to four letters, padded with underscores, after an optional root. */
function namePath(path: string): Aml {
  const isAbsolute = path.startsWith("\\"), segment = isAbsolute ? path.slice(1) : path;
  if (!/^[A-Z_][A-Z0-9_]{0,3}$/.test(segment)) throw new Error(`"${path}" is no AML name of one segment`);
  const letters = [...segment.padEnd(SEGMENT_LETTERS, "_")].map((letter) => letter.charCodeAt(0));
  return isAbsolute ? [ROOT, ...letters] : letters;
}

/** PkgLength, which counts its own bytes, before what it measures. */
function withLength(body: Aml): Aml {
  if (body.length + 1 < 1 << 6) return [body.length + 1, ...body];
  // More bytes: the first has their number in bits 7-6 and the low four bits of the length.
  const more = body.length + 2 < 1 << 12 ? 1 : body.length + 3 < 1 << 20 ? 2 : 3;
  const length = body.length + 1 + more;
  return [(more << 6) | (length & 0xf), ...little(length >> 4, more), ...body];
}

/** The low `count` bytes of a number, least significant first. */
function little(value: number, count: number): Aml {
  return Array.from({ length: count }, (_, index) => (value >>> (8 * index)) & 0xff);
}
