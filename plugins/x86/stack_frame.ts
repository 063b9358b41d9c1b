// Words pushed by far transfers and by the delivery of events: checked as a whole before anything changes, on a stack that
// may not be the current one (SDM 3A, 5.8.5 and 6.12.1).

import * as D from "./descriptors.ts";
import { ESP } from "./instruction.ts";
import type { Processor } from "./processor.ts";
import * as S from "./state.ts";

const V = S.Vector;

/** A frame: check all its words, push them one by one, then make the stack current. */
export class StackFrame {
  #pointer: number;
  constructor(
    readonly cpu: Processor,
    readonly base: number,
    pointer: number,
    /** All bits of ESP, or those of SP. */
    readonly pointerMask: number,
    readonly wordBytes: 2 | 4,
    readonly cpl: number,
  ) {
    this.#pointer = pointer;
  }

  /** A frame in a stack segment that is not loaded yet. */
  static inSegment(cpu: Processor, stack: D.Descriptor, pointer: number, wordBytes: 2 | 4, cpl: number): StackFrame {
    return new StackFrame(cpu, D.baseOf(stack), pointer, stack.high & S.SEG_DB ? -1 : 0xffff, wordBytes, cpl);
  }

  get #bank(): number {
    return this.cpl === 3 ? this.cpu.mmu.userBank : 0;
  }

  checkDescriptor(words: number, stack: D.Descriptor, errorCode: number): void {
    this.check(words, D.limitOf(stack), stack.high, errorCode);
  }

  /** Raises #SS(errorCode) unless `words` fit within the limit, and #PF where one cannot be written. */
  check(words: number, limit: number, attributes: number, errorCode: number): void {
    const { cpu } = this;
    for (let i = 1; i <= words; i++) {
      const offset = ((this.#pointer - i * this.wordBytes) & this.pointerMask) >>> 0;
      const last = offset + this.wordBytes - 1;
      const outside = attributes & S.SEG_EXPAND_DOWN
        ? offset <= limit >>> 0 || last > (attributes & S.SEG_DB ? 0xffffffff : 0xffff)
        : last > limit >>> 0;
      if (outside) cpu.raise(V.stackFault, errorCode);
      const linear = (this.base + offset) | 0;
      cpu.mmu.checkSlow(linear, this.wordBytes, true, this.#bank);
      if (this.cpl === 3) cpu.checkAlignment(linear, this.wordBytes, this.wordBytes, true);
    }
  }

  push(value: number): void {
    this.#pointer = (this.#pointer - this.wordBytes) | 0;
    this.cpu.mmu.writeSlow((this.base + (this.#pointer & this.pointerMask)) | 0, this.wordBytes, value, this.#bank);
  }

  /** Moves ESP, or SP, to the last word pushed. */
  commit(): void {
    if (this.pointerMask === -1) this.cpu.r[ESP] = this.#pointer;
    else this.cpu.r16[ESP * 2] = this.#pointer;
  }
}
