// What each instruction becomes in WebAssembly: emitters by the opcode table's handler names, for the forms that are hot in
// Debian's kernel and user land. A form that is not here is interpreted, exactly. Undefined flags are those of the
// interpreter's named processor. Operands are fetched and checked before anything is changed: an exit leaves no trace.

import { CS, type Instruction, type Operand } from "../../x86/mod.ts";
import { EAX, EBP, ECX, EDX, ESP } from "../../x86/mod.ts";
import { I64, Op } from "../wasm.ts";
import type { Emitter } from "./emitter.ts";

type Bits = 8 | 16 | 32;

/** Emits one instruction that does not end its block. */
export type Emit = (e: Emitter, instruction: Instruction) => void;

/** The emitter of an instruction, or undefined where it is to be interpreted. */
export function emitterOf(instruction: Instruction): Emit | undefined {
  if (instruction.isMemory && !isPlainAddress(instruction)) return undefined;
  return choosers[instruction.row.handler]?.(instruction);
}

/** A 32-bit address. CS is left out: a store through it faults. */
export function isPlainAddress(instruction: Instruction): boolean {
  return instruction.addressSize === 32 && instruction.segment !== CS;
}

type Chooser = (instruction: Instruction) => Emit | undefined;

/** Width of an operand. */
export function bitsOf(instruction: Instruction, operand: Operand): Bits {
  if (operand === "al" || operand === "cl") return 8;
  if (operand === "eAX") return instruction.operandSize;
  switch (operand[1]) {
    case "b":
      return 8;
    case "w":
      return 16;
    case "d":
      return 32;
    default:
      return instruction.operandSize;
  }
}

/** Number of the register that an operand is, or -1. */
function registerOf(instruction: Instruction, operand: Operand): number {
  if (operand === "al" || operand === "eAX") return EAX;
  if (operand === "cl") return ECX;
  switch (operand[0]) {
    case "E":
    case "R":
      return instruction.isMemory ? -1 : instruction.rm;
    case "G":
      return instruction.reg;
    case "Z":
      return instruction.row.variant;
    default:
      return -1;
  }
}

/** Pushes a source operand, zero-extended (immediates as they are). */
function pushSource(e: Emitter, instruction: Instruction, operand: Operand): void {
  const bits = bitsOf(instruction, operand);
  const register = registerOf(instruction, operand);
  if (operand[0] === "I") e.f.constant(instruction.immediate);
  else if (register >= 0) e.pushRegister(register, bits);
  else e.pushMemory(instruction, bits);
}

/** Pops a value and pushes it sign-extended from `bits`. */
function extend(e: Emitter, bits: Bits): void {
  if (bits === 8) e.f.op(Op.i32Extend8S);
  else if (bits === 16) e.f.op(Op.i32Extend16S);
}

/**
 * Reads the destination, applies `compute` (which leaves the result on the stack, given the local that holds the old value,
 * zero-extended) and writes it back, unless `discard`.
 */
function modify(
  e: Emitter,
  instruction: Instruction,
  operand: Operand,
  compute: (old: number) => void,
  discard = false,
): void {
  const { f } = e;
  const bits = bitsOf(instruction, operand);
  const register = registerOf(instruction, operand);
  const old = e.temporary();
  if (register >= 0) {
    e.pushRegister(register, bits);
    f.set(old);
    compute(old);
    if (discard) f.op(Op.drop);
    else e.popRegister(register, bits);
    return;
  }
  if (discard) {
    e.pushMemory(instruction, bits);
    f.set(old);
    compute(old);
    f.op(Op.drop);
    return;
  }
  const machine = e.temporary();
  e.pushAddress(instruction);
  e.translate(bits, true);
  f.tee(machine);
  e.load(bits);
  f.set(old).get(machine);
  compute(old);
  e.store(bits);
}

// ALU.

const ADD = 0, OR = 1, ADC = 2, SBB = 3, AND = 4, SUB = 5, XOR = 6, CMP = 7;

/** Leaves the result of an ALU operation on the stack and records its flags. `a` and `b` are locals, any extension. */
function aluOperation(e: Emitter, operation: number, bits: Bits, pushA: () => void, pushB: () => void): void {
  const { f } = e;
  if (operation === ADC || operation === SBB) return aluWithCarry(e, operation, bits, pushA, pushB);
  const locals = e.newFlagLocals();
  const [a, b, result] = locals;
  pushA();
  extend(e, bits);
  f.set(a);
  pushB();
  extend(e, bits);
  f.set(b).get(a).get(b);
  const isAdd = operation === ADD, isSub = operation === SUB || operation === CMP;
  f.op(isAdd ? Op.i32Add : isSub ? Op.i32Sub : operation === OR ? Op.i32Or : operation === AND ? Op.i32And : Op.i32Xor);
  if (isAdd || isSub) extend(e, bits);
  f.tee(result);
  e.setFlags(isAdd ? "add" : isSub ? "sub" : "logic", bits, locals);
}

/** ADC and SBB: the flags are stored at once, because the shortcuts for ADD and SUB do not hold. */
function aluWithCarry(e: Emitter, operation: number, bits: Bits, pushA: () => void, pushB: () => void): void {
  const { f } = e;
  const carry = e.temporary(), result = e.temporary();
  e.pushCarry();
  f.set(carry);
  const locals = e.newFlagLocals();
  const [a, b, sum] = locals;
  pushA();
  extend(e, bits);
  f.set(a);
  pushB();
  extend(e, bits);
  f.set(b).get(a).get(b).op(operation === ADC ? Op.i32Add : Op.i32Sub);
  f.get(carry).op(operation === ADC ? Op.i32Add : Op.i32Sub);
  extend(e, bits);
  f.tee(sum).set(result);
  e.setFlags(operation === ADC ? "add" : "sub", bits, locals);
  f.get(result);
  e.pushAux();
  e.setStoredFlags();
  f.get(result);
}

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
    e.translate(bits, true);
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
    e.translate(8, true);
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

// Shifts.

const ROL = 0, ROR = 1, SHL = 4, SHR = 5, SAR = 7;

/** SHL, SHR and SAR on 32 bits by a constant or CL, ROL and ROR by a constant. */
const shift: Chooser = (instruction) => {
  const [operand, counted] = instruction.row.operands;
  const bits = bitsOf(instruction, operand);
  const operation = instruction.row.variant === 6 ? SHL : instruction.row.variant;
  if (operation === 2 || operation === 3) return undefined;
  const isRotate = operation === ROL || operation === ROR;
  if (counted === "cl") {
    return bits === 32 && !instruction.isMemory && !isRotate ? shiftByCl(instruction, operation) : undefined;
  }
  const count = counted === "1" ? 1 : instruction.immediate & 31;
  if (isRotate && bits !== 32) return undefined;
  if (bits !== 32 && count >= bits) return undefined;
  if (count === 0) return undefined;
  return (e) =>
    modify(e, instruction, operand, (old) => {
      if (isRotate) return rotateBy(e, operation, old, count);
      shiftBy(e, operation, bits, old, () => e.f.constant(count));
    });
};

/** Leaves the shifted value on the stack and stores the flags. The count is not zero. */
function shiftBy(e: Emitter, operation: number, bits: Bits, old: number, pushCount: () => void): void {
  const { f } = e;
  const result = e.temporary(), cf = e.temporary(), value = e.temporary();
  f.get(old);
  if (operation === SAR) extend(e, bits);
  f.set(value);
  if (operation === SHL) {
    f.get(value).constant(bits);
    pushCount();
    f.op(Op.i32Sub).op(Op.i32ShrU).constant(1).op(Op.i32And).set(cf);
  } else {
    f.get(value);
    pushCount();
    f.constant(1).op(Op.i32Sub).op(operation === SAR ? Op.i32ShrS : Op.i32ShrU).constant(1).op(Op.i32And).set(cf);
  }
  f.get(value);
  pushCount();
  f.op(operation === SHL ? Op.i32Shl : operation === SAR ? Op.i32ShrS : Op.i32ShrU);
  extend(e, bits);
  f.tee(result);
  // Bit 31 CF, bit 30 CF xor OF, AF set. Left: CF xor OF is the result's top bit; SHR: CF xor the bit below the top.
  f.get(cf).constant(31).op(Op.i32Shl);
  if (operation === SHL) f.get(result).constant(31).op(Op.i32ShrU);
  else if (operation === SAR) f.get(cf);
  else f.get(result).constant(bits - 2).op(Op.i32ShrU).constant(1).op(Op.i32And).get(cf).op(Op.i32Xor);
  f.constant(30).op(Op.i32Shl).op(Op.i32Or).constant(8).op(Op.i32Or);
  e.setStoredFlags();
  f.get(result);
}

function shiftByCl(instruction: Instruction, operation: number): Emit {
  return (e) => {
    const { f } = e;
    const count = e.temporary(), old = e.temporary();
    // A count of zero changes nothing: the flags must be stored, so that both ways leave them alike.
    e.storeFlags();
    e.flagsAreStored();
    f.get(e.register(ECX)).constant(31).op(Op.i32And).tee(count);
    f.if();
    f.get(e.register(instruction.rm)).set(old);
    shiftBy(e, operation, 32, old, () => f.get(count));
    e.setRegister(instruction.rm);
    f.end();
  };
}

/** ROL and ROR by a constant: CF and OF alone change. */
function rotateBy(e: Emitter, operation: number, old: number, count: number): void {
  const { f } = e;
  const result = e.temporary(), aux = e.temporary();
  e.pushAux();
  f.constant(0x3fffffff).op(Op.i32And).set(aux);
  f.get(old).constant(count).op(operation === ROL ? Op.i32Rotl : Op.i32Rotr).set(result);
  const flags = e.flags;
  f.get(flags.result);
  f.get(aux);
  if (operation === ROL) {
    f.get(result).constant(31).op(Op.i32Shl).op(Op.i32Or);
    f.get(result).constant(31).op(Op.i32ShrU).constant(30).op(Op.i32Shl).op(Op.i32Or);
  } else {
    f.get(result).constant(0xc0000000 | 0).op(Op.i32And).op(Op.i32Or);
  }
  e.setStoredFlags();
  f.get(result);
}

// Multiplication and division.

/** CF and OF tell whether the upper half is significant; the others stay. Pops that as 0 or 1. */
function setProductFlags(e: Emitter): void {
  const { f } = e;
  const overflow = e.temporary(), result = e.flags.result;
  f.set(overflow);
  f.get(result);
  e.pushAux();
  f.constant(0x3fffffff).op(Op.i32And).get(overflow).constant(31).op(Op.i32Shl).op(Op.i32Or);
  e.setStoredFlags();
}

const imul: Chooser = (instruction) => {
  if (instruction.operandSize !== 32) return undefined;
  const { operands } = instruction.row;
  return (e) => {
    const { f } = e;
    const low = e.temporary(), product = f.local(I64);
    e.pushOperand(instruction, 32);
    f.op(Op.i64ExtendI32S);
    if (operands.length === 3) f.constant(instruction.immediate);
    else e.pushRegister(instruction.reg, 32);
    f.op(Op.i64ExtendI32S).op(Op.i64Mul).tee(product).op(Op.i32WrapI64).tee(low);
    f.op(Op.i64ExtendI32S).get(product).op(Op.i64Ne);
    setProductFlags(e);
    f.get(low);
    e.setRegister(instruction.reg);
    f.release(I64, product);
  };
};

/** MUL and one-operand IMUL on 32 bits. */
function multiply(signed: boolean): Chooser {
  return (instruction) => {
    if (bitsOf(instruction, instruction.row.operands[0]) !== 32) return undefined;
    const widen = signed ? Op.i64ExtendI32S : Op.i64ExtendI32U;
    return (e) => {
      const { f } = e;
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
    };
  };
}

/** DIV and IDIV on 32 bits. What would raise #DE leaves before the instruction. AF 1; SF, ZF and PF 0; CF and OF stay. */
function divide(signed: boolean): Chooser {
  return (instruction) => {
    if (bitsOf(instruction, instruction.row.operands[0]) !== 32) return undefined;
    return (e) => {
      const { f } = e;
      const dividend = f.local(I64), divisor = f.local(I64), quotient = f.local(I64), aux = e.temporary();
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
      e.pushAux();
      f.constant(0xc0000000 | 0).op(Op.i32And).constant(8 | 2).op(Op.i32Or).set(aux);
      f.get(dividend).get(divisor).op(signed ? Op.i64RemS : Op.i64RemU).op(Op.i32WrapI64);
      e.setRegister(EDX);
      f.get(quotient).op(Op.i32WrapI64);
      e.setRegister(EAX);
      // ZF, SF clear and PF clear: a positive result whose low byte, zero, has its parity inverted.
      f.constant(0x100).get(aux);
      e.setStoredFlags();
      for (const local of [dividend, divisor, quotient]) f.release(I64, local);
    };
  };
}

// Bits.

/** BT, BTS, BTR and BTC of a register by a constant or a register: CF alone changes. */
const bt: Chooser = (instruction) => {
  if (instruction.isMemory || instruction.operandSize !== 32) return undefined;
  const [, index] = instruction.row.operands;
  const { variant } = instruction.row;
  return (e) => {
    const { f } = e;
    const bit = e.temporary(), aux = e.temporary(), mask = e.temporary();
    if (index[0] === "I") f.constant(instruction.immediate & 31);
    else f.get(e.register(instruction.reg)).constant(31).op(Op.i32And);
    f.set(bit).constant(1).get(bit).op(Op.i32Shl).set(mask);
    e.pushAux();
    f.set(aux);
    const result = e.flags.result;
    // A CF that changes takes bit 30, CF xor OF, with it, so that OF stays.
    f.get(result).get(aux);
    f.get(e.register(instruction.rm)).get(bit).op(Op.i32ShrU).constant(1).op(Op.i32And);
    f.get(aux).constant(31).op(Op.i32ShrU).op(Op.i32Xor).constant(0).op(Op.i32Ne);
    f.constant(0xc0000000 | 0).op(Op.i32Mul).op(Op.i32Xor);
    e.setStoredFlags();
    if (variant === 0) return;
    f.get(e.register(instruction.rm)).get(mask);
    if (variant === 1) f.op(Op.i32Or);
    else if (variant === 2) f.constant(-1).op(Op.i32Xor).op(Op.i32And);
    else f.op(Op.i32Xor);
    e.setRegister(instruction.rm);
  };
};

// Stack.

/** Pushes the value that `pushValue` leaves on the WebAssembly stack. ESP moves last. */
export function emitPush(e: Emitter, pushValue: () => void): void {
  const { f } = e;
  const pointer = e.temporary(), machine = e.temporary(), value = e.temporary();
  pushValue();
  f.set(value).get(e.register(ESP)).constant(4).op(Op.i32Sub).tee(pointer);
  e.translate(32, true);
  f.tee(machine).get(value);
  e.store(32);
  f.get(pointer);
  e.setRegister(ESP);
}

/** Pops a value into a new temporary and returns it; ESP has moved. */
export function emitPop(e: Emitter): number {
  const { f } = e;
  const value = e.temporary();
  f.get(e.register(ESP));
  e.translate(32, false);
  e.load(32);
  f.set(value).get(e.register(ESP)).constant(4).op(Op.i32Add);
  e.setRegister(ESP);
  return value;
}

const push: Chooser = (instruction) => {
  if (instruction.operandSize !== 32) return undefined;
  const [operand] = instruction.row.operands;
  return (e) => emitPush(e, () => pushSource(e, instruction, operand));
};

const pop: Chooser = (instruction) => {
  if (instruction.operandSize !== 32 || instruction.isMemory) return undefined;
  const register = registerOf(instruction, instruction.row.operands[0]);
  return (e) => {
    const value = emitPop(e);
    e.f.get(value);
    e.setRegister(register);
  };
};

const leave: Chooser = (instruction) => {
  if (instruction.operandSize !== 32) return undefined;
  return (e) => {
    const { f } = e;
    const frame = e.temporary();
    f.get(e.register(EBP)).tee(frame);
    e.translate(32, false);
    e.load(32);
    e.setRegister(EBP);
    f.get(frame).constant(4).op(Op.i32Add);
    e.setRegister(ESP);
  };
};

/** CLC and STC: OF stays while CF changes. */
function carry(set: boolean): Chooser {
  return () => (e) => {
    const { f } = e;
    const aux = e.temporary();
    f.get(e.flags.result);
    e.pushAux();
    f.tee(aux).get(aux).constant(31).op(Op.i32ShrU);
    if (set) f.op(Op.i32Eqz);
    f.constant(0xc0000000 | 0).op(Op.i32Mul).op(Op.i32Xor);
    e.setStoredFlags();
  };
}

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
  shift,
  imul,
  mul: multiply(false),
  imul1: multiply(true),
  div: divide(false),
  idiv: divide(true),
  bt,
  push,
  pop,
  leave,
  clc: carry(false),
  stc: carry(true),
  nop: () => () => {},
};
