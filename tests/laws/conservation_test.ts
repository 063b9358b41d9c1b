// Law 3: every machine page is in exactly one state and the totals add up, after every turn of every run, when VMs end,
// and when others take their place.

import { assert, assertEquals } from "@std/assert";
import { addVm, createHost } from "../../cli/machine.ts";
import type { Host } from "../../core/mod.ts";
import * as memory from "../../plugins/memory/mod.ts";
import { pluginSets } from "./plugin_sets.ts";
import { compute, subjects } from "./trial.ts";

/** The audit, and the sums that a report is read by. */
function checkTotals(host: Host): void {
  const machine = host.service(memory.machine), report = host.service(memory.report);
  machine.audit();
  const { free, private: own, shared, hypervisor } = machine.frameCounts();
  const { totalFrames, freeFrames, usedFrames, sharedFrames, savedFrames } = report.host();
  assertEquals(free + own + shared + hypervisor, totalFrames);
  assertEquals([free, own + shared + hypervisor, shared], [freeFrames, usedFrames, sharedFrames]);
  // Of an ended VM the report tells what it held.
  const alive = host.vms.filter((vm) => vm.state !== "exited").map((vm) => report.vm(vm));
  const sum = (field: "allocatedPages" | "sharedPages") => alive.reduce((total, vm) => total + vm[field], 0);
  if (alive.length === host.vms.length) {
    assertEquals(sum("allocatedPages"), own + shared + savedFrames);
    assertEquals(sum("sharedPages"), shared + savedFrames);
  }
}

for (const set of pluginSets) {
  Deno.test(`with ${set.name}, every frame is in one state after every turn`, async () => {
    let checks = 0;
    const [toucher, pagetable] = ["toucher", "pagetable"].map((name) => subjects.find(({ use }) => use === name));
    assert(toucher !== undefined && pagetable !== undefined);
    const afterTurn = (host: Host) => {
      checks++;
      checkTotals(host);
    };
    const conditions = { set, quantumNs: 400_000, companions: [pagetable, subjects[0]], saveAfter: 5, afterTurn };
    await compute(toucher, conditions);
    assert(checks > 50, `${checks} checks`);
  });
}

Deno.test("machine memory of VMs that ended serves those that come, for as many as come", async () => {
  // Each VM gets all there is but a little, so that no frame may be lost.
  const memoryMib = 8, rounds = 6;
  const host = createHost({ memoryMib: memoryMib + 1, plugins: [] });
  for (let round = 0; round < rounds; round++) {
    const vm = addVm(host, { guest: { use: "toucher", options: { schedule: "4:30", passMs: 10 } }, memoryMib });
    await host.run();
    assertEquals(vm.exit?.reason, "halt");
    checkTotals(host);
  }
  assertEquals(host.vms.length, rounds);
});
