// The balloon plugin as a whole: whose target counts, what a VM gets for its options, and that a machine whose guest does not
// speak to it is the machine without it.

import { assert, assertEquals, assertThrows } from "@std/assert";
import { addVm, createHost } from "../../../cli/machine.ts";
import { definePlugin, InputError } from "../../../core/mod.ts";
import type { GuestOptionValues } from "../../../guests/mod.ts";
import * as allocator from "../../../plugins/allocator/mod.ts";
import balloonPlugin from "../../../plugins/balloon/mod.ts";
import * as bt from "../../../plugins/bt/mod.ts";
import * as memory from "../../../plugins/memory/mod.ts";
import * as pc from "../../../plugins/pc/mod.ts";
import { compute, subjects } from "../../laws/trial.ts";
import { balloonHost } from "./machine.ts";

const MIB_PAGES = memory.FRAMES_PER_MIB;
/** Halts at once. */
const IMAGE = { loads: [{ address: 0x7c00, bytes: Uint8Array.of(0xf4) }], entry: 0x7c00, mode: "real" as const };
/** Guests that have a balloon driver. */
const SPEAKERS = ["balloon", "churn", "filecache"];

Deno.test("a VM's own options count before the plugin's, and the cap before both", () => {
  const { add, balloons } = balloonHost({ options: { balloon: { targetMib: 2, maxPercent: 50 } } });
  const plain = add({ name: "plain", guest: { image: IMAGE }, memoryMib: 8 });
  const own = add({ name: "own", guest: { image: IMAGE }, memoryMib: 8, options: { balloon: { targetMib: 3 } } });
  const much = add({ name: "much", guest: { image: IMAGE }, memoryMib: 8, options: { balloon: { targetMib: 100 } } });
  const none = add({ name: "none", guest: { image: IMAGE }, memoryMib: 8, options: { balloon: { driver: "none" } } });
  const reports = [plain, own, much, none].map((vm) => balloons.report(vm));
  assertEquals(reports.map(({ targetPages }) => targetPages / MIB_PAGES), [2, 3, 4, 2]);
  assertEquals(reports.map(({ driver }) => driver), ["vmware", "vmware", "vmware", "none"]);
  assert(reports.every(({ isConnected, actualPages }) => !isConnected && actualPages === 0));
});

Deno.test("options that are none are refused by name", () => {
  assertThrows(() => createHost({ plugins: [{ plugin: balloonPlugin, options: { driver: "xen" } }] }), InputError);
  const { add } = balloonHost();
  const options = { balloon: { targetMiB: 3 } };
  assertThrows(() => add({ guest: { image: IMAGE }, options }), InputError, "targetMiB");
});

Deno.test("the larger of what the allocator asks for and what was set by hand counts", async () => {
  const { add, balloons, host, runTo } = balloonHost();
  const vm = add({ guest: { use: "balloon", options: { poolMib: 12, seconds: 8 } }, memoryMib: 16 });
  const ask = (pages: number) => host.bus.port(allocator.balloon).ask({ vm, pages });
  assertEquals(ask(100), { reachable: false }, "no driver has started");
  await runTo(1.5);
  assertEquals([ask(500), balloons.report(vm).targetPages], [{ reachable: true }, 500]);
  balloons.setTarget(vm, 700);
  assertEquals(balloons.report(vm).targetPages, 700);
  await runTo(3.5);
  assertEquals(balloons.report(vm).actualPages, 700);
  balloons.setTarget(vm, 0);
  await runTo(5.5);
  assertEquals(balloons.report(vm).actualPages, 500);
  assertEquals(host.service(allocator.allocation).of(vm).balloonedPages, 500);
});

Deno.test("a virtio balloon is on the PCI bus of the VMs whose driver it is, and of no others", () => {
  const names: string[] = [];
  const added = definePlugin({
    name: "added",
    requires: ["pc"],
    setup({ service, perVm }) {
      const busOf = service(pc.pci);
      perVm((vm) => {
        const bus = busOf(vm), add = bus.add.bind(bus);
        bus.add = (fn, device) => (names.push(`${vm.name}: ${fn.name}`), add(fn, device));
        return {};
      });
    },
  });
  const host = createHost({ memoryMib: 32, plugins: [added, balloonPlugin] });
  for (const driver of ["virtio", "vmware", "none"]) {
    addVm(host, { name: driver, guest: { image: IMAGE }, memoryMib: 4, options: { balloon: { driver } } });
  }
  assertEquals(names, ["virtio: virtio-balloon"]);
});

Deno.test("statistics and counters are published under the names of Firecracker's balloon API", async () => {
  const { add, host } = balloonHost({ options: { balloon: { targetMib: 4 } } });
  add({ name: "a", guest: { use: "balloon", options: { poolMib: 12, seconds: 3 } }, memoryMib: 16 });
  add({ name: "b", guest: { image: IMAGE }, memoryMib: 4, options: { balloon: { driver: "virtio" } } });
  await host.run();
  const figures = host.plugins.loaded.get("balloon")?.stats.snapshot() ?? {};
  assertEquals(
    [figures["a.targetPages"], figures["a.actualPages"], figures.inflateCount, figures.inflatedPages],
    [1024, 1024, 2, 1024],
  );
  assertEquals([figures["b.targetPages"], figures["b.freeMemory"], figures["b.diskCaches"]], [665, 0, 0]);
  assertEquals("a.freeMemory" in figures, false, "VMware's driver has no statistics");
});

for (const subject of subjects.filter(({ use }) => !SPEAKERS.includes(use))) {
  Deno.test(`guest ${subject.use}, which does not speak to a balloon, computes the same with the plugin loaded`, async () => {
    const without = await compute(subject, { set: { name: "base", plugins: () => [] } });
    const loaded = await compute(subject, { set: { name: "balloon", plugins: () => [balloonPlugin] } });
    assertEquals(loaded, without);
  });
}

Deno.test("the code that bt emits is the same to the byte with the plugin loaded", async () => {
  const emitted: { eip: number; mode: number; code: number[] }[][] = [];
  for (const plugins of [[], [balloonPlugin]]) {
    const log: (typeof emitted)[number] = [];
    const listener = definePlugin({
      name: "listener",
      requires: ["bt"],
      setup: ({ on }) =>
        void on(bt.translated, ({ eip, mode, body }) => void log.push({ eip, mode, code: [...body.encode(0)] })),
    });
    const host = createHost({ memoryMib: 64, plugins: [bt.default, ...plugins, listener] });
    for (const use of ["toucher", "pagetable", "alu"]) {
      const options: GuestOptionValues = use === "toucher" ? { schedule: "2:100", passMs: 10 } : {};
      addVm(host, { guest: { use, options }, memoryMib: 8 });
    }
    await host.run();
    emitted.push(log);
  }
  assert(emitted[0].length >= 10, `${emitted[0].length} regions`);
  assertEquals(emitted[1], emitted[0]);
});
