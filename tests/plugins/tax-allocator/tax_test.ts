// The idle memory tax against its closed form, against the ratio that it shall make equal, and at the paper's figure 7.

import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { proportionalTargets } from "../../../plugins/allocator/mod.ts";
import { idlePageCost, sharesPerPage, type TaxedClaim, taxedTargets } from "../../../plugins/tax-allocator/mod.ts";

const RATES = [0, 0.25, 0.5, 0.75, 0.9];
const assertClose = (found: number, expected: number) =>
  assert(Math.abs(found - expected) < 1e-9, `${found}, ${expected}`);
const total = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0);

Deno.test("an idle page costs k = 1 / (1 - rate) times as much as an active one", () => {
  assertEquals(RATES.map((rate) => Math.round(idlePageCost(rate) * 1000) / 1000), [1, 1.333, 2, 4, 10]);
  // 100 shares for 80 pages, a quarter of them active: 100 / (80 (0.25 + 4 * 0.75)).
  const claim = { shares: 100, minPages: 0, maxPages: 200, activePages: 20 };
  assertClose(sharesPerPage(claim, 80, 0.75), 100 / 260);
  assertClose(sharesPerPage(claim, 80, 0), 100 / 80);
  assertClose(sharesPerPage({ ...claim, activePages: 300 }, 80, 0.75), 100 / 80);
  assertClose(sharesPerPage({ ...claim, activePages: undefined }, 80, 0.75), 100 / 80);
});

/** The setting of figure 7 in MiB: two VMs of 256 MiB with equal shares, of which one uses 10 MiB and the other 197. */
const figure7: readonly (readonly [rate: number, idle: number, busy: number])[] = [
  [0, 179, 179],
  [0.25, 155.625, 202.375],
  [0.5, 132.25, 225.75],
  [0.75, 108.875, 249.125],
  // Up to its maximum, and what it does not get is the other's.
  [0.9, 102, 256],
];
for (const [rate, idle, busy] of figure7) {
  Deno.test(`at a tax rate of ${rate} figure 7's machines get ${idle} and ${busy} of 358 MiB`, () => {
    const claims = [10, 197].map((mib) => ({ shares: 1, minPages: 0, maxPages: 256 * 256, activePages: mib * 256 }));
    assertEquals(taxedTargets(358 * 256, claims, rate), [idle * 256, busy * 256]);
  });
}

Deno.test("a VM that gets less than it uses has no idle page to be taxed, and the others divide the rest", () => {
  const claims = [
    { shares: 1, minPages: 0, maxPages: 1000, activePages: 900 },
    { shares: 1, minPages: 0, maxPages: 1000, activePages: 100 },
    { shares: 2, minPages: 0, maxPages: 1000, activePages: 0 },
  ];
  // Costs c, c and 2c: c + (100 + (c - 100) / 4) + 2c / 4 = 700.
  const c = (700 - 75) / 1.75;
  const exact = [c, 75 + c / 4, c / 2];
  for (const [i, pages] of taxedTargets(700, claims, 0.75).entries()) assert(Math.abs(pages - exact[i]) < 1);
});

const anyClaim = fc.record({
  shares: fc.integer({ min: 1, max: 5000 }),
  a: fc.nat(2000),
  b: fc.nat(2000),
  activePages: fc.option(fc.nat(2500), { nil: undefined }),
}).map(({ shares, a, b, activePages }): TaxedClaim => ({
  shares,
  minPages: Math.min(a, b),
  maxPages: Math.max(a, b),
  activePages,
}));
const anyRate = fc.oneof(fc.constantFrom(...RATES), fc.double({ min: 0, max: 0.99, noNaN: true }));
const anyClaims = fc.array(anyClaim, { minLength: 1, maxLength: 10 });

Deno.test("where no bound is met, targets are tau A + S / sum(S) (T - tau sum(A))", () => {
  const roomy = fc.record({ shares: fc.integer({ min: 100, max: 1000 }), activePages: fc.nat(300) })
    .map((claim) => ({ ...claim, minPages: 0, maxPages: 1e6 }));
  fc.assert(
    fc.property(
      fc.integer({ min: 40_000, max: 900_000 }),
      fc.array(roomy, { minLength: 1, maxLength: 8 }),
      anyRate,
      (pages, claims, rate) => {
        const active = total(claims.map((claim) => claim.activePages)), sum = total(claims.map((c) => c.shares));
        const targets = taxedTargets(pages, claims, rate);
        for (const [i, { shares, activePages }] of claims.entries()) {
          const exact = rate * activePages + (shares / sum) * (pages - rate * active);
          assert(exact >= activePages, "whoever has pages to be taxed");
          assert(Math.abs(targets[i] - exact) <= 1, `${targets[i]}, ${exact}`);
        }
      },
    ),
    { numRuns: 1000, seed: 1 },
  );
});

Deno.test("targets are within bounds, use up what there is, and make the ratio equal for all who are free to be", () => {
  fc.assert(
    fc.property(fc.nat(12_000), anyClaims, anyRate, (pages, claims, rate) => {
      const targets = taxedTargets(pages, claims, rate);
      for (const [i, { minPages, maxPages }] of claims.entries()) {
        assert(Number.isInteger(targets[i]) && targets[i] >= minPages && targets[i] <= maxPages);
      }
      const [least, most] = [total(claims.map((c) => c.minPages)), total(claims.map((c) => c.maxPages))];
      assertEquals(total(targets), Math.max(least, Math.min(pages, most)));
      // Whoever is above its minimum pays, a page less, no less for a page than whoever is below its maximum, a page more.
      for (const [i, rich] of claims.entries()) {
        for (const [j, poor] of claims.entries()) {
          if (targets[i] <= rich.minPages || targets[j] >= poor.maxPages) continue;
          const [ratio, other] = [sharesPerPage(rich, targets[i] - 1, rate), sharesPerPage(poor, targets[j] + 1, rate)];
          assert(ratio >= other * (1 - 1e-9), `${targets} of ${pages} at ${rate} for ${JSON.stringify(claims)}`);
        }
      }
    }),
    { numRuns: 1000, seed: 1 },
  );
});

Deno.test("without a tax, or with nothing known or all in use, targets are by shares alone", () => {
  fc.assert(
    fc.property(fc.nat(12_000), anyClaims, anyRate, (pages, claims, rate) => {
      const plain = proportionalTargets(pages, claims);
      const close = (found: readonly number[]) => found.every((value, i) => Math.abs(value - plain[i]) <= 1);
      assert(close(taxedTargets(pages, claims, 0)));
      assert(close(taxedTargets(pages, claims.map((claim) => ({ ...claim, activePages: undefined })), rate)));
      assert(close(taxedTargets(pages, claims.map((claim) => ({ ...claim, activePages: claim.maxPages })), rate)));
    }),
    { numRuns: 1000, seed: 1 },
  );
});
