// x87 instructions in translated code against the interpreter, state by state (design, law 1): random sequences over every
// form that has an emitter, on operands and register stacks of every kind, under every control word; and every form alone, on
// ordinary operands, which the interpreter must not be asked for. BALLAST_X87_BLOCKS says how many sequences to run (default
// 3,000); BALLAST_X87_SEED names other ones.

import { assert, assertEquals } from "@std/assert";
import { Random } from "../../../core/mod.ts";
import { x87Choosers } from "../../../plugins/bt/emit/x87.ts";
import { decode, disassemble, type OpcodeRow, type Operand } from "../../../plugins/x86/mod.ts";
import { x87Rows } from "../../../plugins/x86/opcodes/x87.ts";
import { Float80 } from "../../../plugins/x86/x87/float80.ts";
import { Arena, type TranslatorChoice } from "./arena.ts";
import { jump, L, word } from "./arena_layout.ts";
import { type X87Case, x87Case } from "./random_x87.ts";

const CASES = Number(Deno.env.get("BALLAST_X87_BLOCKS") ?? 3000);
const SEED = Deno.env.get("BALLAST_X87_SEED") ?? "x87";

const choices: readonly TranslatorChoice[] = [
  { threshold: 0, unitInstructions: 12, regionUnits: 32, cacheKib: 16384 },
  { threshold: 0, unitInstructions: 64, regionUnits: 250, cacheKib: 16384 },
  { threshold: 0, unitInstructions: 1, regionUnits: 16, cacheKib: 16384 },
];

/** Steps after which the two are compared; the code is run through more than once. */
const STOPS = [3, 17, 120, 300];
/** What part of all steps may be interpreted: refused operands and empty registers are frequent here. */
const MOST_INTERPRETED = 0.85;

for (const [index, choice] of choices.entries()) {
  Deno.test(`x87 code computes the same under the interpreter and the translator, ${choice.unitInstructions} a unit`, () => {
    const reference = new Arena(), translated = new Arena(choice);
    for (let number = 0; number < CASES / choices.length; number++) {
      const seed = `${SEED} ${index} ${number}`;
      const test = x87Case(new Random(seed));
      for (const arena of [reference, translated]) begin(arena, test);
      for (const stop of STOPS) {
        reference.runTo(stop);
        translated.runTo(stop);
        const found = reference.differences(translated, true);
        assert(found.length === 0, found.length === 0 ? "" : report(seed, stop, test, found));
      }
    }
    assertEquals(reference.host.stateHash(reference.vm), translated.host.stateHash(translated.vm));
    const figures = translated.translator?.statistics;
    assert(figures !== undefined);
    const steps = STOPS[STOPS.length - 1] * CASES / choices.length;
    assert(figures.interpretedSteps < steps * MOST_INTERPRETED, `${figures.interpretedSteps} of ${steps} interpreted`);
  });
}

/** Instructions around one that is repeated, by handler: what makes room, or puts back what it has taken. */
const FLD1 = [0xd9, 0xe8], POP = [0xdd, 0xd8], FINCSTP = [0xd9, 0xf7], FDECSTP = [0xd9, 0xf6];
const AROUND: Readonly<Record<string, (variant: number) => readonly [number[], number[]]>> = {
  fld: () => [[], POP],
  fild: () => [[], POP],
  fldConstant: () => [[], POP],
  fst: (variant) => [variant === 1 ? FLD1 : [], []],
  fist: (variant) => [variant === 1 ? FLD1 : [], []],
  farithp: () => [FLD1, []],
  fcom: (variant) => [Array.from({ length: variant }, () => FLD1).flat(), []],
  fucom: (variant) => [Array.from({ length: variant }, () => FLD1).flat(), []],
  fcomi: (variant) => [variant === 1 ? FLD1 : [], []],
  fucomi: (variant) => [variant === 1 ? FLD1 : [], []],
  ffree: (variant) => [FLD1, variant === 1 ? [] : FINCSTP],
  fincstp: () => [[], FDECSTP],
  fdecstp: () => [[], FINCSTP],
};
/** Steps of the loop, and those that the interpreter may do before it is translated. */
const LOOP_STEPS = 200, FIRST_STEPS = 4;

Deno.test("every x87 form that has an emitter runs in translated code on ordinary operands, in every rounding mode", () => {
  const reference = new Arena(), translated = new Arena(choices[0]);
  const figures = translated.translator?.statistics;
  assert(figures !== undefined);
  let forms = 0;
  for (const row of x87Rows.filter(({ handler, name }) => handler in x87Choosers && name !== "fstpnce")) {
    for (const control of [0x37f, 0x77f, 0xb7f, 0xf7f, 0x27f]) {
      const test = ordinaryCase(row, control);
      for (const arena of [reference, translated]) begin(arena, test);
      const before = figures.interpretedSteps;
      reference.runTo(LOOP_STEPS);
      translated.runTo(LOOP_STEPS);
      assertEquals(reference.differences(translated, true), [], row.name);
      const steps = figures.interpretedSteps - before;
      assert(steps <= FIRST_STEPS, `${row.name} ${row.operands}: ${steps} steps interpreted under ${control}`);
    }
    forms++;
  }
  assert(forms > 100, `${forms} forms`);
});

/** A loop around one form: five registers hold numbers that stay ordinary, and memory a number of every format. */
function ordinaryCase(row: OpcodeRow, control: number): X87Case {
  const operand = Math.max(0, OPERANDS.indexOf(row.operands[0]));
  const modrm = row.form === "memory"
    ? [0x05 | (row.extension ?? 0) << 3, ...word(L.DATA + operand * 16)]
    : row.modrm
    ? [0xc0 | (row.extension ?? 0) << 3 | (row.rm ?? (row.handler === "ffree" ? 0 : 2))]
    : [];
  const [before, after] = AROUND[row.handler]?.(row.variant) ?? [[], []];
  const body = [...before, row.opcode, ...modrm, ...after];
  const registers = Array.from({ length: 8 }, (_, at) => new Float80().set(0x3fff, 0x80000000 + at * 0x1230000, at));
  const at = L.CODE + L.SLOT + body.length;
  const code = Uint8Array.from([...body, ...jump(at, L.CODE + L.SLOT)]);
  return {
    start: { cpl: 3, bits: 32, registers: registers.map(() => 0), eflags: 2, fs: 0, gs: 0, entry: L.SLOT, code },
    data: ordinaryData(control),
    fpu: { control, status: PE, empty: 0b11100000, top: 0, registers },
    parts: [[0, body.length]],
  };
}

const PE = 0x20;
const OPERANDS: readonly Operand[] = ["Mf64", "Mf32", "Mf80", "Mi16", "Mi32", "Mi64", "Mw"];

function ordinaryData(control: number): Uint8Array {
  const data = new Uint8Array(L.PAGE), view = new DataView(data.buffer);
  view.setFloat64(0, 1.1, true);
  view.setFloat32(16, 1.1, true);
  view.setBigInt64(32, -0x7000000000000001n, true);
  view.setUint16(40, 0x3fff, true);
  for (const at of [48, 64, 80]) view.setInt16(at, 3, true);
  view.setUint16(96, control, true);
  return data;
}

function begin(arena: Arena, { start, data, fpu }: X87Case): void {
  arena.begin(start);
  arena.memory.write(L.DATA, data);
  const state = arena.cpu.fpu;
  state.control = fpu.control;
  state.statusWord = fpu.status;
  state.empty = fpu.empty;
  state.top = fpu.top;
  for (const [register, { se, hi, lo }] of fpu.registers.entries()) {
    state.se[register] = se;
    state.significands.set([lo, hi], register * 2);
  }
  state.updatePending(true);
}

function report(seed: string, stop: number, { start, parts, fpu }: X87Case, differences: readonly string[]): string {
  const hex = (value: number) => (value >>> 0).toString(16);
  const lines = [
    `seed "${seed}" after ${stop} steps; interpreter and translator:`,
    ...differences.slice(0, 12),
    `control ${hex(fpu.control)} status ${hex(fpu.status)} top ${fpu.top} empty ${hex(fpu.empty)}`,
    ...fpu.registers.map(({ se, hi, lo }, register) => `r${register} ${hex(se)}:${hex(hi)}:${hex(lo)}`),
  ];
  for (const [offset, length] of parts) {
    const bytes = start.code.subarray(offset, offset + length);
    const instruction = decode(bytes, 0, length, 32), eip = L.CODE + start.entry + offset;
    lines.push(`${hex(eip)} ${typeof instruction === "string" ? instruction : disassemble(instruction, eip)}`);
  }
  return lines.join("\n");
}
