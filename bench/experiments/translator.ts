// Translator statistics: the length of translation units over a Linux boot, how many end at the cap, and how few are new when a
// session is repeated (BT paper, sections 3.2 and 6.3).

import { definePlugin, z } from "../../core/mod.ts";
import { translated } from "../../plugins/bt/mod.ts";
import {
  type Data,
  defineExperiment,
  holds,
  type PerformContext,
  reproducedIf,
  type Row,
  within,
} from "./framework/definition.ts";
import { between, LinuxSession } from "./linux_session.ts";
import { SESSION } from "./sessions.ts";

/** Derived from the paper's boot of Windows XP: instructions a unit; the units it names. */
const PAPER = { unitLength: 3.8, units: 229_347 + 23_909 + 6_680 } as const;
const BILLION = 1e9, BOOT_PART = 0.5;
/** New units at the end, of those at the beginning, that are few. */
const FEW = 0.1;
/** Options of the translator: as it is, and translating what runs once, as the paper's does. */
const WAYS = { "when hot": {}, "at first run": { threshold: 0 } } as const;
type Way = keyof typeof WAYS;

type TranslatorData = {
  readonly boot: Readonly<Record<string, number>>;
  readonly bootSteps: number;
  /** By repeat: units of code that had not been translated before; and all, with those that became parts of a group. */
  readonly newUnits: readonly number[];
  readonly allUnits: readonly number[];
};

export default defineExperiment({
  name: "translator",
  title: "What the translator makes of a boot and of a session repeated",
  source: "BT paper, sections 3.2 and 6.3",
  summary: "length of translation units, those that end at the cap, and new ones over ten repeats of a session",
  scale: "Debian's 32-bit kernel to a shell in place of a boot of 64-bit Windows XP.",
  knobs: z.strictObject({
    repeats: z.int().min(4).default(10).describe("times that the session is repeated"),
    rounds: z.int().min(1).default(5).describe(
      "times that its commands are run in a repeat: enough for what is used to become hot",
    ),
    sessionParts: z.int().min(1).max(SESSION.length).default(SESSION.length).describe("commands of the session"),
    eagerParts: z.int().min(1).max(SESSION.length).default(SESSION.length)
      .describe("commands of the session in which code is translated at its first run"),
  }),
  quick: { rounds: 1, sessionParts: 3, eagerParts: 1 },
  needsLinux: true,
  runs: ({ repeats, rounds, sessionParts, eagerParts }) => [
    {
      name: "when hot" satisfies Way,
      async perform(context) {
        const counter = newUnitCounter();
        const session = await LinuxSession.powerOn({ bt: WAYS["when hot"], plugins: [counter] }, context);
        await session.run(() => context.breathe(Math.min(1, session.vm.clock.steps / (3 * BILLION)) * BOOT_PART));
        const boot = session.sample();
        const commands = Array.from({ length: rounds }, () => SESSION.slice(0, sessionParts)).flat();
        const units = await repeat(session, repeats, commands, context);
        return {
          data: { boot: boot.figures, bootSteps: boot.steps, ...units } satisfies TranslatorData & Data,
          timed: { translatingSeconds: boot.translatingSeconds, wallSeconds: boot.wallSeconds },
        };
      },
    },
    {
      name: "at first run" satisfies Way,
      async perform(context) {
        const counter = newUnitCounter();
        const session = await LinuxSession.atPrompt({ bt: WAYS["at first run"], plugins: [counter] }, context);
        session.sample();
        return { data: await repeat(session, repeats, SESSION.slice(0, eagerParts), context) };
      },
    },
  ],
  evaluate({ data, timed }) {
    const [{ boot, bootSteps, newUnits, allUnits }] = data("when hot") as unknown as TranslatorData[];
    const [eager] = data("at first run") as unknown as TranslatorData[];
    const [{ translatingSeconds, wallSeconds }] = timed("when hot") as {
      translatingSeconds: number;
      wallSeconds: number;
    }[];
    const rate = decayOf(newUnits), eagerRate = decayOf(eager.newUnits);
    const rows: Row[] = [
      {
        quantity: "mean length of a translation unit",
        unit: "instructions",
        paper: PAPER.unitLength,
        measured: boot.instructionsPerUnit,
        ...reproducedIf(
          Math.abs(boot.instructionsPerUnit - PAPER.unitLength) < 0.5,
          "Debian's kernel is compiled by a later compiler, for speed: its straight stretches are longer than those of the paper's " +
            "Windows, and code is translated when it is hot, which straight code of start-up never becomes",
        ),
      },
      {
        quantity: "units that end at the cap of 12",
        unit: "share",
        paper: "rarely",
        measured: boot.cappedShare,
        ...reproducedIf(
          boot.cappedShare < 0.02,
          "with longer straight stretches more units end at the cap",
        ),
      },
      {
        quantity: "units translated over the boot",
        unit: "units",
        paper: PAPER.units,
        measured: boot.units,
        verdict: "ours",
      },
      ours("instructions of the boot", "", bootSteps),
      ours("instructions translated", "", boot.instructions),
      ours("guest bytes translated", "bytes", boot.guestBytes),
      ours("emitted bytes for a guest byte", "ratio", boot.emittedBytes / boot.guestBytes),
      ours("entries that found a translation", "share", boot.hitRate),
      ours("entries from translation to translation", "share", boot.chainRate),
      {
        quantity: "new units in the last quarter of the repeats, to the first quarter: translated at first run",
        unit: "ratio",
        paper: "a working set is translated once",
        measured: eagerRate,
        ...reproducedIf(
          eagerRate < FEW,
          "processes run the code that the kernel gives them at an address of its own in each, so that it is translated for each anew",
        ),
      },
      {
        quantity: "the same: translated when hot",
        unit: "ratio",
        paper: "a working set is translated once",
        measured: rate,
        ...reproducedIf(
          rate < FEW,
          "code is translated once it has been entered bt.threshold times, so that code which runs a few times in each repeat becomes " +
            "hot in a late one",
        ),
      },
      ours("the same, with units that are translated again in groups", "ratio", decayOf(allUnits)),
      {
        ...ours("time translating, of the boot's", "share", translatingSeconds / wallSeconds),
        isTimed: true,
      },
      {
        ...ours("time to translate an instruction", "us", translatingSeconds / boot.instructions * 1e6),
        isTimed: true,
      },
    ];
    return {
      rows,
      checks: [
        within("mean length of a unit", boot.instructionsPerUnit, [3, 6], "instructions", "S"),
        holds(
          "a working set is translated once",
          eagerRate < FEW,
          `new units of the last quarter under ${FEW} of the first`,
          eagerRate.toFixed(3),
        ),
        holds(
          "new units become fewer",
          rate < 1,
          "fewer in the last quarter than in the first where only hot code is translated",
          rate.toFixed(3),
        ),
      ],
      figure: {
        title: "New translation units when a session is repeated",
        columns: 2,
        panels: [
          panel("Translated when hot, as it is by default", newUnits),
          panel("Translated at its first run, as the paper's", eager.newUnits),
        ],
      },
      notes: [
        "Over the boot, a unit that is part of two regions is counted in each; new units are counted once, whatever is made of them later.",
        "The kernel's straight stretches of moves are longer than the paper's boot has them, so that more units end at the cap.",
      ],
    };
  },
});

/** Repeats a session; by repeat, the units that were new. */
async function repeat(
  session: LinuxSession,
  repeats: number,
  commands: readonly string[],
  { breathe }: PerformContext,
): Promise<Pick<TranslatorData, "newUnits" | "allUnits">> {
  const newUnits: number[] = [], allUnits: number[] = [];
  let before = session.samples[session.samples.length - 1];
  for (let i = 0; i < repeats; i++) {
    for (const command of commands) {
      await session.command(command, () => breathe(BOOT_PART + (1 - BOOT_PART) * i / repeats));
    }
    const sample = session.sample();
    newUnits.push(between(before, sample, "unit-counter.newUnits"));
    allUnits.push(between(before, sample, "units"));
    before = sample;
  }
  return { newUnits, allUnits };
}

/** Counts units of code that had not been translated before, by where they lie and for which mode. */
function newUnitCounter() {
  return definePlugin({
    name: "unit-counter",
    requires: ["bt"],
    setup({ on, stats }) {
      const seen = new Set<string>();
      stats.gauge("newUnits", "units of code that had not been translated before", () => seen.size);
      on(translated, ({ eip, mode, region: { units, frames } }) => {
        for (const { offset } of units) seen.add(`${frames.get(offset >> 12)} ${(eip & ~0xfff) + offset} ${mode}`);
      });
    },
  });
}

/** What is new in the last quarter of the repeats, to what is in the first. */
function decayOf(newUnits: readonly number[]): number {
  const quarter = newUnits.length / 4;
  return sumOfQuarter(newUnits.toReversed(), quarter) / sumOfQuarter(newUnits, quarter);
}

function panel(title: string, newUnits: readonly number[]) {
  return {
    title,
    x: { name: "repeat" },
    y: { name: "new units", min: 0 },
    categories: newUnits.map((_, i) => String(i + 1)),
    series: [{
      name: "new units",
      origin: "measured" as const,
      colour: 0,
      shape: "bars" as const,
      points: newUnits.map((count, i) => [i, count] as const),
    }],
  };
}

function ours(quantity: string, unit: string, measured: number): Row {
  return { quantity, unit, measured, verdict: "ours" };
}

/** The first quarter of a list, the part of an element included. */
function sumOfQuarter(values: readonly number[], quarter: number): number {
  const whole = Math.floor(quarter);
  return values.slice(0, whole).reduce((sum, value) => sum + value, 0) + values[whole] * (quarter - whole);
}
