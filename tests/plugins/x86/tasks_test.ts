// Hardware task switches against Bochs: the cases of tests/oracle/modes/tasks.ts.

import { assertEquals } from "@std/assert";
import { differences } from "../../oracle/modes/check.ts";

Deno.test("hardware task switches print what Bochs prints, or what the manual says", async () => {
  assertEquals(await differences("tasks"), "");
});
