// The plugin contract: what a plugin declares, and the context that its `setup` is given. Everything registered through
// the context is released with the plugin.

import type { z } from "zod";
import type { Bus } from "./bus.ts";
import type { Random } from "./random.ts";
import type { Counter } from "./stats.ts";
import type { DecideToken, ObserveToken, ReduceToken, ServiceToken } from "./token.ts";
import type { Vm } from "./vm.ts";

/** `base` alone runs any guest correctly; `enhanced` is faster or denser; `policy` answers questions; `tool` looks on. */
export type Tier = "base" | "enhanced" | "policy" | "tool";

/** A plugin. `Options` is a strict zod object with a default and a description for every field. */
export interface Plugin<Options extends z.ZodType = z.ZodType> {
  readonly name: string;
  /** One line for listings. */
  readonly summary?: string;
  /** Default `policy`. */
  readonly tier?: Tier;
  /** Names of plugins that must be set up before this one; their services may be used. */
  readonly requires?: readonly string[];
  /** Services of others that this one's replace. */
  // deno-lint-ignore no-explicit-any -- tokens of any service
  readonly replaces?: readonly ServiceToken<any>[];
  readonly options?: Options;
  /** Schema of this plugin's per-VM options. */
  readonly vmOptions?: z.ZodType;
  setup(context: PluginContext<z.output<Options>>): void;
}

/** Types a plugin; returns it as it is. */
export function definePlugin<Options extends z.ZodType>(plugin: Plugin<Options>): Plugin<Options> {
  return plugin;
}

/** Where a listener stands: lower `order` first, 0 unless told. */
export interface ListenOptions {
  readonly order?: number;
}

/** Adds a listener of the right shape for the token's kind. */
export interface Listen {
  <E>(token: ObserveToken<E>, listener: (event: E) => void, options?: ListenOptions): void;
  <Q, A>(token: DecideToken<Q, A>, listener: (question: Q) => A | undefined, options?: ListenOptions): void;
  <V, C>(token: ReduceToken<V, C>, listener: (value: V, context: C) => V, options?: ListenOptions): void;
}

/** What plugins see of the host. */
export interface HostView {
  readonly nowNs: number;
  readonly vms: readonly Vm[];
  /** MiB of machine memory. */
  readonly memoryMib: number;
  /** Charges host time to a VM beyond its own steps (a swap-in, a copy); guests cannot see it. */
  charge(vm: Vm, ns: number): void;
  /** Keeps a VM from running until `resume` by the same holder. */
  suspend(vm: Vm, holder: string): void;
  resume(vm: Vm, holder: string): void;
  /** Input arrived for a VM: it becomes ready if it waits. */
  wake(vm: Vm): void;
}

/** What `setup` is given. */
export interface PluginContext<Options> {
  readonly options: Options;
  readonly host: HostView;
  readonly on: Listen;
  /** Looks up the sending end of a token. */
  readonly port: Bus["port"];
  /** A service of a required plugin (or of the core); `from` names a provider whose service was replaced. */
  readonly service: <T>(token: ServiceToken<T>, from?: string) => T;
  readonly provide: <T>(token: ServiceToken<T>, implementation: T) => void;
  /** Calls `fire` every `periodNs` of host time. Returns its end. */
  readonly every: (periodNs: number, fire: () => void) => () => void;
  /** A seeded stream of this plugin, or of this plugin for one VM. */
  readonly rng: (vm?: Vm) => Random;
  readonly stats: {
    counter(name: string, unit: string): Counter;
    gauge(name: string, unit: string, read: () => number): void;
    series(name: string, unit: string, read: (vm: Vm) => number | undefined): void;
  };
  /** State made for each VM when it is admitted: plain data, or an object with `save` and `restore` (StateOwner). */
  readonly perVm: <T extends object>(make: (vm: Vm) => T) => (vm: Vm) => T;
  /** This plugin's options for one VM, checked by `vmOptions`. */
  readonly vmOptions: (vm: Vm) => unknown;
  readonly log: (message: string) => void;
}
