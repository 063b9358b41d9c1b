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

for (const { what, code, isHandedOver = false, cpl = 0, fs = 0 } of [...strings]) {
  Deno.test(`cold code does as the interpreter: ${what}`, () => {
    const bytes = new Uint8Array(L.CODE_BYTES - ENTRY).fill(0x90);
    bytes.set([...code, 0xe9, ...word(-code.length - 5)]);
    const registers = [7, 3, 2, 0x12345, L.STACK + 0x800, 0, 0, 0];
    const start: Start = { cpl, bits: 32, registers, eflags: 2, fs, gs: 0, entry: ENTRY, code: bytes };
    for (const stride of [1, 7, MOST_STEPS]) {
      const { translator } = runInStep(start, COLD, stride, MOST_STEPS);
      const handedOver = translator?.statistics.exits[Exit.interpret] ?? -1;
      assertEquals(handedOver > 0, isHandedOver, `${handedOver} instructions handed over`);
      assertEquals(translator?.statistics.regions, 0);
    }
  });
}
