// Stride scheduling: time in proportion to shares, and no credit for absence.

import { assertEquals, assertLessOrEqual, assertThrows } from "@std/assert";
import fc from "fast-check";
import { StrideScheduler } from "../../core/mod.ts";

const everybody = () => true;

/** Lets the scheduler choose `rounds` times and charges what `quantumNs` says; returns the time each client got. */
function run(
  scheduler: StrideScheduler,
  rounds: number,
  isReady: (id: number) => boolean = everybody,
  quantumNs: (id: number) => number = () => 100,
): Map<number, number> {
  const used = new Map<number, number>();
  for (let i = 0; i < rounds; i++) {
    const id = scheduler.pick(isReady);
    if (id === undefined) break;
    const ns = quantumNs(id);
    scheduler.charge(id, ns);
    used.set(id, (used.get(id) ?? 0) + ns);
  }
  return used;
}

Deno.test("shares of 1:2:4 get time of 1:2:4", () => {
  const scheduler = new StrideScheduler();
  for (const [id, shares] of [1, 2, 4].entries()) scheduler.add(id, shares);
  assertEquals([...run(scheduler, 700)].toSorted(), [[0, 10_000], [1, 20_000], [2, 40_000]]);
});

Deno.test("the error stays within one quantum each, whatever the shares and however long the turns", () => {
  const shares = fc.array(fc.integer({ min: 1, max: 50 }), { minLength: 2, maxLength: 6 });
  fc.assert(
    fc.property(
      shares,
      fc.integer({ min: 1, max: 500 }),
      fc.infiniteStream(fc.integer({ min: 1, max: 100 })),
      (weights, rounds, turns) => {
        const scheduler = new StrideScheduler();
        for (const [id, weight] of weights.entries()) scheduler.add(id, weight);
        const used = run(scheduler, rounds, everybody, () => turns.next().value);
        // No client is ahead of another by more than its own longest turn, in virtual time.
        const passes = weights.map((weight, id) => (used.get(id) ?? 0) / weight);
        for (const [ahead, pass] of passes.entries()) {
          for (const other of passes) assertLessOrEqual(pass - other, 100 / weights[ahead] + 1e-9);
        }
      },
    ),
  );
});

Deno.test("clients with equal shares take turns, lowest id first", () => {
  const scheduler = new StrideScheduler();
  for (const id of [0, 1, 2]) scheduler.add(id, 10);
  const order = Array.from({ length: 6 }, () => [...run(scheduler, 1).keys()][0]);
  assertEquals(order, [0, 1, 2, 0, 1, 2]);
});

Deno.test("a client gets no credit for having been away", () => {
  const scheduler = new StrideScheduler();
  for (const id of [0, 1]) scheduler.add(id, 1);
  run(scheduler, 1000, (id) => id === 0);
  scheduler.resume(1);
  assertEquals([...run(scheduler, 100)].toSorted(), [[0, 5000], [1, 5000]]);
});

Deno.test("a client keeps its debt while it is away", () => {
  const scheduler = new StrideScheduler();
  for (const id of [0, 1]) scheduler.add(id, 1);
  scheduler.charge(1, 5000);
  run(scheduler, 10, (id) => id === 0);
  scheduler.resume(1);
  assertEquals([...run(scheduler, 40).keys()], [0], "1 owes 5000 ns, and 0 has used 1000 of them");
});

Deno.test("a newcomer starts beside the others and not ahead of them", () => {
  const scheduler = new StrideScheduler();
  scheduler.add(0, 1);
  run(scheduler, 1000);
  scheduler.add(1, 1);
  assertEquals([...run(scheduler, 100)].toSorted(), [[0, 5000], [1, 5000]]);
});

Deno.test("nobody is picked when nobody is ready, and a removed client never is", () => {
  const scheduler = new StrideScheduler();
  assertEquals(scheduler.pick(everybody), undefined);
  scheduler.add(0, 1);
  scheduler.add(1, 1);
  assertEquals(scheduler.pick(() => false), undefined);
  scheduler.remove(0);
  assertEquals([...run(scheduler, 10).keys()], [1]);
});

Deno.test("shares below or at zero are refused", () => {
  for (const shares of [0, -1, NaN]) {
    assertThrows(() => new StrideScheduler().add(3, shares), Error, `shares of client 3 are ${shares}`);
  }
});
