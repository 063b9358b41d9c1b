// FCOM, FUCOM, FTST with their condition codes and FCOMI, FUCOMI with EFLAGS in emitted code (Intel SDM 1, 8.3.6; SDM 2A).
// Ordered operands alone are compared here, so that the quiet forms are the same as the others.

import { state as S } from "../../x86/mod.ts";
import { Op } from "../wasm.ts";
import type { Chooser } from "./operands.ts";
import { loadOperand } from "./x87_memory.ts";
import { C3, COMPARISON_CODES, pushState, setState } from "./x87_rounding.ts";
import { Routine } from "./x87_runtime.ts";
import { x87Of, type X87Stack } from "./x87_stack.ts";

const { X87 } = S;

/** Pushes the condition codes of ST(0) compared with another value into a local; leaves where they are not ordinary numbers. */
function compareTop(x: X87Stack, pushOther: () => void): number {
  const { e } = x;
  const codes = e.temporary();
  x.push(0);
  pushOther();
  x.call(Routine.compare);
  e.f.tee(codes);
  x.leaveIfHard();
  return codes;
}

function setCodes(x: X87Stack, codes: number): void {
  const { f } = x.e;
  setState(f, X87.STATUS, () => {
    pushState(f, X87.STATUS).constant(~COMPARISON_CODES).op(Op.i32And).get(codes).op(Op.i32Or);
  });
}

/** FCOM and FUCOM, which differ for NaNs alone; the variant is the number of pops. */
const fcom: Chooser = (instruction) => (e) => {
  const x = x87Of(e);
  x.wait();
  x.needValid(0);
  let codes: number;
  if (instruction.isMemory) {
    const operand = loadOperand(x, instruction);
    codes = compareTop(x, () => e.f.get(operand.significand).get(operand.signExponent));
  } else {
    x.needValid(instruction.rm);
    codes = compareTop(x, () => x.push(instruction.rm));
  }
  setCodes(x, codes);
  for (let pops = instruction.row.variant; pops > 0; pops--) x.pop();
  x.record(instruction);
};

const ftst: Chooser = (instruction) => (e) => {
  const x = x87Of(e);
  x.wait();
  x.needValid(0);
  setCodes(x, compareTop(x, () => e.f.constant64(0).constant(0)));
  x.record(instruction);
};

/** FCOMI and FUCOMI: ZF for C3, CF for C0. The second word holds CF twice, and PF inverted where the result is zero. */
const fcomi: Chooser = (instruction) => (e) => {
  const x = x87Of(e), { f } = e;
  x.wait();
  x.needValid(0);
  x.needValid(instruction.rm);
  const codes = compareTop(x, () => x.push(instruction.rm));
  f.get(codes).constant(C3).op(Op.i32Ne);
  f.get(codes).constant(22).op(Op.i32Shl).get(codes).constant(23).op(Op.i32Shl).op(Op.i32Or);
  f.get(codes).constant(13).op(Op.i32ShrU).op(Op.i32Or);
  e.setStoredFlags();
  if (instruction.row.variant === 1) x.pop();
  x.record(instruction);
};

export const x87ComparisonChoosers: Readonly<Record<string, Chooser>> = {
  fcom,
  fucom: fcom,
  fcomi,
  fucomi: fcomi,
  ftst,
};
