import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { DF, ECX, EDI, EDX, ES, ESI } from "../../../plugins/x86/instruction.ts";
import type { Processor } from "../../../plugins/x86/processor.ts";
import * as S from "../../../plugins/x86/state.ts";
import { executeInstruction, flatProcessor, peek, poke } from "./flat_processor.ts";

const EIP = 0x1000;
const MOVSB = 0xa4, MOVSD = 0xa5, CMPSB = 0xa6, STOSB = 0xaa, STOSD = 0xab, LODSB = 0xac, SCASB = 0xae;
const INSB = 0x6c, OUTSB = 0x6e;
const REP = 0xf3, REPNE = 0xf2, OPERAND_SIZE = 0x66, ADDRESS_SIZE = 0x67;

/** Sets registers by number. */
function set(cpu: Processor, registers: Readonly<Record<number, number>>): void {
  for (const [register, value] of Object.entries(registers)) cpu.r[Number(register)] = value;
}

/** Executes with a budget of steps; says how many were used and whether the instruction is to be run again. */
function executeWithin(cpu: Processor, bytes: readonly number[], budget: number): { steps: number; again: boolean } {
  const { clock } = cpu.vm;
  const before = clock.steps;
  clock.deadlineSteps = before + budget;
  assertEquals(executeInstruction(cpu, Uint8Array.from(bytes), EIP), undefined);
  return { steps: clock.steps - before, again: cpu.r[S.EIP] === EIP };
}

Deno.test("a count of zero is one step and changes nothing", () => {
  for (const opcode of [MOVSB, CMPSB, STOSB, LODSB, SCASB]) {
    const cpu = flatProcessor(0);
    set(cpu, { [ECX]: 0, [ESI]: 0x2000, [EDI]: 0x3000 });
    assertEquals(executeWithin(cpu, [REP, opcode], 100), { steps: 1, again: false });
    assertEquals([cpu.r[ECX], cpu.r[ESI], cpu.r[EDI]], [0, 0x2000, 0x3000]);
  }
});

Deno.test("a repetition stops at the budget and goes on as the instruction anew", () => {
  const cpu = flatProcessor(0);
  poke(cpu, 0x2000, Uint8Array.from({ length: 10 }, (_, i) => i + 1));
  set(cpu, { [ECX]: 10, [ESI]: 0x2000, [EDI]: 0x3000 });
  assertEquals(executeWithin(cpu, [REP, MOVSB], 4), { steps: 4, again: true });
  assertEquals([cpu.r[ECX], cpu.r[ESI], cpu.r[EDI]], [6, 0x2004, 0x3004]);
  assertEquals(executeWithin(cpu, [REP, MOVSB], 6), { steps: 6, again: false });
  assertEquals(cpu.r[ECX], 0);
  assertEquals([...peek(cpu, 0x3000, 11)], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 0]);
});

Deno.test("one iteration at a time runs while an event or a trap waits", () => {
  const cpu = flatProcessor(0);
  set(cpu, { [ECX]: 10, [ESI]: 0x2000, [EDI]: 0x3000 });
  cpu.attention = 1;
  assertEquals(executeWithin(cpu, [REP, MOVSD], 100), { steps: 1, again: true });
  assertEquals(cpu.r[ECX], 9);
});

Deno.test("a comparison that ends a repetition is its last iteration", () => {
  const cpu = flatProcessor(0);
  poke(cpu, 0x3000, Uint8Array.of(1, 2, 3, 0, 5));
  set(cpu, { 0: 0, [ECX]: -1, [EDI]: 0x3000 });
  assertEquals(executeWithin(cpu, [REPNE, SCASB], 1000), { steps: 4, again: false });
  assertEquals([cpu.r[ECX], cpu.r[EDI], cpu.zf], [-5, 0x3004, 1]);
  set(cpu, { [ECX]: 100, [ESI]: 0x3000, [EDI]: 0x4000 });
  poke(cpu, 0x4000, Uint8Array.of(1, 2, 4));
  assertEquals(executeWithin(cpu, [REP, CMPSB], 1000), { steps: 3, again: false });
  assertEquals([cpu.r[ECX], cpu.zf, cpu.cf], [97, 0, 1]);
});

Deno.test("an iteration that faults leaves those before it done and counted", () => {
  for (const [bytes, size] of [[[REP, STOSB], 1], [[REP, STOSD], 4], [[REP, MOVSB], 1], [[REP, MOVSD], 4]] as const) {
    const cpu = flatProcessor(0);
    cpu.r[S.LIMIT + ES] = 0x3000 + 5 * size - 1;
    cpu.updateMode();
    set(cpu, { [ECX]: 9, [ESI]: 0x2000, [EDI]: 0x3000 });
    const fault = executeInstruction(cpu, Uint8Array.from(bytes), EIP);
    assertEquals(fault, { vector: S.Vector.generalProtection, errorCode: 0 });
    assertEquals([cpu.r[ECX], cpu.r[EDI], cpu.vm.clock.steps], [4, 0x3000 + 5 * size, 5]);
  }
});

Deno.test("MOVS and STOS move what one iteration after the other would, at any overlap, direction, size and budget", () => {
  const windowStart = 0x7000, windowBytes = 3 * 4096;
  const cpu = flatProcessor(0);
  const property = fc.property(
    fc.record({
      isMove: fc.boolean(),
      size: fc.constantFrom(1, 2, 4),
      isDown: fc.boolean(),
      address16: fc.boolean(),
      flat: fc.boolean(),
      source: fc.integer({ min: 4096, max: 8191 }),
      distance: fc.oneof(fc.integer({ min: -9, max: 9 }), fc.integer({ min: -2000, max: 2000 })),
      count: fc.oneof(fc.integer({ min: 0, max: 20 }), fc.integer({ min: 0, max: 700 })),
      budget: fc.oneof(fc.integer({ min: 1, max: 30 }), fc.constant(Infinity)),
      seed: fc.integer({ min: 0, max: 255 }),
    }),
    ({ isMove, size, isDown, address16, flat, source, distance, count, budget, seed }) => {
      const iterations = Math.floor(count / size);
      const expected = Uint8Array.from({ length: windowBytes }, (_, i) => (i * 31 + (i >> 3) + seed) & 0xff);
      poke(cpu, windowStart, expected);
      cpu.r[S.LIMIT + ES] = flat ? -1 : 0xffff;
      cpu.updateMode();
      cpu.setEflags(isDown ? DF : 0, DF);
      const destination = source + distance;
      set(cpu, {
        0: 0x11223344 + seed,
        [ECX]: iterations,
        [ESI]: windowStart + source,
        [EDI]: windowStart + destination,
      });
      const accumulator = [0x44 + seed, 0x33, 0x22, 0x11];
      if (accumulator[0] > 255) {
        accumulator[0] -= 256;
        accumulator[1]++;
      }
      for (let i = 0; i < iterations; i++) {
        const offset = isDown ? -i * size : i * size;
        const element = isMove
          ? expected.slice(source + offset, source + offset + size)
          : Uint8Array.from(accumulator.slice(0, size));
        expected.set(element, destination + offset);
      }
      const opcode = isMove ? (size === 1 ? MOVSB : MOVSD) : (size === 1 ? STOSB : STOSD);
      const bytes = [REP, ...(size === 2 ? [OPERAND_SIZE] : []), ...(address16 ? [ADDRESS_SIZE] : []), opcode];
      let steps = 0;
      for (;;) {
        const run = executeWithin(cpu, bytes, budget);
        steps += run.steps;
        if (!run.again) break;
        assertEquals(run.steps, budget);
      }
      const end = isDown ? -iterations * size : iterations * size;
      assertEquals(steps, Math.max(1, iterations));
      assertEquals(cpu.r[ECX], 0);
      assertEquals(cpu.r[EDI], windowStart + destination + end);
      assertEquals(cpu.r[ESI], windowStart + source + (isMove ? end : 0));
      assertEquals(peek(cpu, windowStart, windowBytes), expected);
    },
  );
  fc.assert(property, { seed: 1, numRuns: 1500 });
});

Deno.test("16-bit addresses wrap at 64 KiB, in pages and out of them", () => {
  for (const base of [0, 0x123]) {
    const cpu = flatProcessor(0);
    cpu.r[S.BASE + ES] = base;
    cpu.updateMode();
    set(cpu, { 0: 0xabababab, [ECX]: 64, [EDI]: 0x55550000 + 0xffe0 });
    assertEquals(executeWithin(cpu, [REP, ADDRESS_SIZE, STOSB], 1000), { steps: 64, again: false });
    assertEquals(cpu.r[EDI], 0x55550020);
    assertEquals([...peek(cpu, base + 0xffe0, 32), ...peek(cpu, base, 32)], Array(64).fill(0xab));
    assertEquals([...peek(cpu, base + 0x10000, 1)], [0]);
  }
});

Deno.test("INS and OUTS see the exact step at each transfer, and end the block after it", () => {
  const cpu = flatProcessor(0);
  const seen: [string, number][] = [];
  cpu.io.claim(0x80, 1, "recorder", {
    read: () => seen.push(["in", cpu.vm.clock.steps]),
    write: (_port, _size, value) => void seen.push([`out ${value}`, cpu.vm.clock.steps]),
  });
  set(cpu, { [EDX]: 0x80, [ECX]: 2, [ESI]: 0x3000, [EDI]: 0x3000 });
  assertEquals(executeWithin(cpu, [REP, INSB], 100), { steps: 1, again: true });
  assertEquals(executeWithin(cpu, [REP, INSB], 100), { steps: 1, again: false });
  cpu.r[ECX] = 2;
  while (executeWithin(cpu, [REP, OUTSB], 100).again);
  assertEquals(seen, [["in", 0], ["in", 1], ["out 1", 2], ["out 2", 3]]);
});

Deno.test("INS without permission, or to a segment that forbids it, does not read the port", () => {
  for (const [cpl, limit, raised] of [[3, -1, "permission"], [0, 0x2fff, "limit"]] as const) {
    const cpu = flatProcessor(cpl);
    cpu.r[S.LIMIT + ES] = limit;
    cpu.updateMode();
    let reads = 0;
    cpu.io.claim(0x80, 1, "counter", { read: () => ++reads, write() {} });
    set(cpu, { [EDX]: 0x80, [EDI]: 0x3000 });
    const fault = executeInstruction(cpu, Uint8Array.of(INSB), EIP);
    assertEquals([fault?.vector, reads, cpu.r[EDI]], [S.Vector.generalProtection, 0, 0x3000], raised);
  }
});
