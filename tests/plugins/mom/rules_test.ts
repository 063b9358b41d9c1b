// MOM's balloon rules, case by case with the arithmetic of balloon.rules done by hand.

import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { nextPages } from "../../../plugins/mom/mod.ts";

const rules = { pressureThreshold: 0.2, pressureCritical: 0.05, minGuestFree: 0.2, maxStep: 0.05, minStep: 0.0025 };
const cases: [what: string, guest: [current: number, used: number], hostFree: number, expected: number][] = [
  ["at ease, a guest grows by a step of 5 %", [1000, 100], 0.5, 1050],
  ["at ease, a guest that uses all it has grows at once to that and a fifth", [1000, 1000], 0.5, 1200],
  ["a guest grows no further than its maximum", [1980, 100], 0.5, 2000],
  ["under pressure, a guest shrinks by a step of 5 %", [1000, 100], 0.15, 950],
  // used + 0.2 * (0.15 / 0.2) * current = 830 + 150.
  ["under pressure, a guest keeps what it uses and a part to spare", [1000, 830], 0.15, 980],
  ["under pressure, a guest never grows", [1000, 990], 0.15, 1000],
  // used + (0.02 - 0.05) * current = 990 - 30.
  ["when it is critical, a guest gets less than it uses", [1000, 990], 0.02, 960],
  ["a guest shrinks no further than its minimum", [510, 10], 0.1, 500],
  // 849 + 150 = 999: less than a quarter of a percent.
  ["a change of less than 0.25 % is not made", [1000, 849], 0.15, 1000],
];
for (const [what, [currentPages, usedPages], hostFree, expected] of cases) {
  Deno.test(what, () => {
    const guest = { currentPages, usedPages, minPages: 500, maxPages: 2000 };
    assertEquals(nextPages(guest, hostFree, rules), expected);
  });
}

Deno.test("a guest stays within its bounds, and under pressure never grows nor shrinks by more than a step", () => {
  const size = fc.integer({ min: 1, max: 100_000 });
  fc.assert(
    fc.property(size, size, size, size, fc.double({ min: 0, max: 1, noNaN: true }), (a, b, at, usedPages, hostFree) => {
      const [minPages, maxPages] = [Math.min(a, b), Math.max(a, b)];
      const currentPages = Math.max(minPages, Math.min(maxPages, at));
      const next = nextPages({ currentPages, usedPages, minPages, maxPages }, hostFree, rules);
      assert(next >= minPages && next <= maxPages);
      if (hostFree >= rules.pressureThreshold) assert(next >= currentPages);
      else assert(next <= currentPages && next >= Math.floor(currentPages * (1 - rules.maxStep)));
    }),
    { numRuns: 1000, seed: 1 },
  );
});
