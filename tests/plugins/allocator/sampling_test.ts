// Activity sampling against guests whose active memory is known (ESX paper, section 5.3 and figure 6).

import { assert, assertEquals, assertGreater, assertLessOrEqual } from "@std/assert";
import { Vm } from "../../../core/mod.ts";
import { ActivitySampler } from "../../../plugins/allocator/sampling.ts";
import { type Pages, PageState, type Ppn } from "../../../plugins/memory/mod.ts";
import { sample } from "../../../plugins/memory/sample.ts";
import { Random } from "../../../core/mod.ts";
import { vmConfig } from "../../core/fake_executor.ts";

const PAGES = 8192, PERIOD_NS = 30e9, SAMPLE = 100;

/** A guest that has used a part of its pages, again and again, and counts what noticing that costs. */
class Guest implements Pages {
  /** Pages below this are in use. */
  activePages = 0;
  readonly #noticed = new Set<Ppn>();
  faults = 0;
  count = () => PAGES;
  stateOf = () => PageState.private;
  testAndClearDirty = () => false;
  sample = (_: Vm, count: number, below: (bound: number) => number) => sample(PAGES, count, below);
  isAccessed = (_: Vm, ppn: Ppn) => this.#noticed.has(ppn);
  testAndClearAccessed(_: Vm, ppn: Ppn): boolean {
    return this.#noticed.delete(ppn);
  }
  /** Uses all active pages: each that was looked at costs a minor fault. */
  use(): void {
    for (let ppn = 0; ppn < this.activePages; ppn++) {
      if (this.#noticed.has(ppn)) continue;
      this.#noticed.add(ppn);
      this.faults++;
    }
  }
}

function sampling(seed: number) {
  const vm = new Vm(0, vmConfig("a")), guest = new Guest(), random = new Random(`${seed}`);
  const options = { pages: SAMPLE, periodNs: PERIOD_NS, slowGain: 0.25, fastGain: 0.75 };
  const sampler = new ActivitySampler(options, guest, (_, bound) => random.below(bound));
  sampler.add(vm);
  const estimates: (number | undefined)[] = [];
  /** So many periods with a part of memory in use; the estimate at the end of each. */
  const run = (fraction: number, periods: number) => {
    guest.activePages = Math.round(fraction * PAGES);
    for (let i = 0; i < periods; i++) {
      guest.use();
      vm.clock.pass(PERIOD_NS);
      sampler.look(vm);
      estimates.push(sampler.fractionOf(vm));
    }
    return estimates.slice(-periods);
  };
  return { vm, guest, sampler, run };
}

Deno.test("nothing is known before the first period has ended", () => {
  const { vm, guest, sampler, run } = sampling(1);
  assertEquals(sampler.fractionOf(vm), undefined);
  guest.activePages = PAGES;
  guest.use();
  assertEquals(sampler.fractionOf(vm), undefined);
  assertEquals(run(1, 1), [1]);
  assertEquals(run(1, 3), [1, 1, 1]);
});

for (const fraction of [0, 0.1, 0.5, 0.9]) {
  Deno.test(`of ${fraction * 100} % in use the estimate is right within its sampling error, over twenty seeds`, () => {
    const means = Array.from({ length: 20 }, (_, seed) => {
      const found = sampling(seed).run(fraction, 20).slice(5) as number[];
      return found.reduce((sum, value) => sum + value, 0) / found.length;
    });
    const mean = means.reduce((sum, value) => sum + value, 0) / means.length;
    // The largest of three averages is biased upward, by about an error of the fast one.
    const error = Math.sqrt((fraction * (1 - fraction)) / SAMPLE);
    assert(mean >= fraction - error && mean <= fraction + 2 * error, `${mean} of ${fraction}`);
  });
}

Deno.test("the estimate follows growth within the period, and decline by a quarter a period", () => {
  const { vm, guest, sampler, run } = sampling(1);
  run(0.1, 12);
  const before = sampler.fractionOf(vm) ?? 0;
  // Growth shows before the period ends, by three quarters at once.
  guest.activePages = 0.9 * PAGES;
  guest.use();
  assertGreater(sampler.fractionOf(vm) ?? 0, before + 0.8 * 0.75 * 0.8);
  const [first] = run(0.9, 1) as number[];
  assertGreater(first, 0.1 + 0.8 * 0.7);
  run(0.9, 12);
  const decline = run(0.1, 12) as number[];
  const periodsUntil = (part: number) => decline.findIndex((value) => value <= 0.1 + 0.8 * part) + 1;
  // (3/4)^k: half of the way in 2.4 periods, nine tenths in 8.
  assert(periodsUntil(0.5) >= 2 && periodsUntil(0.5) <= 4, decline.join());
  assert(periodsUntil(0.15) >= 5 && periodsUntil(0.15) <= 12, decline.join());
});

Deno.test("a period costs a VM no more minor faults than there are pages in a sample", () => {
  const { guest, run } = sampling(1);
  run(1, 1);
  for (let period = 0; period < 10; period++) {
    const before = guest.faults;
    run(1, 1);
    assertLessOrEqual(guest.faults - before, SAMPLE);
  }
});
