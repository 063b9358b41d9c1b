// The command `experiment` as its users run it: what it writes, that it is the same again, and that a constant which is wrong makes
// it fail loudly.

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { ballast, inTemporaryFolder } from "./command.ts";

const permissions = ["--allow-read", "--allow-write", "--allow-env=INIT_CWD,NODE_ENV"];

/** Cheap ones of every kind: no guests, guests on a time line, policies that sample at random, the wall clock. */
const repeated: readonly (readonly string[])[] = [
  ["admission", "--quick", "--set", "sequences=3", "--seed", "5"],
  ["balloon-pop", "--quick"],
  ["tax-sweep", "--seeds", "2", "--set", "rates=[0.75]", "--set", "stageMinutes=2"],
  ["rdtsc-ladder", "--set", "batches=1", "--set", "batchMs=5"],
];

for (const args of repeated) {
  Deno.test(`an experiment's result is the same every time but for timings: ${args.join(" ")}`, async () => {
    await inTemporaryFolder(async (folder) => {
      const texts: string[] = [];
      for (const out of ["a", "b"]) {
        const { stderr } = await ballast(["experiment", ...args, "--out", `${folder}/${out}`], { permissions });
        const { timings: _, ...result } = JSON.parse(await Deno.readTextFile(`${folder}/${out}/result.json`));
        assert(result.series.length > 0, stderr);
        texts.push(JSON.stringify(result));
      }
      assertEquals(texts[0], texts[1]);
    });
  });
}

Deno.test("with several seeds a report shows the mean and the spread of each figure, and the seeds for which lines hold", async () => {
  await inTemporaryFolder(async (folder) => {
    const args = ["tax-sweep", "--seeds", "3", "--set", "rates=[0.75]", "--set", "stageMinutes=2", "--out", folder];
    const { status, stderr } = await ballast(["experiment", ...args], { permissions });
    assertEquals(status, 0, stderr);
    const { seeds, rows, acceptance } = JSON.parse(await Deno.readTextFile(`${folder}/result.json`));
    assertEquals(seeds, [1, 2, 3]);
    const spreads = rows.flatMap(({ spread }: { spread?: Record<string, number> }) => spread ?? []);
    assert(spreads.some(({ least, mean, most }: Record<string, number>) => least < mean && mean < most));
    for (const { seedsHeld } of acceptance) assertEquals(seedsHeld, 3);
    assertMatch(await Deno.readTextFile(`${folder}/report.md`), /\| [\d.]+ ± [\d.]+ \([\d.]+ to [\d.]+\) \|/);
  });
});

Deno.test("an experiment writes a result, a figure and a report, and two results can be compared", async () => {
  await inTemporaryFolder(async (folder) => {
    for (const out of ["a", "b"]) {
      const args = ["experiment", "admission", "--quick", "--set", "sequences=3", "--out", `${folder}/${out}`];
      const { status, stderr } = await ballast(args, { permissions });
      assertEquals(status, 0, stderr);
      const { timings, ...result } = JSON.parse(await Deno.readTextFile(`${folder}/${out}/result.json`));
      assert(timings.wallSeconds > 0);
      assert(result.acceptance.length > 0);
      assertStringIncludes(await Deno.readTextFile(`${folder}/${out}/figure.svg`), "<svg");
      assertStringIncludes(await Deno.readTextFile(`${folder}/${out}/report.md`), "| Line | Class | Expected |");
    }
    const { status, stdout } = await ballast(["compare", `${folder}/a/result.json`, `${folder}/b/result.json`], {
      permissions,
    });
    assertEquals(status, 0);
    assertStringIncludes(stdout, "One configuration.");
  });
});

/** A constant sabotaged by an option, and the line that must name it. */
const sabotages: readonly [what: string, args: readonly string[], line: string][] = [
  [
    "k, the price of an idle page",
    ["tax-sweep", "--set", "rates=[0.75]", "--set", "stageMinutes=2", "--set", "tax-allocator.taxRate=0.5"],
    "does not hold: VM1's target at 75 %",
  ],
  [
    "the tax, dropped",
    ["tax-sweep", "--set", "rates=[0.75]", "--set", "stageMinutes=2", "--without", "tax-allocator"],
    "does not hold: VM1's target at 75 %",
  ],
  [
    "the hash, cut to 8 bits",
    [
      "page-sharing",
      "--set",
      "vms=[2]",
      "--set",
      "linuxGuests=0",
      "--set",
      "seconds=15",
      "--set",
      "page-sharing.hashBits=8",
    ],
    "does not hold: reclaimed of what an exact count finds, 2 VMs",
  ],
];

for (const [what, args, line] of sabotages) {
  Deno.test(`an experiment fails with status 1 and names the line where a constant is wrong: ${what}`, async () => {
    await inTemporaryFolder(async (folder) => {
      const { status, stderr } = await ballast(["experiment", ...args, "--seeds", "1", "--out", folder], {
        permissions,
      });
      assertEquals(status, 1, stderr);
      assertStringIncludes(stderr, line);
    });
  });
}

const mistakes: readonly [args: readonly string[], message: string][] = [
  [["experiment", "sampeling"], 'did you mean "sampling"?'],
  [["experiment", "sampling", "--set", "steadyMinute=3"], 'did you mean "steadyMinutes"?'],
  [["experiment", "sampling", "--set", "steadyMinutes=1"], "option --set steadyMinutes: "],
  [["experiment", "sampling", "--compare", "targets=shares"], "option --compare: of policies only"],
  [["experiment", "policies", "--compare", "shares"], 'option --compare: "shares"; expected targets=A,B,...'],
  [["experiment", "policies", "--compare", "targets=nobody"], 'no policy "nobody"'],
  [["experiment", "all", "--set", "seconds=3"], "it does not go with `all`"],
];

for (const [args, message] of mistakes) {
  Deno.test(`ballast ${args.join(" ")} is refused in one line`, async () => {
    const { status, stderr } = await ballast(args, { permissions });
    assertEquals(status, 2);
    assertEquals(stderr.trim().split("\n").length, 1);
    assertStringIncludes(stderr, message);
  });
}

Deno.test("experiments lists every experiment with its knobs", async () => {
  const { status, stdout } = await ballast(["experiments"]);
  assertEquals(status, 0);
  for (const name of ["idle-tax", "page-sharing", "sampling", "taxRate = 0.75"]) assertStringIncludes(stdout, name);
});
