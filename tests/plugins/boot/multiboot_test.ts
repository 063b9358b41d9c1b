// Multiboot: which files are kernels, what goes where, what a kernel finds, and what is refused.

import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import fc from "fast-check";
import { addVm, createHost } from "../../../cli/machine.ts";
import { InputError } from "../../../core/mod.ts";
import * as boot from "../../../plugins/boot/mod.ts";
import { findMultibootHeader, Information, layOutMultiboot } from "../../../plugins/boot/multiboot.ts";
import * as memory from "../../../plugins/memory/mod.ts";
import * as pc from "../../../plugins/pc/mod.ts";
import * as x86 from "../../../plugins/x86/mod.ts";
import { handmadeKernel, MIB } from "./handmade_kernel.ts";
import { elfFile, elfKernel, flatKernel, HAS_ADDRESSES, multibootHeader } from "./handmade_multiboot.ts";

const CODE = Uint8Array.of(0xfa, 0xf4, 1, 2, 3);
const source = (kernel: Uint8Array, rest: Partial<boot.MultibootSource> = {}): boot.MultibootSource => ({
  kernel,
  kernelName: "kernel.elf",
  ...rest,
});

/** Memory as a layout leaves it. */
function laidOut(given: boot.MultibootSource, memoryBytes = 8 * MIB) {
  const layout = layOutMultiboot(given, memoryBytes);
  const bytes = new Uint8Array(memoryBytes).fill(0xcc), view = new DataView(bytes.buffer);
  for (const load of layout.loads) bytes.set(load.bytes, load.address);
  const information = (field: number) => view.getUint32(layout.information + field, true);
  const text = (address: number) => new TextDecoder().decode(bytes.subarray(address, bytes.indexOf(0, address)));
  return { layout, bytes, view, information, text };
}

const headers: [name: string, file: Uint8Array, at: number | undefined][] = [
  ["at the start", multibootHeader(0), 0],
  ["at an aligned place", Uint8Array.of(...new Uint8Array(36), ...multibootHeader(3)), 36],
  ["at an unaligned place", Uint8Array.of(1, 2, ...multibootHeader(3)), undefined],
  ["that ends the first 8192 bytes", Uint8Array.of(...new Uint8Array(8180), ...multibootHeader(0)), 8180],
  ["beyond the first 8192 bytes", Uint8Array.of(...new Uint8Array(8184), ...multibootHeader(0)), undefined],
  ["with a wrong checksum", multibootHeader(0).with(8, 0), undefined],
  ["after a magic number that is none", Uint8Array.of(...multibootHeader(0).slice(0, 4), ...multibootHeader(0)), 4],
  ["in no file at all", new Uint8Array(0), undefined],
  ["in a Linux kernel", handmadeKernel(), undefined],
];
for (const [name, file, at] of headers) {
  Deno.test(`a header ${name} is ${at === undefined ? "not found" : "found"}`, () => {
    assertEquals(findMultibootHeader(file), at);
  });
}

Deno.test("an ELF kernel's segments go to their physical addresses, with zeros behind them", () => {
  const header = multibootHeader(0);
  const kernel = elfFile(0xc010_000c, [
    { physical: MIB, virtual: 0xc010_0000, bytes: Uint8Array.of(...header, ...CODE) },
    { type: 4, physical: 0, bytes: Uint8Array.of(9, 9) },
    { physical: 2 * MIB, virtual: 0xc020_0000, bytes: CODE, memoryBytes: 5000 },
  ]);
  const { layout, bytes } = laidOut(source(kernel));
  assertEquals(layout.entry, MIB + 12, "the entry goes with its segment");
  assertEquals(bytes.slice(MIB, MIB + 17), Uint8Array.of(...header, ...CODE));
  assertEquals(bytes.slice(2 * MIB, 2 * MIB + 5000), Uint8Array.of(...CODE, ...new Uint8Array(4995)));
  assertEquals([bytes[0], bytes[2 * MIB + 5000]], [0xcc, 0xcc]);
});

Deno.test("a header with addresses says what of the file goes where", () => {
  const kernel = flatKernel(CODE, 100);
  const { layout, bytes } = laidOut(source(kernel));
  assertEquals(layout.entry, MIB + 32);
  assertEquals(bytes.slice(MIB, MIB + kernel.length + 101), Uint8Array.of(...kernel, ...new Uint8Array(100), 0xcc));
});

Deno.test("addresses of 0 mean the whole file and no memory behind it; the header need not come first", () => {
  const header = multibootHeader(HAS_ADDRESSES, [MIB + 8, MIB + 4, 0, 0, MIB + 40]);
  const kernel = Uint8Array.of(9, 9, 9, 9, 8, 8, 8, 8, ...header, ...CODE);
  const { bytes } = laidOut(source(kernel));
  assertEquals(bytes.slice(MIB + 3, MIB + 46), Uint8Array.of(0xcc, ...kernel.slice(4), 0xcc));
});

Deno.test("the boot information holds sizes, map, command line, loader and modules", () => {
  const modules = [{ bytes: new Uint8Array(5000).fill(1), text: "disk.img ro" }, { bytes: Uint8Array.of(7) }];
  const { information, text, view, bytes } = laidOut(source(elfKernel(CODE), { append: "a=1 b", modules }));
  assertEquals(information(Information.flags), 1 | 4 | 8 | 64 | 512);
  assertEquals([information(Information.mem_lower), information(Information.mem_upper)], [639, 7 * 1024]);
  assertEquals(text(information(Information.cmdline)), "a=1 b");
  assertEquals(text(information(Information.boot_loader_name)), "Ballast");
  assertEquals(information(Information.mods_count), 2);
  const list = Array.from({ length: 8 }, (_, i) => view.getUint32(information(Information.mods_addr) + i * 4, true));
  assertEquals([list[0], list[1], list[4], list[5]], [MIB + 4096, MIB + 9096, MIB + 12288, MIB + 12289]);
  assertEquals([text(list[2]), text(list[6]), list[3], list[7]], ["disk.img ro", "", 0, 0]);
  assertEquals([bytes[MIB + 4096], bytes[MIB + 9095], bytes[MIB + 12288]], [1, 1, 7]);
});

Deno.test("the memory map is one of ranges, each behind its size", () => {
  const { information, view } = laidOut(source(elfKernel(CODE)));
  const ranges: [number, bigint, bigint, number][] = [];
  const start = information(Information.mmap_addr), end = start + information(Information.mmap_length);
  for (let at = start; at < end; at += view.getUint32(at, true) + 4) {
    const [base, length] = [view.getBigUint64(at + 4, true), view.getBigUint64(at + 12, true)];
    ranges.push([view.getUint32(at, true), base, length, view.getUint32(at + 20, true)]);
  }
  const usable = ranges.filter(([, , , type]) => type === 1);
  assertEquals(usable, [[20, 0n, 0x9fc00n, 1], [20, 0x100000n, 0x700000n, 1]]);
});

Deno.test("a text screen is told of as a framebuffer of characters, and only where there is one", () => {
  const screen = { address: 0xb8000, columns: 80, rows: 25, characterLines: 16 };
  const { loads, information } = layOutMultiboot(source(elfKernel(CODE, 4)), 8 * MIB, screen);
  const bytes = loads.find(({ address }) => address === information)?.bytes ?? new Uint8Array();
  const view = new DataView(bytes.buffer);
  assertEquals(view.getUint32(Information.flags, true) & 4096, 4096);
  assertEquals([view.getBigUint64(88, true), view.getUint32(96, true)], [0xb8000n, 160]);
  assertEquals([view.getUint32(100, true), view.getUint32(104, true), bytes[108], bytes[109]], [80, 25, 16, 2]);
  assertEquals(laidOut(source(elfKernel(CODE, 4))).information(Information.flags) & 4096, 0);
});

Deno.test("the boot information makes room for a kernel in low memory", () => {
  const bytes = Uint8Array.of(...multibootHeader(0), ...new Uint8Array(0x3000));
  const { layout } = laidOut(source(elfFile(0x100c, [{ physical: 0x1000, bytes }])));
  assertEquals(layout.information, 0x5000);
});

const header = multibootHeader(0);
const refusals: [name: string, given: boot.MultibootSource, memoryMib: number, words: string[]][] = [
  ["a file without a header", source(CODE), 8, ["no Multiboot header"]],
  ["a required feature unknown to us", source(elfKernel(CODE, 0x20)), 8, ["0x20"]],
  ["neither addresses nor ELF", source(Uint8Array.of(...header, ...CODE)), 8, ["flag 16", "no ELF"]],
  ["a header of addresses that is cut off", source(multibootHeader(HAS_ADDRESSES)), 8, ["cut off"]],
  [
    "a load address after the header",
    source(multibootHeader(HAS_ADDRESSES, [MIB, 2 * MIB, 0, 0, MIB])),
    8,
    ["after the header"],
  ],
  [
    "a load end beyond the file",
    source(multibootHeader(HAS_ADDRESSES, [MIB, MIB, MIB + 33, 0, MIB])),
    8,
    ["0x100021", "32 bytes"],
  ],
  [
    "a load end before its start",
    source(multibootHeader(HAS_ADDRESSES, [MIB, MIB, MIB - 1, 0, MIB])),
    8,
    ["0xfffff"],
  ],
  ["an ELF file for another machine", source(elfFile(MIB, [{ physical: MIB, bytes: header }], 62)), 8, ["386"]],
  ["an ELF file with nothing to load", source(elfFile(MIB, [{ type: 4, physical: MIB, bytes: header }])), 8, [
    "nothing to load",
  ]],
  ["an entry outside", source(elfFile(3 * MIB, [{ physical: MIB, bytes: header }])), 8, ["0x300000"]],
  ["a segment beyond memory", source(elfFile(9 * MIB, [{ physical: 9 * MIB, bytes: header }])), 8, [
    "0x900000",
    "give the VM more",
  ]],
  ["a segment in the adapters' memory", source(elfFile(0xb8000, [{ physical: 0xb8000, bytes: header }])), 8, [
    "0xb8000",
  ]],
  [
    "a module beyond memory",
    source(elfKernel(CODE), { modules: [{ bytes: new Uint8Array(8 * MIB), text: "big" }] }),
    8,
    ["module 1 (big)", "10 MiB"],
  ],
  ["a command line with a zero byte", source(elfKernel(CODE), { append: "a\0b" }), 8, ["zero byte"]],
];
for (const [name, given, memoryMib, words] of refusals) {
  Deno.test(`a kernel with ${name} is refused in one line that says why`, () => {
    const error = assertThrows(() => layOutMultiboot(given, memoryMib * MIB), InputError);
    for (const word of words) assertStringIncludes(error.message, word);
    assert(!error.message.includes("\n"));
  });
}

Deno.test("no damaged kernel does worse than an InputError, and nothing is ever laid out beyond memory", () => {
  const kernels = [elfKernel(CODE, 3), flatKernel(CODE, 64)];
  const damage = fc.array(fc.tuple(fc.nat(120), fc.nat(255)), { maxLength: 6 });
  fc.assert(
    fc.property(fc.nat(1), damage, fc.nat(4200), (which, changes, cutBytes) => {
      const kernel = kernels[which].slice(0, Math.max(0, kernels[which].length - cutBytes % 40));
      for (const [at, value] of changes) if (at >= 12 || which === 0) kernel[at] = value;
      try {
        const { loads } = layOutMultiboot(source(kernel), 8 * MIB);
        for (const { address, bytes } of loads) assert(address >= 0 && address + bytes.length <= 8 * MIB);
      } catch (error) {
        assert(error instanceof InputError, String(error));
      }
    }),
    { numRuns: 500 },
  );
});

/** MOV EDX, 3F8h; then sends bytes of [EBX + cmdline] until a zero; CLI; HLT. */
const PRINT_COMMAND_LINE = Uint8Array.of(
  ...[0xba, 0xf8, 0x03, 0x00, 0x00],
  ...[0x3d, 0x02, 0xb0, 0xad, 0x2b, 0x75, 0x0b], // CMP EAX, 2BADB002h; JNE end
  ...[0x8b, 0x73, 0x10], // MOV ESI, [EBX+16]
  ...[0xac, 0x84, 0xc0, 0x74, 0x03, 0xee, 0xeb, 0xf8], // next: LODSB; TEST AL, AL; JZ end; OUT DX, AL; JMP next
  ...[0xfa, 0xf4],
);

const sources: [name: string, source: boot.BootSource][] = [
  ["given as one", { multiboot: source(elfKernel(PRINT_COMMAND_LINE), { append: "hello" }) }],
  ["given as a kernel of any kind", {
    linux: { kernel: flatKernel(PRINT_COMMAND_LINE), kernelName: "k", append: "hello" },
  }],
];
for (const [name, given] of sources) {
  Deno.test(`a Multiboot kernel ${name} runs, with its magic number and command line`, async () => {
    const host = createHost({ memoryMib: 64 });
    const vm = host.add({ name: "k", memoryMib: 8, minMib: 0, shares: 1000, cpuMhz: 100, options: {} });
    host.service(boot.loader).load(vm, given);
    const cpu = host.service(x86.processor)(vm);
    assertEquals([cpu.isProtected, cpu.getRegister(x86.EAX) >>> 0, cpu.eflags()], [true, 0x2badb002, 2]);
    const sent: number[] = [];
    host.service(pc.serial)(vm).attach({ transmit: (byte) => void sent.push(byte), nextByte: () => undefined });
    await host.run();
    assertEquals([vm.exit?.reason, new TextDecoder().decode(Uint8Array.from(sent))], ["halt", "hello"]);
  });
}

Deno.test("an initrd is the first module of a Multiboot kernel", () => {
  const host = createHost({ memoryMib: 64 });
  const linux = { kernel: elfKernel(CODE), kernelName: "k", initrd: Uint8Array.of(1, 2), initrdName: "i.img" };
  const vm = addVm(host, { guest: { linux }, memoryMib: 8 });
  const information = new Uint8Array(28);
  host.service(memory.guest)(vm).read(host.service(x86.processor)(vm).getRegister(x86.EBX), information);
  assertEquals(information[20], 1);
});
