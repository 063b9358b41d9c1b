// The hash of a VM's memory, kept while it runs: a sum over pages of what each contributes, so that hashing again costs the
// pages written since the last time and no others (incremental hashing: Bellare and Micciancio, "A New Paradigm for
// Collision-Free Hashing", EUROCRYPT 1997, with 32-bit sums, as nobody here forges contents).

import type { Hasher } from "../../core/mod.ts";
import { PageHash } from "./page_hash.ts";
import type { Ppn } from "./services.ts";

/** Odd multipliers that tell the places of equal pages apart. */
const LOW_PLACE = 0x9e3779b1 | 0, HIGH_PLACE = 0x85ebca77 | 0;

/** Where the contents of a page lie now. */
export interface PageWords {
  readonly words: Int32Array;
  /** Index of its first word. */
  readonly from: number;
}

/** A sum of page hashes, and which pages it may be wrong about. Begins as that of memory that is all zeros. */
export class MemoryHash {
  /** What every page adds to the sums; nothing for a page of zeros. */
  readonly #lows: Int32Array;
  readonly #highs: Int32Array;
  #low = 0;
  #high = 0;
  /** The pages that may have changed since their hash was taken, each once. */
  readonly #changed: Int32Array;
  #changedCount = 0;
  readonly #page = new PageHash();

  constructor(readonly pages: number) {
    this.#lows = new Int32Array(pages);
    this.#highs = new Int32Array(pages);
    this.#changed = new Int32Array(pages);
  }

  /** A page may have other contents from now on. Not again before `update` has asked for it. */
  noteChanged(ppn: Ppn): void {
    this.#changed[this.#changedCount++] = ppn;
  }

  /** Asks for every page that may have changed; undefined stands for zeros. */
  update(contentsOf: (ppn: Ppn) => PageWords | undefined): void {
    while (this.#changedCount > 0) {
      const ppn = this.#changed[--this.#changedCount];
      this.#take(ppn, contentsOf(ppn));
      this.#low = (this.#low - this.#lows[ppn] + this.#page.low) | 0;
      this.#high = (this.#high - this.#highs[ppn] + this.#page.high) | 0;
      this.#lows[ppn] = this.#page.low;
      this.#highs[ppn] = this.#page.high;
    }
  }

  /** Whether these contents are those that the sum has of a page. For the audit. */
  isOf(ppn: Ppn, contents: PageWords | undefined): boolean {
    this.#take(ppn, contents);
    return this.#page.low === this.#lows[ppn] && this.#page.high === this.#highs[ppn];
  }

  /** Feeds the size and the sums as they were last updated. */
  feed(hasher: Hasher): void {
    hasher.word(this.pages);
    hasher.word(this.#low);
    hasher.word(this.#high);
  }

  /** Leaves in `#page` what a page contributes: the hash of its contents mixed with its place. */
  #take(ppn: Ppn, contents: PageWords | undefined): void {
    const page = this.#page;
    if (contents !== undefined && page.of(contents.words, contents.from)) {
      page.low = mix(page.low ^ Math.imul(ppn + 1, LOW_PLACE));
      page.high = mix(page.high ^ Math.imul(ppn + 1, HIGH_PLACE));
    } else page.low = page.high = 0;
  }
}

/** MurmurHash3's finaliser: a bijection. */
function mix(hash: number): number {
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return hash ^ (hash >>> 16);
}
