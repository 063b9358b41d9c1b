// Three Linux guests after the same work: page sharing merges what an exact count of equal pages finds, changes nothing that
// the guests compute, and costs them next to nothing. Its figures are printed beside those of the ESX paper and of KSM, whose
// guests were booted one by one; these begin as copies of one that stands at its shell, and so have more in common.

import { assert, assertEquals, assertGreater, assertLessOrEqual } from "@std/assert";
import { createHash } from "node:crypto";
import { DEFAULT_CPU_MHZ, DEFAULT_SHARES, DEFAULT_VM_MIB } from "../../cli/config.ts";
import { createHost } from "../../cli/machine.ts";
import { definePlugin, type Host, type SavedVm, type Vm, vmCheckpoint } from "../../core/mod.ts";
import * as bt from "../../plugins/bt/mod.ts";
import * as console from "../../plugins/console/mod.ts";
import * as memory from "../../plugins/memory/mod.ts";
import pageSharing, { sharing } from "../../plugins/page-sharing/mod.ts";
import { bootLinux } from "./boot.ts";
import { linuxTest } from "./prepared.ts";

const VMS = 3;
const HOST_MIB = VMS * DEFAULT_VM_MIB + 64;
const DONE = "all is done";
/** Reads every file, makes processes, leaves a few files behind; the last line is not what the terminal echoes. */
const WORK =
  `for i in 1 2 3; do find / -xdev -type f | head -300 | sort > /tmp/$i; done; sha256sum /tmp/1; echo "all is" done\n`;
const HASH_EVERY_STEPS = 5e6;

/** So that every page was scanned some times before the work is over, and is shared and written to in the middle of it. */
const eagerly = { scanMinutes: 1 / 60, maxRatePagesPerS: 30_000, hostMibPerSPerGhz: 10_000 };

interface Worked {
  readonly host: Host;
  readonly vms: readonly Vm[];
  /** State hashes of each VM at the multiples of HASH_EVERY_STEPS that it passed. */
  readonly hashes: readonly (readonly string[])[];
  /** Steps of all guests in a second of host time. */
  readonly stepsPerHostSecond: number;
}

/** Starts the guests from one saved state, and lets them work until all have said that they are done. */
async function work(saved: SavedVm, options?: Readonly<Record<string, unknown>>): Promise<Worked> {
  const hashes: string[][] = [], done = new Set<Vm>();
  const watcher = definePlugin({
    name: "watcher",
    requires: ["console"],
    setup({ on }) {
      on(console.line, ({ vm, line }) => line.trim() === DONE && done.add(vm));
      on(vmCheckpoint, (vm) => hashes[vm.id].push(host.stateHash(vm)));
    },
  });
  const plugins = [bt.default, watcher, ...(options === undefined ? [] : [{ plugin: pageSharing, options }])];
  const host = createHost({ memoryMib: HOST_MIB, plugins });
  const config = { memoryMib: DEFAULT_VM_MIB, minMib: 0, shares: DEFAULT_SHARES, cpuMhz: DEFAULT_CPU_MHZ, options: {} };
  const vms = Array.from({ length: VMS }, (_, i) => {
    const vm = host.add({ name: `linux${i}`, ...config });
    hashes.push([]);
    // The state was saved without page sharing, which begins anew.
    host.restore(vm, { ...saved, plugins: { ...host.save(vm).plugins, ...saved.plugins } });
    vm.checkpointEvery(HASH_EVERY_STEPS);
    host.service(console.consoleOf)(vm).input.push(new TextEncoder().encode(WORK));
    return vm;
  });
  const before = vms.reduce((sum, vm) => sum + vm.clock.steps, 0);
  await host.run({ stop: () => done.size === VMS });
  const steps = vms.reduce((sum, vm) => sum + vm.clock.steps, 0) - before;
  const cpuSeconds = vms.reduce((sum, vm) => sum + vm.cpuNs, 0) / 1e9;
  return { host, vms, hashes, stepsPerHostSecond: steps / cpuSeconds };
}

/** Pages with frames, and how many frames would do, by an exact count that knows nothing of page sharing. */
function countExactly({ host, vms }: Worked): { readonly pages: number; readonly distinct: number } {
  const pageStates = host.service(memory.pages), found = new Set<string>();
  let pages = 0;
  for (const vm of vms) {
    const contents = host.service(memory.guest)(vm);
    for (let ppn = 0; ppn < contents.pages; ppn++) {
      const page = contents.peek(ppn);
      if (page === undefined || pageStates.stateOf(vm, ppn) === memory.PageState.swapped) continue;
      pages++;
      found.add(createHash("sha1").update(page).digest("base64"));
    }
  }
  return { pages, distinct: found.size };
}

linuxTest("three Linux guests share what is equal, compute the same and lose no time", async (linux) => {
  const saved = await (await bootLinux(linux)).saved("shell");
  const without = await work(saved), byDefault = await work(saved, {}), eager = await work(saved, eagerly);

  for (const { hashes } of [byDefault, eager]) {
    for (const [i, expected] of without.hashes.entries()) {
      const common = Math.min(expected.length, hashes[i].length);
      assertGreater(common, 2, "state hashes to compare");
      assertEquals(hashes[i].slice(0, common), expected.slice(0, common));
    }
  }
  const ratio = byDefault.stepsPerHostSecond / without.stepsPerHostSecond;
  assertGreater(ratio, 0.98);

  const shared = eager.host.service(sharing);
  assertGreater(shared.figures().reclaimedPages, 1000, "pages shared in the background");
  const exact = countExactly(eager);
  shared.scanAll();
  const { sharedPages, reclaimedPages, zeroPages, allocatedPages } = shared.figures();
  assertEquals(allocatedPages, exact.pages);
  const possible = exact.pages - exact.distinct;
  assert(reclaimedPages >= 0.99 * possible, `${reclaimedPages} pages reclaimed of ${possible}`);
  assertLessOrEqual(reclaimedPages, possible);
  assertLessOrEqual(shared.metadataBytes / (HOST_MIB * 2 ** 20), 0.005);
  eager.host.service(memory.machine).audit();
  shared.audit();

  const percent = (pages: number) => `${((100 * pages) / allocatedPages).toFixed(1)} %`;
  const nonzero = allocatedPages - zeroPages, savedNonzero = reclaimedPages - Math.max(0, zeroPages - 1);
  globalThis.console.log(
    `of ${allocatedPages} pages: shared ${percent(sharedPages)} (ESX paper, 10 guests: 67 %), reclaimed ` +
      `${percent(reclaimedPages)} (60 %), zero ${percent(zeroPages)}; of nonzero pages ${
        ((100 * savedNonzero) / nonzero).toFixed(1)
      } % reclaimed (KSM, 3 guests under QEMU: 57.2 %); exact count: ${percent(possible)}; ` +
      `guest work per host second: ${ratio.toFixed(4)} of that without`,
  );
});
