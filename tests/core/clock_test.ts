// The two clocks: exact conversion between steps and nanoseconds, timers, deadlines, save and restore.

import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { GuestClock, HostClock } from "../../core/mod.ts";

const cpuMhz = fc.oneof(
  fc.constantFrom(1, 3, 20, 33, 66, 133, 333, 999, 1000, 1001, 2400, 3999),
  fc.integer({ min: 1, max: 6000 }),
);
/** Largest values whose counterpart is still an integer of 53 bits at every rate up to 6000 MHz. */
const largest = Math.floor(Number.MAX_SAFE_INTEGER / 6000);
const large = fc.oneof(
  fc.nat(5000),
  fc.integer({ min: 0, max: largest }),
  fc.integer({ min: largest - 9999, max: largest }),
);

const stepsToNs = (steps: number, mhz: number) => Number((BigInt(steps) * 1000n) / BigInt(mhz));

Deno.test("steps become nanoseconds exactly, rounded down", () => {
  fc.assert(
    fc.property(cpuMhz, large, (mhz, steps) => {
      const clock = new GuestClock(mhz);
      clock.steps = steps;
      assertEquals(clock.nowNs(), stepsToNs(steps, mhz));
    }),
    { numRuns: 2000 },
  );
});

Deno.test("nanoseconds become the first step at which they have passed", () => {
  fc.assert(
    fc.property(cpuMhz, large, fc.nat(1e9), (mhz, ns, offsetNs) => {
      const clock = new GuestClock(mhz);
      clock.pass(offsetNs);
      const steps = clock.nsToSteps(ns);
      assertEquals(offsetNs + stepsToNs(steps, mhz) >= ns, true);
      if (steps > 0) assertEquals(offsetNs + stepsToNs(steps - 1, mhz) < ns, true);
    }),
    { numRuns: 2000 },
  );
});

Deno.test("the time-stamp counter counts steps, and halted time at cpuMhz", () => {
  fc.assert(
    fc.property(cpuMhz, large, fc.integer({ min: 0, max: 1e12 }), (mhz, steps, offsetNs) => {
      const clock = new GuestClock(mhz);
      clock.steps = Math.floor(steps / 2);
      clock.pass(offsetNs);
      assertEquals(clock.cycles(), clock.steps + Number((BigInt(offsetNs) * BigInt(mhz)) / 1000n));
    }),
    { numRuns: 2000 },
  );
});

Deno.test("a clock at 33 MHz does not drift: whole seconds of steps are whole seconds", () => {
  const clock = new GuestClock(33);
  for (const seconds of [1, 7, 3600, 86_400]) {
    clock.steps = seconds * 33e6;
    assertEquals(clock.nowNs(), seconds * 1e9);
    assertEquals(clock.nsToSteps(seconds * 1e9), seconds * 33e6);
  }
});

Deno.test("an armed timer brings the deadline forward to its exact step, a disarmed one lets it go back", () => {
  const clock = new GuestClock(20);
  const timer = clock.timer("pit", () => {});
  clock.beginTurn(1000);
  assertEquals(clock.deadlineSteps, 1000);
  timer.arm(501);
  assertEquals(clock.deadlineSteps, 11, "step 10 is at 500 ns, step 11 at 550 ns");
  timer.arm(500);
  assertEquals(clock.deadlineSteps, 10);
  timer.disarm();
  assertEquals([clock.deadlineSteps, timer.deadlineNs], [1000, Infinity]);
  clock.steps = 400;
  clock.endTurn();
  assertEquals(clock.deadlineSteps, 400);
});

Deno.test("time that passes without steps brings timers nearer in steps", () => {
  const clock = new GuestClock(1000);
  clock.timer("t", () => {}).arm(700);
  clock.beginTurn(1e6);
  clock.pass(300);
  assertEquals([clock.nowNs(), clock.deadlineSteps], [300, 400]);
});

Deno.test("fractions of a nanosecond are rounded up, so that guest time stays an integer", () => {
  const clock = new GuestClock(1000);
  const timer = clock.timer("t", () => {});
  timer.arm(838.1);
  assertEquals(timer.deadlineNs, 839);
  clock.pass(0.25);
  assertEquals(clock.nowNs(), 1);
});

Deno.test("due timers fire once, earliest first, ties in order of creation, and may arm themselves again", () => {
  const clock = new GuestClock(1000);
  const fired: string[] = [];
  const note = (name: string) => (nowNs: number) => void fired.push(`${name}@${nowNs}`);
  const a = clock.timer("a", note("a")), b = clock.timer("b", note("b")), c = clock.timer("c", note("c"));
  const periodic = clock.timer("periodic", (nowNs) => {
    fired.push(`periodic@${nowNs}`);
    if (fired.length < 9) periodic.arm(nowNs + 10);
  });
  c.arm(50);
  b.arm(20);
  a.arm(50);
  periodic.arm(30);
  clock.steps = 49;
  clock.fireDue();
  assertEquals(fired, ["b@49", "periodic@49"]);
  clock.steps = 59;
  clock.fireDue();
  assertEquals(fired.slice(2), ["a@59", "c@59", "periodic@59"]);
  clock.fireDue();
  assertEquals(fired.length, 5);
  assertEquals(clock.nextTimerNs(), 69);
});

Deno.test("a timer that an earlier one disarms does not fire", () => {
  const clock = new GuestClock(1000);
  const fired: string[] = [];
  const first = clock.timer("first", () => (fired.push("first"), second.disarm()));
  const second = clock.timer("second", () => void fired.push("second"));
  first.arm(1);
  second.arm(2);
  clock.steps = 5;
  clock.fireDue();
  assertEquals(fired, ["first"]);
});

Deno.test("two timers of one name are an error", () => {
  const clock = new GuestClock(1);
  clock.timer("rtc", () => {});
  assertThrows(() => clock.timer("rtc", () => {}), Error, "guest timer rtc exists already");
});

Deno.test("a restored clock has the same time and the same timers to come", () => {
  const make = () => {
    const fired: string[] = [];
    const clock = new GuestClock(33);
    const timers = ["a", "b", "c"].map((name) => clock.timer(name, (nowNs) => void fired.push(`${name}@${nowNs}`)));
    return { clock, timers, fired };
  };
  const original = make();
  original.clock.steps = 1000;
  original.clock.pass(77);
  original.timers[0].arm(40_000);
  original.timers[2].arm(35_000);
  const saved = JSON.parse(JSON.stringify(original.clock.save()));

  const copy = make();
  copy.timers[1].arm(5);
  copy.clock.restore(saved);
  assertEquals(copy.timers.map((t) => t.deadlineNs), [40_000, Infinity, 35_000]);
  for (const { clock } of [original, copy]) {
    clock.beginTurn(1e6);
    clock.steps = clock.deadlineSteps;
    clock.fireDue();
  }
  assertEquals([copy.clock.steps, copy.clock.nowNs()], [original.clock.steps, original.clock.nowNs()]);
  assertEquals([copy.fired, copy.clock.deadlineSteps], [original.fired, original.clock.deadlineSteps]);
  assertEquals(copy.fired.length, 1);
});

Deno.test("a host timer fires once however late, and then at its next whole period", () => {
  const clock = new HostClock();
  const fired: number[] = [];
  const remove = clock.every(100, () => void fired.push(clock.nowNs));
  const steps: [now: number, count: number, next: number][] = [[99, 0, 100], [100, 1, 200], [450, 2, 500], [
    499,
    2,
    500,
  ], [
    500,
    3,
    600,
  ]];
  for (const [nowNs, count, nextNs] of steps) {
    clock.nowNs = nowNs;
    clock.fireDue();
    assertEquals([fired.length, clock.nextTimerNs()], [count, nextNs], `at ${nowNs} ns`);
  }
  remove();
  assertEquals(clock.nextTimerNs(), Infinity);
});

Deno.test("a host timer that another one removes does not fire any more", () => {
  const clock = new HostClock();
  const fired: string[] = [];
  clock.every(10, () => (fired.push("first"), remove()));
  const remove = clock.every(10, () => void fired.push("second"));
  clock.nowNs = 10;
  clock.fireDue();
  assertEquals(fired, ["first"]);
});

Deno.test("a period below a nanosecond is refused", () => {
  for (const periodNs of [0, -1, NaN]) {
    assertThrows(() => new HostClock().every(periodNs, () => {}), Error, "at least 1 ns");
  }
});
