// What each instruction becomes in WebAssembly: emitters by the opcode table's handler names, for the forms that are hot in
// Debian's kernel and user land. A form that is not here is interpreted, exactly. Undefined flags are those of the
// interpreter's named processor. Operands are fetched and checked before anything is changed: an exit leaves no trace.

import type { Instruction } from "../../x86/mod.ts";
import { EAX, EDX } from "../../x86/mod.ts";
import { Op } from "../wasm.ts";
import { aluOperation, AND, CMP, SUB } from "./alu.ts";
import { atomicChoosers } from "./atomic.ts";
import { bitChoosers } from "./bits.ts";
import { flagChoosers } from "./flagops.ts";
import { multiplyChoosers } from "./multiply.ts";
import { bitsOf, type Chooser, type Emit, extend, isPlainAddress, modify, pushSource, registerOf } from "./operands.ts";
import { shiftChoosers } from "./shifts.ts";
import { simdChoosers } from "./simd.ts";
import { stackChoosers } from "./stack.ts";
import { stringChoosers } from "./strings.ts";
import { x87Choosers } from "./x87.ts";

/** The emitter of an instruction, or undefined where it is to be interpreted. */
export function emitterOf(instruction: Instruction): Emit | undefined {
  if (instruction.isMemory && !isPlainAddress(instruction)) return undefined;
  return choosers[instruction.row.handler]?.(instruction);
}

// ALU.

const alu: Chooser = (instruction) => {
  const [destination, source] = instruction.row.operands;
  const bits = bitsOf(instruction, destination), operation = instruction.row.variant;
  return (e) => {
    const { f } = e;
    // A memory source is read before the destination's old value is needed.
    const value = e.temporary();
    if (registerOf(instruction, source) < 0 && source[0] !== "I") {
      e.pushMemory(instruction, bits);
      f.set(value);
      modify(
        e,
        instruction,
        destination,
        (old) => aluOperation(e, operation, bits, () => f.get(old), () => f.get(value)),
        operation === CMP,
      );
      return;
    }
    modify(
      e,
      instruction,
      destination,
      (old) => aluOperation(e, operation, bits, () => f.get(old), () => pushSource(e, instruction, source)),
      operation === CMP,
    );
  };
};

const test: Chooser = (instruction) => {
  const [first, second] = instruction.row.operands;
  const bits = bitsOf(instruction, first);
  return (e) => {
    const value = e.temporary();
    pushSource(e, instruction, first);
    e.f.set(value);
    aluOperation(e, AND, bits, () => e.f.get(value), () => pushSource(e, instruction, second));
    e.f.op(Op.drop);
  };
};

/** INC and DEC: the carry as it was is kept beside the result. */
function step(kind: "inc" | "dec"): Chooser {
  return (instruction) => {
    const [operand] = instruction.row.operands;
    const bits = bitsOf(instruction, operand);
    return (e) => {
      const { f } = e;
      modify(e, instruction, operand, (old) => {
        const carry = e.temporary();
        e.pushCarry();
        f.set(carry);
        const locals = e.newFlagLocals();
        f.get(carry).set(locals[0]);
        f.get(old);
        extend(e, bits);
        f.constant(1).op(kind === "inc" ? Op.i32Add : Op.i32Sub);
        extend(e, bits);
        f.tee(locals[2]);
        e.setFlags(kind, bits, locals);
      });
    };
  };
}

const neg: Chooser = (instruction) => {
  const [operand] = instruction.row.operands;
  const bits = bitsOf(instruction, operand);
  return (e) =>
    modify(e, instruction, operand, (old) => aluOperation(e, SUB, bits, () => e.f.constant(0), () => e.f.get(old)));
};

const not: Chooser = (instruction) => (e) =>
  modify(e, instruction, instruction.row.operands[0], (old) => e.f.get(old).constant(-1).op(Op.i32Xor));

// Moves.

const mov: Chooser = (instruction) => {
  const [destination, source] = instruction.row.operands;
  if (source[0] === "S" || destination[0] === "S") return undefined;
  const bits = bitsOf(instruction, destination);
  const register = registerOf(instruction, destination);
  return (e) => {
    if (register >= 0) {
      pushSource(e, instruction, source);
      e.popRegister(register, bits);
      return;
    }
    e.pushAddress(instruction);
    e.translateOperand(instruction, bits, true);
    pushSource(e, instruction, source);
    e.store(bits);
  };
};

function moveExtended(signed: boolean): Chooser {
  return (instruction) => {
    const [destination, source] = instruction.row.operands;
    const bits = bitsOf(instruction, destination), from = bitsOf(instruction, source);
    return (e) => {
      e.pushOperand(instruction, from);
      if (signed) extend(e, from);
      e.popRegister(registerOf(instruction, destination), bits);
    };
  };
}

const lea: Chooser = (instruction) =>
  instruction.addressSize === 32
    ? (e) => {
      e.pushOffset(instruction);
      e.popRegister(instruction.reg, bitsOf(instruction, "Gv"));
    }
    : undefined;

const xchg: Chooser = (instruction) => {
  const [first, second] = instruction.row.operands;
  const bits = bitsOf(instruction, first);
  const other = registerOf(instruction, second);
  return (e) => {
    const { f } = e;
    const value = e.temporary();
    modify(e, instruction, first, (old) => {
      e.pushRegister(other, bits);
      f.set(value).get(old);
      e.popRegister(other, bits);
      f.get(value);
    });
  };
};

const cmov: Chooser = (instruction) => {
  const bits = bitsOf(instruction, "Gv");
  return (e) => {
    // The operand is always read, whatever the condition.
    e.pushOperand(instruction, bits);
    e.pushRegister(instruction.reg, bits);
    e.pushCondition(instruction.row.variant);
    e.f.op(Op.select);
    e.popRegister(instruction.reg, bits);
  };
};

const setcc: Chooser = (instruction) => (e) => {
  const { f } = e;
  const { variant } = instruction.row;
  const pushBit = () => {
    e.pushCondition(variant);
    f.op(Op.i32Eqz).op(Op.i32Eqz);
  };
  if (instruction.isMemory) {
    e.pushAddress(instruction);
    e.translateOperand(instruction, 8, true);
    pushBit();
    e.store(8);
  } else {
    pushBit();
    e.popRegister(instruction.rm, 8);
  }
};

/** CBW and CWDE; CWD and CDQ. */
const cbw: Chooser = (instruction) => (e) => {
  const bits = instruction.operandSize;
  e.pushRegister(EAX, bits === 32 ? 16 : 8);
  extend(e, bits === 32 ? 16 : 8);
  e.popRegister(EAX, bits);
};

const cwd: Chooser = (instruction) => (e) => {
  const bits = instruction.operandSize;
  e.pushRegister(EAX, bits);
  extend(e, bits);
  e.f.constant(31).op(Op.i32ShrS);
  e.popRegister(EDX, bits);
};

const bswap: Chooser = (instruction) => {
  if (instruction.operandSize !== 32) return undefined;
  const register = instruction.row.variant;
  return (e) => {
    const { f } = e;
    const local = e.register(register);
    f.get(local).constant(8).op(Op.i32Rotl).constant(0x00ff00ff).op(Op.i32And);
    f.get(local).constant(8).op(Op.i32Rotr).constant(0xff00ff00 | 0).op(Op.i32And).op(Op.i32Or);
    e.setRegister(register);
  };
};

const choosers: Readonly<Record<string, Chooser>> = {
  alu,
  test,
  inc: step("inc"),
  dec: step("dec"),
  neg,
  not,
  mov,
  movzx: moveExtended(false),
  movsx: moveExtended(true),
  lea,
  xchg,
  cmov,
  setcc,
  cbw,
  cwd,
  bswap,
  nop: () => () => {},
  pause: () => () => {},
  ...shiftChoosers,
  ...multiplyChoosers,
  ...bitChoosers,
  ...stackChoosers,
  ...flagChoosers,
  ...atomicChoosers,
  ...stringChoosers,
  ...simdChoosers,
  ...x87Choosers,
};
