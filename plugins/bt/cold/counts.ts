// How often blocks were entered, by the machine address of their first byte: what decides when they are translated. The table
// is directly mapped, so that it is bounded and cold code (interpreter.ts) counts in it by itself; who loses its place to
// another begins anew. An address is told by its place and its upper bits, which share the word with the count.

import * as L from "../layout.ts";

/** Instead of a count: a translation was made of the block. */
const TRANSLATED = L.COUNT_MASK;
/** Where counting ends. */
export const MOST_ENTRIES = TRANSLATED - 1;

export class EntryCounts {
  constructor(readonly words: Int32Array) {}

  /** Counts an entry of the block at a machine address; returns how many there have been, MOST_ENTRIES at the most. */
  enter(address: number): number {
    const { words } = this, at = indexOf(address);
    const word = (words[at] ^ address) >>> L.COUNT_BITS === 0 ? words[at] : address & ~L.COUNT_MASK;
    const count = word & L.COUNT_MASK;
    if (count >= MOST_ENTRIES) return MOST_ENTRIES;
    words[at] = word + 1;
    return count + 1;
  }

  /** Whether `markTranslated` was the last that happened to the block. */
  isTranslated(address: number): boolean {
    return this.words[indexOf(address)] === (address | TRANSLATED);
  }

  /** The block has been translated: whoever enters it looks for the translation. */
  markTranslated(address: number): void {
    this.#set(address, TRANSLATED);
  }

  /** The block begins anew, with a number of entries. */
  reset(address: number, entries: number): void {
    this.#set(address, entries);
  }

  /** Whether the block was entered, as far as is known. */
  has(address: number): boolean {
    const word = this.words[indexOf(address)];
    return (word ^ address) >>> L.COUNT_BITS === 0 && (word & L.COUNT_MASK) !== 0;
  }

  #set(address: number, count: number): void {
    this.words[indexOf(address)] = (address & ~L.COUNT_MASK) | count;
  }
}

function indexOf(address: number): number {
  return (L.COUNTS >> 2) + L.counterIndex(address);
}
