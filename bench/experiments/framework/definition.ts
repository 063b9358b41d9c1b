// What an experiment is: one short declarative file in bench/experiments/ whose default export is made by `defineExperiment`.
//
// How to write one:
// 1. `knobs`: a strict zod object of what may be changed by `--set NAME=VALUE`, with defaults; `quick` has smaller values for
//    `--quick`. `seeds` says how many seeds are averaged.
// 2. `runs(knobs)`: what is to be run, each under a name. A run is a `scene`, a host with guests, plugins and phases on a time
//    line of host seconds (scene.ts), which is recorded for you; or `perform`, a function of your own, for what is no such thing:
//    it returns data for `result.json`, and what it measured by the wall clock apart, as `timed`.
// 3. `evaluate(results)`: rows of three columns (paper, model, measured), acceptance checks with their tolerance class, the
//    figure in the paper's form, and notes on what differs from the paper and why. What depends on the wall clock is marked
//    `isTimed` and kept apart, so that everything else is the same, to the byte, in every run with the same seed.
// 4. Add it to the list in bench/experiments/mod.ts.
// Only what was predicted may be called reproduced: where an input was fitted to the figure that comes out, say `calibrated`.

import type { z } from "../../../core/mod.ts";
import type { PluginChoice } from "../../../cli/catalogue.ts";
import type { Figure } from "./figure.ts";
import type { Recording, Scene } from "./scene.ts";

/** How a check is held to what it expects: an exact invariant, a shape or order, or a number within a stated band. */
export const toleranceClasses = { X: "exact", S: "shape", N: "number" } as const;
export type ToleranceClass = keyof typeof toleranceClasses;

/** One line of acceptance. */
export interface Check {
  readonly name: string;
  readonly tolerance: ToleranceClass;
  readonly expected: string;
  readonly measured: string | number;
  readonly ok: boolean;
  /** Whether it depends on the wall clock. */
  readonly isTimed?: boolean;
  /** Of several seeds, each by itself: in how many it holds. The engine adds it. */
  readonly seedsHeld?: number;
}

/** What one seed's figures are to those of others. */
export interface Spread {
  readonly mean: number;
  /** Half the width of the mean's 95 % confidence interval. */
  readonly confidence95: number;
  readonly least: number;
  readonly most: number;
}

/**
 * What may be said of a row. `calibrated`: an input was fitted to it. `ours`: the paper has no such figure. What is not
 * reproduced has its reason: no expectation is widened until it holds.
 */
export type Verdict =
  | { readonly verdict: "reproduced" | "calibrated" | "as modelled" | "ours" }
  | { readonly verdict: "not reproduced"; readonly because: string };

/** A figure beside the paper's and beside what an independent model or oracle says. */
export type Row = {
  readonly quantity: string;
  readonly unit: string;
  readonly paper?: number | string;
  readonly model?: number | string;
  readonly measured: number | string;
  readonly isTimed?: boolean;
  /** Of several seeds, each by itself. The engine adds it. */
  readonly spread?: Spread;
} & Verdict;

/** Plain data that goes into `result.json`. */
export type Data = { readonly [name: string]: unknown };

/** What a run of one's own is given. */
export interface PerformContext {
  readonly seed: number;
  /** Options by plugin that the user set: to be applied over the run's own. */
  readonly overrides: PluginOptions;
  readonly without: readonly string[];
  /** Tells how much of the run is done, from 0 to 1, lets signals in, and throws when the user interrupted. */
  breathe(done: number): Promise<void>;
}

export type PluginOptions = Readonly<Record<string, Readonly<Record<string, unknown>>>>;

export interface Performed {
  readonly data: Data;
  /** What the wall clock had a part in. */
  readonly timed?: Data;
}

/** One run. `weight` is its part of the whole experiment's time, for the progress line; a scene's is its host seconds. */
export type Run =
  | { readonly name: string; readonly scene: Scene; readonly weight?: number }
  | {
    readonly name: string;
    readonly perform: (context: PerformContext) => Promise<Performed>;
    readonly weight?: number;
  };

/** What was found, by seed. */
export interface Results<Knobs> {
  readonly knobs: Knobs;
  readonly seeds: readonly number[];
  /** Recordings of a scene, one a seed. */
  recordings(run: string): readonly Recording[];
  /** Data of a run of one's own, one a seed. */
  data(run: string): readonly Data[];
  timed(run: string): readonly Data[];
  /** Policies to compare, as `--compare` names them; empty where it was not given. */
  readonly policies: readonly Policy[];
}

/** A policy that `--compare` names: `shares` is the allocator's own division, without any. */
export interface Policy {
  readonly name: string;
  readonly plugin: PluginChoice | undefined;
}

export interface Evaluation {
  readonly rows: readonly Row[];
  readonly checks: readonly Check[];
  readonly figure: Figure;
  /** What differs from the paper, and why. */
  readonly notes?: readonly string[];
}

export interface Experiment<Schema extends z.ZodObject = z.ZodObject> {
  readonly name: string;
  readonly title: string;
  /** Paper, section and figure. */
  readonly source: string;
  /** One line: what it shows. */
  readonly summary: string;
  /** How its scale differs from the paper's. */
  readonly scale: string;
  readonly knobs: Schema;
  /** Values of knobs for `--quick`. */
  readonly quick?: Partial<z.output<Schema>>;
  /** Seeds to average over; default 1. */
  readonly seeds?: { readonly full: number; readonly quick: number };
  /** Whether it boots Linux. */
  readonly needsLinux?: boolean;
  /** Whether it takes `--compare`, and the policies that it compares by default. */
  readonly comparesTargets?: readonly string[];
  runs(knobs: z.output<Schema>, policies: readonly Policy[]): readonly Run[] | Promise<readonly Run[]>;
  evaluate(results: Results<z.output<Schema>>): Evaluation;
}

/** An experiment, with its knobs' types known to its functions. */
export function defineExperiment<const Schema extends z.ZodObject>(experiment: Experiment<Schema>): Experiment<Schema> {
  return experiment;
}

/** What may be said of a figure that nothing was fitted to, and why, where it is not the paper's. */
export function reproducedIf(isReproduced: boolean, because: string): Verdict {
  return isReproduced ? { verdict: "reproduced" } : { verdict: "not reproduced", because };
}

/** Reproduced, if it is within some percent of the paper's. */
export function nearPaper(measured: number, paper: number, percent: number, because: string): Verdict {
  return reproducedIf(Math.abs(measured / paper - 1) <= percent / 100, because);
}

/** Reproduced, if neither is more than so many times the other. */
export function withinTimes(measured: number, paper: number, times: number, because: string): Verdict {
  return reproducedIf(Math.abs(Math.log(measured / paper)) <= Math.log(times), because);
}

/** An acceptance check that a number lies within a band. */
export function within(
  name: string,
  measured: number,
  [low, high]: readonly [number, number],
  unit: string,
  tolerance: ToleranceClass = "N",
): Check {
  const expected = high === Infinity
    ? `at least ${figureText(low)}`
    : low === -Infinity
    ? `at most ${figureText(high)}`
    : `${figureText(low)} to ${figureText(high)}`;
  const ok = measured >= low && measured <= high;
  return {
    name,
    tolerance,
    expected: `${expected} ${unit}`.trim(),
    measured: `${figureText(measured)} ${unit}`.trim(),
    ok,
  };
}

/** An acceptance check that something holds. */
export function holds(
  name: string,
  ok: boolean,
  expected: string,
  measured: string | number,
  tolerance: ToleranceClass = "S",
): Check {
  return { name, tolerance, expected, measured, ok };
}

/** The same check, marked as one that depends on the wall clock. */
export function timedCheck(check: Check): Check {
  return { ...check, isTimed: true };
}

/** A number as reports show it: four significant digits, whole numbers whole. */
export function figureText(value: number): string {
  if (!Number.isFinite(value) || Number.isInteger(value)) return String(value);
  return String(Number(value.toPrecision(4)));
}
