// Statistics of recordings: means over a stretch of time, over seeds, and how far they can be trusted.

import type { Spread } from "./definition.ts";

/** Mean of numbers; NaN of none. */
export function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** Half the width of the 95 % confidence interval of a mean, by Student's t; 0 for fewer than two values. */
export function confidence95(values: readonly number[]): number {
  const n = values.length;
  if (n < 2) return 0;
  const centre = mean(values);
  const variance = values.reduce((sum, value) => sum + (value - centre) ** 2, 0) / (n - 1);
  return (T_95[Math.min(n - 1, T_95.length) - 1]) * Math.sqrt(variance / n);
}

/** Mean, its confidence, and the extremes of figures of several seeds. */
export function spreadOf(values: readonly number[]): Spread {
  return {
    mean: mean(values),
    confidence95: confidence95(values),
    least: Math.min(...values),
    most: Math.max(...values),
  };
}

/** Plain data of one shape that several seeds gave: each number in it is the mean of theirs; all else is the first's. */
export function averaged<T>(many: readonly T[]): T {
  const [first] = many;
  if (typeof first === "number") return mean(many as readonly number[]) as T;
  if (Array.isArray(first)) {
    const arrays = many as readonly (readonly unknown[])[];
    return arrays.every(({ length }) => length === first.length)
      ? first.map((_, i) => averaged(arrays.map((one) => one[i]))) as T
      : first;
  }
  if (typeof first !== "object" || first === null) return first;
  const records = many as readonly Readonly<Record<string, unknown>>[];
  return Object.fromEntries(Object.keys(first).map((key) => [key, averaged(records.map((one) => one[key]))])) as T;
}

/** Student's t for 95 %, two-sided, by degrees of freedom from 1; beyond the last, that of the normal distribution. */
const T_95 = [
  ...[12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131],
  ...[2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042, 1.960],
];

/** Mean of the samples with `from` <= seconds <= `to`; samples that are not known are left out. */
export function meanOver(
  seconds: readonly number[],
  values: readonly (number | null)[],
  from: number,
  to: number,
): number {
  const inside = values.filter((value, i) => value !== null && seconds[i] >= from && seconds[i] <= to) as number[];
  return mean(inside);
}

/** The last sample at or before a time. */
export function valueAt(seconds: readonly number[], values: readonly (number | null)[], at: number): number {
  let found = NaN;
  for (const [i, second] of seconds.entries()) if (second <= at) found = values[i] ?? NaN;
  return found;
}

/** What was counted up between two times, as a rate a second. */
export function rateOver(seconds: readonly number[], values: readonly number[], from: number, to: number): number {
  return (valueAt(seconds, values, to) - valueAt(seconds, values, from)) / (to - from);
}

/** A mean with its 95 % confidence as reports show it; of fewer than three values none is worth showing. */
export function withConfidence(values: readonly number[], digits = 1): string {
  const centre = mean(values).toFixed(digits);
  return values.length < 3 ? centre : `${centre} ± ${confidence95(values).toFixed(digits)}`;
}
