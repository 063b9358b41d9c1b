// The double extended-precision format of the x87 FPU, its classes of values and the environment an operation runs in
// (Intel SDM 1, 4.2.2, 4.8 and 8.1). Everything else in this folder computes on these two types; the x87 instructions
// keep the register stack and the control and status words and call the operations here.

/** Exception bits, at their places in the status word and, as masks, in the control word (SDM 1, 8.1.3.3 and 8.1.5). */
export const INVALID = 1 << 0, DENORMAL_OPERAND = 1 << 1, ZERO_DIVIDE = 1 << 2;
export const OVERFLOW = 1 << 3, UNDERFLOW = 1 << 4, PRECISION = 1 << 5;
export const ALL_EXCEPTIONS = 0x3f;

/** Rounding control as the control word encodes it (SDM 1, 8.1.5.3). */
export const ROUND_NEAREST = 0, ROUND_DOWN = 1, ROUND_UP = 2, ROUND_TO_ZERO = 3;
/** Significand widths that precision control selects, in bits (SDM 1, 8.1.5.2). */
export const SINGLE_PRECISION = 24, DOUBLE_PRECISION = 53, EXTENDED_PRECISION = 64;

/** Sign bit and exponent field of `Float80.se`; a biased exponent of EXPONENT_MASK marks infinities and NaNs. */
export const SIGN = 0x8000, EXPONENT_MASK = 0x7fff, EXPONENT_BIAS = 0x3fff;
/** Largest biased exponent of a finite number. */
export const MAX_EXPONENT = 0x7ffe;
/** What the exponent of an unmasked overflow or underflow result is moved by (SDM 1, 8.5.4 and 8.5.5). */
export const EXPONENT_WRAP = 0x6000;
/** The explicit integer bit and, below it, the bit that makes a NaN quiet: both in `Float80.hi`. */
export const INTEGER_BIT = 0x8000_0000, QUIET_BIT = 0x4000_0000;
/** 2^32, the weight of a limb's carry. */
export const LIMB = 0x1_0000_0000;

/** Two unsigned 32-bit limbs: the bits of a binary64 or of an integer too long for a JavaScript number. */
export interface Bits64 {
  hi: number;
  lo: number;
}

/** An 80-bit value: `se` holds sign and biased exponent (16 bits), `hi` and `lo` the significand, all unsigned. */
export class Float80 implements Bits64 {
  se = 0;
  hi = 0;
  lo = 0;

  /** Sets all fields; `hi` and `lo` must be unsigned (>>> 0). Returns this. */
  set(se: number, hi: number, lo: number): this {
    this.se = se;
    this.hi = hi;
    this.lo = lo;
    return this;
  }

  /** Copies another value, bit by bit. Returns this. */
  copy(from: Readonly<Float80>): this {
    this.se = from.se;
    this.hi = from.hi;
    this.lo = from.lo;
    return this;
  }
}

/** Classes of values. The order matters: all finite classes come before the infinity, all NaNs after it. */
export const ZERO_CLASS = 0, NORMAL_CLASS = 1, DENORMAL_CLASS = 2, INFINITY_CLASS = 3;
export const QUIET_NAN_CLASS = 4, SIGNALLING_NAN_CLASS = 5, UNSUPPORTED_CLASS = 6;

/**
 * The class of a value, as FXAM sees it: denormals include pseudo-denormals; unnormals, pseudo-infinities and
 * pseudo-NaNs are unsupported (SDM 1, table 8-3).
 */
export function classify(x: Readonly<Float80>): number {
  const exponent = x.se & EXPONENT_MASK;
  if (exponent === 0) return x.hi === 0 && x.lo === 0 ? ZERO_CLASS : DENORMAL_CLASS;
  if (x.hi < INTEGER_BIT) return UNSUPPORTED_CLASS;
  if (exponent !== EXPONENT_MASK) return NORMAL_CLASS;
  if (x.hi === INTEGER_BIT && x.lo === 0) return INFINITY_CLASS;
  return (x.hi & QUIET_BIT) !== 0 ? QUIET_NAN_CLASS : SIGNALLING_NAN_CLASS;
}

/**
 * What an operation reads of the control word and what it reports for the status word. Call `begin` before each
 * instruction; afterwards OR `raised` into the status word, copy `roundedUp` to C1 and ask `suppressed`, `loadSuppressed`
 * or `storeSuppressed` whether the result may be written (and the stack popped or pushed).
 */
export class FpuEnvironment {
  /** Rounding control, ROUND_NEAREST to ROUND_TO_ZERO. */
  rounding = ROUND_NEAREST;
  /** Significand bits of add, subtract, multiply, divide and square root: 24, 53 or 64. */
  precision = EXTENDED_PRECISION;
  /** Exception masks, a set bit masks, as in the control word. */
  masks = ALL_EXCEPTIONS;
  /** Exceptions of this instruction. */
  raised = 0;
  /** Whether the last rounding went away from zero: C1 (SDM 1, 8.1.3.3). */
  roundedUp = false;
  /** Set by the expansion of a denormal binary32 or binary64 memory operand; the operation on it raises DE in due order. */
  denormalOperand = false;

  /** Reads rounding control, precision control and masks from an x87 control word (the reserved precision 1 counts as 64). */
  setControlWord(word: number): void {
    const control = word >>> 8 & 3;
    this.rounding = word >>> 10 & 3;
    this.precision = control === 0 ? SINGLE_PRECISION : control === 2 ? DOUBLE_PRECISION : EXTENDED_PRECISION;
    this.masks = word & ALL_EXCEPTIONS;
  }

  /** Starts an instruction: nothing raised yet. */
  begin(): void {
    this.raised = 0;
    this.roundedUp = false;
    this.denormalOperand = false;
  }

  /** Whether an unmasked exception came before the computation (IE, DE, ZE): registers must stay as they were. */
  suppressed(): boolean {
    return (this.raised & ~this.masks & (INVALID | DENORMAL_OPERAND | ZERO_DIVIDE)) !== 0;
  }

  /** As `suppressed` for a load from memory, which an unmasked denormal operand does not prevent. */
  loadSuppressed(): boolean {
    return (this.raised & ~this.masks & INVALID) !== 0;
  }

  /** As `suppressed` for a store to memory, which unmasked overflow and underflow also prevent (SDM 1, 8.5.4 and 8.5.5). */
  storeSuppressed(): boolean {
    return (this.raised & ~this.masks & (INVALID | DENORMAL_OPERAND | ZERO_DIVIDE | OVERFLOW | UNDERFLOW)) !== 0;
  }
}

/** The QNaN real indefinite, the masked answer to an invalid operation (SDM 1, 4.8.3.7). */
export function setIndefinite(out: Float80): void {
  out.set(SIGN | EXPONENT_MASK, (INTEGER_BIT | QUIET_BIT) >>> 0, 0);
}

/** Sets a zero of the given sign (0 or SIGN). */
export function setZero(out: Float80, sign: number): void {
  out.set(sign, 0, 0);
}

/** Sets an infinity of the given sign (0 or SIGN). */
export function setInfinity(out: Float80, sign: number): void {
  out.set(sign | EXPONENT_MASK, INTEGER_BIT, 0);
}
