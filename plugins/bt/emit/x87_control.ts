// Control and status words, stack-top moves and WAIT in emitted code (Intel SDM 1, 8.3.11; SDM 2A). Whatever makes an
// exception wait, or ends that, is left to the interpreter, which tells the chipset.

import { EAX, state as S } from "../../x86/mod.ts";
import { Op } from "../wasm.ts";
import type { Chooser } from "./operands.ts";
import { pushState, setState } from "./x87_rounding.ts";
import { x87Of } from "./x87_stack.ts";

const { X87 } = S;
/** Exception flags and the stack fault in the status word; bits of the control word that can be written, and that are set. */
const EXCEPTIONS = 0x3f, STACK_FAULT = 0x40, CONTROL_WRITABLE = 0x1f3f, CONTROL_ONE = 0x40;
const TOP_SHIFT = 11;

/** A control word that would let an exception through that was raised before is left to the interpreter. */
const fldcw: Chooser = (instruction) => (e) => {
  const x = x87Of(e), { f } = e;
  const control = e.temporary();
  x.wait();
  e.pushMemory(instruction, 16);
  f.constant(CONTROL_WRITABLE).op(Op.i32And).constant(CONTROL_ONE).op(Op.i32Or).set(control);
  pushState(f, X87.STATUS).get(control).constant(-1).op(Op.i32Xor).op(Op.i32And).constant(EXCEPTIONS).op(Op.i32And);
  x.leaveIf();
  setState(f, X87.CONTROL, () => f.get(control));
};

const fnstcw: Chooser = (instruction) => (e) => {
  x87Of(e).wait();
  e.pushAddress(instruction);
  e.translate(16, true);
  pushState(e.f, X87.CONTROL);
  e.store(16);
};

/** FNSTSW waits for nothing; where an exception waits, it is interpreted all the same. */
const fnstsw: Chooser = (instruction) => (e) => {
  const x = x87Of(e), { f } = e;
  x.wait();
  if (instruction.isMemory) {
    e.pushAddress(instruction);
    e.translate(16, true);
  }
  pushState(f, X87.STATUS);
  pushState(f, X87.ROUNDED_UP).op(Op.i32Or);
  x.pushTop();
  f.constant(TOP_SHIFT).op(Op.i32Shl).op(Op.i32Or);
  if (instruction.isMemory) e.store(16);
  else e.popRegister(EAX, 16);
};

const fnclex: Chooser = () => (e) => {
  const x = x87Of(e), { f } = e;
  x.wait();
  setState(f, X87.STATUS, () => pushState(f, X87.STATUS).constant(~(EXCEPTIONS | STACK_FAULT)).op(Op.i32And));
};

/** FFREE, and FFREEP (variant 1). */
const ffree: Chooser = (instruction) => (e) => {
  const x = x87Of(e);
  x.wait();
  x.free(instruction.rm);
  if (instruction.row.variant === 1) x.pop();
  x.clearC1();
  x.record(instruction);
};

function moveTop(steps: number): Chooser {
  return (instruction) => (e) => {
    const x = x87Of(e);
    x.wait();
    x.rotate(steps);
    x.clearC1();
    x.record(instruction);
  };
}

/** FNOP is recorded; FNENI, FNDISI and FNSETPM only need the FPU to be there. */
const fnop: Chooser = (instruction) => (e) => {
  const x = x87Of(e);
  x.wait();
  if (instruction.row.name === "fnop") x.record(instruction);
};

/** WAIT. It may run where other instructions may not; the interpreter knows. */
const wait: Chooser = () => (e) => x87Of(e).wait();

export const x87ControlChoosers: Readonly<Record<string, Chooser>> = {
  fldcw,
  fnstcw,
  fnstsw,
  fnclex,
  ffree,
  fincstp: moveTop(1),
  fdecstp: moveTop(-1),
  fnop,
  wait,
};
