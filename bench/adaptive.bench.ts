// What a store to a traced page-table entry costs (the BT paper's ptemod, 3.3 and figure 4): without traces; with them, where
// each store traps; and adapted. A loop of one such store and sixteen plain instructions, less the same loop without the store.
// The paper: 1 cycle native, 391 adapted, 12733 by a hardware exit.

import process from "node:process";
import { addVm, createHost } from "../cli/machine.ts";
import { cr0, cr3, cr4, eax, ecx, edi, esi, mem, mem32 } from "../guests/assembler/mod.ts";
import { buildProtected, FREE_MEMORY } from "../guests/runtime.ts";

/** A directory whose large pages map the first 8 MiB as they are, and a window whose table is written to. */
const DIRECTORY = FREE_MEMORY, TABLE = DIRECTORY + 4096, WINDOW = 0x4000_0000;
const ALL = 7, LARGE_PAGE = 0x87, CR4_PSE = 0x10, CR0_PG = 0x8000_0000 | 0;
const PLAIN_INSTRUCTIONS = 16, INSTRUCTIONS_AROUND = 2;
const WARM_UP_ROUNDS = 200_000, ROUNDS = 100_000, BATCHES = 9;

function loop(stores: boolean) {
  return buildProtected((asm) => {
    asm.mov(mem32(DIRECTORY), LARGE_PAGE).mov(mem32(DIRECTORY + 4), 0x40_0000 | LARGE_PAGE);
    asm.mov(mem32(DIRECTORY + (WINDOW >>> 20)), TABLE | ALL).mov(mem32(TABLE), FREE_MEMORY | ALL);
    asm.mov(eax, cr4).or(eax, CR4_PSE).mov(cr4, eax).mov(eax, DIRECTORY).mov(cr3, eax);
    asm.mov(eax, cr0).or(eax, CR0_PG).mov(cr0, eax).mov(eax, mem32(WINDOW)).xor(ecx, ecx).mov(edi, TABLE + 64);
    asm.label("round");
    if (stores) asm.mov(mem32(edi), ecx);
    for (let i = 0; i < PLAIN_INSTRUCTIONS; i++) asm.lea(esi, mem(esi, { disp: i }));
    asm.inc(ecx).jmp("round");
  });
}

const traced = { use: "shadow-mmu", options: { dropAfter: 0 } };
const configurations = {
  "without the store": { plugins: [], stores: false },
  "not traced": { plugins: [], stores: true },
  "traced, traps": { plugins: [traced], stores: true },
  "traced, adapted": { plugins: [traced, "adaptive-bt"], stores: true },
} as const;

/** A machine in the loop, warmed up; `run` goes round it so many times. */
function machineOf({ plugins, stores }: (typeof configurations)[keyof typeof configurations]) {
  const host = createHost({ memoryMib: 16, plugins: ["bt", ...plugins] });
  const vm = addVm(host, { name: "loop", guest: { image: loop(stores) }, memoryMib: 8 });
  const steps = PLAIN_INSTRUCTIONS + INSTRUCTIONS_AROUND + (stores ? 1 : 0);
  const run = (rounds: number) => host.runTo(vm, vm.clock.steps + rounds * steps);
  run(WARM_UP_ROUNDS);
  return run;
}

/** Nanoseconds of CPU time that a round takes: the best of several batches. */
function measureNs(run: (rounds: number) => void): number {
  let best = Infinity;
  for (let batch = 0; batch < BATCHES; batch++) {
    const started = process.cpuUsage();
    run(ROUNDS);
    best = Math.min(best, (process.cpuUsage(started).user * 1000) / ROUNDS);
  }
  return best;
}

const measuredNs = new Map<string, number>();

for (const [name, configuration] of Object.entries(configurations)) {
  let run: ((rounds: number) => void) | undefined;
  Deno.bench(name, { group: "a store to a page-table entry", baseline: name === "traced, traps" }, () => {
    if (run === undefined) {
      run = machineOf(configuration);
      measuredNs.set(name, measureNs(run));
    }
    run(1000);
  });
}

globalThis.addEventListener("unload", () => {
  const loopNs = measuredNs.get("without the store"), trapNs = measuredNs.get("traced, traps");
  if (loopNs === undefined || trapNs === undefined) return;
  console.log(`\nA store to a page-table entry: CPU time beyond the loop's own ${loopNs.toFixed(1)} ns`);
  for (const [name, ns] of measuredNs) {
    const ratio = (ns - loopNs) / (trapNs - loopNs);
    console.log(`${name.padEnd(18)} ${(ns - loopNs).toFixed(1).padStart(8)} ns  ${ratio.toFixed(3)} of a trap`);
  }
});
