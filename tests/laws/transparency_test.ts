// Law 1: the state after N steps is a function of guest and input. Plugins without a guest-visible device, the length of
// turns, other VMs, and saving and restoring change nothing of it.

import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { guests } from "../../guests/mod.ts";
import { pluginSets } from "./plugin_sets.ts";
import { compute, type Computed, type Subject, subjects } from "./trial.ts";

const [base] = pluginSets;
const references = new Map<Subject, Computed>();

/** What a guest computes alone on the base machine. */
async function reference(subject: Subject): Promise<Computed> {
  let computed = references.get(subject);
  if (computed === undefined) references.set(subject, computed = await compute(subject, { set: base }));
  return computed;
}

Deno.test("every guest of the catalogue is a subject", () => {
  assertEquals(subjects.map(({ use }) => use), guests.map(({ name }) => name));
});

for (const subject of subjects) {
  for (const set of pluginSets) {
    Deno.test(`guest ${subject.use} computes the same with ${set.name}, in short turns, beside others`, async () => {
      const expected = await reference(subject);
      assertEquals(expected.exit, "halt");
      const companions = subjects.filter(({ use }) => use === "privileged" || use === "idle" || use === "alu");
      assertEquals(await compute(subject, { set, quantumNs: 23_000, companions }), expected);
    });
  }
}

Deno.test("no turn length, seed, company, plugin set or interruption changes what a guest computes", async () => {
  const trials = fc.record({
    subject: fc.constantFrom(...subjects),
    set: fc.constantFrom(...pluginSets),
    quantumNs: fc.integer({ min: 1_000, max: 5_000_000 }),
    seed: fc.integer({ min: 0, max: 1000 }),
    companions: fc.subarray(subjects.slice(), { maxLength: 3 }),
    saveAfter: fc.integer({ min: 1, max: 12 }),
  });
  await fc.assert(
    fc.asyncProperty(trials, async ({ subject, ...conditions }) => {
      assertEquals(await compute(subject, conditions), await reference(subject));
    }),
    { numRuns: 40, seed: 1 },
  );
});

Deno.test("another input gives other states", async () => {
  // The hashes would be worthless if they did not tell states apart.
  const [alu] = subjects;
  const { hashes } = await reference(alu);
  const other = await compute({ use: "alu", options: { iterations: 20_001 } }, { set: base });
  assert(hashes.every(([, hash], i) => hash !== other.hashes[i][1]));
});
