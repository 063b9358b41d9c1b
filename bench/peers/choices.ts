// What a comparison of engines runs, from the environment; bench/engines.bench.ts lists the variables.

import { type WorkloadRun, workloads } from "../../guests/workloads/mod.ts";
import { type Engine, engines } from "./engines.ts";

export interface EngineRounds {
  readonly engine: Engine;
  /** How often it boots. */
  readonly rounds: number;
}

/** Wall time of the host, or CPU time of the engine's process. */
export type Clock = "wall" | "cpu";

export interface Choices {
  readonly engines: readonly EngineRounds[];
  readonly runs: readonly WorkloadRun[];
  /** Which times the tables show, a table each. */
  readonly clocks: readonly Clock[];
  readonly patienceSeconds: number;
}

export const DEFAULT_ROUNDS = 3;
/** The interpreter is slow, and as fast in one round as in another: nothing of it compiles while it runs. */
export const DEFAULT_ENGINES = "bt,interpreter:1,v86,tcg";
export const DEFAULT_PATIENCE_SECONDS = 300;

const CLOCKS: ReadonlyMap<string, readonly Clock[]> = new Map([
  ["wall", ["wall"]],
  ["cpu", ["cpu"]],
  ["both", ["wall", "cpu"]],
]);

/** Reads the variables; throws an Error that names the one that is wrong, and what it may be. */
export function readChoices(variable: (name: string) => string | undefined): Choices {
  const clock = variable("BALLAST_CLOCK") ?? "wall";
  const clocks = CLOCKS.get(clock);
  if (clocks === undefined) throw new Error(`BALLAST_CLOCK ${clock}: expected ${[...CLOCKS.keys()].join(", ")}`);
  const rounds = positive("BALLAST_ROUNDS", variable("BALLAST_ROUNDS") ?? String(DEFAULT_ROUNDS));
  const chosenEngines = named("BALLAST_ENGINES", variable("BALLAST_ENGINES") ?? DEFAULT_ENGINES, engines);
  const chosenRuns = variable("BALLAST_WORKLOADS") ?? workloads.map(({ name }) => name).join(",");
  return {
    engines: chosenEngines.map(({ item, number = rounds }) => ({ engine: item, rounds: number })),
    runs: named("BALLAST_WORKLOADS", chosenRuns, workloads).map(({ item, number = item.size }) => {
      return { name: item.name, size: number };
    }),
    clocks,
    patienceSeconds: positive("BALLAST_PATIENCE", variable("BALLAST_PATIENCE") ?? String(DEFAULT_PATIENCE_SECONDS)),
  };
}

/** The items that a comma-separated list names, each with the number that may follow a colon. */
function named<T extends { readonly name: string }>(variable: string, list: string, items: readonly T[]) {
  const seen = new Set<string>();
  return list.split(",").map((entry) => {
    const [name, number] = entry.split(":");
    const item = items.find((candidate) => candidate.name === name);
    if (item === undefined) {
      const known = items.map((other) => other.name).join(", ");
      throw new Error(`${variable}: there is no ${JSON.stringify(name)}; there are ${known}`);
    }
    if (seen.has(name)) throw new Error(`${variable}: ${name} is named twice`);
    seen.add(name);
    return { item, number: number === undefined ? undefined : positive(`${variable}: ${name}`, number) };
  });
}

function positive(what: string, given: string): number {
  if (!/^[1-9]\d{0,8}$/.test(given)) throw new Error(`${what} ${given}: expected a whole number from 1`);
  return Number(given);
}
