// `report.md`: what was run, the three columns, the verdicts, and what differs and why.

import { allChecks, allRows, notReproduced, type Result } from "./result.ts";
import { figureText, type Row, toleranceClasses } from "./definition.ts";

/** A report of one experiment, with the command that makes it again. */
export function reportText(result: Result, command: string): string {
  const checks = allChecks(result), rows = allRows(result);
  const failed = checks.filter(({ ok }) => !ok), missed = notReproduced(result);
  const hasSpread = rows.some(({ spread }) => spread !== undefined);
  const verdict = failed.length === 0
    ? `All ${checks.length} acceptance lines hold.`
    : `${failed.length} of ${checks.length} acceptance lines do not hold: ${
      failed.map(({ name }) => name).join("; ")
    }.`;
  const seeds = result.seeds.length > 1 ? `seeds ${result.seeds[0]} to ${result.seeds.at(-1)}` : `seed ${result.seed}`;
  return [
    `# ${result.title}`,
    `After ${result.source}. ${verdict}${
      missed.length === 0 ? "" : ` Of the paper's figures, ${missed.length} not reproduced.`
    }`,
    "![figure](figure.svg)",
    "## Paper, model, measured",
    markdownTable(
      ["Quantity", "Unit", "Paper", "Model", "Measured", ...(hasSpread ? ["Over seeds"] : []), "Verdict"],
      rows.map((row) => [
        row.quantity,
        row.unit,
        cell(row.paper),
        cell(row.model),
        cell(row.measured) + (row.isTimed ? " (wall clock)" : ""),
        ...(hasSpread ? [spreadText(row)] : []),
        row.verdict,
      ]),
    ),
    hasSpread
      ? "`Over seeds`: the mean of what each seed gives by itself, with its 95 % confidence interval, and the least and the most."
      : "",
    "`Model` is an oracle or closed form that knows nothing of the plugins that were measured. `calibrated` means that an " +
    "input was fitted to the paper's figure: it is no reproduction.",
    ...(missed.length === 0 ? [] : [
      "## Not reproduced",
      missed.map(({ quantity, because }) => `- ${quantity}: ${because}`).join("\n"),
    ]),
    "## Acceptance",
    markdownTable(
      ["Line", "Class", "Expected", "Measured", "Holds"],
      checks.map((check) => [
        check.name,
        `${check.tolerance} (${toleranceClasses[check.tolerance]})`,
        check.expected,
        cell(check.measured),
        (check.ok ? "yes" : "**NO**") +
        (check.seedsHeld === undefined ? "" : ` (${check.seedsHeld} of ${result.seeds.length} seeds)`),
      ]),
    ),
    "## What was run",
    `${result.isQuick ? "The quick form, " : ""}${seeds}. ${result.scale}`,
    markdownTable(
      ["Knob", "Value"],
      Object.entries(result.configuration.knobs).map(([name, value]) => [name, JSON.stringify(value)]),
    ),
    overridesText(result),
    ...(result.notes.length === 0 ? [] : [
      "## What differs from the paper, and why",
      result.notes.map((note) => `- ${note}`).join("\n"),
    ]),
    "## Again",
    `\`\`\`sh\n${command}\n\`\`\``,
    `Ballast ${result.versions.ballast}, Deno ${result.versions.deno}; it took ${
      result.timings.wallSeconds.toFixed(1)
    } s here. Everything in \`result.json\` but \`timings\` is the same in every run with this seed.`,
  ].filter((part) => part !== "").join("\n\n") + "\n";
}

function spreadText({ spread }: Row): string {
  if (spread === undefined) return "";
  const { mean, confidence95, least, most } = spread;
  return least === most
    ? `${figureText(mean)} in all`
    : `${figureText(mean)} ± ${figureText(confidence95)} (${figureText(least)} to ${figureText(most)})`;
}

function overridesText({ configuration: { overrides, without } }: Result): string {
  const parts = Object.entries(overrides).flatMap(([plugin, options]) =>
    Object.entries(options as object).map(([name, value]) => `\`${plugin}.${name}=${JSON.stringify(value)}\``)
  );
  if (without.length > 0) parts.push(`without ${without.join(", ")}`);
  return parts.length === 0 ? "" : `Changed by hand: ${parts.join(", ")}.`;
}

export function markdownTable(heads: readonly string[], rows: readonly (readonly string[])[]): string {
  if (rows.length === 0) return "";
  const line = (cells: readonly string[]) => `| ${cells.map((text) => text.replaceAll("|", "\\|")).join(" | ")} |`;
  return [line(heads), line(heads.map(() => "---")), ...rows.map(line)].join("\n");
}

function cell(value: number | string | undefined): string {
  if (value === undefined) return "";
  return typeof value === "number" ? figureText(value) : value;
}
