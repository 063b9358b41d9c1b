// The registers that gdb sees, in its order and numbering, and their description for it (GDB manual, appendix G.5.5, "i386
// Features"). EIP is shown as a linear address, CS's base added, so that breakpoints and `x/i $pc` hold in real mode, too.

import * as x86 from "../../x86/mod.ts";
import { type WriteControl, writeCr0, writeCr2, writeCr3, writeCr4, writeSegment } from "./system_registers.ts";

const { state: S } = x86;

/** One register: how gdb calls it, its size, and how it is read and written as little-endian bytes. */
export interface GdbRegister {
  readonly name: string;
  readonly bits: 32 | 80 | 128;
  readonly type: string;
  readonly feature: string;
  read(cpu: x86.Processor): Uint8Array;
  /** False, and nothing has changed, for a value that the register cannot have. Absent where only instructions may. */
  readonly write?: (cpu: x86.Processor, value: Uint8Array) => boolean;
}

const CORE = "org.gnu.gdb.i386.core", SSE = "org.gnu.gdb.i386.sse", SYSTEM = "org.ballast.i386.system";
/** All of EFLAGS that a debugger may set: not VM, RF or what is reserved. */
const SETTABLE_FLAGS = x86.STATUS_FLAGS | x86.TF | x86.IF | x86.DF | x86.IOPL | x86.NT | x86.AC | x86.ID;
/** Bits of MXCSR that exist; instructions raise #GP for others. */
const MXCSR_BITS = 0xffff;
const FPU_REGISTERS = 8, FPU_BYTES = 10;
const FPU_SELECTOR = 0xffff, FPU_OPCODE = 0x7ff;
const XMM_BYTES = 16, XMM_WORDS = 4;

function word(value: number): Uint8Array {
  return new Uint8Array(Uint32Array.of(value).buffer);
}

function numberOf(bytes: Uint8Array): number {
  return new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
}

function stateWord(name: string, index: number, feature: string, type = "int32"): GdbRegister {
  return { name, bits: 32, type, feature, read: (cpu) => word(cpu.r[index]) };
}

/** A write that every value suits. */
function always(write: (cpu: x86.Processor, value: number) => void): GdbRegister["write"] {
  return (cpu, value) => {
    write(cpu, numberOf(value));
    return true;
  };
}

function general(name: string, index: number, type = "int32"): GdbRegister {
  return { ...stateWord(name, index, CORE, type), write: always((cpu, value) => cpu.setRegister(index, value | 0)) };
}

function segment(name: string, number: number): GdbRegister {
  return {
    ...stateWord(name, S.SELECTOR + number, CORE),
    write: (cpu, value) => writeSegment(cpu, number, numberOf(value)),
  };
}

const eip: GdbRegister = {
  name: "eip",
  bits: 32,
  type: "code_ptr",
  feature: CORE,
  read: (cpu) => word(cpu.r[S.BASE + x86.CS] + cpu.r[S.EIP]),
  write: always((cpu, value) => cpu.setRegister(S.EIP, (value - cpu.r[S.BASE + x86.CS]) | 0)),
};

const eflags: GdbRegister = {
  name: "eflags",
  bits: 32,
  type: "i386_eflags",
  feature: CORE,
  read: (cpu) => word(cpu.eflags()),
  write: always((cpu, value) => cpu.setEflags(value, SETTABLE_FLAGS)),
};

/** ST(i), counted from the top; the tag of a register that is written stays. */
function fpuRegister(i: number): GdbRegister {
  const physical = (cpu: x86.Processor) => (cpu.fpu.top + i) & (FPU_REGISTERS - 1);
  return {
    name: `st${i}`,
    bits: 80,
    type: "i387_ext",
    feature: CORE,
    read({ fpu }) {
      const at = (fpu.top + i) & (FPU_REGISTERS - 1);
      const bytes = new Uint8Array(FPU_BYTES), view = new DataView(bytes.buffer);
      view.setUint32(0, fpu.significands[at * 2], true);
      view.setUint32(4, fpu.significands[at * 2 + 1], true);
      view.setUint16(8, fpu.se[at], true);
      return bytes;
    },
    write(cpu, value) {
      const view = new DataView(value.buffer, value.byteOffset), at = physical(cpu);
      cpu.fpu.significands[at * 2] = view.getUint32(0, true);
      cpu.fpu.significands[at * 2 + 1] = view.getUint32(4, true);
      cpu.fpu.se[at] = view.getUint16(8, true);
      return true;
    },
  };
}

type Fpu = x86.Processor["fpu"];

function fpuControl(name: string, read: (fpu: Fpu) => number, write: (fpu: Fpu, value: number) => void): GdbRegister {
  return {
    name,
    bits: 32,
    type: "int",
    feature: CORE,
    read: (cpu) => word(read(cpu.fpu)),
    write: always((cpu, value) => {
      write(cpu.fpu, value);
      cpu.fpu.updatePending((cpu.r[S.CR0] & S.CR0_NE) !== 0);
    }),
  };
}

function xmmRegister(i: number): GdbRegister {
  const at = S.XMM + i * XMM_WORDS;
  return {
    name: `xmm${i}`,
    bits: 128,
    type: "vec128",
    feature: SSE,
    read: (cpu) => new Uint8Array(cpu.r.slice(at, at + XMM_WORDS).buffer),
    write(cpu, value) {
      cpu.r.set(new Int32Array(value.slice(0, XMM_BYTES).buffer), at);
      return true;
    },
  };
}

function control(name: string, index: number, write: WriteControl, type = "int32"): GdbRegister {
  return { ...stateWord(name, index, SYSTEM, type), write: (cpu, value) => write(cpu, numberOf(value) | 0) };
}

const indices = Array.from({ length: 8 }, (_, i) => i);

/** Every register by its number. */
export const gdbRegisters: readonly GdbRegister[] = [
  ...["eax", "ecx", "edx", "ebx"].map((name, i) => general(name, i)),
  ...["esp", "ebp"].map((name, i) => general(name, x86.ESP + i, "data_ptr")),
  ...["esi", "edi"].map((name, i) => general(name, x86.ESI + i)),
  eip,
  eflags,
  ...([["cs", x86.CS], ["ss", x86.SS], ["ds", x86.DS], ["es", x86.ES], ["fs", x86.FS], ["gs", x86.GS]] as const)
    .map(([name, number]) => segment(name, number)),
  ...indices.map(fpuRegister),
  fpuControl("fctrl", (fpu) => fpu.control, (fpu, value) => void (fpu.control = value)),
  fpuControl("fstat", (fpu) => fpu.statusWord, (fpu, value) => void (fpu.statusWord = value)),
  fpuControl("ftag", (fpu) => fpu.tagWord, (fpu, value) => void (fpu.tagWord = value)),
  fpuControl("fiseg", (fpu) => fpu.instructionSelector, (fpu, v) => void (fpu.instructionSelector = v & FPU_SELECTOR)),
  fpuControl("fioff", (fpu) => fpu.instructionOffset, (fpu, value) => void (fpu.instructionOffset = value | 0)),
  fpuControl("foseg", (fpu) => fpu.dataSelector, (fpu, value) => void (fpu.dataSelector = value & FPU_SELECTOR)),
  fpuControl("fooff", (fpu) => fpu.dataOffset, (fpu, value) => void (fpu.dataOffset = value | 0)),
  fpuControl("fop", (fpu) => fpu.opcode, (fpu, value) => void (fpu.opcode = value & FPU_OPCODE)),
  ...indices.map(xmmRegister),
  {
    ...stateWord("mxcsr", S.MXCSR, SSE, "i386_mxcsr"),
    write(cpu, value) {
      if ((numberOf(value) & ~MXCSR_BITS) !== 0) return false;
      cpu.r[S.MXCSR] = numberOf(value);
      return true;
    },
  },
  control("cr0", S.CR0, writeCr0, "i386_cr0"),
  control("cr2", S.CR2, writeCr2, "data_ptr"),
  control("cr3", S.CR3, writeCr3),
  control("cr4", S.CR4, writeCr4, "i386_cr4"),
  stateWord("fs_base", S.BASE + x86.FS, SYSTEM, "data_ptr"),
  stateWord("gs_base", S.BASE + x86.GS, SYSTEM, "data_ptr"),
];

/** Bits by name; one without a name is shown where it is set. */
type FlagFields = readonly (readonly [string, number])[];

const EFLAGS_FIELDS: FlagFields = [
  ...([["CF", 0], ["", 1], ["PF", 2], ["AF", 4], ["ZF", 6], ["SF", 7], ["TF", 8], ["IF", 9], ["DF", 10]] as const),
  ...([["OF", 11], ["NT", 14], ["RF", 16], ["VM", 17], ["AC", 18], ["VIF", 19], ["VIP", 20], ["ID", 21]] as const),
];
const MXCSR_FIELDS: FlagFields = [
  ...([["IE", 0], ["DE", 1], ["ZE", 2], ["OE", 3], ["UE", 4], ["PE", 5], ["DAZ", 6], ["IM", 7], ["DM", 8]] as const),
  ...([["ZM", 9], ["OM", 10], ["UM", 11], ["PM", 12], ["RC0", 13], ["RC1", 14], ["FZ", 15]] as const),
];
const CR0_FIELDS: FlagFields = [
  ...([["PE", 0], ["MP", 1], ["EM", 2], ["TS", 3], ["ET", 4], ["NE", 5], ["WP", 16], ["AM", 18]] as const),
  ...([["NW", 29], ["CD", 30], ["PG", 31]] as const),
];
const CR4_FIELDS: FlagFields = [
  ...([["VME", 0], ["PVI", 1], ["TSD", 2], ["DE", 3], ["PSE", 4], ["PAE", 5], ["MCE", 6], ["PGE", 7]] as const),
  ...([["PCE", 8], ["OSFXSR", 9], ["OSXMMEXCPT", 10]] as const),
];

function flagsType(id: string, fields: FlagFields): string {
  const bits = fields.map(([name, bit]) => `<field name="${name}" start="${bit}" end="${bit}"/>`).join("");
  return `<flags id="${id}" size="4">${bits}</flags>`;
}

/** The types that features use and gdb does not have, by feature. */
const TYPES: Readonly<Record<string, string>> = {
  [CORE]: flagsType("i386_eflags", EFLAGS_FIELDS),
  [SSE]: `<vector id="v4f" type="ieee_single" count="4"/><vector id="v2d" type="ieee_double" count="2"/>` +
    `<vector id="v16i8" type="int8" count="16"/><vector id="v8i16" type="int16" count="8"/>` +
    `<vector id="v4i32" type="int32" count="4"/><vector id="v2i64" type="int64" count="2"/>` +
    `<union id="vec128"><field name="v4_float" type="v4f"/><field name="v2_double" type="v2d"/>` +
    `<field name="v16_int8" type="v16i8"/><field name="v8_int16" type="v8i16"/>` +
    `<field name="v4_int32" type="v4i32"/><field name="v2_int64" type="v2i64"/>` +
    `<field name="uint128" type="uint128"/></union>` + flagsType("i386_mxcsr", MXCSR_FIELDS),
  [SYSTEM]: flagsType("i386_cr0", CR0_FIELDS) + flagsType("i386_cr4", CR4_FIELDS),
};

/** target.xml. */
export function targetDescription(): string {
  const features = [CORE, SSE, SYSTEM].map((feature) => {
    const registers = gdbRegisters.filter((register) => register.feature === feature)
      .map(({ name, bits, type }) => `<reg name="${name}" bitsize="${bits}" type="${type}"/>`);
    return `<feature name="${feature}">${TYPES[feature] ?? ""}${registers.join("")}</feature>`;
  });
  return `<?xml version="1.0"?><!DOCTYPE target SYSTEM "gdb-target.dtd">` +
    `<target><architecture>i386</architecture>${features.join("")}</target>`;
}
