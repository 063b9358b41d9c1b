// The command `traps`: what it costs to trap, to call out for, and to emit in place each class of sensitive instructions (BT
// paper 3.3: RDTSC in 2030, 1254 and 216 cycles), drawn as a ladder, as text and as SVG.

import { InputError, unknownName } from "../core/mod.ts";
import { type Form, sensitiveClasses, type SensitiveClassName, sensitiveClassNames } from "../plugins/bt/mod.ts";
import { nanoOperations } from "../guests/mod.ts";
import { userPath, writeUserFile } from "./files.ts";
import { NanoMachine } from "./nano.ts";
import { type CommandSpec, type Given, table } from "./options.ts";

export const trapsCommand: CommandSpec = {
  name: "traps",
  summary: "Measures what it costs to trap, call out for, or translate sensitive instructions.",
  options: [
    { name: "class", value: "NAME", repeats: true, help: `of ${sensitiveClassNames.join(", ")}; default: all` },
    { name: "out", value: "FILE.svg", help: "draw the ladder there, too" },
  ],
  notes: `
Each class runs its operation of guest nanobench (ballast guests) under the interpreter, and under the translator in every
form that is exact for the class: trap, leave the translation cache and have the run loop emulate; callout, call the emulator
from inside the translation; in-tc, emitted in place. Times are CPU time on this machine, an operation's share of the loop
included; ratios are to the fastest form. The paper's are cycles of a 3.8 GHz Pentium 4.`,
};

/** What the paper gives for RDTSC (BT paper 3.3), in cycles. */
const PAPER_CYCLES: Readonly<Record<Form, number>> = { trap: 2030, callout: 1254, "in-tc": 216 };

/** What a class was measured at, in ns an operation, from the slowest form to the fastest. */
export interface Rung {
  readonly name: SensitiveClassName;
  readonly interpretedNs: number;
  readonly forms: readonly (readonly [form: Form, ns: number])[];
}

/** Measures and draws; returns the exit status. */
export async function traps(given: Given): Promise<number> {
  const names = given.list("class").map((name) => {
    const known = sensitiveClassNames.find((other) => other === name);
    if (known === undefined) throw unknownName("class", name, sensitiveClassNames);
    return known;
  });
  const out = given.text("out");
  if (out !== undefined && !out.endsWith(".svg")) throw new InputError(`option --out: "${out}"; expected FILE.svg`);
  const rungs: Rung[] = [];
  for (const name of names.length === 0 ? sensitiveClassNames : names) {
    const rung = measure(name);
    print(drawRung(rung));
    rungs.push(rung);
  }
  print(`\n${drawTable(rungs)}`);
  if (out !== undefined) await writeUserFile(userPath(out), "the ladder", drawLadderSvg(rungs));
  return 0;
}

function measure(name: SensitiveClassName): Rung {
  const forms: readonly Form[] = sensitiveClasses[name].forms;
  return {
    name,
    interpretedNs: new NanoMachine(name, "interpreter").measureNs(),
    forms: forms.map((form) => [form, new NanoMachine(name, form).measureNs()]),
  };
}

// Drawings.

const BAR_COLUMNS = 60;
/** Eighths of a character, from none to seven. */
const EIGHTHS = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];

/** A class as bars: one a form, the longest across. */
export function drawRung({ name, forms }: Rung): string {
  const longest = Math.max(...forms.map(([, ns]) => ns)), fastest = fastestNs(forms);
  const lines = forms.map(([form, ns]) => {
    const eighths = Math.max(1, Math.round((ns / longest) * BAR_COLUMNS * 8));
    const bar = "█".repeat(eighths >> 3) + EIGHTHS[eighths & 7];
    return `  ${form.padEnd(8)}${nsText(ns).padStart(9)} ns ${bar} ${ratioText(ns / fastest)}`;
  });
  return `${name}: ${nanoOperations[name].describe}\n${lines.join("\n")}\n`;
}

/** All classes, and the paper's figures. */
export function drawTable(rungs: readonly Rung[]): string {
  const cells = (forms: readonly (readonly [Form, number])[], text: (value: number) => string) => {
    const fastest = fastestNs(forms);
    return (["trap", "callout", "in-tc"] as const).map((form) => {
      const value = forms.find(([other]) => other === form)?.[1];
      return value === undefined ? "-" : `${text(value)} (${ratioText(value / fastest)})`;
    });
  };
  const rows = rungs.map(({ name, interpretedNs, forms }) => [name, nsText(interpretedNs), ...cells(forms, nsText)]);
  const paper = Object.entries(PAPER_CYCLES) as [Form, number][];
  return table([
    ["CLASS", "INTERPRETED", "TRAP", "CALLOUT", "IN-TC"],
    ...rows,
    ["rdtsc in the paper, cycles", "-", ...cells(paper, String)],
  ]);
}

const SVG = { width: 900, left: 130, right: 190, rowHeight: 20, gap: 14, top: 56 } as const;
const COLOURS: Readonly<Record<Form, string>> = { trap: "#c0392b", callout: "#e0a030", "in-tc": "#2e86ab" };

/** The ladder as an SVG image: a group of bars for each class, on one logarithmic scale, the paper's RDTSC last. */
export function drawLadderSvg(rungs: readonly Rung[]): string {
  const paper = Object.entries(PAPER_CYCLES) as [Form, number][];
  const groups = [
    ...rungs.map(({ name, forms }) => ({ title: name as string, unit: "ns", forms })),
    { title: "paper: rdtsc", unit: "cycles", forms: paper },
  ];
  const values = groups.flatMap(({ forms }) => forms.map(([, value]) => value));
  const least = Math.min(...values) / 2, most = Math.max(...values);
  const widthOf = (value: number) =>
    (Math.log(value / least) / Math.log(most / least)) * (SVG.width - SVG.left - SVG.right);
  let y: number = SVG.top;
  const parts = groups.map(({ title, unit, forms }) => {
    const fastest = fastestNs(forms);
    const bars = forms.map(([form, value], row) => {
      const top = y + row * SVG.rowHeight, width = widthOf(value).toFixed(1);
      const label = `${nsText(value)} ${unit} (${ratioText(value / fastest)})`;
      const rect = `<rect x="${SVG.left}" y="${top}" width="${width}" height="${SVG.rowHeight - 4}" fill="${
        COLOURS[form]
      }"/>`;
      return `${rect}<text x="${SVG.left + Number(width) + 6}" y="${top + 12}">${form} ${label}</text>`;
    });
    const name = `<text x="${SVG.left - 10}" y="${y + 12}" text-anchor="end" font-weight="bold">${title}</text>`;
    y += forms.length * SVG.rowHeight + SVG.gap;
    return name + bars.join("");
  });
  const title = "Sensitive instructions: trap, call out, or emit in place";
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${SVG.width}" height="${y}" font-family="sans-serif" font-size="12">
<rect width="100%" height="100%" fill="white"/>
<text x="20" y="28" font-size="17">${title}</text>
<text x="20" y="45" fill="#555">Time an operation takes, logarithmic; in brackets, how many times that of the fastest form.</text>
${parts.join("\n")}
</svg>
`;
}

function fastestNs(forms: readonly (readonly [Form, number])[]): number {
  return Math.min(...forms.map(([, ns]) => ns));
}

function nsText(ns: number): string {
  return ns >= 100 ? ns.toFixed(0) : ns.toFixed(1);
}

function ratioText(ratio: number): string {
  return `${ratio >= 10 ? ratio.toFixed(0) : ratio.toFixed(1)}x`;
}

function print(text: string): void {
  const bytes = new TextEncoder().encode(text);
  for (let at = 0; at < bytes.length;) at += Deno.stdout.writeSync(bytes.subarray(at));
}
