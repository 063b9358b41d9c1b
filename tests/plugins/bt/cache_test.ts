// The translation cache: what it holds at the most, in which order it evicts, that nothing leads to what has gone, and that a
// guest which keeps writing new code makes nothing grow.

import { assert, assertEquals } from "@std/assert";
import { addVm, createHost } from "../../../cli/machine.ts";
import { definePlugin, type Host, type Vm } from "../../../core/mod.ts";
import * as console from "../../../plugins/console/mod.ts";
import bt from "../../../plugins/bt/mod.ts";
import { type Fragment, TranslationCache } from "../../../plugins/bt/cache.ts";
import { ExitSites } from "../../../plugins/bt/emit/exit_sites.ts";
import type { ExitSite } from "../../../plugins/bt/emit/exits.ts";
import { Translator } from "../../../plugins/bt/engine.ts";
import * as L from "../../../plugins/bt/layout.ts";
import { MOST_ALIASES } from "../../../plugins/bt/page_entries.ts";
import { TranslatorStatistics } from "../../../plugins/bt/statistics.ts";
import { findRegion } from "../../../plugins/bt/units.ts";
import { engine, interpreter } from "../../../plugins/x86/mod.ts";
import { rewriterChecksum } from "../../guests/expected_output.ts";

const KIB = 1024, PAGE = 4096, LINE = 64;
const FRAME = 3, LINEAR_PAGE = 0xc0001000 | 0;
/** CPL 0 and CPL 3. */
const MODE = 7, OTHER_MODE = MODE | L.MODE_USER;

/** Code of one instruction in each line of a frame: RET. */
const code = new Uint8Array((FRAME + 1) * PAGE).fill(0xc3);

const SITE: ExitSite = { eip: 0, incomplete: 0, status: 1, flags: { kind: "any", bits: 32, result: 0, a: 0, b: 0 } };

/** A cache with nothing in it, and a way to put regions of one unit into it. */
function emptyCache(mostBytes: number) {
  const words = new Int32Array(L.HYPERVISOR_BYTES / 4);
  const sites = new ExitSites();
  const statistics = new TranslatorStatistics(12);
  const cache = new TranslationCache(words, sites, mostBytes, statistics);
  /** Installs a region at an offset of the frame, as the translator does, and notes it in the jump cache. */
  const add = (offset: number, emittedBytes: number, { mode = MODE, linearPage = LINEAR_PAGE, mpn = FRAME } = {}) => {
    const region = findRegion({ bytes: code, mpn, offsets: [offset], limits: { cap: 12, units: 1 } });
    const slot = cache.takeSlot();
    sites.add(SITE);
    const spans = region.units.map(({ offset, end }) => ({ mpn, eip: linearPage | offset, bytes: end - offset }));
    cache.makeRoom(emittedBytes);
    const taken = sites.takeAdded();
    const fragment: Fragment = {
      ...{ mode, slot, spans, entries: [0], exits: new Set<number>(), generation: 0, seenEntries: 0 },
      ...{ emittedBytes, sites: taken, vmIds: [1] },
    };
    const entry = cache.install(fragment, region);
    words.set([linearPage | offset, mode, mpn, entry.word], jumpWord(offset, linearPage));
    return entry;
  };
  const find = (offset: number, mode = MODE) => cache.find(FRAME, LINEAR_PAGE | offset, mode);
  return { cache, words, sites, statistics, add, find };
}

/** Index of the jump cache's words for an offset. */
function jumpWord(offset: number, linearPage = LINEAR_PAGE): number {
  return (L.JUMP_CACHE + L.jumpCacheIndex(linearPage | offset) * 16) >> 2;
}

Deno.test("a full cache evicts the oldest regions, as many as the new one needs room", () => {
  const { cache, statistics, add, find } = emptyCache(1000);
  for (const offset of [0, 64, 128, 192]) add(offset, 250);
  assertEquals(statistics.evicted, 0);
  add(256, 300);
  assertEquals([0, 64, 128, 192, 256].map((offset) => find(offset) !== undefined), [false, false, true, true, true]);
  assertEquals(statistics.evicted, 2);
  assertEquals(cache.counts, { regions: 3, emittedBytes: 800, pages: 1, slots: 5, entries: 0 });
});

Deno.test("a region that is larger than the cache has it to itself", () => {
  const { cache, add, find } = emptyCache(1000);
  add(0, 400);
  add(64, 5000);
  assertEquals(cache.counts.regions, 1);
  assert(find(64) !== undefined);
  add(0, 400);
  assertEquals(cache.counts, { regions: 1, emittedBytes: 400, pages: 1, slots: 2, entries: 0 });
});

Deno.test("slots and numbers of exits are used again once their region has gone", () => {
  const { cache, sites, add } = emptyCache(1000);
  for (let i = 0; i < 1000; i++) add((i % LINE) * LINE, 100, { mode: i % 3 === 0 ? MODE : OTHER_MODE });
  assertEquals(cache.counts, { regions: 10, emittedBytes: 1000, pages: 1, slots: 11, entries: 0 });
  assertEquals([sites.count, sites.inUse], [11, 10]);
});

Deno.test("a region that has gone leaves nothing that leads to it, and what shares its page stays", () => {
  const { cache, words, add, find } = emptyCache(10_000);
  const [first, second] = [add(0, 100), add(64, 100)];
  assertEquals(cache.forgetLines(FRAME, 0, 0), 1);
  assertEquals([find(0), find(64)], [undefined, second]);
  assertEquals([...words.subarray(jumpWord(0), jumpWord(0) + 4)], [-1, -1, -1, -1]);
  assertEquals(words[jumpWord(64) + 3], second.word);
  assertEquals(cache.table.get(first.fragment.slot), null);
  const lines: [number, number] = [0, 0];
  cache.addLines(FRAME, lines);
  assertEquals(lines, [0b10, 0]);
  cache.forgetLines(FRAME, 0, 63);
  assertEquals(cache.counts, { regions: 0, emittedBytes: 0, pages: 0, slots: 2, entries: 0 });
});

Deno.test("a region does not answer for its frame at another linear page, and gives way where there are too many", () => {
  const { cache, statistics, add, find } = emptyCache(10_000);
  const first = add(0, 100);
  const elsewhere = (page: number) => LINEAR_PAGE + page * PAGE;
  assertEquals(cache.find(FRAME, elsewhere(1), MODE), undefined);
  assertEquals(find(0, OTHER_MODE), undefined);
  const second = add(0, 100, { linearPage: elsewhere(1) });
  assertEquals([find(0), cache.find(FRAME, elsewhere(1), MODE)], [first, second]);
  for (let page = 2; page < MOST_ALIASES; page++) add(0, 100, { linearPage: elsewhere(page) });
  assertEquals([find(0), cache.counts.regions, statistics.evicted], [first, MOST_ALIASES, 0]);
  add(0, 100, { linearPage: elsewhere(MOST_ALIASES) });
  assertEquals([find(0), cache.counts.regions, statistics.evicted], [undefined, MOST_ALIASES, 1]);
  assertEquals(cache.find(FRAME, elsewhere(1), MODE), second);
});

/** Regions of one instruction each at linear addresses, the frame of each the next one. */
function regionsAt(cache: TranslationCache, eips: readonly number[]) {
  const region = findRegion({ bytes: code, mpn: FRAME, offsets: [0], limits: { cap: 12, units: 1 } });
  return eips.map((eip, lap) => {
    const fragment: Fragment = {
      ...{ mode: MODE, slot: cache.takeSlot(), spans: [{ mpn: FRAME + lap, eip, bytes: 1 }], entries: [0] },
      ...{ exits: new Set<number>(), generation: 0, seenEntries: 0, emittedBytes: 100, sites: [], vmIds: [1] },
    };
    return cache.install(fragment, region);
  });
}

Deno.test("what loses its place in the jump cache lies beside it, and goes with its region", () => {
  const { cache, words } = emptyCache(10_000);
  // What differs above the bits that the index comes from.
  const eips = [0, 1, 2].map((lap) => (LINEAR_PAGE + lap * (L.JUMP_CACHE_ENTRIES << 12)) | 0);
  const [first, second, third] = regionsAt(cache, eips);
  assertEquals(new Set(eips.map(L.jumpCacheIndex)).size, 1);
  const known = () => [first, second, third].map(({ eip }, lap) => cache.jump(eip, MODE, FRAME + lap));
  cache.noteJump(first, MODE, FRAME);
  cache.noteJump(second, MODE, FRAME + 1);
  assertEquals(known(), [first.word, second.word, -1]);
  cache.noteJump(third, MODE, FRAME + 2);
  assertEquals(known(), [-1, second.word, third.word]);
  cache.forget(second.fragment);
  assertEquals(known(), [-1, -1, third.word]);
  cache.forget(third.fragment);
  assertEquals(words.subarray(L.JUMP_CACHE >> 2, L.ENTRIES >> 2).every((word) => word === -1), true);
});

Deno.test("cold code is told at which addresses regions are entered, until they have gone", () => {
  const { cache, words, add } = emptyCache(10_000);
  const counts = new Uint16Array(words.buffer, L.TRANSLATED, L.TRANSLATED_PLACES);
  const place = (offset: number) => L.counterIndex(FRAME * PAGE | offset) & (L.TRANSLATED_PLACES - 1);
  const entered = () => [0, 64, 128].map((offset) => counts[place(offset)]);
  const [first] = [add(0, 100), add(0, 100, { mode: OTHER_MODE }), add(64, 100)];
  assertEquals(entered(), [2, 1, 0]);
  cache.forget(first.fragment);
  cache.forget(first.fragment);
  assertEquals(entered(), [1, 1, 0]);
  cache.forgetLines(FRAME, 0, 63);
  assert(counts.every((count) => count === 0));
});

Deno.test("two whose places in the jump cache lie side by side do not drive each other out", () => {
  const { cache } = emptyCache(10_000);
  const eips = [LINEAR_PAGE, LINEAR_PAGE + (L.JUMP_CACHE_ENTRIES << 12) + 1].map((eip) => eip | 0);
  const [first, second] = regionsAt(cache, eips);
  assertEquals(L.jumpCacheIndex(first.eip) ^ L.jumpCacheIndex(second.eip), 1);
  for (let round = 0; round < 2; round++) {
    cache.noteJump(first, MODE, FRAME);
    cache.noteJump(second, MODE, FRAME + 1);
    assertEquals([cache.jump(first.eip, MODE, FRAME), cache.jump(second.eip, MODE, FRAME + 1)], [
      first.word,
      second.word,
    ]);
  }
});

/** A host whose one guest writes and runs routines, all of them translated. */
function rewriting(rewrites: number, places: number, cacheKib: number): { host: Host; vm: Vm; text: () => string } {
  let text = "";
  const listener = definePlugin({
    name: "listener",
    requires: ["console"],
    setup: ({ on }) => void on(console.output, ({ byte }) => void (text += String.fromCharCode(byte))),
  });
  const plugins = [{ plugin: bt, options: { threshold: 0, cacheKib } }, listener];
  const host = createHost({ memoryMib: 32, quantumNs: 50_000, plugins });
  const vm = addVm(host, { guest: { use: "rewriter", options: { rewrites, places, calls: 2 } } });
  return { host, vm, text: () => text };
}

function translatorOf(host: Host): Translator {
  const inForce = host.service(engine);
  assert(inForce instanceof Translator);
  return inForce;
}

Deno.test("a guest with more code than the cache holds runs right, and the cache keeps to its size", async () => {
  const rewrites = 1200, cacheKib = 128;
  const { host, vm, text } = rewriting(rewrites, 600, cacheKib);
  const { cache, statistics } = translatorOf(host);
  let mostBytes = 0;
  await host.run({
    stop: () => {
      mostBytes = Math.max(mostBytes, cache.counts.emittedBytes);
      return vm.state === "exited";
    },
  });
  const checksum = rewriterChecksum(rewrites, 2).toString(16).padStart(8, "0");
  assertEquals(text(), `rewriter: ${rewrites} routines written, checksum ${checksum}\n`);
  assert(mostBytes > cacheKib * KIB / 2 && mostBytes <= cacheKib * KIB, `${mostBytes} bytes`);
  assert(statistics.evicted > 500, `${statistics.evicted} regions evicted`);
});

Deno.test("a guest that keeps writing new code makes nothing grow", async () => {
  const rewrites = 3000, places = 100;
  const { host, vm } = rewriting(rewrites, places, 16 * KIB);
  const { cache, statistics, sites } = translatorOf(host);
  const { blocks } = host.service(interpreter);
  const counts = () => {
    const { slots, pages, regions } = cache.counts;
    return { slots, pages, regions, sites: sites.count, blocks: blocks.decoded - blocks.invalidations };
  };
  /** The most of each, while so many regions were translated. */
  const mostUntil = async (regions: number) => {
    const most = counts();
    await host.run({
      stop: () => {
        for (const [name, count] of Object.entries(counts())) {
          most[name as keyof typeof most] = Math.max(most[name as keyof typeof most], count);
        }
        return statistics.regions >= regions || vm.state === "exited";
      },
    });
    return most;
  };
  const first = await mostUntil(rewrites / 4);
  // Nearly to the end, whose code would be new.
  const later = await mostUntil(rewrites * 0.95);
  assert(first.regions >= places, `${first.regions} regions at once`);
  assertEquals([statistics.evicted, vm.state === "exited"], [0, false]);
  // Translating a longer piece of the program itself may add some; each of thousands of routines must not.
  for (const [name, count] of Object.entries(later)) {
    const before = first[name as keyof typeof first];
    const growth = count - before;
    assert(growth < rewrites / 15, `${name}: ${before} at the most in the first quarter, ${count} later`);
  }
});
