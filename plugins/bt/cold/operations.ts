// The handlers of cold code (interpreter.ts): results and status flags as the interpreter proper computes them
// (x86/interpreter; undefined flags too). Each ends by going to a label: the ALU, done, jumped, or left to the interpreter.

import { DF, EAX, EBP, EBX, ECX, EDX, ESP, state as S } from "../../x86/mod.ts";
import * as L from "../layout.ts";
import { Access, HYPERVISOR, MACHINE, Op } from "../wasm.ts";
import { ADD, BYTE_SHIFT, CMP, DEC, INC, SHIFT_16, SUB, TEST } from "./alu.ts";
import { arithmetic } from "./arithmetic.ts";
import { type HandlerName, NARROW_MAP, TWO_BYTE_MAP } from "./forms.ts";
import type { ColdInterpreter } from "./interpreter.ts";
import { strings } from "./strings.ts";
import { system } from "./system.ts";

/** By how much the map of 16-bit operands, as a bit of an opcode, has to be shifted to be SHIFT_16. */
const NARROW_TO_16 = Math.log2(NARROW_MAP / SHIFT_16);

type Prefix = "twoByte" | "segmentPrefix" | "idlePrefix" | "operandSizePrefix" | "repeatPrefix" | "lockPrefix";
type Operation = Exclude<HandlerName, "unknown" | Prefix>;

const S_OTHER = S.FLAGS_OTHER * 4;

/** The handlers by name: each emits its code. */
export function operations(cold: ColdInterpreter): Readonly<Record<Operation, () => void>> {
  const f = cold.body, { v, labels } = cold;
  const { opcode, reg, address, base, immediate, place, operation, left, right, target, narrow, value, other, next } =
    v;
  const done = () => f.br(labels.done);
  const loadPlace = () => f.get(place).memory(Access.i32Load, MACHINE, 0);
  const loadPlace8 = () => f.get(place).memory(Access.i32Load8U, MACHINE, 0);
  const loadPlace16 = () => f.get(place).memory(Access.i32Load16U, MACHINE, 0);
  /** Most opcodes that come in two sizes are odd for the larger one. */
  const isWide = () => f.get(opcode).constant(1).op(Op.i32And);
  const lowOpcode = () => f.get(opcode).constant(7).op(Op.i32And);

  /** Goes to the ALU with the operation that is on the stack; `operand` says where its left operand and its result are. */
  const alu = () => f.set(operation).br(labels.alu);
  /** Sets `narrow`: opcodes of the map of 16-bit operands are for half-words where they would be for words. */
  const narrowFromOpcode = () => {
    f.get(opcode).constant(NARROW_TO_16).op(Op.i32ShrU).constant(SHIFT_16).op(Op.i32And).constant(BYTE_SHIFT);
    isWide().op(Op.select).set(narrow);
  };
  /** Cuts the word on the stack to the operand's size. */
  const cut = () => f.constant(-1).get(narrow).op(Op.i32ShrU).op(Op.i32And);
  /** Loads the operand, or the register of `reg`, whose place is in `other` then, of the size that `narrow` says. */
  const operand = (to: number) => {
    loadPlace();
    cut().set(to);
  };
  const registerPlaceBySize = () => {
    isWide().if();
    cold.registerPlace(reg).set(other);
    f.else();
    cold.registerPlace8(reg).set(other).end();
  };
  const registerBySize = (to: number) => {
    registerPlaceBySize();
    f.get(other).memory(Access.i32Load, MACHINE, 0);
    cut().set(to);
  };
  const aluOfOpcode = () => {
    f.get(opcode).constant(3).op(Op.i32ShrU).constant(7).op(Op.i32And);
    alu();
  };
  /** Signs of immediates of a byte are no part of narrower operands. */
  const cutImmediate = () => {
    f.get(immediate);
    cut();
  };

  const jumpTo = () => f.constant(1).set(v.isEntry).br(labels.jumped);
  const emit = arithmetic(cold);
  const { condition, product, wideProduct, quotient, shift, cl, doubleShift, testBit, scan, setZero } = emit;

  const toRegister = (push: () => void) => () => {
    push();
    cold.setRegisterOf(reg);
    done();
  };
  const toLowRegister = (push: () => void) => {
    lowOpcode().set(reg);
    push();
    cold.setRegisterOf(reg);
    done();
  };

  return {
    ...strings(cold),
    ...system(cold, emit),
    aluToOperand: () => {
      narrowFromOpcode();
      operand(left);
      registerBySize(right);
      f.get(place).set(target);
      aluOfOpcode();
    },
    aluToRegister: () => {
      narrowFromOpcode();
      operand(right);
      registerBySize(left);
      f.get(other).set(target);
      aluOfOpcode();
    },
    aluToAccumulator: () => {
      narrowFromOpcode();
      f.constant(EAX).set(reg);
      registerBySize(left);
      f.get(other).set(target);
      cutImmediate();
      f.set(right);
      aluOfOpcode();
    },
    aluImmediate: () => {
      narrowFromOpcode();
      operand(left);
      cutImmediate();
      f.set(right).get(place).set(target).get(reg);
      alu();
    },
    store16: () => {
      f.get(place);
      cold.registerOf(reg).memory(Access.i32Store16, MACHINE, 0);
      done();
    },
    load16: () => {
      cold.registerPlace(reg);
      loadPlace16().memory(Access.i32Store16, MACHINE, 0);
      done();
    },
    clearDirection: () => {
      cold.setState(S.FLAGS_OTHER, () => cold.word(S_OTHER).constant(~DF).op(Op.i32And));
      done();
    },
    // LFENCE, MFENCE and SFENCE, which no prefix may come before.
    fence: () => {
      const BYTES = 3;
      f.get(v.mod).constant(3).op(Op.i32Ne);
      cold.nextEip().get(v.eip).op(Op.i32Sub).constant(BYTES).op(Op.i32Ne).op(Op.i32Or).brIf(labels.interpret);
      done();
    },
    test: () => {
      narrowFromOpcode();
      operand(left);
      registerBySize(right);
      f.constant(TEST);
      alu();
    },
    testAccumulator: () => {
      narrowFromOpcode();
      f.constant(EAX).set(reg);
      registerBySize(left);
      cutImmediate();
      f.set(right).constant(TEST);
      alu();
    },
    testImmediate: () => {
      narrowFromOpcode();
      operand(left);
      cutImmediate();
      f.set(right).constant(TEST);
      alu();
    },
    step: () => {
      narrowFromOpcode();
      operand(left);
      f.get(place).set(target).get(reg).constant(INC).op(Op.i32Add);
      alu();
    },
    stepRegister: () => {
      f.constant(0).set(narrow);
      lowOpcode().set(reg);
      cold.registerOf(reg).set(left);
      cold.registerPlace(reg).set(target);
      f.constant(DEC).constant(INC).get(opcode).constant(8).op(Op.i32And).op(Op.select);
      alu();
    },
    not: () => {
      f.get(place);
      loadPlace().constant(-1).op(Op.i32Xor).memory(Access.i32Store, MACHINE, 0);
      done();
    },
    negate: () => {
      f.constant(0).tee(narrow).set(left);
      loadPlace().set(right);
      f.get(place).set(target).constant(SUB);
      alu();
    },
    store: () => {
      isWide().if();
      f.get(place);
      cold.registerOf(reg).memory(Access.i32Store, MACHINE, 0);
      f.else();
      f.get(place);
      cold.registerPlace8(reg).memory(Access.i32Load8U, MACHINE, 0).memory(Access.i32Store8, MACHINE, 0).end();
      done();
    },
    load: () => {
      isWide().if();
      loadPlace();
      cold.setRegisterOf(reg);
      f.else();
      cold.registerPlace8(reg);
      loadPlace8().memory(Access.i32Store8, MACHINE, 0).end();
      done();
    },
    storeImmediate16: () => {
      f.get(place).get(immediate).memory(Access.i32Store16, MACHINE, 0);
      done();
    },
    storeImmediate: () => {
      isWide().if();
      f.get(place).get(immediate).memory(Access.i32Store, MACHINE, 0);
      f.else();
      f.get(place).get(immediate).memory(Access.i32Store8, MACHINE, 0).end();
      done();
    },
    loadImmediate: () => toLowRegister(() => f.get(immediate)),
    loadImmediate8: () => {
      lowOpcode().set(reg);
      cold.registerPlace8(reg).get(immediate).memory(Access.i32Store8, MACHINE, 0);
      done();
    },
    lea: () => {
      f.get(v.mod).constant(3).op(Op.i32Eq).brIf(labels.interpret);
      // The segment's base is no part of it.
      f.get(address).get(base).op(Op.i32Sub);
      cold.setRegisterOf(reg);
      done();
    },
    pushRegister: () => {
      lowOpcode().set(reg);
      cold.registerOf(reg);
      cold.pushWord();
      done();
    },
    popRegister: () => {
      cold.topWord();
      f.set(value);
      cold.setState(ESP, () => f.get(address).constant(4).op(Op.i32Add));
      toLowRegister(() => f.get(value));
    },
    pushImmediate: () => {
      f.get(immediate);
      cold.pushWord();
      done();
    },
    pushOperand: () => {
      loadPlace();
      cold.pushWord();
      done();
    },
    call: () => {
      cold.nextEip();
      cold.pushWord();
      cold.nextEip().get(immediate).op(Op.i32Add).set(next);
      jumpTo();
    },
    callOperand: () => {
      loadPlace().set(next);
      cold.nextEip();
      cold.pushWord();
      jumpTo();
    },
    jumpOperand: () => {
      loadPlace().set(next);
      jumpTo();
    },
    jump: () => {
      cold.nextEip().get(immediate).op(Op.i32Add).set(next);
      jumpTo();
    },
    jumpConditionally: () => {
      cold.nextEip().set(next);
      condition();
      f.if();
      f.get(next).get(immediate).op(Op.i32Add).set(next).end();
      jumpTo();
    },
    return: () => {
      cold.topWord();
      f.set(next);
      cold.setState(ESP, () => f.get(address).constant(4).op(Op.i32Add));
      jumpTo();
    },
    leave: () => {
      cold.register(EBP).set(address);
      cold.translateWord(address, false);
      f.memory(Access.i32Load, MACHINE, 0).set(value);
      cold.setState(ESP, () => f.get(address).constant(4).op(Op.i32Add));
      cold.setState(EBP, () => f.get(value));
      done();
    },
    nothing: done,
    exchangeAccumulator: () => {
      lowOpcode().set(reg);
      cold.registerOf(reg).set(value);
      cold.register(EAX);
      cold.setRegisterOf(reg);
      cold.setState(EAX, () => f.get(value));
      done();
    },
    cwde: () => {
      cold.setState(EAX, () => cold.register(EAX).op(Op.i32Extend16S));
      done();
    },
    cdq: () => {
      cold.setState(EDX, () => cold.register(EAX).constant(31).op(Op.i32ShrS));
      done();
    },
    multiplyImmediate: () => product(() => f.get(immediate)),
    multiply: () => product(() => cold.registerOf(reg)),
    shift: () => {
      narrowFromOpcode();
      f.get(immediate);
      shift();
    },
    shiftByOne: () => {
      narrowFromOpcode();
      f.constant(1);
      shift();
    },
    shiftByCl: () => {
      narrowFromOpcode();
      cl();
      shift();
    },
    doubleShift: () => {
      f.get(immediate);
      doubleShift();
    },
    doubleShiftByCl: () => {
      cl();
      doubleShift();
    },
    multiplyUnsigned: wideProduct(Op.i64ExtendI32U, false),
    multiplySigned: wideProduct(Op.i64ExtendI32S, true),
    divideUnsigned: quotient(false),
    divideSigned: quotient(true),
    extendZero: toRegister(() => {
      isWide().if(0x7f);
      loadPlace16().else();
      loadPlace8().end();
    }),
    extendSign8: toRegister(() => loadPlace8().op(Op.i32Extend8S)),
    extendSign16: toRegister(() => loadPlace16().op(Op.i32Extend16S)),
    setConditionally: () => {
      f.get(place);
      condition();
      f.memory(Access.i32Store8, MACHINE, 0);
      done();
    },
    moveConditionally: () => {
      condition();
      f.if();
      loadPlace();
      cold.setRegisterOf(reg).end();
      done();
    },
    swapBytes: () => {
      lowOpcode().set(reg);
      cold.registerOf(reg).set(value);
      f.get(value).constant(8).op(Op.i32Rotl).constant(0x00ff00ff).op(Op.i32And);
      f.get(value).constant(8).op(Op.i32Rotr).constant(0xff00ff00 | 0).op(Op.i32And).op(Op.i32Or);
      cold.setRegisterOf(reg);
      done();
    },
    testBit: () => {
      f.get(reg).constant(3).op(Op.i32And).set(operation).get(immediate);
      testBit();
    },
    testBitOfRegister: () => {
      const BT = 0xa3, isRegister = () => f.get(v.mod).constant(3).op(Op.i32Eq);
      isRegister().if();
      cold.registerPlace(v.rm).set(place);
      f.else();
      // The bit may lie beyond the operand, whose number is signed.
      f.get(address);
      cold.registerOf(reg).constant(5).op(Op.i32ShrS).constant(2).op(Op.i32Shl).op(Op.i32Add).set(address);
      const write = () => f.constant(8).constant(0).get(opcode).constant(TWO_BYTE_MAP | BT).op(Op.i32Ne).op(Op.select);
      cold.translate(address, () => f.constant(4), write, labels.interpret);
      f.set(place).end();
      f.get(opcode).constant(3).op(Op.i32ShrU).constant(3).op(Op.i32And).set(operation);
      cold.registerOf(reg);
      testBit();
    },
    scanForward: scan(() => f.get(left).op(Op.i32Ctz)),
    scanReverse: scan(() => f.constant(31).get(left).op(Op.i32Clz).op(Op.i32Sub)),
    exchange: () => {
      loadPlace().set(value);
      f.get(place);
      cold.registerOf(reg).memory(Access.i32Store, MACHINE, 0);
      f.get(value);
      cold.setRegisterOf(reg);
      done();
    },
    compareAndExchange: () => {
      narrowFromOpcode();
      operand(right);
      isWide().if();
      cold.register(EAX).tee(left).get(right).op(Op.i32Eq).if();
      f.get(place);
      cold.registerOf(reg).memory(Access.i32Store, MACHINE, 0);
      f.else();
      cold.setState(EAX, () => f.get(right));
      f.end();
      f.else();
      cold.register(EAX).constant(0xff).op(Op.i32And).tee(left).get(right).op(Op.i32Eq).if();
      f.get(place);
      cold.registerPlace8(reg).memory(Access.i32Load8U, MACHINE, 0).memory(Access.i32Store8, MACHINE, 0);
      f.else();
      f.constant(0).get(right).memory(Access.i32Store8, HYPERVISOR, L.STATE + EAX * 4);
      f.end().end();
      f.constant(CMP);
      alu();
    },
    exchangeAndAdd: () => {
      narrowFromOpcode();
      operand(left);
      registerBySize(right);
      // Where both operands are one register, the sum is written last.
      isWide().if();
      f.get(other).get(left).memory(Access.i32Store, MACHINE, 0);
      f.else();
      f.get(other).get(left).memory(Access.i32Store8, MACHINE, 0).end();
      f.get(place).set(target).constant(ADD);
      alu();
    },
    compareAndExchange8Bytes: () => {
      const LAST_OFFSET = 4088, PAGE_OFFSET = 4095, UPPER = 4;
      f.get(v.mod).constant(3).op(Op.i32Eq).brIf(labels.interpret);
      f.get(address).constant(PAGE_OFFSET).op(Op.i32And).constant(LAST_OFFSET).op(Op.i32GtU).brIf(labels.interpret);
      // The slow path has given it for four bytes.
      cold.hasMissed().brIf(labels.interpret);
      const upper = () => f.get(place).memory(Access.i32Load, MACHINE, UPPER);
      loadPlace().tee(left);
      cold.register(EAX).op(Op.i32Eq);
      upper().tee(right);
      cold.register(EDX).op(Op.i32Eq).op(Op.i32And).tee(value).if();
      f.get(place);
      cold.register(EBX).memory(Access.i32Store, MACHINE, 0).get(place);
      cold.register(ECX).memory(Access.i32Store, MACHINE, UPPER);
      f.else();
      cold.setState(EAX, () => f.get(left));
      cold.setState(EDX, () => f.get(right));
      f.end();
      setZero();
    },
  };
}
