// Fuzzing with a budget: hostile programs, devices and inputs, each from one seed. BALLAST_FUZZ_SEED names other cases; the long
// mode is `deno task fuzz` (main.ts). Seeds that once failed are in seeds.ts and are run each time.

import { assert } from "@std/assert";
import { runJob } from "./runner.ts";
import { seeds } from "./seeds.ts";
import { runCase } from "./target.ts";
import { targetOf, targets } from "./targets.ts";

const SEED = Deno.env.get("BALLAST_FUZZ_SEED") ?? "ballast";

const programs = targets.filter(({ unit }) => unit === "steps");

Deno.test("ten million steps of hostile programs in the interpreter and a million in the translator do the host no harm", async () => {
  // Side by side, as each has its own thread.
  const outcomes = await Promise.all(programs.map(({ name, budget }) => runJob({ name, seed: SEED, budget })));
  outcomes.forEach(({ spent, covered = {} }, i) => {
    assert(spent >= programs[i].budget);
    // A target that no longer comes through a part of the translator tests nothing there.
    for (const [part, count] of Object.entries(covered)) assert(count > 0, `${part}: never`);
  });
});

for (const { name, summary, unit, budget } of targets.filter((target) => !programs.includes(target))) {
  Deno.test(`${budget} hostile ${unit} do the host no harm: ${summary}`, async () => {
    const { spent } = await runJob({ name, seed: SEED, budget });
    assert(spent >= budget);
  });
}

for (const { target, seed, found } of seeds) {
  Deno.test(`a case that once failed does so no more: ${found}`, async () => {
    await runCase(targetOf(target), seed);
  });
}
