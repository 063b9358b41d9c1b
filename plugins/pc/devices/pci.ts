// PCI bus 0 of a PC: an 82441FX host bridge (Intel 440FX datasheet 290549) with configuration mechanism #1, and an
// 82371SB ISA bridge (datasheet 290550) that routes the four PCI interrupts to IRQ lines. No BIOS32 service: drivers find
// the bus by the mechanism itself.

import { type Hasher, InputError, type Saved, type StateOwner, type Vm } from "../../../core/mod.ts";
import type { AccessSize, Bus, PortDevice } from "../../x86/mod.ts";
import type { PciBar, PciBus, PciFunction } from "../services.ts";
import { FLOATING_BYTE } from "./isa.ts";
import {
  Config,
  CONFIG_SIZE,
  FunctionSlot,
  MEMORY_WINDOW,
  type PciSurroundings,
  PORT_WINDOW,
  type SavedFunction,
} from "./pci_function.ts";

/** I/O ports: configuration address (whole double words only), reset control, configuration data. */
export const CONFIG_ADDRESS = 0xcf8, RESET_CONTROL = 0xcf9, CONFIG_DATA = 0xcfc, PCI_PORTS = 8;

/** Configuration address: enable, bus, device, function, register. */
const ENABLE = 0x8000_0000, ADDRESS_BITS = 0x80ff_fffc;
const BUS_SHIFT = 16, DEVICE_SHIFT = 11, FUNCTION_SHIFT = 8, BUS_MASK = 0xff, DEVICE_MASK = 0x1f, FUNCTION_MASK = 7;
export const DEVICES = 32;

/** Reset control: a rising RESET_CPU resets. */
export const ResetControl = { SYSTEM_RESET: 0x02, RESET_CPU: 0x04 } as const;

/** The bridges. */
export const INTEL = 0x8086, HOST_BRIDGE_440FX = 0x1237, ISA_BRIDGE_PIIX3 = 0x7000;
const CLASS_HOST_BRIDGE = 0x060000, CLASS_ISA_BRIDGE = 0x060100;
export const ISA_BRIDGE_DEVICE = 1;
const HOST_BRIDGE_DEVICE = 0, HOST_BRIDGE_REVISION = 2;
/** PIRQRC[A:D] of the ISA bridge: an IRQ line, and a bit that disconnects the pin. */
export const PIRQ_ROUTE_A = 0x60;
export const PIRQ_COUNT = 4;
const ROUTE_DISABLED = 0x80, ROUTE_IRQ = 0x0f;
/** Lines that a PCI interrupt may be routed to: 3-7, 9-12, 14 and 15. */
const ROUTABLE_IRQS = 0xdef8;
/** Firmware's routes for PIRQA# to PIRQD#. */
export const FIRMWARE_ROUTES = [11, 10, 9, 5] as const;

/** What the bus needs of the board. */
export interface PciBoard {
  readonly setLine: (irq: number, level: boolean) => void;
  readonly reset: () => void;
}

export class Pci implements StateOwner, PortDevice, PciBus {
  readonly #slots: FunctionSlot[] = [];
  readonly #isaBridge: FunctionSlot;
  readonly #around: PciSurroundings;
  #address = 0;
  #resetControl = 0;
  /** IRQ lines that are high because of the bus, a bit each. */
  #driven = 0;
  #nextPort: number = PORT_WINDOW.first;
  #nextMemory: number = MEMORY_WINDOW.first;

  constructor(vm: Vm, bus: Bus, readonly board: PciBoard) {
    this.#around = {
      vm,
      bus,
      interruptChanged: () => this.#route(),
      isTaken: (kind, first, end) => this.#slots.some((slot) => slot.answersIn(kind, first, end)),
    };
    const bridge = { vendorId: INTEL, revision: 0 };
    const host = this.#place(HOST_BRIDGE_DEVICE, {
      ...bridge,
      name: "host bridge",
      deviceId: HOST_BRIDGE_440FX,
      classCode: CLASS_HOST_BRIDGE,
      revision: HOST_BRIDGE_REVISION,
    });
    this.#isaBridge = this.#place(ISA_BRIDGE_DEVICE, {
      ...bridge,
      name: "ISA bridge",
      deviceId: ISA_BRIDGE_PIIX3,
      classCode: CLASS_ISA_BRIDGE,
    });
    // Their own registers (memory attributes, timings, passive release) are kept and change nothing, the routes excepted.
    for (const slot of [host, this.#isaBridge]) slot.allowWrites(Config.DEVICE_SPECIFIC, CONFIG_SIZE);
    this.#isaBridge.preset(PIRQ_ROUTE_A, ...FIRMWARE_ROUTES);
  }

  /** Whether the bus holds an IRQ line high. */
  drives(irq: number): boolean {
    return ((this.#driven >> irq) & 1) !== 0;
  }

  add(fn: PciFunction, device = this.#freeDevice()): FunctionSlot {
    const other = this.#slots.find((slot) => slot.device === device);
    if (other !== undefined || device < 0 || device >= DEVICES) {
      const reason = other === undefined ? `there are ${DEVICES}` : `"${other.fn.name}" is there`;
      throw new InputError(`PCI function "${fn.name}" cannot be device ${device}: ${reason}`);
    }
    const slot = this.#place(device, fn);
    if (fn.interruptPin !== undefined) slot.preset(Config.INTERRUPT_LINE, FIRMWARE_ROUTES[pirqOf(slot)]);
    return slot;
  }

  read(port: number, size: AccessSize): number {
    if (port === CONFIG_ADDRESS && size === 4) return this.#address >>> 0;
    let value = 0;
    for (let i = 0; i < size; i++) value |= this.#readByte(port + i) << (8 * i);
    return value >>> 0;
  }

  write(port: number, size: AccessSize, value: number): void {
    if (port === CONFIG_ADDRESS && size === 4) {
      this.#address = (value & ADDRESS_BITS) >>> 0;
      return;
    }
    for (let i = 0; i < size; i++) this.#writeByte(port + i, (value >>> (8 * i)) & 0xff);
  }

  #readByte(port: number): number {
    if (port === RESET_CONTROL) return this.#resetControl;
    if (port < CONFIG_DATA || port >= CONFIG_DATA + 4) return FLOATING_BYTE;
    return this.#selected()?.read(this.#register(port)) ?? FLOATING_BYTE;
  }

  #writeByte(port: number, value: number): void {
    if (port === RESET_CONTROL) {
      const rises = (value & ~this.#resetControl & ResetControl.RESET_CPU) !== 0;
      this.#resetControl = value & (ResetControl.SYSTEM_RESET | ResetControl.RESET_CPU);
      if (rises) this.board.reset();
      return;
    }
    if (port < CONFIG_DATA || port >= CONFIG_DATA + 4) return;
    const slot = this.#selected(), register = this.#register(port);
    slot?.write(register, value);
    if (slot === this.#isaBridge && register >= PIRQ_ROUTE_A && register < PIRQ_ROUTE_A + PIRQ_COUNT) this.#route();
  }

  #register(port: number): number {
    return (this.#address & (CONFIG_SIZE - 1)) | (port & 3);
  }

  /** The function that the configuration address names: only function 0 of devices on bus 0 exists. */
  #selected(): FunctionSlot | undefined {
    const address = this.#address;
    if ((address & ENABLE) === 0) return undefined;
    if (((address >> BUS_SHIFT) & BUS_MASK) !== 0 || ((address >> FUNCTION_SHIFT) & FUNCTION_MASK) !== 0) {
      return undefined;
    }
    const device = (address >> DEVICE_SHIFT) & DEVICE_MASK;
    return this.#slots.find((slot) => slot.device === device);
  }

  #freeDevice(): number {
    for (let device = 0; device < DEVICES; device++) {
      if (!this.#slots.some((slot) => slot.device === device)) return device;
    }
    return DEVICES;
  }

  #place(device: number, fn: PciFunction): FunctionSlot {
    const slot = new FunctionSlot(device, fn, this.#around, (bar) => this.#assign(bar, fn.name));
    this.#slots.push(slot);
    return slot;
  }

  /** The next free range of a BAR's size, aligned to it, as firmware assigns them. */
  #assign(bar: PciBar, name: string): number {
    const isPort = bar.kind === "port", window = isPort ? PORT_WINDOW : MEMORY_WINDOW;
    const next = isPort ? this.#nextPort : this.#nextMemory;
    const base = Math.ceil(next / bar.sizeBytes) * bar.sizeBytes, end = base + bar.sizeBytes;
    if (end > window.end) throw new InputError(`no room on the PCI bus for ${bar.sizeBytes} bytes of "${name}"`);
    if (isPort) this.#nextPort = end;
    else this.#nextMemory = end;
    return base;
  }

  /** Carries the functions' pins through the ISA bridge's routes to the IRQ lines. */
  #route(): void {
    let driven = 0;
    for (const slot of this.#slots) {
      if (!slot.interrupt) continue;
      const route = this.#isaBridge.read(PIRQ_ROUTE_A + pirqOf(slot));
      if ((route & ROUTE_DISABLED) === 0) driven |= (1 << (route & ROUTE_IRQ)) & ROUTABLE_IRQS;
    }
    const changed = driven ^ this.#driven;
    this.#driven = driven;
    for (let irq = 0; changed >> irq !== 0; irq++) {
      if ((changed >> irq) & 1) this.board.setLine(irq, ((driven >> irq) & 1) !== 0);
    }
  }

  save(): Saved {
    return {
      address: this.#address,
      resetControl: this.#resetControl,
      driven: this.#driven,
      functions: this.#slots.map((slot) => slot.save()),
    };
  }
  restore(saved: Saved): void {
    const state = saved as { address: number; resetControl: number; driven: number; functions: SavedFunction[] };
    this.#address = state.address;
    this.#resetControl = state.resetControl;
    this.#driven = state.driven;
    for (const slot of this.#slots) slot.release();
    for (const [index, slot] of this.#slots.entries()) slot.restore(state.functions[index]);
  }
  hash(hasher: Hasher): void {
    hasher.saved(this.save());
  }
}

function pirqOf(slot: FunctionSlot): number {
  return pirqOfPin(slot.device, (slot.fn.interruptPin ?? 1) - 1);
}

/** Which of the four interrupts a pin (INTA# being 0) is wired to: each device's pins are rotated by its number. */
export function pirqOfPin(device: number, pin: number): number {
  return (device + pin - 1 + PIRQ_COUNT) % PIRQ_COUNT;
}
