// When SIMD instructions may run, what stops them, and that a fault leaves no trace: the control registers' guards, pending x87
// exceptions, alignment, page and segment faults, #XM (Intel SDM 3A, 2.5, 6.15 and 13.1; SDM 2A, 2.4).

import { assertEquals, assertStrictEquals } from "@std/assert";
import type { Processor } from "../../../../plugins/x86/processor.ts";
import { simdRows } from "../../../../plugins/x86/opcodes/simd.ts";
import { INVALID } from "../../../../plugins/x86/x87/float80.ts";
import * as S from "../../../../plugins/x86/state.ts";
import { executeInstruction, flatProcessor, peek, poke } from "../flat_processor.ts";

const V = S.Vector;
const EIP = 0x1000, DATA = 0x3000;
const EBX = 3, EDI = 7;

function simdProcessor(): Processor {
  const cpu = flatProcessor(3);
  cpu.r[S.CR4] |= S.CR4_OSFXSR | S.CR4_OSXMMEXCPT;
  cpu.r[EBX] = cpu.r[EDI] = DATA;
  return cpu;
}

function vectorOf(cpu: Processor, code: readonly number[]): number | undefined {
  return executeInstruction(cpu, Uint8Array.from(code), EIP)?.vector;
}

/** All registers but EIP. */
function registersOf(cpu: Processor): unknown {
  const registers = cpu.r.slice();
  registers[S.EIP] = 0;
  return [registers, cpu.fpu.save()];
}

/** Leaves an x87 exception for the next instruction that looks. */
function leavePending(cpu: Processor): void {
  cpu.r[S.CR0] |= S.CR0_NE;
  cpu.fpu.control &= ~INVALID;
  cpu.fpu.status |= INVALID;
  cpu.fpu.updatePending(true);
}

/** One instruction of each kind with its memory operand at [EBX]. */
const PADDB_MMX = [0x0f, 0xfc, 0x03], PSHUFW = [0x0f, 0x70, 0xc1, 0], EMMS = [0x0f, 0x77], MOVNTQ = [0x0f, 0xe7, 0x03];
const PADDB = [0x66, 0x0f, 0xfc, 0x03],
  ADDPS = [0x0f, 0x58, 0xc1],
  MOVUPS = [0x0f, 0x10, 0x03],
  UCOMISD = [0x66, 0x0f, 0x2e, 0xc1];
const LDMXCSR = [0x0f, 0xae, 0x13], STMXCSR = [0x0f, 0xae, 0x1b], RCPPS = [0x0f, 0x53, 0xc1];
const CVTPI2PS = [0x0f, 0x2a, 0xc1], CVTPI2PS_MEMORY = [0x0f, 0x2a, 0x03], MOVDQ2Q = [0xf2, 0x0f, 0xd6, 0xc1];
const FXSAVE = [0x0f, 0xae, 0x03], FXRSTOR = [0x0f, 0xae, 0x0b];
const MOVNTI = [0x0f, 0xc3, 0x03],
  PREFETCH = [0x0f, 0x18, 0x03],
  LFENCE = [0x0f, 0xae, 0xe8],
  CLFLUSH = [0x0f, 0xae, 0x3b];
const PAUSE = [0xf3, 0x90];

const none = undefined;

Deno.test("EM, TS, OSFXSR and a pending x87 exception stop what the manual says they stop", () => {
  // Vectors with EM; TS; EM and TS; OSFXSR clear; an exception pending.
  const cases: [number[][], (number | undefined)[]][] = [
    [[PADDB_MMX, PSHUFW, EMMS, MOVNTQ], [
      V.invalidOpcode,
      V.deviceNotAvailable,
      V.invalidOpcode,
      none,
      V.floatingPoint,
    ]],
    [[PADDB, ADDPS, MOVUPS, UCOMISD, LDMXCSR, STMXCSR, RCPPS, CVTPI2PS_MEMORY], [
      V.invalidOpcode,
      V.deviceNotAvailable,
      V.invalidOpcode,
      V.invalidOpcode,
      none,
    ]],
    [[CVTPI2PS, MOVDQ2Q], [V.invalidOpcode, V.deviceNotAvailable, V.invalidOpcode, V.invalidOpcode, V.floatingPoint]],
    [[FXSAVE, FXRSTOR], [V.deviceNotAvailable, V.deviceNotAvailable, V.deviceNotAvailable, none, none]],
    [[MOVNTI, PREFETCH, LFENCE, CLFLUSH, PAUSE], [none, none, none, none, none]],
  ];
  const conditions: ((cpu: Processor) => void)[] = [
    (cpu) => cpu.r[S.CR0] |= S.CR0_EM,
    (cpu) => cpu.r[S.CR0] |= S.CR0_TS,
    (cpu) => cpu.r[S.CR0] |= S.CR0_EM | S.CR0_TS,
    (cpu) => cpu.r[S.CR4] &= ~S.CR4_OSFXSR,
    leavePending,
  ];
  for (const [codes, expected] of cases) {
    for (const code of codes) {
      assertStrictEquals(vectorOf(simdProcessor(), code), none, `${code}`);
      for (const [i, condition] of conditions.entries()) {
        const cpu = simdProcessor();
        condition(cpu);
        assertStrictEquals(vectorOf(cpu, code), expected[i], `${code} under condition ${i}`);
      }
    }
  }
});

Deno.test("a pending x87 exception is not reported to MMX where FERR# is", () => {
  const cpu = simdProcessor();
  leavePending(cpu);
  cpu.r[S.CR0] &= ~S.CR0_NE;
  assertStrictEquals(vectorOf(cpu, PADDB_MMX), none);
});

Deno.test("memory operands of 16 bytes must be aligned, but for the unaligned moves, and smaller ones need not be", () => {
  const unaligned = new Set(["movups", "movupd", "movdqu"]);
  let faulting = 0, passing = 0;
  for (const row of simdRows) {
    const memory = row.operands.find((operand) => /^[MWQE]/.test(operand));
    if (memory === undefined || row.form === "register" || memory === "M") continue;
    const cpu = simdProcessor();
    cpu.r[EBX] = DATA + 8;
    const prefix = row.prefix === undefined ? [] : [row.prefix];
    const code = [
      ...prefix,
      0x0f,
      row.opcode,
      (row.extension ?? 0) << 3 | EBX,
      ...(row.operands.includes("Ib") ? [0] : []),
    ];
    const aligns = ["Wdq", "Wps", "Wpd", "Mdq"].includes(memory) && !unaligned.has(row.name);
    const before = registersOf(cpu);
    const fault = executeInstruction(cpu, Uint8Array.from(code), EIP);
    if (aligns) {
      assertEquals(fault, { vector: V.generalProtection, errorCode: 0 }, row.name);
      assertEquals(registersOf(cpu), before, row.name);
      faulting++;
    } else {
      assertStrictEquals(fault, undefined, row.name);
      passing++;
    }
  }
  assertEquals([faulting > 100, passing > 100], [true, true], `${faulting} and ${passing}`);
});

Deno.test("alignment is that of the linear address", () => {
  const cpu = simdProcessor();
  cpu.r[S.BASE + 3] = 8;
  cpu.updateMode();
  cpu.r[EBX] = DATA + 8;
  assertStrictEquals(vectorOf(cpu, PADDB), none);
  cpu.r[EBX] = DATA;
  assertStrictEquals(vectorOf(cpu, PADDB), V.generalProtection);
});

Deno.test("FXSAVE and FXRSTOR want an image aligned to 16 bytes", () => {
  for (const code of [FXSAVE, FXRSTOR]) {
    const cpu = simdProcessor();
    cpu.r[EBX] = DATA + 8;
    assertStrictEquals(vectorOf(cpu, code), V.generalProtection);
  }
});

Deno.test("reserved bits of MXCSR raise #GP from LDMXCSR and FXRSTOR and leave everything as it was", () => {
  for (const code of [LDMXCSR, FXRSTOR]) {
    const cpu = simdProcessor();
    poke(cpu, DATA, new Uint8Array(512).fill(1));
    const before = registersOf(cpu);
    assertEquals(executeInstruction(cpu, Uint8Array.from(code), EIP), { vector: V.generalProtection, errorCode: 0 });
    assertEquals(registersOf(cpu), before);
  }
});

Deno.test("LDMXCSR may set a flag and its mask's opposite at once: only an instruction that raises the exception faults", () => {
  const cpu = simdProcessor();
  poke(cpu, DATA, Uint8Array.of(0x3f, 0, 0, 0));
  assertStrictEquals(vectorOf(cpu, LDMXCSR), none);
  assertStrictEquals(cpu.r[S.MXCSR], 0x3f);
  assertStrictEquals(vectorOf(cpu, ADDPS), none);
  assertStrictEquals(vectorOf(cpu, STMXCSR), none);
  assertEquals([...peek(cpu, DATA, 4)], [0x3f, 0, 0, 0]);
});

Deno.test("an unmasked exception is #XM with CR4.OSXMMEXCPT and #UD without", () => {
  const divideByZero = [0x0f, 0x5e, 0xc1];
  for (const [osxmmexcpt, vector] of [[S.CR4_OSXMMEXCPT, V.simd], [0, V.invalidOpcode]]) {
    const cpu = simdProcessor();
    cpu.r[S.CR4] = S.CR4_OSFXSR | osxmmexcpt;
    cpu.r[S.MXCSR] = 0;
    cpu.r.fill(0x3f800000, S.XMM, S.XMM + 4);
    const before = [...cpu.r.subarray(S.XMM, S.XMM + 32)];
    assertEquals(executeInstruction(cpu, Uint8Array.from(divideByZero), EIP), { vector, errorCode: undefined });
    assertEquals([cpu.r[S.MXCSR], ...cpu.r.subarray(S.XMM, S.XMM + 32)], [4, ...before]);
  }
});

const PAGE_DIRECTORY = 0x100000, PAGE_TABLE = 0x101000, PRESENT = 1, WRITABLE = 2, USER = 4;
/** A page that can be written, then one that can be read. */
const WRITABLE_PAGE = 0x8000, READ_ONLY_PAGE = 0x9000;

function pagedProcessor(): Processor {
  const cpu = simdProcessor();
  const entries = Int32Array.from(
    { length: 1024 },
    (_, page) => page < 256 ? page * 4096 | PRESENT | WRITABLE | USER : 0,
  );
  entries[READ_ONLY_PAGE / 4096] &= ~WRITABLE;
  poke(cpu, PAGE_TABLE, new Uint8Array(entries.buffer));
  poke(cpu, PAGE_DIRECTORY, Uint8Array.of(PRESENT | WRITABLE | USER, PAGE_TABLE >>> 8, PAGE_TABLE >>> 16, 0));
  cpu.r[S.CR3] = PAGE_DIRECTORY;
  cpu.r[S.CR0] |= S.CR0_PG;
  return cpu;
}

Deno.test("a store that runs into a page it may not write changes no byte and no register", () => {
  const stores: [string, number[]][] = [
    ["movups", [0x0f, 0x11, 0x03]],
    ["movlps", [0x0f, 0x13, 0x03]],
    ["movq", [0x66, 0x0f, 0xd6, 0x03]],
    ["movq mmx", [0x0f, 0x7f, 0x03]],
    ["movd", [0x66, 0x0f, 0x7e, 0x03]],
    ["movd mmx", [0x0f, 0x7e, 0x03]],
    ["movss", [0xf3, 0x0f, 0x11, 0x03]],
    ["maskmovdqu", [0x66, 0x0f, 0xf7, 0xc1]],
    ["maskmovq", [0x0f, 0xf7, 0xc1]],
    ["fxsave", FXSAVE],
  ];
  for (const [name, code] of stores) {
    const cpu = pagedProcessor();
    cpu.r.fill(-1, S.XMM, S.XMM + 32);
    cpu.fpu.significands.fill(0xffffffff);
    cpu.fpu.top = 5;
    cpu.r[EBX] = cpu.r[EDI] = READ_ONLY_PAGE - (name === "fxsave" ? 16 : 2);
    assertStrictEquals(vectorOf(cpu, code), V.pageFault, name);
    assertStrictEquals(cpu.r[S.CR2], READ_ONLY_PAGE, name);
    assertStrictEquals(cpu.fpu.top, 5, name);
    assertEquals([...peek(cpu, WRITABLE_PAGE + 4080, 16)], Array<number>(16).fill(0), name);
  }
});

Deno.test("a masked store touches the bytes of its mask alone: others may lie where nothing can be written", () => {
  for (const [code, bytes] of [[[0x66, 0x0f, 0xf7, 0xc1], 16], [[0x0f, 0xf7, 0xc1], 8]] as const) {
    const cpu = pagedProcessor();
    cpu.r[EDI] = READ_ONLY_PAGE - bytes / 2;
    const words = bytes / 4;
    for (let i = 0; i < words; i++) {
      const mask = i < words / 2 ? 0x80ff7f00 | 0 : 0;
      cpu.r[S.XMM + i] = 0x44332211;
      cpu.r[S.XMM + 4 + i] = mask;
      if (i < 2) [cpu.fpu.significands[i], cpu.fpu.significands[2 + i]] = [0x44332211, mask];
    }
    assertStrictEquals(vectorOf(cpu, code as unknown as number[]), none);
    const stored = Array.from({ length: bytes / 2 }, (_, i) => [0, 0, 0x33, 0x44][i % 4]);
    assertEquals([...peek(cpu, READ_ONLY_PAGE - bytes / 2, bytes / 2)], stored);
    // An empty mask does nothing anywhere.
    cpu.r.fill(0, S.XMM + 4, S.XMM + 8);
    cpu.fpu.significands[2] = cpu.fpu.significands[3] = 0;
    cpu.r[EDI] = READ_ONLY_PAGE;
    assertStrictEquals(vectorOf(cpu, code as unknown as number[]), none);
  }
});

Deno.test("an MMX instruction that faults on its operand leaves the x87 stack alone", () => {
  const cpu = simdProcessor();
  cpu.r[S.LIMIT + 3] = DATA + 3;
  cpu.updateMode();
  cpu.fpu.top = 3;
  cpu.fpu.empty = 0xff;
  assertStrictEquals(vectorOf(cpu, PADDB_MMX), V.generalProtection);
  assertEquals([cpu.fpu.top, cpu.fpu.empty], [3, 0xff]);
});
