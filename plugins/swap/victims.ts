// Which pages are worth writing out, and the default choice among them: at random, which no guest's own replacement can
// play badly with (ESX paper, section 3.3).

import type { Vm } from "../../core/mod.ts";
import { type Mechanism, type Pages, PageState, type Ppn } from "../memory/mod.ts";

/** Random tries for each page that is wanted, before the rest is taken in order from a random place. */
const TRIES_PER_PAGE = 8;

/** Where pages are looked up. */
export interface Candidates {
  readonly pages: Pages;
  readonly mechanism: Mechanism;
}

/** Whether writing a page out gives a frame back: it has one that no other page uses. */
export function isWorthPaging({ pages, mechanism }: Candidates, vm: Vm, ppn: Ppn): boolean {
  const state = pages.stateOf(vm, ppn);
  if (state === PageState.private) return true;
  if (state !== PageState.shared) return false;
  const mpn = mechanism.frameOf(vm, ppn);
  return mpn !== undefined && mechanism.references(mpn) === 1;
}

/**
 * Up to `count` pages that are not in `chosen`, at random: such as are worth it; where there are none left, pages whose
 * frames others use as well, since a frame is free when the last of them is written out.
 */
export function* randomVictims(
  candidates: Candidates,
  vm: Vm,
  count: number,
  chosen: ReadonlySet<Ppn>,
  below: (bound: number) => number,
): Generator<Ppn> {
  const { pages } = candidates, total = pages.count(vm);
  const taken = new Set(chosen);
  const isWorth = (ppn: Ppn) => isWorthPaging(candidates, vm, ppn);
  const isShared = (ppn: Ppn) => pages.stateOf(vm, ppn) === PageState.shared;
  const take = (ppn: Ppn, isWanted: (ppn: Ppn) => boolean) => {
    if (taken.has(ppn) || !isWanted(ppn)) return false;
    taken.add(ppn);
    return true;
  };
  let left = count;
  for (let tries = count * TRIES_PER_PAGE; tries > 0 && left > 0; tries--) {
    const ppn = below(total);
    if (take(ppn, isWorth)) left--, yield ppn;
  }
  for (const isWanted of [isWorth, isShared]) {
    if (left === 0) return;
    const start = below(total);
    for (let i = 0; i < total && left > 0; i++) {
      const ppn = (start + i) % total;
      if (take(ppn, isWanted)) left--, yield ppn;
    }
  }
}
