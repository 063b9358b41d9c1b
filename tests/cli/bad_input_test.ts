// Files that a user gives and that cannot serve: each is refused before a guest starts, with status 2 and one line that
// names the file, and no stack trace.

import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { handmadeKernel, MIB } from "../plugins/boot/handmade_kernel.ts";
import { ballast, inTemporaryFolder } from "./command.ts";

const kernel = handmadeKernel();

/** What each case finds in its folder, beside an empty folder named `folder`. */
const files: Readonly<Record<string, Uint8Array>> = {
  "kernel": kernel,
  "cut.kernel": kernel.subarray(0, kernel.length / 2),
  "start.kernel": kernel.subarray(0, 100),
  "initrd": new Uint8Array(9 * MIB),
  "empty": new Uint8Array(),
  "small.img": new Uint8Array(511),
  "disk.img": new Uint8Array(4096),
  "text": new TextEncoder().encode("not a kernel\n".repeat(100)),
  "throws.ts": new TextEncoder().encode('throw new Error("broken\\nin two lines");'),
  "throws-later.ts": new TextEncoder().encode(
    'export default { name: "later", setup() { throw new Error("broken\\nin two lines"); } };',
  ),
  "throws-text.ts": new TextEncoder().encode('throw "broken";'),
  "imports-nothing.ts": new TextEncoder().encode('import "./nowhere.ts"; export default {};'),
};

const cases: readonly [what: string, args: readonly string[], message: string | RegExp][] = [
  ["a kernel that ends in the middle", ["--kernel", "cut.kernel"], "kernel cut.kernel: truncated: 1024 bytes where"],
  ["a kernel that ends before its header", ["--kernel", "start.kernel"], "kernel start.kernel: truncated: 100 bytes"],
  ["an empty kernel", ["--kernel", "empty"], "kernel empty: the file is empty"],
  ["a kernel that is none", ["--kernel", "text"], "kernel text: not a Linux kernel"],
  ["a folder as a kernel", ["--kernel", "folder"], /kernel \S+folder: is a folder/],
  ["a missing kernel", ["--kernel", "nowhere"], /kernel \S+nowhere: no such file/],
  ["a missing initrd", ["--kernel", "kernel", "--initrd", "nowhere"], /initrd \S+nowhere: no such file/],
  [
    "an initrd that does not fit",
    ["--kernel", "kernel", "--initrd", "initrd", "--memory", "32M"],
    "initrd initrd of 9 MiB does not fit",
  ],
  [
    "memory below what the kernel needs",
    ["--kernel", "kernel", "--memory", "23M"],
    "kernel kernel needs memory up to 24 MiB to unpack itself; the VM has 23 MiB: give it at least 24 MiB",
  ],
  ["no memory", ["--kernel", "kernel", "--memory", "0"], 'option --memory: "0"; expected a size'],
  [
    "a command line that is too long",
    ["--kernel", "kernel", "--append", "x".repeat(3000)],
    "the kernel command line has 3000 bytes; kernel kernel takes at most 2047",
  ],
  ["a missing disk", ["--kernel", "kernel", "--disk", "nowhere"], /disk \S+nowhere cannot be opened: /],
  ["a folder as a disk", ["--kernel", "kernel", "--disk", "folder"], /disk \S+folder (cannot be opened|is a folder)/],
  ["an empty disk", ["--kernel", "kernel", "--disk", "empty"], /disk \S+empty has 0 bytes; expected an image/],
  ["a disk of less than a sector", ["--guest", "hello", "--disk", "small.img"], "has 511 bytes; expected an image"],
  [
    "a disk given twice",
    ["--guest", "hello", "--disk", "disk.img", "--disk", "disk.img"],
    /disk \S+disk\.img is in use by another VM/,
  ],
  [
    "a plugin file that throws",
    ["--guest", "hello", "--plugins", "./throws.ts"],
    "plugin ./throws.ts cannot be loaded: broken",
  ],
  [
    "a plugin file that throws a text",
    ["--guest", "hello", "--plugins", "./throws-text.ts"],
    "plugin ./throws-text.ts cannot be loaded: broken",
  ],
  [
    "a plugin file that imports what is not there",
    ["--guest", "hello", "--plugins", "./imports-nothing.ts"],
    "plugin ./imports-nothing.ts cannot be loaded: Module not found",
  ],
  [
    "a plugin that throws two lines when set up",
    ["--guest", "hello", "--plugins", "./throws-later.ts"],
    'plugin "later" failed to set up: broken in two lines',
  ],
  ["a folder as a plugin", ["--guest", "hello", "--plugins", "./folder"], "plugin ./folder cannot be loaded"],
  ["an option of no plugin", ["--guest", "hello", "--set", "vgaa.enabled=true"], 'did you mean "vga"?'],
  ["an empty configuration", ["empty"], "empty is not JSON"],
];
for (const [what, args, message] of cases) {
  Deno.test(`${what} is refused with status 2 and one line about it`, async () => {
    await inTemporaryFolder(async (folder) => {
      await Deno.mkdir(`${folder}/folder`);
      for (const [name, bytes] of Object.entries(files)) await Deno.writeFile(`${folder}/${name}`, bytes);
      const permissions = ["--allow-read", `--allow-write=${folder}`];
      const { status, stdout, stderr } = await ballast(["run", ...args], { cwd: folder, permissions });
      assertMatch(stderr, /^ballast: [^\n]+\n$/);
      if (typeof message === "string") assertStringIncludes(stderr, message);
      else assertMatch(stderr, message);
      assertEquals([status, stdout], [2, ""]);
    });
  });
}

Deno.test("a disk that the host may not open is refused with the permission that is missing", async () => {
  await inTemporaryFolder(async (folder) => {
    await Deno.writeFile(`${folder}/disk.img`, files["disk.img"]);
    const { status, stdout, stderr } = await ballast(["run", "--guest", "hello", "--disk", "disk.img"], {
      cwd: folder,
    });
    assertMatch(stderr, /^ballast: disk \S+disk\.img cannot be opened: [^\n]*--allow-write[^\n]*\n$/);
    assertEquals([status, stdout], [2, ""]);
  });
});
