// The SIMD state: how it starts, the image of FXSAVE, the x87 registers under MMX, saved states and hashes (Intel SDM 2A,
// FXSAVE; SDM 1, 9.5).

import { assertEquals, assertNotEquals, assertStrictEquals } from "@std/assert";
import { Hasher } from "../../../../core/mod.ts";
import type { Processor } from "../../../../plugins/x86/processor.ts";
import * as S from "../../../../plugins/x86/state.ts";
import { executeInstruction, flatProcessor, peek, poke } from "../flat_processor.ts";

const EIP = 0x1000, IMAGE = 0x3000, EBX = 3;
const FXSAVE = [0x0f, 0xae, 0x03], FXRSTOR = [0x0f, 0xae, 0x0b], EMMS = [0x0f, 0x77], MOVD_TO_MM3 = [0x0f, 0x6e, 0xd8];

function simdProcessor(): Processor {
  const cpu = flatProcessor(0);
  cpu.r[S.CR4] |= S.CR4_OSFXSR;
  cpu.r[EBX] = IMAGE;
  return cpu;
}

function run(cpu: Processor, code: readonly number[]): void {
  assertStrictEquals(executeInstruction(cpu, Uint8Array.from(code), EIP), undefined);
}

/** Fills every field with a value of its own. */
function fill({ fpu, r }: Processor): void {
  fpu.control = 0x27f;
  fpu.statusWord = 0x2b00 | 0x4000;
  fpu.empty = 0x35;
  fpu.opcode = 0x5a7;
  fpu.instructionOffset = 0x11223344;
  fpu.instructionSelector = 0x5566;
  fpu.dataOffset = 0x778899aa;
  fpu.dataSelector = 0xbbcc;
  for (let i = 0; i < 8; i++) {
    fpu.significands[i * 2] = 0x10000000 + i;
    fpu.significands[i * 2 + 1] = 0x90000000 + i;
    fpu.se[i] = 0x4000 + i;
  }
  r[S.MXCSR] = 0x9fc3;
  for (let i = 0; i < 32; i++) r[S.XMM + i] = 0x20000000 + i;
}

Deno.test("after power-on all exceptions are masked and the registers are zero", () => {
  const { r } = flatProcessor(0);
  assertEquals([r[S.MXCSR], ...r.subarray(S.XMM, S.XMM + 32)], [0x1f80, ...Array<number>(32).fill(0)]);
});

Deno.test("FXSAVE writes each field where the manual has it, and nothing between", () => {
  const cpu = simdProcessor();
  fill(cpu);
  poke(cpu, IMAGE, new Uint8Array(512).fill(0xee));
  run(cpu, FXSAVE);
  const view = new DataView(peek(cpu, IMAGE, 512).buffer);
  const words = (at: number, count: number) =>
    Array.from({ length: count }, (_, i) => view.getUint32(at + 4 * i, true));
  assertEquals([view.getUint16(0, true), view.getUint16(2, true)], [0x27f, 0x6b00]);
  // A bit for each register that is not empty.
  assertEquals([view.getUint8(4), view.getUint16(6, true)], [0xca, 0x5a7]);
  assertEquals(words(8, 6), [0x11223344, 0x5566, 0x778899aa, 0xbbcc, 0x9fc3, 0xffff]);
  for (let position = 0; position < 8; position++) {
    const register = (5 + position) % 8, at = 32 + 16 * position;
    assertEquals(words(at, 2), [0x10000000 + register, 0x90000000 + register]);
    assertEquals([view.getUint16(at + 8, true), view.getUint16(at + 10, true)], [0x4000 + register, 0xeeee]);
  }
  assertEquals(words(160, 32), Array.from({ length: 32 }, (_, i) => 0x20000000 + i));
  assertEquals(words(288, 56), Array<number>(56).fill(0xeeeeeeee));
});

Deno.test("FXRSTOR brings back what FXSAVE wrote, pending exceptions too", () => {
  const cpu = simdProcessor();
  fill(cpu);
  cpu.fpu.control = 0x240;
  cpu.fpu.status |= 1;
  cpu.fpu.updatePending(true);
  const before = cpu.fpu.save(), registers = [...cpu.r.subarray(S.MXCSR, S.X87_STATE)];
  run(cpu, FXSAVE);
  cpu.fpu.reset();
  cpu.r.fill(0, S.MXCSR, S.X87_STATE);
  run(cpu, FXRSTOR);
  assertEquals(cpu.fpu.save(), before);
  assertEquals([...cpu.r.subarray(S.MXCSR, S.X87_STATE)], registers);
  assertStrictEquals(cpu.fpu.pending, true);
});

Deno.test("MMX register n is physical x87 register n; its use makes all valid and EMMS all empty, with TOP 0", () => {
  const cpu = simdProcessor();
  cpu.fpu.initialise();
  cpu.fpu.top = 6;
  cpu.r[0] = 0x12345678;
  run(cpu, MOVD_TO_MM3);
  assertEquals([cpu.fpu.significands[6], cpu.fpu.significands[7], cpu.fpu.se[3]], [0x12345678, 0, 0xffff]);
  assertEquals([cpu.fpu.top, cpu.fpu.empty], [0, 0]);
  cpu.fpu.top = 6;
  run(cpu, EMMS);
  assertEquals([cpu.fpu.top, cpu.fpu.empty, cpu.fpu.tagWord], [0, 0xff, 0xffff]);
});

Deno.test("a saved state holds XMM registers and MXCSR, and the hash covers them", () => {
  const cpu = simdProcessor();
  fill(cpu);
  const saved = cpu.save(), hash = hashOf(cpu);
  for (const word of [S.MXCSR, S.XMM, S.XMM + 31]) {
    cpu.r[word] ^= 1;
    assertNotEquals(hashOf(cpu), hash);
    cpu.restore(saved);
    assertEquals(hashOf(cpu), hash);
  }
});

function hashOf(cpu: Processor): string {
  const hasher = new Hasher();
  cpu.hash(hasher);
  return hasher.digest();
}
