// Statistics that plugins keep: counters and gauges, and series of every VM, all read when somebody asks. A name carries its
// unit beside it, so that reports need no other table.

import type { Vm } from "./vm.ts";

/** A count of things since the start. Add to `value` directly. */
export interface Counter {
  readonly name: string;
  readonly unit: string;
  value: number;
}

/** A quantity read on demand. */
export interface Gauge {
  readonly name: string;
  readonly unit: string;
  readonly read: () => number;
}

/** A quantity of each VM, read on demand; undefined for a VM that has none. Who samples it over host time makes a column. */
export interface Series {
  readonly name: string;
  readonly unit: string;
  readonly read: (vm: Vm) => number | undefined;
}

/** What one plugin keeps. */
export class Stats {
  readonly counters: Counter[] = [];
  readonly gauges: Gauge[] = [];
  readonly seriesList: Series[] = [];
  constructor(readonly vms: readonly Vm[]) {}

  counter(name: string, unit: string): Counter {
    const counter = { name, unit, value: 0 };
    this.counters.push(counter);
    return counter;
  }

  gauge(name: string, unit: string, read: () => number): void {
    this.gauges.push({ name, unit, read });
  }

  series(name: string, unit: string, read: (vm: Vm) => number | undefined): void {
    this.seriesList.push({ name, unit, read });
  }

  /** Counters and gauges by name, and series by VM and name. */
  snapshot(): Record<string, number> {
    const ofVms = this.vms.flatMap((vm) => this.seriesList.map((s) => [`${vm.name}.${s.name}`, s.read(vm)] as const));
    return Object.fromEntries([
      ...this.counters.map((c) => [c.name, c.value]),
      ...this.gauges.map((g) => [g.name, g.read()]),
      ...ofVms.filter(([, value]) => value !== undefined),
    ]);
  }
}
