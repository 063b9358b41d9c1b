// The commands `experiment`, `experiments` and `compare`: published figures made again by one command, each with its data, its
// figure and its report.

import { join } from "@std/path";
import { InputError, unknownName, z } from "../core/mod.ts";
import {
  allChecks,
  comparisonFigure,
  comparisonText,
  drawFigure,
  durationText,
  type Experiment,
  experiments,
  figureOf,
  indexPage,
  Interrupted,
  type Policy,
  Progress,
  readResult,
  reportText,
  type Result,
  resultText,
  runExperiment,
} from "../bench/experiments/mod.ts";
import { findBuiltin } from "./catalogue.ts";
import { DEFAULT_SEED } from "./defaults.ts";
import { DEFAULT_OUT } from "./experiment_commands.ts";
import { readUserFile, userPath, writeUserFile } from "./files.ts";
import { type Given, table } from "./options.ts";
import { isPluginPath, loadPlugin } from "./plugin_files.ts";
import { jsonOrText, readSets } from "./run.ts";
import { Status, writeStderr } from "./session.ts";

/** An acceptance line does not hold. */
const DOES_NOT_HOLD = 1;

export async function experiment(given: Given): Promise<number> {
  const [name] = given.operands;
  const chosen = name === "all" ? experiments : experiments.filter((one) => one.name === name);
  if (chosen.length === 0) throw unknownName("experiment", name, ["all", ...experiments.map((one) => one.name)]);
  const out = userPath(given.text("out") ?? DEFAULT_OUT);
  const progress = new Progress({
    write: writeStderr,
    isTerminal: Deno.stderr.isTerminal(),
    nowMs: () => performance.now(),
  });
  const settings = await readSettings(given, chosen);
  const interrupt = () => void (progress.isInterrupted = true);
  const signals: Deno.Signal[] = ["SIGINT", "SIGTERM"];
  for (const signal of signals) Deno.addSignalListener(signal, interrupt);
  const results: Result[] = [];
  try {
    for (const one of chosen) {
      progress.begin(one.name);
      const policies = one.comparesTargets === undefined
        ? []
        : settings.policies ?? await policiesOf(one.comparesTargets);
      const result = await runExperiment(one, { ...settings, policies, progress });
      const folder = name === "all" || given.text("out") === undefined ? join(out, one.name) : out;
      await writeResult(result, folder, commandLine(one, given));
      progress.end(verdictLine(result, folder));
      results.push(result);
    }
    if (name === "all") await writeUserFile(join(out, "index.html"), "the index", indexPage(results));
  } catch (cause) {
    if (!(cause instanceof Interrupted)) throw cause;
    progress.end("interrupted");
    return Status.interrupted;
  } finally {
    for (const signal of signals) Deno.removeSignalListener(signal, interrupt);
  }
  for (const result of results) {
    for (const check of allChecks(result).filter(({ ok }) => !ok)) {
      writeStderr(
        `ballast: ${result.experiment}: does not hold: ${check.name}: measured ${check.measured}, expected ` +
          `${check.expected}\n`,
      );
    }
  }
  return results.every((result) => allChecks(result).every(({ ok }) => ok)) ? Status.success : DOES_NOT_HOLD;
}

/** Options for every experiment that is run. */
async function readSettings(given: Given, chosen: readonly Experiment[]) {
  const texts = given.list("set");
  const knobs: Record<string, unknown> = {};
  for (const text of texts.filter((text) => !isPluginOption(text))) {
    const match = /^([^=]+)=(.*)$/s.exec(text);
    if (match === null) throw new InputError(`option --set: "${text}"; expected NAME=VALUE or PLUGIN.OPTION=VALUE`);
    knobs[match[1]] = jsonOrText(match[2]);
  }
  if (chosen.length > 1 && Object.keys(knobs).length > 0) {
    throw new InputError("option --set NAME=VALUE is a knob of one experiment; it does not go with `all`");
  }
  const overrides = Object.fromEntries(
    [...readSets(texts.filter(isPluginOption))].map(([plugin, options]) => [
      plugin,
      Object.fromEntries(Object.entries(options).map(([option, value]) => [option, jsonOrText(value)])),
    ]),
  );
  const without = given.list("without").flatMap((names) => names.split(","));
  for (const name of without) {
    if (findBuiltin(name) === undefined) throw new InputError(`option --without: no plugin "${name}"`);
  }
  const compare = given.text("compare");
  if (compare !== undefined && chosen.every((one) => one.comparesTargets === undefined)) {
    const able = experiments.filter((one) => one.comparesTargets !== undefined).map((one) => one.name);
    throw new InputError(`option --compare: of ${able.join(", ")} only`);
  }
  return {
    seed: given.integer("seed", 0) ?? DEFAULT_SEED,
    seeds: given.integer("seeds", 1, 1000),
    isQuick: given.has("quick"),
    knobs,
    overrides,
    without,
    policies: compare === undefined ? undefined : await policiesOf(readCompare(compare)),
  };
}

function isPluginOption(text: string): boolean {
  return /^[^=]*\./.test(text);
}

function readCompare(text: string): readonly string[] {
  const match = /^targets=(.+)$/.exec(text);
  if (match === null) throw new InputError(`option --compare: "${text}"; expected targets=A,B,...`);
  return match[1].split(",").map((name) => name.trim()).filter((name) => name !== "");
}

/** `shares` is what the allocator does by itself. */
async function policiesOf(names: readonly string[]): Promise<Policy[]> {
  return await Promise.all(names.map(async (name): Promise<Policy> => {
    if (name === "shares") return { name, plugin: undefined };
    if (isPluginPath(name)) {
      const plugin = await loadPlugin(name);
      return { name: plugin.name, plugin };
    }
    const plugin = findBuiltin(name);
    if (plugin === undefined) throw new InputError(`option --compare: no policy "${name}"; see ballast plugins`);
    return { name, plugin };
  }));
}

async function writeResult(result: Result, folder: string, command: string): Promise<void> {
  try {
    await Deno.mkdir(folder, { recursive: true });
  } catch (cause) {
    throw new InputError(`${folder}: ${cause instanceof Error ? cause.message.split("\n")[0] : cause}`, { cause });
  }
  await writeUserFile(join(folder, "result.json"), "the result", resultText(result));
  await writeUserFile(join(folder, "figure.svg"), "the figure", await drawFigure(figureOf(result)));
  await writeUserFile(join(folder, "report.md"), "the report", reportText(result, command));
}

/** The command that makes a result again, less where it is written to. */
function commandLine({ name }: Experiment, given: Given): string {
  const parts = ["seed", "seeds", "quick", "set", "without", "compare"].flatMap((option) => {
    if (!given.has(option)) return [];
    const values = given.list(option);
    return values.length === 0 ? [`--${option}`] : values.map((value) => `--${option} ${value}`);
  });
  return ["deno task experiment", name, ...parts].join(" ");
}

function verdictLine(result: Result, folder: string): string {
  const checks = allChecks(result), held = checks.filter(({ ok }) => ok).length;
  const verdict = held === checks.length ? "holds" : "DOES NOT HOLD";
  const seconds = durationText(result.timings.wallSeconds);
  return `${result.experiment}: ${verdict}, ${held} of ${checks.length} acceptance lines, ${seconds}: ${folder}`;
}

export function listExperiments(): string {
  return experiments.map((one) => {
    const json = z.toJSONSchema(one.knobs, { io: "input", unrepresentable: "any" }) as {
      properties?: Record<string, { default?: unknown; description?: string }>;
    };
    const knobs = Object.entries(json.properties ?? {}).map(([name, { default: value, description }]) => [
      `${name} = ${JSON.stringify(value)}`,
      description ?? "",
    ]);
    const needs = one.needsLinux ? " Boots Linux." : "";
    return `${one.name}: ${one.summary} (${one.source})${needs}\n${table(knobs, "    ")}`;
  }).join("");
}

export async function compare(given: Given): Promise<number> {
  const [a, b] = await Promise.all(given.operands.map(async (path) => {
    const text = new TextDecoder().decode(await readUserFile(userPath(path), "result"));
    return { name: path.split(/[/\\]/).at(-1) ?? path, path, result: readResult(text, path) };
  }));
  // Files of one name are told apart by their folders.
  const named = a.name === b.name ? [a, b].map((one) => ({ ...one, name: one.path })) : [a, b];
  const out = given.text("out");
  const text = comparisonText(named[0], named[1]);
  for (let bytes = new TextEncoder().encode(text); bytes.length > 0;) {
    bytes = bytes.subarray(Deno.stdout.writeSync(bytes));
  }
  if (out !== undefined) {
    await writeUserFile(userPath(out), "the figure", await drawFigure(comparisonFigure(named[0], named[1])));
  }
  return Status.success;
}
