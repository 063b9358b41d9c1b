// Conversions between integers, binary32 and binary64 in XMM, MMX and general registers (Intel SDM 1, 10.4.3 and 11.4.1.6;
// SDM 2A, CVTDQ2PD to CVTTSS2SI). To integers they raise IE and PE, never DE.

import type { Binder, Handler, Operation } from "../interpreter/operation.ts";
import type { Processor } from "../processor.ts";
import * as S from "../state.ts";
import {
  Float80,
  INVALID,
  PRECISION,
  QUIET_NAN_CLASS,
  ROUND_DOWN,
  ROUND_NEAREST,
  ROUND_TO_ZERO,
  ROUND_UP,
  SIGNALLING_NAN_CLASS,
  ZERO_CLASS,
} from "../x87/float80.ts";
import { widen } from "./arithmetic.ts";
import { byForm, enterMmx, operandBytes, readOperand, requireSse, requireSseAndMmx } from "./entry.ts";
import { environment } from "./environment.ts";
import { loadMmx, loadXmm, MMX_BYTES, result, source, storeMmx, storeXmm, storeXmmLow } from "./lanes.ts";
import { classOf, convertNaN, DOUBLE, type Format, noteDenormals, roundTo, SINGLE, valueOf } from "./scalar.ts";

/** What an integer conversion answers when it is invalid (SDM 1, table 4-1: the integer indefinite). */
const INTEGER_INDEFINITE = 0x8000_0000 | 0;
const MIN_INT32 = -0x8000_0000, MAX_INT32 = 0x7fff_ffff;

// Elements.

/** A float that is no NaN as an integer, rounded; magnitudes from 2^52 on are integers already. */
function roundedToInteger(value: number, rounding: number): number {
  switch (rounding) {
    case ROUND_DOWN:
      return Math.floor(value);
    case ROUND_UP:
      return Math.ceil(value);
    case ROUND_TO_ZERO:
      return Math.trunc(value);
  }
  const below = Math.floor(value), fraction = value - below;
  if (fraction !== 0.5) return fraction < 0.5 ? below : below + 1;
  return below % 2 === 0 ? below : below + 1;
}

/** result.i32[to] = source's element as an integer. */
function toInteger(format: Format, from: number, to: number, rounding: number): void {
  const elementClass = classOf(format, source, from);
  const value = elementClass >= QUIET_NAN_CLASS ? NaN : valueOf(format, source, from, elementClass);
  const integer = roundedToInteger(value, rounding);
  if (integer >= MIN_INT32 && integer <= MAX_INT32) {
    if (integer !== value) environment.raised |= PRECISION;
    result.i32[to] = integer;
  } else {
    environment.raised |= INVALID;
    result.i32[to] = INTEGER_INDEFINITE;
  }
}

/** result.f32[to] = an integer, rounded. Its neighbours in binary32 are those of its bit pattern. */
function integerToSingle(value: number, to: number): void {
  const nearest = Math.fround(value);
  result.f32[to] = nearest;
  if (nearest === value) return;
  environment.raised |= PRECISION;
  const { rounding } = environment;
  if (rounding === ROUND_NEAREST) return;
  const down = rounding === ROUND_DOWN || (rounding === ROUND_TO_ZERO && value > 0);
  if (down === nearest < value) return;
  // One step down in value is a step towards zero for positive numbers, away from it for negative ones.
  result.i32[to] += down === value > 0 ? -1 : 1;
}

/** result's double `to` = source's single `from`: always exact. */
function singleToDouble(from: number, to: number): void {
  const elementClass = classOf(SINGLE, source, from);
  if (elementClass >= QUIET_NAN_CLASS) {
    if (elementClass === SIGNALLING_NAN_CLASS) environment.raised |= INVALID;
    convertNaN(SINGLE, source, from, result, to);
    return;
  }
  noteDenormals(elementClass, ZERO_CLASS);
  result.f64[to] = valueOf(SINGLE, source, from, elementClass);
}

const wide = new Float80();

/** result's single `to` = source's double `from`, rounded. */
function doubleToSingle(from: number, to: number): void {
  const elementClass = classOf(DOUBLE, source, from);
  if (elementClass >= QUIET_NAN_CLASS) {
    if (elementClass === SIGNALLING_NAN_CLASS) environment.raised |= INVALID;
    convertNaN(DOUBLE, source, from, result, to);
    return;
  }
  noteDenormals(elementClass, ZERO_CLASS);
  widen(DOUBLE, source, from, elementClass, wide);
  roundTo(SINGLE, result, to, wide);
}

// Instructions. `source` holds the operand; what the conversion does not set of `result` is zero.

/** Converts `count` elements into `result`. */
type Conversion = (count: number) => void;

const toDouble: Conversion = (count) => {
  for (let i = 0; i < count; i++) result.f64[i] = source.i32[i];
};
const toSingle: Conversion = (count) => {
  for (let i = 0; i < count; i++) integerToSingle(source.i32[i], i);
};
const singlesToDoubles: Conversion = (count) => {
  for (let i = 0; i < count; i++) singleToDouble(i, i);
};
const doublesToSingles: Conversion = (count) => {
  for (let i = 0; i < count; i++) doubleToSingle(i, i);
};
const toIntegers = (format: Format): Conversion => (count) => {
  for (let i = 0; i < count; i++) toInteger(format, i, i, environment.rounding);
};
const truncations = (format: Format): Conversion => (count) => {
  for (let i = 0; i < count; i++) toInteger(format, i, i, ROUND_TO_ZERO);
};

/** Converts with MXCSR's settings and exceptions. */
function converted(cpu: Processor, conversion: Conversion, count: number): void {
  result.i32.fill(0);
  environment.begin(cpu.r[S.MXCSR]);
  conversion(count);
  environment.settle(cpu);
}

function loadOperand(cpu: Processor, op: Operation): void {
  const { isMemory, row } = op.instruction;
  if (isMemory) readOperand(cpu, op, operandBytes(row.operands[1]), source);
  else loadXmm(cpu, op.rm, source);
}

function constant(handler: Handler): Binder {
  return () => handler;
}

/** XMM to a whole XMM register; the high half is zero where the result fills only the low one. */
function packedToXmm(conversion: Conversion, count: number): Binder {
  return constant((cpu, op) => {
    requireSse(cpu);
    loadOperand(cpu, op);
    converted(cpu, conversion, count);
    storeXmm(cpu, op.reg, result);
  });
}

/** XMM to the low element of an XMM register. */
function scalarToXmm(conversion: Conversion, words: number): Binder {
  return constant((cpu, op) => {
    requireSse(cpu);
    loadOperand(cpu, op);
    converted(cpu, conversion, 1);
    storeXmmLow(cpu, op.reg, result, words);
  });
}

/** General register or memory to the low element. */
function integerToXmm(conversion: Conversion, words: number): Binder {
  return constant((cpu, op) => {
    requireSse(cpu);
    if (op.instruction.isMemory) readOperand(cpu, op, 4, source);
    else source.i32[0] = cpu.r[op.rm];
    converted(cpu, conversion, 1);
    storeXmmLow(cpu, op.reg, result, words);
  });
}

function scalarToInteger(conversion: Conversion): Binder {
  return constant((cpu, op) => {
    requireSse(cpu);
    loadOperand(cpu, op);
    converted(cpu, conversion, 1);
    cpu.r[op.reg] = result.i32[0];
  });
}

/**
 * MMX register or memory to the low `words` of an XMM register. With a memory operand the x87 registers stay as they are and
 * no x87 exception is reported, as the processor of tests/fixtures/simd shows; the manual does not tell CVTPI2PS's forms apart.
 */
function mmxToXmm(conversion: Conversion, words: number): Binder {
  return byForm(
    (cpu, op) => {
      const fpu = requireSseAndMmx(cpu);
      loadMmx(fpu, op.rm, source);
      enterMmx(fpu);
      converted(cpu, conversion, 2);
      storeXmmLow(cpu, op.reg, result, words);
    },
    (cpu, op) => {
      requireSse(cpu);
      readOperand(cpu, op, MMX_BYTES, source);
      converted(cpu, conversion, 2);
      storeXmmLow(cpu, op.reg, result, words);
    },
  );
}

/** The x87 registers pass to MMX use before the conversion, and even if it raises #XM. */
function xmmToMmx(conversion: Conversion): Binder {
  return constant((cpu, op) => {
    const fpu = requireSseAndMmx(cpu);
    loadOperand(cpu, op);
    enterMmx(fpu);
    converted(cpu, conversion, 2);
    storeMmx(fpu, op.reg, result);
  });
}

export const conversionBinders: Readonly<Record<string, Binder>> = {
  cvtpi2ps: mmxToXmm(toSingle, 2),
  cvtpi2pd: mmxToXmm(toDouble, 4),
  cvtps2pi: xmmToMmx(toIntegers(SINGLE)),
  cvttps2pi: xmmToMmx(truncations(SINGLE)),
  cvtpd2pi: xmmToMmx(toIntegers(DOUBLE)),
  cvttpd2pi: xmmToMmx(truncations(DOUBLE)),
  cvtsi2ss: integerToXmm(toSingle, 1),
  cvtsi2sd: integerToXmm(toDouble, 2),
  cvtss2si: scalarToInteger(toIntegers(SINGLE)),
  cvttss2si: scalarToInteger(truncations(SINGLE)),
  cvtsd2si: scalarToInteger(toIntegers(DOUBLE)),
  cvttsd2si: scalarToInteger(truncations(DOUBLE)),
  cvtdq2ps: packedToXmm(toSingle, 4),
  cvtps2dq: packedToXmm(toIntegers(SINGLE), 4),
  cvttps2dq: packedToXmm(truncations(SINGLE), 4),
  cvtdq2pd: packedToXmm(toDouble, 2),
  cvtpd2dq: packedToXmm(toIntegers(DOUBLE), 2),
  cvttpd2dq: packedToXmm(truncations(DOUBLE), 2),
  cvtps2pd: packedToXmm(singlesToDoubles, 2),
  cvtpd2ps: packedToXmm(doublesToSingles, 2),
  cvtss2sd: scalarToXmm(singlesToDoubles, 2),
  cvtsd2ss: scalarToXmm(doublesToSingles, 1),
};
