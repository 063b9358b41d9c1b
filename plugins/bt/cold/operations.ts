// The handlers of cold code (interpreter.ts): results and status flags as the interpreter proper computes them
// (x86/interpreter; undefined flags too). Each ends by going to a label: the ALU, done, jumped, or left to the interpreter.

import { DF, EAX, EBP, EBX, ECX, EDX, ESP, IF, RF, state as S, VM } from "../../x86/mod.ts";
import * as L from "../layout.ts";
import { Access, HYPERVISOR, MACHINE, Op } from "../wasm.ts";
import { ADD, AUX_AF, BYTE_SHIFT, CMP, DEC, INC, SHIFT_16, SUB, TEST } from "./alu.ts";
import { arithmetic } from "./arithmetic.ts";
import { type HandlerName, TWO_BYTE_MAP } from "./forms.ts";
import type { ColdInterpreter } from "./interpreter.ts";
import { strings } from "./strings.ts";

type Prefix = "twoByte" | "segmentPrefix" | "idlePrefix" | "operandSizePrefix" | "repeatPrefix" | "lockPrefix";
type Operation = Exclude<HandlerName, "unknown" | Prefix>;

const S_OTHER = S.FLAGS_OTHER * 4, S_CPL = S.CPL * 4;

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
  const narrowFromOpcode = () => {
    f.constant(0).constant(BYTE_SHIFT);
    isWide().op(Op.select).set(narrow);
  };
  /** Loads the operand's place, or the register of `reg`, by the opcode's size. */
  const operand = (to: number) => {
    isWide().if();
    loadPlace().set(to);
    f.else();
    loadPlace8().set(to).end();
  };
  const registerPlaceBySize = () => {
    isWide().if();
    cold.registerPlace(reg).set(other);
    f.else();
    cold.registerPlace8(reg).set(other).end();
  };
  const registerBySize = (to: number) => {
    isWide().if();
    cold.registerOf(reg).set(to);
    f.else();
    cold.registerPlace8(reg).memory(Access.i32Load8U, MACHINE, 0).set(to).end();
  };
  const register16 = (to: number) => cold.registerOf(reg).constant(0xffff).op(Op.i32And).set(to);
  const aluOfOpcode = () => {
    f.get(opcode).constant(3).op(Op.i32ShrU).constant(7).op(Op.i32And);
    alu();
  };
  const byteImmediate = () => {
    // Signs of 8-bit immediates are no part of 8-bit operands.
    f.get(immediate).get(immediate).constant(0xff).op(Op.i32And);
    isWide().op(Op.select);
  };

  const jumpTo = () => f.constant(1).set(v.isEntry).br(labels.jumped);
  /** Pushes the word on the stack onto the guest's. */
  const pushWord = () => {
    f.set(value);
    cold.register(ESP).constant(4).op(Op.i32Sub).set(address);
    cold.translateWord(address, true);
    f.get(value).memory(Access.i32Store, MACHINE, 0);
    cold.setState(ESP, () => f.get(address));
  };
  /** Pushes the word that the guest's stack pointer, in `address` afterwards, points to. */
  const topWord = () => {
    cold.register(ESP).set(address);
    cold.translateWord(address, false);
    f.memory(Access.i32Load, MACHINE, 0);
  };
  const emit = arithmetic(cold);
  const { aux, sign, overflow, carry, zero, parity, condition } = emit;
  const { product, wideProduct, quotient, shift, cl, doubleShift, testBit, scan, setZero } = emit;

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
      registerPlaceBySize();
      f.get(other).set(target);
      aluOfOpcode();
    },
    aluToAccumulator: () => {
      narrowFromOpcode();
      f.constant(EAX).set(reg);
      registerBySize(left);
      registerPlaceBySize();
      f.get(other).set(target);
      byteImmediate();
      f.set(right);
      aluOfOpcode();
    },
    aluImmediate: () => {
      narrowFromOpcode();
      operand(left);
      byteImmediate();
      f.set(right).get(place).set(target).get(reg);
      alu();
    },
    aluToOperand16: () => {
      f.constant(SHIFT_16).set(narrow);
      loadPlace16().set(left);
      register16(right);
      f.get(place).set(target);
      aluOfOpcode();
    },
    aluToRegister16: () => {
      f.constant(SHIFT_16).set(narrow);
      loadPlace16().set(right);
      register16(left);
      cold.registerPlace(reg).set(target);
      aluOfOpcode();
    },
    aluToAccumulator16: () => {
      f.constant(SHIFT_16).set(narrow).constant(EAX).set(reg);
      register16(left);
      cold.registerPlace(reg).set(target);
      f.get(immediate).constant(0xffff).op(Op.i32And).set(right);
      aluOfOpcode();
    },
    aluImmediate16: () => {
      f.constant(SHIFT_16).set(narrow);
      loadPlace16().set(left);
      f.get(immediate).constant(0xffff).op(Op.i32And).set(right).get(place).set(target).get(reg);
      alu();
    },
    test16: () => {
      f.constant(SHIFT_16).set(narrow);
      loadPlace16().set(left);
      register16(right);
      f.constant(TEST);
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
    // Nothing asks for attention while this runs, and with IF clear nothing can begin to.
    clearInterrupts: () => {
      cold.word(S_CPL).brIf(labels.interpret);
      cold.setState(S.FLAGS_OTHER, () => cold.word(S_OTHER).constant(~IF).op(Op.i32And));
      done();
    },
    // While nothing is pending nobody can see the shadow but by leaving before the next instruction is complete.
    setInterrupts: () => {
      cold.word(S_CPL).brIf(labels.interpret);
      cold.word(S_OTHER).constant(IF).op(Op.i32And).brIf(labels.done);
      cold.word(L.STATE + S.PENDING * 4).brIf(labels.interpret);
      cold.setState(S.FLAGS_OTHER, () => cold.word(S_OTHER).constant(IF).op(Op.i32Or));
      cold.beginShadow();
      done();
    },
    // Cycles when the budget will be used up, less what is left of it, and the offset.
    readTimeStamp: () => {
      cold.word(L.STATE + S.CR4 * 4).constant(S.CR4_TSD).op(Op.i32And).brIf(labels.interpret);
      f.constant(0).memory(Access.f64Load, HYPERVISOR, L.END_CYCLES).op(Op.i64TruncF64S);
      cold.budget().op(Op.i64ExtendI32S).op(Op.i64Sub);
      f.constant(0).memory(Access.i64Load, HYPERVISOR, L.STATE + S.TSC_OFFSET_LOW * 4).op(Op.i64Add).set(cold.wide);
      cold.setState(EAX, () => f.get(cold.wide).op(Op.i32WrapI64));
      cold.setState(EDX, () => f.get(cold.wide).constant64(32).op(Op.i64ShrU).op(Op.i32WrapI64));
      done();
    },
    // LFENCE, MFENCE and SFENCE, which no prefix may come before.
    fence: () => {
      const BYTES = 3;
      f.get(v.mod).constant(3).op(Op.i32Ne);
      cold.nextEip().get(v.eip).op(Op.i32Sub).constant(BYTES).op(Op.i32Ne).op(Op.i32Or).brIf(labels.interpret);
      done();
    },
    // Flat 32-bit code is never in V86 mode.
    pushFlags: () => {
      const [PF_SHIFT, AF_SHIFT, ZF_SHIFT, SF_SHIFT, OF_SHIFT] = [2, 1, 6, 7, 11];
      const add = (push: () => void, by: number) => {
        push();
        f.constant(by).op(Op.i32Shl).op(Op.i32Or);
      };
      carry();
      add(parity, PF_SHIFT);
      add(() => aux().constant(AUX_AF).op(Op.i32And), AF_SHIFT);
      add(zero, ZF_SHIFT);
      add(sign, SF_SHIFT);
      add(overflow, OF_SHIFT);
      cold.word(S_OTHER).op(Op.i32Or).constant(~(RF | VM)).op(Op.i32And);
      pushWord();
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
      byteImmediate();
      f.set(right).constant(TEST);
      alu();
    },
    testImmediate: () => {
      narrowFromOpcode();
      operand(left);
      byteImmediate();
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
      registerBySize(value);
      isWide().if();
      f.get(place).get(value).memory(Access.i32Store, MACHINE, 0);
      f.else();
      f.get(place).get(value).memory(Access.i32Store8, MACHINE, 0).end();
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
      pushWord();
      done();
    },
    popRegister: () => {
      topWord();
      f.set(value);
      cold.setState(ESP, () => f.get(address).constant(4).op(Op.i32Add));
      toLowRegister(() => f.get(value));
    },
    pushImmediate: () => {
      f.get(immediate);
      pushWord();
      done();
    },
    pushOperand: () => {
      loadPlace();
      pushWord();
      done();
    },
    call: () => {
      cold.nextEip();
      pushWord();
      cold.nextEip().get(immediate).op(Op.i32Add).set(next);
      jumpTo();
    },
    callOperand: () => {
      loadPlace().set(next);
      cold.nextEip();
      pushWord();
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
      topWord();
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
      f.get(immediate);
      shift();
    },
    shiftByOne: () => {
      f.constant(1);
      shift();
    },
    shiftByCl: () => {
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
      registerPlaceBySize();
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
