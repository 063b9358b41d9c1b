// The command `run`: one VM by options or many by a configuration file.

import { dirname } from "@std/path";
import { InputError, type PluginUse, unknownName, z } from "../core/mod.ts";
import { findGuest, type GuestOptionValues } from "../guests/mod.ts";
import { asUse, choosePlugins, type PluginChoice } from "./catalogue.ts";
import { type Config, configJsonSchema, parseConfig, readConfig, type VmSpec } from "./config.ts";
import { DEFAULT_CPU_MHZ, DEFAULT_SEED, MOST_HOST_MIB } from "./defaults.ts";
import { debuggingOptions, debuggingPlugins, DebuggingTools, readDebugging } from "./debugging.ts";
import { callerFolder, expectWritable, readUserFile, userPath } from "./files.ts";
import { addVm, createHost, defaultHostMib, type GuestChoice, type VmOptions } from "./machine.ts";
import { runLockstep } from "./lockstep.ts";
import { isPluginPath, loadPlugin } from "./plugin_files.ts";
import type { CommandSpec, Given, OptionSpec } from "./options.ts";
import { runSession, writeStderr } from "./session.ts";
import * as console from "../plugins/console/mod.ts";

/** The engine that another is compared with, where nobody says which. */
const DEFAULT_LOCKSTEP = "single-step";

/** Options of every command that runs VMs. */
export const runOptions: readonly OptionSpec[] = [
  { name: "memory", value: "SIZE", help: "the VM's memory: 128, 128M, 1G; default: what the guest asks for" },
  { name: "host-memory", value: "SIZE", help: "machine memory; default: room for all that the VMs may use" },
  { name: "plugins", value: "LIST", repeats: true, help: "plugins added to base: names and ./files.ts; none for base" },
  { name: "without", value: "LIST", repeats: true, help: "plugins left out" },
  {
    name: "set",
    value: "PLUGIN.OPTION=VALUE",
    repeats: true,
    help: "a plugin's option; guest.OPTION=VALUE: the guest's",
  },
  { name: "disk", value: "FILE", repeats: true, help: "a disk image as a virtio disk: /dev/vda, then /dev/vdb" },
  { name: "screen", help: "give the VM a VGA text screen, and print it at exit" },
  { name: "seed", value: "N", help: `seed of all random numbers; default ${DEFAULT_SEED}` },
  { name: "cpu-mhz", value: "N", help: `steps per microsecond of guest time; default ${DEFAULT_CPU_MHZ}` },
  { name: "for", value: "SECONDS", help: "end after so much host time" },
  { name: "max-instructions", value: "N", help: "end each VM after N steps" },
  { name: "timeout", value: "SECONDS", help: "end after so much wall time, with status 124" },
  { name: "until", value: "TEXT", help: "end when the console shows TEXT; status 124 if it never does" },
  { name: "stats", value: "FILE.json", help: "write statistics" },
  {
    name: "hot-sites",
    value: "N",
    implied: "20",
    help: "print the N instructions whose plain accesses trapped most, by symbol; default 20; needs adaptive-bt",
  },
  { name: "series", value: "FILE.csv", help: "write samples of every VM over host time, with the columns of plugins" },
  { name: "every", value: "SECONDS", help: "host time between samples of --series; default 1" },
  { name: "state-hash", value: "N", help: "print a line `state-hash STEPS HASH` every N steps on stderr" },
  ...debuggingOptions,
  {
    name: "lockstep",
    value: "ENGINE",
    implied: DEFAULT_LOCKSTEP,
    help: `compare with another engine, step by step; default ${DEFAULT_LOCKSTEP}, x86 is the interpreter`,
  },
  { name: "realtime", help: "idle guests wait as on a wall clock; default when stdin is a terminal" },
];

export const runCommand: CommandSpec = {
  name: "run",
  operands: "[CONFIG.json]",
  maxOperands: 1,
  summary: "Runs one VM, or the VMs of a configuration file.",
  options: [
    { name: "guest", value: "NAME", help: "a guest of `ballast guests`" },
    { name: "kernel", value: "FILE", help: "a Linux bzImage" },
    { name: "initrd", value: "FILE", help: "its initial RAM disk" },
    { name: "append", value: "STRING", help: "its command line" },
    ...runOptions,
    { name: "schema", help: "print the JSON Schema of CONFIG.json" },
  ],
  notes: `
The serial console of one VM is standard input and output; with several VMs, lines carry the VM's name, and standard
error shows a table of all VMs at the end, and in a terminal all the time: memory in MiB, times in seconds of host time.
In a terminal Ctrl-C goes to the guest and Ctrl-A x quits.

Where VMs may use more memory than --host-memory, it is divided by shares within minMib and memoryMib, and pages go to a
swap file; the options of the plugins allocator and swap say how.

Exit status: 0 success, 2 bad usage or input, 3 a VM died, 70 a failure of Ballast, 124 timeout, 130 interrupted; a
guest's debug-exit port gives (value << 1) | 1.`,
};

/** Options that describe the one VM, and so do not go with a configuration file. */
const vmOptionNames = ["guest", "kernel", "initrd", "append", "memory"];

export async function run(given: Given): Promise<number> {
  if (given.has("schema")) {
    globalThis.console.log(JSON.stringify(configJsonSchema(), undefined, 2));
    return 0;
  }
  const folder = callerFolder();
  const [path] = given.operands;
  if (path === undefined) {
    if (given.has("guest") === given.has("kernel")) {
      throw new InputError(
        "give a guest (--guest NAME), a kernel (--kernel FILE) or a CONFIG.json; see ballast run --help",
      );
    }
    const vm = { guest: given.text("guest"), kernel: given.text("kernel"), initrd: given.text("initrd") };
    return await runConfig(
      parseConfig({ vms: [{ ...vm, append: given.text("append") }] }, "the options"),
      given,
      folder,
    );
  }
  const extra = vmOptionNames.find((name) => given.has(name));
  if (extra !== undefined) throw new InputError(`option --${extra} describes one VM; write it into ${path} instead`);
  const file = userPath(path, folder);
  const text = new TextDecoder().decode(await readUserFile(file, "configuration"));
  return await runConfig(readConfig(text, path), given, dirname(file));
}

/** Runs a configuration with the options of a command line over it; its paths are relative to `folder`. */
export async function runConfig(config: Config, given: Given, folder: string): Promise<number> {
  const sets = readSets(given.list("set"));
  const guestOptions = sets.get("guest");
  sets.delete("guest");
  const without = splitList(given.list("without"));
  const debugging = await readDebugging(given);
  const tools = debuggingPlugins(debugging).map(asUse);
  const chosen = choosePlugins(await choices(config, given, folder), without);
  const plugins = [...chosen.filter((use) => !tools.some((tool) => tool.plugin === use.plugin)), ...tools];
  if (given.has("hot-sites")) {
    if (!plugins.some(({ plugin }) => plugin.name === "adaptive-bt")) {
      throw new InputError("option --hot-sites: needs plugin adaptive-bt; add it to --plugins");
    }
    if (!plugins.some(({ plugin }) => plugin.name === "symbols")) plugins.push(asUse("symbols"));
  }
  const perHost = new Map<string, Record<string, unknown>>(), perVm: Record<string, Record<string, unknown>> = {};
  for (const [name, options] of sets) {
    const plugin = plugins.find((use) => use.plugin.name === name)?.plugin;
    if (plugin === undefined) throw unknownName("loaded plugin", name, plugins.map((use) => use.plugin.name));
    for (const [option, value] of Object.entries(options)) {
      const own = optionNames(plugin.options), ofVm = optionNames(plugin.vmOptions);
      if (own.includes(option)) perHost.set(name, { ...perHost.get(name), [option]: jsonOrText(value) });
      else if (ofVm.includes(option)) perVm[name] = { ...perVm[name], [option]: jsonOrText(value) };
      else throw unknownName(`option of plugin "${name}"`, option, [...own, ...ofVm]);
    }
  }
  if (given.has("screen")) perVm.vga = { ...perVm.vga, enabled: true };
  if (given.has("disk") && config.vms.length > 1) {
    throw new InputError("option --disk describes one VM; write `disk` into the configuration's VMs instead");
  }
  // Two runs side by side cannot share an image that they write: each keeps its changes to itself.
  const diskMode = given.has("lockstep") ? "overlay" : "direct";
  const vms: VmOptions[] = [];
  for (const spec of config.vms) {
    const vm = await vmOptions(spec, folder, guestOptions);
    const disks = [
      ...[spec.disk ?? []].flat().map((path) => userPath(path, folder)),
      ...given.list("disk").map((path) => userPath(path)),
    ];
    const ofVm = disks.length === 0 ? perVm : {
      ...perVm,
      "virtio-block": { disks: disks.map((file) => ({ file, mode: diskMode })), ...perVm["virtio-block"] },
    };
    vms.push({
      ...vm,
      memoryMib: given.sizeMib("memory") ?? vm.memoryMib,
      cpuMhz: given.integer("cpu-mhz", 1, 10_000) ?? config.host.cpuMhz,
      options: merge(vm.options ?? {}, ofVm),
    });
  }
  const hostMib = given.sizeMib("host-memory") ?? config.host.memoryMib ?? defaultHostMib(vms);
  if (hostMib > MOST_HOST_MIB) throw new InputError(`option --host-memory: ${hostMib} MiB; at most 4G`);
  const seed = given.integer("seed", 0) ?? config.host.seed;
  const makeHost = async (uses: readonly PluginUse[]) => {
    const host = createHost({
      memoryMib: hostMib,
      seed,
      plugins: uses.map((use) => ({ ...use, options: { ...use.options, ...perHost.get(use.plugin.name) } })),
      without,
      log: (plugin, message) => writeStderr(`${plugin}: ${message}\n`),
    });
    for (const options of vms) addVm(host, options);
    await typeFiles(config, host, folder);
    return host;
  };
  const takesStdin = config.vms.length === 1 && config.vms[0].stdin === undefined;
  const lockstepEngine = given.text("lockstep");
  if (lockstepEngine !== undefined) {
    if (tools.length > 0) throw new InputError("option --lockstep does not go with --trace, --break or --gdb");
    const maxInstructions = given.integer("max-instructions", 1);
    const until = given.text("until") || undefined;
    return await runLockstep(makeHost, plugins, lockstepEngine, { maxInstructions, until, takesStdin });
  }
  const statsPath = pathOption(given, "stats"), seriesPath = pathOption(given, "series");
  if (statsPath !== undefined) await expectWritable(statsPath, "statistics");
  if (seriesPath !== undefined) await expectWritable(seriesPath, "series");
  const host = await makeHost(plugins);
  return await runSession(host, {
    forSeconds: given.seconds("for"),
    maxInstructions: given.integer("max-instructions", 1),
    timeoutSeconds: given.seconds("timeout"),
    until: given.text("until") || undefined,
    statsPath,
    hotSites: given.integer("hot-sites", 1),
    seriesPath,
    everySeconds: given.seconds("every"),
    stateHashEvery: given.integer("state-hash", 1),
    realtime: given.has("realtime") ? true : undefined,
    takesStdin,
    showsScreen: given.has("screen"),
    tools: debugging === undefined ? undefined : new DebuggingTools(host, debugging, writeStderr),
  });
}

/** Plugins that the command line names, or else the configuration; files are imported. */
async function choices(config: Config, given: Given, folder: string): Promise<PluginChoice[] | undefined> {
  const names = splitList(given.list("plugins"));
  if (given.has("plugins")) {
    const wanted = names.filter((name) => name !== "none");
    return await Promise.all(wanted.map((name) => isPluginPath(name) ? loadPlugin(name) : name));
  }
  if (config.host.plugins === undefined) return undefined;
  return await Promise.all(config.host.plugins.map(async (entry): Promise<PluginChoice> => {
    const { use, options } = typeof entry === "string" ? { use: entry, options: {} } : entry;
    return isPluginPath(use) ? { plugin: await loadPlugin(use, folder), options } : { use, options };
  }));
}

async function vmOptions(
  spec: VmSpec,
  folder: string,
  guestOptions?: Readonly<Record<string, string>>,
): Promise<VmOptions> {
  const { name, memoryMib, minMib, shares, options } = spec;
  return { name, memoryMib, minMib, shares, options, guest: await guestOf(spec, folder, guestOptions) };
}

async function guestOf(
  spec: VmSpec,
  folder: string,
  guestOptions: Readonly<Record<string, string>> = {},
): Promise<GuestChoice> {
  const { guest, kernel, initrd, append } = spec;
  if (kernel === undefined) {
    if (guest === undefined) throw new InputError("a VM has neither guest nor kernel");
    const { use, options } = typeof guest === "string" ? { use: guest, options: {} } : guest;
    return { use, options: { ...options, ...typedOptions(use, guestOptions) } };
  }
  if (Object.keys(guestOptions).length > 0) {
    throw new InputError("option --set guest.*: a Linux kernel takes its options by --append");
  }
  const file = (path: string, what: string) => readUserFile(userPath(path, folder), what);
  return {
    linux: {
      kernel: await file(kernel, "kernel"),
      kernelName: kernel,
      initrd: initrd === undefined ? undefined : await file(initrd, "initrd"),
      initrdName: initrd,
      append,
    },
  };
}

/** Texts as the types of the guest's options. */
export function typedOptions(guest: string, texts: Readonly<Record<string, string>>): GuestOptionValues {
  const options = findGuest(guest)?.options ?? {};
  const typed = (name: string, text: string) => typeof options[name]?.default === "number" ? Number(text) : text;
  return Object.fromEntries(Object.entries(texts).map(([name, text]) => [name, typed(name, text)]));
}

/** Types the files named in the configuration into the consoles. */
async function typeFiles(config: Config, host: ReturnType<typeof createHost>, folder: string): Promise<void> {
  for (const [index, { stdin }] of config.vms.entries()) {
    if (stdin === undefined) continue;
    const bytes = await readUserFile(userPath(stdin, folder), "stdin");
    host.service(console.consoleOf)(host.vms[index]).input.push(bytes);
  }
}

/** `plugin.option=value` texts by plugin. */
export function readSets(texts: readonly string[]): Map<string, Record<string, string>> {
  const sets = new Map<string, Record<string, string>>();
  for (const text of texts) {
    const match = /^([^.=]+)\.([^=]+)=(.*)$/s.exec(text);
    if (match === null) throw new InputError(`option --set: "${text}"; expected PLUGIN.OPTION=VALUE`);
    const [, name, option, value] = match;
    sets.set(name, { ...sets.get(name), [option]: value });
  }
  return sets;
}

/** An option's value: JSON where the text is JSON, the text itself otherwise. */
export function jsonOrText(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // Not JSON: the text itself is the value, so that words need no quotes.
    return text;
  }
}

function optionNames(schema: unknown): string[] {
  return schema instanceof z.ZodObject ? Object.keys(schema.shape) : [];
}

function splitList(texts: readonly string[]): string[] {
  return texts.flatMap((text) => text.split(",")).map((name) => name.trim()).filter((name) => name !== "");
}

function pathOption(given: Given, name: string): string | undefined {
  const path = given.text(name);
  return path === undefined ? undefined : userPath(path);
}

type ByPlugin = Readonly<Record<string, Readonly<Record<string, unknown>>>>;

function merge(base: ByPlugin, over: ByPlugin): ByPlugin {
  const merged: Record<string, Readonly<Record<string, unknown>>> = { ...base };
  for (const [name, options] of Object.entries(over)) merged[name] = { ...merged[name], ...options };
  return merged;
}
