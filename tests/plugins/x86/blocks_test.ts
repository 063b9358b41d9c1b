// What the interpreter keeps decoded: bounded in instructions, however a guest jumps about, and decoded for what runs, not for
// what might.

import { assert, assertEquals } from "@std/assert";
import { addVm, createHost } from "../../../cli/machine.ts";
import { addr, Assembler, dr0, dr7, eax, ecx, edi, mem8 } from "../../../guests/assembler/mod.ts";
import { CodeFrames } from "../../../plugins/x86/code_frames.ts";
import { BlockCache } from "../../../plugins/x86/interpreter/blocks.ts";
import * as x86 from "../../../plugins/x86/mod.ts";

const ORIGIN = 0x10_0000;

/** Runs a protected-mode program to its end; the interpreter's block cache and the steps taken. */
async function run(write: (asm: Assembler) => void): Promise<{ cache: BlockCache; steps: number }> {
  const asm = new Assembler({ origin: ORIGIN, bits: 32 });
  write(asm);
  const { bytes } = asm.cli().hlt().assemble();
  const host = createHost({ memoryMib: 4, plugins: [] });
  const image = { loads: [{ address: ORIGIN, bytes }], entry: ORIGIN, mode: "protected" } as const;
  const vm = addVm(host, { guest: { image }, memoryMib: 2 });
  await host.run();
  assertEquals(vm.exit?.reason, "halt");
  return { cache: host.service(x86.interpreter).blocks, steps: vm.clock.steps };
}

Deno.test("blocks are kept for a bounded number of instructions, wherever a guest jumps", () => {
  const most = 1000, frames = 8, mode = 1;
  const bytes = new Uint8Array(frames * 4096);
  const cache = new BlockCache(bytes, new CodeFrames(frames, () => {}, () => {}), most);
  for (let address = 0; address < bytes.length - 4096; address += 5) {
    cache.find(address, mode);
    assert(cache.operationCount < most + 32, `${cache.operationCount} instructions at ${address}`);
  }
});

Deno.test("a guest that has every instruction trapped has each decoded alone", async () => {
  // Breakpoints that are never hit still have every instruction looked at.
  const { cache, steps } = await run((asm) => {
    asm.mov(eax, 0x1234_5678).mov(dr0, eax).mov(eax, 0x401).mov(dr7, eax);
    for (let i = 0; i < 2000; i++) asm.inc(ecx);
  });
  assert(steps > 2000);
  assert(cache.decodedOperations < 1.1 * steps, `${cache.decodedOperations} decoded in ${steps} steps`);
});

Deno.test("a single step sees code that has changed since it was decoded", async () => {
  const { cache, steps } = await run((asm) => {
    asm.mov(eax, 0x1234_5678).mov(dr0, eax).mov(eax, 0x401).mov(dr7, eax).mov(ecx, 2).xor(edi, edi);
    // INC EDI the first time, DEC EDI the second.
    asm.label("again").inc(edi).mov(mem8(addr("again")), 0x4f).dec(ecx).jnz("again");
    asm.test(edi, edi).jz("right").label("wrong").jmp("wrong").label("right");
  });
  assert(steps < 30 && cache.decoded > 0);
});

Deno.test("a guest that writes to the code it runs has little decoded for nothing", async () => {
  const rounds = 300;
  const { cache, steps } = await run((asm) => {
    asm.mov(ecx, rounds).label("again");
    // Each store hits the line that it lies in, so that what follows is decoded anew.
    for (let i = 0; i < 64; i++) asm.mov(mem8(addr(`place${i}`)), i).label(`at${i}`).db(0xb0).label(`place${i}`).db(0);
    asm.dec(ecx).jnz("again");
  });
  assert(steps > 128 * rounds);
  assert(cache.decodedOperations < 4 * steps, `${cache.decodedOperations} decoded in ${steps} steps`);
});
