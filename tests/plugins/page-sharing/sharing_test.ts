// Page sharing on pages that tests fill by hand: the paper's worked example, hints, collisions, zeros, salts, many
// references, share before swap.

import { assert, assertEquals, assertGreater } from "@std/assert";
import type { Vm } from "../../../core/mod.ts";
import { PAGE_SIZE, PageState, WORDS_PER_FRAME } from "../../../plugins/memory/mod.ts";
import { PageHasher } from "../../../plugins/page-sharing/page_hasher.ts";
import { fakeExecutor } from "../../core/fake_executor.ts";
import { type SharingHost, sharingHost } from "./fixture.ts";

/** Takes frames for the hypervisor until the next one that a page gets is `mpn`. */
function takeUpTo(memory: SharingHost, mpn: number): void {
  for (;;) {
    const taken = memory.mechanism.takeHypervisorFrame();
    if (taken === mpn) return memory.mechanism.returnHypervisorFrame(taken);
  }
}

/** The first seed from `from` on whose page's hash ends with these 16 bits. */
function seedWithHash(ending: number, from = 1): number {
  const scratch = new WebAssembly.Memory({ initial: 1 });
  const words = new Int32Array(scratch.buffer), hasher = new PageHasher(scratch);
  for (let seed = from;; seed++) {
    for (let i = 0; i < WORDS_PER_FRAME; i++) words[i] = Math.imul(seed, 4 * i + 1);
    hasher.of(0);
    if ((hasher.low & 0xffff) === ending) return seed;
  }
}

// Figure 3 of the ESX paper: page 0x2868 of VM 2, in frame 0x1096, has the hash ...06af of the hint at frame 0x123b, which is
// page 0x43f8 of VM 3; the table has a frame 0x8f44 with hash ...07d8 that four pages share, too.
Deno.test("figure 3: a page that matches a hint moves to its frame, and its own is freed", () => {
  const memory = sharingHost(160);
  const { sharing, mechanism } = memory;
  const [vm1, vm2, vm3] = ["VM 1", "VM 2", "VM 3"].map((name) => memory.add(name, 70));
  const contents = seedWithHash(0x06af), others = seedWithHash(0x07d8);
  takeUpTo(memory, 0x1096);
  memory.fill(vm2, 0x2868, contents);
  takeUpTo(memory, 0x123b);
  memory.fill(vm3, 0x43f8, contents);
  takeUpTo(memory, 0x8f44);
  for (const [ppn, vm] of [vm1, vm1, vm2, vm3].entries()) memory.fill(vm, ppn, others);
  assertEquals(
    [vm1, vm1, vm2, vm3].map((vm, ppn) => sharing.scan(vm, ppn)),
    ["alone", "merged", "merged", "merged"],
  );
  assertEquals(mechanism.references(0x8f44), 4);

  assertEquals(sharing.scan(vm3, 0x43f8), "alone");
  assertEquals(memory.memoryOf(vm3).stateOf(0x43f8), PageState.private, "a hint is not marked copy-on-write");
  assertEquals([mechanism.frameOf(vm2, 0x2868), mechanism.frameOf(vm3, 0x43f8)], [0x1096, 0x123b]);
  assertEquals(sharing.scan(vm2, 0x2868), "merged");
  assertEquals([mechanism.frameOf(vm2, 0x2868), mechanism.frameOf(vm3, 0x43f8)], [0x123b, 0x123b]);
  assertEquals([mechanism.references(0x1096), mechanism.references(0x123b)], [0, 2]);
  for (const [vm, ppn] of [[vm2, 0x2868], [vm3, 0x43f8]] as const) {
    assertEquals([memory.memoryOf(vm).stateOf(ppn), memory.memoryOf(vm).isWritable(ppn)], [PageState.shared, false]);
  }
  memory.audit();
});

Deno.test("a write to a shared page gives it a frame of its own, and the last page keeps the frame", () => {
  const memory = sharingHost(2);
  const [a, b] = ["a", "b"].map((name) => memory.add(name, 0.5));
  memory.fill(a, 0, 5), memory.fill(b, 7, 5);
  memory.sharing.scanAll();
  const mpn = memory.mechanism.frameOf(a, 0);
  assertEquals(memory.mechanism.frameOf(b, 7), mpn);
  memory.fill(b, 7, 6);
  assert(memory.mechanism.frameOf(b, 7) !== mpn);
  memory.fill(a, 0, 8);
  assertEquals(memory.mechanism.frameOf(a, 0), mpn);
  memory.audit();
  memory.fill(b, 7, 8);
  memory.sharing.scanAll();
  assertEquals(memory.mechanism.frameOf(a, 0), memory.mechanism.frameOf(b, 7), "it can be shared again");
  memory.audit();
});

Deno.test("a hint whose page was written since is dropped when it matches", () => {
  const memory = sharingHost(2);
  const [a, b] = ["a", "b"].map((name) => memory.add(name, 0.5));
  memory.fill(a, 0, 5);
  memory.sharing.scan(a, 0);
  memory.fill(a, 0, 6);
  memory.fill(b, 0, 5);
  assertEquals(memory.sharing.scan(b, 0), "alone");
  assertEquals(memory.sharing.counts.staleHints, 1);
  assertEquals(memory.memoryOf(a).stateOf(0), PageState.private);
  memory.audit();
});

const departures = {
  "went to the swap file": (memory: SharingHost, vm: Vm) => memory.mechanism.release(vm, 0, PageState.swapped),
  "was ballooned": (memory: SharingHost, vm: Vm) => memory.mechanism.release(vm, 0, PageState.ballooned),
  "was shared by somebody else": (memory: SharingHost, vm: Vm) => {
    memory.fill(vm, 1, 5);
    assert(memory.mechanism.share(vm, 1, memory.mechanism.frameOf(vm, 0) ?? -1));
  },
};

for (const [what, depart] of Object.entries(departures)) {
  Deno.test(`a hint whose page ${what} is dropped when it matches`, () => {
    const memory = sharingHost(2);
    const [a, b] = ["a", "b"].map((name) => memory.add(name, 0.5));
    memory.fill(a, 0, 5), memory.fill(b, 0, 5);
    memory.sharing.scan(a, 0);
    depart(memory, a);
    assertEquals([memory.sharing.scan(b, 0), memory.sharing.counts.staleHints], ["alone", 1]);
    memory.audit();
  });
}

Deno.test("the hints of a VM go with it", async () => {
  const memory = sharingHost(2, { plugins: [fakeExecutor({}).plugin] });
  const [a, b] = ["a", "b"].map((name) => memory.add(name, 0.5));
  memory.fill(a, 0, 5), memory.fill(b, 0, 5);
  memory.sharing.scan(a, 0);
  assertEquals(memory.stats().pages_unshared, 1);
  a.end({ reason: "stopped", status: 0 });
  await memory.host.run({ stop: () => a.state === "exited" });
  assertEquals([memory.stats().pages_unshared, memory.sharing.scan(b, 0)], [0, "alone"]);
  memory.audit();
});

Deno.test("pages of zeros share one frame from the first on, and count as such", () => {
  const memory = sharingHost(2);
  const vm = memory.add("vm", 0.5);
  for (let ppn = 0; ppn < 10; ppn++) memory.fill(vm, ppn, 0);
  const { freeFrames } = memory.machine;
  memory.sharing.scanAll();
  assertEquals(memory.machine.freeFrames - freeFrames, 9);
  const { sharedPages, reclaimedPages, zeroPages } = memory.sharing.figures();
  assertEquals([sharedPages, reclaimedPages, zeroPages], [10, 9, 10]);
  const stats = memory.stats();
  assertEquals([stats.pages_shared, stats.pages_sharing, stats.ksm_zero_pages, stats.full_scans], [1, 9, 10, 1]);
  memory.audit();
});

Deno.test("pages are counted as KSM counts them", () => {
  const memory = sharingHost(2);
  const vm = memory.add("vm", 0.5);
  for (const [ppn, seed] of [1, 1, 1, 2, 2, 3, 4, 5].entries()) memory.fill(vm, ppn, seed);
  memory.sharing.scanAll();
  memory.fill(vm, 7, 6);
  memory.sharing.scanAll();
  const { pages_shared, pages_sharing, pages_unshared, pages_volatile, full_scans } = memory.stats();
  assertEquals({ pages_shared, pages_sharing, pages_unshared, pages_volatile, full_scans }, {
    pages_shared: 2,
    pages_sharing: 3,
    pages_unshared: 2,
    pages_volatile: 1,
    full_scans: 2,
  });
  memory.sharing.scanAll();
  assertEquals([memory.stats().pages_unshared, memory.stats().pages_volatile], [3, 0]);
});

for (const hashBits of [1, 4, 33]) {
  Deno.test(`with a hash of ${hashBits} bits, different pages are never shared`, () => {
    const memory = sharingHost(4, { options: { hashBits } });
    const [a, b] = ["a", "b"].map((name) => memory.add(name, 1));
    for (let ppn = 0; ppn < 200; ppn++) {
      memory.fill(a, ppn, 1 + ppn);
      memory.fill(b, ppn, 1 + 2 * ppn);
    }
    const before = [a, b].map((vm) => Array.from({ length: 200 }, (_, ppn) => memory.memoryOf(vm).peek(ppn)?.slice()));
    memory.sharing.scanAll();
    memory.sharing.scanAll();
    assertEquals(before, [a, b].map((vm) => before[vm.id].map((_, ppn) => memory.memoryOf(vm).peek(ppn))));
    if (hashBits <= 4) assertGreater(memory.sharing.counts.falseMatches, 100);
    else assertEquals(memory.sharing.figures().reclaimedPages, 100);
    memory.audit();
  });
}

Deno.test("a page that gave a false match is not compared again until it changes", () => {
  const memory = sharingHost(2, { options: { hashBits: 1 } });
  const vm = memory.add("vm", 0.5);
  for (let ppn = 0; ppn < 20; ppn++) memory.fill(vm, ppn, ppn + 1);
  memory.sharing.scanAll();
  const { compared, falseMatches } = memory.sharing.counts;
  assertEquals(compared, falseMatches);
  const ineligible = memory.stats().ineligible;
  assertGreater(ineligible, 15);
  memory.sharing.scanAll();
  assertEquals([memory.sharing.counts.compared, memory.stats().ineligible], [compared, ineligible]);
  const first = [...Array(20).keys()].find((ppn) => memory.sharing.scan(vm, ppn) === "ineligible") ?? -1;
  memory.fill(vm, first, 0);
  assertEquals(memory.sharing.scan(vm, first), "zero");
  memory.audit();
});

Deno.test("70,000 pages share one frame, and each can leave it", () => {
  const PAGES = 70_000, memory = sharingHost(4);
  const vm = memory.add("vm", 280);
  for (let ppn = 0; ppn < PAGES; ppn++) {
    memory.fill(vm, ppn, 9);
    memory.sharing.scan(vm, ppn);
  }
  const mpn = memory.mechanism.frameOf(vm, 0) ?? -1;
  assertEquals(memory.mechanism.references(mpn), PAGES);
  assertEquals(memory.sharing.figures().reclaimedPages, PAGES - 1);
  memory.audit();
  for (let ppn = 0; ppn < 100; ppn++) memory.fill(vm, ppn, 10 + ppn);
  assertEquals(memory.mechanism.references(mpn), PAGES - 100);
  memory.fill(vm, 0, 9);
  assertEquals(memory.sharing.scan(vm, 0), "merged");
  memory.audit();
});

/** Whether VMs with these groups share a page, by mode of salting. */
const salted = [
  { salt: "none", groups: ["a", "b"], isShared: true },
  { salt: "none", groups: [undefined, "b"], isShared: true },
  { salt: "group", groups: ["a", "a"], isShared: true },
  { salt: "group", groups: ["a", "b"], isShared: false },
  { salt: "group", groups: [undefined, "b"], isShared: false },
  { salt: "group", groups: [undefined, undefined], isShared: true },
  { salt: "vm", groups: [undefined, undefined], isShared: false },
  { salt: "vm", groups: ["a", "a"], isShared: true },
  { salt: "vm", groups: ["a", undefined], isShared: false },
] as const;

for (const hashBits of [64, 1]) {
  for (const { salt, groups, isShared } of salted) {
    const named = groups.map((group) => group ?? "no group").join(" and ");
    Deno.test(`salt ${salt}, ${hashBits} bits: VMs in ${named} ${isShared ? "share" : "do not share"}`, () => {
      const memory = sharingHost(2, { options: { salt, hashBits } });
      const [a, b] = groups.map((group, i) => memory.add(`vm${i}`, 0.5, group));
      memory.fill(a, 0, 5), memory.fill(a, 1, 5), memory.fill(b, 0, 5), memory.fill(b, 1, 5);
      memory.sharing.scanAll();
      const frames = [a, b].map((vm) => [0, 1].map((ppn) => memory.mechanism.frameOf(vm, ppn)));
      assertEquals(frames[0][0], frames[0][1], "a VM always shares with itself");
      assertEquals(frames[1][0], frames[1][1]);
      assertEquals(frames[0][0] === frames[1][0], isShared);
      memory.audit();
    });
  }
}

Deno.test("before a page is swapped out it is shared, if it is zero or has an equal", () => {
  const memory = sharingHost(2);
  const vm = memory.add("vm", 1);
  memory.fill(vm, 0, 0), memory.fill(vm, 1, 7);
  memory.sharing.scanAll();
  for (let ppn = 2; ppn < 100; ppn++) memory.fill(vm, ppn, ppn % 2 === 0 ? 0 : 7);
  const { freeFrames } = memory.machine;
  assertEquals(memory.pager.pageOut(vm, 98), 98);
  assertEquals(memory.machine.freeFrames - freeFrames, 98);
  assertGreater(memory.stats().sharedBeforeSwap, 90);
  assertEquals(memory.stats().sharedBeforeSwap + memory.report.vm(vm).swappedPages, 98);
  for (let ppn = 2; ppn < 100; ppn++) {
    const first = memory.machine.view.getInt32(memory.memoryOf(vm).frameForRead(ppn) * PAGE_SIZE, true);
    assertEquals(first, ppn % 2 === 0 ? 0 : 7);
  }
  memory.audit();
});
