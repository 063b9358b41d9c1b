// Integer arithmetic, comparison, logic and shifts on packed elements, and elements moved about: nearly all are single
// instructions of WebAssembly too (Intel SDM 1, 10.4.2, 10.4.4 and 11.4.2; SDM 2B under each instruction).

import type { Instruction } from "../../x86/mod.ts";
import * as L from "../layout.ts";
import { I64, Op, V128 } from "../wasm.ts";
import type { Emitter } from "./emitter.ts";
import type { Chooser } from "./operands.ts";
import { ALL_ORDINARY } from "./simd_float.ts";
import { enterMmx, mmx, mmxOperand, requireMmx, setMmx } from "./simd_mmx.ts";
import { isMmx, sourceVector, XMM_BYTES } from "./simd_operands.ts";
import { V } from "./simd_opcodes.ts";

const ZERO = [0, 0, 0, 0];

/**
 * Pushes a = a op b, given the locals of both operands. MMX operands are the low halves of vectors, zeros above; what the
 * upper half of the result is does not matter then.
 */
type Kernel = (e: Emitter, a: number, b: number, instruction: Instruction) => void;

/** Chooser of an instruction on two registers of either file, or one and memory. */
function packed(kernel: Kernel, mmxKernel = kernel): Chooser {
  return (instruction) => {
    const { reg } = instruction;
    if (isMmx(instruction.row.operands[0])) {
      return (e) => {
        requireMmx(e);
        const b = mmxOperand(e, instruction);
        enterMmx(e);
        mmxKernel(e, mmx(e, reg), b, instruction);
        setMmx(e, reg);
      };
    }
    return (e) => {
      e.requireFloatingPoint(L.FP_SSE);
      const b = sourceVector(e, instruction);
      kernel(e, e.xmm(reg), b, instruction);
      e.setXmm(reg);
    };
  };
}

/** One WebAssembly instruction on both operands. */
function plain(opcode: number): Chooser {
  return packed((e, a, b) => e.f.get(a).get(b).vector(opcode));
}

// Arithmetic without an instruction of its own.

/** The high words of the products: bytes 2 and 3 of each doubleword of both halves' products. */
function multiplyHigh(low: number, high: number): Kernel {
  const highWords = Array.from({ length: XMM_BYTES }, (_, i) => (i >> 1) * 4 + 2 + (i & 1));
  return (e, a, b) => e.f.get(a).get(b).vector(low).get(a).get(b).vector(high).shuffle(highWords);
}

/** PMULUDQ: the even doublewords, brought to the low half. */
const multiplyDoublewords: Kernel = (e, a, b) => {
  const even = [0, 1, 2, 3, 8, 9, 10, 11, 0, 1, 2, 3, 8, 9, 10, 11];
  e.f.get(a).get(a).shuffle(even).get(b).get(b).shuffle(even).vector(V.i64x2ExtmulLowI32x4U);
};

/** PSADBW: differences are what the greater byte exceeds the lesser by; they add up to two sums in each half. */
const sumDifferences: Kernel = (e, a, b) => {
  const sums = e.temporary(V128);
  const { f } = e;
  f.get(a).get(b).vector(V.i8x16MaxU).get(a).get(b).vector(V.i8x16MinU).vector(V.i8x16Sub);
  f.vector(V.i16x8ExtaddPairwiseI8x16U).vector(V.i32x4ExtaddPairwiseI16x8U).tee(sums);
  f.get(sums).constant(32).vector(V.i64x2ShrU).vector(V.i32x4Add).constant128([-1, 0, -1, 0]).vector(V.v128And);
};

/** XOR, which is how registers are cleared. */
const exclusiveOr: Chooser = (instruction) => {
  const { isMemory, reg, rm, row } = instruction;
  if (isMemory || reg !== rm || isMmx(row.operands[0])) return plain(V.v128Xor)(instruction);
  return (e) => {
    e.requireFloatingPoint(L.FP_SSE);
    e.f.constant128(ZERO);
    e.setXmm(reg);
    e.ordinary[reg] = ALL_ORDINARY;
  };
};

// Shifts.

/** Shifts by an immediate byte, or by the low 64 bits of the second operand; from the width on nothing is left but signs. */
function shift(opcode: number, width: 16 | 32 | 64, isArithmetic: boolean): Chooser {
  const byRegister = packed((e, a, b) => {
    const { f } = e;
    const count = e.temporary(I64);
    f.get(b).lane(V.i64x2ExtractLane, 0).set(count);
    f.get(a);
    if (isArithmetic) {
      f.get(count).constant64(width - 1).get(count).constant64(width).op(Op.i64LtU).op(Op.select);
      f.op(Op.i32WrapI64).vector(opcode);
      return;
    }
    f.get(count).op(Op.i32WrapI64).vector(opcode).constant128(ZERO);
    f.get(count).constant64(width).op(Op.i64LtU).op(Op.select);
  });
  return (instruction) => {
    const [to, from] = instruction.row.operands;
    if (from !== "Ib") return byRegister(instruction);
    const { immediate, rm } = instruction;
    const push = (e: Emitter, operand: number) => {
      if (immediate >= width && !isArithmetic) e.f.constant128(ZERO);
      else e.f.get(operand).constant(Math.min(immediate, width - 1)).vector(opcode);
    };
    if (isMmx(to)) {
      return (e) => {
        requireMmx(e);
        enterMmx(e);
        push(e, mmx(e, rm));
        setMmx(e, rm);
      };
    }
    return (e) => {
      e.requireFloatingPoint(L.FP_SSE);
      push(e, e.xmm(rm));
      e.setXmm(rm);
    };
  };
}

/** PSLLDQ and PSRLDQ: bytes, with zeros where there are none. `from` is the source's byte for one of the result. */
function shiftBytes(from: (byte: number, count: number) => number): Chooser {
  return ({ immediate, rm }) => (e) => {
    e.requireFloatingPoint(L.FP_SSE);
    const lanes = Array.from({ length: XMM_BYTES }, (_, byte) => {
      const at = from(byte, immediate);
      return at >= 0 && at < XMM_BYTES ? at : XMM_BYTES;
    });
    e.f.get(e.xmm(rm)).constant128(ZERO).shuffle(lanes);
    e.setXmm(rm);
  };
}

// Shuffles. Bytes from 16 on are the second operand's.

/** Interleaves the low or high halves of both operands, a's element first. */
function unpack(elementBytes: number, fromHigh: boolean): Chooser {
  const kernel = (registerBytes: number): Kernel => {
    const lanes = Array.from({ length: XMM_BYTES }, (_, i) => {
      const pair = Math.floor(i % registerBytes / (2 * elementBytes)),
        isSecond = Math.floor(i / elementBytes) % 2 === 1;
      return (fromHigh ? registerBytes / 2 : 0) + pair * elementBytes + i % elementBytes + (isSecond ? XMM_BYTES : 0);
    });
    return (e, a, b) => e.f.get(a).get(b).shuffle(lanes);
  };
  return packed(kernel(XMM_BYTES), kernel(XMM_BYTES / 2));
}

/** Low halves of a and b. */
const LOW_HALVES = Array.from({ length: XMM_BYTES }, (_, i) => i < 8 ? i : 8 + i);

/** Packs elements into half their width: in MMX registers, those of both operands at once. */
function pack(opcode: number): Chooser {
  return packed(
    (e, a, b) => e.f.get(a).get(b).vector(opcode),
    (e, a, b) => e.f.get(a).get(b).shuffle(LOW_HALVES).constant128(ZERO).vector(opcode),
  );
}

/** A shuffle whose order is the immediate: `elementFrom` gives, for an element of the result, one of a's and then b's. */
function shuffle(elementBytes: number, elementFrom: (element: number, order: number) => number): Chooser {
  return packed((e, a, b, { immediate }) => {
    const lanes = Array.from({ length: XMM_BYTES }, (_, i) => {
      const element = elementFrom(Math.floor(i / elementBytes), immediate);
      return element * elementBytes + i % elementBytes;
    });
    e.f.get(a).get(b).shuffle(lanes);
  });
}

/** Element numbers of b begin here, by the size of elements. */
const WORDS = 8, DOUBLEWORDS = 4, QUADWORDS = 2;

const lowWords = (i: number, order: number) => WORDS + (i < 4 ? order >> 2 * i & 3 : i);
const highWords = (i: number, order: number) => WORDS + (i < 4 ? i : 4 + (order >> 2 * (i - 4) & 3));
const anyDoublewords = (i: number, order: number) => DOUBLEWORDS + (order >> 2 * i & 3);
const twoSingles = (i: number, order: number) => (i < 2 ? 0 : DOUBLEWORDS) + (order >> 2 * i & 3);
const twoDoubles = (i: number, order: number) => i * QUADWORDS + (order >> i & 1);

// Words and masks to and from general registers.

const insertWord: Chooser = (instruction) => {
  const { immediate, reg, row } = instruction;
  const isInMmx = isMmx(row.operands[0]);
  return (e) => {
    const { f } = e;
    if (isInMmx) requireMmx(e);
    else e.requireFloatingPoint(L.FP_SSE);
    const word = e.temporary();
    e.pushOperand(instruction, 16);
    f.set(word);
    if (isInMmx) {
      enterMmx(e);
      f.get(mmx(e, reg)).get(word).lane(V.i16x8ReplaceLane, immediate & 3);
      setMmx(e, reg);
    } else {
      f.get(e.xmm(reg)).get(word).lane(V.i16x8ReplaceLane, immediate & 7);
      e.setXmm(reg);
    }
  };
};

/** Pushes something of the SIMD register `rm` and sets the general register `reg` to it. */
function extract(push: (e: Emitter, from: number) => void): Chooser {
  return (instruction) => {
    const { reg, rm, row } = instruction;
    const isInMmx = isMmx(row.operands[1]);
    return (e) => {
      if (isInMmx) {
        requireMmx(e);
        enterMmx(e);
        push(e, mmx(e, rm));
      } else {
        e.requireFloatingPoint(L.FP_SSE);
        push(e, e.xmm(rm));
      }
      e.setRegister(reg);
    };
  };
}

/** PEXTRW: the word's number is counted in its register. */
const extractWord: Chooser = (instruction) => {
  const words = isMmx(instruction.row.operands[1]) ? WORDS / 2 : WORDS;
  const lane = instruction.immediate & (words - 1);
  return extract((e, from) => e.f.get(from).lane(V.i16x8ExtractLaneU, lane))(instruction);
};

export const integerSimdChoosers: Readonly<Record<string, Chooser>> = {
  paddb: plain(V.i8x16Add),
  paddw: plain(V.i16x8Add),
  paddd: plain(V.i32x4Add),
  paddq: plain(V.i64x2Add),
  paddsb: plain(V.i8x16AddSatS),
  paddsw: plain(V.i16x8AddSatS),
  paddusb: plain(V.i8x16AddSatU),
  paddusw: plain(V.i16x8AddSatU),
  psubb: plain(V.i8x16Sub),
  psubw: plain(V.i16x8Sub),
  psubd: plain(V.i32x4Sub),
  psubq: plain(V.i64x2Sub),
  psubsb: plain(V.i8x16SubSatS),
  psubsw: plain(V.i16x8SubSatS),
  psubusb: plain(V.i8x16SubSatU),
  psubusw: plain(V.i16x8SubSatU),
  pmullw: plain(V.i16x8Mul),
  pmulhw: packed(multiplyHigh(V.i32x4ExtmulLowI16x8S, V.i32x4ExtmulHighI16x8S)),
  pmulhuw: packed(multiplyHigh(V.i32x4ExtmulLowI16x8U, V.i32x4ExtmulHighI16x8U)),
  pmuludq: packed(multiplyDoublewords),
  pmaddwd: plain(V.i32x4DotI16x8S),
  psadbw: packed(sumDifferences),
  pavgb: plain(V.i8x16AvgrU),
  pavgw: plain(V.i16x8AvgrU),
  pminub: plain(V.i8x16MinU),
  pmaxub: plain(V.i8x16MaxU),
  pminsw: plain(V.i16x8MinS),
  pmaxsw: plain(V.i16x8MaxS),
  pcmpeqb: plain(V.i8x16Eq),
  pcmpeqw: plain(V.i16x8Eq),
  pcmpeqd: plain(V.i32x4Eq),
  pcmpgtb: plain(V.i8x16GtS),
  pcmpgtw: plain(V.i16x8GtS),
  pcmpgtd: plain(V.i32x4GtS),
  pand: plain(V.v128And),
  pandn: packed((e, a, b) => e.f.get(b).get(a).vector(V.v128Andnot)),
  por: plain(V.v128Or),
  pxor: exclusiveOr,
  psllw: shift(V.i16x8Shl, 16, false),
  pslld: shift(V.i32x4Shl, 32, false),
  psllq: shift(V.i64x2Shl, 64, false),
  psrlw: shift(V.i16x8ShrU, 16, false),
  psrld: shift(V.i32x4ShrU, 32, false),
  psrlq: shift(V.i64x2ShrU, 64, false),
  psraw: shift(V.i16x8ShrS, 16, true),
  psrad: shift(V.i32x4ShrS, 32, true),
  pslldq: shiftBytes((byte, count) => byte - count),
  psrldq: shiftBytes((byte, count) => byte + count),
  punpcklbw: unpack(1, false),
  punpcklwd: unpack(2, false),
  punpckldq: unpack(4, false),
  punpcklqdq: unpack(8, false),
  punpckhbw: unpack(1, true),
  punpckhwd: unpack(2, true),
  punpckhdq: unpack(4, true),
  punpckhqdq: unpack(8, true),
  packsswb: pack(V.i8x16NarrowI16x8S),
  packuswb: pack(V.i8x16NarrowI16x8U),
  packssdw: pack(V.i16x8NarrowI32x4S),
  pshufw: shuffle(2, lowWords),
  pshufd: shuffle(4, anyDoublewords),
  pshuflw: shuffle(2, lowWords),
  pshufhw: shuffle(2, highWords),
  shufps: shuffle(4, twoSingles),
  shufpd: shuffle(8, twoDoubles),
  pinsrw: insertWord,
  pextrw: extractWord,
  pmovmskb: extract((e, from) => e.f.get(from).vector(V.i8x16Bitmask)),
  movmskps: extract((e, from) => e.f.get(from).vector(V.i32x4Bitmask)),
  movmskpd: extract((e, from) => e.f.get(from).vector(V.i64x2Bitmask)),
};
