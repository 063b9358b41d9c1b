// Input that waits before the guest can take it: not a byte of it is lost, from the first on, and it arrives in order.

import { createHash } from "node:crypto";
import { assertEquals, assertStringIncludes } from "@std/assert";
import { restoreAt, type Waypoint } from "./boot.ts";
import { linuxTest } from "./prepared.ts";

/** Lines of piped input. */
const LINES = 500;
/** Ctrl-D at the start of a line: the end of a terminal's input. */
const END_OF_INPUT = "\x04";

const numbered = Array.from({ length: LINES }, (_, i) => `line ${i + 1} of ${LINES}\n`).join("");

const starts: readonly [when: string, at: Waypoint][] = [
  ["before the driver of the serial port", "consoleUp"],
  ["before the first process", "init"],
];
for (const [when, at] of starts) {
  linuxTest(`${LINES} lines that were piped in ${when} arrive whole and in order`, async (linux) => {
    const machine = await restoreAt(linux, at);
    // The results come from the last line: the echo of what is typed ahead would stand in their midst.
    const last = "echo `wc -lc < /tmp/lines` `sha256sum < /tmp/lines`; poweroff -f";
    machine.type(`cat > /tmp/lines\n${numbered}${END_OF_INPUT}${last}\n`);
    await machine.runToEnd();
    assertEquals(machine.vm.exit?.status, 0);
    const digest = createHash("sha256").update(numbered).digest("hex");
    assertStringIncludes(machine.text, `\n${LINES} ${numbered.length} ${digest} -\n`);
    assertEquals(machine.text.match(/overrun/), null);
    machine.audit();
  });
}
