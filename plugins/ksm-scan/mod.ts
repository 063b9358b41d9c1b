// Page sharing as Linux's KSM does it, to compare the hash table of `page-sharing` with: the same copy-on-write mechanism,
// found by a stable and an unstable tree in sequential passes. Options and counters are named as in /sys/kernel/mm/ksm.

import { definePlugin, service as serviceToken, type Vm, vmExited, z } from "../../core/mod.ts";
import * as memory from "../memory/mod.ts";
import { advisors, momAdvice, scanTimeAdvice } from "./advisor.ts";
import { Ksm } from "./ksm.ts";

/** KSM for tools, experiments and tests. */
export interface KernelSamepageMerging {
  /** Looks at every page of every VM in so many passes, whatever the rate is, and charges nobody. */
  scanAll(passes: number): void;
  /** Throws unless the trees agree with what is shared. */
  audit(): void;
}

export const ksm = serviceToken<KernelSamepageMerging>("ksm-scan.ksm");

const NS_PER_MS = 1e6, NS_PER_SECOND = 1e9;
/** Bytes of the kernel's record of a page. */
const RMAP_ITEM_BYTES = 64;
/** Host time between two evaluations of MOM's rules. */
const MOM_PERIOD_NS = 10e9;

export default definePlugin({
  name: "ksm-scan",
  summary: "equal pages share one frame, found as Linux KSM finds them",
  requires: ["memory"],
  options: z.strictObject({
    pages_to_scan: z.int().min(0).max(1e6).default(100).describe("pages scanned before each sleep; 0: none"),
    sleep_millisecs: z.number().min(0.01).default(20).describe("host time between two rounds of scanning"),
    max_page_sharing: z.int().min(2).default(256).describe("most pages that share one frame"),
    use_zero_pages: z.boolean().default(false).describe("pages of zeros share the zero frame, outside the trees"),
    smart_scan: z.boolean().default(true).describe("leave pages that were scanned in vain out of some passes"),
    advisor: z.enum(advisors).default("none")
      .describe("what sets pages_to_scan: nothing, Linux's advisor for a pass in 200 s, or MOM's rules"),
    scanPageNs: z.number().min(0).default(2000).describe("host time charged to a VM for a page scanned"),
  }),
  setup({ host, on, service, provide, every, stats, options }) {
    const machine = service(memory.machine), pages = service(memory.pages), report = service(memory.report);
    const merging = new Ksm(
      {
        maxPageSharing: options.max_page_sharing,
        useZeroPages: options.use_zero_pages,
        smartScan: options.smart_scan,
      },
      machine,
      pages,
      service(memory.mechanism),
    );
    const fullScans = stats.counter("full_scans", "times");
    let pagesToScan = options.pages_to_scan, vm: Vm | undefined, ppn = 0, passBeganNs = host.nowNs;
    const running = () => host.vms.filter((other) => other.state !== "exited" && other.exit === undefined);

    /** Goes on with the pass: VM after VM, page after page. Looks at `count` pages, but at none twice. */
    function scan(count: number, charged: boolean): void {
      const vms = running();
      if (vms.length === 0) return;
      const most = vms.reduce((sum, other) => sum + pages.count(other), 0);
      const { scanned, skipped } = merging.counts;
      const looked = () => merging.counts.scanned - scanned + merging.counts.skipped - skipped;
      for (let visited = 0; visited < most && looked() < count; visited++) {
        if (vm === undefined || !vms.includes(vm)) [vm, ppn] = [vms[0], 0];
        const before = merging.counts.scanned;
        merging.scan(vm, ppn);
        if (charged && merging.counts.scanned > before) host.charge(vm, options.scanPageNs);
        if (++ppn === pages.count(vm)) nextVm(vms, vm);
      }
    }

    function nextVm(vms: readonly Vm[], done: Vm): void {
      ppn = 0;
      vm = vms[vms.indexOf(done) + 1];
      if (vm === undefined) endPass();
    }

    function endPass(): void {
      merging.endPass();
      fullScans.value++;
      const passSeconds = (host.nowNs - passBeganNs) / NS_PER_SECOND;
      passBeganNs = host.nowNs;
      if (options.advisor !== "scan-time") return;
      const sleepSeconds = (options.sleep_millisecs * NS_PER_MS) / NS_PER_SECOND;
      pagesToScan = scanTimeAdvice(pagesToScan, passSeconds, sleepSeconds, options.scanPageNs / NS_PER_SECOND);
    }

    every(options.sleep_millisecs * NS_PER_MS, () => scan(pagesToScan, true));
    if (options.advisor === "mom") {
      every(MOM_PERIOD_NS, () => {
        const { totalFrames, freeFrames } = machine;
        const promised = running().reduce((sum, other) => sum + pages.count(other), 0);
        pagesToScan = momAdvice(pagesToScan, freeFrames / totalFrames, promised / totalFrames);
      });
    }

    on(memory.sharingEnded, ({ mpn }) => merging.forgetFrame(mpn));
    on(vmExited, (ended) => merging.forgetVm(ended));

    provide(ksm, {
      scanAll(passes) {
        [vm, ppn] = [undefined, 0];
        merging.endPass();
        for (let pass = 0; pass < passes; pass++) {
          for (const other of running()) {
            for (let page = 0; page < pages.count(other); page++) merging.scan(other, page);
          }
          endPass();
        }
      },
      audit: () => merging.audit(),
    });

    stats.gauge("pages_shared", "frames", () => report.host().sharedFrames);
    stats.gauge("pages_sharing", "pages", () => report.host().savedFrames);
    stats.gauge("pages_unshared", "pages", () => merging.unsharedPages);
    stats.gauge("pages_volatile", "pages", () => Math.max(0, merging.items - merging.unsharedPages));
    stats.gauge("pages_scanned", "pages", () => merging.counts.scanned);
    stats.gauge("pages_skipped", "pages", () => merging.counts.skipped);
    stats.gauge("pages_to_scan", "pages", () => pagesToScan);
    stats.gauge("ksm_zero_pages", "pages", () => report.host().zeroFrames);
    stats.gauge("stable_node_chains", "chains", () => merging.chains.chains);
    stats.gauge("stable_node_dups", "frames", () => merging.chains.dups);
    stats.gauge("general_profit", "bytes", () => {
      const { sharedFrames, savedFrames } = report.host(), items = merging.items + sharedFrames + savedFrames;
      return savedFrames * memory.PAGE_SIZE - items * RMAP_ITEM_BYTES;
    });
  },
});
