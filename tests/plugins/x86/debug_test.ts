// Debug registers against Bochs: the cases of tests/oracle/modes/debug.ts.

import { assertEquals } from "@std/assert";
import { differences } from "../../oracle/modes/check.ts";

Deno.test("breakpoints, single steps and general detect print what Bochs prints, or what the manual says", async () => {
  assertEquals(await differences("debug"), "");
});
