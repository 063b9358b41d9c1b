// One trial of a law: a guest of the catalogue on a host with a plugin set, other VMs beside, perhaps saved and restored in
// the middle; what it computed, as state hashes at regular steps, its output and its end.

import { addVm, createHost, type VmOptions } from "../../cli/machine.ts";
import { definePlugin, type Host, turnEnded, vmCheckpoint, vmExited } from "../../core/mod.ts";
import { findGuest, type GuestOptionValues } from "../../guests/mod.ts";
import * as console from "../../plugins/console/mod.ts";
import * as memory from "../../plugins/memory/mod.ts";
import type { PluginSet } from "./plugin_sets.ts";

/** A guest with options that make it run for a few hundred thousand steps. */
export interface Subject {
  readonly use: string;
  readonly options: GuestOptionValues;
}

export const subjects: readonly Subject[] = [
  { use: "alu", options: { iterations: 20_000 } },
  { use: "balloon", options: { poolMib: 1, workingSetMib: 1, seconds: 1, passMs: 50 } },
  { use: "churn", options: { poolMib: 1, slotsMib: 1, changesPerTick: 2, seconds: 1 } },
  { use: "filecache", options: { poolMib: 1, fileMib: 1, readsPerTick: 2, seconds: 1 } },
  { use: "hello", options: {} },
  { use: "idle", options: { ticks: 20, hz: 100 } },
  { use: "isprime", options: { n: 104_729 } },
  {
    use: "mosaic",
    options: { zeroPages: 9, commonPages: 20, repeatedPages: 12, ownPages: 9, churnPages: 5, seconds: 1 },
  },
  { use: "nanobench", options: { rounds: 30 } },
  { use: "oscillator", options: { swings: 6, accesses: 300 } },
  { use: "pager", options: { memoryMib: 1, virtualMib: 2, usesPerTick: 5, seconds: 1 } },
  { use: "pagetable", options: { rounds: 20 } },
  { use: "privileged", options: { iterations: 300 } },
  { use: "rewriter", options: { rewrites: 1000, places: 40 } },
  { use: "toucher", options: { schedule: "0:20,3:60,1:20,4:40", passMs: 20 } },
];

export interface Conditions {
  readonly set: PluginSet;
  readonly quantumNs?: number;
  readonly seed?: number;
  readonly companions?: readonly Subject[];
  /** State hashes after which the VM is saved and goes on in a fresh host. */
  readonly saveAfter?: number;
  /** Called every few turns; see Host.run. */
  readonly breathe?: () => Promise<void>;
  /** Called after every turn with the host, before anything else runs. */
  readonly afterTurn?: (host: Host) => void;
}

/** What the guest computed. */
export interface Computed {
  /** [steps, state hash] at regular steps. */
  readonly hashes: readonly (readonly [number, string])[];
  readonly output: string;
  readonly exit: string;
  /** Step count and state hash at the end. */
  readonly end: readonly [number, string];
}

/** Steps between state hashes. */
const HASH_EVERY_STEPS = 20_000;
/** Memory of guests that need less with these options than by default. */
const SMALL_MIB = 8;
const MEMORY_MIB = new Map([
  ["toucher", 12],
  ...["balloon", "churn", "filecache", "mosaic", "pager"].map((name) => [name, SMALL_MIB] as const),
]);
/** Machine memory for the guest and its companions. */
const HOST_MIB = 96;

/** Runs a guest until it has ended, and its companions no further. */
export async function compute(subject: Subject, conditions: Conditions): Promise<Computed> {
  const hashes: [number, string][] = [];
  const output: number[] = [];
  const { saveAfter = Infinity } = conditions;
  let current = start(subject, conditions);
  for (;;) {
    const { host, vm, recorded } = current;
    const stop = () =>
      vm.state === "exited" || (hashes.length + recorded.hashes.length >= saveAfter && !current.isLast);
    await host.run({ stop, breathe: conditions.breathe });
    hashes.push(...recorded.hashes);
    output.push(...recorded.output);
    host.service(memory.machine).audit();
    if (vm.exit !== undefined) {
      const end = [vm.clock.steps, host.stateHash(vm)] as const;
      return { hashes, output: new TextDecoder().decode(Uint8Array.from(output)), exit: vm.exit.reason, end };
    }
    const saved = host.save(vm);
    current = start(subject, conditions, true);
    current.host.restore(current.vm, saved);
  }
}

/** A host in which the guest is about to begin. */
function start(subject: Subject, conditions: Conditions, isLast = false) {
  const recorded = { hashes: [] as [number, string][], output: [] as number[] };
  const { set, quantumNs, seed } = conditions;
  const host = createHost({ memoryMib: HOST_MIB, quantumNs, seed, plugins: set.plugins() });
  for (const companion of conditions.companions ?? []) addVm(host, vmOptions(companion));
  const vm = addVm(host, vmOptions(subject));
  vm.checkpointEvery(HASH_EVERY_STEPS);
  host.load({
    plugin: definePlugin({
      name: "recorder",
      requires: ["console"],
      setup({ on }) {
        on(vmCheckpoint, (of) => {
          if (of === vm) recorded.hashes.push([vm.clock.steps, host.stateHash(vm)]);
        });
        on(console.output, ({ vm: of, byte }) => {
          if (of === vm) recorded.output.push(byte);
        });
        if (conditions.afterTurn !== undefined) {
          const { afterTurn } = conditions;
          on(turnEnded, () => afterTurn(host));
          on(vmExited, () => afterTurn(host), { order: 2000 });
        }
      },
    }),
  });
  return { host, vm, recorded, isLast };
}

function vmOptions({ use, options }: Subject): VmOptions {
  return { guest: { use, options }, memoryMib: MEMORY_MIB.get(use) ?? findGuest(use)?.memoryMib };
}
