// Split virtqueues from the driver's side: chains however they are cut, notifications, wrapping indices, and drivers that
// break the rules, by hand and by chance.

import { assert, assertEquals, assertLessOrEqual } from "@std/assert";
import fc from "fast-check";
import { AVAILABLE_NO_INTERRUPT, DescriptorFlag, F_EVENT_IDX, F_INDIRECT_DESC } from "../../../plugins/virtio/queue.ts";
import { Isr } from "../../../plugins/virtio/transport.ts";
import { BUFFERS, type Driver, type FakeMemory, makeEcho, type Piece } from "./driver.ts";

const { NEXT, WRITE, INDIRECT } = DescriptorFlag;
const TEXT = Uint8Array.from({ length: 100 }, (_, i) => i * 7 + 1);
const TARGET = BUFFERS + 0x1000, TABLE = BUFFERS + 0x2000;

/** Cuts [at, at + total) into pieces. */
function cut(at: number, lengths: readonly number[], writable: boolean): Piece[] {
  let address = at;
  return lengths.map((length) => {
    const piece = { address, length, writable };
    address += length;
    return piece;
  });
}

const cuts: [name: string, readable: number[], writable: number[]][] = [
  ["one piece each", [100], [100]],
  ["three and two pieces", [1, 98, 1], [50, 50]],
  ["a piece of no length", [60, 0, 40], [100]],
  ["less room than bytes", [100], [30, 5]],
];
for (const [name, readable, writable] of cuts) {
  for (const isIndirect of [false, true]) {
    Deno.test(`a chain of ${name}, ${isIndirect ? "indirect" : "direct"}, arrives as two byte ranges`, () => {
      const { driver, memory } = makeEcho();
      driver.start();
      memory.bytes.set(TEXT, BUFFERS);
      const pieces = [...cut(BUFFERS, readable, false), ...cut(TARGET, writable, true)];
      const head = isIndirect ? driver.addIndirect(0, TABLE, pieces) : driver.add(0, pieces);
      driver.kick(0);
      const room = Math.min(100, writable.reduce((sum, length) => sum + length, 0));
      assertEquals(driver.used(0), [[head, room]]);
      assertEquals(
        memory.bytes.slice(TARGET, TARGET + 101),
        Uint8Array.of(...TEXT.slice(0, room), ...Array(101 - room).fill(0)),
      );
    });
  }
}

Deno.test("direct descriptors may come before an indirect one", () => {
  const { driver, memory } = makeEcho();
  driver.start();
  memory.bytes.set(TEXT, BUFFERS);
  driver.describe(driver.tableOf(0), 0, BUFFERS, 40, NEXT, 1);
  driver.describe(driver.tableOf(0), 1, TABLE, 32, INDIRECT);
  driver.describe(TABLE, 0, BUFFERS + 40, 60, NEXT, 1);
  driver.describe(TABLE, 1, TARGET, 100, WRITE);
  driver.publish(0, 0);
  driver.kick(0);
  assertEquals(driver.used(0), [[0, 100]]);
  assertEquals(memory.bytes.slice(TARGET, TARGET + 100), TEXT);
});

Deno.test("both rings' indices wrap at 2^16", () => {
  const { driver } = makeEcho();
  driver.start();
  for (let i = 0; i < 0x10000 + 20; i++) {
    const head = driver.add(0, [{ address: BUFFERS, length: 1 }]);
    driver.kick(0);
    const used = driver.used(0);
    if (used.length !== 1 || used[0][0] !== head) assertEquals(used, [[head, 0]], `buffer ${i}`);
  }
  assertEquals(driver.availableEvent(0), 20);
});

Deno.test("without event indices the driver's flag keeps the device from interrupting", () => {
  const { driver } = makeEcho();
  driver.start([], [F_INDIRECT_DESC]);
  for (const [flags, interrupts] of [[AVAILABLE_NO_INTERRUPT, false], [0, true]] as const) {
    driver.setAvailableFlags(0, flags);
    driver.add(0, [{ address: BUFFERS, length: 1 }]);
    driver.kick(0);
    assertEquals([driver.bus.interrupt, driver.readIsr()], [interrupts, interrupts ? Isr.QUEUE : 0]);
  }
});

Deno.test("with event indices the device interrupts at the buffer asked for, and asks for the next one itself", () => {
  const { driver } = makeEcho();
  driver.start();
  driver.setUsedEvent(0, 2);
  const interrupts = [1, 2, 3, 4].map(() => {
    driver.add(0, [{ address: BUFFERS, length: 1 }]);
    driver.kick(0);
    return driver.readIsr();
  });
  assertEquals(interrupts, [0, 0, Isr.QUEUE, 0]);
  assertEquals(driver.availableEvent(0), 4);
});

const END = 64 * 4096;
/** Each breaks one rule in queue 0. */
const hostile: [name: string, make: (driver: Driver, memory: FakeMemory) => void][] = [
  ["a buffer that ends beyond memory", (d) => void d.add(0, [{ address: END - 4, length: 5 }])],
  ["a buffer at the end of 64 bits", (d) => void d.add(0, [{ address: 2 ** 64 - 4096, length: 8192 }])],
  ["a length of 4 GiB", (d) => void d.add(0, [{ address: BUFFERS, length: 0xffff_ffff, writable: true }])],
  ["a head beyond the table", (d) => d.publish(0, 8)],
  ["a head far beyond the table", (d) => d.publish(0, 0xffff)],
  ["a link beyond the table", (d) => {
    d.describe(d.tableOf(0), 0, BUFFERS, 1, NEXT, 8);
    d.publish(0, 0);
  }],
  ["a chain in a circle", (d) => {
    d.describe(d.tableOf(0), 0, BUFFERS, 1, NEXT, 1);
    d.describe(d.tableOf(0), 1, BUFFERS, 1, NEXT, 0);
    d.publish(0, 0);
  }],
  ["a descriptor that follows itself", (d) => {
    d.describe(d.tableOf(0), 3, BUFFERS, 1, NEXT, 3);
    d.publish(0, 3);
  }],
  [
    "a readable buffer after a writable one",
    (d) => void d.add(0, [{ address: BUFFERS, length: 1, writable: true }, { address: BUFFERS, length: 1 }]),
  ],
  ["an indirect table in an indirect table", (d) => {
    d.describe(TABLE, 0, TABLE, 16, INDIRECT);
    d.describe(d.tableOf(0), 0, TABLE, 16, INDIRECT);
    d.publish(0, 0);
  }],
  ["an indirect descriptor with a successor", (d) => {
    d.describe(d.tableOf(0), 0, TABLE, 16, INDIRECT | NEXT, 1);
    d.publish(0, 0);
  }],
  ["an indirect table of no entries", (d) => {
    d.describe(d.tableOf(0), 0, TABLE, 0, INDIRECT);
    d.publish(0, 0);
  }],
  ["an indirect table of half an entry", (d) => {
    d.describe(d.tableOf(0), 0, TABLE, 24, INDIRECT);
    d.publish(0, 0);
  }],
  ["an indirect table of too many entries", (d) => {
    d.describe(d.tableOf(0), 0, TABLE, 16 * 1025, INDIRECT);
    d.publish(0, 0);
  }],
  ["a circle in an indirect table", (d) => {
    d.describe(TABLE, 0, BUFFERS, 1, NEXT, 1);
    d.describe(TABLE, 1, BUFFERS, 1, NEXT, 0);
    d.describe(d.tableOf(0), 0, TABLE, 32, INDIRECT);
    d.publish(0, 0);
  }],
  ["more buffers available than the queue has", (d, memory) => memory.view.setUint16(d.availableOf(0) + 2, 9, true)],
  ["an available index that went back", (d, memory) => memory.view.setUint16(d.availableOf(0) + 2, 0xffff, true)],
];
for (const [name, make] of hostile) {
  Deno.test(`${name} stops the device, which says so; after a reset it works again`, () => {
    const { driver, memory } = makeEcho();
    driver.start();
    make(driver, memory);
    driver.kick(0);
    assertEquals([driver.needsReset, driver.used(0), driver.readIsr()], [true, [], Isr.CONFIG]);
    assertEquals(driver.failures.length, 1);
    driver.start();
    const head = driver.add(0, [{ address: BUFFERS, length: 1 }]);
    driver.kick(0);
    assertEquals(driver.used(0), [[head, 0]]);
  });
}

Deno.test("an indirect descriptor without the feature is refused", () => {
  const { driver } = makeEcho();
  driver.start([], [F_EVENT_IDX]);
  driver.addIndirect(0, TABLE, [{ address: BUFFERS, length: 1 }]);
  driver.kick(0);
  assertEquals(driver.needsReset, true);
});

/** One step of a driver that does anything. */
const anything = fc.oneof(
  fc.record({
    kind: fc.constant("descriptor" as const),
    table: fc.constantFrom(0, 1),
    index: fc.nat(8),
    address: fc.oneof(fc.constantFrom(0x1000, 0x2000, 0x3000, TABLE, BUFFERS, END - 8, 2 ** 40), fc.nat(END)),
    length: fc.oneof(fc.constantFrom(0, 16, 32, 128, 0xffff_ffff), fc.nat(0x3000)),
    flags: fc.nat(7),
    next: fc.nat(9),
  }),
  fc.record({ kind: fc.constant("publish" as const), head: fc.nat(9) }),
  fc.record({ kind: fc.constant("poke" as const), at: fc.nat(0x2fff), value: fc.nat(255) }),
  fc.record({
    kind: fc.constant("register" as const),
    at: fc.nat(0x9ff),
    size: fc.constantFrom(1, 2, 4),
    value: fc.nat(),
  }),
  fc.constant({ kind: "kick" as const }),
  fc.constant({ kind: "restart" as const }),
);

Deno.test("whatever a driver does, the device neither throws nor works without bound, and a reset helps", () => {
  fc.assert(
    fc.property(fc.array(anything, { minLength: 1, maxLength: 60 }), (steps) => {
      const { driver, memory } = makeEcho();
      driver.start();
      for (const step of steps) {
        memory.calls = 0;
        memory.moved = 0;
        if (step.kind === "descriptor") {
          const table = step.table === 0 ? driver.tableOf(0) : TABLE;
          driver.describe(table, step.index, step.address, step.length, step.flags, step.next);
        } else if (step.kind === "publish") driver.publish(0, step.head);
        else if (step.kind === "poke") memory.bytes[driver.tableOf(0) + step.at] = step.value;
        else if (step.kind === "register") driver.write(step.at, step.size as 1 | 2 | 4, step.value);
        else if (step.kind === "restart") driver.start();
        driver.kick(0);
        // Eight chains of at most 1,024 descriptors, a few ring accesses and 4 KiB of echo each way.
        assertLessOrEqual(memory.calls, 8 * (2 * 1024 + 16));
        assertLessOrEqual(memory.moved, 8 * (1024 * 16 + 2 * 4096 + 64));
      }
      driver.start();
      const head = driver.add(0, [{ address: BUFFERS, length: 1 }]);
      driver.kick(0);
      assert(!driver.needsReset);
      assertEquals(driver.used(0), [[head, 0]]);
    }),
    { numRuns: 300 },
  );
});
