// The virtio block device from the driver's side: requests, their time, errors, flushes, and a state saved in their midst.

import { assert, assertEquals, assertLessOrEqual } from "@std/assert";
import fc from "fast-check";
import {
  BlockDevice,
  Config,
  Feature,
  MOST_REQUEST_BYTES,
  RequestStatus,
} from "../../../plugins/virtio-block/device.ts";
import { type Disk, MemoryDisk, SECTOR_BYTES } from "../../../plugins/virtio-block/disk.ts";
import { Structure } from "../../../plugins/virtio/transport.ts";
import { hashOf, makeVm, pass } from "../pc/harness.ts";
import { BUFFERS, Driver, FakeMemory, type Piece } from "../virtio/driver.ts";

const { OK, IOERR, UNSUPP } = RequestStatus;
const IN = 0, OUT = 1, FLUSH = 4, GET_ID = 8, DISCARD = 11;
const latency = { readLatencyNs: 1000, writeLatencyNs: 500, flushLatencyNs: 7000, bytesPerSecond: 1e9 };
const DISK_SECTORS = 64;
const HEADER = BUFFERS, STATUS = BUFFERS + 0x20, DATA = BUFFERS + 0x1000;
const UNTOUCHED = 0xee;

/** A disk that counts flushes, and fails when told to. */
class TestDisk extends MemoryDisk {
  flushes = 0;
  fails = false;
  override isReadOnly = false;
  override write(offset: number, source: Uint8Array): void {
    if (this.fails) throw new Error("no space left");
    super.write(offset, source);
  }
  override flush(): void {
    this.flushes++;
  }
}

function makeDevice(disk: Disk = new TestDisk(DISK_SECTORS * SECTOR_BYTES), pages = 64) {
  const vm = makeVm(), memory = new FakeMemory(pages), driver = new Driver(memory);
  driver.size = 128;
  const counter = () => ({ value: 0 });
  const counters = {
    readBytes: counter(),
    writtenBytes: counter(),
    requests: counter(),
    flushes: counter(),
    errors: counter(),
  };
  const failures: unknown[] = [];
  const diskFailed = (cause: unknown) => void failures.push(cause);
  const parts = { name: "disk", disk, id: "serial-1", clock: vm.clock, memory, latency, counters, diskFailed };
  const device = new BlockDevice(parts, driver.attach);
  return { vm, memory, driver, device, counters, failures, disk };
}
type Made = ReturnType<typeof makeDevice>;

/** Makes a request available: header, data pieces, status. */
function request({ driver, memory }: Made, type: number, sector: number, data: readonly Piece[] = []): void {
  memory.view.setUint32(HEADER, type, true);
  memory.view.setUint32(HEADER + 8, sector % 2 ** 32, true);
  memory.view.setUint32(HEADER + 12, Math.floor(sector / 2 ** 32), true);
  memory.bytes[STATUS] = UNTOUCHED;
  driver.add(0, [{ address: HEADER, length: 16 }, ...data, { address: STATUS, length: 1, writable: true }]);
  driver.kick(0);
}

/** Does a request to its end; returns status and used length. */
function run(made: Made, type: number, sector: number, data: readonly Piece[] = []): [status: number, length: number] {
  request(made, type, sector, data);
  pass(made.vm, 1e9);
  const used = made.driver.used(0);
  assertEquals(used.length, 1);
  return [made.memory.bytes[STATUS], used[0][1]];
}

const pattern = (length: number) => Uint8Array.from({ length }, (_, i) => (i * 31 + (i >> 8)) & 0xff);

Deno.test("the configuration tells capacity and limits", () => {
  const { driver } = makeDevice();
  const read = (at: number) => driver.read(Structure.DEVICE.at + at, 4);
  assertEquals([read(Config.CAPACITY), read(Config.CAPACITY + 4), read(Config.BLK_SIZE)], [DISK_SECTORS, 0, 512]);
  assertEquals(read(Config.SIZE_MAX) * read(Config.SEG_MAX), MOST_REQUEST_BYTES);
});

Deno.test("what was written is read back, however both requests are cut", () => {
  const made = makeDevice(), { driver, memory } = made;
  driver.start([Feature.FLUSH]);
  memory.bytes.set(pattern(2048), DATA);
  const out = [[DATA, 1], [DATA + 1, 1023], [DATA + 1024, 1024]].map(([address, length]) => ({ address, length }));
  assertEquals(run(made, OUT, 5, out), [OK, 1]);
  memory.bytes.fill(0, DATA, DATA + 4096);
  const target = [[DATA, 700], [DATA + 700, 836]].map(([address, length]) => ({ address, length, writable: true }));
  assertEquals(run(made, IN, 6, target), [OK, 1537]);
  assertEquals(memory.bytes.slice(DATA, DATA + 1536), pattern(2048).slice(512));
});

Deno.test("the status byte may share a descriptor with the data, and the header one with what is written", () => {
  const made = makeDevice(), { driver, memory, vm } = made;
  driver.start([Feature.FLUSH]);
  memory.view.setUint32(DATA, OUT, true);
  memory.view.setUint32(DATA + 8, 3, true);
  memory.bytes.set(pattern(512), DATA + 16);
  driver.add(0, [{ address: DATA, length: 528 }, { address: STATUS, length: 1, writable: true }]);
  driver.kick(0);
  pass(vm, 1e6);
  memory.view.setUint32(HEADER, IN, true);
  memory.view.setUint32(HEADER + 8, 3, true);
  driver.add(0, [{ address: HEADER, length: 16 }, { address: DATA + 0x1000, length: 513, writable: true }]);
  driver.kick(0);
  pass(vm, 1e6);
  assertEquals(driver.used(0).map(([, length]) => length), [1, 513]);
  assertEquals(memory.bytes.slice(DATA + 0x1000, DATA + 0x1000 + 513), Uint8Array.of(...pattern(512), OK));
});

const sectors = (
  count: number,
  writable = true,
): Piece[] => [{ address: DATA, length: count * SECTOR_BYTES, writable }];
const answers: [name: string, type: number, sector: number, data: Piece[], answer: [number, number]][] = [
  ["a read of the last sector", IN, 63, sectors(1), [OK, 513]],
  ["a read of no sectors", IN, 64, [], [OK, 1]],
  ["a read that ends beyond the disk", IN, 63, sectors(2), [IOERR, 1]],
  ["a read that starts beyond the disk", IN, 64, sectors(1), [IOERR, 1]],
  ["a read near 2^64", IN, 2 ** 64 - 2048, sectors(1), [IOERR, 1]],
  ["a read of half a sector", IN, 0, [{ address: DATA, length: 256, writable: true }], [IOERR, 1]],
  ["a write that ends beyond the disk", OUT, 63, sectors(2, false), [IOERR, 1]],
  ["a write of half a sector", OUT, 0, [{ address: DATA, length: 100 }], [IOERR, 1]],
  ["a flush", FLUSH, 0, [], [OK, 1]],
  ["the serial number", GET_ID, 0, [{ address: DATA, length: 20, writable: true }], [OK, 21]],
  ["a type not on offer", DISCARD, 0, [{ address: DATA, length: 16 }], [UNSUPP, 1]],
  ["an unknown type", 99, 0, [], [UNSUPP, 1]],
];
for (const [name, type, sector, data, answer] of answers) {
  Deno.test(`${name} is answered with status ${answer[0]}`, () => {
    const made = makeDevice();
    made.driver.start([Feature.FLUSH]);
    assertEquals(run(made, type, sector, data), answer);
    assertEquals([made.counters.errors.value, made.driver.needsReset], [Number(answer[0] !== OK), false]);
    if (type === GET_ID) assertEquals(new TextDecoder().decode(made.memory.bytes.slice(DATA, DATA + 9)), "serial-1\0");
  });
}

Deno.test("a request longer than the limits fails whole", () => {
  const made = makeDevice(new MemoryDisk(64 << 20), 4096);
  made.driver.start([Feature.FLUSH]);
  const most = { address: 1 << 20, length: MOST_REQUEST_BYTES, writable: true };
  assertEquals(run(made, IN, 0, [most]), [OK, MOST_REQUEST_BYTES + 1]);
  assertEquals(run(made, IN, 0, [{ ...most, length: MOST_REQUEST_BYTES + 512 }]), [IOERR, 1]);
});

Deno.test("writes to a read-only disk fail, and the driver is told that it is one", () => {
  const disk = new TestDisk(DISK_SECTORS * SECTOR_BYTES);
  disk.isReadOnly = true;
  const made = makeDevice(disk);
  made.driver.start([Feature.FLUSH, Feature.RO]);
  assertEquals(made.driver.needsReset, false);
  assertEquals(run(made, OUT, 0, sectors(1, false)), [IOERR, 1]);
});

Deno.test("an error of the host's file system is an I/O error of that request alone", () => {
  const disk = new TestDisk(DISK_SECTORS * SECTOR_BYTES), made = makeDevice(disk);
  made.driver.start([Feature.FLUSH]);
  disk.fails = true;
  assertEquals(run(made, OUT, 0, sectors(1, false)), [IOERR, 1]);
  disk.fails = false;
  assertEquals([run(made, OUT, 0, sectors(1, false)), made.failures.length], [[OK, 1], 1]);
});

Deno.test("a flush reaches the disk; a driver that cannot flush has every write flushed", () => {
  for (const [features, expected] of [[[Feature.FLUSH], [0, 1]], [[], [1, 2]]]) {
    const disk = new TestDisk(DISK_SECTORS * SECTOR_BYTES), made = makeDevice(disk);
    made.driver.start(features);
    run(made, OUT, 0, sectors(1, false));
    const afterWrite = disk.flushes;
    run(made, FLUSH, 0);
    assertEquals([afterWrite, disk.flushes], expected);
  }
});

const durations: [name: string, type: number, data: Piece[], ns: number][] = [
  ["a read", IN, sectors(4), 1000 + 2049],
  ["a write", OUT, sectors(4, false), 500 + 2064],
  ["a flush", FLUSH, [], 7000],
];
for (const [name, type, data, ns] of durations) {
  Deno.test(`${name} takes the guest time of the latency model, no more and no less`, () => {
    const made = makeDevice();
    made.driver.start([Feature.FLUSH]);
    request(made, type, 0, data);
    pass(made.vm, ns - 1);
    assertEquals([made.driver.used(0).length, made.driver.bus.interrupt, made.memory.bytes[STATUS]], [
      0,
      false,
      UNTOUCHED,
    ]);
    pass(made.vm, 1);
    assertEquals([made.driver.used(0).length, made.driver.bus.interrupt, made.memory.bytes[STATUS]], [1, true, OK]);
  });
}

Deno.test("requests are served in order, one after the other", () => {
  const made = makeDevice(), { driver, memory, vm } = made;
  driver.start([Feature.FLUSH]);
  memory.view.setUint32(HEADER, FLUSH, true);
  const heads = [0, 1, 2].map(() =>
    driver.add(0, [{ address: HEADER, length: 16 }, { address: STATUS, length: 1, writable: true }])
  );
  driver.kick(0);
  const served = heads.map(() => {
    pass(vm, 7000);
    return driver.used(0).map(([head]) => head);
  });
  assertEquals(served, heads.map((head) => [head]));
});

Deno.test("a request without header or status stops the device", () => {
  const shapes: Piece[][] = [
    [{ address: HEADER, length: 16 }],
    [{ address: STATUS, length: 1, writable: true }],
    [{ address: HEADER, length: 15 }, { address: STATUS, length: 1, writable: true }],
  ];
  for (const pieces of shapes) {
    const made = makeDevice();
    made.driver.start([Feature.FLUSH]);
    made.driver.add(0, pieces);
    made.driver.kick(0);
    assertEquals([made.driver.needsReset, made.vm.clock.nextTimerNs()], [true, Infinity]);
  }
});

Deno.test("a reset forgets the request under way", () => {
  const made = makeDevice();
  made.driver.start([Feature.FLUSH]);
  request(made, IN, 0, sectors(1));
  made.driver.start([Feature.FLUSH]);
  pass(made.vm, 1e9);
  assertEquals([made.driver.used(0), made.memory.bytes[STATUS]], [[], UNTOUCHED]);
  assertEquals(run(made, IN, 0, sectors(1)), [OK, 513]);
});

Deno.test("a state saved in the midst of a request goes on to the same answer at the same time", () => {
  const made = makeDevice();
  made.driver.start([Feature.FLUSH]);
  made.memory.bytes.set(pattern(512), DATA);
  run(made, OUT, 9, sectors(1, false));
  made.memory.bytes.fill(0, DATA, DATA + 512);
  request(made, IN, 9, sectors(1));
  pass(made.vm, 700);

  const other = makeDevice();
  other.vm.clock.restore(made.vm.clock.save() as Parameters<typeof other.vm.clock.restore>[0]);
  other.memory.bytes.set(made.memory.bytes);
  other.device.restore(made.device.save());
  assertEquals(hashOf(other.device), hashOf(made.device));
  for (const each of [made, other]) pass(each.vm, 1000 + 513 - 700);
  assertEquals(other.memory.bytes, made.memory.bytes);
  assertEquals([other.memory.bytes[STATUS], other.memory.bytes.slice(DATA, DATA + 512)], [OK, pattern(512)]);
  assertEquals(hashOf(other.device), hashOf(made.device));
});

Deno.test("whatever lies in the rings, the device neither throws nor hangs, and a reset helps", () => {
  const rings = fc.uint8Array({ minLength: 0x400, maxLength: 0x400 });
  fc.assert(
    fc.property(rings, rings, fc.nat(40), (descriptors, header, waiting) => {
      const made = makeDevice(), { driver, memory, vm } = made;
      driver.start([Feature.FLUSH]);
      memory.bytes.set(descriptors, driver.tableOf(0));
      // Addresses below 64 KiB and short lengths, so that many chains are legal and point into the rings.
      for (let index = 0; index < 64; index++) {
        const at = driver.tableOf(0) + index * 16;
        memory.view.setUint32(at, memory.view.getUint32(at, true) & 0xffff, true);
        memory.view.setUint32(at + 4, 0, true);
        memory.view.setUint32(at + 8, memory.view.getUint32(at + 8, true) & 0x3ff, true);
        memory.view.setUint16(at + 14, memory.view.getUint16(at + 14, true) & 0x3f, true);
      }
      memory.bytes.set(header, 0x100);
      for (let i = 0; i < waiting; i++) driver.publish(0, header[i] & 0x3f);
      driver.kick(0);
      for (let i = 0; i < 50; i++) {
        memory.moved = 0;
        pass(vm, 10_000);
        assertLessOrEqual(memory.moved, 40 * 2 * MOST_REQUEST_BYTES);
      }
      driver.start([Feature.FLUSH]);
      assertEquals(run(made, FLUSH, 0), [OK, 1]);
      assert(!driver.needsReset);
    }),
    { numRuns: 200 },
  );
});
