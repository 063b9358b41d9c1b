// What is behind a block device: files, overlays, memory; and the plugin that opens them for a VM.

import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { addVm, createHost } from "../../../cli/machine.ts";
import { InputError } from "../../../core/mod.ts";
import { FileDisk, MemoryDisk } from "../../../plugins/virtio-block/disk.ts";
import blockPlugin, * as block from "../../../plugins/virtio-block/mod.ts";
import virtioPlugin from "../../../plugins/virtio/mod.ts";

const pattern = (length: number, seed = 1) => Uint8Array.from({ length }, (_, i) => (i * seed + (i >> 8)) & 0xff);
const readAll = (disk: block.Disk) => {
  const bytes = new Uint8Array(disk.sizeBytes);
  disk.read(0, bytes);
  return bytes;
};

/** Runs with an image of `bytes`, which is removed in the end. */
function withImage(bytes: Uint8Array, use: (path: string) => void): void {
  const path = Deno.makeTempFileSync();
  try {
    Deno.writeFileSync(path, bytes);
    use(path);
  } finally {
    Deno.removeSync(path);
  }
}

Deno.test("a file disk writes to its file at once, and a flush is more than that only to the host", () => {
  withImage(pattern(4096), (path) => {
    const disk = new FileDisk(path, false);
    disk.write(1024, pattern(512, 3));
    assertEquals(Deno.readFileSync(path).slice(1024, 1536), pattern(512, 3), "a killed host loses nothing written");
    disk.flush();
    assertEquals(readAll(disk), Deno.readFileSync(path));
    disk.close();
    assertEquals(readAll(disk).length, 4096, "a closed disk opens again");
    disk.close();
  });
});

Deno.test("a file that is no whole number of sectors ends at its last whole one", () => {
  withImage(new Uint8Array(1300), (path) => {
    const disk = new FileDisk(path, true);
    assertEquals(disk.sizeBytes, 1024);
    disk.close();
  });
});

Deno.test("what is no disk image is refused by name", () => {
  withImage(new Uint8Array(100), (path) => {
    const error = assertThrows(() => new FileDisk(path, false), InputError);
    assertStringIncludes(error.message, path);
  });
  assertThrows(() => new FileDisk("no-such-file.img", true), InputError, "no-such-file.img");
});

Deno.test("an image has one writer or any number of readers", () => {
  withImage(new Uint8Array(1024), (path) => {
    const writer = new FileDisk(path, false);
    assertThrows(() => new FileDisk(path, false), InputError, "in use");
    assertThrows(() => new FileDisk(path, true), InputError, "in use");
    writer.close();
    const readers = [new FileDisk(path, true), new FileDisk(path, true)];
    assertThrows(() => new FileDisk(path, false), InputError, "in use");
    for (const reader of readers) reader.close();
    new FileDisk(path, false).close();
  });
});

Deno.test("a file that shrinks under a disk is an error of the read", () => {
  withImage(new Uint8Array(4096), (path) => {
    const disk = new FileDisk(path, true);
    Deno.truncateSync(path, 512);
    assertThrows(() => disk.read(0, new Uint8Array(1024)), Error, "shorter");
    disk.close();
  });
});

Deno.test("an overlay keeps what is written and leaves the file alone", () => {
  withImage(pattern(10_240), (path) => {
    const disk = new MemoryDisk(10_240, new FileDisk(path, true));
    const expected = pattern(10_240);
    for (const [offset, length] of [[512, 512], [3584, 1024], [4096, 4096], [9728, 512]]) {
      disk.write(offset, pattern(length, offset));
      expected.set(pattern(length, offset), offset);
      assertEquals(readAll(disk), expected);
    }
    assertEquals(Deno.readFileSync(path), pattern(10_240));
    disk.close();
  });
});

Deno.test("an overlay's contents go back with a saved state", () => {
  const disk = new MemoryDisk(64 * 1024);
  disk.write(1024, pattern(2048));
  const saved = disk.save(), before = readAll(disk);
  disk.write(0, pattern(8192, 7));
  disk.restore(saved);
  assertEquals([readAll(disk), disk.usedBytes], [before, 4096]);
});

const spin = {
  image: { loads: [{ address: 0x7c00, bytes: Uint8Array.of(0xfa, 0xf4) }], entry: 0x7c00, mode: "real" },
} as const;
const hostWith = () => createHost({ memoryMib: 16, plugins: [virtioPlugin, blockPlugin] });
const addWith = (host: ReturnType<typeof hostWith>, name: string, disks: unknown[]) =>
  addVm(host, { name, guest: spin, memoryMib: 1, options: { "virtio-block": { disks } } });

Deno.test("a VM has the disks that its options name, and they are closed when it ends", async () => {
  const path = await Deno.makeTempFile();
  try {
    await Deno.writeFile(path, new Uint8Array(2048));
    const host = hostWith();
    const vm = addWith(host, "a", [{ file: path }, { sizeMib: 1 }]);
    assertEquals(host.service(block.disks)(vm).map((disk) => disk.sizeBytes), [2048, 1 << 20]);
    assertThrows(() => addWith(host, "b", [{ file: path }]), InputError, "in use");
    assertEquals(host.vms.length, 1, "the VM whose disk is in use was not admitted");
    await host.run();
    assertEquals(vm.exit?.reason, "halt");
    const other = addWith(host, "c", [{ file: path, mode: "overlay" }]);
    assertEquals(host.service(block.disks)(other).length, 1);
    for (const disk of host.service(block.disks)(other)) disk.close();
  } finally {
    await Deno.remove(path);
  }
});

Deno.test("a VM without disks has none on its bus", () => {
  const host = hostWith();
  const vm = addVm(host, { guest: spin, memoryMib: 1 });
  assertEquals(host.service(block.disks)(vm), []);
});

const badOptions: [name: string, disk: Record<string, unknown>][] = [
  ["neither file nor size", {}],
  ["both file and size", { file: "a.img", sizeMib: 1 }],
  ["a size of 0", { sizeMib: 0 }],
  ["a mode of another kind", { sizeMib: 1, mode: "fast" }],
  ["a read-only disk in memory", { sizeMib: 1, mode: "read-only" }],
  ["an id that is too long", { sizeMib: 1, id: "x".repeat(21) }],
  ["an unknown key", { sizeMib: 1, size: 3 }],
];
for (const [name, disk] of badOptions) {
  Deno.test(`a disk with ${name} is refused with its path`, () => {
    const error = assertThrows(() => addWith(hostWith(), "a", [disk]), InputError);
    assertStringIncludes(error.message, "virtio-block");
    assert(!error.message.includes("\n"));
  });
}
