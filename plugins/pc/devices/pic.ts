// The interrupt controllers of a PC/AT: two Intel 8259A, the second cascaded on the first one's input 2 (Intel 8259A
// datasheet, order number 231468), with the edge/level control registers of the 82371SB (datasheet 290550, section 2.5).

import type { Hasher, Saved, StateOwner } from "../../../core/mod.ts";
import type { InterruptController } from "../../x86/mod.ts";
import type { ByteDevice, InterruptLine } from "./isa.ts";

/** I/O ports: command (A0 = 0) and data (A0 = 1) of both controllers, and the edge/level control registers. */
export const PIC1_COMMAND = 0x20, PIC1_DATA = 0x21, PIC2_COMMAND = 0xa0, PIC2_DATA = 0xa1, ELCR1 = 0x4d0, ELCR2 = 0x4d1;

/** Initialization command words. */
export const Icw1 = { IC4: 0x01, SNGL: 0x02, ADI: 0x04, LTIM: 0x08, INIT: 0x10 } as const;
export const Icw4 = { PM: 0x01, AEOI: 0x02, MS: 0x04, BUF: 0x08, SFNM: 0x10 } as const;
/** Operation command word 3, which has bit 3 set and bit 4 clear. */
export const Ocw3 = { RIS: 0x01, RR: 0x02, POLL: 0x04, SELECT: 0x08, SMM: 0x20, ESMM: 0x40 } as const;
/** Operation command word 2: commands in bits 7-5, a level in bits 2-0. */
export const Ocw2 = {
  ROTATE_IN_AEOI_CLEAR: 0x00,
  NON_SPECIFIC_EOI: 0x20,
  NO_OPERATION: 0x40,
  SPECIFIC_EOI: 0x60,
  ROTATE_IN_AEOI_SET: 0x80,
  ROTATE_ON_NON_SPECIFIC_EOI: 0xa0,
  SET_PRIORITY: 0xc0,
  ROTATE_ON_SPECIFIC_EOI: 0xe0,
} as const;
const OCW2_COMMAND = 0xe0, LEVEL = 0x07, VECTOR_BASE = 0xf8;

/** Bit of a poll word that says that there is a request; its level is in bits 2-0. */
export const POLL_INTERRUPT = 0x80;
/** Level that answers an acknowledge when the request went away: IR7. */
const SPURIOUS_LEVEL = 7;
/** The first controller's input that the second one drives. */
const CASCADE_LEVEL = 2;
const LEVELS = 8;
/** Lines that may be level-triggered: not the timer, keyboard and cascade (0-2), not the clock (8) and FERR (13). */
const ELCR1_WRITABLE = 0xf8, ELCR2_WRITABLE = 0xde;
/** Where PC firmware puts the two controllers' vectors. */
const FIRMWARE_VECTORS_1 = 0x08, FIRMWARE_VECTORS_2 = 0x70;

/** What the next write with A0 = 1 means. */
const Expects = { ocw1: 0, icw2: 2, icw3: 3, icw4: 4 } as const;

type ChipState = {
  /** IRR, ISR and IMR. */
  requests: number;
  inService: number;
  mask: number;
  /** Present levels of the eight inputs. */
  inputs: number;
  /** ELCR: a set bit makes an input level-triggered. */
  levelTriggered: number;
  vectorBase: number;
  /** Level of lowest priority: 7 unless rotated. */
  lowestPriority: number;
  expects: number;
  icw1: number;
  icw3: number;
  icw4: number;
  rotateInAutoEoi: boolean;
  specialMask: boolean;
  readsInService: boolean;
  polled: boolean;
};

/** One 8259A. */
class Controller {
  #state: ChipState;

  constructor(readonly isMaster: boolean, vectorBase: number, readonly writableElcr: number) {
    // As firmware leaves it, with everything masked, because no handler of firmware's is there.
    this.#state = {
      requests: 0,
      inService: 0,
      mask: 0xff,
      inputs: 0,
      levelTriggered: 0,
      vectorBase,
      lowestPriority: LEVELS - 1,
      expects: Expects.ocw1,
      icw1: Icw1.INIT | Icw1.IC4,
      icw3: 0,
      icw4: Icw4.PM,
      rotateInAutoEoi: false,
      specialMask: false,
      readsInService: false,
      polled: false,
    };
  }

  get vectorBase(): number {
    return this.#state.vectorBase;
  }

  /** An edge-triggered request needs a low-to-high transition, and its input high until it is acknowledged. */
  setInput(level: number, high: boolean): void {
    const s = this.#state, bit = 1 << level;
    if (high) {
      if ((s.inputs & bit) === 0 || (s.levelTriggered & bit) !== 0) s.requests |= bit;
      s.inputs |= bit;
    } else {
      s.inputs &= ~bit;
      s.requests &= ~bit;
    }
  }

  /** The level that INT is active for, or -1. */
  pendingLevel(): number {
    const s = this.#state;
    if (s.expects !== Expects.ocw1) return -1;
    const pending = s.requests & ~s.mask;
    if (pending === 0) return -1;
    // Special mask mode: a masked level in service inhibits nothing.
    const inhibiting = s.specialMask ? s.inService & ~s.mask : s.inService;
    const nestsCascade = this.isMaster && (s.icw4 & Icw4.SFNM) !== 0;
    for (let i = 1; i <= LEVELS; i++) {
      const level = (s.lowestPriority + i) & LEVEL, bit = 1 << level;
      // Special fully nested mode: the slave's higher requests come through while one of its own is in service.
      if (nestsCascade && level === CASCADE_LEVEL && (pending & bit) !== 0) return level;
      if ((inhibiting & bit) !== 0) return -1;
      if ((pending & bit) !== 0) return level;
    }
    return -1;
  }

  /** An interrupt acknowledge sequence: returns the level now in service, or -1 when the request has gone. */
  acknowledge(): number {
    const s = this.#state, level = this.pendingLevel();
    if (level < 0) return -1;
    const bit = 1 << level;
    if ((s.levelTriggered & bit) === 0) s.requests &= ~bit;
    if ((s.icw4 & Icw4.AEOI) === 0) s.inService |= bit;
    else if (s.rotateInAutoEoi) s.lowestPriority = level;
    return level;
  }

  read(a0: boolean): number {
    const s = this.#state;
    if (s.polled) {
      s.polled = false;
      const level = this.acknowledge();
      return level < 0 ? 0 : POLL_INTERRUPT | level;
    }
    if (a0) return s.mask;
    return s.readsInService ? s.inService : s.requests;
  }

  write(a0: boolean, value: number): void {
    if (a0) this.#writeData(value);
    else if ((value & Icw1.INIT) !== 0) this.#initialize(value);
    else if ((value & Ocw3.SELECT) !== 0) this.#writeOcw3(value);
    else this.#writeOcw2(value);
  }

  get elcr(): number {
    return this.#state.levelTriggered;
  }
  set elcr(value: number) {
    const s = this.#state;
    s.levelTriggered = value & this.writableElcr;
    s.requests |= s.inputs & s.levelTriggered;
  }

  /** ICW1. LTIM is ignored: the edge/level control registers took its place (82371SB, section 2.5). */
  #initialize(icw1: number): void {
    const s = this.#state;
    s.icw1 = icw1;
    if ((icw1 & Icw1.IC4) === 0) s.icw4 = 0;
    s.expects = Expects.icw2;
    // The edge sense circuit is reset: only a new transition, or a level, requests.
    s.requests = s.inputs & s.levelTriggered;
    s.inService = 0;
    s.mask = 0;
    s.lowestPriority = LEVELS - 1;
    s.rotateInAutoEoi =
      s.specialMask =
      s.readsInService =
      s.polled =
        false;
  }

  /** ICW2-ICW4 in turn, then OCW1. */
  #writeData(value: number): void {
    const s = this.#state;
    const afterIcw3 = (s.icw1 & Icw1.IC4) !== 0 ? Expects.icw4 : Expects.ocw1;
    switch (s.expects) {
      case Expects.icw2:
        s.vectorBase = value & VECTOR_BASE;
        s.expects = (s.icw1 & Icw1.SNGL) !== 0 ? afterIcw3 : Expects.icw3;
        break;
      case Expects.icw3:
        s.icw3 = value;
        s.expects = afterIcw3;
        break;
      case Expects.icw4:
        s.icw4 = value;
        s.expects = Expects.ocw1;
        break;
      default:
        s.mask = value;
    }
  }

  #writeOcw2(value: number): void {
    const s = this.#state, level = value & LEVEL;
    switch (value & OCW2_COMMAND) {
      case Ocw2.NON_SPECIFIC_EOI:
        this.#endHighest();
        break;
      case Ocw2.SPECIFIC_EOI:
        s.inService &= ~(1 << level);
        break;
      case Ocw2.ROTATE_ON_NON_SPECIFIC_EOI: {
        const ended = this.#endHighest();
        if (ended >= 0) s.lowestPriority = ended;
        break;
      }
      case Ocw2.ROTATE_ON_SPECIFIC_EOI:
        s.inService &= ~(1 << level);
        s.lowestPriority = level;
        break;
      case Ocw2.SET_PRIORITY:
        s.lowestPriority = level;
        break;
      case Ocw2.ROTATE_IN_AEOI_SET:
      case Ocw2.ROTATE_IN_AEOI_CLEAR:
        s.rotateInAutoEoi = (value & OCW2_COMMAND) === Ocw2.ROTATE_IN_AEOI_SET;
    }
  }

  /** Ends the level of highest priority in service; in special mask mode, masked ones are left alone. */
  #endHighest(): number {
    const s = this.#state;
    const endable = s.specialMask ? s.inService & ~s.mask : s.inService;
    for (let i = 1; i <= LEVELS; i++) {
      const level = (s.lowestPriority + i) & LEVEL;
      if ((endable & (1 << level)) === 0) continue;
      s.inService &= ~(1 << level);
      return level;
    }
    return -1;
  }

  #writeOcw3(value: number): void {
    const s = this.#state;
    if ((value & Ocw3.ESMM) !== 0) s.specialMask = (value & Ocw3.SMM) !== 0;
    if ((value & Ocw3.RR) !== 0) s.readsInService = (value & Ocw3.RIS) !== 0;
    s.polled = (value & Ocw3.POLL) !== 0;
  }

  save(): ChipState {
    return structuredClone(this.#state);
  }
  restore(saved: ChipState): void {
    this.#state = structuredClone(saved);
  }
}

/** The pair. `setLine` takes IRQ 0-15; `interrupt` is the processor's INTR pin. */
export class Pic implements StateOwner, ByteDevice, InterruptController {
  readonly #master = new Controller(true, FIRMWARE_VECTORS_1, ELCR1_WRITABLE);
  readonly #slave = new Controller(false, FIRMWARE_VECTORS_2, ELCR2_WRITABLE);

  /** Present level of INTR, so that the processor hears of changes alone. */
  #intr = false;

  constructor(readonly interrupt: InterruptLine) {}

  /** Level of one interrupt request line. */
  setLine(irq: number, high: boolean): void {
    if (irq >= LEVELS) this.#slave.setInput(irq - LEVELS, high);
    else if (irq !== CASCADE_LEVEL) this.#master.setInput(irq, high);
    this.#update();
  }

  /** The processor's INTA cycles: returns the vector, IR7's of the controller whose request has gone. */
  acknowledge(): number {
    const level = this.#master.acknowledge();
    let vector = this.#master.vectorBase + (level < 0 ? SPURIOUS_LEVEL : level);
    if (level === CASCADE_LEVEL) {
      const slaveLevel = this.#slave.acknowledge();
      vector = this.#slave.vectorBase + (slaveLevel < 0 ? SPURIOUS_LEVEL : slaveLevel);
      // The slave's INT falls with the acknowledge; what it requests next is a new edge.
      this.#master.setInput(CASCADE_LEVEL, false);
    }
    this.#update();
    return vector;
  }

  /** Makes lines level-triggered, as firmware does for PCI interrupts; `irqs` has a bit per line. */
  setLevelTriggered(irqs: number): void {
    this.#master.elcr = irqs & 0xff;
    this.#slave.elcr = irqs >> LEVELS;
    this.#update();
  }

  /** Lines that are level-triggered, a bit each. */
  get levelTriggered(): number {
    return this.#master.elcr | (this.#slave.elcr << LEVELS);
  }

  readByte(port: number): number {
    if (port === ELCR1) return this.#master.elcr;
    if (port === ELCR2) return this.#slave.elcr;
    const isMaster = port === PIC1_COMMAND || port === PIC1_DATA;
    const value = (isMaster ? this.#master : this.#slave).read(port === PIC1_DATA || port === PIC2_DATA);
    this.#update();
    return value;
  }

  writeByte(port: number, value: number): void {
    if (port === ELCR1) this.#master.elcr = value;
    else if (port === ELCR2) this.#slave.elcr = value;
    else if (port === PIC1_COMMAND || port === PIC1_DATA) this.#master.write(port === PIC1_DATA, value);
    else this.#slave.write(port === PIC2_DATA, value);
    this.#update();
  }

  /** Carries the slave's INT to the master and the master's to the processor. */
  #update(): void {
    this.#master.setInput(CASCADE_LEVEL, this.#slave.pendingLevel() >= 0);
    const intr = this.#master.pendingLevel() >= 0;
    if (intr === this.#intr) return;
    this.#intr = intr;
    this.interrupt(intr);
  }

  save(): Saved {
    return { master: this.#master.save(), slave: this.#slave.save() };
  }
  restore(saved: Saved): void {
    const { master, slave } = saved as { master: ChipState; slave: ChipState };
    this.#master.restore(master);
    this.#slave.restore(slave);
    this.#intr = this.#master.pendingLevel() >= 0;
    this.interrupt(this.#intr);
  }
  hash(hasher: Hasher): void {
    hasher.saved(this.save());
  }
}
