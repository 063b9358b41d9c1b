// What shadow-mmu knows of an address space and of a page that holds page-table entries. A region is what one entry of a
// page directory maps: 4 MiB, or 2 MiB with PAE; regions are numbered by linear address.

import { KeptEntries, Mmu } from "../x86/mod.ts";

/** An address space that uses a page for one region (as a page table), or for those from a region on (as a directory). */
export interface Use {
  readonly space: Space;
  readonly region: number;
}

/** A page of the guest's that walks have gone through, for translations that are kept: it is traced. */
export class Table {
  readonly uses: Use[] = [];
  readonly directoryOf: Use[] = [];
  /** Stores to it since a walk last went through it, or since its space was last entered. */
  stores = 0;

  constructor(readonly ppn: number) {}
}

/** In place of a table: a large page. */
export const LARGE = "large";

/** The translations of one root of page tables. */
export class Space {
  /** What is kept of them while another space is in the TLBs. */
  readonly data = new KeptEntries(Mmu.ENTRIES);
  readonly instruction = new KeptEntries(Mmu.INSTRUCTION_ENTRIES);
  /** By region: what its translations come from, besides the directory. */
  readonly tables = new Map<number, Table | typeof LARGE>();
  /** The page directories that its walks have gone through. */
  readonly directories = new Set<Table>();
  /** Regions with translations that no trace watches: they end with the next load of CR3. */
  readonly loose = new Set<number>();
  /** So do all, where a directory lies in no RAM. */
  isLoose = false;

  /** `root`: CR3's address; `pointers`: the PAE page-directory pointers that went with it, else empty. */
  constructor(readonly root: number, readonly pointers: Int32Array) {}
}
