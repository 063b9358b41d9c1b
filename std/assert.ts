// Adapter for @std/assert 1.x over node:assert: exports only what the project imports, with the package's signatures.
// Mapping the bare name to the package itself in deno.json needs no other change.

import nodeAssert from "node:assert";

/** Error thrown by every assertion here. */
class AssertionError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "AssertionError";
  }
}

function withMessage(check: () => void, msg: string | undefined): void {
  try {
    check();
  } catch (cause) {
    const detail = cause instanceof Error ? cause.message : String(cause);
    throw new AssertionError(msg === undefined ? detail : `${msg}\n${detail}`, { cause });
  }
}

/** Throws unless `expr` is truthy. */
export function assert(expr: unknown, msg = ""): asserts expr {
  if (!expr) throw new AssertionError(msg === "" ? "Expected a truthy value" : msg);
}

/** Throws unless `actual` deeply and strictly equals `expected`. */
export function assertEquals<T>(actual: T, expected: T, msg?: string): void {
  withMessage(() => nodeAssert.deepStrictEqual(actual, expected), msg);
}

/** Throws if `actual` deeply and strictly equals `expected`. */
export function assertNotEquals<T>(actual: T, expected: T, msg?: string): void {
  withMessage(() => nodeAssert.notDeepStrictEqual(actual, expected), msg);
}

/** Throws unless `actual` and `expected` are the same value (Object.is). */
export function assertStrictEquals<T>(actual: unknown, expected: T, msg?: string): asserts actual is T {
  withMessage(() => nodeAssert.strictEqual(actual, expected), msg);
}

/** Throws unless `actual` contains `expected`. */
export function assertStringIncludes(actual: string, expected: string, msg?: string): void {
  if (!actual.includes(expected)) {
    throw new AssertionError(
      `${msg === undefined ? "" : msg + "\n"}Expected ${JSON.stringify(actual)} to contain ${JSON.stringify(expected)}`,
    );
  }
}

/** Throws unless `actual` matches `expected`. */
export function assertMatch(actual: string, expected: RegExp, msg?: string): void {
  if (!expected.test(actual)) {
    throw new AssertionError(
      `${msg === undefined ? "" : msg + "\n"}Expected ${JSON.stringify(actual)} to match ${expected}`,
    );
  }
}

/** Throws unless `actual` > `expected`. */
export function assertGreater<T>(actual: T, expected: T, msg?: string): void {
  if (!(actual > expected)) throw new AssertionError(msg ?? `Expected ${actual} > ${expected}`);
}

/** Throws unless `actual` < `expected`. */
export function assertLess<T>(actual: T, expected: T, msg?: string): void {
  if (!(actual < expected)) throw new AssertionError(msg ?? `Expected ${actual} < ${expected}`);
}

/** Throws unless `actual` <= `expected`. */
export function assertLessOrEqual<T>(actual: T, expected: T, msg?: string): void {
  if (!(actual <= expected)) throw new AssertionError(msg ?? `Expected ${actual} <= ${expected}`);
}

/** Throws unless `fn` throws; with a class and a text, unless the error is of it and its message contains the text. */
export function assertThrows(fn: () => unknown): unknown;
export function assertThrows<E extends Error>(
  fn: () => unknown,
  ErrorClass: abstract new (...args: never[]) => E,
  msgIncludes?: string,
  msg?: string,
): E;
export function assertThrows(
  fn: () => unknown,
  ErrorClass?: abstract new (...args: never[]) => Error,
  msgIncludes = "",
  msg?: string,
): unknown {
  let thrown: unknown;
  try {
    fn();
  } catch (error) {
    thrown = error;
    checkThrown(thrown, ErrorClass, msgIncludes, msg);
    return thrown;
  }
  throw new AssertionError(msg ?? "Expected the function to throw");
}

/** As assertThrows, for a function that returns a promise. */
export function assertRejects(fn: () => PromiseLike<unknown>): Promise<unknown>;
export function assertRejects<E extends Error>(
  fn: () => PromiseLike<unknown>,
  ErrorClass: abstract new (...args: never[]) => E,
  msgIncludes?: string,
  msg?: string,
): Promise<E>;
export async function assertRejects(
  fn: () => PromiseLike<unknown>,
  ErrorClass?: abstract new (...args: never[]) => Error,
  msgIncludes = "",
  msg?: string,
): Promise<unknown> {
  let thrown: unknown;
  try {
    await fn();
  } catch (error) {
    thrown = error;
    checkThrown(thrown, ErrorClass, msgIncludes, msg);
    return thrown;
  }
  throw new AssertionError(msg ?? "Expected the promise to reject");
}

function checkThrown(
  thrown: unknown,
  ErrorClass: (abstract new (...args: never[]) => Error) | undefined,
  msgIncludes: string,
  msg: string | undefined,
): void {
  const prefix = msg === undefined ? "" : msg + "\n";
  if (!(thrown instanceof Error)) throw new AssertionError(`${prefix}Expected an Error to be thrown, got ${thrown}`);
  const error: Error = thrown;
  const matches: boolean = ErrorClass === undefined || error instanceof ErrorClass;
  if (ErrorClass !== undefined && !matches) {
    throw new AssertionError(`${prefix}Expected ${ErrorClass.name}, got ${error.name}: ${error.message}`);
  }
  if (!error.message.includes(msgIncludes)) {
    throw new AssertionError(`${prefix}Expected the message to contain "${msgIncludes}", got "${error.message}"`);
  }
}
