// Seeded random numbers: the same for the same key, independent between keys, uniform, saved and restored.

import { assertEquals, assertLess, assertNotEquals, assertThrows } from "@std/assert";
import { Random } from "../../core/mod.ts";

const draw = (random: Random, count: number) => Array.from({ length: count }, () => random.next());

Deno.test("a stream is named by its key alone", () => {
  assertEquals(draw(new Random("1/swap/a"), 50), draw(new Random("1/swap/a"), 50));
  const firsts = ["1/swap/a", "1/swap/b", "2/swap/a", "1/sway/a", "1/swap/", ""].map((key) => new Random(key).next());
  assertEquals(new Set(firsts).size, firsts.length);
});

Deno.test("the streams of ten thousand keys start differently", () => {
  const seen = new Set(Array.from({ length: 10_000 }, (_, i) => draw(new Random(`${i}/x/vm`), 2).join()));
  assertEquals(seen.size, 10_000);
});

Deno.test("numbers are 32 bits wide, with every bit set half of the time", () => {
  const random = new Random("bits"), rounds = 20_000;
  const ones = new Int32Array(32);
  for (let i = 0; i < rounds; i++) {
    const value = random.next();
    assertEquals(value, value >>> 0);
    for (let bit = 0; bit < 32; bit++) ones[bit] += (value >>> bit) & 1;
  }
  // Five standard deviations of a fair coin.
  for (const count of ones) assertLess(Math.abs(count - rounds / 2), 5 * Math.sqrt(rounds / 4));
});

Deno.test("numbers below a bound are uniform", () => {
  for (const bound of [1, 2, 3, 7, 100]) {
    const random = new Random(`bound ${bound}`), rounds = 1000 * bound;
    const counts = new Int32Array(bound);
    for (let i = 0; i < rounds; i++) counts[random.below(bound)]++;
    assertEquals(counts.reduce((sum, n) => sum + n), rounds);
    for (const count of counts) assertLess(Math.abs(count - 1000), 5 * Math.sqrt(1000));
  }
});

Deno.test("a bound far from a power of two has no bias", () => {
  // With the remainder alone, numbers below half of this bound would come up twice as often.
  const random = new Random("bias"), bound = 0xc000_0000, rounds = 30_000;
  let low = 0;
  for (let i = 0; i < rounds; i++) if (random.below(bound) < bound / 3) low++;
  assertLess(Math.abs(low - rounds / 3), 5 * Math.sqrt((rounds * 2) / 9));
});

Deno.test("bounds that no number is below are refused", () => {
  for (const bound of [0, -1, NaN, 2 ** 32 + 1]) {
    assertThrows(() => new Random("x").below(bound), RangeError, `bound ${bound}`);
  }
  assertEquals(new Random("x").below(2 ** 32), new Random("x").next());
});

Deno.test("a restored stream goes on where it was saved", () => {
  const random = new Random("save");
  draw(random, 10);
  const saved = JSON.parse(JSON.stringify(random.save()));
  const next = draw(random, 20);
  const copy = new Random("other");
  assertNotEquals(draw(copy, 1), next.slice(0, 1));
  copy.restore(saved);
  assertEquals(draw(copy, 20), next);
});
