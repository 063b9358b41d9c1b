// The closed form of the idle memory tax over its rates: the scene of figure 7 with one rate after the other (ESX paper, section
// 5.2; the paper gives the formula and no such figure).

import { z } from "../../core/mod.ts";
import { defineExperiment, holds, within } from "./framework/definition.ts";
import type { Stage } from "./framework/scene.ts";
import { mean, meanOver } from "./framework/statistics.ts";
import { taxedEquilibrium } from "./tax_model.ts";
import { twoVms } from "./idle_tax.ts";
import { PAPER_SCALE } from "./workloads.ts";

const MINUTE = 60, VM_MIB = 64;
/** VM2 starts here; rates change from here on. */
const BUSY_MINUTE = 1, FIRST_MINUTE = 6;

export default defineExperiment({
  name: "tax-sweep",
  title: "The idle memory tax by its rate",
  source: "ESX paper, section 5.2 (its closed form; no figure)",
  summary: "allocations of an idle and a busy VM at several tax rates, beside the closed form",
  scale: "The scene of idle-tax, memory a quarter of the paper's, with one rate after the other.",
  knobs: z.strictObject({
    rates: z.array(z.number().min(0).max(0.99)).min(1).default([0, 0.25, 0.5, 0.75, 0.9]).describe("tax rates, rising"),
    stageMinutes: z.number().min(2).default(8).describe(
      "minutes that each rate is in force; the second half is measured",
    ),
  }),
  quick: { rates: [0, 0.5, 0.9], stageMinutes: 3 },
  seeds: { full: 3, quick: 1 },
  runs: ({ rates, stageMinutes }) => {
    const until = (FIRST_MINUTE + rates.length * stageMinutes) * MINUTE;
    const scene = twoVms({ busyAt: BUSY_MINUTE * MINUTE, changeAt: 0, until }, { does: "no tax yet", act: () => {} });
    const phases = rates.map((taxRate, i) => ({
      atSeconds: (FIRST_MINUTE + i * stageMinutes) * MINUTE,
      does: `tax rate ${taxRate}`,
      act: (stage: Stage) => stage.usePolicy("tax-allocator", { taxRate }),
    }));
    return [{ name: "sweep", scene: { ...scene, phases } }];
  },
  evaluate({ recordings, knobs: { rates, stageMinutes } }) {
    const runs = recordings("sweep");
    const stages = rates.map((taxRate, i) => {
      const end = (FIRST_MINUTE + (i + 1) * stageMinutes) * MINUTE, from = end - (stageMinutes * MINUTE) / 2;
      const over = (of: (run: typeof runs[number]) => readonly (number | null)[]) =>
        mean(runs.map((run) => meanOver(run.seconds, of(run), from, end)));
      const vms = ["vm1", "vm2"].map((name) => ({
        allocated: over(({ vms }) => vms[name].allocatedMib),
        target: over(({ vms }) => vms[name].targetMib),
        active: over(({ vms }) => vms[name].activeMib),
      }));
      const total = over(({ gauges }) => gauges.givenOutMib);
      const model = taxedEquilibrium(
        total,
        vms.map(({ active }) => ({ shares: 1, active, min: 0, max: VM_MIB })),
        taxRate,
      );
      return { taxRate, vms, model };
    });
    const names = ["VM1", "VM2"], paperMb = (mib: number) => mib * PAPER_SCALE;
    const line = (of: (stage: typeof stages[number]) => number) =>
      stages.map((stage): [number, number] => [stage.taxRate * 100, paperMb(of(stage))]);
    return {
      rows: stages.flatMap(({ taxRate, vms, model }) =>
        names.map((name, i) => ({
          quantity: `${name} with a tax of ${taxRate * 100} %`,
          unit: "MB",
          model: paperMb(model[i]),
          measured: paperMb(vms[i].allocated),
          verdict: "as modelled" as const,
        }))
      ),
      checks: [
        ...stages.flatMap(({ taxRate, vms, model }) =>
          names.flatMap((name, i) => [
            within(
              `${name}'s target at ${taxRate * 100} %`,
              100 * (vms[i].target / model[i] - 1),
              [-2, 2],
              "% off",
              "X",
            ),
            within(
              `${name}'s memory at ${taxRate * 100} %`,
              100 * (vms[i].allocated / model[i] - 1),
              [-10, 10],
              "% off",
            ),
          ])
        ),
        holds(
          "the higher the rate, the less the idle VM has",
          stages.every(({ vms: [vm1] }, i) => i === 0 || vm1.allocated < stages[i - 1].vms[0].allocated),
          "falling",
          stages.map(({ vms: [vm1] }) => paperMb(vm1.allocated).toFixed(0)).join(", "),
        ),
      ],
      figure: {
        title: "Idle memory tax by its rate",
        panels: [{
          title: "Memory at the paper's scale, one VM idle and one busy",
          x: { name: "tax rate (%)", min: -5, max: 100 },
          y: { name: "MB", min: 0, max: 280 },
          series: names.flatMap((name, i) => [
            {
              name: `${name}, ${i === 0 ? "idle" : "busy"}`,
              origin: "measured" as const,
              shape: "points" as const,
              colour: i,
              points: line(({ vms }) => vms[i].allocated),
            },
            {
              name: `${name}, closed form`,
              origin: "model" as const,
              shape: "marked" as const,
              colour: i,
              points: line(({ model }) => model[i]),
            },
          ]),
        }],
        panelHeight: 400,
      },
      notes: [
        "The closed form is given the VMs' active memory as the allocator estimates it. Targets follow it to 2 %; what a VM holds " +
        "may stay above its target while free memory is in the state high, in which nothing is taken: 2.5 % of the machine's.",
      ],
    };
  },
});
