// Alignment checks against Bochs: the cases of tests/oracle/modes/alignment.ts.

import { assertEquals } from "@std/assert";
import { differences } from "../../oracle/modes/check.ts";

Deno.test("alignment checks print what Bochs prints, or what the manual says", async () => {
  assertEquals(await differences("alignment"), "");
});
