// What the virtio plugin offers: puts a virtio device on a VM's PCI bus and carries it. A device is its type, features,
// configuration and queues; registers, negotiation, rings and interrupts are the transport's.

import { service, type StateOwner, type Vm } from "../../core/mod.ts";
import type { VirtQueue } from "./queue.ts";

/** A device, as its transport sees it. The transport calls it with the exact step count. */
export interface VirtioDevice {
  /** For messages, and the PCI bus. */
  readonly name: string;
  /** Virtio device ID (Virtio 1.2, section 5). */
  readonly type: number;
  /** PCI class code: base class, subclass, programming interface. */
  readonly classCode: number;
  /** Numbers of the feature bits that it offers, beside those of rings and version. */
  readonly features: readonly number[];
  /** Most descriptors of each queue: powers of two. */
  readonly queueSizes: readonly number[];
  /** The device's configuration space, read as it is; after a change call `configChanged`. */
  readonly config: Uint8Array;
  /** The driver wrote to the configuration space; ignored without this. */
  writeConfig?(offset: number, size: number, value: number): void;
  /** The driver is ready: queues may be used from now on. */
  activated(): void;
  /** Buffers were made available in a queue. Called only while active. */
  notified(queue: number): void;
  /** The driver resets the device: forget buffers that were taken. */
  reset(): void;
}

/** The device's way to its driver. Saves and restores the transport's part of the state. */
export interface VirtioPort extends StateOwner {
  readonly queues: readonly VirtQueue[];
  /** Whether the driver is ready and nothing has failed. */
  readonly isActive: boolean;
  /** Whether the driver took an offered feature. */
  hasFeature(bit: number): boolean;
  /** The driver broke the rules: the device stops until it is reset, and says so (DEVICE_NEEDS_RESET). */
  fail(reason: string): void;
  /** The configuration space changed: the driver is interrupted. */
  configChanged(): void;
}

/** Puts a device on a VM's PCI bus, while the VM is admitted. Throws InputError when the bus is full. */
export const attach = service<(vm: Vm, device: VirtioDevice) => VirtioPort>("virtio.attach");
