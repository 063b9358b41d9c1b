// The I/O address space of one VM: who answers which port, and who may use it (SDM 1, chapter 19: IOPL and the TSS's
// permission bitmap). Devices are called with the exact step count.

import type { ObservePort, Vm } from "../../core/mod.ts";
import { notePortAccess } from "./debug.ts";
import type { Processor } from "./processor.ts";
import type { AccessSize, PortDevice } from "./services.ts";
import * as S from "./state.ts";

/** Offset of the I/O map base in a 32-bit TSS, and the least limit of a TSS that has one. */
const TSS_IO_MAP_BASE = 0x66, TSS32_MIN_LIMIT = 0x67;
/** Types of a 32-bit TSS descriptor: available and busy differ in bit 1. */
const TYPE_TSS32 = 9, TYPE_BUSY = 2;

export class IoSpace {
  readonly #devices = new Map<number, { name: string; device: PortDevice }>();
  /** Changes whenever what a steady port reads as may have changed: the guest has written to a port, or ports changed hands. */
  revision = 0;

  constructor(readonly trapped: ObservePort<{ readonly vm: Vm; readonly mnemonic: string }>) {}

  /** Claims ports; a port claimed twice is an error that names both devices. */
  claim(first: number, count: number, name: string, device: PortDevice): void {
    this.revision++;
    for (let port = first; port < first + count; port++) {
      const other = this.#devices.get(port);
      if (other !== undefined) throw new Error(`port 0x${port.toString(16)} is claimed by ${other.name} and ${name}`);
      this.#devices.set(port, { name, device });
    }
  }

  release(first: number, count: number): void {
    this.revision++;
    for (let port = first; port < first + count; port++) this.#devices.delete(port);
  }

  /**
   * Guest time in ns until which a byte that was just read from a port, at `readNs`, stays the same, unless `revision` changes,
   * and reading it does nothing else; 0 where nobody says so.
   */
  steadyUntilNs(port: number, readNs: number): number {
    const claim = this.#devices.get(port);
    return claim === undefined ? Infinity : claim.device.steadyUntilNs?.(port, readNs) ?? 0;
  }

  /** IN: checks permission, then reads. Unclaimed ports read as all ones. */
  read(cpu: Processor, port: number, size: AccessSize): number {
    checkPermission(cpu, port, size);
    if (this.trapped.active) this.trapped.emit({ vm: cpu.vm, mnemonic: "in" });
    if (cpu.watchesBreakpoints) notePortAccess(cpu, port, size);
    cpu.syncSteps();
    cpu.endBlock();
    const claim = this.#devices.get(port);
    const value = claim === undefined ? -1 : claim.device.read(port, size);
    const { accessed } = cpu.hooks;
    if (accessed.active) accessed.emit({ vm: cpu.vm, space: "port", address: port, size, value, isWrite: false });
    return value;
  }

  /** OUT: checks permission, then writes the low `size` bytes of `value`. */
  write(cpu: Processor, port: number, size: AccessSize, value: number): void {
    checkPermission(cpu, port, size);
    this.revision++;
    if (this.trapped.active) this.trapped.emit({ vm: cpu.vm, mnemonic: "out" });
    if (cpu.watchesBreakpoints) notePortAccess(cpu, port, size);
    cpu.syncSteps();
    cpu.endBlock();
    const mask = size === 4 ? 0xffffffff : (1 << (size * 8)) - 1;
    const { accessed } = cpu.hooks;
    if (accessed.active) accessed.emit({ vm: cpu.vm, space: "port", address: port, size, value, isWrite: true });
    this.#devices.get(port)?.device.write(port, size, (value & mask) >>> 0);
  }
}

/** Raises #GP(0) unless the CPL, or else the bitmap in the TSS, allows every byte of the access. */
export function checkPermission(cpu: Processor, port: number, size: number): void {
  if (!cpu.isProtected || (cpu.r[S.CPL] <= cpu.iopl && !cpu.isV86)) return;
  const { r } = cpu;
  const type = (r[S.ATTRIBUTES + S.TR] >>> 8) & 0xf, limit = r[S.LIMIT + S.TR] >>> 0;
  if ((type & ~TYPE_BUSY) !== TYPE_TSS32 || limit < TSS32_MIN_LIMIT) cpu.raise(S.Vector.generalProtection, 0);
  const base = r[S.BASE + S.TR];
  const byte = cpu.systemRead16((base + TSS_IO_MAP_BASE) | 0) + (port >>> 3);
  // Two bytes are always read, and both must lie within the limit.
  if (byte + 1 > limit) cpu.raise(S.Vector.generalProtection, 0);
  const bits = cpu.systemRead16((base + byte) | 0) >>> (port & 7);
  if (bits & ((1 << size) - 1)) cpu.raise(S.Vector.generalProtection, 0);
}
