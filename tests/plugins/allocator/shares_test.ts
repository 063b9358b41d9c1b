// Proportional shares against their closed form, and revocation against the plain model of taking page by page.

import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { type Claim, fitTargets, proportionalTargets } from "../../../plugins/allocator/shares.ts";
import { type Holding, revoke } from "../../../plugins/allocator/revocation.ts";

const total = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0);

const claims: [pages: number, claims: [shares: number, min: number, max: number][], expected: number[]][] = [
  // Without bounds: P_i = S_i / sum(S) * T, the closed form with a tax of zero (ESX paper, sections 5.1 and 5.2).
  [600, [[1, 0, 600], [2, 0, 600], [3, 0, 600]], [100, 200, 300]],
  [358, [[1, 0, 256], [1, 0, 256]], [179, 179]],
  // Enough for all: everyone gets its maximum, and the rest is nobody's.
  [1000, [[1, 0, 256], [9, 0, 256]], [256, 256]],
  // One is held at its maximum, one at its minimum; the others divide the rest by shares.
  [1000, [[10, 0, 100], [1, 300, 400], [1, 0, 900], [2, 0, 900]], [100, 300, 200, 400]],
  // Minima come first, even where there is too little.
  [10, [[1, 20, 30], [1, 20, 30]], [20, 20]],
  // Whole pages, none left over.
  [10, [[1, 0, 100], [1, 0, 100], [1, 0, 100]], [4, 3, 3]],
  [0, [[1, 0, 5]], [0]],
  [7, [], []],
];
for (const [pages, given, expected] of claims) {
  Deno.test(`${pages} pages for ${JSON.stringify(given)} are divided into ${JSON.stringify(expected)}`, () => {
    const asked = given.map(([shares, minPages, maxPages]) => ({ shares, minPages, maxPages }));
    assertEquals(proportionalTargets(pages, asked), expected);
  });
}

const anyClaim = fc.record({ shares: fc.integer({ min: 1, max: 5000 }), a: fc.nat(2000), b: fc.nat(2000) })
  .map(({ shares, a, b }): Claim => ({ shares, minPages: Math.min(a, b), maxPages: Math.max(a, b) }));
const anyClaims = fc.array(anyClaim, { maxLength: 12 });

Deno.test("proportional targets are within bounds, use up what there is, and are in proportion where free to be", () => {
  fc.assert(
    fc.property(fc.nat(12_000), anyClaims, (pages, asked) => {
      const targets = proportionalTargets(pages, asked);
      for (const [i, { minPages, maxPages }] of asked.entries()) {
        assert(Number.isInteger(targets[i]) && targets[i] >= minPages && targets[i] <= maxPages);
      }
      const [least, most] = [total(asked.map((c) => c.minPages)), total(asked.map((c) => c.maxPages))];
      assertEquals(total(targets), Math.max(least, Math.min(pages, most)));
      // Whoever is above its minimum gets, by the page, no more for its shares than whoever is below its maximum.
      for (const [i, rich] of asked.entries()) {
        for (const [j, poor] of asked.entries()) {
          if (targets[i] <= rich.minPages || targets[j] >= poor.maxPages) continue;
          const [pagesPerShare, others] = [(targets[i] - 1) / rich.shares, (targets[j] + 1) / poor.shares];
          assert(pagesPerShare <= others + 1e-9, `${targets} of ${pages} for ${JSON.stringify(asked)}`);
        }
      }
    }),
    { numRuns: 500, seed: 1 },
  );
});

Deno.test("an answer is fitted to what there is: within bounds, whole, and no more than the pages in sum", () => {
  const anyAnswer = fc.array(fc.oneof(fc.double({ min: -10, max: 4000 }), fc.constant(Infinity)), { maxLength: 14 });
  fc.assert(
    fc.property(fc.nat(12_000), anyClaims, anyAnswer, (pages, asked, answer) => {
      const targets = fitTargets(pages, asked, answer);
      assertEquals(targets.length, asked.length);
      for (const [i, { minPages, maxPages }] of asked.entries()) {
        assert(Number.isInteger(targets[i]) && targets[i] >= minPages && targets[i] <= maxPages);
      }
      assert(total(targets) <= Math.max(pages, total(asked.map((c) => c.minPages))));
    }),
    { numRuns: 500, seed: 1 },
  );
});

Deno.test("an answer that fits is taken as it is", () => {
  const asked = [{ shares: 1, minPages: 10, maxPages: 100 }, { shares: 1, minPages: 0, maxPages: 100 }];
  assertEquals(fitTargets(120, asked, [70, 50]), [70, 50]);
  assertEquals(fitTargets(120, asked, [70.9, 20]), [70, 20]);
  assertEquals(fitTargets(120, asked, [5, 500]), [10, 100]);
  // 80 of 60 + 100 above the minimum can be had: half of what each wanted beyond it.
  assertEquals(fitTargets(90, asked, [70, 100]), [40, 50]);
  assertEquals(fitTargets(300, asked, [NaN]), [100, 100]);
});

/** Every page costs one. */
const plain = { activePages: Infinity, idlePageCost: 1 };

/** Sections 5.1 and 5.2 as they are told: one page after another from whoever has the lowest adjusted shares per page. */
function revokeOneByOne(needed: number, holdings: readonly Holding[]): number[] {
  const taken = holdings.map(() => 0);
  for (let i = 0; i < needed; i++) {
    const prices = holdings.map(({ shares, pages, floorPages, activePages, idlePageCost }, j) => {
      const left = pages - taken[j], active = Math.min(left, activePages);
      return left > floorPages ? shares / (active + (left - active) * idlePageCost) : Infinity;
    });
    const lowest = Math.min(...prices);
    if (lowest === Infinity) break;
    taken[prices.indexOf(lowest)]++;
  }
  return taken;
}

Deno.test("revocation takes what taking page by page from the lowest adjusted shares per page takes", () => {
  const holding = fc.record({
    shares: fc.integer({ min: 1, max: 40 }),
    pages: fc.nat(120),
    floorPages: fc.nat(120),
    activePages: fc.oneof(fc.nat(120), fc.double({ min: 0, max: 120, noNaN: true }), fc.constant(Infinity)),
    idlePageCost: fc.constantFrom(1, 1.25, 2, 4, 100),
  });
  fc.assert(
    fc.property(fc.nat(500), fc.array(holding, { maxLength: 8 }), (needed, holdings) => {
      assertEquals(revoke(needed, holdings), revokeOneByOne(needed, holdings));
    }),
    { numRuns: 1000, seed: 1 },
  );
});

Deno.test("revocation ends with equal shares per page, as far as floors allow", () => {
  const holdings = [
    { shares: 1000, pages: 90_000, floorPages: 0, ...plain },
    { shares: 2000, pages: 90_000, floorPages: 0, ...plain },
    { shares: 100, pages: 50_000, floorPages: 40_000, ...plain },
  ];
  const left = revoke(80_000, holdings).map((taken, i) => holdings[i].pages - taken);
  assertEquals(left, [36_666, 73_334, 40_000]);
});

Deno.test("with a tax, idle pages go before active ones, whoever has more shares", () => {
  const idle = { shares: 2000, pages: 1000, floorPages: 0, activePages: 100, idlePageCost: 4 };
  const busy = { shares: 1000, pages: 1000, floorPages: 0, activePages: 1000, idlePageCost: 4 };
  // 2000 / (100 + 4 * 900) = 0.54 is less than 1000 / 1000; equal at 2000 / (100 + 4 (P - 100)) = 1: 575 pages.
  assertEquals(revoke(300, [idle, busy]), [300, 0]);
  assertEquals(revoke(425, [idle, busy]), [425, 0]);
  const [fromIdle, fromBusy] = revoke(500, [idle, busy]);
  assert(fromIdle > 425 && fromBusy > 0 && fromIdle + fromBusy === 500);
  // Without it the busy one pays first, as it has fewer shares.
  assertEquals(revoke(300, [{ ...idle, ...plain }, { ...busy, ...plain }]), [0, 300]);
});
