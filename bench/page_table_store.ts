// A guest with one store in a loop of plain instructions: to a page-table entry in some stretches, to plain memory in others. What
// the BT paper calls ptemod (3.3 and 6.1), and its instruction that turns innocent. `measureStoreNs` times it: without traces;
// with them, where each store traps; and adapted.

import process from "node:process";
import { addVm, createHost } from "../cli/machine.ts";
import { addr, cr0, cr3, cr4, eax, ebp, ecx, edi, esi, mem, mem32 } from "../guests/assembler/mod.ts";
import type { GuestImage } from "../guests/mod.ts";
import { buildProtected, FREE_MEMORY } from "../guests/runtime.ts";

/** Rounds of the loop with one target of the store; `nothing` goes round without it. */
export interface Stretch {
  readonly target: "table" | "memory" | "nothing";
  readonly rounds: number;
}

/** A directory whose large pages map the first 8 MiB as they are, and a window whose table is written to. */
const DIRECTORY = FREE_MEMORY, TABLE = DIRECTORY + 4096, PLAIN = TABLE + 4096, WINDOW = 0x4000_0000;
/** An entry of no page that anybody uses. */
const ENTRY_OFFSET = 64;
const ALL = 7, LARGE_PAGE = 0x87, CR4_PSE = 0x10, CR0_PG = 0x8000_0000 | 0;
const PLAIN_INSTRUCTIONS = 16, INSTRUCTIONS_AROUND = 2;
const MOST_ROUNDS = 0x7fff_ffff;

/** Steps of a round of the loop. */
export function stepsOfRound(target: Stretch["target"]): number {
  return PLAIN_INSTRUCTIONS + INSTRUCTIONS_AROUND + (target === "nothing" ? 0 : 1);
}

/** A guest that goes through the stretches, and halts. All stores are one instruction's. */
export function storeLoop(stretches: readonly Stretch[]): GuestImage {
  return buildProtected((asm) => {
    asm.mov(mem32(DIRECTORY), LARGE_PAGE).mov(mem32(DIRECTORY + 4), 0x40_0000 | LARGE_PAGE);
    asm.mov(mem32(DIRECTORY + (WINDOW >>> 20)), TABLE | ALL).mov(mem32(TABLE), FREE_MEMORY | ALL);
    asm.mov(eax, cr4).or(eax, CR4_PSE).mov(cr4, eax).mov(eax, DIRECTORY).mov(cr3, eax);
    // A walk through the table is what has it traced.
    asm.mov(eax, cr0).or(eax, CR0_PG).mov(cr0, eax).mov(eax, mem32(WINDOW)).mov(ebp, addr("stretches"));
    asm.label("stretch").mov(edi, mem(ebp)).mov(ecx, mem(ebp, { disp: 4 }));
    asm.cmp(ecx, 0).jz("end").cmp(edi, 0).jz("idle");
    asm.align(16).label("round").mov(mem32(edi), ecx);
    plainInstructions(asm);
    asm.dec(ecx).jnz("round").add(ebp, 8).jmp("stretch");
    asm.align(16).label("idle");
    plainInstructions(asm);
    asm.dec(ecx).jnz("idle").add(ebp, 8).jmp("stretch").label("end");
    asm.section("data", () => {
      asm.align(4).label("stretches");
      for (const { target, rounds } of stretches) asm.dd(ADDRESSES[target]).dd(rounds);
      asm.dd(0).dd(0);
    });
  });
}

const ADDRESSES: Readonly<Record<Stretch["target"], number>> = {
  table: TABLE + ENTRY_OFFSET,
  memory: PLAIN + ENTRY_OFFSET,
  nothing: 0,
};

function plainInstructions(asm: Parameters<Parameters<typeof buildProtected>[0]>[0]): void {
  for (let i = 0; i < PLAIN_INSTRUCTIONS; i++) asm.lea(esi, mem(esi, { disp: i }));
}

/** shadow-mmu with all its traces kept. */
export const allTraced = { use: "shadow-mmu", options: { dropAfter: 0 } } as const;

const configurations = {
  "without the store": { plugins: [], target: "nothing" },
  "not traced": { plugins: [], target: "table" },
  "traced, traps": { plugins: [allTraced], target: "table" },
  "traced, adapted": { plugins: [allTraced, "adaptive-bt"], target: "table" },
} as const;
export type StoreConfiguration = keyof typeof configurations;
export const storeConfigurations = Object.keys(configurations) as StoreConfiguration[];

const WARM_UP_ROUNDS = 200_000, ROUNDS = 100_000;

/** A machine in the loop, warmed up; what it returns goes round so many times. */
export function storeMachine(name: StoreConfiguration): (rounds: number) => void {
  const { plugins, target } = configurations[name];
  const host = createHost({ memoryMib: 16, plugins: ["bt", ...plugins] });
  const image = storeLoop([{ target, rounds: MOST_ROUNDS }]);
  const vm = addVm(host, { name: "loop", guest: { image }, memoryMib: 8 });
  const run = (rounds: number) => host.runTo(vm, vm.clock.steps + rounds * stepsOfRound(target));
  run(WARM_UP_ROUNDS);
  return run;
}

/** Nanoseconds of CPU time that a round takes: the best of several batches. */
export function measureStoreNs(run: (rounds: number) => void, batches: number): number {
  let best = Infinity;
  for (let batch = 0; batch < batches; batch++) {
    const started = process.cpuUsage();
    run(ROUNDS);
    best = Math.min(best, (process.cpuUsage(started).user * 1000) / ROUNDS);
  }
  return best;
}
