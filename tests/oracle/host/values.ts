// Values for the memory operands of the host oracle's cases, and the state of the FPU and of the XMM registers before them.

import type { Operand } from "../../../plugins/x86/instruction.ts";
import type { Form } from "./forms.ts";
import { jumpTarget, nullSelector } from "./integers.ts";
import type { Numbers } from "./numbers.ts";
import type { Case } from "./state.ts";

/** Bytes and kind of memory operands other than integers as wide as the operation. */
type Content = "integer" | "float" | "double" | "extended" | "decimal" | "environment" | "vector";
const OPERANDS: Readonly<Partial<Record<Operand, readonly [bytes: number, content: Content]>>> = {
  Eb: [1, "integer"],
  Ew: [2, "integer"],
  Mw: [2, "integer"],
  Mi16: [2, "integer"],
  Mi64: [8, "integer"],
  Mq: [8, "vector"],
  Ma: [8, "integer"],
  Mp: [6, "integer"],
  Mf32: [4, "float"],
  Mf64: [8, "double"],
  Mf80: [10, "extended"],
  Mbcd: [10, "decimal"],
  Menv: [28, "environment"],
  Mfpu: [108, "environment"],
  Qq: [8, "vector"],
  Qd: [4, "vector"],
  Wdq: [16, "vector"],
  Wps: [16, "vector"],
  Wpd: [16, "vector"],
  Wq: [8, "vector"],
  Wss: [4, "vector"],
  Wsd: [8, "vector"],
  Mdq: [16, "vector"],
};
const OTHER: readonly [number, Content] = [4, "integer"];
const isMemoryOperand = (operand: Operand) => /^[EMQWO]/.test(operand);

const words = new Int32Array(4);

/** Gives the memory operand at `target` of the data page its value. */
export function operandValue(form: Form, numbers: Numbers, start: Case, target: number): void {
  const { row, operandSize } = form;
  const operand = row.operands.find(isMemoryOperand);
  const [bytes, content] = operand === undefined ? OTHER : OPERANDS[operand] ?? OTHER;
  const view = start.setPatch(target, bytes);
  switch (row.handler) {
    case "jmpIndirect":
    case "callIndirect":
      return view.setInt32(0, jumpTarget(numbers, operandSize), true);
    case "movToSegment":
    case "lar":
    case "lsl":
    case "verr":
    case "verw":
      return view.setInt32(0, nullSelector(numbers), true);
    case "loadFarPointer":
      view.setInt32(0, numbers.next(), true);
      return view.setInt32(operandSize / 8, nullSelector(numbers), true);
    case "ldmxcsr":
      return view.setInt32(0, numbers.once(4) ? numbers.next() & RESERVED_MXCSR : numbers.next() & 0xffff, true);
  }
  switch (content) {
    case "integer":
      view.setInt32(0, numbers.integer(), true);
      if (bytes > 4) view.setInt32(4, numbers.integer(), true);
      if (operand === "Mi64" && numbers.once(2)) {
        view.setInt32(4, numbers.pick([0, -1, 0x7fff_ffff, -0x8000_0000]), true);
      }
      break;
    case "float":
      view.setInt32(0, numbers.single(), true);
      break;
    case "double":
      numbers.double(words, 0);
      putWords(view, 0, 2);
      break;
    case "extended":
      numbers.extended(words, 0);
      putWords(view, 0, 3);
      break;
    case "decimal":
      for (let i = 0; i < 9; i++) view.setUint8(i, 0);
      for (let digits = numbers.below(19), i = 0; i < digits; i++) {
        view.setUint8(i >> 1, view.getUint8(i >> 1) | numbers.below(10) << 4 * (i & 1));
      }
      view.setUint8(9, numbers.next());
      break;
    case "environment": {
      const fieldBytes = operandSize / 8, controlWord = numbers.once(2) ? 0x37f : numbers.next();
      for (let at = 0; at < 7 * fieldBytes; at += 2) view.setInt16(at, numbers.next(), true);
      view.setInt16(0, controlWord, true);
      for (let i = 0, at = 7 * fieldBytes; i < 8 && at + 10 <= bytes; i++, at += 10) {
        numbers.extended(words, 0);
        view.setInt32(at, words[0], true);
        view.setInt32(at + 4, words[1], true);
        view.setInt16(at + 8, words[2], true);
      }
      break;
    }
    case "vector":
      vector(form, numbers, words, 0);
      putWords(view, 0, 4);
  }
}

/** MXCSR bits that LDMXCSR refuses on any processor: not bit 17, AMD's misaligned-exception mask. */
const RESERVED_MXCSR = 0xfffd_ffff | 0;

function putWords(view: DataView, at: number, count: number): void {
  for (let i = 0; i < count; i++) view.setInt32(at + 4 * i, words[i], true);
}

/** Mnemonics whose operands are singles, and those whose are doubles. */
const SINGLES = /ps$|ss$|^cvtt?[ps]s2/, DOUBLES = /pd$|sd$|^cvtt?[ps]d2/;
const FROM_INTEGERS = /^cvt(pi|si|dq)2/;

/** 128 bits of what the form works on mostly, else of another kind. */
function vector(form: Form, numbers: Numbers, out: Int32Array, at: number): void {
  const { name } = form.row;
  let kind = FROM_INTEGERS.test(name) ? 0 : SINGLES.test(name) ? 1 : DOUBLES.test(name) ? 2 : 0;
  if (numbers.once(8)) kind = numbers.below(3);
  if (kind === 1) { for (let i = 0; i < 4; i++) out[at + i] = numbers.single(); }
  else if (kind === 2) {
    numbers.double(out, at);
    numbers.double(out, at + 2);
  } else packedIntegers(numbers, out, at);
}

const BYTES = [0, 1, 0x7f, 0x80, 0x81, 0xff, 0xfe], WORDS = [0, 1, 0x7fff, 0x8000, 0x8001, 0xffff, 0xff, 0xff80, 0x7f];

function packedIntegers(numbers: Numbers, out: Int32Array, at: number): void {
  const kind = numbers.below(6);
  for (let i = 0; i < 4; i++) {
    out[at + i] = kind === 0 || kind > 2 && numbers.once(2)
      ? numbers.next()
      : kind === 1
      ? numbers.pick(BYTES) | numbers.pick(BYTES) << 8 | numbers.pick(BYTES) << 16 | numbers.pick(BYTES) << 24
      : kind === 2
      ? numbers.pick(WORDS) | numbers.pick(WORDS) << 16
      : numbers.integer();
  }
  // A shift's count, now and then one that only its high bits make large.
  if (kind === 5) {
    out[at] = numbers.below(72);
    out[at + 1] = numbers.once(4) ? 1 << numbers.below(32) : 0;
  }
}

/** FNINIT's control word; bits of it; exception flags and ES, and what FRSTOR keeps of a status word. */
const INITIAL_CONTROL = 0x37f, ALL_MASKED = 0x7f, FLAGS = 0x7f, STATUS_BITS = 0xff80, TOP = 0x3800;
const EMPTY = 3, TAGS_EMPTY = 0xffff;
/** Offset, selectors, opcode and data offset before the instruction: of nothing that is there. */
const POINTERS = [0x1111_2222, 0x0123_1313, 0x4444_5555, 0x2626];

/** The FPU's state: any for x87 instructions, mostly harmless for others. */
export function fillFpu(form: Form, numbers: Numbers, { fpu }: Case): void {
  const isX87 = form.kind === "x87";
  const control = numbers.once(3)
    ? INITIAL_CONTROL
    : numbers.once(2)
    ? ALL_MASKED | numbers.below(16) << 8
    : numbers.next() & 0xffff;
  let status = numbers.next() & STATUS_BITS;
  if (isX87 ? numbers.once(3) : numbers.once(8)) {
    status |= numbers.next() & FLAGS & (numbers.once(8) ? FLAGS : control | 0x40);
  }
  const emptiness = numbers.below(4);
  let tags = isX87 ? 0 : numbers.next() & TAGS_EMPTY;
  for (let position = 0; position < 8; position++) {
    extendedOrVector(form, numbers, position);
    const at = 7 * 4 + position * 10;
    putFpu(fpu, at);
    if (!isX87) continue;
    // In half of the cases ST(0) and ST(1) are there and ST(7) is not.
    const register = (status & TOP) / 0x800 + position & 7;
    const isEmpty = emptiness === 0
      ? false
      : emptiness === 1
      ? numbers.below(8) < 7
      : emptiness === 2
      ? numbers.once(3)
      : position > 1 && (position === 7 || numbers.once(3));
    tags |= (isEmpty ? EMPTY : numbers.below(3)) << 2 * register;
  }
  fpu[0] = control | -0x10000;
  fpu[1] = status | -0x10000;
  fpu[2] = tags | -0x10000;
  fpu.set(POINTERS, 3);
}

function extendedOrVector(form: Form, numbers: Numbers, position: number): void {
  if (form.kind === "x87") return numbers.extended(words, 0);
  vector(form, numbers, words, 0);
  words[2] = position === 7 ? 0x3fff : 0xffff;
}

/** Stores ten bytes of `words` at a byte offset, which is even, of the image. */
function putFpu(fpu: Int32Array, at: number): void {
  const halves = new Uint16Array(fpu.buffer, fpu.byteOffset + at, 5);
  for (let i = 0; i < 5; i++) halves[i] = words[i >> 1] >>> 16 * (i & 1);
}

export function fillXmm(form: Form, numbers: Numbers, { xmm }: Case): void {
  for (let at = 0; at < 32; at += 4) vector(form, numbers, xmm, at);
}

/** MXCSR fields (SDM 1, 10.2.3). */
const FLUSH_TO_ZERO = 0x8000, DENORMALS_ARE_ZEROS = 0x40, EXCEPTIONS = 0x3f, MASKS_SHIFT = 7, ROUNDING_SHIFT = 13;

/** MXCSR: mostly all masked; any rounding, FTZ and DAZ; else one exception unmasked or any. */
export function fillMxcsr(numbers: Numbers, start: Case): void {
  const kind = numbers.below(5);
  const masks = kind === 0 ? numbers.below(64) : kind === 1 ? EXCEPTIONS ^ 1 << numbers.below(6) : EXCEPTIONS;
  const flags = numbers.once(2) ? numbers.below(64) : 0;
  start.mxcsr = masks << MASKS_SHIFT | flags | numbers.below(4) << ROUNDING_SHIFT |
    (numbers.once(4) ? FLUSH_TO_ZERO : 0) | (numbers.once(4) ? DENORMALS_ARE_ZEROS : 0);
}
