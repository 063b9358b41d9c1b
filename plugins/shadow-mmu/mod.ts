// Shadow MMU: cached translations per address space that survive changes of CR3, kept coherent by write traces on page-table
// pages (BT paper, 2.1, 2.4 and 7.2). The choice between this and the base, which traces nothing, belongs to the machine: it
// shows in when A and D bits are set. Under either, all engines compute the same.

import { definePlugin, z } from "../../core/mod.ts";
import * as memory from "../memory/mod.ts";
import * as x86 from "../x86/mod.ts";
import { type ShadowCounts, ShadowMmu } from "./shadow.ts";

/** Every counter: its unit. */
const COUNTERS: Record<keyof ShadowCounts, string> = {
  trueFaults: "page faults raised: the guest's own tables deny the access",
  hiddenFaults: "translations walked for and kept, unnoticed by the guest",
  rootLoads: "loads of CR3",
  spaceSwitches: "loads of CR3 that changed the address space",
  tracedStores: "stores to traced pages",
  dropped: "translations dropped because what they come from changed",
  traces: "pages that became traced",
  tracesDropped: "traces given up, since a page was written to too often",
  eagerFills: "translations filled by a store to a table",
  evictedSpaces: "address spaces forgotten for want of room",
  forgottenSpaces: "address spaces forgotten because their root was written to while they did not run",
};

export default definePlugin({
  name: "shadow-mmu",
  summary: "translations that survive changes of address space, with write traces on page tables",
  tier: "enhanced",
  requires: ["memory", "x86"],
  options: z.strictObject({
    spaces: z.int().min(1).max(1024).default(64).describe("address spaces of a VM whose translations are kept"),
    dropAfter: z.int().min(0).default(16).describe(
      "stores to a page table, with no walk through it between, after which its trace is dropped; 0: never",
    ),
    eagerFill: z.boolean().default(false).describe(
      "whether a store that makes a page present fills its translation at once, sparing a hidden fault",
    ),
  }),
  setup({ host, on, perVm, service, stats, options }) {
    const processorOf = service(x86.processor);
    const counts = Object.fromEntries(Object.keys(COUNTERS).map((name) => [name, 0])) as ShadowCounts;
    const shadowOf = perVm((vm) => new ShadowMmu(vm, processorOf(vm), options, counts));
    on(memory.contentsChanged, ({ vm, ppn, offset, size }) => {
      if (processorOf(vm).mmu.traced[ppn] !== 0) shadowOf(vm)?.stored(ppn, offset, size);
    });
    for (const [name, unit] of Object.entries(COUNTERS)) {
      stats.gauge(name, unit, () => counts[name as keyof ShadowCounts]);
    }
    const sum = (of: (shadow: ShadowMmu) => number) => () => host.vms.reduce((n, vm) => n + of(shadowOf(vm)), 0);
    stats.gauge("spaces", "address spaces kept now", sum((shadow) => shadow.spaceCount));
    stats.gauge("tables", "pages traced now", sum((shadow) => shadow.tableCount));
  },
});
