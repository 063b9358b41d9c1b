// From a region to a WebAssembly function: structured code over its units (flow.ts), registers, flags and the budget in
// locals, one common exit. A unit takes its steps from the budget; whether there are enough is looked at on the edges into
// loops, where leaving for want of budget knows where the flags are (design: budget).

import { ESP, type Instruction, state as S } from "../x86/mod.ts";
import { Emitter, Exit } from "./emit/emitter.ts";
import { type FlagState } from "./emit/flag_emitter.ts";
import { BUDGET, EIP, ENTRY, STATUS } from "./emit/locals.ts";
import { ExitSites } from "./emit/exit_sites.ts";
import { CALL_OUT, GOTO } from "./emit/imports.ts";
import type { Runs } from "./emit/run_tracker.ts";
import { emitPop, emitPush } from "./emit/stack.ts";
import { x87Frames } from "./emit/x87_frames.ts";
import { X87Stack } from "./emit/x87_stack.ts";
import type { Component, Loop } from "./flow.ts";
import type { AdaptedSite } from "./adaptation.ts";
import * as L from "./layout.ts";
import { COUNT_SHIFT, countEntry, ENTRY_SHIFT, pushEntry, REGION_TYPE, SLOT_MASK, UNIT_MASK } from "./runtime.ts";
import { crossesPage, type Region, type Unit, type UnitInstruction } from "./units.ts";
import { Access, FunctionBody, HYPERVISOR, I32, Op } from "./wasm.ts";

/** What a region is compiled for. */
export interface Placement {
  /** Linear address of its entry's page. */
  readonly linearPage: number;
  /** `Mode` and `MODE_USER`. */
  readonly mode: number;
  /** Its slot in the table. */
  readonly slot: number;
  /** Whether it goes on to other translations by itself. */
  readonly chains?: boolean;
  /** The specialised form of an instruction at an EIP, if it has one. */
  readonly adaptedAt?: (eip: number, instruction: Instruction) => AdaptedSite | undefined;
  /** Whether the instruction at an EIP begins no run of accesses (vain_runs.ts). */
  readonly isLone?: (eip: number) => boolean;
}

/**
 * Compiles a region. The function takes the number of the unit that is entered, from 1, and returns an exit status. Exits are
 * added to `sites`; their statuses are their numbers in it.
 */
export function compileRegion(region: Region, placement: Placement, sites = new ExitSites()): FunctionBody {
  const compiler = new RegionCompiler(region, placement, sites);
  // Code that writes the registers back in its midst must know all that are written anywhere: that takes a trial.
  if (region.units.some(({ ending }) => ending === "emulate")) {
    const trial = new RegionCompiler(region, placement, new ExitSites());
    trial.compile();
    compiler.knowRegisters(trial);
  }
  return compiler.compile();
}

/** How to get to a unit within the function. */
interface Way {
  readonly label: number;
  /** What ENTRY must be on the way, for the branch table of a loop's head; undefined where nobody looks. */
  readonly entry: number | undefined;
}

const PAGE_SHIFT = 12, PAGE_MASK = 0xfff;
/** Instructions in which a run of accesses is looked for. */
const MOST_AHEAD = 24;

class RegionCompiler {
  readonly f = new FunctionBody(1);
  readonly #e: Emitter;
  /** From where the code is: units to which a branch leads. */
  readonly #ways = new Map<number, Way>();
  readonly #isEntry: ReadonlySet<number>;
  /** By unit, where its x87 stack lies (x87_stack.ts). */
  readonly #frames: readonly number[];
  /** Label of the loop around everything, where a return to this region comes in. */
  #top = 0;

  /** Offset of the bank of the instruction TLB. */
  readonly #bank: number;

  constructor(
    readonly region: Region,
    readonly placement: Placement,
    sites: ExitSites,
  ) {
    this.#e = new Emitter(this.f, placement.mode & L.MODE_USER ? L.DATA_BANK_BYTES : 0, sites);
    this.#bank = placement.mode & L.MODE_USER ? L.INSTRUCTION_BANK_BYTES : 0;
    this.#isEntry = new Set(region.entries);
    const x87 = x87Frames(region);
    this.#frames = x87.frames;
    if (x87.isUsed) this.#e.x87 = new X87Stack(this.#e, x87.registers);
  }

  /** Takes over which registers another compilation of the same region has used and written. */
  knowRegisters(trial: RegionCompiler): void {
    for (const register of trial.#e.used) this.#e.used.add(register);
    for (const register of trial.#e.written) this.#e.written.add(register);
  }

  compile(): FunctionBody {
    const { region, f } = this;
    const e = this.#e;
    e.exitLabel = f.block();
    const comesBack = this.placement.chains !== false && region.entries.length > 1 &&
      region.units.some(({ ending }) => INDIRECT.has(ending));
    if (comesBack) this.#top = f.loop();
    e.chainLabel = f.block();
    e.openSites();
    this.#list(region.flow.components, region.entries, new Set());
    e.closeSites();
    f.br(e.exitLabel).end();
    const word = this.#findNext(comesBack);
    if (comesBack) f.end();
    f.end();
    e.emitEpilogue(f);
    f.get(STATUS).if();
    this.#callOut();
    f.get(STATUS).op(Op.return).end();
    f.constant(0).get(EIP).memory(Access.i32Store, HYPERVISOR, L.STATE + S.EIP * 4);
    f.constant(0).get(EIP).memory(Access.i32Store, HYPERVISOR, L.LEFT_TO + this.placement.slot * 4);
    f.get(word).constant(0).op(Op.i32GeS).if();
    pushEntry(f, word).returnCallIndirect(REGION_TYPE);
    f.end();
    f.get(EIP).returnCall(GOTO);
    const prologue = new FunctionBody(1);
    e.emitPrologue(prologue);
    countEntry(prologue, this.placement.slot);
    return f.prepend(prologue);
  }

  /**
   * Finds the translation at EIP in the jump cache, as `goto` does (runtime.ts): its word in the local that is returned, or -1.
   * With `comesBack`, goes on in this function where it is one of its entries.
   */
  #findNext(comesBack: boolean): number {
    const { f, placement: { slot, chains = true } } = this;
    const entry = f.local(I32), word = f.local(I32);
    if (!chains) {
      f.constant(-1).set(word);
      return word;
    }
    const found = f.block(), missing = f.block();
    f.get(EIP).get(EIP).constant(12).op(Op.i32ShrU).op(Op.i32Xor).constant(L.JUMP_CACHE_ENTRIES - 1).op(Op.i32And);
    f.constant(4).op(Op.i32Shl).tee(entry).memory(Access.i32Load, HYPERVISOR, L.JUMP_CACHE);
    f.get(EIP).op(Op.i32Ne).brIf(missing);
    this.#requirePage(entry, missing);
    f.get(entry).memory(Access.i32Load, HYPERVISOR, L.JUMP_CACHE + 4);
    f.constant(0).memory(Access.i32Load, HYPERVISOR, L.MODE).op(Op.i32Ne).brIf(missing);
    f.get(entry).memory(Access.i32Load, HYPERVISOR, L.JUMP_CACHE + 12).tee(word);
    f.constant(COUNT_SHIFT).op(Op.i32ShrU).get(BUDGET).op(Op.i32LeS).brIf(found);
    f.end();
    f.constant(-1).set(word).br(this.#e.exitLabel).end();
    if (comesBack) {
      f.get(word).constant(SLOT_MASK).op(Op.i32And).constant(slot).op(Op.i32Ne).brIf(this.#e.exitLabel);
      this.#e.x87?.spill();
      f.get(word).constant(ENTRY_SHIFT).op(Op.i32ShrU).constant(UNIT_MASK).op(Op.i32And).set(ENTRY).br(this.#top);
    }
    return word;
  }

  /** Branches to `outside` unless EIP's page is in the instruction TLB, with the frame of a jump cache's entry. */
  #requirePage(entry: number, outside: number): void {
    const { f } = this;
    const tlb = f.local(I32);
    f.get(EIP).constant(8).op(Op.i32ShrU).constant(L.INSTRUCTION_BANK_BYTES - 16).op(Op.i32And).tee(tlb);
    f.memory(Access.i32Load, HYPERVISOR, L.INSTRUCTION_TLB + this.#bank);
    f.get(EIP).constant(~PAGE_MASK).op(Op.i32And).op(Op.i32Ne).brIf(outside);
    f.get(tlb).memory(Access.i32Load, HYPERVISOR, L.INSTRUCTION_TLB + this.#bank + L.TLB_MPN);
    f.get(entry).memory(Access.i32Load, HYPERVISOR, L.JUMP_CACHE + 8).op(Op.i32Ne).brIf(outside);
  }

  /** Pushes whether the instruction TLB does not map a page to the frame that its units were translated from. */
  #pushPageMissing(page: number): void {
    const { f, region } = this;
    const linear = this.#eipOf(page << PAGE_SHIFT), frame = region.frames.get(page) ?? -1;
    const at = L.INSTRUCTION_TLB + this.#bank + ((linear >>> 8) & (L.INSTRUCTION_BANK_BYTES - 16));
    // Tag and addend are one load, at a constant address: V8 checks no bounds.
    const addend = ((frame << PAGE_SHIFT) - linear) | 0;
    f.constant(0).memory(Access.i64Load, HYPERVISOR, at).constantI64(addend, linear);
    f.op(Op.i64Ne);
  }

  /** Calls out where a site asks for it, or where an access to device memory has missed: then chains, or leaves. */
  #callOut(): void {
    const { f } = this;
    f.get(STATUS).constant(0).op(Op.i32LtS);
    f.constant(0).memory(Access.i32Load, HYPERVISOR, L.DEVICE_MISS).op(Op.i32Or).if();
    f.get(STATUS).call(CALL_OUT).if();
    f.constant(0).op(Op.return).end();
    f.constant(0).memory(Access.i32Load, HYPERVISOR, L.STATE + S.EIP * 4).returnCall(GOTO);
    f.end();
  }

  /**
   * Emits components in their order. `entered` are units to which ENTRY may say to go first, besides the first component;
   * `follows` are those to which control comes by falling out of the end.
   */
  #list(components: readonly Component[], entered: readonly number[], follows: ReadonlySet<number>): void {
    const { f } = this;
    const labels = new Map<Component, number>();
    for (const component of components.toReversed()) {
      if (component === components[0] && entered.length === 0) continue;
      const label = f.block();
      labels.set(component, label);
      for (const unit of headsOf(component)) {
        // Heads of a loop around this are reached by going round it.
        if (this.#ways.has(unit)) continue;
        this.#ways.set(unit, { label, entry: needsTable(component) ? entryOf(component, unit) : undefined });
      }
    }
    if (entered.length > 0) this.#table(components, entered, labels);
    for (const [at, component] of components.entries()) {
      const label = labels.get(component);
      if (label !== undefined) f.end();
      for (const unit of headsOf(component)) if (this.#ways.get(unit)?.label === label) this.#ways.delete(unit);
      const next = components.at(at + 1);
      const after = next === undefined ? follows : new Set(needsTable(next) ? [] : headsOf(next));
      if (typeof component === "number") this.#unit(component, after);
      else this.#loop(component, after);
    }
  }

  /** Branches to the component that holds the unit which ENTRY names; to the first one if it names none. */
  #table(components: readonly Component[], entered: readonly number[], labels: ReadonlyMap<Component, number>): void {
    const { f } = this;
    const label = (component: Component) => labels.get(component) ?? 0;
    const first = label(components[0]);
    const targets = Array.from({ length: Math.max(...entered) + 2 }, () => first);
    for (const unit of entered) {
      const component = components.find((component) => holds(component, unit));
      if (component !== undefined) targets[unit + 1] = label(component);
    }
    f.get(ENTRY).brTable(targets, first);
  }

  #loop(loop: Loop, follows: ReadonlySet<number>): void {
    const { f } = this;
    const label = f.loop();
    const entry = needsTable(loop);
    for (const unit of loop.heads) this.#ways.set(unit, { label, entry: entry ? entryOf(loop, unit) : undefined });
    this.#list(loop.body, loop.entered, follows);
    for (const unit of loop.heads) this.#ways.delete(unit);
    f.end();
  }

  #eipOf(offset: number): number {
    return (this.placement.linearPage + offset) | 0;
  }

  /** Emits a unit; `follows` are the units whose code comes next. */
  #unit(index: number, follows: ReadonlySet<number>): void {
    const e = this.#e, { f } = this;
    const unit = this.region.units[index];
    const count = unit.instructions.length;
    e.beginUnit(this.#flagsAt(index));
    e.beginRuns(this.#ahead(index), count, this.#runs.get(index));
    e.x87?.beginUnit(this.#frames[index]);
    this.#falling = undefined;
    if (count > 0) f.get(BUDGET).constant(count).op(Op.i32Sub).set(BUDGET);
    for (const [at, { offset, instruction, emit }] of unit.instructions.entries()) {
      const eip = this.#eipOf(offset);
      const adapted = this.placement.adaptedAt?.(eip, instruction), isLone = this.placement.isLone?.(eip);
      e.beginInstruction(eip, this.#eipOf(offset + instruction.length), count - at, { adapted, isLone });
      if (crossesPage(unit)) {
        this.#pushPageMissing((unit.end - 1) >> PAGE_SHIFT);
        f.unlikely().if();
        e.exitInstruction();
        f.end();
      }
      if (emit !== undefined) {
        e.noteMove(instruction);
        emit(e, instruction);
        e.endInstruction();
      } else return this.#ending(unit, instruction, follows);
    }
    if (unit.ending === "next" && unit.next !== undefined) return this.#goTo(unit.next, follows, unit.offset);
    if (unit.ending === "emulate") return;
    // What comes next has no emitter, or crosses the page.
    e.callOutAt(this.#eipOf(unit.end));
  }

  #ending(unit: Unit, instruction: Instruction, follows: ReadonlySet<number>): void {
    const e = this.#e, { f } = this;
    const next = e.nextEip;
    const { taken } = unit;
    switch (unit.ending) {
      case "jcc":
        e.pushCondition(instruction.row.variant);
        f.if();
        if (taken !== undefined) this.#goTo(taken, NOTHING, unit.offset);
        f.end();
        if (unit.next !== undefined) this.#goTo(unit.next, follows, unit.offset);
        return;
      case "jmp":
        if (taken !== undefined) this.#goTo(taken, follows, unit.offset);
        return;
      case "call":
        emitPush(e, () => f.constant(next));
        if (taken !== undefined) this.#goTo(taken, follows, unit.offset);
        return;
      case "callIndirect": {
        const target = e.temporary();
        e.pushOperand(instruction, 32);
        f.set(target);
        emitPush(e, () => f.constant(next));
        f.get(target);
        return this.#leave(e.chainLabel);
      }
      case "jmpIndirect":
        e.pushOperand(instruction, 32);
        return this.#leave(e.chainLabel);
      case "ret": {
        const target = emitPop(e);
        if (instruction.immediate !== 0) {
          f.get(e.register(ESP)).constant(instruction.immediate & 0xffff).op(Op.i32Add);
          e.setRegister(ESP);
        }
        f.get(target);
        return this.#leave(e.chainLabel);
      }
    }
  }

  /** Leaves to the EIP on the stack, to be chained. */
  #leave(label: number): void {
    const e = this.#e, { f } = this;
    f.set(EIP);
    e.moveFlags();
    f.constant(0).set(STATUS).br(label);
  }

  /** What is known of the flags at a unit's beginning. */
  #flagsAt(index: number): FlagState | undefined {
    if (this.#falling === index) return this.#e.flags;
    const states = this.#incoming.get(index) ?? [];
    // A loop's head comes before some of its predecessors; an entry has predecessors outside.
    if (this.#isEntry.has(index) || states.length < this.region.flow.predecessors[index]) return undefined;
    const [first] = states;
    const isSame = ({ kind, bits }: FlagState) => kind === first.kind && bits === first.bits;
    return states.every(isSame) ? first : undefined;
  }

  /** The flags with which the edges that are emitted already lead to each unit. */
  readonly #incoming = new Map<number, FlagState[]>();

  /** Runs of accesses at units to which one way leads. */
  readonly #runs = new Map<number, Runs>();

  /** Whether one edge within the region is all that leads to a unit. */
  #hasOneWay(index: number): boolean {
    return this.region.flow.predecessors[index] === 1 && !this.#isEntry.has(index);
  }

  /** A unit's instructions, and those of units behind it to which nothing else leads, as far as it pays to look. */
  #ahead(index: number): readonly UnitInstruction[] {
    const { units, indexOf } = this.region;
    let unit = units[index];
    const ahead = [...unit.instructions];
    while (ahead.length < MOST_AHEAD) {
      const next = unit.ending === "jmp" || unit.ending === "call" ? unit.taken : unit.next;
      const following = next === undefined ? undefined : indexOf.get(next);
      if (following === undefined || following === index || !this.#hasOneWay(following)) break;
      unit = units[following];
      ahead.push(...unit.instructions);
    }
    return ahead;
  }

  /** The unit to which the code emitted last falls through, and which has no other way to it: its flags are known. */
  #falling: number | undefined;

  /** Continues at an offset, from a unit at another: at a unit of this region, or outside. */
  #goTo(offset: number, follows: ReadonlySet<number>, from: number): void {
    const e = this.#e, { f } = this;
    const { region } = this;
    const index = region.indexOf.get(offset);
    // Where the x87 stack does not lie as a unit expects it, the unit is entered from outside.
    const isPlaced = index !== undefined && (e.x87 === undefined || e.x87.frame === this.#frames[index]);
    if (!isPlaced) {
      f.constant(this.#eipOf(offset));
      return this.#leave(e.chainLabel);
    }
    if (offset >> PAGE_SHIFT !== from >> PAGE_SHIFT) {
      this.#pushPageMissing(offset >> PAGE_SHIFT);
      f.unlikely().if();
      f.constant(this.#eipOf(offset));
      this.#leave(e.chainLabel);
      f.end();
    }
    if (region.flow.checkpoints.has(index)) {
      f.get(BUDGET).constant(region.flow.longest[index]).op(Op.i32LtS).unlikely().if();
      e.exitTo(this.#eipOf(offset), Exit.yield);
      f.end();
    }
    if (this.#hasOneWay(index)) this.#runs.set(index, e.snapshotRuns());
    const incoming = this.#incoming.get(index);
    if (incoming === undefined) this.#incoming.set(index, [e.movedFlags()]);
    else incoming.push(e.movedFlags());
    if (follows.has(index)) {
      if (this.#hasOneWay(index)) this.#falling = index;
      else e.moveFlags();
      return;
    }
    e.moveFlags();
    const way = this.#ways.get(index);
    if (way === undefined) throw new Error(`no way to unit ${index} of the region at ${this.#eipOf(0) >>> 0}`);
    if (way.entry !== undefined) f.constant(way.entry).set(ENTRY);
    f.br(way.label);
  }
}

const NOTHING: ReadonlySet<number> = new Set();
/** Endings whose target is known when the code runs. */
const INDIRECT: ReadonlySet<Unit["ending"]> = new Set(["ret", "jmpIndirect", "callIndirect"]);

/** Units at which a component is entered by edges. */
function headsOf(component: Component): readonly number[] {
  return typeof component === "number" ? [component] : component.heads;
}

function needsTable(component: Component): boolean {
  return typeof component !== "number" && component.entered.length > 0;
}

/** What ENTRY is on an edge to a loop's head: nothing for the first, which follows the branch table. */
function entryOf(component: Component, unit: number): number {
  return headsOf(component)[0] === unit ? 0 : unit + 1;
}

function holds(component: Component, unit: number): boolean {
  return typeof component === "number" ? component === unit : component.body.some((inner) => holds(inner, unit));
}
