// Translations drawn as text: a table of them, and each in a box with its guest instructions, where control goes from it,
// and the WebAssembly that is emitted for it.

import type { InstructionView, Link, Successor, TranslationView, UnitView } from "../plugins/bt/mod.ts";
import type { Inspection } from "./inspection.ts";
import { table } from "./options.ts";
import { functionText, nameAddresses } from "./wasm_text.ts";

/** Width of a drawing in characters. */
const WIDTH = 118;
const BYTE_COLUMNS = 16;

const meaning: Readonly<Record<Link, string>> = {
  elided: "its code follows: no jump is needed",
  jump: "a branch inside the function",
  chained: "tail call through the jump cache",
  continuation: "no translation there: would invoke the translator",
  lookup: "target known at run time: jump cache",
  interpreter: "the interpreter's turn",
};

/** A line of what was run and what became of it, and a line for each translation. */
export function drawTable(inspection: Inspection, translations: readonly TranslationView[]): string {
  const hasRegions = translations.some(({ units }) => units.length > 1);
  const rows = translations.map((translation) => {
    const { address, units, emittedBytes } = translation;
    const [first] = units;
    const edges = units.flatMap((unit) => unit.successors).filter(({ link }) => !hasRegions || !isInside(link));
    const count = (of: (unit: UnitView) => number) => String(units.reduce((sum, unit) => sum + of(unit), 0));
    return [
      numberOf(inspection, translation),
      hex(address),
      nameAt(inspection, address),
      ...(hasRegions ? [String(units.length)] : []),
      count((unit) => unit.instructions.length),
      count((unit) => unit.sizeBytes),
      String(emittedBytes),
      String(inspection.counts.executed(first.address)),
      [...new Set(edges.map((edge) => edgeText(inspection, edge)))].join("; "),
    ];
  });
  const sizes = [...hasRegions ? ["UNITS"] : [], "INSTR.", "BYTES", "WASM", "EXECUTED"];
  const heads = ["#", "ADDRESS", "NAME", ...sizes, hasRegions ? "SUCCESSORS OUTSIDE" : "SUCCESSORS"];
  return table([heads, ...rows]);
}

/** How many edges there are of each kind. */
export function drawLinks(translations: readonly TranslationView[]): string {
  const links = translations.flatMap(({ units }) => units).flatMap(({ successors }) => successors).map(({ link }) =>
    link
  );
  const kinds = (Object.keys(meaning) as Link[]).filter((kind) => links.includes(kind));
  return table(kinds.map((kind) => [String(links.filter((link) => link === kind).length), kind, meaning[kind]]), "  ");
}

/** One translation in a box; with its WebAssembly, unless it is left out. */
export async function drawTranslation(
  inspection: Inspection,
  translation: TranslationView,
  withText: boolean,
): Promise<string> {
  const { address, units, emittedBytes, module } = translation;
  const title = `${numberOf(inspection, translation)}. ${nameAt(inspection, address)}`;
  const sections = units.map((unit, index) => {
    const name = units.length === 1 ? "" : `unit ${index + 1} of ${units.length}: ${nameAt(inspection, unit.address)}`;
    return {
      name: index === 0 ? [title, name].filter((part) => part !== "").join(", ") : name,
      text: drawUnit(inspection, unit),
    };
  });
  if (withText) {
    const pages: [number, number] = [units[0].address & ~0xfff, units[0].address | 0xfff];
    const text = await functionText(module, WIDTH - 2);
    const named = nameAddresses(text, pages, (at) => inspection.symbols.nameOf(at));
    sections.push({ name: `WebAssembly, ${emittedBytes} bytes`, text: named });
  }
  const drawn = sections.map(({ name, text }, index) => {
    const head = `${index === 0 ? "┌" : "├"}─ ${name} `;
    return `${head.padEnd(WIDTH, "─")}\n${
      text.trimEnd().split("\n").map((line) => `│ ${line}`.trimEnd()).join("\n")
    }\n`;
  });
  return `${drawn.join("")}└${"─".repeat(WIDTH - 1)}\n`;
}

/** Guest instructions as columns, then where control goes. */
function drawUnit(inspection: Inspection, { address, instructions, sizeBytes, successors }: UnitView): string {
  const executed = inspection.counts.executed(address);
  const translated = instructions.filter(({ translation }) => translation !== "interpret");
  const often = executed === 0 ? "never executed" : `executed ${times(executed)}`;
  const size = `${counted(translated.length, "instruction")}, ${counted(sizeBytes, "byte")}, ${often}`;
  const rows = instructions.map(({ address, bytes, text, class: kind, translation }) => [
    hex(address),
    [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join(" ").padEnd(BYTE_COLUMNS),
    text,
    kind,
    translation,
  ]);
  const heads = ["ADDRESS", "BYTES", "INSTRUCTION", "CLASS", "TRANSLATION"];
  const edges = successors.flatMap((successor) => edgeRows(inspection, translated.at(-1), successor));
  return `${size}\n\n${table([heads, ...rows])}\n${table(edges)}`;
}

/** An edge with its count; a looked-up one with the targets that were found. */
function edgeRows(
  inspection: Inspection,
  last: InstructionView | undefined,
  { kind, link, target }: Successor,
): string[][] {
  const { counts } = inspection;
  const row = (to: number, count: number) => [
    `${kind} →`,
    hex(to),
    nameAt(inspection, to),
    link,
    last === undefined ? "" : times(count),
    meaning[link],
  ];
  if (target !== undefined) return [row(target, last === undefined ? 0 : counts.edge(last.address, target))];
  const found = last === undefined ? [] : counts.targets(last.address);
  return found.length > 0
    ? found.map(([to, count]) => row(to, count))
    : [[`${kind} →`, "", "", link, "never", meaning[link]]];
}

function edgeText(inspection: Inspection, { kind, link, target }: Successor): string {
  if (target === undefined || link === "interpreter") return link;
  return `${kind === "call" ? "call " : ""}${nameAt(inspection, target)} ${link}`;
}

function isInside(link: Link): boolean {
  return link === "elided" || link === "jump";
}

/** A translation's place in the order of translation, from 1. */
function numberOf({ translations }: Inspection, translation: TranslationView): string {
  return String(translations.indexOf(translation) + 1);
}

function nameAt({ symbols }: Inspection, address: number): string {
  return symbols.nameOf(address) ?? hex(address);
}

function hex(value: number): string {
  return (value >>> 0).toString(16).padStart(8, "0");
}

function times(count: number): string {
  return count === 0 ? "never" : count === 1 ? "once" : `${count} times`;
}

function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}
