// `result.json`: everything that an experiment ran and found. All of it but `timings` is a function of configuration and seed.

import { InputError, z } from "../../../core/mod.ts";
import type { Check, Row } from "./definition.ts";
import type { Figure } from "./figure.ts";

export const RESULT_SCHEMA = "ballast-experiment-1";

export interface Result {
  readonly schema: typeof RESULT_SCHEMA;
  readonly experiment: string;
  readonly title: string;
  readonly source: string;
  readonly scale: string;
  readonly versions: Readonly<Record<string, string>>;
  readonly seed: number;
  readonly seeds: readonly number[];
  readonly isQuick: boolean;
  readonly configuration: {
    readonly knobs: Readonly<Record<string, unknown>>;
    readonly overrides: Readonly<Record<string, unknown>>;
    readonly without: readonly string[];
    readonly policies: readonly string[];
    readonly runs: readonly unknown[];
  };
  readonly rows: readonly Row[];
  readonly acceptance: readonly Check[];
  readonly notes: readonly string[];
  readonly figure: Figure;
  /** By run and seed. */
  readonly series: readonly { readonly run: string; readonly seed: number; readonly data: unknown }[];
  /** What the wall clock had a part in. */
  readonly timings: {
    readonly wallSeconds: number;
    readonly rows: readonly Row[];
    readonly acceptance: readonly Check[];
    /** The figure, where it shows what was measured by the wall clock; `figure` is then empty. */
    readonly figure?: Figure;
    readonly series: readonly { readonly run: string; readonly seed: number; readonly data: unknown }[];
  };
}

/** All rows, and all checks, measured by the wall clock or not. */
export function allRows(result: Result): readonly Row[] {
  return [...result.rows, ...result.timings.rows];
}

export function allChecks(result: Result): readonly Check[] {
  return [...result.acceptance, ...result.timings.acceptance];
}

/** The rows that are not the paper's, with the reasons. */
export function notReproduced(result: Result) {
  return allRows(result).filter((row) => row.verdict === "not reproduced");
}

export function figureOf(result: Result): Figure {
  return result.timings.figure ?? result.figure;
}

/** A result as the text of its file. */
export function resultText(result: Result): string {
  return JSON.stringify(result, undefined, 1) + "\n";
}

const head = z.object({ schema: z.literal(RESULT_SCHEMA), experiment: z.string(), acceptance: z.array(z.unknown()) });

/** Reads a result; `source` names it in errors. */
export function readResult(text: string, source: string): Result {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new InputError(`${source} is not JSON: ${cause instanceof Error ? cause.message : cause}`, { cause });
  }
  if (!head.safeParse(value).success) {
    throw new InputError(
      `${source} is no result of an experiment; expected the result.json that \`experiment\` writes`,
    );
  }
  return value as Result;
}
