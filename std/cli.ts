// Adapter for @std/cli 1.x: `parseArgs` with the package's signature and behaviour, as far as the project uses it. Written
// here because the package lives on a registry that closed networks cannot reach.

/** What `parseArgs` is told. Names are without dashes; `"_"` among the strings keeps operands from becoming numbers. */
export interface ParseOptions {
  /** Options that take no value. */
  readonly boolean?: readonly string[];
  /** Options that take a value, kept as text. */
  readonly string?: readonly string[];
  /** Options that may be given several times: their values come as an array, empty when absent. */
  readonly collect?: readonly string[];
  /** Other names of an option. */
  readonly alias?: Readonly<Record<string, string | readonly string[]>>;
  /** Called for an option that is not declared and for each operand; false leaves it out of the result. */
  readonly unknown?: (arg: string, key?: string, value?: unknown) => unknown;
}

/** Values by option name, and the operands in `_`. A string option without a value is "". */
export type Args = { [name: string]: unknown; _: (string | number)[] };

/** Parses GNU-style arguments: `--name value`, `--name=value`, `-n value`, `-abc`, `--` ends the options. */
export function parseArgs(args: readonly string[], options: ParseOptions = {}): Args {
  const { boolean = [], string = [], collect = [], alias = {}, unknown } = options;
  const groups = Object.entries(alias).map(([name, others]) => [name, ...[others].flat()]);
  const namesOf = (name: string) => groups.find((group) => group.includes(name)) ?? [name];
  const isIn = (list: readonly string[], name: string) => namesOf(name).some((other) => list.includes(other));
  const result: Args = { _: [] };
  for (const name of boolean) for (const other of namesOf(name)) result[other] = false;
  for (const name of collect) for (const other of namesOf(name)) result[other] = [];

  const set = (name: string, value: unknown, arg: string) => {
    const declared = isIn(boolean, name) || isIn(string, name) || isIn(collect, name);
    if (!declared && unknown?.(arg, name, value) === false) return;
    for (const other of namesOf(name)) {
      const before = result[other];
      result[other] = isIn(collect, name) && Array.isArray(before) ? [...before, value] : value;
    }
  };

  for (let i = 0; i < args.length; i++) {
    const arg = args[i], next = args[i + 1];
    const nextIsValue = next !== undefined && !next.startsWith("-");
    const long = /^--([^=]+)(?:=(.*))?$/s.exec(arg);
    const short = /^-([^-].*)$/s.exec(arg);
    if (arg === "--") {
      for (const operand of args.slice(i + 1)) addOperand(operand);
      break;
    } else if (long !== null) {
      const [, name, value] = long;
      if (value !== undefined) set(name, isIn(boolean, name) ? value !== "false" : value, arg);
      else if (isIn(boolean, name)) set(name, true, arg);
      else if (nextIsValue) set(name, args[++i], arg);
      else set(name, isIn(string, name) ? "" : true, arg);
    } else if (short !== null) {
      const letters = short[1];
      for (let at = 0; at < letters.length; at++) {
        const name = letters[at], rest = letters.slice(at + 1);
        const isLast = rest === "";
        if (!isIn(boolean, name) && (rest.startsWith("=") || (!isLast && isIn(string, name)))) {
          set(name, rest.replace(/^=/, ""), arg);
          break;
        }
        if (isLast && !isIn(boolean, name) && nextIsValue) set(name, args[++i], arg);
        else set(name, isIn(string, name) ? "" : true, arg);
      }
    } else addOperand(arg);
  }
  return result;

  function addOperand(operand: string): void {
    if (unknown?.(operand) === false) return;
    result._.push(isIn(string, "_") || operand.trim() === "" || isNaN(Number(operand)) ? operand : Number(operand));
  }
}
