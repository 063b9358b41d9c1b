// The hasher: the same values give the same digest, and any difference gives another.

import { assertEquals, assertMatch } from "@std/assert";
import fc from "fast-check";
import { Hasher, isStateOwner, type Saved } from "../../core/mod.ts";

const digest = (feed: (hasher: Hasher) => void) => {
  const hasher = new Hasher();
  feed(hasher);
  return hasher.digest();
};
const digestOf = (value: Saved) => digest((hasher) => hasher.saved(value));

Deno.test("a digest is 16 hexadecimal digits, and asking for it changes nothing", () => {
  const hasher = new Hasher();
  assertMatch(hasher.digest(), /^[0-9a-f]{16}$/);
  hasher.word(1);
  assertEquals(hasher.digest(), hasher.digest());
});

Deno.test("values that differ have different digests", () => {
  const values: Saved[] = [
    null,
    false,
    true,
    2,
    -2,
    0.5,
    0.25,
    Infinity,
    -Infinity,
    NaN,
    2 ** 32,
    2 ** 32 + 1,
    2 ** 53 - 1,
    "",
    "a",
    "b",
    "aa",
    [],
    [[]],
    [0],
    [0, 0],
    [[0], 0],
    [0, [0]],
    { a: 1 },
    { b: 1 },
    { a: 2 },
    { a: 1, b: 1 },
    Uint8Array.of(1),
    Uint8Array.of(1, 0),
    Uint8Array.of(1, 2, 3, 4, 5),
    Uint8Array.of(1, 2, 3, 4, 6),
    Int32Array.of(1),
    Int32Array.of(2),
    Int32Array.of(1, 0),
  ];
  const byDigest = new Map<string, Saved>();
  for (const value of values) {
    const key = digestOf(value);
    assertEquals(
      byDigest.has(key),
      false,
      `${Deno.inspect(value)} has the digest of ${Deno.inspect(byDigest.get(key))}`,
    );
    byDigest.set(key, value);
  }
});

Deno.test("equal values have equal digests, and one changed word changes both halves", () => {
  const words = fc.array(fc.integer(), { minLength: 1, maxLength: 40 });
  fc.assert(fc.property(words, fc.nat(), fc.integer({ min: 1 }), (values, at, change) => {
    const other = Int32Array.from(values);
    other[at % values.length] ^= change;
    const [one, same, another] = [Int32Array.from(values), Int32Array.from(values), other].map(digestOf);
    assertEquals(one, same);
    assertEquals(one.slice(0, 8) === another.slice(0, 8) && one.slice(8) === another.slice(8), false);
  }));
});

Deno.test("the order of values matters, and bytes are read the same at any alignment", () => {
  assertEquals(digest((h) => (h.word(1), h.word(2))) === digest((h) => (h.word(2), h.word(1))), false);
  const bytes = Uint8Array.from({ length: 64 }, (_, i) => i * 3);
  const shifted = new Uint8Array(70).subarray(3, 67);
  shifted.set(bytes);
  assertEquals(digest((h) => h.bytes(bytes)), digest((h) => h.bytes(shifted)));
});

Deno.test("a hundred thousand small states have distinct digests", () => {
  const seen = new Set<string>();
  for (let i = 0; i < 100_000; i++) seen.add(digest((hasher) => (hasher.word(i & 0xff), hasher.word(i >>> 8))));
  assertEquals(seen.size, 100_000);
});

Deno.test("an owner of state is known by its functions", () => {
  assertEquals(isStateOwner({ save: () => 1, restore: () => {} }), true);
  for (const other of [null, 5, {}, { save: () => 1 }]) assertEquals(isStateOwner(other), false);
});
