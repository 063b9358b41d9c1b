// One of the three counters of an Intel 8254 (datasheet 231164, "Mode definitions"), as a function of the number of clock
// pulses since power-on: nothing runs between two accesses. Where mode 2 or 3 is given a count of 1, which the datasheet
// forbids, OUT does not move.

/** Counter modes by number. 6 and 7 are 2 and 3. */
export const CounterMode = {
  interruptOnTerminalCount: 0,
  hardwareOneShot: 1,
  rateGenerator: 2,
  squareWave: 3,
  softwareStrobe: 4,
  hardwareStrobe: 5,
} as const;

/** Control word, RW bits: which bytes of the count are accessed. */
export const CounterAccess = { latch: 0, low: 1, high: 2, lowThenHigh: 3 } as const;

const NONE = -1;
const BINARY_MODULUS = 0x10000, BCD_MODULUS = 10000;

/** Bits of a status byte that are not copied from the control word. */
export const STATUS_OUT = 0x80, STATUS_NULL_COUNT = 0x40;

type CounterState = {
  mode: number;
  bcd: boolean;
  access: number;
  gate: boolean;
  /** The count register, as a number of pulses; 0 before any was written. */
  count: number;
  /** Pulse at which the count register moves into the counting element; -1 for none. */
  loadPulse: number;
  nullCount: boolean;
  /** The present run of the counting element: the pulse of its load and the count it began with. */
  startPulse: number;
  startCount: number;
  /** Mode 3: the run began with the low half. */
  startsLow: boolean;
  /** Whether the counting element was loaded since the control word, counts, and has passed its terminal count. */
  loaded: boolean;
  counting: boolean;
  expired: boolean;
  /** Contents of the counting element while it does not count. */
  held: number;
  /** Low byte of a two-byte write under way, and whether the next read is of the high byte. */
  writtenLow: number;
  readsHigh: boolean;
  latchedCount: number;
  latchedStatus: number;
};

/** A counter. `now` is always the number of clock pulses since power-on and never decreases. */
export class Counter {
  #state: CounterState;

  constructor(gate: boolean) {
    this.#state = {
      mode: CounterMode.interruptOnTerminalCount,
      bcd: false,
      access: CounterAccess.lowThenHigh,
      gate,
      count: 0,
      loadPulse: NONE,
      nullCount: true,
      startPulse: 0,
      startCount: 0,
      startsLow: false,
      loaded: false,
      counting: false,
      expired: false,
      held: 0,
      writtenLow: NONE,
      readsHigh: false,
      latchedCount: NONE,
      latchedStatus: NONE,
    };
  }

  /** Level of OUT. */
  out(now: number): boolean {
    this.#advance(now);
    const s = this.#state;
    if (!s.loaded) return s.mode !== CounterMode.interruptOnTerminalCount;
    const elapsed = now - s.startPulse;
    switch (s.mode) {
      case CounterMode.interruptOnTerminalCount:
      case CounterMode.hardwareOneShot:
        return s.expired || (s.counting && elapsed >= s.startCount);
      case CounterMode.rateGenerator:
        return !s.counting || s.startCount === 1 || elapsed % s.startCount !== s.startCount - 1;
      case CounterMode.squareWave:
        return !s.counting || this.#isHighHalf(elapsed % s.startCount);
      default:
        return s.expired || !s.counting || elapsed !== s.startCount;
    }
  }

  /** The first pulse after `now` at which OUT may have changed, if nothing is written until then; or Infinity. */
  nextChange(now: number): number {
    this.#advance(now);
    const s = this.#state;
    const next = s.loaded && s.counting ? this.#nextChangeOfRun(now) : Infinity;
    return s.loadPulse === NONE ? next : Math.min(next, s.loadPulse);
  }

  /** A control word's mode, access and BCD bits. Stops the counter until a count is written. */
  control(now: number, mode: number, access: number, bcd: boolean): void {
    this.#freeze(now);
    Object.assign(this.#state, {
      mode: mode > CounterMode.hardwareStrobe ? mode & 3 : mode,
      access,
      bcd,
      count: 0,
      loadPulse: NONE,
      nullCount: true,
      loaded: false,
      expired: false,
      writtenLow: NONE,
      readsHigh: false,
      latchedCount: NONE,
      latchedStatus: NONE,
    });
  }

  write(now: number, byte: number): void {
    this.#advance(now);
    const s = this.#state;
    if (s.access === CounterAccess.low) this.#writeCount(now, byte);
    else if (s.access === CounterAccess.high) this.#writeCount(now, byte << 8);
    else if (s.writtenLow === NONE) {
      s.writtenLow = byte;
      // The first byte stops a mode 0 count and takes OUT low at once.
      if (s.mode === CounterMode.interruptOnTerminalCount) this.#stopLow(now);
    } else {
      const low = s.writtenLow;
      s.writtenLow = NONE;
      this.#writeCount(now, (byte << 8) | low);
    }
  }

  read(now: number): number {
    const s = this.#state;
    if (s.latchedStatus !== NONE) {
      const status = s.latchedStatus;
      s.latchedStatus = NONE;
      return status;
    }
    const value = s.latchedCount !== NONE ? s.latchedCount : this.#contents(now);
    const high = s.access === CounterAccess.high || (s.access === CounterAccess.lowThenHigh && s.readsHigh);
    if (s.access === CounterAccess.lowThenHigh) s.readsHigh = !s.readsHigh;
    if (s.access !== CounterAccess.lowThenHigh || high) s.latchedCount = NONE;
    return high ? value >> 8 : value & 0xff;
  }

  /** Latches the count until it is read; a second latch before that does nothing. */
  latchCount(now: number): void {
    if (this.#state.latchedCount === NONE) this.#state.latchedCount = this.#contents(now);
  }

  latchStatus(now: number): void {
    const out = this.out(now), s = this.#state;
    if (s.latchedStatus !== NONE) return;
    s.latchedStatus = (out ? STATUS_OUT : 0) | (s.nullCount ? STATUS_NULL_COUNT : 0) | (s.access << 4) |
      (s.mode << 1) | (s.bcd ? 1 : 0);
  }

  /** Level of GATE. Its rising edge triggers modes 1, 2, 3 and 5; its low level stops modes 0, 2, 3 and 4. */
  setGate(now: number, level: boolean): void {
    this.#advance(now);
    const s = this.#state, rises = level && !s.gate;
    if (level === s.gate) return;
    const isTriggered = s.mode === CounterMode.hardwareOneShot || s.mode === CounterMode.hardwareStrobe;
    if (!level && !isTriggered) {
      this.#freeze(now);
      // In modes 2 and 3 a count not loaded yet waits for the trigger.
      if (s.loaded && this.#isPeriodic()) s.loadPulse = NONE;
    }
    s.gate = level;
    if (!rises) return;
    if (isTriggered || this.#isPeriodic()) {
      if (s.count !== 0) s.loadPulse = now + 1;
    } else if (s.loaded && !s.counting && s.writtenLow === NONE) this.#run(now, s.held);
  }

  get gate(): boolean {
    return this.#state.gate;
  }

  save(): CounterState {
    return structuredClone(this.#state);
  }
  restore(saved: CounterState): void {
    this.#state = structuredClone(saved);
  }

  #isPeriodic(): boolean {
    return this.#state.mode === CounterMode.rateGenerator || this.#state.mode === CounterMode.squareWave;
  }

  #modulus(): number {
    return this.#state.bcd ? BCD_MODULUS : BINARY_MODULUS;
  }

  #nextChangeOfRun(now: number): number {
    const { mode, startPulse, startCount: n, startsLow, expired } = this.#state;
    const elapsed = now - startPulse;
    switch (mode) {
      case CounterMode.interruptOnTerminalCount:
      case CounterMode.hardwareOneShot:
        return elapsed < n && !expired ? startPulse + n : Infinity;
      case CounterMode.rateGenerator: {
        if (n === 1) return Infinity;
        const phase = elapsed % n;
        return now + (phase < n - 1 ? n - 1 - phase : 1);
      }
      case CounterMode.squareWave: {
        if (n === 1) return Infinity;
        const phase = elapsed % n, firstHalf = startsLow ? n >> 1 : (n + 1) >> 1;
        return now + (phase < firstHalf ? firstHalf : n) - phase;
      }
      default:
        if (expired || elapsed > n) return Infinity;
        return startPulse + n + (elapsed === n ? 1 : 0);
    }
  }

  #isHighHalf(phase: number): boolean {
    const { startCount: n, startsLow } = this.#state;
    return startsLow ? phase >= n >> 1 : phase < (n + 1) >> 1;
  }

  /** Moves the count register into the counting element, if its pulse has come. */
  #advance(now: number): void {
    const s = this.#state;
    if (s.loadPulse === NONE || now < s.loadPulse) return;
    const pulse = s.loadPulse;
    // A square wave takes a new count at the end of a half: when the high one ends, the low one comes next.
    const beginsLow = s.mode === CounterMode.squareWave && s.loaded && s.counting &&
      this.#isHighHalf((pulse - 1 - s.startPulse) % s.startCount);
    s.loadPulse = NONE;
    s.nullCount = false;
    s.expired = false;
    s.loaded = true;
    this.#run(pulse, s.count);
    s.startsLow = beginsLow;
    const stopsAtLowGate = s.mode !== CounterMode.hardwareOneShot && s.mode !== CounterMode.hardwareStrobe;
    if (stopsAtLowGate && !s.gate) {
      s.counting = false;
      s.held = s.count;
    }
  }

  #run(pulse: number, count: number): void {
    const s = this.#state;
    s.startPulse = pulse;
    s.startCount = count;
    s.startsLow = false;
    s.counting = true;
  }

  /** Stops counting with the counting element's present contents. */
  #freeze(now: number): void {
    this.#advance(now);
    const s = this.#state;
    if (!s.counting) return;
    s.held = this.#remaining(now);
    s.expired ||= !this.#isPeriodic() && now - s.startPulse >= s.startCount;
    s.counting = false;
  }

  #stopLow(now: number): void {
    this.#freeze(now);
    this.#state.expired = false;
    this.#state.loadPulse = NONE;
  }

  /** A whole count was written. */
  #writeCount(now: number, value: number): void {
    const s = this.#state;
    const digits = s.bcd ? decimalOfBcd(value) % BCD_MODULUS : value;
    s.count = digits === 0 ? this.#modulus() : digits;
    s.nullCount = true;
    switch (s.mode) {
      case CounterMode.interruptOnTerminalCount:
        this.#stopLow(now);
        s.loadPulse = now + 1;
        // What is read before the first load is undefined. The new count suits drivers that believe that an access to a
        // port takes a microsecond, so that the load has happened by the time they read: Linux's quick calibration.
        if (!s.loaded) s.held = s.count;
        break;
      case CounterMode.hardwareOneShot:
      case CounterMode.hardwareStrobe:
        break;
      case CounterMode.softwareStrobe:
        s.loadPulse = now + 1;
        break;
      default:
        if (!s.loaded) s.loadPulse = now + 1;
        else if (s.counting) s.loadPulse = this.#endOfPeriod(now);
    }
  }

  /** Pulse at which mode 2's period, or mode 3's half, ends: the new count takes over there. */
  #endOfPeriod(now: number): number {
    const { mode, startPulse, startCount, startsLow } = this.#state;
    const phase = (now - startPulse) % startCount;
    if (mode === CounterMode.rateGenerator) return now - phase + startCount;
    const firstHalf = startsLow ? startCount >> 1 : (startCount + 1) >> 1;
    return now - phase + (phase < firstHalf ? firstHalf : startCount);
  }

  /** Pulses left in the counting element, wrapped as it wraps; 1 up to the modulus. */
  #remaining(now: number): number {
    const { mode, startPulse, startCount: n, counting, held, startsLow } = this.#state;
    if (!counting) return held;
    const elapsed = now - startPulse;
    if (mode === CounterMode.rateGenerator) return n - (elapsed % n);
    if (mode === CounterMode.squareWave) {
      const phase = elapsed % n, firstHalf = startsLow ? n >> 1 : (n + 1) >> 1;
      // It counts down by two, twice a period; an odd count is loaded less one.
      return (n & ~1) - 2 * (phase < firstHalf ? phase : phase - firstHalf);
    }
    const modulus = this.#modulus();
    const left = (n - (elapsed % modulus) + modulus) % modulus;
    return left === 0 ? modulus : left;
  }

  /** The counting element as read by the processor. */
  #contents(now: number): number {
    this.#advance(now);
    const value = this.#remaining(now) % this.#modulus();
    return this.#state.bcd ? bcdOfDecimal(value) : value;
  }
}

/** Value of four BCD digits; digits above nine count for what they are. */
function decimalOfBcd(bcd: number): number {
  return (bcd >> 12) * 1000 + ((bcd >> 8) & 15) * 100 + ((bcd >> 4) & 15) * 10 + (bcd & 15);
}

function bcdOfDecimal(value: number): number {
  return (Math.floor(value / 1000) << 12) | (Math.floor(value / 100) % 10 << 8) |
    (Math.floor(value / 10) % 10 << 4) | (value % 10);
}
