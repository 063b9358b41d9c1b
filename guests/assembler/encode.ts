// Encodes one instruction: picks the first form of its mnemonic that takes the operands, then writes prefixes, opcode, ModRM,
// SIB, displacement and immediates (Intel SDM volume 2A, chapter 2). Addresses of labels are left as fixups for the layout.

import { type Form, type ParsedForm, parseForm, type TailPart } from "./forms.ts";
import { instructions, type Mnemonic } from "./instructions.ts";
import {
  type BranchTarget,
  describeOperand,
  hex,
  type Immediate,
  type LabelAddress,
  type Memory,
  type Operand,
  type Register,
} from "./operands.ts";

/** Default operand and address size of the code, in bits. */
export type Bits = 16 | 32;

/** A place in an encoding that waits for a label's address: `width` bytes at offset `at`. */
export interface Fixup {
  readonly at: number;
  readonly width: 1 | 2 | 4;
  /** `absolute`: the address itself; `relative`: its distance from the end of the instruction. */
  readonly kind: "absolute" | "relative";
  readonly target: Immediate;
}

/** An instruction's bytes, zeros where a fixup will write. */
export interface Encoding {
  readonly bytes: number[];
  readonly fixups: readonly Fixup[];
}

/** What an instruction may become: relative branches offer the encodings their target's distance chooses from. */
export type Choice =
  | { readonly kind: "fixed"; readonly encoding: Encoding }
  | { readonly kind: "branch"; readonly short?: Encoding; readonly near?: Encoding };

/** A mistake in an assembly program: the message names the instruction, the operand and what was expected. */
export class AssemblyError extends Error {
  override readonly name = "AssemblyError";
}

/**
 * Encodes `mnemonic operands` for code of `bits` bits. Throws AssemblyError when no form takes the operands, when a memory
 * operand needs a size, or when an address cannot be formed.
 */
export function encode(mnemonic: Mnemonic, operands: readonly Operand[], bits: Bits): Choice {
  const candidates = formsOf(mnemonic).flatMap((form) =>
    sizesOf(form, bits).map((size) => ({ form, size })).filter(({ form, size }) => takes(form, size, operands))
  );
  if (candidates.length === 0) throw new AssemblyError(explainMismatch(mnemonic, operands, bits));
  const branches = candidates.filter(({ form }) => form.tail[0] === "cb" || form.tail[0] === "cv");
  if (branches.length > 0) return encodeBranch(mnemonic, branches, operands, bits);
  requireMemorySize(mnemonic, candidates, operands);
  const { form, size } = candidates[0];
  try {
    return { kind: "fixed", encoding: write(form, size, operands, bits) };
  } catch (cause) {
    if (!(cause instanceof AssemblyError)) throw cause;
    throw new AssemblyError(`${describeInstruction(mnemonic, operands)}: ${cause.message}`, { cause });
  }
}

/** The instruction as an error message shows it. */
export function describeInstruction(mnemonic: string, operands: readonly Operand[]): string {
  return `${mnemonic} ${operands.map(describeOperand).join(", ")}`.trimEnd();
}

/** A number's little-endian two's complement bytes. */
export function littleEndian(value: number, width: number): number[] {
  return Array.from({ length: width }, (_, i) => (value >> (8 * i)) & 0xff);
}

interface Candidate {
  readonly form: ParsedForm;
  readonly size: Bits;
}

const parsed = new Map<Mnemonic, readonly ParsedForm[]>();

function formsOf(mnemonic: Mnemonic): readonly ParsedForm[] {
  let forms = parsed.get(mnemonic);
  if (forms === undefined) {
    forms = (instructions[mnemonic] as readonly Form[]).map(parseForm);
    parsed.set(mnemonic, forms);
  }
  return forms;
}

/** The operand sizes a form can be read at, the code's own first. */
function sizesOf(form: ParsedForm, bits: Bits): readonly Bits[] {
  if (form.operandSize !== "v") return [form.operandSize ?? bits];
  if (form.tail.includes("cv")) return [bits];
  return bits === 32 ? [32, 16] : [16, 32];
}

function takes(form: ParsedForm, size: Bits, operands: readonly Operand[]): boolean {
  return form.kinds.length === operands.length && form.kinds.every((kind, i) => fits(kind, size, operands[i]));
}

/** The kind with its `v` replaced by the operand size. */
function atSize(kind: string, size: Bits): string {
  return kind.endsWith("v") ? kind.slice(0, -1) + size : kind;
}

function fits(kindOrV: string, size: Bits, operand: Operand): boolean {
  const kind = atSize(kindOrV, size);
  if (kind.startsWith("rel")) return isTarget(operand);
  if (typeof operand === "number") return numberFits(kind, size, operand);
  if (typeof operand === "string") return false;
  switch (operand.kind) {
    case "register":
      return registerFits(kind, operand);
    case "memory":
      return memoryFits(kind, operand);
    case "label":
      return kind === "imm16" || kind === "imm32";
    case "far":
      return kind === "far";
    case "target":
      return false;
  }
}

function isTarget(operand: Operand): operand is string | number | LabelAddress | BranchTarget {
  if (typeof operand === "string" || typeof operand === "number") return true;
  return operand.kind === "label" || operand.kind === "target";
}

function numberFits(kind: string, size: Bits, value: number): boolean {
  if (!Number.isInteger(value)) return false;
  if (kind === "one") return value === 1;
  if (kind === "imm8s") return inRange(value, size) && isSignedByte(signed(value, size));
  if (kind === "imm8" || kind === "imm16" || kind === "imm32") return inRange(value, Number(kind.slice(3)));
  return false;
}

/** True if `value` is an unsigned or a signed number of `width` bits. */
function inRange(value: number, width: number): boolean {
  return value >= -(2 ** (width - 1)) && value < 2 ** width;
}

function signed(value: number, width: number): number {
  return value >= 2 ** (width - 1) ? value - 2 ** width : value;
}

function isSignedByte(value: number): boolean {
  return value >= -128 && value <= 127;
}

function registerFits(kind: string, register: Register): boolean {
  if (kind === register.name || kind === register.class) return true;
  if (kind === "a16") return register.name === "ax";
  if (kind === "a32") return register.name === "eax";
  const width = /^(?:reg|rm)(8|16|32)$/.exec(kind)?.[1];
  return width !== undefined && register.class === `r${width}`;
}

function memoryFits(kind: string, memory: Memory): boolean {
  if (kind === "m") return true;
  if (kind === "mfar") return memory.size === undefined || memory.size === 32 || memory.size === 48;
  if (kind.startsWith("moffs") && (memory.base !== undefined || memory.index !== undefined)) return false;
  const width = memoryWidth(kind);
  return width !== undefined && (memory.size === undefined || memory.size === width);
}

function memoryWidth(kind: string): number | undefined {
  const width = /^(?:m|rm|moffs)(8|16|32|64|80)$/.exec(kind)?.[1];
  return width === undefined ? undefined : Number(width);
}

/** Throws if a memory operand without a size could be read at several sizes. */
function requireMemorySize(mnemonic: Mnemonic, candidates: readonly Candidate[], operands: readonly Operand[]): void {
  operands.forEach((operand, i) => {
    if (typeof operand !== "object" || operand.kind !== "memory" || operand.size !== undefined) return;
    const widths = new Set(candidates.map(({ form, size }) => memoryWidth(atSize(form.kinds[i], size))));
    if (widths.size > 1) {
      throw new AssemblyError(
        `${describeInstruction(mnemonic, operands)}: operand ${i + 1} has no size; expected ${
          [...widths].map((width) => `mem${width}`).join(" or ")
        }`,
      );
    }
  });
}

function explainMismatch(mnemonic: Mnemonic, operands: readonly Operand[], bits: Bits): string {
  const text = describeInstruction(mnemonic, operands);
  const forms = formsOf(mnemonic);
  const sameCount = forms.filter((form) => form.kinds.length === operands.length);
  if (sameCount.length === 0) {
    const counts = [...new Set(forms.map((form) => form.kinds.length))].sort();
    return `${text}: the number of operands is ${operands.length}; expected ${counts.join(" or ")}`;
  }
  let furthest = 0;
  let expected = new Set<string>();
  for (const form of sameCount) {
    for (const size of sizesOf(form, bits)) {
      const at = form.kinds.findIndex((kind, i) => !fits(kind, size, operands[i]));
      if (at > furthest) expected = new Set();
      furthest = Math.max(furthest, at);
      if (at === furthest) expected.add(atSize(form.kinds[at], size));
    }
  }
  return `${text}: operand ${furthest + 1} is ${describeOperand(operands[furthest])}; expected ${
    [...expected].join(", ")
  }`;
}

function encodeBranch(
  mnemonic: Mnemonic,
  candidates: readonly Candidate[],
  operands: readonly Operand[],
  bits: Bits,
): Choice {
  const operand = operands[0];
  const distance = typeof operand === "object" && operand.kind === "target" ? operand.distance : undefined;
  const at = (part: TailPart) => {
    const found = candidates.find(({ form }) => form.tail[0] === part);
    return found === undefined ? undefined : write(found.form, found.size, operands, bits);
  };
  const short = distance === "near" ? undefined : at("cb");
  const near = distance === "short" ? undefined : at("cv");
  if (short === undefined && near === undefined) {
    throw new AssemblyError(`${describeInstruction(mnemonic, operands)}: the instruction has no ${distance} form`);
  }
  return { kind: "branch", short, near };
}

const OPERAND_SIZE_PREFIX = 0x66;
const ADDRESS_SIZE_PREFIX = 0x67;
/** Segment override prefixes by segment register number: es, cs, ss, ds, fs, gs. */
export const SEGMENT_PREFIXES: readonly number[] = [0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65];

/** Writes one form with operands that it takes. */
function write(form: ParsedForm, size: Bits, operands: readonly Operand[], bits: Bits): Encoding {
  const bytes: number[] = [];
  const fixups: Fixup[] = [];
  const memory = operands.find((operand): operand is Memory =>
    typeof operand === "object" && operand.kind === "memory"
  );
  const operandSize = form.operandSize === undefined ? pointerSize(form, operands, bits) : size;
  const addressSize = form.addressSize ?? (memory === undefined ? bits : addressSizeOf(memory, bits));
  if (memory?.segment !== undefined) bytes.push(SEGMENT_PREFIXES[memory.segment.number]);
  if (operandSize !== bits) bytes.push(OPERAND_SIZE_PREFIX);
  if (addressSize !== bits) bytes.push(ADDRESS_SIZE_PREFIX);
  bytes.push(...form.opcode);
  const { inModrmReg, inModrmRm, inOpcode } = placeRegisters(form, operands);
  if (form.plusRegister) bytes[bytes.length - 1] += inOpcode?.number ?? 0;
  if (form.modrm !== undefined) {
    const reg = form.modrm === "r" ? inModrmReg?.number ?? 0 : form.modrm;
    if (memory === undefined) bytes.push(0xc0 | (reg << 3) | (inModrmRm?.number ?? 0));
    else writeMemory(memory, addressSize, reg, bytes, fixups);
  }
  const immediates = operands.flatMap((operand, i) => {
    if (form.kinds[i] === "imm8s" && typeof operand === "number") return [signed(operand, size)];
    return /^(imm|rel|far)/.test(form.kinds[i]) ? [operand] : [];
  });
  for (const part of form.tail) {
    if (part === "ov" && memory !== undefined) writeImmediate(memory.disp, widthOf(addressSize), bytes, fixups);
    else writeTail(part, size, bits, immediates.shift(), bytes, fixups);
  }
  return { bytes, fixups };
}

/** The operand size of a far pointer, immediate or in memory; the code's own for everything else. */
function pointerSize(form: ParsedForm, operands: readonly Operand[], bits: Bits): Bits {
  const operand = operands[0];
  if (typeof operand !== "object") return bits;
  if (operand.kind === "far") return operand.size ?? bits;
  if (form.kinds[0] === "mfar" && operand.kind === "memory" && operand.size !== undefined) {
    return operand.size === 48 ? 32 : 16;
  }
  return bits;
}

/** Which register operand goes where: a kind that stands for one register is implied, r/m and `reg` kinds are ModRM.rm. */
function placeRegisters(form: ParsedForm, operands: readonly Operand[]) {
  let inModrmReg: Register | undefined;
  let inModrmRm: Register | undefined;
  let inOpcode: Register | undefined;
  operands.forEach((operand, i) => {
    if (typeof operand !== "object" || operand.kind !== "register") return;
    const kind = form.kinds[i];
    if (/^(rm|reg)/.test(kind)) inModrmRm = operand;
    else if (/^(r(8|16|32|v)|sreg|cr|dr|st)$/.test(kind)) {
      if (form.plusRegister) inOpcode = operand;
      else inModrmReg = operand;
    }
  });
  return { inModrmReg, inModrmRm, inOpcode };
}

function widthOf(size: Bits): 2 | 4 {
  return size === 16 ? 2 : 4;
}

function writeTail(
  part: TailPart,
  size: Bits,
  bits: Bits,
  operand: Operand | undefined,
  bytes: number[],
  fixups: Fixup[],
): void {
  if (typeof operand === "object" && operand.kind === "far") {
    writeImmediate(operand.offset, widthOf(operand.size ?? bits), bytes, fixups);
    bytes.push(...littleEndian(operand.selector, 2));
    return;
  }
  if (part === "cb" || part === "cv") {
    const to = typeof operand === "object" && operand.kind === "target" ? operand.to : operand;
    const target = typeof to === "string" ? { kind: "label", name: to, offset: 0 } as const : to;
    writeFixup("relative", target as Immediate, part === "cb" ? 1 : widthOf(size), bytes, fixups);
    return;
  }
  const width = part === "ib" ? 1 : part === "iw" ? 2 : part === "id" ? 4 : widthOf(size);
  writeImmediate(operand as Immediate, width, bytes, fixups);
}

function writeImmediate(value: Immediate, width: 1 | 2 | 4, bytes: number[], fixups: Fixup[]): void {
  if (typeof value === "number") {
    if (!inRange(value, width * 8)) throw new AssemblyError(`${hex(value)} does not fit ${width * 8} bits`);
    bytes.push(...littleEndian(value, width));
  } else writeFixup("absolute", value, width, bytes, fixups);
}

function writeFixup(kind: Fixup["kind"], target: Immediate, width: 1 | 2 | 4, bytes: number[], fixups: Fixup[]): void {
  fixups.push({ at: bytes.length, width, kind, target });
  bytes.push(...littleEndian(0, width));
}

function addressSizeOf(memory: Memory, bits: Bits): Bits {
  const classes = new Set([memory.base, memory.index].filter((register) => register !== undefined).map((r) => r.class));
  if (classes.size > 1) throw new AssemblyError(`${describeOperand(memory)} mixes 16- and 32-bit registers`);
  if (classes.has("r32")) return 32;
  if (classes.has("r16")) return 16;
  return typeof memory.disp === "number" && !inRange(memory.disp, 16) ? 32 : bits;
}

function writeMemory(memory: Memory, size: Bits, reg: number, bytes: number[], fixups: Fixup[]): void {
  if (size === 16) writeMemory16(memory, reg, bytes, fixups);
  else writeMemory32(memory, reg, bytes, fixups);
}

/** ModRM.rm of the 16-bit address forms by base and index, Intel SDM table 2-1; [disp16] borrows bp's. */
const addressForms16: Readonly<Record<string, number>> = {
  "bx+si": 0,
  "bx+di": 1,
  "bp+si": 2,
  "bp+di": 3,
  si: 4,
  di: 5,
  bp: 6,
  bx: 7,
};
const RM16_BP_OR_DISP = 6;

function writeMemory16(memory: Memory, reg: number, bytes: number[], fixups: Fixup[]): void {
  const names = [memory.base, memory.index].filter((register) => register !== undefined).map((r) => r.name).sort(
    (a, b) => Number(b.startsWith("b")) - Number(a.startsWith("b")),
  );
  if (names.length === 0) {
    bytes.push((reg << 3) | RM16_BP_OR_DISP);
    writeImmediate(memory.disp, 2, bytes, fixups);
    return;
  }
  const rm = addressForms16[names.join("+")];
  if (rm === undefined || memory.scale !== 1) {
    throw new AssemblyError(`${describeOperand(memory)} is no 16-bit address; expected bx or bp, si or di, unscaled`);
  }
  const mod = displacementMod(memory.disp, 16, rm === RM16_BP_OR_DISP);
  bytes.push((mod << 6) | (reg << 3) | rm);
  if (mod === 1) bytes.push(Number(memory.disp) & 0xff);
  if (mod === 2) writeImmediate(memory.disp, 2, bytes, fixups);
}

/** ModRM.rm that announces a SIB byte, SIB.index that means none, and ModRM.rm or SIB.base that means disp32 under mod 0. */
const RM_SIB = 4;
const NO_INDEX = 4;
const RM_DISP32 = 5;

function writeMemory32(memory: Memory, reg: number, bytes: number[], fixups: Fixup[]): void {
  const { base, index, disp, scale } = memory;
  if (index?.name === "esp") throw new AssemblyError(`${describeOperand(memory)}: esp cannot be an index`);
  if (base === undefined) {
    if (index === undefined) bytes.push((reg << 3) | RM_DISP32);
    else bytes.push((reg << 3) | RM_SIB, (Math.log2(scale) << 6) | (index.number << 3) | RM_DISP32);
    writeImmediate(disp, 4, bytes, fixups);
    return;
  }
  const mod = displacementMod(disp, 32, base.name === "ebp");
  const needsSib = index !== undefined || base.number === RM_SIB;
  bytes.push((mod << 6) | (reg << 3) | (needsSib ? RM_SIB : base.number));
  if (needsSib) bytes.push((Math.log2(scale) << 6) | ((index?.number ?? NO_INDEX) << 3) | base.number);
  if (mod === 1) bytes.push(Number(disp) & 0xff);
  if (mod === 2) writeImmediate(disp, 4, bytes, fixups);
}

/** ModRM.mod for a displacement after a base register: none, a signed byte, or full width. `always`: mod 0 means something else. */
function displacementMod(disp: Immediate, width: Bits, always: boolean): 0 | 1 | 2 {
  if (typeof disp !== "number") return 2;
  if (disp === 0 && !always) return 0;
  return inRange(disp, width) && isSignedByte(signed(disp, width)) ? 1 : 2;
}
