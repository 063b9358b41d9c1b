// Double paging: a guest that pages by least recent use under a hypervisor that pages by the same rule reads back what was just
// written out, only to write it out itself; random choice avoids that (ESX paper, sections 3.1 and 3.3; described, not measured).

import { z } from "../../core/mod.ts";
import { defineExperiment, holds, reproducedIf } from "./framework/definition.ts";
import type { Recording, Scene } from "./framework/scene.ts";
import { mean } from "./framework/statistics.ts";
import pageCap from "./page_cap.ts";
import { GUEST_OWN_MIB } from "./workloads.ts";

const MEMORY_MIB = 12, VIRTUAL_MIB = 16, WARM_SECONDS = 20;
/** What the guest holds in all: its pages, its tables and its image. */
const GUEST_HOLDS_MIB = 12.08;
/**
 * Whether the hypervisor chooses the least recently used page, and how often it then looks: so often that it knows the order of
 * use nearly as well as the guest does, or seldom.
 */
const lookSeconds = { random: undefined, lru: 0.01, "lru, coarse": 2 } as const;
type Policy = keyof typeof lookSeconds;
const policies = Object.keys(lookSeconds) as Policy[];
/** The paper says that least recent use is bad, not how bad; what is to be seen at a glance is a half more. */
const CLEARLY = 1.5;

function scene(policy: Policy, overcommitPercent: number, seconds: number, skew: number): Scene {
  const until = WARM_SECONDS + seconds, look = lookSeconds[policy];
  const capMib = GUEST_HOLDS_MIB * (1 - overcommitPercent / 100);
  return {
    hostMib: 64,
    cpuMhz: 20,
    // The policy first: at one time it looks before pages are taken.
    plugins: [
      ...(look === undefined ? [] : [{ use: "lru-victims", options: { lookSeconds: look } }]),
      { plugin: pageCap, options: { capMib } },
    ],
    vms: [{
      name: "guest",
      memoryMib: MEMORY_MIB + GUEST_OWN_MIB,
      guest: {
        use: "pager",
        options: {
          memoryMib: MEMORY_MIB,
          virtualMib: VIRTUAL_MIB,
          usesPerTick: 40,
          skew,
          hz: 50,
          seconds: 10 * until,
        },
      },
    }],
    untilSeconds: until,
    sampleSeconds: 1,
    gauges: (stage) => ({
      hostReads: stage.figure("swap", "readPages"),
      hostWrites: stage.figure("swap", "writtenPages"),
    }),
  };
}

/** Pages moved by guest and hypervisor for a thousand uses of a page. */
function trafficOf({ lines, seconds, gauges }: Recording) {
  const reports = lines.flatMap(({ seconds: at, line }) => {
    const match = /^pager: (\d+) uses, (\d+) faults$/.exec(line);
    return match === null || at <= WARM_SECONDS ? [] : [{ uses: Number(match[1]), faults: Number(match[2]) }];
  });
  const uses = reports.reduce((sum, report) => sum + report.uses, 0);
  const faults = reports.reduce((sum, report) => sum + report.faults, 0);
  const from = seconds.findIndex((second) => second >= WARM_SECONDS);
  const moved = (values: readonly number[]) => values[values.length - 1] - values[from];
  const thousand = (pages: number) => (1000 * pages) / uses;
  const host = thousand(moved(gauges.hostReads) + moved(gauges.hostWrites));
  return { guest: thousand(2 * faults), host, all: thousand(2 * faults) + host };
}

/** Above so many percent it is the lack of memory that costs most. */
const MUCH = 10;
const OVERWHELMED = "so much is paged out that any choice has most uses wait for the hypervisor's disk";
const UNEVEN =
  "the page that the guest used least recently is not the one that it takes next where it uses its pages unevenly";

export default defineExperiment({
  name: "double-paging",
  title: "Double paging",
  source: "ESX paper, sections 3.1 and 3.3 (described, not measured)",
  summary: "pages moved by a guest's paging and the hypervisor's, by the hypervisor's choice of victims",
  scale:
    `A guest that keeps ${VIRTUAL_MIB} MiB of pages in ${MEMORY_MIB} MiB of memory, of which the hypervisor takes a part.`,
  knobs: z.strictObject({
    overcommitPercent: z.array(z.number().min(0.5).max(50)).default([1, 2, 5, 10, 20, 30])
      .describe("parts of the guest's memory that the hypervisor pages out"),
    skews: z.array(z.int().min(1).max(8)).min(1).default([1, 2])
      .describe("how unevenly the guest uses its pages: a page is the least of so many random ones; 1: all alike"),
    seconds: z.int().min(10).default(120).describe("host seconds measured of each"),
  }),
  quick: { overcommitPercent: [2, 10], seconds: 15 },
  seeds: { full: 3, quick: 1 },
  runs: ({ overcommitPercent, seconds, skews }) =>
    skews.flatMap((skew) =>
      policies.flatMap((policy) =>
        overcommitPercent.map((percent) => ({
          name: `${policy} ${percent}, skew ${skew}`,
          scene: scene(policy, percent, seconds, skew),
        }))
      )
    ),
  evaluate({ recordings, knobs: { overcommitPercent, skews } }) {
    const traffic = (policy: Policy, percent: number, skew: number) => {
      const found = recordings(`${policy} ${percent}, skew ${skew}`).map(trafficOf);
      const over = (name: "guest" | "host" | "all") => mean(found.map((one) => one[name]));
      return { guest: over("guest"), host: over("host"), all: over("all") };
    };
    const points = skews.flatMap((skew) =>
      overcommitPercent.map((percent) => ({
        skew,
        percent,
        random: traffic("random", percent, skew),
        lru: traffic("lru", percent, skew),
        coarse: traffic("lru, coarse", percent, skew),
      }))
    );
    const pairs = points.filter(({ skew }) => skew === skews[0]);
    const times = (one: typeof points[number], of: "lru" | "coarse") => one[of].all / one.random.all;
    const ratios = points.map((one) => times(one, "lru"));
    return {
      rows: points.flatMap((one) => {
        const name = (policy: string) => `${policy}, ${one.percent} % paged out, skew ${one.skew}`;
        return [
          {
            quantity: name("pages moved, random"),
            unit: "per 1000 uses",
            measured: one.random.all,
            verdict: "ours" as const,
          },
          {
            quantity: name("least recent use in times of random"),
            unit: "ratio",
            paper: "worse",
            measured: times(one, "lru"),
            ...reproducedIf(times(one, "lru") >= CLEARLY, one.percent < MUCH ? UNEVEN : OVERWHELMED),
          },
          {
            quantity: name("the same, looking every 2 s"),
            unit: "ratio",
            paper: "worse",
            measured: times(one, "coarse"),
            ...reproducedIf(
              times(one, "coarse") >= CLEARLY,
              "who looks seldom does not know the order of use, and so chooses nearly at random",
            ),
          },
        ];
      }),
      checks: [
        holds(
          "the guest pages alike under both",
          points.every(({ random, lru }) => Math.abs(random.guest / lru.guest - 1) < 0.1),
          "within 10 %",
          points.map(({ random, lru }) => (random.guest / lru.guest).toFixed(2)).join(", "),
          "N",
        ),
        holds(
          "least recent use moves at least 1.5 times as much as random choice somewhere",
          ratios.some((ratio) => ratio >= CLEARLY),
          "1.5 or more",
          ratios.map((ratio) => ratio.toFixed(2)).join(", "),
        ),
        holds(
          "it is nowhere better than random choice",
          ratios.every((ratio) => ratio >= 1),
          "1 or more",
          Math.min(...ratios).toFixed(2),
        ),
        holds(
          "hypervisor's paging comes on top of the guest's",
          points.every(({ random, lru }) => random.all > random.guest && lru.all > lru.guest),
          "more than the guest moves alone",
          points.map(({ random, lru }) => `${random.host.toFixed(0)}, ${lru.host.toFixed(0)}`).join("; "),
        ),
      ],
      figure: {
        title: "Double paging: a guest that pages by least recent use",
        panels: [{
          title: `Pages read and written by guest and hypervisor, skew ${skews[0]}`,
          x: { name: "part of the guest's memory that the hypervisor pages out (%)", min: 0 },
          y: { name: "pages per 1000 uses", min: 0 },
          series: [
            {
              name: "hypervisor: least recently used",
              origin: "measured",
              shape: "marked",
              colour: 1,
              points: pairs.map(({ percent, lru }) => [percent, lru.all]),
            },
            {
              name: "hypervisor: random",
              origin: "measured",
              shape: "marked",
              colour: 0,
              points: pairs.map(({ percent, random }) => [percent, random.all]),
            },
            {
              name: "the guest's own part",
              origin: "measured",
              shape: "marked",
              colour: 7,
              points: pairs.map(({ percent, random }) => [percent, random.guest]),
            },
          ],
        }, {
          title: "Least recent use in times of random choice",
          x: { name: "part of the guest's memory that the hypervisor pages out (%)", min: 0 },
          y: { name: "ratio", min: 0 },
          series: skews.flatMap((skew, i) =>
            (["lru", "coarse"] as const).map((of) => ({
              name: `skew ${skew}${of === "lru" ? "" : ", looks every 2 s"}`,
              origin: of === "lru" ? "measured" as const : "model" as const,
              shape: "marked" as const,
              colour: i + 2,
              points: points.filter((one) => one.skew === skew).map((one) => [one.percent, times(one, of)] as const),
            }))
          ),
        }],
      },
      notes: [
        "The paper describes the problem and names random choice as its remedy; it gives no figure to hold this against.",
      ],
    };
  },
});
