// MUL, IMUL, DIV and IDIV in all widths (SDM 2A and 2B). Undefined flags are those of the interpreter's named processor:
// products leave SF, ZF, AF and PF as they were; quotients set AF, clear SF, ZF and PF and leave CF and OF.

import { EAX, EDX, type Instruction } from "../../x86/mod.ts";
import { I64, Op } from "../wasm.ts";
import type { Emitter } from "./emitter.ts";
import { type Bits, bitsOf, type Chooser, extend } from "./operands.ts";

/** FLAG_AUX: CF and CF xor OF; AF; the inverter of PF. */
const AUX_CF_OF = 0xc0000000 | 0, AUX_AF = 8, AUX_INVERTS_PF = 2;
/** A result that is positive and not zero, with a low byte of even parity. */
const POSITIVE = 0x100;

/** CF and OF tell whether the upper half is significant; the others stay. Pops that as 0 or 1. */
function setProductFlags(e: Emitter): void {
  e.f.constant(31).op(Op.i32Shl);
  e.setCarryAndOverflow();
}

/** Two- and three-operand IMUL. */
const imul: Chooser = (instruction) => {
  const { operands } = instruction.row;
  const bits = instruction.operandSize;
  const pushFactor = (e: Emitter) => {
    if (operands.length === 3) e.f.constant(instruction.immediate);
    else e.pushRegister(instruction.reg, bits);
  };
  return bits === 32 ? (e) => imul32(e, instruction, pushFactor) : (e) => {
    const { f } = e;
    const product = e.temporary();
    e.pushOperand(instruction, 16);
    f.op(Op.i32Extend16S);
    pushFactor(e);
    f.op(Op.i32Extend16S).op(Op.i32Mul).tee(product);
    f.get(product).op(Op.i32Extend16S).op(Op.i32Ne);
    setProductFlags(e);
    f.get(product);
    e.popRegister(instruction.reg, 16);
  };
};

function imul32(e: Emitter, instruction: Instruction, pushFactor: (e: Emitter) => void): void {
  const { f } = e;
  const low = e.temporary(), product = f.local(I64);
  e.pushOperand(instruction, 32);
  f.op(Op.i64ExtendI32S);
  pushFactor(e);
  f.op(Op.i64ExtendI32S).op(Op.i64Mul).tee(product).op(Op.i32WrapI64).tee(low);
  f.op(Op.i64ExtendI32S).get(product).op(Op.i64Ne);
  setProductFlags(e);
  f.get(low);
  e.setRegister(instruction.reg);
  f.release(I64, product);
}

/** MUL and one-operand IMUL. */
function multiply(signed: boolean): Chooser {
  return (instruction) => {
    const bits = bitsOf(instruction, instruction.row.operands[0]);
    return bits === 32
      ? (e) => multiply32(e, instruction, signed)
      : (e) => multiplyNarrow(e, instruction, signed, bits);
  };
}

function multiply32(e: Emitter, instruction: Instruction, signed: boolean): void {
  const { f } = e;
  const widen = signed ? Op.i64ExtendI32S : Op.i64ExtendI32U;
  const product = f.local(I64), high = e.temporary(), low = e.temporary();
  e.pushOperand(instruction, 32);
  f.op(widen);
  e.pushRegister(EAX, 32);
  f.op(widen).op(Op.i64Mul).tee(product).op(Op.i32WrapI64).set(low);
  f.get(product).constant64(32).op(Op.i64ShrU).op(Op.i32WrapI64).tee(high);
  if (signed) f.get(low).constant(31).op(Op.i32ShrS);
  else f.constant(0);
  f.op(Op.i32Ne);
  setProductFlags(e);
  f.get(low);
  e.setRegister(EAX);
  f.get(high);
  e.setRegister(EDX);
  f.release(I64, product);
}

/** AX = AL times the operand; DX:AX = AX times the operand. */
function multiplyNarrow(e: Emitter, instruction: Instruction, signed: boolean, bits: Bits): void {
  const { f } = e;
  const product = e.temporary();
  e.pushOperand(instruction, bits);
  if (signed) extend(e, bits);
  e.pushRegister(EAX, bits);
  if (signed) extend(e, bits);
  f.op(Op.i32Mul).tee(product);
  if (signed) {
    f.get(product);
    extend(e, bits);
    f.op(Op.i32Ne);
  } else f.constant(bits).op(Op.i32ShrU).constant(0).op(Op.i32Ne);
  setProductFlags(e);
  f.get(product);
  e.popRegister(EAX, 16);
  if (bits === 8) return;
  f.get(product).constant(16).op(Op.i32ShrU);
  e.popRegister(EDX, 16);
}

/** DIV and IDIV. What would raise #DE leaves before the instruction. */
function divide(signed: boolean): Chooser {
  return (instruction) => {
    const bits = bitsOf(instruction, instruction.row.operands[0]);
    return bits === 32 ? (e) => divide32(e, instruction, signed) : (e) => divideNarrow(e, instruction, signed, bits);
  };
}

function divide32(e: Emitter, instruction: Instruction, signed: boolean): void {
  const { f } = e;
  const dividend = f.local(I64), divisor = f.local(I64), quotient = f.local(I64);
  e.pushOperand(instruction, 32);
  f.op(signed ? Op.i64ExtendI32S : Op.i64ExtendI32U).tee(divisor).op(Op.i64Eqz).if();
  e.exitInstruction();
  f.end();
  e.pushRegister(EDX, 32);
  f.op(Op.i64ExtendI32U).constant64(32).op(Op.i64Shl);
  e.pushRegister(EAX, 32);
  f.op(Op.i64ExtendI32U).op(Op.i64Or).set(dividend);
  if (signed) {
    // The one quotient that does not fit 64 bits: least number by -1.
    f.get(divisor).constant64(-1).op(Op.i64Eq).if();
    e.exitInstruction();
    f.end();
  }
  f.get(dividend).get(divisor).op(signed ? Op.i64DivS : Op.i64DivU).tee(quotient);
  f.get(quotient).op(Op.i32WrapI64).op(signed ? Op.i64ExtendI32S : Op.i64ExtendI32U).op(Op.i64Ne).if();
  e.exitInstruction();
  f.end();
  setQuotientFlags(e);
  f.get(dividend).get(divisor).op(signed ? Op.i64RemS : Op.i64RemU).op(Op.i32WrapI64);
  e.setRegister(EDX);
  f.get(quotient).op(Op.i32WrapI64);
  e.setRegister(EAX);
  for (const local of [dividend, divisor, quotient]) f.release(I64, local);
}

/** AL, AH = AX divided; AX, DX = DX:AX divided. In 64 bits, where no quotient overflows. */
function divideNarrow(e: Emitter, instruction: Instruction, signed: boolean, bits: Bits): void {
  const { f } = e;
  const dividend = f.local(I64), divisor = f.local(I64), quotient = e.temporary(), remainder = e.temporary();
  const widen = signed ? Op.i64ExtendI32S : Op.i64ExtendI32U;
  e.pushOperand(instruction, bits);
  if (signed) extend(e, bits);
  f.op(widen).tee(divisor).op(Op.i64Eqz).if();
  e.exitInstruction();
  f.end();
  if (bits === 8) {
    e.pushRegister(EAX, 16);
    if (signed) extend(e, 16);
  } else {
    e.pushRegister(EDX, 16);
    f.constant(16).op(Op.i32Shl);
    e.pushRegister(EAX, 16);
    f.op(Op.i32Or);
  }
  f.op(widen).tee(dividend).get(divisor).op(signed ? Op.i64DivS : Op.i64DivU).op(Op.i32WrapI64).tee(quotient);
  f.get(quotient);
  if (signed) extend(e, bits);
  else f.constant(bits === 8 ? 0xff : 0xffff).op(Op.i32And);
  f.op(Op.i32Ne).if();
  e.exitInstruction();
  f.end();
  f.get(dividend).get(divisor).op(signed ? Op.i64RemS : Op.i64RemU).op(Op.i32WrapI64).set(remainder);
  setQuotientFlags(e);
  if (bits === 8) {
    f.get(remainder).constant(8).op(Op.i32Shl).get(quotient).constant(0xff).op(Op.i32And).op(Op.i32Or);
    e.popRegister(EAX, 16);
  } else {
    f.get(quotient);
    e.popRegister(EAX, 16);
    f.get(remainder);
    e.popRegister(EDX, 16);
  }
  f.release(I64, dividend);
  f.release(I64, divisor);
}

function setQuotientFlags(e: Emitter): void {
  const { f } = e;
  const aux = e.temporary();
  e.pushAux();
  f.constant(AUX_CF_OF).op(Op.i32And).constant(AUX_AF | AUX_INVERTS_PF).op(Op.i32Or).set(aux);
  f.constant(POSITIVE).get(aux);
  e.setStoredFlags();
}

export const multiplyChoosers: Readonly<Record<string, Chooser>> = {
  imul,
  mul: multiply(false),
  imul1: multiply(true),
  div: divide(false),
  idiv: divide(true),
};
