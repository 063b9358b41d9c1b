// What the translator reports of itself: each figure on a program whose figures can be told beforehand, and that the sums agree.

import { assert, assertEquals } from "@std/assert";
import { addVm, createHost } from "../../../cli/machine.ts";
import type { Host } from "../../../core/mod.ts";
import bt from "../../../plugins/bt/mod.ts";
import { Translator } from "../../../plugins/bt/engine.ts";
import { STATISTICS, TranslatorStatistics } from "../../../plugins/bt/statistics.ts";
import { findUnit } from "../../../plugins/bt/units.ts";
import { engine } from "../../../plugins/x86/mod.ts";

type Options = Readonly<Record<string, number | string | boolean>>;

/** A guest's run to its end on a translator with these options. */
async function run(use: string, guestOptions: Readonly<Record<string, number>>, options: Options = {}): Promise<Host> {
  const plugins = [{ plugin: bt, options: { threshold: 0, ...options } }];
  const host = createHost({ memoryMib: 32, quantumNs: 1e6, plugins });
  addVm(host, { guest: { use, options: guestOptions } });
  await host.run();
  return host;
}

function translatorOf(host: Host): Translator {
  const inForce = host.service(engine);
  assert(inForce instanceof Translator);
  return inForce;
}

/** What is published, as `--stats` has it. */
function published(host: Host): Record<string, number> {
  return host.plugins.loaded.get("bt")?.stats.snapshot() ?? {};
}

Deno.test("every figure is published under its name with a unit, and only what is measured begins with wall", async () => {
  const host = await run("isprime", { n: 49 });
  assertEquals(Object.keys(published(host)).toSorted(), Object.keys(STATISTICS).toSorted());
  for (const [name, [unit, describe]] of Object.entries(STATISTICS)) {
    assert(unit.length > 0 && describe.length > 0, name);
    assertEquals(name.startsWith("wall"), unit.includes("wall time"), name);
  }
});

Deno.test("two runs of one configuration have the same figures, but for what is measured", async () => {
  const figures = async () => {
    const host = await run("privileged", { iterations: 20 });
    return Object.entries(published(host)).filter(([name]) => !name.startsWith("wall"));
  };
  assertEquals(await figures(), await figures());
});

Deno.test("units are counted by length and by how they end", () => {
  const statistics = new TranslatorStatistics(3);
  // INC EAX, five times, and RET.
  const code = Uint8Array.of(0x40, 0x40, 0x40, 0x40, 0x40, 0xc3);
  const capped = findUnit(code, 0, 0, 3), rest = findUnit(code, 0, 3, 3), last = findUnit(code, 0, 5, 3);
  assertEquals([capped.ending, rest.ending, last.ending], ["next", "ret", "ret"]);
  statistics.noteRegion([capped, rest, last], 100);
  const { units, instructions, instructionsPerUnit, cappedShare, guestBytes, emittedBytes } = statistics.figures({
    regions: 1,
    emittedBytes: 100,
    pages: 1,
    slots: 1,
    entries: 0,
  });
  assertEquals({ units, instructions, guestBytes, emittedBytes }, {
    units: 3,
    instructions: 7,
    guestBytes: 7,
    emittedBytes: 100,
  });
  assertEquals([instructionsPerUnit, cappedShare], [7 / 3, 1 / 3]);
});

Deno.test("shares of nothing are 0", () => {
  const counts = { regions: 0, emittedBytes: 0, pages: 0, slots: 0, entries: 0 };
  const { hitRate, chainRate, cappedShare, instructionsPerUnit } = new TranslatorStatistics(12).figures(counts);
  assertEquals([hitRate, chainRate, cappedShare, instructionsPerUnit], [0, 0, 0, 0]);
});

Deno.test("no unit of isPrime is as long as the cap of 12 allows, and with a cap of 2 many are", async () => {
  const figures = published(await run("isprime", { n: 49 }, { regionUnits: 1 }));
  assertEquals(figures.cappedShare > 0, false);
  const capped = published(await run("isprime", { n: 49 }, { regionUnits: 1, unitInstructions: 2 }));
  assert(capped.cappedShare > 0.2, `${capped.cappedShare}`);
  assert(capped.units > figures.units && capped.instructionsPerUnit <= 2);
});

Deno.test("the way from unit to unit is chained: entries by the run loop stay few, however long a loop runs", async () => {
  const [short, long] = [
    published(await run("isprime", { n: 1009 }, { regionUnits: 1 })),
    published(await run("isprime", { n: 10_007 }, { regionUnits: 1 })),
  ];
  // One turn of the loop is two units.
  const turns = 10_007 - 1009;
  assert(
    Math.abs(long.chained - short.chained - 2 * turns) < 300,
    `${long.chained - short.chained} entries were chained`,
  );
  assert(long.dispatches - short.dispatches < 300, `${long.dispatches - short.dispatches} more dispatches`);
  assert(long.chainRate > 0.98);
  assertEquals(long.chainRate, long.chained / (long.chained + long.dispatches));
});

Deno.test("without chaining and regions every unit is entered by the run loop", async () => {
  const figures = published(await run("isprime", { n: 1009 }, { regionUnits: 1, chaining: false }));
  const chained = published(await run("isprime", { n: 1009 }, { regionUnits: 1 }));
  assertEquals(figures.chained, 0);
  assertEquals(figures.dispatches, chained.dispatches + chained.chained);
});

Deno.test("a loop within a region is no entry", async () => {
  const figures = published(await run("isprime", { n: 10_007 }));
  assert(figures.chained < 500, `${figures.chained}`);
});

Deno.test("every entry from the run loop leaves by one exit, and the exits say why", async () => {
  const choices: readonly Options[] = [{}, { rdtsc: "trap", cpuid: "trap", mmio: "callout" }];
  for (const forms of choices) {
    for (const [use, options] of [["privileged", { iterations: 50 }], ["pagetable", { rounds: 3 }]] as const) {
      const host = await run(use, options, forms);
      const f = published(host);
      const exits = f.exitsMiss + f.exitsYield + f.exitsInterpret + f.exitsEmulate + f.exitsCallout + f.exitsDevice;
      assertEquals(exits, f.dispatches + f.coldDispatches, use);
      assertEquals(f.traps, f.exitsEmulate, use);
      assert(f.exitsCallout + f.exitsDevice <= f.callouts, use);
    }
  }
});

Deno.test("what is emulated is counted by class, the same by trap as by call-out, and not what is emitted in place", async () => {
  const counts = async (form: string) => {
    const forms = { rdtsc: form, cli: form, cpuid: form === "in-tc" ? "callout" : form };
    const figures = published(await run("privileged", { iterations: 10 }, forms));
    return ["rdtsc", "cli", "cpuid"].map((name) => figures[`emulated.${name}`]);
  };
  const trapped = await counts("trap"), [rdtsc, cli, cpuid] = trapped;
  assert(rdtsc >= 10 && cli >= 10 && cpuid >= 10, `${trapped}`);
  assertEquals(await counts("callout"), trapped);
  assertEquals(await counts("in-tc"), [0, 0, cpuid]);
});

Deno.test("the hit rate counts entries that the interpreter had to take", async () => {
  const warm = published(await run("isprime", { n: 10_007 }, { threshold: 0, regionUnits: 1 }));
  const cold = published(await run("isprime", { n: 10_007 }, { threshold: 1000, regionUnits: 1 }));
  assert(warm.hitRate > 0.95, `${warm.hitRate}`);
  assert(cold.hitRate < warm.hitRate && cold.coldEntries > 1000);
  const entries = cold.dispatches + cold.chained;
  assertEquals(cold.hitRate, entries / (entries + cold.coldEntries));
});

Deno.test("what is in the cache now is what was made, less what was discarded", async () => {
  const host = await run("rewriter", { rewrites: 300, places: 40 }, { cacheKib: 64 });
  const figures = published(host);
  const { regions, cachedRegions, invalidated, evicted, retranslated, cachedBytes, emittedBytes } = figures;
  assert(invalidated > 100);
  assertEquals(cachedRegions, regions - invalidated - evicted - retranslated);
  assert(cachedBytes > 0 && cachedBytes <= 64 * 1024 && cachedBytes < emittedBytes);
  assertEquals(translatorOf(host).cache.counts.emittedBytes, cachedBytes);
});

Deno.test("time spent translating is part of the time since the start", async () => {
  const { wallTranslatingSeconds, wallTranslatingShare } = published(await run("privileged", { iterations: 10 }));
  assert(wallTranslatingSeconds > 0);
  assert(wallTranslatingShare > 0 && wallTranslatingShare <= 1);
});
