// The comparison of bench/engines.bench.ts as a program of its own, with the same variables. Exit status: 0; 1 if an
// engine failed or the checksums differ; 2 for a wrong variable or a guest that is not to be had; 130 interrupted.

import { LinuxUnavailable } from "../guests/linux/mod.ts";
import { WorkloadsUnavailable } from "../guests/workloads/mod.ts";
import { type Choices, readChoices } from "./peers/choices.ts";
import { Comparison } from "./peers/comparison.ts";
import { cacheDir, Interrupted, interruption, progress } from "./peers/session.ts";
import { comparisonTables, disagreements } from "./peers/table.ts";

const Status = { success: 0, failed: 1, usage: 2, interrupted: 130 } as const;

async function main(): Promise<number> {
  let choices: Choices;
  try {
    choices = readChoices((name) => Deno.env.get(name));
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    progress(error.message);
    return Status.usage;
  }
  let comparison: Comparison;
  try {
    comparison = await Comparison.prepare(choices, cacheDir());
  } catch (error) {
    if (!(error instanceof LinuxUnavailable || error instanceof WorkloadsUnavailable)) throw error;
    progress(error.message);
    return Status.usage;
  }
  const isInterrupted = await runRounds(comparison);
  console.log(comparisonTables(comparison.records, choices));
  if (isInterrupted) return Status.interrupted;
  const hasFailed = comparison.records.some(({ boots }) =>
    boots.some(({ broken, failures }) => broken !== undefined || failures.size > 0)
  );
  return hasFailed || disagreements(comparison.records, choices.runs).length > 0 ? Status.failed : Status.success;
}

/** Whether it was interrupted. */
async function runRounds(comparison: Comparison): Promise<boolean> {
  const signal = interruption();
  try {
    for (let round = 1; comparison.records.some(({ rounds }) => round <= rounds); round++) {
      for (const record of comparison.records) {
        if (record.missing === undefined && round <= record.rounds) {
          await comparison.run(record, { signal, log: progress });
        }
      }
    }
    return false;
  } catch (error) {
    if (!(error instanceof Interrupted)) throw error;
    return true;
  }
}

Deno.exit(await main());
