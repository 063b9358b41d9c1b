// The interval timer of a PC/AT: an Intel 8254 (datasheet 231164) at 1.193182 MHz, counter 0 on IRQ0, counter 2 behind
// system control port B (port 61h: IBM PC/AT Technical Reference; 82371SB section 2.5.6). Every edge is an exact function
// of guest time.

import type { GuestClock, GuestTimer, Hasher, Saved, StateOwner } from "../../../core/mod.ts";
import { type ByteDevice, FLOATING_BYTE, type InterruptLine } from "./isa.ts";
import { Counter, CounterAccess } from "./pit_counter.ts";

/** I/O ports. Counters 0-2 at 40h-42h. */
export const PIT_COUNTER_0 = 0x40, PIT_COUNTER_2 = 0x42, PIT_CONTROL = 0x43, SYSTEM_CONTROL_B = 0x61;

/** Frequency of the counters' clock input. */
export const PIT_HZ = 1193182;
/** The same as a reduced fraction of pulses a nanosecond, so that products stay below 2^53. */
const PULSES = PIT_HZ / 2, PULSES_NS = 1e9 / 2;

/** Control word: bits 7-6 select a counter, or the read-back command. */
const SELECT_SHIFT = 6, READ_BACK = 3, ACCESS_SHIFT = 4, MODE_SHIFT = 1, MODE_MASK = 7, BCD = 0x01;
/** Read-back command: these two are active low. */
const NO_COUNT = 0x20, NO_STATUS = 0x10;

/** Bits of port 61h. */
export const PortB = {
  GATE2: 0x01,
  SPEAKER: 0x02,
  /** Parity and I/O channel checks are disabled. Kept, as nothing here raises one. */
  PARITY_DISABLE: 0x04,
  CHANNEL_CHECK_DISABLE: 0x08,
  /** Toggles with every memory refresh request. */
  REFRESH: 0x10,
  OUT2: 0x20,
} as const;
const PORT_B_WRITABLE = 0x0f;
/** Clock pulses between two refresh requests: what firmware programs counter 1 to (15.085 us). */
const REFRESH_PULSES = 18;

/** Clock pulses that have passed at a guest time. */
export function pulsesAt(ns: number): number {
  const whole = Math.floor(ns / PULSES_NS);
  return whole * PULSES + Math.floor(((ns - whole * PULSES_NS) * PULSES) / PULSES_NS);
}

/** First guest time in ns at which `pulse` pulses have passed. */
export function nsOfPulse(pulse: number): number {
  const whole = Math.floor(pulse / PULSES);
  return whole * PULSES_NS + Math.ceil(((pulse - whole * PULSES) * PULSES_NS) / PULSES);
}

/**
 * The timer. Power-on state: no counter is programmed, so that a guest which never uses the timer is not woken by it.
 */
export class Pit implements StateOwner, ByteDevice {
  // Only counter 2's gate can be closed.
  readonly #counters = [new Counter(true), new Counter(true), new Counter(false)];
  readonly #edge: GuestTimer;
  /** Pulse of counter 0's next change of OUT, and its present level as IRQ0 has it. */
  #nextEdge = Infinity;
  #irqLevel = false;
  #portB = 0;

  constructor(readonly clock: GuestClock, readonly irq0: InterruptLine) {
    this.#edge = clock.timer("pit.out0", () => void this.#now());
  }

  readByte(port: number): number {
    const now = this.#now();
    if (port === SYSTEM_CONTROL_B) return this.#readPortB(now);
    if (port === PIT_CONTROL) return FLOATING_BYTE;
    return this.#counters[port - PIT_COUNTER_0].read(now);
  }

  writeByte(port: number, value: number): void {
    const now = this.#now();
    if (port === SYSTEM_CONTROL_B) {
      this.#portB = value & PORT_B_WRITABLE;
      this.#counters[2].setGate(now, (value & PortB.GATE2) !== 0);
    } else if (port === PIT_CONTROL) {
      this.#control(now, value);
    } else {
      this.#counters[port - PIT_COUNTER_0].write(now, value);
      if (port === PIT_COUNTER_0) this.#follow(now);
    }
  }

  /** Port 61h alone: as long as neither memory refresh, nor counter 2's output, nor IRQ0 moves. */
  steadyUntilNs(port: number, readNs: number): number {
    if (port !== SYSTEM_CONTROL_B) return 0;
    const now = pulsesAt(readNs);
    const nextRefresh = (Math.floor(now / REFRESH_PULSES) + 1) * REFRESH_PULSES;
    return nsOfPulse(Math.min(nextRefresh, this.#counters[2].nextChange(now), this.#nextEdge));
  }

  /** The present pulse. Time may have passed several edges in one go: IRQ0 then shows the first and the last. */
  #now(): number {
    const now = pulsesAt(this.clock.nowNs());
    // Two, because the first may be a mere load.
    for (let missed = 0; missed < 2 && now > this.#nextEdge; missed++) this.#follow(this.#nextEdge);
    if (now >= this.#nextEdge) this.#follow(now);
    return now;
  }

  #control(now: number, value: number): void {
    const select = value >> SELECT_SHIFT;
    if (select === READ_BACK) {
      for (const [index, counter] of this.#counters.entries()) {
        if ((value & (2 << index)) === 0) continue;
        if ((value & NO_COUNT) === 0) counter.latchCount(now);
        if ((value & NO_STATUS) === 0) counter.latchStatus(now);
      }
      return;
    }
    const access = (value >> ACCESS_SHIFT) & 3;
    if (access === CounterAccess.latch) this.#counters[select].latchCount(now);
    else this.#counters[select].control(now, (value >> MODE_SHIFT) & MODE_MASK, access, (value & BCD) !== 0);
    if (select === 0) this.#follow(now);
  }

  #readPortB(now: number): number {
    const refresh = Math.floor(now / REFRESH_PULSES) % 2 === 1 ? PortB.REFRESH : 0;
    return this.#portB | refresh | (this.#counters[2].out(now) ? PortB.OUT2 : 0);
  }

  /** Carries OUT 0 to IRQ0, and arms the timer for its next change. */
  #follow(now: number): void {
    const level = this.#counters[0].out(now);
    if (level !== this.#irqLevel) {
      this.#irqLevel = level;
      this.irq0(level);
    }
    this.#nextEdge = this.#counters[0].nextChange(now);
    this.#edge.arm(this.#nextEdge === Infinity ? Infinity : nsOfPulse(this.#nextEdge));
  }

  save(): Saved {
    return {
      counters: this.#counters.map((counter) => counter.save()),
      irqLevel: this.#irqLevel,
      portB: this.#portB,
    };
  }
  restore(saved: Saved): void {
    const { counters, irqLevel, portB } = saved as {
      counters: ReturnType<Counter["save"]>[];
      irqLevel: boolean;
      portB: number;
    };
    counters.forEach((counter, index) => this.#counters[index].restore(counter));
    // The clock, restored before its devices, has kept the timer.
    const { deadlineNs } = this.#edge;
    this.#nextEdge = deadlineNs === Infinity ? Infinity : pulsesAt(deadlineNs);
    this.#irqLevel = irqLevel;
    this.#portB = portB;
  }
  hash(hasher: Hasher): void {
    hasher.saved(this.save());
  }
}
