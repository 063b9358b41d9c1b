// Which translations are worth compiling anew as one: hot regions that lead to each other (BT paper, section 3: hot fragments
// are regrouped). The first region of a loop over several functions is the one that got hot first, mostly the innermost,
// so that callers end up in other functions than what they call, and the way between two functions costs more than most of
// them do. Every so many steps it is seen how often each region was entered since the last time.

import type { Fragment } from "./cache.ts";
import * as L from "./layout.ts";

export interface RegroupLimits {
  /** Entries since the last look that make a region hot enough for a group to begin with it. */
  readonly entries: number;
  /** Units of a group at the most. */
  readonly units: number;
}

/** Regions join a group from this part of the entries on that begin one. */
const MEMBER_SHARE = 1 / 8;
/** Exits that are remembered of a region at the most. */
const MOST_EXITS = 256;
/** How often the same code is regrouped at the most: groups grow while a guest's hot code does. */
const MOST_GENERATIONS = 4;

/**
 * Groups of regions, each the hottest first, that are worth regrouping; counts the entries of `fragments` from now on. `frameOf`
 * gives the frame that a linear page is mapped to now for code of a mode, or -1: code is grouped that can run together.
 */
export function chooseGroups(
  fragments: Iterable<Fragment>,
  words: Int32Array,
  limits: RegroupLimits,
  frameOf: (page: number, mode: number) => number,
): Fragment[][] {
  const entered = new Map<Fragment, number>();
  let most = 0;
  for (const fragment of fragments) {
    const count = words[L.entriesWord(fragment.slot)];
    const since = (count - fragment.seenEntries) >>> 0;
    fragment.seenEntries = count;
    if (since < limits.entries * MEMBER_SHARE || fragment.generation >= MOST_GENERATIONS) continue;
    entered.set(fragment, since);
    // A sample of where returns and indirect jumps lead.
    if (fragment.exits.size < MOST_EXITS) fragment.exits.add(words[L.leftToWord(fragment.slot)]);
    most = Math.max(most, since);
  }
  if (most < limits.entries) return [];
  const hot = [...entered.keys()].filter(({ spans, mode }) =>
    spans.length < limits.units && spans.every(({ eip, mpn }) => frameOf(eip & ~PAGE_MASK, mode) === mpn)
  );
  const links = linksOf(hot);
  const heat = (fragment: Fragment) => entered.get(fragment) ?? 0;
  const groups: Fragment[][] = [];
  const free = new Set(hot);
  for (const seed of hot.toSorted((a, b) => heat(b) - heat(a))) {
    if (heat(seed) < limits.entries || !free.has(seed)) continue;
    free.delete(seed);
    const group = [seed];
    let units = seed.spans.length;
    const candidates = new Set(links.get(seed));
    while (candidates.size > 0) {
      const next = [...candidates].reduce((best, each) => heat(each) > heat(best) ? each : best);
      candidates.delete(next);
      if (!free.has(next) || units + next.spans.length > limits.units) continue;
      free.delete(next);
      group.push(next);
      units += next.spans.length;
      for (const link of links.get(next) ?? []) candidates.add(link);
    }
    if (group.length > 1) groups.push(group);
  }
  return groups;
}

const PAGE_MASK = 0xfff;

/** By region, those among `fragments` that it leads to directly, or that lead to it. */
function linksOf(fragments: readonly Fragment[]): Map<Fragment, Set<Fragment>> {
  const owners = new Map<number, Fragment>();
  for (const fragment of fragments) {
    for (const { eip } of fragment.spans) owners.set(keyOf(eip, fragment.mode), fragment);
  }
  const links = new Map<Fragment, Set<Fragment>>();
  const link = (from: Fragment, to: Fragment) => {
    let all = links.get(from);
    if (all === undefined) links.set(from, all = new Set());
    all.add(to);
  };
  for (const fragment of fragments) {
    for (const eip of fragment.exits) {
      const other = owners.get(keyOf(eip, fragment.mode));
      if (other === undefined || other === fragment) continue;
      link(fragment, other);
      link(other, fragment);
    }
  }
  return links;
}

function keyOf(eip: number, mode: number): number {
  return (eip >>> 0) * 256 + mode;
}
