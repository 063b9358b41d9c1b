// Statistics that plugins keep: counters and gauges, read when somebody asks, and series sampled in host time. A name
// carries its unit beside it, so that reports need no other table.

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

/** Points over host time. */
export interface Series {
  readonly name: string;
  readonly unit: string;
  readonly points: { readonly hostNs: number; readonly value: number }[];
  add(value: number): void;
}

/** What one plugin keeps. */
export class Stats {
  readonly counters: Counter[] = [];
  readonly gauges: Gauge[] = [];
  readonly seriesList: Series[] = [];
  constructor(readonly nowNs: () => number) {}

  counter(name: string, unit: string): Counter {
    const counter = { name, unit, value: 0 };
    this.counters.push(counter);
    return counter;
  }

  gauge(name: string, unit: string, read: () => number): void {
    this.gauges.push({ name, unit, read });
  }

  series(name: string, unit: string): Series {
    const points: { hostNs: number; value: number }[] = [];
    const series = { name, unit, points, add: (value: number) => void points.push({ hostNs: this.nowNs(), value }) };
    this.seriesList.push(series);
    return series;
  }

  /** Counters and gauges by name. */
  snapshot(): Record<string, number> {
    return Object.fromEntries([
      ...this.counters.map((c) => [c.name, c.value]),
      ...this.gauges.map((g) => [g.name, g.read()]),
    ]);
  }
}
