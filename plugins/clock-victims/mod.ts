// A policy for swap: the clock algorithm (Corbato, 1968) over each VM's pages. A hand goes round; a page used since it last
// came by is spared once, any other is written out. Uses host-side bits, never the guest's own.

import { definePlugin } from "../../core/mod.ts";
import * as memory from "../memory/mod.ts";
import * as swap from "../swap/mod.ts";

export default definePlugin({
  name: "clock-victims",
  summary: "writes out pages not used since the clock's hand last came by",
  requires: ["memory", "swap"],
  setup({ on, service, perVm, stats }) {
    const pages = service(memory.pages);
    const hands = perVm(() => ({ ppn: 0 }));
    const spared = stats.counter("spared", "pages");
    on(swap.chooseVictims, ({ vm, count }) => {
      const hand = hands(vm), total = pages.count(vm), victims: number[] = [];
      // In the second round nothing is spared any more, unless it was used meanwhile.
      for (let looked = 0; looked < 2 * total && victims.length < count; looked++) {
        const { ppn } = hand;
        hand.ppn = (ppn + 1) % total;
        if (pages.stateOf(vm, ppn) !== memory.PageState.private) continue;
        if (pages.testAndClearAccessed(vm, ppn)) spared.value++;
        else victims.push(ppn);
      }
      return victims;
    });
  },
});
