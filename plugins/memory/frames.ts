// Machine memory and its frames: which are free, private to a page, shared by several, or the hypervisor's own. The lowest
// layer of the memory plugin; it knows VMs by number only. Conservation (law 3 of the design) begins here.

import { type Mpn, OutOfMachineMemory, PAGE_SIZE, type Ppn } from "./services.ts";

/** State of a machine frame. */
export const FrameState = { free: 0, private: 1, shared: 2, hypervisor: 3 } as const;
export type FrameState = (typeof FrameState)[keyof typeof FrameState];

/** No frame: what a pmap holds for a page without one, and the end of the free list. */
export const NO_FRAME = -1;

/** Bytes of machine memory behind the last frame: an engine keeps there what translated code reads of the processor. */
export const HYPERVISOR_AREA_BYTES = 40 * 65536;
const HYPERVISOR_AREA_PAGES = HYPERVISOR_AREA_BYTES / 65536;
/** Pages of WebAssembly memory in a MiB, and frames in a MiB. */
const WASM_PAGES_PER_MIB = 16;
export const FRAMES_PER_MIB = 256;
const WORD_SHIFT = 2;
/** 32-bit words in a frame. */
export const WORDS_PER_FRAME = PAGE_SIZE >> WORD_SHIFT;

/** What others learn from the frame table, before it changes: whoever throws has then changed nothing. */
export interface FrameEvents {
  /** A frame that was in use before is zeroed for a new owner. */
  recycled(mpn: Mpn): void;
  /** A shared frame is freed, or becomes private again. */
  sharingEnded(mpn: Mpn): void;
}

export class FrameTable {
  readonly memory: WebAssembly.Memory;
  readonly bytes: Uint8Array;
  readonly words: Int32Array;
  readonly view: DataView;
  readonly totalFrames: number;
  /** FrameState of every frame. */
  readonly states: Uint8Array;
  /** Owner of a private frame: id of the VM, and page. */
  readonly ownerVm: Int32Array;
  readonly ownerPpn: Int32Array;
  /** Pages that a shared frame stands for. */
  readonly referenceCounts: Int32Array;
  /** The frame that stands for pages of zeros, shared as any other, while there are such pages. */
  zeroFrame: Mpn = NO_FRAME;
  /** Frames given back, linked from the latest; frames from `#firstFresh` on were never used and still are zeros. */
  readonly nextFree: Int32Array;
  #firstFree: Mpn = NO_FRAME;
  #firstFresh: Mpn = 0;
  readonly #counts = new Int32Array(4);
  #totalReferences = 0;

  /** `sizeMib`: 1 to 4095, all of it reserved now; the system supplies pages of it as they are first written. */
  constructor(sizeMib: number, readonly events: FrameEvents) {
    const wasmPages = sizeMib * WASM_PAGES_PER_MIB + HYPERVISOR_AREA_PAGES;
    this.memory = new WebAssembly.Memory({ initial: wasmPages, maximum: wasmPages });
    this.totalFrames = sizeMib * FRAMES_PER_MIB;
    const frameBytes = this.totalFrames * PAGE_SIZE;
    this.bytes = new Uint8Array(this.memory.buffer, 0, frameBytes);
    this.words = new Int32Array(this.memory.buffer, 0, this.totalFrames * WORDS_PER_FRAME);
    this.view = new DataView(this.memory.buffer, 0, frameBytes);
    this.states = new Uint8Array(this.totalFrames);
    this.ownerVm = new Int32Array(this.totalFrames);
    this.ownerPpn = new Int32Array(this.totalFrames);
    this.referenceCounts = new Int32Array(this.totalFrames);
    this.nextFree = new Int32Array(this.totalFrames);
    this.#counts[FrameState.free] = this.totalFrames;
  }

  get freeFrames(): number {
    return this.#counts[FrameState.free];
  }

  /** Sum of the references of all shared frames. */
  get totalReferences(): number {
    return this.#totalReferences;
  }

  frameCounts(): { free: number; private: number; shared: number; hypervisor: number } {
    const [free, private_, shared, hypervisor] = this.#counts;
    return { free, private: private_, shared, hypervisor };
  }

  /** The bytes of a frame, in place. */
  bytesOf(mpn: Mpn): Uint8Array {
    return this.bytes.subarray(mpn * PAGE_SIZE, (mpn + 1) * PAGE_SIZE);
  }

  /** A zeroed frame for one page. Throws OutOfMachineMemory. */
  allocate(vmId: number, ppn: Ppn): Mpn {
    const mpn = this.#take(FrameState.private);
    this.ownerVm[mpn] = vmId;
    this.ownerPpn[mpn] = ppn;
    return mpn;
  }

  /** A zeroed frame for the hypervisor. Throws OutOfMachineMemory. */
  allocateForHypervisor(): Mpn {
    return this.#take(FrameState.hypervisor);
  }

  /** Gives back a private or hypervisor frame. */
  free(mpn: Mpn): void {
    const state = this.states[mpn];
    if (state !== FrameState.private && state !== FrameState.hypervisor) {
      throw new Error(`frame ${mpn} is ${describe(state)}; only private and hypervisor frames can be freed`);
    }
    this.#putBack(mpn);
  }

  /** A private frame becomes shared, with its owner as the only reference. */
  makeShared(mpn: Mpn): void {
    this.#expect(mpn, FrameState.private);
    this.#setState(mpn, FrameState.shared);
    this.referenceCounts[mpn] = 1;
    this.#totalReferences++;
  }

  /** A shared frame with one reference becomes that page's own. */
  makePrivate(mpn: Mpn, vmId: number, ppn: Ppn): void {
    this.#expect(mpn, FrameState.shared);
    if (this.referenceCounts[mpn] !== 1) {
      throw new Error(`frame ${mpn} has ${this.referenceCounts[mpn]} references; expected 1`);
    }
    this.#endSharing(mpn);
    this.#setState(mpn, FrameState.private);
    this.ownerVm[mpn] = vmId;
    this.ownerPpn[mpn] = ppn;
  }

  addReference(mpn: Mpn): void {
    this.#expect(mpn, FrameState.shared);
    this.referenceCounts[mpn]++;
    this.#totalReferences++;
  }

  /** One page less; the last one frees the frame. */
  dropReference(mpn: Mpn): void {
    this.#expect(mpn, FrameState.shared);
    if (this.referenceCounts[mpn] > 1) {
      this.referenceCounts[mpn]--;
      this.#totalReferences--;
    } else {
      this.#endSharing(mpn);
      this.#putBack(mpn);
    }
  }

  isZero(mpn: Mpn): boolean {
    const { words } = this;
    const from = mpn * WORDS_PER_FRAME;
    for (let i = from; i < from + WORDS_PER_FRAME; i++) if (words[i] !== 0) return false;
    return true;
  }

  areEqual(a: Mpn, b: Mpn): boolean {
    const { words } = this;
    const fromA = a * WORDS_PER_FRAME, fromB = b * WORDS_PER_FRAME;
    for (let i = 0; i < WORDS_PER_FRAME; i++) if (words[fromA + i] !== words[fromB + i]) return false;
    return true;
  }

  copy(from: Mpn, to: Mpn): void {
    this.bytes.copyWithin(to * PAGE_SIZE, from * PAGE_SIZE, (from + 1) * PAGE_SIZE);
  }

  /** Throws unless states, free list and totals agree with each other. What pages say is audited with the pmaps. */
  audit(): void {
    const found = new Int32Array(4);
    for (const state of this.states) found[state]++;
    for (const [name, state] of Object.entries(FrameState)) {
      if (found[state] !== this.#counts[state]) {
        throw new Error(`${found[state]} frames are ${name}, but the total says ${this.#counts[state]}`);
      }
    }
    let listed = this.totalFrames - this.#firstFresh;
    for (let mpn = this.#firstFresh; mpn < this.totalFrames; mpn++) this.#expect(mpn, FrameState.free);
    for (let mpn = this.#firstFree; mpn !== NO_FRAME; mpn = this.nextFree[mpn]) {
      this.#expect(mpn, FrameState.free);
      if (++listed > this.totalFrames) throw new Error(`the free list runs in a circle at frame ${mpn}`);
    }
    if (listed !== this.freeFrames) throw new Error(`${listed} frames are listed as free, ${this.freeFrames} are free`);
  }

  #take(state: FrameState): Mpn {
    let mpn = this.#firstFree;
    if (mpn !== NO_FRAME) {
      this.bytes.fill(0, mpn * PAGE_SIZE, (mpn + 1) * PAGE_SIZE);
      this.events.recycled(mpn);
      this.#firstFree = this.nextFree[mpn];
    } else if (this.#firstFresh < this.totalFrames) {
      mpn = this.#firstFresh++;
    } else {
      throw new OutOfMachineMemory(`all ${this.totalFrames} frames of machine memory are in use`);
    }
    this.#setState(mpn, state);
    return mpn;
  }

  #putBack(mpn: Mpn): void {
    this.#setState(mpn, FrameState.free);
    this.nextFree[mpn] = this.#firstFree;
    this.#firstFree = mpn;
  }

  #endSharing(mpn: Mpn): void {
    this.events.sharingEnded(mpn);
    this.referenceCounts[mpn] = 0;
    this.#totalReferences--;
    if (mpn === this.zeroFrame) this.zeroFrame = NO_FRAME;
  }

  #setState(mpn: Mpn, state: FrameState): void {
    this.#counts[this.states[mpn]]--;
    this.#counts[state]++;
    this.states[mpn] = state;
  }

  #expect(mpn: Mpn, state: FrameState): void {
    if (this.states[mpn] !== state) {
      throw new Error(`frame ${mpn} is ${describe(this.states[mpn])}; expected ${describe(state)}`);
    }
  }
}

function describe(state: number | undefined): string {
  return Object.entries(FrameState).find(([, value]) => value === state)?.[0] ?? "not a frame of this machine";
}
