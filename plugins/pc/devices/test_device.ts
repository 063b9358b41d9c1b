// The test device that test images for virtual machines are written for: interrupt lines that the guest drives itself, a
// register of I/O ports that reads back, and memory that is a device's (QEMU's pc-testdev, hw/misc/pc-testdev.c).

import type { Hasher, Saved, StateOwner } from "../../../core/mod.ts";
import type { AccessSize, MemoryDevice, PortDevice } from "../../x86/mod.ts";
import { CASCADE_IRQ, IRQ_LINES } from "./lines.ts";

/** The register's ports, and those of the interrupt lines: a port each, low for 0 and high for anything else. */
export const TEST_REGISTER = 0xe0, TEST_REGISTER_PORTS = 4;
export const TEST_LINES = 0x2000, TEST_LINES_PORTS = IRQ_LINES;
/** Device memory. */
export const TEST_MEMORY_BASE = 0xff00_0000, TEST_MEMORY_BYTES = 0x1_0000;

const BYTE_MASK = 0xff, BYTE_BITS = 8;

/** A register or memory as wide as its bytes, accessed in any size; accesses end where it does. */
class DeviceBytes implements MemoryDevice {
  constructor(readonly bytes: Uint8Array) {}

  read(offset: number, size: AccessSize): number {
    let value = 0;
    for (let i = size - 1; i >= 0; i--) value = (value << BYTE_BITS) | (this.bytes[offset + i] ?? 0);
    return value >>> 0;
  }
  write(offset: number, size: AccessSize, value: number): void {
    for (let i = 0; i < size; i++) this.bytes[offset + i] = (value >>> (BYTE_BITS * i)) & BYTE_MASK;
  }
}

export class TestDevice implements StateOwner {
  readonly memory = new DeviceBytes(new Uint8Array(TEST_MEMORY_BYTES));
  readonly #register = new DeviceBytes(new Uint8Array(TEST_REGISTER_PORTS));
  readonly register: PortDevice = {
    read: (port, size) => this.#register.read(port - TEST_REGISTER, size),
    write: (port, size, value) => this.#register.write(port - TEST_REGISTER, size, value),
  };
  readonly lines: PortDevice = {
    read: () => 0,
    write: (port, _size, value) => {
      const irq = port - TEST_LINES;
      // The line between the two 8259s is no one else's.
      if (irq !== CASCADE_IRQ) this.setLine(irq, value !== 0);
    },
  };

  constructor(readonly setLine: (irq: number, level: boolean) => void) {}

  save(): Saved {
    return { memory: this.memory.bytes.slice(), register: this.#register.bytes.slice() };
  }
  restore(saved: Saved): void {
    const { memory, register } = saved as { memory: Uint8Array; register: Uint8Array };
    this.memory.bytes.set(memory);
    this.#register.bytes.set(register);
  }
  hash(hasher: Hasher): void {
    hasher.bytes(this.memory.bytes);
    hasher.bytes(this.#register.bytes);
  }
}
