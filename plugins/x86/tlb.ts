// The guest's TLB, which is part of the machine: its size, hash and replacement, and its separate instruction side, are the
// same in every engine, because refills set A and D bits and Linux clears A without flushing. An entry has a guest half
// (linear page -> PPN and rights, as the guest's tables said) and a host half (tags and frame, as fast paths use it).
// Dropping a host half is invisible: refilling it walks no guest table.

import type { Saved } from "../../core/mod.ts";
import { type KeptEntries, NO_PAGE as NO_TAG } from "./kept_entries.ts";

/** Guest-half rights, as the page tables granted them when the entry was filled. */
export const Right = { user: 1, write: 2, dirty: 4, global: 8, large: 16 } as const;

/** A set of indices below `size` that can be gone through; from the last to the first while they are deleted. */
class IndexSet {
  readonly items: Int32Array;
  count = 0;
  readonly #places: Int32Array;

  constructor(size: number) {
    this.items = new Int32Array(size);
    this.#places = new Int32Array(size).fill(-1);
  }

  add(index: number): void {
    this.#places[index] = this.count;
    this.items[this.count++] = index;
  }

  /** Takes out an index that is in. The last one gets its place. */
  delete(index: number): void {
    const place = this.#places[index], last = this.items[--this.count];
    this.items[place] = last;
    this.#places[last] = place;
    this.#places[index] = -1;
  }
}

/** Large pages are counted by what of the address space lies in the smaller kind of them, 2 MiB. */
const REGION_SHIFT = 21, REGIONS = 1 << (32 - REGION_SHIFT);

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
  /** Where the host half is unless an engine wants it elsewhere. */
  readonly #home: Int32Array;
  /** Entries in use, so that a flush costs what there is: those that a load of CR3 drops, and the global ones. */
  readonly #local: IndexSet;
  readonly #global: IndexSet;
  readonly #sets: readonly IndexSet[];
  /** Indices whose host half was filled since all were dropped, and whether one is among them. */
  readonly #hosted: Int32Array;
  readonly #isHosted: Uint8Array;
  #hostedCount = 0;
  /** Grows whenever a host half holds less than it did, or other things. */
  revision = 0;
  /** Parts of large pages in use, by region. */
  readonly #large = new Uint16Array(REGIONS);

  constructor(readonly entries: number) {
    this.mask = entries - 1;
    this.userBank = entries * 4;
    this.page = new Int32Array(entries).fill(NO_TAG);
    this.ppn = new Int32Array(entries);
    this.rights = new Uint8Array(entries);
    this.host = this.#home = new Int32Array(entries * 8).fill(NO_TAG);
    this.#local = new IndexSet(entries);
    this.#global = new IndexSet(entries);
    this.#sets = [this.#local, this.#global];
    this.#hosted = new Int32Array(entries);
    this.#isHosted = new Uint8Array(entries);
  }

  /**
   * Has the host half lie where an engine wants it, or home; it is empty then, and fills again as it is missed. `target` has
   * the same length and is empty, too: so is what is left.
   */
  moveHostTo(target = this.#home): void {
    this.dropHostHalves();
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
    if (this.page[index] !== NO_TAG) this.#unlist(index);
    this.page[index] = linear & 0xfffff000;
    this.ppn[index] = ppn;
    this.rights[index] = rights;
    (rights & Right.global ? this.#global : this.#local).add(index);
    if (rights & Right.large) this.#large[linear >>> REGION_SHIFT]++;
    this.dropHost(index);
  }

  /** Fills the host half for one bank. */
  fillHost(index: number, bank: number, mpn: number, writable: boolean): void {
    const at = bank + index * 4, page = this.page[index];
    if (this.host[at] !== NO_TAG && (this.host[at + 3] !== mpn || (!writable && this.host[at + 2] !== NO_TAG))) {
      this.revision++;
    }
    if (this.#isHosted[index] === 0) {
      this.#isHosted[index] = 1;
      this.#hosted[this.#hostedCount++] = index;
    }
    this.host[at] = page;
    this.host[at + 1] = ((mpn << 12) - page) | 0;
    this.host[at + 2] = writable ? page : NO_TAG;
    this.host[at + 3] = mpn;
  }

  /** Whether a page's accesses in a bank, or its stores, have the fast path. */
  isFast(linear: number, bank: number, isWrite: boolean): boolean {
    return this.host[bank + this.index(linear) * 4 + (isWrite ? 2 : 0)] === (linear & 0xfffff000);
  }

  /** Drops every entry, or every one that is not global. */
  flush(keepGlobal: boolean): void {
    const { items } = this.#local;
    while (this.#local.count > 0) this.#remove(items[this.#local.count - 1]);
    if (keepGlobal) return;
    while (this.#global.count > 0) this.#remove(this.#global.items[this.#global.count - 1]);
  }

  /** Moves every entry that is not global to `target`, which is empty. */
  moveOut(target: KeptEntries): void {
    const { items } = this.#local;
    for (let i = 0; i < this.#local.count; i++) {
      const index = items[i];
      target.add(index, this.page[index], this.ppn[index], this.rights[index]);
    }
    this.flush(true);
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
    this.#remove(index);
    return true;
  }

  /** Drops the entries that are not global and whose page agrees with `linear` in the bits of `mask`; how many. */
  dropRange(linear: number, mask: number): number {
    const before = this.#local.count;
    for (let i = before - 1; i >= 0; i--) {
      const index = this.#local.items[i];
      if (((this.page[index] ^ linear) & mask) === 0) this.#remove(index);
    }
    return before - this.#local.count;
  }

  /** Drops the entries of one page, and with it all parts of the large page that it may lie in. */
  flushPage(linear: number, largePageMask: number): void {
    const index = this.index(linear);
    if (this.hits(index, linear)) this.#remove(index);
    const first = (linear & largePageMask) >>> REGION_SHIFT, last = (linear | ~largePageMask) >>> REGION_SHIFT;
    if (this.#large[first] + this.#large[last] === 0) return;
    for (const set of this.#sets) {
      for (let i = set.count - 1; i >= 0; i--) {
        const part = set.items[i];
        const isPart = (this.rights[part] & Right.large) !== 0 && ((this.page[part] ^ linear) & largePageMask) === 0;
        if (isPart) this.#remove(part);
      }
    }
  }

  /** Drops all host halves. */
  dropHostHalves(): void {
    for (let i = 0; i < this.#hostedCount; i++) {
      this.dropHost(this.#hosted[i]);
      this.#isHosted[this.#hosted[i]] = 0;
    }
    this.#hostedCount = 0;
  }

  /** Drops the host halves of one guest-physical page. */
  dropPpn(ppn: number): void {
    for (let i = 0; i < this.#hostedCount; i++) {
      if (this.ppn[this.#hosted[i]] === ppn) this.dropHost(this.#hosted[i]);
    }
  }

  /** Takes the right to write through the fast path from every entry of a frame. */
  dropWriteTags(mpn: number): void {
    const { host, userBank } = this;
    this.revision++;
    for (let i = 0; i < this.#hostedCount; i++) {
      const at = this.#hosted[i] * 4;
      if (host[at + 3] === mpn) host[at + 2] = NO_TAG;
      if (host[userBank + at + 3] === mpn) host[userBank + at + 2] = NO_TAG;
    }
  }

  /** Takes the right to write through the fast path from every entry of a guest-physical page. */
  dropWriteTagsOfPpn(ppn: number): void {
    const { host, userBank } = this;
    this.revision++;
    for (let i = 0; i < this.#hostedCount; i++) {
      const at = this.#hosted[i] * 4;
      if (this.ppn[this.#hosted[i]] === ppn) host[at + 2] = host[userBank + at + 2] = NO_TAG;
    }
  }

  /** Drops an entry in use. */
  #remove(index: number): void {
    this.#unlist(index);
    this.page[index] = NO_TAG;
    this.dropHost(index);
  }

  #unlist(index: number): void {
    const rights = this.rights[index];
    (rights & Right.global ? this.#global : this.#local).delete(index);
    if (rights & Right.large) this.#large[this.page[index] >>> REGION_SHIFT]--;
  }

  /** Drops the host halves of one entry. */
  dropHost(index: number): void {
    const at = index * 4, user = this.userBank + at;
    if (this.host[at] !== NO_TAG || this.host[user] !== NO_TAG) this.revision++;
    this.host[at] =
      this.host[at + 2] =
      this.host[user] =
      this.host[user + 2] =
        NO_TAG;
    this.host[at + 3] = this.host[user + 3] = -1;
  }

  /** The guest halves, by index; host halves are derived. */
  save(): Saved {
    const used = this.#sets.flatMap(({ items, count }) => [...items.subarray(0, count)]);
    return used.sort((a, b) => a - b).map((index) => [index, this.page[index], this.ppn[index], this.rights[index]]);
  }

  restore(saved: Saved): void {
    this.flush(false);
    for (const [index, page, ppn, rights] of saved as [number, number, number, number][]) {
      this.fill(index, page, ppn, rights);
    }
  }
}
