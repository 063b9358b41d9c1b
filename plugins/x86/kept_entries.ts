// The guest halves of TLB entries without a TLB around them: what an address space had in the TLB when the processor left
// it, indexed as there. A memory-management plugin keeps one for each address space (design: memory management).

import type { Saved } from "../../core/mod.ts";

/** In place of a page's address: pages are multiples of 4096. */
export const NO_PAGE = 1;

export class KeptEntries {
  /** As in the TLB: the linear page's address (NO_PAGE when empty), its PPN, its rights. */
  readonly page: Int32Array;
  readonly ppn: Int32Array;
  readonly rights: Uint8Array;
  /** Indices that were filled since this was emptied; the first `count` are in use. */
  readonly filled: Int32Array;
  count = 0;

  constructor(readonly entries: number) {
    this.page = new Int32Array(entries).fill(NO_PAGE);
    this.ppn = new Int32Array(entries);
    this.rights = new Uint8Array(entries);
    this.filled = new Int32Array(entries);
  }

  /** Adds an entry; each index once at the most until this is emptied. */
  add(index: number, page: number, ppn: number, rights: number): void {
    this.filled[this.count++] = index;
    this.page[index] = page;
    this.ppn[index] = ppn;
    this.rights[index] = rights;
  }

  /** Drops the entry of a linear page, if it is here; whether it was. */
  drop(linear: number): boolean {
    const index = (linear >>> 12) & (this.entries - 1);
    if (this.page[index] !== (linear & 0xfffff000)) return false;
    this.page[index] = NO_PAGE;
    return true;
  }

  /** Drops the entries whose page agrees with `linear` in the bits of `mask`; how many. */
  dropRange(linear: number, mask: number): number {
    let dropped = 0;
    for (let i = 0; i < this.count; i++) {
      const index = this.filled[i], page = this.page[index];
      if (page === NO_PAGE || ((page ^ linear) & mask) !== 0) continue;
      this.page[index] = NO_PAGE;
      dropped++;
    }
    return dropped;
  }

  empty(): void {
    for (let i = 0; i < this.count; i++) this.page[this.filled[i]] = NO_PAGE;
    this.count = 0;
  }

  save(): Saved {
    const kept = [...this.filled.subarray(0, this.count)].filter((index) => this.page[index] !== NO_PAGE);
    return kept.map((index) => [index, this.page[index], this.ppn[index], this.rights[index]]);
  }

  restore(saved: Saved): void {
    this.empty();
    for (const [index, page, ppn, rights] of saved as [number, number, number, number][]) {
      this.add(index, page, ppn, rights);
    }
  }
}
