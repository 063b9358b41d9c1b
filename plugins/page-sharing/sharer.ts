// Looks at one page and shares it where that is possible: hash, look up, rehash a hint, compare in full, map copy-on-write
// (ESX paper, section 4.1 to 4.3). What is in the table follows contents that guests change without a word: a hint is
// believed only after its page was hashed again, and equality only after every word was compared.

import type { Vm } from "../../core/mod.ts";
import { type Mechanism, type Mpn, type Pages, PageState, type Ppn } from "../memory/mod.ts";
import type { PageHasher } from "./page_hasher.ts";
import type { VmNumbers } from "./salts.ts";
import { FrameKind, NO_ENTRY, type SharingTable } from "./table.ts";

/**
 * What became of a page: it has no frame of its own to give; it was mapped to the zero frame; it was merged with another;
 * it gave a false match, now or before; or nobody has the same, and it is remembered by a hint.
 */
export type ScanResult = "passed" | "zero" | "merged" | "ineligible" | "alone";

/** Counts since the start. */
export interface SharerCounts {
  hashed: number;
  compared: number;
  falseMatches: number;
  staleHints: number;
}

const HALF_BITS = 32, HASH_BITS = 64;
/** Spreads a salt's number over 32 bits: an odd factor, so that no two salts fall together. */
const SALT_FACTOR = 0x9e3779b1 | 0;

export class Sharer {
  readonly counts: SharerCounts = { hashed: 0, compared: 0, falseMatches: 0, staleHints: 0 };
  /** The latest hash, salted and cut. */
  readonly #hash = { low: 0, high: 0 };
  readonly #lowMask: number;
  readonly #highMask: number;

  /** `hashBits` of the hash count, 1 to 64. */
  constructor(
    readonly table: SharingTable,
    readonly numbers: VmNumbers,
    readonly pages: Pages,
    readonly mechanism: Mechanism,
    readonly hasher: PageHasher,
    hashBits: number = HASH_BITS,
  ) {
    this.#lowMask = maskOf(Math.min(hashBits, HALF_BITS));
    this.#highMask = maskOf(Math.max(0, hashBits - HALF_BITS));
  }

  /**
   * Shares a page if it can. A page that finds no partner leaves a hint, unless `leavesHint` is false, as for a page that
   * is about to go to disk.
   */
  scan(vm: Vm, ppn: Ppn, leavesHint = true): ScanResult {
    const { table, mechanism } = this;
    if (this.pages.stateOf(vm, ppn) !== PageState.private) return "passed";
    const mpn = mechanism.frameOf(vm, ppn);
    if (mpn === undefined) return "passed";
    const salt = this.numbers.saltOf(vm);
    this.counts.hashed++;
    if (!this.#hashOf(mpn, salt)) {
      table.remove(mpn);
      return mechanism.mapZero(vm, ppn) ? "zero" : "ineligible";
    }
    const { low, high } = this.#hash;
    const kind = table.kindOf(mpn);
    const isSame = kind !== FrameKind.none && table.matches(mpn, low, high);
    if (kind === FrameKind.ineligible && isSame) return "ineligible";
    const isOwn = kind === FrameKind.hint && this.#isHintOf(mpn, vm, ppn);
    const isKept = isOwn && isSame;
    if (!isKept) table.remove(mpn);

    const partner = this.#findPartner(mpn, low, high, salt);
    if (partner !== NO_ENTRY) return this.#merge(vm, ppn, mpn, partner, low, high, salt);
    if (isKept) table.setStable(mpn);
    else if (leavesHint) table.insertHint(mpn, low, high, this.numbers.numberOf(vm), ppn, isOwn);
    return "alone";
  }

  /** A frame with this hash and salt whose page, if it is a hint, still has it; NO_ENTRY if there is none. */
  #findPartner(mpn: Mpn, low: number, high: number, salt: number): Mpn {
    const { table } = this;
    for (let entry = table.first(low); entry !== NO_ENTRY;) {
      const next = table.next(entry);
      if (entry !== mpn && table.matches(entry, low, high)) {
        if (table.kindOf(entry) === FrameKind.shared) {
          if (table.saltOf(entry) === salt) return entry;
        } else {
          const state = this.#stateOfHint(entry, low, high, salt);
          if (state === "true") return entry;
          if (state === "stale") {
            this.counts.staleHints++;
            table.remove(entry);
          }
        }
      }
      entry = next;
    }
    return NO_ENTRY;
  }

  /** Whether a hint still tells the truth, and whether that is this hash and salt. */
  #stateOfHint(entry: Mpn, low: number, high: number, salt: number): "true" | "stale" | "other" {
    const { table, numbers } = this;
    const owner = numbers.vmOf(table.vmOf(entry)), ppn = table.ppnOf(entry);
    if (owner === undefined) return "stale";
    if (this.pages.stateOf(owner, ppn) !== PageState.private) return "stale";
    if (this.mechanism.frameOf(owner, ppn) !== entry) return "stale";
    if (numbers.saltOf(owner) !== salt) return "other";
    this.counts.hashed++;
    const isNonzero = this.#hashOf(entry, salt);
    if (!isNonzero || !table.matches(entry, this.#hash.low, this.#hash.high)) return "stale";
    // The hint keeps a part of the hash: the whole may be another.
    return this.#hash.low === low && this.#hash.high === high ? "true" : "other";
  }

  #isHintOf(entry: Mpn, vm: Vm, ppn: Ppn): boolean {
    return this.table.vmOf(entry) === this.numbers.numberOf(vm) && this.table.ppnOf(entry) === ppn;
  }

  /** Compares in full and shares. A page that is different with the same hash is out of the running from then on. */
  #merge(vm: Vm, ppn: Ppn, mpn: Mpn, partner: Mpn, low: number, high: number, salt: number): ScanResult {
    const { table, mechanism } = this;
    this.counts.compared++;
    if (!mechanism.share(vm, ppn, partner)) {
      this.counts.falseMatches++;
      table.setIneligible(mpn, low, high);
      return "ineligible";
    }
    table.remove(mpn);
    const references = mechanism.references(partner);
    if (table.kindOf(partner) === FrameKind.shared) table.setCount(partner, references);
    else table.insertShared(partner, low, high, salt, references);
    return "merged";
  }

  /** Leaves a frame's hash, salted and cut, in `#hash`. False for what hashes as zeros do. */
  #hashOf(mpn: Mpn, salt: number): boolean {
    const { hasher } = this;
    hasher.of(mpn);
    if (hasher.isOfZeros) return false;
    this.#hash.low = (hasher.low ^ Math.imul(salt, SALT_FACTOR)) & this.#lowMask;
    this.#hash.high = hasher.high & this.#highMask;
    return true;
  }
}

/** The lowest `bits` of 32. */
function maskOf(bits: number): number {
  return bits === HALF_BITS ? -1 : 2 ** bits - 1;
}
