// The allocator: shares, minima and maxima of memory, admission, and the states of free memory. It asks for targets, and
// works towards them by balloon and paging (ESX paper, sections 5 and 6).

import { definePlugin, InputError, turnEnded, type Vm, vmAdmission, vmAdmitted, vmExited, z } from "../../core/mod.ts";
import * as memory from "../memory/mod.ts";
import * as swap from "../swap/mod.ts";
import { refusal, type Reservation } from "./admission.ts";
import {
  allocation,
  balloon,
  pageCosts,
  reclamationStates,
  stateChanged,
  targetChanged,
  targets,
  type VmMemory,
} from "./events.ts";
import { type Account, PLAIN_COST, Reclaimer } from "./reclaimer.ts";
import { ActivitySampler } from "./sampling.ts";
import { defaultThresholds } from "./states.ts";

export * from "./events.ts";
export { type Claim, type Corner, type Curve, divideAtLevel, fitTargets, proportionalTargets } from "./shares.ts";
export { defaultThresholds, type Thresholds } from "./states.ts";

const NS_PER_SECOND = 1e9;
const PERCENT = 100;
/** Place among those that hear of a VM's end: while its report still tells what it held. */
const BEFORE_MEMORY = 900;

const percent = (value: number) => z.number().min(0).max(50).default(value * PERCENT);

const options = z.strictObject({
  highPercent: percent(defaultThresholds.high).describe("free memory in % that targets aim at, and above it is plenty"),
  softPercent: percent(defaultThresholds.soft).describe("below it, balloons are filled"),
  hardPercent: percent(defaultThresholds.hard).describe("below it, pages are written out as well"),
  lowPercent: percent(defaultThresholds.low).describe("below it, VMs above their targets are blocked as well"),
  marginPercent: percent(defaultThresholds.margin)
    .describe("by how much a threshold must be exceeded to come back to the state above it"),
  overheadMib: z.number().min(0).default(0.25)
    .describe("machine memory for the hypervisor's own needs of a VM: its pmap, processor and TLB"),
  rebalanceSeconds: z.number().positive().default(15).describe("host time between computations of targets"),
  balloonPatienceSeconds: z.number().positive().default(5)
    .describe("host time for which a balloon may stand still before pages are written out instead"),
  samplePages: z.int().min(1).default(100).describe("pages sampled in each period to estimate a VM's active memory"),
  sampleSeconds: z.number().positive().default(30).describe("guest time of such a period"),
  slowGain: z.number().min(0).max(1).default(0.25).describe("part of the way that the slow average goes in a period"),
  fastGain: z.number().min(0).max(1).default(0.75).describe("part of the way that the fast average goes in a period"),
});

export default definePlugin({
  name: "allocator",
  summary: "memory by shares, min and max: admission, targets, reclaiming",
  tier: "base",
  requires: ["memory", "swap"],
  options,
  setup({ host, on, port, service, provide, every, perVm, rng, stats, options }) {
    const machine = service(memory.machine), mechanism = service(memory.mechanism), pager = service(swap.pager);
    const targetsPort = port(targets), balloonPort = port(balloon), targetsChanged = port(targetChanged);
    const costsPort = port(pageCosts);
    const overheadPages = Math.ceil(options.overheadMib * memory.FRAMES_PER_MIB);
    const reclaimer = new Reclaimer({
      host,
      machine,
      report: service(memory.report),
      pager,
      every,
      thresholds: thresholdsOf(options),
      balloonPatienceNs: options.balloonPatienceSeconds * NS_PER_SECOND,
      activeFraction: (vm) => sampler.fractionOf(vm),
      askTargets: (question) => targetsPort.ask(question),
      askPageCosts: (question) => costsPort.ask(question),
      askBalloon: (question) => balloonPort.ask(question),
      stateChanged: port(stateChanged),
      targetChanged: (vm, fromPages, toPages) => {
        if (targetsChanged.active) targetsChanged.emit({ vm, fromPages, toPages });
      },
    });
    const randoms = perVm((vm) => rng(vm));
    const sampler = new ActivitySampler(
      {
        pages: options.samplePages,
        periodNs: options.sampleSeconds * NS_PER_SECOND,
        slowGain: options.slowGain,
        fastGain: options.fastGain,
      },
      service(memory.pages),
      (vm, bound) => randoms(vm).below(bound),
    );
    const { accounts } = reclaimer;
    const overheads = new Map<Vm, number[]>();
    const ended = new Map<Vm, VmMemory>();

    const capacity = () => ({
      machinePages: machine.totalFrames,
      hypervisorPages: machine.frameCounts().hypervisor - [...overheads.values()].flat().length,
      swapPages: pager.totalPages,
    });

    on(vmAdmission, (config) => {
      const wanted = {
        minPages: pagesOf(config.minMib),
        maxPages: pagesOf(config.memoryMib),
        overheadPages,
      };
      return refusal(wanted, [...accounts.values()], capacity());
    });

    // Taken before the VM is known to anybody, so that it is refused where they are not to be had.
    perVm((vm) => {
      for (const [other, frames] of overheads) if (!host.vms.includes(other)) giveBack(other, frames);
      // What is promised may still be in others' hands.
      const asker = [...accounts.keys()].at(-1);
      while (asker !== undefined && machine.freeFrames < overheadPages && reclaimer.reclaimFor(asker));
      if (machine.freeFrames < overheadPages) {
        const reason = pager.failure ?? "all VMs are at their minimum";
        throw new InputError(
          `VM "${vm.name}" is not admitted: its overhead of ${options.overheadMib} MiB is not free: ${reason}`,
        );
      }
      overheads.set(vm, Array.from({ length: overheadPages }, () => mechanism.takeHypervisorFrame()));
      return {};
    });

    function giveBack(vm: Vm, frames: readonly number[]): void {
      for (const mpn of frames) mechanism.returnHypervisorFrame(mpn);
      overheads.delete(vm);
    }

    on(vmAdmitted, (vm) => {
      const { shares, minMib, memoryMib } = vm.config;
      const maxPages = pagesOf(memoryMib);
      accounts.set(vm, {
        vm,
        shares,
        minPages: pagesOf(minMib),
        maxPages,
        overheadPages,
        targetPages: maxPages,
        cost: PLAIN_COST,
        askedPages: 0,
        askedNs: -Infinity,
        isReachable: false,
        progressNs: host.nowNs,
        progressPages: 0,
      });
      sampler.add(vm);
      reclaimer.rebalance();
    });

    on(vmExited, (vm) => {
      ended.set(vm, snapshotOf(vm));
      sampler.remove(vm);
      giveBack(vm, overheads.get(vm) ?? []);
      reclaimer.remove(vm);
      if (accounts.size > 0) reclaimer.rebalance();
    }, { order: BEFORE_MEMORY });

    on(turnEnded, ({ vm }) => {
      sampler.look(vm);
      reclaimer.look();
    });
    on(memory.reclaim, ({ vm }) => reclaimer.reclaimFor(vm) || undefined);
    every(options.rebalanceSeconds * NS_PER_SECOND, () => accounts.size > 0 && reclaimer.rebalance());

    function snapshotOf(vm: Vm): VmMemory {
      const account = accounts.get(vm);
      const snapshot = account === undefined ? ended.get(vm) : reclaimer.snapshot(account);
      if (snapshot === undefined) throw new Error(`VM "${vm.name}" was never admitted here`);
      return snapshot;
    }

    provide(allocation, {
      get state() {
        return reclaimer.state;
      },
      of: snapshotOf,
      set(vm, { shares, minPages }) {
        const account = accounts.get(vm);
        if (account === undefined) throw new InputError(`VM "${vm.name}" has ended`);
        if (shares !== undefined && !(shares > 0)) throw new InputError(`shares of ${shares}; expected more than 0`);
        const others = [...accounts.values()].filter((other) => other !== account);
        const wanted: Reservation = { ...account, minPages: minPages ?? account.minPages };
        const reason = refusal(wanted, others, capacity());
        if (reason !== undefined) throw new InputError(`VM "${vm.name}": ${reason}`);
        change(account, wanted.minPages, shares);
      },
      rebalance: () => reclaimer.rebalance(),
    });

    function change(account: Account, minPages: number, shares = account.shares): void {
      account.minPages = minPages;
      account.shares = shares;
      reclaimer.rebalance();
    }

    stats.gauge("state", "0 high, 1 soft, 2 hard, 3 low", () => reclamationStates.indexOf(reclaimer.state));
    stats.series("targetMib", "MiB", (vm) => snapshotOf(vm).targetPages / memory.FRAMES_PER_MIB);
    for (const name of ["slow", "fast", "current"] as const) {
      stats.series(`${name}ActivePercent`, "%", (vm) => sampler.averagesOf(vm)[name] * PERCENT);
    }
    for (const name of Object.keys(reclaimer.counts) as (keyof typeof reclaimer.counts)[]) {
      stats.gauge(name, name === "pagedOut" ? "pages" : "times", () => reclaimer.counts[name]);
    }
  },
});

function pagesOf(sizeMib: number): number {
  return Math.floor(sizeMib * memory.FRAMES_PER_MIB);
}

/** Thresholds as parts of machine memory. Throws InputError where they do not fall from high to low. */
function thresholdsOf(given: z.output<typeof options>) {
  const { highPercent, softPercent, hardPercent, lowPercent, marginPercent } = given;
  const falling = [highPercent, softPercent, hardPercent, lowPercent];
  if (falling.some((percent, i) => i > 0 && percent >= falling[i - 1])) {
    throw new InputError(
      `thresholds of ${falling.join(", ")} % for high, soft, hard and low; expected each to be smaller`,
    );
  }
  const [high, soft, hard, low] = falling.map((percent) => percent / PERCENT);
  return { high, soft, hard, low, margin: marginPercent / PERCENT };
}
