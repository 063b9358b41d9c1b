// What the pc plugin offers to others: the serial ports for a console, the PCI bus for functions, the keyboard for
// whoever types, firmware's tables for whoever boots.

import { service, type Vm } from "../../core/mod.ts";
import type { MemoryDevice, PortDevice } from "../x86/mod.ts";

/** What is at the other end of a serial line. */
export interface SerialPeer {
  /** The guest sent a byte. Called at the exact step. */
  transmit(byte: number): void;
  /** The next byte for the guest, or undefined while there is none. Asked only when the guest can take it. */
  nextByte(): number | undefined;
}

/** The near end of a serial line, as the peer sees it. */
export interface SerialPort {
  /** Connects the peer. Its `nextByte` is asked, at points of guest time, until it answers undefined. */
  attach(peer: SerialPeer): void;
  /** The peer has bytes again. If the VM may be halted, `host.wake(vm)` besides. */
  inputArrived(): void;
  /** Whether the guest's driver takes input now. */
  readonly readyToReceive: boolean;
}

/** The serial ports of a VM: COM1, or COM2 where the option `com2` is set (else an InputError says so). */
export const serial = service<(vm: Vm, port?: 1 | 2) => SerialPort>("pc.serial");

/** A range that a PCI function decodes. Sizes are powers of two: 4 B-256 B of ports, 4 KiB and more of memory. */
export type PciBar =
  | { readonly kind: "port"; readonly sizeBytes: number; readonly device: PortDevice }
  | { readonly kind: "memory"; readonly sizeBytes: number; readonly device: MemoryDevice };

/** A PCI function. `device` of a port BAR is called with offsets from the BAR's start in place of ports. */
export interface PciFunction {
  readonly name: string;
  readonly vendorId: number;
  readonly deviceId: number;
  readonly revision?: number;
  /** Base class, subclass and programming interface: 24 bits. */
  readonly classCode: number;
  readonly subsystemVendorId?: number;
  readonly subsystemId?: number;
  /** INTA# to INTD# as 1 to 4; none if absent. */
  readonly interruptPin?: 1 | 2 | 3 | 4;
  readonly bars?: readonly (PciBar | undefined)[];
  /** Bodies of capabilities: identifier, a byte for the link that the bus fills in, then the rest. */
  readonly capabilities?: readonly Uint8Array[];
}

/** A function that is on the bus. */
export interface PciSlot {
  /** Device number on bus 0. */
  readonly device: number;
  /** Level of its interrupt pin. */
  setInterrupt(level: boolean): void;
  /** Whether the guest lets it be bus master. */
  readonly busMaster: boolean;
}

/** Bus 0 of a VM. Functions are added while the VM is admitted, in the same order each time. */
export interface PciBus {
  /** Puts a function 0 on the bus, at a device number or the next free one. Assigns BARs and the interrupt line. */
  add(fn: PciFunction, device?: number): PciSlot;
}

export const pci = service<(vm: Vm) => PciBus>("pc.pci");

/** The keyboard of a VM. */
export interface Keyboard {
  /** Sends scan codes of set 2, as a keyboard does; false if its buffer is full or the guest disabled it. */
  typeScancodes(codes: readonly number[]): boolean;
}

export const keyboard = service<(vm: Vm) => Keyboard>("pc.keyboard");

/** Bytes that firmware leaves in memory, and their guest-physical address. */
export interface FirmwareImage {
  readonly address: number;
  readonly bytes: Uint8Array;
}

/** ACPI's and the MultiProcessor Specification's tables of a VM, for whoever loads an operating system into it. */
export const firmware = service<(vm: Vm) => readonly FirmwareImage[]>("pc.firmware");

/** Lets a VM's timer tick as a BIOS does; returns the handler and its vector, to be written into memory. */
export const biosTimer = service<(vm: Vm) => readonly FirmwareImage[]>("pc.biosTimer");
