// What the boot plugin offers: it puts a program into a VM's memory and the processor at its entry, as firmware and a
// boot loader would.

import { service, type Vm } from "../../core/mod.ts";

/** A program at fixed addresses. */
export interface FlatImage {
  /** What to copy where, in guest-physical addresses. */
  readonly loads: readonly { readonly address: number; readonly bytes: Uint8Array }[];
  /** Guest-physical address of the first instruction. */
  readonly entry: number;
  /** The state it starts in: see flat.ts. */
  readonly mode: "real" | "protected";
}

/** A Linux kernel (bzImage). Names are for messages. */
export interface LinuxSource {
  readonly kernel: Uint8Array;
  readonly kernelName: string;
  readonly initrd?: Uint8Array;
  readonly initrdName?: string;
  /** The kernel command line. */
  readonly append?: string;
}

export type BootSource = { readonly image: FlatImage } | { readonly linux: LinuxSource };

export interface BootLoader {
  /**
   * Loads the program and puts the processor, which is in its power-on state, at the entry. Call before the VM first runs.
   * Throws InputError for a program that is malformed or does not fit.
   */
  load(vm: Vm, source: BootSource): void;
}

export const loader = service<BootLoader>("boot.loader");
