// The opcode table: complete, unambiguous, and in its flags and classes equal to iced-x86's account but for the
// differences named here. Also the notation in which it is written.

import { assert, assertEquals, assertStrictEquals, assertThrows } from "@std/assert";
import { decode } from "../../../plugins/x86/decoder.ts";
import {
  CF,
  DF,
  IF,
  type Instruction,
  IOPL,
  OF,
  type OpcodeRow,
  PF,
  SF,
  STATUS_FLAGS,
  VM,
  ZF,
} from "../../../plugins/x86/instruction.ts";
import { opcodeRows } from "../../../plugins/x86/opcodes/builder.ts";
import { flagEffects } from "../../../plugins/x86/opcodes/flag_effects.ts";
import { opcodeTable } from "../../../plugins/x86/opcodes/table.ts";
import { type Disassembly, ICED_FLAGS, IcedOracle } from "./iced_oracle.ts";

/** Room for the longest instruction. */
const WINDOW = 16;

Deno.test("every row is what its own encoding decodes to, with and without memory as its form allows", () => {
  for (const row of opcodeTable) {
    for (const code of encodingsOf(row)) {
      assertStrictEquals(instructionAt(code).row, row, `${label(row)}: ${hex(code)}`);
    }
  }
});

Deno.test("the one-byte map is complete: each opcode is a prefix, the escape or an instruction in some form", () => {
  const prefixes = [0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf0, 0xf2, 0xf3];
  const listed = new Set(opcodeTable.filter((row) => row.map === "1").map((row) => row.opcode));
  const missing = Array.from({ length: 256 }, (_, opcode) => opcode)
    .filter((opcode) => opcode !== 0x0f && !prefixes.includes(opcode) && !listed.has(opcode));
  assertEquals(missing, []);
});

Deno.test("flags read, written and undefined are those of iced, count by count for immediate shifts", () => {
  /** Through gates and task switches these read and write all of EFLAGS; iced counts a direct effect only. */
  const throughTables = ["callFar", "jmpFar", "callFarIndirect", "jmpFarIndirect", "int", "int3", "int1", "into"];
  let compared = 0;
  for (const row of opcodeTable) {
    if (throughTables.includes(row.handler)) {
      assertEquals([row.reads & ICED_FLAGS, row.writes & ICED_FLAGS], [ICED_FLAGS, ICED_FLAGS], label(row));
      continue;
    }
    for (const fill of [0, 1, 2, 31, 33, 0xff]) {
      for (const code of encodingsOf(row, fill)) {
        const ours = { ...masks(flagEffects(instructionAt(code))) };
        const theirs = withDisassembly(code, ({ flags }) => flags());
        // A count in CL may be zero, which iced leaves out: our `reads` has the flags that then pass through.
        if (row.operands.at(-1) === "cl") ours.reads &= row.variant === 2 || row.variant === 3 ? CF : 0;
        // IRET reads NT and VM, and hands the whole register to a task switch; iced has it read nothing.
        if (row.handler === "iret") ours.reads = 0;
        assertEquals(ours, theirs, `${label(row)}: ${hex(code)}`);
        compared++;
      }
    }
  }
  assert(compared > 5000, `only ${compared} encodings compared`);
});

Deno.test("flags that iced cannot express: IOPL and VM guard what depends on them", () => {
  for (const name of ["in", "out", "ins", "outs", "cli", "sti", "popf"]) {
    for (const row of rowsOf(name)) assertStrictEquals(row.reads & (IOPL | VM), IOPL | VM, label(row));
  }
});

Deno.test("conservative masks cover the sharp ones, and undefined flags are written ones", () => {
  for (const row of opcodeTable) {
    assertStrictEquals(row.undefined & ~row.writes, 0, label(row));
    // A count in CL may be zero, and then every flag passes through.
    if (row.operands.at(-1) === "cl") assertStrictEquals(row.writes & ~row.reads, 0, label(row));
    for (let count = 0; count < 64; count++) {
      for (const code of encodingsOf(row, count)) {
        const sharp = flagEffects(instructionAt(code));
        assertStrictEquals(sharp.reads & ~row.reads, 0, label(row));
        assertStrictEquals(sharp.writes & ~row.writes, 0, label(row));
        // What is written in some cases only is read.
        const passed = row.writes & ~sharp.writes;
        assertStrictEquals(passed & ~row.reads, 0, label(row));
      }
      if (!row.operands.includes("Ib")) break;
    }
  }
});

Deno.test("a repeated comparison passes the status flags through a zero count, a single one does not", () => {
  for (const opcode of [0xa6, 0xa7, 0xae, 0xaf]) {
    assertStrictEquals(flagEffects(instructionAt([opcode])).reads, DF);
    for (const prefix of [0xf2, 0xf3]) {
      assertStrictEquals(flagEffects(instructionAt([prefix, opcode])).reads, DF | STATUS_FLAGS);
    }
  }
});

Deno.test("control rows are iced's flow changes, privileged rows its privileged instructions", () => {
  for (const row of opcodeTable) {
    // I/O is sensitive here: with a permission bitmap it faults for some ports and not for others.
    const byPort = ["in", "out", "ins", "outs"].includes(row.handler);
    const privileged = row.class === "privileged" || row.class === "memory-management" || byPort;
    for (const code of encodingsOf(row)) {
      const theirs = withDisassembly(code, ({ changesFlow, privileged }) => ({ changesFlow, privileged }));
      // SYSEXIT is both.
      const changesFlow = row.class === "control" || row.handler === "sysexit";
      assertEquals({ changesFlow, privileged }, theirs, label(row));
    }
  }
});

Deno.test("a block ends at control flow and wherever mode, interrupt flag, I/O or translation may change", () => {
  const ending = new Set(
    opcodeTable.filter((row) => row.endsBlock && row.class !== "control").map((row) => row.handler),
  );
  const continuing = opcodeTable.filter((row) => !row.endsBlock).map((row) => row.handler);
  assertEquals(
    [...ending].sort(),
    "clts hlt in ins invlpg lmsw loadFarPointer movToCr movToDr movToSegment out outs popSegment popf rdmsr rdpmc rdtsc sti sysexit wrmsr"
      .split(" "),
  );
  assertEquals(continuing.filter((handler) => ending.has(handler)), []);
  assert(opcodeTable.every((row) => row.class !== "control" || row.endsBlock));
});

Deno.test("the variant is operation, condition, register or segment as the encoding has it", () => {
  const operations = ["add", "or", "adc", "sbb", "and", "sub", "xor", "cmp"];
  for (const row of rowsOf("alu")) assertStrictEquals(row.name, operations[row.variant]);
  const shifts = ["rol", "ror", "rcl", "rcr", "shl", "shr", "shl", "sar"];
  for (const row of rowsOf("shift")) assertStrictEquals(row.name, shifts[row.variant]);
  for (const row of rowsOf("bt")) assertStrictEquals(row.name, ["bt", "bts", "btr", "btc"][row.variant]);
  for (const row of rowsOf("loop")) assertStrictEquals(row.name, ["loopne", "loope", "loop"][row.variant]);
  for (const handler of ["jcc", "setcc", "cmov"]) {
    for (const row of rowsOf(handler)) assertStrictEquals(row.variant, row.opcode & 15);
  }
  for (const row of rowsOf("pushSegment").concat(rowsOf("popSegment"))) {
    assertStrictEquals(row.operands[0], (["es", "cs", "ss", "ds", "fs", "gs"] as const)[row.variant]);
  }
  for (const row of rowsOf("loadFarPointer")) {
    assertStrictEquals(row.name[1], ["e", "c", "s", "d", "f", "g"][row.variant]);
  }
  for (const row of opcodeTable.filter(({ operands }) => operands[0] === "Zb" || operands[0] === "Zv")) {
    assertStrictEquals(row.variant, row.opcode & 7, label(row));
  }
  const float = ["fadd", "fmul", "", "", "fsub", "fsubr", "fdiv", "fdivr"];
  for (const row of rowsOf("farith").concat(rowsOf("farithp"))) {
    const pop = row.handler === "farithp" ? "p" : "";
    assertStrictEquals(row.name.replace(/^fi/, "f"), float[row.variant] + pop, label(row));
  }
});

Deno.test("an x87 row's variant counts pops, numbers constants or is the condition", () => {
  const variants: Record<string, Record<string, number>> = {
    fst: { fst: 0, fstp: 1, fstpnce: 1 },
    fist: { fist: 0, fistp: 1 },
    fcom: { fcom: 0, ficom: 0, fcomp: 1, ficomp: 1, fcompp: 2 },
    fucom: { fucom: 0, fucomp: 1, fucompp: 2 },
    fcomi: { fcomi: 0, fcomip: 1 },
    fucomi: { fucomi: 0, fucomip: 1 },
    ffree: { ffree: 0, ffreep: 1 },
    fprem: { fprem: 0, fprem1: 1 },
    fldConstant: { fld1: 0, fldl2t: 1, fldl2e: 2, fldpi: 3, fldlg2: 4, fldln2: 5, fldz: 6 },
    // Conditions B, E, BE, P (unordered) and their negations.
    fcmov: { fcmovb: 2, fcmovnb: 3, fcmove: 4, fcmovne: 5, fcmovbe: 6, fcmovnbe: 7, fcmovu: 10, fcmovnu: 11 },
  };
  for (const [handler, expected] of Object.entries(variants)) {
    const found = Object.fromEntries(rowsOf(handler).map((row) => [row.name, row.variant]));
    assertEquals(found, expected);
  }
});

Deno.test("a condition reads the flags that SDM 1, appendix B lists", () => {
  const reads = [OF, CF, ZF, CF | ZF, SF, PF, SF | OF, ZF | SF | OF];
  for (const row of rowsOf("jcc")) assertStrictEquals(row.reads, reads[row.variant >> 1], label(row));
});

Deno.test("an instruction that this CPU lacks is invalid", () => {
  const absent: [string, number[]][] = [
    ["EMMS with a prefix", [0x66, 0x0f, 0x77]],
    ["LDDQU (SSE3)", [0xf2, 0x0f, 0xf0, 0x00]],
    ["MOVDDUP (SSE3)", [0xf2, 0x0f, 0x12, 0xc1]],
    ["ADDSUBPS (SSE3)", [0xf2, 0x0f, 0xd0, 0xc1]],
    ["PSHUFB (SSSE3)", [0x0f, 0x38, 0x00, 0xc1]],
    ["XSAVE", [0x0f, 0xae, 0x20]],
    ["CLFLUSHOPT", [0x66, 0x0f, 0xae, 0x38]],
    ["MOVNTI to a register", [0x0f, 0xc3, 0xc1]],
    ["SYSCALL", [0x0f, 0x05]],
    ["RSM", [0x0f, 0xaa]],
    ["PFADD (3DNow)", [0x0f, 0x0f, 0xc1, 0x9e]],
    ["PREFETCHW", [0x0f, 0x0d, 0x08]],
    ["MOV r32, TR6", [0x0f, 0x24, 0xf0]],
    ["MOV r32, CR1", [0x0f, 0x20, 0xc8]],
    ["MOV CS, r16", [0x8e, 0xc8]],
    ["LEA r32, r32", [0x8d, 0xc0]],
    ["VMCALL", [0x0f, 0x01, 0xc1]],
    ["FISTTP", [0xdb, 0x08]],
    ["POPCNT", [0xf3, 0x0f, 0xb8, 0xc1]],
    ["LES r32, r32 (VEX)", [0xc4, 0xe1, 0x78, 0x28, 0xc1]],
  ];
  for (const [name, code] of absent) assertStrictEquals(decode(padded(code), 0, WINDOW, 32), "invalid", name);
});

Deno.test("prefixes that later gave opcodes a new meaning change nothing", () => {
  const cases: [string, number[]][] = [
    ["nop", [0xf2, 0x90]],
    ["nop", [0x66, 0x90]],
    ["pause", [0x66, 0xf3, 0x90]],
    ["nop", [0xf3, 0x0f, 0x1e, 0xfa]], // ENDBR64
    ["bsf", [0xf3, 0x0f, 0xbc, 0xc1]], // TZCNT
    ["bsr", [0xf3, 0x0f, 0xbd, 0xc1]], // LZCNT
    ["wbinvd", [0xf3, 0x0f, 0x09]], // WBNOINVD
  ];
  for (const [name, code] of cases) assertStrictEquals(instructionAt(code).row.name, name);
});

Deno.test("a table line outside the notation is refused with the line and the reason", () => {
  const cases: [string, string][] = [
    ["zz | nop | nop", "zz"],
    ["90 /8 | nop | nop", "90 /8"],
    ["90 | nop", "handler"],
    ["90 | mov Eq,Gb | mov", 'no operand code "Eq"'],
    ["90 | nop | nop | > x", 'no flag "x"'],
    ["90 | nop | nop | | locked", 'no attribute "locked"'],
  ];
  for (const [line, reason] of cases) {
    const { message } = assertThrows(() => opcodeRows(line), Error);
    assert(message.includes(line) && message.includes(reason), message);
  }
});

Deno.test("a table line spells out registers, conditions, forms and masks", () => {
  const push = opcodeRows("50+r | push Zv | push");
  assertEquals([push.length, push[7].opcode, push[7].variant, push[7].modrm], [8, 0x57, 7, false]);
  assertEquals(opcodeRows("70+cc | jcc Jb | jcc | cc > | control").map((row) => row.name).slice(0, 3), [
    "jo",
    "jno",
    "jb",
  ]);
  const [escape] = opcodeRows("d8 c8+i | fmul ST0,STi | farith:1");
  assertEquals([escape.extension, escape.rm, escape.form, escape.modrm], [1, undefined, "register", true]);
  const [constant] = opcodeRows("d9 ee | fldz | fldConstant:6");
  assertEquals([constant.extension, constant.rm, constant.form], [5, 6, "register"]);
  const [sti] = opcodeRows("fb | sti | sti | l > i ? o | privileged ends");
  assertEquals([sti.reads, sti.writes, sti.undefined], [IOPL, IF | OF, OF]);
  assertEquals([sti.class, sti.endsBlock, sti.lockable], ["privileged", true, false]);
  const [simd] = opcodeRows("66 0f 6f | movdqa Vdq,Wdq | movdqa");
  assertEquals([simd.prefix, simd.map, simd.modrm], [0x66, "0f", true]);
});

/** Encodings of a row: a register form and a memory form where it has both, padded with one byte's copies. */
function encodingsOf(row: OpcodeRow, fill = 1): number[][] {
  const prefix = row.prefix === undefined ? [] : [row.prefix];
  const opcode = [...prefix, ...(row.map === "0f" ? [0x0f] : []), row.opcode];
  const fields = (row.extension ?? 0) << 3 | (row.rm ?? 0);
  const mods = !row.modrm ? [] : row.form === "register" ? [3] : row.form === "memory" ? [0] : [0, 3];
  const codes = row.modrm ? mods.map((mod) => [...opcode, mod << 6 | fields]) : [opcode];
  return codes.map((code) => [...code, ...Array<number>(WINDOW - code.length).fill(fill)]);
}

function instructionAt(code: readonly number[]): Instruction {
  const result = decode(padded(code), 0, WINDOW, 32);
  if (typeof result === "string") throw new Error(`${hex(code)}: ${result}`);
  return result;
}

function withDisassembly<T>(code: readonly number[], look: (disassembly: Disassembly) => T): T {
  const oracle = new IcedOracle(padded(code), 32);
  try {
    const disassembly = oracle.at(0);
    if (disassembly === "invalid") throw new Error(`iced finds no instruction in ${hex(code)}`);
    return look(disassembly);
  } finally {
    oracle.free();
  }
}

function masks({ reads, writes, undefined: undefinedFlags }: Pick<OpcodeRow, "reads" | "writes" | "undefined">) {
  return { reads: reads & ICED_FLAGS, writes: writes & ICED_FLAGS, undefined: undefinedFlags & ICED_FLAGS };
}

function rowsOf(handler: string): OpcodeRow[] {
  const rows = opcodeTable.filter((row) => row.handler === handler);
  assert(rows.length > 0, `no row has handler ${handler}`);
  return rows;
}

function padded(code: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(WINDOW);
  bytes.set(code);
  return bytes;
}

function label(row: OpcodeRow): string {
  return `${row.name} ${row.operands.join()} (${row.map} ${row.opcode.toString(16)})`;
}

function hex(bytes: readonly number[]): string {
  return bytes.map((byte) => byte.toString(16).padStart(2, "0")).join(" ");
}
