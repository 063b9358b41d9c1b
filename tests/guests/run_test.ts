// Every guest of the catalogue on the base machine prints what it should and halts with interrupts off, which is status 0.

import { assertEquals } from "@std/assert";
import { runVms } from "../../cli/machine.ts";
import { definePlugin } from "../../core/mod.ts";
import * as console from "../../plugins/console/mod.ts";
import { guestRuns } from "./expected_output.ts";

/** A plugin that collects what the guests print. */
function recorder(bytes: number[]) {
  return definePlugin({
    name: "recorder",
    requires: ["console"],
    setup: ({ on }) => void on(console.output, ({ byte }) => void bytes.push(byte)),
  });
}

for (const { guest, options, output } of guestRuns) {
  Deno.test(`guest ${guest} with ${JSON.stringify(options)} prints what it should and halts`, async () => {
    const bytes: number[] = [];
    const { vms } = await runVms([{ guest: { use: guest, options } }], { plugins: [recorder(bytes)] });
    assertEquals(new TextDecoder().decode(Uint8Array.from(bytes)), output);
    assertEquals([vms[0].exit?.reason, vms[0].exit?.status], ["halt", 0]);
  });
}
