// The memory plugin: machine memory, one pmap per VM, admission by the sum of maxima, and the figures for reports. All
// other memory plugins stand on it (ESX paper, section 2).

import { definePlugin, vmAdmission, type VmConfig, vmExited, z } from "../../core/mod.ts";
import { audit } from "./audit.ts";
import { FRAMES_PER_MIB, FrameTable } from "./frames.ts";
import { makeMechanism } from "./mechanism.ts";
import { Pmap, type Surroundings } from "./pmap.ts";
import { sample } from "./sample.ts";
import {
  balloonPopped,
  contentsChanged,
  guest,
  type HostMemoryReport,
  machine,
  mappingChanged,
  mechanism,
  pages,
  PageState,
  reclaim,
  report,
  sharingEnded,
  type SwapFile,
  written,
} from "./services.ts";

export * from "./services.ts";
export { FRAMES_PER_MIB, WORDS_PER_FRAME } from "./frames.ts";
export { PageHash } from "./page_hash.ts";

/** Place of this plugin among those that hear of a VM's end: after all that may still look at its memory. */
const LAST = 1000;
const MAX_HOST_MIB = 4095;

export default definePlugin({
  name: "memory",
  summary: "machine memory in frames, and each VM's pages in them",
  tier: "base",
  options: z.strictObject({
    copyPageNs: z.int().min(0).default(1000).describe("host time charged for copying a page when sharing is broken"),
  }),
  setup({ host, on, port, perVm, provide, stats, options }) {
    if (!Number.isInteger(host.memoryMib) || host.memoryMib < 1 || host.memoryMib > MAX_HOST_MIB) {
      throw new RangeError(`host memory of ${host.memoryMib} MiB; expected a whole number from 1 to ${MAX_HOST_MIB}`);
    }
    const changes = port(mappingChanged), writes = port(written), endings = port(sharingEnded);
    const contents = port(contentsChanged);
    const pops = port(balloonPopped), reclaiming = port(reclaim);
    const frames = new FrameTable(host.memoryMib, {
      recycled: (mpn) => writes.active && writes.emit({ mpn }),
      sharingEnded: (mpn) => endings.active && endings.emit({ mpn }),
    });
    const pmaps = new Map<number, Pmap>();
    const domain = { frames, pmaps, swapFile: undefined as SwapFile | undefined };
    const surroundings: Surroundings = {
      frames,
      get swapFile() {
        return domain.swapFile;
      },
      mappingChanged: (vm, ppn) => changes.active && changes.emit({ vm, ppn }),
      written: (mpn) => writes.active && writes.emit({ mpn }),
      contentsChanged: (vm, ppn, offset, size) => contents.active && contents.emit({ vm, ppn, offset, size }),
      balloonPopped: (vm, ppn) => pops.active && pops.emit({ vm, ppn }),
      reclaim: (vm, ppn) => reclaiming.ask({ vm, ppn }) === true,
      chargeCopy: (vm) => host.charge(vm, options.copyPageNs),
    };

    const pmapOf = perVm((vm) => {
      retireEnded();
      const pmap = new Pmap(vm, pagesOf(vm.config), surroundings);
      pmaps.set(vm.id, pmap);
      return pmap;
    });

    /**
     * An ended VM keeps its memory for a last look until another VM has a use for it; then its frames go back, and its
     * report and its part of the state hash stay.
     */
    function retireEnded(): void {
      for (const vm of host.vms) if (vm.state === "exited") pmaps.get(vm.id)?.retire();
    }

    on(vmExited, () => {
      if (host.vms.some((vm) => vm.state !== "exited")) retireEnded();
    }, { order: LAST });

    on(vmAdmission, (config) => {
      if (reclaiming.active) return undefined;
      const admitted = host.vms.filter((vm) => vm.state !== "exited").map((vm) => vm.config);
      return refusal(config, admitted, frames.totalFrames, frames.frameCounts().hypervisor);
    });

    provide(guest, pmapOf);
    provide(machine, {
      memory: frames.memory,
      bytes: frames.bytes,
      view: frames.view,
      totalFrames: frames.totalFrames,
      get freeFrames() {
        return frames.freeFrames;
      },
      frameCounts: () => frames.frameCounts(),
      audit: () => audit(frames, pmaps.values(), domain.swapFile),
    });
    provide(mechanism, makeMechanism(domain));
    provide(pages, {
      count: (vm) => pmapOf(vm).pages,
      stateOf: (vm, ppn) => pmapOf(vm).stateOf(ppn),
      isAccessed: (vm, ppn) => pmapOf(vm).isAccessed(ppn),
      testAndClearAccessed: (vm, ppn) => pmapOf(vm).testAndClearAccessed(ppn),
      testAndClearDirty: (vm, ppn) => pmapOf(vm).testAndClearDirty(ppn),
      sample: (vm, count, below) => sample(pmapOf(vm).pages, count, below),
    });
    const hostReport = (): HostMemoryReport => reportOf(frames, pmaps.values());
    provide(report, { host: hostReport, vm: (vm) => pmapOf(vm).report() });
    stats.series("allocatedMib", "MiB", (vm) => pmapOf(vm).report().allocatedPages / FRAMES_PER_MIB);
    for (const name of Object.keys(hostReport()) as (keyof HostMemoryReport)[]) {
      stats.gauge(name, name === "swappedPages" ? "pages" : "frames", () => hostReport()[name]);
    }
  },
});

function pagesOf(config: VmConfig): number {
  return Math.floor(config.memoryMib * FRAMES_PER_MIB);
}

/** Why a VM does not fit beside those admitted, with the sum; undefined if it fits. */
function refusal(
  config: VmConfig,
  admitted: readonly VmConfig[],
  totalFrames: number,
  hypervisorFrames: number,
): string | undefined {
  const wanted = [...admitted, config].reduce((sum, vm) => sum + pagesOf(vm), 0);
  if (wanted <= totalFrames - hypervisorFrames) return undefined;
  const sum = [...admitted, config].map((vm) => vm.memoryMib).join(" + ");
  const mib = (frames: number) => frames / FRAMES_PER_MIB;
  return `the VMs' memory comes to ${sum}${admitted.length > 0 ? ` = ${mib(wanted)}` : ""} MiB, and host memory has ` +
    `${mib(totalFrames)} MiB - ${mib(hypervisorFrames)} MiB of the hypervisor's = ` +
    `${mib(totalFrames - hypervisorFrames)} MiB; give VMs less or the host more memory`;
}

function reportOf(frames: FrameTable, pmaps: Iterable<Pmap>): HostMemoryReport {
  const counts = frames.frameCounts();
  let swappedPages = 0;
  for (const pmap of pmaps) swappedPages += pmap.counts[PageState.swapped];
  return {
    totalFrames: frames.totalFrames,
    freeFrames: counts.free,
    usedFrames: frames.totalFrames - counts.free,
    sharedFrames: counts.shared,
    savedFrames: frames.totalReferences - counts.shared,
    zeroFrames: frames.zeroFrame < 0 ? 0 : frames.referenceCounts[frames.zeroFrame],
    hypervisorFrames: counts.hypervisor,
    swappedPages,
  };
}
