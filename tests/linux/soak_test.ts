// Six Linux guests in half the memory they were promised, each checking 64 MiB over and over, for 2 G steps: no wrong byte,
// nobody below its minimum, an audit at every change of state, and an end. Again with a swap disk that fails on the way.

import { assert, assertEquals, assertGreater, assertStringIncludes } from "@std/assert";
import { DEFAULT_VM_MIB } from "../../cli/config.ts";
import * as bt from "../../plugins/bt/mod.ts";
import { bootLinux } from "./boot.ts";
import { linuxTest } from "./prepared.ts";
import { soak, type SoakOptions, type SoakResult } from "./soak.ts";

const VMS = 6;
/** Of all guests together. By hand, BALLAST_SOAK_STEPS=12e9 is ten minutes of host time. */
const STEPS = Number(Deno.env.get("BALLAST_SOAK_STEPS") ?? 2e9);
const half: SoakOptions = {
  vms: VMS,
  steps: STEPS,
  hostMib: (VMS * DEFAULT_VM_MIB) / 2,
  minMib: 24,
  cpuMhz: 20,
  checkedMib: 64,
  plugins: [bt.default],
};
/** Pages after which the disk fails: in the middle of the guests' second pass. */
const FAILING_PAGES = 60_000;

const statsOf = ({ host }: SoakResult, plugin: string) => host.plugins.loaded.get(plugin)?.stats.snapshot() ?? {};

linuxTest("six Linux guests in half their memory never find a wrong byte, for 2 G steps", async (linux) => {
  const result = await soak(await (await bootLinux(linux)).saved("shell"), half);
  assertEquals(result.complaints, []);
  assertEquals(result.vms.map((vm) => vm.exit), result.vms.map(() => undefined));
  for (const vm of result.vms) assertGreater(result.passes.get(vm) ?? 0, 3, `${vm.name}: passes`);
  assertGreater(result.states.length, 10);
  assertGreater(statsOf(result, "swap").readPages, 50_000);
});

linuxTest("guests whose swap disk fails are suspended or go on, and find no wrong byte", async (linux) => {
  const saved = await (await bootLinux(linux)).saved("shell");
  const swap = { inject: "write", injectAfterPages: FAILING_PAGES, giveUpAttempts: 20 };
  const result = await soak(saved, { ...half, steps: 1.2e9, options: { swap } });
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
  const result = await soak(saved, { ...half, steps: 1.2e9, options: { swap } });
  assertEquals(result.complaints, []);
  assertStringIncludes(result.log.join("\n"), "no space left on device (injected)");
  assertStringIncludes(result.log.join("\n"), "the swap file works again");
  for (const vm of result.vms) {
    assertEquals([vm.exit, vm.suspendedBy.has("swap")], [undefined, false], vm.name);
    assertGreater(result.passes.get(vm) ?? 0, 0, vm.name);
  }
});
