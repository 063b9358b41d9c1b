// RCPPS and RSQRTPS: the error that the manual allows, and its tables of special operands (Intel SDM 2B, RCPPS, RSQRTPS).
// Also that native arithmetic, which serves most operations, gives the bits of the exact one.

import { assert, assertEquals } from "@std/assert";
import type { Processor } from "../../../../plugins/x86/processor.ts";
import * as S from "../../../../plugins/x86/state.ts";
import { executeInstruction, flatProcessor } from "../flat_processor.ts";

const EIP = 0x1000;
const RCPPS = [0x0f, 0x53, 0xc1], RCPSS = [0xf3, ...RCPPS], RSQRTPS = [0x0f, 0x52, 0xc1], RSQRTSS = [0xf3, ...RSQRTPS];
const MAX_ERROR = 1.5 * 2 ** -12;

function simdProcessor(): Processor {
  const cpu = flatProcessor(3);
  cpu.r[S.CR4] |= S.CR4_OSFXSR;
  return cpu;
}

/** XMM0 after an instruction on XMM0 and XMM1, as bits. */
function execute(cpu: Processor, code: readonly number[], a: readonly number[], b: readonly number[]): number[] {
  cpu.r.set(a.map((bits) => bits | 0), S.XMM);
  cpu.r.set(b.map((bits) => bits | 0), S.XMM + 4);
  assertEquals(executeInstruction(cpu, Uint8Array.from(code), EIP), undefined);
  return [...cpu.r.subarray(S.XMM, S.XMM + 4)].map((bits) => bits >>> 0);
}

const float = new Float32Array(1), floatBits = new Uint32Array(float.buffer);
function toFloat(bits: number): number {
  floatBits[0] = bits;
  return float[0];
}

/** A xorshift generator (Marsaglia, 2003). */
function numbers(seed: number): () => number {
  let state = seed;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state >>> 0;
  };
}

Deno.test("approximations are within the documented error for every exponent, and read and raise nothing in MXCSR", () => {
  const cpu = simdProcessor(), next = numbers(7);
  cpu.r[S.MXCSR] = 0xe040;
  let compared = 0;
  for (let exponent = 1; exponent < 253; exponent++) {
    for (let i = 0; i < 40; i++) {
      const operands = Array.from({ length: 4 }, () => exponent << 23 | next() & 0x7fffff);
      const reciprocals = execute(cpu, RCPPS, [0, 0, 0, 0], operands).map(toFloat);
      const roots = execute(cpu, RSQRTPS, [0, 0, 0, 0], operands).map(toFloat);
      for (const [j, operand] of operands.map(toFloat).entries()) {
        const inverse = 1 / operand, inverseRoot = 1 / Math.sqrt(operand);
        assert(Math.abs(reciprocals[j] - inverse) <= MAX_ERROR * inverse, `1 / ${operand} is ${reciprocals[j]}`);
        assert(Math.abs(roots[j] - inverseRoot) <= MAX_ERROR * inverseRoot, `1 / sqrt ${operand} is ${roots[j]}`);
        compared += 2;
      }
    }
  }
  assert(compared > 80_000);
  assertEquals(cpu.r[S.MXCSR], 0xe040);
});

Deno.test("special operands of the approximations give what the manual's tables say", () => {
  // Operand, reciprocal, reciprocal square root.
  const cases = [
    [0x00000000, 0x7f800000, 0x7f800000],
    [0x80000000, 0xff800000, 0xff800000],
    [0x00000001, 0x7f800000, 0x7f800000],
    [0x807fffff, 0xff800000, 0xff800000],
    [0x7f800000, 0x00000000, 0x00000000],
    [0xff800000, 0x80000000, 0xffc00000],
    [0x7f7fffff, 0x00000000, 0x1f800000],
    [0xff7fffff, 0x80000000, 0xffc00000],
    [0x3f800000, 0x3f800000, 0x3f800000],
    [0xc0000000, 0xbf000000, 0xffc00000],
    [0x7f800001, 0x7fc00001, 0x7fc00001],
    [0xffc12345, 0xffc12345, 0xffc12345],
  ];
  const cpu = simdProcessor();
  cpu.r[S.MXCSR] = 0;
  for (const [operand, inverse, inverseRoot] of cases) {
    const b = [operand, 0x40800000, 0x40800000, 0x40800000];
    const quarter = 0x3e800000, half = 0x3f000000;
    assertEquals(execute(cpu, RCPPS, [1, 2, 3, 4], b), [inverse, quarter, quarter, quarter], operand.toString(16));
    assertEquals(execute(cpu, RCPSS, [1, 2, 3, 4], b), [inverse, 2, 3, 4], operand.toString(16));
    assertEquals(execute(cpu, RSQRTPS, [1, 2, 3, 4], b), [inverseRoot, half, half, half], operand.toString(16));
    assertEquals(execute(cpu, RSQRTSS, [1, 2, 3, 4], b), [inverseRoot, 2, 3, 4], operand.toString(16));
  }
  assertEquals(cpu.r[S.MXCSR], 0);
});

Deno.test("native arithmetic gives the bits and flags of the exact one", () => {
  const cpu = simdProcessor(), next = numbers(11);
  const instructions = [0x51, 0x58, 0x59, 0x5c, 0x5e].flatMap((
    opcode,
  ) => [[0x0f, opcode, 0xc1], [0x66, 0x0f, opcode, 0xc1]]);
  // Exponents around one, and at the ends of both formats' ranges.
  const exponents = [
    0x3ff0,
    0x3ff8,
    0x3f80,
    0x3f00,
    0x4010,
    0x0010,
    0x0080,
    0x2000,
    0x1ff0,
    0x5fe0,
    0x7fe0,
    0x7f70,
    0x7ff0,
  ];
  const operand = () => {
    const tail = (next() & 3) === 0 ? 0 : next();
    const sign = next() << 31;
    return [tail | 0, exponents[next() % exponents.length] << 16 | next() & 0x8fffff | sign];
  };
  const precise = 0x1f80, native = 0x1fa0;
  for (let i = 0; i < 20_000; i++) {
    const code = instructions[i % instructions.length];
    const a = [...operand(), ...operand()], b = [...operand(), ...operand()];
    cpu.r[S.MXCSR] = native;
    const fast = execute(cpu, code, a, b), fastFlags = cpu.r[S.MXCSR];
    cpu.r[S.MXCSR] = precise;
    const exact = execute(cpu, code, a, b), exactFlags = cpu.r[S.MXCSR] | 0x20;
    assertEquals([...fast, fastFlags], [...exact, exactFlags], `${code}: ${a} and ${b}`);
  }
});
