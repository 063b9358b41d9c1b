// Runs an experiment: every run with every seed, then its evaluation, and all of it as one result.

import { InputError, unknownName, z } from "../../../core/mod.ts";
import project from "../../../deno.json" with { type: "json" };
import type {
  Check,
  Data,
  Evaluation,
  Experiment,
  Performed,
  PluginOptions,
  Policy,
  Results,
  Row,
  Run,
} from "./definition.ts";
import { type Figure, type FigureSeries, isPointwise } from "./figure.ts";
import type { Progress } from "./progress.ts";
import { type Result, RESULT_SCHEMA } from "./result.ts";
import { describeScene, type Recording, runScene } from "./scene.ts";
import { spreadOf } from "./statistics.ts";

export interface ExperimentOptions {
  readonly seed: number;
  /** How many seeds; default: what the experiment says. */
  readonly seeds?: number;
  readonly isQuick: boolean;
  /** Knobs by name, as texts or values. */
  readonly knobs: Readonly<Record<string, unknown>>;
  readonly overrides: PluginOptions;
  readonly without: readonly string[];
  readonly policies: readonly Policy[];
  readonly progress: Progress;
}

/** What one run with one seed gave. */
interface Outcome {
  readonly run: string;
  readonly seed: number;
  readonly recording?: Recording;
  readonly performed?: Performed;
}

/** Runs an experiment. Throws InputError for knobs that it does not have, and Interrupted when the user wants no more. */
export async function runExperiment(experiment: Experiment, options: ExperimentOptions): Promise<Result> {
  const startedMs = performance.now();
  const knobs = readKnobs(experiment, options);
  const { full, quick } = experiment.seeds ?? { full: 1, quick: 1 };
  const count = options.seeds ?? (options.isQuick ? quick : full);
  const seeds = Array.from({ length: count }, (_, i) => options.seed + i);
  const runs = await experiment.runs(knobs, options.policies);
  const outcomes = await performAll(runs, seeds, options);
  const evaluate = (some: readonly number[]) =>
    experiment.evaluate(
      resultsOf(knobs, some, outcomes.filter(({ seed }) => some.includes(seed)), options.policies),
    );
  const { notes = [], ...found } = evaluate(seeds);
  const { rows, checks, figure } = seeds.length < 2 ? found : withSpread(found, seeds.map((seed) => evaluate([seed])));
  const isTimed = checks.length > 0 && checks.every((check) => check.isTimed) || rows.some((row) => row.isTimed);
  const timedOf = (outcome: Outcome) => outcome.performed?.timed;
  return {
    schema: RESULT_SCHEMA,
    experiment: experiment.name,
    title: experiment.title,
    source: experiment.source,
    scale: experiment.scale,
    versions: { ballast: project.version, deno: Deno.version.deno, v8: Deno.version.v8 },
    seed: options.seed,
    seeds,
    isQuick: options.isQuick,
    configuration: {
      knobs,
      overrides: options.overrides,
      without: options.without,
      policies: options.policies.map(({ name }) => name),
      runs: runs.map((run) => ({ name: run.name, ...("scene" in run ? { scene: describeScene(run.scene) } : {}) })),
    },
    rows: rows.filter((row) => !row.isTimed),
    acceptance: checks.filter((check) => !check.isTimed),
    notes,
    figure: isTimed ? NO_FIGURE : figure,
    series: outcomes.map(({ run, seed, recording, performed }) => ({ run, seed, data: recording ?? performed?.data })),
    timings: {
      wallSeconds: (performance.now() - startedMs) / 1000,
      rows: rows.filter((row): row is Row => row.isTimed === true),
      acceptance: checks.filter((check): check is Check => check.isTimed === true),
      ...(isTimed ? { figure } : {}),
      series: outcomes.filter(timedOf).map((outcome) => ({
        run: outcome.run,
        seed: outcome.seed,
        data: timedOf(outcome),
      })),
    },
  };
}

type Found = Pick<Evaluation, "rows" | "checks" | "figure">;

/**
 * Rows with the spread of the figures that single seeds give, checks with the number of seeds that they hold for, and a figure
 * with intervals.
 */
function withSpread({ rows, checks, figure }: Found, bySeed: readonly Found[]): Found {
  return {
    rows: rows.map((row, i) => {
      const values = bySeed.flatMap(({ rows }) =>
        rows[i]?.quantity === row.quantity ? [numberIn(rows[i].measured)] : []
      );
      return values.length === bySeed.length && values.every(Number.isFinite)
        ? { ...row, spread: spreadOf(values) }
        : row;
    }),
    checks: checks.map((check, i) => ({
      ...check,
      seedsHeld: bySeed.filter(({ checks }) => checks[i]?.name === check.name && checks[i].ok).length,
    })),
    figure: {
      ...figure,
      panels: figure.panels.map((panel, at) => ({
        ...panel,
        series: panel.series.map((series, i) =>
          withIntervals(series, bySeed.map(({ figure }) => figure.panels[at]?.series[i]))
        ),
      })),
    },
  };
}

/** What was measured point by point, with the interval of each point that every seed has. */
function withIntervals(series: FigureSeries, bySeed: readonly (FigureSeries | undefined)[]): FigureSeries {
  if (bySeed.length < LEAST_SEEDS_OF_AN_INTERVAL || series.origin !== "measured" || !isPointwise(series)) return series;
  const intervals = series.points.flatMap(([x], i) => {
    const values = bySeed.flatMap((one) => one?.points[i]?.[0] === x ? one.points[i][1] ?? [] : []);
    if (values.length < bySeed.length) return [];
    const { mean, confidence95 } = spreadOf(values);
    return confidence95 === 0 ? [] : [[x, mean - confidence95, mean + confidence95] as const];
  });
  return intervals.length === 0 ? series : { ...series, intervals };
}

/** Of two, Student's t makes an interval of 13 standard errors. */
const LEAST_SEEDS_OF_AN_INTERVAL = 3;

/** The figure that a row's text begins with; NaN of a text that is no figure. */
function numberIn(measured: number | string): number {
  return typeof measured === "number" ? measured : Number(/^-?[\d.]+(?= ±|$)/.exec(measured)?.[0] ?? NaN);
}

const NO_FIGURE: Figure = { title: "", panels: [] };

async function performAll(
  runs: readonly Run[],
  seeds: readonly number[],
  { overrides, without, progress }: ExperimentOptions,
): Promise<Outcome[]> {
  const weights = runs.map((run) => run.weight ?? ("scene" in run ? run.scene.untilSeconds * run.scene.vms.length : 1));
  const total = weights.reduce((sum, weight) => sum + weight, 0) * seeds.length;
  const outcomes: Outcome[] = [];
  let past = 0;
  for (const seed of seeds) {
    for (const [i, run] of runs.entries()) {
      const label = seeds.length > 1 ? `${run.name}, seed ${seed}` : run.name;
      const breathe = (done: number) => progress.breathe((past + weights[i] * Math.min(1, done)) / total, label);
      await breathe(0);
      const context = { seed, overrides, without, breathe };
      if ("scene" in run) outcomes.push({ run: run.name, seed, recording: await runScene(run.scene, context) });
      else outcomes.push({ run: run.name, seed, performed: await run.perform(context) });
      past += weights[i];
    }
  }
  return outcomes;
}

function resultsOf(
  knobs: Readonly<Record<string, unknown>>,
  seeds: readonly number[],
  outcomes: readonly Outcome[],
  policies: readonly Policy[],
): Results<Record<string, unknown>> {
  const of = (run: string) => {
    const found = outcomes.filter((outcome) => outcome.run === run);
    if (found.length === 0) throw new Error(`the experiment has no run "${run}"`);
    return found;
  };
  return {
    knobs,
    seeds,
    policies,
    recordings: (run) => of(run).flatMap(({ recording }) => recording ?? []),
    data: (run) => of(run).flatMap(({ performed }): readonly Data[] => performed === undefined ? [] : [performed.data]),
    timed: (run) => of(run).flatMap(({ performed }): readonly Data[] => performed?.timed ? [performed.timed] : []),
  };
}

/** The knobs: defaults, what is quick, and what the user set. */
function readKnobs(experiment: Experiment, options: ExperimentOptions): Record<string, unknown> {
  const names = Object.keys(experiment.knobs.shape);
  for (const name of Object.keys(options.knobs)) {
    if (!names.includes(name)) throw unknownName(`knob of experiment ${experiment.name}`, name, names);
  }
  const quick = options.isQuick ? experiment.quick ?? {} : {};
  const parsed = z.safeParse(experiment.knobs, { ...quick, ...options.knobs });
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw new InputError(`option --set ${issue.path.join(".")}: ${issue.message}`);
}
