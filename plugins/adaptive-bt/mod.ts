// Adaptive binary translation (BT paper, 3.3): instructions whose plain loads and stores trap often, at page tables that
// shadow-mmu traces or at devices, are found and translated anew to do that in place. Results stay identical to the bit.

import { definePlugin, observe, service, z } from "../../core/mod.ts";
import * as bt from "../bt/mod.ts";
import { type HotSite, HotSites } from "./hot_sites.ts";

export type { HotSite, SiteState } from "./hot_sites.ts";

/** A site was adapted, or got its common form back: `state` says which. */
export const siteChanged = observe<HotSite>("adaptive-bt.siteChanged");
/** The instructions that trapped, the hottest first. */
export const hotSites = service<() => readonly HotSite[]>("adaptive-bt.hotSites");

const NS_PER_MS = 1e6;

export default definePlugin({
  name: "adaptive-bt",
  summary: "finds instructions that trap often and translates them anew",
  tier: "enhanced",
  requires: ["bt"],
  options: z.strictObject({
    threshold: z.int().min(1).default(30).describe("traps of an instruction after which it gets its specialised form"),
    innocentAfter: z.int().min(1).default(10_000).describe(
      "accesses to plain memory, with hardly another between, after which it gets its common form back; 4 times as many each time",
    ),
    mostAdaptations: z.int().min(1).default(6).describe("adaptations of an instruction after which it stays adapted"),
    reviewMs: z.int().min(1).default(50).describe(
      "host time between two looks for adapted instructions that are innocent",
    ),
  }),
  setup({ on, every, port, provide, service, stats, options }) {
    const changes = port(siteChanged);
    const sites = new HotSites(service(bt.sites), options, (site) => changes.active && changes.emit(site));
    on(bt.siteTrapped, (trap) => sites.trapped(trap));
    every(options.reviewMs * NS_PER_MS, () => sites.review());
    provide(hotSites, () => sites.list());
    const sum = (of: (site: HotSite) => number) => () => sites.list().reduce((n, site) => n + of(site), 0);
    stats.gauge("sites", "instructions that trapped", () => sites.list().length);
    stats.gauge("traps", "traps of them", sum((site) => site.traps));
    stats.gauge("saved", "traps that specialised forms spared", sum((site) => site.saved));
    stats.gauge("adaptations", "specialised forms made", sum((site) => site.adaptations));
    stats.gauge("restorations", "common forms given back", sum((site) => site.restorations));
    stats.gauge("adaptedSites", "instructions adapted now", sum((site) => site.state === "guilty" ? 1 : 0));
  },
});
