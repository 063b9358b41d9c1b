// How often a guest goes from each instruction to each other: the reference interpreter, one instruction at a time, with a
// count of every step. By the law of transparency these are the counts of every other engine, too.

import { definePlugin, type Plugin, type Vm, z } from "../core/mod.ts";
import * as x86 from "../plugins/x86/mod.ts";

/** Completed steps by the linear addresses that they lead from and to. */
export class ExecutionCounts {
  readonly #edges = new Map<number, Map<number, number>>();

  /** Counts a step from one linear address to the next. */
  add(from: number, to: number): void {
    let targets = this.#edges.get(from);
    if (targets === undefined) this.#edges.set(from, targets = new Map());
    targets.set(to, (targets.get(to) ?? 0) + 1);
  }

  /** How often the instruction at an address was completed; of a repeated string instruction, its iterations. */
  executed(address: number): number {
    return this.targets(address).reduce((sum, [, count]) => sum + count, 0);
  }

  /** How often control went from the instruction at `from` to `to`. */
  edge(from: number, to: number): number {
    return this.#edges.get(from)?.get(to) ?? 0;
  }

  /** Where control went from an instruction, most frequent first, with counts. */
  targets(from: number): [to: number, count: number][] {
    return [...this.#edges.get(from) ?? []].toSorted((a, b) => b[1] - a[1]);
  }
}

/** A plugin that replaces the engine by one that counts. */
export function countingEngine(counts: ExecutionCounts): Plugin {
  return definePlugin({
    name: "execution-counts",
    summary: "counts every step of the interpreter",
    requires: ["x86"],
    replaces: [x86.engine],
    options: z.strictObject({}),
    setup({ service, provide }) {
      const stepper = service(x86.engine, "x86"), processorOf = service(x86.processor);
      provide(x86.engine, {
        name: "execution-counts",
        execute(vm: Vm) {
          const cpu = processorOf(vm), { clock } = vm;
          while (clock.steps < clock.deadlineSteps && cpu.attention === 0) {
            const from = addressOf(cpu);
            if (stepper.step(vm)) counts.add(from, addressOf(cpu));
          }
        },
        step: (vm: Vm) => stepper.step(vm),
      });
    },
  });
}

/** Linear address of the next instruction. */
function addressOf({ r }: x86.Processor): number {
  return (r[x86.state.BASE + x86.CS] + r[x86.state.EIP]) >>> 0;
}
