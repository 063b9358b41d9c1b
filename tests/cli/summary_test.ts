// Many VMs on the command line: the table while they run and at the end, and the figures of machine memory in what is written.

import { assert, assertEquals, assertGreater, assertMatch, assertStringIncludes } from "@std/assert";
import { addVm, createHost, defaultHostMib } from "../../cli/machine.ts";
import { makeReport } from "../../cli/report.ts";
import { LiveTable, summarize } from "../../cli/summary.ts";
import * as memory from "../../plugins/memory/mod.ts";
import { ballast, inTemporaryFolder } from "./command.ts";

const HEADINGS = [
  ...["VM", "STATE", "ALLOCATED", "TARGET", "ACTIVE", "SHARED", "BALLOONED", "SWAPPED", "OF MiB", "CPU s", "STOLEN s"],
];

/** Cells of a table's lines: columns are two spaces apart at least. */
const cellsOf = (line: string) => line.trim().split(/ {2,}/);

Deno.test("the table says for each VM what it has, shall have, does and did", async () => {
  const host = createHost({ memoryMib: 64, plugins: [] });
  addVm(host, { name: "busy", guest: { use: "toucher", options: { schedule: "4:500" } }, memoryMib: 16 });
  addVm(host, { guest: "hello" });
  await host.run({ untilNs: 0.2e9 });
  const text = summarize(host, makeReport(host, 0));
  const [head, headings, busy, hello, rest] = text.split("\n");
  assertMatch(
    head,
    /^host: 0\.2\d s, memory [\d.]+ of 64\.0 MiB used, \d\d\.\d % free \(high\), 0\.0 saved by sharing$/,
  );
  assertEquals(cellsOf(headings), HEADINGS);
  const cells = new Map(cellsOf(busy).map((cell, i) => [HEADINGS[i], cell]));
  assertEquals([cells.get("VM"), cells.get("TARGET"), cells.get("OF MiB")], ["busy", "16.0", "16"]);
  assertGreater(Number(cells.get("ALLOCATED")), 3.9);
  assertGreater(Number(cells.get("CPU s")), 0);
  assertEquals(cellsOf(hello).slice(0, 2), ["hello", "halt"]);
  assertEquals(rest, "");
  host.vms[0].suspendedBy.add("allocator");
  assertStringIncludes(summarize(host, makeReport(host, 0)), "busy   blocked");
});

Deno.test("the live table is drawn over itself, not too often, and gives way to other output", () => {
  const host = createHost({ memoryMib: 64, plugins: [] });
  for (const name of ["a", "b"]) addVm(host, { name, guest: "hello" });
  let nowMs = 0, shown = "";
  const table = new LiveTable(host, (text) => shown += text, () => nowMs);
  const drawn = () => {
    const text = shown;
    shown = "";
    return text;
  };
  table.refresh();
  const first = drawn();
  assert(first.startsWith("host: "), first);
  assertEquals(first.split("\n").length, 5);
  nowMs = 100;
  table.refresh();
  assertEquals(drawn(), "");
  nowMs = 1000;
  table.refresh();
  // Four lines up, and everything below erased.
  assertEquals(drawn(), `\x1b[4F\x1b[J${first}`);
  table.erase();
  assertEquals(drawn(), "\x1b[4F\x1b[J");
  table.erase();
  assertEquals(drawn(), "");
  nowMs = 2000;
  table.refresh();
  assertEquals(drawn(), first);
});

for (const memoryMib of [1, 16, 128, 1024, 3500]) {
  Deno.test(`a VM of ${memoryMib} MiB that uses all of it leaves the default host in the state high`, () => {
    const options = { guest: "hello", memoryMib, plugins: [] } as const;
    const hostMib = defaultHostMib([options]);
    const host = createHost({ memoryMib: hostMib, plugins: [] });
    addVm(host, options);
    const { freeFrames, totalFrames, usedFrames } = host.service(memory.report).host();
    assertGreater((freeFrames - memoryMib * 256) / totalFrames, 0.06);
    assertEquals(usedFrames + freeFrames, totalFrames);
  });
}

const config = {
  host: { memoryMib: 24, cpuMhz: 20 },
  vms: [
    { name: "big", memoryMib: 24, shares: 3000, guest: { use: "toucher", options: { schedule: "16:600" } } },
    { name: "small", memoryMib: 16, minMib: 4, guest: { use: "toucher", options: { schedule: "8:600" } } },
  ],
};

Deno.test("two guests in less memory than they were promised run to their ends, with a table, --stats and --series", async () => {
  await inTemporaryFolder(async (folder) => {
    await Deno.writeTextFile(`${folder}/c.json`, JSON.stringify(config));
    const args = ["run", "c.json", "--plugins", "none", "--stats", "s.json", "--series", "s.csv", "--every", "0.1"];
    const permissions = ["--allow-read", "--allow-write"];
    const { status, stdout, stderr } = await ballast(args, { cwd: folder, permissions });
    assertEquals(status, 0, stderr);
    for (const [name, pages] of [["big", 4096], ["small", 2048]]) {
      assertMatch(stdout, new RegExp(`^${name}: toucher: ${pages} pages intact`, "m"));
    }
    const lines = stderr.trimEnd().split("\n");
    assertEquals(cellsOf(lines[1]), HEADINGS);
    assertEquals(lines.slice(2).map((line) => cellsOf(line).slice(0, 2)), [["big", "halt"], ["small", "halt"]]);
    const { host, vms, plugins } = JSON.parse(await Deno.readTextFile(`${folder}/s.json`));
    assert(["high", "soft", "hard", "low"].includes(host.memory.state));
    assertEquals(vms.map((vm: { memory: { minMib: number } }) => vm.memory.minMib), [0, 4]);
    for (const vm of vms) assert(vm.memory.targetMib >= vm.memory.minMib && vm.memory.targetMib <= vm.memory.maxMib);
    assertGreater(plugins.swap.writtenPages, 100);
    const [head, ...rows] = (await Deno.readTextFile(`${folder}/s.csv`)).trimEnd().split("\n").map((row) =>
      row.split(",")
    );
    const column = (name: string) => rows.map((row) => row[head.indexOf(name)]);
    assertEquals([...new Set(column("vm"))], ["big", "small"]);
    assert(column("targetMib").some((target) => Number(target) < 16), "pressure shows in targets");
    assert(column("swappedMib").some((swapped) => Number(swapped) > 0));
    assert(new Set(column("hostState")).size > 1, "and in the state of free memory");
  });
});

Deno.test("a swap file that may not be written suspends a VM that needs it, and says so; it goes on when another has ended", async () => {
  await inTemporaryFolder(async (folder) => {
    await Deno.writeTextFile(`${folder}/c.json`, JSON.stringify(config));
    const { status, stdout, stderr } = await ballast(["run", "c.json", "--plugins", "none"], { cwd: folder });
    assertStringIncludes(stderr, "is suspended: it needs memory and none can be freed: swap file: ");
    assertStringIncludes(stderr, "--allow-write");
    assertStringIncludes(stderr, "swap: small goes on");
    assertEquals(status, 0);
    assertStringIncludes(stdout, "small: toucher: 2048 pages intact");
  });
});
