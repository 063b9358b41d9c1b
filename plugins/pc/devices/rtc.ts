// The real-time clock and CMOS memory of a PC/AT: a Motorola MC146818 (datasheet ADI-856) at ports 70h and 71h, IRQ8. Its
// time is a start time and guest time since power-on, never the wall's. Memory bytes: IBM PC/AT Technical Reference,
// "Real-time clock/CMOS RAM".

import type { GuestClock, GuestTimer, Hasher, Saved, StateOwner } from "../../../core/mod.ts";
import { type CalendarFields, fieldsOf, SECONDS_PER_DAY, secondsOf, weekdayOf } from "./calendar.ts";
import { type ByteDevice, FLOATING_BYTE, type InterruptLine } from "./isa.ts";

/** I/O ports: the index register, whose bit 7 masks NMI, and the data register. */
export const CMOS_INDEX = 0x70, CMOS_DATA = 0x71;
const NMI_MASK = 0x80;

/** Clock registers. */
export const Rtc146818 = {
  SECONDS: 0x00,
  SECONDS_ALARM: 0x01,
  MINUTES: 0x02,
  MINUTES_ALARM: 0x03,
  HOURS: 0x04,
  HOURS_ALARM: 0x05,
  DAY_OF_WEEK: 0x06,
  DATE_OF_MONTH: 0x07,
  MONTH: 0x08,
  YEAR: 0x09,
  A: 0x0a,
  B: 0x0b,
  C: 0x0c,
  D: 0x0d,
} as const;
/** Register A: update in progress, divider chain, periodic rate. */
export const RegA = { UIP: 0x80, DV: 0x70, RS: 0x0f } as const;
/** The only divider setting that runs on the PC's 32.768 kHz crystal, and those that hold the chain in reset. */
const DV_32KHZ = 0x20, DV_RESET = 0x60;
/** Register B. */
export const RegB = {
  DSE: 0x01,
  HOURS_24: 0x02,
  BINARY: 0x04,
  SQWE: 0x08,
  UIE: 0x10,
  AIE: 0x20,
  PIE: 0x40,
  SET: 0x80,
} as const;
/** Register C: which interrupts are pending. Reading it clears them. */
export const RegC = { UF: 0x10, AF: 0x20, PF: 0x40, IRQF: 0x80 } as const;
/** Register D: valid RAM and time. */
export const RegD = { VRT: 0x80 } as const;
/** Alarm bytes from here on match any time; the hour's PM bit in 12-hour mode. */
const ALARM_ANY = 0xc0, PM = 0x80;

/** CMOS memory that firmware fills in. */
export const Cmos = {
  SHUTDOWN_STATUS: 0x0f,
  EQUIPMENT: 0x14,
  BASE_MEMORY_KIB: 0x15,
  EXTENDED_MEMORY_KIB: 0x17,
  CHECKSUM_FIRST: 0x10,
  CHECKSUM_LAST: 0x2d,
  CHECKSUM_HIGH: 0x2e,
  CHECKSUM_LOW: 0x2f,
  EXTENDED_MEMORY_KIB_COPY: 0x30,
  CENTURY: 0x32,
  MEMORY_ABOVE_16M_64KIB: 0x34,
} as const;
const CMOS_SIZE = 128, CMOS_INDEX_MASK = CMOS_SIZE - 1;
/** Equipment byte: a coprocessor and a pointing device; no diskette, no display. */
const EQUIPMENT_FPU = 0x02, EQUIPMENT_POINTING_DEVICE = 0x04;
const BASE_MEMORY_KIB = 640;

const SECOND_NS = 1e9, CRYSTAL_HZ = 32768;
/** UIP rises 244 us before the update cycle, which takes 1984 us; the new time shows at its end. */
const UPDATE_NS = (244 + 1984) * 1000;

type RtcState = {
  index: number;
  nmiMasked: boolean;
  /** CMOS bytes; those of the running time are stale and computed on reading. */
  bytes: Uint8Array;
  a: number;
  b: number;
  c: number;
  /** Time shown after the last update, in seconds since 1970, and what a guest's day of the week adds to the calendar's. */
  seconds: number;
  weekdayOffset: number;
  /** Guest time of the divider chain's phase 0, and the updates and periodic edges since then that are accounted for. */
  chainStartNs: number;
  updates: number;
  periods: number;
};

export class Rtc implements StateOwner, ByteDevice {
  #state: RtcState;
  readonly #timer: GuestTimer;

  /** Told that the alarm went off while its interrupt is enabled: power management listens. */
  onAlarm: (() => void) | undefined;

  /** `startSeconds` is the time at power-on, in seconds since 1970. */
  constructor(readonly clock: GuestClock, readonly irq8: InterruptLine, startSeconds: number, memoryMib: number) {
    this.#state = {
      index: 0,
      nmiMasked: false,
      bytes: firmwareBytes(memoryMib),
      a: DV_32KHZ | 6,
      b: RegB.HOURS_24,
      c: 0,
      seconds: startSeconds,
      weekdayOffset: 0,
      chainStartNs: 0,
      updates: 0,
      periods: 0,
    };
    this.#timer = clock.timer("pc.rtc", () => this.#advance());
  }

  readByte(port: number): number {
    return port === CMOS_DATA ? this.#read(this.#state.index) : FLOATING_BYTE;
  }

  writeByte(port: number, value: number): void {
    const s = this.#state;
    if (port === CMOS_DATA) this.#write(s.index, value);
    else {
      s.index = value & CMOS_INDEX_MASK;
      s.nmiMasked = (value & NMI_MASK) !== 0;
    }
  }

  /** Whether the guest masked NMI by the index register. */
  get nmiMasked(): boolean {
    return this.#state.nmiMasked;
  }

  #read(index: number): number {
    const s = this.#state;
    switch (index) {
      case Rtc146818.A:
        return s.a | (this.#updateInProgress() ? RegA.UIP : 0);
      case Rtc146818.B:
        return s.b;
      case Rtc146818.C: {
        this.#advance();
        const flags = s.c;
        s.c = 0;
        this.#updateInterrupt();
        return flags;
      }
      case Rtc146818.D:
        return RegD.VRT;
    }
    if (this.#isTime(index) && (s.b & RegB.SET) === 0) {
      this.#advance();
      this.#show();
    }
    return s.bytes[index];
  }

  #write(index: number, value: number): void {
    const s = this.#state;
    this.#advance();
    switch (index) {
      case Rtc146818.A:
        this.#writeA(value & ~RegA.UIP);
        break;
      case Rtc146818.B:
        this.#writeB(value);
        break;
      case Rtc146818.C:
      case Rtc146818.D:
        return;
      default: {
        const sets = this.#isTime(index) && (s.b & RegB.SET) === 0;
        if (sets) this.#show();
        s.bytes[index] = value;
        if (sets) this.#adopt();
      }
    }
    this.#updateInterrupt();
  }

  /** Whether a byte is part of the running time: the century too, always in BCD, as today's clocks have it. */
  #isTime(index: number): boolean {
    return index === Cmos.CENTURY || index === Rtc146818.SECONDS || index === Rtc146818.MINUTES ||
      index === Rtc146818.HOURS || (index >= Rtc146818.DAY_OF_WEEK && index <= Rtc146818.YEAR);
  }

  #isRunning(): boolean {
    return (this.#state.a & RegA.DV) === DV_32KHZ;
  }

  #writeA(value: number): void {
    const s = this.#state, wasRunning = this.#isRunning(), wasReset = (s.a & DV_RESET) === DV_RESET;
    s.a = value;
    if (this.#isRunning() && !wasRunning) {
      // Out of reset the first update comes after half a second; a chain stopped otherwise begins anew.
      s.chainStartNs = this.clock.nowNs() - (wasReset ? SECOND_NS / 2 : 0);
      s.updates = 0;
    }
    s.periods = this.#periodsBy(this.clock.nowNs());
  }

  #writeB(value: number): void {
    const s = this.#state, starts = (value & RegB.SET) !== 0 && (s.b & RegB.SET) === 0;
    const ends = (value & RegB.SET) === 0 && (s.b & RegB.SET) !== 0;
    // From now on the bytes are the guest's to write.
    if (starts) this.#show();
    s.b = starts ? value & ~RegB.UIE : value;
    if (ends) this.#adopt();
  }

  // Time.

  #updateInProgress(): boolean {
    const s = this.#state;
    if (!this.#isRunning() || (s.b & RegB.SET) !== 0) return false;
    const inSecond = (this.clock.nowNs() - s.chainStartNs) % SECOND_NS;
    return inSecond >= SECOND_NS - UPDATE_NS;
  }

  /** Interrupts a second at the selected rate, or 0. Rates 1 and 2 repeat 8 and 9. */
  #periodicHz(): number {
    const rate = this.#state.a & RegA.RS;
    if (rate === 0 || !this.#isRunning()) return 0;
    return CRYSTAL_HZ >> (rate <= 2 ? rate + 6 : rate - 1);
  }

  #periodsBy(nowNs: number): number {
    const hz = this.#periodicHz(), elapsedNs = nowNs - this.#state.chainStartNs;
    const seconds = Math.floor(elapsedNs / SECOND_NS);
    return seconds * hz + Math.floor(((elapsedNs - seconds * SECOND_NS) * hz) / SECOND_NS);
  }

  /** Accounts for what has happened up to now, and arms the timer for the next interrupt. */
  #advance(): void {
    const s = this.#state, nowNs = this.clock.nowNs();
    if (this.#isRunning()) {
      const updates = Math.floor((nowNs - s.chainStartNs) / SECOND_NS);
      const passed = updates - s.updates;
      s.updates = updates;
      if (passed > 0 && (s.b & RegB.SET) === 0) {
        s.c |= RegC.UF;
        if (this.#secondsToAlarm() <= passed) {
          s.c |= RegC.AF;
          if ((s.b & RegB.AIE) !== 0) this.onAlarm?.();
        }
        s.seconds += passed;
      }
      const periods = this.#periodsBy(nowNs);
      if (periods > s.periods) s.c |= RegC.PF;
      s.periods = periods;
    }
    this.#updateInterrupt();
  }

  /** Sets IRQF and IRQ8, and arms the timer for the first flag that an enabled interrupt still waits for. */
  #updateInterrupt(): void {
    const s = this.#state;
    // The enable bits stand where the flags do.
    const pending = (s.b & s.c & (RegB.PIE | RegB.AIE | RegB.UIE)) !== 0;
    s.c = pending ? s.c | RegC.IRQF : s.c & ~RegC.IRQF;
    this.irq8(pending);
    this.#timer.arm(pending ? Infinity : this.#nextInterruptNs());
  }

  #nextInterruptNs(): number {
    const s = this.#state;
    let next = Infinity;
    if (!this.#isRunning()) return next;
    const hz = this.#periodicHz();
    if ((s.b & RegB.PIE) !== 0 && hz !== 0) {
      const period = s.periods + 1, seconds = Math.floor(period / hz);
      next = s.chainStartNs + seconds * SECOND_NS + Math.ceil(((period - seconds * hz) * SECOND_NS) / hz);
    }
    if ((s.b & RegB.SET) !== 0) return next;
    const updateNs = (inSeconds: number) => s.chainStartNs + (s.updates + inSeconds) * SECOND_NS;
    if ((s.b & RegB.UIE) !== 0) next = Math.min(next, updateNs(1));
    if ((s.b & RegB.AIE) !== 0) next = Math.min(next, updateNs(this.#secondsToAlarm()));
    return next;
  }

  /** Seconds until the time of day next matches the alarm bytes, at least 1; Infinity if it never does. */
  #secondsToAlarm(): number {
    const { bytes, seconds } = this.#state;
    const wanted = (index: number, decode: (byte: number) => number) =>
      bytes[index] >= ALARM_ANY ? -1 : decode(bytes[index]);
    const hour = wanted(Rtc146818.HOURS_ALARM, (byte) => this.#decodeHour(byte));
    const minute = wanted(Rtc146818.MINUTES_ALARM, (byte) => this.#decode(byte));
    const second = wanted(Rtc146818.SECONDS_ALARM, (byte) => this.#decode(byte));
    if (hour > 23 || minute > 59 || second > 59) return Infinity;
    const now = ((seconds % SECONDS_PER_DAY) + SECONDS_PER_DAY) % SECONDS_PER_DAY;
    // Skips whole hours and minutes that do not match: at most 24 + 60 + 60 rounds.
    for (let at = now + 1; at <= now + SECONDS_PER_DAY;) {
      if (hour >= 0 && Math.floor(at / 3600) % 24 !== hour) at += 3600 - (at % 3600);
      else if (minute >= 0 && Math.floor(at / 60) % 60 !== minute) at += 60 - (at % 60);
      else if (second >= 0 && at % 60 !== second) at++;
      else return at - now;
    }
    return Infinity;
  }

  // Bytes.

  #encode(value: number): number {
    return (this.#state.b & RegB.BINARY) !== 0 ? value : toBcd(value);
  }

  #decode(byte: number): number {
    return (this.#state.b & RegB.BINARY) !== 0 ? byte : fromBcd(byte);
  }

  #encodeHour(hour: number): number {
    if ((this.#state.b & RegB.HOURS_24) !== 0) return this.#encode(hour);
    return this.#encode(hour % 12 || 12) | (hour >= 12 ? PM : 0);
  }

  #decodeHour(byte: number): number {
    if ((this.#state.b & RegB.HOURS_24) !== 0) return this.#decode(byte);
    return (this.#decode(byte & ~PM) % 12) + ((byte & PM) !== 0 ? 12 : 0);
  }

  /** Writes the present time into its bytes. */
  #show(): void {
    const { bytes, seconds, weekdayOffset } = this.#state, now = fieldsOf(seconds);
    bytes[Rtc146818.SECONDS] = this.#encode(now.second);
    bytes[Rtc146818.MINUTES] = this.#encode(now.minute);
    bytes[Rtc146818.HOURS] = this.#encodeHour(now.hour);
    bytes[Rtc146818.DAY_OF_WEEK] = this.#encode((weekdayOf(seconds) - 1 + weekdayOffset) % 7 + 1);
    bytes[Rtc146818.DATE_OF_MONTH] = this.#encode(now.day);
    bytes[Rtc146818.MONTH] = this.#encode(now.month);
    bytes[Rtc146818.YEAR] = this.#encode(now.year % 100);
    bytes[Cmos.CENTURY] = toBcd(Math.floor(now.year / 100) % 100);
  }

  /** Takes the time from its bytes. What is out of range carries into the next field. */
  #adopt(): void {
    const s = this.#state, { bytes } = s;
    const fields: CalendarFields = {
      second: this.#decode(bytes[Rtc146818.SECONDS]),
      minute: this.#decode(bytes[Rtc146818.MINUTES]),
      hour: this.#decodeHour(bytes[Rtc146818.HOURS]),
      day: this.#decode(bytes[Rtc146818.DATE_OF_MONTH]),
      month: this.#decode(bytes[Rtc146818.MONTH]),
      year: fromBcd(bytes[Cmos.CENTURY]) * 100 + this.#decode(bytes[Rtc146818.YEAR]),
    };
    s.seconds = secondsOf(fields);
    const weekday = this.#decode(bytes[Rtc146818.DAY_OF_WEEK]);
    s.weekdayOffset = (((weekday - weekdayOf(s.seconds)) % 7) + 7) % 7;
  }

  save(): Saved {
    return { ...this.#state, bytes: this.#state.bytes.slice() };
  }
  restore(saved: Saved): void {
    const state = saved as RtcState;
    this.#state = { ...state, bytes: state.bytes.slice() };
  }
  hash(hasher: Hasher): void {
    hasher.saved(this.save());
  }
}

function toBcd(value: number): number {
  return (Math.floor(value / 10) << 4) | (value % 10);
}

function fromBcd(byte: number): number {
  return (byte >> 4) * 10 + (byte & 15);
}

/** CMOS memory as firmware leaves it: memory sizes, equipment and checksum. */
function firmwareBytes(memoryMib: number): Uint8Array {
  const bytes = new Uint8Array(CMOS_SIZE);
  const put16 = (index: number, value: number) => {
    const word = Math.min(value, 0xffff);
    bytes[index] = word & 0xff;
    bytes[index + 1] = word >> 8;
  };
  bytes[Cmos.EQUIPMENT] = EQUIPMENT_FPU | EQUIPMENT_POINTING_DEVICE;
  put16(Cmos.BASE_MEMORY_KIB, BASE_MEMORY_KIB);
  for (const index of [Cmos.EXTENDED_MEMORY_KIB, Cmos.EXTENDED_MEMORY_KIB_COPY]) {
    put16(index, Math.max(0, memoryMib - 1) * 1024);
  }
  put16(Cmos.MEMORY_ABOVE_16M_64KIB, Math.max(0, memoryMib - 16) * 16);
  let sum = 0;
  for (let index: number = Cmos.CHECKSUM_FIRST; index <= Cmos.CHECKSUM_LAST; index++) sum += bytes[index];
  bytes[Cmos.CHECKSUM_HIGH] = sum >> 8;
  bytes[Cmos.CHECKSUM_LOW] = sum & 0xff;
  return bytes;
}
