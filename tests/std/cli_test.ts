// parseArgs behaves as the package's: the cases are from the documentation of @std/cli 1.x.

import { assertEquals } from "@std/assert";
import { parseArgs } from "@std/cli";

const cases: readonly {
  args: string[];
  options: Parameters<typeof parseArgs>[1];
  expected: Record<string, unknown>;
}[] = [
  { args: ["--name=value", "rest"], options: { string: ["name"] }, expected: { _: ["rest"], name: "value" } },
  { args: ["--name", "value"], options: { string: ["name"] }, expected: { _: [], name: "value" } },
  {
    args: ["--name", "--flag"],
    options: { string: ["name"], boolean: ["flag"] },
    expected: { _: [], name: "", flag: true },
  },
  { args: ["--flag", "rest"], options: { boolean: ["flag"] }, expected: { _: ["rest"], flag: true } },
  { args: ["--flag=false"], options: { boolean: ["flag"] }, expected: { _: [], flag: false } },
  { args: [], options: { boolean: ["flag"] }, expected: { _: [], flag: false } },
  { args: ["-h"], options: { boolean: ["help"], alias: { help: "h" } }, expected: { _: [], h: true, help: true } },
  { args: ["-n5"], options: { string: ["n"] }, expected: { _: [], n: "5" } },
  { args: ["-ab"], options: { boolean: ["a", "b"] }, expected: { _: [], a: true, b: true } },
  {
    args: ["--x", "1", "--x=2"],
    options: { string: ["x"], collect: ["x"] },
    expected: { _: [], x: ["1", "2"] },
  },
  { args: [], options: { string: ["x"], collect: ["x"] }, expected: { _: [], x: [] } },
  { args: ["--name=a=b"], options: { string: ["name"] }, expected: { _: [], name: "a=b" } },
  { args: ["--", "--name"], options: { string: ["name"] }, expected: { _: ["--name"] } },
  { args: ["5", "word"], options: {}, expected: { _: [5, "word"] } },
  { args: ["5"], options: { string: ["_"] }, expected: { _: ["5"] } },
];

for (const { args, options, expected } of cases) {
  Deno.test(`parseArgs reads ${JSON.stringify(args)} with ${JSON.stringify(options)}`, () => {
    assertEquals({ ...parseArgs(args, options) }, expected);
  });
}

Deno.test("parseArgs tells `unknown` of undeclared options and of operands, and leaves out what it refuses", () => {
  const told: unknown[] = [];
  const unknown = (arg: string, key?: string, value?: unknown) => {
    told.push([arg, key, value]);
    return key === undefined;
  };
  const parsed = parseArgs(["--other=1", "rest", "--name=2"], { string: ["name"], unknown });
  assertEquals(told, [["--other=1", "other", "1"], ["rest", undefined, undefined]]);
  assertEquals({ ...parsed }, { _: ["rest"], name: "2" });
});
