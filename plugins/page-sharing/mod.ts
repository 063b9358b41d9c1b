// The page-sharing plugin: pages with equal contents, of one VM or several, use one machine frame copy-on-write (ESX paper,
// section 4). It scans in the background at limited rates and tries to share a page before it is swapped out. Guests see
// nothing of it: what it costs is host time.

import { definePlugin, type Vm, vmExited, z } from "../../core/mod.ts";
import * as memory from "../memory/mod.ts";
import * as swap from "../swap/mod.ts";
import { PageHasher } from "./page_hasher.ts";
import { saltModes, VmNumbers } from "./salts.ts";
import { ScanOrder, ScanPace, scanPolicies } from "./scanner.ts";
import { sharing, type SharingFigures } from "./services.ts";
import { Sharer } from "./sharer.ts";
import { FrameKind, SharingTable } from "./table.ts";

export * from "./services.ts";
export type { ScanResult, SharerCounts } from "./sharer.ts";

const SECONDS_PER_MINUTE = 60, NS_PER_MS = 1e6, MHZ_PER_GHZ = 1000;
/** Pages that may be passed over, as they have no frame of their own, for each that may be hashed: bounds a round. */
const VISITS_PER_PAGE = 256;
/** Most pages a second that an option may name. */
const MAX_RATE = 1e7;

const options = z.strictObject({
  policy: z.enum(scanPolicies).default("random")
    .describe("order of scanning: random, sequential, or random while no VM has anything to do"),
  scanMinutes: z.number().positive().default(60)
    .describe("host time in which every page of a VM is scanned once, if the rates allow it (ESX: ShareScanTime)"),
  maxRatePagesPerS: z.number().min(0).max(MAX_RATE).default(1024)
    .describe("pages of one VM scanned in a second of host time at most (ESX: ShareRateMax); 0: none"),
  hostMibPerSPerGhz: z.number().min(0).max(MAX_RATE).default(4)
    .describe(
      "MiB of all VMs scanned in a second of host time at most, for each GHz of the processor (ESX: ShareScanGHz)",
    ),
  periodMs: z.number().min(0.01).default(100).describe("host time between two rounds of scanning"),
  salt: z.enum(saltModes).default("group")
    .describe(
      "who shares: none: all VMs; group: those of one saltGroup, and those of none; vm: without a group, nobody",
    ),
  hashBits: z.int().min(1).max(64).default(64).describe(
    "bits of the hash that count; fewer make collisions, for tests",
  ),
  scanPageNs: z.number().min(0).default(1000).describe("host time charged to a VM for a page hashed and looked up"),
  comparePageNs: z.number().min(0).default(400).describe("host time charged to a VM for a page compared in full"),
});

const vmOptions = z.strictObject({
  saltGroup: z.string().min(1).optional().describe("VMs of one group share with each other and with nobody else"),
});

export default definePlugin({
  name: "page-sharing",
  summary: "equal pages share one frame, copy-on-write",
  tier: "enhanced",
  requires: ["memory", "swap"],
  options,
  vmOptions,
  setup({ host, on, service, provide, every, perVm, rng, stats, vmOptions: optionsOf, options }) {
    const machine = service(memory.machine), pages = service(memory.pages), mechanism = service(memory.mechanism);
    const report = service(memory.report);
    const table = new SharingTable(machine.totalFrames);
    const numbers = new VmNumbers(options.salt, (vm) => vmOptions.parse(optionsOf(vm)).saltGroup);
    const sharer = new Sharer(table, numbers, pages, mechanism, new PageHasher(machine.memory), options.hashBits);
    const { counts } = sharer;
    const orderOf = perVm((vm) => new ScanOrder(pages.count(vm), options.policy, rng(vm)));
    const pace = new ScanPace();
    const fullScans = stats.counter("full_scans", "times");
    const sharedBeforeSwap = stats.counter("sharedBeforeSwap", "pages");
    /** VMs scanned to the end since all were. */
    const scanned = new Set<Vm>();
    let lookedNs = host.nowNs;

    const running = () => host.vms.filter((vm) => vm.state !== "exited" && vm.exit === undefined);

    /** Does something that hashes and compares, and charges a VM for it. */
    function charging<T>(vm: Vm, work: () => T): T {
      const { hashed, compared } = counts;
      const result = work();
      const hashNs = (counts.hashed - hashed) * options.scanPageNs;
      host.charge(vm, hashNs + (counts.compared - compared) * options.comparePageNs);
      return result;
    }

    /** Goes on with a VM's pass until so many pages were hashed, or enough were visited; returns how many were hashed. */
    function scan(vm: Vm, quota: number): number {
      const order = orderOf(vm), before = counts.hashed, { passes } = order;
      const most = Math.min(order.pages, quota * VISITS_PER_PAGE);
      for (let visited = 0; visited < most && counts.hashed - before < quota; visited++) {
        sharer.scan(vm, order.next());
      }
      if (order.passes > passes) noteFullScan(vm);
      return counts.hashed - before;
    }

    function noteFullScan(vm: Vm): void {
      scanned.add(vm);
      if (!running().every((other) => scanned.has(other))) return;
      fullScans.value++;
      scanned.clear();
    }

    every(options.periodMs * NS_PER_MS, () => {
      const elapsedNs = host.nowNs - lookedNs;
      lookedNs = host.nowNs;
      const vms = running(), isIdle = options.policy === "idle";
      if (isIdle && vms.some((vm) => vm.state === "ready")) return;
      const ghz = vms.reduce((most, vm) => Math.max(most, vm.config.cpuMhz), 0) / MHZ_PER_GHZ;
      const rates = {
        maxRatePagesPerS: options.maxRatePagesPerS,
        hostRatePagesPerS: options.hostMibPerSPerGhz * ghz * memory.FRAMES_PER_MIB,
        passSeconds: options.scanMinutes * SECONDS_PER_MINUTE,
      };
      const shares = vms.map((vm) => ({ vm, pages: pages.count(vm) }));
      // Time that nobody wanted is charged to nobody.
      const work = isIdle ? scan : (vm: Vm, quota: number) => charging(vm, () => scan(vm, quota));
      pace.advance(elapsedNs, shares, rates, work);
    });

    // Zeros and pages with an equal in the table need not go to disk (section 4.3: share before swap).
    on(swap.beforeSwap, ({ vm, ppn }) => {
      const { freeFrames } = machine;
      charging(vm, () => sharer.scan(vm, ppn, false));
      if (machine.freeFrames <= freeFrames) return undefined;
      sharedBeforeSwap.value++;
      return true;
    });

    on(memory.sharingEnded, ({ mpn }) => table.remove(mpn));

    on(vmExited, (vm) => {
      table.removeHintsOf(numbers.numberOf(vm));
      numbers.remove(vm);
      pace.remove(vm);
      scanned.delete(vm);
    });

    function figures(): SharingFigures {
      const { sharedFrames, savedFrames, zeroFrames } = report.host();
      const allocated = running().reduce((sum, vm) => sum + report.vm(vm).allocatedPages, 0);
      return {
        sharedPages: sharedFrames + savedFrames,
        reclaimedPages: savedFrames,
        zeroPages: zeroFrames,
        allocatedPages: allocated,
      };
    }

    provide(sharing, {
      scan: (vm, ppn) => sharer.scan(vm, ppn),
      scanAll() {
        for (const vm of running()) {
          for (let ppn = 0; ppn < pages.count(vm); ppn++) sharer.scan(vm, ppn);
          noteFullScan(vm);
        }
      },
      figures,
      counts,
      get metadataBytes() {
        return table.sizeBytes;
      },
      audit() {
        table.audit();
        for (let mpn = 0; mpn < machine.totalFrames; mpn++) {
          if (table.kindOf(mpn) !== FrameKind.shared) continue;
          const references = mechanism.references(mpn);
          if (references >= 1 && references <= table.countOf(mpn)) continue;
          throw new Error(`shared frame ${mpn} has ${references} references; the table saw ${table.countOf(mpn)}`);
        }
      },
    });

    // As in /sys/kernel/mm/ksm, where they mean the same.
    stats.gauge("pages_shared", "frames", () => report.host().sharedFrames);
    stats.gauge("pages_sharing", "pages", () => report.host().savedFrames);
    stats.gauge("pages_unshared", "pages", () => table.count(FrameKind.hint) - table.volatileHints);
    stats.gauge("pages_volatile", "pages", () => table.volatileHints);
    stats.gauge("ksm_zero_pages", "pages", () => report.host().zeroFrames);
    stats.gauge("pages_scanned", "pages", () => counts.hashed);
    // As in the paper's figures 4 and 5.
    const mib = (count: number) => count / memory.FRAMES_PER_MIB;
    stats.gauge("sharedMib", "MiB", () => mib(figures().sharedPages));
    stats.gauge("reclaimedMib", "MiB", () => mib(figures().reclaimedPages));
    stats.gauge("zeroMib", "MiB", () => mib(figures().zeroPages));
    stats.series("sharedMib", "MiB", (vm) => mib(report.vm(vm).sharedPages));
    stats.series("scanPasses", "times", (vm) => orderOf(vm).passes);
    stats.gauge("ineligible", "pages", () => table.count(FrameKind.ineligible));
    stats.gauge("falseMatches", "pages", () => counts.falseMatches);
    stats.gauge("staleHints", "hints", () => counts.staleHints);
    stats.gauge("metadataBytes", "bytes", () => table.sizeBytes);
  },
});
