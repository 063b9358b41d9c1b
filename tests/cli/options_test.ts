import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { InputError } from "../../core/mod.ts";
import { commandHelp, type CommandSpec, parseGiven, readSizeMib, table } from "../../cli/options.ts";

const command: CommandSpec = {
  name: "demo",
  operands: "[FILE]",
  maxOperands: 1,
  summary: "Shows options.",
  options: [
    { name: "memory", value: "SIZE", help: "memory" },
    { name: "seed", value: "N", help: "seed" },
    { name: "for", value: "SECONDS", help: "host time" },
    { name: "set", value: "TEXT", repeats: true, help: "set" },
    { name: "realtime", help: "switch" },
  ],
};

for (const [text, mib] of [["128", 128], ["128M", 128], ["1G", 1024], ["2gib", 2048], ["64MiB", 64]] as const) {
  Deno.test(`a size of ${text} is ${mib} MiB`, () => assertEquals(readSizeMib(text), mib));
}

for (const text of ["", "0", "-1", "1T", "12K", "1.5G", "M", "0x10", "128 M"]) {
  Deno.test(`"${text}" is no size`, () => assertEquals(readSizeMib(text), undefined));
}

Deno.test("options are read in both GNU forms and operands stay text", () => {
  const given = parseGiven(command, [
    "--memory",
    "1G",
    "12",
    "--seed=7",
    "--realtime",
    "--set=a",
    "--set",
    "b",
    "--for=.5",
  ]);
  assertEquals(given.operands, ["12"]);
  assertEquals(given.sizeMib("memory"), 1024);
  assertEquals(given.integer("seed", 0), 7);
  assertEquals(given.seconds("for"), 0.5);
  assertEquals(given.list("set"), ["a", "b"]);
  assertEquals([given.has("realtime"), given.has("help"), given.has("seed")], [true, false, true]);
  assertEquals(given.text("absent"), undefined);
});

const refused: readonly [string[], string][] = [
  [["--memry", "1"], 'unknown option "--memry"; did you mean "--memory"? (ballast demo)'],
  [["--sed=1"], 'did you mean "--seed"?'],
  [["-x"], 'unknown option "-x"'],
  [["--memory"], "option --memory needs a value"],
  [["--memory", "--realtime"], "option --memory needs a value"],
  [["--seed", "1", "--seed", "2"], "option --seed is given 2 times"],
  [["a", "b"], 'unexpected "b"'],
];
for (const [args, message] of refused) {
  Deno.test(`refuses ${args.join(" ")}: ${message}`, () => {
    assertStringIncludes(assertThrows(() => parseGiven(command, args), InputError).message, message);
  });
}

const badValues: readonly [string[], (given: ReturnType<typeof parseGiven>) => unknown, string][] = [
  [["--seed", "x"], (given) => given.integer("seed", 0), 'option --seed: "x"; expected a whole number, 0 or more'],
  [["--seed", "12"], (given) => given.integer("seed", 1, 9), "expected a whole number, 1 to 9"],
  [["--for", "0"], (given) => given.seconds("for"), "expected seconds, more than 0"],
  [["--for", "1e3"], (given) => given.seconds("for"), "expected seconds"],
  [["--memory", "12T"], (given) => given.sizeMib("memory"), 'option --memory: "12T"; expected a size such as 128'],
];
for (const [args, read, message] of badValues) {
  Deno.test(`the value of ${args.join(" ")} is refused: ${message}`, () => {
    assertStringIncludes(assertThrows(() => read(parseGiven(command, args)), InputError).message, message);
  });
}

Deno.test("help names every option with its value, however few operands are given", () => {
  assertEquals(parseGiven({ ...command, minOperands: 1 }, ["--help"]).has("help"), true);
  assertEquals(parseGiven(command, ["-h"]).has("help"), true);
  const help = commandHelp(command);
  assertStringIncludes(help, "Usage: ballast demo [OPTION]... [FILE]\n");
  for (const { name, value } of command.options) assertStringIncludes(help, value ? `--${name} ${value}` : `--${name}`);
});

Deno.test("a table aligns its columns and leaves no blanks at line ends", () => {
  assertEquals(table([["a", "1"], ["bbb", ""], ["c", "22"]], "> "), "> a    1\n> bbb\n> c    22\n");
});
