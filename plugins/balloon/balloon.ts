// The balloon of one VM, whatever protocol its driver speaks: which pages it holds, and how large it shall be (ESX paper,
// section 3.2). That a page is ballooned is kept by the memory plugin, as its page state, and nowhere else.

import type { Vm } from "../../core/mod.ts";
import { type GuestMemory, type Mechanism, PageState, type Ppn } from "../memory/mod.ts";

/** What the host counts over all VMs. */
export interface BalloonCounters {
  /** Requests to take pages, and to give them back. */
  readonly inflateCount: { value: number };
  readonly deflateCount: { value: number };
  readonly inflatedPages: { value: number };
  readonly deflatedPages: { value: number };
  /** Pages that the guest used while they were in the balloon. */
  readonly poppedPages: { value: number };
  /** Pages offered or wanted back that could not be taken or given. */
  readonly refusedPages: { value: number };
}

export interface BalloonParts {
  readonly vm: Vm;
  readonly memory: GuestMemory;
  readonly mechanism: Mechanism;
  readonly counters: BalloonCounters;
  /** Pages in the balloon, as the memory plugin counts them. */
  readonly actualPages: () => number;
  /** Largest size, in pages. */
  readonly mostPages: number;
  /** Charges host time for so many pages moved. */
  readonly charge: (pages: number) => void;
}

/** What became of a page that was to be moved. */
export type Outcome = "moved" | "invalid" | "locked" | "unlocked";

export class Balloon {
  /** Sizes that were asked for, in pages: by hand, and by the allocator. The larger one counts. */
  #byHand = 0;
  #byAllocator = 0;

  constructor(readonly parts: BalloonParts) {}

  get actualPages(): number {
    return this.parts.actualPages();
  }

  get targetPages(): number {
    return Math.min(Math.max(this.#byHand, this.#byAllocator), this.parts.mostPages);
  }

  get byHand(): number {
    return this.#byHand;
  }
  set byHand(pages: number) {
    this.#byHand = wholePages(pages);
  }

  get byAllocator(): number {
    return this.#byAllocator;
  }
  set byAllocator(pages: number) {
    this.#byAllocator = wholePages(pages);
  }

  /** Takes a page in: its frame is free at once, its contents are gone. */
  inflate(ppn: Ppn): Outcome {
    const { memory, mechanism, vm, counters } = this.parts;
    const outcome = !this.#isPage(ppn) ? "invalid" : memory.stateOf(ppn) === PageState.ballooned ? "locked" : "moved";
    if (outcome === "moved") mechanism.release(vm, ppn, PageState.ballooned);
    this.#count(outcome, counters.inflatedPages);
    return outcome;
  }

  /** Lets a page go: it reads as zeros, as if never touched. */
  deflate(ppn: Ppn): Outcome {
    const { memory, mechanism, vm, counters } = this.parts;
    const outcome = !this.#isPage(ppn) ? "invalid" : memory.stateOf(ppn) === PageState.ballooned ? "moved" : "unlocked";
    if (outcome === "moved") mechanism.release(vm, ppn, PageState.absent);
    this.#count(outcome, counters.deflatedPages);
    return outcome;
  }

  /** Lets every page go. */
  empty(): void {
    const { memory, mechanism, vm, counters } = this.parts;
    let left = this.actualPages;
    counters.deflatedPages.value += left;
    this.moved(left);
    for (let ppn = 0; left > 0 && ppn < memory.pages; ppn++) {
      if (memory.stateOf(ppn) !== PageState.ballooned) continue;
      mechanism.release(vm, ppn, PageState.absent);
      left--;
    }
  }

  /**
   * Accounts for a request that moved pages. The turn ends with it: a guest that asks for nothing else must not keep the
   * host from its other work.
   */
  moved(pages: number): void {
    this.parts.charge(pages);
    this.parts.vm.clock.endTurn();
  }

  #isPage(ppn: Ppn): boolean {
    return ppn >= 0 && ppn < this.parts.memory.pages;
  }

  #count(outcome: Outcome, moved: { value: number }): void {
    if (outcome === "moved") moved.value++;
    else this.parts.counters.refusedPages.value++;
  }
}

function wholePages(pages: number): number {
  return Math.max(0, Math.floor(pages));
}
