// Law 1 under each MMU plugin: a guest that works its page tables without discipline passes through the same states under the
// interpreter and the translator, in short turns and long ones, stepped, saved and restored, and while pages are shared, swapped
// and sampled under it.

import { assert, assertEquals } from "@std/assert";
import { addVm, createHost } from "../../../cli/machine.ts";
import { definePlugin, type PluginUse, vmCheckpoint } from "../../../core/mod.ts";
import type { GuestImage } from "../../../guests/mod.ts";
import adaptiveBt from "../../../plugins/adaptive-bt/mod.ts";
import bt from "../../../plugins/bt/mod.ts";
import * as memory from "../../../plugins/memory/mod.ts";
import shadowMmu from "../../../plugins/shadow-mmu/mod.ts";
import singleStep from "../../../plugins/single-step/mod.ts";
import { pluginSets } from "../../laws/plugin_sets.ts";
import { buildTorture } from "./torture_guest.ts";

const MEMORY_MIB = 8, HOST_MIB = 16, EVERY_STEPS = 997;
/** Far more than the guest takes: it must not be able to hang a test. */
const MOST_STEPS = 1e6;

interface Conditions {
  readonly plugins: readonly PluginUse[];
  readonly quantumNs?: number;
  /** States after which the VM is saved and goes on in a fresh host. */
  readonly saveAfter?: number;
}

/** Step counts and state hashes on the way, and how it ended. */
async function statesOf(
  image: GuestImage,
  { plugins, quantumNs, saveAfter = Infinity }: Conditions,
): Promise<string[]> {
  const states: string[] = [];
  const start = () => {
    const host = createHost({ memoryMib: HOST_MIB, quantumNs, plugins: [...plugins] });
    const vm = addVm(host, { name: "torture", guest: { image }, memoryMib: MEMORY_MIB });
    const note = () => void states.push(`${vm.clock.steps} ${host.stateHash(vm)}`);
    host.load({ plugin: definePlugin({ name: "recorder", setup: ({ on }) => void on(vmCheckpoint, note) }) });
    vm.checkpointEvery(EVERY_STEPS);
    return { host, vm, note };
  };
  let { host, vm, note } = start(), stopAt = saveAfter;
  await host.run({ stop: () => vm.state === "exited" || states.length >= stopAt || vm.clock.steps > MOST_STEPS });
  if (vm.state !== "exited") {
    const saved = host.save(vm);
    stopAt = Infinity;
    ({ host, vm, note } = start());
    host.restore(vm, saved);
    await host.run({ stop: () => vm.state === "exited" || vm.clock.steps > MOST_STEPS });
  }
  note();
  host.service(memory.machine).audit();
  return [...states, `${vm.exit?.reason}`];
}

const mmus: readonly { name: string; uses: readonly PluginUse[] }[] = [
  { name: "flush", uses: [] },
  { name: "shadow-mmu", uses: [{ plugin: shadowMmu }] },
  { name: "shadow-mmu that drops traces at once", uses: [{ plugin: shadowMmu, options: { dropAfter: 1 } }] },
  {
    name: "shadow-mmu that drops none and fills eagerly",
    uses: [{ plugin: shadowMmu, options: { dropAfter: 0, eagerFill: true } }],
  },
  { name: "shadow-mmu that keeps one space", uses: [{ plugin: shadowMmu, options: { spaces: 1, eagerFill: true } }] },
];

/** Adapts every instruction at its second trap, and back as soon as it may. */
const hastily: PluginUse = { plugin: adaptiveBt, options: { threshold: 2, innocentAfter: 5, reviewMs: 1 } };
const translator = (options: Readonly<Record<string, unknown>>): PluginUse => ({ plugin: bt, options });
/** Sharing, swapping, sampling, stealing, pressing. */
const meddlers = (): PluginUse[] =>
  (pluginSets.find(({ name }) => name === "base and all of these")?.plugins() ?? []).map((use) =>
    "plugin" in use ? use : { plugin: use }
  );
const engines: readonly { name: string; conditions: Conditions }[] = [
  { name: "the interpreter in short turns", conditions: { plugins: [], quantumNs: 1_700 } },
  { name: "the translator", conditions: { plugins: [translator({ threshold: 0 })] } },
  { name: "the translator in short turns", conditions: { plugins: [translator({ threshold: 3 })], quantumNs: 2_300 } },
  { name: "the translator, saved half-way", conditions: { plugins: [translator({ threshold: 2 })], saveAfter: 5 } },
  { name: "the adapting translator", conditions: { plugins: [translator({ threshold: 0 }), hastily] } },
  {
    name: "the adapting translator in short turns, saved half-way",
    conditions: { plugins: [translator({ threshold: 1 }), hastily], quantumNs: 2_900, saveAfter: 5 },
  },
  { name: "the translator, meddled with", conditions: { plugins: [translator({ threshold: 0 }), ...meddlers()] } },
  { name: "single steps", conditions: { plugins: [{ plugin: singleStep }] } },
];

for (const { name: mmu, uses } of mmus) {
  for (const [seed, isGlobal] of [[1, false], [3, true]] as const) {
    Deno.test(`torture ${seed} of the page tables goes the same way in every engine under ${mmu}`, async () => {
      const image = buildTorture({ seed, operations: 120, rounds: 25, isGlobal });
      const expected = await statesOf(image, { plugins: uses });
      assertEquals(expected.at(-1), "halt");
      assert(expected.length > 8, `${expected.length} states`);
      for (const { name, conditions } of engines) {
        assertEquals(
          await statesOf(image, { ...conditions, plugins: [...uses, ...conditions.plugins] }),
          expected,
          name,
        );
      }
    });
  }
}
