// The operations of plugins/x86/x87 by the names that the recorded cases use, each run as its instruction would run it.

import { add, subtract } from "../../../../plugins/x86/x87/addition.ts";
import { compare, compareWithZero, EQUAL, LESS, UNORDERED } from "../../../../plugins/x86/x87/comparison.ts";
import {
  LN_OF_2,
  loadConstant,
  LOG10_OF_2,
  LOG2_OF_10,
  LOG2_OF_E,
  ONE,
  PI,
} from "../../../../plugins/x86/x87/constants.ts";
import { fromBcd, toBcd } from "../../../../plugins/x86/x87/decimal.ts";
import { divide } from "../../../../plugins/x86/x87/division.ts";
import {
  classify,
  DENORMAL_CLASS,
  Float80,
  FpuEnvironment,
  INFINITY_CLASS,
  NORMAL_CLASS,
  setZero,
  SIGN,
  UNSUPPORTED_CLASS,
  ZERO_CLASS,
} from "../../../../plugins/x86/x87/float80.ts";
import {
  fromFloat32,
  fromFloat64,
  operandFromFloat32,
  operandFromFloat64,
  toFloat32,
  toFloat64,
} from "../../../../plugins/x86/x87/formats.ts";
import {
  fromInt32,
  fromInt64,
  roundToInteger,
  toInt16,
  toInt32,
  toInt64,
} from "../../../../plugins/x86/x87/integers.ts";
import { arctangent, cosine, sine, sineCosine, tangent } from "../../../../plugins/x86/x87/trigonometry.ts";
import { exponentialMinusOne, logarithm, logarithmPlusOne } from "../../../../plugins/x86/x87/exponentials.ts";
import { multiply } from "../../../../plugins/x86/x87/multiplication.ts";
import { INCOMPLETE, remainder } from "../../../../plugins/x86/x87/remainder.ts";
import { extract, scale } from "../../../../plugins/x86/x87/scaling.ts";
import { squareRoot } from "../../../../plugins/x86/x87/square-root.ts";
import { C0, C1, C2, C3, Case, Operation, storeBits64 } from "./oracle.ts";

type Binary = (env: FpuEnvironment, out: Float80, a: Readonly<Float80>, b: Readonly<Float80>) => void;

function register(run: (c: Case, env: FpuEnvironment) => void): Operation {
  return { leaves: "register", run };
}

function load(run: (c: Case, env: FpuEnvironment) => void): Operation {
  return { leaves: "loaded", run };
}

function status(run: (c: Case, env: FpuEnvironment) => number): Operation {
  return {
    leaves: "status",
    run(c, env) {
      c.conditionCodes = run(c, env);
    },
  };
}

function store(bytes: number, run: (c: Case, env: FpuEnvironment) => void): Operation {
  return { leaves: bytes, run };
}

function binary(operation: Binary): Operation {
  return register((c, env) => operation(env, c.result, c.a, c.b));
}

function comparisonCodes(order: number): number {
  return order === UNORDERED ? C3 | C2 | C0 : order === LESS ? C0 : order === EQUAL ? C3 : 0;
}

function examine(a: Readonly<Float80>): number {
  const sign = (a.se & SIGN) !== 0 ? C1 : 0;
  switch (classify(a)) {
    case UNSUPPORTED_CLASS:
      return sign;
    case NORMAL_CLASS:
      return sign | C2;
    case INFINITY_CLASS:
      return sign | C2 | C0;
    case ZERO_CLASS:
      return sign | C3;
    case DENORMAL_CLASS:
      return sign | C3 | C2;
    default:
      return sign | C0;
  }
}

function remaindering(nearest: boolean): Operation {
  return register((c, env) => {
    const quotient = remainder(env, c.result, c.a, c.b, nearest);
    if ((quotient & INCOMPLETE) !== 0) c.conditionCodes = C2;
    else c.conditionCodes = (quotient & 4 ? C0 : 0) | (quotient & 2 ? C3 : 0) | (quotient & 1 ? C1 : 0);
    env.roundedUp = false;
  });
}

function constant(value: typeof ONE): Operation {
  return register((c, env) => loadConstant(env, c.result, value));
}

/** Every recorded operation that must agree to the bit. */
export const OPERATIONS: Readonly<Record<string, Operation>> = {
  add: binary(add),
  subtract: binary(subtract),
  multiply: binary(multiply),
  divide: binary(divide),
  squareRoot: register((c, env) => squareRoot(env, c.result, c.a)),
  addFloat32: register((c, env) => {
    operandFromFloat32(env, c.b, c.view.getUint32(0, true));
    add(env, c.result, c.a, c.b);
  }),
  multiplyFloat64: register((c, env) => {
    operandFromFloat64(env, c.b, c.view.getUint32(4, true), c.view.getUint32(0, true));
    multiply(env, c.result, c.a, c.b);
  }),
  divideInt32: register((c, env) => {
    fromInt32(c.b, c.view.getInt32(0, true));
    divide(env, c.result, c.a, c.b);
  }),
  compareFloat32: status((c, env) => {
    operandFromFloat32(env, c.b, c.view.getUint32(0, true));
    return comparisonCodes(compare(env, c.a, c.b, false));
  }),
  roundToInteger: register((c, env) => roundToInteger(env, c.result, c.a)),
  remainder: remaindering(false),
  remainderNearest: remaindering(true),
  scale: binary(scale),
  extract: { leaves: "registers", run: (c, env) => extract(env, c.result, c.second, c.a) },
  compare: status((c, env) => comparisonCodes(compare(env, c.a, c.b, false))),
  compareQuiet: status((c, env) => comparisonCodes(compare(env, c.a, c.b, true))),
  test: status((c, env) => comparisonCodes(compareWithZero(env, c.a))),
  examine: status((c) => examine(c.a)),
  fromInt16: register((c) => fromInt32(c.result, c.view.getInt16(0, true))),
  fromInt32: register((c) => fromInt32(c.result, c.view.getInt32(0, true))),
  fromInt64: register((c) => fromInt64(c.result, c.view.getUint32(4, true), c.view.getUint32(0, true))),
  toInt16: store(2, (c, env) => c.view.setInt16(0, toInt16(env, c.a), true)),
  toInt32: store(4, (c, env) => c.view.setInt32(0, toInt32(env, c.a), true)),
  toInt64: store(8, (c, env) => {
    toInt64(env, c.result, c.a);
    storeBits64(c, c.result);
  }),
  fromFloat32: load((c, env) => fromFloat32(env, c.result, c.view.getUint32(0, true))),
  fromFloat64: load((c, env) => fromFloat64(env, c.result, c.view.getUint32(4, true), c.view.getUint32(0, true))),
  toFloat32: store(4, (c, env) => c.view.setUint32(0, toFloat32(env, c.a), true)),
  toFloat64: store(8, (c, env) => {
    toFloat64(env, c.result, c.a);
    storeBits64(c, c.result);
  }),
  fromBcd: register((c) => fromBcd(c.result, c.memory)),
  toBcd: store(10, (c, env) => toBcd(env, c.memory, c.a)),
  one: constant(ONE),
  log2Of10: constant(LOG2_OF_10),
  log2OfE: constant(LOG2_OF_E),
  pi: constant(PI),
  log10Of2: constant(LOG10_OF_2),
  lnOf2: constant(LN_OF_2),
  zero: register((c) => setZero(c.result, 0)),
};

/** An instruction that leaves its operand and sets C2 when the operand is out of range. */
function reducing(leaves: "register" | "registers", run: (c: Case, env: FpuEnvironment) => boolean): Operation {
  return {
    leaves,
    run(c, env) {
      if (run(c, env)) return;
      c.conditionCodes = C2;
      c.result.copy(c.a);
      c.second.copy(c.b);
    },
  };
}

/** Every recorded operation whose result may differ by a unit in the last place. */
export const TRANSCENDENTALS: Readonly<Record<string, Operation>> = {
  sine: reducing("register", (c, env) => sine(env, c.result, c.a)),
  cosine: reducing("register", (c, env) => cosine(env, c.result, c.a)),
  sineCosine: reducing("registers", (c, env) => sineCosine(env, c.second, c.result, c.a)),
  tangent: reducing("registers", (c, env) => tangent(env, c.second, c.result, c.a)),
  arctangent: register((c, env) => arctangent(env, c.result, c.b, c.a)),
  exponential: register((c, env) => exponentialMinusOne(env, c.result, c.a)),
  logarithm: register((c, env) => logarithm(env, c.result, c.b, c.a)),
  logarithmPlusOne: register((c, env) => logarithmPlusOne(env, c.result, c.b, c.a)),
};
