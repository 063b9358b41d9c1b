// The forms that the host oracle covers: every row of the opcode table that user code can run, by operand size and by kind
// of operand, with what is left out and why.

import type { OpcodeRow, Operand } from "../../../plugins/x86/instruction.ts";
import { opcodeTable } from "../../../plugins/x86/opcodes/table.ts";
import { simdRows } from "../../../plugins/x86/opcodes/simd.ts";
import { x87Rows } from "../../../plugins/x86/opcodes/x87.ts";

/** What state a form works on. */
export type Kind = "integer" | "x87" | "simd";

/** A row with operands of one size, in memory or in a register. */
export interface Form {
  /** Names the form for good; seeds its cases. */
  readonly key: string;
  readonly row: OpcodeRow;
  readonly kind: Kind;
  readonly operandSize: 16 | 32;
  readonly isMemory: boolean;
  /** How many cases it has. */
  readonly cases: number;
}

/** Handlers that are left out, by reason. */
export const LEFT_OUT: Readonly<Record<string, readonly string[]>> = {
  "far transfers and software interrupts go through the operating system's descriptors":
    "callFar jmpFar callFarIndirect jmpFarIndirect retFar iret int3 int into int1 sysenter".split(" "),
  "the operating system answers, or time does": "sgdt sidt sldt str smsw rdtsc rdpmc cpuid".split(" "),
  "results may differ by a unit in the last place, see ../../fixtures/x87":
    "f2xm1 fyl2x fptan fpatan fyl2xp1 fsincos fsin fcos".split(" "),
  "results may differ within Intel's bounds": "rsqrtps rsqrtss rcpps rcpss".split(" "),
  "AMD's processors save the x87 pointers only with an exception": ["fxsave", "fxrstor"],
};

const leftOut = new Set(Object.values(LEFT_OUT).flat());
const x87Set = new Set(x87Rows), simdSet = new Set(simdRows);

/** Operands, and handlers without such operands, that 66 makes narrower. */
const SIZED_OPERANDS = new Set<Operand>([
  "Ev",
  "Gv",
  "Zv",
  "Rv",
  "eAX",
  "Iz",
  "Ov",
  "Xv",
  "Yv",
  "Jb",
  "Jz",
  "Mp",
  "Ma",
]);
const SIZED_HANDLERS = new Set(
  "pusha popa pushf popf enter leave ret cbw cwd pushSegment popSegment push fldenv fnstenv frstor fnsave".split(" "),
);

/** Cases of a form: of instructions that compute, of those that only move, and of those that only fault. */
const COMPUTING = { integer: 150, x87: 800, simd: 300 } as const;
const MOVING = { integer: 40, x87: 150, simd: 60 } as const, FAULTING = 8;
/** Handlers with much to get wrong, and how many times the cases they have. */
const HEAVY = new Map(
  Object.entries({
    shld: 4,
    shrd: 4,
    div: 5,
    idiv: 5,
    mul: 2,
    imul1: 2,
    movs: 3,
    cmps: 4,
    scas: 4,
    stos: 2,
    fbld: 2,
    fbstp: 4,
  }),
);
const LIGHT = new Set(
  ("mov movFromSegment pushSegment popSegment movToSegment loadFarPointer nop pause push pop cmov setcc jcc jmp call ret lea " +
    "xchg lar lsl verr verw callIndirect jmpIndirect inc dec test clflush fence bswap movAligned movUnaligned movLow movHigh " +
    "movd movq movScalar fcmov fxch ffree fnop fldConstant fdecstp fincstp cbw cwd wait fneni clc stc cld std lahf sahf")
    .split(
      " ",
    ),
);

/** All forms, in the table's order. */
export const forms: readonly Form[] = opcodeTable.filter((row) => !leftOut.has(row.handler)).flatMap(formsOf);

function formsOf(row: OpcodeRow): Form[] {
  const kind = x87Set.has(row) || row.handler === "wait" ? "x87" : simdSet.has(row) ? "simd" : "integer";
  const isSized = SIZED_HANDLERS.has(row.handler) || row.operands.some((operand) => SIZED_OPERANDS.has(operand));
  const sizes = isSized && kind !== "simd" ? [32, 16] as const : [32] as const;
  return sizes.flatMap((operandSize) =>
    memoryKinds(row).map((isMemory) => ({
      key: keyOf(row, operandSize, isMemory),
      row,
      kind,
      operandSize,
      isMemory,
      cases: casesOf(row, kind),
    }))
  );
}

function memoryKinds(row: OpcodeRow): readonly boolean[] {
  if (!row.modrm) return [row.operands.some((operand) => operand.startsWith("O"))];
  if (row.form !== undefined) return [row.form === "memory"];
  return row.operands.some((operand) => /^[EQW]/.test(operand)) ? [false, true] : [false];
}

function keyOf(row: OpcodeRow, operandSize: number, isMemory: boolean): string {
  const hex = (byte: number) => byte.toString(16).padStart(2, "0");
  const opcode = (row.prefix === undefined ? "" : hex(row.prefix)) + (row.map === "0f" ? "0f" : "") + hex(row.opcode);
  const extension = row.extension === undefined ? "" : `/${row.extension}`;
  const rm = row.rm === undefined ? "" : `+${row.rm}`;
  return `${opcode}${extension}${rm}.${row.name}.${operandSize}${row.modrm ? isMemory ? "m" : "r" : ""}`;
}

function casesOf(row: OpcodeRow, kind: Kind): number {
  if (row.class === "privileged" || row.class === "memory-management" || /^(in|out|ins|outs|ud)$/.test(row.handler)) {
    return FAULTING;
  }
  if (LIGHT.has(row.handler)) return MOVING[kind];
  return COMPUTING[kind] * (HEAVY.get(row.handler) ?? 1);
}

/** C1 of FCOMI and its kin: the SDM has it cleared, AMD's processors leave it as it was. */
const C1 = 0x200;

/** Bits of the x87 status word in which our processor does as the recorded one. */
export function statusMaskOf({ row }: Form): number {
  return row.handler === "fcomi" || row.handler === "fucomi" ? 0xffff & ~C1 : 0xffff;
}
