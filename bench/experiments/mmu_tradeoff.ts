// The three-way trade-off of shadow memory management: what tracing page tables costs, what hidden faults cost, and what a change
// of address space costs (BT paper, sections 2.1, 2.4 and 7.2). Which policy is best depends on the monitor.

import { z } from "../../core/mod.ts";
import { defineExperiment, holds, reproducedIf, type Row } from "./framework/definition.ts";
import { averaged } from "./framework/statistics.ts";
import {
  hardwareCycles,
  type MmuCounts,
  nativeCycles,
  type Policy,
  policyNames,
  runUnder,
  softwareCycles,
} from "./mmu_costs.ts";
import { forks } from "./sessions.ts";

const KINDS = ["software", "hardware"] as const;
type Kind = (typeof KINDS)[number];
/** By so much of native time the best policy is better than the next, or there is no best. */
const CLEARLY = 0.01;

export default defineExperiment({
  name: "mmu-tradeoff",
  title: "Traces, hidden faults, changes of address space",
  source: "BT paper, sections 2.1, 2.4 and 7.2",
  summary: "four policies of shadow memory management on three kinds of work",
  scale: "Shell commands under Debian's kernel; overheads are costed by the paper's primitives, not timed.",
  knobs: z.strictObject({ size: z.int().min(1).default(10).describe("how long each command is") }),
  quick: { size: 1 },
  needsLinux: true,
  runs: ({ size }) =>
    Object.entries(workloads(size)).flatMap(([work, command]) =>
      policyNames.map((policy) => ({
        name: `${work}, ${policy}`,
        async perform(context: Parameters<typeof runUnder>[2]) {
          const { counts, cpuSeconds } = await runUnder(policy, command, context);
          return { data: { ...counts }, timed: { cpuSeconds } };
        },
      }))
    ),
  evaluate({ knobs, data, timed }) {
    const works = Object.keys(workloads(knobs.size));
    const counts = (work: string, policy: Policy) => averaged(data(`${work}, ${policy}`)) as unknown as MmuCounts;
    const overhead = (kind: Kind, work: string, policy: Policy) => {
      const one = counts(work, policy), native = nativeCycles(one);
      return (kind === "software" ? softwareCycles(one) : hardwareCycles(one)) / native - 1;
    };
    /** The policies that are clearly the best at some work. */
    const winners = (kind: Kind) => [
      ...new Set(works.flatMap((work) => {
        const [best, next] = policyNames.toSorted((a, b) => overhead(kind, work, a) - overhead(kind, work, b));
        return overhead(kind, work, next) - overhead(kind, work, best) >= CLEARLY ? [best] : [];
      })),
    ];
    const bestOf = (kind: Kind) =>
      policyNames.reduce((best, name) => overhead(kind, "fork", name) < overhead(kind, "fork", best) ? name : best);
    const bestAtForks = { software: bestOf("software"), hardware: bestOf("hardware") };
    const total = (of: (one: MmuCounts) => number, policy: Policy) =>
      works.reduce((sum, work) => sum + of(counts(work, policy)), 0);
    const hidden = (policy: Policy) => total(({ hiddenFaults }) => hiddenFaults, policy);
    const traced = (policy: Policy) => total(({ tracedStores }) => tracedStores, policy);
    return {
      rows: [
        ...works.flatMap((work) =>
          policyNames.flatMap((policy): Row[] => [
            row(`${work}, ${policy}: hidden faults`, "count", counts(work, policy).hiddenFaults),
            row(`${work}, ${policy}: stores to traced pages`, "count", counts(work, policy).tracedStores),
            ...KINDS.map((kind): Row => ({
              quantity: `${work}, ${policy}: overhead in ${kind}`,
              unit: "share of native",
              model: overhead(kind, work, policy),
              measured: "counted, not timed",
              verdict: "as modelled",
            })),
            {
              ...row(
                `${work}, ${policy}: here`,
                "CPU seconds",
                averaged(timed(`${work}, ${policy}`)).cpuSeconds as number,
              ),
              isTimed: true,
            },
          ])
        ),
        ...KINDS.map((kind): Row => ({
          quantity: `policies that are best at some work by 1 % of native time, in ${kind}`,
          unit: "policies",
          paper: "2 or more: none is best at all",
          measured: winners(kind).join(", ") || "none",
          ...reproducedIf(
            winners(kind).length >= 2,
            "a trace that is dropped costs nothing here: what is written to so often is a table that was freed, of which no " +
              "translation was kept; the paper's monitor of that kind had a backlog to process at each load of CR3",
          ),
        })),
      ],
      checks: [
        holds(
          "how much to trace forks depends on the monitor",
          bestAtForks.software !== "flush" &&
            (bestAtForks.hardware === "flush" || bestAtForks.hardware === "drop traces"),
          "best with traces in software; with few or none in hardware, where each is an exit",
          KINDS.map((kind) =>
            `${kind}: ${policyNames.map((name) => `${name} ${overhead(kind, "fork", name).toFixed(2)}`).join(", ")}`
          ).join("; "),
        ),
        holds(
          "traces spare hidden faults",
          hidden("trace all") < hidden("flush"),
          "fewer than without",
          `${hidden("trace all")} and ${hidden("flush")}`,
        ),
        holds(
          "filling eagerly spares more",
          hidden("trace all, fill") < hidden("trace all"),
          "fewer still",
          `${hidden("trace all, fill")} and ${hidden("trace all")}`,
        ),
        holds(
          "dropping traces spares traced stores",
          traced("drop traces") <= traced("trace all"),
          "no more than with all traces kept",
          `${traced("drop traces")} and ${traced("trace all")}`,
        ),
      ],
      figure: {
        title: "Overhead of memory management, by the paper's primitives",
        columns: 2,
        panels: KINDS.map((kind) => ({
          title: `${kind === "software" ? "Software" : "Hardware"} monitor`,
          x: { name: "" },
          y: { name: "overhead, share of native time", min: 0 },
          categories: works,
          series: policyNames.map((policy, i) => ({
            name: policy,
            origin: "measured" as const,
            colour: i,
            shape: "bars" as const,
            points: works.map((work, at) => [at, overhead(kind, work, policy)] as const),
          })),
        })),
      },
      notes: [
        "`flush` keeps nothing across a load of CR3: each translation that is walked for again counts as a hidden fault. `drop " +
        "traces` gives up the trace of a table that is written to often, as Workstation 2.0 did.",
        "The paper gives no figures for its policies.",
        "The guest's TLB belongs to the machine here, so that walks that a larger TLB would spare are counted, too.",
      ],
    };
  },
});

/** By name, what is typed. */
function workloads(size: number): Readonly<Record<string, string>> {
  return {
    fork: forks(10 * size),
    switches: `yes | head -n ${20_000 * size} | tr y n | wc -l`,
    compute: `i=0; while [ $i -lt ${2000 * size} ]; do i=$((i+1)); done; echo $i`,
  };
}

function row(quantity: string, unit: string, measured: number): Row {
  return { quantity, unit, measured, verdict: "ours" };
}
