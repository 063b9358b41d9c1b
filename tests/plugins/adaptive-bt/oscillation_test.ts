// A guest whose one store instruction traps for a while and is innocent for as long, by turns, for as long as one likes: the
// instruction is adapted and given back a bounded number of times, and traps a bounded number of times, whatever the guest does.

import { assert, assertEquals } from "@std/assert";
import { addVm, createHost } from "../../../cli/machine.ts";
import { definePlugin, type PluginUse } from "../../../core/mod.ts";
import { findGuest } from "../../../guests/mod.ts";
import adaptiveBt, { type HotSite, hotSites, siteChanged } from "../../../plugins/adaptive-bt/mod.ts";
import bt from "../../../plugins/bt/mod.ts";
import shadowMmu from "../../../plugins/shadow-mmu/mod.ts";

/** So that the least time between two reviews is shorter than half a swing. */
const CPU_MHZ = 10;
const THRESHOLD = 10;

interface Guest {
  readonly swings: number;
  readonly accesses: number;
  readonly to: "table" | "device";
}

interface Outcome {
  /** Of the store instruction. */
  readonly site: HotSite | undefined;
  readonly changes: readonly string[];
  readonly end: string;
}

async function run(guest: Guest, plugins: readonly PluginUse[]): Promise<Outcome> {
  const host = createHost({ memoryMib: 16, plugins: [{ plugin: shadowMmu }, ...plugins] });
  const store = findGuest("oscillator")?.build({ ...guest }).symbols.get("store");
  const changes: string[] = [];
  const isAdaptive = host.plugins.loaded.has("adaptive-bt");
  if (isAdaptive) {
    const note = ({ address, state }: HotSite) => void (address === store && changes.push(state));
    host.load({
      plugin: definePlugin({
        name: "recorder",
        requires: ["adaptive-bt"],
        setup: ({ on }) => void on(siteChanged, note),
      }),
    });
  }
  const vm = addVm(host, { guest: { use: "oscillator", options: { ...guest } }, memoryMib: 8, cpuMhz: CPU_MHZ });
  await host.run({ stop: () => vm.state === "exited" });
  const sites = isAdaptive ? host.service(hotSites)() : [];
  return {
    site: sites.find(({ address }) => address === store),
    changes,
    end: `${vm.exit?.reason} after ${vm.clock.steps}, ${host.stateHash(vm)}`,
  };
}

const adaptive = (innocentAfter: number): PluginUse[] => [
  { plugin: bt, options: { threshold: 2 } },
  { plugin: adaptiveBt, options: { threshold: THRESHOLD, innocentAfter, mostAdaptations: 4, reviewMs: 1 } },
];

for (const to of ["table", "device"] as const) {
  Deno.test(`an instruction that swings between a ${to} and plain memory is adapted a bounded number of times`, async () => {
    const guest = { swings: 12, accesses: 4000, to };
    const expected = await run(guest, []);
    const { site, changes, end } = await run(guest, adaptive(50));
    assertEquals(end, expected.end);
    assert(site !== undefined);
    // To and fro, as often as may be, and then it stays adapted.
    assertEquals(changes, ["guilty", ...new Array<string[]>(3).fill(["innocent", "guilty"]).flat()]);
    assertEquals([site.adaptations, site.restorations, site.state], [4, 3, "guilty"]);
    assertEquals(site.traps, 4 * THRESHOLD);
    // All of its accesses, but for a few that the interpreter does at the ends of turns.
    const handled = site.saved + site.traps, all = guest.swings * guest.accesses;
    assert(handled <= all && handled > 0.999 * all, `${handled} of ${all}`);
    // For twice as long: nothing of it again.
    const longer = await run({ ...guest, swings: 24 }, adaptive(50));
    assertEquals([longer.changes, longer.site?.traps], [changes, site.traps]);
  });
}

Deno.test("an instruction whose innocence never lasts longer than it did stays adapted the second time", async () => {
  const guest = { swings: 20, accesses: 1500, to: "table" } as const;
  const { site, changes } = await run(guest, adaptive(400));
  assertEquals(changes, ["guilty", "innocent", "guilty"]);
  assertEquals(site?.traps, 2 * THRESHOLD);
});
