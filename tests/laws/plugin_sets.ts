// The plugin sets over which the laws are tested: base, and base with each way in which a plugin may meddle with a running
// VM from the host's side. None adds a device, so none may change what a guest computes (law 1).

import { definePlugin, type Plugin, type PluginUse, turnEnded, type Vm, vmExited } from "../../core/mod.ts";
import allocator from "../../plugins/allocator/mod.ts";
import * as bt from "../../plugins/bt/mod.ts";
import adaptiveBt from "../../plugins/adaptive-bt/mod.ts";
import clockVictims from "../../plugins/clock-victims/mod.ts";
import * as console from "../../plugins/console/mod.ts";
import balloon from "../../plugins/balloon/mod.ts";
import ksmScan from "../../plugins/ksm-scan/mod.ts";
import lruVictims from "../../plugins/lru-victims/mod.ts";
import * as memory from "../../plugins/memory/mod.ts";
import mom from "../../plugins/mom/mod.ts";
import pageSharing from "../../plugins/page-sharing/mod.ts";
import shadowMmu from "../../plugins/shadow-mmu/mod.ts";
import taxAllocator from "../../plugins/tax-allocator/mod.ts";
import * as x86 from "../../plugins/x86/mod.ts";

export interface PluginSet {
  readonly name: string;
  /** Made anew for each host. */
  readonly plugins: () => readonly (Plugin | PluginUse)[];
  /** The set whose results these must be, where it is not the base: the MMU plugin belongs to the machine. */
  readonly reference?: string;
}

/** Host time between two interventions. */
const PERIOD_NS = 50_000;
/** Pages looked at in each of them. */
const PAGES = 40;
/** Between two rounds of swapping: a VM waits 100 us for each page, and must get somewhere in between. */
const SWAPPING_PERIOD_NS = 10e6;

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
    setup({ every, host, service, perVm, rng }) {
      const random = perVm((vm) => rng(vm));
      const pages = service(memory.pages);
      every(PERIOD_NS, () => {
        for (const vm of running(host.vms)) {
          for (const ppn of pages.sample(vm, PAGES, (bound) => random(vm).below(bound))) {
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
    setup({ every, host, service, perVm, rng }) {
      const random = perVm((vm) => rng(vm));
      const pages = service(memory.pages), mechanism = service(memory.mechanism);
      every(PERIOD_NS, () => {
        for (const vm of running(host.vms)) {
          const chosen = pages.sample(vm, PAGES, (bound) => random(vm).below(bound));
          for (const [i, ppn] of chosen.entries()) {
            const other = mechanism.frameOf(vm, chosen[(i + 1) % chosen.length]);
            if (random(vm).below(8) === 0) mechanism.breakSharing(vm, ppn);
            else if (!mechanism.mapZero(vm, ppn) && other !== undefined) mechanism.share(vm, ppn, other);
          }
        }
      });
    },
  });

/** Puts pages into the swap file, from where they come back when they are used. */
const swapping = () =>
  definePlugin({
    name: "swapping",
    requires: ["memory"],
    setup({ every, host, service, perVm, rng }) {
      const random = perVm((vm) => rng(vm));
      const pages = service(memory.pages), mechanism = service(memory.mechanism);
      every(SWAPPING_PERIOD_NS, () => {
        for (const vm of running(host.vms)) {
          for (const ppn of pages.sample(vm, PAGES, (bound) => random(vm).below(bound))) {
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
    setup({ every, host, perVm, rng }) {
      const random = perVm((vm) => rng(vm));
      every(PERIOD_NS, () => {
        for (const vm of running(host.vms)) {
          host.charge(vm, random(vm).below(PERIOD_NS));
          if (vm.suspendedBy.size > 0) host.resume(vm, "stealing");
          else if (random(vm).below(4) === 0) host.suspend(vm, "stealing");
        }
      });
    },
  });

/**
 * Host time between two changes of pressure, and after which there are no more, since VMs get nowhere meanwhile; frames that
 * are left free, in % of all: through every state.
 */
const PRESSURE_NS = 500_000, PRESSED_NS = 40e6, LEAST_FREE_PERCENT = 0.1, MOST_FREE_PERCENT = 9;

/** Leaves VMs less machine memory and more again, so that the allocator pages, blocks and lets go. */
const pressing = () =>
  definePlugin({
    name: "pressing",
    requires: ["memory", "allocator"],
    setup({ every, host, service, rng }) {
      const mechanism = service(memory.mechanism), machine = service(memory.machine), taken: number[] = [];
      const random = rng();
      const stop = every(PRESSURE_NS, () => {
        if (host.nowNs >= PRESSED_NS) {
          for (const mpn of taken) mechanism.returnHypervisorFrame(mpn);
          return stop();
        }
        const percent = LEAST_FREE_PERCENT + (random.below(1000) / 1000) * (MOST_FREE_PERCENT - LEAST_FREE_PERCENT);
        const wanted = Math.ceil((percent / 100) * machine.totalFrames);
        while (machine.freeFrames > wanted) taken.push(mechanism.takeHypervisorFrame());
        const missing = Math.max(0, wanted - machine.freeFrames);
        for (const mpn of taken.splice(-missing, missing)) mechanism.returnHypervisorFrame(mpn);
      });
    },
  });

/** Scans as much as may be in the short life of these guests, so that most pages are shared, and written to, often. */
const eagerly = { scanMinutes: 1e-6, maxRatePagesPerS: 100_000, hostMibPerSPerGhz: 100_000, periodMs: 0.5 } as const;
const pageSharingBy = (options: Readonly<Record<string, unknown>>): PluginUse => ({
  plugin: pageSharing,
  options: { ...eagerly, ...options },
});

/** Periods of sampling, and targets, as short as these guests' lives: so that the tax has something to go by. */
const quickly = { sampleSeconds: 0.5e-3, rebalanceSeconds: 1e-3 } as const;
const allocatorBy = (options: Readonly<Record<string, unknown>>): PluginUse => ({ plugin: allocator, options });

const meddlers = { listeners, sampling, sharing, swapping, stealing, pressing } as const;
/** Adapts every instruction at its second trap, and back as soon as it may. */
const hastily = (): PluginUse => ({
  plugin: adaptiveBt,
  options: { threshold: 2, innocentAfter: 50, mostAdaptations: 20, reviewMs: 1 },
});

/** Policies, each of them where it is asked. */
const policies = { "clock-victims": clockVictims, "lru-victims": lruVictims } as const;

/** Base, base with each, base with all; each policy under pressure; base with all under the translator. */
export const pluginSets: readonly PluginSet[] = [
  { name: "base", plugins: () => [] },
  ...Object.entries(meddlers).map(([name, make]) => ({ name: `base and ${name}`, plugins: () => [make()] })),
  { name: "base and all of these", plugins: () => Object.values(meddlers).map((make) => make()) },
  ...Object.entries(policies).map(([name, policy]) => ({
    name: `base, pressing and ${name}`,
    plugins: () => [pressing(), policy],
  })),
  {
    name: "tax-allocator and pressing",
    plugins: () => [allocatorBy(quickly), { plugin: taxAllocator, options: { taxRate: 0.9 } }, pressing()],
  },
  {
    name: "mom and pressing",
    // Without a device for a driver: a guest can see that.
    plugins: () => [{ plugin: balloon, options: { driver: "none" } }, {
      plugin: mom,
      options: { policySeconds: 2e-3, monitorSeconds: 1e-3 },
    }, pressing()],
  },
  {
    name: "ksm-scan and pressing",
    plugins:
      () => [{ plugin: ksmScan, options: { sleep_millisecs: 0.5, pages_to_scan: 200, scanPageNs: 10 } }, pressing()],
  },
  { name: "page-sharing", plugins: () => [pageSharingBy({ policy: "sequential" })] },
  {
    name: "page-sharing by a hash of 3 bits, and pressing",
    plugins: () => [pageSharingBy({ hashBits: 3, salt: "vm" }), pressing()],
  },
  { name: "bt", plugins: () => [bt.default] },
  { name: "bt and page-sharing", plugins: () => [bt.default, pageSharingBy({})] },
  { name: "shadow-mmu", plugins: () => [shadowMmu], reference: "shadow-mmu" },
  {
    name: "bt, shadow-mmu, adaptive-bt and all of these",
    plugins: () => [bt.default, shadowMmu, hastily(), ...Object.values(meddlers).map((make) => make())],
    reference: "shadow-mmu",
  },
  {
    name: "bt, page-sharing, tax-allocator and pressing",
    plugins: () => [bt.default, pageSharingBy({}), allocatorBy(quickly), taxAllocator, pressing()],
  },
  { name: "bt and all of these", plugins: () => [bt.default, ...Object.values(meddlers).map((make) => make())] },
];

function running(vms: readonly Vm[]): Vm[] {
  return vms.filter((vm) => vm.state !== "exited");
}
