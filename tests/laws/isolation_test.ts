// Law 4: a guest reaches only machine pages that its own pmap maps, a page given to it reads as zeros, and no guest,
// however hostile, makes the host throw, hang or grow.

import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { addVm, createHost, type VmOptions } from "../../cli/machine.ts";
import { definePlugin, type Host, type Vm } from "../../core/mod.ts";
import { addr, Assembler, eax, ecx, edi, esi, mem32 } from "../../guests/assembler/mod.ts";
import * as console from "../../plugins/console/mod.ts";
import * as memory from "../../plugins/memory/mod.ts";
import * as x86 from "../../plugins/x86/mod.ts";

const ORIGIN = 0x10_0000;
/** First address behind the programs here. */
const FREE_MEMORY = 0x20_0000;
const MIB = 1 << 20;
const PATTERN = 0x5afe_c0de | 0;

type Image = Extract<VmOptions["guest"], { image: unknown }>;

/** A protected-mode program that halts at its end; what it found stays in EAX. */
function program(write: (asm: Assembler) => void): Image {
  const asm = new Assembler({ origin: ORIGIN });
  write(asm);
  asm.cli().hlt();
  const { bytes } = asm.assemble();
  return { image: { loads: [{ address: ORIGIN, bytes }], entry: ORIGIN, mode: "protected" } };
}

/** Fills memory from FREE_MEMORY to the end with the pattern. */
const filler = (memoryMib: number) =>
  program((asm) => {
    asm.mov(edi, FREE_MEMORY).mov(ecx, (memoryMib * MIB - FREE_MEMORY) / 4).mov(eax, PATTERN).rep().stosd();
  });

/** Fills its memory, too, and then goes round for ever. */
const resident = (memoryMib: number) =>
  program((asm) => {
    asm.mov(edi, FREE_MEMORY).mov(ecx, (memoryMib * MIB - FREE_MEMORY) / 4).mov(eax, PATTERN).rep().stosd();
    asm.label("ever").jmp("ever");
  });

/** Counts in EAX the words that are not zero from FREE_MEMORY to the end. */
const searcher = (memoryMib: number) =>
  program((asm) => {
    asm.xor(eax, eax).mov(esi, FREE_MEMORY).mov(ecx, (memoryMib * MIB - FREE_MEMORY) / 4);
    asm.label("next").cmp(mem32(esi), 0).jz("zero").inc(eax).label("zero").add(esi, 4).dec(ecx).jnz("next");
  });

/** Writes to addresses beyond its memory and counts in EAX those that read as anything but ones. */
const trespasser = (addresses: readonly number[]) =>
  program((asm) => {
    asm.xor(eax, eax).xor(ecx, ecx).label("next").mov(esi, mem32({ index: ecx, scale: 4, disp: addr("addresses") }));
    asm.mov(mem32(esi), PATTERN).cmp(mem32(esi), -1).jz("ones").inc(eax);
    asm.label("ones").inc(ecx).cmp(ecx, addresses.length).jnz("next").cli().hlt();
    asm.align(4).label("addresses");
    for (const address of addresses) asm.dd(address);
  });

function found(host: Host, vm: Vm): number {
  assertEquals(vm.exit?.reason, "halt");
  return host.service(x86.processor)(vm).r[0];
}

Deno.test("memory of a VM that ended reads as zeros in the next", async () => {
  const memoryMib = 8;
  const host = createHost({ memoryMib: memoryMib + 1, plugins: [] });
  for (let round = 0; round < 3; round++) {
    addVm(host, { name: `filler${round}`, guest: filler(memoryMib), memoryMib });
    await host.run();
    const vm = addVm(host, { name: `searcher${round}`, guest: searcher(memoryMib), memoryMib });
    await host.run();
    assertEquals(found(host, vm), 0);
    host.service(memory.machine).audit();
  }
});

Deno.test("accesses beyond a VM's memory reach nobody's and read as ones", async () => {
  const memoryMib = 4, residentMib = 8;
  const host = createHost({ memoryMib: 32, quantumNs: 100_000, plugins: [] });
  const neighbours = [0, 1].map((n) =>
    addVm(host, { name: `resident${n}`, guest: resident(residentMib), memoryMib: residentMib })
  );
  const filled = residentMib * MIB / 4;
  await host.run({ stop: () => neighbours.every((vm) => vm.clock.steps > filled) });
  const pages = () => neighbours.map((vm) => contents(host, vm));
  const before = pages();
  assert(before.every((of) => of[FREE_MEMORY / memory.PAGE_SIZE]?.[0] === (PATTERN & 0xff)));
  const ends = [memoryMib * MIB, 8 * MIB, 16 * MIB, 32 * MIB, 64 * MIB, 0x4000_0000, 0x8000_0000, 0xfff0_0000];
  const addresses = ends.flatMap((end) => [end, end + 4, end + memory.PAGE_SIZE, end + MIB - 4]);
  const vm = addVm(host, { name: "trespasser", guest: trespasser(addresses), memoryMib });
  await host.run({ stop: () => vm.state === "exited" });
  assertEquals(found(host, vm), 0);
  assertEquals(pages(), before);
  host.service(memory.machine).audit();
});

Deno.test("a running neighbour is not touched by one that fills its memory and goes beyond", async () => {
  const subject = { guest: { use: "toucher", options: { schedule: "3:60", passMs: 10 } }, memoryMib: 8 } as const;
  const alone = createHost({ memoryMib: 32, plugins: [] });
  const expected = addVm(alone, subject);
  await alone.run();
  const host = createHost({ memoryMib: 32, quantumNs: 50_000, plugins: [] });
  addVm(host, { name: "filler", guest: filler(8), memoryMib: 8 });
  const vm = addVm(host, subject);
  addVm(host, { name: "trespasser", guest: trespasser([8 * MIB, 16 * MIB, 24 * MIB]), memoryMib: 4 });
  await host.run();
  assertEquals([vm.clock.steps, host.stateHash(vm)], [expected.clock.steps, alone.stateHash(expected)]);
});

/** Copies of all pages of a VM that hold a frame, by PPN. */
function contents(host: Host, vm: Vm): (Uint8Array | undefined)[] {
  const pages = host.service(memory.guest)(vm);
  return Array.from({ length: pages.pages }, (_, ppn) => pages.peek(ppn)?.slice());
}

/** Steps that a hostile guest is given. */
const HOSTILE_STEPS = 30_000;

Deno.test("random bytes as a program do the host no harm, and compute the same twice", async () => {
  const programs = fc.record({
    bytes: fc.uint8Array({ minLength: 64, maxLength: 2048 }),
    mode: fc.constantFrom("real" as const, "protected" as const),
  });
  await fc.assert(
    fc.asyncProperty(programs, async ({ bytes, mode }) => {
      const [first, second] = [await runHostile(bytes, mode, 10e6), await runHostile(bytes, mode, 17_000)];
      assertEquals(second, first);
    }),
    { numRuns: 100, seed: 1 },
  );
});

async function runHostile(bytes: Uint8Array, mode: "real" | "protected", quantumNs: number) {
  const address = mode === "real" ? 0x7c00 : ORIGIN;
  const host = createHost({ memoryMib: 4, quantumNs, plugins: [] });
  let printed = 0;
  host.load({
    plugin: definePlugin({
      name: "counter",
      requires: ["console"],
      setup: ({ on }) => void on(console.output, () => void printed++),
    }),
  });
  const vm = addVm(host, { guest: { image: { loads: [{ address, bytes }], entry: address, mode } }, memoryMib: 2 });
  vm.checkpointEvery(HOSTILE_STEPS);
  await host.run({ stop: () => vm.clock.steps >= HOSTILE_STEPS });
  host.service(memory.machine).audit();
  assert(vm.exit?.reason !== "failed");
  return { steps: vm.clock.steps, hash: host.stateHash(vm), exit: vm.exit, printed };
}
