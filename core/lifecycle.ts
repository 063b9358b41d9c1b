// The life cycle of plugins: order by dependency, options checked, set up, taken down with all they registered. Services
// have one provider, unless another says that it replaces it. Policies come and go while a host runs; mechanisms stay.

import type { z } from "zod";
import { type Bus, type Listener, ListenerError } from "./bus.ts";
import { InputError, unknownName, VmFailure } from "./error.ts";
import type { HostClock } from "./clock.ts";
import type { HostView, Plugin, PluginContext } from "./plugin.ts";
import { Random } from "./random.ts";
import { isStateOwner, type Saved, type StateOwner } from "./state.ts";
import { Stats } from "./stats.ts";
import type { EventToken, ServiceToken } from "./token.ts";
import type { Vm } from "./vm.ts";

/** A plugin to load and the options given to it. */
export interface PluginUse {
  readonly plugin: Plugin;
  readonly options?: Readonly<Record<string, unknown>>;
}

/** What the life cycle needs of its host. */
export interface Surroundings {
  readonly bus: Bus;
  readonly clock: HostClock;
  readonly view: HostView;
  readonly seed: number;
  readonly log: (plugin: string, message: string) => void;
}

interface StateKind {
  readonly make: (vm: Vm) => object;
  readonly states: Map<Vm, object>;
}

/** A plugin that is set up. */
export interface LoadedPlugin {
  readonly plugin: Plugin;
  readonly stats: Stats;
  readonly provides: string[];
  readonly states: StateKind[];
  readonly releases: (() => void)[];
}

export class Lifecycle {
  readonly loaded = new Map<string, LoadedPlugin>();
  /** Service name -> provider -> implementation, in order of provision: the last one serves. */
  readonly #services = new Map<string, Map<string, unknown>>();

  constructor(readonly around: Surroundings) {}

  /** Sets plugins up in dependency order. Errors name both sides. */
  load(uses: readonly PluginUse[]): void {
    for (const use of inDependencyOrder(uses, this.loaded)) this.#setUp(use);
  }

  /** Takes a policy down. One that provides a service or keeps others company stays until the host ends. */
  unload(name: string): void {
    const entry = this.loaded.get(name);
    if (entry === undefined) throw unknownName("loaded plugin", name, this.loaded.keys());
    if (entry.provides.length > 0) {
      throw new InputError(`plugin "${name}" provides ${entry.provides.join(", ")}: mechanisms stay while a host runs`);
    }
    const user = [...this.loaded.values()].find((other) => other.plugin.requires?.includes(name));
    if (user !== undefined) {
      throw new InputError(`plugin "${name}" is required by "${user.plugin.name}"; unload that first`);
    }
    for (const release of entry.releases.toReversed()) release();
    this.loaded.delete(name);
  }

  /** The service in force, or the one that a named plugin provides. */
  service<T>(token: ServiceToken<T>, from?: string): T {
    const providers = this.#services.get(token.name);
    const provider = from ?? [...providers?.keys() ?? []].at(-1);
    if (provider === undefined || !providers?.has(provider)) {
      throw new InputError(`no plugin${from === undefined ? "" : ` "${from}"`} provides the service ${token.name}`);
    }
    return providers.get(provider) as T;
  }

  /** Makes every plugin's state for a new VM, in order of set-up. */
  admit(vm: Vm): void {
    const entries = [...this.loaded.values()];
    for (const { plugin } of entries) vmOptionsOf(plugin, vm);
    const kinds = entries.flatMap((entry) => entry.states);
    try {
      for (const kind of kinds) kind.states.set(vm, kind.make(vm));
    } catch (error) {
      for (const kind of kinds) kind.states.delete(vm);
      throw error;
    }
  }

  /** Every state of a VM with its owner, in order of set-up. */
  *statesOf(vm: Vm): Generator<{ plugin: string; index: number; owner: StateOwner }> {
    for (const { plugin, states } of this.loaded.values()) {
      for (const [index, kind] of states.entries()) {
        const state = kind.states.get(vm);
        if (state !== undefined) yield { plugin: plugin.name, index, owner: asOwner(state) };
      }
    }
  }

  #setUp({ plugin, options }: PluginUse): void {
    const { bus, clock, view, seed, log } = this.around;
    const parsed = parseOptions(plugin.options, options, plugin.name);
    if (plugin.options === undefined && Object.keys(options ?? {}).length > 0) {
      throw new InputError(`plugin "${plugin.name}" has no options; given: ${Object.keys(options ?? {}).join(", ")}`);
    }
    const entry: LoadedPlugin = { plugin, stats: new Stats(view.vms), provides: [], states: [], releases: [] };
    const context: PluginContext<unknown> = {
      options: parsed,
      host: view,
      on: (token: EventToken, listener: unknown, listening?: { order?: number }) => {
        entry.releases.push(bus.on(token, plugin.name, listener as Listener, listening?.order));
      },
      port: bus.port.bind(bus),
      service: (token, from) => this.service(token, from),
      provide: (token, implementation) => this.#provide(entry, token.name, implementation),
      every: (periodNs, fire) => {
        const stop = clock.every(periodNs, guarded(plugin.name, "host time", fire));
        entry.releases.push(stop);
        return stop;
      },
      rng: (vm) => new Random(`${seed}/${plugin.name}/${vm?.name ?? ""}`),
      stats: entry.stats,
      perVm: <T extends object>(make: (vm: Vm) => T) => {
        const kind: StateKind = { make: guarded(plugin.name, "VMs that come", make), states: new Map() };
        entry.states.push(kind);
        for (const vm of view.vms) kind.states.set(vm, kind.make(vm));
        return (vm: Vm) => kind.states.get(vm) as T;
      },
      vmOptions: (vm) => vmOptionsOf(plugin, vm),
      log: (message) => log(plugin.name, message),
    };
    try {
      plugin.setup(context);
    } catch (cause) {
      for (const release of entry.releases.toReversed()) release();
      for (const name of entry.provides) this.#services.get(name)?.delete(plugin.name);
      const reason = cause instanceof Error ? cause.message : String(cause);
      throw new InputError(`plugin "${plugin.name}" failed to set up: ${reason}`, { cause });
    }
    this.loaded.set(plugin.name, entry);
  }

  #provide(entry: LoadedPlugin, name: string, implementation: unknown): void {
    const providers = this.#services.get(name) ?? new Map<string, unknown>();
    const [provider] = [...providers.keys()].slice(-1);
    const replaces = entry.plugin.replaces?.some((replaced) => replaced.name === name);
    if (provider !== undefined && !replaces) {
      throw new InputError(
        `service ${name} is provided by "${provider}" and by "${entry.plugin.name}"; leave one out`,
      );
    }
    this.#services.set(name, providers.set(entry.plugin.name, implementation));
    entry.provides.push(name);
  }
}

/** A plugin's function whose errors name the plugin, but for those that a person can mend. */
function guarded<A extends unknown[], T>(plugin: string, what: string, run: (...args: A) => T): (...args: A) => T {
  return (...args) => {
    try {
      return run(...args);
    } catch (cause) {
      throw cause instanceof InputError || cause instanceof VmFailure ? cause : new ListenerError(plugin, what, cause);
    }
  };
}

/** Options as their schema gives them back; errors name the option by its path. */
function parseOptions(schema: z.ZodType | undefined, given: unknown, path: string): unknown {
  const parsed = schema?.safeParse(given ?? {});
  if (parsed?.success !== false) return parsed?.data;
  const [issue] = parsed.error.issues;
  throw new InputError(`option ${[path, ...issue.path].join(".")}: ${issue.message}`);
}

function vmOptionsOf(plugin: Plugin, vm: Vm): unknown {
  return parseOptions(plugin.vmOptions, vm.config.options[plugin.name], `${plugin.name} of VM "${vm.name}"`);
}

/** Depth-first by `requires`; names a missing requirement, a cycle, a plugin given twice. */
function inDependencyOrder(uses: readonly PluginUse[], loaded: ReadonlyMap<string, LoadedPlugin>): PluginUse[] {
  const byName = new Map<string, PluginUse>();
  for (const use of uses) {
    const { name } = use.plugin;
    if (byName.has(name) || loaded.has(name)) throw new InputError(`plugin "${name}" is given twice`);
    byName.set(name, use);
  }
  const ordered = new Set<PluginUse>();
  const visit = (use: PluginUse, path: readonly string[]) => {
    const { name, requires = [] } = use.plugin;
    if (path.includes(name)) throw new InputError(`plugins require each other: ${[...path, name].join(" -> ")}`);
    for (const required of requires) {
      const found = byName.get(required);
      if (found !== undefined) visit(found, [...path, name]);
      else if (!loaded.has(required)) {
        throw new InputError(`plugin "${name}" requires "${required}", which is not loaded`);
      }
    }
    ordered.add(use);
  };
  for (const use of byName.values()) visit(use, []);
  return [...ordered];
}

/** State as its own owner; plain data is saved and restored as a whole. */
function asOwner(state: object): StateOwner {
  if (isStateOwner(state)) return state;
  return {
    save: () => structuredClone(state) as Saved,
    restore: (saved) => void Object.assign(state, structuredClone(saved)),
  };
}
