// When translating pays: a session under different thresholds, and what a translated instruction costs and saves (BT paper,
// sections 3.2 and 6.3, translates what runs once; the interpreter here makes a later start worth its while).

import { z } from "../../core/mod.ts";
import { defineExperiment, holds, type Row, timedCheck } from "./framework/definition.ts";
import { averaged } from "./framework/statistics.ts";
import { LinuxSession } from "./linux_session.ts";
import { SESSION } from "./sessions.ts";

const THRESHOLDS = [1, 10, 30, 100, 500, 1500, 10_000], QUICK = [1, 500, 5000];
/** The option's default. */
const DEFAULT_THRESHOLD = 500;

interface Cold {
  readonly steps: number;
  readonly instructions: number;
  readonly interpretedSteps: number;
}

interface Timed {
  readonly coldSeconds: number;
  readonly warmSeconds: number;
  readonly translatingSeconds: number;
}

export default defineExperiment({
  name: "break-even",
  title: "When translating pays",
  source: "BT paper, sections 3.2 and 6.3",
  summary: "a session's time by the number of entries after which code is translated",
  scale:
    "A session of shell commands under Debian's kernel; the translator begins with an empty cache at the shell's prompt.",
  knobs: z.strictObject({
    thresholds: z.array(z.int().min(0)).min(2).default(THRESHOLDS).describe("entries before a block is translated"),
    sessionParts: z.int().min(1).max(SESSION.length).default(SESSION.length).describe("commands of the session"),
  }),
  quick: { thresholds: QUICK, sessionParts: 1 },
  needsLinux: true,
  runs: ({ thresholds, sessionParts }) => [
    { name: "interpreter", perform: (context) => session(undefined, sessionParts, context), weight: 3 },
    ...thresholds.map((threshold) => ({
      name: `threshold ${threshold}`,
      perform: (context: Context) => session({ threshold }, sessionParts, context),
    })),
  ],
  evaluate({ knobs: { thresholds }, data, timed }) {
    const colds = thresholds.map((threshold) => averaged(data(`threshold ${threshold}`)) as unknown as Cold);
    const times = thresholds.map((threshold) => averaged(timed(`threshold ${threshold}`)) as unknown as Timed);
    const reference = averaged(data("interpreter")) as unknown as Cold;
    const interpreted = averaged(timed("interpreter")) as unknown as Timed;
    const best = Math.min(...times.map(({ coldSeconds }) => coldSeconds));
    const at = Math.max(0, thresholds.indexOf(DEFAULT_THRESHOLD));
    const interpretNs = interpreted.coldSeconds / reference.steps * 1e9;
    const runNs = times[at].warmSeconds / colds[at].steps * 1e9;
    const translateNs = times[at].translatingSeconds / colds[at].instructions * 1e9;
    const breakEven = translateNs / (interpretNs - runNs);
    const rows: Row[] = thresholds.flatMap((threshold, i): Row[] => [
      ours(`threshold ${threshold}: translated`, "instructions", colds[i].instructions),
      ours(`threshold ${threshold}: interpreted`, "share of instructions", colds[i].interpretedSteps / colds[i].steps),
      { ...ours(`threshold ${threshold}: time`, "CPU seconds", times[i].coldSeconds), isTimed: true },
    ]);
    rows.push(
      { ...ours("interpreter: time", "CPU seconds", interpreted.coldSeconds), isTimed: true },
      { ...ours("to interpret an instruction", "ns", interpretNs), isTimed: true },
      { ...ours("to run a translated one, warm", "ns", runNs), isTimed: true },
      {
        quantity: "to translate one",
        unit: "ns",
        paper: "605 (2300 cycles)",
        measured: translateNs,
        verdict: "ours",
        isTimed: true,
      },
      {
        ...ours(`time at the default, ${thresholds[at]}, to the least`, "ratio", times[at].coldSeconds / best),
        isTimed: true,
      },
      { ...ours("runs after which translating has paid", "runs", breakEven), isTimed: true },
    );
    return {
      rows,
      checks: [
        holds(
          "a threshold changes nothing that the guest computes",
          colds.every(({ steps }) => steps === reference.steps),
          `${reference.steps} steps`,
          colds.map(({ steps }) => steps).join(", "),
          "X",
        ),
        holds(
          "a higher threshold translates less and interprets more",
          colds.every((cold, i) =>
            i === 0 ||
            cold.instructions < colds[i - 1].instructions && cold.interpretedSteps > colds[i - 1].interpretedSteps
          ),
          "at every threshold",
          colds.map(({ instructions }) => instructions).join(", "),
        ),
        timedCheck(holds(
          "translating what hardly runs costs more than it saves",
          times[0].coldSeconds > best,
          "the lowest threshold is not the best",
          `${times[0].coldSeconds.toFixed(2)} s against ${best.toFixed(2)} s`,
        )),
        timedCheck(holds(
          "translating pays in the end",
          runNs < interpretNs,
          "a warm instruction is cheaper than an interpreted one",
          `${runNs.toFixed(1)} and ${interpretNs.toFixed(1)} ns`,
        )),
      ],
      figure: {
        title: "When translating pays",
        panels: [{
          title: "",
          x: { name: "entries before a block is translated (logarithmic)", isLogarithmic: true },
          y: { name: "CPU seconds", min: 0 },
          series: [
            line("the session, cold", 0, thresholds, times.map(({ coldSeconds }) => coldSeconds)),
            line("of it, translating", 1, thresholds, times.map(({ translatingSeconds }) => translatingSeconds)),
            line("interpreted throughout", 7, thresholds, thresholds.map(() => interpreted.coldSeconds)),
          ],
          marks: [{ x: DEFAULT_THRESHOLD, text: "default" }],
        }],
      },
      notes: [
        "The shorter a session, the higher its best threshold: what is translated must run on for long enough. The default is for " +
        "a boot and what follows it.",
        "A threshold above the break-even count is the best where much code runs a little more often than that and never again; it " +
        "also spares V8, which compiles each translation, and whose work on other threads is not in the translating time.",
        "The paper's monitor runs user code directly and has no interpreter to fall back to: it translates at the first run.",
      ],
    };
  },
});

type Context = Parameters<typeof LinuxSession.powerOn>[1];

/** A session twice over: cold, and again warm. */
async function session(bt: Readonly<Record<string, unknown>> | undefined, parts: number, context: Context) {
  const linux = await LinuxSession.atPrompt({ bt }, context);
  const commands = SESSION.slice(0, parts);
  linux.sample();
  for (let i = 0; i < (bt === undefined ? 1 : 2); i++) {
    for (const command of commands) await linux.command(command, () => context.breathe(i / 2));
    linux.sample();
  }
  const [start, cold, warm = cold] = linux.samples;
  const { instructions = 0, interpretedSteps = 0 } = cold.figures;
  return {
    data: { steps: cold.steps - start.steps, instructions, interpretedSteps },
    timed: {
      coldSeconds: cold.cpuSeconds - start.cpuSeconds,
      warmSeconds: warm.cpuSeconds - cold.cpuSeconds,
      // Of the CPU time of all threads: the wall's share of translating, which a busy machine leaves as it is.
      translatingSeconds: (cold.translatingSeconds - start.translatingSeconds) /
        (cold.wallSeconds - start.wallSeconds) *
        (cold.cpuSeconds - start.cpuSeconds),
    },
  };
}

function ours(quantity: string, unit: string, measured: number): Row {
  return { quantity, unit, measured, verdict: "ours" };
}

function line(name: string, colour: number, thresholds: readonly number[], values: readonly number[]) {
  const points = thresholds.map((threshold, i) => [threshold, values[i]] as const);
  return { name, origin: "measured" as const, colour, shape: "marked" as const, points };
}
