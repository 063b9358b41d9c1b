// MOM's rules on guests that use more than there is: sizes go down by steps of 5 % while memory is short, and up again.

import { assert, assertEquals, assertGreater, assertStringIncludes, assertThrows } from "@std/assert";
import { createHost } from "../../../cli/machine.ts";
import { definePlugin, type Vm } from "../../../core/mod.ts";
import * as allocator from "../../../plugins/allocator/mod.ts";
import * as memory from "../../../plugins/memory/mod.ts";
import mom from "../../../plugins/mom/mod.ts";
import { makeStats } from "../allocator/stats.ts";
import { balloonHost } from "../balloon/machine.ts";

const SECOND = 1e9;
const hasEnded = ({ exit }: Vm) => exit !== undefined;
const often = { policySeconds: 0.5, monitorSeconds: 0.1 };

Deno.test("guests are sized by steps of at most 5 %, down under pressure and up when it is over", async () => {
  const sizes = new Map<Vm, number[]>();
  const watcher = definePlugin({
    name: "watcher",
    requires: ["allocator"],
    setup: ({ service, every }) => {
      const allocation = service(allocator.allocation);
      every(0.5 * SECOND, () => sizes.forEach((of, vm) => of.push(allocation.of(vm).targetPages)));
    },
  });
  const system = balloonHost({ memoryMib: 32, plugins: [{ plugin: mom, options: often }, watcher] });
  const guest = (schedule: string) => ({ use: "toucher", options: { schedule } });
  const long = system.add({ name: "long", guest: guest("14:20000"), memoryMib: 24, cpuMhz: 5 });
  const brief = system.add({ name: "brief", guest: guest("14:5000"), memoryMib: 24, cpuMhz: 5 });
  for (const vm of [long, brief]) sizes.set(vm, []);
  await system.runTo(6);
  const [down] = [sizes.get(long) ?? []];
  assert((down.at(-1) ?? 0) < 0.9 * 24 * memory.FRAMES_PER_MIB, `sizes under pressure: ${down}`);
  for (const [i, size] of down.entries()) if (i > 0) assert(size >= Math.floor(0.95 * down[i - 1]), `${down}`);
  assertEquals(hasEnded(brief), false);
  let seconds = 6;
  while (!hasEnded(brief) && seconds < 30) await system.runTo(++seconds);
  await system.runTo(seconds + 5);
  assertEquals([hasEnded(brief), hasEnded(long)], [true, false]);
  const all = sizes.get(long) ?? [];
  assertGreater(all.at(-1) ?? 0, Math.min(...all), `sizes when the other has ended: ${all}`);
  assertGreater(makeStats(system.host, "mom").steps, 10);
  assertStringIncludes(system.printed.get(brief) ?? "", "intact");
  system.machine.audit();
});

Deno.test("a critical threshold above that of pressure is refused", () => {
  const make = () =>
    createHost({
      plugins: ["balloon", { plugin: mom, options: { pressureThresholdPercent: 10, pressureCriticalPercent: 11 } }],
    });
  assertThrows(make, Error, "pressureCriticalPercent is above pressureThresholdPercent");
});
