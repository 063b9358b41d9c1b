// Linux workloads on Ballast's engines, on v86 and on QEMU's TCG: the same Debian kernel and initramfs, the same
// programs (guests/workloads), each boot in a process of its own, times by the host between two lines that the guest
// prints. Ends with one table: medians, ratios, peak memory. There are two ways to run it:
//
//   deno run   --allow-read --allow-env --allow-run --allow-write=cache bench/engines.ts
//   deno bench --allow-read --allow-env --allow-run --allow-write=cache bench/engines.bench.ts
//
// The first interleaves the rounds (A B C, A B C), so that a slow minute of the machine meets all engines alike: quote
// its figures. deno bench runs all rounds of an engine, at least three, before the next one's, and compares their
// whole times.
//
// BALLAST_ENGINES    of bt,interpreter,v86,tcg and our configurations (bench/peers/engines.ts), each with its rounds if wanted (default: bt,interpreter:1,v86,tcg)
// BALLAST_WORKLOADS  of the names in guests/workloads/mod.ts, each with a size if wanted: sieve,fork:20 (default: all)
// BALLAST_ROUNDS     boots of each engine that says no number (default: 3)
// BALLAST_CLOCK      wall (default), cpu or both: a table of wall time, of the CPU time of the engine's process
// BALLAST_PATIENCE   seconds without a line from the guest after which a boot is given up (default: 300)
// BALLAST_CACHE      the folder of the prepared Linux (default: cache)
//
// Needs a filled cache (deno task linux --prepare) and Debian's gcc-multilib; rivals that are not installed are left
// out.

import { LinuxUnavailable } from "../guests/linux/mod.ts";
import { WorkloadsUnavailable } from "../guests/workloads/mod.ts";
import { cacheDir, interruption, progress } from "./peers/session.ts";
import { readChoices } from "./peers/choices.ts";
import { Comparison } from "./peers/comparison.ts";
import { comparisonTables } from "./peers/table.ts";

const choices = readChoices((name) => Deno.env.get(name));
const comparison = await Comparison.prepare(choices, cacheDir()).catch((error: unknown) => {
  if (!(error instanceof LinuxUnavailable || error instanceof WorkloadsUnavailable)) throw error;
  return error;
});

/** Calls that deno bench adds to the `n` that it is asked for. */
const EXTRA_CALLS = 2;

if (comparison instanceof Error) {
  const reason = comparison.message.split("\n")[0];
  Deno.bench({ name: `workloads on Linux (left out: ${reason})`, ignore: true, fn: () => {} });
} else {
  const signal = interruption();
  for (const record of comparison.records) {
    const { engine, rounds, missing } = record;
    const name = missing === undefined ? engine.name : `${engine.name} (left out: ${missing})`;
    const n = Math.max(1, rounds - EXTRA_CALLS);
    const settings = { group: "workloads on Linux", n, warmup: 0, ignore: missing !== undefined };
    Deno.bench(name, settings, async (bench) => {
      await comparison.run(record, { signal, log: progress, onInit: () => bench.start() });
      const broken = record.boots.at(-1)?.broken;
      if (broken !== undefined) throw new Error(broken);
      bench.end();
    });
  }
  globalThis.addEventListener("unload", () => {
    if (comparison.records.some(({ boots }) => boots.length > 0)) {
      console.log(`\n${comparisonTables(comparison.records, choices)}`);
    }
  });
}
