// What status flags can come from where they are not computed yet, as a word that code and dispatcher share; and FLAG_AUX
// computed from it, once as WebAssembly for code that asks and once for the dispatcher, to which flags never stay lazy.

import { FunctionBody, I32, Op } from "../wasm.ts";

/**
 * Operations with operands `a` and `b` and a result, all sign-extended, which keeps both the signed and the unsigned order of
 * 8- and 16-bit numbers. LOGIC has no carries; INC and DEC keep in `a`, as 0 or 1, the carry that they leave; of the shifts
 * `b` is the count, from 1 to 31, and `a` is zero-extended but for SAR.
 */
const WORDS = { add: 1, sub: 2, logic: 3, inc: 4, dec: 5, shl: 8, shr: 9, sar: 10 } as const;
export type FlagKind = keyof typeof WORDS;

/** The word where FLAG_AUX is computed already. */
export const STORED_WORD = 0;
export const KIND_MASK = 15;
const SHIFT_PLACE = 8;
/** What the word says of a subtraction or comparison. */
export const SUB_WORD = WORDS.sub;
/** A bit that INC and DEC alone have. */
export const STEP_BIT = 4;

/** The word: the kind's number, and how far its operands must be shifted to the left to be 32 bits wide. */
export function flagWord(kind: FlagKind, bits: 8 | 16 | 32): number {
  return WORDS[kind] | ((32 - bits) << SHIFT_PLACE);
}

/** CF in bit 31, CF xor OF in bit 30, AF in bit 3. */
const AUX_CARRIES = 0xc0000000 | 0, AUX_AF = 8;

/** FLAG_AUX of an operation. `a`, `b`, `result` as in `FlagState`; where it is stored already, `a` is it. */
export function auxOf(word: number, a: number, b: number, result: number): number {
  const kind = word & KIND_MASK, shift = word >>> SHIFT_PLACE;
  if (kind === STORED_WORD) return a;
  if (kind === WORDS.logic) return 0;
  if ((kind & STEP_BIT) !== 0) {
    const least = 0x80000000 >> shift;
    const overflows = result === (kind === WORDS.inc ? least : -1 - least) ? 1 : 0;
    const isCarry = (result & 15) === (kind === WORDS.inc ? 0 : 15);
    return (a << 31) | ((a ^ overflows) << 30) | (isCarry ? AUX_AF : 0);
  }
  if (kind >= WORDS.shl) return auxOfShift(kind, 32 - shift, a, b, result);
  const carries = kind === WORDS.add ? (a & b) | ((a | b) & ~result) : (~a & b) | ((~a | b) & result);
  return ((carries << shift) & AUX_CARRIES) | (carries & AUX_AF);
}

/** OF by one rule whatever the count, AF 1, as on the interpreter's named processor. */
function auxOfShift(kind: number, bits: number, a: number, count: number, result: number): number {
  const isLeft = kind === WORDS.shl;
  const cf = (isLeft ? (bits === 32 ? a >>> (32 - count) : (a << count) >>> bits) : a >>> (count - 1)) & 1;
  const cfXorOf = isLeft ? result >>> 31 : kind === WORDS.sar ? cf : ((result >>> (bits - 2)) & 1) ^ cf;
  return (cf << 31) | (cfXorOf << 30) | AUX_AF;
}

/** `auxOf` as a function of WebAssembly. */
export function auxFunction(): FunctionBody {
  const f = new FunctionBody(4);
  const [WORD, A, B, RESULT] = [0, 1, 2, 3];
  const is = (kind: number) => f.get(WORD).constant(KIND_MASK).op(Op.i32And).constant(kind).op(Op.i32Eq);
  const not = () => f.constant(-1).op(Op.i32Xor);
  const shift = () => f.get(WORD).constant(SHIFT_PLACE).op(Op.i32ShrU);
  const finish = () => {
    f.tee(WORD_OF_CARRIES).get(SHIFTED).op(Op.i32Shl).constant(AUX_CARRIES).op(Op.i32And);
    f.get(WORD_OF_CARRIES).constant(AUX_AF).op(Op.i32And).op(Op.i32Or).op(Op.return);
  };
  const SHIFTED = f.local(I32), WORD_OF_CARRIES = f.local(I32);
  shift();
  f.set(SHIFTED);
  f.get(WORD).constant(KIND_MASK).op(Op.i32And).op(Op.i32Eqz).if();
  f.get(A).op(Op.return).end();
  is(WORDS.sub).if();
  f.get(A);
  not().get(B).op(Op.i32And).get(A);
  not().get(B).op(Op.i32Or).get(RESULT).op(Op.i32And).op(Op.i32Or);
  finish();
  f.end();
  is(WORDS.add).if();
  f.get(A).get(B).op(Op.i32And).get(A).get(B).op(Op.i32Or).get(RESULT);
  not().op(Op.i32And).op(Op.i32Or);
  finish();
  f.end();
  is(WORDS.logic).if();
  f.constant(0).op(Op.return).end();
  f.get(WORD).constant(WORDS.shl).op(Op.i32And).if();
  pushShift(f, [WORD, A, B, RESULT], SHIFTED, WORD_OF_CARRIES);
  f.op(Op.return).end();
  // INC or DEC: the carry as it was; OF at the least or greatest number; AF from the low digit.
  const pick = (inc: () => void, dec: () => void) => {
    inc();
    dec();
    is(WORDS.inc).op(Op.select);
  };
  const least = () => f.constant(0x80000000 | 0).get(SHIFTED).op(Op.i32ShrS);
  f.get(A).constant(31).op(Op.i32Shl).get(A).get(RESULT);
  pick(least, () => {
    least();
    not();
  });
  f.op(Op.i32Eq).op(Op.i32Xor).constant(30).op(Op.i32Shl).op(Op.i32Or);
  f.get(RESULT).constant(15).op(Op.i32And);
  pick(() => f.constant(0), () => f.constant(15));
  f.op(Op.i32Eq).constant(3).op(Op.i32Shl).op(Op.i32Or);
  return f;
}

/** `auxOfShift`; `carry` is a local that is free. */
function pushShift(f: FunctionBody, [word, a, b, result]: readonly number[], shift: number, carry: number): void {
  const is = (kind: number) => f.get(word).constant(KIND_MASK).op(Op.i32And).constant(kind).op(Op.i32Eq);
  const bits = () => f.constant(32).get(shift).op(Op.i32Sub);
  is(WORDS.shl).if(I32);
  // In 64 bits, so that one rule holds for all widths.
  f.get(a).op(Op.i64ExtendI32U).get(b).op(Op.i64ExtendI32U).op(Op.i64Shl);
  bits().op(Op.i64ExtendI32U).op(Op.i64ShrU).op(Op.i32WrapI64);
  f.else();
  f.get(a).get(b).constant(1).op(Op.i32Sub).op(Op.i32ShrU).end();
  f.constant(1).op(Op.i32And).tee(carry).constant(31).op(Op.i32Shl);
  is(WORDS.shl).if(I32);
  f.get(result).constant(31).op(Op.i32ShrU).else();
  is(WORDS.sar).if(I32);
  f.get(carry).else();
  f.get(result);
  bits().constant(2).op(Op.i32Sub).op(Op.i32ShrU).constant(1).op(Op.i32And).get(carry).op(Op.i32Xor).end().end();
  f.constant(30).op(Op.i32Shl).op(Op.i32Or).constant(AUX_AF).op(Op.i32Or);
}
