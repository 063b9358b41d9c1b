// Columns that plugins add to `--series`: every series of every loaded plugin, for each VM, sampled with the rest.

import { assert, assertEquals, assertGreater, assertLess } from "@std/assert";
import { addVm, createHost } from "../../cli/machine.ts";
import { makeReport, SeriesRecorder } from "../../cli/report.ts";
import { definePlugin, type Host } from "../../core/mod.ts";
import { sharing } from "../../plugins/page-sharing/mod.ts";

type Row = Readonly<Record<string, string>>;

function rowsOf(csv: string): { readonly head: readonly string[]; readonly rows: readonly Row[] } {
  const [head, ...lines] = csv.trimEnd().split("\n").map((line) => line.split(","));
  for (const line of lines) assertEquals(line.length, head.length, "as many fields as columns");
  return { head, rows: lines.map((line) => Object.fromEntries(line.map((field, i) => [head[i], field]))) };
}

/** Two guests that want more than there is, with everything loaded. */
function crowded(): Host {
  const host = createHost({ memoryMib: 20, options: { allocator: { sampleSeconds: 0.1 } } });
  for (const [name, schedule] of [["first", "16:9000"], ["second", "2:9000"]]) {
    addVm(host, { name, guest: { use: "toucher", options: { schedule } }, memoryMib: 24, cpuMhz: 20 });
  }
  const driver = { use: "balloon", options: { poolMib: 4, workingSetMib: 1, seconds: 9 } };
  addVm(host, { name: "driver", guest: driver, memoryMib: 16, cpuMhz: 20 });
  return host;
}

const columnsOfPlugins = [
  "memory.allocatedMib",
  "swap.usedPages",
  "swap.writtenPages",
  "swap.readPages",
  "allocator.targetMib",
  "allocator.slowActivePercent",
  "allocator.fastActivePercent",
  "allocator.currentActivePercent",
  "balloon.targetPages",
  "balloon.actualPages",
  "page-sharing.sharedMib",
  "page-sharing.scanPasses",
  "tax-allocator.idleMib",
  "tax-allocator.sharesPerPage",
];

Deno.test("memory's plugins add what they keep of each VM, and it agrees with the statistics", async () => {
  const host = crowded(), recorder = new SeriesRecorder(host);
  await host.run({ untilNs: 1e9 });
  recorder.sample();
  await host.run({ untilNs: 2e9 });
  host.service(sharing).scanAll();
  recorder.sample();
  const { head, rows } = rowsOf(recorder.csv());
  assertEquals(columnsOfPlugins.filter((column) => !head.includes(column)), []);
  assertEquals(rows.map((row) => row.vm), ["first", "second", "driver", "first", "second", "driver"]);
  const { plugins, vms } = makeReport(host, 0);
  for (const [i, { name, memory }] of vms.entries()) {
    const row = rows[3 + i];
    for (const column of columnsOfPlugins) {
      const [plugin, figure] = column.split(".");
      assertEquals(Number(row[column]), plugins[plugin][`${name}.${figure}`], `${name}: ${column}`);
    }
    assertEquals(Number(row["allocator.targetMib"]), memory.targetMib);
    assertEquals(Number(row["swap.usedPages"]) / 256, memory.swappedMib);
    assertEquals(Number(row["page-sharing.sharedMib"]), memory.sharedMib);
    assertEquals(Number(row["balloon.actualPages"]) / 256, memory.balloonedMib);
  }
  // They say something, and of each VM its own.
  const [first, second] = rows.slice(3);
  assertGreater(Number(first["swap.readPages"]), 0);
  assertLess(Number(first["tax-allocator.sharesPerPage"]), Number(second["tax-allocator.sharesPerPage"]));
  assertGreater(Number(first["allocator.fastActivePercent"]), Number(second["allocator.fastActivePercent"]));
  const sumOf = (figure: string) => vms.reduce((sum, { name }) => sum + plugins.swap[`${name}.${figure}`], 0);
  for (const figure of ["readPages", "writtenPages", "usedPages"]) assertEquals(sumOf(figure), plugins.swap[figure]);
  // What the virtio driver alone reports is not there for a VM without it.
  assertEquals([...new Set(rows.map((row) => row["balloon.freeMemory"]))], [""]);
});

Deno.test("the plugin guide lists these columns, and no other", async () => {
  const guide = await Deno.readTextFile(new URL("../../docs/plugin-guide.md", import.meta.url));
  const rows = [...guide.matchAll(/^\| ([\w-]+) \| (`.*?) \|/gm)];
  const listed = rows.flatMap(([, plugin, names]) =>
    [...names.matchAll(/`(\w+)`/g)].map(([, name]) => `${plugin}.${name}`)
  );
  assertEquals(listed.toSorted(), [...columnsOfPlugins, "balloon.freeMemory"].toSorted());
});

Deno.test("a plugin that comes or goes while the host runs leaves its fields empty where it is not there", async () => {
  const host = createHost({ memoryMib: 32, plugins: [] }), recorder = new SeriesRecorder(host);
  addVm(host, { guest: { use: "idle", options: { ticks: 0 } }, memoryMib: 8 });
  const late = definePlugin({
    name: "late",
    setup: ({ stats }) => {
      stats.series("number", "", (vm) => 7 + vm.id);
      stats.series("never", "", () => undefined);
    },
  });
  recorder.sample();
  host.load({ plugin: late });
  await host.run({ untilNs: 1e8 });
  recorder.sample();
  host.plugins.unload("late");
  await host.run({ untilNs: 2e8 });
  recorder.sample();
  const { head, rows } = rowsOf(recorder.csv());
  assertEquals(head.slice(-2), ["late.number", "late.never"]);
  assertEquals(rows.map((row) => row["late.number"]), ["", "7", ""]);
  assert(rows.every((row) => row["late.never"] === ""));
});
