// The transcendental instructions against the answers of a real x87 (AMD EPYC, family 25): exceptions and C2 agree,
// results are within a unit in the last place. Intel promises its processors the same (SDM 1, 8.3.10); C1 follows the
// direction in which each implementation rounded and is not compared where it alone differs.

import { assert, assertEquals, assertLessOrEqual } from "@std/assert";
import { C1, readGroups, replay } from "./oracle.ts";
import { TRANSCENDENTALS } from "./operations.ts";

const groups = await readGroups("transcendentals.txt.gz");

/**
 * Largest share of results that may differ at all. Where they do, 113-bit arithmetic (libquadmath) found ours to be the
 * nearer one every time; AMD's tangent is its least exact function.
 */
const DIFFERENT_SHARE = 0.03, DIFFERENT_TANGENTS = 0.12;

/** Position of a finite value, written in hexadecimal, in the order of all values: neighbours are one apart. */
function position(text: string): bigint {
  const bits = BigInt(`0x${text}`);
  const magnitude = (bits >> 64n & 0x7fffn) << 63n | bits & 0x7fff_ffff_ffff_ffffn;
  return bits >> 79n === 0n ? magnitude : -magnitude;
}

function unitsApart(a: string, b: string): bigint {
  const distance = position(a) - position(b);
  return distance < 0n ? -distance : distance;
}

Deno.test("every transcendental operation has recorded answers of a real FPU", () => {
  assertEquals([...groups.keys()].sort(), Object.keys(TRANSCENDENTALS).sort());
});

for (const [name, operation] of Object.entries(TRANSCENDENTALS)) {
  Deno.test(`${name} is within 1 unit in the last place of a real FPU and raises the same exceptions`, () => {
    const group = groups.get(name);
    assert(group !== undefined, `no recorded answers for ${name}`);
    const { agreed, differences } = replay(group, operation);
    let different = 0;
    for (const difference of differences) {
      const match = /got (\S+),(\w+), the FPU says (\S+),(\w+)$/.exec(difference);
      assert(match !== null, difference);
      const [, got, gotStatus, expected, expectedStatus] = match;
      assertEquals(parseInt(gotStatus, 16) & ~C1, parseInt(expectedStatus, 16) & ~C1, difference);
      const expectedValues = expected.split(";");
      got.split(";").forEach((value, i) => assert(unitsApart(value, expectedValues[i]) <= 1n, difference));
      if (got !== expected) different += 1;
    }
    assertEquals(agreed + differences.length, group.lines.length * group.controlWords.length);
    const share = different / (agreed + differences.length);
    assertLessOrEqual(
      share,
      name === "tangent" ? DIFFERENT_TANGENTS : DIFFERENT_SHARE,
      `${share} of the results differ`,
    );
  });
}
