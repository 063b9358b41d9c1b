// The Memory Overcommitment Manager of oVirt as a policy of the allocator: what clouds that use KVM have run for years, to
// compare the idle memory tax with. It knows nothing of shares. Collectors sample, and rules are evaluated, in host time.

import { definePlugin, type Vm, vmExited, z } from "../../core/mod.ts";
import { allocation, targets, type VmMemory } from "../allocator/mod.ts";
import { balloons } from "../balloon/mod.ts";
import * as memory from "../memory/mod.ts";
import { nextPages } from "./rules.ts";

export { type GuestMemory, nextPages, type Rules } from "./rules.ts";

const NS_PER_SECOND = 1e9, PERCENT = 100;

const percent = (value: number) => z.number().min(0).max(PERCENT).default(value);

export default definePlugin({
  name: "mom",
  summary: "targets by oVirt MOM's balloon rules",
  requires: ["memory", "allocator", "balloon"],
  options: z.strictObject({
    pressureThresholdPercent: percent(20).describe("free memory of the host below which guests shrink"),
    pressureCriticalPercent: percent(5).describe("free memory of the host below which guests are made to page"),
    minGuestFreePercent: percent(20).describe("part of its memory that a guest keeps free while the host has enough"),
    maxStepPercent: percent(5).describe("most change of a guest's memory in one step"),
    minStepPercent: percent(0.25).describe("a smaller change is not made"),
    policySeconds: z.number().positive().default(10).describe("host time between two evaluations of the rules"),
    monitorSeconds: z.number().positive().default(5).describe("host time between two samples"),
    historyLength: z.int().min(1).default(10).describe("samples that an average is taken of"),
  }).refine((given) => given.pressureCriticalPercent <= given.pressureThresholdPercent, {
    message: "pressureCriticalPercent is above pressureThresholdPercent; expected at most that",
  }),
  setup({ host, on, service, every, stats, options }) {
    const machine = service(memory.machine), allocator = service(allocation), balloonsOf = service(balloons);
    const rules = {
      pressureThreshold: options.pressureThresholdPercent / PERCENT,
      pressureCritical: options.pressureCriticalPercent / PERCENT,
      minGuestFree: options.minGuestFreePercent / PERCENT,
      maxStep: options.maxStepPercent / PERCENT,
      minStep: options.minStepPercent / PERCENT,
    };
    const steps = stats.counter("steps", "times");
    const hostFree = new Average(options.historyLength), used = new Map<Vm, Average>();
    /** By VM: pages that the rules came to last. */
    const decided = new Map<Vm, number>();

    const running = () => host.vms.filter((vm) => vm.state !== "exited" && vm.exit === undefined);

    every(options.monitorSeconds * NS_PER_SECOND, () => {
      hostFree.add(machine.freeFrames / machine.totalFrames);
      for (const vm of running()) {
        const average = used.get(vm) ?? new Average(options.historyLength);
        used.set(vm, average);
        average.add(usedPages(vm, allocator.of(vm)));
      }
    });

    /** What the guest's driver says; of a guest that says nothing, what sampling estimates; else all that it has. */
    function usedPages(vm: Vm, snapshot: VmMemory): number {
      const { freeMemory } = balloonsOf.report(vm).statistics;
      const { maxPages, balloonedPages, allocatedPages, activePages } = snapshot;
      if (freeMemory === undefined) return activePages ?? allocatedPages;
      return Math.max(0, maxPages - balloonedPages - freeMemory / memory.PAGE_SIZE);
    }

    every(options.policySeconds * NS_PER_SECOND, () => {
      if (hostFree.value === undefined) return;
      steps.value++;
      for (const vm of running()) {
        const { minPages, maxPages } = allocator.of(vm);
        const currentPages = decided.get(vm) ?? maxPages, usedPages = used.get(vm)?.value ?? maxPages;
        decided.set(vm, nextPages({ currentPages, usedPages, minPages, maxPages }, hostFree.value, rules));
      }
      if (running().length > 0) allocator.rebalance();
    });

    // Asked more often than the rules are evaluated: between two steps the answer stays.
    on(targets, ({ vms }) => {
      const byName = new Map([...decided].map(([vm, pages]) => [vm.name, pages]));
      return vms.map(({ name, maxPages }) => byName.get(name) ?? maxPages);
    });

    on(vmExited, (vm) => {
      used.delete(vm);
      decided.delete(vm);
    });
  },
});

/** The average of the latest samples. */
class Average {
  readonly #samples: number[] = [];
  constructor(readonly length: number) {}

  add(sample: number): void {
    this.#samples.push(sample);
    if (this.#samples.length > this.length) this.#samples.shift();
  }

  /** Undefined before the first sample. */
  get value(): number | undefined {
    const { length } = this.#samples;
    return length === 0 ? undefined : this.#samples.reduce((sum, sample) => sum + sample, 0) / length;
  }
}
