// What a stretch of a session asks of memory management, counted once under each policy, for the experiments forkwait and
// mmu-tradeoff; and what that would cost on the paper's machine, from its primitives (paper_cycles.ts).

import { definePlugin } from "../../core/mod.ts";
import shadowMmu from "../../plugins/shadow-mmu/mod.ts";
import * as x86 from "../../plugins/x86/mod.ts";
import type { PerformContext } from "./framework/definition.ts";
import { LinuxSession } from "./linux_session.ts";
import { CALLOUT_EXTRA, EXIT_CYCLES, PAPER_NANO, PAPER_RDTSC, TRAP_EXTRA } from "./paper_cycles.ts";

const PAGE_FAULT_VECTOR = 14;

/** Options of shadow-mmu by the name of a policy; undefined for none, the base's `flush`. */
export const POLICIES = {
  flush: undefined,
  "trace all": { dropAfter: 0, eagerFill: false },
  "trace all, fill": { dropAfter: 0, eagerFill: true },
  "drop traces": { dropAfter: 16, eagerFill: false },
} as const;
export type Policy = keyof typeof POLICIES;
export const policyNames = Object.keys(POLICIES) as Policy[];

/** What happened in a stretch of a session. */
export interface MmuCounts {
  readonly steps: number;
  readonly systemCalls: number;
  readonly trueFaults: number;
  /** Translations that had to be walked for; of these a monitor's shadow tables had none. */
  readonly hiddenFaults: number;
  readonly tracedStores: number;
  readonly rootLoads: number;
}

/** Runs a command under a policy, at the shell's prompt, and counts. `cpuSeconds` is measured without any listener. */
export async function runUnder(
  policy: Policy,
  command: string,
  context: PerformContext,
): Promise<{ counts: MmuCounts; cpuSeconds: number }> {
  const options = POLICIES[policy];
  const plugins = options === undefined ? [] : [{ plugin: shadowMmu, options: { ...options } }];
  const breathe = () => context.breathe(0.5);
  const heard = { trueFaults: 0, fills: 0, rootLoads: 0 };
  const counting = definePlugin({
    name: "mmu-counts",
    tier: "tool",
    requires: ["x86"],
    setup({ on }) {
      on(x86.delivered, ({ kind, vector }) => {
        if (kind === "fault" && vector === PAGE_FAULT_VECTOR) heard.trueFaults++;
      });
      on(x86.translated, (event) => {
        if (event.what === "fill") heard.fills++;
        // Without global pages that are kept: a load of CR3.
        if (event.what === "flush" && event.keepGlobal) heard.rootLoads++;
      });
    },
  });
  const forms = { int: "callout" };
  const counted = await LinuxSession.atPrompt({ bt: forms, plugins: [...plugins, counting] }, context);
  Object.assign(heard, { trueFaults: 0, fills: 0, rootLoads: 0 });
  const figures = () => ({ ...counted.host.plugins.loaded.get("shadow-mmu")?.stats.snapshot() });
  const before = figures(), from = counted.sample();
  await counted.command(command, breathe);
  const after = figures(), to = counted.sample();
  const of = (name: string) => (after[name] ?? 0) - (before[name] ?? 0);
  const isTraced = options !== undefined;
  // A system call enters and leaves: INT and IRET, or SYSENTER and SYSEXIT. So do faults, by IRET alone.
  const transfers = (to.figures["emulated.int"] ?? 0) - (from.figures["emulated.int"] ?? 0);
  const timed = await LinuxSession.atPrompt({ bt: {}, plugins }, context);
  const start = timed.sample();
  await timed.command(command, breathe);
  return {
    counts: {
      steps: to.steps - from.steps,
      systemCalls: Math.max(0, Math.round((transfers - heard.trueFaults) / 2)),
      trueFaults: heard.trueFaults,
      hiddenFaults: isTraced ? of("hiddenFaults") : heard.fills,
      tracedStores: of("tracedStores"),
      rootLoads: isTraced ? of("rootLoads") : heard.rootLoads,
    },
    cpuSeconds: timed.sample().cpuSeconds - start.cpuSeconds,
  };
}

/** Cycles on the paper's machine: an instruction takes one, a system call and a true fault what they take natively. */
export function nativeCycles({ steps, systemCalls, trueFaults }: MmuCounts): number {
  return steps + systemCalls * PAPER_NANO.syscall.native + trueFaults * PAPER_NANO.pgfault.native;
}

/**
 * A software monitor adds two call-outs to a system call; a trap and a call-out to a true fault; a trap to a hidden one; a
 * call-out to a load of CR3. A store to a traced page is translated in place once it has trapped: the form in place.
 */
export function softwareCycles(counts: MmuCounts): number {
  return nativeCycles(counts) + counts.systemCalls * 2 * CALLOUT_EXTRA +
    counts.trueFaults * (TRAP_EXTRA + CALLOUT_EXTRA) + counts.hiddenFaults * PAPER_RDTSC.trap +
    counts.rootLoads * PAPER_RDTSC.callout + counts.tracedStores * PAPER_RDTSC["in-tc"];
}

/** A hardware monitor exits for each true and hidden fault, each store to a traced page and each load of CR3. */
export function hardwareCycles(counts: MmuCounts, exitCycles: number = EXIT_CYCLES): number {
  const exits = counts.trueFaults + counts.hiddenFaults + counts.tracedStores + counts.rootLoads;
  return nativeCycles(counts) + exits * exitCycles;
}
