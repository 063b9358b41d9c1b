// The patch of an adapted site (BT paper, 3.3): the translation that holds it is replaced by writing one slot of the function
// table. What leads to it is not touched, and reaches the new one.

import { assert, assertEquals, assertStrictEquals } from "@std/assert";
import { addVm, createHost } from "../../../cli/machine.ts";
import { definePlugin } from "../../../core/mod.ts";
import { findGuest } from "../../../guests/mod.ts";
import type { Fragment } from "../../../plugins/bt/cache.ts";
import { Translator } from "../../../plugins/bt/engine.ts";
import * as bt from "../../../plugins/bt/mod.ts";
import * as L from "../../../plugins/bt/layout.ts";
import * as memory from "../../../plugins/memory/mod.ts";
import * as x86 from "../../../plugins/x86/mod.ts";

/** Steps of the guest before the site is patched, and after. */
const WARM_UP_STEPS = 30_000, STEPS = 30_000;
const GUEST = { use: "oscillator", options: { swings: 1, accesses: 1_000_000, to: "device" } } as const;

/** What is translated: every region, its function, and its entries so far. */
function regionsOf(translator: Translator): Map<Fragment, { code: unknown; entries: number }> {
  const { cache } = translator;
  return new Map([...cache.fragments].map((fragment) => {
    const { slot } = fragment;
    return [fragment, { code: cache.table.get(slot), entries: cache.words[L.entriesWord(slot)] }];
  }));
}

function slotsOf({ cache: { table } }: Translator): unknown[] {
  return Array.from({ length: L.TABLE_SLOTS }, (_, slot) => table.get(slot));
}

for (const regionUnits of [1, 32]) {
  Deno.test(`an adapted site is patched by one slot, with regions of up to ${regionUnits} units: what leads to it stays`, () => {
    const host = createHost({
      memoryMib: 16,
      plugins: [{ use: "bt", options: { threshold: 2, regionUnits, regroupSteps: 0 } }],
    });
    let trap: bt.SiteTrap | undefined;
    const store = findGuest(GUEST.use)?.build(GUEST.options).symbols.get("store");
    host.load({
      plugin: definePlugin({
        name: "watcher",
        requires: ["bt"],
        setup: ({ on }) => void on(bt.siteTrapped, (each) => void (trap = each.eip === store ? each : trap)),
      }),
    });
    const vm = addVm(host, { guest: GUEST, memoryMib: 8 });
    const translator = host.service(x86.engine), sites = host.service(bt.sites);
    assert(translator instanceof Translator);
    host.runTo(vm, WARM_UP_STEPS);
    assert(trap !== undefined && store !== undefined, "the site has not trapped");

    const before = regionsOf(translator), slots = slotsOf(translator);
    const holders = [...before.keys()].filter(({ spans }) =>
      spans.some(({ eip, bytes }) => eip <= store && store < eip + bytes)
    );
    assertEquals(holders.length, 1);
    const [holder] = holders;
    const leading = [...before].filter(([{ exits, spans }]) =>
      spans.every(({ eip }) => eip !== store) && [...exits].some((eip) => holder.spans.some((span) => span.eip === eip))
    );
    assert(leading.length > 0, "nothing leads to the site");

    const site = sites.adapt(trap);
    assert(site !== undefined);
    host.runTo(vm, WARM_UP_STEPS + STEPS);

    const after = regionsOf(translator);
    const written = slotsOf(translator).flatMap((code, slot) => code === slots[slot] ? [] : [slot]);
    assertEquals(written, [holder.slot]);
    assertEquals(after.has(holder), false);
    for (const [fragment, { code }] of before) {
      if (fragment !== holder) assertStrictEquals(after.get(fragment)?.code, code);
    }
    // What leads there runs on as it was, and the site does in place what trapped.
    const calls = leading.filter(([fragment, { entries }]) => (after.get(fragment)?.entries ?? 0) > entries);
    assert(regionUnits > 1 || calls.length > 0, "none of what leads there has run");
    const { handled } = sites.use(site);
    assert(handled > STEPS / 30, `${handled} accesses`);
  });
}

Deno.test("no more sites have a form at once than there is room for, and one that is given back makes room", () => {
  const host = createHost({ memoryMib: 16, plugins: [{ use: "bt", options: { threshold: 2 } }] });
  const vm = addVm(host, { guest: GUEST, memoryMib: 8 });
  host.runTo(vm, WARM_UP_STEPS);
  const processor = host.service(x86.processor)(vm), sites = host.service(bt.sites);
  // Stores one byte apart, in the page that the guest runs in.
  const store = findGuest(GUEST.use)?.build(GUEST.options).symbols.get("store") ?? 0, page = store & -4096;
  const given: bt.AdaptedSite[] = [];
  for (let eip = page; eip < page + 4096; eip++) {
    // MOV [EDI], EAX, wherever it may be looked for.
    host.service(memory.guest)(vm).write(eip, Uint8Array.of(0x89, 0x07));
    const site = sites.adapt({ processor, eip, cause: "device" });
    if (site !== undefined) given.push(site);
  }
  assertEquals(given.length, L.ADAPTED_SITES);
  const again = { processor, eip: given[0].eip, cause: "device" } as const;
  assertEquals(sites.adapt({ ...again, eip: page + 4000 }), undefined);
  sites.restore(given[0]);
  host.service(memory.guest)(vm).write(again.eip, Uint8Array.of(0x89, 0x07));
  assertEquals(sites.adapt(again)?.index, given[0].index);
});
