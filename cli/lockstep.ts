// The option `--lockstep`: the same VM twice, each with its engine, compared as they run. The first one's console is
// standard output; input is what was piped in, all of it at once, for both.

import { type Host, InputError, type PluginUse, unknownName } from "../core/mod.ts";
import * as console from "../plugins/console/mod.ts";
import * as debug from "../plugins/debugger/mod.ts";
import * as x86 from "../plugins/x86/mod.ts";
import { builtinPlugins } from "./catalogue.ts";
import { isPluginPath, loadPlugin } from "./plugin_files.ts";
import { Status, writeStderr } from "./session.ts";

interface LockstepOptions {
  readonly maxInstructions?: number;
  /** Console text that ends the run. */
  readonly until?: string;
  readonly takesStdin: boolean;
}

/** The plugin that provides the interpreter. */
const INTERPRETER = "x86";

/** Runs until the VM ends or the engines part; returns the exit status: that of the VM, or 70 where they differ. */
export async function runLockstep(
  makeHost: (uses: readonly PluginUse[]) => Promise<Host>,
  plugins: readonly PluginUse[],
  engine: string,
  options: LockstepOptions,
): Promise<number> {
  const hosts = [await makeHost(plugins), await makeHost(await withEngine(plugins, engine))];
  const [first, second] = hosts.map((host) => {
    if (host.vms.length !== 1) throw new InputError("option --lockstep compares engines over one VM");
    return { name: host.service(x86.engine).name, host, vm: host.vms[0] };
  });
  if (first.name === second.name) {
    throw new InputError(`option --lockstep: ${engine} is the engine that runs already (${first.name}); name another`);
  }
  if (options.takesStdin && !Deno.stdin.isTerminal()) {
    const input = new Uint8Array(await new Response(Deno.stdin.readable).arrayBuffer());
    for (const { host, vm } of [first, second]) host.service(console.consoleOf)(vm).input.push(input);
  }
  let isFound = false;
  const writer = new console.ConsoleWriter(false, (bytes) => Deno.stdout.writeSync(bytes));
  let steps = -1, shown = "";
  // Output that bisection or a repetition produces again was shown the first time.
  first.host.bus.on(console.output, "lockstep", ({ vm, byte }: { vm: typeof first.vm; byte: number }) => {
    if (vm.clock.steps <= steps) return;
    steps = vm.clock.steps;
    writer.add(vm, byte);
    if (options.until === undefined) return;
    shown = (shown + String.fromCharCode(byte)).slice(-options.until.length);
    isFound ||= shown === options.until;
  });
  const lockstep = new debug.Lockstep(first, second);
  for (;;) {
    const outcome = lockstep.advance(options.maxInstructions);
    writer.flush();
    if (typeof outcome !== "string") {
      writeStderr(`lockstep: ${outcome.report}\n`);
      return Status.internal;
    }
    if (outcome === "ended" || isFound) break;
  }
  const compared = `${lockstep.comparisons} comparisons in ${first.vm.clock.steps} steps`;
  writeStderr(`lockstep: ${first.name} and ${second.name} are equal, ${compared}\n`);
  return first.vm.exit?.status ?? Status.success;
}

/** The same plugins with another engine. What stands on the one that goes, such as adaptive-bt, goes with it. */
async function withEngine(plugins: readonly PluginUse[], engine: string): Promise<PluginUse[]> {
  const gone = new Set(plugins.filter(({ plugin }) => providesEngine(plugin)).map(({ plugin }) => plugin.name));
  let others = plugins.filter(({ plugin }) => !gone.has(plugin.name));
  for (let left = Infinity; others.length < left;) {
    left = others.length;
    others = others.filter(({ plugin: { name, requires = [] } }) => {
      if (requires.some((required) => gone.has(required))) gone.add(name);
      return !gone.has(name);
    });
  }
  if (engine === INTERPRETER) return others;
  if (isPluginPath(engine)) return [...others, { plugin: await loadPlugin(engine) }];
  const engines = builtinPlugins.filter(providesEngine);
  const plugin = engines.find(({ name }) => name === engine);
  if (plugin === undefined) throw unknownName("engine", engine, [INTERPRETER, ...engines.map(({ name }) => name)]);
  return [...others, { plugin }];
}

function providesEngine({ replaces = [] }: PluginUse["plugin"]): boolean {
  return replaces.some(({ name }) => name === x86.engine.name);
}
