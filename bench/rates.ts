// Instructions a second of benches: deno bench reports the time of an iteration, this what was executed in it, by the wall
// and by the CPU time of the process, which a shared machine disturbs less. Printed when the benches of a file are over.

import process from "node:process";

/** One measured run. */
export interface Measured {
  readonly instructions: number;
  readonly wallSeconds: number;
  /** All threads of the process: V8's compilers count. */
  readonly cpuSeconds: number;
}

/** Starts to measure; the result is called at the end with the instructions. */
export function startMeasuring(): (instructions: number) => Measured {
  const startedMs = performance.now(), startedCpu = process.cpuUsage();
  return (instructions) => {
    const { user, system } = process.cpuUsage(startedCpu);
    return { instructions, wallSeconds: (performance.now() - startedMs) / 1000, cpuSeconds: (user + system) / 1e6 };
  };
}

/** Rates of runs by name ("engine: workload"), of all benches of one file. */
export class Rates {
  readonly #runs = new Map<string, Measured[]>();

  /** Rates stand beside that of engine `baseline` on the same workload. */
  constructor(readonly title: string, readonly baseline?: string) {
    globalThis.addEventListener("unload", () => this.#runs.size > 0 && console.log(this.table()));
  }

  add(name: string, run: Measured): void {
    const runs = this.#runs.get(name) ?? [];
    this.#runs.set(name, [...runs, run]);
  }

  /** Median rates in millions of instructions a second, and how they stand to the baseline's. */
  table(): string {
    const width = Math.max(...[...this.#runs.keys()].map((name) => name.length));
    const lines = [...this.#runs].map(([name, runs]) => {
      const base = this.baseline === undefined ? undefined : this.#runs.get(`${this.baseline}: ${name.split(": ")[1]}`);
      const cells = (["wallSeconds", "cpuSeconds"] as const).map((clock) => {
        const rate = median(runs, clock);
        const ratio = base === undefined ? "" : ` (${(rate / median(base, clock)).toFixed(2)})`;
        return (rate.toFixed(1) + ratio).padStart(18);
      });
      return `  ${name.padEnd(width)}${cells.join("")}`;
    });
    const heads = ["per second", "per CPU second"].map((head) => head.padStart(18)).join("");
    const relative = this.baseline === undefined ? "" : ` (and relative to ${this.baseline})`;
    return `\n${this.title}: M instructions, medians${relative}\n  ${"".padEnd(width)}${heads}\n${lines.join("\n")}`;
  }
}

function median(runs: readonly Measured[], clock: "wallSeconds" | "cpuSeconds"): number {
  const rates = runs.map((run) => run.instructions / run[clock] / 1e6).toSorted((a, b) => a - b);
  const middle = rates.length >> 1;
  return rates.length % 2 === 1 ? rates[middle] : (rates[middle - 1] + rates[middle]) / 2;
}
