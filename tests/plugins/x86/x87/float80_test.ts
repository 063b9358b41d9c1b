// What callers of plugins/x86/x87 rely on, against oracles that are not an FPU: JavaScript's doubles, exact integers
// and the tables of the SDM.

import { assert, assertEquals, assertLess } from "@std/assert";
import { add, subtract } from "../../../../plugins/x86/x87/addition.ts";
import { compare, EQUAL, GREATER, LESS, UNORDERED } from "../../../../plugins/x86/x87/comparison.ts";
import { divide } from "../../../../plugins/x86/x87/division.ts";
import { exponentialMinusOne, logarithm } from "../../../../plugins/x86/x87/exponentials.ts";
import {
  ALL_EXCEPTIONS,
  Float80,
  FpuEnvironment,
  INVALID,
  PRECISION,
  UNDERFLOW,
  ZERO_DIVIDE,
} from "../../../../plugins/x86/x87/float80.ts";
import { fromFloat64, toFloat32, toFloat64 } from "../../../../plugins/x86/x87/formats.ts";
import { fromInt32, toInt32 } from "../../../../plugins/x86/x87/integers.ts";
import { multiply } from "../../../../plugins/x86/x87/multiplication.ts";
import { INCOMPLETE, remainder } from "../../../../plugins/x86/x87/remainder.ts";
import { squareRoot } from "../../../../plugins/x86/x87/square-root.ts";
import { arctangent, cosine, sine, tangent } from "../../../../plugins/x86/x87/trigonometry.ts";
import { OPERATIONS, TRANSCENDENTALS } from "./operations.ts";
import { Case, float80Text, parseFloat80, parseGroups, readGroups, replay } from "./oracle.ts";

type Binary = (env: FpuEnvironment, out: Float80, a: Readonly<Float80>, b: Readonly<Float80>) => void;

const view = new DataView(new ArrayBuffer(8));

function environment(controlWord: number): FpuEnvironment {
  const env = new FpuEnvironment();
  env.setControlWord(controlWord);
  env.begin();
  return env;
}

const ALL_MASKED = 0x037f, DOUBLE_PRECISION_MASKED = 0x027f, NOTHING_MASKED = 0x0340;

function value(x: number): Float80 {
  view.setFloat64(0, x);
  const out = new Float80();
  fromFloat64(new FpuEnvironment(), out, view.getUint32(0), view.getUint32(4));
  return out;
}

function toNumber(x: Float80): number {
  const bits = { hi: 0, lo: 0 };
  toFloat64(new FpuEnvironment(), bits, x);
  view.setUint32(0, bits.hi);
  view.setUint32(4, bits.lo);
  return view.getFloat64(0);
}

function float80(text: string): Float80 {
  const out = new Float80();
  parseFloat80(out, text);
  return out;
}

/** Doubles of moderate exponents from a linear congruential generator. */
function* doubles(count: number): Generator<number> {
  let state = 1;
  const next = () => state = Math.imul(state, 1664525) + 1013904223 >>> 0;
  for (let i = 0; i < count; i++) {
    view.setUint32(0, (next() & 0x800f_ffff | 0x3fe - 30 + (next() >>> 8) % 60 << 20) >>> 0);
    view.setUint32(4, i % 3 === 0 ? 0 : next());
    yield view.getFloat64(0);
  }
}

const PAIRS = 4000;

Deno.test("at 53 bits of precision sums, differences, products, quotients and roots are those of IEEE doubles", () => {
  const env = environment(DOUBLE_PRECISION_MASKED);
  const out = new Float80();
  const operations: [Binary, (a: number, b: number) => number][] = [
    [add, (a, b) => a + b],
    [subtract, (a, b) => a - b],
    [multiply, (a, b) => a * b],
    [divide, (a, b) => a / b],
    [(env, out, _, b) => squareRoot(env, out, b), (_, b) => Math.sqrt(b)],
  ];
  let a = 1;
  for (const b of doubles(PAIRS)) {
    for (const [operation, expected] of operations) {
      operation(env, out, value(a), value(b));
      assertEquals(toNumber(out), expected(a, b), `${operation.name} ${a} ${b}`);
    }
    a = b;
  }
});

Deno.test("storing binary32 rounds as Math.fround does", () => {
  for (const x of doubles(PAIRS)) {
    view.setUint32(0, toFloat32(environment(ALL_MASKED), value(x)));
    assertEquals(view.getFloat32(0), Math.fround(x));
  }
});

Deno.test("32-bit integers survive the way there and back", () => {
  const out = new Float80();
  for (const x of [0, 1, -1, 0x7fff_ffff, -0x8000_0000, 0x1234_5678, -98765]) {
    fromInt32(out, x);
    assertEquals(toInt32(environment(ALL_MASKED), out), x);
  }
});

Deno.test("transcendental functions agree with the host's to fifteen digits", () => {
  const env = environment(ALL_MASKED);
  const out = new Float80(), one = new Float80();
  const close = (expected: number, what: string) =>
    assertLess(Math.abs(toNumber(out) / expected - 1), 1e-15, `${what}: ${toNumber(out)} instead of ${expected}`);
  for (const x of [0.001, 0.3, 0.5, 0.75, 0.999]) {
    assert(sine(env, out, value(x)));
    close(Math.sin(x), `sin ${x}`);
    assert(cosine(env, out, value(x)));
    close(Math.cos(x), `cos ${x}`);
    assert(tangent(env, out, one, value(x)));
    close(Math.tan(x), `tan ${x}`);
    assertEquals(toNumber(one), 1);
    arctangent(env, out, value(x), value(-2));
    close(Math.atan2(x, -2), `atan2 ${x} -2`);
    exponentialMinusOne(env, out, value(x));
    close(Math.expm1(x * Math.LN2), `2^${x} - 1`);
    logarithm(env, out, value(3), value(x));
    close(3 * Math.log2(x), `3 log2 ${x}`);
  }
});

Deno.test("repeating a partial remainder until C2 is clear gives the exact remainder", () => {
  const env = environment(ALL_MASKED);
  const rest = new Float80();
  const exact = (x: Readonly<Float80>) => (BigInt(x.hi) << 32n | BigInt(x.lo)) << BigInt((x.se & 0x7fff) - 0x3fff + 63);
  for (
    const [dividend, divisor] of [["47ff9234567812345678", "3fffc000000000000001"], [
      "4fffffffffffffffffff",
      "4000aaaaaaaaaaaaaaab",
    ]]
  ) {
    const a = float80(dividend), b = float80(divisor);
    rest.copy(a);
    let quotient = INCOMPLETE, steps = 0;
    while ((quotient & INCOMPLETE) !== 0) {
      const before = rest.se & 0x7fff;
      quotient = remainder(env, rest, rest, b, false);
      if ((quotient & INCOMPLETE) !== 0) assert(before - (rest.se & 0x7fff) >= 32, "too little was taken off");
      steps += 1;
    }
    assert(steps > 1);
    assertEquals(exact(rest), exact(a) % exact(b));
    assertEquals(quotient, Number(exact(a) / exact(b) & 7n));
  }
});

const QUIET_1 = "7fffc000000000000001", QUIET_2 = "ffffc000000000000002", SIGNALLING_1 = "7fff8000000000000001";
const SIGNALLING_2 = "ffff8000000000000002", ONE_TEXT = "3fff8000000000000000";

Deno.test("two operands yield the NaN that table 4-7 of the SDM names", () => {
  const cases: [string, string, string, number][] = [
    [QUIET_1, ONE_TEXT, QUIET_1, 0],
    [ONE_TEXT, QUIET_2, QUIET_2, 0],
    [QUIET_1, QUIET_2, QUIET_2, 0],
    [SIGNALLING_1, ONE_TEXT, QUIET_1, INVALID],
    [SIGNALLING_2, QUIET_1, QUIET_1, INVALID],
    [SIGNALLING_1, SIGNALLING_2, QUIET_2, INVALID],
    // Equal significands: the positive one.
    ["ffffc000000000000001", QUIET_1, QUIET_1, 0],
  ];
  const out = new Float80();
  for (const [a, b, expected, raised] of cases) {
    for (const operation of [add, subtract, multiply, divide]) {
      const env = environment(ALL_MASKED);
      operation(env, out, float80(a), float80(b));
      assertEquals([float80Text(out), env.raised], [expected, raised], `${operation.name} ${a} ${b}`);
    }
  }
});

Deno.test("an unmasked exception before the computation leaves the destination alone", () => {
  const cases: [Binary, string, string, number][] = [
    [add, "7fff8000000000000000", "ffff8000000000000000", INVALID],
    [divide, ONE_TEXT, "80000000000000000000", ZERO_DIVIDE],
    [multiply, SIGNALLING_1, ONE_TEXT, INVALID],
    [subtract, "3fff7fffffffffffffff", ONE_TEXT, INVALID],
  ];
  for (const [operation, a, b, raised] of cases) {
    const env = environment(NOTHING_MASKED);
    const out = float80("1234abcdef0123456789");
    operation(env, out, float80(a), float80(b));
    assertEquals([float80Text(out), env.raised, env.suppressed()], ["1234abcdef0123456789", raised, true]);
  }
});

Deno.test("an unmasked underflow gives a register a wrapped exponent and memory nothing", () => {
  const env = environment(NOTHING_MASKED);
  const out = new Float80();
  multiply(env, out, float80("00018000000000000000"), float80("3ffe8000000000000000"));
  assertEquals([float80Text(out), env.raised, env.suppressed()], ["60008000000000000000", UNDERFLOW, false]);
  env.begin();
  toFloat32(env, float80("00018000000000000000"));
  assertEquals([env.raised, env.storeSuppressed()], [UNDERFLOW, true]);
});

Deno.test("ordering knows signs, zeros, denormals and NaNs", () => {
  const env = environment(ALL_MASKED);
  const ascending = ["ffff8000000000000000", "bfff8000000000000000", "80000000000000000001", "00000000000000000000"];
  ascending.push("00000000000000000001", "00018000000000000000", ONE_TEXT, "7fff8000000000000000");
  const expected = (i: number, j: number) => i < j ? LESS : i > j ? GREATER : EQUAL;
  ascending.forEach((a, i) =>
    ascending.forEach((b, j) => assertEquals(compare(env, float80(a), float80(b), false), expected(i, j), `${a} ${b}`))
  );
  assertEquals(compare(env, float80("80000000000000000000"), float80(ascending[3]), false), EQUAL);
  for (const [quiet, raised] of [[true, 0], [false, INVALID]] as const) {
    env.begin();
    assertEquals(compare(env, float80(QUIET_1), float80(ONE_TEXT), quiet), UNORDERED);
    assertEquals(env.raised, raised);
  }
});

Deno.test("the destination may be one of the operands", async () => {
  const groups = new Map([...await readGroups("operations.txt.gz"), ...await readGroups("transcendentals.txt.gz")]);
  for (
    const name of [
      "add",
      "subtract",
      "multiply",
      "divide",
      "squareRoot",
      "remainder",
      "scale",
      "arctangent",
      "logarithm",
    ]
  ) {
    const operation = OPERATIONS[name] ?? TRANSCENDENTALS[name];
    const apart = new Case(), same = new Case();
    for (const line of groups.get(name)?.lines ?? []) {
      const [a, b] = line.split(" ");
      parseFloat80(apart.a, a);
      parseFloat80(apart.b, b);
      apart.environment.begin();
      operation.run(apart, apart.environment);
      for (const alias of ["a", "b"] as const) {
        parseFloat80(same.a, a);
        parseFloat80(same.b, b);
        same.environment.begin();
        operation.run({ ...same, result: same[alias] }, same.environment);
        assertEquals(float80Text(same[alias]), float80Text(apart.result), `${name} ${line.slice(0, 41)} into ${alias}`);
      }
    }
  }
});

Deno.test("a replayed answer that differs in one flag is reported", () => {
  const line = `${ONE_TEXT} ${ONE_TEXT} 40008000000000000000,20`;
  const groups = parseGroups(`op add 037f\n${line}\n`);
  const group = groups.get("add");
  assert(group !== undefined);
  assertEquals(replay(group, OPERATIONS.add).differences.length, 1);
});

Deno.test("the control word sets rounding, precision and masks", () => {
  const env = new FpuEnvironment();
  for (const [word, rounding, precision] of [[0x037f, 0, 64], [0x027f, 0, 53], [0x0c7f, 3, 24], [0x0740, 1, 64]]) {
    env.setControlWord(word);
    assertEquals([env.rounding, env.precision, env.masks], [rounding, precision, word & ALL_EXCEPTIONS]);
  }
  env.setControlWord(0x0840);
  env.begin();
  const out = new Float80();
  divide(env, out, value(1), value(3));
  assertEquals([float80Text(out), env.raised, env.roundedUp], ["3ffdaaaaab0000000000", PRECISION, true]);
});
