// Three Linux guests after the same work: page sharing merges what an exact count of equal pages finds, changes nothing that
// the guests compute, and costs them next to nothing. Its figures are printed beside those of the ESX paper and of KSM, whose
// guests were booted one by one; these begin as copies of one that stands at its shell, and so have more in common.
// bench/linux_sharing.ts does the same with guests that are no copies.

import { assert, assertEquals, assertGreater, assertLessOrEqual } from "@std/assert";
import { countExactly, hostMibOf, work } from "../../bench/linux_guests.ts";
import * as memory from "../../plugins/memory/mod.ts";
import { sharing } from "../../plugins/page-sharing/mod.ts";
import { bootLinux } from "./boot.ts";
import { linuxTest } from "./prepared.ts";

const VMS = 3;
/** Reads every file, makes processes, leaves a few files behind. */
const COMMAND = `for i in 1 2 3; do find / -xdev -type f | head -300 | sort > /tmp/$i; done; sha256sum /tmp/1\n`;
const HASH_EVERY_STEPS = 5e6;

/** So that every page was scanned some times before the work is over, and is shared and written to in the middle of it. */
const eagerly = { scanMinutes: 1 / 60, maxRatePagesPerS: 30_000, hostMibPerSPerGhz: 10_000 };

linuxTest("three Linux guests share what is equal, compute the same and lose no time", async (linux) => {
  const state = await (await bootLinux(linux)).saved("shell");
  const given = { saved: Array.from({ length: VMS }, () => state), command: COMMAND, hashEverySteps: HASH_EVERY_STEPS };
  const without = await work(given);
  const byDefault = await work({ ...given, sharing: {} }), eager = await work({ ...given, sharing: eagerly });

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
  assertLessOrEqual(shared.metadataBytes / (hostMibOf(VMS) * 2 ** 20), 0.005);
  eager.host.service(memory.machine).audit();
  shared.audit();

  const percent = (pages: number) => `${((100 * pages) / allocatedPages).toFixed(1)} %`;
  const nonzero = allocatedPages - zeroPages, savedNonzero = reclaimedPages - Math.max(0, zeroPages - 1);
  console.log(
    `of ${allocatedPages} pages: shared ${percent(sharedPages)} (ESX paper, 10 guests: 67 %), reclaimed ` +
      `${percent(reclaimedPages)} (60 %), zero ${percent(zeroPages)}; of nonzero pages ${
        ((100 * savedNonzero) / nonzero).toFixed(1)
      } % reclaimed (KSM, 3 guests under QEMU: 57.2 %); exact count: ${percent(possible)}; ` +
      `guest work per host second: ${ratio.toFixed(4)} of that without`,
  );
});
