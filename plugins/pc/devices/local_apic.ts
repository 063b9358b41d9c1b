// The processor's local APIC (Intel SDM 3A, chapter 11): takes interrupts from the 8259s, the I/O APIC, its own timer and
// its command register, holds them by priority, and drives the processor's INTR. One processor, so that messages either
// are for it or for nobody. It starts as firmware leaves it: enabled, and passing the 8259s' interrupts through.

import type { GuestClock, Hasher, Saved, StateOwner } from "../../../core/mod.ts";
import type { AccessSize, InterruptController, MemoryDevice } from "../../x86/mod.ts";
import {
  type ApicMessage,
  DeliveryMode,
  DESTINATION_SHIFT,
  Entry,
  FIRST_LEGAL_VECTOR,
  messageOf,
  modeBits,
  modeOf,
} from "./apic_message.ts";
import { ApicTimer } from "./apic_timer.ts";
import type { InterruptLine } from "./isa.ts";

/** Guest-physical place, and the identifier at power-on. */
export const LOCAL_APIC_BASE = 0xfee0_0000, LOCAL_APIC_BYTES = 0x1000, LOCAL_APIC_ID = 0;
/** An xAPIC. */
export const LOCAL_APIC_VERSION = 0x14;

/** Registers by offset: one word each, 16 bytes apart. ISR, TMR and IRR have eight. */
export const ApicReg = {
  ID: 0x020,
  VERSION: 0x030,
  TPR: 0x080,
  APR: 0x090,
  PPR: 0x0a0,
  EOI: 0x0b0,
  RRD: 0x0c0,
  LDR: 0x0d0,
  DFR: 0x0e0,
  SVR: 0x0f0,
  ISR: 0x100,
  TMR: 0x180,
  IRR: 0x200,
  ESR: 0x280,
  ICR_LOW: 0x300,
  ICR_HIGH: 0x310,
  LVT_TIMER: 0x320,
  LVT_THERMAL: 0x330,
  LVT_PERFORMANCE: 0x340,
  LVT_LINT0: 0x350,
  LVT_LINT1: 0x360,
  LVT_ERROR: 0x370,
  INITIAL_COUNT: 0x380,
  CURRENT_COUNT: 0x390,
  DIVIDE: 0x3e0,
} as const;

/** Spurious vector register: the vector, and the software enable. */
export const Svr = { VECTOR: 0xff, ENABLED: 0x100 } as const;
const SVR_WRITABLE = 0x3ff;
/** Timer entry of the local vector table. */
export const LVT_PERIODIC = 0x2_0000;
/** Error status. */
export const ApicError = { SEND_ILLEGAL_VECTOR: 0x20, RECEIVE_ILLEGAL_VECTOR: 0x40, ILLEGAL_REGISTER: 0x80 } as const;
/** Interrupt command: bits 19-18 name a destination without an identifier; INIT with a low level is for bus arbitration. */
export const Shorthand = { none: 0, self: 1, all: 2, others: 3 } as const;
const SHORTHAND_SHIFT = 18, SHORTHAND_MASK = 3, ICR_LEVEL = 0x4000, ICR_WRITABLE = 0xc_cfff;

/** The local vector table, in order from LVT_TIMER, and what can be written there. */
const Lvt = { timer: 0, thermal: 1, performance: 2, lint0: 3, lint1: 4, error: 5 } as const;
const LVT_WRITABLE = [0x3_00ff, 0x1_07ff, 0x1_07ff, 0x1_a7ff, 0x1_a7ff, 0x1_00ff] as const;
const LVT_SHIFT = 16, LAST_LVT = Lvt.error;

const REGISTER_SPACING = 0x10, SET_WORDS = 8, PRIORITY_CLASS = 0xf0;
const ID_BITS = 0xff00_0000, BROADCAST = 0xff, DFR_RESERVED = 0x0fff_ffff, FLAT_MODEL = 0xf;
const CLUSTER_SHIFT = 4, CLUSTER_MEMBERS = 0xf;

/** IA32_APIC_BASE: bits of its low word; bits 35-32 of the base are in the high word. */
export const IA32_APIC_BASE = 0x1b;
export const ApicBase = { BOOTSTRAP: 0x100, ENABLED: 0x800 } as const;

/** Pins of the processor that the local vector table handles: 8259s' INTR, and NMI. */
export const LINT0 = 0, LINT1 = 1;

/** What it is wired to. */
export interface LocalApicWiring {
  /** The processor's INTR. */
  readonly interrupt: InterruptLine;
  readonly nmi: () => void;
  /** INIT: the processor starts over, which on this machine means a reset. */
  readonly init: () => void;
  /** The 8259s' acknowledge: their vector. */
  readonly acknowledgeExternal: () => number;
  /** A level-triggered interrupt has ended. */
  readonly endOfInterrupt: (vector: number) => void;
}

type State = {
  /** Of IA32_APIC_BASE: without it the pins are INTR and NMI, as on a processor without APIC. */
  enabled: boolean;
  id: number;
  taskPriority: number;
  logicalId: number;
  destinationFormat: number;
  spurious: number;
  commandLow: number;
  commandHigh: number;
  /** ESR as read, and what the next write of it shows. */
  errorStatus: number;
  errors: number;
  lvt: number[];
  /** IRR, ISR, TMR: sets of vectors. */
  requests: number[];
  inService: number[];
  levelTriggered: number[];
  /** Levels of the LINT pins, a bit each; and of the I/O APIC's input in the mode for 8259s. */
  lint: number;
  external: boolean;
};

const emptySet = () => new Array<number>(SET_WORDS).fill(0);

/** State after INIT (SDM 3A, 11.4.7.1). */
const atReset = (): State => ({
  enabled: true,
  id: LOCAL_APIC_ID << DESTINATION_SHIFT,
  taskPriority: 0,
  logicalId: 0,
  destinationFormat: 0xffff_ffff,
  spurious: Svr.VECTOR,
  commandLow: 0,
  commandHigh: 0,
  errorStatus: 0,
  errors: 0,
  lvt: new Array<number>(LAST_LVT + 1).fill(Entry.MASKED),
  requests: emptySet(),
  inService: emptySet(),
  levelTriggered: emptySet(),
  lint: 0,
  external: false,
});

export class LocalApic implements StateOwner, MemoryDevice, InterruptController {
  #state = atReset();
  readonly #timer: ApicTimer;
  /** Present level of INTR, so that the processor hears of changes alone. */
  #intr = false;

  constructor(clock: GuestClock, readonly busMhz: number, readonly wiring: LocalApicWiring) {
    this.#timer = new ApicTimer(clock, busMhz, () => {
      this.#raiseLocal(Lvt.timer);
      this.#update();
    });
    // As firmware does ("virtual wire mode"; MultiProcessor Specification 1.4, section 3.6.2.2).
    this.#state.spurious |= Svr.ENABLED;
    this.#state.lvt[Lvt.lint0] = modeBits(DeliveryMode.external);
    this.#state.lvt[Lvt.lint1] = modeBits(DeliveryMode.nmi);
  }

  /** Whether IA32_APIC_BASE enables it: CPUID says so too. */
  get enabled(): boolean {
    return this.#state.enabled;
  }

  /** IA32_APIC_BASE as [low, high]. */
  readBase(): readonly [number, number] {
    return [LOCAL_APIC_BASE | ApicBase.BOOTSTRAP | (this.#state.enabled ? ApicBase.ENABLED : 0), 0];
  }

  /** False for reserved bits, and for another base: the APIC stays where it is, as KVM's does. */
  writeBase(low: number, high: number): boolean {
    if (high !== 0 || ((low & ~(ApicBase.BOOTSTRAP | ApicBase.ENABLED)) >>> 0) !== LOCAL_APIC_BASE) return false;
    const enabled = (low & ApicBase.ENABLED) !== 0, { lint, external } = this.#state;
    if (enabled === this.#state.enabled) return true;
    this.#state = { ...atReset(), enabled, lint, external };
    this.#timer.reset();
    this.#update();
    return true;
  }

  /** Level of LINT0 or LINT1. Fixed interrupts on these pins are taken on rising edges, whatever their trigger mode. */
  setLint(pin: typeof LINT0 | typeof LINT1, level: boolean): void {
    const s = this.#state, bit = 1 << pin, rises = level && (s.lint & bit) === 0;
    s.lint = level ? s.lint | bit : s.lint & ~bit;
    if (rises && s.enabled) this.#raiseLocal(Lvt.lint0 + pin);
    else if (rises && pin === LINT1) this.wiring.nmi();
    this.#update();
  }

  setExternal(level: boolean): void {
    this.#state.external = level;
    this.#update();
  }

  /** A message from the I/O APIC: whether it is for this processor and was taken. */
  deliver(message: ApicMessage): boolean {
    if (!this.#isEnabledBySoftware() || !this.#isFor(message)) return false;
    return this.#take(message);
  }

  /** The processor takes an interrupt: 8259s' first, then the highest vector; the spurious one when none is left. */
  acknowledge(): number {
    const s = this.#state;
    let vector = s.spurious & Svr.VECTOR;
    if (this.#asksExternal()) vector = this.wiring.acknowledgeExternal();
    else if (this.#asksItself()) {
      vector = highest(s.requests);
      remove(s.requests, vector);
      add(s.inService, vector);
    }
    this.#update();
    return vector;
  }

  read(offset: number, size: AccessSize): number {
    if (!this.#state.enabled) return 0xffff_ffff >>> (32 - 8 * size);
    // Only the first word of each 16 bytes is there; what reads less than a word gets its part.
    const register = offset & ~(REGISTER_SPACING - 1), byte = offset - register;
    if (byte >= 4) return 0;
    const value = this.#readRegister(register);
    return ((value >>> (8 * byte)) & (0xffff_ffff >>> (32 - 8 * size))) >>> 0;
  }

  /** Whole words only. */
  write(offset: number, size: AccessSize, value: number): void {
    if (!this.#state.enabled || size !== 4 || offset % REGISTER_SPACING !== 0) return;
    this.#writeRegister(offset, value);
    this.#update();
  }

  #readRegister(register: number): number {
    const s = this.#state;
    const set = (words: readonly number[], first: number) => words[(register - first) / REGISTER_SPACING];
    if (register >= ApicReg.ISR && register < ApicReg.TMR) return set(s.inService, ApicReg.ISR);
    if (register >= ApicReg.TMR && register < ApicReg.IRR) return set(s.levelTriggered, ApicReg.TMR);
    if (register >= ApicReg.IRR && register < ApicReg.ESR) return set(s.requests, ApicReg.IRR);
    if (register >= ApicReg.LVT_TIMER && register <= ApicReg.LVT_ERROR) return set(s.lvt, ApicReg.LVT_TIMER);
    switch (register) {
      case ApicReg.ID:
        return s.id;
      case ApicReg.VERSION:
        return LOCAL_APIC_VERSION | (LAST_LVT << LVT_SHIFT);
      case ApicReg.TPR:
        return s.taskPriority;
      case ApicReg.APR:
      case ApicReg.PPR:
        return this.#processorPriority();
      case ApicReg.EOI:
      case ApicReg.RRD:
        return 0;
      case ApicReg.LDR:
        return s.logicalId;
      case ApicReg.DFR:
        return s.destinationFormat;
      case ApicReg.SVR:
        return s.spurious;
      case ApicReg.ESR:
        return s.errorStatus;
      case ApicReg.ICR_LOW:
        return s.commandLow;
      case ApicReg.ICR_HIGH:
        return s.commandHigh;
      case ApicReg.INITIAL_COUNT:
        return this.#timer.initialCount;
      case ApicReg.CURRENT_COUNT:
        return this.#timer.currentCount;
      case ApicReg.DIVIDE:
        return this.#timer.divide;
      default:
        this.#error(ApicError.ILLEGAL_REGISTER);
        this.#update();
        return 0;
    }
  }

  #writeRegister(register: number, value: number): void {
    const s = this.#state;
    if (register >= ApicReg.LVT_TIMER && register <= ApicReg.LVT_ERROR) {
      return this.#writeLvt((register - ApicReg.LVT_TIMER) / REGISTER_SPACING, value);
    }
    switch (register) {
      case ApicReg.ID:
        s.id = (value & ID_BITS) >>> 0;
        break;
      case ApicReg.TPR:
        s.taskPriority = value & 0xff;
        break;
      case ApicReg.EOI:
        this.#endOfInterrupt();
        break;
      case ApicReg.LDR:
        s.logicalId = (value & ID_BITS) >>> 0;
        break;
      case ApicReg.DFR:
        s.destinationFormat = (value | DFR_RESERVED) >>> 0;
        break;
      case ApicReg.SVR:
        s.spurious = value & SVR_WRITABLE;
        // Disabled by software, all of the local vector table is masked.
        if (!this.#isEnabledBySoftware()) s.lvt.forEach((entry, index) => this.#writeLvt(index, entry));
        break;
      case ApicReg.ESR:
        s.errorStatus = s.errors;
        s.errors = 0;
        break;
      case ApicReg.ICR_LOW:
        s.commandLow = value & ICR_WRITABLE;
        this.#command();
        break;
      case ApicReg.ICR_HIGH:
        s.commandHigh = (value & ID_BITS) >>> 0;
        break;
      case ApicReg.INITIAL_COUNT:
        this.#timer.initialCount = value;
        break;
      case ApicReg.DIVIDE:
        this.#timer.divide = value;
        break;
      case ApicReg.VERSION:
      case ApicReg.PPR:
      case ApicReg.CURRENT_COUNT:
        break;
      default:
        this.#error(ApicError.ILLEGAL_REGISTER);
    }
  }

  #writeLvt(index: number, value: number): void {
    const s = this.#state;
    s.lvt[index] = value & LVT_WRITABLE[index];
    if (!this.#isEnabledBySoftware()) s.lvt[index] |= Entry.MASKED;
    if (index !== Lvt.timer) return;
    this.#timer.setMode((s.lvt[index] & LVT_PERIODIC) !== 0, (s.lvt[index] & Entry.MASKED) === 0);
  }

  /** The interrupt command register was written: sends an interrupt to whom it names. */
  #command(): void {
    const { commandLow: low, commandHigh: high } = this.#state;
    const shorthand = (low >>> SHORTHAND_SHIFT) & SHORTHAND_MASK;
    const message = messageOf(low, high);
    const isFixed = message.mode === DeliveryMode.fixed || message.mode === DeliveryMode.lowestPriority;
    if (isFixed && message.vector < FIRST_LEGAL_VECTOR) this.#error(ApicError.SEND_ILLEGAL_VECTOR);
    else if (message.mode === DeliveryMode.init && (low & ICR_LEVEL) === 0) return;
    else if (shorthand === Shorthand.others || (shorthand === Shorthand.none && !this.#isFor(message))) return;
    // What a processor sends itself counts as edge-triggered.
    else this.#take({ ...message, levelTriggered: false });
  }

  #isFor({ logical, destination }: ApicMessage): boolean {
    const { id, logicalId, destinationFormat } = this.#state;
    if (destination === BROADCAST) return true;
    if (!logical) return destination === id >>> DESTINATION_SHIFT;
    const names = logicalId >>> DESTINATION_SHIFT;
    if (destinationFormat >>> (DESTINATION_SHIFT + CLUSTER_SHIFT) === FLAT_MODEL) return (names & destination) !== 0;
    const cluster = destination >>> CLUSTER_SHIFT;
    const isOurs = cluster === names >>> CLUSTER_SHIFT || cluster === CLUSTER_MEMBERS;
    return isOurs && (names & destination & CLUSTER_MEMBERS) !== 0;
  }

  /** Whether a message that is for this processor means anything to it. There is no SMM, and nobody waits for start-up. */
  #take({ mode, vector, levelTriggered }: ApicMessage): boolean {
    switch (mode) {
      case DeliveryMode.fixed:
      case DeliveryMode.lowestPriority:
        this.#request(vector, levelTriggered);
        return true;
      case DeliveryMode.nmi:
        this.wiring.nmi();
        return true;
      case DeliveryMode.init:
        this.wiring.init();
        return true;
      default:
        return false;
    }
  }

  /** An entry of the local vector table has cause to interrupt. The mode for 8259s follows their level: see `#update`. */
  #raiseLocal(index: number): void {
    const entry = this.#state.lvt[index], mode = modeOf(entry);
    if ((entry & Entry.MASKED) !== 0 || mode === DeliveryMode.external) return;
    this.#take({ ...messageOf(entry, 0), mode, levelTriggered: false });
  }

  #request(vector: number, levelTriggered: boolean): void {
    const s = this.#state;
    if (vector < FIRST_LEGAL_VECTOR) return this.#error(ApicError.RECEIVE_ILLEGAL_VECTOR);
    add(s.requests, vector);
    if (levelTriggered) add(s.levelTriggered, vector);
    else remove(s.levelTriggered, vector);
    this.#update();
  }

  /** Notes an error, and interrupts for the first of its kind until the next write of ESR. */
  #error(bit: number): void {
    const s = this.#state, isNew = (s.errors & bit) === 0;
    s.errors |= bit;
    // An illegal vector for errors themselves ends here: its own error is not new the second time.
    if (isNew) this.#raiseLocal(Lvt.error);
  }

  #endOfInterrupt(): void {
    const s = this.#state, vector = highest(s.inService);
    if (vector < 0) return;
    remove(s.inService, vector);
    if (!has(s.levelTriggered, vector)) return;
    remove(s.levelTriggered, vector);
    this.wiring.endOfInterrupt(vector);
  }

  #isEnabledBySoftware(): boolean {
    return this.#state.enabled && (this.#state.spurious & Svr.ENABLED) !== 0;
  }

  #processorPriority(): number {
    const task = this.#state.taskPriority, serviced = Math.max(0, highest(this.#state.inService));
    return (task & PRIORITY_CLASS) >= (serviced & PRIORITY_CLASS) ? task : serviced & PRIORITY_CLASS;
  }

  /** Whether the 8259s ask for the processor, through LINT0 or the I/O APIC. */
  #asksExternal(): boolean {
    const s = this.#state, entry = s.lvt[Lvt.lint0], lint0 = (s.lint & (1 << LINT0)) !== 0;
    if (!s.enabled) return lint0;
    const passes = modeOf(entry) === DeliveryMode.external && (entry & Entry.MASKED) === 0;
    return (lint0 && passes) || (s.external && this.#isEnabledBySoftware());
  }

  #asksItself(): boolean {
    const request = highest(this.#state.requests);
    if (request < 0 || !this.#isEnabledBySoftware()) return false;
    return (request & PRIORITY_CLASS) > (this.#processorPriority() & PRIORITY_CLASS);
  }

  /** Drives the processor's INTR. */
  #update(): void {
    const intr = this.#asksExternal() || this.#asksItself();
    if (intr === this.#intr) return;
    this.#intr = intr;
    this.wiring.interrupt(intr);
  }

  save(): Saved {
    return { ...structuredClone(this.#state), timer: this.#timer.save() };
  }
  restore(saved: Saved): void {
    const { timer, ...state } = structuredClone(saved) as State & { timer: Saved };
    this.#state = state;
    this.#timer.restore(timer);
    this.#intr = this.#asksExternal() || this.#asksItself();
    this.wiring.interrupt(this.#intr);
  }
  hash(hasher: Hasher): void {
    hasher.saved(this.save());
  }
}

// Sets of vectors, 32 to a word. Words are kept unsigned, as registers read.

function add(set: number[], vector: number): void {
  set[vector >> 5] = (set[vector >> 5] | (1 << (vector & 31))) >>> 0;
}
function remove(set: number[], vector: number): void {
  set[vector >> 5] = (set[vector >> 5] & ~(1 << (vector & 31))) >>> 0;
}
function has(set: readonly number[], vector: number): boolean {
  return ((set[vector >> 5] >>> (vector & 31)) & 1) !== 0;
}
/** The highest vector of a set, or -1. */
function highest(set: readonly number[]): number {
  for (let word = SET_WORDS - 1; word >= 0; word--) {
    if (set[word] !== 0) return word * 32 + 31 - Math.clz32(set[word]);
  }
  return -1;
}
