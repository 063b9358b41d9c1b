// PUSH, POP, LEAVE and moves from segment registers on a flat 32-bit stack (SDM 2A and 2B). The stack pointer moves last,
// so that an instruction whose access leaves the region can be restarted.

import { EBP, ESP, type Instruction, NO_REGISTER } from "../../x86/mod.ts";
import { state as S } from "../../x86/mod.ts";
import * as L from "../layout.ts";
import { Access, HYPERVISOR, Op } from "../wasm.ts";
import type { Emitter } from "./emitter.ts";
import { type Chooser, pushSource, registerOf } from "./operands.ts";
import { stackPlace } from "./runs.ts";

/** Pushes the value that `pushValue` leaves on the WebAssembly stack. ESP moves last. */
export function emitPush(e: Emitter, pushValue: () => void, bits: 16 | 32 = 32): void {
  const { f } = e;
  const pointer = e.temporary(), value = e.temporary();
  pushValue();
  f.set(value).get(e.register(ESP)).constant(4).op(Op.i32Sub).tee(pointer);
  e.translate(bits, true, stackPlace(-4));
  f.get(value);
  e.store(bits);
  f.get(pointer);
  e.moves(ESP, -4);
  e.setRegister(ESP);
}

/** Pops a value into a new temporary and returns it; ESP has moved. `check` may leave before that. */
export function emitPop(e: Emitter, check?: (value: number) => void): number {
  const { f } = e;
  const value = e.temporary();
  f.get(e.register(ESP));
  e.translate(32, false, stackPlace(0));
  e.load(32);
  f.set(value);
  check?.(value);
  f.get(e.register(ESP)).constant(4).op(Op.i32Add);
  e.moves(ESP, 4);
  e.setRegister(ESP);
  return value;
}

const push: Chooser = (instruction) => {
  if (instruction.operandSize !== 32) return undefined;
  const [operand] = instruction.row.operands;
  return (e) => emitPush(e, () => pushSource(e, instruction, operand));
};

const pop: Chooser = (instruction) => {
  if (instruction.operandSize !== 32) return undefined;
  if (instruction.isMemory) return (e) => popMemory(e, instruction);
  const register = registerOf(instruction, instruction.row.operands[0]);
  return (e) => {
    const value = emitPop(e);
    e.f.get(value);
    e.setRegister(register);
  };
};

/** An address with ESP as its base uses ESP after the pop. */
function popMemory(e: Emitter, instruction: Instruction): void {
  const { f } = e;
  const value = e.temporary();
  f.get(e.register(ESP));
  e.translate(32, false, stackPlace(0));
  e.load(32);
  f.set(value);
  e.pushAddress(instruction);
  if (instruction.base === ESP) f.constant(4).op(Op.i32Add);
  e.translate(32, true);
  f.get(value);
  e.store(32);
  f.get(e.register(ESP)).constant(4).op(Op.i32Add);
  e.moves(ESP, 4);
  e.setRegister(ESP);
}

const leave: Chooser = (instruction) => {
  if (instruction.operandSize !== 32) return undefined;
  return (e) => {
    const { f } = e;
    const frame = e.temporary();
    f.get(e.register(EBP)).tee(frame);
    e.translate(32, false, { base: EBP, index: NO_REGISTER, scale: 0, displacement: 0 });
    e.load(32);
    e.moves(ESP, 4, EBP);
    e.setRegister(EBP);
    f.get(frame).constant(4).op(Op.i32Add);
    e.setRegister(ESP);
  };
};

/** PUSH of a segment register: ESP moves by four, the low half alone is written. */
const pushSegment: Chooser = (instruction) => {
  if (instruction.operandSize !== 32) return undefined;
  return (e) => emitPush(e, () => pushSelector(e, instruction), 16);
};

/** MOV from a segment register: a 32-bit register is zero-extended. */
const movFromSegment: Chooser = (instruction) => {
  if (instruction.isMemory) {
    return (e) => {
      e.pushAddress(instruction);
      e.translateOperand(instruction, 16, true);
      pushSelector(e, instruction);
      e.store(16);
    };
  }
  return (e) => {
    pushSelector(e, instruction);
    e.popRegister(instruction.rm, instruction.operandSize);
  };
};

function pushSelector(e: Emitter, instruction: Instruction): void {
  e.f.constant(0).memory(Access.i32Load, HYPERVISOR, L.STATE + (S.SELECTOR + instruction.row.variant) * 4);
}

export const stackChoosers: Readonly<Record<string, Chooser>> = { push, pop, leave, pushSegment, movFromSegment };
