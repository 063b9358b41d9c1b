// The guest's TLB, which is part of the machine: its size, hash and replacement, and its separate instruction side, are the
// same in every engine, because refills set A and D bits and Linux clears A without flushing. An entry has a guest half
// (linear page -> PPN and rights, as the guest's tables said) and a host half (tags and frame, as fast paths use it).
// Dropping a host half is invisible: refilling it walks no guest table.

import type { Saved } from "../../core/mod.ts";
import { type KeptEntries, NO_PAGE as NO_TAG } from "./kept_entries.ts";

/** Guest-half rights, as the page tables granted them when the entry was filled. */
export const Right = { user: 1, write: 2, dirty: 4, global: 8, large: 16 } as const;

/** One direct-mapped TLB, indexed by the low bits of the linear page number. */
export class Tlb {
  /** Guest half: the linear page's address (NO_TAG when empty), its PPN, its rights. */
  readonly page: Int32Array;
  readonly ppn: Int32Array;
  readonly rights: Uint8Array;
  /**
   * Host half: per entry four words: tag for reads, addend from linear to machine address, tag for writes, MPN, so that
   * translated code has the addend with either tag in one load; first the bank for CPL 0 to 2, then that for CPL 3.
   */
  host: Int32Array;
  readonly mask: number;
  readonly userBank: number;
  /** Indices of entries that were filled, so that a flush costs what was filled; and whether an index is among them. */
  readonly #filled: Int32Array;
  readonly #isListed: Uint8Array;
  #filledCount = 0;

  constructor(readonly entries: number) {
    this.mask = entries - 1;
    this.userBank = entries * 4;
    this.page = new Int32Array(entries).fill(NO_TAG);
    this.ppn = new Int32Array(entries);
    this.rights = new Uint8Array(entries);
    this.host = new Int32Array(entries * 8).fill(NO_TAG);
    this.#filled = new Int32Array(entries);
    this.#isListed = new Uint8Array(entries);
  }

  /** Moves the host half to where an engine wants it; `target` has the same length. */
  moveHostTo(target: Int32Array): void {
    target.set(this.host);
    this.host = target;
  }

  index(linear: number): number {
    return (linear >>> 12) & this.mask;
  }

  /** Whether the guest half of `linear`'s entry is for its page. */
  hits(index: number, linear: number): boolean {
    return this.page[index] === (linear & 0xfffff000);
  }

  isEmpty(index: number): boolean {
    return this.page[index] === NO_TAG;
  }

  /** Replaces an entry's guest half; its host half is to be filled again. */
  fill(index: number, linear: number, ppn: number, rights: number): void {
    if (this.#isListed[index] === 0) {
      this.#isListed[index] = 1;
      this.#filled[this.#filledCount++] = index;
    }
    this.page[index] = linear & 0xfffff000;
    this.ppn[index] = ppn;
    this.rights[index] = rights;
    this.dropHost(index);
  }

  /** Fills the host half for one bank. */
  fillHost(index: number, bank: number, mpn: number, writable: boolean): void {
    const at = bank + index * 4, page = this.page[index];
    this.host[at] = page;
    this.host[at + 1] = ((mpn << 12) - page) | 0;
    this.host[at + 2] = writable ? page : NO_TAG;
    this.host[at + 3] = mpn;
  }

  /** Drops every entry, or every one that is not global. */
  flush(keepGlobal: boolean): void {
    let kept = 0;
    for (let i = 0; i < this.#filledCount; i++) {
      const index = this.#filled[i];
      if (keepGlobal && this.page[index] !== NO_TAG && (this.rights[index] & Right.global) !== 0) {
        this.#filled[kept++] = index;
        continue;
      }
      this.#remove(index);
    }
    this.#filledCount = kept;
  }

  /** Moves every entry that is not global to `target`, which is empty. */
  moveOut(target: KeptEntries): void {
    let kept = 0;
    for (let i = 0; i < this.#filledCount; i++) {
      const index = this.#filled[i], page = this.page[index];
      if (page !== NO_TAG) {
        if ((this.rights[index] & Right.global) !== 0) {
          this.#filled[kept++] = index;
          continue;
        }
        target.add(index, page, this.ppn[index], this.rights[index]);
      }
      this.#remove(index);
    }
    this.#filledCount = kept;
  }

  /** Moves kept entries back to where there are none, calls `filled` for each index, and empties `source`. */
  moveIn(source: KeptEntries, filled: (index: number) => void): void {
    for (let i = 0; i < source.count; i++) {
      const index = source.filled[i], page = source.page[index];
      if (page === NO_TAG || this.page[index] !== NO_TAG) continue;
      this.fill(index, page, source.ppn[index], source.rights[index]);
      filled(index);
    }
    source.empty();
  }

  /** Drops the entry of a linear page, if it is here and not global; whether it was. */
  drop(linear: number): boolean {
    const index = this.index(linear);
    if (!this.hits(index, linear) || (this.rights[index] & Right.global) !== 0) return false;
    this.page[index] = NO_TAG;
    this.dropHost(index);
    return true;
  }

  /** Drops the entries that are not global and whose page agrees with `linear` in the bits of `mask`; how many. */
  dropRange(linear: number, mask: number): number {
    let dropped = 0;
    for (let i = 0; i < this.#filledCount; i++) {
      const page = this.page[this.#filled[i]];
      if (page !== NO_TAG && ((page ^ linear) & mask) === 0 && this.drop(page)) dropped++;
    }
    return dropped;
  }

  /** Drops the entries of one page, and with it all parts of the large page that it may lie in. */
  flushPage(linear: number, largePageMask: number): void {
    let kept = 0;
    for (let i = 0; i < this.#filledCount; i++) {
      const index = this.#filled[i], page = this.page[index];
      const isLarge = (this.rights[index] & Right.large) !== 0;
      const differs = (page ^ linear) & (isLarge ? largePageMask : 0xfffff000);
      if (page !== NO_TAG && differs !== 0) {
        this.#filled[kept++] = index;
        continue;
      }
      this.#remove(index);
    }
    this.#filledCount = kept;
  }

  /** Drops all host halves. */
  dropHostHalves(): void {
    for (let i = 0; i < this.#filledCount; i++) this.dropHost(this.#filled[i]);
  }

  /** Drops the host halves of one guest-physical page. */
  dropPpn(ppn: number): void {
    for (let i = 0; i < this.#filledCount; i++) {
      const index = this.#filled[i];
      if (this.ppn[index] === ppn) this.dropHost(index);
    }
  }

  /** Takes the right to write through the fast path from every entry of a frame. */
  dropWriteTags(mpn: number): void {
    for (let i = 0; i < this.#filledCount; i++) {
      const at = this.#filled[i] * 4;
      if (this.host[at + 3] === mpn) this.host[at + 2] = NO_TAG;
      if (this.host[this.userBank + at + 3] === mpn) this.host[this.userBank + at + 2] = NO_TAG;
    }
  }

  /** Takes the right to write through the fast path from every entry of a guest-physical page. */
  dropWriteTagsOfPpn(ppn: number): void {
    for (let i = 0; i < this.#filledCount; i++) {
      const index = this.#filled[i], at = index * 4;
      if (this.ppn[index] === ppn) this.host[at + 2] = this.host[this.userBank + at + 2] = NO_TAG;
    }
  }

  /** Drops an entry, which is then no longer listed. */
  #remove(index: number): void {
    this.#isListed[index] = 0;
    this.page[index] = NO_TAG;
    this.dropHost(index);
  }

  /** Drops the host halves of one entry. */
  dropHost(index: number): void {
    const at = index * 4, user = this.userBank + at;
    this.host[at] =
      this.host[at + 2] =
      this.host[user] =
      this.host[user + 2] =
        NO_TAG;
    this.host[at + 3] = this.host[user + 3] = -1;
  }

  /** The guest halves; host halves are derived. */
  save(): Saved {
    const filled = [...this.#filled.subarray(0, this.#filledCount)].filter((index) => this.page[index] !== NO_TAG);
    return filled.map((index) => [index, this.page[index], this.ppn[index], this.rights[index]]);
  }

  restore(saved: Saved): void {
    this.flush(false);
    for (const [index, page, ppn, rights] of saved as [number, number, number, number][]) {
      this.fill(index, page, ppn, rights);
    }
  }
}
