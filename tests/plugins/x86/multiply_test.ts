import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { EAX, ECX, EDX } from "../../../plugins/x86/instruction.ts";
import { mulHighSigned, mulHighUnsigned } from "../../../plugins/x86/interpreter/multiply.ts";
import { Vector } from "../../../plugins/x86/state.ts";
import { executeInstruction, flatProcessor } from "./flat_processor.ts";

const DIV_ECX = Uint8Array.of(0xf7, 0xf1), IDIV_ECX = Uint8Array.of(0xf7, 0xf9);

const corners = [
  0,
  1,
  2,
  0xffff,
  0x10000,
  0x1ffff,
  0x7fffffff,
  0x80000000,
  0x80000001,
  0xffff0000,
  0xfffffffe,
  0xffffffff,
];
const word = fc.oneof(fc.constantFrom(...corners), fc.integer({ min: 0, max: 0xffffffff }));
const runs = { seed: 1, numRuns: 5000 };

Deno.test("the upper half of a 64-bit product is exact, unsigned and signed", () => {
  const property = fc.property(word, word, (a, b) => {
    const unsigned = (BigInt(a) * BigInt(b)) >> 32n;
    const signed = (BigInt(a | 0) * BigInt(b | 0)) >> 32n;
    assertEquals(mulHighUnsigned(a | 0, b | 0), Number(BigInt.asIntN(32, unsigned)));
    assertEquals(mulHighSigned(a | 0, b | 0), Number(BigInt.asIntN(32, signed)));
  });
  fc.assert(property, runs);
});

const cpu = flatProcessor(3);

/** Divides EDX:EAX by ECX and returns quotient and remainder as unsigned words, or the fault. */
function divide(bytes: Uint8Array, high: number, low: number, by: number): [number, number] | { vector: number } {
  cpu.r[EDX] = high;
  cpu.r[EAX] = low;
  cpu.r[ECX] = by;
  const fault = executeInstruction(cpu, bytes, 0x1000);
  return fault === undefined ? [cpu.r[EAX] >>> 0, cpu.r[EDX] >>> 0] : { vector: fault.vector };
}

Deno.test("DIV is exact over all 64-bit dividends, and faults where the quotient does not fit", () => {
  const property = fc.property(word, word, word, (high, low, by) => {
    const dividend = (BigInt(high) << 32n) | BigInt(low), divisor = BigInt(by);
    const fits = by !== 0 && dividend / divisor < 1n << 32n;
    const expected = fits ? [Number(dividend / divisor), Number(dividend % divisor)] : { vector: Vector.divideError };
    assertEquals<unknown>(divide(DIV_ECX, high, low, by), expected);
    // The same divisor with a dividend whose quotient always fits.
    if (by !== 0) {
      const fitting = (BigInt(high % by) << 32n) | BigInt(low);
      const result = [Number(fitting / divisor), Number(fitting % divisor)];
      assertEquals<unknown>(divide(DIV_ECX, high % by, low, by), result);
    }
  });
  fc.assert(property, runs);
});

Deno.test("IDIV truncates toward zero, exact to the ends of its range", () => {
  const property = fc.property(word, word, word, fc.boolean(), (quotientBits, by, rest, direct) => {
    const divisor = BigInt(by | 0), magnitude = divisor < 0n ? -divisor : divisor;
    // Dividends from a quotient, from one beyond the range now and then, or any at all.
    const quotient = BigInt(quotientBits | 0) + (rest % 7 === 0 ? 1n : 0n);
    const remainder = magnitude === 0n ? 0n : (BigInt(rest) % magnitude) * (quotient * divisor < 0n ? -1n : 1n);
    const dividend = direct
      ? BigInt.asIntN(64, (BigInt(quotientBits) << 32n) | BigInt(rest))
      : quotient * divisor + remainder;
    const high = Number(BigInt.asIntN(32, dividend >> 32n)), low = Number(BigInt.asIntN(32, dividend));
    const result = divisor === 0n ? undefined : dividend / divisor;
    const fits = result !== undefined && result === BigInt.asIntN(32, result);
    const expected = fits
      ? [Number(BigInt.asUintN(32, result)), Number(BigInt.asUintN(32, dividend % divisor))]
      : { vector: Vector.divideError };
    assertEquals<unknown>(divide(IDIV_ECX, high, low, by), expected);
  });
  fc.assert(property, runs);
});
