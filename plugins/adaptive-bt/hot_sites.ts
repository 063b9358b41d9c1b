// Adaptation as a policy over sites (BT paper, 3.3): an instruction is innocent until its accesses have trapped often; then it
// gets its specialised form, which goes on counting; one that has turned innocent gets its common form back. Hysteresis makes
// this fast one way and slower and slower the other, so that a site that swings costs a bounded number of translations.

import type { AdaptedSite, Sites, SiteTrap, TrapCause } from "../bt/mod.ts";

export interface AdaptiveOptions {
  readonly threshold: number;
  readonly innocentAfter: number;
  readonly mostAdaptations: number;
}

/** `innocent`: in its common form; `guilty`: adapted; `common`: its instruction has no other form. */
export type SiteState = "innocent" | "guilty" | "common";

/** What is known of an instruction that has trapped. */
export interface HotSite {
  /** Linear address, unsigned. */
  readonly address: number;
  readonly cause: TrapCause;
  /** Traps since the start, and accesses that its specialised form did, each of which would have been one. */
  readonly traps: number;
  readonly saved: number;
  readonly adaptations: number;
  readonly restorations: number;
  readonly state: SiteState;
}

interface Record {
  readonly address: number;
  cause: TrapCause;
  traps: number;
  /** Traps since it has had its common form. */
  trapsNow: number;
  /** Accesses by forms that it no longer has. */
  savedBefore: number;
  adaptations: number;
  restorations: number;
  isCommon: boolean;
  site: AdaptedSite | undefined;
  /** What its form had done when it was last reviewed. */
  handled: number;
  innocent: number;
}

/** Sites that are counted at the most; a guest has a few dozen. */
const MOST_SITES = 4096;
/** A site is innocent where fewer than one access in so many is what it was adapted for. */
const INNOCENT_RATIO = 16;
/** Each restoration makes the next one need so many times as much innocence. */
const HYSTERESIS = 4;

export class HotSites {
  readonly #records = new Map<number, Record>();

  /** `changed` is told of each adaptation and restoration. */
  constructor(
    readonly sites: Sites,
    readonly options: AdaptiveOptions,
    readonly changed: (site: HotSite) => void,
  ) {}

  trapped(trap: SiteTrap): void {
    let record = this.#records.get(trap.eip);
    if (record === undefined) {
      if (this.#records.size >= MOST_SITES) return;
      this.#records.set(trap.eip, record = newRecord(trap));
    }
    record.traps++;
    record.trapsNow++;
    if (record.site !== undefined || record.isCommon || record.trapsNow < this.options.threshold) return;
    record.cause = trap.cause;
    record.site = this.sites.adapt(trap);
    if (record.site === undefined) {
      record.isCommon = true;
      return;
    }
    record.adaptations++;
    record.handled = record.innocent = 0;
    this.changed(this.#describe(record));
  }

  /** Looks at what adapted sites have done, and gives those that are innocent their common form back. */
  review(): void {
    for (const record of this.#records.values()) {
      if (record.site === undefined || record.adaptations >= this.options.mostAdaptations) continue;
      const { handled, innocent } = this.sites.use(record.site);
      const wasHandled = handled - record.handled, wasInnocent = (innocent - record.innocent) >>> 0;
      if (wasHandled * INNOCENT_RATIO >= wasInnocent) {
        record.handled = handled;
        record.innocent = innocent;
      } else if (wasInnocent >= this.options.innocentAfter * HYSTERESIS ** (record.adaptations - 1)) {
        this.sites.restore(record.site);
        record.site = undefined;
        record.savedBefore += handled;
        record.trapsNow = 0;
        record.restorations++;
        this.changed(this.#describe(record));
      }
    }
  }

  /** All of them, those that trapped or would have trapped most first. */
  list(): HotSite[] {
    const total = ({ traps, saved }: HotSite) => traps + saved;
    return [...this.#records.values()].map((record) => this.#describe(record)).toSorted((a, b) =>
      total(b) - total(a) || a.address - b.address
    );
  }

  #describe(record: Record): HotSite {
    const { address, cause, traps, adaptations, restorations, isCommon, site } = record;
    const saved = record.savedBefore + (site === undefined ? 0 : this.sites.use(site).handled);
    const state = isCommon ? "common" : site === undefined ? "innocent" : "guilty";
    return { address, cause, traps, saved, adaptations, restorations, state };
  }
}

function newRecord({ eip, cause }: SiteTrap): Record {
  return {
    ...{ address: eip >>> 0, cause, traps: 0, trapsNow: 0, savedBefore: 0, adaptations: 0, restorations: 0 },
    ...{ isCommon: false, site: undefined, handled: 0, innocent: 0 },
  };
}
