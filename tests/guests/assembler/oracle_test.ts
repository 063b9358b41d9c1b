// The assembler against an independent disassembler: every form of the instruction table, at both operand sizes, in 16- and
// 32-bit code, with every address form, is assembled and must disassemble (iced-x86) to the same instruction and operands.

import { assert, assertEquals, assertGreater } from "@std/assert";
import {
  Decoder,
  DecoderOptions,
  type Instruction,
  MemorySizeExt,
  Mnemonic as IcedMnemonic,
  OpKind,
  Register as IcedRegister,
} from "iced-x86";
import {
  ah,
  al,
  Assembler,
  ax,
  type Bits,
  bl,
  bp,
  bx,
  cl,
  cr0,
  cr3,
  cs,
  cx,
  describeOperand,
  di,
  dr0,
  dr7,
  ds,
  dx,
  eax,
  ebp,
  ebx,
  ecx,
  edi,
  edx,
  es,
  esi,
  esp,
  far,
  fs,
  gs,
  instructions,
  mem,
  type Memory,
  type MemorySize,
  type Mnemonic,
  type Operand,
  si,
  ss,
  st0,
  st1,
  st6,
} from "../../../guests/assembler/mod.ts";

const ORIGIN = 0x1000;

/** Address forms without their size; the first is used while other operands vary. */
const addresses: readonly Memory[] = [
  mem(ebx),
  mem(ebp),
  mem(esp),
  mem(ebp, { disp: 8 }),
  mem(esi, { disp: -128 }),
  mem(edi, { disp: 128 }),
  mem(esp, { disp: 0x12345678 }),
  mem(eax, { index: ecx }),
  mem(ebp, { index: esi, scale: 4, disp: 8, segment: fs }),
  mem(ecx, { index: ebp, scale: 8, disp: -0x1000 }),
  mem({ index: edx, scale: 2, disp: 0x8000 }),
  mem(0x1234),
  mem(0x12345678, { segment: gs }),
  mem(eax, { segment: es }),
  mem(bx),
  mem(bp),
  mem(si, { disp: 5 }),
  mem(di, { disp: -300 }),
  mem(bx, { index: si, disp: 1 }),
  mem(bp, { index: di, segment: cs }),
  mem(bx, { index: di, disp: 0x7000 }),
  mem(bp, { index: si, disp: -1, segment: ss }),
];
const offsets: readonly Memory[] = [mem(0x1234), mem(0x4321, { segment: ds }), mem(0x12345678)];

function sized(memories: readonly Memory[], size: MemorySize): Memory[] {
  return memories.map((memory) => ({ ...memory, size }));
}

/** Operands to try for each kind of the notation; `v` is replaced by the width before the look-up. */
const samples: Readonly<Record<string, readonly Operand[]>> = {
  r8: [bl, al, ah],
  r16: [cx, di, bp],
  r32: [ecx, edi, esp],
  reg16: [cx, si],
  reg32: [ecx, esi],
  rm8: [bl, ah, ...sized(addresses, 8)],
  rm16: [cx, si, ...sized(addresses, 16)],
  rm32: [ebx, ebp, ...sized(addresses, 32)],
  m: addresses,
  m8: sized(addresses, 8),
  m16: sized(addresses, 16),
  m32: sized(addresses, 32),
  m64: sized(addresses, 64),
  m80: sized(addresses, 80),
  mfar: [...sized(addresses, 32), ...sized(addresses, 48)],
  moffs8: sized(offsets, 8),
  moffs16: sized(offsets, 16),
  moffs32: sized(offsets, 32),
  imm8: [5, 0x7f, 0xff, -1],
  imm8s: [5, -128],
  imm16: [0x1234, 0x80, -2],
  imm32: [0x12345678, 0x80, -2],
  one: [1],
  rel8: [ORIGIN + 0x20, ORIGIN - 0x20],
  rel16: [ORIGIN + 0x1000],
  rel32: [ORIGIN + 0x1000, ORIGIN + 0x100000],
  far: [far(0x08, 0x1234, 16), far(0x10, 0x12345678, 32), far(0x33, 0x77)],
  sreg: [ds, fs],
  cr: [cr0, cr3],
  dr: [dr0, dr7],
  st: [st1, st6],
  st0: [st0],
  al: [al],
  cl: [cl],
  ax: [ax],
  dx: [dx],
  a16: [ax],
  a32: [eax],
  es: [es],
  cs: [cs],
  ss: [ss],
  ds: [ds],
  fs: [fs],
  gs: [gs],
};

/** Prefixes: they stand alone in the table and are tested with an instruction behind them. */
const prefixes: ReadonlySet<string> = new Set(["rep", "repe", "repne", "lock"]);

/** Our synonyms by the disassembler's name. */
const synonyms: Readonly<Record<string, string>> = {
  sal: "shl",
  jmpfar: "jmp",
  callfar: "call",
  fwait: "wait",
  pushw: "push",
  pushd: "push",
  c: "b",
  nae: "b",
  nb: "ae",
  nc: "ae",
  z: "e",
  nz: "ne",
  na: "be",
  nbe: "a",
  pe: "p",
  po: "np",
  nge: "l",
  nl: "ge",
  ng: "le",
  nle: "g",
};

/** Instructions without a name of their own per operand size, by ours: the disassembler's in 16- and in 32-bit code. */
const sizeNames: Readonly<Record<string, readonly [string, string]>> = {
  pusha: ["pusha", "pushad"],
  popa: ["popa", "popad"],
  pushf: ["pushf", "pushfd"],
  popf: ["popf", "popfd"],
  iret: ["iret", "iretd"],
  pushaw: ["pusha", "pusha"],
  popaw: ["popa", "popa"],
  pushfw: ["pushf", "pushf"],
  popfw: ["popf", "popf"],
  iretw: ["iret", "iret"],
};

function expectedMnemonic(mnemonic: string, bits: Bits): string {
  const name = mnemonic.toLowerCase();
  if (Object.hasOwn(sizeNames, name)) return sizeNames[name][bits === 16 ? 0 : 1];
  if (Object.hasOwn(synonyms, name)) return synonyms[name];
  const conditional = /^(j|set|cmov)(.+)$/.exec(name);
  if (conditional !== null && Object.hasOwn(synonyms, conditional[2])) return conditional[1] + synonyms[conditional[2]];
  return name;
}

/** The kinds of a form at each operand size it can have. */
function readings(operands: string, bits: Bits): string[][] {
  const kinds = operands === "" ? [] : operands.split(", ");
  if (!kinds.some((kind) => kind.endsWith("v"))) return [kinds];
  // Branches and a lone immediate have the size of the code.
  const widths = operands === "relv" || operands === "immv" ? [bits] : [16, 32];
  return widths.map((width) => kinds.map((kind) => kind.replace(/v$/, String(width))));
}

/** Every list of operands that varies one operand of the form while the others stay at their first sample. */
function combinations(kinds: readonly string[]): Operand[][] {
  const first = kinds.map((kind) => samples[kind][0]);
  const lists = kinds.flatMap((kind, i) => samples[kind].map((sample) => first.with(i, sample)));
  return kinds.length === 0 ? [[]] : lists;
}

/** An operand of ours in the words both sides are compared in. */
function describeOurs(operand: Operand, kind: string, bits: Bits): string {
  if (typeof operand === "number") {
    if (kind.startsWith("rel")) return `to ${operand}`;
    return `immediate ${BigInt.asUintN(immediateWidth(kind, bits), BigInt(operand))}`;
  }
  assert(typeof operand === "object");
  if (operand.kind === "register") return operand.name;
  if (operand.kind === "far") return `far ${operand.selector}:${operand.offset}:${operand.size ?? bits}`;
  assert(operand.kind === "memory");
  const { base, index, scale, segment } = operand;
  const registers = [base?.name, index?.name].filter((name) => name !== undefined);
  const is16 = registers.length > 0 ? registers[0].length === 2 : bits === 16 && Number(operand.disp) <= 0xffff;
  const defaultSegment = base !== undefined && /^(e?bp|esp)$/.test(base.name) ? "ss" : "ds";
  const disp = BigInt.asUintN(is16 ? 16 : 32, BigInt(Number(operand.disp)));
  return `[${segment?.name ?? defaultSegment}:${base?.name ?? "none"}+${index?.name ?? "none"}*${scale}+${disp}]`;
}

function immediateWidth(kind: string, bits: Bits): number {
  if (kind === "one" || kind === "imm8") return 8;
  if (kind === "imm8s") return bits;
  return Number(kind.slice(3));
}

/** Operand `i` of the disassembler's in the same words; `width` is that of immediates in bits. */
function describeTheirs(instruction: Instruction, i: number, width: number): string {
  switch (instruction.opKind(i)) {
    case OpKind.Register:
      return registerName(instruction.opRegister(i));
    case OpKind.NearBranch16:
    case OpKind.NearBranch32:
      return `to ${instruction.nearBranchTarget}`;
    case OpKind.FarBranch16:
      return `far ${instruction.farBranchSelector}:${instruction.farBranch16}:16`;
    case OpKind.FarBranch32:
      return `far ${instruction.farBranchSelector}:${instruction.farBranch32}:32`;
    case OpKind.Memory: {
      const { memoryBase, memoryIndex, memoryIndexScale, memorySegment, memoryDisplSize, memoryDisplacement } =
        instruction;
      const base = registerName(memoryBase);
      const index = registerName(memoryIndex);
      const is16 = memoryBase === IcedRegister.None && memoryIndex === IcedRegister.None
        ? memoryDisplSize === 2
        : (memoryBase === IcedRegister.None ? index : base).length === 2;
      const disp = BigInt.asUintN(is16 ? 16 : 32, memoryDisplacement);
      return `[${registerName(memorySegment)}:${base}+${index}*${memoryIndexScale}+${disp}]`;
    }
    default:
      return `immediate ${BigInt.asUintN(width, instruction.immediate(i))}`;
  }
}

function registerName(register: IcedRegister): string {
  return IcedRegister[register].toLowerCase();
}

/** Forms whose r/m register is 16 bits to the manual but whose width the disassembler takes from the operand size. */
const selectorOperands: ReadonlySet<string> = new Set([
  "lldt",
  "ltr",
  "verr",
  "verw",
  "lmsw",
  "arpl",
  "mov",
  "lar",
  "lsl",
]);

function checkCase(mnemonic: Mnemonic, kinds: readonly string[], operands: readonly Operand[], bits: Bits): void {
  const asm = new Assembler({ origin: ORIGIN, bits });
  asm.emit(mnemonic, ...operands);
  const { bytes } = asm.assemble();
  const text = `${bits}-bit ${mnemonic} ${operands.map(describeOperand).join(", ")} = ${
    [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join(" ")
  }`;
  const decoder = new Decoder(bits, bytes, DecoderOptions.None);
  decoder.ip = BigInt(ORIGIN);
  const instruction = decoder.decode();
  try {
    assertEquals(instruction.length, bytes.length, text);
    assertEquals(IcedMnemonic[instruction.mnemonic].toLowerCase(), expectedMnemonic(mnemonic, bits), text);
    if (kinds.length === 0) return;
    const ours = operands.map((operand, i) => describeOurs(operand, kinds[i], bits));
    const theirs = ours.map((_, i) =>
      describeTheirs(instruction, i, /^imm|^one/.test(kinds[i]) ? immediateWidth(kinds[i], bits) : 32)
    );
    // Exchanging is symmetric, and the disassembler has its own taste in order.
    if (mnemonic === "xchg") ours.sort(), theirs.sort();
    if (selectorOperands.has(mnemonic)) assertEquals(theirs.map(narrow), ours.map(narrow), text);
    else assertEquals(theirs, ours, text);
    const width = kinds.map((kind) => /^(?:rm|m|moffs)(\d+)$/.exec(kind)?.[1]).find((found) => found !== undefined);
    const hasMemory = operands.some((operand) => typeof operand === "object" && operand.kind === "memory");
    if (hasMemory && width !== undefined) {
      assertEquals(MemorySizeExt.size(instruction.memorySize) * 8, Number(width), text);
    }
  } finally {
    instruction.free();
    decoder.free();
  }
}

function narrow(text: string): string {
  return text.replace(/^e(?=..$)/, "");
}

Deno.test("every form assembles to what a disassembler reads as the same instruction and operands", () => {
  let cases = 0;
  for (const [mnemonic, forms] of Object.entries(instructions) as [Mnemonic, readonly { operands: string }[]][]) {
    if (prefixes.has(mnemonic)) continue;
    for (const { operands } of forms) {
      for (const bits of [16, 32] as const) {
        for (const kinds of readings(operands, bits)) {
          for (const combination of combinations(kinds)) {
            checkCase(mnemonic, kinds, combination, bits);
            cases++;
          }
        }
      }
    }
  }
  assertGreater(cases, 20_000);
});
