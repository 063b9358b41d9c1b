// Policies side by side on the scenes of figures 7 and 8: shares, the idle memory tax, MOM's rules, and whatever else is named; and no
// ballooning at all, where the hypervisor pages (ESX paper, sections 5.2 and 6.4).

import { z } from "../../core/mod.ts";
import { defineExperiment, holds, type Policy, type Run } from "./framework/definition.ts";
import { meanOver, valueAt } from "./framework/statistics.ts";
import { fiveVms, MINUTE, queryStart } from "./five_vms.ts";
import { twoVms } from "./idle_tax.ts";
import { PAPER_SCALE, servedBy, throughputOf } from "./workloads.ts";

/** Figure 7: when VM2 starts. Figure 8: the part of the time after which SQL is asked its query. */
const BUSY_MINUTE = 1, BURST_PART = 0.72;
/** Shares without a balloon: the hypervisor pages, and nothing else. */
const PAGING = "paging";

function runsOf(policy: Policy, isPaging: boolean, knobs: { figure7Minutes: number; figure8Minutes: number }): Run[] {
  const plugins = policy.plugin === undefined ? [] : [policy.plugin];
  const seven = twoVms(
    { busyAt: BUSY_MINUTE * MINUTE, changeAt: 0, until: knobs.figure7Minutes * MINUTE },
    { does: policy.name, act: () => {} },
  );
  const until = knobs.figure8Minutes;
  const eight = fiveVms({
    quiet: until / 15,
    growth: until / 4.5,
    burst: until * BURST_PART,
    burstMinutes: Math.min(4, until * 0.2),
    until,
    plugins: [...plugins, "page-sharing"],
    hasBalloons: !isPaging,
  });
  const options = isPaging ? { ...seven.options, balloon: { driver: "none" } } : seven.options;
  return [
    { name: `figure 7, ${policy.name}`, scene: { ...seven, plugins: ["balloon", ...plugins], options } },
    { name: `figure 8, ${policy.name}`, scene: eight },
  ];
}

function withPaging(policies: readonly Policy[]): readonly Policy[] {
  return [...policies, { name: PAGING, plugin: undefined }];
}

export default defineExperiment({
  name: "policies",
  title: "Policies side by side",
  source: "ESX paper, scenes of figures 7 and 8; MOM (oVirt)",
  summary: "what policies make of the scenes of figures 7 and 8",
  scale: "The scenes of idle-tax and consolidation, memory a quarter of the paper's, shorter than there.",
  knobs: z.strictObject({
    figure7Minutes: z.number().min(6).default(30).describe("minutes of figure 7's scene; the last third is measured"),
    figure8Minutes: z.number().min(9).default(40).describe("minutes of figure 8's scene"),
  }),
  quick: { figure7Minutes: 7, figure8Minutes: 9 },
  comparesTargets: ["shares", "tax-allocator", "mom"],
  runs: (knobs, policies) => withPaging(policies).flatMap((policy) => runsOf(policy, policy.name === PAGING, knobs)),
  evaluate({ recordings, policies, knobs: { figure7Minutes, figure8Minutes } }) {
    const end7 = figure7Minutes * MINUTE, end8 = figure8Minutes * MINUTE;
    const found = withPaging(policies).map(({ name }) => {
      const [seven] = recordings(`figure 7, ${name}`), [eight] = recordings(`figure 8, ${name}`);
      const burst = queryStart(eight, end8 * BURST_PART) ?? end8 * BURST_PART;
      const window = [end7 * 2 / 3, end7] as const;
      const hits = servedBy(eight, "sql").filter(({ seconds }) => seconds > burst && seconds <= burst + 3 * MINUTE);
      const swap = eight.gauges.written[eight.gauges.written.length - 1] +
        eight.gauges.read[eight.gauges.read.length - 1];
      return {
        name,
        exits: [...Object.values(seven.exits), ...Object.values(eight.exits)],
        idle: PAPER_SCALE * meanOver(seven.seconds, seven.vms.vm1.allocatedMib, ...window),
        busy: PAPER_SCALE * meanOver(seven.seconds, seven.vms.vm2.allocatedMib, ...window),
        speed: throughputOf(seven, "vm2", ...window).mbPerS,
        sql: PAPER_SCALE * valueAt(eight.seconds, eight.vms.sql.allocatedMib, Math.min(end8, burst + 2 * MINUTE)),
        hitPart: 100 * hits.reduce((sum, one) => sum + one.hits, 0) /
          hits.reduce((sum, one) => sum + one.hits + one.misses, 0),
        swapMb: PAPER_SCALE * swap / 256,
      };
    });
    const of = (name: string) => found.find((one) => one.name === name);
    const [shares, tax, paging] = [of("shares"), of("tax-allocator"), of(PAGING)];
    const bars = (value: (one: typeof found[number]) => number) =>
      found.map((one, i): [number, number] => [i, value(one)]);
    const categories = found.map(({ name }) => name);
    const panel = (
      title: string,
      unit: string,
      series: readonly [string, number, (one: typeof found[number]) => number][],
    ) => ({
      title,
      x: { name: "policy" },
      y: { name: unit, min: 0 },
      categories,
      series: series.map(([name, colour, value]) => ({
        name,
        origin: "measured" as const,
        shape: "bars" as const,
        colour,
        points: bars(value),
      })),
    });
    return {
      rows: found.flatMap((one) => [
        { quantity: `${one.name}: idle VM of figure 7`, unit: "MB", measured: one.idle, verdict: "ours" as const },
        { quantity: `${one.name}: busy VM of figure 7`, unit: "MB", measured: one.busy, verdict: "ours" as const },
        {
          quantity: `${one.name}: the busy VM's throughput`,
          unit: "MB/s",
          measured: one.speed,
          verdict: "ours" as const,
        },
        {
          quantity: `${one.name}: SQL of figure 8, two minutes into its query`,
          unit: "MB",
          measured: one.sql,
          verdict: "ours" as const,
        },
        { quantity: `${one.name}: hits of the query`, unit: "%", measured: one.hitPart, verdict: "ours" as const },
        {
          quantity: `${one.name}: paged in figure 8, out and in`,
          unit: "MB",
          measured: one.swapMb,
          verdict: "ours" as const,
        },
      ]),
      checks: [
        ...(shares !== undefined && tax !== undefined
          ? [
            holds(
              "the tax takes from the idle VM what shares leave it",
              tax.idle < 0.8 * shares.idle,
              "less than 0.8 of it",
              tax.idle / shares.idle,
            ),
            holds(
              "the busy VM is faster with the tax than by shares",
              tax.speed > shares.speed,
              "faster",
              `${tax.speed.toFixed(1)} > ${shares.speed.toFixed(1)}`,
            ),
          ]
          : []),
        ...(shares !== undefined && paging !== undefined
          ? [
            holds(
              "balloons page less than paging does",
              shares.swapMb < paging.swapMb,
              "less",
              `${shares.swapMb.toFixed(0)} < ${paging.swapMb.toFixed(0)} MB`,
            ),
          ]
          : []),
        holds(
          "no guest ends, by a wrong byte or otherwise, under any policy",
          found.every(({ exits }) => exits.every((exit) => exit === "running")),
          "all run to the end",
          [...new Set(found.flatMap(({ exits }) => exits))].join(", "),
          "X",
        ),
      ],
      figure: {
        title: "Policies on the scenes of figures 7 and 8",
        columns: 2,
        panelHeight: 300,
        panels: [
          panel("Figure 7: memory", "MB", [["idle VM", 0, (one) => one.idle], ["busy VM", 1, (one) => one.busy]]),
          panel("Figure 7: the busy VM's throughput", "MB/s", [["throughput", 1, (one) => one.speed]]),
          panel("Figure 8: SQL, 2 min into its query", "MB", [["SQL", 2, (one) => one.sql]]),
          panel("Figure 8: paged, out and in", "MB", [["paged", 3, (one) => one.swapMb]]),
        ],
      },
      notes: ["`paging` is shares with no balloon driver in any guest: all that is taken is paged at random."],
    };
  },
});
