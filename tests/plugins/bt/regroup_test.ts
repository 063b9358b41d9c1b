// Which translations are regrouped: hot ones that lead to each other and can run together.

import { assertEquals } from "@std/assert";
import type { Fragment } from "../../../plugins/bt/cache.ts";
import * as L from "../../../plugins/bt/layout.ts";
import { chooseGroups } from "../../../plugins/bt/regroup.ts";

const MODE = 7, PAGE = 0x1000, LIMITS = { entries: 80, unitEntries: 0, units: 10 };

/** A region of `units` units on a page of its own; `exits` are pages that it leads to. */
interface Made {
  readonly page: number;
  readonly entries: number;
  readonly exits?: readonly number[];
  readonly units?: number;
  readonly generation?: number;
  readonly mode?: number;
}

/** The pages of the groups that are chosen, each group's in its order. */
function groupsOf(
  made: readonly Made[],
  options: { leftTo?: Record<number, number>; absent?: number[]; unitEntries?: number } = {},
): number[][] {
  const words = new Int32Array(L.HYPERVISOR_BYTES / 4);
  const fragments = made.map(({ page, exits = [], units = 1, generation = 0, mode = MODE }, slot): Fragment => ({
    ...{ mode, slot, generation, entries: [0], seenEntries: 0, emittedBytes: 1, sites: [], vmIds: [1] },
    spans: Array.from({ length: units }, (_, i) => ({ mpn: page, eip: page * PAGE + i * 16, bytes: 16 })),
    exits: new Set(exits.map((target) => target * PAGE)),
  }));
  for (const [slot, { page, entries }] of made.entries()) {
    words[L.entriesWord(slot)] = entries;
    words[L.leftToWord(slot)] = (options.leftTo?.[page] ?? 0) * PAGE;
  }
  const frameOf = (address: number) => options.absent?.includes(address / PAGE) ? -1 : address / PAGE;
  const { unitEntries = LIMITS.unitEntries } = options;
  return chooseGroups(fragments, words, { ...LIMITS, unitEntries }, frameOf).map((group) =>
    group.map(({ spans }) => spans[0].mpn)
  );
}

Deno.test("a hot region is grouped with the hot ones that it leads to, or that lead to it, the hottest first", () => {
  const made = [{ page: 1, entries: 90, exits: [2] }, { page: 2, entries: 100 }, { page: 3, entries: 20, exits: [2] }];
  assertEquals(groupsOf(made), [[2, 1, 3]]);
});

Deno.test("what is not hot, or leads nowhere, stays as it is", () => {
  assertEquals(groupsOf([{ page: 1, entries: 79, exits: [2] }, { page: 2, entries: 79 }]), []);
  assertEquals(groupsOf([{ page: 1, entries: 100, exits: [2] }, { page: 2, entries: 9 }]), []);
  assertEquals(groupsOf([{ page: 1, entries: 100 }, { page: 2, entries: 100 }]), []);
});

Deno.test("an indirect jump that was seen leads to its target", () => {
  assertEquals(groupsOf([{ page: 1, entries: 100 }, { page: 2, entries: 90 }], { leftTo: { 1: 2 } }), [[1, 2]]);
});

Deno.test("a group has so many units at the most, and takes the hottest that fit", () => {
  const made = [
    { page: 1, entries: 100, exits: [2, 3, 4], units: 4 },
    { page: 2, entries: 90, units: 7 },
    { page: 3, entries: 80, units: 3 },
    { page: 4, entries: 70, units: 3 },
  ];
  assertEquals(groupsOf(made), [[1, 3, 4]]);
});

Deno.test("a group is made once its regions were entered often enough for all of their units", () => {
  const made = [{ page: 1, entries: 100, exits: [2], units: 4 }, { page: 2, entries: 90, units: 6 }];
  assertEquals(groupsOf(made, { unitEntries: 19 }), [[1, 2]]);
  assertEquals(groupsOf(made, { unitEntries: 20 }), []);
});

Deno.test("what is not worth its units is left out of a group, and may begin one of its own", () => {
  const made = [
    { page: 1, entries: 100, exits: [2, 3] },
    { page: 2, entries: 95 },
    { page: 3, entries: 81, units: 6, exits: [4] },
    { page: 4, entries: 90, exits: [5] },
    { page: 5, entries: 85 },
  ];
  assertEquals(groupsOf(made, { unitEntries: 45 }), [[1, 2, 3, 4, 5]]);
  assertEquals(groupsOf(made, { unitEntries: 46 }), [[1, 2], [4, 5]]);
  // Region 3 has 13.5 entries a unit: less than an eighth of what is asked for.
  assertEquals(groupsOf([...made.slice(0, 3), { page: 4, entries: 2000 }], { unitEntries: 109 }), []);
});

Deno.test("regions whose pages are not mapped to their frames now, or that have another mode, are not grouped", () => {
  const made = [{ page: 1, entries: 100, exits: [2] }, { page: 2, entries: 90 }];
  assertEquals(groupsOf(made, { absent: [2] }), []);
  assertEquals(groupsOf([made[0], { ...made[1], mode: MODE | L.MODE_USER }]), []);
});

Deno.test("the same code is not regrouped for ever", () => {
  assertEquals(groupsOf([{ page: 1, entries: 100, exits: [2], generation: 4 }, { page: 2, entries: 90 }]), []);
});

Deno.test("entries count since the last look, past the end of a word too", () => {
  const words = new Int32Array(L.HYPERVISOR_BYTES / 4);
  const fragment = {
    ...{ mode: MODE, slot: 0, generation: 0, entries: [0], seenEntries: -10, emittedBytes: 1, sites: [], vmIds: [1] },
    ...{ spans: [{ mpn: 1, eip: PAGE, bytes: 16 }], exits: new Set<number>() },
  };
  words[L.entriesWord(0)] = 5;
  chooseGroups([fragment], words, LIMITS, () => 1);
  assertEquals(fragment.seenEntries, 5);
});
