// Ablation: what chaining translations to each other, and grouping them into regions, is worth (BT paper, section 3.2:
// continuations are replaced by chaining jumps, so that the translation cache is seldom left).

import { z } from "../../core/mod.ts";
import { defineExperiment, holds, type Row, timedCheck, within } from "./framework/definition.ts";
import { averaged } from "./framework/statistics.ts";
import { between, LinuxSession } from "./linux_session.ts";
import { SESSION } from "./sessions.ts";

const THOUSAND = 1000;
/** From nothing to all. */
const LADDER = {
  "units alone": { regionUnits: 1, regroupSteps: 0, chaining: false },
  "units, chained": { regionUnits: 1, regroupSteps: 0, chaining: true },
  "regions alone": { chaining: false },
  "regions, chained": {},
} as const;
type Rung = keyof typeof LADDER;
const RUNGS = Object.keys(LADDER) as Rung[];

interface Warm {
  readonly steps: number;
  readonly dispatches: number;
  readonly chained: number;
}

export default defineExperiment({
  name: "chaining",
  title: "Ablation: chaining and regions",
  source: "BT paper, section 3.2",
  summary: "entries by the run loop, and time, with and without chaining and regions",
  scale:
    "A session of shell commands under Debian's kernel, run twice; the second time, when its code is translated, counts.",
  knobs: z.strictObject({
    sessionParts: z.int().min(1).max(SESSION.length).default(SESSION.length).describe("commands of the session"),
  }),
  quick: { sessionParts: 1 },
  needsLinux: true,
  runs: ({ sessionParts }) =>
    RUNGS.map((rung) => ({
      name: rung,
      async perform(context) {
        const session = await LinuxSession.atPrompt({ bt: LADDER[rung] }, context);
        const breathe = () => context.breathe(session.samples.length / 3);
        session.sample();
        for (let i = 0; i < 2; i++) {
          for (const command of SESSION.slice(0, sessionParts)) await session.command(command, breathe);
          session.sample();
        }
        const [, cold, warm] = session.samples;
        const of = (name: string) => between(cold, warm, name);
        return {
          data: { steps: warm.steps - cold.steps, dispatches: of("dispatches"), chained: of("chained") },
          timed: { cpuSeconds: warm.cpuSeconds - cold.cpuSeconds },
        };
      },
    })),
  evaluate({ data, timed }) {
    const warm = new Map(RUNGS.map((rung) => [rung, averaged(data(rung)) as unknown as Warm]));
    const seconds = (rung: Rung) => averaged(timed(rung)).cpuSeconds as number;
    const of = (rung: Rung) => warm.get(rung) as Warm;
    const dispatched = (rung: Rung) => of(rung).dispatches / of(rung).steps * THOUSAND;
    const speed = (rung: Rung) => seconds("units alone") / seconds(rung);
    const avoided = 1 - dispatched("units, chained") / dispatched("units alone");
    const ladder = RUNGS.map((rung) => dispatched(rung));
    return {
      rows: [
        ...RUNGS.map((rung): Row => ({
          quantity: `${rung}: entries by the run loop`,
          unit: "per 1000 instructions",
          measured: dispatched(rung),
          verdict: "ours",
        })),
        {
          quantity: "transfers that avoid the run loop",
          unit: "share",
          measured: avoided,
          verdict: "ours",
        },
        ...RUNGS.map((rung): Row => ({
          quantity: `${rung}: speed`,
          unit: "times that of units alone",
          measured: speed(rung),
          verdict: "ours",
          isTimed: true,
        })),
      ],
      checks: [
        within("of the transfers between units, those that avoid the run loop", avoided, [0.9, 1], ""),
        holds(
          "without chaining nothing is chained",
          of("units alone").chained === 0,
          "0",
          of("units alone").chained,
          "X",
        ),
        holds(
          "regions and chaining each leave the run loop less to do",
          ladder[1] < ladder[0] && ladder[2] < ladder[0] && ladder[3] < ladder[1],
          "fewer entries on each rung",
          ladder.map((rate) => rate.toPrecision(3)).join(", "),
        ),
        timedCheck(holds(
          "each makes the session faster than units alone",
          RUNGS.slice(1).every((rung) => speed(rung) > 1),
          "more than 1 time",
          RUNGS.map((rung) => `${rung} ${speed(rung).toFixed(2)}`).join(", "),
        )),
      ],
      figure: {
        title: "Chaining and regions, one by one",
        columns: 2,
        panels: [
          panel("Entries by the run loop", "per 1000 instructions (logarithmic)", dispatched, true),
          panel("Speed", "times that of units alone, by CPU time", speed, false),
        ],
      },
      notes: [
        "The paper has no figure for this: it says that translations are chained, and that the cache is seldom left.",
      ],
    };
  },
});

function panel(title: string, y: string, of: (rung: Rung) => number, isLogarithmic: boolean) {
  const points = RUNGS.map((rung, i) => [i, of(rung)] as const);
  return {
    title,
    x: { name: "" },
    y: { name: y, ...(isLogarithmic ? { isLogarithmic, min: 0.01 } : { min: 0 }) },
    categories: RUNGS.map((rung) => rung.replace(", ", ",\n").replace(" alone", "\nalone")),
    series: [{
      name: title,
      origin: "measured" as const,
      colour: isLogarithmic ? 1 : 0,
      shape: "bars" as const,
      points,
    }],
  };
}
