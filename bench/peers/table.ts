// The comparison as one table: medians of the rounds, how our engines stand to each other one, geometric means, rows
// ahead, the way to the guest's first line, peak memory. A ratio above 1 says that ours is faster.

import type { WorkloadRun } from "../../guests/workloads/mod.ts";
import type { Span } from "./boot.ts";
import type { Choices, Clock } from "./choices.ts";
import type { EngineRecord } from "./comparison.ts";

/** The table of each clock, with what to know about it below. */
export function comparisonTables(records: readonly EngineRecord[], { runs, clocks }: Choices): string {
  return clocks.map((clock) => comparisonTable(records, runs, clock)).join("\n\n");
}

/** The whole table of one clock. */
export function comparisonTable(records: readonly EngineRecord[], runs: readonly WorkloadRun[], clock: Clock): string {
  const pairs = records.filter(({ engine }) => engine.isOurs)
    .flatMap((ours) => records.filter(({ engine }) => !engine.isOurs).map((rival) => ({ ours, rival })));
  const names = runs.map(({ name }) => name);
  const medianOf = (spans: readonly (Span | undefined)[]) =>
    median(spans.flatMap((span) => (clock === "cpu" ? span?.cpuSeconds : span?.seconds) ?? []));
  const time = ({ boots }: EngineRecord, name: string) => medianOf(boots.map(({ outcomes }) => outcomes.get(name)));
  const ratios = pairs.map(({ ours, rival }) => names.map((name) => quotient(time(rival, name), time(ours, name))));
  const means = ratios.map((column) => geometricMean(column.filter(isKnown)));
  const ahead = ratios.map((column) => {
    const known = column.filter(isKnown);
    return known.length === 0 ? "-" : `${known.filter((ratio) => ratio > 1).length} of ${known.length}`;
  });
  const init = ({ boots }: EngineRecord) => medianOf(boots.map(({ init }) => init));
  const peak = (record: EngineRecord) => median(record.boots.flatMap(({ peakRssMib }) => peakRssMib ?? []));
  const seconds = clock === "cpu" ? "CPU s" : "s";
  const rows = [
    ["workload", ...records.map(({ engine }) => `${engine.name} ${seconds}`), ...pairs.map(pairName)],
    ...names.map((name, i) => [
      name,
      ...records.map((record) => timeCell(time(record, name), record, name)),
      ...ratios.map((column) => ratioCell(column[i])),
    ]),
    ["geometric mean", ...records.map(() => ""), ...means.map(ratioCell)],
    ["rows ahead", ...records.map(() => ""), ...ahead],
    [
      `boot to init, ${seconds}`,
      ...records.map((record) => numberCell(init(record), 2)),
      ...pairs.map(({ ours, rival }) => ratioCell(quotient(init(rival), init(ours)))),
    ],
    ["peak RSS, MiB", ...records.map((record) => numberCell(peak(record), 0)), ...pairs.map(() => "")],
  ];
  return [aligned(rows), ...notes(records, runs, clock)].join("\n");
}

/** A line for every workload that printed another checksum on one engine than on another, or in one round. */
export function disagreements(records: readonly EngineRecord[], runs: readonly WorkloadRun[]): string[] {
  return runs.flatMap(({ name }) => {
    const seen = records.flatMap(({ engine, boots }) =>
      boots.flatMap(({ outcomes }) => {
        const checksum = outcomes.get(name)?.checksum;
        return checksum === undefined ? [] : [{ engine: engine.name, checksum }];
      })
    );
    if (new Set(seen.map(({ checksum }) => checksum)).size <= 1) return [];
    const said = new Set(seen.map(({ engine, checksum }) => `${engine} ${checksum}`));
    return [`${name}: the checksums differ: ${[...said].join(", ")}`];
  });
}

/** The middle of the values, or of the two in the middle; undefined for none. */
export function median(values: readonly number[]): number | undefined {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  if (sorted.length === 0) return undefined;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** Undefined for no values. */
export function geometricMean(values: readonly number[]): number | undefined {
  if (values.length === 0) return undefined;
  return Math.exp(values.reduce((sum, value) => sum + Math.log(value), 0) / values.length);
}

function notes(records: readonly EngineRecord[], runs: readonly WorkloadRun[], clock: Clock): string[] {
  const rounds = records.map(({ engine, boots }) => `${engine.name} ${boots.length}`).join(", ");
  const time = clock === "cpu" ? "CPU time of the process, all threads, to 10 ms" : "wall time of the host";
  return [
    `Medians of rounds (${rounds}); ${time}; a ratio above 1: the first is faster.`,
    ...records.flatMap(({ engine, missing }) =>
      missing === undefined ? [] : [`${engine.name} did not run: ${missing}`]
    ),
    ...records.flatMap(({ engine, boots }) =>
      boots.flatMap(({ broken, failures }, round) => [
        ...[...failures].map(([name, reason]) => `${engine.name}, round ${round + 1}: ${name} failed: ${reason}`),
        ...(broken === undefined ? [] : [`${engine.name}, round ${round + 1}: ${broken}`]),
      ])
    ),
    ...disagreements(records, runs),
  ];
}

function pairName({ ours, rival }: { readonly ours: EngineRecord; readonly rival: EngineRecord }): string {
  return `${ours.engine.name}/${rival.engine.name}`;
}

/** Undefined where one of the two is not known, or too short for the clock. */
function quotient(dividend: number | undefined, divisor: number | undefined): number | undefined {
  return dividend && divisor ? dividend / divisor : undefined;
}

function isKnown(value: number | undefined): value is number {
  return value !== undefined;
}

function timeCell(seconds: number | undefined, { missing, boots }: EngineRecord, name: string): string {
  if (seconds !== undefined) return seconds.toFixed(3);
  if (missing !== undefined) return "absent";
  return boots.some(({ failures }) => failures.has(name)) ? "failed" : "-";
}

function ratioCell(ratio: number | undefined): string {
  return numberCell(ratio, 2);
}

function numberCell(value: number | undefined, digits: number): string {
  return value === undefined ? "-" : value.toFixed(digits);
}

/** Columns as wide as they must be: the first to the left, the others to the right. */
function aligned(rows: readonly (readonly string[])[]): string {
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)));
  return rows.map((row) =>
    row.map((cell, column) => column === 0 ? cell.padEnd(widths[0]) : cell.padStart(widths[column] + 2)).join("")
  ).join("\n");
}
