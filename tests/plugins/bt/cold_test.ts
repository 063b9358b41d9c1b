// Cold code (plugins/bt/cold): each program runs in step with the interpreter, stopped everywhere, without ever being translated;
// and what cold code has a handler for, it does not hand over.

import { assert, assertEquals } from "@std/assert";
import { Exit } from "../../../plugins/bt/emit/emitter.ts";
import { runInStep, type Start } from "./arena.ts";
import { L, selectorOf, word } from "./arena_layout.ts";

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
  { what: "STI before a page that is not there", code: [STI, 0xa1, ...word(L.ABSENT), CLI] },
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

const COUNTS = [0, 1, 2, 7, 8, 9, 15, 16, 17, 24, 31, 32, 33];
const SHIFTS = [0, 1, 4, 5, 6, 7];
const ADDRESS = 0x05,
  narrow: readonly Program[] = [
    ...SHIFTS.flatMap((reg): Program[] => [
      {
        what: `shift ${reg} of bytes and words of memory`,
        code: COUNTS.flatMap((count) => [
          ...[0xc0, ADDRESS | reg << 3, ...DATA, count, ...PUSHF_POP],
          ...[OPERAND_SIZE, 0xc1, ADDRESS | reg << 3, ...word(L.DATA + 3), count, ...PUSHF_POP],
          ...[0xc1, ADDRESS | reg << 3, ...word(L.DATA + 5), count, ...PUSHF_POP],
        ]),
      },
      {
        what: `shift ${reg} of registers by one and by CL`,
        code: COUNTS.flatMap((count) => [
          ...[0xb1, count, 0xd2, 0xc7 | reg << 3, ...PUSHF_POP, OPERAND_SIZE, 0xd3, 0xc3 | reg << 3, ...PUSHF_POP],
          ...[0xd3, 0xc0 | reg << 3, 0xd0, 0xc0 | reg << 3, OPERAND_SIZE, 0xd1, 0xc3 | reg << 3, ...PUSHF_POP],
        ]),
      },
    ]),
    {
      what: "stores of words and of bytes behind narrower operations",
      // ADD of a byte; MOV of a word, of a half-word, of a byte, and others; and again behind an ADD of a half-word.
      code: [[0x00, 0x1d], [OPERAND_SIZE, 0x01, 0x1d]].flatMap((add) => [
        ...[
          ...add,
          ...DATA,
          0x89,
          0x1d,
          ...word(L.DATA + 8),
          ...add,
          ...DATA,
          OPERAND_SIZE,
          0x89,
          0x1d,
          ...word(L.DATA + 16),
        ],
        ...[
          ...add,
          ...DATA,
          0x88,
          0x3d,
          ...word(L.DATA + 24),
          ...add,
          ...DATA,
          0xc7,
          0x05,
          ...word(L.DATA + 32),
          ...word(-2),
        ],
        ...[
          ...add,
          ...DATA,
          0x87,
          0x1d,
          ...word(L.DATA + 40),
          ...add,
          ...DATA,
          0xd3,
          0xe3,
          ...add,
          ...DATA,
          0xf7,
          0xd3,
          0x43,
        ],
      ]),
    },
    {
      what: "operands of 16 bits",
      code: [
        ...[OPERAND_SIZE, 0xc7, 0x05, ...DATA, 0x34, 0x92, OPERAND_SIZE, 0xf7, 0x05, ...DATA, 0, 0x80, ...PUSHF_POP],
        ...[OPERAND_SIZE, 0xa9, 1, 0, ...PUSHF_POP, OPERAND_SIZE, 0xff, 0x05, ...DATA, ...PUSHF_POP],
        ...[OPERAND_SIZE, 0xff, 0xcb, ...PUSHF_POP, OPERAND_SIZE, 0x01, 0xd3, ...PUSHF_POP],
        ...[OPERAND_SIZE, 0x83, 0xd3, 0xff, ...PUSHF_POP, OPERAND_SIZE, 0x3d, 0xff, 0xff, ...PUSHF_POP],
        ...[OPERAND_SIZE, 0x85, 0x1d, ...DATA, ...PUSHF_POP, OPERAND_SIZE, 0x1b, 0x05, ...DATA, ...PUSHF_POP],
      ],
    },
  ];

const selectorOfData = selectorOf(L.DATA_USER, 3);
const system: readonly Program[] = [
  { what: "PUSH of segment registers", code: [0x06, 0x0e, 0x16, 0x1e, 0x0f, 0xa0, 0x0f, 0xa8, ...Array(6).fill(0x5b)] },
  {
    what: "PUSH of a segment register at a page's end",
    code: [0xbc, ...word(L.STACK + L.PAGE + 2), 0x1e],
    isHandedOver: false,
  },
  {
    what: "MOV and POP of segment registers",
    code: [
      ...[0x8c, 0xd8, 0x8e, 0xc0, 0x6a, selectorOfData, 0x0f, 0xa1, 0x6a, 0, 0x0f, 0xa9, 0x8c, 0xe3, 0x8c, 0xea],
      ...[...eax(selectorOfData), 0x8e, 0xe8, 0x8e, 0xe0, 0x1e, 0x07, 0x06, 0x1f],
    ],
  },
  { what: "MOV to SS", code: [0x8c, 0xd0, 0x8e, 0xd0], isHandedOver: true },
  { what: "MOV of a selector that is none to DS", code: [...eax(0xf000), 0x8e, 0xd8], isHandedOver: true },
  { what: "MOV from and to segment registers that there are not", code: [0x8c, 0xf0, 0x8e, 0xf8], isHandedOver: true },
  {
    what: "POPF",
    code: [0, 0x40, 0x84, 0x8d5, 0x246, 0x850].flatMap((flags) => [...POPS_FLAGS(flags), 0x9c, 0x5b]),
  },
  { what: "POPF of TF", code: [...POPS_FLAGS(0x102)], isHandedOver: true },
  { what: "POPF at CPL 3", code: [...POPS_FLAGS(0x46)], cpl: 3, isHandedOver: true },
  { what: "VERW", code: [0x6a, selectorOfData, 0x0f, 0x00, 0x2c, 0x24, ...PUSHF_POP, 0x58] },
  {
    what: "VERW without protection",
    code: [...eax(0x10), 0x0f, 0x22, 0xc0, 0x0f, 0x00, 0x2d, ...word(0x1990c)],
    isHandedOver: true,
  },
  { what: "MOV to CS from a page that nobody has touched", code: [0x8e, 0x0d, ...word(L.DATA)], isHandedOver: true },
  // PUSHF; PUSH CS; CALL over the rest, where IRET is.
  { what: "IRET within CPL 0", code: [0x9c, 0x0e, 0xe8, ...word(2), 0xeb, 1, 0xcf] },
  {
    what: "IRET to CPL 3 and what is there",
    code: [
      ...[0x6a, selectorOfData, 0x1f, 0x6a, selectorOfData, 0x07, 0x6a, selectorOfData, 0x54, 0x9c],
      ...[0x6a, selectorOf(L.CODE_USER, 3), 0xe8, ...word(0), 0x83, 0x04, 0x24, 5, 0xcf, 0x90, 0x40, 0x43, 0x50, 0x5b],
    ],
    isHandedOver: true,
  },
  { what: "SYSENTER without a selector", code: [0x0f, 0x34], isHandedOver: true },
];

for (
  const { what, code, at = ENTRY, isHandedOver = false, cpl = 0, fs = 0 } of [
    ...strings,
    ...atomics,
    ...others,
    ...narrow,
    ...system,
  ]
) {
  Deno.test(`cold code does as the interpreter: ${what}`, () => {
    const bytes = new Uint8Array(L.CODE_BYTES - at).fill(0x90);
    bytes.set([...code, 0xe9, ...word(-code.length - 5)]);
    const registers = [7, 3, 2, 0x12345, L.STACK + 0x800, 0, 0, 0];
    const start: Start = { cpl, bits: 32, registers, eflags: 2, fs, gs: 0, entry: at, code: bytes };
    for (const stride of [1, 7, MOST_STEPS]) {
      const { translator } = runInStep(start, COLD, stride, MOST_STEPS);
      const handedOver = translator?.statistics.exits[Exit.interpret] ?? -1;
      // A page that is needed beside that of the instruction is brought to hand by the interpreter, once.
      assert(isHandedOver ? handedOver > 0 : handedOver <= 1, `${handedOver} instructions handed over`);
      assertEquals(translator?.statistics.regions, 0);
    }
  });
}
