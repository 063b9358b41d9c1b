// Which slot of the swap file holds which page, and a checksum of each, so that a page comes back as it was written or
// not at all.

import type { Vm } from "../../core/mod.ts";
import { PAGE_SIZE, PageHash, type Ppn, type SwapFile } from "../memory/mod.ts";
import { SwapReadError } from "./services.ts";
import type { Store } from "./store.ts";

/** No slot. */
const NONE = -1;
const FIRST_CAPACITY = 1024;

/** What the table tells as it happens. */
export interface SlotEvents {
  pageRead(vm: Vm): void;
  pageWritten(vm: Vm): void;
}

export class SlotTable implements SwapFile {
  usedSlots = 0;
  /** By VM id: slot of every page. */
  readonly #slots = new Map<number, Int32Array>();
  /** Slots given back, used again from the last; those from `#firstFresh` on were never used. */
  readonly #free: number[] = [];
  #firstFresh = 0;
  /** Checksums by slot, two words each. */
  #checksums = new Int32Array(2 * FIRST_CAPACITY);
  readonly #words = new Int32Array(PAGE_SIZE / 4);
  readonly #bytes = new Uint8Array(this.#words.buffer);
  readonly #hash = new PageHash();

  /** `pagesOf` says how many pages a VM has; `totalSlots` how many the file may hold. */
  constructor(
    readonly store: Store,
    readonly totalSlots: number,
    readonly pagesOf: (vm: Vm) => number,
    readonly events: SlotEvents,
  ) {}

  /** Writes to a free slot; the page is in the table only once all of it is written. */
  write(vm: Vm, ppn: Ppn, contents: Uint8Array): void {
    const slot = this.#free.at(-1) ?? this.#firstFresh;
    if (slot >= this.totalSlots) {
      throw new Error(`all ${this.totalSlots} pages of it are used; let it be larger: swap.sizeMib`);
    }
    this.#bytes.set(contents);
    this.store.write(slot, this.#bytes);
    if (slot === this.#firstFresh) this.#firstFresh++;
    else this.#free.pop();
    this.#keepChecksum(slot);
    this.#slotsOf(vm)[ppn] = slot;
    this.usedSlots++;
    this.events.pageWritten(vm);
  }

  /** Throws SwapReadError where the page does not come back as it was written. */
  read(vm: Vm, ppn: Ppn, target: Uint8Array): void {
    const slot = this.#slots.get(vm.id)?.[ppn] ?? NONE;
    if (slot === NONE) throw new Error(`page ${ppn} of VM "${vm.name}" is not in the swap file`);
    const what = `page ${ppn} of VM "${vm.name}" cannot be read from the swap file`;
    try {
      this.store.read(slot, this.#bytes);
    } catch (cause) {
      throw new SwapReadError(`${what}: ${cause instanceof Error ? cause.message : cause}`, { cause });
    }
    const sums = this.#checksums, [low, high] = this.#checksum();
    if (sums[2 * slot] !== low || sums[2 * slot + 1] !== high) {
      throw new SwapReadError(`${what}: slot ${slot} does not hold what was written to it`);
    }
    target.set(this.#bytes);
  }

  forget(vm: Vm, ppn: Ppn, reason: "read" | "dropped"): void {
    const slots = this.#slotsOf(vm);
    const slot = slots[ppn];
    if (slot === NONE) throw new Error(`page ${ppn} of VM "${vm.name}" is not in the swap file`);
    slots[ppn] = NONE;
    this.#free.push(slot);
    if (--this.usedSlots === 0) this.#empty();
    if (reason === "read") this.events.pageRead(vm);
  }

  holds(vm: Vm, ppn: Ppn): boolean {
    return (this.#slots.get(vm.id)?.[ppn] ?? NONE) !== NONE;
  }

  /** The last page is gone: what the file takes on the disk is given back. */
  #empty(): void {
    this.#free.length = this.#firstFresh = 0;
    this.store.close();
  }

  #slotsOf(vm: Vm): Int32Array {
    let slots = this.#slots.get(vm.id);
    if (slots === undefined) this.#slots.set(vm.id, slots = new Int32Array(this.pagesOf(vm)).fill(NONE));
    return slots;
  }

  #keepChecksum(slot: number): void {
    if (2 * slot >= this.#checksums.length) {
      const larger = new Int32Array(2 * this.#checksums.length);
      larger.set(this.#checksums);
      this.#checksums = larger;
    }
    this.#checksums.set(this.#checksum(), 2 * slot);
  }

  /** Of what is in the buffer; a page of zeros has zeros. */
  #checksum(): readonly [low: number, high: number] {
    return this.#hash.of(this.#words, 0) ? [this.#hash.low, this.#hash.high] : [0, 0];
  }
}
