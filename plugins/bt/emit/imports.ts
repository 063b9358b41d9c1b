// What the module of a region imports, by index: the slow path of memory, the way to the next region, the way out to the
// emulator, and functions of the runtime module that work on the state block.

import type { FunctionImport } from "../wasm.ts";
import { x87Imports } from "./x87_runtime.ts";

/** Indices into the types of runtime.ts: functions of one to four words to a word. */
export const UNARY = 0, BINARY = 1, TERNARY = 2, QUATERNARY = 3;
/** The first of the x87 routines' types, which follow. */
export const X87_TYPE = 4;

/** In the order of their indices. */
export const IMPORTS: readonly FunctionImport[] = [
  { name: "miss", type: BINARY },
  { name: "goto", type: UNARY },
  { name: "callOut", type: UNARY },
  { name: "loadSegment", type: BINARY },
  { name: "interrupt", type: TERNARY },
  { name: "interruptReturn", type: UNARY },
  { name: "systemEnter", type: UNARY },
  { name: "systemExit", type: UNARY },
  { name: "aux", type: QUATERNARY },
  { name: "verifyWritable", type: UNARY },
  { name: "adaptedMiss", type: BINARY },
  { name: "afterAccess", type: UNARY },
  ...x87Imports(X87_TYPE),
];

/** Linear address and kind of access to machine address, or -1 to leave (miss.ts). */
export const MISS = 0;
/** EIP to exit status. */
export const GOTO = 1;
/** Status to 0, where the state is that of the next instruction to translate, or 1, to leave. */
export const CALL_OUT = 2;
/** 0 where they have done it, 1 where the instruction has to be emulated and nothing has changed (transfers.ts). */
export const Helper = { loadSegment: 3, interrupt: 4, interruptReturn: 5, systemEnter: 6, systemExit: 7 } as const;
/** What flags come from, to FLAG_AUX (flag_kinds.ts). */
export const AUX = 8;
/** A selector to 0 where VERW sets ZF, or 1, to emulate it (transfers.ts). */
export const VERIFY_WRITABLE = 9;
/** Of adapted sites: as MISS; and 0 to complete the instruction's access, to whether to leave after it (adaptation.ts). */
export const ADAPTED_MISS = 10, AFTER_ACCESS = 11;
/** The first of the x87 routines (x87_runtime.ts). */
export const X87_ROUTINES = IMPORTS.findIndex(({ type }) => type === X87_TYPE);
