// Tests of guests/linux/initramfs.ts: what is in the archive and in which order the kernel finds it.

import { gunzipSync } from "node:zlib";
import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  buildInitramfs,
  busyboxApplets,
  compressInitramfs,
  DEFAULT_INIT,
  type InitramfsParts,
} from "../../../guests/linux/initramfs.ts";
import { readCpio } from "./cpio_reader.ts";
import { busyboxWith } from "./fixtures.ts";

const bytes = (text: string) => new TextEncoder().encode(text);
const APPLETS = ["[", "[[", "ash", "busybox", "sh"];

function parts(changes: Partial<InitramfsParts> = {}): InitramfsParts {
  return { busybox: busyboxWith(APPLETS), modules: [], extraFiles: new Map(), init: DEFAULT_INIT, ...changes };
}

Deno.test("the applet names are read out of the busybox binary", () => {
  assertEquals(busyboxApplets(busyboxWith(APPLETS)), APPLETS);
  assertThrows(() => busyboxApplets(bytes("\x7fELF no table")), Error, "no applet table");
});

Deno.test("the archive holds init, busybox with its links, and the devices init needs", () => {
  const entries = new Map(readCpio(buildInitramfs(parts())).map((entry) => [entry.path, entry]));
  assertEquals(entries.get("init"), { kind: "file", path: "init", mode: 0o755, data: bytes(DEFAULT_INIT) });
  assertEquals(entries.get("bin/sh"), { kind: "symlink", path: "bin/sh", target: "busybox" });
  assertEquals(entries.get("bin/["), { kind: "symlink", path: "bin/[", target: "busybox" });
  assertEquals(entries.get("bin/busybox")?.kind, "file");
  const device = (name: string) => {
    const entry = entries.get(`dev/${name}`);
    return entry?.kind === "character-device" ? [entry.major, entry.minor] : undefined;
  };
  assertEquals(["console", "null", "ttyS0"].map(device), [[5, 1], [1, 3], [4, 64]]);
  for (const path of ["proc", "sys", "tmp", "root"]) assertEquals(entries.get(path)?.kind, "directory");
  assert(!entries.has("lib/modules/load-order"), "no modules, no list of modules");
});

Deno.test("every entry comes after its parent directory", () => {
  const extraFiles = new Map([["/opt/a/b/run.sh", bytes("#!/bin/sh\n")], ["/tmp/x", bytes("x")]]);
  const modules = [{ path: "lib/modules/6.1/kernel/virtio.ko", data: bytes("ko") }];
  const directories = new Set<string>();
  for (const entry of readCpio(buildInitramfs(parts({ extraFiles, modules })))) {
    const slash = entry.path.lastIndexOf("/");
    if (slash >= 0) assert(directories.has(entry.path.slice(0, slash)), `${entry.path} has no directory before it`);
    if (entry.kind === "directory") directories.add(entry.path);
  }
});

Deno.test("modules are listed for init in load order", () => {
  const modules = ["b", "a"].map((name) => ({ path: `lib/modules/6.1/${name}.ko`, data: bytes(name) }));
  const entry = readCpio(buildInitramfs(parts({ modules }))).find(({ path }) => path === "lib/modules/load-order");
  assert(entry?.kind === "file");
  assertEquals(new TextDecoder().decode(entry.data), "/lib/modules/6.1/b.ko\n/lib/modules/6.1/a.ko\n");
});

Deno.test("extra programs are executable, other extra files are not, and their order does not matter", () => {
  const files: [string, Uint8Array][] = [["/bin/sieve", bytes("\x7fELF")], ["/run.sh", bytes("#!/bin/sh")], [
    "/data",
    bytes("#"),
  ]];
  const archive = buildInitramfs(parts({ extraFiles: new Map(files) }));
  assertEquals(archive, buildInitramfs(parts({ extraFiles: new Map(files.toReversed()) })));
  const modes = new Map(readCpio(archive).map((entry) => [entry.path, entry.kind === "file" ? entry.mode : undefined]));
  assertEquals(["bin/sieve", "run.sh", "data"].map((path) => modes.get(path)), [0o755, 0o755, 0o644]);
});

for (const [path, message] of [["relative", "absolute"], ["/../up", "relative path"], ["/init", "twice"]]) {
  Deno.test(`an extra file at ${path} is refused`, () => {
    assertThrows(() => buildInitramfs(parts({ extraFiles: new Map([[path, bytes("x")]]) })), Error, message);
  });
}

Deno.test("compression keeps the archive, and neither time nor name gets into it", () => {
  const archive = buildInitramfs(parts());
  const compressed = compressInitramfs(archive);
  assertEquals(new Uint8Array(gunzipSync(compressed)), archive);
  assertEquals([...compressed.subarray(0, 8)], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0]);
});
