// What the swap plugin asks and offers: which pages to write out, a last chance to share them instead, and paging itself
// (ESX paper, sections 3.3 and 4.3).

import { decide, observe, service, type Vm, VmFailure } from "../../core/mod.ts";
import type { Ppn } from "../memory/mod.ts";

/** The question of `chooseVictims`. */
export interface VictimRequest {
  readonly vm: Vm;
  /** How many pages are wanted. */
  readonly count: number;
}

/**
 * Which pages of a VM go to the swap file: pages that hold a frame of their own, without repetition; others are passed
 * over. What is missing, or all of it where nobody answers, is chosen at random.
 */
export const chooseVictims = decide<VictimRequest, readonly Ppn[]>("swap.chooseVictims");

/**
 * Asked before a page is written out: whoever gave its frame back in another way, as by sharing it, answers true, and the
 * page stays in memory (ESX paper, section 4.3: share before swap).
 */
export const beforeSwap = decide<{ readonly vm: Vm; readonly ppn: Ppn }, true>("swap.beforeSwap");

/** The swap file began to fail, or works again: `reason` is then undefined. */
export const swapFailed = observe<{ readonly reason: string | undefined }>("swap.failed");

/** Paging for whoever decides how many pages of which VM. */
export interface Pager {
  /** Pages that the swap file holds, and can hold. */
  readonly usedPages: number;
  readonly totalPages: number;
  /** Why the last page could not be written; undefined while all is well. */
  readonly failure: string | undefined;
  /** Host time that the disk takes for a page. */
  readonly writePageNs: number;
  readonly readPageNs: number;
  /**
   * Gives back frames of a VM by writing pages out, up to `count`; returns how many. Fewer, where it has no more, or
   * where the disk fails: see `failure`. `waiting` is the VM that waits for it, and is charged; nobody: done in passing.
   */
  pageOut(vm: Vm, count: number, waiting?: Vm): number;
}

export const pager = service<Pager>("swap.pager");

/** A page could not be read back as it was written: its VM cannot go on. */
export class SwapReadError extends VmFailure {
  override name = "SwapReadError";
}
