// The DMA controllers of a PC/AT: two Intel 8237A (datasheet 231466) and the page registers, as registers alone. No
// device here requests a channel, so nothing is ever transferred; what probes and drivers write reads back as it should.

import type { Hasher, Saved, StateOwner } from "../../../core/mod.ts";
import type { ByteDevice } from "./isa.ts";

/** I/O ports: controller 1 (channels 0-3), page registers without port 80h, controller 2 (4-7, registers two apart). */
export const DMA1 = 0x00, DMA1_PORTS = 16, DMA_PAGES = 0x81, DMA_PAGES_PORTS = 15, DMA2 = 0xc0, DMA2_PORTS = 32;

/** Registers 0-7 of a controller are address and count of its channels; these are the rest. */
export const DmaReg = {
  STATUS: 8,
  COMMAND: 8,
  REQUEST: 9,
  SINGLE_MASK: 10,
  MODE: 11,
  CLEAR_FLIP_FLOP: 12,
  TEMPORARY: 13,
  MASTER_CLEAR: 13,
  CLEAR_MASK: 14,
  ALL_MASK: 15,
} as const;

const CHANNEL = 0x03, SET_BIT = 0x04, ALL_CHANNELS = 0x0f, REQUEST_SHIFT = 4;
/** Number of address and count registers. */
const CHANNEL_REGISTERS = 8;

type ControllerState = {
  /** Addresses at even, counts at odd indices; current registers equal base registers, as nothing is transferred. */
  registers: number[];
  modes: number[];
  command: number;
  requests: number;
  mask: number;
  /** The next access to a channel register is of the high byte. */
  highByte: boolean;
};

class Controller {
  state: ControllerState = {
    registers: new Array<number>(CHANNEL_REGISTERS).fill(0),
    modes: [0, 0, 0, 0],
    command: 0,
    requests: 0,
    mask: ALL_CHANNELS,
    highByte: false,
  };

  read(register: number): number {
    const s = this.state;
    if (register < CHANNEL_REGISTERS) {
      const value = s.registers[register];
      return this.#toggles() ? value >> 8 : value & 0xff;
    }
    if (register === DmaReg.STATUS) return s.requests << REQUEST_SHIFT;
    return register === DmaReg.ALL_MASK ? s.mask : 0;
  }

  write(register: number, value: number): void {
    const s = this.state, bit = 1 << (value & CHANNEL);
    if (register < CHANNEL_REGISTERS) {
      const old = s.registers[register];
      s.registers[register] = this.#toggles() ? (old & 0xff) | (value << 8) : (old & 0xff00) | value;
      return;
    }
    switch (register) {
      case DmaReg.COMMAND:
        s.command = value;
        break;
      case DmaReg.REQUEST:
        s.requests = (value & SET_BIT) !== 0 ? s.requests | bit : s.requests & ~bit;
        break;
      case DmaReg.SINGLE_MASK:
        s.mask = (value & SET_BIT) !== 0 ? s.mask | bit : s.mask & ~bit;
        break;
      case DmaReg.MODE:
        s.modes[value & CHANNEL] = value;
        break;
      case DmaReg.CLEAR_FLIP_FLOP:
        s.highByte = false;
        break;
      case DmaReg.MASTER_CLEAR:
        s.command = s.requests = 0;
        s.mask = ALL_CHANNELS;
        s.highByte = false;
        break;
      case DmaReg.CLEAR_MASK:
        s.mask = 0;
        break;
      case DmaReg.ALL_MASK:
        s.mask = value & ALL_CHANNELS;
    }
  }

  #toggles(): boolean {
    const wasHigh = this.state.highByte;
    this.state.highByte = !wasHigh;
    return wasHigh;
  }
}

export class Dma implements StateOwner, ByteDevice {
  readonly #controllers = [new Controller(), new Controller()];
  #pages = new Uint8Array(DMA_PAGES_PORTS);

  readByte(port: number): number {
    if (port >= DMA2) return this.#controllers[1].read((port - DMA2) >> 1);
    return port >= DMA_PAGES ? this.#pages[port - DMA_PAGES] : this.#controllers[0].read(port - DMA1);
  }

  writeByte(port: number, value: number): void {
    if (port >= DMA2) this.#controllers[1].write((port - DMA2) >> 1, value);
    else if (port >= DMA_PAGES) this.#pages[port - DMA_PAGES] = value;
    else this.#controllers[0].write(port - DMA1, value);
  }

  save(): Saved {
    return { controllers: this.#controllers.map(({ state }) => structuredClone(state)), pages: this.#pages.slice() };
  }
  restore(saved: Saved): void {
    const { controllers, pages } = saved as { controllers: ControllerState[]; pages: Uint8Array };
    controllers.forEach((state, index) => this.#controllers[index].state = structuredClone(state));
    this.#pages = pages.slice();
  }
  hash(hasher: Hasher): void {
    hasher.saved(this.save());
  }
}
