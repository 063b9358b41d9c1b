// The hash table of page sharing by itself: chains, kinds, counts beyond 16 bits, and its size.

import { assert, assertEquals, assertLessOrEqual, assertThrows } from "@std/assert";
import fc from "fast-check";
import { PAGE_SIZE } from "../../../plugins/memory/mod.ts";
import { FrameKind, NO_ENTRY, SharingTable } from "../../../plugins/page-sharing/table.ts";

/** Frames of the chain for a hash. */
function chainOf(table: SharingTable, low: number): number[] {
  const found = [];
  for (let mpn = table.first(low); mpn !== NO_ENTRY; mpn = table.next(mpn)) found.push(mpn);
  return found;
}

Deno.test("a hint keeps the upper half of the high word, and whose page it is", () => {
  const table = new SharingTable(16);
  table.insertHint(3, 0x1234_5678, 0x9abc_def0 | 0, 0xffff, 0xf_ffff, false);
  assertEquals([table.kindOf(3), table.vmOf(3), table.ppnOf(3)], [FrameKind.hint, 0xffff, 0xf_ffff]);
  assert(table.matches(3, 0x1234_5678, 0x9abc_0000 | 0));
  assert(!table.matches(3, 0x1234_5678, 0x9abd_def0 | 0));
  assert(!table.matches(3, 0x1234_5679, 0x9abc_def0 | 0));
});

Deno.test("a shared frame keeps the whole hash, its salt and its count", () => {
  const table = new SharingTable(16);
  table.insertHint(5, 7, -1, 2, 9, true);
  table.insertShared(5, 7, -1, 0xfffe, 2);
  assertEquals([table.kindOf(5), table.saltOf(5), table.countOf(5)], [FrameKind.shared, 0xfffe, 2]);
  assert(table.matches(5, 7, -1));
  assert(!table.matches(5, 7, -2));
  assertEquals([table.volatileHints, table.count(FrameKind.hint), table.count(FrameKind.shared)], [0, 0, 1]);
  table.audit();
});

Deno.test("counts above 65,534 stand in the overflow table", () => {
  const table = new SharingTable(16);
  const empty = table.sizeBytes;
  table.insertShared(0, 1, 1, 3, 65_534);
  assertEquals([table.countOf(0), table.sizeBytes], [65_534, empty]);
  for (const count of [65_535, 65_536, 1_000_000]) {
    table.setCount(0, count);
    assertEquals([table.countOf(0), table.saltOf(0)], [count, 3]);
  }
  assertEquals(table.sizeBytes, empty + 16);
  table.setCount(0, 2);
  assertEquals([table.countOf(0), table.sizeBytes], [2, empty]);
});

Deno.test("the table is at most 0.5 % of machine memory, whatever its size", () => {
  for (const frames of [256, 257, 1000, 65_535, 65_536, 262_144]) {
    assertLessOrEqual(new SharingTable(frames).sizeBytes / (frames * PAGE_SIZE), 0.005);
  }
});

Deno.test("a table larger than its links can name is refused", () => {
  assertThrows(() => new SharingTable(2 ** 20), RangeError, "1048576 frames");
});

Deno.test("frames inserted, changed and removed at random are found where a Map says", () => {
  const FRAMES = 24;
  interface Entry {
    readonly kind: FrameKind;
    readonly low: number;
    readonly vm: number;
  }
  const operation = fc.record({
    kind: fc.constantFrom(...Object.values(FrameKind)),
    mpn: fc.nat(FRAMES - 1),
    low: fc.nat(40),
    vm: fc.nat(3),
    isVolatile: fc.boolean(),
    forgetsVm: fc.integer({ min: 0, max: 19 }).map((n) => n === 0),
  });
  fc.assert(
    fc.property(fc.array(operation, { maxLength: 120, size: "max" }), (operations) => {
      const table = new SharingTable(FRAMES), model = new Map<number, Entry>();
      for (const { kind, mpn, low, vm, isVolatile, forgetsVm } of operations) {
        if (forgetsVm) {
          table.removeHintsOf(vm);
          for (const [mpn, entry] of model) if (entry.kind === FrameKind.hint && entry.vm === vm) model.delete(mpn);
        } else {
          table.remove(mpn);
          if (kind === FrameKind.hint) table.insertHint(mpn, low, 0, vm, mpn, isVolatile);
          if (kind === FrameKind.shared) table.insertShared(mpn, low, 0, vm, 2);
          if (kind === FrameKind.ineligible) table.setIneligible(mpn, low, 0);
          if (kind === FrameKind.none) model.delete(mpn);
          else model.set(mpn, { kind, low, vm });
        }
        table.audit();
        for (let low = 0; low <= 40; low++) {
          const expected = [...model].filter(([, entry]) => entry.low === low && entry.kind !== FrameKind.ineligible);
          const found = chainOf(table, low).filter((mpn) => table.matches(mpn, low, 0));
          assertEquals(found.toSorted(), expected.map(([mpn]) => mpn).toSorted());
        }
      }
      for (let mpn = 0; mpn < FRAMES; mpn++) assertEquals(table.kindOf(mpn), model.get(mpn)?.kind ?? FrameKind.none);
    }),
    { numRuns: 60, seed: 20260102 },
  );
});
