// Section 3.3: RDTSC trapped, called out for, and emitted in place. What each form costs here, beside the paper's cycles.

import { NanoMachine } from "../../cli/nano.ts";
import { z } from "../../core/mod.ts";
import { type Form, sensitiveClasses } from "../../plugins/bt/mod.ts";
import {
  type Data,
  defineExperiment,
  holds,
  type Row,
  timedCheck,
  within,
  withinTimes,
} from "./framework/definition.ts";
import { averaged } from "./framework/statistics.ts";
import { PAPER_RDTSC } from "./paper_cycles.ts";

const FORMS: readonly Form[] = sensitiveClasses.rdtsc.forms;
const COUNTED_OPERATIONS = 10_000;

export default defineExperiment({
  name: "rdtsc-ladder",
  title: "RDTSC: trap, call out, or emit in place",
  source: "BT paper, section 3.3",
  summary: "what RDTSC costs in each of the three forms",
  scale:
    "A loop of RDTSC and ADD, as long as it takes to be measured; the paper's cycles are those of a 3.8 GHz Pentium 4.",
  knobs: z.strictObject({
    batches: z.int().min(1).default(15).describe("batches of which the best is taken, by CPU time"),
    batchMs: z.int().min(1).default(20).describe("CPU time of a batch"),
  }),
  quick: { batches: 5 },
  runs: ({ batches, batchMs }) => [{
    name: "forms",
    async perform({ breathe }) {
      const counts: Record<string, Data> = {}, ns: Record<string, number> = {};
      for (const form of FORMS) {
        const counted = new NanoMachine("rdtsc", form);
        counted.run(COUNTED_OPERATIONS);
        const before = counted.counts();
        counted.run(COUNTED_OPERATIONS);
        const after = counted.counts();
        counts[form] = { traps: after.traps - before.traps, callouts: after.callouts - before.callouts };
      }
      // In turns, so that what disturbs the machine disturbs all alike.
      const machines = [...FORMS, "interpreter" as const].map((form) =>
        [form, new NanoMachine("rdtsc", form)] as const
      );
      for (let batch = 0; batch < batches; batch++) {
        await breathe(batch / batches);
        for (const [form, machine] of machines) {
          const name = form === "interpreter" ? "interpreted" : form;
          ns[name] = Math.min(ns[name] ?? Infinity, machine.measureNs(1, batchMs));
        }
      }
      return { data: { operations: COUNTED_OPERATIONS, counts }, timed: { ns } };
    },
  }],
  evaluate({ data, timed }) {
    const { counts } = averaged(data("forms") as { counts: Record<Form, { traps: number; callouts: number }> }[]);
    const { ns } = averaged(timed("forms") as { ns: Record<Form | "interpreted", number> }[]);
    const ratios = (cost: Readonly<Record<Form, number>>) => FORMS.map((form) => cost[form] / cost["in-tc"]);
    const paper = ratios(PAPER_RDTSC), ours = ratios(ns);
    const rows: Row[] = FORMS.flatMap((form, i): Row[] => [
      {
        quantity: `${form}, cost`,
        unit: "cycles (paper), ns (here)",
        paper: PAPER_RDTSC[form],
        measured: ns[form],
        verdict: "ours",
        isTimed: true,
      },
      ...(form === "in-tc" ? [] : [{
        quantity: `${form}, times in-tc`,
        unit: "ratio",
        paper: paper[i],
        measured: ours[i],
        ...withinTimes(
          ours[i],
          paper[i],
          1.25,
          "a form in place is a few WebAssembly instructions here, and leaving the translation costs a call between WebAssembly and " +
            "JavaScript where the paper's costs a fault of the processor",
        ),
        isTimed: true,
      }]),
      {
        quantity: `${form}, world switches`,
        unit: `of ${COUNTED_OPERATIONS} operations`,
        model: form === "trap" ? COUNTED_OPERATIONS : 0,
        measured: counts[form].traps,
        verdict: "ours",
      },
    ]);
    rows.push({
      quantity: "trap, times interpreted",
      unit: "ratio",
      measured: ns.trap / ns.interpreted,
      verdict: "ours",
      isTimed: true,
    }, { quantity: "interpreted, cost", unit: "ns", measured: ns.interpreted, verdict: "ours", isTimed: true });
    const isExact = (form: Form, traps: number, callouts: number) =>
      counts[form].traps === traps && counts[form].callouts === callouts;
    return {
      rows,
      checks: [
        holds(
          "each operation traps once, or calls out once, or does neither",
          isExact("trap", COUNTED_OPERATIONS, 0) && isExact("callout", 0, COUNTED_OPERATIONS) && isExact("in-tc", 0, 0),
          "as the form says",
          FORMS.map((form) => `${form} ${counts[form].traps}/${counts[form].callouts}`).join(", "),
          "X",
        ),
        timedCheck(holds(
          "the order is the paper's",
          ns["in-tc"] < ns.callout && ns.callout < ns.trap,
          "in-tc < callout < trap",
          FORMS.map((form) => `${form} ${ns[form].toFixed(1)}`).join(", "),
        )),
        timedCheck(within("in place is cheaper than a trap", ns.trap / ns["in-tc"], [5, Infinity], "times", "S")),
      ],
      figure: {
        title: "RDTSC: cost of each form, in-tc = 1",
        panels: [{
          title: "",
          x: { name: "form" },
          y: { name: "times the cost in place (logarithmic)", isLogarithmic: true, min: 0.5 },
          categories: FORMS,
          series: [
            {
              name: "paper: cycles of a Pentium 4",
              origin: "paper",
              colour: 1,
              shape: "bars",
              points: pointsOf(paper),
            },
            { name: "measured: CPU time here", origin: "measured", colour: 0, shape: "bars", points: pointsOf(ours) },
          ],
        }],
      },
      notes: [
        "A trap here leaves the translation for the run loop within one process; the paper's is a hardware fault into the " +
        "monitor. Here a call-out and a trap differ by the way through the dispatcher alone, so that they are nearer to each " +
        "other, and both are farther from the form in place.",
        "The in-tc form reads two words and adds them; the paper's is longer, because it keeps a virtual time-stamp counter in step.",
      ],
    };
  },
});

function pointsOf(values: readonly number[]): (readonly [number, number])[] {
  return values.map((value, i) => [i, value] as const);
}
