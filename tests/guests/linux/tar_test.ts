// Tests of guests/linux/tar.ts on handmade archives, delivered in chunks that cut members anywhere.

import { assertEquals, assertRejects } from "@std/assert";
import { readTar } from "../../../guests/linux/tar.ts";
import { chunked, tar } from "./fixtures.ts";

const bytes = (text: string) => new TextEncoder().encode(text);
const longPath = `./${"deep/".repeat(40)}file`;

const archive = tar([
  { path: "./", type: "5" },
  { path: "./boot/vmlinuz", data: bytes("kernel") },
  { path: "./lib/link", type: "2" },
  { path: "././@LongLink", type: "K", data: bytes("x".repeat(200) + "\0") },
  { path: "./lib/other-link", type: "2" },
  { path: "./skipped", data: new Uint8Array(1500).fill(1) },
  { path: "./exact", data: new Uint8Array(512).fill(2) },
  { path: "././@LongLink", type: "L", data: bytes(longPath + "\0") },
  { path: longPath.slice(0, 100), data: bytes("long") },
  { path: "name", prefix: "lib/modules", data: bytes("prefixed") },
  { path: "./last", data: new Uint8Array(0) },
]);

async function read(input: Uint8Array, chunkBytes: number): Promise<[string, number][]> {
  const files: [string, number][] = [];
  for await (const { path, data } of readTar(chunked(input, chunkBytes), (path) => path !== "skipped")) {
    files.push([path, data.length]);
  }
  return files;
}

for (const chunkBytes of [1, 511, 512, 1000, 1 << 20]) {
  Deno.test(`a tar stream in chunks of ${chunkBytes} bytes gives the wanted regular files in order`, async () => {
    assertEquals(await read(archive, chunkBytes), [
      ["boot/vmlinuz", 6],
      ["exact", 512],
      [longPath.slice(2), 4],
      ["lib/modules/name", 8],
      ["last", 0],
    ]);
  });
}

Deno.test("a file's contents and mode come out of a tar stream unchanged", async () => {
  const files = await Array.fromAsync(readTar(chunked(archive, 700), (path) => path === "boot/vmlinuz"));
  assertEquals(files, [{ path: "boot/vmlinuz", mode: 0o644, data: bytes("kernel") }]);
});

Deno.test("a tar stream that ends early is refused", async () => {
  await assertRejects(() => read(archive.subarray(0, 1030), 512), Error, "the stream ends");
  await assertRejects(() => read(archive.subarray(0, archive.length - 1024), 512), Error, "the stream ends");
});

Deno.test("a tar header with a wrong checksum is refused", async () => {
  const damaged = archive.slice();
  damaged[512 + 5] ^= 1;
  await assertRejects(() => read(damaged, 512), Error, "checksum");
});

Deno.test("a pax header is refused", async () => {
  await assertRejects(() => read(tar([{ path: "pax", type: "x", data: bytes("9 path=a\n") }]), 512), Error, "pax");
});
