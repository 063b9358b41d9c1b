// Paging on scripted guests: who is written out, what it costs, and what becomes of VMs when the disk fails.

import { assert, assertEquals, assertGreater, assertLess, assertStringIncludes } from "@std/assert";
import { definePlugin, Host, type Plugin, type Vm } from "../../../core/mod.ts";
import clockVictims from "../../../plugins/clock-victims/mod.ts";
import lruVictims from "../../../plugins/lru-victims/mod.ts";
import memory, {
  guest,
  machine,
  mechanism,
  pages as pagesToken,
  PageState,
  type Ppn,
} from "../../../plugins/memory/mod.ts";
import swap, { beforeSwap, chooseVictims, pager } from "../../../plugins/swap/mod.ts";
import { vmConfig } from "../../core/fake_executor.ts";
import { makeStats } from "../allocator/stats.ts";
import { guests, overcommitted, pagerOf } from "../allocator/fixture.ts";

const MIB = 256;
const SECOND = 1e9;

/** A host with 4 MiB, and a VM whose first `used` pages hold their numbers. */
function pagingHost(used: number, plugins: readonly Plugin[] = [], options: Record<string, unknown> = {}, seed = 1) {
  const host = new Host({ memoryMib: 4, seed, quantumNs: 1e6 });
  host.load({ plugin: memory }, { plugin: swap, options }, ...plugins.map((plugin) => ({ plugin })));
  const vm = host.add(vmConfig("a", { memoryMib: 2 }));
  const memoryOf = host.service(guest)(vm);
  for (let ppn = 0; ppn < used; ppn++) memoryOf.write(ppn * 4096, Uint8Array.of(ppn & 0xff, 1));
  const pages = host.service(pagesToken);
  const swapped = () =>
    Array.from({ length: pages.count(vm) }, (_, ppn) => ppn).filter((ppn) =>
      pages.stateOf(vm, ppn) === PageState.swapped
    );
  return {
    host,
    vm,
    memoryOf,
    pages,
    swapped,
    paging: host.service(pager),
    audit: () => host.service(machine).audit(),
  };
}

const policy = (answer: (count: number) => readonly Ppn[] | undefined): Plugin =>
  definePlugin({
    name: "policy",
    requires: ["swap"],
    setup: ({ on }) => void on(chooseVictims, ({ count }) => answer(count)),
  });

Deno.test("nobody answers: pages are chosen at random, of those that hold a frame, the same with the same seed", () => {
  const chosen = (seed: number) => {
    const { paging, vm, swapped, audit, memoryOf } = pagingHost(200, [], {}, seed);
    assertEquals(paging.pageOut(vm, 50), 50);
    audit();
    const found = swapped();
    assertEquals(found.length, 50);
    assert(found.every((ppn) => ppn < 200));
    const bytes = new Uint8Array(2);
    for (let ppn = 0; ppn < 200; ppn++) {
      memoryOf.read(ppn * 4096, bytes);
      assertEquals([...bytes], [ppn & 0xff, 1]);
    }
    assertEquals(swapped(), []);
    return found;
  };
  assertEquals(chosen(1), chosen(1));
  assert(chosen(1).join() !== chosen(2).join());
  // Spread over all of them.
  assertGreater(chosen(1)[49] - chosen(1)[0], 150);
});

Deno.test("a swap file is its owner's alone to read", async () => {
  const folder = await Deno.makeTempDir({ prefix: "ballast-test-" });
  try {
    const file = `${folder}/swap`;
    const { vm, paging } = pagingHost(64, [], { file });
    assertEquals(paging.pageOut(vm, 8), 8);
    const { mode, size } = await Deno.stat(file);
    if (Deno.build.os !== "windows") assertEquals((mode ?? 0) & 0o777, 0o600);
    assertGreater(size, 0);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("more pages than there are: all that there are", () => {
  const { paging, vm, swapped } = pagingHost(30);
  assertEquals(paging.pageOut(vm, 1000), 30);
  assertEquals(swapped().length, 30);
  assertEquals(paging.usedPages, 30);
  assertEquals(paging.failure, undefined);
});

Deno.test("a policy's pages are written out first; what is no page, is not in memory, or comes twice, is passed over", () => {
  const { paging, vm, swapped } = pagingHost(100, [policy(() => [7, 7, 300, -1, 2.5, 9999, 5])]);
  assertEquals(paging.pageOut(vm, 4), 4);
  const found = swapped();
  assertEquals(found.length, 4);
  assert(found.includes(5) && found.includes(7));
  const exact = pagingHost(100, [policy((count) => [4, 3, 2, 1].slice(0, count))]);
  exact.paging.pageOut(exact.vm, 3);
  assertEquals(exact.swapped(), [2, 3, 4]);
});

Deno.test("a page that somebody shares before it is swapped is not written", () => {
  const sharer = definePlugin({
    name: "sharer",
    requires: ["swap"],
    setup({ on, service }) {
      const transitions = service(mechanism);
      on(beforeSwap, ({ vm, ppn }) => transitions.mapZero(vm, ppn) || undefined);
    },
  });
  const { host, paging, vm, memoryOf, swapped, audit } = pagingHost(20, [sharer]);
  for (let ppn = 20; ppn < 40; ppn++) memoryOf.frameForWrite(ppn);
  // Zero pages lend one frame to all of them.
  assertEquals(paging.pageOut(vm, 40), 39);
  assertEquals(swapped().length, 20);
  const { writtenPages, sharedInstead } = makeStats(host, "swap");
  assertEquals([writtenPages, sharedInstead], [20, 20]);
  audit();
});

Deno.test("pages whose frame others use as well are written last, and free it with the last of them", () => {
  const { host, paging, vm, memoryOf, swapped } = pagingHost(3);
  const transitions = host.service(mechanism);
  for (let ppn = 0; ppn < 2; ppn++) memoryOf.write(ppn * 4096, Uint8Array.of(9, 9));
  assert(transitions.share(vm, 0, transitions.frameOf(vm, 1) ?? -1));
  assertEquals(paging.pageOut(vm, 1), 1);
  assertEquals(swapped(), [2]);
  assertEquals(paging.pageOut(vm, 1), 0);
  assertEquals(paging.pageOut(vm, 1), 1);
  assertEquals(swapped(), [0, 1, 2]);
});

Deno.test("who waits for a page pays for it in host time, and who is paged in passing does not", () => {
  const { paging, vm, memoryOf } = pagingHost(50, [], { readPageNs: 1000, writePageNs: 70 });
  paging.pageOut(vm, 10);
  assertEquals(vm.chargedNs, 0);
  paging.pageOut(vm, 10, vm);
  assertEquals(vm.chargedNs, 700);
  for (let ppn = 0; ppn < 50; ppn++) memoryOf.frameForRead(ppn);
  assertEquals(vm.chargedNs, 700 + 20 * 1000);
  // Looking without touching is free.
  paging.pageOut(vm, 10);
  for (let ppn = 0; ppn < 50; ppn++) memoryOf.peek(ppn);
  assertEquals(vm.chargedNs, 700 + 20 * 1000);
});

Deno.test("clock-victims spares what was used since the hand came by, and comes round for the rest", () => {
  const { host, paging, vm, memoryOf, swapped } = pagingHost(20, [clockVictims]);
  // All were just written: the first round spares all, the second takes them in order.
  paging.pageOut(vm, 4);
  assertEquals(swapped(), [0, 1, 2, 3]);
  assertEquals(makeStats(host, "clock-victims").spared, 20);
  for (const ppn of [5, 6, 8]) memoryOf.frameForRead(ppn);
  paging.pageOut(vm, 3);
  assertEquals(swapped(), [0, 1, 2, 3, 4, 7, 9]);
});

Deno.test("lru-victims writes out what was not used for the longest time", () => {
  const { host, paging, vm, memoryOf, swapped } = pagingHost(12, [lruVictims]);
  const look = () => {
    host.clock.nowNs += 0.1 * SECOND;
    host.clock.fireDue();
  };
  look();
  for (const ppn of [0, 1, 2, 3, 4, 5, 6, 7]) memoryOf.frameForRead(ppn);
  look();
  for (const ppn of [0, 2, 4, 6, 8]) memoryOf.frameForRead(ppn);
  look();
  paging.pageOut(vm, 3);
  assertEquals(swapped(), [9, 10, 11]);
  paging.pageOut(vm, 4);
  assertEquals(swapped(), [1, 3, 5, 7, 9, 10, 11]);
});

for (const [name, plugins] of [["random", []], ["clock", [clockVictims]], ["lru", [lruVictims]]] as const) {
  Deno.test(`guests in half the memory they were promised never find a wrong byte, with ${name} victims`, async () => {
    const system = overcommitted({
      memoryMib: 12,
      scripts: { a: guests.cycling(8 * MIB, 40), b: guests.cycling(8 * MIB, 25), c: guests.cycling(8 * MIB, 60) },
      plugins,
    });
    for (const name of ["a", "b", "c"]) system.add(name, { memoryMib: 8 });
    await system.host.run({ untilNs: 0.5 * SECOND });
    assertEquals(system.wrong, []);
    assertGreater(makeStats(system.host, "swap").readPages, 1000);
    system.audit();
  });
}

interface Failing {
  readonly inject: string;
  readonly injectAfterPages?: number;
  readonly injectAttempts?: number;
  readonly sizeMib?: number;
}

/** Three guests, of which two need more than there is, on a disk that fails. */
async function failing(options: Failing, seconds = 1) {
  const log: string[] = [];
  const system = overcommitted({
    memoryMib: 16,
    scripts: { a: guests.cycling(12 * MIB, 20), b: guests.cycling(12 * MIB, 30), small: guests.cycling(MIB, 20) },
    swap: { ...options },
    log: (plugin, message) => log.push(`${plugin}: ${message}`),
  });
  const vms = ["a", "b"].map((name) => system.add(name, { memoryMib: 12, minMib: 2 }));
  const small = system.add("small", { memoryMib: 2, minMib: 2 });
  await system.host.run({ untilNs: seconds * SECOND });
  assertEquals(system.wrong, []);
  return { system, vms, small, log };
}

for (const inject of ["write", "full"]) {
  Deno.test(`a disk that fails to write (${inject}) suspends who needs memory, with an error; others go on`, async () => {
    const { system, vms, small, log } = await failing({ inject, injectAfterPages: 300 });
    const suspended = vms.filter((vm) => vm.suspendedBy.has("swap"));
    assertGreater(suspended.length, 0);
    assertStringIncludes(
      log.join("\n"),
      "swap: swap file: " + (inject === "full" ? "no space left" : "input/output error"),
    );
    assertStringIncludes(
      log.join("\n"),
      `${suspended[0].name} is suspended: it needs memory and none can be freed: swap file`,
    );
    // The one that needs no more memory has nearly all the time to itself.
    assertEquals(small.suspendedBy.size, 0);
    assertGreater(small.cpuNs, 0.5 * SECOND);
    assertGreater(pagerOf(system.host).usedPages, 0);
    system.audit();
  });
}

Deno.test("a disk that works again lets suspended VMs go on where they were", async () => {
  const { system, vms, log } = await failing({ inject: "write", injectAfterPages: 300, injectAttempts: 8 }, 2);
  assertStringIncludes(log.join("\n"), "is suspended");
  assertStringIncludes(log.join("\n"), "the swap file works again");
  assertStringIncludes(log.join("\n"), "goes on");
  for (const vm of vms) assertEquals([vm.exit, vm.suspendedBy.has("swap")], [undefined, false]);
  assertGreater(makeStats(system.host, "swap").readPages, 1000);
  system.audit();
});

Deno.test("a full swap file lets VMs go on when another has ended", async () => {
  const { system, vms: [a, b] } = await failing({ inject: "none", sizeMib: 20 });
  assertEquals([a.exit, b.exit], [undefined, undefined]);
  assertLess(pagerOf(system.host).usedPages, 20 * MIB);
  const tight = await failing({ inject: "full", injectAfterPages: 300 });
  const [held, other] = tight.vms.toSorted((x, y) => y.suspendedBy.size - x.suspendedBy.size);
  const before = held.clock.steps;
  other.end({ reason: "power-off", status: 0 });
  await tight.system.host.run({ untilNs: 2 * SECOND });
  assertEquals(held.exit, undefined);
  assertGreater(held.clock.steps, before);
  assertEquals(tight.system.wrong, []);
  tight.system.audit();
});

Deno.test("when every VM waits for a disk that does not come back, one is ended, so that the others can go on", async () => {
  const log: string[] = [];
  const system = overcommitted({
    memoryMib: 8,
    scripts: { a: guests.cycling(7 * MIB, 20), b: guests.cycling(7 * MIB, 20) },
    swap: { inject: "write", injectAfterPages: 100, giveUpAttempts: 3 },
    log: (plugin, message) => log.push(`${plugin}: ${message}`),
  });
  const vms: Vm[] = ["a", "b"].map((name) => system.add(name, { memoryMib: 7 }));
  await system.host.run({ untilNs: 3 * SECOND });
  const [ended] = vms.filter((vm) => vm.state === "exited"), alive = vms.filter((vm) => vm.state !== "exited");
  assertEquals(alive.length, 1);
  assertEquals([ended.exit?.reason, ended.exit?.status], ["failed", 3]);
  assertStringIncludes(
    ended.exit?.detail ?? "",
    "it needs memory and none can be freed: swap file: input/output error",
  );
  assertEquals(alive[0].suspendedBy.size, 0);
  assertEquals(system.wrong, []);
  system.audit();
});

for (const inject of ["read", "torn"]) {
  Deno.test(`a page that cannot be read back (${inject}) ends its VM with an error, and no other`, async () => {
    const { system, vms, small } = await failing({ inject, injectAfterPages: 300, injectAttempts: 1 });
    const failed = vms.filter((vm) => vm.exit !== undefined);
    assertEquals(failed.length, 1);
    assertEquals([failed[0].exit?.reason, failed[0].exit?.status], ["failed", 3]);
    assertStringIncludes(failed[0].exit?.detail ?? "", `of VM "${failed[0].name}" cannot be read from the swap file: `);
    assertGreater(small.cpuNs, 0.1 * SECOND);
    system.audit();
  });
}
