// What managing memory across guests costs this machine: pages to the swap file and back, targets for many VMs, and what is
// taken from whom. Rates in pages are modelled nowhere: this is wall time.

import { Host } from "../core/mod.ts";
import { fitTargets, proportionalTargets } from "../plugins/allocator/shares.ts";
import { revoke } from "../plugins/allocator/revocation.ts";
import { taxedTargets } from "../plugins/tax-allocator/mod.ts";
import memory, * as memoryTokens from "../plugins/memory/mod.ts";
import swap, * as swapTokens from "../plugins/swap/mod.ts";

const MIB = 256, VM_MIB = 64, VMS = 1000;
/** Pages in one measured iteration. */
const PAGES = 4096;

const host = new Host({ memoryMib: 2 * VM_MIB, seed: 1, quantumNs: 1e6 });
host.load({ plugin: memory }, { plugin: swap });
const vm = host.add({ name: "vm", memoryMib: VM_MIB, minMib: 0, shares: 1, cpuMhz: 100, options: {} });
const pages = host.service(memoryTokens.guest)(vm), pager = host.service(swapTokens.pager);
const { view } = host.service(memoryTokens.machine);
for (let ppn = 0; ppn < pages.pages; ppn++) {
  const at = pages.frameForWrite(ppn) * memoryTokens.PAGE_SIZE;
  for (let i = 0; i < memoryTokens.PAGE_SIZE; i += 4) view.setInt32(at + i, Math.imul(ppn + 1, i + 0x9e37), true);
}

const out = () => {
  if (pager.pageOut(vm, PAGES) !== PAGES) throw new Error(`fewer than ${PAGES} pages went out: ${pager.failure}`);
};
const back = () => {
  for (let ppn = 0; ppn < pages.pages; ppn++) pages.frameForRead(ppn);
};
/** Seconds of each measured run, by direction. */
const seconds = new Map<string, number[]>();

for (const [name, run] of [["out to", out], ["back from", back]] as const) {
  Deno.bench(`${PAGES} pages ${name} the swap file, random victims`, { group: "swap" }, (b) => {
    if (run === back) out();
    const began = performance.now();
    b.start();
    run();
    b.end();
    seconds.set(name, [...seconds.get(name) ?? [], (performance.now() - began) / 1000]);
    if (run === out) back();
  });
}

globalThis.addEventListener("unload", () => {
  for (const [name, runs] of seconds) {
    const median = runs.toSorted((a, b) => a - b)[runs.length >> 1];
    console.log(`pages a second ${name} the swap file, median: ${Math.round(PAGES / median).toLocaleString("en")}`);
  }
});

/** VMs of many sizes and shares, of which some are held at their minimum and some at their maximum. */
const claims = Array.from({ length: VMS }, (_, i) => ({
  shares: 500 + (i * 7919) % 3000,
  minPages: (i % 5) * 8 * MIB,
  maxPages: (64 + (i * 31) % 448) * MIB,
}));
const given = claims.reduce((sum, { maxPages }) => sum + maxPages, 0) / 2;
const plainCost = { activePages: Infinity, idlePageCost: 1 };
const holdings = claims.map(({ shares, minPages, maxPages }) => ({
  shares,
  pages: maxPages,
  floorPages: minPages,
  ...plainCost,
}));
const taxed = claims.map((claim) => ({ ...claim, activePages: claim.maxPages / 3 }));
const answer = claims.map(({ maxPages }) => maxPages * 0.8);

Deno.bench(`targets for ${VMS} VMs by shares`, { group: "targets", baseline: true }, () => {
  proportionalTargets(given, claims);
});

Deno.bench(`a policy's answer for ${VMS} VMs fitted to what there is`, { group: "targets" }, () => {
  fitTargets(given, claims, answer);
});

Deno.bench(`min-funding revocation of a tenth of the memory of ${VMS} VMs`, { group: "targets" }, () => {
  revoke(Math.floor(given / 5), holdings);
});

Deno.bench(`the same by taxed shares per page, half of each VM being idle`, { group: "targets" }, () => {
  revoke(
    Math.floor(given / 5),
    holdings.map((holding) => ({ ...holding, activePages: holding.pages / 2, idlePageCost: 4 })),
  );
});

Deno.bench(`targets for ${VMS} VMs by the idle memory tax`, { group: "targets" }, () => {
  taxedTargets(given, taxed, 0.75);
});
