// Min-funding revocation: memory is taken from the VM that pays least for a page, shares per page being the price, one
// page after another (ESX paper, section 5.1).

/** A VM that pages may be taken from. */
export interface Holding {
  readonly shares: number;
  readonly pages: number;
  /** So many it keeps. */
  readonly floorPages: number;
}

/** Halvings of the price range: as many as a double has bits. */
const HALVINGS = 60;
const PRICE_PRECISION = 1e-9;

/**
 * How many pages are taken from each, to get `needed`, or all above the floors if that is less. The result is that of
 * taking page by page from whoever has the lowest shares per page, the first of equals; found by the price at which all
 * pages that are cheaper suffice, in time proportional to the VMs and not to the pages.
 */
export function revoke(needed: number, holdings: readonly Holding[]): number[] {
  /** Pages that `holding` pays at most `price` for: its price rises as it loses pages. */
  const cheaper = ({ shares, pages, floorPages }: Holding, price: number) =>
    Math.max(0, Math.min(pages - floorPages, Math.floor(pages - shares / price) + 1));
  const atMost = (price: number) => holdings.reduce((sum, holding) => sum + cheaper(holding, price), 0);
  const available = holdings.reduce((sum, { pages, floorPages }) => sum + Math.max(0, pages - floorPages), 0);
  if (available <= needed) return holdings.map(({ pages, floorPages }) => Math.max(0, pages - floorPages));
  let low = 0, high = Math.max(0, ...holdings.map(({ shares, floorPages }) => shares / (Math.max(0, floorPages) + 1)));
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
    for (const [i, { shares, pages, floorPages }] of holdings.entries()) {
      const remaining = pages - taken[i];
      if (remaining > floorPages && shares / remaining < lowest) [cheapest, lowest] = [i, shares / remaining];
    }
    if (cheapest < 0) break;
    taken[cheapest]++;
  }
  return taken;
}
