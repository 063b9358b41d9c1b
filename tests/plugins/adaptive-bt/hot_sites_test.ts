// The policy of adaptive translation by itself: when an instruction is adapted, when it is given back, and how often at most.

import { assert, assertEquals } from "@std/assert";
import { HotSites } from "../../../plugins/adaptive-bt/hot_sites.ts";
import type { AdaptedSite, Sites, SiteTrap } from "../../../plugins/bt/mod.ts";

const options = { threshold: 10, innocentAfter: 100, mostAdaptations: 4 };
const EIP = 0xc010_0000 | 0;

/** Sites that take note of what is asked of them; `use` is what the test says. */
class FakeSites implements Sites {
  readonly calls: string[] = [];
  readonly counts = { handled: 0, innocent: 0 };

  constructor(readonly canAdapt = true) {}
  adapt({ eip, cause }: SiteTrap): AdaptedSite | undefined {
    this.calls.push(this.canAdapt ? "adapt" : "refuse");
    this.counts.handled = this.counts.innocent = 0;
    return this.canAdapt ? { eip, cause, isWrite: true, index: 0 } : undefined;
  }
  restore(): void {
    this.calls.push("restore");
  }
  use() {
    return { ...this.counts };
  }
}

function fixture(canAdapt = true) {
  const fake = new FakeSites(canAdapt), told: string[] = [];
  const hot = new HotSites(fake, options, ({ state }) => void told.push(state));
  // A policy looks at no processor.
  const trap = { eip: EIP, cause: "page-table" } as SiteTrap;
  const traps = (count: number) => {
    for (let i = 0; i < count; i++) hot.trapped(trap);
  };
  return { fake, hot, told, traps };
}

Deno.test("an instruction is innocent until it has trapped as often as the threshold says", () => {
  const { fake, hot, told, traps } = fixture();
  traps(9);
  assertEquals([fake.calls, hot.list()[0].state], [[], "innocent"]);
  traps(1);
  assertEquals([fake.calls, told, hot.list()[0].state], [["adapt"], ["guilty"], "guilty"]);
  traps(50);
  assertEquals(fake.calls, ["adapt"]);
});

Deno.test("an instruction without another form is asked for once, and counted on", () => {
  const { fake, hot, traps } = fixture(false);
  traps(30);
  assertEquals([fake.calls, hot.list()[0].state, hot.list()[0].traps], [["refuse"], "common", 30]);
});

Deno.test("an adapted instruction that still does what it was adapted for stays so", () => {
  const { fake, hot, traps } = fixture();
  traps(10);
  for (let i = 0; i < 100; i++) {
    fake.counts.innocent += 1000;
    fake.counts.handled += 100;
    hot.review();
  }
  assertEquals(fake.calls, ["adapt"]);
  assertEquals(hot.list()[0].saved, 10_000);
});

Deno.test("one that turns innocent gets its common form back, later each time", () => {
  const { fake, hot, traps } = fixture();
  for (const needed of [100, 400, 1600]) {
    traps(10);
    fake.counts.handled = 5;
    hot.review();
    fake.counts.innocent = needed - 1;
    hot.review();
    assertEquals(fake.calls.at(-1), "adapt");
    fake.counts.innocent = needed;
    hot.review();
    assertEquals(fake.calls.at(-1), "restore");
  }
  const [{ adaptations, restorations, saved, state }] = hot.list();
  assertEquals([adaptations, restorations, saved, state], [3, 3, 15, "innocent"]);
});

Deno.test("one that swings for ever is adapted a bounded number of times, and stays adapted", () => {
  const { fake, hot, traps } = fixture();
  for (let swing = 0; swing < 1000; swing++) {
    traps(10);
    for (let i = 0; i < 100; i++) {
      fake.counts.innocent += 1_000_000;
      hot.review();
    }
  }
  assertEquals(fake.calls.filter((call) => call === "adapt").length, options.mostAdaptations);
  assertEquals(hot.list()[0].state, "guilty");
});

Deno.test("a guest that makes ever new instructions trap cannot make the list grow without bound", () => {
  const hot = new HotSites(new FakeSites(), options, () => {});
  for (let eip = 0; eip < 10_000; eip++) hot.trapped({ eip, cause: "device" } as SiteTrap);
  assert(hot.list().length <= 4096);
});
