import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { InputError } from "../../../core/mod.ts";
import { Header, readBzImage } from "../../../plugins/boot/bzimage.ts";
import { BOOT_CS, BOOT_DS, layOutLinux } from "../../../plugins/boot/linux.ts";
import type { LinuxSource } from "../../../plugins/boot/mod.ts";
import { handmadeKernel, MIB } from "./handmade_kernel.ts";

const source = (more: Partial<LinuxSource> = {}): LinuxSource => ({
  kernel: handmadeKernel(),
  kernelName: "vmlinuz",
  ...more,
});

function at(layout: ReturnType<typeof layOutLinux>, address: number): Uint8Array {
  const load = layout.loads.find((candidate) => candidate.address === address);
  assert(load !== undefined, `nothing is loaded at 0x${address.toString(16)}`);
  return load.bytes;
}

Deno.test("the kernel's protected-mode part is loaded and entered at code32_start", () => {
  const code = Uint8Array.from({ length: 512 }, (_, i) => i & 0xff);
  const layout = layOutLinux(source({ kernel: handmadeKernel({ code }) }), 64 * MIB);
  assertEquals(layout.eip, MIB);
  assertEquals(at(layout, MIB), code);
});

Deno.test("the zero page has the kernel's own header, the loader's fields and the memory map", () => {
  const initrd = new Uint8Array(5000).fill(7);
  const kernel = handmadeKernel();
  const layout = layOutLinux(source({ kernel, initrd, append: "quiet" }), 64 * MIB);
  const page = at(layout, layout.bootParams);
  const view = new DataView(page.buffer);
  assertEquals(page.length, 4096);
  assertEquals(view.getUint32(Header.header, true), 0x53726448);
  assertEquals(view.getUint32(Header.init_size, true), 8 * MIB);
  assertEquals(page[Header.type_of_loader], 0xff);
  assertEquals(page[0x1ef], 0, "the sentinel says that the rest of the page is zeroed");
  const commandLine = at(layout, view.getUint32(Header.cmd_line_ptr, true));
  assertEquals(new TextDecoder().decode(commandLine), "quiet\0");
  const initrdAddress = view.getUint32(Header.ramdisk_image, true);
  assertEquals(view.getUint32(Header.ramdisk_size, true), 5000);
  assertEquals(initrdAddress, 64 * MIB - 8192);
  assertEquals(at(layout, initrdAddress), initrd);
  const map = Array.from({ length: page[0x1e8] }, (_, i) => {
    const entry = 0x2d0 + 20 * i;
    return [Number(view.getBigUint64(entry, true)), Number(view.getBigUint64(entry + 8, true)), page[entry + 16]];
  });
  assertEquals(map, [[0, 0x9fc00, 1], [0xf0000, 0x10000, 2], [MIB, 63 * MIB, 1]]);
});

Deno.test("the descriptor table holds flat code and data at the selectors of the protocol", () => {
  const layout = layOutLinux(source(), 64 * MIB);
  const gdt = new DataView(at(layout, layout.gdt.base).buffer);
  assertEquals(gdt.getBigUint64(BOOT_CS, true), 0x00cf9a000000ffffn);
  assertEquals(gdt.getBigUint64(BOOT_DS, true), 0x00cf92000000ffffn);
  assertEquals(layout.gdt.limit + 1, gdt.byteLength);
});

Deno.test("nothing that is loaded overlaps, and all of low memory's part lies below the EBDA", () => {
  const layout = layOutLinux(source({ initrd: new Uint8Array(MIB), append: "x".repeat(2047) }), 64 * MIB);
  const sorted = layout.loads.toSorted((a, b) => a.address - b.address);
  for (const [i, { address, bytes }] of sorted.entries()) {
    const end = address + bytes.length;
    assert(end <= (sorted[i + 1]?.address ?? 64 * MIB), `what is at ${address} reaches into the next part`);
    assert(address >= MIB || end <= 0x9fc00);
  }
});

Deno.test("the initrd stays below the kernel's highest address for it, also where there is more memory", () => {
  const kernel = handmadeKernel({ initrdMax: 32 * MIB - 1 });
  const layout = layOutLinux(source({ kernel, initrd: new Uint8Array(4096) }), 64 * MIB);
  assertEquals(layout.loads.at(-1)?.address, 32 * MIB - 4096);
});

Deno.test("an old protocol has its own limits", () => {
  const old = readBzImage(handmadeKernel({ version: 0x202 }), "old");
  assertEquals([old.initrdMax, old.commandLineBytes, old.end], [0x37ffffff, 255, MIB + 1024]);
});

Deno.test("a machine just large enough takes the kernel, one MiB less does not", () => {
  layOutLinux(source(), 24 * MIB);
  const error = assertThrows(() => layOutLinux(source(), 23 * MIB), InputError);
  assertEquals(
    error.message,
    "kernel vmlinuz needs memory up to 24 MiB to unpack itself; the VM has 23 MiB: give it at least 24 MiB",
  );
});

const whole = handmadeKernel();
/** The unit in which the header gives the file's size. */
const PARAGRAPH_BYTES = 16;
const withByte = (offset: number, byte: number) => whole.with(offset, byte);
const elf = Uint8Array.from([0x7f, 0x45, 0x4c, 0x46, ...new Uint8Array(1024)]);
const badKernels: readonly [string, Uint8Array, string][] = [
  ["an empty file", new Uint8Array(), "the file is empty"],
  ["a file that ends before the header", whole.subarray(0, 0x205), "truncated: 517 bytes end before the setup header"],
  ["a file that ends in the header", whole.subarray(0, 0x240), "truncated: 576 bytes where its header says 2048"],
  ["a file without its last paragraph", whole.subarray(0, 2032), "truncated: 2032 bytes where its header says 2048"],
  [
    "a compressed kernel that lacks its last byte",
    withByte(Header.payload_length, 1).subarray(0, 2047),
    "truncated: 2047 bytes where its header says 2048",
  ],
  ["a text", new TextEncoder().encode("hello ".repeat(200)), 'not a Linux kernel: no "HdrS" at 0x202'],
  ["a boot sector without the magic", withByte(Header.header, 0), "not a Linux kernel"],
  ["an ELF file", elf, "an ELF file; give the bzImage"],
  ["a zImage", handmadeKernel({ loadflags: 0 }), "a zImage, loaded low"],
  ["protocol 2.01", handmadeKernel({ version: 0x201 }), "boot protocol 2.01; 2.02 or later is needed"],
  ["a 64-bit kernel", handmadeKernel({ xloadflags: 1 }), "a 64-bit kernel; this machine is IA-32"],
  ["a kernel above 4 GiB", handmadeKernel({ preferred: 2 ** 32 }), "prefers to run above 4 GiB"],
];
for (const [what, kernel, message] of badKernels) {
  Deno.test(`${what} is refused in one line: ${message}`, () => {
    const error = assertThrows(() => layOutLinux(source({ kernel, kernelName: "k" }), 64 * MIB), InputError);
    assertStringIncludes(error.message, "kernel k: ");
    assertStringIncludes(error.message, message);
    assertEquals(error.message.includes("\n"), false);
  });
}

Deno.test("a kernel that is cut anywhere is refused, never half loaded", () => {
  for (let length = 0; length <= whole.length - PARAGRAPH_BYTES; length += 61) {
    assertThrows(() => readBzImage(whole.subarray(0, length), "k"), InputError);
  }
});

Deno.test("a kernel without a payload may end within its last paragraph, as memtest86+ does", () => {
  const unpadded = whole.subarray(0, whole.length - PARAGRAPH_BYTES + 1);
  assertEquals(readBzImage(unpadded, "k").kernel, whole.subarray(1024, whole.length - PARAGRAPH_BYTES + 1));
});

Deno.test("an initrd that does not fit is refused with the sum", () => {
  const initrd = new Uint8Array(9 * MIB);
  const error = assertThrows(() => layOutLinux(source({ initrd, initrdName: "big" }), 32 * MIB), InputError);
  assertEquals(
    error.message,
    "initrd big of 9 MiB does not fit: kernel vmlinuz takes all up to 24 MiB of 32 MiB, which leaves 8 MiB; " +
      "give the VM at least 34 MiB",
  );
  layOutLinux(source({ initrd, initrdName: "big" }), 34 * MIB);
});

Deno.test("an initrd that lies beyond the kernel's reach asks for a smaller one, not for memory", () => {
  const kernel = handmadeKernel({ initrdMax: 25 * MIB - 1 });
  const initrd = new Uint8Array(2 * MIB);
  const error = assertThrows(() => layOutLinux(source({ kernel, initrd }), 64 * MIB), InputError);
  assertStringIncludes(error.message, "make the initrd smaller");
});

Deno.test("a command line longer than the kernel takes is refused with both lengths", () => {
  const error = assertThrows(() => layOutLinux(source({ append: "x".repeat(2048) }), 64 * MIB), InputError);
  assertEquals(error.message, "the kernel command line has 2048 bytes; kernel vmlinuz takes at most 2047");
  layOutLinux(source({ append: "x".repeat(2047) }), 64 * MIB);
});
