// The comparison: one guest, the same files for every engine, and what was measured in each round. Rounds are
// interleaved (A B C, A B C) by whoever calls run(), so that a slow minute of the machine meets all engines alike.

import { defaultAppend, type PreparedLinux, prepareLinux } from "../../guests/linux/mod.ts";
import { buildWorkloads, workloadAppend } from "../../guests/workloads/mod.ts";
import { boot, type BootResult } from "./boot.ts";
import type { Choices } from "./choices.ts";
import type { Engine } from "./engines.ts";

/** The guest's memory, as in reference measurements. */
const MEMORY_MIB = 128;
/** Nothing on the console but what the workloads say. */
const QUIET = "quiet mitigations=auto";

/** What is known of an engine. */
export interface EngineRecord {
  readonly engine: Engine;
  /** How often it is to boot. */
  readonly rounds: number;
  /** Why it does not run here. */
  readonly missing: string | undefined;
  /** Its boots, in order. */
  readonly boots: BootResult[];
}

export interface RoundOptions {
  /** Ends the boot. */
  readonly signal: AbortSignal;
  /** Told of progress, a line at a time. */
  readonly log: (line: string) => void;
  /** Called when the guest is about to start with the workloads. */
  readonly onInit?: () => void;
}

export class Comparison {
  readonly records: readonly EngineRecord[];
  readonly #linux: PreparedLinux;

  private constructor(readonly choices: Choices, linux: PreparedLinux, records: readonly EngineRecord[]) {
    this.#linux = linux;
    this.records = records;
  }

  /**
   * Builds the programs and the initramfs in `cacheDir` and asks each engine whether it can run. Throws
   * WorkloadsUnavailable or LinuxUnavailable where there is no guest to be had; no network is used.
   */
  static async prepare(choices: Choices, cacheDir: string): Promise<Comparison> {
    await Deno.mkdir(cacheDir, { recursive: true });
    const extraFiles = await buildWorkloads(cacheDir);
    // No search path: what is not in the cache is not fetched by a bench.
    const linux = await prepareLinux({ cacheDir, extraFiles, log: () => {}, apt: { searchPath: "" } });
    const records = await Promise.all(choices.engines.map(async ({ engine, rounds }) => {
      return { engine, rounds, missing: await engine.missing(), boots: [] };
    }));
    return new Comparison(choices, linux, records);
  }

  /** Boots one engine once. */
  async run(record: EngineRecord, { signal, log, onInit }: RoundOptions): Promise<void> {
    const { runs, patienceSeconds } = this.choices;
    const { engine, boots } = record;
    const title = `${engine.name}, round ${boots.length + 1}`;
    const { kernel, initrd } = this.#linux;
    const append = `${defaultAppend} ${QUIET} ${workloadAppend(runs)}`;
    log(`${title}: booting`);
    const result = await boot(engine.command({ kernel, initrd, append, memoryMib: MEMORY_MIB }), {
      signal,
      patienceSeconds,
      onInit,
      onOutcome: (name, { seconds, cpuSeconds }) => {
        log(`${title}: ${name} ${seconds.toFixed(3)} s, ${cpuSeconds.toFixed(2)} s of CPU`);
      },
    });
    for (const [name, reason] of result.failures) log(`${title}: ${name} failed: ${reason}`);
    if (result.broken !== undefined) log(`${title}: ${result.broken}`);
    boots.push(result);
  }
}
