// BT, BTS, BTR, BTC, BSF and BSR (SDM 2A). Undefined flags are those of the interpreter's named processor: bit tests
// change CF alone; scans clear CF, OF, SF and AF.

import { type Instruction } from "../../x86/mod.ts";
import { Op } from "../wasm.ts";
import type { Emitter } from "./emitter.ts";
import { type Chooser } from "./operands.ts";

const BT = 0, BTS = 1, BTR = 2;
/** Keeps ZF 0 when the index found is 0. */
const FOUND = 0x100;

const bitTest: Chooser = (instruction) => {
  const bits = instruction.operandSize;
  const isFixed = instruction.row.operands[1][0] === "I";
  const { variant } = instruction.row;
  return (e) => {
    const { f } = e;
    const bit = e.temporary(), old = e.temporary(), machine = e.temporary();
    if (isFixed) f.constant(instruction.immediate & (bits - 1));
    else f.get(e.register(instruction.reg)).constant(bits - 1).op(Op.i32And);
    f.set(bit);
    if (instruction.isMemory) {
      e.pushAddress(instruction);
      if (!isFixed) pushReach(e, instruction);
      e.translate(bits, variant !== BT);
      f.tee(machine);
      e.load(bits);
    } else e.pushRegister(instruction.rm, bits);
    f.set(old);
    setCarryToBit(e, old, bit);
    if (variant === BT) return;
    if (instruction.isMemory) f.get(machine);
    f.get(old).constant(1).get(bit).op(Op.i32Shl);
    if (variant === BTS) f.op(Op.i32Or);
    else if (variant === BTR) f.constant(-1).op(Op.i32Xor).op(Op.i32And);
    else f.op(Op.i32Xor);
    if (instruction.isMemory) e.store(bits);
    else e.popRegister(instruction.rm, bits);
  };
};

/** Adds to the address on the stack how far a register's signed bit offset reaches beyond the operand. */
function pushReach(e: Emitter, instruction: Instruction): void {
  const { f } = e;
  f.get(e.register(instruction.reg));
  if (instruction.operandSize === 16) f.op(Op.i32Extend16S).constant(4).op(Op.i32ShrS).constant(1).op(Op.i32Shl);
  else f.constant(5).op(Op.i32ShrS).constant(2).op(Op.i32Shl);
  f.op(Op.i32Add);
}

function setCarryToBit(e: Emitter, value: number, bit: number): void {
  e.f.get(value).get(bit).op(Op.i32ShrU).constant(1).op(Op.i32And);
  e.setCarry();
}

/** With a source of zero the destination stays and ZF is set. */
const bitScan: Chooser = (instruction) => {
  const bits = instruction.operandSize;
  const isForward = instruction.row.handler === "bsf";
  return (e) => {
    const { f } = e;
    const value = e.temporary(), index = e.temporary();
    e.pushOperand(instruction, bits);
    f.set(value);
    if (isForward) f.get(value).op(Op.i32Ctz);
    else f.constant(31).get(value).op(Op.i32Clz).op(Op.i32Sub);
    f.tee(index);
    e.pushRegister(instruction.reg, bits);
    f.get(value).op(Op.select);
    e.popRegister(instruction.reg, bits);
    f.get(index).constant(FOUND).op(Op.i32Or).constant(0).get(value).op(Op.select).constant(0);
    e.setStoredFlags();
  };
};

export const bitChoosers: Readonly<Record<string, Chooser>> = { bt: bitTest, bsf: bitScan, bsr: bitScan };
