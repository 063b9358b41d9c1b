// The scene of figure 8: five VMs that have more memory together than the machine, boot at once, and want it at different times
// (ESX paper, section 6.4).

import type { PluginChoice } from "../../cli/catalogue.ts";
import type { Scene, SceneVm } from "./framework/scene.ts";
import { CPU_MHZ, DISK_PAGE_NS, GUEST_OWN_MIB } from "./workloads.ts";

/** Reads a second of SQL in its query. */
const QUERY_READS_PER_TICK = 150;
export const QUERY_READS_PER_S = QUERY_READS_PER_TICK * 20;
export const HOST_MIB = 256, OVERHEAD_MIB = 8, MINUTE = 60;
/** MiB that are alike in all VMs: what their systems have in common. */
const COMMON_MIB = 12, IDLE_HZ = 20, QUANTUM_MS = 20;
/** The host's processor stands for one of 1 GHz, as far as the rate of scanning goes. */
const SCAN_MIB_PER_S = 4;

/** When things happen, in minutes. */
export interface Times {
  readonly growth: number;
  readonly burst: number;
  readonly burstMinutes: number;
  readonly until: number;
}

/** Blocks read a tick of 50 ms, of so many MiB of files, from a minute on. */
type Activity = readonly [minute: number, reads: number, mib: number];

function server(name: string, memoryMib: number, seed: number, until: number, activity: readonly Activity[]): SceneVm {
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

export function fiveVms({ growth, burst, burstMinutes, until, plugins, hasBalloons = true }: FiveVmsOptions): Scene {
  const isSharing = plugins.includes("page-sharing");
  const vms = [
    // All fill their memory with files first; later they look at less of them.
    server("exchange", 64, 1, until, [[0, 60, 64], [growth, 6, 80]]),
    server("exchange-client", 64, 2, until, [[0, 60, 64], [growth, 3, 48]]),
    server("citrix", 80, 3, until, [[0, 60, 76], [growth, 40, 84]]),
    server("citrix-client", 80, 4, until, [[0, 60, 76], [growth, 3, 48]]),
    server("sql", 80, 5, until, [[0, 60, 76], [growth, 2, 4], [burst, QUERY_READS_PER_TICK, 72], [
      burst + burstMinutes,
      2,
      4,
    ]]),
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
        ? { "page-sharing": { scanMinutes: until / 6, hostMibPerSPerGhz: SCAN_MIB_PER_S * 1000 / CPU_MHZ } }
        : {}),
    },
    vms,
    untilSeconds: until * MINUTE,
    quantumMs: QUANTUM_MS,
    sampleSeconds: 5,
    gauges: (stage) => ({
      written: stage.figure("swap", "writtenPages"),
      read: stage.figure("swap", "readPages"),
      sharedInstead: stage.figure("swap", "sharedInstead"),
    }),
  };
}
