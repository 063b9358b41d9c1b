// The working set of translations: over a boot and through a change of what the guest does, new code is translated at first and
// hardly any later (BT paper, sections 3.2 and 6.3: translation on demand, 2300 cycles an instruction).

import { z } from "../../core/mod.ts";
import { defineExperiment, holds, reproducedIf, type Row, within } from "./framework/definition.ts";
import { between, LinuxSession, type Sample } from "./linux_session.ts";
import { TRANSLATE_CYCLES } from "./paper_cycles.ts";
import { SHELL_LOOP, TOOLS } from "./sessions.ts";

const MILLION = 1e6, BILLION = 1e9;
/** Until then, in billions of instructions, the kernel unpacks itself in one loop: nothing is to be seen. */
const UNPACKED_AT = 2;
/** Parts of the whole that booting takes, for the progress line. */
const BOOT_PART = 0.7;
/** Of what was new at first: few. */
const FEW = 0.1;

/** Between two samples. */
interface Interval {
  /** Guest instructions so far, in billions. */
  readonly at: number;
  readonly newInstructionsPerMillion: number;
  /** Share of modelled time: an instruction that runs takes a cycle, one that is translated the paper's 2300. */
  readonly modelledShare: number;
  readonly hitRate: number;
  readonly interpretedShare: number;
}

interface SessionData {
  readonly intervals: readonly Interval[];
  readonly promptAt: number;
  readonly changeAt: number;
  readonly total: Readonly<Record<string, number>>;
}

export default defineExperiment({
  name: "working-set",
  title: "The working set of translations",
  source: "BT paper, sections 3.2 and 6.3",
  summary: "new translations and hits over a Linux boot and a change of phase",
  scale:
    "Debian's 32-bit kernel to a shell and two loops, some 3 G instructions, in place of a boot of Windows XP. Modelled time " +
    "takes one cycle an instruction.",
  knobs: z.strictObject({
    sampleMillions: z.int().min(1).default(50).describe("million instructions between samples of the boot"),
    repeats: z.int().min(4).default(12).describe("repeats of the command in each phase; a sample each"),
  }),
  quick: { repeats: 8 },
  needsLinux: true,
  runs: ({ sampleMillions, repeats }) => [{
    name: "session",
    async perform(context) {
      const session = await LinuxSession.powerOn({ bt: {}, sampleSteps: sampleMillions * MILLION }, context);
      const progress = () => context.breathe(Math.min(1, session.vm.clock.steps / (3 * BILLION)) * BOOT_PART);
      await session.run(progress);
      const promptAt = session.sample().steps / BILLION;
      session.sampleEvery(Infinity);
      let changeAt = promptAt;
      for (const [phase, command] of [SHELL_LOOP, TOOLS].entries()) {
        changeAt = session.vm.clock.steps / BILLION;
        for (let i = 0; i < repeats; i++) {
          await session.command(
            command,
            () => context.breathe(BOOT_PART + (1 - BOOT_PART) * (phase * repeats + i) / (2 * repeats)),
          );
          session.sample();
        }
      }
      const { samples } = session;
      const last = samples[samples.length - 1];
      return {
        data: { intervals: intervalsOf(samples), promptAt, changeAt, total: last.figures },
        timed: { share: samples.map((sample, i) => [sample.steps / BILLION, measuredShare(samples[i - 1], sample)]) },
      };
    },
  }],
  evaluate({ data, timed }) {
    const [{ intervals, promptAt, changeAt, total }] = data("session") as unknown as SessionData[];
    const [{ share }] = timed("session") as unknown as { share: [number, number][] }[];
    const boot = intervals.filter(({ at }) => at <= promptAt);
    const first = intervals.filter(({ at }) => at > promptAt && at <= changeAt);
    const second = intervals.filter(({ at }) => at > changeAt);
    const newIn = (part: readonly Interval[]) =>
      part.reduce((sum, interval) => sum + interval.newInstructionsPerMillion, 0) / part.length;
    const quarters = (part: readonly Interval[]) => {
      const size = Math.max(1, Math.floor(part.length / 4));
      return [newIn(part.slice(0, size)), newIn(part.slice(-size))];
    };
    const [firstStart, firstEnd] = quarters(first), [secondStart, secondEnd] = quarters(second);
    const overall = TRANSLATE_CYCLES * total.instructions /
      (TRANSLATE_CYCLES * total.instructions + intervals[intervals.length - 1].at * BILLION);
    const rows: Row[] = [
      row("translated in all", "instructions", total.instructions),
      row("time translating over all, modelled", "share", overall),
      row("newly translated: boot", "per million instructions", newIn(boot)),
      row("newly translated: first quarter of the first loop", "per million instructions", firstStart),
      row("newly translated: end of the first loop", "per million instructions", firstEnd),
      row("newly translated: first quarter after the change", "per million instructions", secondStart),
      row("newly translated: last quarter", "per million instructions", secondEnd),
      {
        quantity: "new at the end of a loop, of what was new at its beginning, at the most",
        unit: "ratio",
        paper: "a working set is translated once",
        measured: Math.max(firstEnd / firstStart, secondEnd / secondStart),
        ...reproducedIf(
          Math.max(firstEnd / firstStart, secondEnd / secondStart) < FEW,
          "code that runs a few times in each repeat becomes hot in a late one (option bt.threshold); experiment translator has it " +
            "translated at its first run, too",
        ),
      },
      row("entries that found a translation, at the end", "share", second[second.length - 1].hitRate),
      {
        ...row("time translating, measured: boot", "share", meanShare(share, 0, promptAt)),
        isTimed: true,
      },
      {
        ...row("time translating, measured: last quarter", "share", meanShare(share, changeAt, Infinity)),
        isTimed: true,
      },
    ];
    return {
      rows,
      checks: [
        holds(
          "a loop's code is soon translated",
          firstEnd < firstStart,
          "less is new in the last quarter of the first loop than in the first",
          `${firstStart.toFixed(1)}, ${firstEnd.toFixed(1)} a million`,
        ),
        holds(
          "a change of phase is seen, and passes",
          secondStart > 2 * firstEnd && secondEnd < secondStart,
          "at first over twice the rate before, at last less again",
          `${firstEnd.toFixed(1)}, ${secondStart.toFixed(1)}, ${secondEnd.toFixed(1)} a million`,
        ),
        within("entries that find a translation at the end", second[second.length - 1].hitRate, [0.95, 1], "", "S"),
      ],
      figure: {
        title: "The working set of translations",
        panels: [
          {
            title: "Share of time spent translating",
            x: { name: "guest instructions, billions", min: UNPACKED_AT },
            y: { name: "share of time", min: 0, max: 1 },
            series: [
              {
                name: "modelled: 2300 cycles to translate, 1 to run an instruction",
                origin: "model",
                colour: 1,
                shape: "line",
                points: intervals.map(({ at, modelledShare }) => [at, modelledShare]),
              },
              { name: "measured here: wall clock", origin: "measured", colour: 0, shape: "line", points: share },
            ],
            marks: [{ x: promptAt, text: "shell" }, { x: changeAt, text: "change" }],
          },
          {
            title: "What entries of code blocks find",
            x: { name: "guest instructions, billions", min: UNPACKED_AT },
            y: { name: "share", min: 0, max: 1 },
            series: [
              {
                name: "entries that found a translation",
                origin: "measured",
                colour: 2,
                shape: "line",
                points: intervals.map(({ at, hitRate }) => [at, hitRate]),
              },
              {
                name: "instructions interpreted",
                origin: "measured",
                colour: 3,
                shape: "line",
                points: intervals.map(({ at, interpretedShare }) => [at, interpretedShare]),
              },
            ],
            marks: [{ x: promptAt, text: "shell" }, { x: changeAt, text: "change" }],
          },
        ],
      },
      notes: [
        "The paper translates whatever runs once; here the interpreter runs code until it is hot (option bt.threshold), so that " +
        "what runs once is never translated, and early in a boot much is interpreted.",
        "The paper gives totals of a boot and no curve over time.",
      ],
    };
  },
});

function row(quantity: string, unit: string, measured: number): Row {
  return { quantity, unit, measured, verdict: "ours" };
}

function intervalsOf(samples: readonly Sample[]): Interval[] {
  return samples.map((sample, i) => {
    const before = i === 0 ? undefined : samples[i - 1];
    const steps = sample.steps - (before?.steps ?? 0), of = (name: string) => between(before, sample, name);
    const entries = of("dispatches") + of("chained"), translating = TRANSLATE_CYCLES * of("instructions");
    return {
      at: sample.steps / BILLION,
      newInstructionsPerMillion: of("instructions") / steps * MILLION,
      modelledShare: translating / (translating + steps),
      hitRate: entries / (entries + of("coldEntries")),
      interpretedShare: Math.min(1, of("interpretedSteps") / steps),
    };
  });
}

function measuredShare(before: Sample | undefined, sample: Sample): number {
  const wall = sample.wallSeconds - (before?.wallSeconds ?? 0);
  return (sample.translatingSeconds - (before?.translatingSeconds ?? 0)) / wall;
}

function meanShare(share: readonly (readonly [at: number, share: number])[], from: number, to: number): number {
  const inside = share.filter(([at]) => at > from && at <= to);
  return inside.reduce((sum, [, value]) => sum + value, 0) / inside.length;
}
