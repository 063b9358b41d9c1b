// The MMX, SSE and SSE2 instructions by the handler names of opcodes/simd.ts (Intel SDM 1, chapters 9 to 11; SDM 2A, 2B). A
// name that is missing here is an error when the module is loaded.

import type { Binder } from "../interpreter/operation.ts";
import { simdRows } from "../opcodes/simd.ts";
import { approximationBinders } from "./approximate.ts";
import { arithmeticSimdBinders } from "./arithmetic.ts";
import { compareSimdBinders } from "./compare.ts";
import { controlSimdBinders } from "./control.ts";
import { conversionBinders } from "./convert.ts";
import { integerSimdBinders } from "./integer.ts";
import { moveSimdBinders } from "./move.ts";
import { shuffleBinders } from "./shuffle.ts";

const binders: Readonly<Record<string, Binder>> = {
  ...approximationBinders,
  ...arithmeticSimdBinders,
  ...compareSimdBinders,
  ...controlSimdBinders,
  ...conversionBinders,
  ...integerSimdBinders,
  ...moveSimdBinders,
  ...shuffleBinders,
};

/** Prefetches are hints like the NOPs of their opcode. */
const ELSEWHERE = "nop";

for (const { handler } of simdRows) {
  if (handler !== ELSEWHERE && binders[handler] === undefined) {
    throw new Error(`opcode table names SIMD handler "${handler}", which no file has`);
  }
}

/** Binders of all instructions of opcodes/simd.ts, and PAUSE. */
export const simdBinders: Readonly<Record<string, Binder>> = binders;
