// Two results of one experiment side by side: configurations, rows and acceptance, and a figure with both.

import { InputError } from "../../../core/mod.ts";
import type { Figure } from "./figure.ts";
import { figureText } from "./definition.ts";
import { markdownTable } from "./report.ts";
import { allChecks, allRows, figureOf, type Result } from "./result.ts";

export interface NamedResult {
  readonly name: string;
  readonly result: Result;
}

/** What two results have and have not in common, as Markdown. Throws InputError for results of different experiments. */
export function comparisonText(a: NamedResult, b: NamedResult): string {
  const [first, second] = [a.result, b.result];
  if (first.experiment !== second.experiment) {
    throw new InputError(
      `${a.name} is of experiment ${first.experiment} and ${b.name} of ${second.experiment}; expected two of one`,
    );
  }
  const settings = differences(settingsOf(first), settingsOf(second));
  const keys = [...new Set([...allRows(first), ...allRows(second)].map(({ quantity }) => quantity))];
  const rows = keys.map((quantity) => {
    const [x, y] = [first, second].map((result) => allRows(result).find((row) => row.quantity === quantity));
    return [
      quantity,
      (x ?? y)?.unit ?? "",
      cell(x?.paper ?? y?.paper),
      cell(x?.measured),
      cell(y?.measured),
      change(x, y),
    ];
  });
  const names = [...new Set([...allChecks(first), ...allChecks(second)].map(({ name }) => name))];
  const checks = names.map((name) => {
    const [x, y] = [first, second].map((result) => allChecks(result).find((check) => check.name === name));
    const text = (check: typeof x) => check === undefined ? "-" : `${cell(check.measured)} ${check.ok ? "ok" : "NO"}`;
    return [name, text(x), text(y)];
  });
  return [
    `# ${first.experiment}: ${a.name} (A) and ${b.name} (B)`,
    settings.length === 0 ? "One configuration." : markdownTable(["Setting", "A", "B"], settings),
    markdownTable(["Quantity", "Unit", "Paper", "A", "B", "B less A"], rows),
    markdownTable(["Acceptance", "A", "B"], checks),
  ].filter((part) => part !== "").join("\n\n") + "\n";
}

/** One figure with the measured series of both; the second's are drawn as a model's are. */
export function comparisonFigure(a: NamedResult, b: NamedResult): Figure {
  const [first, second] = [figureOf(a.result), figureOf(b.result)];
  return {
    ...first,
    title: `${first.title}: A ${a.name}, B ${b.name}`,
    panels: first.panels.map((panel, i) => ({
      ...panel,
      series: [
        ...panel.series.map((series) =>
          series.origin === "measured" ? { ...series, name: `A: ${series.name}` } : series
        ),
        ...(second.panels[i]?.series ?? []).filter(({ origin }) => origin === "measured").map((series) => ({
          ...series,
          name: `B: ${series.name}`,
          origin: "model" as const,
        })),
      ],
    })),
  };
}

/** Everything that was chosen, by path. */
function settingsOf({ seed, seeds, isQuick, versions, configuration }: Result): Map<string, string> {
  const found = new Map<string, string>();
  const walk = (path: string, value: unknown) => {
    if (typeof value === "object" && value !== null) {
      for (const [key, inner] of Object.entries(value)) walk(path === "" ? key : `${path}.${key}`, inner);
    } else found.set(path, JSON.stringify(value));
  };
  walk("", { seed, seeds: seeds.length, isQuick, versions, ...configuration });
  return found;
}

function differences(a: ReadonlyMap<string, string>, b: ReadonlyMap<string, string>): string[][] {
  const keys = [...new Set([...a.keys(), ...b.keys()])];
  return keys.filter((key) => a.get(key) !== b.get(key)).map((key) => [key, a.get(key) ?? "-", b.get(key) ?? "-"]);
}

function cell(value: number | string | undefined): string {
  return value === undefined ? "-" : typeof value === "number" ? figureText(value) : value;
}

function change(a: { measured: unknown } | undefined, b: { measured: unknown } | undefined): string {
  const [x, y] = [a?.measured, b?.measured].map((value) => typeof value === "string" ? parseFloat(value) : value);
  return typeof x === "number" && typeof y === "number" && Number.isFinite(x - y) ? figureText(y - x) : "";
}
