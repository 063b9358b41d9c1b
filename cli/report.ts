// What a run reports: statistics as JSON under published names, and a series of samples as CSV. Times with "host" and
// "guest" in their names are modelled; `wallSeconds` alone is measured.

import type { Host, Vm } from "../core/mod.ts";
import * as allocator from "../plugins/allocator/mod.ts";
import * as memory from "../plugins/memory/mod.ts";
import { hotSitesOf, type NamedSite } from "./hot_sites.ts";

/** Memory of one VM in MiB. Fields of mechanisms that are not loaded are absent. */
export interface VmMemoryReport {
  readonly maxMib: number;
  readonly minMib: number;
  readonly allocatedMib: number;
  readonly targetMib: number;
  readonly activeMib?: number;
  readonly balloonedMib: number;
  readonly sharedMib: number;
  readonly swappedMib: number;
}

export interface VmReport {
  readonly name: string;
  readonly instructions: number;
  readonly guestTimeNs: number;
  readonly cpuNs: number;
  readonly stolenNs: number;
  /** Why it ended; "running" while it has not. */
  readonly exit: string;
  readonly exitStatus: number;
  readonly exitDetail?: string;
  readonly memory: VmMemoryReport;
}

/** Machine memory, and the state of what is free of it, where the allocator is loaded. */
export type HostMemory = memory.HostMemoryReport & { readonly state?: allocator.ReclamationState };

export interface RunReport {
  readonly instructions: number;
  readonly hostTimeNs: number;
  readonly wallSeconds: number;
  readonly host: { readonly memory: HostMemory };
  readonly vms: readonly VmReport[];
  /** Counters and gauges by plugin. */
  readonly plugins: Readonly<Record<string, Readonly<Record<string, number>>>>;
  /** Instructions whose plain accesses trapped, the hottest first, where adaptive-bt is loaded. */
  readonly hotSites?: readonly NamedSite[];
}

/** The state of a run as it stands. */
export function makeReport(host: Host, wallSeconds: number): RunReport {
  const vms = host.vms.map((vm) => reportVm(host, vm));
  const plugins: Record<string, Record<string, number>> = {};
  for (const [name, { stats }] of host.plugins.loaded) plugins[name] = stats.snapshot();
  return {
    instructions: vms.reduce((sum, vm) => sum + vm.instructions, 0),
    hostTimeNs: host.clock.nowNs,
    wallSeconds,
    host: { memory: { ...host.service(memory.report).host(), state: allocationOf(host)?.state } },
    vms,
    plugins,
    hotSites: hotSitesOf(host),
  };
}

function allocationOf(host: Host): allocator.Allocation | undefined {
  return host.plugins.loaded.has("allocator") ? host.service(allocator.allocation) : undefined;
}

function reportVm(host: Host, vm: Vm): VmReport {
  const { memoryMib, minMib } = vm.config;
  const pages = host.service(memory.report).vm(vm);
  const allocation = allocationOf(host)?.of(vm);
  const mib = (pages: number) => pages / memory.FRAMES_PER_MIB;
  return {
    name: vm.name,
    instructions: vm.clock.steps,
    guestTimeNs: vm.clock.nowNs(),
    cpuNs: vm.cpuNs,
    stolenNs: vm.stolenNs,
    exit: vm.exit?.reason ?? "running",
    exitStatus: vm.exit?.status ?? 0,
    exitDetail: vm.exit?.detail,
    memory: {
      maxMib: memoryMib,
      minMib: allocation === undefined ? minMib : mib(allocation.minPages),
      allocatedMib: mib(pages.allocatedPages),
      targetMib: allocation === undefined ? memoryMib : mib(allocation.targetPages),
      activeMib: allocation?.activePages === undefined ? undefined : mib(allocation.activePages),
      balloonedMib: mib(pages.balloonedPages),
      sharedMib: mib(pages.sharedPages),
      swappedMib: mib(pages.swappedPages),
    },
  };
}

const seriesColumns = [
  "hostTimeNs",
  "vm",
  "instructions",
  "guestTimeNs",
  "cpuNs",
  "stolenNs",
  "allocatedMib",
  "targetMib",
  "balloonedMib",
  "sharedMib",
  "swappedMib",
  "hostFreeFrames",
  "activeMib",
  "hostState",
] as const;

/** One VM's figures at one time, by column. */
type Sample = Readonly<Record<string, string | number | undefined>>;

/**
 * Samples of every VM at regular host times, a line each. Behind the columns that are always there comes one for each series
 * of a plugin, as PLUGIN.NAME; where a plugin has nothing to say of a VM, or is not loaded at the time, its field is empty.
 */
export class SeriesRecorder {
  /** Lines as far as there were columns when they were taken: a run may be long, and columns are only added. */
  readonly #lines: { readonly text: string; readonly columns: number }[] = [];
  readonly #columns = new Set<string>(seriesColumns);
  #sampledNs = -1;

  constructor(readonly host: Host) {}

  /** Takes a sample now; a second one at the same host time is left out. */
  sample(): void {
    if (this.host.clock.nowNs === this.#sampledNs) return;
    this.#sampledNs = this.host.clock.nowNs;
    const { freeFrames } = this.host.service(memory.machine);
    for (const vm of this.host.vms) {
      const { memory: ofMemory, ...report } = reportVm(this.host, vm);
      const fields = {
        ...report,
        ...ofMemory,
        hostTimeNs: this.#sampledNs,
        vm: vm.name,
        hostFreeFrames: freeFrames,
        hostState: allocationOf(this.host)?.state,
      };
      const sample: Sample = { ...fields, ...this.#ofPlugins(vm) }, columns = [...this.#columns];
      this.#lines.push({ text: columns.map((column) => sample[column]).join(","), columns: columns.length });
    }
  }

  /** Plugins may come and go while a host runs, so that all columns are known at the end only. */
  csv(): string {
    const columns = [...this.#columns];
    const lines = this.#lines.map((line) => line.text + ",".repeat(columns.length - line.columns));
    return [columns.join(","), ...lines].join("\n") + "\n";
  }

  #ofPlugins(vm: Vm): Sample {
    const sample: Record<string, number | undefined> = {};
    for (const [plugin, { stats }] of this.host.plugins.loaded) {
      for (const { name, read } of stats.seriesList) {
        const column = `${plugin}.${name}`;
        this.#columns.add(column);
        sample[column] = read(vm);
      }
    }
    return sample;
  }
}
