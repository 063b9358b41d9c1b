// MXCSR, and what an SSE float instruction reads of it and reports to it (Intel SDM 1, 10.2.3, 11.5 and appendix E.4):
// exceptions of all elements are gathered, those found before computing apart from those found after it.

import type { Processor } from "../processor.ts";
import * as S from "../state.ts";
import { ALL_EXCEPTIONS, DENORMAL_OPERAND, INVALID, ROUND_NEAREST, ZERO_DIVIDE } from "../x87/float80.ts";

/** MXCSR fields. Exception flags and masks have the order of the x87's. */
export const MXCSR_DAZ = 1 << 6, MXCSR_MASK_SHIFT = 7, MXCSR_ROUNDING_SHIFT = 13, MXCSR_FTZ = 1 << 15;
/** Bits that can be written, as FXSAVE reports them: all of the low word, DAZ included. */
export const MXCSR_BITS = 0xffff;
const MXCSR_PRECISION = 1 << 5;

/**
 * The case that native arithmetic serves: all masked, round to nearest, no FTZ or DAZ, and PE set already, so that whether a
 * result is exact need not be known.
 */
const NATIVE_MASK = (MXCSR_BITS & ~ALL_EXCEPTIONS) | MXCSR_PRECISION;
const NATIVE = S.MXCSR_AT_POWER_ON | MXCSR_PRECISION;

/** Whether results that are normal, or exact zeros, of operands that are so too, can be computed natively. */
export function allowsNative(cpu: Processor): boolean {
  return (cpu.r[S.MXCSR] & NATIVE_MASK) === NATIVE;
}

/** Exceptions that are found before computing: unmasked in any element, they stop the computation of all. */
const BEFORE = INVALID | DENORMAL_OPERAND | ZERO_DIVIDE;

/** The environment of one instruction. */
export class SimdEnvironment {
  rounding = ROUND_NEAREST;
  masks = ALL_EXCEPTIONS;
  flushesToZero = false;
  denormalsAreZeros = false;
  /** Exceptions of all elements so far. */
  raised = 0;

  /** Reads MXCSR at the start of an instruction. */
  begin(mxcsr: number): void {
    this.rounding = mxcsr >>> MXCSR_ROUNDING_SHIFT & 3;
    this.masks = mxcsr >>> MXCSR_MASK_SHIFT & ALL_EXCEPTIONS;
    this.flushesToZero = (mxcsr & MXCSR_FTZ) !== 0;
    this.denormalsAreZeros = (mxcsr & MXCSR_DAZ) !== 0;
    this.raised = 0;
  }

  /**
   * Reports to MXCSR. An unmasked exception raises #XM, or #UD where CR4.OSXMMEXCPT does not announce a handler for it; the
   * flags stay, the destination must not have been written. After one that comes before computing, the flags of results
   * are not set.
   */
  settle(cpu: Processor): void {
    const unmasked = this.raised & ~this.masks;
    cpu.r[S.MXCSR] |= (unmasked & BEFORE) !== 0 ? this.raised & BEFORE : this.raised;
    if (unmasked === 0) return;
    cpu.raise((cpu.r[S.CR4] & S.CR4_OSXMMEXCPT) !== 0 ? S.Vector.simd : S.Vector.invalidOpcode);
  }
}

/** Handlers run to completion, so that one serves all. */
export const environment = new SimdEnvironment();
