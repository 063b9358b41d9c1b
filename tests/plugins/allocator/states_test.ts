// The states of free memory against a plain model, and against jitter (ESX paper, section 6.3).

import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { type ReclamationState, reclamationStates } from "../../../plugins/allocator/events.ts";
import { defaultThresholds, nextState } from "../../../plugins/allocator/states.ts";

function walk(percents: readonly number[], from: ReclamationState = "high"): ReclamationState[] {
  let state = from;
  return percents.map((percent) => state = nextState(state, percent / 100, defaultThresholds));
}

const walks: [what: string, from: ReclamationState, percents: number[], expected: ReclamationState[]][] = [
  ["memory falls through the thresholds 4, 2 and 1 %", "high", [10, 6, 5, 4, 3.9, 2, 1.9, 1, 0.9, 0], [
    ...["high", "high", "high", "high", "soft", "soft", "hard", "hard", "low", "low"] as const,
  ]],
  ["it comes back only half a percent above 2, 4 and 6 %", "low", [1, 2, 2.5, 2.6, 4, 4.5, 4.6, 6, 6.5, 6.6], [
    ...["low", "low", "low", "hard", "hard", "hard", "soft", "soft", "soft", "high"] as const,
  ]],
  ["it may fall, and come back, through several at once", "high", [0.5, 50, 1.5, 7], ["low", "high", "hard", "high"]],
];
for (const [what, from, percents, expected] of walks) {
  Deno.test(`${what}`, () => assertEquals(walk(percents, from), expected));
}

/** Section 6.3 as a table: the states that free memory allows, of which the one nearest to the present one is next. */
function model(state: ReclamationState, percent: number): ReclamationState {
  const allowed: Record<ReclamationState, (from: ReclamationState) => boolean> = {
    high: (from) => from === "high" ? percent >= 4 : percent > 6.5,
    soft: (from) => (from === "high" ? percent < 4 : from === "soft" ? percent <= 6.5 : percent > 4.5) && percent >= 2,
    hard: (from) =>
      (from === "low" ? percent > 2.5 : percent < 2 || from === "hard") && percent >= 1 &&
      (from !== "hard" || percent <= 4.5),
    low: (from) => from === "low" ? percent <= 2.5 : percent < 1,
  };
  const rank = (other: ReclamationState) => reclamationStates.indexOf(other);
  // Better memory leads to the best state it allows, worse memory to the first that it does not exceed.
  const candidates = reclamationStates.filter((other) => allowed[other](state));
  if (candidates.includes(state)) return state;
  return candidates.sort((a, b) => rank(a) - rank(b))[0];
}

Deno.test("every step of any walk is the one that the table says", () => {
  const percents = fc.array(
    fc.oneof(fc.double({ min: 0, max: 8, noNaN: true }), fc.double({ min: 0, max: 100, noNaN: true })),
    {
      minLength: 1,
      maxLength: 40,
    },
  );
  fc.assert(
    fc.property(percents, (values) => {
      let state: ReclamationState = "high";
      for (const percent of values) {
        const next = nextState(state, percent / 100, defaultThresholds);
        assertEquals(next, model(state, percent), `from ${state} at ${percent} %`);
        state = next;
      }
    }),
    { numRuns: 1000, seed: 1 },
  );
});

Deno.test("a jitter of half a percent around any level makes no state come and go", () => {
  const jitters = fc.array(fc.double({ min: -0.25, max: 0.25, noNaN: true }), { minLength: 20, maxLength: 60 });
  const level = fc.double({ min: 0.25, max: 10, noNaN: true });
  fc.assert(
    fc.property(fc.constantFrom(...reclamationStates), level, jitters, (from, percent, offsets) => {
      const seen = walk(offsets.map((offset) => percent + offset), from);
      const changes = seen.filter((state, i) => state !== (i === 0 ? from : seen[i - 1]));
      assertEquals(new Set(changes).size, changes.length, `${from} at ${percent} %: ${seen.join(" ")}`);
      // It settles in one direction: down, or up.
      const ranks = [from, ...changes].map((state) => reclamationStates.indexOf(state));
      const isFalling = ranks.every((rank, i) => i === 0 || rank > ranks[i - 1]);
      const isRising = ranks.every((rank, i) => i === 0 || rank < ranks[i - 1]);
      assert(isFalling || isRising, ranks.join());
    }),
    { numRuns: 1000, seed: 1 },
  );
});
