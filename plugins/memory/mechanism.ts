// The transitions that page sharing, ballooning and swapping are built from, over all pmaps: which page, which frame,
// and the proof that contents are equal. The pmap does the bookkeeping of each.

import type { Vm } from "../../core/mod.ts";
import { FrameState, type FrameTable } from "./frames.ts";
import type { Pmap } from "./pmap.ts";
import { type Mechanism, type Mpn, PageState, type Ppn, type SwapFile } from "./services.ts";

/** What the mechanism works on. */
export interface Domain {
  readonly frames: FrameTable;
  /** Pmaps by VM id, of every VM that holds frames. */
  readonly pmaps: ReadonlyMap<number, Pmap>;
  swapFile: SwapFile | undefined;
}

export function makeMechanism(domain: Domain): Mechanism {
  const { frames } = domain;

  function pmapOf(vm: Vm, ppn: Ppn): Pmap {
    const pmap = domain.pmaps.get(vm.id);
    if (pmap === undefined) throw new Error(`VM "${vm.name}" has no memory here`);
    if (!(ppn >= 0 && ppn < pmap.pages)) {
      throw new RangeError(`page ${ppn} of VM "${vm.name}"; it has pages 0 to ${pmap.pages - 1}`);
    }
    return pmap;
  }

  /** Makes sure that a frame is shared: its owner, if one page has it, is the first to share it. */
  function offer(mpn: Mpn): boolean {
    if (frames.states[mpn] === FrameState.private) {
      domain.pmaps.get(frames.ownerVm[mpn])?.makeShared(frames.ownerPpn[mpn]);
    }
    return frames.states[mpn] === FrameState.shared;
  }

  return {
    frameOf(vm, ppn) {
      const mpn = pmapOf(vm, ppn).mpns[ppn];
      return mpn >= 0 ? mpn : undefined;
    },

    references(mpn) {
      return frames.states[mpn] === FrameState.private ? 1 : frames.referenceCounts[mpn] ?? 0;
    },

    share(vm, ppn, mpn) {
      const pmap = pmapOf(vm, ppn);
      const own = pmap.mpns[ppn];
      if (own < 0) return false;
      if (own === mpn) return frames.states[mpn] === FrameState.shared;
      if (frames.states[mpn] !== FrameState.private && frames.states[mpn] !== FrameState.shared) return false;
      if (!frames.areEqual(own, mpn) || !offer(mpn)) return false;
      pmap.joinShared(ppn, mpn);
      return true;
    },

    mapZero: (vm, ppn) => pmapOf(vm, ppn).mapZero(ppn),

    breakSharing(vm, ppn) {
      const pmap = pmapOf(vm, ppn);
      const state = pmap.stateOf(ppn);
      if (state === PageState.shared || state === PageState.zero) pmap.makePrivate(ppn);
    },

    release: (vm, ppn, to) => pmapOf(vm, ppn).release(ppn, to),

    takeHypervisorFrame: () => frames.allocateForHypervisor(),

    returnHypervisorFrame(mpn) {
      if (frames.states[mpn] !== FrameState.hypervisor) throw new Error(`frame ${mpn} is not the hypervisor's`);
      frames.free(mpn);
    },

    setSwapFile(swapFile) {
      if (domain.swapFile !== undefined) throw new Error("swapped pages have a keeper already; load one swap plugin");
      domain.swapFile = swapFile;
    },
  };
}
