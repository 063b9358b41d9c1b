// What page sharing costs this machine: the rate of scanning beside that of only reading memory, and that of breaking sharing
// by a write. `deno bench` tells the wall time of an iteration; GB and breaks for each CPU second are printed at the end.

import process from "node:process";
import { Host } from "../core/mod.ts";
import memory, * as memoryTokens from "../plugins/memory/mod.ts";
import pageSharing, * as sharingTokens from "../plugins/page-sharing/mod.ts";
import { PageHasher } from "../plugins/page-sharing/page_hasher.ts";
import swap from "../plugins/swap/mod.ts";

const { PAGE_SIZE, WORDS_PER_FRAME } = memoryTokens;
const VM_MIB = 64, GIGA = 1e9, MICROS_PER_SECOND = 1e6;

const host = new Host({ memoryMib: 2 * VM_MIB, seed: 1, quantumNs: 1e6 });
host.load({ plugin: memory }, { plugin: swap }, { plugin: pageSharing });
const vm = host.add({ name: "vm", memoryMib: VM_MIB, minMib: 0, shares: 1, cpuMhz: 100, options: {} });
const guest = host.service(memoryTokens.guest)(vm), sharing = host.service(sharingTokens.sharing);
const mechanism = host.service(memoryTokens.mechanism);
const machine = host.service(memoryTokens.machine).memory, words = new Int32Array(machine.buffer);
const hasher = new PageHasher(machine);
const GIGABYTES = (guest.pages * PAGE_SIZE) / GIGA;

/** Gives each page contents that follow from a seed. */
function fill(seedOf: (ppn: number) => number): void {
  for (let ppn = 0; ppn < guest.pages; ppn++) {
    const from = guest.frameForWrite(ppn) * WORDS_PER_FRAME, seed = seedOf(ppn);
    for (let i = 0; i < WORDS_PER_FRAME; i++) words[from + i] = Math.imul(seed, 2 * i + 1);
  }
}

/** The VM's frames, as benches that look at memory alone take them. */
let frames: readonly number[] = [];
const look = () => {
  fill((ppn) => ppn + 1);
  frames = Array.from({ length: guest.pages }, (_, ppn) => mechanism.frameOf(vm, ppn) ?? 0);
};

/** Units done and CPU time taken, by bench. */
const rates = new Map<string, { units: number; cpuMicros: number }>();

/** A bench that does so many `units` of work; `prepare` is not measured. */
function bench(name: string, unit: string, units: number, prepare: () => void, run: () => void): void {
  const rate = { units: 0, cpuMicros: 0 };
  rates.set(`${name}, ${unit}`, rate);
  Deno.bench(name, { group: unit, n: 10, warmup: 3 }, (b) => {
    prepare();
    const before = process.cpuUsage();
    b.start();
    run();
    b.end();
    const { user, system } = process.cpuUsage(before);
    rate.units += units;
    rate.cpuMicros += user + system;
  });
}

globalThis.addEventListener("unload", () => {
  const { totalFrames } = host.service(memoryTokens.machine);
  const part = sharing.metadataBytes / (totalFrames * PAGE_SIZE);
  console.log(
    `\nthe table: ${sharing.metadataBytes / totalFrames} bytes for a frame, ${(100 * part).toFixed(2)} % of memory`,
  );
  for (const [name, { units, cpuMicros }] of rates) {
    if (cpuMicros > 0) {
      console.log(`${name} per CPU second: ${(units / (cpuMicros / MICROS_PER_SECOND)).toPrecision(3)}`);
    }
  }
});

const different = () => fill((ppn) => ppn + 1), equal = () => fill(() => 1);
const scanAll = () => sharing.scanAll();
/** Where results go, so that no loop is left out. */
let sink = 0;

bench("reading every word", "GB", GIGABYTES, look, () => {
  let sum = 0;
  for (const mpn of frames) {
    const from = mpn * WORDS_PER_FRAME;
    for (let i = from; i < from + WORDS_PER_FRAME; i++) sum = (sum + words[i]) | 0;
  }
  sink ^= sum;
});

bench("hashing every page", "GB", GIGABYTES, look, () => {
  for (const mpn of frames) {
    hasher.of(mpn);
    sink ^= hasher.low;
  }
});

bench("scanning pages that have hints already", "GB", GIGABYTES, () => (different(), scanAll()), scanAll);
bench("scanning new pages", "GB", GIGABYTES, () => (equal(), scanAll(), different()), scanAll);
bench("scanning pages that are all merged", "GB", GIGABYTES, equal, scanAll);

bench("writes to shared pages", "breaks", guest.pages - 1, () => (equal(), scanAll()), () => {
  for (let ppn = 0; ppn < guest.pages; ppn++) guest.frameForWrite(ppn);
});
