// The x87 instructions: thousands of single ones against the whole state of a real FPU (AMD EPYC, family 25), and what a
// user program cannot see of one: availability, error reporting, environments of all modes, faults of memory operands.

import { assert, assertEquals, assertGreater, assertLessOrEqual } from "@std/assert";
import { EDX, VM } from "../../../../plugins/x86/instruction.ts";
import type { OpcodeRow } from "../../../../plugins/x86/instruction.ts";
import { x87Rows } from "../../../../plugins/x86/opcodes/x87.ts";
import type { Processor } from "../../../../plugins/x86/processor.ts";
import * as S from "../../../../plugins/x86/state.ts";
import { Float80 } from "../../../../plugins/x86/x87/float80.ts";
import { C1, C3, Fpu } from "../../../../plugins/x86/x87/fpu.ts";
import { x87Binders } from "../../../../plugins/x86/x87/instructions.ts";
import { bytesOf, execute, makeProcessor, memoryText } from "./machine.ts";
import { agrees, isTranscendental, outcomeOf, readSequences } from "./sequences.ts";

const { deviceNotAvailable, floatingPoint, generalProtection, stackFault, pageFault } = S.Vector;
const EIP = 0x12345, OPERAND = 0x4000;
const WAIT = "9b", FLD1 = "d9e8", FLDPI = "d9eb", FDIV = "d8f1", FNCLEX = "dbe2", FNINIT = "dbe3", FNSTSW_AX = "dfe0";
const FSTP_FLOAT64 = "dd1a", FLDCW = "d92a", FNSTENV = "d932", FLDENV = "d922", FNSAVE = "dd32", FRSTOR = "dd22";

Deno.test("every x87 instruction leaves the state that a real FPU leaves", async () => {
  const { setting, sequences } = await readSequences();
  const cpu = makeProcessor(setting.codeSelector, setting.dataSelector);
  cpu.r[S.CR0] |= S.CR0_NE;
  assertGreater(sequences.length, 6000);
  let different = 0;
  for (const sequence of sequences) {
    const outcome = outcomeOf(cpu, setting, sequence);
    assert(agrees(sequence, outcome), `${sequence.line}\ngot ${outcome}`);
    if (outcome !== sequence.outcome && isTranscendental(sequence)) different++;
  }
  assertLessOrEqual(different, sequences.filter(isTranscendental).length / 50, "transcendental results that differ");
});

Deno.test("the fixture has every form of the opcode table, and the table every form of the fixture", async () => {
  const { sequences } = await readSequences();
  const recorded = new Set(sequences.filter(({ outcome }) => outcome !== "#UD").map(({ bytes }) => bytes));
  const defined = new Set(x87Rows.flatMap(encodings));
  assertEquals([...recorded].filter((bytes) => !bytes.startsWith("66")).sort(), [...defined].sort());
});

/** The instruction bytes of a row: memory at [EDX], and every register. */
function encodings(row: OpcodeRow): string[] {
  const { opcode, extension = 0, rm } = row;
  const rms = row.form === "memory" ? [EDX] : rm === undefined ? [0, 1, 2, 3, 4, 5, 6, 7] : [rm];
  const mod = row.form === "memory" ? 0 : 0xc0;
  return rms.map((rm) =>
    [opcode, mod | extension << 3 | rm].map((byte) => byte.toString(16).padStart(2, "0")).join("")
  );
}

/** Executes instructions one after the other; each must not fault. */
function run(cpu: Processor, ...instructions: readonly string[]): void {
  for (const text of instructions) assertEquals(execute(cpu, bytesOf(text), EIP), undefined, text);
}

function machine(cr0 = S.CR0_NE): Processor {
  const cpu = makeProcessor();
  cpu.r[S.CR0] |= cr0;
  cpu.r[EDX] = OPERAND;
  run(cpu, FNINIT);
  return cpu;
}

Deno.test("every handler name of the opcode table has a binder, and there are no others", () => {
  const named = new Set(["wait", ...x87Rows.map((row) => row.handler)]);
  assertEquals(Object.keys(x87Binders).sort(), [...named].sort());
});

Deno.test("every x87 instruction raises #NM and changes nothing while CR0.EM or CR0.TS is set", () => {
  for (const bit of [S.CR0_EM, S.CR0_TS]) {
    const cpu = machine();
    cpu.r[S.CR0] |= bit;
    const before = cpu.fpu.save();
    for (const text of x87Rows.flatMap(encodings)) {
      assertEquals(execute(cpu, bytesOf(text), EIP), deviceNotAvailable, text);
    }
    assertEquals(cpu.fpu.save(), before);
  }
});

Deno.test("WAIT raises #NM while CR0.MP and CR0.TS are both set, whatever CR0.EM is", () => {
  const cases: [number, number | undefined][] = [
    [0, undefined],
    [S.CR0_EM, undefined],
    [S.CR0_MP, undefined],
    [S.CR0_TS, undefined],
    [S.CR0_MP | S.CR0_EM, undefined],
    [S.CR0_MP | S.CR0_TS, deviceNotAvailable],
    [S.CR0_MP | S.CR0_TS | S.CR0_EM, deviceNotAvailable],
  ];
  for (const [bits, vector] of cases) {
    const cpu = machine();
    cpu.r[S.CR0] = (cpu.r[S.CR0] & ~(S.CR0_EM | S.CR0_MP | S.CR0_TS)) | bits;
    assertEquals(execute(cpu, bytesOf(WAIT), EIP), vector, `CR0 bits ${bits}`);
  }
});

/** Handlers of the instructions that leave a pending exception alone. */
const NOT_WAITING = new Set(["fninit", "fnclex", "fnstsw", "fnstcw", "fnstenv", "fnsave"]);
const FORMER_CONTROL = new Set(["fneni", "fndisi", "fnsetpm"]);

/** Leaves ST(0) = 1, ST(1) = 0 and a zero-divide exception that is not masked. */
function leaveError(cpu: Processor): void {
  cpu.write16(OPERAND, 0x37b);
  run(cpu, FLDCW, "d9ee", FLD1, FDIV);
}

Deno.test("a pending exception is reported as #MF by the next waiting instruction, and by no other", () => {
  for (const row of x87Rows) {
    const waits = !NOT_WAITING.has(row.handler) && !FORMER_CONTROL.has(row.name);
    const [text] = encodings(row);
    const cpu = machine();
    leaveError(cpu);
    const before = cpu.fpu.save();
    assertEquals(execute(cpu, bytesOf(text), EIP), waits ? floatingPoint : undefined, row.name);
    if (waits) assertEquals(cpu.fpu.save(), before, row.name);
  }
  const cpu = machine();
  leaveError(cpu);
  assertEquals(execute(cpu, bytesOf(WAIT), EIP), floatingPoint);
});

Deno.test("a pending exception comes before the fault of the instruction's memory operand", () => {
  const cpu = machine();
  leaveError(cpu);
  limitData(cpu, 0);
  assertEquals(execute(cpu, bytesOf("d902"), EIP), floatingPoint);
});

Deno.test("without CR0.NE errors go to the FERR# pin, and instructions go on", () => {
  const cpu = machine(0);
  const levels: boolean[] = [];
  cpu.fpu.onError = (level) => levels.push(level);
  leaveError(cpu);
  assertEquals(levels.at(-1), true);
  run(cpu, WAIT, FLD1, FNSTSW_AX);
  assertEquals(cpu.r16[0] & 0x8084, 0x8084, "B, ES and ZE");
  run(cpu, FNCLEX);
  assertEquals(levels.at(-1), false);
});

Deno.test("FERR# stays inactive with CR0.NE", () => {
  const cpu = machine();
  cpu.fpu.onError = () => assert(false, "FERR#");
  leaveError(cpu);
});

Deno.test("unmasking an exception whose flag is set makes it pending; masking it again withdraws it", () => {
  const cpu = machine();
  run(cpu, "d9ee", FLD1, FDIV);
  assertEquals(cpu.fpu.statusWord & 0x8084, 0x0004);
  cpu.write16(OPERAND, 0x37b);
  run(cpu, FLDCW);
  assertEquals(cpu.fpu.statusWord & 0x8084, 0x8084);
  assertEquals(execute(cpu, bytesOf(FLD1), EIP), floatingPoint);
  run(cpu, FNSTENV, FLD1);
  assertEquals(cpu.fpu.statusWord & 0x8084, 0x0004, "FNSTENV masks all exceptions");
});

Deno.test("power-on and FNINIT leave the state of SDM 3A, table 9-1", () => {
  const fpu = new Fpu();
  const words = () => [fpu.control, fpu.statusWord, fpu.tagWord];
  assertEquals(words(), [0x40, 0, 0x5555]);
  fpu.initialise();
  assertEquals(words(), [0x37f, 0, 0xffff]);
});

// Environments.

const ENVIRONMENTS = [
  { mode: "protected, 32 bits", bytes: "7f02ffff2058ffff3ff9ffff45230100cdaba505efcdab893412ffff" },
  { mode: "protected, 16 bits", bytes: "7f0220583ff94523cdabefcd3412" },
  { mode: "real, 32 bits", bytes: "7f02ffff2058ffff3ff9ffff15e0ffffa5b500002ff1ffff00c09a08" },
  { mode: "real, 16 bits", bytes: "7f0220583ff915e0a5b52ff100c0" },
  { mode: "V86, 32 bits", bytes: "7f02ffff2058ffff3ff9ffff15e0ffffa5b500002ff1ffff00c09a08" },
  { mode: "V86, 16 bits", bytes: "7f0220583ff915e0a5b52ff100c0" },
];
/** ABCD:00012345 and 1234:89ABCDEF as linear addresses, and what 20 bits hold of them. */
const LINEAR = [0xbe015, 0x89acf12f], LINEAR_20_BITS = [0xbe015, 0xcf12f];

function enterMode(cpu: Processor, mode: string): void {
  if (mode.startsWith("real")) cpu.r[S.CR0] &= ~S.CR0_PE;
  if (mode.startsWith("V86")) cpu.setEflags(VM, VM);
}

/** Precision control 53 bits, TOP = 3, C3 and PE; physical registers 3 to 5 hold 1, 0 and infinity, the others are empty. */
function fillFpu(fpu: Fpu): void {
  fpu.control = 0x27f;
  fpu.statusWord = 0x5820;
  fpu.tagWord = 0xffff;
  const value = new Float80();
  fpu.store(0, value.set(0x3fff, 0x8000_0000, 0));
  fpu.store(1, value.set(0, 0, 0));
  fpu.store(2, value.set(0x7fff, 0x8000_0000, 0));
  fpu.instructionOffset = 0x12345;
  fpu.instructionSelector = 0xabcd;
  fpu.opcode = 0x5a5;
  fpu.dataOffset = 0x89abcdef | 0;
  fpu.dataSelector = 0x1234;
}

Deno.test("FNSTENV writes the environment in the format of the mode and the operand size", () => {
  for (const { mode, bytes } of ENVIRONMENTS) {
    const cpu = machine();
    fillFpu(cpu.fpu);
    enterMode(cpu, mode);
    const prefix = mode.endsWith("16 bits") ? "66" : "";
    run(cpu, prefix + FNSTENV);
    assertEquals(memoryText(cpu, OPERAND, bytes.length / 2), bytes, mode);
    assertEquals(cpu.read8(OPERAND + bytes.length / 2), 0, `${mode}: nothing beyond`);
    assertEquals(cpu.fpu.control, 0x27f | 0x3f);
  }
});

Deno.test("FLDENV reads what FNSTENV wrote; a linear address comes back as an offset to selector 0", () => {
  for (const { mode, bytes } of ENVIRONMENTS) {
    const cpu = machine();
    enterMode(cpu, mode);
    bytesOf(bytes).forEach((byte, i) => cpu.write8(OPERAND + i, byte));
    const is16 = mode.endsWith("16 bits"), isProtected = mode.startsWith("protected");
    run(cpu, (is16 ? "66" : "") + FLDENV);
    const { fpu } = cpu;
    assertEquals([fpu.control, fpu.statusWord, fpu.empty], [0x27f, 0x5820, 0b1100_0111], mode);
    const pointers = [
      fpu.instructionSelector,
      fpu.instructionOffset,
      fpu.dataSelector,
      fpu.dataOffset >>> 0,
      fpu.opcode,
    ];
    const linear = is16 ? LINEAR_20_BITS : LINEAR;
    const expected = !isProtected
      ? [0, linear[0], 0, linear[1], 0x5a5]
      : is16
      ? [0xabcd, 0x2345, 0x1234, 0xcdef, 0]
      : [0xabcd, 0x12345, 0x1234, 0x89abcdef, 0x5a5];
    assertEquals(pointers, expected, mode);
  }
});

Deno.test("FNSAVE writes environment and registers and initialises; FRSTOR brings everything back", () => {
  for (const prefix of ["", "66"]) {
    const cpu = machine();
    fillFpu(cpu.fpu);
    if (prefix !== "") {
      // A 16-bit image has room neither for the opcode nor for the upper halves of the offsets.
      cpu.fpu.opcode = 0;
      cpu.fpu.instructionOffset &= 0xffff;
      cpu.fpu.dataOffset &= 0xffff;
    }
    const before = cpu.fpu.save();
    run(cpu, prefix + FNSAVE);
    const registers = OPERAND + (prefix === "" ? 28 : 14);
    assertEquals(memoryText(cpu, registers, 20), "0000000000000080ff3f" + "00".repeat(10));
    assertEquals([cpu.fpu.control, cpu.fpu.statusWord, cpu.fpu.tagWord], [0x37f, 0, 0xffff]);
    assertEquals([cpu.fpu.opcode, cpu.fpu.instructionOffset, cpu.fpu.dataSelector], [0, 0, 0]);
    run(cpu, FLDPI, FLD1, prefix + FRSTOR);
    assertEquals(cpu.fpu.save(), before);
  }
});

Deno.test("the pointers tell the last instruction that is no control instruction, and its operand", () => {
  const cpu = machine();
  const pointers = ({ fpu }: Processor) => [
    fpu.instructionOffset,
    fpu.instructionSelector,
    fpu.opcode,
    fpu.dataOffset,
    fpu.dataSelector,
  ];
  execute(cpu, bytesOf("d94204"), EIP);
  assertEquals(pointers(cpu), [EIP, 0x08, 0x142, OPERAND + 4, 0x10]);
  execute(cpu, bytesOf(FLD1), EIP + 3);
  assertEquals(pointers(cpu), [EIP + 3, 0x08, 0x1e8, OPERAND + 4, 0x10], "the operand's pointer stays");
  for (const text of [WAIT, FLDCW, FNSTSW_AX, FNCLEX]) execute(cpu, bytesOf(text), EIP + 5);
  assertEquals(pointers(cpu), [EIP + 3, 0x08, 0x1e8, OPERAND + 4, 0x10], "control instructions leave no trace");
});

// Faults of memory operands.

/** Sets the limit of DS. */
function limitData(cpu: Processor, limit: number): void {
  cpu.r[S.LIMIT + 3] = limit;
  cpu.updateMode();
}

const memoryRows = x87Rows.filter((row) => row.form === "memory");

/** Three registers in use, so that no instruction meets a stack fault first. */
function useRegisters(cpu: Processor): void {
  run(cpu, FLDPI, FLD1, FLDPI);
}

Deno.test("a memory operand beyond its segment's limit raises #GP, or #SS in the stack segment, and changes nothing", () => {
  for (const row of memoryRows) {
    for (const [prefix, vector] of [["", generalProtection], ["36", stackFault]] as const) {
      const cpu = machine();
      useRegisters(cpu);
      limitData(cpu, OPERAND);
      cpu.r[S.LIMIT + 2] = OPERAND;
      const before = cpu.fpu.save();
      const [text] = encodings(row);
      assertEquals(execute(cpu, bytesOf(prefix + text), EIP), vector, row.name);
      assertEquals(cpu.fpu.save(), before, row.name);
      assertEquals(cpu.read8(OPERAND), 0, row.name);
    }
  }
});

const PAGE_DIRECTORY = 0x1000, PAGE_TABLE = 0x2000, PRESENT_WRITABLE = 3, ABSENT_PAGE = 0x200;

Deno.test("a memory operand that crosses into an absent page raises #PF and changes nothing", () => {
  for (const row of memoryRows) {
    const cpu = machine();
    useRegisters(cpu);
    cpu.write32(PAGE_DIRECTORY, PAGE_TABLE | PRESENT_WRITABLE);
    for (let page = 0; page < 1024; page++) {
      cpu.write32(PAGE_TABLE + page * 4, page === ABSENT_PAGE ? 0 : page << 12 | PRESENT_WRITABLE);
    }
    cpu.r[S.CR3] = PAGE_DIRECTORY;
    cpu.r[S.CR0] |= S.CR0_PG;
    cpu.mmu.flush(false);
    const address = ABSENT_PAGE * 4096 - 1;
    cpu.r[EDX] = address;
    const before = cpu.fpu.save();
    const [text] = encodings(row);
    assertEquals(execute(cpu, bytesOf(text), EIP), pageFault, row.name);
    assertEquals(cpu.r[S.CR2] >>> 0, address + 1, row.name);
    assertEquals(cpu.fpu.save(), before, row.name);
    assertEquals(cpu.read8(address), 0, row.name);
  }
});

// Masks, at the stack and at stores.

Deno.test("stack faults tell overflow from underflow by C1, masked or not", () => {
  const INVALID_AND_STACK = 0x41;
  const cases = [
    {
      name: "masked underflow",
      control: 0x37f,
      empty: true,
      text: FSTP_FLOAT64,
      c1: 0,
      top: 1,
      memory: "000000000000f8ff",
    },
    {
      name: "unmasked underflow",
      control: 0x37e,
      empty: true,
      text: FSTP_FLOAT64,
      c1: 0,
      top: 0,
      memory: "00".repeat(8),
    },
    { name: "masked overflow", control: 0x37f, empty: false, text: FLD1, c1: C1, top: 7, memory: "00".repeat(8) },
    { name: "unmasked overflow", control: 0x37e, empty: false, text: FLD1, c1: C1, top: 0, memory: "00".repeat(8) },
  ];
  for (const { name, control, empty, text, c1, top, memory } of cases) {
    const cpu = machine();
    cpu.fpu.control = control;
    if (!empty) cpu.fpu.tagWord = 0;
    run(cpu, text);
    assertEquals(cpu.fpu.status & (INVALID_AND_STACK | C1), INVALID_AND_STACK | c1, name);
    assertEquals(cpu.fpu.top, top, name);
    assertEquals(cpu.fpu.pending, control === 0x37e, name);
    assertEquals(memoryText(cpu, OPERAND, 8), memory, name);
  }
});

Deno.test("a saved FPU comes back in every field", () => {
  const cpu = machine();
  leaveError(cpu);
  fillFpu(cpu.fpu);
  cpu.fpu.control = 0x35f;
  cpu.fpu.status = C3 | 0x20;
  cpu.fpu.updatePending(true);
  const saved = cpu.fpu.save();
  const other = new Fpu();
  other.restore(saved);
  assertEquals(other.save(), saved);
  assertEquals(other.pending, true);
  assertEquals(other.environment.precision, cpu.fpu.environment.precision);
  assertEquals(other.environment.masks, cpu.fpu.environment.masks);
});
