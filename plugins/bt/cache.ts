// The translation cache (BT paper, section 3): regions by frame, offset and mode, bounded in bytes of emitted code. A new
// region that finds no room evicts the oldest, one by one: nothing refers to a region but the jump cache, the maps here and
// its slot in the table, so that forgetting one costs far less than compiling one, and evicting in larger lots gains nothing.

import { markLines, touchesLines } from "../x86/mod.ts";
import type { ExitSites } from "./emit/exit_sites.ts";
import * as L from "./layout.ts";
import { PageEntries } from "./page_entries.ts";
import { entryWord, SLOT_MASK } from "./runtime.ts";
import type { TranslatorStatistics } from "./statistics.ts";
import type { Region } from "./units.ts";

/** Regions at the most, however small they are. The jump cache's empty words have all bits set: no region has that slot. */
const { TABLE_SLOTS } = L;
const NO_WORD = -1;

/** Where the code of a unit lies: its frame, its linear address as a signed word, and its length. */
export interface Span {
  readonly mpn: number;
  readonly eip: number;
  readonly bytes: number;
}

/** A compiled region. */
export interface Fragment {
  readonly mode: number;
  /** Its place in the table. */
  readonly slot: number;
  /** Those of its units, in their order. */
  readonly spans: readonly Span[];
  /** Indices of the units at which it can be entered, the first first. */
  readonly entries: readonly number[];
  /** Linear addresses that its direct jumps and calls leave to; and some that it was seen to leave to. */
  readonly exits: Set<number>;
  /** How often its code was regrouped (regroup.ts), and how often it had been entered when that was last looked at. */
  readonly generation: number;
  seenEntries: number;
  /** Size of its module. */
  readonly emittedBytes: number;
  /** Numbers of its exits (emit/exit_sites.ts). */
  readonly sites: readonly number[];
  /** VMs that have entered it, by `Vm.id`. */
  readonly vmIds: number[];
}

/** Where a region is entered: the jump cache's last word (runtime.ts). */
export interface Entry {
  readonly fragment: Fragment;
  /** Linear address, as a signed word. */
  readonly eip: number;
  readonly word: number;
}

/** The translations from one frame. */
interface Page {
  readonly fragments: Set<Fragment>;
  readonly entries: PageEntries<Entry>;
}

/** How much there is, for statistics and for tests of what must stay bounded. */
export interface CacheCounts {
  readonly regions: number;
  readonly emittedBytes: number;
  /** Frames that regions come from. */
  readonly pages: number;
  /** Places in the table that were ever used. */
  readonly slots: number;
  /** Entries into regions since the start, from wherever. */
  readonly entries: number;
}

export class TranslationCache {
  readonly table = new WebAssembly.Table({ element: "anyfunc", initial: L.ALL_SLOTS, maximum: L.ALL_SLOTS });
  /** By frame. */
  readonly #pages = new Map<number, Page>();
  /** All of them, the oldest first. */
  readonly #fragments = new Set<Fragment>();
  readonly #translated: Uint16Array;
  #emittedBytes = 0;
  /** Entries into regions that are gone. */
  #pastEntries = 0;
  #slots = 0;
  readonly #freeSlots: number[] = [];

  /** `words` are the hypervisor's area, which has the jump cache; `mostBytes` is the limit to emitted code. */
  constructor(
    readonly words: Int32Array,
    readonly sites: ExitSites,
    readonly mostBytes: number,
    readonly statistics: TranslatorStatistics,
  ) {
    this.#translated = new Uint16Array(words.buffer, words.byteOffset + L.TRANSLATED, L.TRANSLATED_PLACES);
    words.fill(NO_WORD, L.JUMP_CACHE >> 2, (L.JUMP_CACHE >> 2) + L.JUMP_CACHE_ENTRIES * 4);
  }

  get counts(): CacheCounts {
    const { size: regions } = this.#fragments;
    let entries = this.#pastEntries;
    for (const { slot } of this.#fragments) entries += this.words[L.entriesWord(slot)] >>> 0;
    return { regions, emittedBytes: this.#emittedBytes, pages: this.#pages.size, slots: this.#slots, entries };
  }

  /** All regions, the oldest first. */
  get fragments(): Iterable<Fragment> {
    return this.#fragments;
  }

  /** The translation from a frame at an EIP in a mode. */
  find(mpn: number, eip: number, mode: number): Entry | undefined {
    return this.#pages.get(mpn)?.entries.get(eip, mode);
  }

  /** The regions that hold the instruction at a linear address; and the machine addresses at which each is entered. */
  holding(eip: number): { readonly fragment: Fragment; readonly starts: readonly number[] }[] {
    const holds = ({ spans }: Fragment) => spans.some((span) => ((eip - span.eip) >>> 0) < span.bytes);
    return [...this.#fragments].filter(holds).map((fragment) => {
      const { spans, entries } = fragment;
      return { fragment, starts: entries.map((index) => (spans[index].mpn << 12) | (spans[index].eip & 0xfff)) };
    });
  }

  /** Whether anything is translated from a frame. */
  hasPage(mpn: number): boolean {
    return this.#pages.has(mpn);
  }

  /** Notes that a VM enters a region: VMs that share a frame share what was translated from it. */
  noteEntry({ vmIds, emittedBytes }: Fragment, vmId: number): void {
    if (vmIds.includes(vmId)) return;
    if (vmIds.length === 1) this.statistics.sharedRegions++;
    this.statistics.sharedBytes += emittedBytes;
    vmIds.push(vmId);
  }

  /** A slot for a new region. Called, as is all that makes room, while no emitted code runs: what has gone is not returned to. */
  takeSlot(): number {
    if (this.#freeSlots.length === 0 && this.#slots === TABLE_SLOTS) this.#evictOldest();
    return this.#freeSlots.pop() ?? this.#slots++;
  }

  /** Evicts regions until there is room for one of so many bytes. One that is larger than the cache has it to itself. */
  makeRoom(bytes: number): void {
    while (this.#emittedBytes + bytes > this.mostBytes && this.#fragments.size > 0) this.#evictOldest();
  }

  /** Makes a region known at each of its entries that no other has; returns the first. */
  install(fragment: Fragment, { flow }: Region): Entry {
    const { mode, slot, spans, entries: indices } = fragment;
    const entryOf = (index: number): Entry => {
      return { fragment, eip: spans[index].eip, word: entryWord(slot, index, flow.longest[index]) };
    };
    const first = entryOf(0);
    for (const { mpn } of spans) this.#page(mpn).fragments.add(fragment);
    this.#fragments.add(fragment);
    this.#emittedBytes += fragment.emittedBytes;
    this.#countEntries(fragment, 1);
    for (const index of indices) {
      const { mpn, eip } = spans[index], { entries } = this.#page(mpn);
      if (index !== 0 && entries.get(eip, mode) !== undefined) continue;
      const other = entries.add(index === 0 ? first : entryOf(index), mode);
      // A region may itself have one frame at many pages.
      if (other !== undefined && other.fragment !== fragment) this.#evict(other.fragment);
    }
    return first;
  }

  /** Says where regions are entered, to cold code. A count that overflows has it find a region later than it could. */
  #countEntries({ spans, entries }: Fragment, by: 1 | -1): void {
    for (const index of entries) {
      const { mpn, eip } = spans[index];
      this.#translated[L.counterIndex((mpn << 12) | (eip & 0xfff)) & (L.TRANSLATED_PLACES - 1)] += by;
    }
  }

  #page(mpn: number): Page {
    let page = this.#pages.get(mpn);
    if (page === undefined) this.#pages.set(mpn, page = { fragments: new Set(), entries: new PageEntries() });
    return page;
  }

  /** Forgets what was translated, even in part, from lines `first` to `last` of a frame; returns how many regions. */
  forgetLines(mpn: number, first: number, last: number): number {
    const page = this.#pages.get(mpn);
    if (page === undefined) return 0;
    let count = 0;
    for (const fragment of page.fragments) {
      const isHit = (span: Span) => span.mpn === mpn && touchesLines(span.eip & 0xfff, span.bytes, first, last);
      if (!fragment.spans.some(isHit)) continue;
      this.forget(fragment);
      count++;
    }
    return count;
  }

  /** Adds the lines of a frame that translations come from. */
  addLines(mpn: number, lines: [number, number]): void {
    const page = this.#pages.get(mpn);
    if (page === undefined) return;
    for (const { spans } of page.fragments) {
      for (const { mpn: frame, eip, bytes } of spans) if (frame === mpn) markLines(lines, eip & 0xfff, bytes);
    }
  }

  /**
   * Forgets a region: no word of the jump cache, no map and no slot leads to it afterwards, so that its slot can be used
   * again by the next region. If it is running, it goes on to its end.
   */
  forget(fragment: Fragment): void {
    const { mode, slot, spans } = fragment;
    const words = this.words;
    for (const { mpn, eip } of spans) {
      const page = this.#pages.get(mpn), entry = page?.entries.get(eip, mode);
      if (entry?.fragment === fragment) page?.entries.delete(entry, mode);
      // A region is entered at its units alone, and a word lies where its address leads.
      for (const at of jumpCachePlaces(eip)) if ((words[at + 3] & SLOT_MASK) === slot) words.fill(NO_WORD, at, at + 4);
      page?.fragments.delete(fragment);
      if (page?.fragments.size === 0) this.#pages.delete(mpn);
    }
    if (!this.#fragments.delete(fragment)) return;
    this.#countEntries(fragment, -1);
    const entries = L.entriesWord(slot);
    this.#pastEntries += words[entries] >>> 0;
    words[entries] = 0;
    this.#emittedBytes -= fragment.emittedBytes;
    this.sites.release(fragment.sites);
    this.table.set(slot, null);
    this.#freeSlots.push(slot);
  }

  /** The jump cache's word for the translation at an EIP and in a frame for what the word MODE says (layout.ts), or -1. */
  jump(eip: number, mode: number, mpn: number): number {
    const { words } = this;
    for (const at of jumpCachePlaces(eip)) {
      if (words[at] === eip && words[at + 1] === mode && words[at + 2] === mpn) return words[at + 3];
    }
    return -1;
  }

  /** Has the jump cache know an entry; what has its place goes to the place beside. An empty word would only drive out what is there. */
  noteJump({ eip, word }: Entry, mode: number, mpn: number): void {
    const { words } = this, [at, beside] = jumpCachePlaces(eip);
    if (words[at] !== eip && words[at + 3] !== NO_WORD) words.copyWithin(beside, at, at + 4);
    words[at] = eip;
    words[at + 1] = mode;
    words[at + 2] = mpn;
    words[at + 3] = word;
  }

  #evictOldest(): void {
    for (const oldest of this.#fragments) return this.#evict(oldest);
  }

  #evict(fragment: Fragment): void {
    this.forget(fragment);
    this.statistics.evicted++;
  }
}

/** Where in the area's words an EIP's entry of the jump cache begins, its own place first. */
function jumpCachePlaces(eip: number): readonly [number, number] {
  const index = L.jumpCacheIndex(eip), first = L.JUMP_CACHE >> 2;
  return [first + index * 4, first + (index ^ 1) * 4];
}
