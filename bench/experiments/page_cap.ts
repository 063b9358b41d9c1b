// A plugin that holds a VM to a number of pages by paging at random, and by nothing else: what a hypervisor does to a guest that
// has no balloon. A baseline for experiments.

import { definePlugin, z } from "../../core/mod.ts";
import * as memory from "../../plugins/memory/mod.ts";
import * as swap from "../../plugins/swap/mod.ts";

const PERIOD_NS = 50e6;

export default definePlugin({
  name: "page-cap",
  summary: "holds each VM to a number of pages by paging",
  requires: ["memory", "swap"],
  options: z.strictObject({ capMib: z.number().positive().describe("MiB that each VM may have in memory") }),
  setup({ host, service, every, options }) {
    const report = service(memory.report), pager = service(swap.pager);
    every(PERIOD_NS, () => {
      for (const vm of host.vms) {
        const above = report.vm(vm).allocatedPages - Math.floor(options.capMib * memory.FRAMES_PER_MIB);
        if (vm.state !== "exited" && above > 0) pager.pageOut(vm, above);
      }
    });
  },
});
