// What cold code (interpreter.ts) computes beside the ALU: conditions, products, quotients, shifts, bits, with their status flags
// as the interpreter proper has them (x86/interpreter; undefined flags too). Operations are made of these (operations.ts).

import { EAX, ECX, EDX, state as S } from "../../x86/mod.ts";
import { Access, MACHINE, Op } from "../wasm.ts";
import { AUX_AF, AUX_CF_OF, AUX_CF_XOR_OF } from "./alu.ts";
import type { ColdInterpreter } from "./interpreter.ts";

export type Arithmetic = ReturnType<typeof arithmetic>;

const S_AUX = S.FLAG_AUX * 4, S_RESULT = S.FLAG_RESULT * 4;

/** Each emits its code; those that have the last word of an instruction end by going to the label `done`. */
export function arithmetic(cold: ColdInterpreter) {
  const f = cold.body, { v, labels } = cold;
  const { opcode, reg, place, operation, left, right, narrow, value, other } = v;
  const done = () => f.br(labels.done);
  const loadPlace = () => f.get(place).memory(Access.i32Load, MACHINE, 0);
  const aux = () => cold.word(S_AUX), result = () => cold.word(S_RESULT);
  const setAux = (push: () => void) => cold.setState(S.FLAG_AUX, push);
  const setResult = (push: () => void) => cold.setState(S.FLAG_RESULT, push);
  // Each pushes a status flag as 0 or 1.
  const sign = () => {
    result().constant(31).op(Op.i32ShrU);
    aux().op(Op.i32Xor).constant(1).op(Op.i32And);
  };
  const overflow = () => {
    aux().constant(31).op(Op.i32ShrU);
    aux().constant(30).op(Op.i32ShrU).op(Op.i32Xor).constant(1).op(Op.i32And);
  };
  const carry = () => aux().constant(31).op(Op.i32ShrU);
  const zero = () => result().op(Op.i32Eqz);
  const parity = () => {
    result().constant(0xff).op(Op.i32And).op(Op.i32Popcnt);
    aux().constant(1).op(Op.i32ShrU).op(Op.i32Xor).constant(1).op(Op.i32And).op(Op.i32Eqz);
  };
  /** Pushes whether the condition in the opcode's low digit holds. */
  const condition = () => {
    const less = () => {
      sign();
      overflow();
      f.op(Op.i32Xor);
    };
    const tests = [
      overflow,
      carry,
      zero,
      () => {
        carry();
        zero().op(Op.i32Or);
      },
      sign,
      parity,
      less,
      () => {
        less();
        zero().op(Op.i32Or);
      },
    ];
    const all = f.block(0x7f);
    const blocks = tests.map(() => f.block()).reverse();
    f.get(opcode).constant(1).op(Op.i32ShrU).constant(7).op(Op.i32And).brTable(blocks, blocks[0]);
    for (const test of tests) {
      f.end();
      test();
      f.br(all);
    }
    f.end();
    f.get(opcode).constant(1).op(Op.i32And).op(Op.i32Xor);
  };

  /** CF and OF of a product: both where the upper half is significant, which is on the stack as 0 or 1; other flags stay. */
  const productFlags = () => {
    f.set(other);
    setAux(() => {
      aux().constant(~AUX_CF_OF).op(Op.i32And);
      f.get(other).constant(31).op(Op.i32Shl).op(Op.i32Or);
    });
  };
  /** The register of `reg` becomes the product of the operand and what `push` pushes. */
  const product = (push: () => void) => {
    loadPlace().op(Op.i64ExtendI32S);
    push();
    f.op(Op.i64ExtendI32S).op(Op.i64Mul).set(cold.wide);
    f.get(cold.wide).op(Op.i32WrapI64).tee(value).op(Op.i64ExtendI32S).get(cold.wide).op(Op.i64Ne);
    productFlags();
    f.get(value);
    cold.setRegisterOf(reg);
    done();
  };
  const wideProduct = (extend: number, isSigned: boolean) => () => {
    cold.register(EAX).op(extend);
    loadPlace().op(extend).op(Op.i64Mul).set(cold.wide);
    const low = () => f.get(cold.wide).op(Op.i32WrapI64);
    const high = () => f.get(cold.wide).constant64(32).op(Op.i64ShrU).op(Op.i32WrapI64);
    cold.setState(EAX, low);
    cold.setState(EDX, high);
    high();
    if (isSigned) low().constant(31).op(Op.i32ShrS).op(Op.i32Ne);
    else f.constant(0).op(Op.i32Ne);
    productFlags();
    done();
  };
  /** Quotient and remainder of EDX:EAX, where they are sure to fit; what does not is the interpreter's. */
  const quotient = (isSigned: boolean) => () => {
    const extend = isSigned ? Op.i64ExtendI32S : Op.i64ExtendI32U;
    loadPlace().set(other);
    if (isSigned) {
      // A divisor of -1 may overflow 64 bits; one of 0 faults.
      f.get(other).constant(1).op(Op.i32Add).constant(2).op(Op.i32LtU).brIf(labels.interpret);
    } else {
      cold.register(EDX).get(other).op(Op.i32GeU).brIf(labels.interpret);
    }
    cold.register(EDX).op(Op.i64ExtendI32U).constant64(32).op(Op.i64Shl);
    cold.register(EAX).op(Op.i64ExtendI32U).op(Op.i64Or).set(cold.wide);
    f.get(cold.wide).get(other).op(extend).op(isSigned ? Op.i64DivS : Op.i64DivU).set(cold.wider);
    if (isSigned) {
      f.get(cold.wider).op(Op.i32WrapI64).op(Op.i64ExtendI32S).get(cold.wider).op(Op.i64Ne).brIf(labels.interpret);
    }
    cold.setState(EDX, () => {
      f.get(cold.wide).get(cold.wider).get(other).op(extend).op(Op.i64Mul).op(Op.i64Sub).op(Op.i32WrapI64);
    });
    cold.setState(EAX, () => f.get(cold.wider).op(Op.i32WrapI64));
    setResult(() => f.constant(1));
    setAux(() => aux().constant(AUX_CF_OF).op(Op.i32And).constant(AUX_AF).op(Op.i32Or));
    done();
  };

  /** Shifts and rotations of an operand of 32 bits less `narrow` by the count on the stack, from 0 to 31. */
  const shift = () => {
    const count = other, carryOut = right;
    const width = () => f.constant(32).get(narrow).op(Op.i32Sub);
    f.constant(31).op(Op.i32And).tee(count).op(Op.i32Eqz).brIf(labels.done);
    loadPlace().constant(-1).get(narrow).op(Op.i32ShrU).op(Op.i32And).set(left);
    /** Pushes a bit of the result, counted from its sign down. */
    const bitBelowSign = (distance: number) => {
      f.get(value).constant(31 - distance).get(narrow).op(Op.i32Sub).op(Op.i32ShrU).constant(1).op(Op.i32And);
    };
    const top = () => bitBelowSign(0), second = () => bitBelowSign(1);
    /** FLAG_AUX of CF in `carryOut` and what `cfXorOf` pushes, 0 or 1. */
    const carries = (cfXorOf: () => void) => {
      f.get(carryOut).constant(31).op(Op.i32Shl);
      cfXorOf();
      f.constant(30).op(Op.i32Shl).op(Op.i32Or);
    };
    const shifted = (cfXorOf: () => void) => {
      setAux(() => {
        carries(cfXorOf);
        f.constant(AUX_AF).op(Op.i32Or);
      });
      setResult(() => f.get(value).get(narrow).op(Op.i32Shl).get(narrow).op(Op.i32ShrS));
    };
    const rotated = (cf: () => void, cfXorOf: () => void) => {
      cf();
      f.set(carryOut);
      setAux(() => {
        carries(cfXorOf);
        aux().constant(~AUX_CF_OF).op(Op.i32And).op(Op.i32Or);
      });
    };
    /** The last bit that a shift to the right of what is on the stack has moved out. */
    const lastOut = (shiftOp: number) => {
      f.get(count).constant(1).op(Op.i32Sub).op(shiftOp).constant(1).op(Op.i32And).set(carryOut);
    };
    /** Rotates by the count, modulo the width: one way and, by what is left of the width, the other. */
    const rotate = (one: number, otherWay: number) => {
      f.get(count);
      width().constant(1).op(Op.i32Sub).op(Op.i32And).set(count);
      f.get(left).get(count).op(one).get(left);
      width().get(count).op(Op.i32Sub).op(otherWay).op(Op.i32Or).set(value);
    };
    const cases: readonly (() => void)[] = [
      () => {
        rotate(Op.i32Shl, Op.i32ShrU);
        rotated(() => f.get(value).constant(1).op(Op.i32And), top);
      },
      () => {
        rotate(Op.i32ShrU, Op.i32Shl);
        rotated(top, second);
      },
      () => {
        f.get(left).op(Op.i64ExtendI32U).get(count).op(Op.i64ExtendI32U).op(Op.i64Shl).set(cold.wide);
        f.get(cold.wide).op(Op.i32WrapI64).set(value);
        f.get(cold.wide);
        width().op(Op.i64ExtendI32U).op(Op.i64ShrU).op(Op.i32WrapI64).constant(1).op(Op.i32And).set(carryOut);
        shifted(top);
      },
      () => {
        f.get(left).get(count).op(Op.i32ShrU).set(value).get(left);
        lastOut(Op.i32ShrU);
        shifted(() => {
          second();
          f.get(carryOut).op(Op.i32Xor);
        });
      },
      () => {
        f.get(left).get(narrow).op(Op.i32Shl).get(narrow).op(Op.i32ShrS).tee(left).get(count).op(Op.i32ShrS).set(value);
        f.get(left);
        lastOut(Op.i32ShrS);
        shifted(() => f.get(carryOut));
      },
    ];
    const [rol, ror, shl, shr, sar] = [0, 1, 2, 3, 4];
    const all = f.block();
    const blocks = cases.map(() => f.block()).reverse();
    const order = [rol, ror, shl, shl, shl, shr, shl, sar].map((which) => blocks[which]);
    f.get(reg).brTable(order, blocks[shl]);
    for (const emit of cases) {
      f.end();
      emit();
      f.br(all);
    }
    f.end();
    f.get(place).set(v.target).br(labels.put);
  };
  const cl = () => cold.register(ECX);

  /** SHLD or SHRD by the count on the stack. */
  const doubleShift = () => {
    const count = other, RIGHT = 8;
    const inverse = () => f.constant(32).get(count).op(Op.i32Sub);
    f.constant(31).op(Op.i32And).tee(count).op(Op.i32Eqz).brIf(labels.done);
    loadPlace().set(left);
    cold.registerOf(reg).set(right);
    f.get(opcode).constant(RIGHT).op(Op.i32And).if();
    f.get(left).get(count).op(Op.i32ShrU).get(right);
    inverse().op(Op.i32Shl).op(Op.i32Or).set(value);
    f.get(left).get(count).constant(1).op(Op.i32Sub).op(Op.i32ShrU).constant(1).op(Op.i32And).set(right);
    setAux(() => {
      f.get(right).constant(31).op(Op.i32Shl).get(right).get(value).constant(31).op(Op.i32ShrU).op(Op.i32Xor);
      f.get(value).constant(30).op(Op.i32ShrU).constant(1).op(Op.i32And).op(Op.i32Xor).constant(30).op(Op.i32Shl);
      f.op(Op.i32Or).constant(AUX_AF).op(Op.i32Or);
    });
    f.else();
    f.get(left).get(count).op(Op.i32Shl).get(right);
    inverse().op(Op.i32ShrU).op(Op.i32Or).set(value);
    setAux(() => {
      f.get(left);
      inverse().op(Op.i32ShrU).constant(31).op(Op.i32Shl);
      f.get(left).get(count).op(Op.i32Shl).constant(1).op(Op.i32ShrU).constant(AUX_CF_XOR_OF).op(Op.i32And);
      f.op(Op.i32Or).constant(AUX_AF).op(Op.i32Or);
    });
    f.end();
    setResult(() => f.get(value));
    f.get(place).get(value).memory(Access.i32Store, MACHINE, 0);
    done();
  };

  /** BT, BTS, BTR, BTC, by their numbers in `operation`, on the operand, with the bit's number on the stack. */
  const testBit = () => {
    const BTS = 1, BTR = 2, mask = right;
    f.constant(31).op(Op.i32And).set(other);
    loadPlace().set(left);
    f.constant(1).get(other).op(Op.i32Shl).set(mask);
    // CF changes together with CF xor OF, so that OF stays.
    setAux(() => {
      aux().constant(AUX_CF_OF).constant(0);
      aux().constant(31).op(Op.i32ShrU).get(left).get(other).op(Op.i32ShrU).op(Op.i32Xor).constant(1).op(Op.i32And);
      f.op(Op.select).op(Op.i32Xor);
    });
    f.get(operation).op(Op.i32Eqz).brIf(labels.done);
    f.get(place);
    f.get(left).get(mask).op(Op.i32Or);
    f.get(left).get(mask).constant(-1).op(Op.i32Xor).op(Op.i32And).get(left).get(mask).op(Op.i32Xor);
    f.get(operation).constant(BTR).op(Op.i32Eq).op(Op.select);
    f.get(operation).constant(BTS).op(Op.i32Eq).op(Op.select);
    f.memory(Access.i32Store, MACHINE, 0);
    done();
  };
  /** BSF and BSR: with a source of zero the destination stays. */
  const scan = (pushIndex: () => void) => () => {
    loadPlace().set(left);
    setAux(() => f.constant(0));
    f.get(left).op(Op.i32Eqz).if();
    setResult(() => f.constant(0));
    f.else();
    pushIndex();
    f.set(value);
    setResult(() => f.get(value).constant(0x100).op(Op.i32Or));
    f.get(value);
    cold.setRegisterOf(reg);
    f.end();
    done();
  };

  /** Sets ZF to `value`, 0 or 1, and leaves the other five. */
  const setZero = () => {
    const INVERTS_PF = 2, INVERTS_EITHER = 3, NOT_ZERO = 0x100;
    f.get(value).if();
    setAux(() => {
      aux().constant(~INVERTS_EITHER).op(Op.i32And);
      sign();
      f.op(Op.i32Or);
      parity();
      f.op(Op.i32Eqz).constant(INVERTS_PF).op(Op.i32Mul).op(Op.i32Or);
    });
    setResult(() => f.constant(0));
    f.else();
    // A result of zero has been told its sign and parity already.
    zero().if();
    setResult(() => f.constant(NOT_ZERO));
    f.end().end();
    done();
  };

  return {
    ...{ aux, sign, overflow, carry, zero, parity, condition },
    ...{ product, wideProduct, quotient, shift, cl, doubleShift, testBit, scan, setZero },
  };
}
