// A virtio balloon from its driver's side: pages in and out, its target, statistics, and buffers that no driver may send.

import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { Balloon } from "../../../plugins/balloon/balloon.ts";
import { Config, Feature, MOST_PFNS, Queue, VirtioBalloon } from "../../../plugins/balloon/virtio.ts";
import { parseStatistics } from "../../../plugins/balloon/virtio_statistics.ts";
import { type Mechanism, PageState } from "../../../plugins/memory/mod.ts";
import { Isr, Structure } from "../../../plugins/virtio/transport.ts";
import { hashOf, makeVm, pass } from "../pc/harness.ts";
import { BUFFERS, Driver, FakeMemory } from "../virtio/driver.ts";
import { newCounters } from "./vmware_driver.ts";

const PAGES = 512, PERIOD_NS = 1e9;

/** Memory whose pages have states, and none of them frames. */
class Balloonable extends FakeMemory {
  readonly states = new Map<number, PageState>();
  override stateOf(ppn = 0): PageState {
    return this.states.get(ppn) ?? PageState.private;
  }
  get ballooned(): number[] {
    return [...this.states].filter(([, state]) => state === PageState.ballooned).map(([ppn]) => ppn).sort((a, b) =>
      a - b
    );
  }
}

function makeVirtio(options: { targetPages?: number; deflateOnOom?: boolean; statisticsPeriodNs?: number } = {}) {
  const vm = makeVm(), memory = new Balloonable(PAGES), driver = new Driver(memory);
  const counters = { ...newCounters(), statsUpdatesCount: { value: 0 } };
  const release: Mechanism["release"] = (_vm, ppn, to) => void memory.states.set(ppn, to);
  const balloon = new Balloon({
    vm,
    memory,
    mechanism: { release } as Mechanism,
    counters,
    actualPages: () => memory.ballooned.length,
    mostPages: PAGES,
    charge: () => {},
  });
  balloon.byHand = options.targetPages ?? 0;
  const { deflateOnOom = false, statisticsPeriodNs = PERIOD_NS } = options;
  const parts = { clock: vm.clock, memory, balloon, counters, deflateOnOom, statisticsPeriodNs };
  const device = new VirtioBalloon(parts, driver.attach);
  const config = (at: number) => driver.read(Structure.DEVICE.at + at, 4);
  const offered = () => [0, 1, 2, 3, 4, 5].filter((bit) => (driver.read(4, 4) >>> bit) & 1);
  return { vm, memory, driver, device, balloon, counters, config, offered };
}

/** Sends page numbers over a queue. */
function send(driver: Driver, memory: FakeMemory, queue: number, pfns: readonly number[], at = BUFFERS): void {
  for (const [i, pfn] of pfns.entries()) memory.view.setUint32(at + i * 4, pfn, true);
  driver.add(queue, [{ address: at, length: pfns.length * 4 }]);
  driver.kick(queue);
}

Deno.test("the device offers what its options say", () => {
  const cases: readonly [options: Parameters<typeof makeVirtio>[0], features: number[], queues: number][] = [
    [{}, [Feature.STATS_VQ], 3],
    [{ deflateOnOom: true }, [Feature.STATS_VQ, Feature.DEFLATE_ON_OOM], 3],
    [{ statisticsPeriodNs: 0 }, [], 2],
  ];
  for (const [options, features, queues] of cases) {
    const { driver, offered } = makeVirtio(options);
    assertEquals([offered(), driver.registers.queues.length], [features, queues]);
  }
});

Deno.test("pages go into the balloon and out of it, and each buffer comes back", () => {
  const { driver, memory, counters } = makeVirtio();
  driver.start();
  send(driver, memory, Queue.INFLATE, [100, 101, 102]);
  assertEquals([memory.ballooned, driver.used(Queue.INFLATE)], [[100, 101, 102], [[0, 0]]]);
  send(driver, memory, Queue.DEFLATE, [101]);
  assertEquals([memory.ballooned, driver.used(Queue.DEFLATE)], [[100, 102], [[0, 0]]]);
  assertEquals(memory.stateOf(101), PageState.absent);
  assertEquals([counters.inflateCount.value, counters.inflatedPages.value, counters.deflatedPages.value], [1, 3, 1]);
});

Deno.test("page numbers of nothing, or sent twice, are passed over", () => {
  const { driver, memory, counters } = makeVirtio();
  driver.start();
  send(driver, memory, Queue.INFLATE, [100, 100, PAGES, 0xffff_ffff]);
  send(driver, memory, Queue.DEFLATE, [200, PAGES], BUFFERS + 64);
  assertEquals([memory.ballooned, counters.refusedPages.value, driver.needsReset], [[100], 5, false]);
});

Deno.test("a target is in the configuration before the driver comes, and later comes by an interrupt", () => {
  const { driver, config, balloon, device, vm } = makeVirtio({ targetPages: 40 });
  driver.start();
  assertEquals([config(Config.NUM_PAGES), driver.bus.interrupt], [40, false]);
  balloon.byHand = 60;
  device.targetChanged();
  pass(vm, 1);
  assertEquals([config(Config.NUM_PAGES), driver.readIsr()], [60, Isr.CONFIG]);
  device.targetChanged();
  pass(vm, 1);
  assertEquals(driver.readIsr(), 0, "nothing changed");
});

Deno.test("the driver writes what it holds by its own count, and nothing else", () => {
  const { driver, config } = makeVirtio({ targetPages: 40 });
  driver.start();
  driver.write(Structure.DEVICE.at + Config.ACTUAL, 4, 17);
  driver.write(Structure.DEVICE.at + Config.NUM_PAGES, 4, 18);
  driver.write(Structure.DEVICE.at + Config.ACTUAL + 1, 2, 19);
  assertEquals([config(Config.NUM_PAGES), config(Config.ACTUAL)], [40, 17]);
});

Deno.test("more requests than fit one go are gone on with in guest time", () => {
  const { driver, memory, vm } = makeVirtio();
  driver.start();
  for (let i = 0; i < 4; i++) {
    memory.view.setUint32(BUFFERS + i * 4, 100 + i, true);
    driver.add(Queue.INFLATE, [{ address: BUFFERS + i * 4, length: 4 }]);
  }
  driver.kick(Queue.INFLATE);
  assertEquals(memory.ballooned, [100]);
  driver.kick(Queue.INFLATE);
  assertEquals(memory.ballooned, [100], "a second kick is no way around it");
  pass(vm, 1e6);
  assertEquals([memory.ballooned, driver.used(Queue.INFLATE).length], [[100, 101, 102, 103], 4]);
});

const misuses: readonly [what: string, length: number][] = [
  ["half a page number", 6],
  ["more page numbers than a buffer may hold", (MOST_PFNS + 1) * 4],
];
for (const [what, length] of misuses) {
  Deno.test(`a buffer of ${what} stops the device, and a reset brings it back`, () => {
    const { driver, memory } = makeVirtio();
    driver.start();
    send(driver, memory, Queue.INFLATE, [100]);
    driver.add(Queue.INFLATE, [{ address: BUFFERS, length }]);
    driver.kick(Queue.INFLATE);
    assertEquals([driver.needsReset, driver.failures.length, memory.ballooned], [true, 1, [100]]);
    driver.start();
    assertEquals([driver.needsReset, memory.ballooned], [false, []]);
    send(driver, memory, Queue.INFLATE, [101]);
    assertEquals(memory.ballooned, [101]);
  });
}

Deno.test("a driver that resets the device holds no page", () => {
  const { driver, memory, config } = makeVirtio();
  driver.start();
  send(driver, memory, Queue.INFLATE, [100, 101]);
  driver.write(Structure.DEVICE.at + Config.ACTUAL, 4, 2);
  driver.status = 0;
  assertEquals([memory.ballooned, config(Config.ACTUAL)], [[], 0]);
});

/** Writes a report of [tag, value] at an address; its length. */
function writeReport(memory: FakeMemory, address: number, entries: readonly (readonly [number, number])[]): number {
  for (const [i, [tag, value]] of entries.entries()) {
    memory.view.setUint16(address + i * 10, tag, true);
    memory.view.setBigUint64(address + i * 10 + 2, BigInt(value), true);
  }
  return entries.length * 10;
}

Deno.test("statistics arrive, are asked for again after a period, and are counted", () => {
  const { driver, memory, vm, device, counters } = makeVirtio();
  driver.start([Feature.STATS_VQ]);
  const report = (free: number) => {
    const length = writeReport(memory, BUFFERS, [[4, free], [5, 2 ** 33 + 1], [2, 7]]);
    driver.add(Queue.STATS, [{ address: BUFFERS, length }]);
    driver.kick(Queue.STATS);
  };
  report(1000);
  assertEquals(device.statistics, { freeMemory: 1000, totalMemory: 2 ** 33 + 1, majorFaults: 7 });
  pass(vm, PERIOD_NS - 1);
  assertEquals(driver.used(Queue.STATS), [], "the device keeps the buffer");
  pass(vm, 1);
  assertEquals(driver.used(Queue.STATS), [[0, 0]]);
  pass(vm, 10 * PERIOD_NS);
  assertEquals(driver.used(Queue.STATS), [], "it waits for the driver");
  report(2000);
  assertEquals([device.statistics.freeMemory, counters.statsUpdatesCount.value], [2000, 2]);
  driver.start([Feature.STATS_VQ]);
  assertEquals(device.statistics, {});
});

Deno.test("a report made available before the driver is ready, as Linux does, counts", () => {
  const { driver, memory, device } = makeVirtio();
  const length = writeReport(memory, BUFFERS, [[4, 5]]);
  // The model's last step is to be ready: the buffer is made available just before it.
  driver.layOut = (queue, ...layout) => {
    Driver.prototype.layOut.call(driver, queue, ...layout);
    if (queue === Queue.STATS) driver.add(Queue.STATS, [{ address: BUFFERS, length }]);
  };
  driver.start([Feature.STATS_VQ]);
  assertEquals(device.statistics, { freeMemory: 5 });
});

Deno.test("of reports that are too many the last one counts, and of one that is too long the beginning", () => {
  const { driver, memory, device } = makeVirtio();
  driver.start([Feature.STATS_VQ]);
  const long = writeReport(memory, BUFFERS, Array.from({ length: 100 }, (_, tag) => [tag, tag + 1] as const));
  driver.add(Queue.STATS, [{ address: BUFFERS, length: long }]);
  writeReport(memory, BUFFERS + 4096, [[4, 77]]);
  driver.add(Queue.STATS, [{ address: BUFFERS + 4096, length: 10 }]);
  driver.kick(Queue.STATS);
  assertEquals(driver.used(Queue.STATS), [[0, 0]]);
  assertEquals([device.statistics.freeMemory, device.statistics.swapIn, device.statistics.directReclaim], [77, 1, 16]);
});

Deno.test("whatever bytes are sent as statistics, what comes of them are numbers by known names", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      const values = Object.values(parseStatistics(bytes));
      assert(values.length <= Math.floor(bytes.length / 10));
      assert(values.every((value) => Number.isFinite(value) && value >= 0));
    }),
  );
});

Deno.test("a saved balloon goes on with its report, its configuration and its timers", () => {
  const made = makeVirtio({ targetPages: 30 });
  made.driver.start([Feature.STATS_VQ]);
  const length = writeReport(made.memory, BUFFERS, [[4, 5]]);
  made.driver.add(Queue.STATS, [{ address: BUFFERS, length }]);
  made.driver.kick(Queue.STATS);
  made.driver.write(Structure.DEVICE.at + Config.ACTUAL, 4, 17);
  const other = makeVirtio({ targetPages: 30 });
  other.memory.bytes.set(made.memory.bytes);
  other.vm.clock.restore(made.vm.clock.save() as Parameters<typeof other.vm.clock.restore>[0]);
  other.device.restore(made.device.save());
  for (const { vm } of [made, other]) pass(vm, PERIOD_NS);
  assertEquals(other.memory.bytes, made.memory.bytes);
  assertEquals([other.config(Config.ACTUAL), other.device.statistics], [17, { freeMemory: 5 }]);
  assertEquals(hashOf(other.device), hashOf(made.device));
});
