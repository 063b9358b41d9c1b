// A virtual processor: its registers, its flags, and its view of memory. The fast paths of memory access are here, for
// every instruction handler; what they miss goes to the MMU. Handlers receive the processor and a bound operation.

import type { Hasher, ObservePort, Saved, StateOwner, Vm } from "../../core/mod.ts";
import { AC, AF, CF, EDX, ESP, IF, OF, PF, RF, SF, SS, STATUS_FLAGS, TF, VM, ZF } from "./instruction.ts";
import { DR7_ENABLES } from "./debug.ts";
import { GuestFault } from "./fault.ts";
import { Mmu } from "./mmu.ts";
import { setNullSegment, setRealSegment, setSegment } from "./descriptors.ts";
import type { IoSpace } from "./io.ts";
import type { CpuidResult, DeliveredEvent, DeviceAccess, TranslationEvent } from "./services.ts";
import type { Fpu } from "./x87/fpu.ts";
import * as S from "./state.ts";

/** What the processor asks and tells outside the plugin. */
export interface Hooks {
  readonly cpuid: (vm: Vm, leaf: number, subleaf: number) => CpuidResult;
  readonly readMsr: (question: { readonly vm: Vm; readonly msr: number }) => readonly [number, number] | undefined;
  readonly writeMsr: (
    question: { readonly vm: Vm; readonly msr: number; readonly low: number; readonly high: number },
  ) => true | undefined;
  readonly trapped: ObservePort<{ readonly vm: Vm; readonly mnemonic: string }>;
  readonly delivered: ObservePort<DeliveredEvent>;
  readonly accessed: ObservePort<DeviceAccess>;
  readonly translated: ObservePort<TranslationEvent>;
}

/** What `mode` says of the processor, as decoded code depends on it. */
export const Mode = {
  /** CS.D: 32-bit operands and addresses by default. */
  code32: 1,
  /** SS.B: the stack pointer is ESP. */
  stack32: 2,
  /** CS, DS, ES and SS have base 0, limit 4 GiB, and allow what their use needs: no check can fail. */
  flat: 4,
} as const;

/** Reasons for an engine to return to the executor at the next instruction boundary. */
export const Attention = {
  /** An interrupt may be deliverable, or a shadow has to end. */
  event: 1,
  /** TF or RF is set, or accesses are watched: one instruction at a time. */
  trap: 2,
  halt: 4,
} as const;

const parityOfByte = Uint8Array.from({ length: 256 }, (_, byte) => {
  let bits = byte;
  bits ^= bits >> 4;
  bits ^= bits >> 2;
  return (bits ^ (bits >> 1) ^ 1) & 1;
});

/** Size of an extended real; alignment that operands of up to that size need where it is checked, by their size. */
const EXTENDED_BYTES = 10, ALIGNMENT = [1, 1, 2, 1, 4, 1, 1, 1, 8, 1, 8];
/** A TLB's host half in which every look-up misses. */
const missingTlb = new Int32Array(Mmu.ENTRIES * 8).fill(1);

export class Processor implements StateOwner {
  /** The state block (state.ts) as words, halves and bytes. */
  r: Int32Array;
  r16: Uint16Array;
  r8: Uint8Array;
  readonly mmu: Mmu;
  /** Machine memory. */
  readonly view: DataView;
  readonly bytes: Uint8Array;
  /** The data TLB's host half (see Mmu); one that always misses while accesses are watched. */
  tlb: Int32Array;
  /** A breakpoint is enabled: accesses are compared with the debug registers. Derived. */
  watchesBreakpoints = false;
  /**
   * Told of every access by linear address but fetches, before it is made and whether it faults or not; for tools, and
   * unknown to the guest. While it is set, engines run one instruction at a time. Call `updateAttention` after a change.
   */
  accessWatch: ((linear: number, size: number, isWrite: boolean) => void) | undefined;
  /** #AC may be raised: CR0.AM, EFLAGS.AC and CPL 3. Derived. */
  checksAlignment = false;
  /** First word of the TLB bank for accesses at the present CPL. */
  bank = 0;
  /** See `Mode`. Derived from the segment registers. */
  mode = 0;
  /** See `Attention`: engines return when it is not zero. */
  attention = 0;

  /** The engine's place: linear-to-the-segment EIP of the block it executes, the operation's index in it, and how many to run. */
  blockEip = 0;
  index = 0;
  count = 0;
  /** Steps completed when the block was entered: `index` more are complete now. */
  blockSteps = 0;

  /** An event was delivered by the present instruction: no single-step trap follows it. */
  suppressTrap = false;
  /** A repeated string instruction ended its step with iterations left. */
  isRepeating = false;
  /** DR6 bits of the breakpoints that the present instruction has met. */
  breakpointHits = 0;

  readonly fault = new GuestFault();
  readonly delivered: Hooks["delivered"];

  /** Where the state block is unless an engine wants it elsewhere. */
  readonly #home = new ArrayBuffer(S.STATE_WORDS * 4);

  constructor(
    readonly vm: Vm,
    makeMmu: (processor: Processor) => Mmu,
    readonly io: IoSpace,
    readonly fpu: Fpu,
    readonly hooks: Hooks,
  ) {
    this.delivered = hooks.delivered;
    this.r = new Int32Array(this.#home);
    this.r16 = new Uint16Array(this.#home);
    this.r8 = new Uint8Array(this.#home);
    this.fpu.moveTo(this.#home, S.X87_STATE * 4);
    this.mmu = makeMmu(this);
    this.view = this.mmu.machine.view;
    this.bytes = this.mmu.machine.bytes;
    this.tlb = this.mmu.data.host;
  }

  /** Tells whoever listens that a sensitive instruction is emulated. */
  trap(mnemonic: string): void {
    if (this.hooks.trapped.active) this.hooks.trapped.emit({ vm: this.vm, mnemonic });
  }

  // Faults.

  /** Throws a guest fault. The instruction must not have changed anything yet. */
  raise(vector: number, errorCode?: number): never {
    this.fault.vector = vector;
    this.fault.errorCode = errorCode;
    this.fault.inNewTask = false;
    throw this.fault;
  }

  // Flags.

  get cf(): number {
    return this.r[S.FLAG_AUX] >>> 31;
  }
  get pf(): number {
    return parityOfByte[this.r[S.FLAG_RESULT] & 0xff] ^ ((this.r[S.FLAG_AUX] >>> 1) & 1);
  }
  get af(): number {
    return (this.r[S.FLAG_AUX] >>> 3) & 1;
  }
  get zf(): number {
    return this.r[S.FLAG_RESULT] === 0 ? 1 : 0;
  }
  get sf(): number {
    return ((this.r[S.FLAG_RESULT] >>> 31) ^ this.r[S.FLAG_AUX]) & 1;
  }
  get of(): number {
    const aux = this.r[S.FLAG_AUX];
    return ((aux >>> 31) ^ (aux >>> 30)) & 1;
  }

  /** Sets CF and leaves the other five. */
  setCf(cf: number): void {
    const aux = this.r[S.FLAG_AUX];
    // Bit 30 is CF xor OF: it changes with CF so that OF stays.
    if ((aux >>> 31) !== cf) this.r[S.FLAG_AUX] = aux ^ 0xc0000000;
  }

  /** Sets OF and leaves the other five. */
  setOf(of: number): void {
    const aux = this.r[S.FLAG_AUX];
    if ((((aux >>> 31) ^ (aux >>> 30)) & 1) !== of) this.r[S.FLAG_AUX] = aux ^ 0x40000000;
  }

  /** The status flags as EFLAGS bits. */
  statusFlags(): number {
    return (this.cf ? CF : 0) | (this.pf ? PF : 0) | (this.af ? AF : 0) | (this.zf ? ZF : 0) | (this.sf ? SF : 0) |
      (this.of ? OF : 0);
  }

  /** Sets all six status flags from EFLAGS bits. */
  setStatusFlags(flags: number): void {
    const sf = flags & SF ? 1 : 0, cf = flags & CF ? 1 : 0, of = flags & OF ? 1 : 0;
    const zero = (flags & ZF) !== 0;
    // A result with an even low byte and, unless ZF is set, the right sign; what it cannot express goes to the inverters.
    this.r[S.FLAG_RESULT] = zero ? 0 : sf ? 0x80000000 | 0 : 0x100;
    this.r[S.FLAG_AUX] = (cf << 31) | ((cf ^ of) << 30) | (flags & AF ? 8 : 0) | (flags & PF ? 0 : 2) |
      (zero && sf ? 1 : 0);
  }

  /** All of EFLAGS. */
  eflags(): number {
    return this.r[S.FLAGS_OTHER] | this.statusFlags();
  }

  /** Replaces the EFLAGS bits in `mask` by those of `value`. Privilege is the caller's business. */
  setEflags(value: number, mask: number): void {
    if (mask & STATUS_FLAGS) {
      this.setStatusFlags((value & mask & STATUS_FLAGS) | (this.statusFlags() & ~mask));
    }
    const others = mask & ~STATUS_FLAGS;
    this.r[S.FLAGS_OTHER] = (this.r[S.FLAGS_OTHER] & ~others) | (value & others) | 2;
    this.updateAttention();
    if (others & VM) this.updateMode();
  }

  /** The condition of Jcc, SETcc and CMOVcc: the low four bits of their opcodes. */
  condition(code: number): boolean {
    switch (code) {
      case 0:
        return this.of !== 0;
      case 1:
        return this.of === 0;
      case 2:
        return this.r[S.FLAG_AUX] < 0;
      case 3:
        return this.r[S.FLAG_AUX] >= 0;
      case 4:
        return this.r[S.FLAG_RESULT] === 0;
      case 5:
        return this.r[S.FLAG_RESULT] !== 0;
      case 6:
        return this.r[S.FLAG_AUX] < 0 || this.r[S.FLAG_RESULT] === 0;
      case 7:
        return this.r[S.FLAG_AUX] >= 0 && this.r[S.FLAG_RESULT] !== 0;
      case 8:
        return this.sf !== 0;
      case 9:
        return this.sf === 0;
      case 10:
        return this.pf !== 0;
      case 11:
        return this.pf === 0;
      case 12:
        return this.sf !== this.of;
      case 13:
        return this.sf === this.of;
      case 14:
        return this.r[S.FLAG_RESULT] === 0 || this.sf !== this.of;
      default:
        return this.r[S.FLAG_RESULT] !== 0 && this.sf === this.of;
    }
  }

  // Derived state.

  get isProtected(): boolean {
    return (this.r[S.CR0] & S.CR0_PE) !== 0;
  }
  get isV86(): boolean {
    return (this.r[S.FLAGS_OTHER] & VM) !== 0;
  }
  get iopl(): number {
    return (this.r[S.FLAGS_OTHER] >>> 12) & 3;
  }

  /** Sets the privilege level and the TLB bank that goes with it. */
  setCpl(cpl: number): void {
    this.r[S.CPL] = cpl;
    this.bank = cpl === 3 ? this.mmu.userBank : 0;
    if (this.r[S.FLAGS_OTHER] & AC) this.updateAttention();
  }

  /** Recomputes `mode` after a segment register, CR0.PE or EFLAGS.VM changed. */
  updateMode(): void {
    const { r } = this;
    let mode = 0;
    if (r[S.ATTRIBUTES + 1] & S.SEG_DB) mode |= Mode.code32;
    if (r[S.ATTRIBUTES + SS] & S.SEG_DB) mode |= Mode.stack32;
    if (this.#isFlat(0) && this.#isFlat(1) && this.#isFlat(2) && this.#isFlat(3)) mode |= Mode.flat;
    this.mode = mode;
  }

  #isFlat(segment: number): boolean {
    const attributes = this.r[S.ATTRIBUTES + segment];
    if (this.r[S.BASE + segment] !== 0 || this.r[S.LIMIT + segment] !== -1 || !(attributes & S.SEG_P)) return false;
    if (segment === 1) return (attributes & (S.SEG_CODE | S.SEG_READABLE)) === (S.SEG_CODE | S.SEG_READABLE);
    return (attributes & (S.SEG_CODE | S.SEG_EXPAND_DOWN | S.SEG_WRITABLE | S.SEG_NULL)) === S.SEG_WRITABLE;
  }

  /** Recomputes `attention` after PENDING, the shadow, HALTED, IF, TF, AC, CR0.AM or DR7 changed. */
  updateAttention(): void {
    const { r } = this;
    let attention = 0;
    const pending = r[S.PENDING];
    const takesInterrupt = (pending & S.Pending.interrupt) !== 0 && (r[S.FLAGS_OTHER] & IF) !== 0;
    const takesNmi = (pending & (S.Pending.nmi | S.Pending.nmiBlocked)) === S.Pending.nmi;
    if (takesInterrupt || takesNmi || r[S.INTERRUPT_SHADOW] !== 0 || (pending & S.Pending.debugTrap) !== 0) {
      attention |= Attention.event;
    }
    if (r[S.FLAGS_OTHER] & (TF | RF)) attention |= Attention.trap;
    if (r[S.HALTED]) attention |= Attention.halt;
    this.watchesBreakpoints = (r[S.DR7] & DR7_ENABLES) !== 0;
    this.checksAlignment = (r[S.FLAGS_OTHER] & AC) !== 0 && r[S.CPL] === 3 && (r[S.CR0] & S.CR0_AM) !== 0;
    const isWatched = this.watchesBreakpoints || this.checksAlignment || this.accessWatch !== undefined;
    if (isWatched) attention |= Attention.trap;
    this.tlb = isWatched ? missingTlb : this.mmu.data.host;
    this.attention = attention;
  }

  /** Makes `clock.steps` exact in the middle of a block, before code outside the engine looks at the time. */
  syncSteps(): void {
    this.vm.clock.steps = this.blockSteps + this.index;
  }

  /** Ends the running block after the present instruction: code, the mode or the deadline may have changed. */
  endBlock(): void {
    this.count = 0;
  }

  // Memory by linear address, at the present CPL. A fault is raised before anything is changed.
  // One compare finds the page and rejects what crosses its end, because the tag is compared to the last byte's page.

  read8(linear: number): number {
    const entry = this.bank + (((linear >>> 12) & Mmu.MASK) << 2);
    if (this.tlb[entry] === (linear & 0xfffff000)) return this.bytes[(this.tlb[entry + 1] + linear) >>> 0];
    return this.#readMissed(linear, 1) & 0xff;
  }

  read16(linear: number): number {
    const entry = this.bank + (((linear >>> 12) & Mmu.MASK) << 2);
    if (this.tlb[entry] === ((linear + 1) & 0xfffff000)) {
      return this.view.getUint16((this.tlb[entry + 1] + linear) >>> 0, true);
    }
    return this.#readMissed(linear, 2) & 0xffff;
  }

  read32(linear: number): number {
    const entry = this.bank + (((linear >>> 12) & Mmu.MASK) << 2);
    if (this.tlb[entry] === ((linear + 3) & 0xfffff000)) {
      return this.view.getInt32((this.tlb[entry + 1] + linear) >>> 0, true);
    }
    return this.#readMissed(linear, 4);
  }

  write8(linear: number, value: number): void {
    const entry = this.bank + (((linear >>> 12) & Mmu.MASK) << 2);
    if (this.tlb[entry + 2] === (linear & 0xfffff000)) this.bytes[(this.tlb[entry + 1] + linear) >>> 0] = value;
    else this.#writeMissed(linear, 1, value);
  }

  write16(linear: number, value: number): void {
    const entry = this.bank + (((linear >>> 12) & Mmu.MASK) << 2);
    if (this.tlb[entry + 2] === ((linear + 1) & 0xfffff000)) {
      this.view.setUint16((this.tlb[entry + 1] + linear) >>> 0, value, true);
    } else this.#writeMissed(linear, 2, value);
  }

  write32(linear: number, value: number): void {
    const entry = this.bank + (((linear >>> 12) & Mmu.MASK) << 2);
    if (this.tlb[entry + 2] === ((linear + 3) & 0xfffff000)) {
      this.view.setInt32((this.tlb[entry + 1] + linear) >>> 0, value, true);
    } else this.#writeMissed(linear, 4, value);
  }

  /**
   * Raises the fault that a write of `size` bytes (any size up to a page) at `linear` would, writes nothing, and counts as
   * the write for A and D bits. Read-modify-write instructions and those with two memory effects call it first.
   */
  checkWrite(linear: number, size: number): void {
    const entry = this.bank + (((linear >>> 12) & Mmu.MASK) << 2);
    if (this.tlb[entry + 2] !== ((linear + size - 1) & 0xfffff000)) this.#checkMissed(linear, size, true);
  }

  /** As checkWrite, for a read. */
  checkRead(linear: number, size: number): void {
    const entry = this.bank + (((linear >>> 12) & Mmu.MASK) << 2);
    if (this.tlb[entry] !== ((linear + size - 1) & 0xfffff000)) this.#checkMissed(linear, size, false);
  }

  /**
   * Raises #AC(0) where alignment is checked and an operand of `size` bytes is not at a multiple of `alignment`; #PF goes
   * first. For operands that are read in parts: quadwords and extended reals at multiples of eight (SDM 3A, table 6-7).
   */
  checkAlignment(linear: number, alignment: number, size: number, isWrite: boolean): void {
    if (!this.checksAlignment || (linear & (alignment - 1)) === 0) return;
    this.mmu.checkSlow(linear, size, isWrite, this.bank);
    this.raise(S.Vector.alignmentCheck, 0);
  }

  #readMissed(linear: number, size: 1 | 2 | 4): number {
    if (this.checksAlignment) this.checkAlignment(linear, size, size, false);
    return this.mmu.readSlow(linear, size, this.bank);
  }

  #writeMissed(linear: number, size: 1 | 2 | 4, value: number): void {
    if (this.checksAlignment) this.checkAlignment(linear, size, size, true);
    this.mmu.writeSlow(linear, size, value, this.bank);
  }

  /** Operands larger than a quadword are made of words that are checked as they are accessed. */
  #checkMissed(linear: number, size: number, isWrite: boolean): void {
    this.mmu.checkSlow(linear, size, isWrite, this.bank);
    if (this.checksAlignment && size <= EXTENDED_BYTES) {
      this.checkAlignment(linear, ALIGNMENT[size], size, isWrite);
    }
  }

  // Accesses of the processor itself (descriptor tables, task-state segments, inner stacks): supervisor, whatever the CPL.

  systemRead8(linear: number): number {
    return this.mmu.readSlow(linear, 1, 0) & 0xff;
  }
  systemRead16(linear: number): number {
    return this.mmu.readSlow(linear, 2, 0) & 0xffff;
  }
  systemRead32(linear: number): number {
    const entry = ((linear >>> 12) & Mmu.MASK) << 2;
    if (this.tlb[entry] === ((linear + 3) & 0xfffff000)) {
      return this.view.getInt32((this.tlb[entry + 1] + linear) >>> 0, true);
    }
    return this.mmu.readSlow(linear, 4, 0);
  }
  systemWrite16(linear: number, value: number): void {
    this.mmu.writeSlow(linear, 2, value, 0);
  }
  systemWrite32(linear: number, value: number): void {
    this.mmu.writeSlow(linear, 4, value, 0);
  }

  // Registers by number, for tools, boot and devices.

  getRegister(number: number): number {
    return this.r[number] >>> 0;
  }
  setRegister(number: number, value: number): void {
    this.r[number] = value;
  }
  get eip(): number {
    return this.r[S.EIP] >>> 0;
  }
  get esp(): number {
    return this.r[ESP] >>> 0;
  }

  // Start and state.

  /** Power-on state (SDM 3A, table 9-1). */
  reset(signature: number): void {
    const { r } = this;
    r.fill(0);
    r[EDX] = signature;
    r[S.FLAGS_OTHER] = 2;
    r[S.FLAG_RESULT] = 0x100;
    r[S.FLAG_AUX] = 2;
    r[S.CR0] = S.CR0_ET | S.CR0_NW | S.CR0_CD;
    r[S.DR6] = 0xffff0ff0;
    r[S.DR7] = 0x400;
    r[S.MXCSR] = S.MXCSR_AT_POWER_ON;
    r[S.IDTR_LIMIT] = r[S.GDTR_LIMIT] = 0xffff;
    for (let segment = 0; segment < 6; segment++) {
      r[S.ATTRIBUTES + segment] = S.SEG_NULL;
      r[S.LIMIT + segment] = 0xffff;
      setRealSegment(this, segment, 0);
    }
    setNullSegment(this, S.LDTR, 0);
    setNullSegment(this, S.TR, 0);
    r[S.SELECTOR + 1] = 0xf000;
    r[S.BASE + 1] = 0xffff0000;
    r[S.EIP] = 0xfff0;
    this.setCpl(0);
    this.mmu.flush(false);
    this.fpu.reset();
    this.updateMode();
    this.updateAttention();
  }

  /** Real mode at `cs:ip`, the other segments at 0 and SP as given. */
  enterReal(start: { readonly cs: number; readonly ip: number; readonly sp: number }): void {
    setRealSegment(this, 1, start.cs);
    this.r[S.EIP] = start.ip;
    this.r[ESP] = start.sp;
  }

  /**
   * Flat 32-bit protected mode, paging and interrupts off, as boot protocols hand over: CS and the data segments hold the
   * given selectors with base 0 and limit 4 GiB. No descriptor table is behind them.
   */
  enterProtectedFlat(
    start: { readonly eip: number; readonly esp: number; readonly codeSelector: number; readonly dataSelector: number },
  ): void {
    const { r } = this;
    r[S.CR0] = S.CR0_PE | S.CR0_ET;
    const flat = (type: number, selector: number, segments: readonly number[]) => {
      const high = 0xf0000 | S.SEG_G | S.SEG_DB | S.SEG_P | S.SEG_S | S.SEG_ACCESSED | type;
      for (const segment of segments) setSegment(this, segment, selector, { low: 0xffff, high, address: 0 });
    };
    flat(S.SEG_CODE | S.SEG_READABLE, start.codeSelector, [1]);
    flat(S.SEG_WRITABLE, start.dataSelector, [0, 2, 3, 4, 5]);
    r[S.EIP] = start.eip;
    r[ESP] = start.esp;
    this.mmu.flush(false);
    this.setCpl(0);
    this.updateMode();
  }

  /**
   * Moves the state block and the TLBs' host halves into `buffer`, at byte offsets, so that translated code finds them at
   * a fixed address. The TLBs' places there must be empty, and are at first; nobody else may be there until `moveHome`.
   */
  moveTo(buffer: ArrayBufferLike, stateAt: number, dataTlbAt: number, instructionTlbAt: number): void {
    const { data, instruction } = this.mmu;
    data.moveHostTo(new Int32Array(buffer, dataTlbAt, data.host.length));
    instruction.moveHostTo(new Int32Array(buffer, instructionTlbAt, instruction.host.length));
    this.#moveState(buffer, stateAt);
  }

  /** Moves them back, and leaves the TLBs' places empty. */
  moveHome(): void {
    this.mmu.data.moveHostTo();
    this.mmu.instruction.moveHostTo();
    this.#moveState(this.#home, 0);
  }

  #moveState(buffer: ArrayBufferLike, at: number): void {
    const r = new Int32Array(buffer, at, S.STATE_WORDS);
    r.set(this.r);
    this.r = r;
    this.r16 = new Uint16Array(buffer, at, S.STATE_WORDS * 2);
    this.r8 = new Uint8Array(buffer, at, S.STATE_WORDS * 4);
    this.fpu.moveTo(buffer, at + S.X87_STATE * 4);
    this.updateAttention();
  }

  save(): Saved {
    return { registers: this.r.slice(), tlb: this.mmu.save(), fpu: this.fpu.save() };
  }

  restore(saved: Saved): void {
    const state = saved as { registers: Int32Array; tlb: { data: Saved; instruction: Saved }; fpu: Saved };
    this.r.set(state.registers);
    this.mmu.restore(state.tlb);
    this.fpu.restore(state.fpu);
    // Devices are restored with it: what their ports read as has changed.
    this.io.revision++;
    this.setCpl(this.r[S.CPL]);
    this.updateMode();
    this.updateAttention();
  }

  /** Registers as the guest could read them: how the flags are kept does not show. */
  hash(hasher: Hasher): void {
    for (let word = 0; word < S.X87_STATE; word++) {
      if (word === S.FLAGS_OTHER) hasher.word(this.eflags());
      else if (word !== S.FLAG_RESULT && word !== S.FLAG_AUX) hasher.word(this.r[word]);
    }
    hasher.saved(this.fpu.save());
  }
}
