// Pacing: computing is never held up, idling takes as long as on a wall clock. The wall clock here is a number.

import { assertEquals } from "@std/assert";
import { Pace } from "../../cli/pace.ts";
import { createHost } from "../../cli/machine.ts";

/** Host time in ms that passes, of which the guests were busy, wall time it took, and the wait that is expected. */
const cases: readonly {
  readonly what: string;
  readonly hostMs: number;
  readonly busyMs: number;
  readonly tookMs: number;
  readonly waitMs: number;
}[] = [
  { what: "idle time that was simulated at once is waited for whole", hostMs: 100, busyMs: 0, tookMs: 0, waitMs: 100 },
  {
    what: "what the simulation of idle time took is no longer waited for",
    hostMs: 100,
    busyMs: 0,
    tookMs: 30,
    waitMs: 70,
  },
  { what: "busy time is not waited for, however fast it went", hostMs: 100, busyMs: 100, tookMs: 1, waitMs: 0 },
  { what: "of mixed time the idle part is waited for", hostMs: 100, busyMs: 60, tookMs: 0, waitMs: 40 },
  { what: "waits too short for a timer are left for later", hostMs: 1, busyMs: 0, tookMs: 0, waitMs: 0 },
];

for (const { what, hostMs, busyMs, tookMs, waitMs } of cases) {
  Deno.test(what, async () => {
    let wallMs = 1000, waitedMs = 0;
    const { clock, vms } = createHost();
    const pace = new Pace({ clock, vms: [...vms, { cpuNs: 0 } as typeof vms[number]] }, () => wallMs);
    clock.nowNs += hostMs * 1e6;
    pace.host.vms[0].cpuNs += busyMs * 1e6;
    wallMs += tookMs;
    await pace.catchUp((ms) => {
      waitedMs += ms;
      wallMs += ms;
      return Promise.resolve();
    });
    assertEquals(Math.round(waitedMs), waitMs);
  });
}

Deno.test("short idle times add up until they can be waited for", async () => {
  let wallMs = 0, waitedMs = 0;
  const { clock, vms } = createHost();
  const pace = new Pace({ clock, vms }, () => wallMs);
  for (let i = 0; i < 10; i++) {
    clock.nowNs += 1e6;
    await pace.catchUp((ms) => {
      waitedMs += ms;
      wallMs += ms;
      return Promise.resolve();
    });
  }
  assertEquals(Math.round(waitedMs), 10);
});
