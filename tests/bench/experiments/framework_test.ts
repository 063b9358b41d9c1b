// The parts of the framework of experiments, by themselves: statistics, the closed form, the progress line and figures.

import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { z } from "../../../core/mod.ts";
import {
  defineExperiment,
  type Experiment,
  nearPaper,
  within,
} from "../../../bench/experiments/framework/definition.ts";
import { runExperiment } from "../../../bench/experiments/framework/engine.ts";
import { drawFigure } from "../../../bench/experiments/framework/figure.ts";
import { Interrupted, Progress } from "../../../bench/experiments/framework/progress.ts";
import { reportText } from "../../../bench/experiments/framework/report.ts";
import {
  averaged,
  confidence95,
  mean,
  meanOver,
  rateOver,
  valueAt,
} from "../../../bench/experiments/framework/statistics.ts";
import { taxedEquilibrium } from "../../../bench/experiments/tax_model.ts";

function assertNear(found: number, expected: number, tolerance: number): void {
  assert(Math.abs(found - expected) <= tolerance, `${found}, expected ${expected}`);
}

Deno.test("the closed form of the tax gives the ESX paper's figure 7", () => {
  const vms = [10, 197].map((active) => ({ shares: 1, active, min: 0, max: 256 }));
  for (
    const [total, rate, expected] of [[358, 0, [179, 179]], [358, 0.75, [109, 249]], [343.5, 0.75, [101.7, 241.8]], [
      358,
      0.9,
      [102, 256],
    ]] as const
  ) {
    taxedEquilibrium(total, vms, rate).forEach((mib, i) => assertNear(mib, expected[i], 0.6));
  }
});

Deno.test("the closed form keeps minima and maxima, and divides by shares where nothing is idle", () => {
  const vm = { active: 100, min: 0, max: 100 };
  const [a, b] = taxedEquilibrium(90, [{ ...vm, shares: 2 }, { ...vm, shares: 1 }], 0.75);
  assertNear(a, 60, 1e-6);
  assertNear(b, 30, 1e-6);
  const [c, d] = taxedEquilibrium(90, [{ ...vm, shares: 2 }, { ...vm, shares: 1, min: 50 }], 0.75);
  assertNear(c, 40, 1e-6);
  assertNear(d, 50, 1e-6);
});

Deno.test("means, rates and confidence are those of the textbook", () => {
  assertEquals(mean([1, 2, 6]), 3);
  // Student's t for 4 degrees of freedom is 2.776; the standard error of 1..5 is sqrt(2.5 / 5).
  assertNear(confidence95([1, 2, 3, 4, 5]), 2.776 * Math.sqrt(0.5), 1e-3);
  assertEquals(confidence95([7]), 0);
  const seconds = [0, 10, 20, 30];
  assertEquals(meanOver(seconds, [1, null, 3, 9], 0, 20), 2);
  assertEquals(valueAt(seconds, [1, 2, 3, 4], 25), 3);
  assertEquals(rateOver(seconds, [0, 50, 100, 150], 0, 20), 5);
});

/** Rolls once for each seed: what a seed gives is ten times the seed. */
const rolls = defineExperiment({
  ...{ name: "rolls", title: "Rolls", source: "no paper", summary: "", scale: "" },
  knobs: z.strictObject({}),
  runs: () => [{ name: "roll", perform: ({ seed }) => Promise.resolve({ data: { value: 10 * seed } }) }],
  evaluate({ data }) {
    const value = mean(data("roll").map((one) => Number(one.value)));
    return {
      rows: [
        { quantity: "value", unit: "", paper: 1000, measured: value, ...nearPaper(value, 1000, 5, "seeds are small") },
        { quantity: "a word", unit: "", measured: "none", verdict: "ours" },
      ],
      checks: [within("value", value, [0, 25], "")],
      figure: {
        title: "Rolls",
        panels: [{
          ...{ title: "", x: { name: "" }, y: { name: "" }, categories: ["value", "constant"] },
          series: [
            { name: "bars", origin: "measured", shape: "bars", colour: 0, points: [[0, value], [1, 7]] },
            { name: "course", origin: "measured", shape: "line", colour: 1, points: [[0, value]] },
            { name: "paper", origin: "paper", shape: "points", colour: 2, points: [[0, value]] },
          ],
        }],
      },
    };
  },
});

async function rolled(seeds: number) {
  const progress = new Progress({ write: () => {}, isTerminal: false, nowMs: () => 0 });
  return await runExperiment(rolls as unknown as Experiment, {
    ...{ seed: 1, seeds, isQuick: false, knobs: {}, overrides: {}, without: [], policies: [] },
    progress,
  });
}

Deno.test("with several seeds a result has each figure's mean and spread, and counts the seeds for which a line holds", async () => {
  const { rows, acceptance } = await rolled(3);
  assertEquals([rows[0].measured, rows[0].spread?.mean, rows[0].spread?.least, rows[0].spread?.most], [20, 20, 10, 30]);
  // Student's t for 2 degrees of freedom, by the standard error of 10, 20 and 30.
  assertNear(rows[0].spread?.confidence95 ?? NaN, 4.303 * 10 / Math.sqrt(3), 1e-9);
  assertEquals(rows[1].spread, undefined);
  assertEquals([acceptance[0].ok, acceptance[0].seedsHeld], [true, 2]);
  const [alone] = (await rolled(1)).rows;
  assertEquals([alone.measured, alone.spread], [10, undefined]);
});

Deno.test("with several seeds what a figure shows point by point has whiskers, a course over time and the paper's have none", async () => {
  const { figure } = await rolled(3);
  const [bars, course, paper] = figure.panels[0].series;
  assertEquals(bars.intervals?.map(([x]) => x), [0]);
  const [, low, high] = bars.intervals?.[0] ?? [0, NaN, NaN], half = 4.303 * 10 / Math.sqrt(3);
  assertNear(low, 20 - half, 1e-9);
  assertNear(high, 20 + half, 1e-9);
  assertEquals([course.intervals, paper.intervals], [undefined, undefined]);
  assertStringIncludes(await drawFigure(figure), "95 % confidence interval");
  for (const seeds of [1, 2]) {
    const { figure } = await rolled(seeds);
    assert(figure.panels[0].series.every(({ intervals }) => intervals === undefined));
    assert(!(await drawFigure(figure)).includes("whiskers"));
  }
});

Deno.test("figures of several seeds are averaged one by one, in whatever they are kept", () => {
  assertEquals(averaged([{ ns: { trap: [1, 4] }, name: "a" }, { ns: { trap: [3, 8] }, name: "b" }]), {
    ns: { trap: [2, 6] },
    name: "a",
  });
  // What is not of one length has no mean.
  assertEquals(averaged([[1, 2], [5]]), [1, 2]);
});

Deno.test("a report shows the spread over seeds, and says of what is not reproduced why", async () => {
  const text = reportText(await rolled(3), "deno task experiment rolls");
  assertStringIncludes(text, "| value |  | 1000 |  | 20 | 20 ± 24.84 (10 to 30) | not reproduced |");
  assertStringIncludes(text, "| yes (2 of 3 seeds) |");
  assertStringIncludes(text, "## Not reproduced\n\n- value: seeds are small\n");
});

Deno.test("the progress line says how much is done and how long it will take, and the user's Ctrl-C ends it", async () => {
  let nowMs = 0;
  const written: string[] = [];
  const progress = new Progress({ write: (text) => void written.push(text), isTerminal: false, nowMs: () => nowMs });
  progress.begin("idle-tax");
  await progress.breathe(0.1, "two VMs");
  assertEquals(written, []);
  nowMs = 20_000;
  await progress.breathe(0.25, "two VMs");
  assertEquals(written, ["idle-tax: 25 % (two VMs), about 60 s left\n"]);
  progress.isInterrupted = true;
  await assertRejects(() => progress.breathe(0.5, "two VMs"), Interrupted);
});

Deno.test("a figure is an SVG with its titles, axes and legend, whoever's series it holds", async () => {
  const points = [[0, 1], [1, 3], [2, 2]] as const;
  const svg = await drawFigure({
    title: "A figure",
    panels: [{
      title: "a panel",
      x: { name: "minutes" },
      y: { name: "MB" },
      series: (["measured", "paper", "model"] as const).map((origin, colour) => ({
        name: `by ${origin}`,
        origin,
        shape: "marked",
        colour,
        points,
      })),
    }],
  });
  for (const text of ["A figure", "a panel", "minutes", "MB", "by measured", "by paper", "by model"]) {
    assertStringIncludes(svg, text);
  }
  assert(svg.startsWith("<svg"));
});
