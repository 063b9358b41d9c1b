// The interpreter's inner loop: calls the handlers of a block's operations one after another. V8 compiles a call site that
// has only ever seen one callee to a direct, often inlined call, and one that has seen many to a slow generic one; so each
// handler that comes into use gets a call site of its own, in a switch generated here. Measured: 1.1 times the speed of
// one shared site, on the integer loop and on the first 600 M steps of a Linux boot.

import type { Processor } from "../processor.ts";
import type { Handler, Operation } from "./operation.ts";

/** Call sites of their own; handlers beyond these share one. */
const CALL_SITES = 160;

const codes = new Map<Handler, number>();

/** The call site of a handler: the first come have one each. */
export function callSiteOf(handler: Handler): number {
  let code = codes.get(handler);
  if (code === undefined) codes.set(handler, code = Math.min(codes.size, CALL_SITES));
  return code;
}

/** Runs operations from `cpu.index` until it reaches `cpu.count`, which a handler may lower. */
export type RunOperations = (cpu: Processor, operations: readonly Operation[]) => void;

const cases = Array.from({ length: CALL_SITES }, (_, code) => `case ${code}: op.handler(cpu, op); break;`).join("\n");

export const runOperations = new Function(`"use strict";
  return function runOperations(cpu, operations) {
    do {
      const op = operations[cpu.index];
      switch (op.callSite) {
        ${cases}
        default: op.handler(cpu, op);
      }
      cpu.index++;
    } while (cpu.index < cpu.count);
  };`)() as RunOperations;
