// A PCI function: its configuration header, and the ranges that its base address registers claim (PCI Local Bus
// Specification 2.3, chapter 6).

import type { Saved, Vm } from "../../../core/mod.ts";
import type { Bus } from "../../x86/mod.ts";
import type { PciBar, PciFunction, PciSlot } from "../services.ts";

/** Configuration header, type 0. */
export const Config = {
  VENDOR_ID: 0x00,
  DEVICE_ID: 0x02,
  COMMAND: 0x04,
  STATUS: 0x06,
  REVISION: 0x08,
  CLASS_CODE: 0x09,
  BAR_0: 0x10,
  BAR_END: 0x28,
  SUBSYSTEM_VENDOR_ID: 0x2c,
  SUBSYSTEM_ID: 0x2e,
  CAPABILITIES: 0x34,
  INTERRUPT_LINE: 0x3c,
  INTERRUPT_PIN: 0x3d,
  DEVICE_SPECIFIC: 0x40,
} as const;
export const CONFIG_SIZE = 256;
export const Command = {
  IO: 0x01,
  MEMORY: 0x02,
  BUS_MASTER: 0x04,
  PARITY: 0x40,
  SERR: 0x100,
  INTX_DISABLE: 0x400,
} as const;
const COMMAND_WRITABLE = Command.IO | Command.MEMORY | Command.BUS_MASTER | Command.PARITY | Command.SERR |
  Command.INTX_DISABLE;
export const Status = { INTERRUPT: 0x08, CAPABILITIES: 0x10 } as const;
const BAR_IO = 0x01, BAR_COUNT = 6, CAPABILITY_NEXT = 1, CAPABILITY_ALIGNMENT = 4;

/** What the host bridge forwards to the bus: ports and memory outside of these never reach a function. */
export const PORT_WINDOW = { first: 0xc000, end: 0x10000 } as const;
export const MEMORY_WINDOW = { first: 0xe000_0000, end: 0xfec0_0000 } as const;
/** Where no BAR is mapped. */
const UNMAPPED = -1;

interface Mapping {
  readonly bar: PciBar;
  readonly name: string;
  readonly register: number;
  /** First port or address that it answers at, or UNMAPPED. */
  base: number;
}

/** What a function needs of its bus. */
export interface PciSurroundings {
  readonly vm: Vm;
  readonly bus: Bus;
  /** The interrupt pin of the function changed. */
  interruptChanged(): void;
  /** Whether another function answers in a range now. */
  isTaken(kind: PciBar["kind"], first: number, end: number): boolean;
}

/** A function on the bus. Configuration space is read and written a byte at a time. */
export class FunctionSlot implements PciSlot {
  readonly #config = new Uint8Array(CONFIG_SIZE);
  readonly #writable = new Uint8Array(CONFIG_SIZE);
  readonly #mappings: Mapping[] = [];
  #interrupt = false;

  constructor(
    readonly device: number,
    readonly fn: PciFunction,
    readonly around: PciSurroundings,
    assign: (bar: PciBar) => number,
  ) {
    this.#put(Config.VENDOR_ID, 2, fn.vendorId);
    this.#put(Config.DEVICE_ID, 2, fn.deviceId);
    this.#put(Config.REVISION, 1, fn.revision ?? 0);
    this.#put(Config.CLASS_CODE, 3, fn.classCode);
    this.#put(Config.SUBSYSTEM_VENDOR_ID, 2, fn.subsystemVendorId ?? 0);
    this.#put(Config.SUBSYSTEM_ID, 2, fn.subsystemId ?? 0);
    this.#put(Config.INTERRUPT_PIN, 1, fn.interruptPin ?? 0);
    this.#writable[Config.INTERRUPT_LINE] = 0xff;
    this.#writable[Config.COMMAND] = COMMAND_WRITABLE & 0xff;
    this.#writable[Config.COMMAND + 1] = COMMAND_WRITABLE >> 8;
    this.#addCapabilities(fn.capabilities ?? []);
    for (const [index, bar] of (fn.bars ?? []).slice(0, BAR_COUNT).entries()) {
      if (bar !== undefined) this.#addBar(index, bar, assign(bar));
    }
    this.#map();
  }

  /** Makes bytes of the device-specific part writable, for bridges whose registers are mere storage here. */
  allowWrites(first: number, end: number): void {
    this.#writable.fill(0xff, first, end);
  }

  get interrupt(): boolean {
    return this.#interrupt && (this.#get(Config.COMMAND, 2) & Command.INTX_DISABLE) === 0;
  }

  get busMaster(): boolean {
    return (this.#get(Config.COMMAND, 2) & Command.BUS_MASTER) !== 0;
  }

  setInterrupt(level: boolean): void {
    this.#interrupt = level;
    this.around.interruptChanged();
  }

  read(register: number): number {
    const value = this.#config[register];
    return register === Config.STATUS && this.#interrupt ? value | Status.INTERRUPT : value;
  }

  write(register: number, value: number): void {
    const mask = this.#writable[register];
    this.#config[register] = (this.#config[register] & ~mask) | (value & mask);
    if (register === Config.COMMAND || (register >= Config.BAR_0 && register < Config.BAR_END)) this.#map();
    if (register === Config.COMMAND + 1) this.around.interruptChanged();
  }

  /** Sets bytes whatever the guest may write, as firmware and the board's wiring do. */
  preset(register: number, ...bytes: number[]): void {
    this.#config.set(bytes, register);
  }

  /** Whether it answers anywhere in a range. */
  answersIn(kind: PciBar["kind"], first: number, end: number): boolean {
    return this.#mappings.some(({ bar, base }) =>
      bar.kind === kind && base !== UNMAPPED && base < end && first < base + bar.sizeBytes
    );
  }

  #put(register: number, size: number, value: number): void {
    for (let i = 0; i < size; i++) this.#config[register + i] = (value >>> (8 * i)) & 0xff;
  }

  #get(register: number, size: number): number {
    let value = 0;
    for (let i = 0; i < size; i++) value |= this.#config[register + i] << (8 * i);
    return value >>> 0;
  }

  #addCapabilities(capabilities: readonly Uint8Array[]): void {
    let link: number = Config.CAPABILITIES, at: number = Config.DEVICE_SPECIFIC;
    for (const body of capabilities) {
      this.#config.set(body, at);
      this.#config[link] = at;
      link = at + CAPABILITY_NEXT;
      this.#config[link] = 0;
      at += Math.ceil(body.length / CAPABILITY_ALIGNMENT) * CAPABILITY_ALIGNMENT;
    }
    if (capabilities.length > 0) this.#config[Config.STATUS] |= Status.CAPABILITIES;
  }

  #addBar(index: number, bar: PciBar, base: number): void {
    const register = Config.BAR_0 + 4 * index;
    const writable = -bar.sizeBytes;
    for (let i = 0; i < 4; i++) this.#writable[register + i] = (writable >> (8 * i)) & 0xff;
    this.#put(register, 4, bar.kind === "port" ? base | BAR_IO : base);
    this.#config[Config.COMMAND] |= bar.kind === "port" ? Command.IO : Command.MEMORY;
    this.#mappings.push({ bar, name: `${this.fn.name} BAR ${index}`, register, base: UNMAPPED });
  }

  /** Claims what the BARs say, as far as the command register and the bridge's windows let it. */
  #map(): void {
    const command = this.#get(Config.COMMAND, 2);
    for (const mapping of this.#mappings) {
      const { bar, register } = mapping;
      const base = this.#get(register, 4) & -bar.sizeBytes, first = base >>> 0, end = first + bar.sizeBytes;
      const isEnabled = (command & (bar.kind === "port" ? Command.IO : Command.MEMORY)) !== 0;
      const window = bar.kind === "port" ? PORT_WINDOW : MEMORY_WINDOW;
      const wanted = isEnabled && first >= window.first && end <= window.end ? first : UNMAPPED;
      if (wanted === mapping.base) continue;
      this.#unmap(mapping);
      // Two functions at one place would fight on the bus; here the one that was there first stays.
      if (wanted !== UNMAPPED && !this.around.isTaken(bar.kind, first, end)) this.#claim(mapping, wanted);
    }
  }

  #claim(mapping: Mapping, base: number): void {
    const { bus, vm } = this.around, { bar, name } = mapping;
    mapping.base = base;
    if (bar.kind === "memory") return bus.memory(vm, base, bar.sizeBytes, name, bar.device);
    const { device } = bar;
    bus.ports(vm, base, bar.sizeBytes, name, {
      read: (port, size) => device.read(port - base, size),
      write: (port, size, value) => device.write(port - base, size, value),
    });
  }

  #unmap(mapping: Mapping): void {
    const { bus, vm } = this.around, { bar, name, base } = mapping;
    if (base === UNMAPPED) return;
    mapping.base = UNMAPPED;
    if (bar.kind === "memory") bus.releaseMemory(vm, name);
    else bus.releasePorts(vm, base, bar.sizeBytes);
  }

  save(): SavedFunction {
    return {
      config: this.#config.slice(),
      interrupt: this.#interrupt,
      mapped: this.#mappings.map(({ base }) => base),
    };
  }

  /** Gives up every range. All functions do so before any is restored. */
  release(): void {
    for (const mapping of this.#mappings) this.#unmap(mapping);
  }

  /** After `release`. */
  restore({ config, interrupt, mapped }: SavedFunction): void {
    this.#config.set(config);
    this.#interrupt = interrupt;
    for (const [index, base] of mapped.entries()) {
      if (base !== UNMAPPED) this.#claim(this.#mappings[index], base);
    }
  }
}

/** A function's state. */
export type SavedFunction = {
  readonly config: Uint8Array;
  readonly interrupt: boolean;
  readonly mapped: readonly number[];
} & { readonly [field: string]: Saved };
