// Tests of guests/linux/control.ts: what apt-cache prints, and kernel versions.

import { assertEquals, assertThrows } from "@std/assert";
import { kernelPackageOf, kernelRelease, parsePackageRecords } from "../../../guests/linux/control.ts";

const SHOW = `Package: linux-image-686
Source: linux-signed-i386 (6.1.176+1)
Version: 6.1.176-1
Architecture: i386
Depends: linux-image-6.1.0-50-686 (= 6.1.176-1), kmod | module-init-tools, libc6:any (>= 2)
Pre-Depends: debconf
Description: Linux for older PCs
 Package: not-a-field
 .
 SHA256: not-a-field-either
Size: 1476
SHA256: E6E66CAD

Package: linux-image-686
Version: 6.1.170-3
Architecture: i386
Size: 1470
SHA256: 00ff


Package: installed-only
Version: 1
`;

Deno.test("apt-cache's paragraphs become records, those without a digest are left out", () => {
  assertEquals(parsePackageRecords(SHOW), [
    {
      name: "linux-image-686",
      version: "6.1.176-1",
      architecture: "i386",
      sizeBytes: 1476,
      sha256: "e6e66cad",
      depends: ["debconf", "linux-image-6.1.0-50-686", "kmod", "module-init-tools", "libc6"],
    },
    {
      name: "linux-image-686",
      version: "6.1.170-3",
      architecture: "i386",
      sizeBytes: 1470,
      sha256: "00ff",
      depends: [],
    },
  ]);
  assertEquals(parsePackageRecords(""), []);
});

Deno.test("a metapackage leads to the kernel it stands for, if it names one", () => {
  assertEquals(parsePackageRecords(SHOW).map(kernelPackageOf), ["linux-image-6.1.0-50-686", undefined]);
});

for (
  const [name, release] of [
    ["linux-image-6.1.0-50-686", "6.1.0-50-686"],
    ["linux-image-6.1.0-50-686-pae", "6.1.0-50-686-pae"],
    ["linux-image-6.12.9+bpo-686", "6.12.9+bpo-686"],
  ]
) {
  Deno.test(`${name} holds the kernel release ${release}`, () => assertEquals(kernelRelease(name), release));
}

Deno.test("a metapackage's name holds no release", () => {
  assertThrows(() => kernelRelease("linux-image-686"), Error, "not the name of a kernel package");
});
