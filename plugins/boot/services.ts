// What the boot plugin offers: it puts a program into a VM's memory and the processor at its entry, as firmware and a
// boot loader would.

import { decide, service, type Vm } from "../../core/mod.ts";

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

/** A kernel with a Multiboot header, and the modules loaded with it. Names and texts are for messages and the kernel. */
export interface MultibootSource {
  readonly kernel: Uint8Array;
  readonly kernelName: string;
  /** The kernel command line. */
  readonly append?: string;
  /** Files, each with the text that the kernel finds beside it: its name and arguments, by custom. */
  readonly modules?: readonly { readonly bytes: Uint8Array; readonly text?: string }[];
}

/** A `linux` kernel that has a Multiboot header is loaded by that, its initrd as the first module. */
export type BootSource =
  | { readonly image: FlatImage }
  | { readonly linux: LinuxSource }
  | { readonly multiboot: MultibootSource };

export interface BootLoader {
  /**
   * Loads the program and puts the processor, which is in its power-on state, at the entry. Call before the VM first runs.
   * Throws InputError for a program that is malformed or does not fit.
   */
  load(vm: Vm, source: BootSource): void;
}

export const loader = service<BootLoader>("boot.loader");

/** A text screen as firmware would leave it: pairs of character and attribute bytes from `address`. */
export interface TextScreenMode {
  readonly address: number;
  readonly columns: number;
  readonly rows: number;
  /** Scan lines of a character. */
  readonly characterLines: number;
}

/** Whether a VM has a text screen, asked when a kernel is loaded that wants to be told. */
export const textScreen = decide<Vm, TextScreenMode>("boot.textScreen");
