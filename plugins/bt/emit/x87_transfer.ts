// FLD, FST, FILD, FIST, FXCH, FCMOVcc and the constants in emitted code (Intel SDM 1, 8.3.3 and 8.3.4; SDM 2A). Stores check
// their destination, then convert, and write when nothing can leave any more.

import { type Instruction, state as S } from "../../x86/mod.ts";
import { Access, I64, MACHINE, Op } from "../wasm.ts";
import type { Emitter } from "./emitter.ts";
import type { Chooser } from "./operands.ts";
import { EXTENDED_BYTES, loadOperand, pushLongAddress } from "./x87_memory.ts";
import { pushState, ROUND_UP, ROUNDING_CONTROL, ROUNDING_SHIFT } from "./x87_rounding.ts";
import { Routine } from "./x87_runtime.ts";
import { x87Of, type X87Stack } from "./x87_stack.ts";

const { X87 } = S;

const fld: Chooser = (instruction) => (e) => {
  const x = x87Of(e);
  x.wait();
  if (!instruction.isMemory) x.needValid(instruction.rm);
  x.needRoom();
  x.pushRegister(instruction.isMemory ? loadOperand(x, instruction) : x.value(instruction.rm));
  x.clearC1();
  x.record(instruction);
};

/** A constant: significand in two words, sign-and-exponent, and how it is rounded. */
interface Constant {
  readonly high: number;
  readonly low: number;
  readonly signExponent: number;
  /** The value that rounding to the nearest gives is the next one up; undefined for an exact constant. */
  readonly nearestIsUp?: boolean;
}

/** In the order of their opcodes, truncated (SDM 1, 8.3.4): 1, log2(10), log2(e), pi, log10(2), ln(2), 0. */
const constants: readonly Constant[] = [
  { high: 0x80000000, low: 0, signExponent: 0x3fff },
  { high: 0xd49a784b, low: 0xcd1b8afe, signExponent: 0x4000, nearestIsUp: false },
  { high: 0xb8aa3b29, low: 0x5c17f0bb, signExponent: 0x3fff, nearestIsUp: true },
  { high: 0xc90fdaa2, low: 0x2168c234, signExponent: 0x4000, nearestIsUp: true },
  { high: 0x9a209a84, low: 0xfbcff798, signExponent: 0x3ffd, nearestIsUp: true },
  { high: 0xb17217f7, low: 0xd1cf79ab, signExponent: 0x3ffe, nearestIsUp: true },
  { high: 0, low: 0, signExponent: 0 },
];

const fldConstant: Chooser = (instruction) => {
  const { high, low, signExponent, nearestIsUp } = constants[instruction.row.variant];
  return (e) => {
    const x = x87Of(e), { f } = e;
    x.wait();
    x.needRoom();
    const value = x.newValue();
    f.constantI64(high, low);
    if (nearestIsUp !== undefined) {
      const rounding = e.temporary();
      pushState(f, X87.CONTROL).constant(ROUNDING_CONTROL).op(Op.i32And).tee(rounding);
      f.constant(ROUND_UP << ROUNDING_SHIFT).op(Op.i32Eq);
      if (nearestIsUp) f.get(rounding).op(Op.i32Eqz).op(Op.i32Or);
      f.op(Op.i64ExtendI32U).op(Op.i64Add);
    }
    f.set(value.significand).constant(signExponent).set(value.signExponent);
    x.pushRegister(value);
    x.clearC1();
    x.record(instruction);
  };
};

/** FST and FSTP. FSTPNCE pops an empty register in silence: it is interpreted. */
const fst: Chooser = (instruction) => {
  const { row, isMemory, rm } = instruction;
  if (row.name === "fstpnce") return undefined;
  const pops = row.variant === 1;
  const [operand] = row.operands;
  if (operand === "Mf80") return (e) => storeExtended(e, instruction);
  if (operand === "Mf32" || operand === "Mf64") return (e) => storeNarrow(e, instruction, operand === "Mf64", pops);
  if (isMemory) return undefined;
  return (e) => {
    const x = x87Of(e);
    x.wait();
    x.needValid(0);
    if (rm !== 0) x.store(rm, x.value(0));
    if (pops) x.pop();
    x.clearC1();
    x.record(instruction);
  };
};

function storeNarrow(e: Emitter, instruction: Instruction, isDouble: boolean, pops: boolean): void {
  const x = x87Of(e), { f } = e;
  const machine = e.temporary(), bits = e.temporary(I64);
  x.wait();
  x.needValid(0);
  if (isDouble) pushLongAddress(e, instruction, 8, true);
  else {
    e.pushAddress(instruction);
    e.translate(32, true);
  }
  f.set(machine);
  x.push(0);
  x.call(isDouble ? Routine.toBinary64 : Routine.toBinary32);
  finishStore(x, instruction, { machine, value: bits, bits: isDouble ? 64 : 32 }, pops);
}

/** Takes a routine's status and value off the stack, leaves or stores the value, and pops. */
function finishStore(
  x: X87Stack,
  instruction: Instruction,
  { machine, value, bits }: { readonly machine: number; readonly value: number; readonly bits: number },
  pops: boolean,
): void {
  const { e } = x, { f } = e;
  const status = e.temporary();
  f.set(status).set(value).get(status);
  x.leaveIfHard();
  f.get(machine).get(value);
  if (bits === 64) f.memory(Access.i64Store, MACHINE, 0);
  else f.op(Op.i32WrapI64).memory(bits === 32 ? Access.i32Store : Access.i32Store16, MACHINE, 0);
  if (pops) x.pop();
  x.record(instruction);
}

/** FSTP m80: any value, as it is. */
function storeExtended(e: Emitter, instruction: Instruction): void {
  const x = x87Of(e), { f } = e;
  const machine = e.temporary();
  x.wait();
  x.needValid(0);
  pushLongAddress(e, instruction, EXTENDED_BYTES, true);
  const { significand, signExponent } = x.value(0);
  f.tee(machine).get(significand).memory(Access.i64Store, MACHINE, 0);
  f.get(machine).get(signExponent).memory(Access.i32Store16, MACHINE, 8);
  x.pop();
  x.clearC1();
  x.record(instruction);
}

const fist: Chooser = (instruction) => {
  const [operand] = instruction.row.operands;
  const bits = operand === "Mi16" ? 16 : operand === "Mi32" ? 32 : 64;
  return (e) => {
    const x = x87Of(e), { f } = e;
    const machine = e.temporary(), value = e.temporary(I64);
    x.wait();
    x.needValid(0);
    if (bits === 64) pushLongAddress(e, instruction, 8, true);
    else {
      e.pushAddress(instruction);
      e.translate(bits, true);
    }
    f.set(machine);
    x.push(0);
    f.constant(bits);
    x.call(Routine.toInteger);
    finishStore(x, instruction, { machine, value, bits }, instruction.row.variant === 1);
  };
};

const fxch: Chooser = (instruction) => (e) => {
  const x = x87Of(e);
  x.wait();
  x.needValid(0);
  x.needValid(instruction.rm);
  if (instruction.rm !== 0) x.exchange(instruction.rm);
  x.clearC1();
  x.record(instruction);
};

/** Leaves C1 as it was. */
const fcmov: Chooser = (instruction) => (e) => {
  const x = x87Of(e), { f } = e;
  x.wait();
  x.needValid(0);
  x.needValid(instruction.rm);
  const result = x.newValue();
  const to = x.value(0), from = x.value(instruction.rm);
  const condition = e.temporary();
  e.pushCondition(instruction.row.variant);
  f.set(condition);
  f.get(from.significand).get(to.significand).get(condition).op(Op.select).set(result.significand);
  f.get(from.signExponent).get(to.signExponent).get(condition).op(Op.select).set(result.signExponent);
  x.store(0, result);
  x.record(instruction);
};

export const x87TransferChoosers: Readonly<Record<string, Chooser>> = {
  fld,
  fild: fld,
  fldConstant,
  fst,
  fist,
  fxch,
  fcmov,
};
