// Three real guests that touch more than there is, over and over, settle: free memory goes to and fro between the thresholds, as
// they take pages and pages are taken from them, but nobody's target moves with it (ESX paper, section 6.3).

import { assert, assertEquals, assertGreater, assertLessOrEqual } from "@std/assert";
import { addVm, createHost } from "../../../cli/machine.ts";
import { definePlugin } from "../../../core/mod.ts";
import {
  defaultThresholds,
  type ReclamationState,
  stateChanged,
  targetChanged,
} from "../../../plugins/allocator/mod.ts";
import * as memory from "../../../plugins/memory/mod.ts";
import { makeStats } from "./stats.ts";

const SECOND = 1e9, SETTLED_SECONDS = 2, SECONDS = 6;
const HOST_MIB = 22, VM_MIB = 16, TOUCHED_MIB = 12;

for (const plugins of [[], ["balloon", "page-sharing", "tax-allocator"]]) {
  Deno.test(`guests that use more than there is keep their targets, with ${plugins.join(", ") || "base alone"}`, async () => {
    const changes: { to: ReclamationState; free: number }[] = [], moved: { name: string; pages: number }[] = [];
    const watcher = definePlugin({
      name: "watcher",
      requires: ["allocator", "memory"],
      setup({ on, service, host }) {
        const machine = service(memory.machine);
        on(stateChanged, ({ to, freeFrames }) => {
          machine.audit();
          changes.push({ to, free: freeFrames / machine.totalFrames });
        });
        on(targetChanged, ({ vm, toPages }) => {
          if (host.nowNs >= SETTLED_SECONDS * SECOND) moved.push({ name: vm.name, pages: toPages });
        });
      },
    });
    const host = createHost({ memoryMib: HOST_MIB, plugins: [...plugins, watcher] });
    const schedule = `${TOUCHED_MIB}:${2000 * SECONDS}`;
    for (const name of ["a", "b", "c"]) {
      const guest = { use: "toucher", options: { schedule, passMs: 0 } };
      addVm(host, { name, guest, memoryMib: VM_MIB, cpuMhz: 20 });
    }
    await host.run({ untilNs: SECONDS * SECOND });
    assertGreater(makeStats(host, "swap").readPages, 10_000, "they do want more");
    assertEquals(host.vms.map((vm) => vm.state === "exited"), [false, false, false]);
    // What sharing saves comes and goes by a few pages; so do targets, and by no more.
    for (const name of ["a", "b", "c"]) {
      const pages = moved.filter((target) => target.name === name).map((target) => target.pages);
      const swing = pages.length === 0 ? 0 : Math.max(...pages) - Math.min(...pages);
      assertLessOrEqual(swing, 0.01 * VM_MIB * memory.FRAMES_PER_MIB, `${name}: ${pages.join()}`);
    }
    // Each change of state is the end of a way through the whole band: no jitter makes one.
    assertEquals([...new Set(changes.map(({ to }) => to))].toSorted(), ["high", "soft"]);
    const { high, soft, margin } = defaultThresholds;
    for (const { to, free } of changes) assert(to === "soft" ? free < soft : free > high + margin, `${to} at ${free}`);
    assertEquals(makeStats(host, "allocator").blocks, 0);
  });
}
