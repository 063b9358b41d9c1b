// The audit of law 3: every machine page is in exactly one state, pages and frames agree about it in both directions, the
// totals add up, and no page changed behind the back of its kept hash. Counts everything again from what pages and frames
// say, so that no total can vouch for itself.

import { FrameState, type FrameTable, NO_FRAME } from "./frames.ts";
import type { Pmap } from "./pmap.ts";
import { PageState, type Ppn, type SwapFile } from "./services.ts";

/** Throws, naming the page or frame, at the first thing that is not as it must be. */
export function audit(frames: FrameTable, pmaps: Iterable<Pmap>, swapFile: SwapFile | undefined): void {
  frames.audit();
  const mapped = new Int32Array(frames.totalFrames);
  for (const pmap of pmaps) auditPmap(pmap, frames, swapFile, mapped);
  let references = 0;
  for (let mpn = 0; mpn < frames.totalFrames; mpn++) {
    const expected = expectedMappings(frames, mpn);
    if (mapped[mpn] !== expected) {
      throw new Error(`frame ${mpn} is mapped by ${mapped[mpn]} pages; by its state it is mapped by ${expected}`);
    }
    if (frames.states[mpn] === FrameState.shared) references += expected;
  }
  if (references !== frames.totalReferences) {
    throw new Error(`shared frames have ${references} references, but the total says ${frames.totalReferences}`);
  }
  if (frames.zeroFrame !== NO_FRAME) {
    if (frames.states[frames.zeroFrame] !== FrameState.shared) {
      throw new Error(`the zero frame ${frames.zeroFrame} is not shared`);
    }
    if (!frames.isZero(frames.zeroFrame)) throw new Error(`the zero frame ${frames.zeroFrame} holds other than zeros`);
  }
}

function expectedMappings(frames: FrameTable, mpn: number): number {
  switch (frames.states[mpn]) {
    case FrameState.private:
      return 1;
    case FrameState.shared:
      return frames.referenceCounts[mpn];
    default:
      return 0;
  }
}

/** Checks one VM's pages against the frames they name, and adds to `mapped` for each frame. */
function auditPmap(pmap: Pmap, frames: FrameTable, swapFile: SwapFile | undefined, mapped: Int32Array): void {
  const found = new Int32Array(pmap.counts.length);
  for (let ppn = 0; ppn < pmap.pages; ppn++) {
    const state = pmap.stateOf(ppn), mpn = pmap.mpns[ppn];
    found[state]++;
    const fault = pageFault(pmap, ppn, frames, swapFile);
    if (fault !== undefined) throw new Error(`page ${ppn} of VM "${pmap.vm.name}" (${stateName(state)}) ${fault}`);
    if (!pmap.isHashTrue(ppn)) {
      throw new Error(`page ${ppn} of VM "${pmap.vm.name}" (${stateName(state)}) was changed without a word of it`);
    }
    if (mpn !== NO_FRAME) mapped[mpn]++;
  }
  for (const [name, state] of Object.entries(PageState)) {
    if (found[state] !== pmap.counts[state]) {
      throw new Error(
        `${found[state]} pages of VM "${pmap.vm.name}" are ${name}, but the total says ${pmap.counts[state]}`,
      );
    }
  }
}

/** What is wrong with a page, or undefined. */
function pageFault(pmap: Pmap, ppn: Ppn, frames: FrameTable, swapFile: SwapFile | undefined): string | undefined {
  const state = pmap.stateOf(ppn), mpn = pmap.mpns[ppn];
  if (mpn !== NO_FRAME && !(mpn >= 0 && mpn < frames.totalFrames)) return `names frame ${mpn}, which does not exist`;
  const holdsSwap = swapFile?.holds(pmap.vm, ppn) ?? false;
  if (holdsSwap !== (state === PageState.swapped)) return holdsSwap ? "is kept in the swap file" : "is not swapped out";
  switch (state) {
    case PageState.absent:
    case PageState.ballooned:
    case PageState.swapped:
      return mpn === NO_FRAME ? undefined : `holds frame ${mpn}`;
    case PageState.private:
      if (frames.states[mpn] !== FrameState.private) return `holds frame ${mpn}, which is not private`;
      return frames.ownerVm[mpn] === pmap.vm.id && frames.ownerPpn[mpn] === ppn
        ? undefined
        : `holds frame ${mpn}, which belongs to page ${frames.ownerPpn[mpn]} of VM number ${frames.ownerVm[mpn]}`;
    case PageState.shared:
      if (mpn === frames.zeroFrame) return `shares frame ${mpn}, which is the zero frame`;
      return frames.states[mpn] === FrameState.shared ? undefined : `shares frame ${mpn}, which is not shared`;
    case PageState.zero:
      return mpn === frames.zeroFrame ? undefined : `maps frame ${mpn}; the zero frame is ${frames.zeroFrame}`;
    default:
      return "has no state";
  }
}

function stateName(state: PageState): string {
  return Object.entries(PageState).find(([, value]) => value === state)?.[0] ?? `state ${state}`;
}
