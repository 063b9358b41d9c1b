// Loads, stores and exchanges of the x87: FLD, FST, FILD, FIST, FBLD, FBSTP, FXCH, FCMOVcc and the constants (Intel SDM 1,
// 8.3.3 and 8.3.4; SDM 2A). Stores check their destination before anything else, so that a page fault changes nothing.

import type { Operand } from "../../instruction.ts";
import { type Binder, type Handler, type Operation, readAddress, writeAddress } from "../../interpreter/operation.ts";
import type { Processor } from "../../processor.ts";
import { LN_OF_2, loadConstant, LOG10_OF_2, LOG2_OF_10, LOG2_OF_E, ONE, PI } from "../constants.ts";
import { BCD_BYTES, fromBcd, toBcd } from "../decimal.ts";
import { type Bits64, type Float80, setIndefinite, setZero } from "../float80.ts";
import { fromFloat32, fromFloat64, toFloat32, toFloat64 } from "../formats.ts";
import type { Fpu } from "../fpu.ts";
import { fromInt32, fromInt64, toInt16, toInt32, toInt64 } from "../integers.ts";
import { finish, left, result, right, start, startMemory, waited } from "./entry.ts";

type ByOperand = { readonly [operand in Operand]?: Handler };

const storeByOperand = byOperand({
  Mf32: storeFloat32,
  Mf64: storeFloat64,
  Mf80: storeFloat80,
  STi: storeRegister,
});

export const transferBinders: Readonly<Record<string, Binder>> = {
  fld: byOperand({ Mf32: loadFloat32, Mf64: loadFloat64, Mf80: loadFloat80, STi: loadRegister }),
  fst: (op) => op.instruction.row.name === "fstpnce" ? storeRegisterUnchecked : storeByOperand(op),
  fild: byOperand({ Mi16: loadInt16, Mi32: loadInt32, Mi64: loadInt64 }),
  fist: byOperand({ Mi16: storeInt16, Mi32: storeInt32, Mi64: storeInt64 }),
  fbld: byOperand({ Mbcd: loadDecimal }),
  fbstp: byOperand({ Mbcd: storeDecimal }),
  fldConstant: () => loadConstantNumber,
  fxch: () => exchange,
  fcmov: () => conditionalMove,
};

function byOperand(handlers: ByOperand): Binder {
  return (op) => {
    const handler = handlers[op.instruction.row.operands[0]];
    if (handler === undefined) throw new Error(`no ${op.instruction.row.name} of ${op.instruction.row.operands[0]}`);
    return handler;
  };
}

const FLOAT80_BYTES = 10;
/** Position of the register that a push writes. */
const BELOW_TOP = -1;

// Loads.

/** Ends a load that `hasRoom` let through. */
function pushResult(cpu: Processor, fpu: Fpu): void {
  fpu.push(result);
  finish(cpu, fpu);
}

/** Whether the register to push to is empty; if not, the stack fault has been dealt with and the instruction is over. */
function hasRoom(cpu: Processor, fpu: Fpu): boolean {
  if (fpu.isEmpty(BELOW_TOP)) return true;
  if (fpu.overflows()) pushIndefinite(fpu);
  finish(cpu, fpu);
  return false;
}

function pushIndefinite(fpu: Fpu): void {
  setIndefinite(result);
  fpu.push(result);
}

function loadFloat32(cpu: Processor, op: Operation): void {
  const fpu = waited(cpu);
  const bits = cpu.read32(readAddress(cpu, op, 4));
  startMemory(cpu, op, fpu);
  if (!hasRoom(cpu, fpu)) return;
  fromFloat32(fpu.environment, result, bits);
  if (fpu.environment.loadSuppressed()) finish(cpu, fpu);
  else pushResult(cpu, fpu);
}

function loadFloat64(cpu: Processor, op: Operation): void {
  const fpu = waited(cpu);
  const address = readAddress(cpu, op, 8);
  cpu.checkAlignment(address, 8, 8, false);
  const lo = cpu.read32(address), hi = cpu.read32((address + 4) | 0);
  startMemory(cpu, op, fpu);
  if (!hasRoom(cpu, fpu)) return;
  fromFloat64(fpu.environment, result, hi, lo);
  if (fpu.environment.loadSuppressed()) finish(cpu, fpu);
  else pushResult(cpu, fpu);
}

function loadFloat80(cpu: Processor, op: Operation): void {
  const fpu = waited(cpu);
  const address = readAddress(cpu, op, FLOAT80_BYTES);
  cpu.checkAlignment(address, 8, FLOAT80_BYTES, false);
  readFloat80(cpu, address, result);
  startMemory(cpu, op, fpu);
  if (hasRoom(cpu, fpu)) pushResult(cpu, fpu);
}

/** Reads ten bytes: significand, then sign and exponent. In halves, because those of FSAVE's image are aligned to no more. */
export function readFloat80(cpu: Processor, address: number, out: Float80): void {
  const half = (at: number) => cpu.read16((address + at) | 0);
  const lo = half(0) | half(2) << 16, hi = half(4) | half(6) << 16;
  out.set(half(8), hi >>> 0, lo >>> 0);
}

/** Writes ten bytes as `readFloat80` reads them. */
export function writeFloat80(cpu: Processor, address: number, value: Readonly<Float80>): void {
  const half = (at: number, bits: number) => cpu.write16((address + at) | 0, bits & 0xffff);
  half(0, value.lo);
  half(2, value.lo >>> 16);
  half(4, value.hi);
  half(6, value.hi >>> 16);
  half(8, value.se);
}

function loadRegister(cpu: Processor, op: Operation): void {
  const fpu = start(cpu, op);
  if (fpu.isEmpty(op.rm)) {
    // Underflow comes before overflow.
    if (fpu.underflows()) pushIndefinite(fpu);
    return finish(cpu, fpu);
  }
  if (!hasRoom(cpu, fpu)) return;
  fpu.load(op.rm, result);
  pushResult(cpu, fpu);
}

function loadInt16(cpu: Processor, op: Operation): void {
  const fpu = waited(cpu);
  const bits = cpu.read16(readAddress(cpu, op, 2));
  startMemory(cpu, op, fpu);
  if (!hasRoom(cpu, fpu)) return;
  fromInt32(result, bits << 16 >> 16);
  pushResult(cpu, fpu);
}

function loadInt32(cpu: Processor, op: Operation): void {
  const fpu = waited(cpu);
  const bits = cpu.read32(readAddress(cpu, op, 4));
  startMemory(cpu, op, fpu);
  if (!hasRoom(cpu, fpu)) return;
  fromInt32(result, bits);
  pushResult(cpu, fpu);
}

function loadInt64(cpu: Processor, op: Operation): void {
  const fpu = waited(cpu);
  const address = readAddress(cpu, op, 8);
  cpu.checkAlignment(address, 8, 8, false);
  const lo = cpu.read32(address), hi = cpu.read32((address + 4) | 0);
  startMemory(cpu, op, fpu);
  if (!hasRoom(cpu, fpu)) return;
  fromInt64(result, hi >>> 0, lo >>> 0);
  pushResult(cpu, fpu);
}

const decimal = new Uint8Array(BCD_BYTES);

function loadDecimal(cpu: Processor, op: Operation): void {
  const fpu = waited(cpu);
  const address = readAddress(cpu, op, BCD_BYTES);
  cpu.checkAlignment(address, 8, BCD_BYTES, false);
  for (let i = 0; i < BCD_BYTES; i++) decimal[i] = cpu.read8((address + i) | 0);
  startMemory(cpu, op, fpu);
  if (!hasRoom(cpu, fpu)) return;
  fromBcd(result, decimal);
  pushResult(cpu, fpu);
}

/** Variants of `fldConstant` in the order of their opcodes; the last, FLDZ, is no rounded constant. */
const constants = [ONE, LOG2_OF_10, LOG2_OF_E, PI, LOG10_OF_2, LN_OF_2];

function loadConstantNumber(cpu: Processor, op: Operation): void {
  const fpu = start(cpu, op);
  if (!hasRoom(cpu, fpu)) return;
  if (op.variant < constants.length) loadConstant(fpu.environment, result, constants[op.variant]);
  else setZero(result, 0);
  pushResult(cpu, fpu);
}

// Stores. Variant 1 pops.

/** Starts a store of `size` bytes at `address`: raises the fault that it would. */
function startStore(cpu: Processor, op: Operation, fpu: Fpu, address: number, size: number): void {
  cpu.checkWrite(address, size);
  startMemory(cpu, op, fpu);
}

/**
 * `left` = ST(0), or the indefinite if it is empty: converted to any format, that gives the format's own indefinite. The
 * stack fault is its only exception then.
 */
function takeTop(fpu: Fpu): void {
  if (fpu.isEmpty(0)) {
    fpu.underflows();
    setIndefinite(left);
  } else fpu.load(0, left);
}

/** Ends a store whose value has been computed. Returns whether it is to be written, and pops if so and told. */
function completes(cpu: Processor, op: Operation, fpu: Fpu): boolean {
  const written = !fpu.environment.storeSuppressed();
  if (written && op.variant === 1) fpu.pop();
  finish(cpu, fpu);
  return written;
}

const bits: Bits64 = { hi: 0, lo: 0 };

function storeFloat32(cpu: Processor, op: Operation): void {
  const fpu = waited(cpu);
  const address = writeAddress(cpu, op, 4);
  startStore(cpu, op, fpu, address, 4);
  takeTop(fpu);
  const value = toFloat32(fpu.environment, left);
  if (completes(cpu, op, fpu)) cpu.write32(address, value | 0);
}

function storeFloat64(cpu: Processor, op: Operation): void {
  const fpu = waited(cpu);
  const address = writeAddress(cpu, op, 8);
  startStore(cpu, op, fpu, address, 8);
  takeTop(fpu);
  toFloat64(fpu.environment, bits, left);
  if (completes(cpu, op, fpu)) write64(cpu, address);
}

function write64(cpu: Processor, address: number): void {
  cpu.write32(address, bits.lo | 0);
  cpu.write32((address + 4) | 0, bits.hi | 0);
}

function storeFloat80(cpu: Processor, op: Operation): void {
  const fpu = waited(cpu);
  const address = writeAddress(cpu, op, FLOAT80_BYTES);
  startStore(cpu, op, fpu, address, FLOAT80_BYTES);
  takeTop(fpu);
  if (completes(cpu, op, fpu)) writeFloat80(cpu, address, left);
}

function storeRegister(cpu: Processor, op: Operation): void {
  const fpu = start(cpu, op);
  takeTop(fpu);
  if (!fpu.environment.suppressed()) {
    fpu.store(op.rm, left);
    if (op.variant === 1) fpu.pop();
  }
  finish(cpu, fpu);
}

/** FSTPNCE, D9 D8+i: an FSTP that pops an empty register in silence, and copies nothing then. */
function storeRegisterUnchecked(cpu: Processor, op: Operation): void {
  const fpu = start(cpu, op);
  if (!fpu.isEmpty(0)) {
    fpu.load(0, left);
    fpu.store(op.rm, left);
  }
  fpu.pop();
  finish(cpu, fpu);
}

function storeInt16(cpu: Processor, op: Operation): void {
  const fpu = waited(cpu);
  const address = writeAddress(cpu, op, 2);
  startStore(cpu, op, fpu, address, 2);
  takeTop(fpu);
  const value = toInt16(fpu.environment, left);
  if (completes(cpu, op, fpu)) cpu.write16(address, value & 0xffff);
}

function storeInt32(cpu: Processor, op: Operation): void {
  const fpu = waited(cpu);
  const address = writeAddress(cpu, op, 4);
  startStore(cpu, op, fpu, address, 4);
  takeTop(fpu);
  const value = toInt32(fpu.environment, left);
  if (completes(cpu, op, fpu)) cpu.write32(address, value);
}

function storeInt64(cpu: Processor, op: Operation): void {
  const fpu = waited(cpu);
  const address = writeAddress(cpu, op, 8);
  startStore(cpu, op, fpu, address, 8);
  takeTop(fpu);
  toInt64(fpu.environment, bits, left);
  if (completes(cpu, op, fpu)) write64(cpu, address);
}

function storeDecimal(cpu: Processor, op: Operation): void {
  const fpu = waited(cpu);
  const address = writeAddress(cpu, op, BCD_BYTES);
  startStore(cpu, op, fpu, address, BCD_BYTES);
  takeTop(fpu);
  toBcd(fpu.environment, decimal, left);
  if (fpu.environment.storeSuppressed()) return finish(cpu, fpu);
  fpu.pop();
  finish(cpu, fpu);
  for (let i = 0; i < BCD_BYTES; i++) cpu.write8((address + i) | 0, decimal[i]);
}

// Between registers.

/** Masked, an empty register counts as holding the indefinite. */
function exchange(cpu: Processor, op: Operation): void {
  const fpu = start(cpu, op);
  const topEmpty = fpu.isEmpty(0), otherEmpty = fpu.isEmpty(op.rm);
  if ((topEmpty || otherEmpty) && !fpu.underflows()) return finish(cpu, fpu);
  if (topEmpty) setIndefinite(left);
  else fpu.load(0, left);
  if (otherEmpty) setIndefinite(right);
  else fpu.load(op.rm, right);
  fpu.store(0, right);
  fpu.store(op.rm, left);
  finish(cpu, fpu);
}

/** An empty register is an underflow even where the condition does not hold; C1 changes with an underflow alone. */
function conditionalMove(cpu: Processor, op: Operation): void {
  const fpu = start(cpu, op);
  if (fpu.isEmpty(0) || fpu.isEmpty(op.rm)) {
    if (fpu.underflows()) {
      setIndefinite(left);
      fpu.store(0, left);
    }
    finish(cpu, fpu);
  } else if (cpu.condition(op.variant)) {
    fpu.load(op.rm, left);
    fpu.store(0, left);
  }
}
