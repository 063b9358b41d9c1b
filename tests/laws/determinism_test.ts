// Law 2: one configuration and seed give one run, event by event, whatever the wall clock does meanwhile.

import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { addVm, createHost } from "../../cli/machine.ts";
import { makeReport } from "../../cli/report.ts";
import { definePlugin, turnEnded, vmAdmitted, vmCheckpoint, vmExited } from "../../core/mod.ts";
import * as console from "../../plugins/console/mod.ts";
import * as memory from "../../plugins/memory/mod.ts";
import * as x86 from "../../plugins/x86/mod.ts";
import { type PluginSet, pluginSets } from "./plugin_sets.ts";
import { subjects } from "./trial.ts";

const HOST_MIB = 96;
const CHECKPOINT_STEPS = 50_000;

/** All VMs of the catalogue side by side; every event with its host time, and the figures at the end. */
async function trace({ plugins }: PluginSet, seed: number, breathe?: () => Promise<void>) {
  const events: string[] = [];
  const host = createHost({ memoryMib: HOST_MIB, seed, quantumNs: 300_000, plugins: plugins() });
  const tracer = definePlugin({
    name: "tracer",
    requires: ["memory", "x86", "console"],
    setup({ on }) {
      const note = (what: string) => void events.push(`${host.clock.nowNs} ${what}`);
      on(vmAdmitted, ({ name }) => note(`admitted ${name}`));
      on(turnEnded, ({ vm, steps, hostNs }) => note(`turn ${vm.name} ${steps} ${hostNs}`));
      on(vmCheckpoint, (vm) => note(`checkpoint ${vm.name} ${vm.clock.steps} ${host.stateHash(vm)}`));
      on(vmExited, ({ name, exit }) => note(`exited ${name} ${exit?.reason}`));
      on(x86.delivered, ({ vm, vector, kind }) => note(`delivered ${vm.name} ${vm.clock.steps} ${kind} ${vector}`));
      on(x86.trapped, ({ vm, mnemonic }) => note(`trapped ${vm.name} ${vm.clock.steps} ${mnemonic}`));
      on(memory.mappingChanged, ({ vm, ppn }) => note(`mapping ${vm.name} ${ppn}`));
      on(console.line, ({ vm, line }) => note(`line ${vm.name} ${line}`));
    },
  });
  host.load({ plugin: tracer });
  for (const { use, options } of subjects) {
    addVm(host, { guest: { use, options }, memoryMib: use === "toucher" ? 12 : undefined }).checkpointEvery(
      CHECKPOINT_STEPS,
    );
  }
  await host.run({ breathe });
  return { events, report: makeReport(host, 0) };
}

/** A report without what is measured by the wall clock, whose names say so. */
function modelled(report: unknown): unknown {
  return JSON.parse(JSON.stringify(report, (name, value) => name.startsWith("wall") ? undefined : value));
}

/** Waits long enough for every clock of the wall to have moved. */
async function dawdle(): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, 15));
}

for (const set of pluginSets) {
  Deno.test(`with ${set.name}, two runs are the same event by event, one on a slow machine`, async () => {
    const first = await trace(set, 1);
    const second = await trace(set, 1, dawdle);
    assert(first.events.length > 1000);
    const differs = first.events.findIndex((event, i) => event !== second.events[i]);
    assertEquals(differs < 0 ? undefined : [first.events[differs], second.events[differs]], undefined);
    assertEquals(second.events.length, first.events.length);
    assertEquals(modelled(second.report), modelled(first.report));
  });
}

Deno.test("another seed gives another run where chance has a part", async () => {
  const all = pluginSets[pluginSets.length - 1];
  const [first, second] = [await trace(all, 1), await trace(all, 2)];
  assertNotEquals(second.events.join("\n"), first.events.join("\n"));
});
