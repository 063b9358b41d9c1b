// Exits of a region that are taken seldom: emitted code says only which one it was, and what must be made of it afterwards
// is written down here, so that cold code takes few bytes: compiling costs more than running it (measured on Linux's boot).

import { type Instruction, type Operation, state as S } from "../../x86/mod.ts";
import * as L from "../layout.ts";
import { type Exit } from "./emitter.ts";
import { type FlagState } from "./flag_emitter.ts";
import { STORED_RESULT } from "./locals.ts";
import { auxOf, flagWord, STORED_WORD } from "./flag_kinds.ts";

/** What is left to do when a region was left at a site: its status is the site's number. */
export interface ExitSite {
  readonly eip: number;
  /** Instructions that the unit had taken from the budget and that have not completed. */
  readonly incomplete: number;
  readonly status: (typeof Exit)[keyof typeof Exit];
  /** Where the flags were; their locals are in the scratch words then. */
  readonly flags: FlagState;
  /** The instruction to be emulated, and the same made ready for the interpreter at the first call-out. */
  readonly instruction?: Instruction;
  operation?: Operation;
  /** The instruction's class by number, once it has been counted. */
  sensitiveClass?: number;
}

const A = L.FLAG_SCRATCH >> 2, B = A + 1, RESULT = A + 2, PART = A + 3;
/** CF and CF xor OF, which change together where OF stays. */
const AUX_CARRIES = 0xc0000000 | 0;
const KIND = L.FLAG_KIND >> 2, AUX = (L.STATE >> 2) + S.FLAG_AUX, FLAG_RESULT = (L.STATE >> 2) + S.FLAG_RESULT;

/** Completes the state in the hypervisor's memory after an exit at a site. */
export function completeExit(words: Int32Array, { eip, incomplete, flags }: ExitSite): void {
  words[(L.STATE >> 2) + S.EIP] = eip;
  words[L.BUDGET >> 2] += incomplete;
  const { kind, bits, result } = flags.base ?? flags;
  if (kind === "stored" || kind === "partial" || kind === "carry") words[KIND] = STORED_WORD;
  else if (kind !== "any") {
    words[KIND] = flagWord(kind, bits);
    // Where the locals are not the ones that the common exit stores, they are in the scratch words.
    if (result !== STORED_RESULT) {
      words[AUX] = words[A];
      words[L.FLAG_RIGHT >> 2] = words[B];
      words[FLAG_RESULT] = words[RESULT];
    }
  }
  completeFlags(words);
  if (flags.kind === "partial") words[AUX] = (words[AUX] & ~(flags.mask ?? 0)) | words[PART];
  else if (flags.kind === "carry" && words[AUX] >>> 31 !== words[PART]) words[AUX] ^= AUX_CARRIES;
}

/** Computes the flags that translated code left uncomputed. */
export function completeFlags(words: Int32Array): void {
  const word = words[KIND];
  if (word === STORED_WORD) return;
  words[KIND] = STORED_WORD;
  words[AUX] = auxOf(word, words[AUX], words[L.FLAG_RIGHT >> 2], words[FLAG_RESULT]);
}
