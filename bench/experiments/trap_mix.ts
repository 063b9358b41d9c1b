// What traps in a Linux boot, by class of instruction, and what eliminating each saves (BT paper, sections 3.2, 3.3 and 6.3: the
// most important optimization is to trap less often).

import {
  type Data,
  defineExperiment,
  holds,
  reproducedIf,
  type Row,
  timedCheck,
  within,
} from "./framework/definition.ts";
import { NanoMachine } from "../../cli/nano.ts";
import { z } from "../../core/mod.ts";
import { type Form, sensitiveClasses, type SensitiveClassName, sensitiveClassNames } from "../../plugins/bt/mod.ts";
import { averaged } from "./framework/statistics.ts";
import { LinuxSession } from "./linux_session.ts";
import { PAPER_RDTSC } from "./paper_cycles.ts";

const MILLION = 1e6;
/** What a boot takes, for the progress line. */
const USUAL_STEPS = 2.7e9;

/** Every class in a form that every class has: each such instruction is emulated, as often as it would trap. */
const ALL_CALLED_OUT = Object.fromEntries(sensitiveClassNames.map((name) => [name, "callout" satisfies Form]));

/** Classes of which hardly anything is to be left: interrupt flag, flags image, transfers between rings, time, flat segments. */
const GONE: readonly SensitiveClassName[] = ["cli", "pushf", "int", "rdtsc", "segments"];

interface Counts {
  readonly steps: number;
  readonly emulated: Readonly<Record<SensitiveClassName, number>>;
}

export default defineExperiment({
  name: "trap-mix",
  title: "What traps in a Linux boot, and what eliminating it saves",
  source: "BT paper, sections 3.2, 3.3 and 6.3",
  summary: "sensitive instructions of a boot by class, and what handling them in place saves",
  scale: "Debian's 32-bit kernel to its shell in place of 64-bit Windows XP.",
  knobs: z.strictObject({
    batches: z.int().min(1).default(5).describe("batches for the time that each form takes; the best counts"),
  }),
  quick: { batches: 2 },
  needsLinux: true,
  runs: ({ batches }) => [
    { name: "all", perform: (context) => boot(ALL_CALLED_OUT, context), weight: 3 },
    { name: "default", perform: (context) => boot({}, context), weight: 2 },
    {
      name: "forms",
      async perform({ breathe }) {
        const ns: Record<string, readonly [trap: number, callout: number, fastest: number]> = {};
        for (const [i, name] of sensitiveClassNames.entries()) {
          await breathe(i / sensitiveClassNames.length);
          const { forms } = sensitiveClasses[name];
          const of = (form: Form) => new NanoMachine(name, form).measureNs(batches, 10);
          const [trap, callout] = [of(forms[0]), of(forms[1])];
          ns[name] = [trap, callout, forms.length > 2 ? of(forms[forms.length - 1]) : callout];
        }
        return { data: {}, timed: { ns } };
      },
    },
  ],
  evaluate({ data, timed }) {
    const [all, left] = ["all", "default"].map((run) => averaged(data(run)) as unknown as Counts);
    const { ns } = averaged(timed("forms")) as unknown as { ns: Record<SensitiveClassName, [number, number, number]> };
    const seen = sensitiveClassNames.filter((name) => all.emulated[name] > 0);
    const classes = seen.toSorted((a, b) => all.emulated[b] - all.emulated[a]);
    const total = sum(classes, (name) => all.emulated[name]), remaining = sum(classes, (name) => left.emulated[name]);
    const eliminated = (name: SensitiveClassName) => Math.max(0, all.emulated[name] - left.emulated[name]);
    const savedCycles = (name: SensitiveClassName) =>
      eliminated(name) * (PAPER_RDTSC.trap - PAPER_RDTSC["in-tc"]) +
      left.emulated[name] * (PAPER_RDTSC.trap - PAPER_RDTSC.callout);
    const kept = Math.max(...GONE.map((name) => left.emulated[name] / all.emulated[name]));
    const savedMs = (name: SensitiveClassName) => {
      const [trap, callout, fastest] = ns[name], kept = left.emulated[name], gone = eliminated(name);
      return (gone * (trap - fastest) + kept * (trap - callout)) / MILLION;
    };
    const callOutOnly = sensitiveClassNames.filter((name) =>
      !(sensitiveClasses[name].forms as readonly Form[]).includes("in-tc")
    );
    const changed = callOutOnly.filter((name) => all.emulated[name] < left.emulated[name]);
    const perMillion = (count: number) => count / all.steps * MILLION;
    return {
      rows: [
        row("sensitive instructions in all", "per million instructions", perMillion(total)),
        row("those still emulated", "per million instructions", perMillion(remaining)),
        row("eliminated", "share", 1 - remaining / total),
        {
          quantity: "IN and OUT that are emulated in place",
          unit: "share",
          paper: "all",
          measured: 1 - (left.emulated.in + left.emulated.out) / (all.emulated.in + all.emulated.out),
          ...reproducedIf(
            left.emulated.in + left.emulated.out < (all.emulated.in + all.emulated.out) / 10,
            "only ports that read the same until something is written are read in place, and what a boot polls, timers and " +
              "interrupt controllers, is not of that kind: the emulator is called for it, from inside the translation",
          ),
        },
        ...classes.flatMap((name): Row[] => [
          row(`${name}: in all`, "instructions", all.emulated[name]),
          row(`${name}: still emulated`, "instructions", left.emulated[name]),
          {
            quantity: `${name}: saved, by the paper's cycles for RDTSC`,
            unit: "million cycles",
            model: savedCycles(name) / MILLION,
            measured: "see below",
            verdict: "ours",
          },
        ]),
        ...classes.map((name): Row => ({
          ...row(`${name}: saved, by its forms' times here`, "ms", savedMs(name)),
          isTimed: true,
        })),
      ],
      checks: [
        holds(
          "both boots are one guest's",
          all.steps === left.steps,
          "as many steps",
          `${all.steps} and ${left.steps}`,
          "X",
        ),
        holds(
          "what has no form in place is not eliminated by it",
          changed.length === 0,
          "no more emulated by default than when all are",
          changed.length === 0 ? "none" : changed.join(", "),
          "X",
        ),
        within("kept, at the most, of a class whose form in place does nearly all", kept, [0, 0.02], "", "S"),
        timedCheck(holds(
          "elimination saves time",
          sum(classes, savedMs) > 0,
          "more than nothing",
          `${sum(classes, savedMs).toFixed(0)} ms of CPU time over the boot`,
        )),
      ],
      figure: {
        title: "Sensitive instructions of a Linux boot",
        panels: [
          {
            title: "How many",
            x: { name: "" },
            y: { name: "instructions (logarithmic)", isLogarithmic: true, min: 1 },
            categories: classes,
            series: [
              bars("would trap", 1, classes, (name) => all.emulated[name]),
              bars("still emulated, by call-out", 0, classes, (name) => left.emulated[name]),
            ],
          },
          {
            title: "What handling them as it is done by default saves, against trapping",
            x: { name: "" },
            y: { name: "saved" },
            categories: classes,
            series: [
              {
                ...bars("million cycles, by the paper's for RDTSC", 1, classes, (name) => savedCycles(name) / MILLION),
                origin: "model",
              },
              bars("ms of CPU time here", 0, classes, savedMs),
            ],
          },
        ],
      },
      notes: [
        "Instructions that the interpreter ran, before they were hot, are in neither count.",
        "The paper gives the mix of a boot of Windows XP as overheads in seconds, from which counts can be derived (1.1 M system " +
        "calls, 2.4 M port accesses, 1 M page-table writes); another system's boot has another mix, so that no row compares them.",
        "Some classes are emulated a little more often by default: more of the code around them is translated.",
        "INT in place is between rings; what arrives as an interrupt or a fault is not in class `int`.",
      ],
    };
  },
});

async function boot(
  forms: Readonly<Record<string, string>>,
  context: Parameters<typeof LinuxSession.powerOn>[1],
): Promise<{ data: Data }> {
  const session = await LinuxSession.powerOn({ bt: { ...forms } }, context);
  await session.run(() => context.breathe(session.vm.clock.steps / USUAL_STEPS));
  const { steps, figures } = session.sample();
  const emulated = Object.fromEntries(sensitiveClassNames.map((name) => [name, figures[`emulated.${name}`]]));
  return { data: { steps, emulated } };
}

function row(quantity: string, unit: string, measured: number): Row {
  return { quantity, unit, measured, verdict: "ours" };
}

function sum(names: readonly SensitiveClassName[], of: (name: SensitiveClassName) => number): number {
  return names.reduce((total, name) => total + of(name), 0);
}

function bars(
  name: string,
  colour: number,
  classes: readonly SensitiveClassName[],
  of: (name: SensitiveClassName) => number,
) {
  // Nothing is to be seen of 0 on a logarithmic axis.
  const points = classes.map((one, i) => [i, of(one) === 0 ? null : of(one)] as const);
  return { name, origin: "measured" as "measured" | "model", colour, shape: "bars" as const, points };
}
