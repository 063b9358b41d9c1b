// What KSM does with one page (Linux, mm/ksm.c, cmp_and_merge_page): a page that equals one of the stable tree, of pages
// merged before, joins it; one that has not changed for a pass is looked up in the unstable tree, of candidates seen in
// this pass, and merged with its equal into the stable one. The unstable tree is forgotten after each pass.

import type { Vm } from "../../core/mod.ts";
import { type MachineMemory, type Mechanism, type Mpn, type Pages, PageState, type Ppn } from "../memory/mod.ts";
import { Contents, ContentTree, type TreeNode } from "./content_tree.ts";

export interface KsmOptions {
  /** Most pages that share one frame: bounds what one frame's mapping out costs (KSM's `max_page_sharing`). */
  readonly maxPageSharing: number;
  /** Pages of zeros share the zero frame, outside the trees (`use_zero_pages`). */
  readonly useZeroPages: boolean;
  /** Pages that were looked at in vain for passes are left out of some (`smart_scan`). */
  readonly smartScan: boolean;
}

/** A candidate of the unstable tree. */
interface Candidate {
  readonly vm: Vm;
  readonly ppn: Ppn;
}

/** Frames with the same contents, each shared by `maxPageSharing` pages at most: a chain of the stable tree. */
interface Chain {
  readonly frames: Mpn[];
}

/** What is known of a VM's pages: KSM's rmap items, 64 bytes each in the kernel. */
interface Items {
  readonly checksums: Int32Array;
  /** 0: never looked at; else passes in vain, and one. */
  readonly ages: Uint8Array;
  readonly skips: Uint8Array;
}

const MAX_AGE = 255;
/** Passes in vain after which a page is left out of some. */
const MIN_AGE = 3;

export class Ksm {
  readonly counts = { scanned: 0, skipped: 0, merged: 0 };
  readonly contents: Contents;
  readonly #stable: ContentTree<Chain>;
  readonly #unstable: ContentTree<Candidate>;
  /** The stable tree's node of each of its frames. */
  readonly #nodes = new Map<Mpn, TreeNode<Chain>>();
  readonly #items = new Map<Vm, Items>();

  constructor(
    readonly options: KsmOptions,
    readonly machine: MachineMemory,
    readonly pages: Pages,
    readonly mechanism: Mechanism,
  ) {
    this.contents = new Contents(machine);
    this.#stable = new ContentTree(this.contents);
    this.#unstable = new ContentTree(this.contents);
  }

  /** Candidates that nobody has an equal of, in this pass. */
  get unsharedPages(): number {
    return this.#unstable.size;
  }

  /** Pages looked at and not merged. */
  get items(): number {
    let items = 0;
    for (const { ages } of this.#items.values()) for (const age of ages) if (age > 0) items++;
    return items;
  }

  /** Contents with several frames, and those frames. */
  get chains(): { readonly chains: number; readonly dups: number } {
    let chains = 0, dups = 0;
    for (const { value: { frames } } of this.#stable) if (frames.length > 1) chains++, dups += frames.length;
    return { chains, dups };
  }

  /** Looks at a page as KSM does in a pass. */
  scan(vm: Vm, ppn: Ppn): void {
    const { pages, mechanism, options } = this;
    const mpn = pages.stateOf(vm, ppn) === PageState.private ? mechanism.frameOf(vm, ppn) : undefined;
    const items = this.#itemsOf(vm);
    if (mpn === undefined) return void (items.ages[ppn] = 0);
    const isKnown = items.ages[ppn] > 0;
    if (!isKnown) [items.ages[ppn], items.skips[ppn]] = [1, 0];
    if (options.smartScan && this.#skips(items, ppn)) return void this.counts.skipped++;
    if (items.ages[ppn] < MAX_AGE) items.ages[ppn]++;
    this.counts.scanned++;

    const stable = this.#stable.findOrInsert(mpn).node;
    if (stable !== undefined && this.#joinChain(vm, ppn, stable.value)) return this.#noteMerged(items, ppn);
    const checksum = this.contents.checksum(mpn);
    if (!isKnown || checksum !== items.checksums[ppn]) return void (items.checksums[ppn] = checksum);
    if (options.useZeroPages && mechanism.mapZero(vm, ppn)) return this.#noteMerged(items, ppn);
    const { node, isNew } = this.#unstable.findOrInsert(mpn, () => ({ vm, ppn }));
    if (node === undefined || isNew || node.mpn === mpn) return;
    const { value: other } = node;
    // The tree stood where others wrote: the candidate must still be what it was, in the frame that was compared.
    this.#unstable.remove(node);
    if (mechanism.frameOf(other.vm, other.ppn) !== node.mpn || !mechanism.share(vm, ppn, node.mpn)) return;
    this.#makeStable(node.mpn);
    this.#noteMerged(items, ppn);
    this.#noteMerged(this.#itemsOf(other.vm), other.ppn);
  }

  /** A pass is over. */
  endPass(): void {
    this.#unstable.clear();
  }

  /** A shared frame is gone, or one page's own again. */
  forgetFrame(mpn: Mpn): void {
    const node = this.#nodes.get(mpn);
    if (node === undefined) return;
    this.#nodes.delete(mpn);
    const { frames } = node.value;
    frames.splice(frames.indexOf(mpn), 1);
    if (frames.length === 0) this.#stable.remove(node);
    else node.mpn = frames[0];
  }

  /** A VM is gone, and with it its frames: the unstable tree must not be walked through them. */
  forgetVm(vm: Vm): void {
    this.#items.delete(vm);
    this.#unstable.clear();
  }

  /** Throws unless the stable tree is in order, and its frames are the shared ones that it knows. */
  audit(): void {
    let before: Mpn | undefined;
    let frames = 0;
    for (const node of this.#stable) {
      if (before !== undefined && this.contents.compare(before, node.mpn) >= 0) {
        throw new Error(`stable tree: frame ${node.mpn} stands behind frame ${before} and is not greater`);
      }
      before = node.mpn;
      for (const mpn of node.value.frames) {
        frames++;
        const references = this.mechanism.references(mpn);
        if (this.#nodes.get(mpn) !== node) throw new Error(`stable tree: frame ${mpn} is in two places`);
        if (this.contents.compare(mpn, node.mpn) !== 0) {
          throw new Error(`stable tree: frame ${mpn} differs in its chain`);
        }
        if (references < 1 || references > this.options.maxPageSharing) {
          throw new Error(`stable tree: frame ${mpn} has ${references} pages`);
        }
      }
    }
    if (frames !== this.#nodes.size) throw new Error(`stable tree: ${frames} frames, ${this.#nodes.size} known`);
  }

  /** Merges a page into a frame of a chain that has room for it. */
  #joinChain(vm: Vm, ppn: Ppn, { frames }: Chain): boolean {
    const { mechanism, options } = this;
    const frame = frames.find((mpn) => mechanism.references(mpn) < options.maxPageSharing);
    return frame !== undefined && mechanism.share(vm, ppn, frame);
  }

  /** A frame that was just merged: a new chain, or one more frame of a chain whose others are full. */
  #makeStable(mpn: Mpn): void {
    // Somebody else may have shared it before.
    if (this.#nodes.has(mpn)) return;
    const { node, isNew } = this.#stable.findOrInsert(mpn, () => ({ frames: [mpn] }));
    if (node === undefined) return;
    if (!isNew) node.value.frames.push(mpn);
    this.#nodes.set(mpn, node);
  }

  #noteMerged(items: Items, ppn: Ppn): void {
    this.counts.merged++;
    items.ages[ppn] = 0;
    items.skips[ppn] = 0;
  }

  /** Whether a page is left out of this pass. */
  #skips({ ages, skips }: Items, ppn: Ppn): boolean {
    const age = ages[ppn] - 1;
    if (age < MIN_AGE) return false;
    if (skips[ppn] === 0) {
      skips[ppn] = passesLeftOut(age);
      return false;
    }
    skips[ppn]--;
    if (ages[ppn] < MAX_AGE) ages[ppn]++;
    return true;
  }

  #itemsOf(vm: Vm): Items {
    let items = this.#items.get(vm);
    if (items === undefined) {
      const count = this.pages.count(vm);
      items = { checksums: new Int32Array(count), ages: new Uint8Array(count), skips: new Uint8Array(count) };
      this.#items.set(vm, items);
    }
    return items;
  }
}

/** After a pass in which a page of some age was looked at, passes in which it is not (mm/ksm.c, skip_age). */
function passesLeftOut(age: number): number {
  if (age <= 3) return 1;
  if (age <= 5) return 2;
  return age <= 8 ? 4 : 8;
}
