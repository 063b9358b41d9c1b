// What the balloon plugin offers: each VM's balloon as others see it, and its target by hand. Figures are named as
// Firecracker's balloon API names them where they mean the same.

import { service, type Vm } from "../../core/mod.ts";

/** Which device a VM's balloon driver finds: VMware's port, a virtio device, or none. */
export const DRIVERS = ["vmware", "virtio", "none"] as const;
export type Driver = (typeof DRIVERS)[number];

/**
 * What a guest says of its memory (Virtio 1.2, section 5.5.6.4), in bytes and counts since its boot. The guest may say what
 * it likes: an indication, no guarantee. Absent until it has said so.
 */
export const STATISTICS = [
  "swapIn",
  "swapOut",
  "majorFaults",
  "minorFaults",
  "freeMemory",
  "totalMemory",
  "availableMemory",
  "diskCaches",
  "hugetlbAllocations",
  "hugetlbFailures",
  "oomKill",
  "allocStall",
  "asyncScan",
  "directScan",
  "asyncReclaim",
  "directReclaim",
] as const;
export type GuestStatistics = { [Name in (typeof STATISTICS)[number]]?: number };

/** A VM's balloon. Sizes are in pages of 4 KiB. */
export interface BalloonReport {
  readonly driver: Driver;
  /** Whether a driver is there and answers. */
  readonly isConnected: boolean;
  /** The size that the driver is asked for, and that the balloon has. */
  readonly targetPages: number;
  readonly actualPages: number;
  /** By virtio alone. */
  readonly statistics: Readonly<GuestStatistics>;
}

export interface Balloons {
  report(vm: Vm): BalloonReport;
  /**
   * Asks for a balloon of so many pages by hand. What the allocator asks for counts where it is more, and the cap of the
   * plugin's options holds. The driver learns of it at its next poll, a virtio driver by an interrupt.
   */
  setTarget(vm: Vm, pages: number): void;
  /**
   * The driver has to begin anew: at its next command it is told so, frees every page of its balloon and starts again. A
   * virtio driver cannot be told, and goes on as it is.
   */
  reset(vm: Vm): void;
}

export const balloons = service<Balloons>("balloon.balloons");
