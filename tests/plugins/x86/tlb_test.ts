// The TLB against a plain map: what is in it after fills and flushes of every kind, and that its host half goes with it.

import { assert, assertEquals } from "@std/assert";
import { Random } from "../../../core/mod.ts";
import { KeptEntries } from "../../../plugins/x86/kept_entries.ts";
import { Right, Tlb } from "../../../plugins/x86/tlb.ts";

const ENTRIES = 64, PAGE = 4096, LARGE_MASK = 0xffe00000 | 0, HUGE_MASK = 0xffc00000 | 0;
const NO_TAG = 1;

interface Kept {
  readonly page: number;
  readonly ppn: number;
  readonly rights: number;
}

/** A linear address of few pages, so that they meet, in several large pages. */
function somewhere(random: Random): number {
  return ((random.below(4) << 22) | (random.below(2) << 21) | (random.below(3) * ENTRIES + random.below(8)) * PAGE) | 0;
}

function contents(tlb: Tlb): Kept[] {
  return (tlb.save() as number[][]).map(([, page, ppn, rights]) => ({ page, ppn, rights }));
}

/** Pages for which the fast path of a bank has an entry. */
function fastPages(tlb: Tlb, bank: number): number[] {
  const tags = Array.from({ length: ENTRIES }, (_, index) => tlb.host[bank + index * 4]);
  return tags.filter((tag) => tag !== NO_TAG).toSorted((a, b) => a - b);
}

Deno.test("after any fills and flushes the TLB holds what a plain map of its entries holds", () => {
  for (let seed = 1; seed <= 20; seed++) {
    const random = new Random(`${seed}`), tlb = new Tlb(ENTRIES);
    let model = new Map<number, Kept>();
    const keep = (holds: (kept: Kept) => boolean) => {
      model = new Map([...model].filter(([, kept]) => holds(kept)));
    };
    const isGlobal = ({ rights }: Kept) => (rights & Right.global) !== 0;
    let elsewhere: Int32Array | undefined;
    /** Entries whose host halves are filled if they are there. */
    const hosted = new Set<number>();
    for (let i = 0; i < 3000; i++) {
      const linear = somewhere(random), page = linear & ~(PAGE - 1), index = tlb.index(linear);
      switch (random.below(12)) {
        case 0:
          tlb.flush(true);
          keep(isGlobal);
          break;
        case 1:
          if (random.below(4) > 0) break;
          tlb.flush(false);
          model.clear();
          break;
        case 2: {
          const mask = random.below(2) === 0 ? LARGE_MASK : HUGE_MASK;
          tlb.flushPage(linear, mask);
          keep((kept) => ((kept.page ^ linear) & (kept.rights & Right.large ? mask : ~(PAGE - 1))) !== 0);
          break;
        }
        case 3:
          assertEquals(tlb.drop(linear), model.get(index)?.page === page && !isGlobal(model.get(index) as Kept));
          keep((kept) => kept.page !== page || isGlobal(kept));
          break;
        case 4: {
          const before = model.size;
          keep((kept) => isGlobal(kept) || ((kept.page ^ linear) & HUGE_MASK) !== 0);
          assertEquals(tlb.dropRange(linear, HUGE_MASK), before - model.size);
          break;
        }
        case 5: {
          const target = new KeptEntries(ENTRIES), others = [...model].filter(([, kept]) => !isGlobal(kept));
          tlb.moveOut(target);
          keep(isGlobal);
          assertEquals(target.count, others.length);
          for (const [at, { page, ppn }] of others) assertEquals([target.page[at], target.ppn[at]], [page, ppn]);
          break;
        }
        case 6:
          // Home, or to where an engine wants it.
          tlb.moveHostTo(elsewhere = elsewhere === undefined ? new Int32Array(ENTRIES * 8).fill(NO_TAG) : undefined);
          hosted.clear();
          break;
        default: {
          const rights = random.below(32), ppn = random.below(1 << 15);
          tlb.fill(index, linear, ppn, rights);
          tlb.fillHost(index, 0, ppn + 1, true);
          if (rights & Right.user) tlb.fillHost(index, tlb.userBank, ppn + 1, false);
          model.set(index, { page, ppn, rights });
          hosted.add(index);
        }
      }
      if (i % 16 !== 0) continue;
      const inOrder = [...model].toSorted(([a], [b]) => a - b).map(([, kept]) => kept);
      assertEquals(contents(tlb), inOrder, `seed ${seed}, step ${i}`);
      const fast = inOrder.filter(({ page }) => hosted.has(tlb.index(page)));
      assertEquals(fastPages(tlb, 0), fast.map(({ page }) => page).toSorted((a, b) => a - b));
      const ofUser = fast.filter(({ rights }) => rights & Right.user).map(({ page }) => page);
      assertEquals(fastPages(tlb, tlb.userBank), ofUser.toSorted((a, b) => a - b));
    }
  }
});

Deno.test("the revision tells whenever the fast path of a bank has lost something, or has another frame", () => {
  for (let seed = 1; seed <= 20; seed++) {
    const random = new Random(`${seed}`), tlb = new Tlb(ENTRIES);
    for (let i = 0; i < 2000; i++) {
      const linear = somewhere(random), index = tlb.index(linear), before = tlb.host.slice(), { revision } = tlb;
      const ppn = random.below(8);
      switch (random.below(10)) {
        case 0:
          tlb.flush(random.below(2) === 0);
          break;
        case 1:
          tlb.flushPage(linear, LARGE_MASK);
          break;
        case 2:
          tlb.drop(linear);
          break;
        case 3:
          tlb.dropPpn(ppn);
          break;
        case 4:
          tlb.dropWriteTags(ppn + 1);
          break;
        case 5:
          tlb.dropWriteTagsOfPpn(ppn);
          break;
        case 6:
          if (random.below(8) === 0) tlb.dropHostHalves();
          break;
        case 7:
          if (!tlb.isEmpty(index)) tlb.fillHost(index, 0, random.below(8) + 1, random.below(2) === 0);
          break;
        default:
          tlb.fill(index, linear, ppn, random.below(32));
          for (const bank of [0, tlb.userBank]) tlb.fillHost(index, bank, ppn + 1, random.below(2) === 0);
      }
      const hasLost = before.some((word, at) => {
        const isTag = at % 4 === 0 || at % 4 === 2;
        return isTag && word !== NO_TAG && (tlb.host[at] !== word || tlb.host[at | 3] !== before[at | 3]);
      });
      if (hasLost) assert(tlb.revision > revision, `seed ${seed}, step ${i}`);
    }
    assert(tlb.revision > 0);
  }
});

Deno.test("a host half that is moved leaves nothing behind, and is empty until it is filled again", () => {
  const tlb = new Tlb(ENTRIES), home = tlb.host, target = new Int32Array(ENTRIES * 8).fill(NO_TAG);
  tlb.fill(3, 3 * PAGE, 9, Right.user | Right.global);
  tlb.fillHost(3, 0, 10, true);
  assertEquals(home[12], 3 * PAGE);
  tlb.moveHostTo(target);
  assertEquals([home[12], target[12], tlb.hits(3, 3 * PAGE)], [NO_TAG, NO_TAG, true]);
  tlb.fillHost(3, 0, 10, true);
  assertEquals([home[12], target[12], target[15]], [NO_TAG, 3 * PAGE, 10]);
  tlb.moveHostTo();
  assertEquals([home[12], target[12], tlb.host === home], [NO_TAG, NO_TAG, true]);
});
