// The virtio-block plugin: gives a VM the disks that its options name, and no others. Opens images when the VM is admitted,
// and closes them when it ends.

import { definePlugin, type Hasher, type Saved, type StateOwner, type Vm, vmExited, z } from "../../core/mod.ts";
import * as memory from "../memory/mod.ts";
import * as virtio from "../virtio/mod.ts";
import { BlockDevice } from "./device.ts";
import { type Disk, FileDisk, MemoryDisk, SECTOR_BYTES } from "./disk.ts";
import { type DiskOptions, diskOptions, disks } from "./services.ts";

export * from "./services.ts";
export type { Disk } from "./disk.ts";

const MOST_DISKS = 8, MIB = 1 << 20;
const vmOptions = z.strictObject({ disks: z.array(diskOptions).max(MOST_DISKS).default([]) });

/** A VM's disks with the devices in front of them. */
class Disks implements StateOwner {
  constructor(readonly devices: readonly BlockDevice[]) {}
  save(): Saved {
    return this.devices.map((device) => device.save());
  }
  restore(saved: Saved): void {
    const states = saved as readonly Saved[];
    for (const [index, device] of this.devices.entries()) device.restore(states[index]);
  }
  hash(hasher: Hasher): void {
    for (const device of this.devices) device.hash(hasher);
  }
}

export default definePlugin({
  name: "virtio-block",
  summary: "virtio disks for the VMs whose options name some",
  tier: "base",
  requires: ["memory", "virtio"],
  vmOptions,
  options: z.strictObject({
    readLatencyNs: z.int().min(1).default(100_000).describe("guest time from a read's start to its first byte"),
    writeLatencyNs: z.int().min(1).default(30_000).describe("guest time of a write beside its transfer"),
    flushLatencyNs: z.int().min(1).default(500_000).describe("guest time of a flush"),
    bytesPerSecond: z.int().min(1).default(1_000_000_000).describe("transfer rate"),
  }),
  setup({ options, on, service, provide, perVm, vmOptions: vmOptionsOf, stats, log }) {
    const memoryOf = service(memory.guest), attach = service(virtio.attach);
    const counters = {
      readBytes: stats.counter("readBytes", "bytes"),
      writtenBytes: stats.counter("writtenBytes", "bytes"),
      requests: stats.counter("requests", "requests"),
      flushes: stats.counter("flushes", "requests"),
      errors: stats.counter("errors", "requests"),
    };

    const disksOf = perVm((vm: Vm) => {
      const given = vmOptions.parse(vmOptionsOf(vm));
      const opened: Disk[] = [];
      try {
        for (const disk of given.disks) opened.push(openDisk(disk));
        return new Disks(opened.map((disk, index) => makeDevice(vm, disk, index, given.disks[index].id)));
      } catch (cause) {
        for (const disk of opened) disk.close();
        throw cause;
      }
    });

    function makeDevice(vm: Vm, disk: Disk, index: number, id = `ballast${index}`): BlockDevice {
      let isTold = false;
      return new BlockDevice({
        name: `virtio-block.${index}`,
        disk,
        id,
        clock: vm.clock,
        memory: memoryOf(vm),
        latency: options,
        counters,
        diskFailed: (cause) => {
          if (!isTold) log(`${vm.name}: disk ${index}: ${cause instanceof Error ? cause.message : cause}`);
          isTold = true;
        },
      }, (device) => attach(vm, device));
    }

    const diskListOf = (vm: Vm) => disksOf(vm).devices.map((device) => device.parts.disk);
    on(vmExited, (vm) => {
      for (const disk of diskListOf(vm)) disk.close();
    });
    provide(disks, diskListOf);
  },
});

function openDisk({ file, sizeMib = 0, mode }: DiskOptions): Disk {
  if (file === undefined) return new MemoryDisk(Math.ceil((sizeMib * MIB) / SECTOR_BYTES) * SECTOR_BYTES);
  if (mode !== "overlay") return new FileDisk(file, mode === "read-only");
  const base = new FileDisk(file, true);
  return new MemoryDisk(base.sizeBytes, base);
}
