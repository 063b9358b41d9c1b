// Translator statistics: the length of translation units over a Linux boot, how many end at the cap, and how few are new when a
// session is repeated (BT paper, sections 3.2 and 6.3).

import { z } from "../../core/mod.ts";
import { defineExperiment, holds, type Row, within } from "./framework/definition.ts";
import { between, LinuxSession, type Sample } from "./linux_session.ts";
import { SESSION } from "./sessions.ts";

/** Derived from the paper's boot of Windows XP: instructions a unit; the units it names. */
const PAPER = { unitLength: 3.8, units: 229_347 + 23_909 + 6_680 } as const;
const BILLION = 1e9, BOOT_PART = 0.5;

interface TranslatorData {
  readonly boot: Readonly<Record<string, number>>;
  readonly bootSteps: number;
  readonly newUnits: readonly number[];
  readonly newInstructions: readonly number[];
}

export default defineExperiment({
  name: "translator",
  title: "What the translator makes of a boot and of a session repeated",
  source: "BT paper, sections 3.2 and 6.3",
  summary: "length of translation units, those that end at the cap, and new ones over ten repeats of a session",
  scale: "Debian's 32-bit kernel to a shell in place of a boot of 64-bit Windows XP.",
  knobs: z.strictObject({
    repeats: z.int().min(4).default(10).describe("times that the session is repeated"),
    sessionParts: z.int().min(1).max(SESSION.length).default(SESSION.length).describe("commands of the session"),
  }),
  quick: { sessionParts: 3 },
  needsLinux: true,
  runs: ({ repeats, sessionParts }) => [{
    name: "session",
    async perform(context) {
      const session = await LinuxSession.powerOn({ bt: {} }, context);
      await session.run(() => context.breathe(Math.min(1, session.vm.clock.steps / (3 * BILLION)) * BOOT_PART));
      const boot = session.sample();
      for (let i = 0; i < repeats; i++) {
        for (const command of SESSION.slice(0, sessionParts)) {
          await session.command(command, () => context.breathe(BOOT_PART + (1 - BOOT_PART) * i / repeats));
        }
        session.sample();
      }
      const news = (name: string) =>
        session.samples.slice(1).map((sample: Sample, i) => between(session.samples[i], sample, name));
      return {
        data: {
          boot: boot.figures,
          bootSteps: boot.steps,
          newUnits: news("units"),
          newInstructions: news("instructions"),
        },
        timed: { translatingSeconds: boot.translatingSeconds, wallSeconds: boot.wallSeconds },
      };
    },
  }],
  evaluate({ data, timed }) {
    const [{ boot, bootSteps, newUnits }] = data("session") as unknown as TranslatorData[];
    const [{ translatingSeconds, wallSeconds }] = timed("session") as {
      translatingSeconds: number;
      wallSeconds: number;
    }[];
    const quarter = newUnits.length / 4;
    const first = sumOfQuarter(newUnits, quarter), last = sumOfQuarter(newUnits.toReversed(), quarter);
    const rate = last / first;
    const rows: Row[] = [
      {
        quantity: "mean length of a translation unit",
        unit: "instructions",
        paper: PAPER.unitLength,
        measured: boot.instructionsPerUnit,
        verdict: Math.abs(boot.instructionsPerUnit - PAPER.unitLength) < 0.5 ? "reproduced" : "differs",
      },
      {
        quantity: "units that end at the cap of 12",
        unit: "share",
        paper: "rarely",
        measured: boot.cappedShare,
        verdict: boot.cappedShare < 0.02 ? "reproduced" : "differs",
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
        quantity: "new units in the last quarter of the repeats, to the first quarter",
        unit: "ratio",
        paper: "decays",
        measured: rate,
        verdict: "ours",
      },
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
        holds("new units become few", rate < 0.5, "in the last quarter under half of the first's", rate.toFixed(3)),
      ],
      figure: {
        title: "New translation units when a session is repeated",
        panels: [{
          title: "",
          x: { name: "repeat" },
          y: { name: "new units", min: 0 },
          categories: newUnits.map((_, i) => String(i + 1)),
          series: [{
            name: "new units",
            origin: "measured",
            colour: 0,
            shape: "bars",
            points: newUnits.map((count, i) => [i, count] as const),
          }],
        }],
      },
      notes: [
        "A unit that is part of two regions is counted in each, as is one that is translated again for another linear page.",
        "The kernel's straight stretches of moves are longer than the paper's boot has them, so that more units end at the cap.",
        "Code is translated once it has been entered bt.threshold times: what is new in late repeats is what became hot slowly.",
      ],
    };
  },
});

function ours(quantity: string, unit: string, measured: number): Row {
  return { quantity, unit, measured, verdict: "ours" };
}

/** The first quarter of a list, the part of an element included. */
function sumOfQuarter(values: readonly number[], quarter: number): number {
  const whole = Math.floor(quarter);
  return values.slice(0, whole).reduce((sum, value) => sum + value, 0) + values[whole] * (quarter - whole);
}
