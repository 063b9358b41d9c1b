// Law 4, its other half: a guest that does its worst for ever costs the host bounded memory, and others no more of the CPU than
// its share. Host time is modelled, so shares are exact: two VMs that compute beside it do so, to within 5 %, as fast as beside
// one that computes as they do.

import { assert, assertEquals, assertMatch } from "@std/assert";
import type { PluginChoice } from "../../cli/catalogue.ts";
import { addVm, createHost, type GuestChoice } from "../../cli/machine.ts";
import { definePlugin, type Host, turnEnded, type Vm } from "../../core/mod.ts";
import * as console from "../../plugins/console/mod.ts";
import * as memory from "../../plugins/memory/mod.ts";
import * as x86 from "../../plugins/x86/mod.ts";
import { hostileLoops } from "./hostile_loops.ts";

const RUN_NS = 15e6, QUANTUM_NS = 50_000;
const MOST_DEVIATION = 0.05;
const MIB = 1 << 20, LONGEST_LINE = 4096, CACHE_KIB = 256, TABLE_SHARE = 0.005;

const COMPUTING: GuestChoice = { use: "alu", options: { iterations: 2_000_000_000 } };
const SHARING = {
  use: "page-sharing",
  options: { scanMinutes: 1e-6, maxRatePagesPerS: 100_000, hostMibPerSPerGhz: 100_000, periodMs: 0.5 },
};
const ADAPTING = { use: "adaptive-bt", options: { threshold: 5 } }, MOST_SITES = 4096;
const TRANSLATOR = { use: "bt", options: { cacheKib: CACHE_KIB } };

const choices: readonly [name: string, plugins: readonly PluginChoice[]][] = [
  ["the interpreter", []],
  ["the translator", [TRANSLATOR]],
  ["the adapting translator, shadow-mmu and page-sharing", [TRANSLATOR, "shadow-mmu", ADAPTING, SHARING]],
];

interface Outcome {
  readonly host: Host;
  readonly vms: readonly Vm[];
  longestLine: number;
  /** Steps of the longest turn of the third. */
  longestTurn: number;
}

/** Two VMs that compute beside a third, for a while. */
async function runBeside(third: GuestChoice, plugins: readonly PluginChoice[]): Promise<Outcome> {
  const host = createHost({ memoryMib: 24, quantumNs: QUANTUM_NS, plugins });
  const vms = [COMPUTING, third, COMPUTING].map((guest, i) => addVm(host, { name: `vm${i}`, guest, memoryMib: 4 }));
  const outcome = { host, vms, longestLine: 0, longestTurn: 0 };
  host.load({
    plugin: definePlugin({
      name: "lines",
      requires: ["console"],
      setup({ on }) {
        on(turnEnded, ({ vm, steps }) => {
          if (vm === vms[1]) outcome.longestTurn = Math.max(outcome.longestTurn, steps);
        });
        on(console.line, ({ line }) => void (outcome.longestLine = Math.max(outcome.longestLine, line.length)));
      },
    }),
  });
  await host.run({ untilNs: RUN_NS });
  host.service(memory.machine).audit();
  return outcome;
}

const references = new Map<string, number[]>();

/** Steps of the two beside one that computes as well. */
async function reference(name: string, plugins: readonly PluginChoice[]): Promise<number[]> {
  let steps = references.get(name);
  if (steps === undefined) references.set(name, steps = stepsOf(await runBeside(COMPUTING, plugins)));
  return steps;
}

const stepsOf = ({ vms: [first, , last] }: Outcome) => [first.clock.steps, last.clock.steps];

for (const [name, plugins] of choices) {
  for (const [what, image] of Object.entries(hostileLoops)) {
    Deno.test(`a guest that ${what} takes neither CPU nor memory from others, under ${name}`, async () => {
      const expected = await reference(name, plugins),
        outcome = await runBeside({ image }, plugins),
        { host, vms } = outcome;
      assertEquals(vms.map(({ exit }) => exit?.reason), [undefined, undefined, undefined]);
      stepsOf(outcome).forEach((steps, i) => {
        const deviation = Math.abs(steps / expected[i] - 1);
        assert(deviation <= MOST_DEVIATION, `${steps} steps in place of ${expected[i]}: ${deviation}`);
      });
      const share = vms[1].cpuNs / vms.reduce((sum, { cpuNs }) => sum + cpuNs, 0);
      assert(Math.abs(share * 3 - 1) <= MOST_DEVIATION, `the hostile guest had ${share} of the CPU`);
      const { longestTurn } = outcome, quantumSteps = QUANTUM_NS * vms[1].config.cpuMhz / 1000;
      assert(longestTurn > 0 && longestTurn <= quantumSteps, `a turn of ${longestTurn} steps`);
      checkMemory(outcome);
      const { adaptations = 0 } = host.plugins.loaded.get("adaptive-bt")?.stats.snapshot() ?? { adaptations: Infinity };
      if (what === "makes instructions trap") assert(adaptations > 100, `${adaptations} adaptations`);
      host.service(memory.machine).audit();
    });
  }
}

/** What the host keeps for guests: of each kind no more than its bound. */
function checkMemory({ host, longestLine }: Outcome): void {
  assert(longestLine <= LONGEST_LINE, `a line of ${longestLine} characters`);
  const { blocks } = host.service(x86.interpreter);
  assert(blocks.operationCount <= blocks.mostOperations, `${blocks.operationCount} decoded instructions`);
  const figures = (plugin: string) => host.plugins.loaded.get(plugin)?.stats.snapshot();
  const translator = figures("bt");
  if (translator !== undefined) {
    assert(
      translator.cachedBytes > 0 && translator.cachedBytes <= CACHE_KIB * 1024,
      `${translator.cachedBytes} bytes cached`,
    );
  }
  const sharing = figures("page-sharing");
  if (sharing !== undefined) {
    assert(
      sharing.metadataBytes <= TABLE_SHARE * host.config.memoryMib * MIB,
      `a table of ${sharing.metadataBytes} bytes`,
    );
  }
  const shadow = figures("shadow-mmu");
  const adapting = figures("adaptive-bt");
  if (adapting !== undefined) assert(adapting.sites <= MOST_SITES, `${adapting.sites} sites`);
  if (shadow !== undefined) assert(shadow.spaces <= 3 * 64, `${shadow.spaces} address spaces`);
}

Deno.test("where no frame is left and nobody can free one, the VM that needs it ends, and the others go on", async () => {
  // Somebody who could reclaim has memory overcommitted, and then does not.
  const idle = definePlugin({
    name: "idle",
    requires: ["memory"],
    setup: ({ on }) => on(memory.reclaim, () => undefined),
  });
  const host = createHost({
    memoryMib: 4,
    quantumNs: QUANTUM_NS,
    plugins: [idle],
    without: ["allocator", "swap", "balloon"],
  });
  const needy = addVm(host, { name: "needy", guest: { image: hostileLoops["walks off its memory"] }, memoryMib: 8 });
  const frugal = addVm(host, { name: "frugal", guest: "isprime", memoryMib: 4 });
  await host.run({ untilNs: RUN_NS });
  assertEquals([needy.exit?.reason, needy.exit?.status, frugal.exit?.reason], ["failed", 3, "halt"]);
  assertMatch(needy.exit?.detail ?? "", /VM "needy" needs a frame for its page \d+ and all 1024 are in use/);
  host.service(memory.machine).audit();
});
