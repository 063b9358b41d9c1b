// What shadow-mmu promises: translations survive while another address space runs, and no change of the tables they come from
// is missed, whoever makes it and in whichever space; what it keeps is bounded.

import { assert, assertEquals } from "@std/assert";
import { addVm, createHost } from "../../../cli/machine.ts";
import * as memory from "../../../plugins/memory/mod.ts";
import shadowMmu from "../../../plugins/shadow-mmu/mod.ts";
import { GuestFault, type Processor, processor, state as S } from "../../../plugins/x86/mod.ts";

const PAGE = 4096;
/** Page directories, 16 KiB apart, each followed by the table of its window and the pages that it shows. */
const DIRECTORIES = 0x40_0000, SPACE_BYTES = 0x4000;
const WINDOW = 0x8000_0000 | 0, WINDOW_ENTRY = (WINDOW >>> 22) * 4;
const ALL = 7, LARGE = 0x80, ACCESSED = 0x20;
const CR0_PAGED = 0x8000_0001 | 0, CR4_PSE = 0x10, CR4_PAE = 0x20;

/** A paged processor with `spaces` address spaces: the window of each shows a page of its own, marked with its number. */
function fixture(options: Readonly<Record<string, unknown>> = {}, spaces = 2) {
  const host = createHost({ memoryMib: 16, plugins: [{ plugin: shadowMmu, options }] });
  const vm = addVm(host, { name: "vm", guest: { use: "hello" }, memoryMib: 8 });
  const cpu = host.service(processor)(vm), ram = host.service(memory.guest)(vm);
  const dma = (address: number, ...words: number[]) =>
    ram.write(address, new Uint8Array(Int32Array.from(words).buffer));
  const directory = (space: number) => DIRECTORIES + space * SPACE_BYTES;
  const table = (space: number) => directory(space) + PAGE, frame = (space: number) => table(space) + PAGE;
  for (let space = 0; space < spaces; space++) {
    // The first 8 MiB as they are, and the window.
    dma(directory(space), ALL | LARGE, 0x40_0000 | ALL | LARGE);
    dma(directory(space) + WINDOW_ENTRY, table(space) | ALL);
    dma(table(space), frame(space) | ALL);
    dma(frame(space), space);
  }
  const load = (space: number) => {
    cpu.r[S.CR3] = directory(space);
    cpu.mmu.flush(true);
  };
  cpu.r[S.CR4] = CR4_PSE;
  cpu.r[S.CR0] = CR0_PAGED;
  cpu.mmu.flush(false);
  load(0);
  const counts = () => host.plugins.loaded.get("shadow-mmu")?.stats.snapshot() as Record<string, number>;
  return { host, vm, cpu, dma, directory, table, frame, load, counts };
}

/** Whether a read raises a page fault. */
function faults(cpu: Processor, linear: number): boolean {
  try {
    cpu.read32(linear);
    return false;
  } catch (signal) {
    if (!(signal instanceof GuestFault)) throw signal;
    return signal.vector === S.Vector.pageFault;
  }
}

Deno.test("a translation survives a visit to another address space, and neither sees the other's", () => {
  const { cpu, load, counts } = fixture();
  assertEquals(cpu.read32(WINDOW), 0);
  load(1);
  assertEquals(cpu.read32(WINDOW), 1);
  const { hiddenFaults } = counts();
  for (let visit = 0; visit < 10; visit++) {
    load(visit & 1);
    assertEquals(cpu.read32(WINDOW), visit & 1);
  }
  assertEquals(counts().hiddenFaults, hiddenFaults);
  assertEquals(counts().trueFaults, 0);
});

const writers: readonly { who: string; write(f: ReturnType<typeof fixture>, address: number, value: number): void }[] =
  [
    { who: "the processor", write: ({ cpu }, address, value) => cpu.write32(address, value) },
    {
      who: "the processor, byte by byte",
      write: ({ cpu }, address, value) =>
        [0, 1, 2, 3].forEach((i) => cpu.write8(address + i, (value >>> (8 * i)) & 0xff)),
    },
    { who: "a device", write: ({ dma }, address, value) => dma(address, value) },
  ];

for (const { who, write } of writers) {
  Deno.test(`what ${who} writes to a page table is seen at once, also when its space returns`, () => {
    const f = fixture();
    const { cpu, load, table, frame, directory } = f;
    assertEquals(cpu.read32(WINDOW), 0);
    write(f, table(0), frame(1) | ALL);
    assertEquals(cpu.read32(WINDOW), 1);
    load(1);
    assertEquals(cpu.read32(WINDOW), 1);
    write(f, table(0), frame(0) | ALL);
    write(f, table(1), 0);
    assert(faults(cpu, WINDOW));
    load(0);
    assertEquals(cpu.read32(WINDOW), 0);
    write(f, directory(0) + WINDOW_ENTRY, table(1) | ALL);
    assert(faults(cpu, WINDOW));
    assertEquals(f.counts().trueFaults, 2);
  });
}

Deno.test("a store through a right to write that is older than the trace is seen", () => {
  const { cpu, table, frame } = fixture();
  // The table is written to before any walk goes through it.
  cpu.write32(table(0) + 4, frame(1) | ALL);
  assertEquals([cpu.read32(WINDOW), cpu.read32(WINDOW + PAGE)], [0, 1]);
  cpu.write32(table(0) + 4, frame(0) | ALL);
  assertEquals(cpu.read32(WINDOW + PAGE), 0);
});

Deno.test("an A bit that the guest clears is set again by the next access, kept translation or not", () => {
  const { cpu, load, table } = fixture();
  cpu.read32(WINDOW);
  load(1);
  cpu.write32(table(0), cpu.read32(table(0)) & ~ACCESSED);
  load(0);
  cpu.read32(WINDOW);
  assertEquals(cpu.read32(table(0)) & ACCESSED, ACCESSED);
});

Deno.test("a table that the guest gives to its balloon maps nothing any more; one that is swapped or shared still does", () => {
  const { host, vm, cpu, table, dma, counts } = fixture();
  cpu.read32(WINDOW);
  const { mechanism } = memory, pages = host.service(mechanism), ppn = table(0) / PAGE;
  const { hiddenFaults } = counts();
  // A copy elsewhere, so that they can share.
  dma(0x60_0000, ...new Int32Array(host.service(memory.guest)(vm).peek(ppn)?.slice().buffer ?? []));
  assert(pages.share(vm, 0x600, pages.frameOf(vm, ppn) ?? -1));
  assertEquals([cpu.read32(WINDOW), counts().hiddenFaults, counts().dropped], [0, hiddenFaults, 0]);
  pages.release(vm, ppn, memory.PageState.ballooned);
  assert(faults(cpu, WINDOW));
});

Deno.test("the spaces kept are bounded; those met longest ago go first, with their traces", () => {
  const { cpu, load, counts, directory } = fixture({ spaces: 3 }, 8);
  for (let space = 0; space < 8; space++) {
    load(space);
    assertEquals(cpu.read32(WINDOW), space);
  }
  assertEquals([counts().spaces, counts().evictedSpaces, counts().tables], [3, 5, 6]);
  assertEquals([0, 7].map((space) => cpu.mmu.traced[directory(space) / PAGE]), [0, 1]);
});

Deno.test("a trace is dropped after so many stores without a walk; what the table says counts from the next CR3 load on", () => {
  const { cpu, load, table, frame, counts } = fixture({ dropAfter: 4 });
  cpu.read32(WINDOW);
  for (let i = 0; i < 5; i++) cpu.write32(table(0) + 8 + i * 4, 0);
  assertEquals([counts().tracesDropped, cpu.mmu.traced[table(0) / PAGE]], [1, 0]);
  const { tracedStores } = counts();
  cpu.write32(table(0), frame(1) | ALL);
  load(0);
  assertEquals(cpu.read32(WINDOW), 1);
  assertEquals(counts().tracedStores, tracedStores);
  assertEquals(cpu.mmu.traced[table(0) / PAGE], 1);
});

Deno.test("a root that is written to as other memory is, while its space does not run, is no longer one", () => {
  const { cpu, load, directory, counts } = fixture({ dropAfter: 4 });
  cpu.read32(WINDOW);
  load(1);
  for (let i = 0; i < 5; i++) cpu.write32(directory(0) + 64 + i * 4, i);
  assertEquals([counts().forgottenSpaces, cpu.mmu.traced[directory(0) / PAGE]], [1, 0]);
});

for (const eagerFill of [false, true]) {
  Deno.test(`eager fill ${eagerFill ? "spares" : "off costs"} a hidden fault where the entry has its A bit`, () => {
    const { cpu, table, frame, counts } = fixture({ eagerFill });
    cpu.read32(WINDOW);
    cpu.write32(table(0) + 64, 0);
    const { hiddenFaults } = counts();
    cpu.write32(table(0) + 64, frame(1) | ALL | ACCESSED);
    assertEquals(cpu.read32(WINDOW + 16 * PAGE), 1);
    assertEquals([counts().hiddenFaults - hiddenFaults, counts().eagerFills], eagerFill ? [0, 1] : [1, 0]);
    // Without its A bit nobody may fill it but the access.
    cpu.write32(table(0) + 68, frame(1) | ALL);
    assertEquals(cpu.read32(table(0) + 68) & ACCESSED, 0);
    assertEquals(cpu.read32(WINDOW + 17 * PAGE), 1);
  });
}

Deno.test("with PAE an entry is two words, and other pointers under the same CR3 are another space", () => {
  const { cpu, dma, counts } = fixture();
  const pointers = 0x50_0000, directories = [0x50_1000, 0x50_2000], table = 0x50_3000, frames = [0x50_4000, 0x50_5000];
  // Pointer 2 maps the window; pointer 0 the first 8 MiB.
  dma(0x50_6000, 0 | ALL | LARGE, 0, 0x20_0000 | ALL | LARGE, 0, 0x40_0000 | ALL | LARGE, 0);
  dma(pointers, 0x50_6001, 0, 0, 0, directories[0] | 1, 0, 0, 0);
  dma(directories[0], table | ALL, 0);
  dma(directories[1], 0, 0);
  dma(table, frames[0] | ALL, 0, frames[1] | ALL, 0);
  frames.forEach((frame, i) => dma(frame, 10 + i));
  const load = () => {
    cpu.r[S.CR3] = pointers;
    assert(cpu.mmu.loadPdptes(pointers));
    cpu.mmu.flush(true);
  };
  cpu.r[S.CR4] = CR4_PAE;
  cpu.mmu.flush(false);
  load();
  assertEquals([cpu.read32(WINDOW), cpu.read32(WINDOW + PAGE)], [10, 11]);
  const { hiddenFaults } = counts();
  load();
  assertEquals([cpu.read32(WINDOW), counts().hiddenFaults], [10, hiddenFaults]);
  cpu.write32(table + 8, frames[0] | ALL);
  assertEquals(cpu.read32(WINDOW + PAGE), 10);
  cpu.write32(table + 12, 0x100);
  assert(faults(cpu, WINDOW + PAGE));
  dma(pointers + 16, directories[1] | 1);
  load();
  assert(faults(cpu, WINDOW));
});
