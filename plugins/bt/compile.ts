// From a region to a WebAssembly function: a loop around a branch table over its units, registers, flags and the budget in
// locals, one common exit. The budget for a unit is taken on the edge that leads to it, so that leaving for want of budget
// can compute the flags in cold code; a unit's body has no check (design: budget).

import { ESP, type Instruction, state as S } from "../x86/mod.ts";
import { BUDGET, EIP, Emitter, ENTRY, Exit, STATUS } from "./emit/emitter.ts";
import type { ExitSite } from "./emit/exits.ts";
import { emitPop, emitPush } from "./emit/stack.ts";
import * as L from "./layout.ts";
import { PARAMETER_COUNT_SHIFT, UNIT_MASK } from "./runtime.ts";
import type { Region, Unit } from "./units.ts";
import { Access, FunctionBody, HYPERVISOR, Op } from "./wasm.ts";

/** Index of the imported function that chains to the translation at an EIP. */
export const GOTO = 1;

/**
 * Compiles a region whose page lies at linear address `linearPage`. The function takes an entry number and returns an exit
 * status; the parameter names the unit and its length (runtime.ts). Exits are added to `sites`; their statuses are indices in it plus one.
 */
export function compileRegion(
  region: Region,
  linearPage: number,
  dataBank: number,
  sites: ExitSite[] = [],
): FunctionBody {
  const body = new FunctionBody(1);
  return new RegionCompiler(region, linearPage, dataBank, body, sites).compile();
}

class RegionCompiler {
  readonly #e: Emitter;
  #dispatch = 0;

  constructor(
    readonly region: Region,
    readonly linearPage: number,
    dataBank: number,
    readonly f: FunctionBody,
    sites: ExitSite[],
  ) {
    this.#e = new Emitter(f, dataBank, sites);
  }

  compile(): FunctionBody {
    const { region } = this;
    // Registers are known only when everything is emitted: the prologue comes from a second pass over the same locals.
    for (const unit of region.units) this.#noteRegisters(unit);
    const e = this.#e, { f } = this;
    e.emitPrologue(f);
    e.exitLabel = f.block();
    this.#takeEntryBudget();
    e.openSites();
    this.#dispatch = f.loop();
    const labels = region.units.map(() => f.block());
    f.get(ENTRY).brTable(labels.toReversed(), labels[0]);
    for (const [index, unit] of region.units.entries()) {
      f.end();
      this.#unit(unit, index);
    }
    f.op(Op.unreachable);
    f.end();
    e.closeSites();
    f.end();
    e.emitEpilogue(f);
    f.get(STATUS).if();
    f.get(STATUS).op(Op.return).end();
    f.constant(0).get(EIP).memory(Access.i32Store, HYPERVISOR, L.STATE + S.EIP * 4);
    f.get(EIP).returnCall(GOTO);
    return f;
  }

  /** Takes the steps of the unit that is entered from outside: who enters has seen that there are as many left. */
  #takeEntryBudget(): void {
    const { f } = this;
    f.get(BUDGET).get(ENTRY).constant(PARAMETER_COUNT_SHIFT).op(Op.i32ShrU).op(Op.i32Sub).set(BUDGET);
    f.get(ENTRY).constant(UNIT_MASK).op(Op.i32And).set(ENTRY);
  }

  /** Takes a unit's steps from the budget, or leaves before it. */
  #takeBudget(unit: Unit, eip: number): void {
    const { f } = this;
    f.get(BUDGET).constant(unit.instructions.length).op(Op.i32LtS).if();
    this.#e.exitTo(eip, Exit.yield);
    f.end();
    f.get(BUDGET).constant(unit.instructions.length).op(Op.i32Sub).set(BUDGET);
  }

  #eipOf(offset: number): number {
    return (this.linearPage + offset) | 0;
  }

  #noteRegisters(unit: Unit): void {
    // Emitting into a scratch body finds the registers; the locals it makes are thrown away.
    const scratch = new Emitter(new FunctionBody(1), 0);
    for (const { instruction, emit } of unit.instructions) {
      scratch.beginInstruction(0, 0, 0);
      if (emit !== undefined) emit(scratch, instruction);
      else noteEnding(scratch, instruction);
    }
    for (const register of scratch.used) this.#e.used.add(register);
    for (const register of scratch.written) this.#e.written.add(register);
  }

  #unit(unit: Unit, index: number): void {
    const e = this.#e;
    const count = unit.instructions.length;
    e.beginUnit();
    for (const [at, { offset, instruction, emit }] of unit.instructions.entries()) {
      e.beginInstruction(this.#eipOf(offset), this.#eipOf(offset + instruction.length), count - at);
      if (emit !== undefined) emit(e, instruction);
      else return this.#ending(unit, instruction, index);
    }
    if (unit.ending === "next" && unit.next !== undefined) return this.#goTo(unit.next, index);
    e.exitTo(this.#eipOf(unit.end), Exit.interpret);
  }

  #ending(unit: Unit, instruction: Instruction, index: number): void {
    const e = this.#e, { f } = this;
    const next = e.nextEip;
    switch (unit.ending) {
      case "jcc": {
        e.pushCondition(instruction.row.variant);
        f.if();
        if (unit.taken !== undefined) this.#goTo(unit.taken, undefined);
        f.end();
        if (unit.next !== undefined) this.#goTo(unit.next, index);
        return;
      }
      case "jmp":
        if (unit.taken !== undefined) this.#goTo(unit.taken, index);
        return;
      case "call":
        emitPush(e, () => f.constant(next));
        if (unit.taken !== undefined) this.#goTo(unit.taken, undefined);
        return;
      case "callIndirect": {
        const target = e.temporary();
        e.pushOperand(instruction, 32);
        f.set(target);
        emitPush(e, () => f.constant(next));
        return this.#leave(() => f.get(target));
      }
      case "jmpIndirect":
        e.pushOperand(instruction, 32);
        return this.#leave(undefined);
      case "ret": {
        const target = emitPop(e);
        if (instruction.immediate !== 0) {
          f.get(e.register(ESP)).constant(instruction.immediate & 0xffff).op(Op.i32Add);
          e.setRegister(ESP);
        }
        return this.#leave(() => f.get(target));
      }
    }
  }

  /** Leaves to an EIP that is pushed, or lies on the stack already, to be chained. */
  #leave(pushEip: (() => void) | undefined): void {
    const e = this.#e, { f } = this;
    pushEip?.();
    f.set(EIP);
    e.storeFlags();
    f.constant(0).set(STATUS).br(e.exitLabel);
  }

  /** Continues at an offset of the page: a unit of this region, or outside. `after` is the unit whose code comes before, if any. */
  #goTo(offset: number, after: number | undefined): void {
    const e = this.#e, { f } = this;
    const index = this.region.indexOf.get(offset);
    if (index === undefined) return this.#leave(() => f.constant(this.#eipOf(offset)));
    const unit = this.region.units[index];
    this.#takeBudget(unit, this.#eipOf(offset));
    // Flags that the unit overwrites unseen are computed only if the budget ends here.
    if (unit.liveIn !== 0) e.storeFlags();
    if (after !== undefined && index === after + 1) return;
    f.constant(index).set(ENTRY).br(this.#dispatch);
  }
}

/** What an ending reads and writes, for the prologue. */
function noteEnding(e: Emitter, instruction: Instruction): void {
  switch (instruction.row.handler) {
    case "call":
      return emitPush(e, () => e.f.constant(0));
    case "callIndirect":
      e.pushOperand(instruction, 32);
      e.f.op(Op.drop);
      return emitPush(e, () => e.f.constant(0));
    case "jmpIndirect":
      e.pushOperand(instruction, 32);
      e.f.op(Op.drop);
      return;
    case "ret":
      emitPop(e);
  }
}
