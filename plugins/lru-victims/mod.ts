// A policy for swap: the least recently used pages, as far as regular looks at the host-side accessed bits tell. What
// random choice is compared with: a guest that pages for itself by the same rule reads what was just written out (double
// paging, ESX paper, section 3.1).

import { definePlugin, vmExited, z } from "../../core/mod.ts";
import * as memory from "../memory/mod.ts";
import * as swap from "../swap/mod.ts";

const NS_PER_SECOND = 1e9;

export default definePlugin({
  name: "lru-victims",
  summary: "writes out the pages that were not used for the longest time",
  requires: ["memory", "swap"],
  options: z.strictObject({
    lookSeconds: z.number().positive().default(0.1).describe("host time between looks at which pages were used"),
  }),
  setup({ host, on, service, every, options }) {
    const pages = service(memory.pages);
    // Of each VM: the look at which a page was last found used, and the pages from the most recent to the oldest.
    const lastUsed = new Map<object, Int32Array>(), queues = new Map<object, number[]>();
    let looks = 0;
    every(options.lookSeconds * NS_PER_SECOND, () => {
      looks++;
      queues.clear();
      for (const vm of host.vms) {
        if (vm.state === "exited") continue;
        const looked = lastUsed.get(vm) ?? new Int32Array(pages.count(vm));
        lastUsed.set(vm, looked);
        for (let ppn = 0; ppn < looked.length; ppn++) if (pages.testAndClearAccessed(vm, ppn)) looked[ppn] = looks;
      }
    });
    on(swap.chooseVictims, ({ vm, count }) => {
      const looked = lastUsed.get(vm), isIn = (ppn: number) => pages.stateOf(vm, ppn) === memory.PageState.private;
      if (looked === undefined) return undefined;
      const queue = queues.get(vm) ?? [...looked.keys()].filter(isIn).sort((a, b) => looked[b] - looked[a] || b - a);
      queues.set(vm, queue);
      return queue.splice(-count).reverse();
    });
    on(vmExited, (vm) => void lastUsed.delete(vm));
  },
});
