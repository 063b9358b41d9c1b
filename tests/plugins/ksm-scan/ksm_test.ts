// KSM's ways with pages: what merges when, what is left alone, chains of full frames; and, as a property, that no order of
// writes, scans, swapping, balloons and ends of VMs makes a page read as anything but what a plain model says.

import { assert, assertEquals, assertGreater } from "@std/assert";
import fc from "fast-check";
import { type Action, fakeExecutor, vmConfig } from "../../core/fake_executor.ts";
import { Host, type Vm } from "../../../core/mod.ts";
import ksmScan, { ksm } from "../../../plugins/ksm-scan/mod.ts";
import { momAdvice, scanTimeAdvice } from "../../../plugins/ksm-scan/advisor.ts";
import memory, { guest, machine, mechanism, PAGE_SIZE, PageState, report } from "../../../plugins/memory/mod.ts";
import swap from "../../../plugins/swap/mod.ts";
import { makeStats } from "../allocator/stats.ts";

const PAGE_MIB = PAGE_SIZE / 2 ** 20;
const idle: readonly Action[] = [{ run: 100_000 }, { jump: 0 }];

function ksmHost(options: Readonly<Record<string, unknown>> = {}, memoryMib = 4) {
  const host = new Host({ memoryMib, seed: 1, quantumNs: 1e6 });
  const scripts = Object.fromEntries(["a", "b", "c"].map((name) => [name, idle]));
  host.load({ plugin: memory }, { plugin: swap }, { plugin: ksmScan, options }, {
    plugin: fakeExecutor(scripts).plugin,
  });
  const ram = host.service(machine), merging = host.service(ksm);
  return {
    host,
    merging,
    machine: ram,
    mechanism: host.service(mechanism),
    saved: () => host.service(report).host().savedFrames,
    add: (name: string, pages: number) => host.add(vmConfig(name, { memoryMib: pages * PAGE_MIB })),
    memoryOf: host.service(guest),
    fill(vm: Vm, ppn: number, value: number): void {
      const at = host.service(guest)(vm).frameForWrite(ppn) * PAGE_SIZE;
      ram.bytes.fill(value, at, at + PAGE_SIZE);
    },
    stats: () => makeStats(host, "ksm-scan"),
    audit(): void {
      ram.audit();
      merging.audit();
    },
  };
}

Deno.test("equal pages merge in the second pass, and a page that joins merged ones in the first", () => {
  const system = ksmHost(), a = system.add("a", 8), b = system.add("b", 8);
  system.fill(a, 1, 7);
  system.fill(b, 2, 7);
  system.merging.scanAll(1);
  assertEquals(system.saved(), 0);
  system.merging.scanAll(1);
  assertEquals(system.saved(), 1);
  system.fill(b, 3, 7);
  system.merging.scanAll(1);
  assertEquals(system.saved(), 2);
  const { pages_shared, pages_sharing, pages_unshared, full_scans } = system.stats();
  assertEquals({ pages_shared, pages_sharing, pages_unshared, full_scans }, {
    pages_shared: 1,
    pages_sharing: 2,
    pages_unshared: 0,
    full_scans: 3,
  });
  system.audit();
});

Deno.test("a page that changes between passes is no candidate", () => {
  const system = ksmHost({ smart_scan: false }), a = system.add("a", 4);
  for (let pass = 0; pass < 5; pass++) {
    system.fill(a, 0, 10 + pass);
    system.fill(a, 1, 10 + pass);
    system.merging.scanAll(1);
    assertEquals(system.saved(), 0);
  }
  assertEquals(system.stats().pages_volatile, 2);
  system.merging.scanAll(1);
  assertEquals(system.saved(), 1);
});

Deno.test("a write to a merged page gives it a frame of its own, and the tree forgets a frame that nobody shares", () => {
  const system = ksmHost(), a = system.add("a", 4), b = system.add("b", 4);
  for (const vm of [a, b]) system.fill(vm, 0, 9);
  system.merging.scanAll(2);
  assertEquals(system.saved(), 1);
  system.fill(a, 0, 3);
  assertEquals([system.saved(), system.memoryOf(b).peek(0)?.[5], system.memoryOf(a).peek(0)?.[5]], [0, 9, 3]);
  system.fill(b, 0, 4);
  system.audit();
});

Deno.test("a frame is shared by max_page_sharing pages at most, and the next frame with its contents is chained to it", () => {
  const system = ksmHost({ max_page_sharing: 16 }), a = system.add("a", 100);
  for (let ppn = 0; ppn < 100; ppn++) system.fill(a, ppn, 5);
  system.merging.scanAll(3);
  // 100 pages in frames of 16: seven.
  assertEquals(system.saved(), 100 - 7);
  assertEquals([system.stats().stable_node_chains, system.stats().stable_node_dups], [1, 7]);
  system.audit();
  for (let ppn = 0; ppn < 100; ppn++) system.fill(a, ppn, ppn);
  assertEquals([system.saved(), system.stats().stable_node_dups], [0, 0]);
  system.audit();
});

Deno.test("pages of zeros merge as others do, or with use_zero_pages use the zero frame", () => {
  for (const use_zero_pages of [false, true]) {
    const system = ksmHost({ use_zero_pages }), a = system.add("a", 20);
    for (let ppn = 0; ppn < 20; ppn++) system.fill(a, ppn, 0);
    system.merging.scanAll(3);
    assertEquals(system.stats().ksm_zero_pages, use_zero_pages ? 20 : 0);
    assertEquals(system.saved(), 19);
    system.audit();
  }
});

Deno.test("a page scanned in vain is left out of more and more passes, if smart_scan is on", () => {
  const scannedIn = (smart_scan: boolean) => {
    const system = ksmHost({ smart_scan }), a = system.add("a", 1);
    system.fill(a, 0, 1);
    return Array.from({ length: 16 }, () => {
      const before = system.stats().pages_scanned;
      system.merging.scanAll(1);
      return system.stats().pages_scanned - before;
    }).join("");
  };
  assertEquals(scannedIn(false), "1".repeat(16));
  // Ages 0 to 3, one out; 5, two out; 8, four out; 13, eight out.
  assertEquals(scannedIn(true), "1111010010000100");
});

Deno.test("scanning in the background finds equal pages, at the rate of the options, and charges their VMs", async () => {
  const system = ksmHost({ pages_to_scan: 10, sleep_millisecs: 20 }),
    vms = ["a", "b"].map((name) => system.add(name, 64));
  for (const vm of vms) for (let ppn = 0; ppn < 64; ppn++) system.fill(vm, ppn, ppn + 1);
  await system.host.run({ untilNs: 0.21e9 });
  assertEquals(system.stats().pages_scanned, 100);
  await system.host.run({ untilNs: 1e9 });
  assertEquals(system.saved(), 64);
  assertGreater(vms[0].stolenNs, 0);
  system.audit();
});

Deno.test("advisors aim at a pass in 200 s, within bounds, and follow what is free", () => {
  // Passes of 400 s: twice as many pages, of which seven tenths of the way.
  assertEquals(scanTimeAdvice(1000, 400, 0.02, 1e-6), 1700);
  assertEquals(scanTimeAdvice(1000, 1, 0.02, 1e-6), 500);
  assertEquals(scanTimeAdvice(30_000, 4000, 0.02, 1e-9), 30_000);
  // 70 % of the processor: 0.02 s asleep to 0.0467 s of scanning at 10 us a page.
  assertEquals(scanTimeAdvice(30_000, 4000, 0.02, 1e-5), 4667);
  assertEquals([momAdvice(100, 0.1, 1.5), momAdvice(100, 0.3, 1.5), momAdvice(1200, 0.1, 1.5)], [400, 64, 1250]);
  assertEquals(momAdvice(100, 0.5, 0.7), 0);
});

const VMS = 3, PAGES = 4, FRAMES = 8;
const place = fc.tuple(fc.nat(VMS - 1), fc.nat(PAGES - 1));

Deno.test("random operations agree with a plain model", () => {
  type System = ReturnType<typeof ksmHost>;
  type Operation = (system: System, vms: readonly Vm[], model: number[][]) => void;
  const operation = fc.oneof(
    {
      weight: 4,
      arbitrary: fc.tuple(place, fc.nat(2)).map(([[vm, ppn], value]): Operation => (system, vms, model) => {
        system.fill(vms[vm], ppn, value);
        model[vm][ppn] = value;
      }),
    },
    {
      weight: 1,
      arbitrary: fc.tuple(place, fc.nat(2)).map(([[vm, ppn], value]): Operation => (system, vms, model) => {
        system.memoryOf(vms[vm]).write(ppn * PAGE_SIZE, new Uint8Array(PAGE_SIZE).fill(value));
        model[vm][ppn] = value;
      }),
    },
    {
      weight: 1,
      arbitrary: place.map(([vm, ppn]): Operation => (system, vms) => {
        if (system.mechanism.frameOf(vms[vm], ppn) === undefined) return;
        system.mechanism.release(vms[vm], ppn, PageState.swapped);
      }),
    },
    {
      weight: 1,
      arbitrary: place.map(([vm, ppn]): Operation => (system, vms, model) => {
        system.mechanism.release(vms[vm], ppn, PageState.ballooned);
        model[vm][ppn] = 0;
      }),
    },
    {
      weight: 1,
      arbitrary: place.map(([vm, ppn]): Operation => (system, vms) => void system.mechanism.breakSharing(vms[vm], ppn)),
    },
    {
      weight: 4,
      arbitrary: fc.integer({ min: 1, max: 3 }).map((passes): Operation => ({ merging }) => merging.scanAll(passes)),
    },
  );
  let merged = 0;
  fc.assert(
    fc.property(
      fc.array(operation, { minLength: 1, maxLength: 60, size: "max" }),
      fc.boolean(),
      (operations, zeros) => {
        const system = ksmHost({ max_page_sharing: 3, use_zero_pages: zeros }, 1);
        const vms = ["a", "b", "c"].map((name) => system.add(name, PAGES));
        const free = system.machine.freeFrames;
        for (let i = FRAMES; i < free; i++) system.mechanism.takeHypervisorFrame();
        const model = vms.map(() => new Array<number>(PAGES).fill(0));
        for (const operate of operations) {
          try {
            operate(system, vms, model);
          } catch (error) {
            // Fewer frames than pages, and nobody who pages: a write may find none.
            if (!(error instanceof Error && error.name === "OutOfMachineMemory")) throw error;
          }
          system.audit();
          merged = Math.max(merged, system.saved());
          for (const [i, vm] of vms.entries()) {
            for (const [ppn, value] of model[i].entries()) {
              const contents = system.memoryOf(vm).peek(ppn) ?? new Uint8Array(1);
              assert(contents.every((byte) => byte === value), `page ${ppn} of ${vm.name} is not all ${value}`);
            }
          }
        }
      },
    ),
    { numRuns: 200, seed: 1 },
  );
  assertGreater(merged, 2);
});
