// One VM's pmap: PPN -> MPN with a state and host-side accessed and dirty bits for every page (ESX paper, section 2), and
// every transition between page states. Each leaves frames and pages consistent, whatever throws.

import { Hasher, InputError, type Saved, type StateOwner, type Vm } from "../../core/mod.ts";
import { type FrameTable, NO_FRAME, WORDS_PER_FRAME } from "./frames.ts";
import { PageHash } from "./page_hash.ts";
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
  balloonPopped(vm: Vm, ppn: Ppn): void;
  /** Asks others to free a frame for a page; whether somebody says that he did. */
  reclaim(vm: Vm, ppn: Ppn): boolean;
  /** Charges a VM for a page copied. */
  chargeCopy(vm: Vm): void;
}

/** A page's byte of information: its PageState, and the host-side bits. */
const STATE_MASK = 7, ACCESSED = 8, DIRTY = 16;
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
  /** What remains of an ended VM whose frames were given back. */
  #retired: { digest: string; report: VmMemoryReport } | undefined;

  constructor(readonly vm: Vm, pages: number, readonly machine: Surroundings) {
    this.pages = pages;
    this.mpns = new Int32Array(pages).fill(NO_FRAME);
    this.info = new Uint8Array(pages);
    this.counts[PageState.absent] = pages;
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
    if ((this.info[ppn] & STATE_MASK) !== PageState.private) this.makePrivate(ppn);
    this.info[ppn] |= ACCESSED | DIRTY;
    return this.mpns[ppn];
  }

  isWritable(ppn: Ppn): boolean {
    return this.info[ppn] === (PageState.private | ACCESSED | DIRTY);
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
    return this.#retired?.report ?? {
      maxPages: this.pages,
      allocatedPages: this.allocatedPages,
      sharedPages: this.counts[PageState.shared] + this.counts[PageState.zero],
      zeroPages: this.counts[PageState.zero],
      balloonedPages: this.counts[PageState.ballooned],
      swappedPages: this.counts[PageState.swapped],
    };
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
    this.#dropFrame(ppn);
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
      this.machine.mappingChanged(this.vm, ppn);
      this.#dropFrame(ppn);
    }
    this.info[ppn] &= STATE_MASK;
    this.#set(ppn, to, NO_FRAME);
    if (from === PageState.swapped) this.#swapFile().forget(this.vm, ppn, "dropped");
  }

  /** Gives every frame back, once the VM has ended; what reports and the state hash need remains. */
  retire(): void {
    if (this.#retired !== undefined) return;
    this.#retired = { digest: this.#digest(), report: this.report() };
    this.#releaseAll();
  }

  save(): Saved {
    const ppns: number[] = [];
    for (let ppn = 0; ppn < this.pages; ppn++) if (holdsContents(this.stateOf(ppn))) ppns.push(ppn);
    const contents = new Uint8Array(ppns.length * PAGE_SIZE);
    for (const [i, ppn] of ppns.entries()) contents.set(this.peek(ppn) ?? [], i * PAGE_SIZE);
    return { info: this.info.slice(), ppns: Int32Array.from(ppns), contents };
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
      this.info[ppn] = this.stateOf(ppn) | (info[ppn] & (ACCESSED | DIRTY));
    }
  }

  hash(hasher: Hasher): void {
    hasher.text(this.#retired?.digest ?? this.#digest());
  }

  /** Contents by PPN. Pages of zeros do not enter, whether they hold a frame or not, and neither does any MPN. */
  #digest(): string {
    const { words } = this.machine.frames;
    const hasher = new Hasher();
    const page = new PageHash();
    const swappedIn = new Int32Array(WORDS_PER_FRAME);
    hasher.word(this.pages);
    for (let ppn = 0; ppn < this.pages; ppn++) {
      const state = this.stateOf(ppn);
      if (!holdsContents(state)) continue;
      let isNonZero: boolean;
      if (state === PageState.swapped) {
        this.#swapFile().read(this.vm, ppn, new Uint8Array(swappedIn.buffer));
        isNonZero = page.of(swappedIn, 0);
      } else isNonZero = page.of(words, this.mpns[ppn] * WORDS_PER_FRAME);
      if (!isNonZero) continue;
      hasher.word(ppn);
      hasher.word(page.low);
      hasher.word(page.high);
    }
    return hasher.digest();
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
