// Paging, segmentation, transfers and exceptions against two emulators: the torture guest runs in the host and prints the same
// lines as under QEMU and Bochs (tests/fixtures/torture), but for those that tests/oracle/torture/deviations.ts explains.

import { assert, assertEquals } from "@std/assert";
import { deviations, expectedLine } from "../../oracle/torture/deviations.ts";
import { run } from "../../oracle/torture/run.ts";
import { type Oracle, sections } from "../../oracle/torture/sections.ts";

const MOST_TOLD = 12;

async function fixture(section: string, oracle: Oracle): Promise<string[]> {
  const file = new URL(`../../fixtures/torture/${oracle}/${section}.txt`, import.meta.url);
  return (await Deno.readTextFile(file)).split("\n");
}

for (const [name, section] of Object.entries(sections)) {
  Deno.test(`the torture guest's section "${name}" prints what ${section.oracles.join(" and ")} print`, async () => {
    const printed = new Map<Oracle, string[]>();
    for (const oracle of section.oracles) printed.set(oracle, await fixture(name, oracle));
    const [first] = printed.values();
    const expected = first.map((_, i) =>
      expectedLine(name, Object.fromEntries([...printed].map(([oracle, lines]) => [oracle, lines[i]])))
    );
    const actual = run(name);
    const differences = expected.flatMap((line, i) => actual[i] === line ? [] : [`- ${line}\n+ ${actual[i]}`]);
    const told = differences.slice(0, MOST_TOLD).join("\n");
    assert(differences.length === 0, `${differences.length} of ${expected.length} lines differ:\n${told}`);
    assertEquals(actual.length, expected.length);
  });
}

Deno.test("every deviation of the torture guest's output has a line that it explains", async () => {
  for (const { section, cases } of deviations) {
    const lines = await fixture(section, "bochs");
    assert(lines.some((line) => cases.test(line)), `no line of section ${section} matches ${cases}`);
  }
});
