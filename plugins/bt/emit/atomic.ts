// CMPXCHG, XADD and CMPXCHG8B (SDM 2A and 2B). One processor runs a VM: a LOCK prefix asks for nothing more. A memory
// operand is written whether the comparison holds or not, and faults as a write.

import { EAX, EBX, ECX, EDX, ZF } from "../../x86/mod.ts";
import { Op } from "../wasm.ts";
import { ADD, aluOperation, SUB } from "./alu.ts";
import { pushStatus, setStatus } from "./flagops.ts";
import { bitsOf, type Chooser, modify } from "./operands.ts";

/** Place of ZF in EFLAGS. */
const ZF_BIT = 6;
/** The part of an address that lies in its page, and the last of them at which a quadword does. */
const PAGE_OFFSET = 4095, LAST_OFFSET = 4088;

/** The accumulator gets the old value either way: where they are equal it has it already. */
const cmpxchg: Chooser = (instruction) => {
  const [destination] = instruction.row.operands;
  const bits = bitsOf(instruction, destination);
  return (e) => {
    const { f } = e;
    const source = e.temporary(), accumulator = e.temporary(), difference = e.temporary();
    modify(e, instruction, destination, (old) => {
      e.pushRegister(instruction.reg, bits);
      f.set(source);
      e.pushRegister(EAX, bits);
      f.set(accumulator);
      aluOperation(e, SUB, bits, () => f.get(accumulator), () => f.get(old));
      f.set(difference).get(old);
      e.popRegister(EAX, bits);
      f.get(old).get(source).get(difference).op(Op.select);
    });
  };
};

const xadd: Chooser = (instruction) => {
  const [destination] = instruction.row.operands;
  const bits = bitsOf(instruction, destination);
  return (e) => {
    const { f } = e;
    const source = e.temporary(), sum = e.temporary();
    modify(e, instruction, destination, (old) => {
      e.pushRegister(instruction.reg, bits);
      f.set(source);
      aluOperation(e, ADD, bits, () => f.get(old), () => f.get(source));
      f.set(sum).get(old);
      // Where both operands are one register, the sum is written last.
      e.popRegister(instruction.reg, bits);
      f.get(sum);
    });
  };
};

/** CMPXCHG8B: ZF alone changes. */
const cmpxchg8b: Chooser = (instruction) => (e) => {
  const { f } = e;
  const linear = e.temporary(), lower = e.temporary(), upper = e.temporary();
  const low = e.temporary(), high = e.temporary(), isEqual = e.temporary(), status = e.temporary();
  e.pushAddress(instruction);
  // Across pages, filling in the upper one could give the lower one's frame away.
  f.tee(linear).constant(PAGE_OFFSET).op(Op.i32And).constant(LAST_OFFSET).op(Op.i32GtU).if();
  e.exitInstruction();
  f.end();
  f.get(linear);
  e.translate(32, true);
  f.set(lower).get(linear).constant(4).op(Op.i32Add);
  e.translate(32, true);
  f.tee(upper);
  e.load(32);
  f.set(high).get(lower);
  e.load(32);
  f.tee(low).get(e.register(EAX)).op(Op.i32Eq);
  f.get(high).get(e.register(EDX)).op(Op.i32Eq).op(Op.i32And).set(isEqual);
  f.get(lower).get(e.register(EBX)).get(low).get(isEqual).op(Op.select);
  e.store(32);
  f.get(upper).get(e.register(ECX)).get(high).get(isEqual).op(Op.select);
  e.store(32);
  f.get(low);
  e.setRegister(EAX);
  f.get(high);
  e.setRegister(EDX);
  pushStatus(e);
  f.constant(~ZF).op(Op.i32And).get(isEqual).constant(ZF_BIT).op(Op.i32Shl).op(Op.i32Or);
  f.set(status);
  setStatus(e, status);
};

export const atomicChoosers: Readonly<Record<string, Chooser>> = { cmpxchg, xadd, cmpxchg8b };
