// Virtio over PCI, modern devices only (Virtio 1.2, section 4.1): one memory BAR holds the common configuration, the ISR
// status, the device's configuration and the notifications, each named by a vendor capability; INTx interrupts.

import type { Hasher, Saved } from "../../core/mod.ts";
import type { GuestMemory } from "../memory/mod.ts";
import type { PciBus, PciSlot } from "../pc/mod.ts";
import type { AccessSize, MemoryDevice } from "../x86/mod.ts";
import { F_EVENT_IDX, F_INDIRECT_DESC, type QueueLayout, type QueueSurroundings, VirtQueue } from "./queue.ts";
import type { VirtioDevice, VirtioPort } from "./services.ts";

/** PCI identity: device ID is the base plus the virtio type. A revision of 1 or more means a modern device. */
export const VIRTIO_VENDOR = 0x1af4, VIRTIO_DEVICE_BASE = 0x1040;
const REVISION = 1;

/** Capabilities (section 4.1.4): a vendor-specific one for each structure, with its place in a BAR. */
const CAPABILITY_VENDOR = 0x09, CAPABILITY_BYTES = 16, NOTIFY_CAPABILITY_BYTES = 20;
const CAPABILITY_OFFSET = 8, CAPABILITY_LENGTH = 12, NOTIFY_MULTIPLIER_AT = 16;
export const CapabilityType = { COMMON: 1, NOTIFY: 2, ISR: 3, DEVICE: 4 } as const;
/** The BAR's index and layout: offsets and lengths in bytes. */
const BAR = 0;
export const BAR_BYTES = 4096;
export const Structure = {
  COMMON: { at: 0x000, bytes: 0x38 },
  ISR: { at: 0x100, bytes: 1 },
  DEVICE: { at: 0x200, bytes: 0x200 },
  NOTIFY: { at: 0x800, bytes: 0x800 },
} as const;
/** Bytes between the notification registers of two queues. */
export const NOTIFY_MULTIPLIER = 4;

/** Common configuration (section 4.1.4.3). 64-bit fields are accessed as two words. */
export const Common = {
  DEVICE_FEATURE_SELECT: 0x00,
  DEVICE_FEATURE: 0x04,
  DRIVER_FEATURE_SELECT: 0x08,
  DRIVER_FEATURE: 0x0c,
  CONFIG_MSIX_VECTOR: 0x10,
  NUM_QUEUES: 0x12,
  DEVICE_STATUS: 0x14,
  CONFIG_GENERATION: 0x15,
  QUEUE_SELECT: 0x16,
  QUEUE_SIZE: 0x18,
  QUEUE_MSIX_VECTOR: 0x1a,
  QUEUE_ENABLE: 0x1c,
  QUEUE_NOTIFY_OFF: 0x1e,
  QUEUE_DESC: 0x20,
  QUEUE_DRIVER: 0x28,
  QUEUE_DEVICE: 0x30,
} as const;
/** There is no MSI-X: every vector register reads so. */
const NO_VECTOR = 0xffff;
export const DeviceStatus = {
  ACKNOWLEDGE: 1,
  DRIVER: 2,
  DRIVER_OK: 4,
  FEATURES_OK: 8,
  NEEDS_RESET: 64,
  FAILED: 128,
} as const;
export const Isr = { QUEUE: 1, CONFIG: 2 } as const;
/** Feature bit: the device and driver follow version 1 of the standard. */
export const F_VERSION_1 = 32;
const FEATURE_WORDS = 2, WORD_BITS = 32;
const HIGH_WORD = 0x1_0000_0000;

/** What a transport is put together from. */
export interface TransportParts {
  readonly memory: GuestMemory;
  readonly bus: PciBus;
  /** Told, once for each device, why it needs a reset. */
  readonly failed: (reason: string) => void;
}

export class PciTransport implements VirtioPort, QueueSurroundings, MemoryDevice {
  readonly queues: readonly VirtQueue[];
  readonly memory: GuestMemory;
  readonly #slot: PciSlot;
  readonly #offered = new Uint32Array(FEATURE_WORDS);
  readonly #accepted = new Uint32Array(FEATURE_WORDS);
  #deviceFeatureSelect = 0;
  #driverFeatureSelect = 0;
  #queueSelect = 0;
  #status = 0;
  #generation = 0;
  #isr = 0;

  constructor(readonly device: VirtioDevice, readonly parts: TransportParts) {
    this.memory = parts.memory;
    for (const bit of [...device.features, F_INDIRECT_DESC, F_EVENT_IDX, F_VERSION_1]) {
      this.#offered[bit >> 5] |= 1 << (bit % WORD_BITS);
    }
    this.queues = device.queueSizes.map((size, index) => new VirtQueue(index, size, this));
    this.#slot = parts.bus.add({
      name: device.name,
      vendorId: VIRTIO_VENDOR,
      deviceId: VIRTIO_DEVICE_BASE + device.type,
      revision: REVISION,
      classCode: device.classCode,
      subsystemVendorId: VIRTIO_VENDOR,
      subsystemId: VIRTIO_DEVICE_BASE + device.type,
      interruptPin: 1,
      bars: [{ kind: "memory", sizeBytes: BAR_BYTES, device: this }],
      capabilities: capabilities(device.config.length),
    });
  }

  // For the device.

  get isActive(): boolean {
    return (this.#status & (DeviceStatus.DRIVER_OK | DeviceStatus.NEEDS_RESET)) === DeviceStatus.DRIVER_OK;
  }

  get mayTransfer(): boolean {
    return this.isActive && this.#slot.busMaster;
  }

  hasFeature(bit: number): boolean {
    return ((this.#accepted[bit >> 5] >>> (bit % WORD_BITS)) & 1) !== 0;
  }

  fail(reason: string): void {
    if ((this.#status & DeviceStatus.NEEDS_RESET) !== 0) return;
    const wasActive = this.isActive;
    this.#status |= DeviceStatus.NEEDS_RESET;
    if (wasActive) this.#raise(Isr.CONFIG);
    this.parts.failed(reason);
  }

  configChanged(): void {
    this.#generation = (this.#generation + 1) & 0xff;
    if (this.isActive) this.#raise(Isr.CONFIG);
  }

  interrupt(): void {
    this.#raise(Isr.QUEUE);
  }

  // For the driver.

  read(offset: number, size: AccessSize): number {
    if (isWithin(Structure.COMMON, offset)) return readLittleEndian(this.#common(), offset, size);
    if (offset === Structure.ISR.at) {
      const isr = this.#isr;
      this.#isr = 0;
      this.#slot.setInterrupt(false);
      return isr;
    }
    if (isWithin(Structure.DEVICE, offset)) {
      return readLittleEndian(this.device.config, offset - Structure.DEVICE.at, size);
    }
    return 0;
  }

  write(offset: number, size: AccessSize, value: number): void {
    if (isWithin(Structure.COMMON, offset)) return this.#writeCommon(offset, size, value);
    if (isWithin(Structure.DEVICE, offset)) {
      const at = offset - Structure.DEVICE.at;
      if (at + size <= this.device.config.length) this.device.writeConfig?.(at, size, value);
      return;
    }
    if (!isWithin(Structure.NOTIFY, offset) || offset % NOTIFY_MULTIPLIER !== 0) return;
    const queue = (offset - Structure.NOTIFY.at) / NOTIFY_MULTIPLIER;
    if (queue < this.queues.length && this.mayTransfer) this.device.notified(queue);
  }

  /** The common configuration as it reads now. */
  #common(): Uint8Array {
    const bytes = new Uint8Array(Structure.COMMON.bytes), view = new DataView(bytes.buffer);
    view.setUint32(Common.DEVICE_FEATURE_SELECT, this.#deviceFeatureSelect, true);
    view.setUint32(Common.DEVICE_FEATURE, this.#offered[this.#deviceFeatureSelect] ?? 0, true);
    view.setUint32(Common.DRIVER_FEATURE_SELECT, this.#driverFeatureSelect, true);
    view.setUint32(Common.DRIVER_FEATURE, this.#accepted[this.#driverFeatureSelect] ?? 0, true);
    view.setUint16(Common.CONFIG_MSIX_VECTOR, NO_VECTOR, true);
    view.setUint16(Common.NUM_QUEUES, this.queues.length, true);
    bytes[Common.DEVICE_STATUS] = this.#status;
    bytes[Common.CONFIG_GENERATION] = this.#generation;
    view.setUint16(Common.QUEUE_SELECT, this.#queueSelect, true);
    view.setUint16(Common.QUEUE_MSIX_VECTOR, NO_VECTOR, true);
    const queue = this.queues[this.#queueSelect];
    // A size of 0 says that there is no such queue.
    if (queue === undefined) return bytes;
    view.setUint16(Common.QUEUE_SIZE, queue.layout.size, true);
    view.setUint16(Common.QUEUE_ENABLE, Number(queue.isEnabled), true);
    view.setUint16(Common.QUEUE_NOTIFY_OFF, queue.index, true);
    for (const [at, part] of addressFields) {
      view.setUint32(at, queue.layout[part] % HIGH_WORD, true);
      view.setUint32(at + 4, Math.floor(queue.layout[part] / HIGH_WORD), true);
    }
    return bytes;
  }

  #writeCommon(offset: number, size: AccessSize, value: number): void {
    // Fields are written at their own width, and those of 64 bits by words.
    if (size !== widthOf(offset)) return;
    switch (offset) {
      case Common.DEVICE_FEATURE_SELECT:
        this.#deviceFeatureSelect = value;
        return;
      case Common.DRIVER_FEATURE_SELECT:
        this.#driverFeatureSelect = value;
        return;
      case Common.DRIVER_FEATURE:
        if ((this.#status & DeviceStatus.FEATURES_OK) === 0 && this.#driverFeatureSelect < FEATURE_WORDS) {
          this.#accepted[this.#driverFeatureSelect] = value;
        }
        return;
      case Common.DEVICE_STATUS:
        return this.#writeStatus(value);
      case Common.QUEUE_SELECT:
        this.#queueSelect = value;
        return;
    }
    const queue = this.queues[this.#queueSelect];
    if (queue === undefined || queue.isEnabled) return;
    if (offset === Common.QUEUE_SIZE) queue.layout.size = value;
    else if (offset === Common.QUEUE_ENABLE && value === 1) queue.enable();
    for (const [at, part] of addressFields) {
      const low = queue.layout[part] % HIGH_WORD, high = queue.layout[part] - low;
      if (offset === at) queue.layout[part] = high + value;
      else if (offset === at + 4) queue.layout[part] = low + value * HIGH_WORD;
    }
  }

  /** Section 3.1.1: a driver sets bits one after the other; 0 resets. */
  #writeStatus(value: number): void {
    if (value === 0) return this.#reset();
    const before = this.#status;
    let status = before | value & ~DeviceStatus.NEEDS_RESET;
    if ((before & DeviceStatus.FEATURES_OK) === 0 && !this.#canAcceptFeatures()) status &= ~DeviceStatus.FEATURES_OK;
    // No driver is ready that has not agreed on features.
    if ((status & DeviceStatus.FEATURES_OK) === 0) status &= ~DeviceStatus.DRIVER_OK;
    this.#status = status;
    if ((before & DeviceStatus.DRIVER_OK) === 0 && this.isActive) this.device.activated();
  }

  #canAcceptFeatures(): boolean {
    return this.hasFeature(F_VERSION_1) && this.#accepted.every((word, at) => (word & ~this.#offered[at]) === 0);
  }

  #reset(): void {
    this.#status = this.#isr = 0;
    this.#deviceFeatureSelect = this.#driverFeatureSelect = this.#queueSelect = 0;
    this.#accepted.fill(0);
    this.#slot.setInterrupt(false);
    for (const queue of this.queues) queue.reset();
    this.device.reset();
  }

  #raise(cause: number): void {
    this.#isr |= cause;
    this.#slot.setInterrupt(true);
  }

  // State. The pin's level is the bus's to keep.

  save(): Saved {
    return {
      status: this.#status,
      isr: this.#isr,
      generation: this.#generation,
      accepted: [...this.#accepted],
      deviceFeatureSelect: this.#deviceFeatureSelect,
      driverFeatureSelect: this.#driverFeatureSelect,
      queueSelect: this.#queueSelect,
      queues: this.queues.map((queue) => queue.save()),
    };
  }

  restore(saved: Saved): void {
    const state = saved as {
      status: number;
      isr: number;
      generation: number;
      accepted: number[];
      deviceFeatureSelect: number;
      driverFeatureSelect: number;
      queueSelect: number;
      queues: Saved[];
    };
    this.#status = state.status;
    this.#isr = state.isr;
    this.#generation = state.generation;
    this.#accepted.set(state.accepted);
    this.#deviceFeatureSelect = state.deviceFeatureSelect;
    this.#driverFeatureSelect = state.driverFeatureSelect;
    this.#queueSelect = state.queueSelect;
    for (const [index, queue] of this.queues.entries()) queue.restore(state.queues[index]);
  }

  hash(hasher: Hasher): void {
    hasher.saved(this.save());
  }
}

const addressFields: readonly [at: number, part: keyof Omit<QueueLayout, "size">][] = [
  [Common.QUEUE_DESC, "descriptors"],
  [Common.QUEUE_DRIVER, "available"],
  [Common.QUEUE_DEVICE, "used"],
];

/** Width of the register at an offset in the common configuration. */
function widthOf(offset: number): AccessSize {
  if (offset === Common.DEVICE_STATUS || offset === Common.CONFIG_GENERATION) return 1;
  return offset >= Common.CONFIG_MSIX_VECTOR && offset < Common.QUEUE_DESC ? 2 : 4;
}

function isWithin({ at, bytes }: { readonly at: number; readonly bytes: number }, offset: number): boolean {
  return offset >= at && offset < at + bytes;
}

/** Bytes beyond the end read as 0. */
function readLittleEndian(bytes: Uint8Array, offset: number, size: AccessSize): number {
  let value = 0;
  for (let i = 0; i < size; i++) value |= (bytes[offset + i] ?? 0) << (8 * i);
  return value >>> 0;
}

function capabilities(configBytes: number): Uint8Array[] {
  const { COMMON, NOTIFY, ISR, DEVICE } = Structure;
  const notify = capability(CapabilityType.NOTIFY, NOTIFY.at, NOTIFY.bytes, NOTIFY_CAPABILITY_BYTES);
  notify[NOTIFY_MULTIPLIER_AT] = NOTIFY_MULTIPLIER;
  const all = [
    capability(CapabilityType.COMMON, COMMON.at, COMMON.bytes),
    notify,
    capability(CapabilityType.ISR, ISR.at, ISR.bytes),
  ];
  if (configBytes > 0) all.push(capability(CapabilityType.DEVICE, DEVICE.at, configBytes));
  return all;
}

function capability(type: number, offset: number, length: number, bytes = CAPABILITY_BYTES): Uint8Array {
  const body = new Uint8Array(bytes), view = new DataView(body.buffer);
  // The second byte is the bus's link to the next one.
  body.set([CAPABILITY_VENDOR, 0, bytes, type, BAR]);
  view.setUint32(CAPABILITY_OFFSET, offset, true);
  view.setUint32(CAPABILITY_LENGTH, length, true);
  return body;
}
