// Six Linux guests in half the memory they were promised, each checking 64 MiB over and over, for 2 G steps: no wrong byte,
// nobody below its minimum, an audit at every change of state, and an end. Again with a swap disk that fails on the way.

import { assert, assertEquals, assertGreater, assertStringIncludes } from "@std/assert";
import { DEFAULT_VM_MIB } from "../../cli/defaults.ts";
import type { SavedVm } from "../../core/mod.ts";
import { prepareLinux } from "../../guests/linux/mod.ts";
import balloon from "../../plugins/balloon/mod.ts";
import * as bt from "../../plugins/bt/mod.ts";
import pageSharing, { sharing } from "../../plugins/page-sharing/mod.ts";
import taxAllocator from "../../plugins/tax-allocator/mod.ts";
import { bootLinux } from "./boot.ts";
import { Machine } from "./machine.ts";
import { cacheDir, linuxTest } from "./prepared.ts";
import { soak, type SoakOptions, type SoakResult } from "./soak.ts";

const VMS = 6;
const CI_STEPS = 2e9;
/** Of all guests together. By hand, BALLAST_SOAK_STEPS=12e9 is ten minutes of host time, and more. */
const STEPS = Number(Deno.env.get("BALLAST_SOAK_STEPS") ?? CI_STEPS);
/** Where more happens on the way, fewer steps are enough. */
const FEWER_STEPS = 0.6 * STEPS;
const half: SoakOptions = {
  vms: VMS,
  steps: STEPS,
  hostMib: (VMS * DEFAULT_VM_MIB) / 2,
  minMib: 24,
  cpuMhz: 20,
  checkedMib: 64,
  plugins: [bt.default],
};
/** Pages written after which the disk fails: in the middle. */
const FAILING_PAGES = 60_000 * (STEPS / CI_STEPS);

const statsOf = ({ host }: SoakResult, plugin: string) => host.plugins.loaded.get(plugin)?.stats.snapshot() ?? {};

/** Prints what happened in a soak, in a line. */
function tell(result: SoakResult): void {
  const { steps, hostNs, passes, states, mostBalloonedPages, vms } = result;
  const { writtenPages, readPages, sharedInstead } = statsOf(result, "swap");
  const { full_scans, reclaimedMib } = statsOf(result, "page-sharing");
  const ended = vms.filter((vm) => vm.exit !== undefined).length;
  const shared = full_scans === undefined
    ? ""
    : `, ${full_scans} full scans, ${
      reclaimedMib.toFixed(1)
    } MiB reclaimed by sharing, ${sharedInstead} pages not written`;
  console.log(
    `${(steps / 1e9).toFixed(2)} G steps in ${(hostNs / 1e9).toFixed(1)} s of host time: ` +
      `${vms.map((vm) => passes.get(vm) ?? 0).join(" + ")} passes, ${writtenPages} pages written, ${readPages} read, ` +
      `at most ${mostBalloonedPages} in balloons, ${states.length} audits, ${ended} VMs ended${shared}`,
  );
}

linuxTest("six Linux guests in half their memory never find a wrong byte, for 2 G steps", async (linux) => {
  const result = await soak(await (await bootLinux(linux)).saved("shell"), half);
  tell(result);
  assertEquals(result.complaints, []);
  assertEquals(result.vms.map((vm) => vm.exit), result.vms.map(() => undefined));
  for (const vm of result.vms) assertGreater(result.passes.get(vm) ?? 0, 3, `${vm.name}: passes`);
  assertGreater(result.states.length, 10);
  assertGreater(statsOf(result, "swap").readPages, 50_000);
});

/** Everything that manages memory across guests, as quick as it may be, so that all of it happens in this time. */
const everything: Partial<SoakOptions> = {
  plugins: [
    bt.default,
    { plugin: balloon, options: { driver: "virtio" } },
    { plugin: pageSharing, options: { scanMinutes: 1 / 60, maxRatePagesPerS: 30_000, hostMibPerSPerGhz: 10_000 } },
    taxAllocator,
  ],
  options: { allocator: { sampleSeconds: 1, rebalanceSeconds: 1 } },
  // Two that use all they can get beside one that has idle memory to be taxed.
  checkedMib: [72, 72, 24],
};

/** A Linux machine at its shell with its driver for a virtio balloon. */
async function savedWithBalloon(): Promise<SavedVm> {
  const linux = await prepareLinux({ cacheDir, modules: ["virtio_pci", "virtio_balloon"], log: () => {} });
  const plugins = [bt.default, { plugin: balloon, options: { driver: "virtio" } }];
  const machine = await Machine.powerOn(linux, { plugins });
  await machine.runUntil("/ # ");
  return machine.host.save(machine.vm);
}

function assertAllWorked(result: SoakResult): void {
  assertGreater(statsOf(result, "page-sharing").full_scans, 0);
  assertGreater(statsOf(result, "page-sharing").reclaimedMib, 10);
  assertGreater(statsOf(result, "allocator").pagedOut, 1000);
  assertGreater(result.mostBalloonedPages, 1000);
}

linuxTest("six Linux guests with balloons, page sharing and an idle tax never find a wrong byte", async () => {
  const result = await soak(await savedWithBalloon(), { ...half, steps: 0.75 * STEPS, ...everything });
  tell(result);
  assertEquals(result.complaints, []);
  assertEquals(result.vms.map((vm) => vm.exit), result.vms.map(() => undefined));
  for (const vm of result.vms) assertGreater(result.passes.get(vm) ?? 0, 1, `${vm.name}: passes`);
  assertAllWorked(result);
  result.host.service(sharing).audit();
});

linuxTest("guests whose swap disk fails are suspended or go on, and find no wrong byte", async (linux) => {
  const saved = await (await bootLinux(linux)).saved("shell");
  const swap = { inject: "write", injectAfterPages: FAILING_PAGES, giveUpAttempts: 20 };
  const result = await soak(saved, { ...half, steps: FEWER_STEPS, options: { swap } });
  tell(result);
  assertEquals(result.complaints, []);
  assertStringIncludes(result.log.join("\n"), "swap: swap file: input/output error (injected)");
  assertStringIncludes(result.log.join("\n"), "is suspended: it needs memory and none can be freed");
  // Where all waited for the disk one was ended, and what it had let the others go on.
  const ended = result.vms.filter((vm) => vm.exit !== undefined);
  for (const vm of ended) assertStringIncludes(vm.exit?.detail ?? "", "none can be freed: swap file");
  assert(ended.length < VMS);
  for (const vm of result.vms) if (vm.exit === undefined) assertGreater(result.passes.get(vm) ?? 0, 0, vm.name);
});

linuxTest("guests whose swap disk fails for a while all go on when it works again", async (linux) => {
  const saved = await (await bootLinux(linux)).saved("shell");
  const swap = { inject: "full", injectAfterPages: FAILING_PAGES, injectAttempts: 30 };
  const result = await soak(saved, { ...half, steps: FEWER_STEPS, options: { swap } });
  tell(result);
  assertEquals(result.complaints, []);
  assertStringIncludes(result.log.join("\n"), "no space left on device (injected)");
  assertStringIncludes(result.log.join("\n"), "the swap file works again");
  for (const vm of result.vms) {
    assertEquals([vm.exit, vm.suspendedBy.has("swap")], [undefined, false], vm.name);
    assertGreater(result.passes.get(vm) ?? 0, 0, vm.name);
  }
});
