// What the memory plugin offers: machine memory cut into frames, each VM's guest-physical memory behind a pmap, and the
// host-side page information that policies read (ESX paper, section 2: PPN -> MPN).

import { decide, observe, service, type Vm, VmFailure } from "../../core/mod.ts";

/** Bytes in a page or frame, and its binary logarithm. */
export const PAGE_SIZE = 4096, PAGE_SHIFT = 12;

/** Guest-physical page number; machine frame number. */
export type Ppn = number;
export type Mpn = number;

/**
 * State of a guest-physical page. `absent`: never touched, reads as zeros; `zero`: mapped to the common zero frame;
 * `private`: a frame of its own; `shared`: a frame shared copy-on-write; `ballooned`: given back by the guest;
 * `swapped`: contents are in the swap file.
 */
export const PageState = { absent: 0, zero: 1, private: 2, shared: 3, ballooned: 4, swapped: 5 } as const;
export type PageState = (typeof PageState)[keyof typeof PageState];

/** Machine memory and the frames it is cut into. */
export interface MachineMemory {
  /**
   * Machine memory: frame `mpn` lies at byte `mpn * PAGE_SIZE`, and behind the last frame is an area for what an engine's code
   * reads of the running processor, which no pmap can name. Of full size from the start; its buffer never changes.
   */
  readonly memory: WebAssembly.Memory;
  /** The frames. */
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly totalFrames: number;
  readonly freeFrames: number;
  /** Frames by owner state, for reports. */
  frameCounts(): { free: number; private: number; shared: number; hypervisor: number };
  /** Throws, naming the frame, unless every frame is in exactly one state and all totals add up (law 3). */
  audit(): void;
}

/** One VM's guest-physical memory. Devices, boot and the MMU see this and nothing below it. */
export interface GuestMemory {
  /** Size in pages. */
  readonly pages: number;
  stateOf(ppn: Ppn): PageState;
  /**
   * The frame to read a page through, allocated zeroed on first touch; marks it accessed on the host side.
   * `ppn` must be below `pages`.
   */
  frameForRead(ppn: Ppn): Mpn;
  /** The frame to write a page through: like `frameForRead`, breaks sharing, marks it accessed and dirty. */
  frameForWrite(ppn: Ppn): Mpn;
  /** The frame of a page that `frameForRead` would return without doing or noting anything; otherwise -1. */
  frameAtHand(ppn: Ppn): Mpn;
  /** Whether a page can be written through the frame it has now, without `frameForWrite` having to do anything. */
  isWritable(ppn: Ppn): boolean;
  /** Copies guest-physical bytes out. Bytes beyond the end of memory read as 0xFF. As DMA does. */
  read(physical: number, target: Uint8Array): void;
  /** Copies bytes in, announcing them by `written`. Bytes beyond the end of memory are dropped. As DMA does. */
  write(physical: number, source: Uint8Array): void;
  /** Contents without touching anything (absent pages: undefined, which means zeros). For hashing and inspection. */
  peek(ppn: Ppn): Uint8Array | undefined;
  /** Pages that hold a frame of machine memory. */
  readonly allocatedPages: number;
}

/** Host-side information about pages, for policies. These bits are never the guest's own. */
export interface Pages {
  /** Number of guest-physical pages of a VM. */
  count(vm: Vm): number;
  stateOf(vm: Vm, ppn: Ppn): PageState;
  /** Whether the page was used since that was last cleared. Costs the VM nothing. */
  isAccessed(vm: Vm, ppn: Ppn): boolean;
  /** Whether the page was used since the last call for it; the next use is noticed again. */
  testAndClearAccessed(vm: Vm, ppn: Ppn): boolean;
  testAndClearDirty(vm: Vm, ppn: Ppn): boolean;
  /** `count` distinct PPNs chosen uniformly at random (all pages, if `count` exceeds them), by the given random source. */
  sample(vm: Vm, count: number, below: (bound: number) => number): Ppn[];
}

/** Where the contents of `swapped` pages are. Provided by a swap plugin through `Mechanism.setSwapFile`. */
export interface SwapFile {
  /** Keeps a page's contents. May throw; then nothing changes. */
  write(vm: Vm, ppn: Ppn, contents: Uint8Array): void;
  /** Copies the contents of a page that was written and not forgotten since. Changes nothing. */
  read(vm: Vm, ppn: Ppn, target: Uint8Array): void;
  /** The contents are in memory again, or nobody needs them. `read` tells which of the two happened. */
  forget(vm: Vm, ppn: Ppn, reason: "read" | "dropped"): void;
  /** Whether contents of this page are kept. For the audit. */
  holds(vm: Vm, ppn: Ppn): boolean;
}

/**
 * Transitions between page states, for the mechanisms above this one (page sharing, balloon, swap). Each keeps every
 * invariant of law 3 by itself, drops host halves by `mappingChanged`, and never changes what the guest reads, except
 * for `release` to absent or ballooned, which is for contents that the guest gave up.
 */
export interface Mechanism {
  /** The frame behind a page, or undefined. Touches nothing. */
  frameOf(vm: Vm, ppn: Ppn): Mpn | undefined;
  /** Pages that a shared frame stands for; 1 for a private frame, 0 for any other. */
  references(mpn: Mpn): number;
  /**
   * Lets a page use frame `mpn`, copy-on-write, and frees its own. A private `mpn` becomes shared with the page that
   * owns it. False, and nothing changes, unless both are in memory and equal byte by byte (ESX paper, section 4.1).
   */
  share(vm: Vm, ppn: Ppn, mpn: Mpn): boolean;
  /** Lets a page use the common zero frame. False, and nothing changes, unless it is absent or all zeros in memory. */
  mapZero(vm: Vm, ppn: Ppn): boolean;
  /** Gives a shared or zero page a frame of its own, as a write does; a page that is not shared stays as it is. */
  breakSharing(vm: Vm, ppn: Ppn): void;
  /**
   * Takes a page's frame away. To `swapped`, contents go to the swap file; to `absent` and `ballooned` they are gone.
   * From `ballooned` and `swapped`, too. Throws for a page without contents that shall be swapped.
   */
  release(vm: Vm, ppn: Ppn, to: typeof PageState.absent | typeof PageState.ballooned | typeof PageState.swapped): void;
  /** Takes a zeroed frame for the hypervisor's own use, such as a VM's overhead. Throws OutOfMachineMemory. */
  takeHypervisorFrame(): Mpn;
  returnHypervisorFrame(mpn: Mpn): void;
  /** Names the keeper of swapped pages; a second one is an error. */
  setSwapFile(swapFile: SwapFile): void;
}

/** Pages of a VM by what became of them. Of an ended VM: as they were when it ended. */
export interface VmMemoryReport {
  readonly maxPages: number;
  /** Pages that hold a frame, alone or with others. */
  readonly allocatedPages: number;
  /** Pages whose frame is shared copy-on-write, the zero frame included. */
  readonly sharedPages: number;
  readonly zeroPages: number;
  readonly balloonedPages: number;
  readonly swappedPages: number;
}

/** Machine memory as a whole, in frames, named as in `--stats`. */
export interface HostMemoryReport {
  readonly totalFrames: number;
  readonly freeFrames: number;
  readonly usedFrames: number;
  /** Frames that stand for one page or more, copy-on-write. */
  readonly sharedFrames: number;
  /** Pages that map shared frames, less those frames. */
  readonly savedFrames: number;
  /** Pages that map the common zero frame. */
  readonly zeroFrames: number;
  readonly hypervisorFrames: number;
  readonly swappedPages: number;
}

/** Figures for reports. */
export interface MemoryReport {
  host(): HostMemoryReport;
  vm(vm: Vm): VmMemoryReport;
}

/** No frame is free and nobody could free one. Admission keeps this from happening unless memory is overcommitted. */
export class OutOfMachineMemory extends VmFailure {
  override name = "OutOfMachineMemory";
}

export const machine = service<MachineMemory>("memory.machine");
/** Guest-physical memory of a VM. */
export const guest = service<(vm: Vm) => GuestMemory>("memory.guest");
export const pages = service<Pages>("memory.pages");
export const mechanism = service<Mechanism>("memory.mechanism");
export const report = service<MemoryReport>("memory.report");

/** The frame behind a page, or the right to write through it, is about to change: engines drop their host halves. */
export const mappingChanged = observe<{ readonly vm: Vm; readonly ppn: Ppn }>("memory.mappingChanged");
/**
 * Bytes of a page were changed by somebody other than the processor: a device wrote them, or the guest gave them up. Restoring
 * a VM is none such change.
 */
export const contentsChanged = observe<
  { readonly vm: Vm; readonly ppn: Ppn; readonly offset: number; readonly size: number }
>("memory.contentsChanged");
/** Somebody other than the processor wrote to a frame: engines drop what they translated from it. */
export const written = observe<{ readonly mpn: Mpn }>("memory.written");
/** A shared frame was freed or belongs to one page again: whoever finds shared frames by contents forgets it. */
export const sharingEnded = observe<{ readonly mpn: Mpn }>("memory.sharingEnded");
/** The guest used a page that it had given to its balloon; the page is absent-like zeros again (ESX paper, section 3.2). */
export const balloonPopped = observe<{ readonly vm: Vm; readonly ppn: Ppn }>("memory.balloonPopped");
/**
 * No frame is free and a page of this VM needs one: whoever can reclaim releases pages and answers true. While somebody
 * listens, memory may be overcommitted, and admission is for others to judge. A frame number that was looked up before
 * another `frameForRead` or `frameForWrite` may be stale after it.
 */
export const reclaim = decide<{ readonly vm: Vm; readonly ppn: Ppn }, true>("memory.reclaim");
