// Virtual-8086 mode against Bochs: the cases of tests/oracle/modes/v86.ts.

import { assertEquals } from "@std/assert";
import { differences } from "../../oracle/modes/check.ts";

Deno.test("virtual-8086 mode prints what Bochs prints, or what the manual says", async () => {
  assertEquals(await differences("v86"), "");
});
