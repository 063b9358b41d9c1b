// Shares: of two VMs that use all they can get, the one with twice the shares has twice the memory, with a tax and without (ESX
// paper, section 5.1).

import { z } from "../../core/mod.ts";
import { defineExperiment, nearPaper, within } from "./framework/definition.ts";
import type { Scene } from "./framework/scene.ts";
import { mean, meanOver } from "./framework/statistics.ts";
import { GUEST_OWN_MIB } from "./workloads.ts";

const VM_MIB = 32, HOST_MIB = 49, SHARES = [2000, 1000] as const;
/** MB of the paper for a MiB of ours. */
const MB_SCALE = 8;
/** Faster than elsewhere, so that a guest uses each of its pages in every period. */
const CPU_MHZ = 4;
const rates = [0, 0.75] as const;

function scene(taxRate: number, seconds: number): Scene {
  const options = {
    poolMib: VM_MIB - GUEST_OWN_MIB,
    fileMib: 36,
    readsPerTick: 60,
    skew: 1,
    hz: 20,
    zeroesAll: 1,
    seconds: seconds + 60,
  };
  return {
    hostMib: HOST_MIB,
    cpuMhz: CPU_MHZ,
    plugins: ["balloon", { use: "tax-allocator", options: { taxRate } }],
    vms: SHARES.map((shares, i) => ({
      name: `vm${i + 1}`,
      memoryMib: VM_MIB,
      shares,
      guest: { use: "filecache", options: { ...options, seed: i + 1 } },
    })),
    untilSeconds: seconds,
    sampleSeconds: 5,
  };
}

export default defineExperiment({
  name: "shares",
  title: "Memory by shares",
  source: "ESX paper, section 5.1 (no figure)",
  summary: "two busy VMs with shares of 2:1 have memory of 2:1, with a tax and without",
  scale:
    "Two VMs of 32 MiB in 49 MiB, an eighth of figure 7's; both read all of a file that is larger than their memory.",
  knobs: z.strictObject({
    seconds: z.int().min(120).default(600).describe("host seconds; the second half is measured"),
  }),
  quick: { seconds: 150 },
  seeds: { full: 3, quick: 1 },
  runs: ({ seconds }) => rates.map((rate) => ({ name: `tax ${rate}`, scene: scene(rate, seconds) })),
  evaluate({ recordings, knobs: { seconds } }) {
    const found = rates.map((rate) => {
      const runs = recordings(`tax ${rate}`);
      const over = (name: string) =>
        mean(runs.map((run) => meanOver(run.seconds, run.vms[name].allocatedMib, seconds / 2, seconds)));
      return { rate, runs, vm1: over("vm1"), vm2: over("vm2") };
    });
    return {
      rows: found.map(({ rate, vm1, vm2 }) => ({
        quantity: `memory of the VMs, ratio, with a tax of ${100 * rate} %`,
        unit: "",
        paper: 2,
        model: 2,
        measured: vm1 / vm2,
        ...nearPaper(vm1 / vm2, 2, 5, "balloons keep VMs away from their targets"),
      })),
      checks: found.map(({ rate, vm1, vm2 }) =>
        within(`ratio of memory with a tax of ${100 * rate} %`, vm1 / vm2, [1.9, 2.1], "")
      ),
      figure: {
        title: "Memory by shares, 2:1",
        columns: 2,
        panels: found.map(({ rate, runs: [first] }) => ({
          title: `Tax of ${100 * rate} %`,
          x: { name: "seconds", min: 0, max: seconds },
          y: { name: "MB at the paper's scale", min: 0, max: 280 },
          series: ["vm1", "vm2"].flatMap((name, i) => [
            {
              name: `${name}, ${SHARES[i]} shares`,
              origin: "measured" as const,
              shape: "line" as const,
              colour: i,
              points: first.seconds.map((
                s,
                at,
              ): [number, number] => [s, MB_SCALE * first.vms[name].allocatedMib[at]]),
            },
            {
              name: `${name}, by shares`,
              origin: "model" as const,
              shape: "line" as const,
              colour: i,
              points: [0, seconds].map((s): [number, number] => {
                const { vm1, vm2 } = found.find((one) => one.rate === rate) ?? { vm1: 0, vm2: 0 };
                return [s, MB_SCALE * (vm1 + vm2) * SHARES[i] / (SHARES[0] + SHARES[1])];
              }),
            },
          ]),
        })),
      },
      notes: ["That an idle VM keeps its share without a tax is part of `idle-tax`."],
    };
  },
});
