// The allocator on scripted guests: what it promises, how it takes memory back, and in which order.

import { assert, assertEquals, assertGreater, assertLess, assertStringIncludes, assertThrows } from "@std/assert";
import { definePlugin, InputError, turnEnded, type Vm } from "../../../core/mod.ts";
import {
  balloon,
  type ReclamationState,
  stateChanged,
  targets,
  type TargetsQuestion,
} from "../../../plugins/allocator/mod.ts";
import * as memory from "../../../plugins/memory/mod.ts";
import { makeStats } from "./stats.ts";
import { allocationOf, givenOut, guests, type Overcommitted, overcommitted, pagerOf, watching } from "./fixture.ts";

const MIB = 256;
const SECOND = 1e9;

Deno.test("VMs that use all they can get end with memory in proportion to their shares", async () => {
  const shares = [1000, 2000, 3000], memoryMib = 16;
  const system = overcommitted({
    memoryMib,
    scripts: Object.fromEntries(shares.map((_, i) => [`vm${i}`, guests.cycling(12 * MIB, 20)])),
    plugins: [watching(({ on }) => on(stateChanged, () => system.audit()))],
  });
  const vms = shares.map((share, i) => system.add(`vm${i}`, { memoryMib: 12, shares: share }));
  await system.host.run({ untilNs: 4 * SECOND });
  const pages = givenOut(system), allocation = allocationOf(system.host);
  // The closed form with a tax of zero: P_i = S_i / sum(S) * T (ESX paper, section 5).
  for (const [i, vm] of vms.entries()) {
    const exact = pages * shares[i] / 6000;
    assert(
      Math.abs(allocation.of(vm).targetPages - exact) <= 1,
      `${vm.name}: ${allocation.of(vm).targetPages}, ${exact}`,
    );
    // Free memory wanders between soft and high: 2.5 % of all, and a batch.
    const band = 0.025 * memoryMib * MIB + 16;
    assert(Math.abs(system.allocated(vm) - exact) <= band, `${vm.name}: ${system.allocated(vm)}, ${exact}`);
  }
  assertEquals(system.wrong, []);
  assertGreater(pagerOf(system.host).usedPages, 0);
  system.audit();
});

Deno.test("a minimum is kept from the moment it is reached, and a maximum is never exceeded by a target", async () => {
  const minMib = [6, 2, 0], memoryMib = 12;
  const system = overcommitted({
    memoryMib,
    scripts: Object.fromEntries(minMib.map((_, i) => [`vm${i}`, guests.cycling(8 * MIB, 30)])),
  });
  // The first has a large minimum and next to no shares.
  const vms = minMib.map((min, i) => system.add(`vm${i}`, { memoryMib: 8, minMib: min, shares: i === 0 ? 1 : 1000 }));
  const reached = new Set<Vm>();
  let checks = 0;
  system.host.load({
    plugin: definePlugin({
      name: "checker",
      requires: ["memory"],
      setup: ({ every }) => {
        every(100_000, () => {
          for (const [i, vm] of vms.entries()) {
            if (system.allocated(vm) >= minMib[i] * MIB) reached.add(vm);
            if (!reached.has(vm)) continue;
            checks++;
            assert(system.allocated(vm) >= minMib[i] * MIB, `${vm.name} has ${system.allocated(vm)} pages`);
          }
        });
      },
    }),
  });
  await system.host.run({ untilNs: 2 * SECOND });
  assertEquals(reached.size, vms.length);
  assertGreater(checks, 1000);
  const target = allocationOf(system.host).of(vms[0]).targetPages;
  assertEquals(target, 6 * MIB, "next to no shares: the minimum");
  assertEquals(system.wrong, []);
});

Deno.test("low blocks exactly the VMs above their targets, until memory is there again", async () => {
  const seen: ReclamationState[] = [];
  let lows = 0, blocked = 0;
  const system = overcommitted({
    memoryMib: 16,
    // A large burst at once: one falls through all states within a turn; the other stays below its target.
    scripts: { greedy: guests.cycling(15 * MIB, 400), modest: guests.cycling(2 * MIB, 20) },
    plugins: [watching(({ on, host }) =>
      on(stateChanged, ({ to }) => {
        seen.push(to);
        system.audit();
        if (to === "low") lows++;
        for (const vm of host.vms) {
          const { allocatedPages, targetPages } = allocationOf(system.host).of(vm);
          const isBlocked = vm.suspendedBy.has("allocator");
          if (isBlocked) blocked++;
          assertEquals(isBlocked, to === "low" && allocatedPages > targetPages, `${vm.name} in ${to}`);
        }
      })
    )],
  });
  const [greedy, modest] = [system.add("greedy", { memoryMib: 15 }), system.add("modest", { memoryMib: 8 })];
  await system.host.run({ untilNs: SECOND });
  assertGreater(lows, 0);
  assertEquals(blocked, lows, "the greedy one each time");
  assertGreater(modest.cpuNs, 3 * (greedy.clock.nowNs()), "the other goes on meanwhile");
  assert(seen.includes("hard") && seen.includes("soft"));
  assertEquals(system.wrong, []);
});

Deno.test("targets are asked of the policy, from snapshots, and fitted to what there is", async () => {
  const questions: TargetsQuestion[] = [];
  const system = overcommitted({
    memoryMib: 16,
    scripts: { a: guests.cycling(12 * MIB, 20), b: guests.cycling(12 * MIB, 20) },
    plugins: [watching(({ on }) =>
      on(targets, (question) => {
        questions.push(question);
        return [question.pages * 0.75, question.pages * 0.25];
      })
    )],
  });
  const vms = ["a", "b"].map((name) => system.add(name, { memoryMib: 12 }));
  await system.host.run({ untilNs: 3 * SECOND });
  const pages = givenOut(system);
  const found = vms.map((vm) => allocationOf(system.host).of(vm).targetPages);
  assertEquals(found, [Math.floor(pages * 0.75), Math.floor(pages * 0.25)]);
  assert(Math.abs(system.allocated(vms[0]) - found[0]) < 0.03 * 16 * MIB, String(system.allocated(vms[0])));
  const { vms: snapshots, pages: asked } = questions[questions.length - 1];
  assertEquals(asked, pages);
  assertEquals(snapshots.map(({ name, minPages, maxPages, shares }) => [name, minPages, maxPages, shares]), [
    ["a", 0, 12 * MIB, 1000],
    ["b", 0, 12 * MIB, 1000],
  ]);
});

Deno.test("targets follow VMs that come and go, and changes of shares and minima", async () => {
  const system = overcommitted({
    memoryMib: 16,
    scripts: { a: guests.idle, b: guests.idle, brief: [{ run: 1000 }] },
  });
  const target = (vm: Vm) => allocationOf(system.host).of(vm).targetPages;
  const a = system.add("a", { memoryMib: 12 });
  assertEquals(target(a), 12 * MIB);
  const b = system.add("b", { memoryMib: 12 });
  const pages = givenOut(system);
  assertEquals([target(a), target(b)], [Math.ceil(pages / 2), Math.floor(pages / 2)]);
  allocationOf(system.host).set(a, { shares: 3000 });
  assert(Math.abs(target(a) - 0.75 * pages) <= 1);
  allocationOf(system.host).set(b, { minPages: 7 * MIB });
  assertEquals(target(b), 7 * MIB);
  const brief = system.add("brief", { memoryMib: 12, shares: 4000 });
  assertLess(target(a), pages / 2);
  await system.host.run({ untilNs: 10e6 });
  assertEquals(brief.state, "exited");
  assertEquals([target(a), target(b)], [pages - 7 * MIB, 7 * MIB]);
  const error = assertThrows(() => allocationOf(system.host).set(b, { minPages: 16 * MIB }), InputError);
  assertStringIncludes(error.message, "more than its memory");
  assertThrows(() => allocationOf(system.host).set(b, { shares: 0 }), InputError, "expected more than 0");
});

Deno.test("a VM whose minimum and overhead cannot be promised is not admitted, and the sums are shown", () => {
  const system = overcommitted({ memoryMib: 16, scripts: {}, allocator: { overheadMib: 1 } });
  system.add("a", { memoryMib: 16, minMib: 8 });
  const error = assertThrows(() => system.add("b", { memoryMib: 8, minMib: 7 }), InputError);
  assertEquals(
    error.message,
    'VM "b" is not admitted: its minimum and overhead come to 7 + 1 = 8 MiB, and of machine memory are unreserved ' +
      "16 - 0.25 (hypervisor) - 9 (minimum and overhead of 1 VM) = 6.75 MiB; lower minMib or give the host more memory",
  );
  system.add("c", { memoryMib: 8, minMib: 5 });
  const small = overcommitted({ memoryMib: 16, scripts: {}, swap: { sizeMib: 10 } });
  small.add("a", { memoryMib: 12, minMib: 4 });
  assertThrows(() => small.add("b", { memoryMib: 3 }), InputError, "raise minMib or swap.sizeMib");
});

Deno.test("an overhead is kept in frames of the hypervisor's while its VM runs", async () => {
  const system = overcommitted({ memoryMib: 8, scripts: { a: [{ run: 1000 }] }, allocator: { overheadMib: 1.5 } });
  const hypervisor = () => system.host.service(memory.machine).frameCounts().hypervisor;
  const before = hypervisor();
  system.add("a", { memoryMib: 2 });
  assertEquals(hypervisor() - before, 1.5 * MIB);
  await system.host.run();
  assertEquals(hypervisor(), before);
});

/** A balloon driver that gives up so many pages every ms towards what was asked, or none of them. */
function ballooning(pagesPerMs: number, asked: Map<string, number[]>, isReachable = true) {
  return watching(({ on, every, host, service }) => {
    const mechanism = service(memory.mechanism), report = service(memory.report), pages = service(memory.pages);
    on(balloon, ({ vm, pages }) => {
      asked.set(vm.name, [...asked.get(vm.name) ?? [], pages]);
      return { reachable: isReachable };
    });
    every(1e6, () => {
      for (const vm of host.vms) {
        let left = Math.min(pagesPerMs, (asked.get(vm.name)?.at(-1) ?? 0) - report.vm(vm).balloonedPages);
        // From the end of memory, which the guests of these tests leave alone after they used it once.
        for (let ppn = pages.count(vm) - 1; ppn >= 0 && left > 0; ppn--) {
          if (mechanism.frameOf(vm, ppn) === undefined) continue;
          mechanism.release(vm, ppn, memory.PageState.ballooned);
          left--;
        }
      }
    });
  });
}

/** Runs two VMs, of which one is far above its target, under a balloon driver. */
async function pressed(pagesPerMs: number, isReachable = true, patience = 5) {
  const asked = new Map<string, number[]>();
  const system = overcommitted({
    memoryMib: 16,
    scripts: { rich: guests.settling(13 * MIB, 10), poor: guests.settling(6 * MIB, 2) },
    plugins: [ballooning(pagesPerMs, asked, isReachable)],
    allocator: { balloonPatienceSeconds: patience },
  });
  const vms = [system.add("rich", { memoryMib: 13 }), system.add("poor", { memoryMib: 6, shares: 4000 })];
  await system.host.run({ untilNs: 2 * SECOND });
  return { system, vms, asked, written: makeStats(system.host, "swap").writtenPages };
}

Deno.test("in soft, memory comes from the balloon of whoever is above its target, and nothing is swapped", async () => {
  const { system, vms: [rich, poor], asked, written } = await pressed(100);
  assertEquals(written, 0);
  assertEquals(asked.get("poor"), undefined);
  const report = system.host.service(memory.report);
  const { balloonedPages } = report.vm(rich);
  assertGreater(balloonedPages, 2 * MIB);
  assertEquals(system.allocated(poor), 6 * MIB);
  const { targetPages, maxPages } = allocationOf(system.host).of(rich);
  assert(asked.get("rich")?.every((pages) => pages <= maxPages - targetPages));
  assertEquals(allocationOf(system.host).state, "high");
});

Deno.test("in soft, a VM without a balloon is paged, and nobody is asked twice for nothing", async () => {
  const { system, vms: [rich, poor], written } = await pressed(0, false);
  assertGreater(written, 2 * MIB);
  assertEquals(system.host.service(memory.report).vm(rich).balloonedPages, 0);
  assertEquals(system.allocated(poor), 6 * MIB);
  assertEquals(makeStats(system.host, "allocator").directReclaims, 0, "the states were there in time");
});

Deno.test("a balloon that does not come is waited for as long as patience says, or until the state is hard", async () => {
  const patient = await pressed(0, true, 100), impatient = await pressed(0, true, 0.01);
  assertGreater(patient.written, 0);
  assertGreater(impatient.written, patient.written);
  const free = ({ system }: typeof patient) => system.host.service(memory.machine).freeFrames / (16 * MIB);
  // Paging in hard goes on until soft is left for good below it; the rest is left to the balloon.
  assertLess(free(patient), 0.06);
  assertGreater(free(impatient), 0.06);
});

Deno.test("a balloon may shrink when others leave memory to its VM", async () => {
  const asked = new Map<string, number[]>();
  const system = overcommitted({
    memoryMib: 16,
    scripts: {
      rich: guests.settling(13 * MIB, 10),
      poor: [{ run: 500e6 }, { exit: 0 }],
    },
    plugins: [ballooning(40, asked)],
  });
  const rich = system.add("rich", { memoryMib: 14 });
  system.add("poor", { memoryMib: 12, minMib: 8 });
  await system.host.run({ untilNs: 2 * SECOND });
  const sizes = asked.get("rich") ?? [];
  assertEquals(allocationOf(system.host).of(rich).targetPages, 14 * MIB);
  if (sizes.length > 0) assertEquals(sizes[sizes.length - 1], 0);
});

Deno.test("guests that use more than there is have their balloons asked for in steps, not page by page", async () => {
  const asked = new Map<string, number[]>(), seconds = 2;
  const system = overcommitted({
    memoryMib: 12,
    scripts: Object.fromEntries(["a", "b", "c"].map((name) => [name, guests.cycling(8 * MIB, 20)])),
    plugins: [ballooning(0, asked)],
  });
  const vms = ["a", "b", "c"].map((name) => system.add(name, { memoryMib: 8 }));
  await system.host.run({ untilNs: seconds * SECOND });
  assertGreater(makeStats(system.host, "allocator").stateChanges, 20);
  for (const vm of vms) {
    const sizes = asked.get(vm.name) ?? [];
    // Steps of 1/128 up to all that its target leaves, and one a second.
    assert(sizes.length > 0 && sizes.length <= 128 + seconds, `${vm.name}: ${sizes.length} requests`);
    for (const [i, size] of sizes.entries()) if (i > 0) assert(size >= sizes[i - 1], `${vm.name}: ${sizes}`);
  }
});

Deno.test("VMs that hold nothing but pages of zeros are not blocked for ever", async () => {
  const zeroing = watching(({ on, service, host }) => {
    const mechanism = service(memory.mechanism), pages = service(memory.pages);
    // As page sharing does; and somebody takes the memory that this leaves.
    on(turnEnded, () => {
      for (const vm of host.vms) for (let ppn = 0; ppn < pages.count(vm); ppn++) mechanism.mapZero(vm, ppn);
      while (system.host.service(memory.machine).freeFrames > 20) mechanism.takeHypervisorFrame();
    });
  });
  const script = [
    { call: (vm: Vm) => void system.host.service(memory.guest)(vm).frameForRead(0) },
    { run: 100_000 },
    { jump: 0 },
  ];
  const system: Overcommitted = overcommitted({ memoryMib: 8, scripts: { a: script, b: script }, plugins: [zeroing] });
  const vms = ["a", "b"].map((name) => system.add(name, { memoryMib: 4 }));
  await system.host.run({ untilNs: SECOND });
  assertEquals(allocationOf(system.host).state, "low");
  assertGreater(makeStats(system.host, "allocator").blocks, 0);
  for (const vm of vms) {
    assertGreater(system.allocated(vm), allocationOf(system.host).of(vm).targetPages);
    assertGreater(vm.cpuNs, 0.2 * SECOND);
  }
});
