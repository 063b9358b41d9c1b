// Which translations are worth compiling anew as one: hot regions that lead to each other (BT paper, section 3: hot fragments
// are regrouped). The first region of a loop over several functions is the one that got hot first, mostly the innermost,
// so that callers end up in other functions than what they call, and the way between two functions costs more than most of
// them do. Every so many steps it is seen how often each region was entered since the last time. A group costs, too: it is
// compiled by V8 twice, the second time in more than linear time, and runs slowly until then. So its regions must have been
// entered about as often as that is worth (the ski rental problem: who pays as much as buying costs, pays twice at the most):
// a unit costs V8 about a millisecond, and a way between two functions ten nanoseconds.

import type { Fragment } from "./cache.ts";
import * as L from "./layout.ts";

export interface RegroupLimits {
  /** Entries since the last look that make a region hot enough for a group to begin with it. */
  readonly entries: number;
  /** Entries into all regions of a group since they were compiled, for each of its units, that make it worth compiling. */
  readonly unitEntries: number;
  /** Units of a group at the most. */
  readonly units: number;
}

/** Regions join a group from this part of the entries on that begin one, and of those that are worth their units. */
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
  const countOf = ({ slot }: Fragment) => words[L.entriesWord(slot)] >>> 0;
  const isWorth = (fragment: Fragment, share: number) =>
    countOf(fragment) >= fragment.spans.length * limits.unitEntries * share;
  const hot = [...entered.keys()].filter((fragment) => {
    const { spans, mode } = fragment;
    return spans.length < limits.units && isWorth(fragment, MEMBER_SHARE) &&
      spans.every(({ eip, mpn }) => frameOf(eip & ~PAGE_MASK, mode) === mpn);
  });
  const heat = (fragment: Fragment) => entered.get(fragment) ?? 0;
  // A group that is worth it has a region that is so by itself, and begins with it: most looks end here.
  const seeds = hot.filter((fragment) => heat(fragment) >= limits.entries && isWorth(fragment, 1));
  if (seeds.length === 0) return [];
  const links = linksOf(hot);
  const groups: Fragment[][] = [];
  const free = new Set(hot);
  for (const seed of seeds.toSorted((a, b) => heat(b) - heat(a))) {
    if (!free.delete(seed)) continue;
    const group = [seed];
    /** How many of them are a group that is worth it. */
    let worthwhile = 1;
    let units = seed.spans.length, count = countOf(seed);
    const candidates = new Set(links.get(seed));
    while (candidates.size > 0) {
      const next = hottestOf(candidates, heat);
      candidates.delete(next);
      if (units + next.spans.length > limits.units || !free.delete(next)) continue;
      group.push(next);
      units += next.spans.length;
      count += countOf(next);
      if (count >= units * limits.unitEntries) worthwhile = group.length;
      for (const link of links.get(next) ?? []) if (free.has(link)) candidates.add(link);
    }
    for (const left of group.splice(worthwhile)) free.add(left);
    if (group.length > 1) groups.push(group);
  }
  return groups;
}

const PAGE_MASK = 0xfff;

/** The hottest, of equal ones the first, of some regions. */
function hottestOf(fragments: ReadonlySet<Fragment>, heat: (fragment: Fragment) => number): Fragment {
  let [hottest] = fragments, most = heat(hottest);
  for (const fragment of fragments) {
    const own = heat(fragment);
    if (own > most) [hottest, most] = [fragment, own];
  }
  return hottest;
}

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
