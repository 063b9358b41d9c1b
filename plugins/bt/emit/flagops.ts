// Instructions on flags as bits of EFLAGS: CLC, STC, CMC, CLD, STD, CLI, STI, LAHF, SAHF, SALC, PUSHF and POPF (SDM 2A and
// 2B). What may make an interrupt, a trap or an alignment check due at the next instruction is left to the interpreter.

import { AC, AF, CF, DF, ID, IF, IOPL, NT, OF, PF, RF, SF, TF, VM, ZF } from "../../x86/mod.ts";
import { state as S } from "../../x86/mod.ts";
import * as L from "../layout.ts";
import { Access, HYPERVISOR, Op } from "../wasm.ts";
import type { Emitter } from "./emitter.ts";
import type { Chooser } from "./operands.ts";
import { VERIFY_WRITABLE } from "./imports.ts";
import { emitPop, emitPush } from "./stack.ts";

/** FLAG_AUX: AF; the inverters of PF and SF. */
const AUX_AF = 8, AUX_INVERTS_PF = 2, AUX_INVERTS_SF = 1;
/** Results that are not zero and have an even low byte: negative, positive. */
const NEGATIVE = 0x80000000 | 0, POSITIVE = 0x100;
/** AH's number among the byte registers, and that of AL. */
const AL = 0, AH = 4;
/** Bit 1 of EFLAGS is always set. */
const ALWAYS_SET = 2;
const SAHF_FLAGS = SF | ZF | AF | PF | CF;

/** Pushes the six status flags as bits of EFLAGS. */
export function pushStatus(e: Emitter): void {
  const { f } = e;
  e.storeFlags();
  e.flagsAreStored();
  const bit = (flag: number) => f.op(Op.i32Eqz).op(Op.i32Eqz).constant(31 - Math.clz32(flag)).op(Op.i32Shl);
  e.pushCarry();
  e.pushCondition(0xa);
  bit(PF).op(Op.i32Or);
  f.get(e.storedAux).constant(AUX_AF).op(Op.i32And);
  bit(AF).op(Op.i32Or);
  e.pushCondition(0x4);
  bit(ZF).op(Op.i32Or);
  e.pushCondition(0x8);
  bit(SF).op(Op.i32Or);
  e.pushCondition(0x0);
  bit(OF).op(Op.i32Or);
}

/** Sets the six status flags from bits of EFLAGS in a local. */
export function setStatus(e: Emitter, flags: number): void {
  const { f } = e;
  const bit = (flag: number) => f.get(flags).constant(31 - Math.clz32(flag)).op(Op.i32ShrU).constant(1).op(Op.i32And);
  // The result's sign is SF, unless it must be zero: then the inverter tells.
  f.constant(0).constant(NEGATIVE).constant(POSITIVE);
  bit(SF).op(Op.select);
  bit(ZF).op(Op.select);
  bit(CF).constant(31).op(Op.i32Shl);
  bit(CF);
  bit(OF).op(Op.i32Xor).constant(30).op(Op.i32Shl).op(Op.i32Or);
  f.constant(AUX_AF).constant(0);
  bit(AF).op(Op.select).op(Op.i32Or);
  f.constant(0).constant(AUX_INVERTS_PF);
  bit(PF).op(Op.select).op(Op.i32Or);
  bit(ZF);
  bit(SF).op(Op.i32And).constant(AUX_INVERTS_SF).op(Op.i32Mul).op(Op.i32Or);
  e.setStoredFlags();
}

/** Pushes a word of the state block. */
export function pushState(e: Emitter, word: number): void {
  e.f.constant(0).memory(Access.i32Load, HYPERVISOR, L.STATE + word * 4);
}

/** Stores what `pushValue` pushes in a word of the state block. */
function storeState(e: Emitter, word: number, pushValue: () => void): void {
  e.f.constant(0);
  pushValue();
  e.f.memory(Access.i32Store, HYPERVISOR, L.STATE + word * 4);
}

/** CLC, STC and CMC. */
function carry(to: 0 | 1 | "inverted"): Chooser {
  return () => (e) => {
    if (to === "inverted") {
      e.pushCarry();
      e.f.op(Op.i32Eqz);
    } else e.f.constant(to);
    e.setCarry();
  };
}

/** CLD and STD. */
function direction(isSet: boolean): Chooser {
  return () => (e) =>
    storeState(e, S.FLAGS_OTHER, () => {
      pushState(e, S.FLAGS_OTHER);
      e.f.constant(isSet ? DF : ~DF).op(isSet ? Op.i32Or : Op.i32And);
    });
}

/** Leaves before the instruction unless CPL is 0, where IOPL never matters. */
export function requireCpl0(e: Emitter): void {
  pushState(e, S.CPL);
  e.f.if();
  e.exitInstruction();
  e.f.end();
}

/**
 * CLI. Translated code runs only while nothing asks for attention, and with IF clear nothing can begin to: the processor's
 * derived `attention` stays as it is.
 */
const cli: Chooser = () => (e) => {
  requireCpl0(e);
  storeState(e, S.FLAGS_OTHER, () => {
    pushState(e, S.FLAGS_OTHER);
    e.f.constant(~IF).op(Op.i32And);
  });
};

/**
 * STI, while nothing is pending: then nobody can see the shadow but by leaving before the next instruction has completed.
 * That instruction's exits therefore undo this one (`Emitter.fuse`); where none follows in the unit, this one is left.
 */
const sti: Chooser = () => (e) => {
  const { f } = e;
  if (e.incomplete === 1) return e.exitInstruction();
  requireCpl0(e);
  const before = e.keptLocal();
  pushState(e, S.PENDING);
  f.if();
  e.exitInstruction();
  f.end();
  pushState(e, S.FLAGS_OTHER);
  f.set(before);
  storeState(e, S.FLAGS_OTHER, () => f.get(before).constant(IF).op(Op.i32Or));
  e.fuse(() => storeState(e, S.FLAGS_OTHER, () => f.get(before)));
};

/** VERW as kernels use it on their way out: a memory operand that is the selector of a writable data segment. */
const verw: Chooser = () => (e, instruction) => {
  const { f } = e;
  const flags = e.temporary();
  // Without protection it is undefined, and reads nothing.
  f.constant(0).memory(Access.i32Load, HYPERVISOR, L.STATE + S.CR0 * 4).constant(S.CR0_PE).op(Op.i32And).op(Op.i32Eqz);
  f.unlikely().if();
  e.exitInstruction();
  f.end();
  e.pushOperand(instruction, 16);
  f.call(VERIFY_WRITABLE).if();
  e.exitInstruction();
  f.end();
  pushStatus(e);
  f.constant(ZF).op(Op.i32Or).set(flags);
  setStatus(e, flags);
};

const lahf: Chooser = () => (e) => {
  pushStatus(e);
  e.f.constant(SAHF_FLAGS).op(Op.i32And).constant(ALWAYS_SET).op(Op.i32Or);
  e.popRegister(AH, 8);
};

const sahf: Chooser = () => (e) => {
  const { f } = e;
  const flags = e.temporary();
  pushStatus(e);
  f.constant(OF).op(Op.i32And);
  e.pushRegister(AH, 8);
  f.constant(SAHF_FLAGS).op(Op.i32And).op(Op.i32Or).set(flags);
  setStatus(e, flags);
};

const salc: Chooser = () => (e) => {
  const { f } = e;
  f.constant(0);
  e.pushCarry();
  f.op(Op.i32Sub);
  e.popRegister(AL, 8);
};

/** PUSHFD. Flat 32-bit code is never in V86 mode. */
const pushf: Chooser = (instruction) => {
  if (instruction.operandSize !== 32) return undefined;
  return (e) =>
    emitPush(e, () => {
      pushStatus(e);
      pushState(e, S.FLAGS_OTHER);
      e.f.op(Op.i32Or).constant(~(RF | VM)).op(Op.i32And);
    });
};

/** Flags that POPFD changes at CPL 0, RF being cleared; of them those whose setting needs a look at every instruction. */
const POPF_FLAGS = TF | DF | NT | IOPL | IF | AC | ID | RF, POPF_WATCHED = TF | AC;

/** POPFD at CPL 0, where it cannot make an interrupt, a trap or an alignment check due. */
const popf: Chooser = (instruction) => {
  if (instruction.operandSize !== 32) return undefined;
  return (e) => {
    const { f } = e;
    const flags = e.temporary();
    requireCpl0(e);
    emitPop(e, (value) => {
      f.get(value).set(flags);
      f.get(flags).constant(POPF_WATCHED).op(Op.i32And);
      f.get(flags).constant(IF).op(Op.i32And);
      pushState(e, S.PENDING);
      f.op(Op.i32Eqz).op(Op.i32Eqz).constant(IF).op(Op.i32Mul).op(Op.i32And).op(Op.i32Or).if();
      e.exitInstruction();
      f.end();
    });
    storeState(e, S.FLAGS_OTHER, () => {
      pushState(e, S.FLAGS_OTHER);
      f.constant(~POPF_FLAGS).op(Op.i32And).get(flags).constant(POPF_FLAGS & ~RF).op(Op.i32And).op(Op.i32Or);
      f.constant(ALWAYS_SET).op(Op.i32Or);
    });
    setStatus(e, flags);
  };
};

export const flagChoosers: Readonly<Record<string, Chooser>> = {
  clc: carry(0),
  stc: carry(1),
  cmc: carry("inverted"),
  cld: direction(false),
  std: direction(true),
  cli,
  sti,
  verw,
  lahf,
  sahf,
  salc,
  pushf,
  popf,
};
