// What is fuzzed, and how: a target turns a seed into one case and runs it. A case depends on its seed alone, so that the
// seed in a log or in seeds.ts brings the same case back. What the host may not do is an exception here.

import { Random } from "../../core/mod.ts";

/** What a target's budget counts. */
export type Unit = "steps" | "accesses" | "inputs";

export interface Target {
  readonly name: string;
  readonly summary: string;
  readonly unit: Unit;
  /** Units that CI spends on it. */
  readonly budget: number;
  /** Runs the case of a seed; returns how many units it was. Throws what is wrong. */
  readonly run: (seed: string) => number | Promise<number>;
  /** How often its cases so far came through what it is for, where it counts that. */
  readonly covered?: () => Readonly<Record<string, number>>;
}

/** Random numbers for cases: what is drawn again and again. */
export class Dice {
  readonly #random: Random;

  constructor(seed: string) {
    this.#random = new Random(seed);
  }

  /** 32 bits, unsigned. */
  word(): number {
    return this.#random.next();
  }

  byte(): number {
    return this.#random.next() & 0xff;
  }

  below(bound: number): number {
    return this.#random.below(bound);
  }

  oneIn(count: number): boolean {
    return this.#random.below(count) === 0;
  }

  pick<T>(values: readonly T[]): T {
    return values[this.#random.below(values.length)];
  }

  bytes(count: number): Uint8Array {
    return Uint8Array.from({ length: count }, () => this.byte());
  }

  /** A number of up to 32 bits, with those that programs go wrong at more often than others. */
  value(): number {
    switch (this.below(6)) {
      case 0:
        return this.word();
      case 1:
        return this.byte();
      case 2:
        return this.word() & 0xffff;
      case 3:
        return (1 << this.below(32)) >>> 0;
      case 4:
        return (((1 << this.below(32)) >>> 0) - 1 + this.below(3)) >>> 0;
      default:
        return this.pick([0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff]);
    }
  }
}

/** An error as the case that showed it. */
export class FuzzFailure extends Error {
  override name = "FuzzFailure";
  constructor(readonly target: string, readonly seed: string, override readonly cause: unknown) {
    const text = cause instanceof Error ? cause.stack ?? cause.message : String(cause);
    super(`target ${target}, seed "${seed}": ${text}`);
  }
}

/** Runs cases of one target until its budget is spent; returns what was spent and how many cases that were. */
export async function fuzz(
  target: Target,
  seed: string,
  budget: number,
  told: (seed: string, spent: number) => void = () => {},
): Promise<{ spent: number; cases: number }> {
  let spent = 0, cases = 0;
  while (spent < budget) {
    const caseSeed = `${seed}/${cases++}`;
    told(caseSeed, spent);
    spent += await runCase(target, caseSeed);
  }
  return { spent, cases };
}

/** Runs the case of a seed; throws FuzzFailure. */
export async function runCase(target: Target, seed: string): Promise<number> {
  try {
    return Math.max(1, await target.run(`${target.name}/${seed}`));
  } catch (cause) {
    throw new FuzzFailure(target.name, seed, cause);
  }
}
