// A listener that throws, of each event there is: it is named with its event, wherever the throw comes from, and machine memory
// adds up afterwards. What a VM's turn was in the middle of ends that VM alone (plugin_faults_test.ts says who goes on).

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import type { PluginChoice } from "../../cli/catalogue.ts";
import { addVm, createHost, type VmOptions } from "../../cli/machine.ts";
import { type Host, ListenerError } from "../../core/mod.ts";
import * as memory from "../../plugins/memory/mod.ts";

/** Calls of a listener that go well, so that a throw comes in the middle of things. */
const CALLS_THAT_GO_WELL = 1;
const RUN_NS = 400e6, CHECKPOINT_STEPS = 50_000, HOST_MIB = 20, FIRST = -1000;

/** Short periods, so that all of it happens in the little time there is. */
const plugins: readonly PluginChoice[] = [
  { use: "bt", options: { threshold: 2 } },
  "shadow-mmu",
  { use: "adaptive-bt", options: { threshold: 2 } },
  { use: "allocator", options: { sampleSeconds: 2e-3, rebalanceSeconds: 4e-3 } },
  { use: "swap", options: { inject: "write", injectAfterPages: 200, injectAttempts: 3 } },
  { use: "balloon", options: { maxPercent: 65 } },
  {
    use: "page-sharing",
    options: { scanMinutes: 1e-6, maxRatePagesPerS: 100_000, hostMibPerSPerGhz: 100_000, periodMs: 0.5 },
  },
  "symbols",
  { use: "trace", options: { events: ["exceptions"] } },
];
const vms: readonly VmOptions[] = [
  { guest: { use: "privileged", options: { iterations: 300 } }, memoryMib: 4 },
  { guest: { use: "privileged", options: { iterations: 900 } }, memoryMib: 4 },
  { guest: { use: "oscillator", options: { swings: 2, accesses: 200 } }, memoryMib: 8 },
  { guest: { use: "oscillator", options: { swings: 2, accesses: 200, to: "device" } }, memoryMib: 8 },
  { guest: { use: "balloon", options: { poolMib: 2, workingSetMib: 1, seconds: 1, passMs: 50 } }, memoryMib: 8 },
  { guest: { use: "toucher", options: { schedule: "11:150,1:100,11:100", passMs: 10 } }, memoryMib: 16 },
  { guest: { use: "toucher", options: { schedule: "1:50,11:150", passMs: 10 } }, memoryMib: 16 },
];

/** Events that the scene does not come to, and where a listener of theirs throws. */
const ELSEWHERE: Readonly<Record<string, string>> = {
  "memory.reclaim": "answered before by the allocator",
  "memory.balloonPopped": "in a turn, as memory.mappingChanged",
  "x86.readMsr": "plugin_faults_test.ts",
  "x86.writeMsr": "in a turn, as x86.readMsr",
  "boot.textScreen": "in adding a VM, as core.vmAdmission",
  "allocator.balloon": "as allocator.targets",
};

/** Runs the scene until something fails; returns the error that ended it. */
async function runScene(listen: (host: Host) => void): Promise<{ host: Host; error: unknown }> {
  const host = createHost({ memoryMib: HOST_MIB, quantumNs: 200_000, plugins });
  listen(host);
  const isFailed = () => host.vms.some(({ exit }) => exit?.reason === "failed");
  try {
    for (const vm of vms) addVm(host, vm).checkpointEvery(CHECKPOINT_STEPS);
    await host.run({ untilNs: RUN_NS, stop: isFailed });
  } catch (error) {
    return { host, error };
  }
  return { host, error: undefined };
}

const tokens = createHost({ memoryMib: HOST_MIB, plugins }).bus.tokens().map(({ token }) => token);

for (const token of tokens.filter(({ name }) => !(name in ELSEWHERE))) {
  Deno.test(`a listener of ${token.name} (${token.kind}) that throws is named, and machine memory adds up`, async () => {
    let calls = 0;
    const listener = (value: unknown) => {
      if (++calls > CALLS_THAT_GO_WELL) throw new RangeError("oops");
      return token.kind === "reduce" ? value : undefined;
    };
    const { host, error } = await runScene(({ bus }) => void bus.on(token, "broken", listener, FIRST));
    const failed = host.vms.find(({ exit }) => exit?.reason === "failed")?.exit;
    const named = `plugin "broken" failed in its listener of ${token.name}: oops`;
    if (error === undefined) {
      assertStringIncludes(failed?.detail ?? `no failure in ${calls} calls`, named);
      assertEquals(failed?.status, 70);
    } else {
      assert(error instanceof ListenerError, String(error));
      assertStringIncludes(error.message, named);
    }
    host.service(memory.machine).audit();
  });
}

Deno.test("every event is one that the scene comes to, or says where else its listeners throw", () => {
  const names = tokens.map(({ name }) => name);
  assertEquals(Object.keys(ELSEWHERE).filter((name) => !names.includes(name)), []);
});
