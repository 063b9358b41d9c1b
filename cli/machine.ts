// Hosts and VMs for programs: the command line, tests, benches and experiments all make theirs here.

import { Host, InputError, type RunLimits, unknownName, type Vm } from "../core/mod.ts";
import { findGuest, type GuestImage, type GuestOptionValues, guests } from "../guests/mod.ts";
import * as boot from "../plugins/boot/mod.ts";
import * as symbols from "../plugins/symbols/mod.ts";
import { choosePlugins, type PluginChoice } from "./catalogue.ts";
import { DEFAULT_CPU_MHZ, DEFAULT_SEED, DEFAULT_SHARES, DEFAULT_VM_MIB, MOST_HOST_MIB } from "./defaults.ts";

/** Longest turn of a VM. */
const DEFAULT_QUANTUM_NS = 10e6;
/** Machine memory beyond what the VMs may use, where nobody says how much there is, and the part of all that stays free. */
const SPARE_MIB = 16, FREE_PART = 0.07;

export interface HostOptions {
  /** Machine memory; default 256 MiB. */
  readonly memoryMib?: number;
  readonly seed?: number;
  /** Longest turn, in ns of host time. */
  readonly quantumNs?: number;
  /** Added to base; undefined: every enhanced plugin; empty: base alone. */
  readonly plugins?: readonly PluginChoice[];
  readonly without?: readonly string[];
  /** Options by plugin. */
  readonly options?: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  readonly log?: (plugin: string, message: string) => void;
}

/** A guest of the catalogue by name, one with options, an image, or a Linux kernel. */
export type GuestChoice =
  | string
  | { readonly use: string; readonly options?: GuestOptionValues }
  | { readonly image: Omit<GuestImage, "symbols"> }
  | { readonly linux: boot.LinuxSource };

export interface VmOptions {
  /** Default: the guest's name. */
  readonly name?: string;
  readonly guest: GuestChoice;
  /** Default: what the guest asks for. */
  readonly memoryMib?: number;
  readonly minMib?: number;
  readonly shares?: number;
  readonly cpuMhz?: number;
  /** This VM's options by plugin. */
  readonly options?: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
}

/** A host with its plugins loaded and no VM yet. Throws InputError for bad choices. */
export function createHost(options: HostOptions = {}): Host {
  const host = new Host({
    memoryMib: options.memoryMib ?? 256,
    seed: options.seed ?? DEFAULT_SEED,
    quantumNs: options.quantumNs ?? DEFAULT_QUANTUM_NS,
    log: options.log,
  });
  host.load(...choosePlugins(options.plugins, options.without, new Map(Object.entries(options.options ?? {}))));
  return host;
}

/** Admits a VM and loads its guest: it runs when the host does. */
export function addVm(host: Host, options: VmOptions): Vm {
  const { name, memoryMib, source, guestSymbols } = resolveGuest(options.guest);
  const vm = host.add({
    name: options.name ?? freeName(name, host.vms),
    memoryMib: options.memoryMib ?? memoryMib,
    minMib: options.minMib ?? 0,
    shares: options.shares ?? DEFAULT_SHARES,
    cpuMhz: options.cpuMhz ?? DEFAULT_CPU_MHZ,
    options: options.options ?? {},
  });
  try {
    host.service(boot.loader).load(vm, source);
    if (guestSymbols !== undefined && host.plugins.loaded.has("symbols")) {
      host.service(symbols.symbolsOf)(vm).add([...guestSymbols].map(([name, address]) => ({ name, address })));
    }
  } catch (cause) {
    vm.end({ reason: "failed", status: 2, detail: "its guest could not be loaded" });
    throw cause;
  }
  return vm;
}

/** Makes a host with VMs and runs it until they have ended or a limit is reached. */
export async function runVms(
  vms: readonly VmOptions[],
  options: HostOptions = {},
  limits: RunLimits = {},
): Promise<{ host: Host; vms: Vm[] }> {
  const host = createHost({ ...options, memoryMib: options.memoryMib ?? defaultHostMib(vms) });
  const added = vms.map((vm) => addVm(host, vm));
  await host.run(limits);
  return { host, vms: added };
}

/** Machine memory that holds all that the VMs may use. */
export function defaultHostMib(vms: readonly VmOptions[]): number {
  const wanted = vms.reduce((sum, vm) => sum + (vm.memoryMib ?? resolveGuest(vm.guest).memoryMib), 0);
  return Math.min(MOST_HOST_MIB, Math.ceil((wanted + SPARE_MIB) / (1 - FREE_PART)));
}

interface ResolvedGuest {
  readonly name: string;
  readonly memoryMib: number;
  readonly source: boot.BootSource;
  /** Addresses of its labels. */
  readonly guestSymbols?: ReadonlyMap<string, number>;
}

function resolveGuest(choice: GuestChoice): ResolvedGuest {
  if (typeof choice === "string") return resolveGuest({ use: choice });
  if ("image" in choice) return { name: "vm", memoryMib: DEFAULT_VM_MIB, source: choice };
  if ("linux" in choice) return { name: "linux", memoryMib: DEFAULT_VM_MIB, source: choice };
  const guest = findGuest(choice.use);
  if (guest === undefined) throw unknownName("guest", choice.use, guests.map((g) => g.name));
  try {
    const image = guest.build(choice.options);
    return { name: guest.name, memoryMib: guest.memoryMib, source: { image }, guestSymbols: image.symbols };
  } catch (cause) {
    // A guest says which of its options is wrong and what was expected.
    throw new InputError(cause instanceof Error ? cause.message : String(cause), { cause });
  }
}

/** `name`, or `name2`, `name3`, ... where VMs have it already. */
function freeName(name: string, vms: readonly Vm[]): string {
  let free = name;
  for (let n = 2; vms.some((vm) => vm.name === free); n++) free = `${name}${n}`;
  return free;
}
