// The registers that gdb sees, in its order and numbering, and their description for it (GDB manual, appendix G.5.5, "i386
// Features"). EIP is shown as a linear address, CS's base added, so that breakpoints and `x/i $pc` hold in real mode, too.

import * as x86 from "../../x86/mod.ts";

const { state: S } = x86;

/** One register: how gdb calls it, its size, and how it is read and written as little-endian bytes. */
export interface GdbRegister {
  readonly name: string;
  readonly bits: 32 | 80 | 128;
  readonly type: string;
  readonly feature: string;
  read(cpu: x86.Processor): Uint8Array;
  /** Absent where a debugger may not: what a segment or control register implies is set by instructions alone. */
  readonly write?: (cpu: x86.Processor, value: Uint8Array) => void;
}

const CORE = "org.gnu.gdb.i386.core", SSE = "org.gnu.gdb.i386.sse", SYSTEM = "org.ballast.i386.system";
/** All of EFLAGS that a debugger may set: not VM, RF or what is reserved. */
const SETTABLE_FLAGS = x86.STATUS_FLAGS | x86.TF | x86.IF | x86.DF | x86.IOPL | x86.NT | x86.AC | x86.ID;
const FPU_REGISTERS = 8, FPU_BYTES = 10;
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

function general(name: string, index: number, type = "int32"): GdbRegister {
  return {
    ...stateWord(name, index, CORE, type),
    write: (cpu, value) => cpu.setRegister(index, numberOf(value) | 0),
  };
}

const eip: GdbRegister = {
  name: "eip",
  bits: 32,
  type: "code_ptr",
  feature: CORE,
  read: (cpu) => word(cpu.r[S.BASE + x86.CS] + cpu.r[S.EIP]),
  write: (cpu, value) => cpu.setRegister(S.EIP, (numberOf(value) - cpu.r[S.BASE + x86.CS]) | 0),
};

const eflags: GdbRegister = {
  name: "eflags",
  bits: 32,
  type: "i386_eflags",
  feature: CORE,
  read: (cpu) => word(cpu.eflags()),
  write: (cpu, value) => cpu.setEflags(numberOf(value), SETTABLE_FLAGS),
};

/** ST(i), counted from the top. */
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
      view.setUint32(0, fpu.lo[at], true);
      view.setUint32(4, fpu.hi[at], true);
      view.setUint16(8, fpu.se[at], true);
      return bytes;
    },
    write(cpu, value) {
      const view = new DataView(value.buffer, value.byteOffset), at = physical(cpu);
      cpu.fpu.lo[at] = view.getUint32(0, true);
      cpu.fpu.hi[at] = view.getUint32(4, true);
      cpu.fpu.se[at] = view.getUint16(8, true);
    },
  };
}

function fpuControl(name: string, read: (fpu: x86.Processor["fpu"]) => number): GdbRegister {
  return { name, bits: 32, type: "int", feature: CORE, read: (cpu) => word(read(cpu.fpu)) };
}

function xmmRegister(i: number): GdbRegister {
  const at = S.XMM + i * XMM_WORDS;
  return {
    name: `xmm${i}`,
    bits: 128,
    type: "vec128",
    feature: SSE,
    read: (cpu) => new Uint8Array(cpu.r.slice(at, at + XMM_WORDS).buffer),
    write: (cpu, value) => cpu.r.set(new Int32Array(value.slice(0, XMM_BYTES).buffer), at),
  };
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
    .map(([name, segment]) => stateWord(name, S.SELECTOR + segment, CORE)),
  ...indices.map(fpuRegister),
  fpuControl("fctrl", (fpu) => fpu.control),
  fpuControl("fstat", (fpu) => fpu.statusWord),
  fpuControl("ftag", (fpu) => fpu.tagWord),
  fpuControl("fiseg", (fpu) => fpu.instructionSelector),
  fpuControl("fioff", (fpu) => fpu.instructionOffset),
  fpuControl("foseg", (fpu) => fpu.dataSelector),
  fpuControl("fooff", (fpu) => fpu.dataOffset),
  fpuControl("fop", (fpu) => fpu.opcode),
  ...indices.map(xmmRegister),
  {
    ...stateWord("mxcsr", S.MXCSR, SSE, "int"),
  },
  ...[["cr0", S.CR0], ["cr2", S.CR2], ["cr3", S.CR3], ["cr4", S.CR4]].map(([name, index]) =>
    stateWord(String(name), Number(index), SYSTEM)
  ),
  stateWord("fs_base", S.BASE + x86.FS, SYSTEM),
  stateWord("gs_base", S.BASE + x86.GS, SYSTEM),
];

const EFLAGS_FIELDS: readonly (readonly [string, number])[] = [
  ...([["CF", 0], ["", 1], ["PF", 2], ["AF", 4], ["ZF", 6], ["SF", 7], ["TF", 8], ["IF", 9], ["DF", 10]] as const),
  ...([["OF", 11], ["NT", 14], ["RF", 16], ["VM", 17], ["AC", 18], ["VIF", 19], ["VIP", 20], ["ID", 21]] as const),
];

/** The types that features use and gdb does not have, by feature. */
const TYPES: Readonly<Record<string, string>> = {
  [CORE]: `<flags id="i386_eflags" size="4">${
    EFLAGS_FIELDS.map(([name, bit]) => `<field name="${name}" start="${bit}" end="${bit}"/>`).join("")
  }</flags>`,
  [SSE]: `<vector id="v4f" type="ieee_single" count="4"/><vector id="v2d" type="ieee_double" count="2"/>` +
    `<vector id="v16i8" type="int8" count="16"/><vector id="v8i16" type="int16" count="8"/>` +
    `<vector id="v4i32" type="int32" count="4"/><vector id="v2i64" type="int64" count="2"/>` +
    `<union id="vec128"><field name="v4_float" type="v4f"/><field name="v2_double" type="v2d"/>` +
    `<field name="v16_int8" type="v16i8"/><field name="v8_int16" type="v8i16"/>` +
    `<field name="v4_int32" type="v4i32"/><field name="v2_int64" type="v2i64"/>` +
    `<field name="uint128" type="uint128"/></union>`,
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
