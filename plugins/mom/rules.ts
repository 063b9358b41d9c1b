// oVirt MOM's balloon rules (balloon.rules of its default policy): while the host has memory to spare guests grow by steps;
// under pressure they shrink by steps towards what they use and a part to spare, which falls with what the host has free.

/** The constants of the rules, as parts of 1. */
export interface Rules {
  /** Free memory of the host below which guests shrink, and below which they are made to page. */
  readonly pressureThreshold: number;
  readonly pressureCritical: number;
  /** What a guest keeps free when the host is at the threshold. */
  readonly minGuestFree: number;
  /** Most and least change of a guest's memory in one step. */
  readonly maxStep: number;
  readonly minStep: number;
}

/** A guest as the rules see it, in pages. */
export interface GuestMemory {
  /** What it has been given: `balloon_cur`. */
  readonly currentPages: number;
  /** What it uses of that, on average. */
  readonly usedPages: number;
  readonly minPages: number;
  readonly maxPages: number;
}

/** A guest's next size. `hostFree` is the free part of the host's memory, on average. */
export function nextPages(guest: GuestMemory, hostFree: number, rules: Rules): number {
  const { currentPages, minPages, maxPages } = guest;
  const wanted = hostFree < rules.pressureThreshold ? shrunk(guest, hostFree, rules) : grown(guest, rules);
  const pages = Math.round(Math.max(minPages, Math.min(maxPages, wanted)));
  return Math.abs(pages - currentPages) < rules.minStep * currentPages ? currentPages : pages;
}

/** As small as use and pressure allow, but no faster than a step. */
function shrunk({ currentPages, usedPages }: GuestMemory, hostFree: number, rules: Rules): number {
  // When it is critical guests keep less than they use, and page for themselves.
  const guestFree = hostFree <= rules.pressureCritical
    ? hostFree - rules.pressureCritical
    : rules.minGuestFree * (hostFree / rules.pressureThreshold);
  const ideal = usedPages + guestFree * currentPages;
  return Math.min(currentPages, Math.max(ideal, currentPages * (1 - rules.maxStep)));
}

/** A step larger, or at once as large as use and what shall be free. */
function grown({ currentPages, usedPages }: GuestMemory, rules: Rules): number {
  return Math.max(currentPages * (1 + rules.maxStep), usedPages + rules.minGuestFree * currentPages);
}
