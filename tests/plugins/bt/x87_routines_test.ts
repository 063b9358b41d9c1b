// The x87 routines of the translator against the interpreter's operations: results, exceptions and C1 to the bit, for random
// and special operands under every control word. Where a routine refuses, nothing may have changed, and it must not refuse
// what programs do all the time. BALLAST_X87_CASES says how many cases per routine (default 20,000).

import { assert, assertEquals } from "@std/assert";
import { Random } from "../../../core/mod.ts";
import { X87_TYPES, x87Functions } from "../../../plugins/bt/emit/x87_runtime.ts";
import * as L from "../../../plugins/bt/layout.ts";
import { encodeModule } from "../../../plugins/bt/wasm.ts";
import { state as S } from "../../../plugins/x86/mod.ts";
import { add } from "../../../plugins/x86/x87/addition.ts";
import { compare, EQUAL, LESS, UNORDERED } from "../../../plugins/x86/x87/comparison.ts";
import { divide } from "../../../plugins/x86/x87/division.ts";
import { classify, Float80, FpuEnvironment, NORMAL_CLASS, ZERO_CLASS } from "../../../plugins/x86/x87/float80.ts";
import { toFloat32, toFloat64 } from "../../../plugins/x86/x87/formats.ts";
import { roundToInteger, toInt16, toInt32, toInt64 } from "../../../plugins/x86/x87/integers.ts";
import { multiply } from "../../../plugins/x86/x87/multiplication.ts";
import { squareRoot } from "../../../plugins/x86/x87/square-root.ts";
import { CONTROL_WORDS, randomPair } from "./random_x87.ts";

const CASES = Number(Deno.env.get("BALLAST_X87_CASES") ?? 20_000);
const PE = 0x20, C1 = 0x200;

type Result = readonly [bigint, number] | number;
type Routine = (...operands: (bigint | number)[]) => Result;

const MACHINE_PAGES = L.HYPERVISOR_BYTES / 65536;
const machine = new WebAssembly.Memory({ initial: MACHINE_PAGES, maximum: MACHINE_PAGES });
const words = new Int32Array(machine.buffer, L.STATE);
const routines = instantiate();

function instantiate(): Readonly<Record<string, Routine>> {
  const functions = x87Functions();
  const bytes = encodeModule({
    types: X87_TYPES,
    imports: [],
    functions: functions.map(({ name, body }, type) => ({ type, body, exported: name })),
    machinePages: MACHINE_PAGES,
    area: 0,
    tableSlots: 1,
  });
  const m = {
    machine,
    table: new WebAssembly.Table({ element: "anyfunc", initial: 1, maximum: 1 }),
  };
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(bytes), { m });
  return exports as Record<string, Routine>;
}

function significandOf({ hi, lo }: Readonly<Float80>): bigint {
  return BigInt.asIntN(64, BigInt(hi) << 32n | BigInt(lo));
}

const env = new FpuEnvironment();
const out = new Float80();
const bits = { hi: 0, lo: 0 };
const wide = () => BigInt.asIntN(64, BigInt(bits.hi >>> 0) << 32n | BigInt(bits.lo >>> 0));
const outcome = (): Result => [significandOf(out), out.se];

/** A routine, the interpreter's operation in the routine's terms, and what part of the cases it must not refuse. */
interface Subject {
  readonly name: string;
  readonly unary?: boolean;
  readonly extra?: readonly number[];
  readonly reference: (a: Float80, b: Float80) => Result;
  readonly least: number;
}

const subjects: readonly Subject[] = [
  { name: "add", reference: (a, b) => (add(env, out, a, b), outcome()), least: 0.5 },
  { name: "multiply", reference: (a, b) => (multiply(env, out, a, b), outcome()), least: 0.5 },
  { name: "divide", reference: (a, b) => (divide(env, out, a, b), outcome()), least: 0.5 },
  { name: "squareRoot", unary: true, reference: (a) => (squareRoot(env, out, a), outcome()), least: 0.3 },
  { name: "roundToInteger", unary: true, reference: (a) => (roundToInteger(env, out, a), outcome()), least: 0.5 },
  { name: "toBinary64", unary: true, reference: (a) => (toFloat64(env, bits, a), [wide(), 0]), least: 0.5 },
  {
    name: "toBinary32",
    unary: true,
    reference: (a) => [BigInt(toFloat32(env, a) >>> 0), 0],
    least: 0.5,
  },
  { name: "toInteger", unary: true, extra: [16], reference: (a) => [BigInt(toInt16(env, a)), 0], least: 0.3 },
  { name: "toInteger", unary: true, extra: [32], reference: (a) => [BigInt(toInt32(env, a)), 0], least: 0.3 },
  { name: "toInteger", unary: true, extra: [64], reference: (a) => (toInt64(env, bits, a), [wide(), 0]), least: 0.4 },
  {
    name: "compare",
    reference: (a, b) => {
      const order = compare(env, a, b, false);
      return order === LESS ? 0x100 : order === EQUAL ? 0x4000 : order === UNORDERED ? 0x4500 : 0;
    },
    least: 0.5,
  },
];

for (const { name, unary, extra = [], reference, least } of subjects) {
  const title = `x87 routine ${[name, ...extra].join(" ")} computes what the interpreter does, or refuses`;
  Deno.test(title, () => {
    const random = new Random(title);
    const routine = routines[`x87.${name}`];
    let done = 0;
    for (let i = 0; i < CASES; i++) {
      const [a, b] = randomPair(random);
      const control = CONTROL_WORDS[random.below(CONTROL_WORDS.length)] | 0x40;
      // Sticky already, or not; an unmasked exception cannot have been raised before.
      const status = random.below(2) * PE & control;
      words[S.X87.CONTROL] = control;
      words[S.X87.STATUS] = status;
      words[S.X87.ROUNDED_UP] = random.below(2) * C1;
      const before = words.slice(0, S.STATE_WORDS);
      const operands = [significandOf(a), a.se, ...(unary ? [] : [significandOf(b), b.se]), ...extra];
      const result = routine(...operands);
      const after = words.slice(0, S.STATE_WORDS);
      const what = `${name} ${[a, ...(unary ? [] : [b])].map(text).join(" ")} under ${control.toString(16)}`;
      if ((typeof result === "number" ? result : result[1]) < 0) {
        assertEquals(after, before, `${what} refused`);
        continue;
      }
      done++;
      env.setControlWord(control);
      env.begin();
      const expected = reference(a, b);
      assertEquals(result, expected, what);
      assert((env.raised & ~PE) === 0, `${what} raises ${env.raised}`);
      assert((env.raised & ~status & ~control) === 0, `${what} raises an unmasked exception`);
      const [classA, classB] = [classify(a), unary ? NORMAL_CLASS : classify(b)];
      assert([classA, classB].every((kind) => kind === NORMAL_CLASS || kind === ZERO_CLASS), what);
      before[S.X87.STATUS] |= env.raised;
      before[S.X87.ROUNDED_UP] = env.roundedUp ? C1 : 0;
      assertEquals(after, before, what);
    }
    assert(done >= CASES * least, `${name} refused ${CASES - done} of ${CASES}`);
  });
}

function text({ se, hi, lo }: Float80): string {
  return [se, hi, lo].map((part) => part.toString(16)).join(":");
}
