// The virtio devices behind their rings: drivers that negotiate, lay out queues and make buffers available much as real ones
// do, with any field of it wrong, and that rewrite everything while requests are under way.

import { DeviceMachine, MEMORY_BYTES, type Size } from "./device_machine.ts";
import { Dice, type Target } from "./target.ts";

/** Offsets in BAR 0: common configuration, ISR, device configuration, notifications. */
const STATUS = 0x14, DRIVER_FEATURE_SELECT = 8, DRIVER_FEATURE = 0xc, QUEUE_SELECT = 0x16, QUEUE_SIZE = 0x18;
const QUEUE_ENABLE = 0x1c, QUEUE_ADDRESSES = 0x20, ISR = 0x100, NOTIFY = 0x800;
const DEVICE_FEATURE_SELECT = 0, DEVICE_FEATURE = 4, NUM_QUEUES = 0x12, BAR_BYTES = 0x1000;
const NEXT = 1, WRITE = 2, INDIRECT = 4;
const ROUNDS = 40;

interface Device {
  readonly type: number;
  /** What a driver would write into the first buffer of a chain. */
  readonly request: (dice: Dice) => Uint8Array;
}

const words = (...values: number[]) => new Uint8Array(Uint32Array.from(values).buffer);

const devices: Readonly<Record<string, Device>> = {
  "virtio-block": {
    type: 2,
    request: (dice) =>
      words(
        dice.oneIn(4) ? dice.value() : dice.pick([0, 1, 4, 8]),
        0,
        dice.oneIn(3) ? dice.value() : dice.below(2100),
        dice.oneIn(8) ? dice.value() : 0,
      ),
  },
  "virtio-console": { type: 3, request: (dice) => dice.bytes(16) },
  "virtio-balloon": {
    type: 5,
    request: (dice) =>
      words(
        ...Array.from({ length: 1 + dice.below(256) }, () =>
          dice.oneIn(6) ? dice.value() : dice.below(MEMORY_BYTES / 4096 + 2)),
      ),
  },
};

/** A driver of one device. */
class WildDriver {
  accesses = 0;
  constructor(readonly dice: Dice, readonly machine: DeviceMachine, readonly device: Device, readonly bar: number) {}

  write(offset: number, size: Size, value: number): void {
    this.accesses++;
    this.machine.store(this.bar + offset, size, value);
  }

  read(offset: number, size: Size): number {
    this.accesses++;
    return this.machine.load(this.bar + offset, size);
  }

  /** From reset to ready, with slips. */
  start(): void {
    const { dice } = this;
    this.write(STATUS, 1, 0);
    this.write(STATUS, 1, 3);
    for (const word of [0, 1]) {
      this.write(DEVICE_FEATURE_SELECT, 4, word);
      this.write(DRIVER_FEATURE_SELECT, 4, word);
      const offered = this.read(DEVICE_FEATURE, 4);
      this.write(
        DRIVER_FEATURE,
        4,
        dice.oneIn(12) ? dice.word() : offered & (word === 0 && dice.oneIn(2) ? dice.word() : -1),
      );
    }
    this.write(STATUS, 1, 11);
    const queues = Math.min(4, this.read(NUM_QUEUES, 2));
    for (let queue = 0; queue < queues; queue++) this.layOut(queue);
    if (!dice.oneIn(12)) this.write(STATUS, 1, 15);
  }

  #rings: { size: number; table: number; available: number; used: number }[] = [];

  layOut(queue: number): void {
    const { dice } = this;
    const size = dice.oneIn(10) ? dice.value() & 0xffff : dice.pick([1, 2, 8, 64]);
    const place = (alignment: number) =>
      dice.oneIn(20)
        ? dice.pick([dice.word(), MEMORY_BYTES - alignment, MEMORY_BYTES, 0xfee0_0000])
        : 0x1_0000 + dice.below(0x1000) * alignment;
    const ring = { size, table: place(16), available: place(2), used: place(4) };
    this.#rings[queue] = ring;
    this.write(QUEUE_SELECT, 2, queue);
    this.write(QUEUE_SIZE, 2, size);
    [ring.table, ring.available, ring.used].forEach((address, i) => {
      this.write(QUEUE_ADDRESSES + 8 * i, 4, address);
      this.write(QUEUE_ADDRESSES + 8 * i + 4, 4, dice.oneIn(40) ? dice.value() : 0);
    });
    this.write(QUEUE_ENABLE, 2, 1);
  }

  /** Writes guest memory, as a driver does. */
  #put(address: number, bytes: Uint8Array): void {
    this.machine.memory.write(address, bytes);
  }

  /** A buffer's address and length: mostly in memory. */
  #segment(): [address: number, length: number] {
    const { dice } = this;
    const address = dice.oneIn(16) ? dice.value() : 0x2_0000 + dice.below(0x8_0000);
    return [address, dice.oneIn(16) ? dice.value() : dice.pick([1, 16, 20, 512, 4096, 0x1_0000, dice.below(0x4000)])];
  }

  #descriptor(table: number, index: number, [address, length]: [number, number], flags: number, next: number): void {
    const high = this.dice.oneIn(60) ? this.dice.value() : 0;
    this.#put(table + index * 16, words(address, high, length, flags | next << 16));
  }

  /** Makes some chains available and notifies. */
  send(): void {
    const { dice } = this;
    const queue = dice.below(this.#rings.length + (dice.oneIn(20) ? 1 : 0)), ring = this.#rings[queue];
    if (ring === undefined) return this.write(NOTIFY + 4 * queue, 2, queue);
    const size = Math.max(1, Math.min(ring.size, 256)), chains = 1 + dice.below(4);
    for (let n = 0; n < chains; n++) {
      const parts = 1 + dice.below(5), head = dice.below(size);
      const isIndirect = dice.oneIn(4), table = isIndirect ? 0xc_0000 + dice.below(0x100) * 16 : ring.table;
      for (let part = 0; part < parts; part++) {
        const segment = this.#segment(), index = isIndirect ? part : (head + part) % size;
        const writes = part > 0 && (part === parts - 1 || dice.oneIn(2));
        const flags = (writes ? WRITE : 0) | (part < parts - 1 ? NEXT : 0) |
          (dice.oneIn(40) ? dice.word() & 0xffff : 0);
        const next = dice.oneIn(30) ? dice.word() & 0xffff : isIndirect ? part + 1 : (index + 1) % size;
        if (part === 0) {
          const request = this.device.request(dice);
          this.#put(segment[0], request);
          if (!dice.oneIn(8)) segment[1] = request.length;
        } else if (part === parts - 1 && dice.oneIn(2)) segment[1] = 1;
        this.#descriptor(table, index, segment, flags, next);
      }
      if (isIndirect) {
        this.#descriptor(ring.table, head, [table, parts * 16], INDIRECT | (dice.oneIn(10) ? NEXT : 0), 0);
      }
      const view = new Uint8Array(4);
      this.machine.memory.read(ring.available, view);
      const index = view[2] | view[3] << 8;
      this.#put(ring.available + 4 + (index % size) * 2, Uint8Array.of(head & 0xff, head >>> 8));
      const after = dice.oneIn(30) ? dice.word() & 0xffff : index + 1;
      this.#put(ring.available, Uint8Array.of(dice.oneIn(4) ? 1 : 0, 0, after & 0xff, (after >>> 8) & 0xff));
    }
    this.write(NOTIFY + 4 * queue, 2, queue);
  }
}

function run(device: Device): (seed: string) => number {
  return (seed) => {
    const dice = new Dice(seed);
    const machine = new DeviceMachine("virtio"),
      driver = new WildDriver(dice, machine, device, machine.virtio(device.type));
    driver.start();
    for (let round = 0; round < ROUNDS; round++) {
      driver.send();
      if (dice.oneIn(3)) machine.pass(dice.pick([1000, 50_000, 300_000, 3e6, 2e9]));
      if (dice.oneIn(6)) machine.run(1 + dice.below(40));
      if (dice.oneIn(6)) driver.read(dice.oneIn(2) ? ISR : dice.below(BAR_BYTES), dice.pick<Size>([1, 2, 4]));
      if (dice.oneIn(10)) driver.write(dice.below(BAR_BYTES), dice.pick<Size>([1, 2, 4]), dice.value());
      if (dice.oneIn(12)) driver.start();
      if (dice.oneIn(20)) machine.memory.write(0x1_0000, dice.bytes(0x2000));
      machine.goOn();
    }
    machine.audit();
    machine.copy().pass(1e7);
    return driver.accesses;
  };
}

/** VMware's balloon protocol: commands in registers, page numbers and batches of them, in any order. */
function vmwareBalloon(seed: string): number {
  const dice = new Dice(seed), machine = new DeviceMachine("vmware");
  const pages = MEMORY_BYTES / 4096, COMMANDS = 400;
  for (let count = 0; count < COMMANDS; count++) {
    const page = () => dice.oneIn(10) ? dice.value() : dice.below(pages);
    const batch = page();
    if (dice.oneIn(3)) {
      const entries = Array.from(
        { length: 1 + dice.below(64) },
        () => [page() << 12 | dice.below(32), dice.oneIn(30) ? dice.value() : 0],
      );
      machine.memory.write((batch % pages) * 4096, words(...entries.flat()));
    }
    const registers: readonly [register: number, value: number][] = [
      [0, dice.oneIn(30) ? dice.value() : 0x456c6d6f],
      [1, dice.oneIn(12) ? dice.value() : count === 0 ? 0 : dice.below(9)],
      [3, dice.oneIn(6) ? dice.pick([2, 4, 6, 0x1e]) : batch],
      [6, dice.oneIn(10) ? dice.value() : dice.below(600)],
    ];
    for (const [register, value] of registers) machine.cpu.setRegister(register, value | 0);
    machine.in(0x5670, dice.oneIn(20) ? 1 : 4);
    if (dice.oneIn(4)) machine.store(page() * 4096, 4, dice.word());
    if (count === COMMANDS >> 1) machine.copy();
    if (dice.oneIn(50)) machine.audit();
  }
  machine.audit();
  return COMMANDS;
}

export const virtioTargets: readonly Target[] = [
  ...Object.entries(devices).map(([name, device]): Target => ({
    name,
    summary: `rings of ${name}`,
    unit: "accesses",
    budget: 10_000,
    run: run(device),
  })),
  {
    name: "vmware-balloon",
    summary: "VMware's balloon protocol",
    unit: "accesses",
    budget: 4_000,
    run: vmwareBalloon,
  },
];
