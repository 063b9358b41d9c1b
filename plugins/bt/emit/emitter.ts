// The state of a translation in progress and what every instruction's emitter needs (BT paper 3.2): registers and memory
// (access_emitter.ts), flags (flag_emitter.ts), which rare exits leave to be computed afterwards, and those exits.

import type { Instruction } from "../../x86/mod.ts";
import { state as S } from "../../x86/mod.ts";
import * as L from "../layout.ts";
import { AccessEmitter, type AccessPlan, XMM } from "./access_emitter.ts";
import { ANY, type FlagState } from "./flag_emitter.ts";
import { AFTER_ACCESS } from "./imports.ts";
import { BUDGET, FLAG_AUX, FLAG_KIND, FLAG_PART, FLAG_RESULT, FLAG_RIGHT, REGISTERS, STATUS } from "./locals.ts";
import { ExitSites } from "./exit_sites.ts";
import type { ExitSite } from "./exits.ts";
import type { X87Stack } from "./x87_stack.ts";
import { Access, type FunctionBody, HYPERVISOR, Op } from "../wasm.ts";
import { V } from "./simd_opcodes.ts";

/**
 * What the dispatcher does after a region was left at a site: have the block at EIP interpreted; look again; have the one
 * instruction at EIP emulated.
 */
export const Exit = { interpret: 1, yield: 2, emulate: 3 } as const;

const XMM_BYTES = 16;

/** An instruction that is undone when the one after it leaves. */
interface Restart {
  readonly eip: number;
  readonly undo: () => void;
}

export class Emitter extends AccessEmitter {
  /** The instruction being emitted: its EIP, and the EIP after it. */
  eip = 0;
  nextEip = 0;
  /** Label of the common exit, and of the way to wherever EIP leads. */
  exitLabel = 0;
  chainLabel = 0;
  /** Labels of exits at a site, by where the flags are: stored, or in one of the two sets of locals. */
  readonly #siteLabels = [0, 0, 0];
  /** Where exits of the present instruction, and of the next one, restart instead of at its own EIP. */
  #restart: Restart | undefined;
  #next: Restart | undefined;
  /** Bits of FP_STATE that the unit has tested already. */
  #testedFloatingPoint = 0;
  /** The x87 register stack, if the region uses it (x87_stack.ts). */
  x87: X87Stack | undefined;
  /** The unit has tested MXCSR's settings (simd_exact.ts). */
  isMxcsrPlain = false;
  /** EIP of what follows the last MMX instruction: directly after one, the x87 registers are in MMX use (simd_mmx.ts). */
  mmxEnd: number | undefined;

  constructor(
    f: FunctionBody,
    dataBank: number,
    readonly sites = new ExitSites(),
  ) {
    super(f, dataBank);
  }

  beginInstruction(eip: number, nextEip: number, incomplete: number, plan: AccessPlan = {}): void {
    this.eip = eip;
    this.nextEip = nextEip;
    this.incomplete = incomplete;
    this.freeTemporaries();
    this.#restart = this.#next;
    this.#next = undefined;
    // One that is fused with the instruction before it has no boundary before it to leave at.
    this.beginAccesses(this.#restart === undefined ? plan : { isLone: true });
  }

  /** Ends an instruction after which its unit goes on: what its adapted access left to be done is done. */
  endInstruction(): void {
    if (!this.hasAdapted) return;
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
    this.runs.beginUnit();
    this.forgetFloatingPoint();
    this.ordinary.fill(0);
    this.mmxEnd = undefined;
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
