// Translated code without protection: segments stay flat when CR0.PE is cleared, so that code goes on being translated in real
// mode, where some instructions are undefined. Each program runs in step with the interpreter.

import { assert } from "@std/assert";
import { runInStep, type Start } from "./arena.ts";
import { L, word } from "./arena_layout.ts";

const ENTRY = 0x40, MOST_STEPS = 200;
const CHOICE = { threshold: 0, unitInstructions: 12, regionUnits: 32, cacheKib: 16384 };
/** MOV EAX, 10h; MOV CR0, EAX: neither paging nor protection. JMP +0: what follows is a block of its own. */
const UNPROTECTED = [0xb8, ...word(0x10), 0x0f, 0x22, 0xc0, 0xeb, 0];

const programs: readonly { readonly what: string; readonly code: readonly number[] }[] = [
  // An address in a page that nothing has touched: reading it would fill the TLB.
  { what: "VERW, which is undefined before it reads", code: [0x0f, 0x00, 0x2d, ...word(0x1990c)] },
  { what: "PUSH, POP and a load", code: [0x50, 0x5b, 0x03, 0x1d, ...word(0x1990c), 0x03, 0x1d, ...word(0x19910)] },
];

for (const { what, code } of programs) {
  Deno.test(`translated code without protection: ${what}`, () => {
    const start: Start = {
      ...{ cpl: 0, bits: 32, eflags: 2, fs: 0, gs: 0, entry: ENTRY },
      registers: [0, 0, 0, L.DATA, L.STACK + 0x800, 0, 0, 0],
      code: Uint8Array.from([...UNPROTECTED, ...code, 0x40, 0x41, 0xeb, 0xfe]),
    };
    for (const stride of [1, 7, MOST_STEPS]) {
      const { translator } = runInStep(start, CHOICE, stride, MOST_STEPS);
      assert((translator?.statistics.regions ?? 0) > 0);
    }
  });
}
