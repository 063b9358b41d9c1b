// Popping a balloon: a guest that uses a page of its balloon gets it back as zeros, and its driver starts over (ESX paper, section
// 3.2).

import { z } from "../../core/mod.ts";
import { defineExperiment, holds } from "./framework/definition.ts";
import { CPU_MHZ, GUEST_OWN_MIB } from "./workloads.ts";

const VM_MIB = 32, BALLOON_MIB = 16, SAMPLE_SECONDS = 0.5;

export default defineExperiment({
  name: "balloon-pop",
  title: "A guest that uses pages of its balloon",
  source: "ESX paper, section 3.2 (no figure)",
  summary: "ballooned pages that are used come back as zeros, and the driver is reset",
  scale: "One VM of 32 MiB with a balloon of 16 MiB, which is reset by its own guest every so many seconds.",
  knobs: z.strictObject({
    seconds: z.int().min(20).default(120).describe("guest seconds"),
    popEvery: z.int().min(2).default(10).describe("seconds after which the guest uses a ballooned page"),
  }),
  quick: { seconds: 45 },
  runs: ({ seconds, popEvery }) => [{
    name: "pops",
    scene: {
      hostMib: 2 * VM_MIB,
      cpuMhz: 5 * CPU_MHZ,
      plugins: ["balloon"],
      vms: [{
        name: "guest",
        memoryMib: VM_MIB,
        guest: {
          use: "balloon",
          options: { poolMib: VM_MIB - GUEST_OWN_MIB, workingSetMib: 4, passMs: 500, hz: 20, popEvery, seconds },
        },
        options: { balloon: { targetMib: BALLOON_MIB } },
      }],
      untilSeconds: seconds + 5,
      sampleSeconds: SAMPLE_SECONDS,
      gauges: (stage) => ({ popped: stage.figure("balloon", "poppedPages") }),
    },
  }],
  evaluate({ recordings, knobs: { seconds, popEvery } }) {
    const [run] = recordings("pops");
    const { poppedPages, refusedPages } = run.counters.balloon;
    const starts = Number(
      run.lines.map(({ line }) => /(\d+) starts/.exec(line)?.[1]).find((found) => found !== undefined),
    );
    const intact = run.lines.some(({ line }) => /^balloon: 1024 pages intact/.test(line));
    const expected = Math.floor((seconds - 1) / popEvery);
    const sizes = run.seconds.map((second, i): [number, number] => [second, run.vms.guest.balloonedMib[i]]);
    const pops = run.seconds.filter((_, i) => i > 0 && run.gauges.popped[i] > run.gauges.popped[i - 1]);
    return {
      rows: [
        { quantity: "pages popped", unit: "pages", model: expected, measured: poppedPages, verdict: "as modelled" },
        {
          quantity: "starts of the driver",
          unit: "times",
          model: expected + 1,
          measured: starts,
          verdict: "as modelled",
        },
      ],
      checks: [
        holds("the guest used ballooned pages", poppedPages >= 2, "2 or more", poppedPages, "X"),
        holds(
          "each pop resets the driver once",
          Math.abs(starts - 1 - poppedPages) <= 1,
          `${poppedPages} and the first`,
          starts,
          "X",
        ),
        holds(
          "popped pages read as zeros and other pages are intact",
          intact,
          "the guest's own checks pass",
          String(intact),
          "X",
        ),
        holds("the host refuses no page", refusedPages === 0, "0", refusedPages, "X"),
        holds(
          "the balloon comes back to its size after each reset",
          Math.max(...sizes.slice(-20).map(([, mib]) => mib)) >= BALLOON_MIB - 1,
          `${BALLOON_MIB} MiB`,
          Math.max(...sizes.slice(-20).map(([, mib]) => mib)),
        ),
      ],
      figure: {
        title: "Popping a balloon",
        panels: [{
          title: "Size of the balloon; at each dashed line the guest uses a page of it",
          x: { name: "seconds", min: 0, max: seconds },
          y: { name: "MiB", min: 0, max: BALLOON_MIB + 4 },
          marks: pops.map((x) => ({ x, text: "" })),
          series: [
            { name: "balloon", origin: "measured", shape: "line", colour: 0, points: sizes },
            {
              name: "target",
              origin: "model",
              shape: "line",
              colour: 6,
              points: [[0, BALLOON_MIB], [seconds, BALLOON_MIB]],
            },
          ],
        }],
      },
      notes: ["The paper describes this and measures nothing."],
    };
  },
});
