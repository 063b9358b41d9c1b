// The plugin sets over which the laws are tested: base, and base with each way in which a plugin may meddle with a running
// VM from the host's side. None adds a device, so none may change what a guest computes (law 1).

import type { Ppn, SwapFile } from "../../plugins/memory/mod.ts";
import { definePlugin, type Plugin, turnEnded, type Vm, vmExited } from "../../core/mod.ts";
import * as bt from "../../plugins/bt/mod.ts";
import * as console from "../../plugins/console/mod.ts";
import * as memory from "../../plugins/memory/mod.ts";
import * as x86 from "../../plugins/x86/mod.ts";

export interface PluginSet {
  readonly name: string;
  /** Made anew for each host. */
  readonly plugins: () => readonly Plugin[];
}

/** Host time between two interventions. */
const PERIOD_NS = 50_000;
/** Pages looked at in each of them. */
const PAGES = 40;

/** Listens to everything that a VM does, so that every event is built and sent. */
const listeners = () =>
  definePlugin({
    name: "listeners",
    requires: ["memory", "x86", "console"],
    setup({ on, stats }) {
      const heard = stats.counter("heard", "events");
      const hear = () => void heard.value++;
      on(turnEnded, hear);
      on(vmExited, hear);
      on(x86.trapped, hear);
      on(x86.delivered, hear);
      on(console.output, hear);
      on(console.line, hear);
      on(memory.written, hear);
      on(memory.mappingChanged, hear);
      on(memory.sharingEnded, hear);
    },
  });

/** Asks which pages were used, as activity sampling does: each time the host halves of TLB entries are dropped. */
const sampling = () =>
  definePlugin({
    name: "sampling",
    requires: ["memory"],
    setup({ every, host, service, rng }) {
      const pages = service(memory.pages);
      every(PERIOD_NS, () => {
        for (const vm of running(host.vms)) {
          for (const ppn of pages.sample(vm, PAGES, (bound) => rng(vm).below(bound))) {
            pages.testAndClearAccessed(vm, ppn);
            pages.testAndClearDirty(vm, ppn);
          }
        }
      });
    },
  });

/** Lets equal pages share a frame and pages of zeros the zero frame, copy-on-write, and breaks some of it again. */
const sharing = () =>
  definePlugin({
    name: "sharing",
    requires: ["memory"],
    setup({ every, host, service, rng }) {
      const pages = service(memory.pages), mechanism = service(memory.mechanism);
      every(PERIOD_NS, () => {
        for (const vm of running(host.vms)) {
          const chosen = pages.sample(vm, PAGES, (bound) => rng(vm).below(bound));
          for (const [i, ppn] of chosen.entries()) {
            const other = mechanism.frameOf(vm, chosen[(i + 1) % chosen.length]);
            if (rng(vm).below(8) === 0) mechanism.breakSharing(vm, ppn);
            else if (!mechanism.mapZero(vm, ppn) && other !== undefined) mechanism.share(vm, ppn, other);
          }
        }
      });
    },
  });

/** Puts pages into a swap file in the host's memory, from where they come back when they are used. */
const swapping = () =>
  definePlugin({
    name: "swapping",
    requires: ["memory"],
    setup({ every, host, service, rng }) {
      const pages = service(memory.pages), mechanism = service(memory.mechanism);
      mechanism.setSwapFile(new MemorySwapFile());
      every(PERIOD_NS, () => {
        for (const vm of running(host.vms)) {
          for (const ppn of pages.sample(vm, PAGES, (bound) => rng(vm).below(bound))) {
            if (mechanism.frameOf(vm, ppn) !== undefined) mechanism.release(vm, ppn, memory.PageState.swapped);
          }
        }
      });
    },
  });

/** Charges host time and holds VMs back for a while, as a mechanism that reclaims memory does. */
const stealing = () =>
  definePlugin({
    name: "stealing",
    setup({ every, host, rng }) {
      every(PERIOD_NS, () => {
        for (const vm of running(host.vms)) {
          host.charge(vm, rng(vm).below(PERIOD_NS));
          if (vm.suspendedBy.size > 0) host.resume(vm, "stealing");
          else if (rng(vm).below(4) === 0) host.suspend(vm, "stealing");
        }
      });
    },
  });

const meddlers = { listeners, sampling, sharing, swapping, stealing } as const;

/** Base, base with each, base with all; the same under the translator. */
export const pluginSets: readonly PluginSet[] = [
  { name: "base", plugins: () => [] },
  ...Object.entries(meddlers).map(([name, make]) => ({ name: `base and ${name}`, plugins: () => [make()] })),
  { name: "base and all of these", plugins: () => Object.values(meddlers).map((make) => make()) },
  { name: "bt", plugins: () => [bt.default] },
  { name: "bt and all of these", plugins: () => [bt.default, ...Object.values(meddlers).map((make) => make())] },
];

function running(vms: readonly Vm[]): Vm[] {
  return vms.filter((vm) => vm.state !== "exited");
}

class MemorySwapFile implements SwapFile {
  readonly #kept = new Map<string, Uint8Array>();

  write(vm: Vm, ppn: Ppn, contents: Uint8Array): void {
    this.#kept.set(keyOf(vm, ppn), contents.slice());
  }

  read(vm: Vm, ppn: Ppn, target: Uint8Array): void {
    const contents = this.#kept.get(keyOf(vm, ppn));
    if (contents === undefined) throw new Error(`page ${ppn} of VM "${vm.name}" is not in the swap file`);
    target.set(contents);
  }

  forget(vm: Vm, ppn: Ppn): void {
    this.#kept.delete(keyOf(vm, ppn));
  }

  holds(vm: Vm, ppn: Ppn): boolean {
    return this.#kept.has(keyOf(vm, ppn));
  }
}

function keyOf(vm: Vm, ppn: Ppn): string {
  return `${vm.id}:${ppn}`;
}
