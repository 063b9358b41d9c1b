// The idle memory tax: what a page costs, and how memory is divided so that all VMs pay alike for what they use (ESX paper,
// section 5.2). An idle page costs k times as much as an active one, k = 1 / (1 - tax rate).

import { type Claim, type Curve, divideAtLevel } from "../allocator/mod.ts";

/** What a VM's part depends on. */
export interface TaxedClaim extends Claim {
  /** Estimated pages in active use; undefined while nothing is known, and then no page counts as idle. */
  readonly activePages?: number;
}

/** What an idle page costs: k of the paper. */
export function idlePageCost(taxRate: number): number {
  return 1 / (1 - taxRate);
}

/**
 * The adjusted shares-per-page ratio, rho = S / (P (f + k (1 - f))): the price that a VM pays for a page. The VM with the
 * lowest gives memory up. `pages` are those it holds; what it has active beyond them it does not pay for.
 */
export function sharesPerPage(claim: TaxedClaim, pages: number, taxRate: number): number {
  return claim.shares / cost(claim, pages, taxRate);
}

/**
 * Divides `pages` so that the ratio is the same for all, within [min, max]. Where no bound is met and every VM gets more
 * than its active pages A, that is P_i = tau A_i + S_i / sum(S) (T - tau sum(A)); a VM that gets less has no idle page and
 * its part is by shares alone. Whole pages, in sum as `proportionalTargets` gives them.
 */
export function taxedTargets(pages: number, claims: readonly TaxedClaim[], taxRate: number): number[] {
  return divideAtLevel(pages, claims, claims.map((claim) => curveOf(claim, taxRate)));
}

/** P (f + k (1 - f)), f being A / P and at most 1. */
function cost({ activePages = Infinity }: TaxedClaim, pages: number, taxRate: number): number {
  const active = Math.min(activePages, pages);
  return active + (pages - active) * idlePageCost(taxRate);
}

/** A VM's part by the cost for each of its shares: all of it buys active pages, and beyond them idle ones at k each. */
function curveOf(claim: TaxedClaim, taxRate: number): Curve {
  const { shares, minPages, maxPages, activePages = Infinity } = claim;
  const levelOf = (pages: number) => cost(claim, pages, taxRate) / shares;
  const first = activePages > minPages ? shares : shares * (1 - taxRate);
  const last = activePages < maxPages ? shares * (1 - taxRate) : first;
  return {
    corners: [
      { level: levelOf(minPages), slope: first },
      ...(last === first ? [] : [{ level: levelOf(activePages), slope: last - first }]),
      { level: levelOf(maxPages), slope: -last },
    ],
    partAt(level) {
      const bought = level * shares;
      return bought <= activePages ? bought : activePages + (bought - activePages) * (1 - taxRate);
    },
  };
}
