// The idle memory tax as a policy of the allocator: targets such that VMs with idle pages give some of them to VMs that use
// all of theirs (ESX paper, section 5.2). A VM's active memory is what the allocator's sampling estimates.

import { definePlugin, z } from "../../core/mod.ts";
import { allocation, pageCosts, targets } from "../allocator/mod.ts";
import * as memory from "../memory/mod.ts";
import { idlePageCost, sharesPerPage, taxedTargets } from "./tax.ts";

export { idlePageCost, sharesPerPage, type TaxedClaim, taxedTargets } from "./tax.ts";

/** A rate of 1 would make an idle page cost without bound. */
const MAX_RATE = 0.99;
/** A policy that somebody named answers before one that is loaded unless told otherwise. */
const AFTER_NAMED_POLICIES = 1;

export default definePlugin({
  name: "tax-allocator",
  summary: "targets by shares with a tax on idle memory",
  tier: "enhanced",
  requires: ["memory", "allocator"],
  options: z.strictObject({
    taxRate: z.number().min(0).max(MAX_RATE).default(0.75)
      .describe("part of a VM's idle memory that may be taken from it; 0: shares alone (ESX: IdleTax, in %)"),
  }),
  setup({ on, service, stats, options }) {
    const { taxRate } = options;
    const allocator = service(allocation);
    on(targets, ({ pages, vms }) => taxedTargets(pages, vms, taxRate), { order: AFTER_NAMED_POLICIES });
    // The same ratio says who gives memory up that is above its target. What nothing is known of has no idle page.
    on(
      pageCosts,
      ({ vms }) => vms.map(({ activePages = Infinity }) => ({ activePages, idlePageCost: idlePageCost(taxRate) })),
      {
        order: AFTER_NAMED_POLICIES,
      },
    );

    stats.series("idleMib", "MiB", (vm) => {
      const { allocatedPages, activePages = allocatedPages } = allocator.of(vm);
      return Math.max(0, allocatedPages - activePages) / memory.FRAMES_PER_MIB;
    });
    stats.series("sharesPerPage", "shares", (vm) => {
      const claim = allocator.of(vm);
      return claim.allocatedPages === 0 ? 0 : sharesPerPage(claim, claim.allocatedPages, taxRate);
    });
  },
});
