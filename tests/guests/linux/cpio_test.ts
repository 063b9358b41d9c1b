// Tests of guests/linux/cpio.ts against our own reader and, where installed, the cpio program.

import { assert, assertEquals, assertThrows } from "@std/assert";
import { type CpioEntry, writeCpio } from "../../../guests/linux/cpio.ts";
import { readCpio } from "./cpio_reader.ts";

const entries: readonly CpioEntry[] = [
  { kind: "directory", path: "bin", mode: 0o755 },
  { kind: "directory", path: "tmp", mode: 0o1777 },
  { kind: "file", path: "bin/one", mode: 0o755, data: new Uint8Array([1]) },
  { kind: "file", path: "bin/four", mode: 0o644, data: new Uint8Array([1, 2, 3, 4]) },
  { kind: "file", path: "empty", mode: 0o600, data: new Uint8Array(0) },
  { kind: "file", path: "übergröße", mode: 0o644, data: new Uint8Array(4099).fill(7) },
  { kind: "symlink", path: "bin/sh", target: "one" },
  { kind: "character-device", path: "console", mode: 0o600, major: 5, minor: 1 },
];

Deno.test("an archive reads back as the entries it was written from", () => {
  assertEquals(readCpio(writeCpio(entries)), [...entries]);
});

Deno.test("equal entries give equal bytes", () => {
  assertEquals(writeCpio(entries), writeCpio(entries.map((entry) => ({ ...entry }))));
});

Deno.test("an archive without entries holds the trailer alone", () => {
  assertEquals(readCpio(writeCpio([])), []);
});

for (const path of ["", "/etc", "a//b", "a/../b", "./a", "a/", "a\0b"]) {
  Deno.test(`the path ${JSON.stringify(path)} is refused`, () => {
    assertThrows(() => writeCpio([{ kind: "directory", path, mode: 0o755 }]), Error, "is no relative path");
  });
}

Deno.test("a path that is there twice is refused", () => {
  assertThrows(() => writeCpio([entries[0], entries[0]]), Error, "bin is there twice");
});

/** A program that is not there makes `output` throw before there is a promise. */
async function isInstalled(program: string): Promise<boolean> {
  try {
    return (await new Deno.Command(program, { args: ["--version"], stdout: "null" }).output()).success;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

const hasCpio = await isInstalled("cpio");

Deno.test({
  name: hasCpio
    ? "the cpio program lists our archive"
    : "the cpio program lists our archive (skipped: cpio is not installed)",
  ignore: !hasCpio,
  async fn() {
    const child = new Deno.Command("cpio", {
      args: ["-itv", "--quiet", "--numeric-uid-gid"],
      env: { LC_ALL: "C", TZ: "UTC" },
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    const writer = child.stdin.getWriter();
    await writer.write(writeCpio(entries));
    await writer.close();
    const { success, stdout, stderr } = await child.output();
    assert(success, new TextDecoder().decode(stderr));
    const lines = new TextDecoder().decode(stdout).trimEnd().split("\n").map((line) => line.replace(/\s+/g, " "));
    assertEquals(lines.length, entries.length);
    assertEquals(lines[1], "drwxrwxrwt 2 0 0 0 Jan 1 1970 tmp");
    assertEquals(lines[3], "-rw-r--r-- 1 0 0 4 Jan 1 1970 bin/four");
    assertEquals(lines[6], "lrwxrwxrwx 1 0 0 3 Jan 1 1970 bin/sh -> one");
    assertEquals(lines[7], "crw------- 1 0 0 5, 1 Jan 1 1970 console");
  },
});
