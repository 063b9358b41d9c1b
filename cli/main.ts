// The command line: finds the command, prints help, and turns errors into one line and an exit status.

import { InputError, ListenerError, unknownName } from "../core/mod.ts";
import { pluginAtFault } from "./plugin_files.ts";
import { compareCommand, experimentCommand, experimentsCommand } from "./experiment_commands.ts";
import { inspect, inspectCommand } from "./inspect.ts";
import { guestsCommand, listGuests, listPlugins, pluginsCommand } from "./lists.ts";
import { linux, linuxCommand } from "./linux.ts";
import { commandHelp, type CommandSpec, type Given, parseGiven, table } from "./options.ts";
import { run, runCommand } from "./run.ts";
import { Status, writeStderr } from "./session.ts";
import { start, startCommand } from "./start.ts";
import { suite, suiteCommand } from "./suite.ts";
import { traps, trapsCommand } from "./traps.ts";
import { vectors, vectorsCommand } from "./vectors.ts";
import project from "../deno.json" with { type: "json" };

interface Command {
  readonly spec: CommandSpec;
  readonly run: (given: Given) => number | Promise<number>;
}

const commands: readonly Command[] = [
  { spec: startCommand, run: start },
  { spec: runCommand, run },
  { spec: linuxCommand, run: linux },
  { spec: inspectCommand, run: inspect },
  { spec: trapsCommand, run: traps },
  { spec: experimentCommand, run: async (given) => (await experimenting()).experiment(given) },
  { spec: experimentsCommand, run: async () => print((await experimenting()).listExperiments()) },
  { spec: compareCommand, run: async (given) => (await experimenting()).compare(given) },
  { spec: pluginsCommand, run: (given) => print(listPlugins(given)) },
  { spec: guestsCommand, run: () => print(listGuests()) },
  { spec: vectorsCommand, run: vectors },
  { spec: suiteCommand, run: suite },
];

/** Loaded where it is asked for alone: it brings every experiment with it. */
async function experimenting() {
  return await import("./experiment.ts");
}

/** Runs a command line; returns the exit status. Prints errors itself and throws nothing. */
export async function main(args: readonly string[]): Promise<number> {
  try {
    return await dispatch(args);
  } catch (cause) {
    if (cause instanceof InputError) {
      // One line, also where a plugin's own words, which are in it, are several.
      writeStderr(`ballast: ${cause.message.trim().replaceAll(/\s*\n\s*/g, " ")}\n`);
      return Status.usage;
    }
    writeStderr(`ballast: ${explainFailure(cause)}\n`);
    return Status.internal;
  }
}

/** Who failed, and where, for whoever has to mend it. */
function explainFailure(cause: unknown): string {
  if (cause instanceof ListenerError) return `${cause.message}\n${textOf(cause.cause)}`;
  const plugin = pluginAtFault(cause);
  return `${plugin === undefined ? "internal error" : `plugin "${plugin}" failed`}: ${textOf(cause)}`;
}

function textOf(cause: unknown): string {
  return cause instanceof Error ? cause.stack ?? cause.message : String(cause);
}

async function dispatch([name, ...rest]: readonly string[]): Promise<number> {
  if (name === undefined) {
    writeStderr(`ballast: no command given\n\n${help()}`);
    return Status.usage;
  }
  if (["--help", "-h", "help"].includes(name)) return print(help());
  if (name === "--version") return print(`ballast ${project.version}\n`);
  if (name.startsWith("-")) throw unknownName("option", name, ["--help", "--version"]);
  const command = commands.find(({ spec }) => spec.name === name);
  if (command === undefined) throw unknownName("command", name, commands.map(({ spec }) => spec.name));
  const given = parseGiven(command.spec, rest);
  return given.has("help") ? print(commandHelp(command.spec)) : await command.run(given);
}

function help(): string {
  const rows = commands.map(({ spec }) => [spec.name, spec.summary]);
  return `Usage: ballast COMMAND [OPTION]...

A hypervisor for IA-32 guests, made of plugins.

Commands:
${table(rows, "  ")}
Options:
${table([["--help", "show this help; COMMAND --help shows a command's"], ["--version", "show the version"]], "  ")}`;
}

function print(text: string): number {
  const bytes = new TextEncoder().encode(text);
  for (let at = 0; at < bytes.length;) at += Deno.stdout.writeSync(bytes.subarray(at));
  return Status.success;
}
