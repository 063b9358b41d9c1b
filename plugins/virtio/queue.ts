// A split virtqueue, the device's side (Virtio 1.2, section 2.7): descriptor table, available ring, used ring, indirect
// descriptors and event indices. All of it lies in guest memory, so nothing read there is believed: whatever a driver
// may not write ends in `fail`, and one call does a bounded amount of work.

import type { Saved } from "../../core/mod.ts";
import type { GuestMemory } from "../memory/mod.ts";
import { PAGE_SIZE } from "../memory/mod.ts";
import { Chain, type Segment } from "./chain.ts";

/** Feature bits that queues know. */
export const F_INDIRECT_DESC = 28, F_EVENT_IDX = 29;

/** Descriptor: le64 address, le32 length, le16 flags, le16 next. */
const DESCRIPTOR_BYTES = 16, DESCRIPTOR_LENGTH = 8, DESCRIPTOR_FLAGS = 12, DESCRIPTOR_NEXT = 14;
export const DescriptorFlag = { NEXT: 1, WRITE: 2, INDIRECT: 4 } as const;
/** Rings: le16 flags, le16 index, then the entries, then the other side's event index. */
const RING_FLAGS = 0, RING_INDEX = 2, RING_ENTRIES = 4, AVAILABLE_ENTRY_BYTES = 2, USED_ENTRY_BYTES = 8;
/** Flag of the available ring: the driver wants no interrupt (without event indices). */
export const AVAILABLE_NO_INTERRUPT = 1;
const DESCRIPTORS_ALIGNMENT = 16, AVAILABLE_ALIGNMENT = 2, USED_ALIGNMENT = 4;
const INDEX_MASK = 0xffff;
const HIGH_WORD = 0x1_0000_0000;
/** Longest indirect table followed. Drivers may not exceed the queue's size, but some do, by a little. */
export const MOST_INDIRECT = 1024;

/** Where a queue lies: guest-physical addresses, and its size in descriptors. */
export interface QueueLayout {
  size: number;
  descriptors: number;
  available: number;
  used: number;
}

/** What a queue needs of its device's transport. */
export interface QueueSurroundings {
  readonly memory: GuestMemory;
  /** Whether the device may use its queues now: the driver said so, may let it be bus master, and nothing failed. */
  readonly mayTransfer: boolean;
  hasFeature(bit: number): boolean;
  /** The driver broke the rules: the device needs a reset. */
  fail(reason: string): void;
  /** The driver is to be told of used buffers. */
  interrupt(): void;
}

export class VirtQueue {
  readonly layout: QueueLayout;
  isEnabled = false;
  /** The device's places in the two rings, modulo 2^16. */
  #taken = 0;
  #used = 0;
  readonly #bytes = new Uint8Array(DESCRIPTOR_BYTES);
  readonly #view = new DataView(this.#bytes.buffer);

  constructor(readonly index: number, readonly maxSize: number, readonly around: QueueSurroundings) {
    this.layout = { size: maxSize, descriptors: 0, available: 0, used: 0 };
  }

  /** Starts to use the layout; fails the device if it is no valid one. */
  enable(): void {
    const { size, descriptors, available, used } = this.layout;
    const parts: [string, number, number, number][] = [
      ["descriptor table", descriptors, size * DESCRIPTOR_BYTES, DESCRIPTORS_ALIGNMENT],
      ["available ring", available, RING_ENTRIES + size * AVAILABLE_ENTRY_BYTES + 2, AVAILABLE_ALIGNMENT],
      ["used ring", used, RING_ENTRIES + size * USED_ENTRY_BYTES + 2, USED_ALIGNMENT],
    ];
    if (size === 0 || size > this.maxSize || (size & (size - 1)) !== 0) return this.#fail(`has size ${size}`);
    for (const [name, address, bytes, alignment] of parts) {
      if (address % alignment !== 0 || !this.#isInMemory(address, bytes)) {
        return this.#fail(`has its ${name} at ${address.toString(16)}h`);
      }
    }
    this.isEnabled = true;
  }

  reset(): void {
    this.isEnabled = false;
    this.#taken = this.#used = 0;
    Object.assign(this.layout, { size: this.maxSize, descriptors: 0, available: 0, used: 0 });
  }

  /** Buffers that wait to be taken; 0 while the queue may not be used. */
  get waiting(): number {
    if (!this.isEnabled || !this.around.mayTransfer) return 0;
    const waiting = (this.#read16(this.layout.available + RING_INDEX) - this.#taken) & INDEX_MASK;
    if (waiting <= this.layout.size) return waiting;
    this.#fail(`has ${waiting} buffers available, which is more than its size`);
    return 0;
  }

  /** Takes the next available buffer; undefined if there is none, or if it is none that a driver may make. */
  take(): Chain | undefined {
    if (this.waiting === 0) return undefined;
    const { size, available, used } = this.layout;
    const head = this.#read16(available + RING_ENTRIES + (this.#taken & (size - 1)) * AVAILABLE_ENTRY_BYTES);
    this.#taken = (this.#taken + 1) & INDEX_MASK;
    // Asks to be told of the next one.
    if (this.around.hasFeature(F_EVENT_IDX)) this.#write16(used + RING_ENTRIES + size * USED_ENTRY_BYTES, this.#taken);
    return this.#walk(head);
  }

  /** Gives a buffer back after `writtenBytes` were written to it, and interrupts if the driver wants that. */
  complete(chain: Chain, writtenBytes: number): void {
    if (!this.isEnabled || !this.around.mayTransfer) return;
    const { size, used } = this.layout;
    const entry = new DataView(new ArrayBuffer(USED_ENTRY_BYTES));
    entry.setUint32(0, chain.head, true);
    entry.setUint32(4, writtenBytes, true);
    const at = used + RING_ENTRIES + (this.#used & (size - 1)) * USED_ENTRY_BYTES;
    this.around.memory.write(at, new Uint8Array(entry.buffer));
    const before = this.#used;
    this.#used = (this.#used + 1) & INDEX_MASK;
    this.#write16(used + RING_INDEX, this.#used);
    if (this.#wantsInterrupt(before)) this.around.interrupt();
  }

  save(): Saved {
    return { ...this.layout, isEnabled: this.isEnabled, taken: this.#taken, usedIndex: this.#used };
  }

  restore(saved: Saved): void {
    const state = saved as unknown as QueueLayout & { isEnabled: boolean; taken: number; usedIndex: number };
    const { size, descriptors, available, used } = state;
    Object.assign(this.layout, { size, descriptors, available, used });
    this.isEnabled = state.isEnabled;
    this.#taken = state.taken;
    this.#used = state.usedIndex;
  }

  /** Section 2.7.7: by the event index if negotiated, else by the flag. `before` is the used index before one was added. */
  #wantsInterrupt(before: number): boolean {
    const { size, available } = this.layout;
    if (!this.around.hasFeature(F_EVENT_IDX)) {
      return (this.#read16(available + RING_FLAGS) & AVAILABLE_NO_INTERRUPT) === 0;
    }
    return this.#read16(available + RING_ENTRIES + size * AVAILABLE_ENTRY_BYTES) === before;
  }

  /** Follows a chain through the table, and through one indirect table at its end. */
  #walk(head: number): Chain | undefined {
    const readable: Segment[] = [], writable: Segment[] = [];
    let table = this.layout.descriptors, entries = this.layout.size, index = head, isIndirect = false;
    // No chain is longer than the table that it is in, unless it goes in circles.
    for (let left = entries; left > 0; left--) {
      if (index >= entries) return this.#fail(`names descriptor ${index} of ${entries}`);
      this.around.memory.read(table + index * DESCRIPTOR_BYTES, this.#bytes);
      const view = this.#view;
      const address = view.getUint32(0, true) + view.getUint32(4, true) * HIGH_WORD;
      const length = view.getUint32(DESCRIPTOR_LENGTH, true);
      const flags = view.getUint16(DESCRIPTOR_FLAGS, true);
      if (!this.#isInMemory(address, length)) {
        return this.#fail(`has a buffer at ${address.toString(16)}h, ${length} B`);
      }
      if ((flags & DescriptorFlag.INDIRECT) !== 0) {
        if (isIndirect || (flags & DescriptorFlag.NEXT) !== 0 || !this.around.hasFeature(F_INDIRECT_DESC)) {
          return this.#fail("has an indirect descriptor where none may be");
        }
        if (length % DESCRIPTOR_BYTES !== 0 || length === 0 || length > MOST_INDIRECT * DESCRIPTOR_BYTES) {
          return this.#fail(`has an indirect table of ${length} bytes`);
        }
        isIndirect = true;
        table = address;
        entries = length / DESCRIPTOR_BYTES;
        index = 0;
        left = entries + 1;
        continue;
      }
      const isWritable = (flags & DescriptorFlag.WRITE) !== 0;
      if (!isWritable && writable.length > 0) return this.#fail("has a readable buffer after a writable one");
      if (length > 0) (isWritable ? writable : readable).push([address, length]);
      if ((flags & DescriptorFlag.NEXT) === 0) return new Chain(this.around.memory, head, readable, writable);
      index = view.getUint16(DESCRIPTOR_NEXT, true);
    }
    return this.#fail("has a chain that goes in circles");
  }

  #fail(what: string): undefined {
    this.around.fail(`queue ${this.index} ${what}`);
  }

  #isInMemory(address: number, length: number): boolean {
    return address + length <= this.around.memory.pages * PAGE_SIZE;
  }

  #read16(address: number): number {
    const bytes = this.#bytes.subarray(0, 2);
    this.around.memory.read(address, bytes);
    return bytes[0] | (bytes[1] << 8);
  }

  #write16(address: number, value: number): void {
    this.around.memory.write(address, Uint8Array.of(value & 0xff, value >> 8));
  }
}
