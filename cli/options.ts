// Options of the command line: declared as tables, parsed the GNU way, refused with the nearest valid name, and printed
// as help.

import { parseArgs } from "@std/cli";
import { InputError, unknownName } from "../core/mod.ts";

export interface OptionSpec {
  readonly name: string;
  /** Name of the value in the help; an option without one is a switch. */
  readonly value?: string;
  /** The value where the option is given without one. */
  readonly implied?: string;
  /** May be given several times. */
  readonly repeats?: boolean;
  readonly help: string;
}

export interface CommandSpec {
  readonly name: string;
  /** Operands as the usage line shows them. */
  readonly operands?: string;
  readonly minOperands?: number;
  readonly maxOperands?: number;
  readonly summary: string;
  /** More for the command's own help. */
  readonly notes?: string;
  readonly options: readonly OptionSpec[];
}

export const helpOption: OptionSpec = { name: "help", help: "show this help" };

/** The options and operands that were given. */
export class Given {
  constructor(readonly operands: readonly string[], readonly values: ReadonlyMap<string, readonly string[]>) {}

  has(name: string): boolean {
    return this.values.has(name);
  }

  /** The value of an option; the last one, where it was given several times. */
  text(name: string): string | undefined {
    return this.values.get(name)?.at(-1);
  }

  /** All values of an option. */
  list(name: string): readonly string[] {
    return this.values.get(name) ?? [];
  }

  /** The value, read by `read`, whose complaint gets the option's name. */
  value<T>(name: string, read: (text: string) => T | undefined, expected: string): T | undefined {
    const text = this.text(name);
    if (text === undefined) return undefined;
    const value = read(text);
    if (value === undefined) throw new InputError(`option --${name}: "${text}"; expected ${expected}`);
    return value;
  }

  integer(name: string, min: number, max = Number.MAX_SAFE_INTEGER): number | undefined {
    const read = (text: string) => {
      const value = /^\d+$/.test(text) ? Number(text) : NaN;
      return value >= min && value <= max ? value : undefined;
    };
    const bound = max === Number.MAX_SAFE_INTEGER ? `${min} or more` : `${min} to ${max}`;
    return this.value(name, read, `a whole number, ${bound}`);
  }

  /** Seconds, more than 0, fractions allowed. */
  seconds(name: string): number | undefined {
    const read = (text: string) => /^\d*\.?\d+$/.test(text) && Number(text) > 0 ? Number(text) : undefined;
    return this.value(name, read, "seconds, more than 0");
  }

  sizeMib(name: string): number | undefined {
    return this.value(name, readSizeMib, "a size such as 128, 128M or 1G");
  }
}

/** A size in MiB: `128`, `128M`, `1G`. */
export function readSizeMib(text: string): number | undefined {
  const match = /^(\d+)(?:([MG])(?:i?B)?)?$/i.exec(text);
  if (match === null) return undefined;
  const mib = Number(match[1]) * (match[2]?.toUpperCase() === "G" ? 1024 : 1);
  return mib > 0 ? mib : undefined;
}

/** Parses what follows a command's name. Throws InputError for what the command does not take. */
export function parseGiven(command: CommandSpec, args: readonly string[]): Given {
  const specs = [...command.options, helpOption];
  const withValue = specs.filter((spec) => spec.value !== undefined).map((spec) => spec.name);
  const parsed: { [name: string]: unknown; _: (string | number)[] } = parseArgs([...args], {
    boolean: specs.filter((spec) => spec.value === undefined).map((spec) => spec.name),
    string: [...withValue, "_"],
    collect: withValue,
    alias: { help: "h" },
    unknown(arg: string, key?: string) {
      if (key === undefined) return true;
      const option = arg.split("=")[0];
      throw new InputError(
        `${unknownName("option", option, specs.map((spec) => `--${spec.name}`)).message} (ballast ${command.name})`,
      );
    },
  });
  const values = new Map<string, string[]>();
  for (const { name, value, implied, repeats } of specs) {
    const given = parsed[name];
    if (value === undefined) {
      if (given === true) values.set(name, []);
      continue;
    }
    const texts = (Array.isArray(given) ? given : []).map((text) => String(text) || (implied ?? ""));
    if (texts.length === 0) continue;
    if (texts.includes("") && !args.includes(`--${name}=`)) {
      throw new InputError(`option --${name} needs a value; write --${name}=${value} where it begins with a dash`);
    }
    if (texts.length > 1 && !repeats) throw new InputError(`option --${name} is given ${texts.length} times`);
    values.set(name, texts);
  }
  const operands = parsed._.map(String);
  if (!values.has("help")) checkOperands(command, operands);
  return new Given(operands, values);
}

function checkOperands(
  { name, operands, minOperands = 0, maxOperands = 0 }: CommandSpec,
  given: readonly string[],
): void {
  if (given.length > maxOperands) {
    throw new InputError(`ballast ${name}: unexpected "${given[maxOperands]}"; see ballast ${name} --help`);
  }
  if (given.length < minOperands) throw new InputError(`ballast ${name} needs ${operands}; see ballast ${name} --help`);
}

/** The help of one command. */
export function commandHelp(command: CommandSpec): string {
  const usage = ["ballast", command.name, "[OPTION]...", command.operands ?? ""].join(" ").trim();
  const notes = command.notes === undefined ? "" : `\n${command.notes.trim()}\n`;
  return `Usage: ${usage}\n\n${command.summary}\n\nOptions:\n${optionTable([...command.options, helpOption])}${notes}`;
}

function optionTable(options: readonly OptionSpec[]): string {
  const rows = options.map(({ name, value, implied, help }) => {
    const valueText = value === undefined ? "" : implied === undefined ? ` ${value}` : `[=${value}]`;
    return [`--${name}${valueText}`, help];
  });
  return table(rows, "  ");
}

/** Rows as aligned columns, one line each. */
export function table(rows: readonly (readonly string[])[], indent = ""): string {
  const widths: number[] = [];
  for (const row of rows) row.forEach((cell, i) => widths[i] = Math.max(widths[i] ?? 0, cell.length));
  return rows.map((row) => (indent + row.map((cell, i) => cell.padEnd(widths[i])).join("  ")).trimEnd() + "\n").join(
    "",
  );
}
