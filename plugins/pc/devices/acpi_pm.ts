// ACPI's fixed hardware (ACPI Specification 3.0b, section 4.7.3): the PM1a event and control registers, and the power
// management timer. Always in ACPI mode: there is no SMI command port. Sleeping states are S3, from which the clock's alarm
// wakes, and S5.

import type { GuestClock, GuestTimer, Hasher, Saved, StateOwner } from "../../../core/mod.ts";
import { type ByteDevice, FLOATING_BYTE, type InterruptLine } from "./isa.ts";

/** I/O ports: the block, and the registers in it. */
export const ACPI_PM_BASE = 0x600, ACPI_PM_PORTS = 0x0c;
export const PM1_STATUS = 0x600, PM1_ENABLE = 0x602, PM1_CONTROL = 0x604, PM_TIMER = 0x608;
/** The system control interrupt's line: shared with PCI, level-triggered. */
export const SCI_IRQ = 9;

/**
 * PM1 status and enable bits. All can be enabled and read back, which systems check, but only the timer's and the alarm's
 * status are ever set: no firmware releases the global lock, and the FADT says that buttons are not here.
 */
export const Pm1 = {
  TIMER: 0x0001,
  GLOBAL_LOCK: 0x0020,
  POWER_BUTTON: 0x0100,
  SLEEP_BUTTON: 0x0200,
  RTC: 0x0400,
} as const;
const ENABLE_WRITABLE = Object.values(Pm1).reduce<number>((bits, bit) => bits | bit, 0);
/** PM1 status: the machine slept and is awake. It cannot be enabled. */
export const PM1_WAKE = 0x8000;
/** PM1 control. SLP_TYP is three bits from SLP_TYP_SHIFT; SLP_EN always reads as 0. */
export const Pm1Control = { SCI_EN: 0x0001, SLP_EN: 0x2000 } as const;
export const SLP_TYP_SHIFT = 10;
const SLP_TYP = 0x1c00;
/** Values of SLP_TYP: suspend to memory and power off, as \_S3 and \_S5 say. */
export const SLP_TYP_S3 = 1, SLP_TYP_S5 = 5;

/** The timer: 24 bits at three times the 8254's rate. Its status bit is set each time the highest bit changes. */
export const PM_TIMER_HZ = 3_579_545;
const TIMER_BITS = 0x00ff_ffff, HALF_RANGE = 0x0080_0000;
const NS_PER_S = 1e9;

/** Counts that have passed at a guest time: products stay below 2^53, as a second has 1e9 ns. */
export function timerCountsAt(ns: number): number {
  const seconds = Math.floor(ns / NS_PER_S);
  return seconds * PM_TIMER_HZ + Math.floor(((ns - seconds * NS_PER_S) * PM_TIMER_HZ) / NS_PER_S);
}

/** First guest time in ns at which that many counts have passed. */
export function nsOfTimerCount(count: number): number {
  const seconds = Math.floor(count / PM_TIMER_HZ);
  return seconds * NS_PER_S + Math.ceil(((count - seconds * PM_TIMER_HZ) * NS_PER_S) / PM_TIMER_HZ);
}

/** What sleeping does to the machine. */
export interface SleepStates {
  readonly powerOff: () => void;
  /** S3: the processor stops until `resume`, which starts it at firmware's resume path. */
  readonly suspend: () => void;
  readonly resume: () => void;
}

type State = {
  enable: number;
  /** Status bits that were set and not cleared, without the timer's. */
  status: number;
  asleep: boolean;
  /** SLP_TYP as last written. */
  sleepType: number;
  /** Changes of the timer's highest bit that the guest has cleared from the status. */
  seenChanges: number;
};

export class AcpiPm implements StateOwner, ByteDevice {
  #state: State = { enable: 0, status: 0, asleep: false, sleepType: 0, seenChanges: 0 };
  readonly #change: GuestTimer;
  #sci = false;

  constructor(readonly clock: GuestClock, readonly sci: InterruptLine, readonly states: SleepStates) {
    this.#change = clock.timer("pc.acpiTimer", () => this.#follow());
  }

  /** Level of the system control interrupt. */
  get sciLevel(): boolean {
    return this.#sci;
  }

  /** The clock's alarm went off: wakes a sleeping machine if the guest asked for it. */
  alarm(): void {
    const s = this.#state;
    s.status |= Pm1.RTC;
    if (s.asleep && (s.enable & Pm1.RTC) !== 0) {
      s.asleep = false;
      s.status |= PM1_WAKE;
      this.states.resume();
    }
    this.#follow();
  }

  readByte(port: number): number {
    const register = port & ~3, shift = 8 * (port & 3);
    if (register === PM1_STATUS) return ((this.#status() | (this.#state.enable << 16)) >>> shift) & 0xff;
    if (register === PM1_CONTROL) return ((Pm1Control.SCI_EN | this.#state.sleepType) >>> shift) & 0xff;
    if (register === PM_TIMER) return ((timerCountsAt(this.clock.nowNs()) & TIMER_BITS) >>> shift) & 0xff;
    return FLOATING_BYTE;
  }

  writeByte(port: number, value: number): void {
    const s = this.#state;
    switch (port) {
      case PM1_STATUS:
        // A 1 clears.
        if ((value & Pm1.TIMER) !== 0) s.seenChanges = this.#changes();
        break;
      case PM1_STATUS + 1:
        s.status &= ~(value << 8);
        break;
      case PM1_ENABLE:
        s.enable = ((s.enable & 0xff00) | value) & ENABLE_WRITABLE;
        break;
      case PM1_ENABLE + 1:
        s.enable = ((s.enable & 0x00ff) | (value << 8)) & ENABLE_WRITABLE;
        break;
      case PM1_CONTROL + 1: {
        const high = value << 8;
        s.sleepType = high & SLP_TYP;
        if ((high & Pm1Control.SLP_EN) !== 0) this.#sleep(s.sleepType >> SLP_TYP_SHIFT);
      }
    }
    this.#follow();
  }

  #sleep(type: number): void {
    if (type === SLP_TYP_S5) this.states.powerOff();
    if (type !== SLP_TYP_S3) return;
    this.#state.asleep = true;
    this.states.suspend();
  }

  /** How often the timer's highest bit has changed since power-on. */
  #changes(): number {
    return Math.floor(timerCountsAt(this.clock.nowNs()) / HALF_RANGE);
  }

  #status(): number {
    return this.#state.status | (this.#changes() !== this.#state.seenChanges ? Pm1.TIMER : 0);
  }

  /** Drives the interrupt, and waits for the timer's next change if that could raise it. */
  #follow(): void {
    const level = (this.#status() & this.#state.enable) !== 0;
    const waits = (this.#state.enable & Pm1.TIMER) !== 0 && !level;
    if (waits) this.#change.arm(nsOfTimerCount((this.#changes() + 1) * HALF_RANGE));
    else this.#change.disarm();
    if (level === this.#sci) return;
    this.#sci = level;
    this.sci(level);
  }

  save(): Saved {
    return { ...this.#state, sci: this.#sci };
  }
  /** The clock, restored before its devices, has kept the deadline. */
  restore(saved: Saved): void {
    const { sci, ...state } = structuredClone(saved) as State & { sci: boolean };
    this.#state = state;
    this.#sci = sci;
  }
  hash(hasher: Hasher): void {
    hasher.saved(this.save());
  }
}
