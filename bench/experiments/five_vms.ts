// The scene of figure 8: five VMs that have more memory together than the machine, boot at once, and want it at different times
// (ESX paper, section 6.4).

import type { PluginChoice } from "../../cli/catalogue.ts";
import type { Recording, Scene, SceneVm } from "./framework/scene.ts";
import { CPU_MHZ, DISK_PAGE_NS, GUEST_OWN_MIB, servedBy } from "./workloads.ts";

/** Reads a tick of a VM that boots: all five at once leave the processor some time. */
const STORM = 30;
/** Reads a tick of SQL in its query: as in the paper it takes a minute or two until all is touched. */
const QUERY_READS_PER_TICK = 40;
const QUERY_READS_PER_S = QUERY_READS_PER_TICK * 20;
export const HOST_MIB = 256, OVERHEAD_MIB = 8, MINUTE = 60;
/** By VM. */
export const MAX_MIB: Readonly<Record<string, number>> = {
  exchange: 64,
  "exchange-client": 64,
  citrix: 80,
  "citrix-client": 80,
  sql: 80,
};
/** MiB that are alike in all VMs: what their systems have in common. */
const COMMON_MIB = 12, IDLE_HZ = 20, QUANTUM_MS = 20;
/** A VM is scanned once in this part of the run: the hour that is the default, of the paper's 90 minutes. */
const SCAN_PART = 60 / 90;
/** The host's processor stands for one of 1 GHz, as far as the rate of scanning goes. */
const SCAN_MIB_PER_S = 4;

/** When things happen, in minutes. */
export interface Times {
  /** All have booted and read what they read first. */
  readonly quiet: number;
  readonly growth: number;
  readonly burst: number;
  readonly burstMinutes: number;
  readonly until: number;
}

/** Blocks read a tick of 50 ms, of so many MiB of files, from a minute on. */
type Activity = readonly [minute: number, reads: number, mib: number];

function server(name: string, seed: number, until: number, activity: readonly Activity[]): SceneVm {
  const memoryMib = MAX_MIB[name];
  const schedule = activity.map(([minute, reads, mib], i) => {
    const next = activity[i + 1]?.[0] ?? until + 1;
    return `${reads}:${mib}:${Math.round((next - minute) * MINUTE)}`;
  });
  const options = {
    poolMib: memoryMib - GUEST_OWN_MIB,
    schedule: schedule.join(","),
    commonMib: COMMON_MIB,
    zeroesAll: 1,
    hz: IDLE_HZ,
    skew: 2,
    seconds: Math.ceil((until + 2) * MINUTE),
    seed,
  };
  return { name, memoryMib, minMib: memoryMib / 2, shares: memoryMib, guest: { use: "filecache", options } };
}

export interface FiveVmsOptions extends Times {
  /** Policies, and `page-sharing` unless it is to be off. */
  readonly plugins: readonly PluginChoice[];
  readonly hasBalloons?: boolean;
}

export function fiveVms(
  { quiet, growth, burst, burstMinutes, until, plugins, hasBalloons = true }: FiveVmsOptions,
): Scene {
  const isSharing = plugins.includes("page-sharing");
  const vms = [
    // All fill their memory with files first, then look at little, and later at more: as the paper's estimates of active memory
    // rise and fall.
    server("exchange", 1, until, [[0, STORM, 64], [quiet, 6, 16], [growth, 12, 80]]),
    server("exchange-client", 2, until, [[0, STORM, 64], [quiet, 2, 8], [growth, 6, 48]]),
    server("citrix", 3, until, [[0, STORM, 76], [quiet, 4, 16], [growth, 40, 84]]),
    server("citrix-client", 4, until, [[0, STORM, 76], [quiet, 2, 8], [growth, 6, 48]]),
    server("sql", 5, until, [
      ...[[0, STORM, 76], [quiet, 2, 4], [burst, QUERY_READS_PER_TICK, 72]] as const,
      [burst + burstMinutes, 2, 4],
    ]),
  ];
  return {
    hostMib: HOST_MIB,
    cpuMhz: CPU_MHZ,
    plugins: ["balloon", ...plugins],
    options: {
      allocator: { overheadMib: OVERHEAD_MIB },
      swap: { readPageNs: DISK_PAGE_NS, writePageNs: DISK_PAGE_NS / 8 },
      ...(hasBalloons ? {} : { balloon: { driver: "none" } }),
      ...(isSharing
        ? { "page-sharing": { scanMinutes: until * SCAN_PART, hostMibPerSPerGhz: SCAN_MIB_PER_S * 1000 / CPU_MHZ } }
        : {}),
    },
    vms,
    untilSeconds: until * MINUTE,
    quantumMs: QUANTUM_MS,
    sampleSeconds: 5,
    gauges: (stage) => ({
      givenOutMib: stage.givenOutMib(),
      written: stage.figure("swap", "writtenPages"),
      read: stage.figure("swap", "readPages"),
      sharedInstead: stage.figure("swap", "sharedInstead"),
    }),
  };
}

/**
 * Host time of the first second after `from` in which SQL reads at its query's rate: guests' clocks stand still while others run.
 * Undefined where the query never begins.
 */
export function queryStart(recording: Recording, from: number): number | undefined {
  return servedBy(recording, "sql").find(({ seconds, hits, misses }) =>
    seconds >= from && hits + misses > QUERY_READS_PER_S / 2
  )?.seconds;
}
