// iced-x86 as an oracle for the decoder and the opcode table: it disassembles a string of bytes as the CPU of this
// project would, and states mnemonic, operands and flags in neutral terms that both sides can be put into.

import {
  Code,
  CpuidFeature,
  Decoder,
  DecoderOptions,
  FlowControl,
  Instruction as IcedInstruction,
  Mnemonic,
  OpKind,
  Register,
  RflagsBits,
} from "iced-x86";
import { AC, AF, CF, DF, IF, OF, PF, SF, ZF } from "../../../plugins/x86/instruction.ts";

/**
 * The decoder options that make iced the first Pentium 4: 0F 18 to 0F 1F are NOPs, and the prefixes that later made
 * WBNOINVD, TZCNT and LZCNT of older instructions change nothing. Not AMD: LOCK MOV CR0 is no MOV CR8.
 */
const OPTIONS = DecoderOptions.ForceReservedNop | DecoderOptions.NoWbnoinvd | DecoderOptions.NoMPFX_0FBC |
  DecoderOptions.NoMPFX_0FBD;

/** CPUID features, as iced names them, of a P6 with MMX, SSE and SSE2. */
const FEATURES = new Set<CpuidFeature>([
  CpuidFeature.INTEL8086,
  CpuidFeature.INTEL186,
  CpuidFeature.INTEL286,
  CpuidFeature.INTEL386,
  CpuidFeature.INTEL486,
  CpuidFeature.FPU,
  CpuidFeature.FPU287,
  CpuidFeature.FPU387,
  CpuidFeature.CLFSH,
  CpuidFeature.CMOV,
  CpuidFeature.CPUID,
  CpuidFeature.CX8,
  CpuidFeature.FXSR,
  CpuidFeature.MMX,
  CpuidFeature.MSR,
  CpuidFeature.MULTIBYTENOP,
  CpuidFeature.PAUSE,
  CpuidFeature.RDPMC,
  CpuidFeature.SEP,
  CpuidFeature.SSE,
  CpuidFeature.SSE2,
  CpuidFeature.TSC,
]);

/** iced's option for reserved NOPs takes in 0F 0D, which our CPU does not have: it came with 3DNow's PREFETCHW. */
const ABSENT = new Set<Code>([Code.Reservednop_rm16_r16_0F0D, Code.Reservednop_rm32_r32_0F0D]);

/** One instruction as iced sees it, in neutral terms. */
export interface Disassembly {
  readonly length: number;
  /** The SDM's mnemonic in lower case, the 32-bit one of size-dependent names. */
  readonly mnemonic: string;
  /** Operands as text: registers by name, `segment:base+index*scale+displacement`, unsigned immediates, `+offset`. */
  readonly operands: () => string;
  readonly flags: () => { reads: number; writes: number; undefined: number };
  readonly lock: boolean;
  /** Branches, calls, returns and interrupts, software exceptions among them. */
  readonly changesFlow: boolean;
  /** Legal at CPL 0 only, or as IOPL allows. */
  readonly privileged: boolean;
}

/** Disassembles from a fixed byte array. */
export class IcedOracle {
  readonly #decoder: Decoder;
  readonly #instruction = new IcedInstruction();

  constructor(bytes: Uint8Array, codeSize: 16 | 32) {
    this.#decoder = new Decoder(codeSize, bytes, OPTIONS);
  }

  /** The instruction at an offset, or that there is none, for whatever reason (#UD, more than 15 bytes). The answer's functions are good until the next call. */
  at(offset: number): Disassembly | "invalid" {
    this.#decoder.position = offset;
    this.#decoder.ip = 0n;
    const instruction = this.#instruction;
    this.#decoder.decodeOut(instruction);
    const code = instruction.code;
    if (code === Code.INVALID || !isPresent(code, instruction)) return "invalid";
    return {
      length: instruction.length,
      mnemonic: prefetchOf(instruction) ?? mnemonicOf(instruction.mnemonic),
      operands: () => operandTexts(instruction),
      flags: () => flagsOf(instruction),
      lock: instruction.hasLockPrefix,
      changesFlow: instruction.flowControl !== FlowControl.Next,
      privileged: instruction.isPrivileged,
    };
  }

  free(): void {
    this.#decoder.free();
    this.#instruction.free();
  }
}

const presence = new Map<Code, boolean>();

function isPresent(code: Code, instruction: IcedInstruction): boolean {
  let present = presence.get(code);
  if (present === undefined) {
    present = instruction.cpuidFeatures().every((feature) => FEATURES.has(feature)) && !ABSENT.has(code);
    presence.set(code, present);
  }
  return present;
}

/** Names that differ from ours: the 16-bit halves of size-dependent names, and aliases. */
const RENAMED: Readonly<Record<string, string>> = {
  cbw: "cwde",
  cwd: "cdq",
  movsw: "movsd",
  cmpsw: "cmpsd",
  stosw: "stosd",
  lodsw: "lodsd",
  scasw: "scasd",
  insw: "insd",
  outsw: "outsd",
  pusha: "pushad",
  popa: "popad",
  pushf: "pushfd",
  popf: "popfd",
  iret: "iretd",
  jcxz: "jecxz",
  sal: "shl",
  reservednop: "nop",
};

const mnemonics = new Map<Mnemonic, string>();

function mnemonicOf(mnemonic: Mnemonic): string {
  let name = mnemonics.get(mnemonic);
  if (name === undefined) {
    name = Mnemonic[mnemonic].toLowerCase();
    name = RENAMED[name] ?? name;
    mnemonics.set(mnemonic, name);
  }
  return name;
}

/** Prefetches are reserved NOPs to iced, with the reg field that tells them apart as the second operand. */
const PREFETCHES = new Map([
  [Register.AX, "prefetchnta"],
  [Register.CX, "prefetcht0"],
  [Register.DX, "prefetcht1"],
  [Register.BX, "prefetcht2"],
  [Register.EAX, "prefetchnta"],
  [Register.ECX, "prefetcht0"],
  [Register.EDX, "prefetcht1"],
  [Register.EBX, "prefetcht2"],
]);

function prefetchOf(instruction: IcedInstruction): string | undefined {
  const { code } = instruction;
  const isPrefetch = (code === Code.Reservednop_rm16_r16_0F18 || code === Code.Reservednop_rm32_r32_0F18) &&
    instruction.opKind(0) === OpKind.Memory;
  return isPrefetch ? PREFETCHES.get(instruction.opRegister(1)) : undefined;
}

const registers = new Map<Register, string>();

function registerOf(register: Register): string {
  let name = registers.get(register);
  if (name === undefined) {
    name = Register[register].toLowerCase();
    registers.set(register, name);
  }
  return name;
}

function operandTexts(instruction: IcedInstruction): string {
  const texts: string[] = [];
  // A reserved NOP names the reg field too; the SDM gives NOP one operand.
  const count = instruction.mnemonic === Mnemonic.Reservednop ? 1 : instruction.opCount;
  for (let i = 0; i < count; i++) texts.push(operandText(instruction, i));
  return texts.join(", ");
}

function operandText(instruction: IcedInstruction, i: number): string {
  const kind = instruction.opKind(i);
  switch (kind) {
    case OpKind.Register:
      return registerOf(instruction.opRegister(i));
    case OpKind.NearBranch16:
      return `+${(instruction.nearBranch16 - instruction.length) & 0xffff}`;
    case OpKind.NearBranch32:
      return `+${(instruction.nearBranch32 - instruction.length) >>> 0}`;
    case OpKind.FarBranch16:
      return `${instruction.farBranchSelector}:${instruction.farBranch16}`;
    case OpKind.FarBranch32:
      return `${instruction.farBranchSelector}:${instruction.farBranch32}`;
    case OpKind.Memory: {
      const base = registerOf(instruction.memoryBase);
      const index = registerOf(instruction.memoryIndex);
      const scale = instruction.memoryIndex === Register.None ? 1 : instruction.memoryIndexScale;
      const segment = registerOf(instruction.memorySegment);
      return `${segment}:${base}+${index}*${scale}+${instruction.memoryDisplacement}`;
    }
    case OpKind.MemorySegSI:
    case OpKind.MemorySegESI:
      return `${registerOf(instruction.memorySegment)}:si`;
    case OpKind.MemorySegDI:
    case OpKind.MemorySegEDI:
      return `${registerOf(instruction.memorySegment)}:di`;
    case OpKind.MemoryESDI:
    case OpKind.MemoryESEDI:
      return "es:di";
    case OpKind.Immediate8_2nd:
      return `${instruction.immediate8_2nd}`;
    default:
      return `${Number(BigInt.asUintN(32, instruction.immediate(i)))}`;
  }
}

const RFLAGS: readonly (readonly [number, number])[] = [
  [RflagsBits.OF, OF],
  [RflagsBits.SF, SF],
  [RflagsBits.ZF, ZF],
  [RflagsBits.AF, AF],
  [RflagsBits.CF, CF],
  [RflagsBits.PF, PF],
  [RflagsBits.DF, DF],
  [RflagsBits.IF, IF],
  [RflagsBits.AC, AC],
];

/** The EFLAGS bits that iced's flag sets can express. */
export const ICED_FLAGS = RFLAGS.reduce((mask, [, flag]) => mask | flag, 0);

function flagsOf(instruction: IcedInstruction): { reads: number; writes: number; undefined: number } {
  return {
    reads: eflags(instruction.rflagsRead),
    writes: eflags(instruction.rflagsModified),
    undefined: eflags(instruction.rflagsUndefined),
  };
}

function eflags(bits: number): number {
  return RFLAGS.reduce((mask, [theirs, ours]) => (bits & theirs) !== 0 ? mask | ours : mask, 0);
}
