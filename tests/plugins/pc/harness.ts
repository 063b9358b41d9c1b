// What the device tests share: a VM with a real guest clock and no processor, a bus of I/O ports, and time that passes
// timer by timer, as it does for a halted guest.

import { Hasher, type StateOwner, Vm } from "../../../core/mod.ts";
import type { AccessSize, Bus, InterruptController, MemoryDevice, PortDevice } from "../../../plugins/x86/mod.ts";

/** A VM whose steps take one nanosecond. */
export function makeVm(memoryMib = 64, cpuMhz = 1000): Vm {
  return new Vm(0, { name: "test", memoryMib, minMib: 0, shares: 1000, cpuMhz, options: {} });
}

/** Lets guest time pass up to `ns`, every timer at its own deadline. */
export function passUntil(vm: Vm, ns: number): void {
  const { clock } = vm;
  for (;;) {
    const next = Math.min(ns, Math.max(clock.nextTimerNs(), clock.nowNs()));
    clock.pass(next - clock.nowNs());
    if (clock.nextTimerNs() > next) break;
    clock.fireDue();
  }
}

/** Lets `ns` of guest time pass. */
export function pass(vm: Vm, ns: number): void {
  passUntil(vm, vm.clock.nowNs() + ns);
}

/** The processor's side of the I/O space. */
export class FakeBus implements Bus {
  readonly #ports = new Map<number, { device: PortDevice; name: string }>();
  #memory: { base: number; sizeBytes: number; name: string; device: MemoryDevice }[] = [];
  controller: InterruptController | undefined;
  interrupt = false;
  nmis = 0;
  /** Calls of `suspend` and `resume`. */
  readonly sleeps: string[] = [];

  ports(_vm: Vm, first: number, count: number, name: string, device: PortDevice): void {
    for (let port = first; port < first + count; port++) {
      const other = this.#ports.get(port);
      if (other !== undefined) throw new Error(`port ${port.toString(16)} is claimed by ${other.name} and ${name}`);
      this.#ports.set(port, { device, name });
    }
  }
  releasePorts(_vm: Vm, first: number, count: number): void {
    for (let port = first; port < first + count; port++) this.#ports.delete(port);
  }
  memory(_vm: Vm, base: number, sizeBytes: number, name: string, device: MemoryDevice): void {
    const other = this.#memory.find((range) => base < range.base + range.sizeBytes && range.base < base + sizeBytes);
    if (other !== undefined) throw new Error(`memory at ${base.toString(16)} is claimed by ${other.name} and ${name}`);
    this.#memory.push({ base, sizeBytes, name, device });
  }
  releaseMemory(_vm: Vm, name: string): void {
    this.#memory = this.#memory.filter((range) => range.name !== name);
  }
  interruptController(_vm: Vm, controller: InterruptController): void {
    this.controller = controller;
  }
  setInterrupt(_vm: Vm, level: boolean): void {
    this.interrupt = level;
  }
  raiseNmi(): void {
    this.nmis++;
  }
  suspend(): void {
    this.sleeps.push("suspend");
  }
  resume(_vm: Vm, address: number): void {
    this.sleeps.push(`resume at ${address.toString(16)}`);
  }

  in(port: number, size: AccessSize = 1): number {
    const claimed = this.#ports.get(port);
    return claimed === undefined ? 2 ** (8 * size) - 1 : claimed.device.read(port, size);
  }
  out(port: number, value: number, size: AccessSize = 1): void {
    this.#ports.get(port)?.device.write(port, size, value);
  }
  memoryAt(physical: number): { device: MemoryDevice; offset: number } | undefined {
    const range = this.#memory.find(({ base, sizeBytes }) => physical >= base && physical < base + sizeBytes);
    return range && { device: range.device, offset: physical - range.base };
  }
  /** Every claimed port, in order. */
  claimed(): number[] {
    return [...this.#ports.keys()].sort((a, b) => a - b);
  }
}

/** Hash of one owner's guest-visible state. */
export function hashOf(owner: StateOwner): string {
  const hasher = new Hasher();
  owner.hash?.(hasher);
  return hasher.digest();
}
