// Translations between VMs: what one has translated from a frame serves every VM that maps the frame, as long as it does
// (ESX paper, section 4: pages shared copy-on-write; BT paper: translations know no VM).

import { assert, assertEquals } from "@std/assert";
import { addVm, createHost } from "../../../cli/machine.ts";
import { definePlugin, type Host, type Vm, vmCheckpoint } from "../../../core/mod.ts";
import { findGuest } from "../../../guests/mod.ts";
import bt from "../../../plugins/bt/mod.ts";
import { Translator } from "../../../plugins/bt/engine.ts";
import * as memory from "../../../plugins/memory/mod.ts";
import { engine } from "../../../plugins/x86/mod.ts";

const GUEST = { use: "alu", options: { iterations: 20_000 } };
/** Where the guest's code begins. */
const ENTRY_PPN = (findGuest(GUEST.use)?.build(GUEST.options).entry ?? 0) >>> memory.PAGE_SHIFT;
/** Pages whose contents are code or data of the image. */
const PAGES = 4;
const HASH_EVERY_STEPS = 10_000;

interface Twins {
  readonly host: Host;
  readonly vms: readonly [Vm, Vm];
  /** State hashes of each as it goes. */
  readonly hashes: readonly [string[], string[]];
  readonly translator: Translator;
}

/** Two VMs with the same guest, translated from the first entry on. */
function twins(): Twins {
  const hashes: [string[], string[]] = [[], []];
  const watcher = definePlugin({
    name: "watcher",
    setup: ({ on }) => void on(vmCheckpoint, (vm) => void hashes[vms.indexOf(vm)].push(host.stateHash(vm))),
  });
  const plugins = [{ plugin: bt, options: { threshold: 0 } }, watcher];
  const host = createHost({ memoryMib: 32, quantumNs: 20_000, plugins });
  const vms = [addVm(host, { name: "a", guest: GUEST }), addVm(host, { name: "b", guest: GUEST })] as const;
  for (const vm of vms) vm.checkpointEvery(HASH_EVERY_STEPS);
  const translator = host.service(engine);
  assert(translator instanceof Translator);
  return { host, vms, hashes, translator };
}

/** Lets the second VM use the first one's frames of the image. Returns how many pages that were. */
function shareImage({ host, vms: [a, b] }: Twins): number {
  const mechanism = host.service(memory.mechanism);
  let shared = 0;
  for (let ppn = ENTRY_PPN; ppn < ENTRY_PPN + PAGES; ppn++) {
    const frame = mechanism.frameOf(a, ppn);
    if (frame !== undefined && mechanism.share(b, ppn, frame)) shared++;
  }
  return shared;
}

/** Runs both to their ends. */
async function finish({ host, vms }: Twins): Promise<void> {
  await host.run({ stop: () => vms.every((vm) => vm.state === "exited") });
  host.service(memory.machine).audit();
}

/** What the guest computes without any of this. */
async function expectedHashes(): Promise<string[]> {
  const lonely = twins();
  await finish(lonely);
  assertEquals(lonely.hashes[0].length > 10, true);
  return lonely.hashes[0];
}

Deno.test("VMs that share no frame share no translation", async () => {
  const both = twins();
  await finish(both);
  const { sharedRegions, sharedBytes } = both.translator.statistics;
  assertEquals([sharedRegions, sharedBytes], [0, 0]);
  assertEquals(both.hashes[0], both.hashes[1]);
});

Deno.test("VMs that share their code's frames share its translations, and compute what they do alone", async () => {
  const apart = twins(), shared = twins();
  await finish(apart);
  assert(shareImage(shared) > 0, "nothing was shared");
  await finish(shared);
  const { sharedRegions, sharedBytes, emittedBytes, regions } = shared.translator.statistics;
  assert(sharedRegions > 0, "no region was entered by both");
  assert(regions < apart.translator.statistics.regions);
  // What is not made twice is what was saved, but that a region ends where others had been made before it.
  const made = apart.translator.statistics.emittedBytes;
  assert(Math.abs(emittedBytes + sharedBytes - made) < made / 8, `${emittedBytes} + ${sharedBytes} bytes of ${made}`);
  assert(sharedBytes > made / 4, `${sharedBytes} bytes of ${made}`);
  const expected = await expectedHashes();
  assertEquals(shared.hashes, [expected, expected]);
});

Deno.test("a VM whose code page becomes its own again has translations of its own, and the other's stay", async () => {
  const broken = twins();
  const { host, vms: [a, b], translator } = broken;
  shareImage(broken);
  const mechanism = host.service(memory.mechanism);
  await host.run({ stop: () => translator.statistics.sharedRegions > 0 });
  const { invalidated, regions, sharedRegions } = translator.statistics;
  assert(a.state !== "exited" && b.state !== "exited", "they still run");
  for (let ppn = ENTRY_PPN; ppn < ENTRY_PPN + PAGES; ppn++) mechanism.breakSharing(b, ppn);
  assert(mechanism.frameOf(a, ENTRY_PPN) !== mechanism.frameOf(b, ENTRY_PPN));
  await finish(broken);
  assert(translator.statistics.regions > regions, "the second VM's own frames are translated");
  assertEquals(translator.statistics.sharedRegions, sharedRegions);
  assertEquals(translator.statistics.invalidated, invalidated, "nothing was written to the first one's code");
  const expected = await expectedHashes();
  assertEquals(broken.hashes, [expected, expected]);
});

Deno.test("a write by one VM to code that it shares changes nothing for the other", async () => {
  const written = twins();
  const { host, vms: [a, b], translator } = written;
  shareImage(written);
  await host.run({ stop: () => translator.statistics.sharedRegions > 0 });
  // The same bytes again: what the guest computes stays, but the page is a copy from now on.
  const page = host.service(memory.guest)(b).peek(ENTRY_PPN);
  assert(page !== undefined);
  host.service(memory.guest)(b).write(ENTRY_PPN * memory.PAGE_SIZE, page.slice());
  const mechanism = host.service(memory.mechanism);
  assert(mechanism.frameOf(a, ENTRY_PPN) !== mechanism.frameOf(b, ENTRY_PPN));
  await finish(written);
  const expected = await expectedHashes();
  assertEquals(written.hashes, [expected, expected]);
});
