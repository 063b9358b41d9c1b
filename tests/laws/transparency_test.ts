// Law 1: the state after N steps is a function of guest and input. Plugins without a guest-visible device, the length of
// turns, other VMs, and saving and restoring change nothing of it.

import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { guests } from "../../guests/mod.ts";
import { type PluginSet, pluginSets } from "./plugin_sets.ts";
import { compute, type Computed, type Subject, subjects } from "./trial.ts";

const [base] = pluginSets;
const references = new Map<string, Computed>();

/** What a guest computes alone on the base machine, or on that with the MMU plugin of a set. */
async function reference(subject: Subject, of: PluginSet): Promise<Computed> {
  const set = pluginSets.find(({ name }) => name === of.reference) ?? base;
  const key = `${set.name}: ${subject.use}`;
  let computed = references.get(key);
  if (computed === undefined) references.set(key, computed = await compute(subject, { set }));
  return computed;
}

Deno.test("every guest of the catalogue is a subject", () => {
  assertEquals(subjects.map(({ use }) => use), guests.map(({ name }) => name));
});

for (const subject of subjects) {
  for (const set of pluginSets) {
    Deno.test(`guest ${subject.use} computes the same with ${set.name}, in short turns, beside others`, async () => {
      const expected = await reference(subject, set);
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
      assertEquals(await compute(subject, conditions), await reference(subject, conditions.set));
    }),
    { numRuns: 40, seed: 1 },
  );
});

Deno.test("another input gives other states", async () => {
  // The hashes would be worthless if they did not tell states apart.
  const [alu] = subjects;
  const { hashes } = await reference(alu, base);
  const other = await compute({ use: "alu", options: { iterations: 20_001 } }, { set: base });
  assert(hashes.every(([, hash], i) => hash !== other.hashes[i][1]));
});
