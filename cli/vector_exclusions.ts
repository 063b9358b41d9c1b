// Vectors that a 32-bit processor answers differently from the 80286 they were captured on, each with the documented
// reason: the section of the Intel SDM that says what a 32-bit processor does.

import * as x86 from "../plugins/x86/mod.ts";
import type { Vector } from "./vector_runner.ts";

interface Exclusion {
  readonly reason: string;
  readonly applies: (vector: Vector, decoded: ReturnType<typeof x86.decode>) => boolean;
}

const LOCK_PREFIX = 0xf0;
const INVALID_OPCODE = 6, GENERAL_PROTECTION = 13;
/** The 80286 takes no longer instruction; the 80386 takes 15 bytes. */
const LONGEST_ON_286 = 10;
const TOP_OF_SEGMENT = 0xffff;

const exclusions: readonly Exclusion[] = [
  {
    reason: "LOCK on this instruction or form is #UD since the 80386 (SDM 2A, LOCK)",
    applies: ({ bytes }, decoded) => decoded === "invalid" && prefixesOf(bytes).includes(LOCK_PREFIX),
  },
  {
    reason: "an instruction of 11 to 15 bytes is #GP on the 80286 and legal since the 80386 (SDM 2A, 2.3.11)",
    applies: ({ bytes, exception }) =>
      // The last byte is the HLT that follows the instruction.
      exception?.number === GENERAL_PROTECTION && bytes.length - 1 > LONGEST_ON_286,
  },
  {
    reason: "a word at offset FFFFh of the stack segment is #GP on the 80286 and #SS since the 80386 (SDM 3A, 6.15)",
    applies: ({ exception, initial }, decoded) => {
      if (exception?.number !== GENERAL_PROTECTION || typeof decoded === "string") return false;
      const pops = /^(pop|ret)/.test(decoded.row.name) && initial.regs.sp === TOP_OF_SEGMENT;
      const usesSegment = decoded.isMemory || decoded.row.operands.some((operand) => operand.startsWith("X"));
      return pops || (usesSegment && decoded.segment === x86.SS);
    },
  },
  {
    reason: "a string instruction that faults keeps its registers since the 80386 (SDM 3A, 6.5: faults restart)",
    applies: ({ exception }, decoded) =>
      exception?.number === GENERAL_PROTECTION && typeof decoded !== "string" &&
      decoded.row.operands.some((operand) => operand === "Xv" || operand === "Yv"),
  },
  {
    reason: "FS and GS exist since the 80386 (SDM 1, 3.4.2)",
    applies: ({ exception }, decoded) =>
      exception?.number === INVALID_OPCODE && typeof decoded !== "string" && decoded.row.operands.includes("Sw"),
  },
];

/** Why a vector does not apply to a 32-bit processor, or undefined if it does. */
export function exclusionOf(vector: Vector): string | undefined {
  const decoded = x86.decode(Uint8Array.from(vector.bytes), 0, vector.bytes.length, 16);
  return exclusions.find(({ applies }) => applies(vector, decoded))?.reason;
}

/** The bytes before the opcode. */
function prefixesOf(bytes: readonly number[]): readonly number[] {
  const prefixes = [0x26, 0x2e, 0x36, 0x3e, LOCK_PREFIX, 0xf2, 0xf3];
  return bytes.slice(0, bytes.findIndex((byte) => !prefixes.includes(byte)));
}
