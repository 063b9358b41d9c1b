// The background scan: its order, its rates in host time, what it charges, what is saved, and that a run repeats.

import { assert, assertEquals, assertGreater, assertLessOrEqual } from "@std/assert";
import { Random, type Vm } from "../../../core/mod.ts";
import { PageState } from "../../../plugins/memory/mod.ts";
import { Allowance, ScanOrder, scanPolicies } from "../../../plugins/page-sharing/scanner.ts";
import { type Action, fakeExecutor } from "../../core/fake_executor.ts";
import { type SharingHost, sharingHost } from "./fixture.ts";

const SECOND_NS = 1e9;
const BUSY: readonly Action[] = [{ run: 1_000_000 }, { jump: 0 }];
const HALF_IDLE: readonly Action[] = [{ arm: 20e6 }, { run: 1_000_000 }, "halt", { jump: 0 }];
const PAGES = 256;

/** VMs of 1 MiB each, all pages different, running `script`. */
function scanning(names: readonly string[], options: Record<string, unknown>, script = BUSY, seed = 1) {
  const executor = fakeExecutor(Object.fromEntries(names.map((name) => [name, script])));
  const memory = sharingHost(8, { options, plugins: [executor.plugin], seed });
  const vms = names.map((name) => memory.add(name, 1));
  for (const vm of vms) for (let ppn = 0; ppn < PAGES; ppn++) memory.fill(vm, ppn, 1 + ppn + PAGES * vm.id);
  return { ...memory, vms };
}

const run = ({ host }: SharingHost, seconds: number) => host.run({ untilNs: host.clock.nowNs + seconds * SECOND_NS });
const scannedPages = (memory: SharingHost) => memory.stats().pages_scanned;

for (const policy of scanPolicies) {
  Deno.test(`a pass in ${policy} order visits every page once`, () => {
    for (const pages of [1, 2, 12, 256, 999]) {
      const order = new ScanOrder(pages, policy, new Random("order"));
      for (let pass = 1; pass <= 3; pass++) {
        const visited = Array.from({ length: pages }, () => order.next());
        assertEquals(visited.toSorted((a, b) => a - b), [...Array(pages).keys()]);
        if (policy === "sequential") assertEquals(visited, [...Array(pages).keys()]);
        assertEquals(order.passes, pass);
      }
    }
  });
}

Deno.test("an order that was saved goes on as it would have", () => {
  const order = new ScanOrder(100, "random", new Random("order"));
  for (let i = 0; i < 250; i++) order.next();
  const other = new ScanOrder(100, "random", new Random("another"));
  other.restore(order.save());
  const next = (from: ScanOrder) => Array.from({ length: 300 }, () => from.next());
  assertEquals(next(other), next(order));
});

Deno.test("an allowance is earned in time and kept for a second at most", () => {
  const allowance = new Allowance();
  allowance.earn(10, SECOND_NS / 4);
  assertEquals(allowance.pages, 2);
  allowance.spend(2);
  allowance.earn(10, SECOND_NS / 20);
  assertEquals(allowance.pages, 1);
  allowance.earn(10, 100 * SECOND_NS);
  assertEquals(allowance.pages, 10);
  allowance.earn(0, SECOND_NS);
  assertEquals(allowance.pages, 0);
});

/** Options, and pages that two busy VMs of 256 pages at 1 GHz are scanned by in 4 s. */
const rates = [
  { what: "a VM's pages in the time for a pass", options: { scanMinutes: 4 / 60 }, expected: 512 },
  { what: "the rate of a VM", options: { scanMinutes: 1e-6, maxRatePagesPerS: 50 }, expected: 400 },
  {
    what: "the rate of the host, 0.1 MiB/s for each GHz",
    options: { scanMinutes: 1e-6, hostMibPerSPerGhz: 0.1 },
    expected: 102,
  },
  { what: "no pages of any VM", options: { maxRatePagesPerS: 0 }, expected: 0 },
  { what: "no pages of the host", options: { hostMibPerSPerGhz: 0 }, expected: 0 },
];

for (const { what, options, expected } of rates) {
  Deno.test(`scanning is limited by ${what}`, async () => {
    const memory = scanning(["a", "b"], options);
    await run(memory, 4);
    assertGreater(scannedPages(memory), expected * 0.94 - 3);
    assertLessOrEqual(scannedPages(memory), expected);
    memory.audit();
  });
}

Deno.test("the host's rate is shared by VMs evenly", async () => {
  const memory = scanning(["a", "b", "c"], { scanMinutes: 1e-6, hostMibPerSPerGhz: 0.5, scanPageNs: 1e6 });
  await run(memory, 10);
  const charged = memory.vms.map((vm) => vm.chargedNs / 1e6);
  assertGreater(Math.min(...charged), 30);
  assertLessOrEqual(Math.max(...charged) - Math.min(...charged), 3);
});

Deno.test("hashing and comparing are charged to the VM whose page it is, in host time", async () => {
  const options = { scanMinutes: 1 / 60, maxRatePagesPerS: 256, scanPageNs: 5000, comparePageNs: 300 };
  const memory = scanning(["a", "b"], { ...options, hostMibPerSPerGhz: 100 });
  memory.fill(memory.vms[1], 3, 1);
  await run(memory, 2);
  const { hashed, compared } = memory.sharing.counts;
  assertEquals(compared, 1);
  const charged = memory.vms.reduce((sum, vm) => sum + vm.chargedNs, 0);
  assertEquals(charged, hashed * 5000 + compared * 300);
});

Deno.test("idle scanning takes only time that no VM wants, and charges nobody", async () => {
  const options = { policy: "idle", scanMinutes: 1 / 60, hostMibPerSPerGhz: 100, periodMs: 7 };
  const busy = scanning(["a"], options), idle = scanning(["a"], options, HALF_IDLE);
  for (const memory of [busy, idle]) await run(memory, 4);
  assertEquals(scannedPages(busy), 0);
  assertGreater(scannedPages(idle), 200);
  assertEquals(idle.vms[0].chargedNs, 0);
});

Deno.test("equal pages of running VMs are found without being asked for", async () => {
  const memory = scanning(["a", "b"], { scanMinutes: 1 / 60, hostMibPerSPerGhz: 100 });
  for (let ppn = 0; ppn < PAGES; ppn++) memory.fill(memory.vms[1], PAGES - 1 - ppn, 1 + ppn);
  await run(memory, 3);
  assertEquals(memory.sharing.figures().reclaimedPages, PAGES);
  assertGreater(memory.stats().full_scans, 1);
  memory.audit();
});

Deno.test("one seed gives one run, another seed another order", async () => {
  const trace = async (seed: number) => {
    const memory = scanning(["a", "b"], { scanMinutes: 1 / 60 }, BUSY, seed);
    for (let ppn = 0; ppn < PAGES; ppn++) memory.fill(memory.vms[1], ppn, 1 + ppn);
    const found: string[] = [];
    for (let i = 0; i < 20; i++) {
      await run(memory, 0.1);
      const states = (vm: Vm) => Array.from({ length: PAGES }, (_, ppn) => memory.memoryOf(vm).stateOf(ppn)).join("");
      found.push(`${JSON.stringify(memory.stats())} ${memory.vms.map(states)}`);
    }
    return found;
  };
  const first = await trace(1);
  assertEquals(await trace(1), first);
  assert((await trace(2)).join() !== first.join());
});

Deno.test("a VM restored elsewhere goes on with its pass, and is shared again", async () => {
  const options = { scanMinutes: 1 / 60, hostMibPerSPerGhz: 100 };
  const memory = scanning(["a"], options);
  memory.fill(memory.vms[0], 9, 1);
  await run(memory, 2);
  assertEquals(memory.memoryOf(memory.vms[0]).stateOf(9), PageState.shared);
  const other = scanning(["a"], options);
  other.host.restore(other.vms[0], memory.host.save(memory.vms[0]));
  assertEquals(other.memoryOf(other.vms[0]).stateOf(9), PageState.private);
  assertEquals(other.host.stateHash(other.vms[0]), memory.host.stateHash(memory.vms[0]));
  await run(other, 2);
  assertEquals(other.memoryOf(other.vms[0]).stateOf(9), PageState.shared);
  other.audit();
});
