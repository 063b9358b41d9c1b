// The estimate of active memory on a real guest: a toucher keeps to a known schedule, and the averages are those that the
// schedule gives, within what samples of 100 pages can know, over ten seeds (ESX paper, section 5.3 and figure 6).

import { assert, assertGreater } from "@std/assert";
import { addVm, createHost } from "../../../cli/machine.ts";
import { allocation } from "../../../plugins/allocator/mod.ts";

const SEEDS = 10, VM_MIB = 16, SAMPLE = 100, SECOND = 1e9;
const SLOW_GAIN = 0.25, FAST_GAIN = 0.75;
/** MiB in use and for how many periods, of a second each: all but the first begin in the middle of one. */
const schedule: readonly (readonly [mib: number, periods: number])[] = [[4, 5.5], [12, 8], [8, 8], [1, 10]];
const UP = 5, DOWN = 21, PERIODS = 31;
/** The guest's own code, stack and counters beside what it touches: a few pages of 4096. */
const OWN_PART = 0.003;

/** The part of memory that is used at any time of a period: where its size changes, the larger. */
const truths = Array.from({ length: PERIODS }, (_, period) => {
  let from = 0, most = 0;
  for (const [mib, periods] of schedule) {
    if (from < period + 1 && from + periods > period) most = Math.max(most, mib);
    from += periods;
  }
  return most / VM_MIB;
});

/** What an average with this gain is expected to be at the end of each period, and its standard error. */
function expected(gain: number): { readonly mean: number; readonly error: number }[] {
  let mean = truths[0], variance = truths[0] * (1 - truths[0]) / SAMPLE;
  return truths.map((truth, period) => {
    if (period > 0) {
      mean += gain * (truth - mean);
      variance = (1 - gain) ** 2 * variance + gain ** 2 * truth * (1 - truth) / SAMPLE;
    }
    return { mean, error: Math.sqrt(variance) };
  });
}

interface Estimates {
  /** At the end of each period. */
  readonly slow: readonly number[];
  readonly fast: readonly number[];
  /** What policies see, late in each period. */
  readonly estimate: readonly number[];
}

async function estimatesOf(seed: number): Promise<Estimates> {
  const options = { allocator: { sampleSeconds: 1, samplePages: SAMPLE } };
  const host = createHost({ memoryMib: 2 * VM_MIB, seed, plugins: [], options });
  const phases = schedule.map(([mib, periods]) => `${mib}:${1000 * periods}`).join();
  const vm = addVm(host, {
    name: "toucher",
    guest: { use: "toucher", options: { schedule: phases } },
    memoryMib: VM_MIB,
    cpuMhz: 10,
  });
  const figure = (name: string) => host.plugins.loaded.get("allocator")?.stats.snapshot()[`toucher.${name}`] ?? NaN;
  const slow: number[] = [], fast: number[] = [], estimate: number[] = [];
  for (let period = 0; period < PERIODS; period++) {
    await host.run({ untilNs: (period + 0.95) * SECOND });
    estimate.push(host.service(allocation).of(vm).activeFraction ?? NaN);
    // A period ends with the guest's first turn after it: a tick late, and later each time.
    await host.run({ untilNs: (period + 1.4) * SECOND });
    slow.push(figure("slowActivePercent") / 100);
    fast.push(figure("fastActivePercent") / 100);
  }
  return { slow, fast, estimate };
}

const runs = await Promise.all(Array.from({ length: SEEDS }, (_, i) => estimatesOf(i + 1)));
const meanOf = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;

for (const [name, gain] of [["slow", SLOW_GAIN], ["fast", FAST_GAIN]] as const) {
  Deno.test(`the ${name} average follows a toucher's schedule within its sampling error, for each of ten seeds`, () => {
    for (const [period, { mean, error }] of expected(gain).entries()) {
      const found = runs.map((run) => run[name][period]);
      const shown = `period ${period}: ${found.map((value) => value.toFixed(3))} for ${mean.toFixed(3)}`;
      for (const value of found) assert(Math.abs(value - mean) <= 4 * error + OWN_PART, shown);
      // And the ten together by as much less as their number promises.
      assert(Math.abs(meanOf(found) - mean) <= 3.5 * error / Math.sqrt(SEEDS) + OWN_PART, shown);
    }
    // The seeds sampled different pages.
    assertGreater(new Set(runs.map((run) => run[name].join())).size, SEEDS - 1);
  });
}

Deno.test("growth shows in the estimate within the period that it comes in, decline takes some, for each of ten seeds", () => {
  for (const { estimate } of runs) {
    const shown = estimate.map((value) => value.toFixed(2)).join(" ");
    const from = truths[UP - 1], step = truths[UP] - from;
    assertGreater((estimate[UP] - from) / step, 0.5, `half of the growth at once: ${shown}`);
    // The slow average falls by a quarter of the way each period, and the estimate is the greatest.
    const high = truths[DOWN],
      low = truths[DOWN + 1],
      partLeft = (after: number) => (estimate[DOWN + after] - low) / (high - low);
    assert(partLeft(1) > 0.6 && partLeft(2) > 0.4, `at most a quarter a period: ${shown}`);
    assert(partLeft(8) < 0.3, `gone after eight: ${shown}`);
  }
  // The greatest of three averages is above the truth by about an error of the quick one, not below it.
  const settled = [UP - 1, UP + 7, DOWN - 1];
  for (const period of settled) {
    const bias = meanOf(runs.map(({ estimate }) => estimate[period])) - truths[period];
    assert(bias > -0.02 && bias < 0.08, `period ${period}: ${bias}`);
  }
});
