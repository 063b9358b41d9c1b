// Cold code (plugins/bt/cold): each program runs in step with the interpreter, stopped everywhere, without ever being translated;
// and what cold code has a handler for, it does not hand over.

import { assertEquals } from "@std/assert";
import { Exit } from "../../../plugins/bt/emit/emitter.ts";
import { runInStep, type Start } from "./arena.ts";
import { L, word } from "./arena_layout.ts";

const ENTRY = 0x40, MOST_STEPS = 1500;
/** Never translates. */
const COLD = { threshold: 30_000, unitInstructions: 12, regionUnits: 32, cacheKib: 16384 };

interface Program {
  readonly what: string;
  readonly code: readonly number[];
  /** Offset of the code in its first page. */
  readonly at?: number;
  /** Whether some of it is left to the interpreter: it faults, or is rare. */
  readonly isHandedOver?: boolean;
  readonly cpl?: 0 | 3;
  readonly fs?: number;
}

const REP = 0xf3, REPNE = 0xf2, OPERAND_SIZE = 0x66, FS = 0x64, CLD = 0xfc, STD = 0xfd;
const mov = (register: number) => (value: number) => [0xb8 + register, ...word(value)];
const eax = mov(0), ecx = mov(1), esi = mov(6), edi = mov(7);
const copy = (from: number, to: number, count: number) => [...esi(from), ...edi(to), ...ecx(count)];
/** A page that nothing has touched yet is filled in by the slow path; twice, so that it is at hand the second time. */
const twice = (code: readonly number[]) => [...code, ...code];

const strings: readonly Program[] = [
  { what: "MOVSB, MOVSW and MOVSD", code: [...copy(L.DATA, L.DATA + 64, 1), 0xa4, OPERAND_SIZE, 0xa5, 0xa5] },
  { what: "STOSB and STOSD", code: [...eax(0x12345678), ...edi(L.DATA + 64), 0xaa, 0xab] },
  { what: "LODSB and LODSD", code: [...esi(L.DATA + 3), 0xac, 0x01, 0xc3, 0xad, 0x01, 0xc2] },
  { what: "SCASB and SCASD", code: [...edi(L.DATA + 3), 0xae, 0x9c, 0x5b, 0xaf, 0x9c, 0x5b] },
  { what: "LODSB and MOVSB from FS", code: [...esi(8), ...edi(L.DATA), FS, 0xac, FS, 0xa4], fs: L.BASED },
  { what: "REP MOVSB", code: twice([...copy(L.DATA, L.DATA + 0x200, 100), REP, 0xa4]) },
  { what: "REP MOVSD", code: twice([...copy(L.DATA, L.DATA + 0x200, 100), REP, 0xa5]) },
  { what: "REP MOVSB of nothing", code: [...copy(L.DATA, L.DATA + 0x200, 0), REP, 0xa4] },
  { what: "REP MOVSD from FS", code: [...copy(4, L.DATA + 0x200, 9), FS, REP, 0xa5], fs: L.BASED },
  { what: "REP MOVSB over two pages of each", code: twice([...copy(L.DATA + 4000, L.DATA + 8100, 200), REP, 0xa4]) },
  {
    what: "REP MOVSD with an element across pages",
    code: twice([...copy(L.DATA + 4000, L.DATA + 8102, 200), REP, 0xa5]),
    isHandedOver: true,
  },
  { what: "REP MOVSB that overlaps by one byte", code: [...copy(L.DATA, L.DATA + 1, 70), REP, 0xa4] },
  { what: "REP MOVSD that overlaps by two bytes", code: [...copy(L.DATA, L.DATA + 2, 70), REP, 0xa5] },
  { what: "REP MOVSD downwards in memory, overlapping", code: [...copy(L.DATA + 8, L.DATA, 70), REP, 0xa5] },
  { what: "REP MOVSB through an alias", code: [...copy(L.DATA, L.DATA_ALIAS + 1, 70), REP, 0xa4] },
  { what: "REP MOVSB in place", code: [...copy(L.DATA, L.DATA, 70), REP, 0xa4] },
  {
    what: "REP MOVSB with DF set",
    code: [STD, ...copy(L.DATA + 100, L.DATA + 300, 70), REP, 0xa4, CLD],
    isHandedOver: true,
  },
  { what: "REP MOVSB from an absent page", code: [...copy(L.ABSENT - 9, L.DATA, 30), REP, 0xa4], isHandedOver: true },
  { what: "REP MOVSB to an absent page", code: [...copy(L.DATA, L.ABSENT - 9, 30), REP, 0xa4], isHandedOver: true },
  {
    what: "REP STOSD to a page that is read-only for CPL 3",
    code: [...edi(L.READ_ONLY - 12), ...ecx(9), REP, 0xab],
    isHandedOver: true,
    cpl: 3,
  },
  { what: "REP STOSB", code: twice([...eax(0x77), ...edi(L.DATA + 5), ...ecx(77), REP, 0xaa]) },
  { what: "REP STOSD of zeros", code: twice([...eax(0), ...edi(L.DATA + 5), ...ecx(77), REP, 0xab]) },
  { what: "REP STOSD of a word", code: twice([...eax(0x1234567), ...edi(L.DATA + 8), ...ecx(77), REP, 0xab]) },
  { what: "REP STOSD over pages", code: [...eax(0), ...edi(L.DATA + 4000), ...ecx(1200), REP, 0xab] },
  {
    what: "REP MOVSB of a page-table entry over what its walk changes",
    code: [...copy(L.PAGE_TABLE + (L.DATA >>> 10), L.DATA, 40), REP, 0xa4],
  },
  {
    what: "REP STOSB that overwrites itself",
    // MOV EDI, behind MOV ECX; MOV ECX; then 0x40, INC EAX, over all that follows, itself included.
    code: [...eax(0x40), ...edi(L.CODE + ENTRY + 20), ...ecx(24), 0x90, 0x90, 0x90, REP, 0xaa, ...Array(40).fill(0x41)],
  },
  {
    what: "REP MOVSB that overwrites itself through an alias",
    code: [
      ...copy(L.DATA, L.CODE + L.INSTRUCTION_CONFLICT + ENTRY + 15, 10),
      ...[0x90, 0x90, REP, 0xa4],
      ...Array(40).fill(0x41),
    ],
    isHandedOver: true,
  },
  { what: "REPNE SCASB", code: [...eax(0), ...edi(L.DATA), ...ecx(90), REPNE, 0xae], isHandedOver: true },
  { what: "a REP that is not heeded: PAUSE, BSF", code: [0x6a, 5, 0x58, REP, 0x90, REP, 0x0f, 0xbc, 0xd8] },
];

const LOCK = 0xf0, DATA = word(L.DATA);
const POPS_FLAGS = (flags: number) => [0x68, ...word(flags), 0x9d];

const atomics: readonly Program[] = [
  {
    what: "LOCK before everything that may have it",
    code: [
      ...[0x00, 0x01, 0x08, 0x11, 0x19, 0x21, 0x29, 0x31].flatMap((opcode) => [LOCK, opcode, 0x1d, ...DATA]),
      ...[0, 1, 2, 3, 4, 5, 6].flatMap((reg) => [LOCK, 0x83, 0x05 | reg << 3, ...DATA, 0x85]),
      ...[LOCK, 0x81, 0x05, ...DATA, ...word(0x1234567), LOCK, 0x80, 0x0d, ...DATA, 0x41],
      ...[LOCK, 0xff, 0x05, ...DATA, LOCK, 0xfe, 0x0d, ...DATA, LOCK, 0xf7, 0x15, ...DATA, LOCK, 0xf7, 0x1d, ...DATA],
      ...[LOCK, 0x87, 0x1d, ...DATA, FS, LOCK, 0x01, 0x1d, ...word(8)],
      ...[LOCK, 0x0f, 0xba, 0x2d, ...DATA, 7, LOCK, 0x0f, 0xab, 0x15, ...DATA],
    ],
    fs: L.BASED,
  },
  ...[
    ["an operand that is only read", [LOCK, 0x39, 0x1d, ...DATA]],
    ["MOV", [LOCK, 0x89, 0x1d, ...DATA]],
    ["a register", [LOCK, 0x01, 0xc3]],
    ["an immediate operand alone", [LOCK, 0x83, 0xc0, 1]],
    ["CMP of a group", [LOCK, 0x83, 0x3d, ...DATA, 1]],
    ["BT", [LOCK, 0x0f, 0xa3, 0x1d, ...DATA]],
    ["MOV from an address", [LOCK, 0xa1, ...DATA]],
    ["SETcc", [LOCK, 0x0f, 0x94, 0x05, ...DATA]],
  ].map(([what, code]) => ({ what: `LOCK before ${what}`, code: code as number[], isHandedOver: true })),
  {
    what: "XADD of memory, of registers, of one register",
    code: [
      ...[0x0f, 0xc1, 0x1d, ...DATA, LOCK, 0x0f, 0xc1, 0x1d, ...DATA, 0x0f, 0xc0, 0x3d, ...DATA],
      ...[0x9c, 0x5a, 0x0f, 0xc1, 0xd3, 0x9c, 0x5a, 0x0f, 0xc1, 0xdb, 0x0f, 0xc0, 0xe4, 0x0f, 0xc0, 0xe3, 0x9c, 0x5a],
    ],
  },
  {
    what: "CMPXCHG of a byte and of a word, equal and not",
    code: [
      ...[0xa1, ...DATA, LOCK, 0x0f, 0xb1, 0x1d, ...DATA, 0x9c, 0x5a, LOCK, 0x0f, 0xb1, 0x1d, ...DATA, 0x9c, 0x5a],
      ...[
        0xa1,
        ...DATA,
        0x0f,
        0xb0,
        0x3d,
        ...DATA,
        0x9c,
        0x5a,
        0x0f,
        0xb0,
        0x15,
        ...DATA,
        0x9c,
        0x5a,
        0x0f,
        0xb0,
        0xc4,
      ],
    ],
  },
  ...[0, 0x40, 0x84, 0xc5, 0x8d1, 0x850].map((flags) => ({
    what: `CMPXCHG8B, equal and not, with flags ${flags.toString(16)}`,
    code: [
      ...[0xa1, ...DATA, 0x8b, 0x15, ...word(L.DATA + 4), ...POPS_FLAGS(flags), 0x0f, 0xc7, 0x0d, ...DATA, 0x9c, 0x5e],
      ...[...POPS_FLAGS(flags), 0x40, 0x48, LOCK, 0x0f, 0xc7, 0x0d, ...DATA, 0x9c, 0x5f, 0x01, 0xf3, 0x01, 0xf9],
    ],
    // POPF; and the first time the page is not at hand.
    isHandedOver: true,
  })),
  { what: "CMPXCHG8B across pages", code: [0x0f, 0xc7, 0x0d, ...word(L.DATA + L.PAGE - 4)], isHandedOver: true },
  { what: "CMPXCHG8B of a register", code: [0x0f, 0xc7, 0xc8], isHandedOver: true },
  ...[0xa3, 0xab, 0xb3, 0xbb].map((opcode) => ({
    what: `bit test ${opcode.toString(16)} of a bit string in memory`,
    code: [3, 31, 32, 77, 8191, -1, -32, -33, -900].flatMap((bit) => {
      return [...eax(bit), 0x0f, opcode, 0x05, ...word(L.DATA + 1000), 0x9c, 0x5a];
    }),
  })),
  {
    what: "BTS of a bit string into a read-only page",
    code: [...eax(32), 0x0f, 0xa3, 0x05, ...word(L.READ_ONLY - 4), 0x0f, 0xab, 0x05, ...word(L.READ_ONLY - 4)],
    isHandedOver: true,
    cpl: 3,
  },
];

const STI = 0xfb, CLI = 0xfa, NOP = 0x90;
const PUSHF_POP = [0x9c, 0x5a];
/** Puts an instruction, behind what comes before it, across the end of the first code page. */
const crossing = (what: string, code: readonly number[], inFirst: number, before: readonly number[] = []): Program => {
  const at = L.PAGE - inFirst - before.length;
  return { what: `${what} across pages, ${inFirst} bytes in the first`, code: [...before, ...code], at };
};

const others: readonly Program[] = [
  { what: "STI before others", code: [STI, 0x40, CLI, STI, NOP, ...PUSHF_POP, CLI, STI, STI, 0x48, CLI] },
  { what: "STI before CLI, a jump, a string", code: [STI, CLI, STI, 0xeb, 0, CLI, ...edi(L.DATA), STI, 0xaa, CLI] },
  { what: "STI before a repetition", code: [...edi(L.DATA), ...ecx(90), STI, REP, 0xab, CLI] },
  { what: "STI before a page that is not there", code: [STI, 0xa1, ...word(L.ABSENT), CLI], isHandedOver: true },
  { what: "STI at CPL 3", code: [STI], cpl: 3, isHandedOver: true },
  { what: "RDTSC", code: [0x0f, 0x31, 0x01, 0xc3, 0x0f, 0x31, 0x01, 0xd6], cpl: 3 },
  { what: "LFENCE, MFENCE, SFENCE", code: [0x0f, 0xae, 0xe8, 0x0f, 0xae, 0xf2, 0x0f, 0xae, 0xf8] },
  { what: "LFENCE behind a prefix", code: [REP, 0x0f, 0xae, 0xe8, 0x3e, 0x0f, 0xae, 0xe8], isHandedOver: true },
  {
    what: "MOV of the accumulator from and to addresses",
    code: [
      0xa0,
      ...DATA,
      0xa2,
      ...word(L.DATA + 9),
      0xa1,
      ...word(L.DATA + 2),
      0xa3,
      ...word(L.DATA + 5),
      FS,
      0xa0,
      ...word(3),
    ],
    fs: L.BASED,
  },
  ...[1, 2, 3, 4, 5].map((inFirst) => crossing("ADD of an immediate", [0x81, 0xc3, ...word(0x1234567)], inFirst)),
  crossing("CALL and RET", [0xe8, ...word(1), 0xf4, 0x58], 2),
  crossing("a conditional jump", [0x0f, 0x85, ...word(1), NOP, 0x43], 3),
  crossing("LOCK XADD", [LOCK, 0x0f, 0xc1, 0x1d, ...DATA], 1),
  crossing("LOCK XADD", [LOCK, 0x0f, 0xc1, 0x1d, ...DATA], 3),
  crossing("a store of an immediate", [0xc7, 0x84, 0x23, ...word(L.DATA - 0x12345), ...word(7)], 6),
  crossing("REP STOSD", [REP, 0xab], 1, [...edi(L.DATA), ...ecx(40)]),
  { ...crossing("LOCK MOV", [LOCK, 0x89, 0x1d, ...DATA], 2), isHandedOver: true },
  crossing("a sum in its own immediate", [0x80, 0x05, ...word(L.CODE + L.PAGE + 4), 1], 2),
  crossing("a store to its other half", [0xc6, 0x05, ...word(L.CODE + L.PAGE - 2), 0xc6], 2),
];

for (const { what, code, at = ENTRY, isHandedOver = false, cpl = 0, fs = 0 } of [...strings, ...atomics, ...others]) {
  Deno.test(`cold code does as the interpreter: ${what}`, () => {
    const bytes = new Uint8Array(L.CODE_BYTES - at).fill(0x90);
    bytes.set([...code, 0xe9, ...word(-code.length - 5)]);
    const registers = [7, 3, 2, 0x12345, L.STACK + 0x800, 0, 0, 0];
    const start: Start = { cpl, bits: 32, registers, eflags: 2, fs, gs: 0, entry: at, code: bytes };
    for (const stride of [1, 7, MOST_STEPS]) {
      const { translator } = runInStep(start, COLD, stride, MOST_STEPS);
      // The page that an instruction goes on in is fetched by the interpreter once.
      const handedOver = translator?.statistics.exits[Exit.interpret] ?? -1;
      assertEquals(handedOver > 1, isHandedOver, `${handedOver} instructions handed over`);
      assertEquals(translator?.statistics.regions, 0);
    }
  });
}
