// Proportional shares: how pages are divided by shares within each VM's minimum and maximum, and how any division is
// fitted to what there is (ESX paper, sections 5.1 and 6.1).

/** What a VM's part is bounded by. */
export interface Claim {
  readonly shares: number;
  readonly minPages: number;
  readonly maxPages: number;
}

/** Where a VM's part begins to grow faster or slower with the level: by so many pages a unit of level. */
export interface Corner {
  readonly level: number;
  readonly slope: number;
}

/** A VM's part of memory as a function of a level that is common to all: it grows with it, linearly between its corners. */
export interface Curve {
  /** By level: the first where the part is the VM's minimum, the last where it is its maximum; slopes add up to 0. */
  readonly corners: readonly Corner[];
  /** The part at a level; what is beyond the VM's bounds is cut off by whoever asks. */
  partAt(level: number): number;
}

/**
 * Divides `pages` in proportion to shares, within [min, max]: whoever would get less than its minimum or more than its
 * maximum gets that, and the others divide the rest. Whole pages, in sum min(pages, sum of maxima); the sum of minima, if
 * that is more.
 */
export function proportionalTargets(pages: number, claims: readonly Claim[]): number[] {
  const curves = claims.map(({ shares, minPages, maxPages }) => ({
    corners: [{ level: minPages / shares, slope: shares }, { level: maxPages / shares, slope: -shares }],
    partAt: (level: number) => level * shares,
  }));
  return divideAtLevel(pages, claims, curves);
}

/** Divides `pages` at the level at which all parts, within [min, max], come to them. Whole pages, as above. */
export function divideAtLevel(pages: number, claims: readonly Claim[], curves: readonly Curve[]): number[] {
  const minPages = total(claims.map((claim) => claim.minPages));
  const level = fillLevel(pages - minPages, curves.flatMap(({ corners }) => corners));
  return settle(pages, claims, curves.map((curve) => curve.partAt(level)));
}

/**
 * Fits an answer to what there is: whole pages within [min, max]; what exceeds `pages` in sum is taken from all in
 * proportion to what they have above their minimum. Anything but a number counts as the maximum.
 */
export function fitTargets(pages: number, claims: readonly Claim[], answer: readonly number[]): number[] {
  const wanted = claims.map((claim, i) => clamp(Number.isNaN(answer[i] ?? NaN) ? claim.maxPages : answer[i], claim));
  const sum = total(wanted), minSum = total(claims.map(({ minPages }) => minPages));
  const scale = sum > Math.max(pages, minSum) ? Math.max(0, pages - minSum) / (sum - minSum) : 1;
  return claims.map((claim, i) => {
    // Rounding errors must not cost a page that was asked for.
    const exact = claim.minPages + (wanted[i] - claim.minPages) * scale;
    return clamp(Math.floor(exact + 1e-6), claim);
  });
}

/** The level at which parts have grown by `pages` above all minima, or the last corner if they never do. */
function fillLevel(pages: number, corners: readonly Corner[]): number {
  let grown = 0, slope = 0, level = 0;
  for (const corner of corners.toSorted((a, b) => a.level - b.level)) {
    const reached = grown + slope * (corner.level - level);
    if (slope > 0 && reached >= pages) break;
    grown = reached;
    level = corner.level;
    slope += corner.slope;
  }
  return slope > 0 ? level + Math.max(0, pages - grown) / slope : level;
}

/** Rounds parts down to whole pages within bounds, and gives what is left page by page to whoever lost most. */
function settle(pages: number, claims: readonly Claim[], parts: readonly number[]): number[] {
  const targets = claims.map((claim, i) => clamp(Math.floor(parts[i]), claim));
  let left = pages - total(targets);
  const order = claims.map((_, i) => i).sort((a, b) => (parts[b] - targets[b]) - (parts[a] - targets[a]) || a - b);
  for (const i of order) {
    if (left <= 0) break;
    if (targets[i] < claims[i].maxPages && targets[i] < parts[i]) targets[i]++, left--;
  }
  return targets;
}

function clamp(pages: number, { minPages, maxPages }: Claim): number {
  return Math.max(minPages, Math.min(maxPages, pages));
}

function total(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0);
}
