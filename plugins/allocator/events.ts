// What the allocator asks, tells and offers: targets in pages for every VM, the balloon as its first means, and the state
// of free memory (ESX paper, sections 5 and 6.3). Policies answer from the snapshots here and see no VM.

import { decide, observe, service, type Vm } from "../../core/mod.ts";

/** States of free memory, from plenty to none (ESX paper, section 6.3). */
export const reclamationStates = ["high", "soft", "hard", "low"] as const;
export type ReclamationState = (typeof reclamationStates)[number];

/** One VM's memory as a policy sees it, in pages of 4 KiB. Plain data: a copy, taken when the question is asked. */
export interface VmMemory {
  readonly name: string;
  /** Relative claim on memory. */
  readonly shares: number;
  /** Never less than this is its target. */
  readonly minPages: number;
  /** Its "physical" memory; never more than this is its target. */
  readonly maxPages: number;
  /** Pages that hold machine memory now, alone or shared; each counts in full. */
  readonly allocatedPages: number;
  readonly sharedPages: number;
  readonly balloonedPages: number;
  readonly swappedPages: number;
  /** The target until now: its maximum before the first. */
  readonly targetPages: number;
  /** Estimated part of its maximum that is in active use, from 0 to 1; undefined while nothing is known. */
  readonly activeFraction?: number;
  /** `activeFraction` in pages. */
  readonly activePages?: number;
}

/** The question of `targets`. */
export interface TargetsQuestion {
  /**
   * Pages to be given out: machine memory, less the hypervisor's own and what must be free for the state `high` to come
   * back, and more what sharing saves. The targets of all VMs should come to no more.
   */
  readonly pages: number;
  /** VMs that have not ended, in the order of their admission. */
  readonly vms: readonly VmMemory[];
  readonly hostTimeNs: number;
}

/**
 * How many pages each VM shall have, in the order of `vms`. The allocator rounds down, clamps each to [min, max], and
 * takes what exceeds `pages` in sum from all in proportion to what they have above their minimum. Nobody answers:
 * proportional shares within [min, max].
 */
export const targets = decide<TargetsQuestion, readonly number[]>("allocator.targets");

/** What a VM pays for its pages, as a policy sees it: one beyond `activePages` counts as `idlePageCost` pages. */
export interface PageCost {
  readonly activePages: number;
  readonly idlePageCost: number;
}

/**
 * What pages cost, in the order of `vms`; asked whenever targets are computed. Where memory must be taken from VMs above their
 * targets, it is taken from the one that has the lowest ratio of shares to cost (ESX paper, section 5.2). Nobody answers:
 * every page costs the same.
 */
export const pageCosts = decide<TargetsQuestion, readonly PageCost[]>("allocator.pageCosts");

/** The question of `balloon`: how large a VM's balloon shall be, in pages. Repeated whenever that changes. */
export interface BalloonQuestion {
  readonly vm: Vm;
  readonly pages: number;
}

/**
 * Asks for a balloon of a size. `reachable`: a driver is there and will work towards it, in its own time. Otherwise, or
 * when nobody answers, or when pages do not come as fast as the state demands, the allocator pages instead.
 */
export const balloon = decide<BalloonQuestion, { readonly reachable: boolean }>("allocator.balloon");

/** Free memory has come into another state. */
export const stateChanged = observe<{
  readonly from: ReclamationState;
  readonly to: ReclamationState;
  readonly freeFrames: number;
}>("allocator.stateChanged");

/** A VM has another target, in pages. */
export const targetChanged = observe<{ readonly vm: Vm; readonly fromPages: number; readonly toPages: number }>(
  "allocator.targetChanged",
);

/** The allocator for others. */
export interface Allocation {
  readonly state: ReclamationState;
  /** What a VM has, shall have and is due, now. Of an ended VM: as it was when it ended. */
  of(vm: Vm): VmMemory;
  /** Changes a VM's shares or minimum while it runs. Throws InputError for what cannot be promised. */
  set(vm: Vm, change: { readonly shares?: number; readonly minPages?: number }): void;
  /** Computes targets anew and acts on them, as after any change that only the caller knows of. */
  rebalance(): void;
}

export const allocation = service<Allocation>("allocator.allocation");
