// When an instruction whose runs of accesses are looked up in vain is to begin none.

import { assertEquals } from "@std/assert";
import { MOST_VAIN, VainRuns, WINDOW_STEPS } from "../../../plugins/bt/vain_runs.ts";

const EIP = 0xc0100000 | 0;

Deno.test("an instruction whose runs are in vain again and again stands alone, and no other does", () => {
  const runs = new VainRuns();
  for (let i = 1; i < MOST_VAIN; i++) assertEquals([runs.note(EIP, 0), runs.isLone(EIP)], [false, false]);
  assertEquals([runs.note(EIP, 0), runs.isLone(EIP), runs.isLone(EIP + 1)], [true, true, false]);
});

Deno.test("one whose runs are seldom in vain goes on with them", () => {
  const runs = new VainRuns();
  for (let i = 0; i < 20 * MOST_VAIN; i++) assertEquals(runs.note(EIP, i * WINDOW_STEPS / (MOST_VAIN / 2)), false);
});
