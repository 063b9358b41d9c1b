// Address translation: page-table walks with A and D bits and exact error codes (SDM 3A, chapter 4: 32-bit paging with PSE,
// PAE paging), the slow paths behind the TLB's fast ones, device memory, and stores to frames that hold code.

import type { Saved, Vm } from "../../core/mod.ts";
import type { GuestMemory, MachineMemory } from "../memory/mod.ts";
import type { MemoryDevice } from "./services.ts";
import type { CodeFrames } from "./code_frames.ts";
import { noteAccess } from "./debug.ts";
import type { GuestFault } from "./fault.ts";
import type { KeptEntries } from "./kept_entries.ts";
import type { Processor } from "./processor.ts";
import type { TranslationKeeper } from "./services.ts";
import * as S from "./state.ts";
import { Right, Tlb } from "./tlb.ts";

/** Page-table entry bits. */
const PTE_P = 1, PTE_RW = 2, PTE_US = 4, PTE_A = 32, PTE_D = 64, PTE_PS = 128, PTE_G = 256;
/** Bits 13..21 of a 4 MiB page's entry are reserved without PSE-36. */
const PDE_4M_RESERVED = 0x003fe000;
/** Bits 13..20 of a 2 MiB page's entry are reserved; high words above 36 physical bits too. */
const PDE_2M_RESERVED = 0x001fe000, PAE_HIGH_RESERVED = 0xfffffff0;
/** Reserved bits of a page-directory-pointer entry's low word: 1, 2, 5..8. */
const PDPTE_RESERVED = 0x1e6;

/** Page-fault error code bits (SDM 3A, 4.7). */
const PF_PRESENT = 1, PF_WRITE = 2, PF_USER = 4, PF_RESERVED = 8;

/** In place of an entry's physical address. */
const NO_ENTRY = -1;

/** In place of a TLB index: the guest's tables do not allow the access. */
const DENIED = -1;

interface DeviceRange {
  readonly firstPpn: number;
  readonly lastPpn: number;
  readonly name: string;
  readonly device: MemoryDevice;
}

/** What keeps an access from a machine address: a fault, a page's end or code; a trace alone; that a device lies there. */
export const Missed = { other: 0, traced: 1, device: 2 } as const;

/** Thrown out of an engine by a fetch from a page of `Mmu.setFetchStops`: a signal; the state is as before the instruction. */
export class FetchStop {}

export class Mmu {
  static readonly ENTRIES = 1 << 14;
  static readonly MASK = Mmu.ENTRIES - 1;
  static readonly INSTRUCTION_ENTRIES = 1 << 14;

  readonly data = new Tlb(Mmu.ENTRIES);
  readonly instruction = new Tlb(Mmu.INSTRUCTION_ENTRIES);
  readonly userBank = this.data.userBank;
  readonly #devices: DeviceRange[] = [];
  /** By PPN: whether a device lies there instead of RAM. */
  readonly #isDevice: Uint8Array;
  /** Error code of the fault that the last walk came to. */
  #errorCode = 0;
  #fetchStops: ReadonlySet<number> = new Set();
  /** Whether a fetch from the pages of `setFetchStops` comes back to who set them. */
  stopsFetches = false;
  /** Why `hostAddress` last had none. */
  missed: (typeof Missed)[keyof typeof Missed] = 0;
  /** By PPN: whether the keeper wants to be told of stores to the page. Its own to set; see `dropWriteTags`. */
  readonly traced: Uint8Array;
  #keeper: TranslationKeeper | undefined;
  /** Physical addresses of the entries that the last walk went through: none without paging, no table's in a large page. */
  #directoryEntry = NO_ENTRY;
  #tableEntry = NO_ENTRY;

  constructor(
    readonly cpu: Processor,
    readonly vm: Vm,
    readonly machine: MachineMemory,
    readonly memory: GuestMemory,
    readonly code: CodeFrames,
  ) {
    this.#isDevice = new Uint8Array(memory.pages);
    this.traced = new Uint8Array(memory.pages);
  }

  get #r(): Int32Array {
    return this.cpu.r;
  }

  /** Lays a device over a page-aligned range of guest-physical addresses. */
  addDevice(base: number, sizeBytes: number, name: string, device: MemoryDevice): void {
    const range = { firstPpn: base / 4096, lastPpn: (base + sizeBytes) / 4096 - 1, name, device };
    const other = this.#devices.find((d) => d.firstPpn <= range.lastPpn && range.firstPpn <= d.lastPpn);
    if (other !== undefined) throw new Error(`device memory of ${name} overlaps that of ${other.name}`);
    this.#devices.push(range);
    this.#isDevice.fill(1, range.firstPpn, range.lastPpn + 1);
    this.#memoryChanged();
  }

  removeDevice(name: string): void {
    const at = this.#devices.findIndex((range) => range.name === name);
    if (at >= 0) {
      const [{ firstPpn, lastPpn }] = this.#devices.splice(at, 1);
      this.#isDevice.fill(0, firstPpn, lastPpn + 1);
    }
    this.#memoryChanged();
  }

  /** A device has come or gone: kept translations may come from where it lies. */
  #memoryChanged(): void {
    if (this.#keeper !== undefined) this.flush(false);
    else this.flushHost();
  }

  /** Whether a guest-physical page is memory, which no device covers. */
  isRam(ppn: number): boolean {
    return ppn < this.memory.pages && this.#isDevice[ppn] === 0;
  }

  // Flushes.

  /** MOV to CR3, or a change of CR4: all entries, or all that are not global. */
  flush(keepGlobal: boolean): void {
    const { translated } = this.cpu.hooks;
    if (translated.active) translated.emit({ vm: this.vm, what: "flush", keepGlobal });
    if (keepGlobal && this.#keeper !== undefined) return this.#keeper.rootLoaded();
    this.#keeper?.cleared();
    this.data.flush(keepGlobal);
    this.instruction.flush(keepGlobal);
  }

  /** Names who keeps translations over changes of address space; a second one is an error. */
  setKeeper(keeper: TranslationKeeper): void {
    if (this.#keeper !== undefined) throw new Error("translations have a keeper already; load one, such as shadow-mmu");
    this.#keeper = keeper;
    this.flush(false);
  }

  /** Puts entries that a keeper kept back into a TLB, their host halves too where that has no effect on the page. */
  moveIn(tlb: Tlb, kept: KeptEntries): void {
    tlb.moveIn(kept, tlb === this.data ? this.#fillDataHost : this.#fillInstructionHost);
  }

  readonly #fillDataHost = (index: number): void => {
    const mpn = this.#frameAtHand(this.data.ppn[index]);
    if (mpn >= 0) this.#fillDataHostWith(index, mpn);
  };

  /** Fills a data TLB entry's host halves, for both banks, with all that can be done there by now. */
  #fillDataHostWith(index: number, mpn: number): void {
    const { data } = this, ppn = data.ppn[index], rights = data.rights[index];
    const isWritable = (rights & Right.dirty) !== 0 && this.memory.isWritable(ppn) && !this.code.hasCode[mpn] &&
      this.traced[ppn] === 0;
    const isGranted = isWritable && (rights & Right.write) !== 0;
    data.fillHost(index, 0, mpn, isGranted || (isWritable && !(this.#r[S.CR0] & S.CR0_WP)));
    if (rights & Right.user) data.fillHost(index, this.userBank, mpn, isGranted);
  }

  readonly #fillInstructionHost = (index: number): void => {
    const mpn = this.#fetchStops.size > 0 ? -1 : this.#frameAtHand(this.instruction.ppn[index]);
    if (mpn >= 0) this.#fillInstructionHostWith(index, mpn);
  };

  #fillInstructionHostWith(index: number, mpn: number): void {
    const { instruction } = this;
    instruction.fillHost(index, 0, mpn, false);
    if (instruction.rights[index] & Right.user) instruction.fillHost(index, instruction.userBank, mpn, false);
  }

  /** The frame to read a page through, or -1 where that has an effect or a device lies there. */
  #frameAtHand(ppn: number): number {
    return ppn >= this.memory.pages || this.#isDevice[ppn] !== 0 ? -1 : this.memory.frameAtHand(ppn);
  }

  /**
   * Fills a data TLB entry that is empty from the guest's tables, without an access: only where all of them are marked as
   * accessed, so that nobody can tell. Whether it did.
   */
  prefill(linear: number): boolean {
    const { data } = this, index = data.index(linear);
    if (!data.isEmpty(index)) return false;
    const walk = this.#walk(linear, false, false, false);
    if (walk === undefined || !this.#isAccessed(this.#directoryEntry) || !this.#isAccessed(this.#tableEntry)) {
      return false;
    }
    data.fill(index, linear, walk.ppn, walk.rights);
    this.#fillDataHost(index);
    return true;
  }

  #isAccessed(entry: number): boolean {
    return entry === NO_ENTRY || (this.readPhysical32(entry) & PTE_A) !== 0;
  }

  /** INVLPG. */
  flushPage(linear: number): void {
    const { translated } = this.cpu.hooks;
    if (translated.active) translated.emit({ vm: this.vm, what: "flush-page", linear });
    const largePageMask = this.#r[S.CR4] & S.CR4_PAE ? 0xffe00000 : 0xffc00000;
    this.data.flushPage(linear, largePageMask);
    this.instruction.flushPage(linear, largePageMask);
  }

  /** Host halves alone: invisible to the guest. */
  flushHost(): void {
    this.data.dropHostHalves();
    this.instruction.dropHostHalves();
  }

  dropPpn(ppn: number): void {
    this.data.dropPpn(ppn);
    this.instruction.dropPpn(ppn);
  }

  save(): Saved {
    return { data: this.data.save(), instruction: this.instruction.save() };
  }

  restore(saved: { data: Saved; instruction: Saved }): void {
    this.data.restore(saved.data);
    this.instruction.restore(saved.instruction);
  }

  // Slow paths of data accesses.

  /** Reads 1, 2 or 4 bytes as a signed word; across a page end, both pages are translated first. */
  readSlow(linear: number, size: 1 | 2 | 4, bank: number): number {
    return this.#access(linear, size, false, 0, bank);
  }

  /** Writes 1, 2 or 4 bytes; across a page end, both pages are checked first. */
  writeSlow(linear: number, size: 1 | 2 | 4, value: number, bank: number): void {
    this.#access(linear, size, true, value, bank);
  }

  /** Reads or writes; one function for both, so that V8 optimizes what throws even where only the one kind faults. */
  #access(linear: number, size: 1 | 2 | 4, isWrite: boolean, value: number, bank: number): number {
    const { cpu } = this;
    if (cpu.watchesBreakpoints || cpu.accessWatch !== undefined) this.#noteAccess(linear, size, isWrite);
    if ((linear & 0xfff) + size > 4096) return this.#accessAcross(linear, size, isWrite, value, bank);
    const at = this.#translate(this.data, linear, isWrite, bank);
    if (at === DENIED) throw this.#pageFault(linear);
    const { host } = this.data, entry = bank + at * 4;
    if (host[entry] !== (linear & 0xfffff000)) {
      const physical = this.data.ppn[at] * 4096 + (linear & 0xfff);
      if (!isWrite) return this.#deviceRead(physical, size);
      this.#deviceWrite(physical, size, value);
      return 0;
    }
    const address = (host[entry + 1] + linear) >>> 0;
    const { bytes, view } = this.machine;
    if (!isWrite) {
      if (size === 4) return view.getInt32(address, true);
      return size === 2 ? view.getUint16(address, true) : bytes[address];
    }
    if (size === 4) view.setInt32(address, value, true);
    else if (size === 2) view.setUint16(address, value, true);
    else bytes[address] = value;
    const mpn = address >>> 12;
    if (this.code.hasCode[mpn]) this.code.stored(mpn, address & 0xfff, size);
    const ppn = this.data.ppn[at];
    if (this.traced[ppn] !== 0) this.#keeper?.stored(ppn, address & 0xfff, size);
    return 0;
  }

  #noteAccess(linear: number, size: number, isWrite: boolean): void {
    if (this.cpu.watchesBreakpoints) noteAccess(this.cpu, linear, size, isWrite);
    this.cpu.accessWatch?.(linear, size, isWrite);
  }

  #accessAcross(linear: number, size: number, isWrite: boolean, value: number, bank: number): number {
    this.checkSlow(linear, size, isWrite, bank);
    let read = 0;
    for (let i = 0; i < size; i++) {
      const byte = this.#access((linear + i) | 0, 1, isWrite, (value >>> (8 * i)) & 0xff, bank);
      read |= (byte & 0xff) << (8 * i);
    }
    return read;
  }

  /**
   * Machine address for an access that translated code missed in the TLB, or -1 where only the slow path can do it: device
   * memory, code, a page's end, a fault.
   */
  hostAddress(linear: number, size: number, isWrite: boolean, bank: number): number {
    this.missed = Missed.other;
    if ((linear & 0xfff) + size > 4096) return -1;
    const index = this.#translate(this.data, linear, isWrite, bank);
    // The interpreter comes to the same fault, raises it at the exact instruction and tells it.
    if (index === DENIED) return -1;
    const { host } = this.data, page = linear & 0xfffff000, entry = bank + index * 4;
    const address = (host[entry + 1] + linear) | 0;
    if (host[entry + (isWrite ? 2 : 0)] === page) return address;
    // Data beside code in a frame: this store may go on, the next one asks again.
    if (host[entry] !== page) this.missed = Missed.device;
    else if (isWrite && this.code.isData(address >>> 12, address & 0xfff, size)) {
      if (this.traced[this.data.ppn[index]] === 0) return address;
      this.missed = Missed.traced;
    }
    return -1;
  }

  /**
   * Machine address for a store to a traced page where `hostAddress` would have nothing to do but to keep it back; otherwise
   * -1. `wasStored` is to be called for it.
   */
  tracedAddress(linear: number, size: number, bank: number): number {
    const { data } = this, index = data.index(linear), entry = bank + index * 4;
    const page = linear & 0xfffff000, needed = Right.write | Right.dirty;
    if (data.host[entry] !== page || ((linear + size - 1) & 0xfffff000) !== page) return -1;
    if ((data.rights[index] & needed) !== needed || this.traced[data.ppn[index]] === 0) return -1;
    if (this.code.hasCode[data.host[entry + 3]] !== 0 || !this.memory.isWritable(data.ppn[index])) return -1;
    return (data.host[entry + 1] + linear) | 0;
  }

  /** The PPN that the data TLB has for a linear address. */
  ppnOf(linear: number): number {
    return this.data.ppn[this.data.index(linear)];
  }

  /** A store by such an address has been made, or is about to be, where `looksAtStores` is not set. */
  wasStored(ppn: number, offset: number, size: number): void {
    if (this.traced[ppn] !== 0) this.#keeper?.stored(ppn, offset, size);
  }

  get looksAtStores(): boolean {
    return this.#keeper?.looksAtStores === true;
  }

  /** Translates every page of a range of up to a page in size, raising what an access would. */
  checkSlow(linear: number, size: number, isWrite: boolean, bank: number): void {
    if (this.#translate(this.data, linear, isWrite, bank) === DENIED) throw this.#pageFault(linear);
    const lastPage = (linear + size - 1) & 0xfffff000;
    if (lastPage === (linear & 0xfffff000)) return;
    if (this.#translate(this.data, lastPage, isWrite, bank) === DENIED) throw this.#pageFault(lastPage);
  }

  /** The machine frame to fetch instructions of `linear`'s page from, or -1 where it is no RAM. Raises #PF. */
  fetchFrame(linear: number): number {
    const { instruction } = this;
    const bank = this.#r[S.CPL] === 3 ? instruction.userBank : 0;
    const entry = bank + ((linear >>> 12) & (Mmu.INSTRUCTION_ENTRIES - 1)) * 4;
    if (instruction.host[entry] === (linear & 0xfffff000)) return instruction.host[entry + 3];
    if (this.#fetchStops.size > 0) return this.#fetchFromStop(linear, bank, entry);
    if (this.#translate(instruction, linear, false, bank) === DENIED) throw this.#pageFault(linear);
    return instruction.host[entry] === (linear & 0xfffff000) ? instruction.host[entry + 3] : -1;
  }

  /**
   * Names the linear pages (address >>> 12) that no engine may fetch from by itself: it comes back by a FetchStop that
   * `fetchFrame` throws before anything has changed, as long as `stopsFetches` is set. For tools.
   */
  setFetchStops(pages: ReadonlySet<number>): void {
    this.#fetchStops = pages;
    this.instruction.dropHostHalves();
  }

  /** The slow path of fetches while there are such pages: none of their host halves stays. */
  #fetchFromStop(linear: number, bank: number, entry: number): number {
    const { instruction } = this;
    const isStop = this.#fetchStops.has(linear >>> 12);
    if (isStop && this.stopsFetches) throw new FetchStop();
    const index = this.#translate(instruction, linear, false, bank);
    if (index === DENIED) throw this.#pageFault(linear);
    const mpn = instruction.host[entry] === (linear & 0xfffff000) ? instruction.host[entry + 3] : -1;
    if (isStop) instruction.dropHost(index);
    return mpn;
  }

  /** One instruction byte, for what cannot be fetched by frame. Raises #PF. */
  fetchByte(linear: number): number {
    const mpn = this.fetchFrame(linear);
    if (mpn >= 0) return this.machine.bytes[mpn * 4096 + (linear & 0xfff)];
    const { instruction } = this;
    return this.#deviceRead(instruction.ppn[instruction.index(linear)] * 4096 + (linear & 0xfff), 1);
  }

  /** Linear to guest-physical without touching TLB, A or D bits; undefined where not mapped. For tools. */
  probe(linear: number): number | undefined {
    const walk = this.#walk(linear, false, false, false);
    return walk === undefined ? undefined : walk.ppn * 4096 + (linear & 0xfff);
  }

  /** Up to `size` bytes at a linear address, touching nothing; fewer where memory is not mapped or is a device's. */
  peekBytes(linear: number, size: number): Uint8Array {
    const bytes = new Uint8Array(size);
    for (let done = 0; done < size;) {
      const at = (linear + done) >>> 0, physical = this.probe(at);
      const ppn = physical === undefined ? Infinity : (physical / 4096) | 0;
      if (ppn >= this.memory.pages || this.#isDevice[ppn] !== 0) return bytes.subarray(0, done);
      const offset = at & 0xfff, count = Math.min(size - done, 4096 - offset);
      bytes.set(this.memory.peek(ppn)?.subarray(offset, offset + count) ?? [], done);
      done += count;
    }
    return bytes;
  }

  /**
   * Finds or fills the entry of `linear`, guest half and host half, for an access through `bank`; gives its index, or
   * DENIED where `#pageFault` is to be raised: nothing has changed then, and nobody has been told. An entry whose rights do
   * not suffice, or that is clean when written, is walked again, as processors do.
   */
  #translate(tlb: Tlb, linear: number, isWrite: boolean, bank: number): number {
    const index = tlb.index(linear);
    if (tlb.host[bank + index * 4 + (isWrite ? 2 : 0)] === (linear & 0xfffff000)) return index;
    const isUser = bank !== 0;
    if (!tlb.hits(index, linear) || !this.#allows(tlb.rights[index], isWrite, isUser)) {
      const walk = this.#walk(linear, isWrite, isUser, true);
      if (walk === undefined) return DENIED;
      tlb.fill(index, linear, walk.ppn, walk.rights);
      if (this.#keeper !== undefined && this.#directoryEntry !== NO_ENTRY && !(walk.rights & Right.global)) {
        this.#keeper.filled(linear, this.#directoryEntry, this.#tableEntry);
      }
      if (this.cpu.hooks.translated.active) this.#tellFill(tlb, linear, walk);
    }
    const ppn = tlb.ppn[index];
    if (ppn >= this.memory.pages || this.#isDevice[ppn] !== 0) return index;
    const mpn = isWrite ? this.memory.frameForWrite(ppn) : this.memory.frameForRead(ppn);
    if (tlb === this.data) this.#fillDataHostWith(index, mpn);
    else this.#fillInstructionHostWith(index, mpn);
    return index;
  }

  #allows(rights: number, isWrite: boolean, isUser: boolean): boolean {
    if (isUser && !(rights & Right.user)) return false;
    if (!isWrite) return true;
    if (!(rights & Right.dirty)) return false;
    return (rights & Right.write) !== 0 || (!isUser && !(this.#r[S.CR0] & S.CR0_WP));
  }

  readonly #found = { ppn: 0, rights: 0 };

  /**
   * Walks the guest's tables; undefined, and `#errorCode`, where an access faults. With `commit`, sets A and D bits;
   * without, changes nothing.
   */
  #walk(
    linear: number,
    isWrite: boolean,
    isUser: boolean,
    commit: boolean,
  ): { ppn: number; rights: number } | undefined {
    const r = this.#r;
    this.#directoryEntry = this.#tableEntry = NO_ENTRY;
    if (!(r[S.CR0] & S.CR0_PG)) return this.#result(linear >>> 12, Right.user | Right.write | Right.dirty);
    if (r[S.CR4] & S.CR4_PAE) return this.#walkPae(linear, isWrite, isUser, commit);
    const pdeAddress = ((r[S.CR3] & 0xfffff000) >>> 0) + ((linear >>> 22) << 2);
    this.#directoryEntry = pdeAddress;
    const pde = this.readPhysical32(pdeAddress);
    if (!(pde & PTE_P)) return this.#deny(0, isWrite, isUser);
    if ((pde & PTE_PS) !== 0 && (r[S.CR4] & S.CR4_PSE) !== 0) {
      if (pde & PDE_4M_RESERVED) return this.#deny(PF_PRESENT | PF_RESERVED, isWrite, isUser);
      if (this.#denied(pde, isWrite, isUser)) return this.#deny(PF_PRESENT, isWrite, isUser);
      if (commit) this.#mark(pdeAddress, pde, isWrite);
      return this.#result(
        ((pde & 0xffc00000) >>> 12) + ((linear >>> 12) & 0x3ff),
        this.#rights(pde, pde, isWrite) | Right.large,
      );
    }
    const pteAddress = ((pde & 0xfffff000) >>> 0) + ((linear >>> 10) & 0xffc);
    this.#tableEntry = pteAddress;
    const pte = this.readPhysical32(pteAddress);
    if (!(pte & PTE_P)) return this.#deny(0, isWrite, isUser);
    if (this.#denied(pde & pte, isWrite, isUser)) return this.#deny(PF_PRESENT, isWrite, isUser);
    if (commit) this.#markBoth(pdeAddress, pde, pteAddress, pte, isWrite);
    return this.#result(pte >>> 12, this.#rights(pde, pte, isWrite));
  }

  #walkPae(
    linear: number,
    isWrite: boolean,
    isUser: boolean,
    commit: boolean,
  ): { ppn: number; rights: number } | undefined {
    const r = this.#r;
    const pdpte = S.PDPTE + (linear >>> 30) * 2;
    if (!(r[pdpte] & PTE_P)) return this.#deny(0, isWrite, isUser);
    const pdeAddress = physicalOf(r[pdpte], r[pdpte + 1]) + ((linear >>> 18) & 0xff8);
    this.#directoryEntry = pdeAddress;
    const pde = this.readPhysical32(pdeAddress), pdeHigh = this.readPhysical32(pdeAddress + 4);
    if (!(pde & PTE_P)) return this.#deny(0, isWrite, isUser);
    const isLarge = (pde & PTE_PS) !== 0;
    if ((pdeHigh & PAE_HIGH_RESERVED) !== 0 || (isLarge && (pde & PDE_2M_RESERVED) !== 0)) {
      return this.#deny(PF_PRESENT | PF_RESERVED, isWrite, isUser);
    }
    if (isLarge) {
      if (this.#denied(pde, isWrite, isUser)) return this.#deny(PF_PRESENT, isWrite, isUser);
      if (commit) this.#mark(pdeAddress, pde, isWrite);
      const firstPpn = physicalOf(pde & 0xffe00000, pdeHigh) / 4096;
      return this.#result(firstPpn + ((linear >>> 12) & 0x1ff), this.#rights(pde, pde, isWrite) | Right.large);
    }
    const pteAddress = physicalOf(pde, pdeHigh) + ((linear >>> 9) & 0xff8);
    this.#tableEntry = pteAddress;
    const pte = this.readPhysical32(pteAddress), pteHigh = this.readPhysical32(pteAddress + 4);
    if (!(pte & PTE_P)) return this.#deny(0, isWrite, isUser);
    if (pteHigh & PAE_HIGH_RESERVED) return this.#deny(PF_PRESENT | PF_RESERVED, isWrite, isUser);
    if (this.#denied(pde & pte, isWrite, isUser)) return this.#deny(PF_PRESENT, isWrite, isUser);
    if (commit) this.#markBoth(pdeAddress, pde, pteAddress, pte, isWrite);
    return this.#result(physicalOf(pte, pteHigh) / 4096, this.#rights(pde, pte, isWrite));
  }

  #result(ppn: number, rights: number): { ppn: number; rights: number } {
    this.#found.ppn = ppn;
    this.#found.rights = rights;
    return this.#found;
  }

  #denied(bits: number, isWrite: boolean, isUser: boolean): boolean {
    if (isUser) return !(bits & PTE_US) || (isWrite && !(bits & PTE_RW));
    return isWrite && !(bits & PTE_RW) && (this.#r[S.CR0] & S.CR0_WP) !== 0;
  }

  #rights(pde: number, leaf: number, isWrite: boolean): number {
    const both = pde & leaf;
    return (both & PTE_US ? Right.user : 0) | (both & PTE_RW ? Right.write : 0) |
      (isWrite || (leaf & PTE_D) !== 0 ? Right.dirty : 0) |
      ((leaf & PTE_G) !== 0 && (this.#r[S.CR4] & S.CR4_PGE) !== 0 ? Right.global : 0);
  }

  #mark(address: number, entry: number, isDirty: boolean): void {
    const marked = entry | PTE_A | (isDirty ? PTE_D : 0);
    if (marked !== entry) this.writePhysical32(address, marked);
  }

  /**
   * Marks a directory's entry and the page's, which a translation has used. A walk that faults marks neither: software may
   * not rely on that (SDM 3A 4.8), but it is what the 80386 does.
   */
  #markBoth(pdeAddress: number, pde: number, pteAddress: number, pte: number, isDirty: boolean): void {
    this.#mark(pdeAddress, pde, false);
    this.#mark(pteAddress, pte, isDirty);
  }

  #deny(code: number, isWrite: boolean, isUser: boolean): undefined {
    this.#errorCode = code | (isWrite ? PF_WRITE : 0) | (isUser ? PF_USER : 0);
    return undefined;
  }

  /**
   * The #PF that the last walk came to, to be thrown by who asked for the access. It is made by a function that returns, and
   * thrown by functions that mostly return, because V8 never optimizes one that always throws, and unwinds each frame of an
   * unoptimized one slowly: a throw through four of them took 1.3 us, this way it takes a fifth of that.
   */
  #pageFault(linear: number): GuestFault {
    const errorCode = this.#errorCode;
    this.#r[S.CR2] = linear;
    this.#keeper?.faulted();
    const { translated } = this.cpu.hooks;
    if (translated.active) translated.emit({ vm: this.vm, what: "fault", linear, errorCode });
    return this.cpu.fault.set(S.Vector.pageFault, errorCode);
  }

  #tellFill(tlb: Tlb, linear: number, { ppn, rights }: { ppn: number; rights: number }): void {
    const isFetch = tlb === this.instruction;
    this.cpu.hooks.translated.emit({ vm: this.vm, what: "fill", linear, ppn, rights, isFetch });
  }

  // Guest-physical accesses.

  /** Loads the four PAE page-directory pointers from CR3; false where a present one has reserved bits set (#GP). */
  loadPdptes(cr3: number): boolean {
    const loaded = new Int32Array(8);
    for (let i = 0; i < 8; i++) loaded[i] = this.readPhysical32(((cr3 & 0xffffffe0) >>> 0) + i * 4);
    for (let i = 0; i < 8; i += 2) {
      const reserved = (loaded[i] & PDPTE_RESERVED) !== 0 || (loaded[i + 1] & PAE_HIGH_RESERVED) !== 0;
      if (loaded[i] & PTE_P && reserved) return false;
    }
    this.#r.set(loaded, S.PDPTE);
    return true;
  }

  /** A naturally aligned word of guest-physical memory. */
  readPhysical32(physical: number): number {
    const ppn = (physical / 4096) | 0;
    if (ppn >= this.memory.pages || this.#isDevice[ppn] !== 0) return this.#deviceRead(physical, 4);
    return this.machine.view.getInt32(this.memory.frameForRead(ppn) * 4096 + (physical & 0xfff), true);
  }

  writePhysical32(physical: number, value: number): void {
    const ppn = (physical / 4096) | 0;
    if (ppn >= this.memory.pages || this.#isDevice[ppn] !== 0) return this.#deviceWrite(physical, 4, value);
    const mpn = this.memory.frameForWrite(ppn);
    this.machine.view.setInt32(mpn * 4096 + (physical & 0xfff), value, true);
    if (this.code.hasCode[mpn]) this.code.stored(mpn, physical & 0xfff, 4);
  }

  #deviceAt(ppn: number): DeviceRange | undefined {
    for (const range of this.#devices) if (ppn >= range.firstPpn && ppn <= range.lastPpn) return range;
    return undefined;
  }

  /** Reads a device with the exact step count; nothing there reads as all ones. */
  #deviceRead(physical: number, size: 1 | 2 | 4): number {
    const range = this.#deviceAt((physical / 4096) | 0);
    if (range === undefined) return -1;
    this.cpu.syncSteps();
    this.cpu.endBlock();
    const value = range.device.read(physical - range.firstPpn * 4096, size);
    const { accessed } = this.cpu.hooks;
    if (accessed.active) {
      accessed.emit({ vm: this.vm, space: "memory", address: physical, size, value, isWrite: false });
    }
    return value | 0;
  }

  #deviceWrite(physical: number, size: 1 | 2 | 4, value: number): void {
    const range = this.#deviceAt((physical / 4096) | 0);
    if (range === undefined) return;
    this.cpu.syncSteps();
    this.cpu.endBlock();
    const mask = size === 4 ? 0xffffffff : (1 << (size * 8)) - 1;
    const { accessed } = this.cpu.hooks;
    if (accessed.active) accessed.emit({ vm: this.vm, space: "memory", address: physical, size, value, isWrite: true });
    range.device.write(physical - range.firstPpn * 4096, size, (value & mask) >>> 0);
  }
}

/** Physical address in a 64-bit entry: bits 12..35. */
function physicalOf(low: number, high: number): number {
  return (high & 0xf) * 0x1_0000_0000 + ((low & 0xfffff000) >>> 0);
}
