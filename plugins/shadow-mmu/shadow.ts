// The caching MMU of one VM: translations survive while another address space runs, and write traces on the pages they were
// read from keep them coherent (BT paper, 2.1 and 7.2). The TLBs are the window onto the space that runs; when CR3 changes,
// its entries are put aside and those of the next space come back. Global entries stay in the TLBs as ever, untraced: a
// guest that changes one has to say so by INVLPG.

import type { Saved, StateOwner, Vm } from "../../core/mod.ts";
import { type Processor, state as S, type Tlb, type TranslationKeeper } from "../x86/mod.ts";
import type { KeptEntries } from "../x86/mod.ts";
import { LARGE, Space, Table, type Use } from "./space.ts";

export interface ShadowOptions {
  readonly spaces: number;
  readonly dropAfter: number;
  readonly eagerFill: boolean;
}

/** What is counted, over all VMs. */
export type ShadowCounts = Record<
  | "trueFaults"
  | "hiddenFaults"
  | "rootLoads"
  | "spaceSwitches"
  | "tracedStores"
  | "dropped"
  | "traces"
  | "tracesDropped"
  | "eagerFills"
  | "evictedSpaces"
  | "forgottenSpaces",
  number
>;

const PTE_PRESENT = 1, PTE_ACCESSED = 32, PTE_GLOBAL = 256;
const PAGE_BYTES = 4096;
const NO_POINTERS = new Int32Array(0);

export class ShadowMmu implements TranslationKeeper, StateOwner {
  /** By root; the one entered longest ago first. */
  readonly #spaces = new Map<number, Space>();
  readonly #tables = new Map<number, Table>();
  /** The same by PPN: a map's look-up would be a quarter of what a traced store costs. */
  readonly #byPpn: (Table | undefined)[];
  /** The space in the TLBs, once it has a translation that is not global. */
  #current: Space | undefined;
  /** Of paging with PAE, or without it: shifts from an address to its region, and from an offset in a table to its entry. */
  #regionShift = 22;
  #entryShift = 2;

  constructor(
    readonly vm: Vm,
    readonly cpu: Processor,
    readonly options: ShadowOptions,
    readonly counts: ShadowCounts,
  ) {
    this.#byPpn = Array.from({ length: cpu.mmu.memory.pages }, () => undefined);
    cpu.mmu.setKeeper(this);
  }

  get looksAtStores(): boolean {
    return this.options.eagerFill;
  }

  get spaceCount(): number {
    return this.#spaces.size;
  }

  get tableCount(): number {
    return this.#tables.size;
  }

  rootLoaded(): void {
    const { mmu } = this.cpu;
    this.counts.rootLoads++;
    const left = this.#current, root = this.#root();
    if (left !== undefined) {
      this.#endLoose(left);
      if (left.root === root && this.#hasPointers(left)) return;
      mmu.data.moveOut(left.data);
      mmu.instruction.moveOut(left.instruction);
    }
    this.counts.spaceSwitches++;
    this.#current = undefined;
    const next = this.#spaces.get(root);
    if (next === undefined) return;
    if (!this.#hasPointers(next)) return this.#forget(next);
    this.#enter(next);
    mmu.moveIn(mmu.data, next.data);
    mmu.moveIn(mmu.instruction, next.instruction);
  }

  cleared(): void {
    this.#current = undefined;
    for (const space of [...this.#spaces.values()]) this.#forget(space);
    const isPae = (this.cpu.r[S.CR4] & S.CR4_PAE) !== 0;
    this.#regionShift = isPae ? 21 : 22;
    this.#entryShift = isPae ? 3 : 2;
  }

  faulted(): void {
    this.counts.trueFaults++;
  }

  filled(linear: number, directoryEntry: number, tableEntry: number): void {
    this.counts.hiddenFaults++;
    const space = this.#current ??= this.#begin();
    const region = linear >>> this.#regionShift;
    const known = space.tables.get(region);
    const ppn = tableEntry < 0 ? -1 : Math.floor(tableEntry / PAGE_BYTES);
    if (known !== undefined && known !== LARGE && known.ppn === ppn) {
      known.stores = 0;
      return;
    }
    if (known === LARGE && ppn < 0) return;
    if (known !== undefined) this.#removeUse(space, region);
    const directory = this.#trace(Math.floor(directoryEntry / PAGE_BYTES));
    if (directory === undefined) {
      space.isLoose = true;
      return;
    }
    const firstRegion = region & ~(PAGE_BYTES / (1 << this.#entryShift) - 1);
    if (!directory.directoryOf.some((use) => use.space === space && use.region === firstRegion)) {
      directory.directoryOf.push({ space, region: firstRegion });
      space.directories.add(directory);
    }
    if (ppn < 0) {
      space.tables.set(region, LARGE);
      return;
    }
    const table = this.#trace(ppn);
    if (table === undefined) {
      space.loose.add(region);
      return;
    }
    table.stores = 0;
    table.uses.push({ space, region });
    space.tables.set(region, table);
  }

  stored(ppn: number, offset: number, size: number): void {
    const table = this.#byPpn[ppn];
    if (table === undefined) return;
    this.counts.tracedStores++;
    table.stores++;
    if (this.options.dropAfter > 0 && table.stores > this.options.dropAfter) this.#dropTrace(table);
    const first = offset >>> this.#entryShift, last = (offset + size - 1) >>> this.#entryShift;
    for (let entry = first; entry <= last; entry++) {
      for (const { space, region } of table.directoryOf) this.#dropRegion(space, region + entry);
      for (const use of table.uses) this.#dropPage(use, entry);
    }
    this.#untraceUnused(table);
  }

  /** Translations that come from one entry of a page table end, and may begin again at once. */
  #dropPage({ space, region }: Use, entry: number): void {
    const { mmu } = this.cpu;
    const linear = (region << this.#regionShift) | (entry << 12);
    const [data, instruction] = space === this.#current ? [mmu.data, mmu.instruction] : [space.data, space.instruction];
    if (data.drop(linear)) this.counts.dropped++;
    if (instruction.drop(linear)) this.#countDropped(1, space);
    if (this.options.eagerFill && space === this.#current && this.#mayPrefill(space, region, entry)) {
      if (mmu.prefill(linear)) this.counts.eagerFills++;
    }
  }

  /** Whether an entry allows a translation that nobody has to be asked for or told of. */
  #mayPrefill(space: Space, region: number, entry: number): boolean {
    const table = space.tables.get(region);
    if (table === undefined || table === LARGE) return false;
    const value = this.cpu.mmu.readPhysical32(table.ppn * PAGE_BYTES + (entry << this.#entryShift));
    const needed = PTE_PRESENT | PTE_ACCESSED;
    return (value & (needed | PTE_GLOBAL)) === needed;
  }

  /** The translations of a region end: what its directory's entry says has changed. */
  #dropRegion(space: Space, region: number): void {
    const table = space.tables.get(region);
    if (table === undefined) return;
    this.#removeUse(space, region);
    this.#dropEntries(space, region);
    if (table !== LARGE) this.#untraceUnused(table);
  }

  #countDropped(count: number, space: Space): void {
    this.counts.dropped += count;
    // The code that runs may be among it: every engine has to fetch the next instruction anew.
    if (count > 0 && space === this.#current) this.cpu.endBlock();
  }

  /** Drops the entries of a region, from the TLBs or from what is kept of them. */
  #dropEntries(space: Space, region: number): void {
    const { mmu } = this.cpu;
    const linear = region << this.#regionShift, mask = -1 << this.#regionShift;
    const [data, instruction]: (KeptEntries | Tlb)[] = space === this.#current
      ? [mmu.data, mmu.instruction]
      : [space.data, space.instruction];
    this.#countDropped(data.dropRange(linear, mask) + instruction.dropRange(linear, mask), space);
  }

  /**
   * Stops watching a table that is written to again and again (paper: dropped traces). What comes from it stays in the TLBs
   * until CR3 is loaded, as without tracing; what is kept of other spaces ends now. A directory of the space that runs is
   * watched all the same; spaces whose directory is written to so often while they do not run are gone, and their root has
   * another use.
   */
  #dropTrace(table: Table): void {
    if (table.uses.length > 0) this.counts.tracesDropped++;
    table.stores = 0;
    for (const { space, region } of [...table.uses]) {
      if (space === this.#current) space.loose.add(region);
      else this.#dropEntries(space, region);
      this.#removeUse(space, region);
    }
    for (const { space } of [...table.directoryOf]) {
      if (space === this.#current || !this.#spaces.has(space.root)) continue;
      this.counts.forgottenSpaces++;
      this.#forget(space);
    }
  }

  #root(): number {
    const { r } = this.cpu;
    return (r[S.CR4] & S.CR4_PAE ? r[S.CR3] & 0xffffffe0 : r[S.CR3] & 0xfffff000) >>> 0;
  }

  #pointers(): Int32Array {
    const { r } = this.cpu;
    return r[S.CR4] & S.CR4_PAE ? r.slice(S.PDPTE, S.PDPTE + 8) : NO_POINTERS;
  }

  /** Whether a space was walked from the page-directory pointers that are loaded now. */
  #hasPointers({ pointers }: Space): boolean {
    for (let i = 0; i < pointers.length; i++) if (pointers[i] !== this.cpu.r[S.PDPTE + i]) return false;
    return true;
  }

  /** The space of the present root, which has not been met before. */
  #begin(): Space {
    const space = new Space(this.#root(), this.#pointers());
    for (const oldest of this.#spaces.values()) {
      if (this.#spaces.size < this.options.spaces) break;
      this.counts.evictedSpaces++;
      this.#forget(oldest);
    }
    this.#spaces.set(space.root, space);
    return space;
  }

  #enter(space: Space): void {
    this.#spaces.delete(space.root);
    this.#spaces.set(space.root, space);
    this.#current = space;
    for (const directory of space.directories) directory.stores = 0;
  }

  #forget(space: Space): void {
    this.#spaces.delete(space.root);
    if (this.#current === space) this.#current = undefined;
    for (const table of [...space.tables.values(), ...space.directories]) {
      if (table === LARGE) continue;
      remove(table.uses, (use) => use.space === space);
      remove(table.directoryOf, (use) => use.space === space);
      this.#untraceUnused(table);
    }
    space.tables.clear();
    space.directories.clear();
  }

  #endLoose(space: Space): void {
    const { mmu } = this.cpu;
    for (const region of space.loose) this.#dropEntries(space, region);
    space.loose.clear();
    if (!space.isLoose) return;
    space.isLoose = false;
    mmu.data.flush(true);
    mmu.instruction.flush(true);
  }

  /** The table at a page, traced from now on; undefined where stores cannot be: it is no RAM. */
  #trace(ppn: number): Table | undefined {
    const known = this.#byPpn[ppn];
    if (known !== undefined) return known;
    const { mmu } = this.cpu;
    if (!mmu.isRam(ppn)) return undefined;
    const table = new Table(ppn);
    this.#tables.set(ppn, table);
    this.#byPpn[ppn] = table;
    mmu.traced[ppn] = 1;
    mmu.data.dropWriteTagsOfPpn(ppn);
    this.counts.traces++;
    return table;
  }

  #untraceUnused(table: Table): void {
    if (table.uses.length > 0 || table.directoryOf.length > 0 || !this.#tables.delete(table.ppn)) return;
    this.#byPpn[table.ppn] = undefined;
    this.cpu.mmu.traced[table.ppn] = 0;
  }

  #removeUse(space: Space, region: number): void {
    const table = space.tables.get(region);
    space.tables.delete(region);
    if (table !== undefined && table !== LARGE) {
      remove(table.uses, (use) => use.space === space && use.region === region);
    }
  }

  save(): Saved {
    const spaces = [...this.#spaces.values()].map((space) => ({
      root: space.root,
      pointers: space.pointers,
      data: space.data.save(),
      instruction: space.instruction.save(),
      tables: [...space.tables].map(([region, table]) => [region, table === LARGE ? LARGE : table.ppn]),
      loose: [...space.loose],
      isLoose: space.isLoose,
    }));
    const tables = [...this.#tables.values()].map(({ ppn, stores, directoryOf }) => ({
      ppn,
      stores,
      directoryOf: directoryOf.map(({ space, region }) => [space.root, region]),
    }));
    const { root } = this.#current ?? {};
    return { spaces, tables, current: root ?? null, regionShift: this.#regionShift, entryShift: this.#entryShift };
  }

  restore(saved: Saved): void {
    const state = saved as unknown as SavedShadow;
    this.cleared();
    for (const { ppn, stores } of state.tables) {
      const table = new Table(ppn);
      table.stores = stores;
      this.#tables.set(ppn, table);
      this.#byPpn[ppn] = table;
      this.cpu.mmu.traced[ppn] = 1;
    }
    for (const { root, pointers, data, instruction, tables, loose, isLoose } of state.spaces) {
      const space = new Space(root, pointers);
      space.data.restore(data);
      space.instruction.restore(instruction);
      for (const region of loose) space.loose.add(region);
      space.isLoose = isLoose;
      this.#spaces.set(root, space);
      for (const [region, ppn] of tables) {
        const table = ppn === LARGE ? LARGE : this.#tables.get(ppn);
        if (table === undefined) throw new Error(`saved address space ${root} uses a page table that is not saved`);
        space.tables.set(region, table);
        if (table !== LARGE) table.uses.push({ space, region });
      }
    }
    for (const { ppn, directoryOf } of state.tables) {
      const directory = this.#tables.get(ppn);
      for (const [root, region] of directoryOf) {
        const space = this.#spaces.get(root);
        if (space === undefined || directory === undefined) continue;
        directory.directoryOf.push({ space, region });
        space.directories.add(directory);
      }
    }
    this.#current = state.current === null ? undefined : this.#spaces.get(state.current);
    this.#regionShift = state.regionShift;
    this.#entryShift = state.entryShift;
    // Host halves are derived: those that were filled before a page was traced again may have the right to write.
    this.cpu.mmu.flushHost();
  }
}

/** As `save` makes it. */
interface SavedShadow {
  readonly spaces: readonly {
    readonly root: number;
    readonly pointers: Int32Array;
    readonly data: Saved;
    readonly instruction: Saved;
    readonly tables: readonly (readonly [number, number | typeof LARGE])[];
    readonly loose: readonly number[];
    readonly isLoose: boolean;
  }[];
  readonly tables: readonly {
    readonly ppn: number;
    readonly stores: number;
    readonly directoryOf: readonly (readonly [number, number])[];
  }[];
  readonly current: number | null;
  readonly regionShift: number;
  readonly entryShift: number;
}

function remove<T>(list: T[], isGone: (item: T) => boolean): void {
  for (let i = list.length - 1; i >= 0; i--) if (isGone(list[i])) list.splice(i, 1);
}
