// The command `vectors`: runs a file of CPU vectors and says which instruction forms fail.

import { InputError } from "../core/mod.ts";
import { readUserFile, userPath } from "./files.ts";
import type { CommandSpec, Given } from "./options.ts";
import { exclusionOf } from "./vector_exclusions.ts";
import { type Vector, VectorRunner, vectorSchema } from "./vector_runner.ts";

export const vectorsCommand: CommandSpec = {
  name: "vectors",
  operands: "FILE",
  minOperands: 1,
  maxOperands: 1,
  summary: "Runs CPU vectors: a .jsonl file of SingleStepTests' real-mode vectors, or the same gzipped.",
  options: [
    { name: "form", value: "FORM", help: "run one opcode form only, such as C0.4" },
    { name: "details", value: "N", help: "show the first N failures of each form; default 1" },
  ],
  notes: "\nExit status: 0 if all that ran passed, 3 otherwise. The last line is `N passed, N failed, N skipped`.",
};

/** What a file of vectors came to. */
export interface VectorResults {
  passed: number;
  failed: number;
  /** Skipped, by the documented reason. */
  readonly skipped: Map<string, number>;
  /** Failures by opcode form: what was run and how it differed. */
  readonly failures: Map<string, string[]>;
}

export async function vectors(given: Given): Promise<number> {
  const [path] = given.operands;
  const form = given.text("form")?.toUpperCase();
  const results = await runVectors(userPath(path), (vector) => form === undefined || vector.form === form);
  const details = given.integer("details", 0) ?? 1;
  for (const [failedForm, failures] of results.failures) {
    console.log(`${failedForm}: ${failures.length} failed`);
    for (const failure of failures.slice(0, details)) console.log(`  ${failure}`);
  }
  let skipped = 0;
  for (const [reason, count] of results.skipped) {
    console.log(`skipped ${count}: ${reason}`);
    skipped += count;
  }
  if (results.passed + results.failed + skipped === 0) throw new InputError(`${path}: no vectors of form ${form}`);
  console.log(`${results.passed} passed, ${results.failed} failed, ${skipped} skipped`);
  return results.failed === 0 ? 0 : 3;
}

/** Runs the vectors of a file that `wanted` picks. */
export async function runVectors(
  file: string,
  wanted: (vector: Vector) => boolean = () => true,
): Promise<VectorResults> {
  const results: VectorResults = { passed: 0, failed: 0, skipped: new Map(), failures: new Map() };
  const runner = new VectorRunner();
  for (const [index, line] of (await readLines(file)).entries()) {
    if (line.trim() === "") continue;
    const vector = readVector(line, `${file}:${index + 1}`);
    if (!wanted(vector)) continue;
    const reason = exclusionOf(vector);
    if (reason !== undefined) {
      results.skipped.set(reason, (results.skipped.get(reason) ?? 0) + 1);
      continue;
    }
    const differences = runner.run(vector);
    if (differences.length === 0) results.passed++;
    else {
      results.failed++;
      const failures = results.failures.get(vector.form) ?? [];
      failures.push(`${vector.name} (line ${index + 1}): ${differences.join("; ")}`);
      results.failures.set(vector.form, failures);
    }
  }
  return results;
}

async function readLines(file: string): Promise<string[]> {
  const bytes = new Blob([new Uint8Array(await readUserFile(file, "vectors"))]);
  const isGzip = /\.gz$/.test(file);
  const stream = isGzip ? bytes.stream().pipeThrough(new DecompressionStream("gzip")) : bytes.stream();
  try {
    return (await new Response(stream).text()).split("\n");
  } catch (cause) {
    throw new InputError(`vectors ${file}: not gzip data, or damaged`, { cause });
  }
}

function readVector(line: string, where: string): Vector {
  try {
    return vectorSchema.parse(JSON.parse(line));
  } catch (cause) {
    throw new InputError(`${where} is no vector: ${cause instanceof Error ? cause.message.split("\n")[0] : cause}`, {
      cause,
    });
  }
}
