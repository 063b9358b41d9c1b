// When a page whose code has changed is worth translating again.

import { assertEquals } from "@std/assert";
import { HALF_LIFE_STEPS, Rewrites } from "../../../plugins/bt/rewrites.ts";

const FRAME = 7, OTHER = 8;

Deno.test("each change of a page's code raises its threshold, and no other's", () => {
  const rewrites = new Rewrites();
  assertEquals(rewrites.factor(FRAME, 0), 1);
  rewrites.note(FRAME, 0);
  rewrites.note(FRAME, 0);
  assertEquals([rewrites.factor(FRAME, 0), rewrites.factor(OTHER, 0)], [33, 1]);
  for (let i = 0; i < 1000; i++) rewrites.note(FRAME, 0);
  assertEquals(rewrites.factor(FRAME, 0), 1 + 64 * 16);
});

Deno.test("changes count half after a time without another, and none in the end", () => {
  const rewrites = new Rewrites();
  for (let i = 0; i < 4; i++) rewrites.note(FRAME, 1000);
  const after = (halves: number) => rewrites.factor(FRAME, 1000 + halves * HALF_LIFE_STEPS);
  assertEquals([after(0), after(0.99), after(1), after(2), after(3)], [65, 65, 33, 17, 1]);
});

Deno.test("a page that changes once in a half-life stays near one change", () => {
  const rewrites = new Rewrites();
  for (let i = 0; i < 100; i++) rewrites.note(FRAME, i * HALF_LIFE_STEPS);
  assertEquals(rewrites.factor(FRAME, 99 * HALF_LIFE_STEPS), 17);
});
