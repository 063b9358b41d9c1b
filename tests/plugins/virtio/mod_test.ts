// Virtio in a host: a guest's processor finds the function on the PCI bus, and a driver on the real memory and bus reads a
// disk, is interrupted, and goes on from a saved state.

import { assert, assertEquals } from "@std/assert";
import { addVm, createHost } from "../../../cli/machine.ts";
import type { Host, Vm } from "../../../core/mod.ts";
import * as memory from "../../../plugins/memory/mod.ts";
import blockPlugin from "../../../plugins/virtio-block/mod.ts";
import virtioPlugin from "../../../plugins/virtio/mod.ts";
import { Common, DeviceStatus, F_VERSION_1, Structure } from "../../../plugins/virtio/transport.ts";
import * as x86 from "../../../plugins/x86/mod.ts";

const CONFIG_ADDRESS = 0xcf8, CONFIG_DATA = 0xcfc, ENABLE = 0x8000_0000;
const COMMAND = 4, BAR_0 = 0x10, CAPABILITIES = 0x34, MEMORY_AND_MASTER = 6;
const ORIGIN = 0x7c00, MASTER_PIC = 0x20, SLAVE_PIC = 0xa0, READ_REQUESTS = 0x0a;
const TABLE = 0x1_0000, AVAILABLE = 0x1_1000, USED = 0x1_2000, HEADER = 0x1_3000, STATUS = 0x1_3010, DATA = 0x1_4000;
const SIZE = 8, NEXT = 1, WRITE = 2;

/** The processor's view of the bus, without instructions. */
class Probe {
  readonly cpu: x86.Processor;
  readonly ram: memory.GuestMemory;
  readonly device: number;
  readonly bar: number;

  constructor(host: Host, readonly vm: Vm) {
    this.cpu = host.service(x86.processor)(vm);
    this.ram = host.service(memory.guest)(vm);
    const found = Array.from({ length: 32 }, (_, device) => device).find((device) => this.id(device) === 0x1042_1af4);
    assert(found !== undefined, "there is a virtio block function");
    this.device = found;
    this.writeConfig(COMMAND, MEMORY_AND_MASTER);
    this.bar = this.readConfig(BAR_0);
  }
  id(device: number): number {
    this.cpu.io.write(this.cpu, CONFIG_ADDRESS, 4, ENABLE + device * 0x800);
    return this.cpu.io.read(this.cpu, CONFIG_DATA, 4) >>> 0;
  }
  readConfig(register: number): number {
    this.cpu.io.write(this.cpu, CONFIG_ADDRESS, 4, ENABLE + this.device * 0x800 + register);
    return this.cpu.io.read(this.cpu, CONFIG_DATA, 4) >>> 0;
  }
  writeConfig(register: number, value: number): void {
    this.cpu.io.write(this.cpu, CONFIG_ADDRESS, 4, ENABLE + this.device * 0x800 + register);
    this.cpu.io.write(this.cpu, CONFIG_DATA, 4, value);
  }
  read(at: number, size: 1 | 2 | 4 = 4): number {
    return this.cpu.mmu.readSlow(this.bar + at, size, 0) >>> 0;
  }
  write(at: number, size: 1 | 2 | 4, value: number): void {
    this.cpu.mmu.writeSlow(this.bar + at, size, value, 0);
  }
  words(physical: number, ...values: number[]): void {
    this.ram.write(physical, new Uint8Array(Uint32Array.from(values).buffer));
  }
  bytes(physical: number, length: number): Uint8Array {
    const bytes = new Uint8Array(length);
    this.ram.read(physical, bytes);
    return bytes;
  }
  /** Interrupt requests at the controllers, 16 bits. */
  requests(): number {
    const read = (port: number) => {
      this.cpu.io.write(this.cpu, port, 1, READ_REQUESTS);
      return this.cpu.io.read(this.cpu, port, 1);
    };
    return read(MASTER_PIC) | (read(SLAVE_PIC) << 8);
  }

  /** Brings the device to DRIVER_OK with one queue. */
  start(): void {
    const { ACKNOWLEDGE, DRIVER, FEATURES_OK, DRIVER_OK } = DeviceStatus;
    for (const status of [0, ACKNOWLEDGE, ACKNOWLEDGE | DRIVER]) this.write(Common.DEVICE_STATUS, 1, status);
    this.write(Common.DRIVER_FEATURE_SELECT, 4, F_VERSION_1 >> 5);
    this.write(Common.DRIVER_FEATURE, 4, 1);
    this.write(Common.DEVICE_STATUS, 1, ACKNOWLEDGE | DRIVER | FEATURES_OK);
    this.write(Common.QUEUE_SIZE, 2, SIZE);
    this.write(Common.QUEUE_DESC, 4, TABLE);
    this.write(Common.QUEUE_DRIVER, 4, AVAILABLE);
    this.write(Common.QUEUE_DEVICE, 4, USED);
    this.write(Common.QUEUE_ENABLE, 2, 1);
    this.write(Common.DEVICE_STATUS, 1, ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK);
  }

  /** Asks for one sector, as the `count`th request. */
  requestSector(sector: number, count: number): void {
    this.words(HEADER, 0, 0, sector, 0);
    this.words(TABLE, HEADER, 0, 16, NEXT | (1 << 16), DATA, 0, 512, NEXT | WRITE | (2 << 16), STATUS, 0, 1, WRITE);
    this.words(AVAILABLE, count << 16);
    this.write(Structure.NOTIFY.at, 2, 0);
  }
}

/** A VM whose guest spins, with a disk over an image whose sector n is full of n + 1. */
async function withDisk(use: (host: Host, vm: Vm, probe: Probe) => void): Promise<void> {
  const path = await Deno.makeTempFile();
  try {
    await Deno.writeFile(path, Uint8Array.from({ length: 16 * 512 }, (_, i) => (i >> 9) + 1));
    const host = createHost({ memoryMib: 16, plugins: [virtioPlugin, blockPlugin] });
    const image = {
      loads: [{ address: ORIGIN, bytes: Uint8Array.of(0xeb, 0xfe) }],
      entry: ORIGIN,
      mode: "real",
    } as const;
    const options = { "virtio-block": { disks: [{ file: path, mode: "overlay" }] } };
    const vm = addVm(host, { guest: { image }, memoryMib: 2, options });
    use(host, vm, new Probe(host, vm));
    vm.end({ reason: "stopped", status: 0 });
    await host.run();
  } finally {
    await Deno.remove(path);
  }
}

Deno.test("the function has its capabilities in configuration space, linked and of the right kinds", async () => {
  await withDisk((_host, _vm, probe) => {
    const types: number[] = [];
    for (let at = probe.readConfig(CAPABILITIES) & 0xff; at !== 0; at = (probe.readConfig(at) >> 8) & 0xff) {
      assertEquals(probe.readConfig(at) & 0xff, 9);
      types.push(probe.readConfig(at) >>> 24);
    }
    assertEquals(types, [1, 2, 3, 4]);
    assertEquals(probe.read(Structure.DEVICE.at), 16, "sectors");
  });
});

Deno.test("a request is answered through memory and announced on the function's interrupt line", async () => {
  await withDisk((host, vm, probe) => {
    probe.start();
    const line = probe.readConfig(0x3c) & 0xff;
    probe.requestSector(6, 1);
    assertEquals((probe.requests() >> line) & 1, 0);
    host.runTo(vm, 100_000);
    assertEquals([probe.bytes(DATA, 512), probe.bytes(STATUS, 1)[0]], [new Uint8Array(512).fill(7), 0]);
    assertEquals(probe.bytes(USED + 2, 2)[0], 1);
    assertEquals((probe.requests() >> line) & 1, 1);
    assertEquals(probe.read(Structure.ISR.at, 1), 1);
    assertEquals((probe.requests() >> line) & 1, 0);
  });
});

Deno.test("a VM saved with a request under way comes to the same state again", async () => {
  await withDisk((host, vm, probe) => {
    probe.start();
    probe.requestSector(3, 1);
    host.runTo(vm, 2000);
    const saved = host.save(vm);
    const end = () => {
      host.runTo(vm, 200_000);
      return [host.stateHash(vm), probe.bytes(DATA, 1)[0]];
    };
    const first = end();
    probe.requestSector(5, 2);
    host.runTo(vm, 400_000);
    assertEquals(probe.bytes(DATA, 1)[0], 6);
    host.restore(vm, saved);
    assertEquals([probe.bytes(DATA, 1)[0], end()], [0, first]);
    assertEquals(first[1], 4);
  });
});
