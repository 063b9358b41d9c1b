// What the virtio-block plugin offers: the disks of a VM, and their options.

import { service, type Vm, z } from "../../core/mod.ts";
import type { Disk } from "./disk.ts";

/** A disk of a VM, in the VM's options. `file` is relative to the program's working folder. */
export const diskOptions = z.strictObject({
  file: z.string().min(1).optional().describe("image file; without one the disk is in memory and empty"),
  sizeMib: z.number().positive().max(1 << 20).optional().describe("size of a disk without a file"),
  mode: z.enum(["direct", "overlay", "read-only"]).default("direct")
    .describe("direct writes to the file; overlay keeps what is written in memory, with the VM's state"),
  id: z.string().max(20).optional().describe("serial number as the guest reads it"),
}).refine(({ file, sizeMib }) => (file === undefined) !== (sizeMib === undefined), {
  message: "expected either a file or a size in MiB",
}).refine(({ file, mode }) => file !== undefined || mode !== "read-only", {
  message: "a disk without a file cannot be read-only",
});
export type DiskOptions = z.output<typeof diskOptions>;

/** The disks of a VM, in the order of its options: /dev/vda and on in a Linux guest. */
export const disks = service<(vm: Vm) => readonly Disk[]>("virtio-block.disks");
