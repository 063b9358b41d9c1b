// Our own guests on the balloon plugin: their driver inflates, deflates and starts over, no page is ever wrong, and nobody
// else notices.

import { assert, assertEquals, assertMatch } from "@std/assert";
import { Assembler, dx, eax, ebx, ecx, edi, edx, esi, mem32 } from "../../../guests/assembler/mod.ts";
import type { GuestImage } from "../../../guests/mod.ts";
import type { PluginChoice } from "../../../cli/catalogue.ts";
import { BALLOON_MAGIC, BALLOON_PORT } from "../../../plugins/balloon/mod.ts";
import * as bt from "../../../plugins/bt/mod.ts";
import * as memory from "../../../plugins/memory/mod.ts";
import { balloonHost } from "./machine.ts";

const engines: readonly [name: string, plugins: readonly PluginChoice[]][] = [["interpreted", []], ["translated", [
  bt.default,
]]];
const MIB_PAGES = memory.FRAMES_PER_MIB;
const POOL = { poolMib: 12, workingSetMib: 4, passMs: 200 } as const;

/** The line by which guest `balloon` says that its working set is as it was written. */
const INTACT = `balloon: 1024 pages intact, checksum ${hex(workingSetChecksum(12 * MIB_PAGES, 1024, 1))}\n`;

for (const [name, plugins] of engines) {
  for (const batched of [0, 1]) {
    Deno.test(`a guest's balloon reaches its target and shrinks again, ${name}, ${batched ? "batched" : "page by page"}`, async () => {
      const { add, runTo, balloons, printed, machine, host } = balloonHost({ plugins });
      const vm = add({ guest: { use: "balloon", options: { ...POOL, batched, seconds: 9, pagesPerPoll: 700 } } });
      const actual = () => balloons.report(vm).actualPages;
      await runTo(0.9);
      assertEquals([balloons.report(vm).isConnected, actual()], [false, 0]);
      balloons.setTarget(vm, 6 * MIB_PAGES);
      await runTo(1.1);

      assertEquals(actual(), 700);
      await runTo(3.1);
      assertEquals(actual(), 6 * MIB_PAGES);
      machine.audit();
      balloons.setTarget(vm, 1000);
      await runTo(4.1);
      assertEquals(actual(), 1000);
      balloons.setTarget(vm, 0);
      await runTo(7.1);
      assertEquals(actual(), 0);
      machine.audit();
      await host.run();
      assertEquals(printed.get(vm), `${INTACT}balloon: 0 pages held, at most ${6 * MIB_PAGES}, 1 starts, 0 refused\n`);
      machine.audit();
    });
  }

  Deno.test(`a guest that uses pages in its balloon gets zeros, is told, and starts over, ${name}`, async () => {
    const { add, balloons, printed, machine, host } = balloonHost({ plugins });
    const vm = add({ guest: { use: "balloon", options: { ...POOL, seconds: 9, popEvery: 3 } } });
    balloons.setTarget(vm, 6 * MIB_PAGES);
    await host.run();
    // Popped at the third, sixth and ninth poll; the fifth and eighth start over, and fill the balloon anew.
    assertEquals(
      printed.get(vm),
      `${INTACT}balloon: ${6 * MIB_PAGES} pages held, at most ${6 * MIB_PAGES}, 3 starts, 0 refused\n`,
    );
    assertEquals(balloons.report(vm), {
      driver: "vmware",
      isConnected: false,
      targetPages: 6 * MIB_PAGES,
      actualPages: 6 * MIB_PAGES - 1,
      statistics: {},
    });
    machine.audit();
  });

  Deno.test(`a driver that the host resets starts over, ${name}`, async () => {
    const { add, runTo, balloons, printed, host } = balloonHost({ plugins });
    const vm = add({ guest: { use: "balloon", options: { ...POOL, seconds: 6 } } });
    balloons.setTarget(vm, 2000);
    await runTo(2.5);
    assertEquals(balloons.report(vm).actualPages, 2000);
    balloons.reset(vm);
    await runTo(3.5);
    assertEquals([balloons.report(vm).isConnected, balloons.report(vm).actualPages], [false, 2000]);
    await runTo(4.5);
    assertEquals([balloons.report(vm).isConnected, balloons.report(vm).actualPages], [true, 2000]);
    await host.run();
    assertMatch(printed.get(vm) ?? "", /2 starts, 0 refused/);
  });

  Deno.test(`a cache gives up what it can spare and grows again, and churning memory keeps its contents, ${name}`, async () => {
    const { add, runTo, balloons, printed, host, machine } = balloonHost({ plugins });
    const options = { poolMib: 12, fileMib: 16, seconds: 9, readsPerTick: 20 };
    const cache = add({ guest: { use: "filecache", options }, memoryMib: 16 });
    const churn = add({ guest: { use: "churn", options: { poolMib: 12, slotsMib: 4, seconds: 9 } }, memoryMib: 16 });
    await runTo(3.5);
    const before = machine.freeFrames;
    for (const vm of [cache, churn]) balloons.setTarget(vm, 9 * MIB_PAGES);
    await runTo(5.5);
    for (const vm of [cache, churn]) assertEquals(balloons.report(vm).actualPages, 9 * MIB_PAGES);
    // The cache had filled its pool, so that its blocks' frames came free.
    assert(machine.freeFrames >= before + 4 * MIB_PAGES, `${machine.freeFrames} of ${before} frames and more are free`);
    machine.audit();
    for (const vm of [cache, churn]) balloons.setTarget(vm, 0);
    await host.run();
    const cached = [...(printed.get(cache) ?? "").matchAll(/(\d+) blocks cached/g)].map(([, blocks]) => Number(blocks));
    assertEquals(cached.length, 9);
    assertEquals(Math.min(...cached.slice(3, 6)), 3 * MIB_PAGES);
    assert(cached[8] > 4 * MIB_PAGES, `the cache has grown to ${cached[8]} blocks`);
    assertMatch(printed.get(churn) ?? "", /^churn: \d+ pages filled, \d+ checked, checksum [0-9a-f]{8}\n$/);
    for (const vm of [cache, churn]) assertEquals(vm.exit?.status, 0);
    machine.audit();
  });
}

Deno.test("the guests notice a byte that is not what they wrote", async () => {
  const runs: readonly [use: string, options: Record<string, number>, says: RegExp][] = [
    ["balloon", { ...POOL, seconds: 4 }, /^balloon: corrupt page \d+\n$/],
    ["churn", { poolMib: 4, slotsMib: 1, seconds: 4 }, /^churn: corrupt page \d+\n$/],
    ["filecache", { poolMib: 4, fileMib: 8, seconds: 4 }, /\nfilecache: corrupt page \d+\n$/],
  ];
  for (const [use, options, says] of runs) {
    const { add, runTo, host, printed } = balloonHost();
    const vm = add({ guest: { use, options }, memoryMib: 16 });
    await runTo(2.5);
    // A bit of every word of every page of the pool that is in use.
    const guest = host.service(memory.guest)(vm);
    for (let ppn = 0x400; ppn < guest.pages; ppn++) {
      const contents = guest.peek(ppn)?.map((byte) => byte ^ 1);
      if (contents !== undefined) guest.write(ppn * memory.PAGE_SIZE, contents);
    }
    await host.run();
    assertMatch(printed.get(vm) ?? "", says);
    assertEquals(vm.exit?.reason, "debug-exit");
  }
});

Deno.test("a VM saved while its balloon grows goes on in a fresh host through the same states", async () => {
  const options = { guest: { use: "balloon", options: { ...POOL, seconds: 5, pagesPerPoll: 300 } } };
  const straight = balloonHost(), vm = straight.add(options);
  straight.balloons.setTarget(vm, 1500);
  await straight.runTo(2.5);
  const saved = straight.host.save(vm);
  const other = balloonHost(), copy = other.add(options);
  other.host.restore(copy, saved);
  other.machine.audit();
  const hashes = [straight, other].map((
    { host, balloons },
    i,
  ) => [host.stateHash([vm, copy][i]), balloons.report([vm, copy][i])]);
  assertEquals(hashes[0], hashes[1]);
  for (const { host, machine } of [straight, other]) {
    await host.run();
    machine.audit();
  }
  assertEquals(other.host.stateHash(copy), straight.host.stateHash(vm));
  assertEquals(other.balloons.report(copy).actualPages, 300 * 5);
});

Deno.test("a guest that begins anew without a word to its old balloon starts with all its memory", async () => {
  // As a warm boot does: the driver that comes knows nothing of the one that was.
  const asm = new Assembler({ origin: 0x10_0000 });
  const command = (number: number, argument: number) =>
    asm.mov(eax, BALLOON_MAGIC).mov(edx, BALLOON_PORT).mov(ecx, number).mov(ebx, argument).in(eax, dx);
  command(0, 2);
  for (let ppn = 0x300; ppn < 0x310; ppn++) command(2, ppn);
  command(0, 2);
  command(1, 0);
  asm.cli().hlt();
  const { balloons, add, host, machine } = balloonHost({ options: { balloon: { targetMib: 2 } } });
  const vm = add({ guest: { image: imageOf(asm) }, memoryMib: 8 });
  await host.run();
  assertEquals([balloons.report(vm).isConnected, balloons.report(vm).actualPages], [true, 0]);
  machine.audit();
});

Deno.test("garbage on the balloon's port, by single commands and batches, hurts the guest alone", async () => {
  for (const plugins of engines.map(([, chosen]) => chosen)) {
    const { add, host, machine, printed } = balloonHost({ plugins, options: { balloon: { targetMib: 100 } } });
    const neighbour = add({ guest: { use: "balloon", options: { ...POOL, seconds: 1 } } });
    const hostile = [1, 2, 3].map((seed) =>
      add({ name: `hostile${seed}`, guest: { image: vandal(seed) }, memoryMib: 4 })
    );
    let turns = 0;
    await host.run({ untilNs: 2e9, stop: () => (++turns % 64 === 0 && machine.audit(), false) });
    machine.audit();
    assertEquals(neighbour.exit?.status, 0);
    assertMatch(printed.get(neighbour) ?? "", /^balloon: 1024 pages intact/);
    assert(hostile.every((vm) => vm.exit?.reason !== "failed"), "the host gave a guest up");
  }
});

Deno.test("a guest that gives away the page it runs in, or writes to by string input, ends in the same way everywhere", async () => {
  const CODE_PPN = 0x100, DATA_PPN = 0x300;
  const give = (asm: Assembler, ppn: number) =>
    asm.mov(eax, BALLOON_MAGIC).mov(edx, BALLOON_PORT).mov(ecx, 2).mov(ebx, ppn);
  const guests: readonly [what: string, reason: string, (asm: Assembler) => unknown][] = [
    ["code", "triple-fault", (asm) => give(asm, CODE_PPN).in(eax, dx).cli().hlt()],
    ["data", "halt", (asm) => give(asm, DATA_PPN).mov(edi, DATA_PPN * memory.PAGE_SIZE).insd().cli().hlt()],
  ];
  for (const [what, reason, write] of guests) {
    const ends = [];
    for (const plugins of engines.map(([, chosen]) => chosen)) {
      const asm = new Assembler({ origin: 0x10_0000 });
      asm.mov(eax, BALLOON_MAGIC).mov(edx, BALLOON_PORT).mov(ecx, 0).mov(ebx, 2).in(eax, dx);
      write(asm);
      const { add, host, machine } = balloonHost({ plugins, options: { balloon: { targetMib: 1 } } });
      const vm = add({ guest: { image: imageOf(asm) }, memoryMib: 4 });
      await host.run();
      machine.audit();
      assertEquals(vm.exit?.reason, reason, what);
      ends.push([vm.clock.steps, host.stateHash(vm)]);
    }
    assertEquals(ends[0], ends[1], what);
  }
});

/** Sends commands at random to the port: over pages of its own code, its data and beyond its memory. It never ends by itself. */
function vandal(seed: number): Omit<GuestImage, "symbols"> {
  const asm = new Assembler({ origin: 0x10_0000 });
  const random = () => asm.imul(esi, esi, 0x0019_660d).add(esi, 0x3c6e_f35f).mov(eax, esi).shr(eax, 8);
  asm.mov(esi, seed).label("again");
  asm.mov(eax, BALLOON_MAGIC).mov(edx, BALLOON_PORT).mov(ecx, 0).mov(ebx, 6).in(eax, dx).mov(ecx, 60).label("next");
  asm.push(ecx);
  // A batch page's entries, each of any page up to beyond the end of memory, and some of none.
  random();
  asm.and(eax, 0x7ff).shl(eax, 12).mov(ebx, eax);
  random();
  asm.and(eax, 0x1ff).mov(mem32({ index: eax, scale: 8, disp: 0x30_0000 }), ebx);
  random();
  asm.and(eax, 7).mov(ecx, eax);
  random();
  // Its own code is spared, or it would be over soon.
  asm.and(eax, 0x7ff).or(eax, 0x200).mov(ebx, eax).test(ecx, 4).jz("single").and(ebx, 1).or(ebx, 0x300).label("single");
  asm.push(esi).and(esi, 0x3ff).mov(eax, BALLOON_MAGIC).mov(edx, BALLOON_PORT).in(eax, dx).pop(esi);
  asm.pop(ecx).dec(ecx).jnz("next").jmp("again");
  return imageOf(asm);
}

function imageOf(asm: Assembler): Omit<GuestImage, "symbols"> {
  const { bytes, origin } = asm.assemble();
  return { loads: [{ address: origin, bytes }], entry: origin, mode: "protected" };
}

/** What guest `balloon` makes of its working set: the top of its shuffled pool, page after page. */
function workingSetChecksum(pages: number, workingPages: number, seed: number): number {
  const stack = Array.from({ length: pages }, (_, i) => 0x400 + i);
  let random = seed;
  for (let at = pages - 1; at > 0; at--) {
    random = (Math.imul(random, 0x0019_660d) + 0x3c6e_f35f) | 0;
    const other = (random >>> 8) % (at + 1);
    [stack[at], stack[other]] = [stack[other], stack[at]];
  }
  let checksum = 0;
  for (const ppn of stack.slice(-workingPages).reverse()) {
    checksum = ((checksum << 5) | (checksum >>> 27)) ^ Math.imul(ppn, 0x9e37_79b1);
  }
  return checksum >>> 0;
}

function hex(value: number): string {
  return value.toString(16).padStart(8, "0");
}
