// Many Linux guests in half the memory they were promised, each keeping most of it full of values that it checks over and
// over. They start as copies of one machine that stands at its shell, and are told at its console what to run.

import { DEFAULT_SHARES, DEFAULT_VM_MIB } from "../../cli/defaults.ts";
import { createHost } from "../../cli/machine.ts";
import type { PluginChoice } from "../../cli/catalogue.ts";
import { definePlugin, type Host, type SavedVm, type Vm } from "../../core/mod.ts";
import * as allocator from "../../plugins/allocator/mod.ts";
import * as console from "../../plugins/console/mod.ts";
import * as memory from "../../plugins/memory/mod.ts";
import { COMMAND, PASS_LINE, READY_LINE, typedChecker, WRONG_LINE } from "./memory_checker.ts";

const MIB_PAGES = 256;

export interface SoakOptions {
  readonly vms: number;
  /** Steps of all VMs together, after all have begun to check. */
  readonly steps: number;
  readonly hostMib: number;
  readonly minMib: number;
  readonly cpuMhz: number;
  /** Memory that each guest checks, or that of one after another. */
  readonly checkedMib: number | readonly number[];
  readonly plugins?: readonly PluginChoice[];
  /** Options by plugin. */
  readonly options?: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
}

export interface SoakResult {
  readonly host: Host;
  readonly vms: readonly Vm[];
  /** Passes over its memory that each guest has completed. */
  readonly passes: ReadonlyMap<Vm, number>;
  /** What is wrong: words that guests did not find as they were, machines below their minimum. */
  readonly complaints: readonly string[];
  /** States of free memory as they came, each of them audited. */
  readonly states: readonly allocator.ReclamationState[];
  readonly log: readonly string[];
  /** Pages in all balloons at most. */
  readonly mostBalloonedPages: number;
  /** Steps of all guests and host time, both since they were told to begin. */
  readonly steps: number;
  readonly hostNs: number;
}

/** Runs it. `saved` is a Linux machine of DEFAULT_VM_MIB at its shell. */
export async function soak(saved: SavedVm, given: SoakOptions): Promise<SoakResult> {
  const log: string[] = [], states: allocator.ReclamationState[] = [], complaints: string[] = [];
  const passes = new Map<Vm, number>(), reachedMin = new Set<Vm>();
  const { hostMib: memoryMib, plugins = [], options } = given;
  const checkedMibOf = (vm: Vm) => [given.checkedMib].flat()[vm.id % [given.checkedMib].flat().length];
  let mostBalloonedPages = 0;
  const watcher = definePlugin({
    name: "soak-watcher",
    requires: ["console", "allocator", "memory"],
    setup({ on, service, every }) {
      const machine = service(memory.machine), allocation = service(allocator.allocation);
      on(console.line, ({ vm, line }) => {
        if (line.trim() === READY_LINE) {
          type(host, vm, typedChecker({ pages: checkedMibOf(vm) * MIB_PAGES, seed: vm.id + 1 }));
        }
        if (line.trim() === PASS_LINE) passes.set(vm, (passes.get(vm) ?? 0) + 1);
        if (line.includes(WRONG_LINE) || /BUG:|Oops|segfault|Out of memory/.test(line)) {
          complaints.push(`${vm.name}: ${line}`);
        }
      });
      on(allocator.stateChanged, ({ to }) => {
        states.push(to);
        machine.audit();
      });
      every(10e6, () => {
        const ballooned = host.vms.reduce((sum, vm) => sum + allocation.of(vm).balloonedPages, 0);
        mostBalloonedPages = Math.max(mostBalloonedPages, ballooned);
        for (const vm of host.vms) {
          if (vm.state === "exited") continue;
          const { allocatedPages, minPages, targetPages } = allocation.of(vm);
          if (allocatedPages >= minPages) reachedMin.add(vm);
          else if (reachedMin.has(vm)) {
            complaints.push(`${vm.name}: ${allocatedPages} pages, its minimum is ${minPages}`);
          }
          if (targetPages < minPages) complaints.push(`${vm.name}: a target of ${targetPages} pages`);
        }
      });
    },
  });
  const host = createHost({
    memoryMib,
    plugins: [...plugins, watcher],
    options,
    log: (plugin, message) => log.push(`${plugin}: ${message}`),
  });
  const vms = Array.from({ length: given.vms }, (_, i) => {
    const { minMib, cpuMhz } = given;
    const config = { memoryMib: DEFAULT_VM_MIB, minMib, shares: DEFAULT_SHARES, cpuMhz, options: {} };
    const vm = host.add({ name: `linux${i}`, ...config });
    // What was not loaded when the state was saved begins anew.
    host.restore(vm, { ...saved, plugins: { ...host.save(vm).plugins, ...saved.plugins } });
    type(host, vm, COMMAND);
    return vm;
  });
  const stepsOf = () => vms.reduce((sum, vm) => sum + vm.clock.steps, 0);
  const before = stepsOf(), beganNs = host.clock.nowNs;
  await host.run({ stop: () => complaints.length > 0 || stepsOf() - before >= given.steps });
  host.service(memory.machine).audit();
  const steps = stepsOf() - before, hostNs = host.clock.nowNs - beganNs;
  return { host, vms, passes, complaints, states, log, mostBalloonedPages, steps, hostNs };
}

function type(host: Host, vm: Vm, text: string): void {
  host.service(console.consoleOf)(vm).input.push(new TextEncoder().encode(text));
}
