// The notation of the instruction table: a form pairs operand kinds with an encoding, both as Intel SDM volume 2A section 3.1.1
// writes them ("rmv, imm8s" and "83 /0 ib"). The types derive each mnemonic's operands from its forms, so that the compiler
// refuses a wrong operand; the parser turns a form into what the encoder reads.
//
// Kinds: r, rm, m, moffs and imm with a width in bits; `v` is 16 or 32, the same for all operands of the form. `regN` is a
// register encoded in ModRM.rm; `imm8s` a byte that is sign-extended; `one` the constant 1; register names stand for themselves
// and are not encoded (`av` is ax or eax).
// Encoding: opcode bytes in hexadecimal, `+r` a register in the last opcode byte, `/r` and `/0`..`/7` ModRM, `ib iw id iv`
// immediates, `cb cv` relative displacements, `ov` a moffs, `far` an immediate far pointer, `o16 o32 a16 a32` a fixed operand
// or address size. Without `v`, o16 or o32 an instruction has no operand size and never gets the prefix.

import type {
  FarPointer,
  Immediate,
  Memory,
  Reg16,
  Reg32,
  Reg8,
  Register,
  SegmentRegister,
  Target,
} from "./operands.ts";

/** The TypeScript type of each operand kind. */
export interface OperandTypes {
  r8: Reg8;
  r16: Reg16;
  r32: Reg32;
  reg16: Reg16;
  reg32: Reg32;
  rm8: Reg8 | Memory;
  rm16: Reg16 | Memory;
  rm32: Reg32 | Memory;
  m: Memory;
  m8: Memory;
  m16: Memory;
  m32: Memory;
  m64: Memory;
  m80: Memory;
  mfar: Memory;
  moffs8: Memory;
  moffs16: Memory;
  moffs32: Memory;
  imm8: Immediate;
  imm8s: number;
  imm16: Immediate;
  imm32: Immediate;
  one: 1;
  rel8: Target;
  rel16: Target;
  rel32: Target;
  far: FarPointer;
  sreg: SegmentRegister;
  cr: Register<"cr">;
  dr: Register<"dr">;
  st: Register<"st">;
  st0: Register<"st", "st0">;
  al: Register<"r8", "al">;
  cl: Register<"r8", "cl">;
  ax: Register<"r16", "ax">;
  dx: Register<"r16", "dx">;
  a16: Register<"r16", "ax">;
  a32: Register<"r32", "eax">;
  es: Register<"sreg", "es">;
  cs: Register<"sreg", "cs">;
  ss: Register<"sreg", "ss">;
  ds: Register<"sreg", "ds">;
  fs: Register<"sreg", "fs">;
  gs: Register<"sreg", "gs">;
}

/** One way to write an instruction: its operand kinds, separated by ", ", and its encoding. */
export interface Form<Operands extends string = string> {
  readonly operands: Operands;
  readonly code: string;
}

/** A form of the table; see the notation at the top of this file. */
export function form<const Operands extends string>(operands: Operands, code: string): Form<Operands> {
  return { operands, code };
}

/** The only form of an instruction without operands. */
export function plain(code: string) {
  return [form("", code)] as const;
}

/** An opcode byte as the notation writes it. */
export function byte(value: number): string {
  return value.toString(16).toUpperCase().padStart(2, "0");
}

/** The operands a mnemonic with these forms takes, as a union of tuples. */
export type OperandsOf<F> = F extends Form<infer Operands>
  ? TupleOf<Split<Operands>, "16"> | TupleOf<Split<Operands>, "32">
  : never;

type Split<S extends string> = S extends "" ? []
  : S extends `${infer Head}, ${infer Tail}` ? [Head, ...Split<Tail>]
  : [S];
type AtSize<Kind, Size extends string> = Kind extends `${infer Stem}v` ? `${Stem}${Size}` : Kind;
type TupleOf<Kinds extends readonly string[], Size extends string> = {
  [I in keyof Kinds]: AtSize<Kinds[I], Size> extends keyof OperandTypes ? OperandTypes[AtSize<Kinds[I], Size>] : never;
};

/** Where a form's immediate, displacement or pointer comes from and how wide it is. */
export type TailPart = "ib" | "iw" | "id" | "iv" | "cb" | "cv" | "ov" | "far";

/** A form as the encoder reads it. */
export interface ParsedForm {
  readonly kinds: readonly string[];
  readonly opcode: readonly number[];
  /** A register operand is added to the last opcode byte. */
  readonly plusRegister: boolean;
  /** ModRM: "r" for a register operand in reg, a digit for an opcode extension, undefined for none. */
  readonly modrm: "r" | number | undefined;
  readonly tail: readonly TailPart[];
  /** Operand size the encoding fixes; "v" is told by the operands or the code's size; undefined: the prefix is never needed. */
  readonly operandSize: 16 | 32 | "v" | undefined;
  readonly addressSize: 16 | 32 | undefined;
}

/** Parses a form. Throws on a token that the notation does not have. */
export function parseForm({ operands, code }: Form): ParsedForm {
  const kinds = operands === "" ? [] : operands.split(", ");
  const opcode: number[] = [];
  const tail: TailPart[] = [];
  let plusRegister = false;
  let modrm: "r" | number | undefined;
  let operandSize: 16 | 32 | "v" | undefined = kinds.some((kind) => kind.endsWith("v")) ? "v" : undefined;
  let addressSize: 16 | 32 | undefined;
  for (const token of code.split(" ")) {
    if (/^[0-9A-F]{2}$/.test(token)) opcode.push(parseInt(token, 16));
    else if (token === "+r") plusRegister = true;
    else if (token === "/r") modrm = "r";
    else if (/^\/[0-7]$/.test(token)) modrm = Number(token[1]);
    else if (token === "o16" || token === "o32") operandSize = token === "o16" ? 16 : 32;
    else if (token === "a16" || token === "a32") addressSize = token === "a16" ? 16 : 32;
    else if (isTailPart(token)) tail.push(token);
    else throw new Error(`instruction table: "${token}" in "${code}" is no token of the notation`);
  }
  return { kinds, opcode, plusRegister, modrm, tail, operandSize, addressSize };
}

const tailParts: readonly string[] = ["ib", "iw", "id", "iv", "cb", "cv", "ov", "far"] satisfies TailPart[];

function isTailPart(token: string): token is TailPart {
  return tailParts.includes(token);
}
