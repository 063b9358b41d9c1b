// Exits of a region that are taken seldom: emitted code says only which one it was, and what must be made of it afterwards
// is written down here, so that cold code takes few bytes: compiling costs more than running it (measured on Linux's boot).

import { state as S } from "../../x86/mod.ts";
import * as L from "../layout.ts";
import type { Exit, FlagState } from "./emitter.ts";

/** What is left to do when a region was left at a site: its status is the site's index plus one. */
export interface ExitSite {
  readonly eip: number;
  /** Instructions that the unit had taken from the budget and that have not completed. */
  readonly incomplete: number;
  readonly status: typeof Exit.interpret | typeof Exit.yield;
  /** Where the flags were; their locals are in the scratch words then. */
  readonly flags: FlagState;
}

/** CF in bit 31, CF xor OF in bit 30, AF in bit 3. */
const AUX_CARRIES = 0xc0000000 | 0, AUX_AF = 8;
const A = L.FLAG_SCRATCH >> 2, B = A + 1, RESULT = A + 2;

/** Completes the state in the hypervisor's memory after an exit at a site. */
export function completeExit(words: Int32Array, { eip, incomplete, flags }: ExitSite): void {
  words[(L.STATE >> 2) + S.EIP] = eip;
  words[L.BUDGET >> 2] += incomplete;
  if (flags.kind === "stored") return;
  words[(L.STATE >> 2) + S.FLAG_AUX] = auxOf(flags, words[A], words[B], words[RESULT]);
  words[(L.STATE >> 2) + S.FLAG_RESULT] = words[RESULT];
}

/** FLAG_AUX of a flag state, as `Emitter.pushAux` computes it. */
function auxOf({ kind, bits }: FlagState, a: number, b: number, result: number): number {
  let carries: number;
  switch (kind) {
    case "add":
      carries = (a & b) | ((a | b) & ~result);
      break;
    case "sub":
      carries = (~a & b) | ((~a | b) & result);
      break;
    case "inc":
    case "dec": {
      const least = -(2 ** (bits - 1));
      const overflows = result === (kind === "inc" ? least : -1 - least) ? 1 : 0;
      const isCarry = (result & 15) === (kind === "inc" ? 0 : 15);
      return (a << 31) | ((a ^ overflows) << 30) | (isCarry ? AUX_AF : 0);
    }
    default:
      return 0;
  }
  return ((carries << (32 - bits)) & AUX_CARRIES) | (carries & AUX_AF);
}
