// FLD1, FLDL2T, FLDL2E, FLDPI, FLDLG2, FLDLN2 and FLDZ: the constants, which the FPU holds with 66 bits and rounds
// in the direction of rounding control (Intel SDM 1, 8.3.4; SDM 2A, FLD1). They raise nothing.

import { EXPONENT_BIAS, Float80, FpuEnvironment, ROUND_NEAREST, ROUND_UP } from "./float80.ts";

/** A positive constant: the truncated significand and whether the nearest value is the next one up. */
interface Constant {
  readonly exponent: number;
  readonly hi: number;
  readonly lo: number;
  readonly exact: boolean;
  readonly nearestIsUp: boolean;
}

function constant(
  power: number,
  hi: number,
  lo: number,
  bits: "exact" | "nearest is up" | "nearest is down",
): Constant {
  return { exponent: EXPONENT_BIAS + power, hi, lo, exact: bits === "exact", nearestIsUp: bits === "nearest is up" };
}

/** 1 (FLD1). */
export const ONE = constant(0, 0x8000_0000, 0, "exact");
/** log2(10) (FLDL2T). */
export const LOG2_OF_10 = constant(1, 0xd49a_784b, 0xcd1b_8afe, "nearest is down");
/** log2(e) (FLDL2E). */
export const LOG2_OF_E = constant(0, 0xb8aa_3b29, 0x5c17_f0bb, "nearest is up");
/** pi (FLDPI). */
export const PI = constant(1, 0xc90f_daa2, 0x2168_c234, "nearest is up");
/** log10(2) (FLDLG2). */
export const LOG10_OF_2 = constant(-2, 0x9a20_9a84, 0xfbcf_f798, "nearest is up");
/** ln(2) (FLDLN2). */
export const LN_OF_2 = constant(-1, 0xb172_17f7, 0xd1cf_79ab, "nearest is up");

/** out = a constant rounded as rounding control says. FLDZ is `setZero`. */
export function loadConstant(env: FpuEnvironment, out: Float80, value: Constant): void {
  const up = !value.exact &&
    (env.rounding === ROUND_NEAREST ? value.nearestIsUp : env.rounding === ROUND_UP);
  // No constant's low limb is all ones: there is no carry.
  out.set(value.exponent, value.hi, up ? value.lo + 1 : value.lo);
}
