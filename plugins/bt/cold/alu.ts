// The ALU of cold code (interpreter.ts): results and status flags as the interpreter proper computes them, one code for 8, 16
// and 32 bits (x86/interpreter/arithmetic.ts).

import { state as S } from "../../x86/mod.ts";
import { Access, MACHINE, Op } from "../wasm.ts";
import type { ColdInterpreter } from "./interpreter.ts";

/** Operations of the ALU: those of the opcodes, then TEST, INC, DEC. CMP and TEST keep no result. */
export const ADD = 0, CMP = 7, TEST = 8, INC = 9, DEC = 10, SUB = 5;
/** FLAG_AUX: CF, CF xor OF, AF (x86/state.ts). */
export const AUX_CF = 1 << 31, AUX_CF_XOR_OF = 1 << 30, AUX_CF_OF = AUX_CF | AUX_CF_XOR_OF, AUX_AF = 8;
const S_AUX = S.FLAG_AUX * 4;
/** By how much an operand of 16 bits, or of 8, has to be shifted to be 32 bits wide. */
export const SHIFT_16 = 16, BYTE_SHIFT = 24;

export class Alu {
  constructor(readonly cold: ColdInterpreter) {}

  /** The operation in `operation` on `left` and `right`: its result, in `value`, is to be put to its place. */
  emit(): void {
    const { cold } = this, f = cold.body;
    const { operation, left, right, value, narrow } = cold.v;
    const flags = f.block();
    const subtraction = f.block(), addition = f.block(), logic = f.block(), step = f.block();
    const labels = [0, 1, 2, 3, 4, 5, 6, 7, 8].map(() => f.block()).reverse();
    f.get(operation).brTable(labels, step);
    const carry = () => cold.word(S_AUX).constant(31).op(Op.i32ShrU);
    const arm = (compute: () => void, next: number) => {
      f.end();
      compute();
      f.set(value).br(next);
    };
    const both = (opcode: number) => () => f.get(left).get(right).op(opcode);
    arm(both(Op.i32Add), addition);
    arm(both(Op.i32Or), logic);
    arm(() => {
      both(Op.i32Add)();
      carry().op(Op.i32Add);
    }, addition);
    arm(() => {
      both(Op.i32Sub)();
      carry().op(Op.i32Sub);
    }, subtraction);
    arm(both(Op.i32And), logic);
    arm(both(Op.i32Sub), subtraction);
    arm(both(Op.i32Xor), logic);
    arm(both(Op.i32Sub), subtraction);
    arm(both(Op.i32And), logic);
    f.end();
    this.#step();
    f.br(flags);
    f.end();
    cold.setState(S.FLAG_AUX, () => f.constant(0));
    f.br(flags);
    f.end();
    // A bit's carry out: both addends have it, or one has and the sum has not.
    this.#carries(() => f.get(left));
    f.br(flags);
    f.end();
    this.#carries(() => f.get(left).constant(-1).op(Op.i32Xor), true);
    f.end();
    cold.setState(S.FLAG_RESULT, () => f.get(value).get(narrow).op(Op.i32Shl).get(narrow).op(Op.i32ShrS));
    f.get(operation).constant(CMP).op(Op.i32Eq).get(operation).constant(TEST).op(Op.i32Eq).op(Op.i32Or);
    f.brIf(cold.labels.done);
  }

  /** Puts the result, `value`, to its place, `target`. */
  put(): void {
    const { cold } = this, f = cold.body;
    const { value, narrow, target } = cold.v;
    f.get(narrow).op(Op.i32Eqz).if();
    f.get(target).get(value).memory(Access.i32Store, MACHINE, 0);
    f.else();
    f.get(narrow).constant(SHIFT_16).op(Op.i32Eq).if();
    f.get(target).get(value).memory(Access.i32Store16, MACHINE, 0);
    f.else();
    f.get(target).get(value).memory(Access.i32Store8, MACHINE, 0).end().end();
  }

  /** FLAG_AUX of an addition, or of a subtraction where `push` pushes the minuend's complement. */
  #carries(push: () => void, isSubtraction = false): void {
    const { cold } = this, f = cold.body, { right, value, narrow, other } = cold.v;
    push();
    f.get(right).op(Op.i32And);
    push();
    f.get(right).op(Op.i32Or).get(value);
    if (!isSubtraction) f.constant(-1).op(Op.i32Xor);
    f.op(Op.i32And).op(Op.i32Or).set(other);
    cold.setState(S.FLAG_AUX, () => {
      f.get(other).get(narrow).op(Op.i32Shl).constant(AUX_CF_OF).op(Op.i32And);
      f.get(other).constant(AUX_AF).op(Op.i32And).op(Op.i32Or);
    });
  }

  /** INC and DEC, which leave CF: OF at the least or greatest number, AF from the low digit. */
  #step(): void {
    const { cold } = this, f = cold.body, { operation, left, value, narrow, other } = cold.v;
    const isInc = () => f.get(operation).constant(INC).op(Op.i32Eq);
    const pick = (inc: () => void, dec: () => void) => {
      inc();
      dec();
      isInc().op(Op.select);
    };
    const least = () => f.constant(AUX_CF).get(narrow).op(Op.i32ShrS);
    f.get(left);
    pick(() => f.constant(1), () => f.constant(-1));
    f.op(Op.i32Add).get(narrow).op(Op.i32Shl).get(narrow).op(Op.i32ShrS).set(value);
    cold.word(S_AUX).constant(AUX_CF).op(Op.i32And).set(other);
    cold.setState(S.FLAG_AUX, () => {
      f.get(other).get(other).constant(1).op(Op.i32ShrU).get(value);
      pick(least, () => {
        least().constant(-1).op(Op.i32Xor);
      });
      f.op(Op.i32Eq).constant(30).op(Op.i32Shl).op(Op.i32Xor).op(Op.i32Or);
      f.get(value).constant(15).op(Op.i32And);
      pick(() => f.constant(0), () => f.constant(15));
      f.op(Op.i32Eq).constant(3).op(Op.i32Shl).op(Op.i32Or);
    });
  }
}
