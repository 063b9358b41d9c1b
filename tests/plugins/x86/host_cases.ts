// Runs the cases of tests/oracle/host on a processor of ours, and digests the state after each as run.c does on the host.

import { decode } from "../../../plugins/x86/decoder.ts";
import { CS, DF, DS, ES, ESP, FS, GS, IF, SS, STATUS_FLAGS } from "../../../plugins/x86/instruction.ts";
import type { Processor } from "../../../plugins/x86/processor.ts";
import * as S from "../../../plugins/x86/state.ts";
import { Float80 } from "../../../plugins/x86/x87/float80.ts";
import { forEachCase } from "../../oracle/host/cases.ts";
import { Digest } from "../../oracle/host/digests.ts";
import { type Form, statusMaskOf } from "../../oracle/host/forms.ts";
import { type Case, DATA, DATA_BYTES, describeCase, freshByte, SELECTORS, START } from "../../oracle/host/state.ts";
import { executeInstruction, flatProcessor } from "./flat_processor.ts";

/** In place of a vector where an instruction completed. */
export const NO_FAULT = 255;
/** Of ST(0) in an FNSAVE image. */
const FIRST_REGISTER_BYTE = 28;

/** Segment registers as a digest pairs them, and letters of the general registers. */
const SELECTOR_PAIRS = [[ES, CS], [SS, DS], [FS, GS]], REGISTER_KEYS = "acdbspio";

const value = new Float80();

/** A processor in the state of a user process, and the cases' data page in it. */
export class UserProcessor {
  readonly cpu: Processor = flatProcessor(3);
  readonly #page: Uint8Array;
  readonly #words: Int32Array;
  readonly #fresh = Uint8Array.from({ length: DATA_BYTES }, (_, offset) => freshByte(offset));
  readonly #segments: Int32Array;
  #vector = NO_FAULT;
  /** Cases so far by vector; 255 where none was raised. */
  readonly vectors = new Map<number, number>();

  constructor() {
    const { cpu } = this;
    cpu.r[S.CR0] |= S.CR0_NE;
    cpu.r[S.CR4] |= S.CR4_OSFXSR | S.CR4_OSXMMEXCPT;
    const frame = cpu.mmu.memory.frameForWrite(DATA / DATA_BYTES) * DATA_BYTES;
    this.#page = cpu.bytes.subarray(frame, frame + DATA_BYTES);
    this.#words = new Int32Array(cpu.bytes.buffer, cpu.bytes.byteOffset + frame, DATA_BYTES / 4);
    SELECTORS.forEach((selector, segment) => cpu.r[S.SELECTOR + segment] = selector);
    this.#segments = cpu.r.slice(S.SELECTOR, S.ATTRIBUTES + S.SEGMENT_COUNT);
  }

  /** Runs a form's cases. Returns descriptions of those whose outcome's digest is not the expected one, by their number. */
  differences(form: Form, expected: readonly number[]): string[] {
    const found: string[] = [];
    forEachCase(form, (start, index) => {
      this.#load(form, start);
      this.#vector = this.#execute(form, start.code.subarray(0, start.length));
      this.vectors.set(this.#vector, (this.vectors.get(this.#vector) ?? 0) + 1);
      const digest = new Digest();
      this.#tell(form, (word) => digest.add(word));
      if (digest.value === expected[index]) return;
      found.push(`${form.key} ${index}: ${describeCase(start, form.kind)} > ${this.#text(form, start)}`);
    });
    return found;
  }

  /** Returns the vector of the fault, or 255. */
  #execute(form: Form, code: Uint8Array): number {
    if (decode(code, 0, code.length, 32) === "invalid") {
      this.cpu.r[S.EIP] = START;
      return S.Vector.invalidOpcode;
    }
    const vector = executeInstruction(this.cpu, code, START)?.vector ?? NO_FAULT;
    // AMD's processors push a selector with zeros above it; Intel's, which ours follows, leave the upper half as it was.
    if (form.row.handler === "pushSegment" && form.operandSize === 32) this.cpu.write16(this.cpu.r[ESP] + 2, 0);
    return vector;
  }

  #load(form: Form, start: Case): void {
    const { cpu } = this, { fpu, r } = cpu;
    r.set(start.registers);
    cpu.setEflags(start.flags | IF, STATUS_FLAGS | DF | IF);
    r.set(this.#segments, S.SELECTOR);
    cpu.updateMode();
    this.#page.set(this.#fresh);
    for (let i = 0; i < start.patchBytes; i++) this.#page[start.patchOffset + i] = start.patch.getUint8(i);
    if (form.kind === "integer") return;
    const image = new DataView(start.fpu.buffer);
    fpu.control = image.getUint16(0, true);
    fpu.statusWord = image.getUint16(4, true);
    fpu.updatePending(true);
    [fpu.instructionOffset, fpu.instructionSelector, fpu.dataOffset, fpu.dataSelector] = start.fpu.subarray(3);
    fpu.opcode = fpu.instructionSelector >>> 16;
    fpu.instructionSelector &= 0xffff;
    for (let position = 0, at = FIRST_REGISTER_BYTE; position < 8; position++, at += 10) {
      value.set(image.getUint16(at + 8, true), image.getUint32(at + 4, true), image.getUint32(at, true));
      fpu.store(position, value);
    }
    fpu.tagWord = image.getUint16(8, true);
    r.set(start.xmm, S.XMM);
    r[S.MXCSR] = start.mxcsr;
  }

  /** Tells the words of a digest. */
  #tell(form: Form, add: (word: number) => void): void {
    const { fpu, r } = this.cpu;
    add(this.#vector);
    for (let register = 0; register < 8; register++) add(r[register]);
    add(this.cpu.eflags() & (STATUS_FLAGS | DF));
    add(r[S.EIP]);
    for (const [low, high] of SELECTOR_PAIRS) {
      add(r[S.SELECTOR + low] & 0xffff | r[S.SELECTOR + high] << 16);
    }
    for (const word of this.#words) add(word);
    if (form.kind === "integer") return;
    add(fpu.control);
    add(fpu.statusWord & statusMaskOf(form));
    add(this.#emptyFromTop());
    for (let position = 0; position < 8; position++) {
      fpu.load(position, value);
      add(value.lo);
      add(value.hi);
      add(value.se);
    }
    for (let word = 0; word < 32; word++) add(r[S.XMM + word]);
    add(r[S.MXCSR]);
    if (form.kind === "x87" && this.#vector === NO_FAULT) this.#pointers().forEach(add);
  }

  /** The state after a case in the words of `run -v`. */
  #text(form: Form, start: Case): string {
    const { cpu } = this, { fpu, r } = cpu;
    const words = [`vector=${hex(this.#vector)}`];
    for (let register = 0; register < 8; register++) words.push(`${REGISTER_KEYS[register]}=${hex(r[register])}`);
    words.push(`f=${hex(cpu.eflags() & (STATUS_FLAGS | DF))} eip=${hex(r[S.EIP])}`);
    for (const [low, high] of SELECTOR_PAIRS) {
      words.push(`selectors=${hex(r[S.SELECTOR + low] & 0xffff | r[S.SELECTOR + high] << 16)}`);
    }
    for (const [offset, byte] of this.#page.entries()) {
      const at = offset - start.patchOffset;
      const was = at >= 0 && at < start.patchBytes ? start.patch.getUint8(at) : this.#fresh[offset];
      if (byte !== was) words.push(`m${hex(offset)}=${hex(byte)}`);
    }
    if (form.kind === "integer") return words.join(" ");
    words.push(
      `cw=${hex(fpu.control)} sw=${hex(fpu.statusWord & statusMaskOf(form))} empty=${hex(this.#emptyFromTop())}`,
    );
    for (let position = 0; position < 8; position++) {
      fpu.load(position, value);
      words.push(`st${position}=${hex(value.se).padStart(4, "0")}${padded(value.hi)}${padded(value.lo)}`);
    }
    for (let i = 0; i < 8; i++) {
      words.push(`xmm${i}=${[3, 2, 1, 0].map((word) => padded(r[S.XMM + 4 * i + word])).join("")}`);
    }
    words.push(`mxcsr=${hex(r[S.MXCSR])}`);
    if (form.kind === "x87" && this.#vector === NO_FAULT) {
      words.push(...this.#pointers().map((word) => `pointer=${hex(word)}`));
    }
    return words.join(" ");
  }

  #emptyFromTop(): number {
    const { empty, top } = this.cpu.fpu;
    return (empty >>> top | empty << 8 - top) & 0xff;
  }

  #pointers(): number[] {
    const { fpu } = this.cpu;
    return [fpu.instructionOffset, fpu.instructionSelector | fpu.opcode << 16, fpu.dataOffset, fpu.dataSelector];
  }
}

function hex(word: number): string {
  return (word >>> 0).toString(16);
}

function padded(word: number): string {
  return hex(word).padStart(8, "0");
}
