// Paces a run for a person: while guests compute they run as fast as they can; while all of them idle, host time passes
// as it does on the wall.

import type { Host } from "../core/mod.ts";

/** Host time between two looks at the wall clock. */
const SLICE_NS = 5e6;
/** Shorter waits are saved up: timers are no more precise than this. */
const SHORTEST_WAIT_MS = 2;
const NS_PER_MS = 1e6;

export class Pace {
  #hostNs: number;
  #busyNs: number;
  #wallMs: number;
  /** Idle time that has not been waited for. */
  #owedMs = 0;

  /** `wallMs` reads the wall clock. */
  constructor(readonly host: Pick<Host, "clock" | "vms">, readonly wallMs: () => number = () => performance.now()) {
    this.#wallMs = wallMs();
    this.#hostNs = host.clock.nowNs;
    this.#busyNs = this.#busy();
  }

  /** Host time at which to look again. */
  sliceEndNs(): number {
    return this.host.clock.nowNs + SLICE_NS;
  }

  /** Waits, by `wait`, for the idle time since the last call. */
  async catchUp(wait: (ms: number) => Promise<void>): Promise<void> {
    const idleNs = this.host.clock.nowNs - this.#hostNs - (this.#busy() - this.#busyNs);
    const elapsedMs = this.wallMs() - this.#wallMs;
    // Time spent computing pays for no idle time; what was waited too long does.
    this.#owedMs = Math.max(-SHORTEST_WAIT_MS, this.#owedMs + idleNs / NS_PER_MS - (idleNs > 0 ? elapsedMs : 0));
    this.#hostNs = this.host.clock.nowNs;
    this.#busyNs = this.#busy();
    this.#wallMs = this.wallMs();
    if (this.#owedMs < SHORTEST_WAIT_MS) return;
    await wait(this.#owedMs);
    this.#owedMs -= this.wallMs() - this.#wallMs;
    // Input cut the wait short: the rest of it is forgiven.
    if (this.#owedMs > 0) this.#owedMs = 0;
    this.#wallMs = this.wallMs();
  }

  #busy(): number {
    return this.host.vms.reduce((sum, vm) => sum + vm.cpuNs, 0);
  }
}
