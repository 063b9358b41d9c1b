// MMX, SSE and SSE2 in emitted code, by the handler names of plugins/x86/opcodes/simd.ts. Every emitter is exact or leaves
// before the instruction: a guard that fails, a misaligned operand, a flag of MXCSR that might change are the interpreter's.

import type { Chooser } from "./operands.ts";
import { approximationChoosers } from "./simd_approximate.ts";
import { conversionChoosers } from "./simd_convert.ts";
import { floatSimdChoosers } from "./simd_float.ts";
import { integerSimdChoosers } from "./simd_integer.ts";
import { moveSimdChoosers } from "./simd_move.ts";

export const simdChoosers: Readonly<Record<string, Chooser>> = {
  ...integerSimdChoosers,
  ...moveSimdChoosers,
  ...floatSimdChoosers,
  ...conversionChoosers,
  ...approximationChoosers,
};
