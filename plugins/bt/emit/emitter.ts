// The state of a translation in progress and what every instruction's emitter needs (BT paper 3.2): registers in WebAssembly
// locals, memory through the inline TLB, exits; and flags (flag_emitter.ts), which rare exits leave to be computed afterwards.

import { FS, type Instruction, NO_REGISTER } from "../../x86/mod.ts";
import { state as S } from "../../x86/mod.ts";
import * as L from "../layout.ts";
import { type AdaptedSite, packAccess } from "../adaptation.ts";
import { ANY, FlagEmitter, type FlagState } from "./flag_emitter.ts";
import { ADAPTED_MISS, AFTER_ACCESS, MISS } from "./imports.ts";
import { BUDGET, FLAG_AUX, FLAG_KIND, FLAG_PART, FLAG_RESULT, FLAG_RIGHT, REGISTERS, STATUS } from "./locals.ts";
import { ExitSites } from "./exit_sites.ts";
import type { ExitSite } from "./exits.ts";
import { type Place, placeOf, planRun } from "./runs.ts";
import type { X87Stack } from "./x87_stack.ts";
import { Access, type FunctionBody, HYPERVISOR, I32, I64, MACHINE, Op, V128 } from "../wasm.ts";
import { V } from "./simd_opcodes.ts";

/**
 * What the dispatcher does after a region was left at a site: have the block at EIP interpreted; look again; have the one
 * instruction at EIP emulated.
 */
export const Exit = { interpret: 1, yield: 2, emulate: 3 } as const;

/** In the sets of a region's registers, the XMM registers come after the general ones; they have eight. */
const XMM = 8, XMM_BYTES = 16;
const PAGE_MASK = 0xfffff000 | 0;

/** An instruction that is undone when the one after it leaves. */
interface Restart {
  readonly eip: number;
  readonly undo: () => void;
}

/** A run (runs.ts) that later accesses of the unit may join. */
interface Run {
  readonly place: Place;
  /** Of its registers when it was looked up: what value they had, and how far the index had moved. */
  readonly baseVersion: number;
  readonly indexVersion: number;
  readonly indexMoved: number;
  /** What it covers, in bytes from what its registers' sum was when they were last written. */
  readonly first: number;
  readonly end: number;
  readonly isWrite: boolean;
  /** Local: what must be added to a linear address for its machine address, or NO_ADDEND where each has to be looked up. */
  readonly addend: number;
  /** How many accesses are still foreseen. */
  followers: number;
}

/** Which runs there are at a point of the code, and what they go by. */
export interface Runs {
  readonly runs: readonly Run[];
  readonly versions: number[];
  readonly moved: number[];
}

/** No addend: those are whole pages. */
const NO_ADDEND = 1;
/** Kind of access, as MISS is told it, beside the number of bytes. */
const KIND_WRITES = 8;

export class Emitter extends FlagEmitter {
  /** Registers read or written anywhere in the region: loaded at its entry; and written: stored at its exits. */
  readonly used = new Set<number>();
  readonly written = new Set<number>();
  /** The instruction being emitted: its EIP, the EIP after it, and how many of its block are not yet complete. */
  eip = 0;
  nextEip = 0;
  incomplete = 0;
  /** Label of the common exit, and of the way to wherever EIP leads. */
  exitLabel = 0;
  chainLabel = 0;
  /** Labels of exits at a site, by where the flags are: stored, or in one of the two sets of locals. */
  readonly #siteLabels = [0, 0, 0];
  readonly #xmmLocals: number[] = [];
  /** Where exits of the present instruction, and of the next one, restart instead of at its own EIP. */
  #restart: Restart | undefined;
  #next: Restart | undefined;
  /** Bits of FP_STATE that the unit has tested already. */
  #testedFloatingPoint = 0;
  /** The x87 register stack, if the region uses it (x87_stack.ts). */
  x87: X87Stack | undefined;
  /** By XMM register: which elements the unit knows to be normal or zero (simd_float.ts). */
  readonly ordinary = new Uint8Array(8);
  /** The unit has tested MXCSR's settings (simd_exact.ts). */
  isMxcsrPlain = false;
  /** EIP of what follows the last MMX instruction: directly after one, the x87 registers are in MMX use (simd_mmx.ts). */
  mmxEnd: number | undefined;

  /** The unit's instructions and those that are likely to follow, how many are its own, and blocks open outside of them. */
  #instructions: readonly { readonly instruction: Instruction }[] = [];
  #own = 0;
  #unitDepth = 0;
  /** By register: a number for the value it has, and by how many bytes that was moved since it had it. */
  #versions: number[] = Array(NO_REGISTER + 1).fill(0);
  #moved: number[] = Array(NO_REGISTER + 1).fill(0);
  #lastVersion = 0;
  /** The register whose next writing moves it, and by how much. */
  #moving = NO_REGISTER;
  #movedBy = 0;
  #runs: Run[] = [];
  /** Locals for their addends. */
  readonly #addends: number[] = [];

  /** The specialised form that the present instruction has, and whether it has made use of it. */
  #adapted: AdaptedSite | undefined;
  #hasAdapted = false;

  constructor(
    f: FunctionBody,
    readonly dataBank: number,
    readonly sites = new ExitSites(),
  ) {
    super(f);
  }

  /** `adapted`: its specialised form, if it has one. */
  beginInstruction(eip: number, nextEip: number, incomplete: number, adapted?: AdaptedSite): void {
    this.eip = eip;
    this.nextEip = nextEip;
    this.incomplete = incomplete;
    this.freeTemporaries();
    this.#moving = NO_REGISTER;
    this.#restart = this.#next;
    this.#next = undefined;
    // One that is fused with the instruction before it has no boundary before it to leave at.
    this.#adapted = this.#restart === undefined ? adapted : undefined;
    this.#hasAdapted = false;
  }

  /** Ends an instruction after which its unit goes on: what its adapted access left to be done is done. */
  endInstruction(): void {
    if (!this.#hasAdapted) return;
    const { f } = this;
    f.constant(0).memory(Access.i32Load, HYPERVISOR, L.AFTER_ACCESS).unlikely().if();
    f.constant(0).call(AFTER_ACCESS).if();
    this.exitAt({ eip: this.nextEip, incomplete: this.incomplete - 1, status: Exit.yield, flags: this.flags });
    f.end().end();
  }

  /**
   * Makes exits of the next instruction restart at the present one, whose effects `undo` takes back: for an instruction that
   * has a meaning only together with the one that follows (STI).
   */
  fuse(undo: () => void): void {
    this.#next = { eip: this.eip, undo };
  }

  // Registers.

  /** Local of a 32-bit register that is read. */
  register(number: number): number {
    this.used.add(number);
    return REGISTERS + number;
  }

  /** Sets a 32-bit register from the stack. */
  setRegister(number: number): void {
    this.used.add(number);
    this.written.add(number);
    if (number === this.#moving) {
      this.#moved[number] += this.#movedBy;
      this.#moving = NO_REGISTER;
    } else {
      this.#versions[number] = ++this.#lastVersion;
      this.#moved[number] = 0;
    }
    this.f.set(REGISTERS + number);
  }

  /** Says that the next value a register is set to is the one it has, plus `by`: what was looked up near it stays near. */
  moves(number: number, by: number): void {
    this.#moving = number;
    this.#movedBy = by;
  }

  /** Pushes a register of 8, 16 or 32 bits, zero-extended. */
  pushRegister(number: number, bits: 8 | 16 | 32): void {
    const { f } = this;
    if (bits === 32) f.get(this.register(number));
    else if (bits === 16) f.get(this.register(number)).constant(0xffff).op(Op.i32And);
    else if (number < 4) f.get(this.register(number)).constant(0xff).op(Op.i32And);
    else f.get(this.register(number - 4)).constant(8).op(Op.i32ShrU).constant(0xff).op(Op.i32And);
  }

  /** Pops a value into a register of 8, 16 or 32 bits; its other bits stay. The value's high bits are ignored. */
  popRegister(number: number, bits: 8 | 16 | 32): void {
    if (bits === 32) return this.setRegister(number);
    const { f } = this;
    const whole = bits === 8 && number >= 4 ? number - 4 : number;
    const mask = bits === 16 ? 0xffff : number < 4 ? 0xff : 0xff00;
    if (mask === 0xff00) f.constant(8).op(Op.i32Shl);
    f.constant(mask).op(Op.i32And);
    f.get(this.register(whole)).constant(~mask).op(Op.i32And).op(Op.i32Or);
    this.setRegister(whole);
  }

  /** Local of an XMM register that is read. */
  xmm(number: number): number {
    this.used.add(XMM + number);
    return this.#xmmLocals[number] ??= this.f.local(V128);
  }

  /** Sets an XMM register from the stack. */
  setXmm(number: number): void {
    this.written.add(XMM + number);
    this.ordinary[number] = 0;
    this.f.set(this.xmm(number));
  }

  // Addresses and memory.

  /**
   * Pushes the linear address of the memory operand. ES, SS and DS are flat by the mode; FS and GS have a base, and must be
   * found writable and without a limit when the code runs.
   */
  pushAddress(instruction: Instruction): void {
    const { f } = this;
    const { segment } = instruction;
    const load = (word: number) => f.constant(0).memory(Access.i32Load, HYPERVISOR, L.STATE + word * 4);
    if (segment < FS) return this.pushOffset(instruction);
    load(S.ATTRIBUTES + segment).constant(S.SEG_CODE | S.SEG_EXPAND_DOWN | S.SEG_WRITABLE | S.SEG_NULL).op(Op.i32And);
    f.constant(S.SEG_WRITABLE).op(Op.i32Ne);
    load(S.LIMIT + segment).constant(-1).op(Op.i32Ne).op(Op.i32Or).unlikely().if();
    this.exitInstruction();
    f.end();
    this.pushOffset(instruction);
    load(S.BASE + segment).op(Op.i32Add);
  }

  /** Pushes the memory operand's offset in its segment. */
  pushOffset(instruction: Instruction): void {
    const { f } = this;
    let pushed = false;
    const add = () => {
      if (pushed) f.op(Op.i32Add);
      pushed = true;
    };
    if (instruction.base !== NO_REGISTER) {
      f.get(this.register(instruction.base));
      add();
    }
    if (instruction.index !== NO_REGISTER) {
      f.get(this.register(instruction.index));
      if (instruction.scale > 0) f.constant(instruction.scale).op(Op.i32Shl);
      add();
    }
    if (instruction.displacement !== 0 || !pushed) {
      f.constant(instruction.displacement);
      add();
    }
  }

  /**
   * Pops a linear address and pushes the machine address of `bits` there, checked for reading or writing. What the TLB's
   * fast path cannot do leaves the region before the instruction. `place`: how the address was computed, if accesses near it
   * may share its look-up.
   */
  translate(bits: 8 | 16 | 32, isWrite: boolean, place?: Place): void {
    const { f } = this;
    const adapted = this.#adapted?.isWrite === isWrite ? this.#adapted : undefined;
    const bytes = bits / 8;
    const linear = this.temporary();
    this.#endRuns();
    const near = adapted === undefined && place !== undefined ? place : undefined;
    const joined = near && this.#joinedRun(near, bytes, isWrite);
    if (joined !== undefined) {
      f.set(linear).get(joined.addend).constant(NO_ADDEND).op(Op.i32Ne).likely().if(I32);
      f.get(linear).get(joined.addend).op(Op.i32Add);
    } else {
      const run = near && this.#newRun(near, bytes, isWrite);
      const writes = isWrite || run?.isWrite === true;
      const pair = this.temporary(I64);
      // Tag and addend in one load: V8 checks the bounds of each.
      const low = () => f.get(pair).op(Op.i32WrapI64);
      const high = () => f.get(pair).constant64(32).op(Op.i64ShrU).op(Op.i32WrapI64);
      f.tee(linear);
      let begin = linear, last = bytes - 1;
      if (run !== undefined) {
        const below = this.#offsetOf(run.place) - run.first;
        last = run.end - run.first - 1;
        if (below > 0) f.constant(below).op(Op.i32Sub).tee(begin = this.temporary());
      }
      f.constant(8).op(Op.i32ShrU).constant(L.DATA_BANK_BYTES - 16).op(Op.i32And);
      f.memory(Access.i64Load, HYPERVISOR, L.DATA_TLB + this.dataBank + (writes ? L.TLB_ADDEND : L.TLB_READ)).set(pair);
      (writes ? high : low)();
      f.get(begin);
      if (last > 0) f.constant(last).op(Op.i32Add);
      f.constant(PAGE_MASK).op(Op.i32And).op(Op.i32Eq);
      f.likely().if(I32);
      if (adapted !== undefined) this.#countInnocent(adapted);
      (writes ? low : high)();
      if (run !== undefined) f.tee(run.addend);
      f.get(linear).op(Op.i32Add);
      f.else();
      if (run !== undefined) f.constant(NO_ADDEND).set(run.addend);
      this.#pushMiss(linear, bytes, isWrite, adapted);
      f.end();
      if (run !== undefined) this.#runs.push(run);
      return;
    }
    f.else();
    this.#pushMiss(linear, bytes, isWrite, undefined);
    f.end();
  }

  /** Pushes the machine address of what the fast path has missed, or leaves the region. */
  #pushMiss(linear: number, bytes: number, isWrite: boolean, adapted: AdaptedSite | undefined): void {
    const { f } = this;
    const machine = this.temporary();
    if (adapted === undefined) {
      f.get(linear).constant(bytes | (isWrite ? KIND_WRITES : 0)).call(MISS);
      this.harmlessCalls++;
    } else {
      this.#hasAdapted = true;
      f.constant(0).get(BUDGET).memory(Access.i32Store, HYPERVISOR, L.BUDGET);
      f.get(linear).constant(packAccess(adapted, bytes, isWrite, this.incomplete)).call(ADAPTED_MISS);
    }
    f.tee(machine).constant(-1).op(Op.i32Eq);
    f.unlikely().if();
    this.exitInstruction();
    f.end();
    // Filling in a page may have given another's frame away.
    for (const { addend } of this.#runs) f.constant(NO_ADDEND).set(addend);
    f.get(machine);
  }

  /** Pops the linear address of a memory operand, which `pushAddress` has pushed, as `translate` does. */
  translateOperand(instruction: Instruction, bits: 8 | 16 | 32, isWrite: boolean): void {
    this.translate(bits, isWrite, placeOf(instruction));
  }

  /** Forgets all runs where code was emitted that may change how addresses are translated. */
  #endRuns(): void {
    if (this.f.calls === this.harmlessCalls) return;
    this.harmlessCalls = this.f.calls;
    this.#runs = [];
  }

  /** Bytes from what a place's registers' sum was when they were last written. */
  #offsetOf({ base, displacement }: Place): number {
    return displacement + this.#moved[base];
  }

  /** The run that an access belongs to, which counts it. */
  #joinedRun(place: Place, bytes: number, isWrite: boolean): Run | undefined {
    const { base, index, scale } = place, offset = this.#offsetOf(place);
    const run = this.#runs.find((run) =>
      run.place.base === base && run.place.index === index && run.place.scale === scale &&
      run.baseVersion === this.#versions[base] && run.indexVersion === this.#versions[index] &&
      run.indexMoved === this.#moved[index] &&
      (run.isWrite || !isWrite) && offset >= run.first && offset + bytes <= run.end
    );
    if (run !== undefined && --run.followers === 0) this.#runs = this.#runs.filter((each) => each !== run);
    return run;
  }

  /** The run that an access begins, if others are foreseen to join it. One in conditional code does not stand for others. */
  #newRun(place: Place, bytes: number, isWrite: boolean): Run | undefined {
    const { base, index } = place;
    if (this.f.depth !== this.#unitDepth) return undefined;
    const instructions = this.#instructions;
    const plan = planRun(instructions, this.#own - this.incomplete, place, bytes, isWrite);
    if (plan === undefined) return undefined;
    const moved = this.#moved[base];
    const taken = new Set(this.#runs.map(({ addend }) => addend));
    let addend = this.#addends.find((local) => !taken.has(local));
    if (addend === undefined) this.#addends.push(addend = this.keptLocal());
    return {
      place,
      baseVersion: this.#versions[base],
      indexVersion: this.#versions[index],
      indexMoved: this.#moved[index],
      first: plan.first + moved,
      end: plan.end + moved,
      isWrite: plan.isWrite,
      addend,
      followers: plan.followers,
    };
  }

  /**
   * As `translate`, for a run of elements of `bits` that lies in one page: its address is good for the whole run only where
   * the fast path has the page, so that a page with code in it leaves the region. Without `mayFill`, so does a miss.
   */
  translateRun(bits: 8 | 16 | 32, isWrite: boolean, mayFill: boolean): void {
    const { f } = this;
    const linear = this.temporary(), entry = this.temporary();
    const isHit = () => {
      f.get(entry);
      f.memory(Access.i32Load, HYPERVISOR, L.DATA_TLB + this.dataBank + (isWrite ? L.TLB_WRITE : L.TLB_READ));
      f.get(linear).constant(PAGE_MASK).op(Op.i32And).op(Op.i32Eq);
    };
    f.tee(linear).constant(8).op(Op.i32ShrU).constant(L.DATA_BANK_BYTES - 16).op(Op.i32And).set(entry);
    isHit();
    f.op(Op.i32Eqz).unlikely().if();
    if (mayFill) {
      f.get(linear).constant((bits / 8) | (isWrite ? 8 : 0)).call(MISS).constant(-1).op(Op.i32Eq);
      isHit();
      f.op(Op.i32Eqz).op(Op.i32Or).if();
      this.exitInstruction();
      f.end();
    } else this.exitInstruction();
    f.end();
    f.get(entry).memory(Access.i32Load, HYPERVISOR, L.DATA_TLB + this.dataBank + L.TLB_ADDEND).get(linear);
    f.op(Op.i32Add);
  }

  /** Counts an access of an adapted site to plain memory. */
  #countInnocent({ index }: AdaptedSite): void {
    const { f } = this, at = L.ADAPTED_COUNTS + index * 4;
    f.constant(0).constant(0).memory(Access.i32Load, HYPERVISOR, at).constant(1).op(Op.i32Add);
    f.memory(Access.i32Store, HYPERVISOR, at);
  }

  /** Pops a machine address and pushes the value there, zero-extended. */
  load(bits: 8 | 16 | 32): void {
    const access = bits === 8 ? Access.i32Load8U : bits === 16 ? Access.i32Load16U : Access.i32Load;
    this.f.memory(access, MACHINE, 0);
  }

  /** Pops a value and a machine address below it, and stores. */
  store(bits: 8 | 16 | 32): void {
    const access = bits === 8 ? Access.i32Store8 : bits === 16 ? Access.i32Store16 : Access.i32Store;
    this.f.memory(access, MACHINE, 0);
  }

  /** Pushes a memory operand's value, zero-extended. */
  pushMemory(instruction: Instruction, bits: 8 | 16 | 32): void {
    this.pushAddress(instruction);
    this.translateOperand(instruction, bits, false);
    this.load(bits);
  }

  /** Pushes the ModR/M operand's value, zero-extended. */
  pushOperand(instruction: Instruction, bits: 8 | 16 | 32): void {
    if (instruction.isMemory) this.pushMemory(instruction, bits);
    else this.pushRegister(instruction.rm, bits);
  }

  /**
   * Leaves before the present instruction unless FP_STATE has all bits of `needed` (layout.ts). Tested once per unit: only the
   * interpreter changes what it is computed from. Who emits such a change, or a call-out, says so by `forgetFloatingPoint`.
   */
  requireFloatingPoint(needed: number): void {
    const { f } = this;
    const untested = needed & ~this.#testedFloatingPoint;
    if (untested === 0) return;
    this.#testedFloatingPoint |= untested;
    f.constant(0).memory(Access.i32Load, HYPERVISOR, L.FP_STATE).constant(untested).op(Op.i32And);
    f.constant(untested).op(Op.i32Ne).unlikely().if();
    this.exitInstruction();
    f.end();
  }

  forgetFloatingPoint(): void {
    this.#testedFloatingPoint = 0;
    this.isMxcsrPlain = false;
  }

  // Exits.

  /** Leaves before the present instruction, to have it interpreted: its fault, or its slow access, is the interpreter's. */
  exitInstruction(): void {
    const restart = this.#restart;
    restart?.undo();
    const incomplete = this.incomplete + (restart === undefined ? 0 : 1);
    this.exitAt({ eip: restart?.eip ?? this.eip, incomplete, status: Exit.interpret, flags: this.flags });
  }

  /**
   * Leaves before the present instruction to have it alone emulated: by the run loop, or by a call out of the region. One that
   * is fused with it stays done, for this one is run before anybody looks.
   */
  emulateInstruction(instruction: Instruction, callsOut: boolean): void {
    const { eip, incomplete, flags } = this;
    this.exitAt({ eip, incomplete, status: Exit.emulate, flags, instruction }, callsOut);
  }

  /** Has the instruction at a constant EIP, between two, emulated by a call out of the region. */
  callOutAt(eip: number): void {
    this.exitAt({ eip, incomplete: 0, status: Exit.emulate, flags: this.flags }, true);
  }

  /** Leaves between two instructions to a constant EIP. */
  exitTo(eip: number, status: ExitSite["status"]): void {
    this.exitAt({ eip, incomplete: 0, status, flags: this.flags });
  }

  /** Leaves at a site of its own, or calls out. */
  exitAt(site: ExitSite, callsOut = false): void {
    const { flags } = site;
    const { a } = flags.base ?? flags;
    const set = 1 + this.flagLocals.findIndex(([first]) => first === a);
    const number = this.sites.add(site);
    this.f.constant(callsOut ? -number : number).set(STATUS).br(this.#siteLabels[set]);
  }

  /** Opens the blocks that exits at a site branch out of. The common exit's is around them. */
  openSites(): void {
    for (const set of [0, 1, 2]) this.#siteLabels[set] = this.f.block();
  }

  /** Ends these blocks: what comes before must not fall through. The flags' locals go to the scratch words. */
  closeSites(): void {
    const { f } = this;
    for (const set of [2, 1, 0]) {
      f.end();
      if (set === 0) break;
      for (const [index, local] of this.flagLocals[set - 1].entries()) {
        f.constant(0).get(local).memory(Access.i32Store, HYPERVISOR, L.FLAG_SCRATCH + index * 4);
      }
      f.br(this.#siteLabels[0]);
    }
    f.constant(0).get(FLAG_PART).memory(Access.i32Store, HYPERVISOR, L.FLAG_SCRATCH + 12);
  }

  /** Begins a unit whose flags are in a state that its predecessors have told, or in any. */
  beginUnit(flags: FlagState = ANY): void {
    this.flags = flags;
    this.#instructions = [];
    this.#runs = [];
    this.forgetFloatingPoint();
    this.ordinary.fill(0);
    this.mmxEnd = undefined;
  }

  /**
   * Says which instructions lie ahead: the unit's own, and those that follow where no other way leads; and which runs there are,
   * as `runs` gave them where the one way to the unit begins.
   */
  beginRuns(instructions: readonly { readonly instruction: Instruction }[], own: number, runs: Runs | undefined): void {
    this.#instructions = instructions;
    this.#own = own;
    this.#unitDepth = this.f.depth;
    if (runs === undefined) return;
    this.#runs = runs.runs.map((run) => ({ ...run }));
    this.#versions = runs.versions.slice();
    this.#moved = runs.moved.slice();
    this.harmlessCalls = this.f.calls;
  }

  /** The runs that there are here. */
  runs(): Runs {
    this.#endRuns();
    return {
      runs: this.#runs.map((run) => ({ ...run })),
      versions: this.#versions.slice(),
      moved: this.#moved.slice(),
    };
  }

  // Entry and exit of the region's function.

  /** Loads every register of the region, its flags and the budget. Emitted last, placed first. */
  emitPrologue(target: FunctionBody): void {
    for (const register of this.used) {
      target.constant(0);
      if (register < XMM) target.memory(Access.i32Load, HYPERVISOR, L.STATE + register * 4).set(REGISTERS + register);
      else target.vectorMemory(V.v128Load, HYPERVISOR, xmmAddress(register)).set(this.xmm(register - XMM));
    }
    target.constant(0).memory(Access.i32Load, HYPERVISOR, L.STATE + S.FLAG_RESULT * 4).set(FLAG_RESULT);
    target.constant(0).memory(Access.i32Load, HYPERVISOR, L.STATE + S.FLAG_AUX * 4).set(FLAG_AUX);
    target.constant(0).memory(Access.i32Load, HYPERVISOR, L.FLAG_RIGHT).set(FLAG_RIGHT);
    target.constant(0).memory(Access.i32Load, HYPERVISOR, L.FLAG_KIND).set(FLAG_KIND);
    target.constant(0).memory(Access.i32Load, HYPERVISOR, L.BUDGET).set(BUDGET);
  }

  /** Stores what the region may have changed. */
  emitEpilogue(target: FunctionBody): void {
    this.x87?.emitWriteBack(target);
    const store = (local: number, at: number) => {
      target.constant(0).get(local).memory(Access.i32Store, HYPERVISOR, at);
    };
    for (const register of this.written) {
      if (register < XMM) store(REGISTERS + register, L.STATE + register * 4);
      else {
        target.constant(0).get(this.xmm(register - XMM)).vectorMemory(
          V.v128Store,
          HYPERVISOR,
          xmmAddress(register),
        );
      }
    }
    store(FLAG_RESULT, L.STATE + S.FLAG_RESULT * 4);
    store(FLAG_AUX, L.STATE + S.FLAG_AUX * 4);
    store(FLAG_RIGHT, L.FLAG_RIGHT);
    store(FLAG_KIND, L.FLAG_KIND);
    store(BUDGET, L.BUDGET);
  }
}

/** Where an XMM register lies, given its number in the sets. */
function xmmAddress(register: number): number {
  return L.STATE + S.XMM * 4 + (register - XMM) * XMM_BYTES;
}
