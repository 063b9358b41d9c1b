// The local APIC's timer (Intel SDM 3A, 11.5.4): a 32-bit count that falls at the bus clock divided by 1 to 128, once or
// again and again. Every expiry is an exact function of guest time. TSC-deadline mode is not offered.

import type { GuestClock, GuestTimer, Saved } from "../../../core/mod.ts";

/** Divide configuration: bits 3, 1 and 0 make a power of two, 111b standing for 1. */
const DIVIDE_LOW = 0x3, DIVIDE_HIGH = 0x8, DIVIDE_BITS = DIVIDE_HIGH | DIVIDE_LOW, DIVIDE_VALUES = 8;
const NS_PER_US = 1000;
/** No expiry is to come: never started, stopped, or a one-shot count that has ended. */
const STOPPED = -1;

type TimerState = {
  /** As last written: what a periodic count begins with again. */
  initialCount: number;
  divide: number;
  periodic: boolean;
  /** Whether its interrupt may go out: a timer nobody listens to costs nothing. */
  unmasked: boolean;
  /** Bus clock at which the count reaches 0, or STOPPED. While masked it may lie in the past. */
  expiry: number;
};

const atReset = (): TimerState => ({ initialCount: 0, divide: 0, periodic: false, unmasked: false, expiry: STOPPED });

export class ApicTimer {
  #state = atReset();
  readonly #timer: GuestTimer;

  /** `expired` is called at each expiry while the timer is unmasked. */
  constructor(readonly clock: GuestClock, readonly busMhz: number, readonly expired: () => void) {
    this.#timer = clock.timer("pc.apic", () => this.#fire());
  }

  reset(): void {
    this.#state = atReset();
    this.#arm();
  }

  get initialCount(): number {
    return this.#state.initialCount;
  }
  /** Starts to count; 0 stops. */
  set initialCount(count: number) {
    const s = this.#state;
    s.initialCount = count;
    s.expiry = count === 0 ? STOPPED : this.#now() + count * divisorOf(s.divide);
    this.#arm();
  }

  /** The divide configuration register. */
  get divide(): number {
    return this.#state.divide;
  }
  /** A running count goes on from its present value at the new rate. */
  set divide(divide: number) {
    const s = this.#state, count = this.currentCount;
    s.divide = divide & DIVIDE_BITS;
    if (s.expiry !== STOPPED) s.expiry = this.#now() + count * divisorOf(s.divide);
    this.#arm();
  }

  /** The present count; 0 while stopped. */
  get currentCount(): number {
    this.#settle();
    const { expiry, divide } = this.#state;
    return expiry === STOPPED ? 0 : Math.ceil((expiry - this.#now()) / divisorOf(divide));
  }

  /** From the timer's entry of the local vector table. */
  setMode(periodic: boolean, unmasked: boolean): void {
    this.#settle();
    this.#state.periodic = periodic;
    this.#state.unmasked = unmasked;
    this.#arm();
  }

  #fire(): void {
    this.#settle();
    this.#arm();
    this.expired();
  }

  /** Brings an expiry that has passed to the next one, or to the end of a one-shot count. */
  #settle(): void {
    const s = this.#state, now = this.#now();
    if (s.expiry === STOPPED || now < s.expiry) return;
    const period = s.initialCount * divisorOf(s.divide);
    if (s.periodic && period > 0) s.expiry += (Math.floor((now - s.expiry) / period) + 1) * period;
    else s.expiry = STOPPED;
  }

  #arm(): void {
    const { expiry, unmasked } = this.#state;
    if (expiry === STOPPED || !unmasked) this.#timer.disarm();
    else this.#timer.arm(this.#nsOf(expiry));
  }

  /** Bus clocks since power-on: floor(ns * busMhz / 1000), by whole microseconds so that no product leaves the integers. */
  #now(): number {
    const ns = this.clock.nowNs(), us = Math.floor(ns / NS_PER_US);
    return us * this.busMhz + Math.floor(((ns - us * NS_PER_US) * this.busMhz) / NS_PER_US);
  }

  /** First guest time in ns at which that many bus clocks have passed. */
  #nsOf(clocks: number): number {
    const us = Math.floor(clocks / this.busMhz);
    return us * NS_PER_US + Math.ceil(((clocks - us * this.busMhz) * NS_PER_US) / this.busMhz);
  }

  save(): Saved {
    return structuredClone(this.#state);
  }
  /** The clock, restored before its devices, has kept the deadline. */
  restore(saved: Saved): void {
    this.#state = structuredClone(saved as TimerState);
  }
}

/** Bus clocks in one count. */
function divisorOf(divide: number): number {
  const code = ((divide & DIVIDE_HIGH) >> 1) | (divide & DIVIDE_LOW);
  return 1 << ((code + 1) % DIVIDE_VALUES);
}
