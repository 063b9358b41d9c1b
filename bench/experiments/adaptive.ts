// Adaptive binary translation (BT paper, section 3.3): a plain store to a traced page table is innocent until it has trapped often;
// then it is translated anew, and given back when it turns innocent. Traps over time with that and without, in the loop of one
// store and in a boot of Linux, and what a store costs in each form.

import { definePlugin, z } from "../../core/mod.ts";
import adaptiveBt, { type HotSite, hotSites } from "../../plugins/adaptive-bt/mod.ts";
import * as bt from "../../plugins/bt/mod.ts";
import * as stores from "../page_table_store.ts";
import {
  type Data,
  defineExperiment,
  holds,
  type PerformContext,
  type Row,
  timedCheck,
  within,
} from "./framework/definition.ts";
import type { Recording, Scene } from "./framework/scene.ts";
import { averaged } from "./framework/statistics.ts";
import { LinuxSession } from "./linux_session.ts";
import { BOOT_PTEMOD_SECONDS, PAPER_NANO, PAPER_RDTSC } from "./paper_cycles.ts";
import { forks } from "./sessions.ts";

const MILLION = 1e6, BILLION = 1e9;
/** Of adaptive-bt, its defaults; the bounds that are checked follow from them. */
const POLICY = { threshold: 30, innocentAfter: 10_000, mostAdaptations: 6 } as const;
/** The loop: guilty, innocent, guilty; then it swings, and is innocent for most of each swing. */
const STEADY = { guilty: 40_000, innocent: 400_000 } as const, SWING = { innocent: 100_000, guilty: 2_000 } as const;
const LOOP_MHZ = 5, LOOP_SAMPLE_SECONDS = 0.1;
const SAMPLE_STEPS = 10 * MILLION, HOTTEST = 8, FORKS_A_SAMPLE = 10;
/** Until then, in billions of instructions, the kernel unpacks itself in one loop: nothing is to be seen. */
const UNPACKED_AT = 2.2;
/** What a boot takes, for the progress line. */
const USUAL_STEPS = 2.8e9;

const WAYS = ["never adapted", "adapted"] as const;
type Way = (typeof WAYS)[number];

/** Counts traps of sites, as the translator tells of them. */
const siteTraps = definePlugin({
  name: "site-traps",
  tier: "tool",
  requires: ["bt"],
  setup({ on, stats }) {
    const counters = {
      "page-table": stats.counter("pageTable", "stores to traced page tables that trapped"),
      device: stats.counter("device", "accesses to devices that trapped or called out"),
    };
    on(bt.siteTrapped, ({ cause }) => void counters[cause].value++);
  },
});

interface BootData {
  readonly points: readonly { readonly steps: number; readonly traps: number; readonly tracedStores: number }[];
  readonly promptAt: number;
  readonly sites: readonly HotSite[];
}

export default defineExperiment({
  name: "adaptive",
  title: "Adaptive binary translation",
  source: "BT paper, sections 3.3, 6.1 and 6.3",
  summary: "traps at page tables over time, adapted and not, and what a store costs in each form",
  scale:
    "One store in a loop, and Debian's 32-bit kernel to its shell and a row of forks, in place of a boot of 64-bit Windows XP. All " +
    "page tables are traced all the time (shadow-mmu.dropAfter=0).",
  knobs: z.strictObject({
    swings: z.int().min(1).max(1000).default(60).describe("swings of the store between page table and plain memory"),
    forks: z.int().min(1).default(100).describe("forks after the boot"),
    batches: z.int().min(1).default(9).describe("batches for the time of a store; the best counts"),
  }),
  quick: { forks: 30, batches: 5 },
  needsLinux: true,
  runs: ({ swings, forks: count, batches }) => [
    ...WAYS.map((way) => ({ name: `loop, ${way}`, scene: loopScene(way, swings), weight: 1 })),
    ...WAYS.map((way) => ({
      name: `boot, ${way}`,
      perform: (context: PerformContext) => boot(way, count, context),
      weight: 10,
    })),
    {
      name: "costs",
      async perform({ breathe }) {
        const ns: Record<string, number> = {};
        const machines = stores.storeConfigurations.map((name) => [name, stores.storeMachine(name)] as const);
        // In turns, so that what disturbs the machine disturbs all alike.
        for (let batch = 0; batch < batches; batch++) {
          await breathe(batch / batches);
          for (const [name, run] of machines) ns[name] = Math.min(ns[name] ?? Infinity, stores.measureStoreNs(run, 1));
        }
        return { data: {}, timed: { ns } };
      },
      weight: 2,
    },
  ],
  evaluate({ knobs: { swings }, recordings, data, timed }) {
    const loop = (way: Way) => recordings(`loop, ${way}`)[0];
    const linux = (way: Way) => data(`boot, ${way}`)[0] as unknown as BootData;
    const { ns } = averaged(timed("costs")) as unknown as { ns: Record<stores.StoreConfiguration, number> };
    const cost = (name: stores.StoreConfiguration) => ns[name] - ns["without the store"];
    const last = (values: readonly number[]) => values[values.length - 1];
    const gauge = (way: Way, name: string) => last(loop(way).gauges[name]);
    const firstEnd = STEADY.guilty * stores.stepsOfRound("table");
    const inFirst = trapsAt(loop("adapted"), firstEnd);
    const restoredAt = changes(loop("adapted"), "restorations"),
      swinging = restoredAt.slice(1);
    // From the second on it swings.
    const gaps = swinging.slice(1).map((at, i) => at - swinging[i]);
    const rounds = stretches(swings).reduce((sum, one) => sum + (one.target === "table" ? one.rounds : 0), 0);
    const [off, on] = WAYS.map((way) => linux(way).points[linux(way).points.length - 1]);
    const { sites } = linux("adapted");
    const able = sites.filter(({ state, cause }) => state !== "common" && cause === "page-table");
    const over = able.filter(({ traps, restorations }) => traps > POLICY.threshold * (restorations + 1));
    const spared = 1 - on.traps / off.traps;
    const softwareCycles = on.traps * PAPER_RDTSC.trap + (off.traps - on.traps) * PAPER_NANO.ptemod.software;
    const rows: Row[] = [
      ours("loop: stores to the table", "stores", gauge("adapted", "tracedStores"), rounds),
      ours("loop: traps, never adapted", "traps", gauge("never adapted", "traps")),
      ours("loop: traps, adapted", "traps", gauge("adapted", "traps")),
      ours("loop: adaptations", "times", gauge("adapted", "adaptations")),
      ours("boot and forks: stores to page tables", "stores", on.tracedStores),
      ours("boot and forks: of them, traps, never adapted", "traps", off.traps),
      ours("boot and forks: of them, traps, adapted", "traps", on.traps),
      ours("boot and forks: instructions that trapped there", "instructions", able.length),
      ours("boot and forks: of all such stores, those of the eight hottest", "share", share(sites)),
      {
        quantity: "cycles for page-table stores of a boot, software over hardware",
        unit: "ratio",
        paper: BOOT_PTEMOD_SECONDS.software / BOOT_PTEMOD_SECONDS.hardware,
        model: softwareCycles / (off.traps * PAPER_NANO.ptemod.hardware),
        measured: "counted, not timed",
        verdict: "as modelled",
      },
      ...(["not traced", "traced, adapted", "traced, traps"] as const).map((name): Row => ({
        ...ours(`a store, ${name}`, "cycles (paper), ns (here)", cost(name)),
        paper: PAPER_STORE[name],
        isTimed: true,
      })),
      {
        ...ours("a store, adapted over trap", "ratio", cost("traced, adapted") / cost("traced, traps")),
        model: PAPER_RDTSC["in-tc"] / PAPER_RDTSC.trap,
        isTimed: true,
      },
    ];
    return {
      rows,
      checks: [
        holds(
          "loop: a guilty store traps until it is adapted, and then no more",
          inFirst === POLICY.threshold,
          `${POLICY.threshold} traps in the first stretch`,
          inFirst,
          "X",
        ),
        within(
          "loop: traps of a store that swings for ever",
          gauge("adapted", "traps"),
          [0, POLICY.threshold * POLICY.mostAdaptations],
          "traps",
          "X",
        ),
        within("loop: adaptations", gauge("adapted", "adaptations"), [2, POLICY.mostAdaptations], "times", "X"),
        holds(
          "loop: every store to the table is seen, trapped or not",
          WAYS.every((way) => gauge(way, "tracedStores") === rounds),
          `${rounds} in both`,
          WAYS.map((way) => gauge(way, "tracedStores")).join(" and "),
          "X",
        ),
        holds(
          "loop: it is given back later each time",
          gaps.length > 1 && gaps.every((gap, i) => i === 0 || gap > gaps[i - 1]),
          "ever longer between restorations",
          gaps.map((gap) => (gap / MILLION).toFixed(1)).join(", ") + " M instructions",
        ),
        holds(
          "both boots are one guest's",
          off.steps === on.steps && off.tracedStores === on.tracedStores,
          "as many steps and stores to tables",
          `${off.steps} and ${on.steps}, ${off.tracedStores} and ${on.tracedStores}`,
          "X",
        ),
        holds(
          "boot: no instruction that has another form traps more often than the policy lets it",
          over.length === 0,
          `${POLICY.threshold} traps an adaptation`,
          over.length === 0 ? `${able.length} instructions, none above` : `${over.length} of ${able.length} above`,
          "X",
        ),
        within("boot and forks: traps that adaptation spares", spared, [0.9, 1], "of all"),
        timedCheck(within(
          "an adapted store over one that traps",
          cost("traced, adapted") / cost("traced, traps"),
          [0, 1 / 3],
          "of its cost",
        )),
      ],
      figure: {
        title: "Innocent until proven guilty: stores to page tables",
        columns: 2,
        panels: [
          {
            title: "A boot of Linux, then forks",
            x: { name: "guest instructions, billions", min: UNPACKED_AT },
            y: { name: "traps so far (logarithmic)", isLogarithmic: true, min: 1 },
            series: WAYS.map((way, i) => ({
              name: way,
              origin: "measured",
              colour: 1 - i,
              shape: "line",
              points: linux(way).points.map(({ steps, traps }) => [steps / BILLION, traps || null]),
            })),
            marks: [{ x: linux("adapted").promptAt, text: "shell" }],
          },
          {
            title: "One store; dashed: given back",
            x: { name: "guest instructions, millions" },
            y: { name: "traps so far (logarithmic)", isLogarithmic: true, min: 1 },
            series: WAYS.map((way, i) => ({
              name: way,
              origin: "measured",
              colour: 1 - i,
              shape: "line",
              points: loop(way).vms.loop.steps.map((
                steps,
                at,
              ) => [steps / MILLION, loop(way).gauges.traps[at] || null]),
            })),
            marks: [
              ...restoredAt.map((at) => ({ x: at / MILLION, text: "" })),
            ],
          },
          costPanel("Paper: cycles a store", "cycles (logarithmic)", "paper", PAPER_BARS),
          costPanel("Here: CPU time a store", "ns (logarithmic)", "measured", {
            "not traced": cost("not traced"),
            adapted: cost("traced, adapted"),
            trap: cost("traced, traps"),
          }),
        ],
      },
      notes: [
        "The paper patches a jump over the old translation. Here the translation is made anew and one slot of the function table " +
        "written: what leads there is not touched, either.",
        "The paper has no figure of adaptation, and no cost of a store that traps: 391 cycles are of one that is adapted, 12733 of " +
        "a hardware monitor's exits. Beside a trap here stand RDTSC's forms, 216 in place and 2030 trapped.",
        "A boot's cycles for page-table stores are the counts here at the paper's costs: adapted stores at 391 cycles, traps at " +
        "RDTSC's 2030; in hardware, each store at 12733. That the ratio is the paper's follows from its own costs where hardly " +
        "any trap is left.",
        "In the loop, the store writes to a page table, to plain memory, and to the table again, and then swings: 100,000 times memory, " +
        "2,000 times the table.",
        "What the interpreter stores to page tables, before code is hot, is no trap of a translation and is counted in neither way.",
      ],
    };
  },
});

/** What is less cannot be told from nothing, and has no bar. */
const LEAST_COST = 0.1;

const PAPER_STORE: Readonly<Record<string, number | undefined>> = {
  "not traced": PAPER_NANO.ptemod.native,
  "traced, adapted": PAPER_NANO.ptemod.software,
};

const PAPER_BARS = {
  "native": PAPER_NANO.ptemod.native,
  "adapted": PAPER_NANO.ptemod.software,
  "hardware exits": PAPER_NANO.ptemod.hardware,
};

function stretches(swings: number): readonly stores.Stretch[] {
  const swing = [{ target: "memory", rounds: SWING.innocent }, { target: "table", rounds: SWING.guilty }] as const;
  return [
    { target: "table", rounds: STEADY.guilty },
    { target: "memory", rounds: STEADY.innocent },
    { target: "table", rounds: STEADY.guilty },
    ...Array.from({ length: swings }, () => swing).flat(),
  ];
}

function loopScene(way: Way, swings: number): Scene {
  const plan = stretches(swings);
  const steps = plan.reduce((sum, { target, rounds }) => sum + rounds * stores.stepsOfRound(target), 0);
  const isAdapted = way === "adapted";
  return {
    hostMib: 16,
    cpuMhz: LOOP_MHZ,
    plugins: [stores.allTraced, ...(isAdapted ? [{ plugin: adaptiveBt, options: POLICY }] : []), { plugin: siteTraps }],
    vms: [{ name: "loop", memoryMib: 8, guest: { image: stores.storeLoop(plan) } }],
    untilSeconds: Math.ceil(steps / (LOOP_MHZ * MILLION)) + 1,
    sampleSeconds: LOOP_SAMPLE_SECONDS,
    gauges: (stage) => ({
      traps: stage.figure("site-traps", "pageTable"),
      tracedStores: stage.figure("shadow-mmu", "tracedStores"),
      saved: isAdapted ? stage.figure("adaptive-bt", "saved") : 0,
      adaptations: isAdapted ? stage.figure("adaptive-bt", "adaptations") : 0,
      restorations: isAdapted ? stage.figure("adaptive-bt", "restorations") : 0,
    }),
  };
}

async function boot(way: Way, count: number, context: PerformContext): Promise<{ data: BootData & Data }> {
  const adaptive = way === "adapted" ? [{ plugin: adaptiveBt, options: POLICY }] : [];
  const plugins = [stores.allTraced, ...adaptive, { plugin: siteTraps }];
  const session = await LinuxSession.powerOn({ bt: {}, plugins, sampleSteps: SAMPLE_STEPS }, context);
  const breathe = () => context.breathe(session.vm.clock.steps / USUAL_STEPS);
  await session.run(breathe);
  const promptAt = session.sample().steps / BILLION;
  for (let done = 0; done < count; done += FORKS_A_SAMPLE) {
    await session.command(forks(Math.min(FORKS_A_SAMPLE, count - done)), breathe);
    session.sample();
  }
  return {
    data: {
      points: session.samples.map(({ steps, figures }) => ({
        steps,
        traps: figures["site-traps.pageTable"],
        tracedStores: figures["shadow-mmu.tracedStores"],
      })),
      promptAt,
      sites: adaptive.length === 0 ? [] : session.host.service(hotSites)(),
    },
  };
}

/** The traps of a recording of the loop when the guest had gone so far. */
function trapsAt(run: Recording, steps: number): number {
  const at = run.vms.loop.steps.findIndex((done) => done >= steps);
  return run.gauges.traps[at];
}

/** Where a gauge went up, in steps of the loop's guest. */
function changes({ gauges, vms }: Recording, name: string): number[] {
  return vms.loop.steps.filter((_, i) => i > 0 && gauges[name][i] > gauges[name][i - 1]);
}

/** Of all accesses that would have trapped, the part of the hottest sites. */
function share(sites: readonly HotSite[]): number {
  const counts = sites.filter(({ cause }) => cause === "page-table").map(({ traps, saved }) => traps + saved);
  const sum = (part: readonly number[]) => part.reduce((total, count) => total + count, 0);
  return sum(counts.toSorted((a, b) => b - a).slice(0, HOTTEST)) / sum(counts);
}

function ours(quantity: string, unit: string, measured: number, model?: number): Row {
  return {
    quantity,
    unit,
    ...(model === undefined ? {} : { model }),
    measured,
    verdict: model === undefined ? "ours" : "as modelled",
  };
}

function costPanel(title: string, y: string, origin: "paper" | "measured", costs: Readonly<Record<string, number>>) {
  const colour = origin === "paper" ? 7 : 0;
  return {
    title,
    x: { name: "" },
    y: { name: y, isLogarithmic: true, min: LEAST_COST },
    categories: Object.keys(costs),
    series: [{
      name: origin,
      origin,
      colour,
      shape: "bars" as const,
      points: Object.values(costs).map((value, i) => [i, value < LEAST_COST ? null : value] as const),
    }],
  };
}
