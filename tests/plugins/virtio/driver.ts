// A virtio driver as a model: guest memory that counts accesses, a PCI slot, and the driver's side of negotiation and split
// virtqueues, with every rule of the standard left to the test to keep or to break.

import { type GuestMemory, PAGE_SIZE, PageState } from "../../../plugins/memory/mod.ts";
import type { PciBus, PciFunction, PciSlot } from "../../../plugins/pc/mod.ts";
import type { VirtioDevice, VirtioPort } from "../../../plugins/virtio/mod.ts";
import { F_EVENT_IDX, F_INDIRECT_DESC } from "../../../plugins/virtio/queue.ts";
import {
  Common,
  DeviceStatus,
  F_VERSION_1,
  NOTIFY_MULTIPLIER,
  PciTransport,
  Structure,
} from "../../../plugins/virtio/transport.ts";

/** Plain memory in place of a pmap. */
export class FakeMemory implements GuestMemory {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly pages: number;
  /** Bytes and calls of `read` and `write`. */
  moved = 0;
  calls = 0;

  constructor(pages: number) {
    this.pages = pages;
    this.bytes = new Uint8Array(pages * PAGE_SIZE);
    this.view = new DataView(this.bytes.buffer);
  }
  get allocatedPages(): number {
    return this.pages;
  }
  stateOf(): PageState {
    return PageState.private;
  }
  frameForRead(ppn: number): number {
    return ppn;
  }
  frameForWrite(ppn: number): number {
    return ppn;
  }
  frameAtHand(ppn: number): number {
    return ppn;
  }
  isWritable(): boolean {
    return true;
  }
  read(physical: number, target: Uint8Array): void {
    this.#count(physical, target);
    target.set(this.bytes.subarray(physical, physical + target.length));
  }
  write(physical: number, source: Uint8Array): void {
    this.#count(physical, source);
    this.bytes.set(source, physical);
  }
  peek(ppn: number): Uint8Array {
    return this.bytes.subarray(ppn * PAGE_SIZE, (ppn + 1) * PAGE_SIZE);
  }
  #count(physical: number, { length }: Uint8Array): void {
    if (physical < 0 || physical + length > this.bytes.length) {
      throw new RangeError(`a device reached for ${length} bytes at ${physical}, beyond memory`);
    }
    this.calls++;
    this.moved += length;
  }
}

/** A bus with room for one function. */
export class FakePciBus implements PciBus {
  fn: PciFunction | undefined;
  interrupt = false;
  busMaster = true;
  add(fn: PciFunction): PciSlot {
    this.fn = fn;
    // deno-lint-ignore no-this-alias -- the slot's getter needs the bus
    const bus = this;
    return {
      device: 2,
      setInterrupt: (level) => void (bus.interrupt = level),
      get busMaster() {
        return bus.busMaster;
      },
    };
  }
}

/** A piece of a chain: where it is, how long, and whether the device may write it. */
export interface Piece {
  readonly address: number;
  readonly length: number;
  readonly writable?: boolean;
}

const DESCRIPTOR_BYTES = 16, NEXT = 1, WRITE = 2, INDIRECT = 4;
const RINGS = 0x1000, QUEUE_STRIDE = 0x3000, AVAILABLE_AT = 0x1000, USED_AT = 0x2000;
/** Where tests may put buffers, above the rings of up to three queues. */
export const BUFFERS = 0x1_0000;

export class Driver {
  readonly bus = new FakePciBus();
  readonly failures: string[] = [];
  transport: PciTransport | undefined;
  size = 8;
  #hasEventIdx = false;
  readonly #nextDescriptor: number[] = [0, 0, 0];
  readonly #seen: number[] = [0, 0, 0];

  constructor(readonly memory: FakeMemory) {}

  /** For a device's constructor. */
  readonly attach = (device: VirtioDevice): VirtioPort => {
    const failed = (reason: string) => void this.failures.push(reason);
    return this.transport = new PciTransport(device, { memory: this.memory, bus: this.bus, failed });
  };

  get registers(): PciTransport {
    if (this.transport === undefined) throw new Error("no device is attached");
    return this.transport;
  }

  read(at: number, size: 1 | 2 | 4): number {
    return this.registers.read(at, size);
  }
  write(at: number, size: 1 | 2 | 4, value: number): void {
    this.registers.write(at, size, value);
  }
  get status(): number {
    return this.read(Common.DEVICE_STATUS, 1);
  }
  set status(value: number) {
    this.write(Common.DEVICE_STATUS, 1, value);
  }
  get needsReset(): boolean {
    return (this.status & DeviceStatus.NEEDS_RESET) !== 0;
  }
  readIsr(): number {
    return this.read(Structure.ISR.at, 1);
  }

  writeFeatures(bits: readonly number[]): void {
    for (const word of [0, 1]) {
      this.write(Common.DRIVER_FEATURE_SELECT, 4, word);
      const value = bits.filter((bit) => bit >> 5 === word).reduce((sum, bit) => sum + 2 ** (bit % 32), 0);
      this.write(Common.DRIVER_FEATURE, 4, value);
    }
  }

  /** Negotiates, lays out every queue, and is ready. */
  start(features: readonly number[] = [], ring: readonly number[] = [F_INDIRECT_DESC, F_EVENT_IDX]): void {
    this.status = 0;
    this.status = DeviceStatus.ACKNOWLEDGE | DeviceStatus.DRIVER;
    this.writeFeatures([...features, ...ring, F_VERSION_1]);
    this.#hasEventIdx = ring.includes(F_EVENT_IDX);
    this.status = DeviceStatus.ACKNOWLEDGE | DeviceStatus.DRIVER | DeviceStatus.FEATURES_OK;
    const queues = this.read(Common.NUM_QUEUES, 2);
    for (let queue = 0; queue < queues; queue++) {
      this.#nextDescriptor[queue] = this.#seen[queue] = 0;
      const base = RINGS + queue * QUEUE_STRIDE;
      this.memory.bytes.fill(0, base, base + QUEUE_STRIDE);
      this.layOut(queue, this.size, base, base + AVAILABLE_AT, base + USED_AT);
    }
    this.status = this.status | DeviceStatus.DRIVER_OK;
  }

  layOut(queue: number, size: number, descriptors: number, available: number, used: number): void {
    this.write(Common.QUEUE_SELECT, 2, queue);
    this.write(Common.QUEUE_SIZE, 2, size);
    for (
      const [at, address] of [[Common.QUEUE_DESC, descriptors], [Common.QUEUE_DRIVER, available], [
        Common.QUEUE_DEVICE,
        used,
      ]]
    ) {
      this.write(at, 4, address % 2 ** 32);
      this.write(at + 4, 4, Math.floor(address / 2 ** 32));
    }
    this.write(Common.QUEUE_ENABLE, 2, 1);
  }

  tableOf(queue: number): number {
    return RINGS + queue * QUEUE_STRIDE;
  }
  availableOf(queue: number): number {
    return this.tableOf(queue) + AVAILABLE_AT;
  }
  usedOf(queue: number): number {
    return this.tableOf(queue) + USED_AT;
  }

  /** Writes one descriptor of a table. */
  describe(table: number, index: number, address: number, length: number, flags: number, next = 0): void {
    const at = table + index * DESCRIPTOR_BYTES, { view } = this.memory;
    view.setUint32(at, address % 2 ** 32, true);
    view.setUint32(at + 4, Math.floor(address / 2 ** 32), true);
    view.setUint32(at + 8, length, true);
    view.setUint16(at + 12, flags, true);
    view.setUint16(at + 14, next, true);
  }

  /** Makes a chain of descriptors available, all direct; returns its head. */
  add(queue: number, pieces: readonly Piece[]): number {
    const head = this.#nextDescriptor[queue];
    for (const [i, { address, length, writable = false }] of pieces.entries()) {
      const index = (head + i) % this.size, isLast = i === pieces.length - 1;
      const flags = (writable ? WRITE : 0) | (isLast ? 0 : NEXT);
      this.describe(this.tableOf(queue), index, address, length, flags, isLast ? 0 : (index + 1) % this.size);
    }
    this.#nextDescriptor[queue] = (head + pieces.length) % this.size;
    this.publish(queue, head);
    return head;
  }

  /** The same by one indirect descriptor, whose table is at `table`. */
  addIndirect(queue: number, table: number, pieces: readonly Piece[]): number {
    for (const [i, { address, length, writable = false }] of pieces.entries()) {
      this.describe(table, i, address, length, (writable ? WRITE : 0) | (i < pieces.length - 1 ? NEXT : 0), i + 1);
    }
    const head = this.#nextDescriptor[queue];
    this.describe(this.tableOf(queue), head, table, pieces.length * DESCRIPTOR_BYTES, INDIRECT);
    this.#nextDescriptor[queue] = (head + 1) % this.size;
    this.publish(queue, head);
    return head;
  }

  /** Puts a head into the available ring. */
  publish(queue: number, head: number): void {
    const { view } = this.memory, ring = this.availableOf(queue);
    const index = view.getUint16(ring + 2, true);
    view.setUint16(ring + 4 + (index % this.size) * 2, head, true);
    view.setUint16(ring + 2, (index + 1) & 0xffff, true);
  }

  kick(queue: number): void {
    this.write(Structure.NOTIFY.at + queue * NOTIFY_MULTIPLIER, 2, queue);
  }

  /** Used buffers since the last call: head and bytes written. */
  used(queue: number): [head: number, length: number][] {
    const { view } = this.memory, ring = this.usedOf(queue), index = view.getUint16(ring + 2, true);
    const entries: [number, number][] = [];
    for (; this.#seen[queue] !== index; this.#seen[queue] = (this.#seen[queue] + 1) & 0xffff) {
      const at = ring + 4 + (this.#seen[queue] % this.size) * 8;
      entries.push([view.getUint32(at, true), view.getUint32(at + 4, true)]);
    }
    if (this.#hasEventIdx) this.setUsedEvent(queue, index);
    return entries;
  }

  setUsedEvent(queue: number, index: number): void {
    this.memory.view.setUint16(this.availableOf(queue) + 4 + this.size * 2, index, true);
  }
  availableEvent(queue: number): number {
    return this.memory.view.getUint16(this.usedOf(queue) + 4 + this.size * 8, true);
  }
  setAvailableFlags(queue: number, flags: number): void {
    this.memory.view.setUint16(this.availableOf(queue), flags, true);
  }
}

/** A device that gives every buffer back at once, its readable bytes copied into its writable ones. */
export class EchoDevice implements VirtioDevice {
  readonly name = "echo";
  readonly type = 30;
  readonly classCode = 0xff0000;
  readonly features = [0, 5];
  readonly queueSizes = [8, 8];
  readonly config = Uint8Array.of(1, 2, 3, 4, 5);
  readonly port: VirtioPort;
  activations = 0;
  resets = 0;
  writes: [number, number, number][] = [];
  constructor(driver: Driver) {
    this.port = driver.attach(this);
  }
  activated(): void {
    this.activations++;
  }
  notified(queue: number): void {
    const ring = this.port.queues[queue];
    for (let left = ring.waiting; left > 0; left--) {
      const chain = ring.take();
      if (chain === undefined) return;
      const bytes = new Uint8Array(Math.min(chain.readableBytes, 4096));
      chain.read(0, bytes);
      ring.complete(chain, chain.write(0, bytes));
    }
  }
  reset(): void {
    this.resets++;
  }
  writeConfig(offset: number, size: number, value: number): void {
    this.writes.push([offset, size, value]);
  }
}

export function makeEcho() {
  const memory = new FakeMemory(64), driver = new Driver(memory);
  const device = new EchoDevice(driver);
  return { memory, driver, device };
}
