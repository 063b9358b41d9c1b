// What the plugins that manage memory across guests cost a guest that needs none of it: nothing. The translator emits the
// same bytes, whether they are loaded or not.

import { assertEquals, assertGreater } from "@std/assert";
import { builtinPlugins } from "../../../cli/catalogue.ts";
import { addVm, createHost } from "../../../cli/machine.ts";
import { definePlugin } from "../../../core/mod.ts";
import * as bt from "../../../plugins/bt/mod.ts";

const optional = ["allocator", "swap", "balloon", "tax-allocator", "clock-victims", "lru-victims"];
const known = [...optional, "page-sharing"].filter((name) => builtinPlugins.some((plugin) => plugin.name === name));
const subjects = [
  { use: "alu", options: { iterations: 3000 } },
  { use: "privileged", options: { iterations: 200 } },
  { use: "toucher", options: { schedule: "2:60", passMs: 10 } },
] as const;

/** Every emitted function, in order, and what the guest computed. */
async function emittedBy(
  subject: (typeof subjects)[number],
  loaded: readonly string[],
  options: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {},
) {
  const bodies: Uint8Array[] = [];
  const recorder = definePlugin({
    name: "recorder",
    requires: ["bt"],
    setup: ({ on }) => void on(bt.translated, ({ body }) => bodies.push(body.code.take())),
  });
  const chosen = loaded.filter((name) =>
    builtinPlugins.some((plugin) => plugin.name === name && plugin.tier !== "base")
  );
  const without = known.filter((name) => !loaded.includes(name));
  const host = createHost({ memoryMib: 32, plugins: ["bt", ...chosen, recorder], without, options });
  assertEquals(known.filter((name) => host.plugins.loaded.has(name)).toSorted(), loaded.toSorted());
  const vm = addVm(host, { guest: subject, memoryMib: 8 });
  await host.run();
  return { bodies, hash: host.stateHash(vm), steps: vm.clock.steps, hostTimeNs: host.clock.nowNs };
}

for (const subject of subjects) {
  Deno.test(`${subject.use}: emitted code and host time are the same with idle memory plugins as without`, async () => {
    const bare = await emittedBy(subject, []);
    assertGreater(bare.bodies.length, 0);
    const sets = [["allocator", "swap"], ["allocator", "swap", "clock-victims"], optional];
    for (const loaded of sets) assertEquals(await emittedBy(subject, loaded), bare, loaded.join());
  });

  Deno.test(`${subject.use}: emitted code and host time are the same with page sharing that scans nothing`, async () => {
    const idle = { "page-sharing": { maxRatePagesPerS: 0 } };
    assertEquals(await emittedBy(subject, [...optional, "page-sharing"], idle), await emittedBy(subject, []));
  });
}
