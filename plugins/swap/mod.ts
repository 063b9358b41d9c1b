// The swap plugin: paging to a real file, the last resort when machine memory is short (ESX paper, section 3.3). It says
// how a page goes out and comes back; how many of which VM is the allocator's to say, and which ones a policy's.

import { definePlugin, type Vm, vmExited, z } from "../../core/mod.ts";
import * as memory from "../memory/mod.ts";
import { beforeSwap, chooseVictims, type Pager, pager, swapFailed } from "./services.ts";
import { SlotTable } from "./slots.ts";
import { faultKinds, FaultyStore, FileStore } from "./store.ts";
import { isWorthPaging, randomVictims } from "./victims.ts";

export * from "./services.ts";

/** Place among those that are asked for a frame: after all who know better whose page to take. */
const LAST_RESORT = 1000;
const NS_PER_SECOND = 1e9;
/** Frames kept back, for a VM that cannot be served to come to a halt with: this many, or this part of a small machine. */
const RESERVE_FRAMES = 128, RESERVE_PART = 64;
const HOLDER = "swap";

const options = z.strictObject({
  file: z.string().min(1).optional().describe("path of the swap file; default: a temporary file without a name"),
  sizeMib: z.int().min(0).max(1 << 20).default(4096).describe("MiB that it may hold; it grows as pages come"),
  readPageNs: z.int().min(0).default(100_000).describe("host time that a VM waits for a page to be read"),
  writePageNs: z.int().min(0).default(20_000).describe("host time that the disk takes to write a page"),
  retrySeconds: z.number().positive().default(0.1).describe("host time between attempts while the disk fails"),
  giveUpAttempts: z.int().min(1).default(50).describe(
    "attempts until a VM is ended, where every VM waits for the disk",
  ),
  inject: z.enum(["none", ...faultKinds]).default("none").describe("a failure of the disk, for tests and experiments"),
  injectAfterPages: z.int().min(0).default(0).describe("pages written before the disk fails"),
  injectAttempts: z.int().min(1).default(Number.MAX_SAFE_INTEGER).describe("attempts that fail"),
});

export default definePlugin({
  name: "swap",
  summary: "pages to a file on disk when machine memory is short",
  tier: "base",
  requires: ["memory"],
  options,
  setup({ host, on, port, service, provide, every, rng, stats, log, options }) {
    const pages = service(memory.pages), mechanism = service(memory.mechanism), machine = service(memory.machine);
    const report = service(memory.report);
    const victims = port(chooseVictims), sharing = port(beforeSwap), failing = port(swapFailed);
    const candidates = { pages, mechanism };
    const readPages = stats.counter("readPages", "pages"), writtenPages = stats.counter("writtenPages", "pages");
    const sharedInstead = stats.counter("sharedInstead", "pages"), failures = stats.counter("failures", "failures");
    let failure: string | undefined;

    const file = new FileStore(options.file);
    const store = options.inject === "none" ? file : new FaultyStore(file, {
      kind: options.inject,
      afterPages: options.injectAfterPages,
      attempts: options.injectAttempts,
    });
    /** Pages written and read of each VM, kept when it has ended. */
    const traffic = new Map<Vm, { writtenPages: number; readPages: number }>();
    const trafficOf = (vm: Vm) => {
      let counts = traffic.get(vm);
      if (counts === undefined) traffic.set(vm, counts = { writtenPages: 0, readPages: 0 });
      return counts;
    };
    const slots = new SlotTable(store, options.sizeMib * memory.FRAMES_PER_MIB, pages.count, {
      pageWritten: (vm) => {
        writtenPages.value++;
        trafficOf(vm).writtenPages++;
      },
      pageRead: (vm) => {
        readPages.value++;
        trafficOf(vm).readPages++;
        wait(vm, options.readPageNs);
      },
    });
    mechanism.setSwapFile(slots);
    stats.gauge("usedPages", "pages", () => slots.usedSlots);
    stats.gauge("totalPages", "pages", () => slots.totalSlots);
    stats.series("usedPages", "pages", (vm) => report.vm(vm).swappedPages);
    stats.series("writtenPages", "pages", (vm) => trafficOf(vm).writtenPages);
    stats.series("readPages", "pages", (vm) => trafficOf(vm).readPages);

    /** A VM that waits for the disk has had its turn. */
    function wait(vm: Vm, ns: number): void {
      host.charge(vm, ns);
      vm.clock.endTurn();
    }

    /** The policy's pages, as far as they are worth it, and random ones for what is missing. */
    function* victimsOf(vm: Vm, count: number): Generator<number> {
      const chosen = new Set<number>();
      for (const ppn of victims.ask({ vm, count }) ?? []) {
        if (chosen.size === count) return;
        const isPage = Number.isInteger(ppn) && ppn >= 0 && ppn < pages.count(vm);
        if (!isPage || chosen.has(ppn) || !isWorthPaging(candidates, vm, ppn)) continue;
        chosen.add(ppn);
        yield ppn;
      }
      const random = streamOf(vm);
      yield* randomVictims(candidates, vm, count - chosen.size, chosen, (bound) => random.below(bound));
    }

    const randomOf = new Map<Vm, ReturnType<typeof rng>>();
    function streamOf(vm: Vm): ReturnType<typeof rng> {
      let random = randomOf.get(vm);
      if (random === undefined) randomOf.set(vm, random = rng(vm));
      return random;
    }

    /** Writes one page out; false where the disk fails. */
    function writeOut(vm: Vm, ppn: number): boolean {
      try {
        mechanism.release(vm, ppn, memory.PageState.swapped);
      } catch (cause) {
        failures.value++;
        setFailure(`swap file: ${cause instanceof Error ? cause.message : cause}`);
        return false;
      }
      setFailure(undefined);
      return true;
    }

    function setFailure(reason: string | undefined): void {
      const isNews = (failure === undefined) !== (reason === undefined);
      failure = reason;
      if (!isNews) return;
      log(reason ?? "the swap file works again");
      if (failing.active) failing.emit({ reason });
    }

    function pageOut(vm: Vm, count: number, waiting?: Vm): number {
      const before = machine.freeFrames, writtenBefore = writtenPages.value;
      for (const ppn of victimsOf(vm, count)) {
        if (sharing.ask({ vm, ppn }) === true) sharedInstead.value++;
        else if (!writeOut(vm, ppn)) break;
      }
      if (waiting !== undefined) wait(waiting, options.writePageNs * (writtenPages.value - writtenBefore));
      return machine.freeFrames - before;
    }

    // A VM that needs a frame when there is none and the disk fails comes to a halt with frames of the reserve, and waits
    // until the disk works again or others have left memory to it.
    const reserve: number[] = [];
    const reserveFrames = Math.min(RESERVE_FRAMES, Math.floor(machine.totalFrames / RESERVE_PART));
    const fillReserve = () => {
      while (reserve.length < reserveFrames && machine.freeFrames > 0) reserve.push(mechanism.takeHypervisorFrame());
    };
    fillReserve();
    stats.gauge("reserveFrames", "frames", () => reserve.length);

    const held = new Map<Vm, string>();
    let attempts = 0;
    let stopRetrying: (() => void) | undefined;

    function hold(vm: Vm, reason: string): void {
      if (held.has(vm)) return;
      held.set(vm, reason);
      log(`${vm.name} is suspended: it needs memory and none can be freed: ${reason}`);
      host.suspend(vm, HOLDER);
      attempts = 0;
      stopRetrying ??= every(options.retrySeconds * NS_PER_SECOND, retry);
    }

    /** Tries the disk again; lets VMs go on when it works or memory is free; ends one if nothing else can help. */
    function retry(): void {
      const alive = host.vms.filter((vm) => vm.state !== "exited" && vm.exit === undefined);
      for (const vm of held.keys()) if (!alive.includes(vm)) release(vm);
      const missing = 2 * reserveFrames - reserve.length - machine.freeFrames;
      const [first] = held.keys();
      if (first !== undefined && missing > 0) pageOut(first, missing, first);
      fillReserve();
      if (machine.freeFrames >= reserveFrames) {
        for (const vm of [...held.keys()]) release(vm);
      } else if (alive.length > 0 && alive.every((vm) => held.has(vm)) && ++attempts >= options.giveUpAttempts) {
        attempts = 0;
        const last = [...held.keys()].at(-1);
        last?.end({ reason: "failed", status: 3, detail: `it needs memory and none can be freed: ${held.get(last)}` });
      }
      if (held.size > 0) return;
      stopRetrying?.();
      stopRetrying = undefined;
    }

    function release(vm: Vm): void {
      held.delete(vm);
      host.resume(vm, HOLDER);
      if (vm.exit === undefined) log(`${vm.name} goes on`);
    }

    on(memory.reclaim, ({ vm }) => {
      if (pageOut(vm, 1, vm) > 0) return true;
      for (const other of host.vms) {
        const isAboveMin = report.vm(other).allocatedPages > other.config.minMib * memory.FRAMES_PER_MIB;
        if (other !== vm && other.state !== "exited" && isAboveMin && pageOut(other, 1, vm) > 0) return true;
      }
      const frame = reserve.pop();
      if (frame === undefined) return undefined;
      hold(vm, failure ?? "no page of any VM can be written out");
      mechanism.returnHypervisorFrame(frame);
      return true;
    }, { order: LAST_RESORT });

    on(vmExited, (vm) => {
      randomOf.delete(vm);
      held.delete(vm);
    });

    const paging: Pager = {
      get usedPages() {
        return slots.usedSlots;
      },
      get totalPages() {
        return slots.totalSlots;
      },
      get failure() {
        return failure;
      },
      writePageNs: options.writePageNs,
      readPageNs: options.readPageNs,
      pageOut,
    };
    provide(pager, paging);
  },
});
