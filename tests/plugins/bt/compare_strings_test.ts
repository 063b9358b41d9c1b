// Repeated CMPS and SCAS as loops in translated code: wherever they end, and wherever a turn ends within them, they leave what
// the interpreter leaves, step by step (SDM 2A, REP).

import { assert, assertEquals } from "@std/assert";
import { Arena, type Start } from "./arena.ts";
import { L, word } from "./arena_layout.ts";

const ENTRY = 0x40, REPE = 0xf3, REPNE = 0xf2, OPERAND_SIZE = 0x66, STD = 0xfd, NOP = 0x90;
const FILL = 0x61, ODD = 0x7a;
/** Where the strings are, and at which byte of the second one the difference lies. */
const FIRST = L.DATA + 0x100, SECOND = L.DATA + L.PAGE + 0x203;

interface Case {
  readonly what: string;
  readonly instruction: readonly number[];
  readonly count: number;
  readonly difference: number;
  readonly first?: number;
  readonly second?: number;
  readonly down?: boolean;
}

const cases: readonly Case[] = [
  { what: "REPE CMPSB that ends at a difference", instruction: [REPE, 0xa6], count: 90, difference: 41 },
  { what: "REPE CMPSB of equal strings", instruction: [REPE, 0xa6], count: 33, difference: 200 },
  { what: "REPE CMPSB whose first pair differs", instruction: [REPE, 0xa6], count: 9, difference: 0 },
  { what: "REPNE CMPSB that ends at the first pair", instruction: [REPNE, 0xa6], count: 9, difference: 3 },
  { what: "REPE CMPSW", instruction: [OPERAND_SIZE, REPE, 0xa7], count: 60, difference: 50 },
  { what: "REPE CMPSD", instruction: [REPE, 0xa7], count: 60, difference: 100 },
  { what: "REPNE SCASB, as strlen has it", instruction: [REPNE, 0xae], count: -1, difference: 77 },
  { what: "REPE SCASB", instruction: [REPE, 0xae], count: 50, difference: 49 },
  { what: "REPE SCASD to its count", instruction: [REPE, 0xaf], count: 20, difference: 200 },
  { what: "a count of zero", instruction: [REPE, 0xa6], count: 0, difference: 1 },
  { what: "downwards", instruction: [REPE, 0xa6], count: 30, difference: 1, down: true },
  { what: "beyond a page", instruction: [REPE, 0xa6], count: 80, difference: 70, second: L.DATA + 2 * L.PAGE - 30 },
  { what: "into no page", instruction: [REPNE, 0xae], count: 90, difference: 900, second: L.ABSENT - 25 },
  { what: "one string in itself", instruction: [REPE, 0xa6], count: 40, difference: 35, first: SECOND + 1 },
];

function startOf({ instruction, count, first = FIRST, second = SECOND, down = false, difference }: Case): Start {
  const isScanForOdd = instruction.at(-1) === 0xae && instruction.includes(REPNE);
  const setUp = [
    ...(down ? [STD] : [NOP]),
    ...[0xbe, ...word(first), 0xbf, ...word(second), 0xb9, ...word(count)],
    ...[0xb8, ...word(isScanForOdd ? ODD : FILL * 0x1010101)],
    ...[0xc6, 0x05, ...word(second + difference), ODD],
  ];
  // Once more, so that the second time finds the pages in the TLB.
  const body = [...setUp, ...instruction, 0x9c, 0x5a, 0x0f, 0x9c, 0xc3, 0x47];
  const code = new Uint8Array(L.CODE_BYTES - ENTRY).fill(NOP);
  code.set([...body, ...jumpBack(body.length)]);
  return {
    cpl: 0,
    bits: 32,
    registers: [0, 0, 0, 0, L.STACK + 0x800, 0, 0, 0],
    eflags: 2,
    fs: 0,
    gs: 0,
    entry: ENTRY,
    code,
  };
}

const jumpBack = (bytes: number) => [0xe9, ...word(-bytes - 5)];

function prepare(arena: Arena, each: Case): void {
  arena.begin(startOf(each));
  arena.memory.write(L.DATA, new Uint8Array(4 * L.PAGE).fill(FILL));
}

for (const each of cases) {
  Deno.test(`${each.what} leaves what the interpreter leaves, after every number of steps`, () => {
    for (const stride of [1, 7, 150]) {
      const reference = new Arena();
      const translated = new Arena({ threshold: 0, unitInstructions: 12, regionUnits: 32, cacheKib: 16384 });
      for (const arena of [reference, translated]) prepare(arena, each);
      for (let steps = stride; steps <= 450; steps += stride) {
        for (const arena of [reference, translated]) arena.runTo(steps);
        assertEquals(reference.differences(translated, false), [], `after ${steps} steps`);
      }
      assertEquals(reference.differences(translated, true), []);
      assert((translated.translator?.statistics.dispatches ?? 0) > 0);
    }
  });
}

Deno.test("a comparison within its pages is no matter for the interpreter", () => {
  const arena = new Arena({ threshold: 0, unitInstructions: 12, regionUnits: 32, cacheKib: 16384 });
  prepare(arena, cases[0]);
  arena.runTo(200);
  const before = arena.translator?.statistics.interpretedSteps ?? 0;
  arena.runTo(50_000);
  // At the end of a turn steps are interpreted that translated code cannot take whole.
  assert((arena.translator?.statistics.interpretedSteps ?? 0) - before < 127);
});
