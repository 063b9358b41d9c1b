// Runs: accesses near one another that share a TLB look-up (plugins/bt/emit/runs.ts). Each program runs in step with the
// interpreter: across pages, into pages without the rights, with registers that change in between, and over code.

import { assert, assertEquals } from "@std/assert";
import { EBX, NO_REGISTER } from "../../../plugins/x86/mod.ts";
import { type Place, planRun, stackPlace } from "../../../plugins/bt/emit/runs.ts";
import { MOST_VAIN } from "../../../plugins/bt/vain_runs.ts";
import { decode } from "../../../plugins/x86/mod.ts";
import { runInStep, type Start, type TranslatorChoice } from "./arena.ts";
import { L, word } from "./arena_layout.ts";

const ENTRY = 0x40, ROUNDS = 20, MOST_STEPS = 2000;

const choices: readonly TranslatorChoice[] = [
  { threshold: 0, unitInstructions: 12, regionUnits: 32, cacheKib: 16384 },
  { threshold: 0, unitInstructions: 3, regionUnits: 32, cacheKib: 16384 },
  { threshold: 2, unitInstructions: 12, regionUnits: 1, cacheKib: 16384 },
];

const PUSH4 = [0x50, 0x53, 0x56, 0x57], POP4 = [0x5f, 0x5e, 0x5b, 0x58];
/** MOV EAX, [EBX + d]; MOV [EBX + d], EAX; ADD EDX, [EBX + d]; MOV EBX, imm. */
const load = (displacement: number) => [0x8b, 0x43, displacement];
const store = (displacement: number) => [0x89, 0x43, displacement];
const add = (displacement: number) => [0x03, 0x53, displacement];
const setEbx = (value: number) => [0xbb, ...word(value)];

const programs: readonly { readonly what: string; readonly code: readonly number[]; readonly esp?: number }[] = [
  { what: "pushes and pops in one page", code: [...PUSH4, ...POP4] },
  { what: "pushes and pops across pages", code: [...PUSH4, ...POP4], esp: L.STACK + L.PAGE + 8 },
  { what: "pushes and pops that are not aligned", code: [...PUSH4, ...POP4], esp: L.STACK + L.PAGE + 7 },
  { what: "pushes down into a page that is absent", code: [...PUSH4], esp: L.STACK + 40 },
  {
    what: "pushes around room that is made for locals, which are used",
    // SUB ESP, 12; MOV [ESP + 4], EAX; PUSH EBX; ADD EDX, [ESP + 8]; ADD ESP, 16
    code: [0x53, 0x83, 0xec, 12, 0x89, 0x44, 0x24, 4, 0x53, 0x03, 0x54, 0x24, 8, 0x83, 0xc4, 16, 0x5b],
  },
  { what: "PUSH ESP and POP ESP among them", code: [0x50, 0x54, 0x53, 0x5b, 0x5c, 0x58] },
  {
    what: "a frame with LEAVE",
    // PUSH EBP; MOV EBP, ESP; PUSH EAX; MOV EAX, [EBP - 4]; ADD [EBP - 4], EDX; LEAVE
    code: [0x55, 0x89, 0xe5, 0x50, 0x8b, 0x45, 0xfc, 0x01, 0x55, 0xfc, 0xc9],
  },
  {
    what: "fields of one structure",
    code: [...setEbx(L.DATA), ...load(4), ...store(8), ...add(8), ...add(0), ...add(12)],
  },
  {
    what: "fields of one structure across pages",
    code: [...setEbx(L.DATA + L.PAGE - 6), ...load(0), ...add(4), ...store(8), ...add(3), ...store(1), ...add(2)],
  },
  {
    what: "fields of which the later ones are absent",
    code: [...setEbx(L.ABSENT - 8), ...load(0), ...load(4), ...load(8)],
  },
  {
    what: "fields of which the first is absent",
    code: [...setEbx(L.ABSENT + L.PAGE - 4), ...load(0), ...load(4), ...add(8)],
  },
  {
    what: "stores to a page that was read and is read-only",
    code: [...setEbx(L.READ_ONLY), ...load(0), ...add(4), ...store(8)],
  },
  {
    what: "a register that is moved by a page in between",
    // ADD EBX, 4096; the same back
    code: [
      ...setEbx(L.DATA),
      ...load(0),
      0x81,
      0xc3,
      ...word(L.PAGE),
      ...add(0),
      ...store(4),
      0x81,
      0xeb,
      ...word(L.PAGE),
      ...add(4),
    ],
  },
  {
    what: "a register of which a part is written in between",
    // MOV BH, 50h; MOV BL, 8
    code: [...setEbx(L.DATA), ...load(0), 0xb7, 0x50, ...add(0), 0xb3, 8, ...add(4), ...store(0)],
  },
  {
    what: "a register that is read anew from memory in between",
    // MOV EBX, [EBX]
    code: [...setEbx(L.DATA), 0xc7, 0x03, ...word(L.DATA + 0x2000), ...load(0), 0x8b, 0x1b, ...add(0), ...store(4)],
  },
  {
    what: "pages that take each other's TLB entry",
    // ADD EDX, [EBX + DATA_CONFLICT]
    code: [...setEbx(L.DATA), ...load(0), 0x03, 0x93, ...word(L.DATA_CONFLICT), ...add(4), ...store(8), ...add(8)],
  },
  {
    what: "an index that changes",
    // MOV ESI, 4; MOV EAX, [EBX + ESI * 4]; INC ESI; ADD EDX, [EBX + ESI * 4]; MOV [EBX + ESI * 4 + 4], EDX
    code: [
      ...setEbx(L.DATA),
      0xbe,
      ...word(4),
      0x8b,
      0x04,
      0xb3,
      0x46,
      0x03,
      0x14,
      0xb3,
      0x89,
      0x54,
      0xb3,
      4,
      0x03,
      0x14,
      0xb3,
    ],
  },
  {
    what: "accesses in several units of which one is seldom run",
    // TEST CL, 3; JNE +3; ADD EDX, [EBX]
    code: [...setEbx(L.DATA), ...load(0), 0xf6, 0xc1, 3, 0x75, 3, ...add(0), ...add(4), ...store(4), ...add(8)],
  },
  {
    what: "stores to words of a page of code, and to a word of the code",
    // The last store is to the immediate of MOV EDX that follows.
    code: [
      ...setEbx(L.CODE + 0x800),
      ...[...load(0), ...store(4), ...store(8), ...setEbx(L.CODE + ENTRY + 22), ...store(0), ...add(0)],
      ...[0xba, ...word(0), 0x01, 0xd6],
    ],
  },
  {
    what: "registers that are given one another's values, and constants",
    // LEA ESI, [EBX + 8]; INC ESI; MOV EDI, ESI; ADD EDX, [EDI]; DEC EDI; MOV [EDI], EDX; MOV ESI, DATA + 16; ADD EDX, [ESI];
    // ADD EDX, [DATA + 12]; MOV EBX, [EBX]; ADD EDX, [ESI - 4]; LEA ESI, [ESI + ECX * 4]; MOV [ESI - 4], EDX
    code: [
      ...[...setEbx(L.DATA), ...load(4), 0x8d, 0x73, 8, 0x46, 0x89, 0xf7, 0x03, 0x17, 0x4f, 0x89, 0x17, ...load(8)],
      ...[0xbe, ...word(L.DATA + 16), 0x03, 0x16, 0x03, 0x15, ...word(L.DATA + 12), 0x8b, 0x1b, 0x03, 0x56, 0xfc],
      ...[0x8d, 0x34, 0x8e, 0x89, 0x56, 0xfc],
    ],
  },
  {
    what: "parts of registers, and registers exchanged, in between",
    // MOV ESI, EBX; MOV SI, 5008h; ADD EDX, [ESI]; XCHG ESI, EBX; ADD EDX, [EBX + 4]; INC BL; ADD EDX, [EBX]; DEC BX; ADD EDX, [EBX]
    code: [
      ...[...setEbx(L.DATA), ...load(4), 0x89, 0xde, 0x66, 0xbe, 0x08, 0x50, 0x03, 0x16, 0x87, 0xde, ...add(4)],
      ...[0xfe, 0xc3, ...add(0), 0x66, 0x4b, ...add(0), ...store(8)],
    ],
  },
  {
    what: "a frame whose pointer differs by the way that a unit is come to",
    // MOV EBP, ESP; TEST CL, 1; JE +3; LEA EBP, [ESP - 16]; MOV EAX, [ESP - 4]; MOV [EBP - 8], EAX; ADD EDX, [EBP - 4]
    code: [
      ...[0x89, 0xe5, 0xf6, 0xc1, 1, 0x74, 4, 0x8d, 0x6c, 0x24, 0xf0, 0x8b, 0x44, 0x24, 0xfc, 0x89, 0x45, 0xf8],
      ...[0x03, 0x55, 0xfc],
    ],
  },
  {
    what: "POP into memory by ESP, and LEAVE from a frame made by hand",
    // PUSH EAX; PUSH EBX; POP [ESP]; LEA EBP, [ESP]; PUSH ECX; LEAVE; ADD EDX, [ESP - 4]; ADD EDX, [ESP - 8]
    code: [
      ...[0x50, 0x53, 0x8f, 0x04, 0x24, 0x8d, 0x2c, 0x24, 0x51, 0xc9, 0x03, 0x54, 0x24, 0xfc, 0x03, 0x54, 0x24, 0xf8],
    ],
  },
  {
    what: "a call and what it returns to",
    // CALL +0; POP EDI; PUSH EDX; POP EDX
    code: [0x50, 0xe8, 0, 0, 0, 0, 0x5f, 0x52, 0x5a, 0x58],
    esp: L.STACK + L.PAGE + 4,
  },
];

function startOf(body: readonly number[], esp: number, rounds = ROUNDS): Start {
  const tail = [0x41, 0x81, 0xf9, ...word(rounds)];
  const padded = [...body, ...Array(L.SLOT - body.length % L.SLOT).fill(0x90)];
  const code = [...padded, ...tail, 0x0f, 0x85, ...word(-(padded.length + tail.length + 6)), 0xeb, 0xfe];
  const registers = [0x1234, 0, 7, L.DATA, esp, L.STACK + 0x100, 3, 9];
  return { cpl: 3, bits: 32, registers, eflags: 2, fs: 0, gs: 0, entry: ENTRY, code: Uint8Array.from(code) };
}

for (const { what, code, esp } of programs) {
  Deno.test(`accesses near one another: ${what}`, () => {
    const start = startOf(code, esp ?? L.STACK + 0x800);
    for (const choice of choices) {
      for (const stride of [3, 101, MOST_STEPS]) {
        const translated = runInStep(start, choice, stride, MOST_STEPS);
        assert((translated.translator?.statistics.regions ?? 0) > 0);
      }
    }
  });
}

function instructionsOf(bytes: readonly number[]) {
  const code = Uint8Array.from([...bytes, ...Array(16).fill(0x90)]), found = [];
  for (let at = 0; at < bytes.length;) {
    const instruction = decode(code, at, code.length, 32);
    assert(typeof instruction !== "string");
    found.push({ instruction });
    at += instruction.length;
  }
  return found;
}

/** The run that an access begins, where nothing is known of other registers than its base. */
function planned(code: readonly number[], at: number, place: Place, bytes: number, isWrite: boolean) {
  const from = Array.from({ length: NO_REGISTER + 1 }, (_, register) => register === place.base ? 0 : undefined);
  return planRun(instructionsOf(code), at, { place, bytes, isWrite }, from);
}

/** A word at [EBX + d]. */
const byEbx = (displacement: number): Place => ({ base: EBX, index: NO_REGISTER, scale: 0, displacement });

Deno.test("the pushes of a prologue are one run, for stores, and reach as far as room for locals does not", () => {
  // The four pushes, SUB ESP, 0x200, then a store to [ESP].
  const code = [...PUSH4, 0x81, 0xec, ...word(0x200), 0x89, 0x04, 0x24];
  assertEquals(planned(code, 0, stackPlace(-4), 4, true), { first: -16, end: 0, followers: 3, isWrite: true });
});

Deno.test("a run ends where its register is written, and nothing is foreseen for one that stands alone", () => {
  // Two loads, MOV EBX, and a load from what is another address.
  const code = [...load(4), ...load(8), ...setEbx(0), ...load(12)];
  assertEquals(planned(code, 0, byEbx(4), 4, false), { first: 4, end: 12, followers: 1, isWrite: false });
  assertEquals(planned(code, 1, byEbx(8), 4, false), undefined);
});

Deno.test("stores join a run of loads on the stack alone", () => {
  assertEquals(planned([0x58, 0x50], 0, stackPlace(0), 4, false)?.isWrite, true);
  assertEquals(planned([...load(4), ...store(4)], 0, byEbx(4), 4, false), undefined);
});

Deno.test("a run goes on by registers that are given its base, plus what is known", () => {
  // PUSH EBP; MOV EBP, ESP; SUB ESP, 24; MOV EAX, [EBP - 12]; MOV EAX, [EBP + 8]; LEAVE; PUSH EDI
  const frame = [0x55, 0x89, 0xe5, 0x83, 0xec, 24, 0x8b, 0x45, 0xf4, 0x8b, 0x45, 8, 0xc9, 0x57];
  assertEquals(planned(frame, 0, stackPlace(-4), 4, true), { first: -16, end: 8, followers: 4, isWrite: true });
  // MOV EAX, [EBX + 4]; LEA ESI, [EBX + 8]; INC ESI; MOV EDI, ESI; MOV EAX, [EDI]; DEC EDI; MOV EAX, [EDI]
  const moved = [...load(4), 0x8d, 0x73, 8, 0x46, 0x89, 0xf7, 0x8b, 0x07, 0x4f, 0x8b, 0x07];
  assertEquals(planned(moved, 0, byEbx(4), 4, false), { first: 4, end: 13, followers: 2, isWrite: false });
});

Deno.test("an instruction whose run never lies in one page comes to stand alone, and is interpreted no more", () => {
  // Loads across the end of a page, by two words that are in the TLB each.
  const rounds = 400;
  const start = startOf([...setEbx(L.DATA + L.PAGE - 4), ...load(0), ...load(4)], L.STACK + 0x800, rounds);
  const choice = choices[0], steps = 20 * rounds;
  const { translator } = runInStep(start, choice, steps, steps);
  const { vainRuns = 0, retranslated = 0, interpretedSteps = 0 } = translator?.statistics ?? {};
  assertEquals([vainRuns, retranslated], [MOST_VAIN, 1]);
  assert(interpretedSteps < 20 * MOST_VAIN, `${interpretedSteps} steps were interpreted`);
});
