// Every operation whose result the SDM defines exactly, against the answers of a real x87 (AMD EPYC, family 25) in
// tests/fixtures/x87/operations.txt.gz: result bits, all six exceptions, C1 and the other condition codes.

import { assert, assertEquals } from "@std/assert";
import { readGroups, replay } from "./oracle.ts";
import { OPERATIONS } from "./operations.ts";

const groups = await readGroups("operations.txt.gz");
const SHOWN = 5;

Deno.test("every operation has recorded answers of a real FPU", () => {
  assertEquals([...groups.keys()].sort(), Object.keys(OPERATIONS).sort());
});

for (const [name, operation] of Object.entries(OPERATIONS)) {
  Deno.test(`${name} gives the bits and the status word of a real FPU in every mode`, () => {
    const group = groups.get(name);
    assert(group !== undefined, `no recorded answers for ${name}`);
    const { agreed, differences } = replay(group, operation);
    assertEquals(differences.slice(0, SHOWN), [], `${differences.length} of ${agreed + differences.length} differ`);
    assertEquals(agreed, group.lines.length * group.controlWords.length);
  });
}
