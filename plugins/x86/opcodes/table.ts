// The opcode table: every instruction that the CPU has, from which decoder, interpreter, translator, flag liveness and
// generated tests are driven. An opcode without a row here raises #UD.

import type { OpcodeRow } from "../instruction.ts";
import { oneByteRows } from "./one_byte.ts";
import { simdRows } from "./simd.ts";
import { twoByteRows } from "./two_byte.ts";
import { x87Rows } from "./x87.ts";

/** All rows, the one-byte map first. No two rows claim the same encoding; the decoder checks it as it loads. */
export const opcodeTable: readonly OpcodeRow[] = [...oneByteRows, ...twoByteRows, ...simdRows, ...x87Rows];
