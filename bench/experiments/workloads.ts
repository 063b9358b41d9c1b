// The guests that stand in for the paper's, at a quarter of their size in pages, and what can be read off their consoles: a
// file server with 40 clients (its dbench), and a machine that has zeroed its memory and does little (its idle Windows).

import type { Recording, SceneVm } from "./framework/scene.ts";
import { mean } from "./framework/statistics.ts";

/** MB of the paper for a MiB of ours. */
export const PAPER_SCALE = 4;
/** Steps per microsecond of guest time. */
export const CPU_MHZ = 2;
/** MiB of a guest with a page pool that are no pool: its code and tables. */
export const GUEST_OWN_MIB = 4;
/** Blocks that the file server's disk reads in 10 ms, and what the host's swap disk, which is the same, takes for a page. */
export const DISK_BLOCKS_PER_TICK = 5;
export const DISK_PAGE_NS = 10e6 / DISK_BLOCKS_PER_TICK;
/** MiB of the file server's file, and its blocks' skew: chosen so that Figure 2's curve of configured VMs comes out much the same. */
export const FILE_MIB = 112;
const BLOCKS_PER_MIB = 256;
/** Timer interrupts of guests that do little, so that they cost little. */
const IDLE_HZ = 20;

export interface FileServerOptions {
  readonly memoryMib: number;
  readonly seed: number;
  readonly seconds: number;
  readonly startSeconds?: number;
  readonly minMib?: number;
  readonly shares?: number;
  readonly fileMib?: number;
  readonly options?: SceneVm["options"];
}

/** A file server with 40 clients and tables sized by its memory, as Linux's are: 64 bytes a page. */
export function fileServer(name: string, given: FileServerOptions): SceneVm {
  const { memoryMib, seed, seconds, fileMib = FILE_MIB, ...vm } = given;
  const options = {
    poolMib: memoryMib - GUEST_OWN_MIB,
    fileMib,
    clients: 40,
    diskBlocksPerTick: DISK_BLOCKS_PER_TICK,
    mapBytesPerPage: 64,
    skew: 6,
    seconds: Math.ceil(seconds),
    seed,
  };
  return { name, memoryMib, guest: { use: "filecache", options }, ...vm };
}

/** A guest that zeroes all its memory when it boots and then keeps `activeMib` of it in use. */
export function idleGuest(
  name: string,
  given: Omit<FileServerOptions, "fileMib"> & { readonly activeMib: number; readonly passMs?: number },
): SceneVm {
  const { memoryMib, seed, seconds, activeMib, passMs = 1000, ...vm } = given;
  const options = {
    poolMib: memoryMib - GUEST_OWN_MIB,
    workingSetMib: activeMib,
    passMs,
    hz: IDLE_HZ,
    zeroesAll: 1,
    seconds: Math.ceil(seconds),
    seed,
  };
  return { name, memoryMib, guest: { use: "balloon", options }, ...vm };
}

/** What a file server said in its latest second. */
export interface Served {
  readonly seconds: number;
  readonly cachedMib: number;
  readonly hits: number;
  readonly misses: number;
}

/** A file server's reports, in the order of time. */
export function servedBy({ lines }: Recording, vm: string): readonly Served[] {
  return lines.flatMap(({ seconds, vm: name, line }): Served[] => {
    const match = name === vm ? /^filecache: (\d+) blocks cached, (\d+) hits, (\d+) misses$/.exec(line) : null;
    if (match === null) return [];
    const [cached, hits, misses] = match.slice(1).map(Number);
    return [{ seconds, cachedMib: cached / BLOCKS_PER_MIB, hits, misses }];
  });
}

/** A file server's throughput, in MB at the paper's scale for a second of host time, and its misses, between two times. */
export function throughputOf(recording: Recording, vm: string, from: number, to: number) {
  const served = servedBy(recording, vm).filter(({ seconds }) => seconds > from && seconds <= to);
  const sum = (of: (one: Served) => number) => served.reduce((total, one) => total + of(one), 0);
  const reads = sum(({ hits, misses }) => hits + misses);
  return {
    mbPerS: (PAPER_SCALE * reads) / BLOCKS_PER_MIB / (to - from),
    missPart: sum(({ misses }) => misses) / reads,
    cachedMib: mean(served.map(({ cachedMib }) => cachedMib)),
  };
}
