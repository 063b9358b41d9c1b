// The plugins that come with Ballast, and how a list of names becomes plugins. Base plugins are always loaded;
// enhanced ones unless others are named; policies only when named.

import { type EventToken, InputError, type Plugin, type PluginUse, unknownName } from "../core/mod.ts";
import * as core from "../core/mod.ts";
import * as adaptiveBt from "../plugins/adaptive-bt/mod.ts";
import * as allocator from "../plugins/allocator/mod.ts";
import * as balloon from "../plugins/balloon/mod.ts";
import * as boot from "../plugins/boot/mod.ts";
import * as bt from "../plugins/bt/mod.ts";
import * as clockVictims from "../plugins/clock-victims/mod.ts";
import * as console from "../plugins/console/mod.ts";
import * as debug from "../plugins/debugger/mod.ts";
import * as ksmScan from "../plugins/ksm-scan/mod.ts";
import * as lruVictims from "../plugins/lru-victims/mod.ts";
import * as memory from "../plugins/memory/mod.ts";
import * as mom from "../plugins/mom/mod.ts";
import * as pageSharing from "../plugins/page-sharing/mod.ts";
import * as pc from "../plugins/pc/mod.ts";
import * as shadowMmu from "../plugins/shadow-mmu/mod.ts";
import * as singleStep from "../plugins/single-step/mod.ts";
import * as swap from "../plugins/swap/mod.ts";
import * as symbols from "../plugins/symbols/mod.ts";
import * as taxAllocator from "../plugins/tax-allocator/mod.ts";
import * as trace from "../plugins/trace/mod.ts";
import * as vga from "../plugins/vga/mod.ts";
import * as virtio from "../plugins/virtio/mod.ts";
import * as virtioBlock from "../plugins/virtio-block/mod.ts";
import * as virtioConsole from "../plugins/virtio-console/mod.ts";
import * as x86 from "../plugins/x86/mod.ts";

/** A module of a plugin: the plugin, and the tokens it exports. */
interface PluginModule {
  readonly default: Plugin;
}

const modules: readonly PluginModule[] = [
  ...[memory, x86, pc, boot, console, virtio, virtioBlock, virtioConsole, vga, allocator, swap],
  ...[bt, shadowMmu, adaptiveBt, balloon, pageSharing, taxAllocator],
  ...[clockVictims, lruVictims, mom, ksmScan],
  ...[symbols, trace, debug, singleStep],
];

/** Every plugin that comes with Ballast, in an order of reading. */
export const builtinPlugins: readonly Plugin[] = modules.map((module) => module.default);

/**
 * Enhanced plugins that are loaded only when named: they change Linux's process workloads by less than one run differs from
 * the next (bench/engines.bench.ts), so that the plainer machine is the default.
 */
const onlyWhenNamed: ReadonlySet<string> = new Set([shadowMmu.default.name, adaptiveBt.default.name]);

/** The event tokens of core and of the plugins, with their owners. */
export function declaredTokens(): { owner: string; token: EventToken }[] {
  const owners: [string, object][] = [["core", core], ...modules.map((m): [string, object] => [m.default.name, m])];
  return owners.flatMap(([owner, module]) =>
    Object.values(module).filter(isEventToken).map((token) => ({ owner, token }))
  );
}

function isEventToken(value: unknown): value is EventToken {
  const kinds = ["observe", "decide", "reduce"];
  return typeof value === "object" && value !== null && "kind" in value && kinds.includes(String(value.kind));
}

/** A plugin as it may be named: itself, itself with options, a name, or a name with options. */
export type PluginChoice =
  | string
  | Plugin
  | PluginUse
  | { readonly use: string; readonly options?: Readonly<Record<string, unknown>> };

/**
 * The plugins of a host: base, and those chosen (undefined: every enhanced one), less those left out, with options added
 * by plugin name. Names are of plugins that come with Ballast; load files with `loadPlugin` (plugin_files.ts) first.
 */
export function choosePlugins(
  chosen: readonly PluginChoice[] | undefined,
  without: readonly string[] = [],
  options: ReadonlyMap<string, Readonly<Record<string, unknown>>> = new Map(),
): PluginUse[] {
  const uses = new Map<string, PluginUse>();
  for (const plugin of builtinPlugins) {
    const isDefault = plugin.tier === "enhanced" && !onlyWhenNamed.has(plugin.name);
    const isIncluded = plugin.tier === "base" || (isDefault && chosen === undefined);
    if (isIncluded) uses.set(plugin.name, { plugin });
  }
  for (const choice of chosen ?? []) {
    const use = asUse(choice);
    const { name } = use.plugin;
    const before = uses.get(name)?.plugin;
    if (before !== undefined && before !== use.plugin) throw new InputError(`two plugins are named "${name}"`);
    uses.set(name, use);
  }
  for (const name of without) {
    if (uses.delete(name)) continue;
    if (findBuiltin(name) === undefined) throw unknownName("plugin", name, uses.keys());
  }
  for (const [name, added] of options) {
    const use = uses.get(name);
    if (use === undefined) throw unknownName("loaded plugin", name, uses.keys());
    uses.set(name, { ...use, options: { ...use.options, ...added } });
  }
  return [...uses.values()];
}

/** A plugin that comes with Ballast, by name. */
export function findBuiltin(name: string): Plugin | undefined {
  return builtinPlugins.find((plugin) => plugin.name === name);
}

/** A choice as the plugin that it names. Throws InputError for a name that there is not. */
export function asUse(choice: PluginChoice): PluginUse {
  if (typeof choice === "string") return asUse({ use: choice });
  if ("use" in choice) {
    const plugin = findBuiltin(choice.use);
    if (plugin === undefined) throw unknownName("plugin", choice.use, builtinPlugins.map((p) => p.name));
    return { plugin, options: choice.options };
  }
  return "plugin" in choice ? choice : { plugin: choice };
}
