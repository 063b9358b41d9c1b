// The one hash table of page sharing: a frame of 16 bytes for each machine frame that was looked at, found by the hash of
// contents, chained within buckets (ESX paper, section 4.3, figure 3). It knows numbers only: no VM, no contents. A frame's
// place in the table is its MPN, so that no backmap is needed to find it again.

import type { Mpn, Ppn } from "../memory/mod.ts";

/**
 * What the table has of a machine frame: nothing; a hint of what a private frame held when it was scanned; a shared frame;
 * or a frame that once gave a false match, which is out of the chains and stays so while its hash is the same.
 */
export const FrameKind = { none: 0, hint: 1, shared: 2, ineligible: 3 } as const;
export type FrameKind = (typeof FrameKind)[keyof typeof FrameKind];

/** Numbers of VMs and of salts have 16 bits. */
export const MAX_NUMBER = 0xffff;
/** End of a chain. */
export const NO_ENTRY = -1;

/**
 * The four words of a frame.
 * LOW: low half of the hash, which also chooses the bucket.
 * HIGH: high half; of a hint its upper 16 bits alone, with the VM's number below them.
 * LINK: the next frame of the chain, the kind, and whether the contents changed between the last two scans.
 * REST: of a hint the PPN; of a shared frame the salt above 16 bits of count.
 */
const LOW = 0, HIGH = 1, LINK = 2, REST = 3;
const WORDS = 4, WORD_SHIFT = 2;
const LINK_BITS = 20, LINK_MASK = 2 ** LINK_BITS - 1;
const KIND_MASK = 3, VOLATILE = 1 << (LINK_BITS + 2);
const HALF_BITS = 16, HALF_MASK = 0xffff;
/** A count that stands in the overflow table instead. */
const OVERFLOWED = 0xffff;
const BYTES_PER_OVERFLOW = 16;
const KINDS = Object.keys(FrameKind).length;

export class SharingTable {
  readonly #words: Int32Array;
  /** First frame of every bucket, as MPN + 1: 0 is an empty one. */
  readonly #buckets: Int32Array;
  readonly #mask: number;
  /** Counts that 16 bits do not hold, by MPN. */
  readonly #overflow = new Map<Mpn, number>();
  readonly #counts = new Int32Array(KINDS);
  #volatileHints = 0;

  /** `frames`: of machine memory, fewer than 2^20. */
  constructor(readonly frames: number) {
    if (!(frames >= 1 && frames < LINK_MASK)) throw new RangeError(`${frames} frames; expected 1 to ${LINK_MASK - 1}`);
    this.#words = new Int32Array(frames * WORDS);
    // As many buckets as frames, rounded down to a power of two: 4 bytes a frame, and chains of one or two.
    const buckets = 2 ** Math.floor(Math.log2(frames));
    this.#buckets = new Int32Array(buckets);
    this.#mask = buckets - 1;
    this.#counts[FrameKind.none] = frames;
  }

  kindOf(mpn: Mpn): FrameKind {
    return ((this.#words[(mpn << WORD_SHIFT) + LINK] >>> LINK_BITS) & KIND_MASK) as FrameKind;
  }

  /** Remembers what a private frame held, and whose page it is. The frame must not be in the table. */
  insertHint(mpn: Mpn, low: number, high: number, vm: number, ppn: Ppn, isVolatile: boolean): void {
    this.#insert(mpn, FrameKind.hint, low, (high & ~HALF_MASK) | vm, ppn);
    if (!isVolatile) return;
    this.#words[(mpn << WORD_SHIFT) + LINK] |= VOLATILE;
    this.#volatileHints++;
  }

  /** A frame that several pages share, or a hint that became one. */
  insertShared(mpn: Mpn, low: number, high: number, salt: number, count: number): void {
    this.remove(mpn);
    this.#insert(mpn, FrameKind.shared, low, high, salt << HALF_BITS);
    this.setCount(mpn, count);
  }

  /** Takes a frame that gave a false match out of consideration. */
  setIneligible(mpn: Mpn, low: number, high: number): void {
    this.remove(mpn);
    const at = mpn << WORD_SHIFT;
    this.#words[at + LOW] = low;
    this.#words[at + HIGH] = high;
    this.#words[at + LINK] = FrameKind.ineligible << LINK_BITS;
    this.#countOne(FrameKind.none, FrameKind.ineligible);
  }

  /** Forgets a frame; nothing where it is not known. */
  remove(mpn: Mpn): void {
    const kind = this.kindOf(mpn);
    if (kind === FrameKind.none) return;
    if (kind !== FrameKind.ineligible) this.#unlink(mpn);
    const at = mpn << WORD_SHIFT;
    if ((this.#words[at + LINK] & VOLATILE) !== 0) this.#volatileHints--;
    this.#words.fill(0, at, at + WORDS);
    this.#overflow.delete(mpn);
    this.#countOne(kind, FrameKind.none);
  }

  /** Forgets all hints at pages of a VM. */
  removeHintsOf(vm: number): void {
    for (let mpn = 0; mpn < this.frames; mpn++) {
      if (this.kindOf(mpn) === FrameKind.hint && this.vmOf(mpn) === vm) this.remove(mpn);
    }
  }

  /** The first frame of the chain for a hash, or NO_ENTRY. */
  first(low: number): Mpn {
    return this.#buckets[low & this.#mask] - 1;
  }

  /** The frame after this one in its chain, or NO_ENTRY. */
  next(mpn: Mpn): Mpn {
    return (this.#words[(mpn << WORD_SHIFT) + LINK] & LINK_MASK) - 1;
  }

  /** Whether a frame has this hash, as far as the table keeps it. */
  matches(mpn: Mpn, low: number, high: number): boolean {
    const at = mpn << WORD_SHIFT;
    if (this.#words[at + LOW] !== low) return false;
    const difference = this.#words[at + HIGH] ^ high;
    return this.kindOf(mpn) === FrameKind.hint ? difference >>> HALF_BITS === 0 : difference === 0;
  }

  /** Of a hint: the VM's number, and the page. */
  vmOf(mpn: Mpn): number {
    return this.#words[(mpn << WORD_SHIFT) + HIGH] & HALF_MASK;
  }

  ppnOf(mpn: Mpn): Ppn {
    return this.#words[(mpn << WORD_SHIFT) + REST];
  }

  /** Whether a hint's contents changed between the last two scans of its page. */
  isVolatile(mpn: Mpn): boolean {
    return (this.#words[(mpn << WORD_SHIFT) + LINK] & VOLATILE) !== 0;
  }

  /** A hint's contents stayed as they were. */
  setStable(mpn: Mpn): void {
    if (this.isVolatile(mpn)) this.#volatileHints--;
    this.#words[(mpn << WORD_SHIFT) + LINK] &= ~VOLATILE;
  }

  /** Of a shared frame: what keeps it apart from others with the same contents. */
  saltOf(mpn: Mpn): number {
    return this.#words[(mpn << WORD_SHIFT) + REST] >>> HALF_BITS;
  }

  /**
   * Of a shared frame: pages that map it, as of the last time that one was added; some may have left since. The count in
   * force is the memory plugin's.
   */
  countOf(mpn: Mpn): number {
    const count = this.#words[(mpn << WORD_SHIFT) + REST] & HALF_MASK;
    return count === OVERFLOWED ? this.#overflow.get(mpn) ?? OVERFLOWED : count;
  }

  setCount(mpn: Mpn, count: number): void {
    const at = (mpn << WORD_SHIFT) + REST;
    if (count >= OVERFLOWED) this.#overflow.set(mpn, count);
    else this.#overflow.delete(mpn);
    this.#words[at] = (this.#words[at] & ~HALF_MASK) | Math.min(count, OVERFLOWED);
  }

  /** Frames of a kind. */
  count(kind: FrameKind): number {
    return this.#counts[kind];
  }

  get volatileHints(): number {
    return this.#volatileHints;
  }

  /** Bytes of everything here. */
  get sizeBytes(): number {
    return this.#words.byteLength + this.#buckets.byteLength + this.#overflow.size * BYTES_PER_OVERFLOW;
  }

  /** Throws unless every hint and shared frame is in the chain of its hash, once, and all totals add up. */
  audit(): void {
    const found = new Int32Array(KINDS), linked = new Uint8Array(this.frames);
    for (let bucket = 0; bucket < this.#buckets.length; bucket++) {
      for (let mpn = this.first(bucket); mpn !== NO_ENTRY; mpn = this.next(mpn)) {
        if (++linked[mpn] > 1) throw new Error(`frame ${mpn} is in a chain twice`);
        if ((this.#words[(mpn << WORD_SHIFT) + LOW] & this.#mask) !== bucket) {
          throw new Error(`frame ${mpn} is in the chain of bucket ${bucket}, not in that of its hash`);
        }
      }
    }
    let volatileHints = 0;
    for (let mpn = 0; mpn < this.frames; mpn++) {
      const kind = this.kindOf(mpn);
      found[kind]++;
      const shouldBeLinked = kind === FrameKind.hint || kind === FrameKind.shared;
      if ((linked[mpn] === 1) !== shouldBeLinked) {
        throw new Error(`frame ${mpn}, of kind ${kind}, is ${shouldBeLinked ? "in no chain" : "in a chain"}`);
      }
      if (kind === FrameKind.hint && this.isVolatile(mpn)) volatileHints++;
    }
    if (found.some((count, kind) => count !== this.#counts[kind]) || volatileHints !== this.#volatileHints) {
      throw new Error(`counted ${found} frames by kind; the totals say ${this.#counts}`);
    }
  }

  #insert(mpn: Mpn, kind: FrameKind, low: number, high: number, rest: number): void {
    const at = mpn << WORD_SHIFT, bucket = low & this.#mask;
    this.#words[at + LOW] = low;
    this.#words[at + HIGH] = high;
    this.#words[at + LINK] = (kind << LINK_BITS) | this.#buckets[bucket];
    this.#words[at + REST] = rest;
    this.#buckets[bucket] = mpn + 1;
    this.#countOne(FrameKind.none, kind);
  }

  #unlink(mpn: Mpn): void {
    const bucket = this.#words[(mpn << WORD_SHIFT) + LOW] & this.#mask, after = this.next(mpn) + 1;
    if (this.first(bucket) === mpn) {
      this.#buckets[bucket] = after;
      return;
    }
    let before = this.first(bucket);
    while (this.next(before) !== mpn) before = this.next(before);
    const link = (before << WORD_SHIFT) + LINK;
    this.#words[link] = (this.#words[link] & ~LINK_MASK) | after;
  }

  #countOne(from: FrameKind, to: FrameKind): void {
    this.#counts[from]--;
    this.#counts[to]++;
  }
}
