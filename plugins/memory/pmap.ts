// One VM's pmap: PPN -> MPN with a state and host-side accessed and dirty bits for every page (ESX paper, section 2), and
// every transition between page states. Each leaves frames and pages consistent, whatever throws.

import {
  type Hasher,
  InputError,
  ListenerError,
  type Saved,
  type StateOwner,
  type Vm,
  VmFailure,
} from "../../core/mod.ts";
import { type FrameTable, NO_FRAME, WORDS_PER_FRAME } from "./frames.ts";
import { MemoryHash, type PageWords } from "./memory_hash.ts";
import {
  type GuestMemory,
  type Mpn,
  OutOfMachineMemory,
  PAGE_SIZE,
  PageState,
  type Ppn,
  type SwapFile,
  type VmMemoryReport,
} from "./services.ts";

/** What a pmap needs of the machine around it. */
export interface Surroundings {
  readonly frames: FrameTable;
  readonly swapFile: SwapFile | undefined;
  /** Announces that a page's frame, or the right to write through it, is about to change. */
  mappingChanged(vm: Vm, ppn: Ppn): void;
  /** Announces that a device wrote to a frame. */
  written(mpn: Mpn): void;
  /** Announces that a device wrote to a page, or that its contents are gone. */
  contentsChanged(vm: Vm, ppn: Ppn, offset: number, size: number): void;
  balloonPopped(vm: Vm, ppn: Ppn): void;
  /** Asks others to free a frame for a page; whether somebody says that he did. */
  reclaim(vm: Vm, ppn: Ppn): boolean;
  /** Charges a VM for a page copied. */
  chargeCopy(vm: Vm): void;
}

/**
 * A page's byte of information: its PageState, and the host-side bits. A page is UNHASHED from its first write after its
 * hash was taken: only then may engines keep the right to write to it.
 */
const STATE_MASK = 7, ACCESSED = 8, DIRTY = 16, UNHASHED = 32;
/** A page that can be written and needs nothing to be noted of it. */
const WRITABLE = PageState.private | ACCESSED | DIRTY | UNHASHED;
const STATES = Object.keys(PageState).length;
/** What bytes beyond the end of memory read as: nobody drives the bus. */
const FLOATING = 0xff;

export class Pmap implements GuestMemory, StateOwner {
  readonly pages: number;
  /** Frame of every page, or NO_FRAME. */
  readonly mpns: Int32Array;
  /** State and host-side bits of every page. */
  readonly info: Uint8Array;
  /** Pages in each state. */
  readonly counts = new Int32Array(STATES);
  readonly #contents: MemoryHash;
  /** What remains of an ended VM whose frames were given back; so does the hash of what they held. */
  #retired: VmMemoryReport | undefined;

  constructor(readonly vm: Vm, pages: number, readonly machine: Surroundings) {
    this.pages = pages;
    this.mpns = new Int32Array(pages).fill(NO_FRAME);
    this.info = new Uint8Array(pages);
    this.counts[PageState.absent] = pages;
    this.#contents = new MemoryHash(pages);
  }

  stateOf(ppn: Ppn): PageState {
    return (this.info[ppn] & STATE_MASK) as PageState;
  }

  frameForRead(ppn: Ppn): Mpn {
    if (!(this.mpns[ppn] >= 0)) this.#populate(ppn);
    this.info[ppn] |= ACCESSED;
    return this.mpns[ppn];
  }

  frameForWrite(ppn: Ppn): Mpn {
    if (this.info[ppn] !== WRITABLE) {
      this.makePrivate(ppn);
      this.info[ppn] |= ACCESSED | DIRTY;
      this.#noteChanged(ppn);
    }
    return this.mpns[ppn];
  }

  frameAtHand(ppn: Ppn): Mpn {
    return (this.info[ppn] & ACCESSED) !== 0 ? this.mpns[ppn] : NO_FRAME;
  }

  isWritable(ppn: Ppn): boolean {
    return this.info[ppn] === WRITABLE;
  }

  read(physical: number, target: Uint8Array): void {
    const { bytes } = this.machine.frames;
    for (let done = 0; done < target.length;) {
      const ppn = Math.floor((physical + done) / PAGE_SIZE);
      const offset = physical + done - ppn * PAGE_SIZE;
      const count = Math.min(PAGE_SIZE - offset, target.length - done);
      if (ppn < 0 || ppn >= this.pages) target.fill(FLOATING, done, done + count);
      else if (this.stateOf(ppn) === PageState.absent) target.fill(0, done, done + count);
      else {
        const at = this.frameForRead(ppn) * PAGE_SIZE + offset;
        target.set(bytes.subarray(at, at + count), done);
      }
      done += count;
    }
  }

  write(physical: number, source: Uint8Array): void {
    const { bytes } = this.machine.frames;
    for (let done = 0; done < source.length;) {
      const ppn = Math.floor((physical + done) / PAGE_SIZE);
      const offset = physical + done - ppn * PAGE_SIZE;
      const count = Math.min(PAGE_SIZE - offset, source.length - done);
      if (ppn >= 0 && ppn < this.pages) {
        const mpn = this.frameForWrite(ppn);
        bytes.set(source.subarray(done, done + count), mpn * PAGE_SIZE + offset);
        this.machine.written(mpn);
        this.machine.contentsChanged(this.vm, ppn, offset, count);
      }
      done += count;
    }
  }

  /** As declared; the bytes are in place where a frame holds them, so they are for reading only. */
  peek(ppn: Ppn): Uint8Array | undefined {
    const mpn = this.mpns[ppn];
    if (mpn >= 0) return this.machine.frames.bytesOf(mpn);
    if (this.stateOf(ppn) !== PageState.swapped) return undefined;
    const contents = new Uint8Array(PAGE_SIZE);
    this.#swapFile().read(this.vm, ppn, contents);
    return contents;
  }

  get allocatedPages(): number {
    return this.counts[PageState.private] + this.counts[PageState.shared] + this.counts[PageState.zero];
  }

  report(): VmMemoryReport {
    return this.#retired ?? {
      maxPages: this.pages,
      allocatedPages: this.allocatedPages,
      sharedPages: this.counts[PageState.shared] + this.counts[PageState.zero],
      zeroPages: this.counts[PageState.zero],
      balloonedPages: this.counts[PageState.ballooned],
      swappedPages: this.counts[PageState.swapped],
    };
  }

  isAccessed(ppn: Ppn): boolean {
    return (this.info[ppn] & ACCESSED) !== 0;
  }

  testAndClearAccessed(ppn: Ppn): boolean {
    return this.#testAndClear(ppn, ACCESSED);
  }

  testAndClearDirty(ppn: Ppn): boolean {
    return this.#testAndClear(ppn, DIRTY);
  }

  /** Gives a page a frame of its own, with its contents. */
  makePrivate(ppn: Ppn): void {
    const { frames } = this.machine;
    if (this.stateOf(ppn) === PageState.private) return;
    if (!(this.mpns[ppn] >= 0)) return this.#populate(ppn);
    if (frames.referenceCounts[this.mpns[ppn]] > 1) this.#reserve(ppn);
    // Reclaiming may have taken this very page, or the other pages that shared its frame.
    const shared = this.mpns[ppn];
    if (shared === NO_FRAME) return this.#populate(ppn);
    this.machine.mappingChanged(this.vm, ppn);
    if (frames.referenceCounts[shared] === 1) {
      frames.makePrivate(shared, this.vm.id, ppn);
      this.#set(ppn, PageState.private, shared);
      return;
    }
    const own = frames.allocate(this.vm.id, ppn);
    frames.copy(shared, own);
    this.#set(ppn, PageState.private, own);
    frames.dropReference(shared);
    this.machine.chargeCopy(this.vm);
  }

  /** Marks a page's private frame as shared, so that others can join it. */
  makeShared(ppn: Ppn): void {
    this.machine.mappingChanged(this.vm, ppn);
    this.machine.frames.makeShared(this.mpns[ppn]);
    this.#set(ppn, PageState.shared, this.mpns[ppn]);
  }

  /** Moves a page that holds a frame to a shared frame with the same contents. */
  joinShared(ppn: Ppn, mpn: Mpn): void {
    const { frames } = this.machine;
    this.machine.mappingChanged(this.vm, ppn);
    frames.addReference(mpn);
    try {
      this.#dropFrame(ppn);
    } catch (cause) {
      frames.dropReference(mpn);
      throw cause;
    }
    this.#set(ppn, mpn === frames.zeroFrame ? PageState.zero : PageState.shared, mpn);
  }

  /** Maps the common zero frame; its first page lends its own frame, or gets one. */
  mapZero(ppn: Ppn): boolean {
    const { frames } = this.machine;
    if (this.stateOf(ppn) === PageState.zero) return true;
    if (!this.#isZero(ppn)) return false;
    if (frames.zeroFrame === NO_FRAME && this.stateOf(ppn) !== PageState.private) {
      this.makePrivate(ppn);
    }
    if (frames.zeroFrame === NO_FRAME) {
      this.machine.mappingChanged(this.vm, ppn);
      frames.makeShared(this.mpns[ppn]);
      frames.zeroFrame = this.mpns[ppn];
      this.#set(ppn, PageState.zero, frames.zeroFrame);
    } else this.joinShared(ppn, frames.zeroFrame);
    return true;
  }

  release(ppn: Ppn, to: PageState): void {
    const from = this.stateOf(ppn);
    if (from === to) return;
    if (to === PageState.swapped) {
      if (this.mpns[ppn] === NO_FRAME) {
        throw new Error(`page ${ppn} of VM "${this.vm.name}" has no frame to swap out (page state ${from})`);
      }
      this.#swapFile().write(this.vm, ppn, this.machine.frames.bytesOf(this.mpns[ppn]));
    }
    if (this.mpns[ppn] >= 0) {
      try {
        this.machine.mappingChanged(this.vm, ppn);
        this.#dropFrame(ppn);
      } catch (cause) {
        if (to === PageState.swapped) this.#swapFile().forget(this.vm, ppn, "dropped");
        throw cause;
      }
    }
    this.info[ppn] &= STATE_MASK | UNHASHED;
    if (to !== PageState.swapped && holdsContents(from)) this.#noteChanged(ppn);
    this.#set(ppn, to, NO_FRAME);
    if (from === PageState.swapped) this.#swapFile().forget(this.vm, ppn, "dropped");
    if (to !== PageState.swapped && holdsContents(from)) this.machine.contentsChanged(this.vm, ppn, 0, PAGE_SIZE);
  }

  /** Gives every frame back, once the VM has ended; what reports and the state hash need remains. */
  retire(): void {
    if (this.#retired !== undefined) return;
    for (let isHashed = false; !isHashed;) {
      try {
        this.#updateHash();
        isHashed = true;
      } catch (cause) {
        // A page that the swap file does not give back counts as it did last: its VM had to end.
        if (!(cause instanceof VmFailure) || cause instanceof ListenerError) throw cause;
      }
    }
    this.#retired = this.report();
    this.#releaseAll();
  }

  save(): Saved {
    const ppns: number[] = [];
    for (let ppn = 0; ppn < this.pages; ppn++) if (holdsContents(this.stateOf(ppn))) ppns.push(ppn);
    const contents = new Uint8Array(ppns.length * PAGE_SIZE);
    for (const [i, ppn] of ppns.entries()) contents.set(this.peek(ppn) ?? [], i * PAGE_SIZE);
    return { info: this.info.map((bits) => bits & ~UNHASHED), ppns: Int32Array.from(ppns), contents };
  }

  /** Pages that were shared or swapped come back private: other VMs may have gone on since. */
  restore(saved: Saved): void {
    const { info, ppns, contents } = saved as { info: Uint8Array; ppns: Int32Array; contents: Uint8Array };
    if (info.length !== this.pages) {
      throw new InputError(`saved memory of VM "${this.vm.name}" has ${info.length} pages; it has ${this.pages}`);
    }
    this.#retired = undefined;
    this.#releaseAll();
    for (let i = 0; i < ppns.length; i++) {
      const mpn = this.frameForWrite(ppns[i]);
      this.machine.frames.bytesOf(mpn).set(contents.subarray(i * PAGE_SIZE, (i + 1) * PAGE_SIZE));
      this.machine.written(mpn);
    }
    for (let ppn = 0; ppn < this.pages; ppn++) {
      const state = info[ppn] & STATE_MASK;
      if (state === PageState.ballooned) this.release(ppn, PageState.ballooned);
      if (state === PageState.zero) this.mapZero(ppn);
      this.info[ppn] = (this.info[ppn] & (STATE_MASK | UNHASHED)) | (info[ppn] & (ACCESSED | DIRTY));
    }
  }

  /**
   * Contents by PPN. A page of zeros counts as nothing, whether it holds a frame or not, and MPNs never enter. Costs the
   * pages that were written since the last time.
   */
  hash(hasher: Hasher): void {
    if (this.#retired === undefined) this.#updateHash();
    this.#contents.feed(hasher);
  }

  /** Whether a page whose hash is kept still has the contents that it was taken of. For the audit. */
  isHashTrue(ppn: Ppn): boolean {
    return (this.info[ppn] & UNHASHED) !== 0 || this.#contents.isOf(ppn, this.#contentsOf(ppn));
  }

  #updateHash(): void {
    this.#contents.update((ppn) => {
      // An engine that keeps the right to write would not come back to say that the page changed.
      if (this.mpns[ppn] !== NO_FRAME) this.machine.mappingChanged(this.vm, ppn);
      this.info[ppn] &= ~UNHASHED;
      return this.#contentsOf(ppn);
    });
  }

  /** Where a page's contents are; undefined where it surely reads as zeros. */
  #contentsOf(ppn: Ppn): PageWords | undefined {
    const state = this.stateOf(ppn);
    if (!holdsContents(state)) return undefined;
    if (state !== PageState.swapped) {
      return { words: this.machine.frames.words, from: this.mpns[ppn] * WORDS_PER_FRAME };
    }
    const words = new Int32Array(WORDS_PER_FRAME);
    this.#swapFile().read(this.vm, ppn, new Uint8Array(words.buffer));
    return { words, from: 0 };
  }

  #noteChanged(ppn: Ppn): void {
    if ((this.info[ppn] & UNHASHED) !== 0) return;
    this.info[ppn] |= UNHASHED;
    this.#contents.noteChanged(ppn);
  }

  #testAndClear(ppn: Ppn, bit: number): boolean {
    if ((this.info[ppn] & bit) === 0) return false;
    // An engine that keeps the frame would not come back to set the bit.
    this.machine.mappingChanged(this.vm, ppn);
    this.info[ppn] &= ~bit;
    return true;
  }

  /** Gives a frame to a page that has none. */
  #populate(ppn: Ppn): void {
    if (!(ppn >= 0 && ppn < this.pages)) {
      throw new RangeError(`page ${ppn} of VM "${this.vm.name}"; it has pages 0 to ${this.pages - 1}`);
    }
    const { frames } = this.machine;
    this.#reserve(ppn);
    const from = this.stateOf(ppn);
    const mpn = frames.allocate(this.vm.id, ppn);
    if (from === PageState.swapped) {
      try {
        this.#swapFile().read(this.vm, ppn, frames.bytesOf(mpn));
      } catch (error) {
        frames.free(mpn);
        throw error;
      }
    }
    this.#set(ppn, PageState.private, mpn);
    if (from === PageState.swapped) this.#swapFile().forget(this.vm, ppn, "read");
    if (from === PageState.ballooned) this.machine.balloonPopped(this.vm, ppn);
  }

  /** Sees to it that a frame is free. */
  #reserve(ppn: Ppn): void {
    const { frames } = this.machine;
    if (frames.freeFrames > 0) return;
    const claimed = this.machine.reclaim(this.vm, ppn);
    if (frames.freeFrames > 0) return;
    throw new OutOfMachineMemory(
      `VM "${this.vm.name}" needs a frame for its page ${ppn} and all ${frames.totalFrames} are in use` +
        (claimed ? "; a listener of memory.reclaim said that it had freed one, but none is free" : ""),
    );
  }

  #swapFile(): SwapFile {
    const { swapFile } = this.machine;
    if (swapFile === undefined) throw new Error("no plugin keeps swapped pages; load one, such as swap");
    return swapFile;
  }

  #isZero(ppn: Ppn): boolean {
    const mpn = this.mpns[ppn];
    return mpn >= 0 ? this.machine.frames.isZero(mpn) : this.stateOf(ppn) === PageState.absent;
  }

  #dropFrame(ppn: Ppn): void {
    const { frames } = this.machine;
    const mpn = this.mpns[ppn];
    if (mpn === NO_FRAME) return;
    if (this.stateOf(ppn) === PageState.private) frames.free(mpn);
    else frames.dropReference(mpn);
  }

  #releaseAll(): void {
    for (let ppn = 0; ppn < this.pages; ppn++) this.release(ppn, PageState.absent);
  }

  #set(ppn: Ppn, state: PageState, mpn: Mpn): void {
    this.counts[this.stateOf(ppn)]--;
    this.counts[state]++;
    this.info[ppn] = (this.info[ppn] & ~STATE_MASK) | state;
    this.mpns[ppn] = mpn;
  }
}

/** Whether a page in this state may read as other than zeros. */
function holdsContents(state: PageState): boolean {
  return state === PageState.private || state === PageState.shared || state === PageState.swapped;
}
