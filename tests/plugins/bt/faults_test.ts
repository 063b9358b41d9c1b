// Page faults of translated code: its slow path looks the access up and leaves the fault to the interpreter, so that it is
// raised, told and shown to the guest once, at the step at which the interpreter alone has it.

import { assert, assertEquals } from "@std/assert";
import { definePlugin } from "../../../core/mod.ts";
import * as x86 from "../../../plugins/x86/mod.ts";
import { Arena, type Start, type TranslatorChoice } from "./arena.ts";
import { L, word } from "./arena_layout.ts";

const ENTRY = 0x40, ROUNDS = 30, FOREVER = [0xeb, 0xfe];
/** Enough for all rounds. */
const MOST_STEPS = 8000;
const choices: readonly TranslatorChoice[] = [
  { threshold: 0, unitInstructions: 12, regionUnits: 32, cacheKib: 16384 },
  { threshold: 0, unitInstructions: 1, regionUnits: 1, cacheKib: 16384 },
  { threshold: 3, unitInstructions: 3, regionUnits: 32, cacheKib: 16384 },
];

/** Error codes: what was denied is a page that is there (1), a write (2), an access of CPL 3 (4). */
const accesses: readonly { what: string; code: readonly number[]; linear: number; errorCode: number }[] = [
  { what: "MOV EAX, [absent]", code: [0x8b, 0x05, ...word(L.ABSENT + 8)], linear: L.ABSENT + 8, errorCode: 4 },
  { what: "MOV [absent], EAX", code: [0x89, 0x05, ...word(L.ABSENT + 4)], linear: L.ABSENT + 4, errorCode: 6 },
  { what: "ADD [absent], EAX", code: [0x01, 0x05, ...word(L.ABSENT)], linear: L.ABSENT, errorCode: 6 },
  { what: "MOV [read-only], EAX", code: [0x89, 0x05, ...word(L.READ_ONLY)], linear: L.READ_ONLY, errorCode: 7 },
  { what: "MOV AL, [supervisor]", code: [0x8a, 0x05, ...word(L.SUPERVISOR)], linear: L.SUPERVISOR, errorCode: 5 },
  { what: "PUSH dword [absent]", code: [0xff, 0x35, ...word(L.ABSENT + 12)], linear: L.ABSENT + 12, errorCode: 4 },
  { what: "a read across into it", code: [0x8b, 0x05, ...word(L.ABSENT - 2)], linear: L.ABSENT, errorCode: 4 },
];

/** Every access in a slot of its own, where the arena's handlers go on after a fault; then again. */
function startOfFaults(): Start {
  const code: number[] = [];
  for (const access of accesses) code.push(...access.code, ...Array(L.SLOT - access.code.length).fill(0x90));
  const tail = [0x41, 0x83, 0xf9, ROUNDS];
  code.push(...tail, 0x0f, 0x85, ...word(-(code.length + tail.length + 6)), ...FOREVER);
  const registers = [0, 0, 0, 0, L.STACK + 0x800, 0, 0, 0];
  return { cpl: 3, bits: 32, registers, eflags: 2, fs: 0, gs: 0, entry: ENTRY, code: Uint8Array.from(code) };
}

/** An arena and what it tells of faults: told by the MMU with their steps, and delivered. */
function listeningArena(choice?: TranslatorChoice): { arena: Arena; told: string[]; delivered: string[] } {
  const arena = new Arena(choice), told: string[] = [], delivered: string[] = [];
  const listener = definePlugin({
    name: "listener",
    requires: ["x86"],
    setup: ({ on }) => {
      on(x86.translated, (event) => {
        if (event.what !== "fault") return;
        const { blockSteps, index } = arena.cpu;
        told.push(`${blockSteps + index}: ${(event.linear >>> 0).toString(16)} ${event.errorCode}`);
      });
      on(x86.delivered, ({ vector, eip, errorCode }) => void delivered.push(`${vector} ${eip} ${errorCode}`));
    },
  });
  arena.host.load({ plugin: listener });
  arena.begin(startOfFaults());
  return { arena, told, delivered };
}

for (const [index, choice] of choices.entries()) {
  Deno.test(`a page fault of translated code is told once, at its step (translator ${index})`, () => {
    const reference = listeningArena(), translated = listeningArena(choice);
    for (const { arena } of [reference, translated]) arena.runTo(MOST_STEPS);
    const withoutStep = translated.told.map((line) => line.replace(/^\d+: /, ""));
    const round = accesses.map(({ linear, errorCode }) => `${linear.toString(16)} ${errorCode}`);
    assertEquals(withoutStep, Array.from({ length: ROUNDS }, () => round).flat());
    assertEquals(translated.told, reference.told);
    assertEquals(translated.delivered, reference.delivered);
    assertEquals(reference.arena.differences(translated.arena, true), []);
    assert((translated.arena.translator?.statistics.dispatches ?? 0) > ROUNDS, "hardly anything ran translated");
  });

  Deno.test(`CR2 is as it was until the fault is delivered (translator ${index})`, () => {
    for (const stride of [1, 7]) {
      const reference = listeningArena().arena, translated = listeningArena(choice).arena;
      for (let steps = stride; steps <= MOST_STEPS / 8; steps += stride) {
        for (const arena of [reference, translated]) arena.runTo(steps);
        assertEquals(reference.differences(translated, false), [], `after ${steps} steps`);
      }
    }
  });
}
