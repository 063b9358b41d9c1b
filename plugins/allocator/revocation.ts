// Min-funding revocation: memory is taken from the VM that pays least for a page, one page after another; the price is its
// shares per page, of which an idle one may count as several (ESX paper, sections 5.1 and 5.2).

import type { PageCost } from "./events.ts";

/** A VM that pages may be taken from. */
export interface Holding extends PageCost {
  readonly shares: number;
  readonly pages: number;
  /** So many it keeps. */
  readonly floorPages: number;
}

/** Halvings of the price range: as many as a double has bits. */
const HALVINGS = 60;
const PRICE_PRECISION = 1e-9;

/** P (f + k (1 - f)): what `pages` cost, where those beyond the active ones cost k each. */
function costOf({ activePages, idlePageCost }: PageCost, pages: number): number {
  return pages <= activePages ? pages : activePages + (pages - activePages) * idlePageCost;
}

/** The pages that come to a cost. */
function pagesFor({ activePages, idlePageCost }: PageCost, cost: number): number {
  return cost <= activePages ? cost : activePages + (cost - activePages) / idlePageCost;
}

/**
 * How many pages are taken from each, to get `needed`, or all above the floors if that is less. The result is that of
 * taking page by page from whoever has the lowest ratio of shares to cost, the first of equals; found by the price at which all
 * pages that are cheaper suffice, in time proportional to the VMs and not to the pages.
 */
export function revoke(needed: number, holdings: readonly Holding[]): number[] {
  /** Pages that `holding` pays at most `price` for: its price rises as it loses pages. */
  const cheaper = (holding: Holding, price: number) => {
    const { shares, pages, floorPages } = holding;
    return Math.max(0, Math.min(pages - floorPages, Math.floor(pages - pagesFor(holding, shares / price)) + 1));
  };
  const atMost = (price: number) => holdings.reduce((sum, holding) => sum + cheaper(holding, price), 0);
  const available = holdings.reduce((sum, { pages, floorPages }) => sum + Math.max(0, pages - floorPages), 0);
  if (available <= needed) return holdings.map(({ pages, floorPages }) => Math.max(0, pages - floorPages));
  const dearest = (holding: Holding) => holding.shares / costOf(holding, Math.max(0, holding.floorPages) + 1);
  let low = 0, high = Math.max(0, ...holdings.map(dearest));
  for (let i = 0; i < HALVINGS; i++) {
    const middle = (low + high) / 2;
    if (atMost(middle) <= needed) low = middle;
    else high = middle;
  }
  // Pages at nearly that price are left to exact comparison below: rounding must not choose between equals.
  const price = low * (1 - PRICE_PRECISION);
  const taken = holdings.map((holding) => price > 0 ? cheaper(holding, price) : 0);
  let left = needed - taken.reduce((sum, pages) => sum + pages, 0);
  for (; left > 0; left--) {
    let cheapest = -1, lowest = Infinity;
    for (const [i, holding] of holdings.entries()) {
      const remaining = holding.pages - taken[i];
      if (remaining <= holding.floorPages) continue;
      const price = holding.shares / costOf(holding, remaining);
      if (price < lowest) [cheapest, lowest] = [i, price];
    }
    if (cheapest < 0) break;
    taken[cheapest]++;
  }
  return taken;
}
