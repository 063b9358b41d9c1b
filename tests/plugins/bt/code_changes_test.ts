// Translated code that changes under the translator: stores into it, frames seen through several linear pages, pages mapped
// anew, DMA, page walks that set bits in it, and a cache too small for it. Each program runs in step with the interpreter
// and must come to what it is meant to compute.

import { assert, assertEquals } from "@std/assert";
import { EAX, EBX, ECX, EDX } from "../../../plugins/x86/mod.ts";
import { Arena, runInStep, type Start, type TranslatorChoice } from "./arena.ts";
import { L, word } from "./arena_layout.ts";

/** Where programs begin: within the first code page, and as an offset in the code pages. */
const ENTRY = 0x40, AT = L.CODE + ENTRY;
const SECOND = L.CODE + L.PAGE, THIRD = L.CODE + 2 * L.PAGE, FOURTH = L.CODE + 3 * L.PAGE;
const ROUNDS = 100, FOREVER = [0xeb, 0xfe];
const SUM = ROUNDS * (ROUNDS - 1) / 2;
/** Page-table entry bits: present, writable and user; accessed. */
const MAPPED = 7, ACCESSED = 0x20;
/** Enough for every program to come to its end. */
const MOST_STEPS = 5000;

const choices: readonly TranslatorChoice[] = [
  { threshold: 0, unitInstructions: 12, regionUnits: 32, cacheKib: 16384 },
  { threshold: 0, unitInstructions: 1, regionUnits: 1, cacheKib: 16384 },
  { threshold: 3, unitInstructions: 3, regionUnits: 32, cacheKib: 16384 },
  { threshold: 0, unitInstructions: 12, regionUnits: 4, cacheKib: 1 },
];

interface Program {
  readonly what: string;
  /** Code by offset in the code pages. */
  readonly code: Readonly<Record<number, readonly number[]>>;
  readonly cpl?: 0 | 3;
  /** Registers at the end. */
  readonly expected: Readonly<Record<number, number>>;
  /** Whether translations must have been discarded, or must not, with the first choice of options. */
  readonly invalidates?: boolean;
}

/** `body`, then ECX + 1 and again, until ECX is `ROUNDS`; then for ever nothing. */
function loop(body: readonly number[]): number[] {
  const tail = [0x41, 0x83, 0xf9, ROUNDS];
  const length = body.length + tail.length + 6;
  return [...body, ...tail, 0x0f, 0x85, ...word(-length), ...FOREVER];
}

/** A loop that stores CL through `target` into the immediate of the MOV AL behind it, and sums AL up in EDX. */
function selfModifying(at: number, target: (immediate: number) => number): number[] {
  return loop([0x88, 0x0d, ...word(target(at + 7)), 0xb0, 0, 0x01, 0xc2]);
}

/** CALL to an absolute address from `at`. */
function call(at: number, target: number): number[] {
  return [0xe8, ...word(target - at - 5)];
}

/** Maps the alias page to a frame, flushes in one way or another, and then calls the page three times and adds EAX to EDX. */
function remapAndCall(at: number, frame: number, flush: readonly number[]): number[] {
  const entry = L.PAGE_TABLE + (L.CODE_ALIAS >>> 12) * 4;
  const remap = [0xc7, 0x05, ...word(entry), ...word(frame | MAPPED), ...flush];
  const calls = [0, 7, 14].flatMap((offset) => [...call(at + remap.length + offset, L.CODE_ALIAS), 0x01, 0xc2]);
  return [...remap, ...calls];
}

function remapping(flush: readonly number[]): Record<number, readonly number[]> {
  const first = remapAndCall(AT, THIRD, flush);
  return {
    [ENTRY]: loop([...first, ...remapAndCall(AT + first.length, FOURTH, flush)]),
    [THIRD - L.CODE]: [0xb8, ...word(1), 0xc3],
    [FOURTH - L.CODE]: [0xb8, ...word(1000), 0xc3],
  };
}

const INVLPG_ALIAS = [0x0f, 0x01, 0x3d, ...word(L.CODE_ALIAS)];
const RELOAD_CR3 = [0x0f, 0x20, 0xd8, 0x0f, 0x22, 0xd8];
/** CALL next; POP EAX; RET: what EIP it runs at. */
const TELL_EIP = [0xe8, 0, 0, 0, 0, 0x58, 0xc3];

/** Offset in the fourth code page, which serves as a page table too, of the MOV EAX whose immediate is an entry of it. */
const WALKED = 0x100;
const WALKED_PAGE = 2 * 0x400000 + (WALKED / 4) * L.PAGE;

const programs: readonly Program[] = [
  {
    what: "a store into the next instruction of the same unit takes effect at once",
    code: { [ENTRY]: selfModifying(AT, (immediate) => immediate) },
    expected: { [EDX]: SUM, [ECX]: ROUNDS },
    invalidates: true,
  },
  {
    what: "a store into code through another linear page takes effect at once",
    code: {
      [L.PAGE]: selfModifying(SECOND, (immediate) => L.CODE_ALIAS + (immediate & 0xfff)),
      [ENTRY]: jumpTo(SECOND),
    },
    expected: { [EDX]: SUM, [ECX]: ROUNDS },
    invalidates: true,
  },
  {
    what: "code that runs at another linear page of its frame meets its own stores",
    code: {
      [L.PAGE]: selfModifying(SECOND, (immediate) => immediate),
      [ENTRY]: jumpTo(L.CODE_ALIAS),
    },
    expected: { [EDX]: SUM, [ECX]: ROUNDS },
    invalidates: true,
  },
  {
    what: "data in a page of code, lines away from it, leaves the translation alone",
    code: { [ENTRY]: loop([0xff, 0x05, ...word(L.CODE + 0xf00), 0x8b, 0x15, ...word(L.CODE + 0xf00)]), 0xf00: word(0) },
    expected: { [EDX]: ROUNDS },
    invalidates: false,
  },
  {
    what: "data in a line of code is read as it was written",
    code: { [ENTRY]: loop([0xff, 0x05, ...word(AT + 0x30), 0x8b, 0x15, ...word(AT + 0x30)]), [ENTRY + 0x30]: word(0) },
    expected: { [EDX]: ROUNDS },
    invalidates: true,
  },
  {
    what: "a store that discards one translation leaves the others of the page under watch",
    code: {
      [ENTRY]: jumpTo(L.CODE + 0x80),
      // B: MOV [D + 1], CL; TEST CL, 15; JNE C; MOV [C + 1], CL; JMP C
      0x80: [
        ...[0x88, 0x0d, ...word(L.CODE + 0x201), 0xf6, 0xc1, 15, 0x0f, 0x85, ...word(0x100 - 0x8f)],
        ...[0x88, 0x0d, ...word(L.CODE + 0x101), ...jumpFrom(L.CODE + 0x95, L.CODE + 0x100)],
      ],
      // C: MOV AL, imm8; ADD EDX, EAX; MOV ESI, D; CALL ESI; INC ECX; CMP ECX, ROUNDS; JNE B
      0x100: [
        ...[0xb0, 0, 0x01, 0xc2, 0xbe, ...word(L.CODE + 0x200), 0xff, 0xd6, 0x41, 0x83, 0xf9, ROUNDS],
        ...[0x0f, 0x85, ...word(0x80 - 0x115), ...FOREVER],
      ],
      // D: MOV AL, imm8; ADD EBX, EAX; RET
      0x200: [0xb0, 0, 0x01, 0xc3, 0xc3],
    },
    expected: { [EDX]: 4224, [EBX]: SUM },
    invalidates: true,
  },
  {
    what: "a string store over code takes effect",
    // MOV EDI, immediate; MOV EAX, ECX; STOSB; MOV AL, imm8; ADD EDX, EAX
    code: { [ENTRY]: loop([0xbf, ...word(AT + 9), 0x89, 0xc8, 0xaa, 0xb0, 0, 0x01, 0xc2]) },
    expected: { [EDX]: SUM },
    invalidates: true,
  },
  {
    what: "a PUSH over code takes effect",
    // MOV EBX, ESP; MOV ESP, immediate + 4; PUSH ECX; MOV ESP, EBX; MOV EAX, imm32; ADD EDX, EAX
    code: { [ENTRY]: loop([0x89, 0xe3, 0xbc, ...word(AT + 15), 0x51, 0x89, 0xdc, 0xb8, ...word(0), 0x01, 0xc2]) },
    expected: { [EDX]: SUM },
    invalidates: true,
  },
  {
    what: "a page of code is mapped anew and flushed with INVLPG",
    code: remapping(INVLPG_ALIAS),
    cpl: 0,
    expected: { [EDX]: 3 * 1001 * ROUNDS },
  },
  {
    what: "a page of code is mapped anew and flushed with CR3",
    code: remapping(RELOAD_CR3),
    cpl: 0,
    expected: { [EDX]: 3 * 1001 * ROUNDS },
  },
  {
    what: "a page of code that is mapped anew without a flush stays what the TLB says",
    code: remapping([]),
    cpl: 0,
    expected: { [EDX]: 6 * ROUNDS },
  },
  {
    what: "a frame that runs at two linear pages knows at which",
    code: {
      [ENTRY]: loop([...call(AT, SECOND), 0x01, 0xc2, ...call(AT + 7, L.CODE_ALIAS), 0x01, 0xc3]),
      [L.PAGE]: TELL_EIP,
    },
    expected: { [EDX]: (SECOND + 5) * ROUNDS, [EBX]: (L.CODE_ALIAS + 5) * ROUNDS },
  },
  {
    what: "calls among many pages go on while the cache drops translations",
    code: {
      [ENTRY]: loop([...call(AT, SECOND), ...call(AT + 5, THIRD), ...call(AT + 10, FOURTH)]),
      [L.PAGE]: [0x83, 0xc2, 1, 0xc3],
      [2 * L.PAGE]: [0x83, 0xc2, 2, ...jumpFrom(THIRD + 3, SECOND)],
      [3 * L.PAGE]: [0x83, 0xc2, 3, ...jumpFrom(FOURTH + 3, THIRD)],
    },
    expected: { [EDX]: 10 * ROUNDS },
  },
  {
    what: "a page walk that sets the accessed bit in an instruction's immediate changes the instruction",
    code: {
      // The page directory's third entry is the fourth code page; JMP there.
      [ENTRY]: [0xc7, 0x05, ...word(L.PAGE_DIRECTORY + 8), ...word(FOURTH | MAPPED), ...jumpFrom(AT + 10, FOURTH)],
      // A jump of its own, then a read of the page whose entry is the immediate of MOV EAX.
      [FOURTH - L.CODE]: jumpFrom(FOURTH, FOURTH + WALKED - 7),
      [FOURTH - L.CODE + WALKED - 7]: [0x8b, 0x1d, ...word(WALKED_PAGE), 0xb8, ...word(L.DATA | MAPPED), ...FOREVER],
    },
    cpl: 0,
    expected: { [EAX]: L.DATA | MAPPED | ACCESSED },
  },
  {
    what: "a page walk that sets the dirty bit in the very instruction that stores leaves that instruction as it was",
    code: {
      [ENTRY]: [0xc7, 0x05, ...word(L.PAGE_DIRECTORY + 8), ...word(FOURTH | MAPPED), ...jumpFrom(AT + 10, FOURTH)],
      [FOURTH - L.CODE]: jumpFrom(FOURTH, FOURTH + WALKED - 11),
      // MOV EAX, data; MOV EDI, the page; ADD [EDI], AH, whose ModR/M byte begins the entry; INC EAX; ADD [EAX], EAX. With
      // the dirty bit it would read ADD [EDI + 40h], AH; ADD [EAX], EAX.
      [FOURTH - L.CODE + WALKED - 11]: [
        ...[0xb8, ...word(L.DATA + 0x100), 0xbf, ...word(WALKED_PAGE + 0x200), 0x00],
        ...[...word(L.DATA | MAPPED | ACCESSED), ...FOREVER],
      ],
    },
    cpl: 0,
    expected: { [EAX]: L.DATA + 0x101 },
  },
];

function jumpTo(target: number): number[] {
  return jumpFrom(AT, target);
}

function jumpFrom(at: number, target: number): number[] {
  return [0xe9, ...word(target - at - 5)];
}

for (const { what, code, cpl, expected, invalidates } of programs) {
  Deno.test(`translated code: ${what}`, () => {
    const start = startOf(code, cpl ?? 3);
    for (const choice of choices) {
      for (const stride of [11, 613, MOST_STEPS]) {
        const translated = runInStep(start, choice, stride, MOST_STEPS);
        for (const [register, value] of Object.entries(expected)) {
          assertEquals(translated.cpu.r[Number(register)], value | 0, `register ${register}`);
        }
        const figures = translated.translator?.statistics;
        assert(figures !== undefined && figures.regions > 0);
        if (choice === choices[0] && stride > 1 && invalidates !== undefined) {
          assertEquals(figures.invalidated > 0, invalidates, "translations were discarded");
        }
        const { regions = 0, emittedBytes = 0 } = translated.translator?.cache.counts ?? {};
        assert(regions <= 1 || emittedBytes <= choice.cacheKib * 1024, "the cache is no larger than it may be");
      }
    }
  });
}

Deno.test("translated code: DMA into it takes effect at the next step", () => {
  // MOV EAX, imm32; ADD EDX, EAX
  const start = startOf({ [ENTRY]: [0xb8, ...word(1), 0x01, 0xc2, 0xeb, 0xf7] }, 3);
  for (const choice of choices) {
    const reference = new Arena(), translated = new Arena(choice);
    for (const arena of [reference, translated]) {
      arena.begin(start);
      for (let transfer = 2; transfer < 40; transfer++) {
        arena.runTo(50 * transfer);
        arena.memory.write(AT + 1, Uint8Array.from(word(transfer * transfer)));
      }
      arena.runTo(50 * 40);
    }
    assertEquals(reference.differences(translated, true), []);
    assertEquals(translated.cpu.r[EAX], 39 * 39);
    assert((translated.translator?.statistics.invalidated ?? 0) > 0 || choice.threshold > 0);
  }
});

function startOf(code: Program["code"], cpl: 0 | 3): Start {
  const bytes = new Uint8Array(L.CODE_BYTES - ENTRY).fill(0x90);
  for (const [offset, part] of Object.entries(code)) bytes.set(part, Number(offset) - ENTRY);
  const registers = [0, 0, 0, 0, L.STACK + 0x800, 0, 0, 0];
  return { cpl, bits: 32, registers, eflags: 2, fs: 0, gs: 0, entry: ENTRY, code: bytes };
}
