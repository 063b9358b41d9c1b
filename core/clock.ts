// The two clocks. Guest time, per VM, is a function of that VM's own steps, halts and device latencies, and the only
// time a guest can see. Host time orders VMs and adds what each has stolen from the others. Neither reads the wall.

import type { Saved } from "./state.ts";

/** A named one-shot timer of a guest clock. Its deadline is saved and restored by the clock. */
export interface GuestTimer {
  /** Guest time in ns at which it fires; Infinity while disarmed. */
  readonly deadlineNs: number;
  /** Fires at `deadlineNs`, rounded up to a whole ns (at the next step boundary, if that is past). */
  arm(deadlineNs: number): void;
  disarm(): void;
}

class Timer implements GuestTimer {
  deadlineNs = Infinity;
  constructor(readonly clock: GuestClock, readonly name: string, readonly fire: (nowNs: number) => void) {}
  arm(deadlineNs: number): void {
    this.deadlineNs = Math.ceil(deadlineNs);
    this.clock.reschedule();
  }
  disarm(): void {
    this.arm(Infinity);
  }
}

/**
 * Guest time of one VM: `offsetNs` (halted time and device latency) plus steps at `cpuMhz`.
 * Steps and nanoseconds are integers up to 2^53.
 */
export class GuestClock {
  /** Completed steps. Exact whenever code outside the engine runs. */
  steps = 0;
  /** Guest nanoseconds that passed without steps. */
  offsetNs = 0;
  /** The engine returns when `steps` reaches this: the end of the turn, a checkpoint or a timer, whichever is first. */
  deadlineSteps = 0;
  #turnEndSteps = 0;
  readonly #timers: Timer[] = [];

  constructor(readonly cpuMhz: number) {}

  nowNs(): number {
    return this.offsetNs + this.stepsToNs(this.steps);
  }

  /** Time-stamp counter: cycles at `cpuMhz` since power-on, one a step and those that passed while halted. */
  cycles(): number {
    const offsetUs = Math.floor(this.offsetNs / 1000);
    return this.steps + offsetUs * this.cpuMhz + Math.floor(((this.offsetNs - offsetUs * 1000) * this.cpuMhz) / 1000);
  }

  /** floor(steps * 1000 / cpuMhz), exact: whole microseconds first, so that no product leaves the integers. */
  stepsToNs(steps: number): number {
    const us = Math.floor(steps / this.cpuMhz);
    return us * 1000 + Math.floor(((steps - us * this.cpuMhz) * 1000) / this.cpuMhz);
  }

  /** The first step count at which guest time is at least `ns`, if no more time passes without steps. */
  nsToSteps(ns: number): number {
    if (ns === Infinity) return Infinity;
    const stepNs = Math.max(0, Math.ceil(ns - this.offsetNs));
    const us = Math.floor(stepNs / 1000);
    return us * this.cpuMhz + Math.ceil(((stepNs - us * 1000) * this.cpuMhz) / 1000);
  }

  /** Creates a timer; `name` is unique in the VM and names its deadline in a saved state. */
  timer(name: string, fire: (nowNs: number) => void): GuestTimer {
    if (this.#timers.some((timer) => timer.name === name)) throw new Error(`guest timer ${name} exists already`);
    const timer = new Timer(this, name, fire);
    this.#timers.push(timer);
    return timer;
  }

  /** Guest time of the next timer, or Infinity. */
  nextTimerNs(): number {
    let next = Infinity;
    for (const timer of this.#timers) if (timer.deadlineNs < next) next = timer.deadlineNs;
    return next;
  }

  /** Begins a turn that ends at `steps`, and brings the deadline up to date. */
  beginTurn(endSteps: number): void {
    this.#turnEndSteps = endSteps;
    this.reschedule();
  }

  /** Recomputes the deadline after a timer or the turn changed. */
  reschedule(): void {
    this.deadlineSteps = Math.min(this.#turnEndSteps, this.nsToSteps(this.nextTimerNs()));
  }

  /** Ends the turn at the present step: the engine returns at its next check. */
  endTurn(): void {
    this.beginTurn(this.steps);
  }

  /** Fires every timer that is due, earliest first, ties in order of creation. */
  fireDue(): void {
    const nowNs = this.nowNs();
    for (;;) {
      let due: Timer | undefined;
      for (const timer of this.#timers) {
        if (timer.deadlineNs <= nowNs && (due === undefined || timer.deadlineNs < due.deadlineNs)) due = timer;
      }
      if (due === undefined) break;
      due.deadlineNs = Infinity;
      due.fire(nowNs);
    }
    this.reschedule();
  }

  /** Lets `ns` nanoseconds, rounded up, pass without a step: halted time, or the modelled latency of a device. */
  pass(ns: number): void {
    this.offsetNs += Math.ceil(ns);
    this.reschedule();
  }

  save(): Saved {
    const deadlines = this.#timers.filter((t) => t.deadlineNs !== Infinity).map((t) => [t.name, t.deadlineNs]);
    return { steps: this.steps, offsetNs: this.offsetNs, deadlines: Object.fromEntries(deadlines) };
  }

  restore(saved: { steps: number; offsetNs: number; deadlines: Record<string, number> }): void {
    this.steps = saved.steps;
    this.offsetNs = saved.offsetNs;
    for (const timer of this.#timers) timer.deadlineNs = saved.deadlines[timer.name] ?? Infinity;
    this.beginTurn(this.steps);
  }
}

/** Host time and its periodic timers. */
export class HostClock {
  nowNs = 0;
  #timers: { periodNs: number; nextNs: number; fire: () => void }[] = [];

  /** Calls `fire` every `periodNs` of host time. Returns its removal. */
  every(periodNs: number, fire: () => void): () => void {
    if (!(periodNs >= 1)) throw new Error(`period of ${periodNs} ns; expected at least 1 ns`);
    const timer = { periodNs, nextNs: this.nowNs + periodNs, fire };
    this.#timers.push(timer);
    return () => void (this.#timers = this.#timers.filter((other) => other !== timer));
  }

  nextTimerNs(): number {
    return this.#timers.reduce((next, timer) => Math.min(next, timer.nextNs), Infinity);
  }

  /** Fires what is due, each timer once however late it is; it then waits for its next whole period. */
  fireDue(): void {
    for (const timer of [...this.#timers]) {
      if (timer.nextNs > this.nowNs || !this.#timers.includes(timer)) continue;
      timer.nextNs += timer.periodNs * Math.ceil((this.nowNs - timer.nextNs + 1) / timer.periodNs);
      timer.fire();
    }
  }
}
