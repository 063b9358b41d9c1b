// A decoded instruction as text, in Intel's syntax: mnemonic and operands come from the row of the opcode table, so what
// the decoder knows is what is shown (operand notation: SDM 2D, appendix A.2; mnemonics: SDM 2A to 2C).

import { decode, MAX_INSTRUCTION_LENGTH } from "./decoder.ts";
import { CS, DS, EBP, ESP, type Instruction, NO_REGISTER, type Operand, SS } from "./instruction.ts";
import type { Processor } from "./processor.ts";
import * as S from "./state.ts";

/** The name of an address, such as `main+0x10`, or undefined where it has none. */
export type NameOf = (address: number) => string | undefined;

/**
 * One instruction as text. `eip` is its own offset in the code segment, from which targets of jumps are counted; a target
 * with a name gets it in angle brackets.
 */
export function disassemble(instruction: Instruction, eip: number, nameOf?: NameOf): string {
  const { row } = instruction;
  const isString = row.operands.some((operand) => operand[0] === "X" || operand[0] === "Y");
  const prefix = (instruction.lock ? "lock " : "") + (isString ? repeatPrefix(instruction) : "");
  // The accumulator of STOS, LODS and SCAS goes without saying, as the operands of CBW do.
  const operands = row.operands.filter((operand) => !isString || !/^(?:al|eAX)$/.test(operand))
    .map((operand) => operandText(instruction, operand, eip));
  const [target] = nameOf === undefined ? [] : targetsOf(instruction, eip).map(nameOf);
  const comment = target === undefined ? "" : ` <${target}>`;
  return `${prefix}${mnemonicOf(instruction)} ${operands.join(", ")}`.trimEnd() + comment;
}

/** An instruction at an address of a guest's memory, as far as it can be seen without changing anything. */
export interface CodeLine {
  /** Offset in the code segment. */
  readonly eip: number;
  /** Bytes of the instruction; one byte where there is none. */
  readonly bytes: Uint8Array;
  readonly text: string;
}

/** Up to `count` instructions from `eip` in the processor's code segment and mode; fewer where memory is not mapped. */
export function disassembleAt(cpu: Processor, eip: number, count: number, nameOf?: NameOf): CodeLine[] {
  const codeSize = cpu.r[S.ATTRIBUTES + CS] & S.SEG_DB ? 32 : 16;
  const base = cpu.r[S.BASE + CS];
  const lines: CodeLine[] = [];
  for (let at = eip >>> 0; lines.length < count;) {
    const bytes = cpu.mmu.peekBytes((base + at) | 0, MAX_INSTRUCTION_LENGTH);
    if (bytes.length === 0) break;
    const decoded = decode(bytes, 0, bytes.length, codeSize);
    const isInstruction = typeof decoded !== "string";
    const length = isInstruction ? decoded.length : 1;
    const inCode = (address: number) => nameOf?.((base + address) >>> 0);
    const text = isInstruction ? disassemble(decoded, at, inCode) : `(${decoded})`;
    lines.push({ eip: at, bytes: bytes.subarray(0, length), text });
    at = (at + length) >>> 0;
  }
  return lines;
}

const GENERAL_32 = ["eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi"];
const GENERAL_16 = ["ax", "cx", "dx", "bx", "sp", "bp", "si", "di"];
const GENERAL_8 = ["al", "cl", "dl", "bl", "ah", "ch", "dh", "bh"];
const SEGMENTS = ["es", "cs", "ss", "ds", "fs", "gs", "?", "?"];

/** Names of 16-bit forms, by the 32-bit name that the table has. */
const NAMES_16: Readonly<Record<string, string>> = {
  cwde: "cbw",
  cdq: "cwd",
  insd: "insw",
  outsd: "outsw",
  movsd: "movsw",
  cmpsd: "cmpsw",
  stosd: "stosw",
  lodsd: "lodsw",
  scasd: "scasw",
  pushad: "pusha",
  popad: "popa",
  pushfd: "pushf",
  popfd: "popf",
  iretd: "iret",
};

function mnemonicOf({ row, operandSize, addressSize }: Instruction): string {
  if (row.name === "jecxz") return addressSize === 16 ? "jcxz" : "jecxz";
  // MOVSD and CMPSD are names of SSE2 instructions, too, which have a mandatory prefix.
  const is16 = operandSize === 16 && row.prefix === undefined;
  const isFar = /^(?:call|jmp)$/.test(row.name) && row.operands[0].endsWith("p");
  return (is16 ? NAMES_16[row.name] ?? row.name : row.name) + (isFar ? " far" : "");
}

function repeatPrefix({ row, repeat }: Instruction): string {
  if (repeat === 0) return "";
  const compares = row.handler === "cmps" || row.handler === "scas";
  return repeat === 0xf2 ? "repne " : compares ? "repe " : "rep ";
}

/** Where control may go by a relative or direct far operand. */
function targetsOf(instruction: Instruction, eip: number): number[] {
  return instruction.row.operands.some((operand) => operand[0] === "J") ? [targetOf(instruction, eip)] : [];
}

function targetOf({ length, immediate, operandSize }: Instruction, eip: number): number {
  const target = (eip + length + immediate) >>> 0;
  return operandSize === 16 ? target & 0xffff : target;
}

/** Sizes of memory operands that depend on nothing, by operand code. */
const MEMORY_SIZES: Readonly<Partial<Record<Operand, string>>> = {
  Eb: "byte",
  Ew: "word",
  Ed: "dword",
  Mw: "word",
  Md: "dword",
  Mq: "qword",
  Mdq: "xmmword",
  Ms: "fword",
  Mf32: "dword",
  Mf64: "qword",
  Mf80: "tbyte",
  Mi16: "word",
  Mi32: "dword",
  Mi64: "qword",
  Mbcd: "tbyte",
  Qq: "qword",
  Qd: "dword",
  Wdq: "xmmword",
  Wq: "qword",
  Wps: "xmmword",
  Wpd: "xmmword",
  Wss: "dword",
  Wsd: "qword",
  Ob: "byte",
  Xb: "byte",
  Yb: "byte",
};

/** Size keyword of a memory operand; empty where the instruction has none to speak of. */
function memorySize(operand: Operand, operandSize: 16 | 32): string {
  const fixed = MEMORY_SIZES[operand];
  if (fixed !== undefined) return `${fixed} ptr `;
  if (operand === "Mp") return operandSize === 32 ? "fword ptr " : "dword ptr ";
  if (operand === "Ma") return operandSize === 32 ? "qword ptr " : "dword ptr ";
  if (/^[EOXY]v$/.test(operand)) return operandSize === 32 ? "dword ptr " : "word ptr ";
  return "";
}

function operandText(instruction: Instruction, operand: Operand, eip: number): string {
  const { reg, rm, operandSize, immediate, immediate2, row, addressSize } = instruction;
  const pointer = addressSize === 32 ? GENERAL_32 : GENERAL_16;
  switch (operand[0]) {
    case "E":
    case "M":
    case "O":
    case "Q":
    case "W":
      if (instruction.isMemory) return memorySize(operand, operandSize) + memoryText(instruction);
      return operand[0] === "Q" ? `mm${rm}` : operand[0] === "W" ? `xmm${rm}` : generalText(rm, operand, operandSize);
    case "R":
      return generalText(rm, operand, operandSize);
    case "G":
      return generalText(reg, operand, operandSize);
    case "Z":
      return generalText(row.variant, operand, operandSize);
    case "S":
      return operand === "Sw" ? SEGMENTS[reg] : operand === "ST0" ? "st(0)" : `st(${rm})`;
    case "C":
      return `cr${reg}`;
    case "D":
      return `dr${reg}`;
    case "P":
      return `mm${reg}`;
    case "N":
      return `mm${rm}`;
    case "V":
      return `xmm${reg}`;
    case "U":
      return `xmm${rm}`;
    case "I":
      return operand === "Ib" && row.operands.includes("Iw") ? hex(immediate2) : immediateText(instruction, operand);
    case "J":
      return hex(targetOf(instruction, eip));
    case "A":
      return `${hex(immediate2)}:${hex(operandSize === 16 ? immediate & 0xffff : immediate)}`;
    case "X":
      return `${memorySize(operand, operandSize)}${segmentText(instruction, DS)}[${pointer[6]}]`;
    case "Y":
      return `${memorySize(operand, operandSize)}[${pointer[7]}]`;
  }
  return operand === "eAX" ? (operandSize === 32 ? "eax" : "ax") : operand;
}

function generalText(register: number, operand: Operand, operandSize: 16 | 32): string {
  switch (operand[1]) {
    case "b":
      return GENERAL_8[register];
    case "w":
      return GENERAL_16[register];
    case "d":
      return GENERAL_32[register];
    default:
      return operandSize === 32 ? GENERAL_32[register] : GENERAL_16[register];
  }
}

/** Immediates are unsigned, as wide as the operand that they are used with. */
function immediateText({ immediate, operandSize }: Instruction, operand: Operand): string {
  if (operand === "Ib") return hex(immediate & 0xff);
  if (operand === "Iw") return hex(immediate & 0xffff);
  return hex(operandSize === 16 ? immediate & 0xffff : immediate);
}

function memoryText(instruction: Instruction): string {
  const { base, index, scale, displacement, addressSize } = instruction;
  const names = addressSize === 32 ? GENERAL_32 : GENERAL_16;
  const parts: string[] = [];
  if (base !== NO_REGISTER) parts.push(names[base]);
  // An index alone is told from a base, which may imply SS.
  const isScaled = scale !== 0 || base === NO_REGISTER;
  if (index !== NO_REGISTER) parts.push(isScaled ? `${names[index]}*${1 << scale}` : names[index]);
  const implied = base === EBP || base === ESP ? SS : DS;
  const segment = segmentText(instruction, implied);
  if (parts.length === 0) return `${segment}[${hex(addressSize === 16 ? displacement & 0xffff : displacement)}]`;
  const signed = addressSize === 16 ? displacement << 16 >> 16 : displacement;
  const offset = signed === 0 ? "" : signed < 0 ? `-${hex(-signed)}` : `+${hex(signed)}`;
  return `${segment}[${parts.join("+")}${offset}]`;
}

/** A segment is named where it is not the one that the address implies; LEA has none. */
function segmentText({ segment, row }: Instruction, implied: number): string {
  return segment === implied || row.name === "lea" ? "" : `${SEGMENTS[segment]}:`;
}

function hex(value: number): string {
  return `0x${(value >>> 0).toString(16)}`;
}
