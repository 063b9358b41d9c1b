// The word that emitted code passes to the slow path of an access.

import { assertEquals } from "@std/assert";
import fc from "fast-check";
import * as Miss from "../../../plugins/bt/miss.ts";

const access = fc.record({ bytes: fc.constantFrom(1, 2, 4), isWrite: fc.boolean(), relies: fc.boolean() });
const extent = fc.integer({ min: 1, max: Miss.MOST_RUN_BYTES }).chain((bytes) =>
  fc.record({ bytes: fc.constant(bytes), below: fc.integer({ min: 0, max: bytes - 1 }), isWrite: fc.boolean() })
);

Deno.test("an access comes out of the word as it went in, with and without a run", () => {
  fc.assert(fc.property(access, fc.option(extent, { nil: undefined }), (missed, run) => {
    const kind = Miss.packMiss({ ...missed, run });
    assertEquals(
      [Miss.bytesOf(kind), Miss.writes(kind), Miss.relies(kind), Miss.beginsRun(kind), Miss.runWrites(kind)],
      [missed.bytes, missed.isWrite, missed.relies, run !== undefined, run?.isWrite ?? false],
    );
  }));
});

Deno.test("a run crosses a page where its first and its last byte lie in two", () => {
  fc.assert(fc.property(fc.integer(), extent, (linear, run) => {
    const kind = Miss.packMiss({ bytes: 1, isWrite: false, run });
    const first = linear - run.below, last = first + run.bytes - 1;
    assertEquals(Miss.runCrossesPage(linear, kind), Math.floor(first / 4096) !== Math.floor(last / 4096));
  }));
});
