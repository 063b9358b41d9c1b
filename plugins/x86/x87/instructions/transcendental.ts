// FSIN, FCOS, FSINCOS, FPTAN, FPATAN, F2XM1, FYL2X, FYL2XP1, and FXTRACT, which changes the stack as FPTAN does (Intel SDM
// 1, 8.3.7 to 8.3.9; SDM 2A). An angle out of range sets C2 and leaves the stack.

import type { Binder, Operation } from "../../interpreter/operation.ts";
import type { Processor } from "../../processor.ts";
import { exponentialMinusOne, logarithm, logarithmPlusOne } from "../exponentials.ts";
import { type Float80, type FpuEnvironment, setIndefinite } from "../float80.ts";
import { C2, type Fpu } from "../fpu.ts";
import { extract } from "../scaling.ts";
import { arctangent, cosine, sine, sineCosine, tangent } from "../trigonometry.ts";
import { replaceTop, takeTop } from "./arithmetic.ts";
import { finish, left, result, right, second, start } from "./entry.ts";

export const transcendentalBinders: Readonly<Record<string, Binder>> = {
  f2xm1: () => exponential,
  fsin: () => sineOfTop,
  fcos: () => cosineOfTop,
  fsincos: () => sineAndCosineOfTop,
  fptan: () => tangentOfTop,
  fxtract: () => extractTop,
  fpatan: () => arctangentOfPair,
  fyl2x: () => logarithmOfPair,
  fyl2xp1: () => logarithmPlusOneOfPair,
};

function exponential(cpu: Processor, op: Operation): void {
  const fpu = start(cpu, op);
  if (takeTop(fpu)) {
    exponentialMinusOne(fpu.environment, result, left);
    replaceTop(fpu);
  }
  finish(cpu, fpu);
}

function sineOfTop(cpu: Processor, op: Operation): void {
  const fpu = start(cpu, op);
  fpu.status &= ~C2;
  if (takeTop(fpu) && inRange(fpu, sine(fpu.environment, result, left))) replaceTop(fpu);
  finish(cpu, fpu);
}

function cosineOfTop(cpu: Processor, op: Operation): void {
  const fpu = start(cpu, op);
  fpu.status &= ~C2;
  if (takeTop(fpu) && inRange(fpu, cosine(fpu.environment, result, left))) replaceTop(fpu);
  finish(cpu, fpu);
}

/** C2 tells that the operand was too large. */
function inRange(fpu: Fpu, computed: boolean): boolean {
  if (!computed) fpu.status |= C2;
  return computed;
}

function sineAndCosineOfTop(cpu: Processor, op: Operation): void {
  const fpu = start(cpu, op);
  fpu.status &= ~C2;
  if (takeTopAndRoom(fpu) && inRange(fpu, sineCosine(fpu.environment, result, second, left))) replaceAndPush(fpu);
  finish(cpu, fpu);
}

function tangentOfTop(cpu: Processor, op: Operation): void {
  const fpu = start(cpu, op);
  fpu.status &= ~C2;
  if (takeTopAndRoom(fpu) && inRange(fpu, tangent(fpu.environment, result, second, left))) replaceAndPush(fpu);
  finish(cpu, fpu);
}

function extractTop(cpu: Processor, op: Operation): void {
  const fpu = start(cpu, op);
  if (takeTopAndRoom(fpu)) {
    extract(fpu.environment, second, result, left);
    replaceAndPush(fpu);
  }
  finish(cpu, fpu);
}

/** left = ST(0), if it is there and the register below the top is free; the stack fault has been dealt with otherwise. */
function takeTopAndRoom(fpu: Fpu): boolean {
  const topEmpty = fpu.isEmpty(0);
  if (topEmpty || !fpu.isEmpty(-1)) {
    if (topEmpty ? fpu.underflows() : fpu.overflows()) {
      setIndefinite(result);
      fpu.store(0, result);
      fpu.push(result);
    }
    return false;
  }
  fpu.load(0, left);
  return true;
}

/** ST(0) = result, then pushes `second`. */
function replaceAndPush(fpu: Fpu): void {
  if (fpu.environment.suppressed()) return;
  fpu.store(0, result);
  fpu.push(second);
}

type PairOperation = (env: FpuEnvironment, out: Float80, y: Readonly<Float80>, x: Readonly<Float80>) => void;

function arctangentOfPair(cpu: Processor, op: Operation): void {
  combinePair(cpu, op, arctangent);
}

function logarithmOfPair(cpu: Processor, op: Operation): void {
  combinePair(cpu, op, logarithm);
}

function logarithmPlusOneOfPair(cpu: Processor, op: Operation): void {
  combinePair(cpu, op, logarithmPlusOne);
}

/** ST(1) = operation(y = ST(1), x = ST(0)), then pops. */
function combinePair(cpu: Processor, op: Operation, operation: PairOperation): void {
  const fpu = start(cpu, op);
  if (fpu.isEmpty(0) || fpu.isEmpty(1)) {
    fpu.underflows();
    setIndefinite(result);
  } else {
    fpu.load(0, left);
    fpu.load(1, right);
    operation(fpu.environment, result, right, left);
  }
  if (!fpu.environment.suppressed()) {
    fpu.store(1, result);
    fpu.pop();
  }
  finish(cpu, fpu);
}
