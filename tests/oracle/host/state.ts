// What a case of the host oracle is: the complete state that one instruction starts from, and where its code and data lie.

/** Where the instruction lies: in the middle of a page of INT3. */
export const CODE = 0x0040_0000, START = CODE + 0x800;
/** The page of memory operands, which 16-bit addresses reach. */
export const DATA = 0x8000, DATA_BYTES = 4096;
/** Operands lie at these offsets in it: in the middle, so that whatever is relative to them stays inside. */
export const FIRST_TARGET = 0x600, TARGETS = 0x400;
/** Jumps end this far from the instruction at most, among INT3. */
export const NEAR = 0x600;
/** Selectors of ES, CS, SS, DS, FS and GS in a 32-bit process of a 64-bit Linux. */
export const SELECTORS = [0x2b, 0x23, 0x2b, 0x2b, 0, 0x63];
/** Longest run of bytes of the data page that a case sets. */
export const MOST_PATCH_BYTES = 112;
/** Words of an FNSAVE image with 32-bit fields; MXCSR after power-on. */
export const FPU_WORDS = 27, MXCSR_AT_POWER_ON = 0x1f80;

/** What a case starts from. One object is filled again and again. */
export class Case {
  readonly code = new Uint8Array(16);
  length = 0;
  /** EAX to EDI. */
  readonly registers = new Int32Array(8);
  /** Status flags and DF. */
  flags = 0;
  /** The data page holds `freshByte` but for these. */
  patchOffset = 0;
  patchBytes = 0;
  readonly patch = new DataView(new ArrayBuffer(MOST_PATCH_BYTES));
  /** What FRSTOR loads. */
  readonly fpu = new Int32Array(FPU_WORDS);
  mxcsr = MXCSR_AT_POWER_ON;
  /** XMM0 to XMM7. */
  readonly xmm = new Int32Array(32);

  setPatch(offset: number, bytes: number): DataView {
    this.patchOffset = offset;
    this.patchBytes = bytes;
    return this.patch;
  }
}

/** The byte of the data page at an offset, before a case patches it. */
export function freshByte(offset: number): number {
  return (offset * 37 + 11) & 0xff;
}

/** What the random numbers chose for a case before its operands get values. */
export interface Choices {
  readonly addressSize: 16 | 32;
  /** Bytes of an integer operand. */
  readonly bytes: number;
  /** LOCK, a repeat prefix or 0. */
  readonly prefix: number;
  readonly reg: number;
  readonly rm: number;
  /** Offset of the memory operand in the data page. */
  readonly target: number;
}

/** A case in words, for messages: what `run -v` prints, of the state before. */
export function describeCase(start: Case, kind: "integer" | "x87" | "simd"): string {
  const hex = (word: number) => (word >>> 0).toString(16), padded = (word: number) => hex(word).padStart(8, "0");
  const bytes = (list: Iterable<number>) => Array.from(list, (byte) => byte.toString(16).padStart(2, "0")).join("");
  const patch = new Uint8Array(start.patch.buffer, 0, start.patchBytes);
  const words = [
    `code=${bytes(start.code.subarray(0, start.length))}`,
    ...Array.from(start.registers, (value, register) => `${"acdbspio"[register]}=${hex(value)}`),
    `f=${hex(start.flags)}`,
    `m${hex(start.patchOffset)}=${bytes(patch)}`,
  ];
  if (kind === "integer") return words.join(" ");
  const image = new DataView(start.fpu.buffer);
  words.push(
    `cw=${hex(image.getUint16(0, true))} sw=${hex(image.getUint16(4, true))} tw=${hex(image.getUint16(8, true))}`,
  );
  for (let i = 0; i < 8; i++) {
    const at = 28 + 10 * i;
    const exponent = hex(image.getUint16(at + 8, true)).padStart(4, "0");
    words.push(`st${i}=${exponent}${padded(image.getUint32(at + 4, true))}${padded(image.getUint32(at, true))}`);
  }
  for (let i = 0; i < 8; i++) {
    words.push(`xmm${i}=${[3, 2, 1, 0].map((word) => padded(start.xmm[4 * i + word])).join("")}`);
  }
  words.push(`mxcsr=${hex(start.mxcsr)}`);
  return words.join(" ");
}
