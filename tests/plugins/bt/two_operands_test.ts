// Translated instructions with two operands in memory: what is done for the one (a page walk, a copy-on-write) may change the
// other. Each runs in step with the interpreter and must leave what it is meant to.

import { assert, assertEquals } from "@std/assert";
import { mechanism } from "../../../plugins/memory/mod.ts";
import { Arena, type Start } from "./arena.ts";
import { L, word } from "./arena_layout.ts";

const ENTRY = 0x40, STEPS = 400;
const COUNT = 100;
/** Entry of the page table for a page that nothing has touched yet, and that page. */
const FRESH = L.DATA + 2 * L.PAGE, FRESH_ENTRY = L.PAGE_TABLE + (FRESH >>> 12) * 4;
const MAPPED = 7, ACCESSED = 0x20;

/** MOV ESI; MOV EDI; MOV ECX; the instruction; for ever nothing. */
function program(source: number, destination: number, instruction: readonly number[], before: readonly number[] = []) {
  const pointers = [0xbe, ...word(source), 0xbf, ...word(destination), 0xb9, ...word(COUNT)];
  return [...before, ...pointers, ...instruction, 0xeb, 0xfe];
}

interface Case {
  readonly what: string;
  readonly code: readonly number[];
  /** Makes the first data page share its frame with the second. */
  readonly shares: boolean;
  readonly expected: { readonly address: number; readonly bytes: readonly number[] };
}

const REP_MOVSB = [0xf3, 0xa4], MOVSD = [0xa5];
/** MOV EAX, [page]: fills the TLB. */
const touch = (page: number) => [0xa1, ...word(page)];

const cases: readonly Case[] = [
  {
    what: "an overlapping REP MOVSB in a page that is shared copy-on-write spreads its first byte",
    code: program(L.DATA, L.DATA + 1, REP_MOVSB),
    shares: true,
    expected: { address: L.DATA, bytes: Array(COUNT + 1).fill(0x5a) },
  },
  {
    what: "an overlapping REP MOVSB through two linear pages of a shared frame spreads its first byte",
    code: program(L.DATA, L.DATA_ALIAS + 1, REP_MOVSB, touch(L.DATA)),
    shares: true,
    expected: { address: L.DATA, bytes: Array(COUNT + 1).fill(0x5a) },
  },
  {
    what: "MOVSD copies the page-table entry of its destination as it was before the walk",
    code: program(FRESH_ENTRY, FRESH, MOVSD, touch(FRESH_ENTRY)),
    shares: false,
    expected: { address: FRESH, bytes: word(FRESH | MAPPED) },
  },
  {
    what: "REP MOVSB copies the page-table entry of its destination as it was before the walk, and then as it is",
    code: program(FRESH_ENTRY, FRESH, REP_MOVSB, touch(FRESH_ENTRY)),
    shares: false,
    expected: { address: FRESH, bytes: word(FRESH | MAPPED) },
  },
  {
    what: "MOVSD between two pages that compete for one TLB entry",
    code: program(L.DATA + 4, L.DATA + L.DATA_CONFLICT + 8, [...MOVSD, ...MOVSD, ...MOVSD]),
    shares: true,
    expected: { address: L.DATA, bytes: Array(16).fill(0x5a) },
  },
];

for (const { what, code, shares, expected } of cases) {
  Deno.test(what, () => {
    const bytes = new Uint8Array(L.CODE_BYTES - ENTRY).fill(0x90);
    bytes.set(code);
    const registers = [0, 0, 0, 0, L.STACK + 0x800, 0, 0, 0];
    const start: Start = { cpl: 0, bits: 32, registers, eflags: 2, fs: 0, gs: 0, entry: ENTRY, code: bytes };
    const reference = new Arena();
    const translated = new Arena({ threshold: 0, unitInstructions: 12, regionUnits: 32, cacheKib: 16384 });
    for (const arena of [reference, translated]) {
      arena.begin(start);
      if (shares) share(arena);
      arena.runTo(STEPS);
      const page = arena.memory.peek(expected.address >>> 12);
      const at = expected.address & (L.PAGE - 1);
      assertEquals([...page?.subarray(at, at + expected.bytes.length) ?? []], expected.bytes);
    }
    assertEquals(reference.differences(translated, true), []);
    assertEquals(
      new DataView(tablePage(translated).buffer).getInt32(FRESH_ENTRY & 0xfff, true) & ACCESSED,
      shares ? 0 : ACCESSED,
    );
    assert((translated.translator?.statistics.dispatches ?? 0) > 0);
  });
}

function tablePage({ memory }: Arena): Uint8Array {
  return memory.peek(L.PAGE_TABLE >>> 12)?.slice() ?? new Uint8Array(L.PAGE);
}

/** Gives the first two data pages equal contents and one frame. */
function share({ host, vm, memory }: Arena): void {
  const first = L.DATA >>> 12,
    contents = new Uint8Array(L.PAGE).map((_, at) => at < 16 ? 0x5a : 0xc3);
  memory.write(L.DATA, contents);
  memory.write(L.DATA + L.PAGE, contents);
  const pages = host.service(mechanism);
  const frame = pages.frameOf(vm, first);
  assert(frame !== undefined && pages.share(vm, first + 1, frame));
}
