// Every emitted MMX, SSE and SSE2 instruction against the interpreter: the instructions and operands of tests/fixtures/simd,
// which have all the special values, under many settings of MXCSR and of the control registers' guards, with memory operands
// at all places of a page. On calm numbers none may be left to the interpreter. BALLAST_SIMD_CASES says how many cases of an
// instruction to run (default 40); BALLAST_SIMD_SEED names other ones.

import { assert, assertEquals } from "@std/assert";
import { Random } from "../../../core/mod.ts";
import { simdChoosers } from "../../../plugins/bt/emit/simd.ts";
import { decode, ESP, type Processor, state as S, STATUS_FLAGS } from "../../../plugins/x86/mod.ts";
import { simdRows } from "../../../plugins/x86/opcodes/simd.ts";
import { INVALID } from "../../../plugins/x86/x87/float80.ts";
import { type Line, lineName, simdLines } from "../x86/simd/cases.ts";
import { Arena, type Start, type TranslatorChoice } from "./arena.ts";
import { L } from "./arena_layout.ts";

const CASES_PER_LINE = Number(Deno.env.get("BALLAST_SIMD_CASES") ?? 40);
const SEED = Deno.env.get("BALLAST_SIMD_SEED") ?? "translated SIMD";
const SHOWN = 4;

const translator: TranslatorChoice = { threshold: 0, unitInstructions: 12, regionUnits: 32, cacheKib: 16384 };
const recorded = await simdLines();

/** Instructions that the fixture has not, on operands of one that it has: registers, and memory at [EDX]. */
const FURTHER = [
  ...[[0x0f, 0x52], [0x0f, 0x53]].flatMap((opcode) =>
    [[], [0xf3]].flatMap((prefix) => [[...prefix, ...opcode, 0xc1], [...prefix, ...opcode, 0x02]])
  ),
  ...[[0x0f, 0x77], [0x0f, 0xae, 0x1a], [0x0f, 0xae, 0xe8], [0x0f, 0xae, 0xf0], [0x0f, 0xae, 0xf8]],
];
const ADDPS = [0x0f, 0x58, 0xc1];
const singles = recorded.find(({ bytes }) => bytes.join() === ADDPS.join());
if (singles === undefined) throw new Error("the fixture has no ADDPS");
const lines: readonly Line[] = [
  ...recorded,
  ...FURTHER.map((bytes, i) => ({ ...singles, bytes: Uint8Array.from(bytes), number: recorded.length + i })),
];

/** What no translation has: it is rare, and long or hard to restart. */
const INTERPRETED = ["clflush", "fxrstor", "fxsave", "ldmxcsr", "maskmov"];

const ENTRY = 0x40;
/** Where the instruction lies, and the operand in memory. */
const EIP = L.CODE + ENTRY, DATA = L.DATA, DATA_BYTES = 32;
const EDX = 2, EDI = 7;
const JUMP_TO_ITSELF = [0xeb, 0xfe];
/** All masked; so with the precision flag, as after the first inexact result of a program. */
const POWER_ON = 0x1f80, INEXACT = 0x1fa0;

function startOf(instruction: Uint8Array): Start {
  const code = new Uint8Array(L.CODE_BYTES - ENTRY).fill(0x90);
  code.set([...instruction, ...JUMP_TO_ITSELF]);
  const registers = [0, 0, DATA, 0, L.STACK + 0x800, 0, 0, DATA];
  return { cpl: 3, bits: 32, registers, eflags: 2, fs: 0, gs: 0, entry: ENTRY, code };
}

/** A processor state: two operands, where the second lies in memory too, MXCSR, what stops instructions, and the x87's stack. */
interface Case {
  readonly a: Uint8Array;
  readonly b: Uint8Array;
  readonly address: number;
  readonly mxcsr: number;
  readonly guard: Guard;
  readonly stack: number;
}

const guards = ["none", "emulated", "task switched", "no SSE", "x87 exception"] as const;
type Guard = typeof guards[number];

function setGuard({ r, fpu }: Processor, guard: Guard): void {
  r[S.CR0] &= ~(S.CR0_EM | S.CR0_TS);
  r[S.CR4] |= S.CR4_OSFXSR;
  fpu.initialise();
  if (guard === "emulated") r[S.CR0] |= S.CR0_EM;
  else if (guard === "task switched") r[S.CR0] |= S.CR0_TS;
  else if (guard === "no SSE") r[S.CR4] &= ~S.CR4_OSFXSR;
  else if (guard === "x87 exception") {
    fpu.control &= ~INVALID;
    fpu.status |= INVALID;
    fpu.updatePending(true);
  }
}

function randomMxcsr(random: Random): number {
  switch (random.below(8)) {
    case 0:
      return random.next() & 0xffff;
    case 1:
    case 2:
      return POWER_ON;
    case 3:
      return POWER_ON | random.next() & 0x603f;
    default:
      return INEXACT;
  }
}

/** Puts both operands into registers of every kind and `b` into memory too; the rest is as `begin` left it. */
function prepare({ cpu, memory, vm }: Arena, rest: Int32Array, theCase: Case): void {
  const { a, b, address, mxcsr, guard, stack } = theCase;
  const { fpu, r } = cpu;
  r.set(rest);
  cpu.setCpl(3);
  cpu.updateMode();
  setGuard(cpu, guard);
  for (const [register, operand] of [a, b].entries()) {
    const words = new Int32Array(operand.slice().buffer);
    r.set(words, S.XMM + register * 4);
    r[register] = words[0];
    fpu.significands.set(new Uint32Array(words.buffer, 0, 2), register * 2);
  }
  fpu.top = stack & 7;
  fpu.empty = stack >>> 8 & 0xff;
  fpu.se.fill(0x3fff);
  r[EDX] = r[EDI] = address;
  r[ESP] = L.STACK + 0x800;
  r[S.MXCSR] = mxcsr;
  r[S.EIP] = EIP;
  cpu.setStatusFlags(stack >>> 16 & STATUS_FLAGS);
  memory.write(DATA + (address & (L.PAGE - 1)), Uint8Array.from([...b, ...a]));
  vm.clock.restore({ steps: 0, offsetNs: 0, deadlines: {} });
}

/** Runs one instruction and the jump behind it, or what a fault leads to. */
const STEPS = 2;

function differences(reference: Arena, translated: Arena): string[] {
  const found = reference.differences(translated, false);
  const data = [reference, translated].map(({ memory }) => {
    const [first, second] = [0, 1].map((page) => memory.peek((DATA >>> 12) + page));
    return [first?.slice(0, DATA_BYTES), first?.slice(-DATA_BYTES), second?.slice(0, DATA_BYTES)].join();
  });
  if (data[0] !== data[1]) found.push(`memory ${data.join(" and ")}`);
  return found;
}

interface Outcome {
  readonly failures: string[];
  cases: number;
  /** Cases that the translator left to the interpreter. */
  left: number;
}

/** A pair of machines that run one instruction again and again. */
class Pair {
  readonly reference = new Arena();
  readonly translated = new Arena(translator);
  #state = new Int32Array();

  begin(instruction: Uint8Array): void {
    const start = startOf(instruction);
    for (const arena of [this.reference, this.translated]) {
      arena.begin(start);
      // The first run fills the TLBs and makes the translation.
      arena.runTo(8);
      if (arena.cpu.r[S.CPL] === 0) throw new Error(`the instruction ${instruction} faults`);
    }
    this.#state = this.reference.cpu.r.slice();
  }

  run(title: string, theCase: Case, outcome: Outcome): void {
    const { reference, translated } = this;
    const interpreted = translated.translator?.statistics.interpretedSteps ?? 0;
    for (const arena of [reference, translated]) {
      prepare(arena, this.#state, theCase);
      arena.runTo(STEPS);
    }
    outcome.cases++;
    if ((translated.translator?.statistics.interpretedSteps ?? 0) > interpreted) outcome.left++;
    const found = differences(reference, translated);
    if (found.length === 0) return;
    const hex = (bytes: Uint8Array) =>
      Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).reverse().join("");
    const { a, b, address, mxcsr, guard } = theCase;
    const place = `[${address.toString(16)}]`;
    outcome.failures.push(
      `${title}: a=${hex(a)} b=${hex(b)} at ${place} mxcsr=${mxcsr.toString(16)} guard ${guard}: ${found.join("; ")}`,
    );
  }
}

/** Operands of a kind. */
const POOL = 32;

/** Operands of every kind from a source of positive numbers. */
function pools(number: () => number): Readonly<Record<string, readonly Uint8Array[]>> {
  const some = (make: () => ArrayBuffer) => Array.from({ length: POOL }, () => new Uint8Array(make()));
  return {
    integers: some(() => Int32Array.from({ length: 4 }, number).buffer),
    doubles: some(() => Float64Array.from({ length: 2 }, number).buffer),
    singles: some(() => Float32Array.from({ length: 4 }, number).buffer),
  };
}

const numbers = new Random("ordinary operands");
/** Operands that no instruction finds special, and such that every result is exact, quotients and square roots too. */
const ordinaryPools = pools(() => 1 + numbers.below(1e9) / 1e5);
const exactPools = pools(() => 4 ** (1 + numbers.below(5)));
/** Odd integers of any number of bits, scaled: whether a result is exact depends on their last bits. */
const roundingPools = pools(() => {
  const bits = 1 + numbers.below(53), low = Math.min(bits - 1, 26), high = bits - 1 - low;
  const upper = 2 ** high + numbers.below(2 ** high);
  return (2 * (upper * 2 ** low + numbers.below(2 ** low)) + 1) * 2 ** (numbers.below(20) - 10 - bits);
});
const mixedKinds = [ordinaryPools, exactPools, roundingPools, roundingPools].flatMap((kinds) => Object.values(kinds));

/** Mostly an aligned address; else any, one across the end of a page, and one there where nothing is mapped behind it. */
function randomAddress(random: Random): number {
  switch (random.below(18)) {
    case 0:
      return DATA + random.below(16);
    case 1:
      return DATA + L.PAGE - random.below(17);
    case 2:
      return L.DATA_ALIAS + L.PAGE - random.below(17);
    default:
      return DATA;
  }
}

/** An operand of the fixture, or one of no special values, or that with one element of the fixture's. */
function randomOperand(random: Random, pool: readonly Uint8Array[]): Uint8Array {
  const operand = pool[random.below(pool.length)];
  if (random.below(2) === 0) return operand;
  const kind = mixedKinds[random.below(mixedKinds.length)], mixed = kind[random.below(kind.length)].slice();
  if (random.below(2) === 0) return mixed;
  const bytes = random.below(2) === 0 ? 4 : 8, at = random.below(mixed.length / bytes) * bytes;
  mixed.set(operand.subarray(at, at + bytes), at);
  return mixed;
}

function runLine(pair: Pair, line: Line, outcome: Outcome): void {
  const random = new Random(`${SEED} ${line.number}`);
  pair.begin(line.bytes);
  const pick = <T>(values: readonly T[]) => values[random.below(values.length)];
  for (let number = 0; number < CASES_PER_LINE; number++) {
    const theCase: Case = {
      a: randomOperand(random, line.pool),
      b: randomOperand(random, line.pool),
      address: randomAddress(random),
      mxcsr: randomMxcsr(random),
      guard: random.below(8) > 0 ? "none" : pick(guards),
      stack: random.next(),
    };
    pair.run(`${lineName(line)} ${line.bytes}`, theCase, outcome);
  }
}

function handlerOf({ bytes }: Line): string {
  const instruction = decode(bytes, 0, bytes.length, 32);
  return typeof instruction === "string" ? instruction : instruction.row.handler;
}

Deno.test("translated SIMD instructions leave the state that the interpreter leaves", () => {
  const outcome: Outcome = { failures: [], cases: 0, left: 0 };
  const pair = new Pair();
  for (const line of lines) runLine(pair, line, outcome);
  assertEquals(outcome.failures.slice(0, SHOWN).join("\n"), "");
  assert(outcome.cases >= lines.length * CASES_PER_LINE);
  assert(outcome.left < outcome.cases / 2, `${outcome.left} of ${outcome.cases} cases were left to the interpreter`);
});

const calm = [
  ["on ordinary numbers", ordinaryPools, INEXACT],
  ["with exact results, the precision flag being clear,", exactPools, POWER_ON],
] as const;

for (const [what, operands, mxcsr] of calm) {
  Deno.test(`translated SIMD instructions ${what} are not left to the interpreter`, () => {
    const pair = new Pair();
    for (const line of lines) {
      if (INTERPRETED.includes(handlerOf(line))) continue;
      pair.begin(line.bytes);
      // An instruction may want integers, doubles or singles: one kind it must like.
      const left = Object.values(operands).map((pool) => {
        const outcome: Outcome = { failures: [], cases: 0, left: 0 };
        for (const [i, a] of pool.slice(0, 8).entries()) {
          const b = pool[(i + 1) % pool.length];
          pair.run(lineName(line), { a, b, address: DATA, mxcsr, guard: "none", stack: i }, outcome);
        }
        assertEquals(outcome.failures.join("\n"), "");
        return outcome.left;
      });
      assertEquals(Math.min(...left), 0, `${lineName(line)} ${line.bytes} was left ${left} times`);
    }
  });
}

/** Pairs of operands whose sum, difference, product, quotient or square root has just as many bits as fit, or one more. */
function roundingEdges(precision: number): (readonly [number, number])[] {
  const pairs: (readonly [number, number])[] = [];
  for (let bits = 1; bits < precision; bits++) {
    const left = 2 ** bits - 1;
    for (const sum of [precision, precision + 1]) {
      const right = 2 ** (sum - bits) - 1;
      pairs.push([left, right], [left * right, right], [left, left * left], [left, left * left + 1]);
      pairs.push([left, 2 ** (sum - bits)], [left, right * 2 ** bits], [left * 2 ** (sum - bits), -right]);
    }
  }
  return pairs;
}

Deno.test("translated SSE arithmetic raises the precision flag exactly where a result is rounded", () => {
  const pair = new Pair(), outcome: Outcome = { failures: [], cases: 0, left: 0 };
  for (const line of lines) {
    const [, format] = /^(?:add|sub|mul|div|sqrt)([sp][sd])$/.exec(lineName(line)) ?? [];
    if (format === undefined) continue;
    pair.begin(line.bytes);
    const isDouble = format.endsWith("d");
    for (const operands of roundingEdges(isDouble ? 53 : 24)) {
      const [a, b] = operands.map((value) =>
        new Uint8Array((isDouble ? new Float64Array(2) : new Float32Array(4)).fill(value).buffer)
      );
      pair.run(lineName(line), { a, b, address: DATA, mxcsr: POWER_ON, guard: "none", stack: 0 }, outcome);
    }
  }
  assertEquals(outcome.failures.slice(0, SHOWN).join("\n"), "");
  assert(outcome.cases > 5000, `only ${outcome.cases} cases`);
});

Deno.test("the greatest integer is no single", () => {
  const pair = new Pair(), outcome: Outcome = { failures: [], cases: 0, left: 0 };
  const a = new Uint8Array(Int32Array.of(0x7fffffff, 1, 2, 3).buffer);
  for (const line of lines.filter((line) => /^cvt(dq|pi|si)2[sp]s$/.test(lineName(line)))) {
    pair.begin(line.bytes);
    pair.run(lineName(line), { a, b: a, address: DATA, mxcsr: POWER_ON, guard: "none", stack: 0 }, outcome);
  }
  assertEquals(outcome.failures.join("\n"), "");
  assertEquals(outcome.left, outcome.cases);
});

Deno.test("every SIMD instruction is translated but those that are named", () => {
  const elsewhere = ["nop"];
  const handlers = new Set(simdRows.map((row) => row.handler));
  const missing = [...handlers].filter((handler) => simdChoosers[handler] === undefined);
  assertEquals(missing.filter((handler) => !elsewhere.includes(handler)).sort(), INTERPRETED);
  assertEquals(Object.keys(simdChoosers).filter((handler) => !handlers.has(handler)), []);
});
