// The I/O APIC: an Intel 82093AA (datasheet 290566) with 24 inputs, each with an entry of the redirection table that says
// which interrupt message it sends. Registers are reached through an index and a window.

import type { Hasher, Saved, StateOwner } from "../../../core/mod.ts";
import type { AccessSize, MemoryDevice } from "../../x86/mod.ts";
import { type ApicMessage, DeliveryMode, Entry, messageOf, modeOf } from "./apic_message.ts";

/** Guest-physical place. */
export const IO_APIC_BASE = 0xfec0_0000, IO_APIC_BYTES = 0x1000;
/** The two words through which the registers are reached. */
export const IOREGSEL = 0x00, IOWIN = 0x10;
/** Registers by index; the redirection table has two words an entry. */
export const IoApicReg = { ID: 0x00, VERSION: 0x01, ARBITRATION: 0x02, TABLE: 0x10 } as const;
export const IO_APIC_INPUTS = 24;
/** Identifier that firmware gives it, beside the processor's 0; and the version that it states. */
export const IO_APIC_ID = 1, IO_APIC_VERSION = 0x11;

const ID_SHIFT = 24, ID_BITS = 0x0f00_0000, LAST_ENTRY_SHIFT = 16, INDEX = 0xff;
const READ_ONLY_LOW = Entry.DELIVERY_PENDING | Entry.REMOTE_IRR, WRITABLE_LOW = 0x1_ffff & ~READ_ONLY_LOW;
const WRITABLE_HIGH = 0xff00_0000;

type State = {
  index: number;
  id: number;
  low: number[];
  high: number[];
  /** Present levels of the inputs, a bit each. */
  inputs: number;
};

/** What it needs of the local APIC. */
export interface ApicBus {
  /** Sends a message; false if nobody took it. */
  deliver(message: ApicMessage): boolean;
  /** Whether an input in the mode for 8259s asks for the processor. */
  setExternal(level: boolean): void;
}

/**
 * An input's polarity bit is kept and changes nothing: devices here assert a line or do not, and no voltage is between
 * them and the input.
 */
export class IoApic implements StateOwner, MemoryDevice {
  #state: State = {
    index: 0,
    id: IO_APIC_ID << ID_SHIFT,
    low: new Array<number>(IO_APIC_INPUTS).fill(Entry.MASKED),
    high: new Array<number>(IO_APIC_INPUTS).fill(0),
    inputs: 0,
  };

  constructor(readonly bus: ApicBus) {}

  /** Level of an input. An edge on a masked one is lost, as in the chip. */
  setInput(input: number, level: boolean): void {
    const s = this.#state, bit = 1 << input, was = (s.inputs & bit) !== 0;
    if (was === level) return;
    s.inputs ^= bit;
    const entry = s.low[input];
    if (modeOf(entry) === DeliveryMode.external) this.#updateExternal();
    else if ((entry & Entry.LEVEL_TRIGGERED) !== 0) this.#sendLevel(input);
    else if (level && (entry & Entry.MASKED) === 0) this.bus.deliver(messageOf(entry, s.high[input]));
  }

  /** The processor has ended a level-triggered interrupt: inputs that are still high send again. */
  endOfInterrupt(vector: number): void {
    const { low } = this.#state;
    for (let input = 0; input < IO_APIC_INPUTS; input++) {
      if ((low[input] & Entry.VECTOR) !== vector || (low[input] & Entry.REMOTE_IRR) === 0) continue;
      low[input] &= ~Entry.REMOTE_IRR;
      this.#sendLevel(input);
    }
  }

  read(offset: number, size: AccessSize): number {
    const word = offset & ~3, s = this.#state;
    const value = word === IOREGSEL ? s.index : word === IOWIN ? this.#readRegister(s.index) : 0;
    const shifted = (value >>> (8 * (offset & 3))) >>> 0;
    return size === 4 ? shifted : shifted & (size === 2 ? 0xffff : 0xff);
  }

  /** The window takes whole words only. */
  write(offset: number, size: AccessSize, value: number): void {
    if (offset === IOREGSEL) this.#state.index = value & INDEX;
    else if (offset === IOWIN && size === 4) this.#writeRegister(this.#state.index, value);
  }

  #readRegister(index: number): number {
    const { id, low, high } = this.#state;
    if (index === IoApicReg.ID || index === IoApicReg.ARBITRATION) return id;
    if (index === IoApicReg.VERSION) return IO_APIC_VERSION | ((IO_APIC_INPUTS - 1) << LAST_ENTRY_SHIFT);
    const input = (index - IoApicReg.TABLE) >> 1;
    if (input < 0 || input >= IO_APIC_INPUTS) return 0;
    return (index & 1) !== 0 ? high[input] : low[input];
  }

  #writeRegister(index: number, value: number): void {
    const s = this.#state, input = (index - IoApicReg.TABLE) >> 1;
    if (index === IoApicReg.ID) s.id = value & ID_BITS;
    if (input < 0 || input >= IO_APIC_INPUTS) return;
    if ((index & 1) !== 0) {
      s.high[input] = (value & WRITABLE_HIGH) >>> 0;
      return;
    }
    s.low[input] = (value & WRITABLE_LOW) | (s.low[input] & Entry.REMOTE_IRR);
    // An edge-triggered entry has no interrupt in service: software that turns it to edge and back ends a stuck one.
    if ((value & Entry.LEVEL_TRIGGERED) === 0) s.low[input] &= ~Entry.REMOTE_IRR;
    this.#updateExternal();
    this.#sendLevel(input);
  }

  /** Sends a level-triggered input's message if it is high, unmasked and not in service. */
  #sendLevel(input: number): void {
    const s = this.#state, entry = s.low[input];
    const wanted = Entry.LEVEL_TRIGGERED, blocking = Entry.MASKED | Entry.REMOTE_IRR;
    if ((s.inputs & (1 << input)) === 0 || (entry & (wanted | blocking)) !== wanted) return;
    if (modeOf(entry) === DeliveryMode.external) return;
    if (this.bus.deliver(messageOf(entry, s.high[input]))) s.low[input] |= Entry.REMOTE_IRR;
  }

  #updateExternal(): void {
    const { low, inputs } = this.#state;
    const asks = (entry: number, input: number) =>
      modeOf(entry) === DeliveryMode.external && (entry & Entry.MASKED) === 0 && (inputs & (1 << input)) !== 0;
    this.bus.setExternal(low.some(asks));
  }

  save(): Saved {
    return structuredClone(this.#state);
  }
  restore(saved: Saved): void {
    this.#state = structuredClone(saved as State);
  }
  hash(hasher: Hasher): void {
    hasher.saved(this.save());
  }
}
