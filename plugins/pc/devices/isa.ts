// The ISA bus's byte lanes: devices here are eight bits wide, so wider accesses become one access per byte, lowest port
// first (IBM PC/AT Technical Reference, "I/O channel"; Intel 82371SB section 3.3).

import type { AccessSize, Bus, PortDevice } from "../../x86/mod.ts";
import type { Vm } from "../../../core/mod.ts";

/** A device with byte-wide registers. Both functions accept any of its claimed ports and any byte, and never throw. */
export interface ByteDevice {
  readByte(port: number): number;
  writeByte(port: number, value: number): void;
  /** As `PortDevice.steadyUntilNs`. */
  steadyUntilNs?(port: number, readNs: number): number;
}

/** What a byte lane reads where no device drives it. */
export const FLOATING_BYTE = 0xff;

/** Level of an interrupt request line. */
export type InterruptLine = (level: boolean) => void;

/** Splits accesses into bytes. Bytes beyond the claimed range float. */
export class ByteLanes implements PortDevice {
  constructor(readonly first: number, readonly count: number, readonly device: ByteDevice) {}

  read(port: number, size: AccessSize): number {
    let value = 0;
    for (let i = 0; i < size; i++) {
      const byte = this.#claims(port + i) ? this.device.readByte(port + i) : FLOATING_BYTE;
      value |= byte << (8 * i);
    }
    return value >>> 0;
  }

  write(port: number, size: AccessSize, value: number): void {
    for (let i = 0; i < size; i++) {
      if (this.#claims(port + i)) this.device.writeByte(port + i, (value >>> (8 * i)) & 0xff);
    }
  }

  steadyUntilNs(port: number, readNs: number): number {
    return this.device.steadyUntilNs?.(port, readNs) ?? 0;
  }

  #claims(port: number): boolean {
    return port >= this.first && port < this.first + this.count;
  }
}

/** Claims `count` ports from `first` for a byte-wide device. */
export function claimBytePorts(bus: Bus, vm: Vm, first: number, count: number, name: string, device: ByteDevice): void {
  bus.ports(vm, first, count, name, new ByteLanes(first, count, device));
}
