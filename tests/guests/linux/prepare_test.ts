// Tests of guests/linux/mod.ts as a whole: with a stand-in for apt, without apt, and with Debian's own packages.

import { gunzipSync } from "node:zlib";
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { fromFileUrl } from "@std/path";
import {
  defaultAppend,
  LinuxUnavailable,
  picOnlyAppend,
  type PreparedLinux,
  prepareLinux,
  type PrepareLinuxOptions,
} from "../../../guests/linux/mod.ts";
import { sha256Hex } from "../../../guests/linux/files.ts";
import { readCpio } from "./cpio_reader.ts";
import { busyboxWith, fakeApt, kernelModule, type OfferedPackage, type TarMember } from "./fixtures.ts";

const bytes = (text: string) => new TextEncoder().encode(text);

const kernelMembers: TarMember[] = [
  { path: "./boot/vmlinuz-6.1.0-9-686", data: bytes("the kernel") },
  { path: "./boot/config-6.1.0-9-686", data: bytes("CONFIG_X86_32=y\n") },
  { path: "./boot/System.map-6.1.0-9-686", data: bytes("ffffffff B elsewhere\n") },
  { path: "./lib/modules/6.1.0-9-686/modules.builtin", data: bytes("kernel/drivers/tty/serial/8250/8250.ko\n") },
  { path: "./lib/modules/6.1.0-9-686/kernel/misc/vmw_balloon.ko", data: kernelModule("depends=vmw_vmci\0") },
  { path: "./lib/modules/6.1.0-9-686/kernel/misc/vmw_vmci.ko", data: kernelModule("depends=\0") },
];
const metapackage: OfferedPackage = {
  name: "linux-image-686",
  version: "6.1.9-1",
  depends: "linux-image-6.1.0-9-686 (= 6.1.9-1)",
};
const kernel: OfferedPackage = { name: "linux-image-6.1.0-9-686", version: "6.1.9-1", members: kernelMembers };
const busybox: OfferedPackage = {
  name: "busybox-static",
  version: "1:1.35.0-4",
  members: [{ path: "./bin/busybox", data: busyboxWith(["[", "[[", "ash", "sh"]) }],
};

interface Trial {
  readonly folder: string;
  readonly options: PrepareLinuxOptions;
  readonly lines: string[];
}

/** Runs `fn` with a fresh cache and a stand-in for apt that offers `packages`. */
async function withFakeApt(packages: readonly OfferedPackage[], fn: (trial: Trial) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir({ prefix: "ballast-linux-" });
  try {
    const lines: string[] = [];
    const searchPath = await fakeApt(folder, packages);
    const options: PrepareLinuxOptions = {
      cacheDir: `${folder}/cache`,
      log: (line) => lines.push(line),
      apt: { searchPath, retryDelaysMs: [1, 1] },
    };
    await fn({ folder, options, lines });
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** The same options where no tool can be found. */
function offline({ options }: Trial): PrepareLinuxOptions {
  return { ...options, apt: { searchPath: "/nonexistent", retryDelaysMs: [] } };
}

async function archiveFiles({ initrd }: PreparedLinux): Promise<Map<string, string>> {
  const files = readCpio(new Uint8Array(gunzipSync(await Deno.readFile(initrd))))
    .flatMap((entry) => entry.kind === "file" ? [[entry.path, new TextDecoder().decode(entry.data)] as const] : []);
  return new Map(files);
}

Deno.test("the kernel behind the metapackage and busybox are fetched although an index is out of sync", async () => {
  await withFakeApt([metapackage, kernel, busybox], async ({ options, lines, folder }) => {
    const prepared = await prepareLinux(options);
    assertEquals(prepared.version, "6.1.0-9-686");
    assertEquals(await Deno.readTextFile(prepared.kernel), "the kernel");
    assertEquals(await Deno.readTextFile(prepared.config), "CONFIG_X86_32=y\n");
    assertEquals(prepared.systemMap, undefined, "Debian's one-line note is no symbol table");
    assertEquals([prepared.packages.linux.version, prepared.packages.busybox.version], ["6.1.9-1", "1:1.35.0-4"]);
    assertEquals(
      prepared.packages.linux.file.sha256,
      sha256Hex(await Deno.readFile(`${folder}/cache/linux-686/${prepared.packages.linux.file.path}`)),
    );
    assertStringIncludes(lines.join("\n"), "some indexes could not be refreshed");
    const left = [...Deno.readDirSync(`${folder}/cache/linux-686`)].map(({ name }) => name);
    assertEquals(left.filter((name) => name.startsWith(".fetch-") || name.endsWith(".partial")), []);
  });
});

Deno.test("a filled cache needs no apt, adds modules from the kept package, and gives the same bytes", async () => {
  await withFakeApt([metapackage, kernel, busybox], async (trial) => {
    const modules = ["vmw-balloon", "8250"];
    const first = await prepareLinux({ ...trial.options, modules });
    const again = await prepareLinux({ ...offline(trial), modules });
    assertEquals(again, first);
    const files = await archiveFiles(again);
    const folder = "lib/modules/6.1.0-9-686/kernel/misc";
    assertEquals(files.get("lib/modules/load-order"), `/${folder}/vmw_vmci.ko\n/${folder}/vmw_balloon.ko\n`);
    assert(files.has(`${folder}/vmw_balloon.ko`));
    const changed = await prepareLinux({ ...offline(trial), init: "#!/bin/sh\nexec sh\n" });
    assertEquals((await archiveFiles(changed)).get("init"), "#!/bin/sh\nexec sh\n");
    assert(changed.initrd !== again.initrd, "another archive has another name");
    assertEquals(await Deno.readTextFile(`${trial.folder}/calls`).then((calls) => calls.split("\n").length - 1), 3);
  });
});

Deno.test("an unknown module is refused by name", async () => {
  await withFakeApt([metapackage, kernel, busybox], async ({ options }) => {
    await assertRejects(() => prepareLinux({ ...options, modules: ["nothere"] }), Error, "no module nothere");
  });
});

Deno.test("a download that fails is tried again", async () => {
  await withFakeApt([metapackage, kernel, busybox], async ({ options, folder, lines }) => {
    await Deno.writeTextFile(`${folder}/outage-1`, "");
    await Deno.writeTextFile(`${folder}/outage-2`, "");
    assertEquals((await prepareLinux(options)).version, "6.1.0-9-686");
    assertEquals(lines.filter((line) => line.includes("Temporary failure") && line.includes("trying again")).length, 2);
  });
});

Deno.test("a kernel version that cannot be downloaded gives way to the next older one", async () => {
  const newer = { ...metapackage, version: "6.1.10-1", depends: "linux-image-6.1.0-10-686 (= 6.1.10-1)" };
  const missing: OfferedPackage = { name: "linux-image-6.1.0-10-686", version: "6.1.10-1" };
  await withFakeApt([newer, metapackage, missing, kernel, busybox], async ({ options }) => {
    assertEquals((await prepareLinux(options)).version, "6.1.0-9-686");
  });
});

Deno.test("a package whose bytes differ from the index is never used", async () => {
  const forged = { ...kernel, sha256: "0".repeat(64) };
  await withFakeApt([metapackage, forged, busybox], async ({ options, folder }) => {
    await assertRejects(() => prepareLinux(options), LinuxUnavailable, "the index says 000");
    await assertRejects(() => Deno.stat(`${folder}/cache/linux-686/manifest.json`), Deno.errors.NotFound);
  });
});

Deno.test("a distribution without the package is named as the reason", async () => {
  await withFakeApt([busybox], async ({ options }) => {
    await assertRejects(() => prepareLinux(options), LinuxUnavailable, "no package linux-image-686");
  });
});

for (const [what, damage] of [["a shortened kernel", "6.1.9-1/vmlinuz"], ["an unreadable manifest", "manifest.json"]]) {
  Deno.test(`${what} in the cache is noticed and fetched anew`, async () => {
    await withFakeApt([metapackage, kernel, busybox], async (trial) => {
      const first = await prepareLinux(trial.options);
      await Deno.writeTextFile(`${trial.folder}/cache/linux-686/${damage}`, "{");
      await assertRejects(() => prepareLinux(offline(trial)), LinuxUnavailable);
      assertEquals(await prepareLinux(trial.options), first);
      assertEquals(await Deno.readTextFile(first.kernel), "the kernel");
    });
  });
}

Deno.test("two preparations at once do not disturb each other", async () => {
  await withFakeApt([metapackage, kernel, busybox], async (trial) => {
    const [one, other] = await Promise.all([prepareLinux(trial.options), prepareLinux(trial.options)]);
    assertEquals(one, other);
    assertEquals(await prepareLinux(offline(trial)), one);
  });
});

Deno.test("without apt the error says so and names the way around it", async () => {
  const cacheDir = await Deno.makeTempDir();
  try {
    const error = await assertRejects(
      () => prepareLinux({ cacheDir, log: () => {}, apt: { searchPath: "" } }),
      LinuxUnavailable,
    );
    for (const part of ["apt-get", "--kernel", "--initrd"]) assertStringIncludes(error.message, part);
  } finally {
    await Deno.remove(cacheDir, { recursive: true });
  }
});

Deno.test("the default command line boots fast and disables no hardware", () => {
  assertEquals(defaultAppend, "console=ttyS0 nokaslr noisapnp cryptomgr.notests panic=-1");
  assertEquals(picOnlyAppend, "noapic nolapic acpi=off");
});

const cacheDir = Deno.env.get("BALLAST_CACHE") ?? fromFileUrl(new URL("../../../cache", import.meta.url));
const modules = ["vmw_balloon", "virtio_balloon", "virtio_pci"];
const debian = await prepareLinux({ cacheDir, modules, log: () => {}, apt: { retryDelaysMs: [2_000] } })
  .catch((error: unknown) => {
    if (error instanceof LinuxUnavailable) return error;
    throw error;
  });

Deno.test({
  name: "Debian's kernel and busybox become a bootable pair" +
    (debian instanceof LinuxUnavailable ? ` (skipped: ${debian.message})` : ""),
  ignore: debian instanceof LinuxUnavailable,
  async fn() {
    assert(!(debian instanceof LinuxUnavailable));
    const image = await Deno.readFile(debian.kernel);
    const view = new DataView(image.buffer);
    assertEquals(new TextDecoder().decode(image.subarray(0x202, 0x206)), "HdrS", "the Linux boot protocol's magic");
    assert(view.getUint16(0x206, true) >= 0x020a, "boot protocol 2.10 or newer");
    assertStringIncludes(new TextDecoder("latin1").decode(image.subarray(0, 1 << 16)), debian.version);
    assertStringIncludes(await Deno.readTextFile(debian.config), "\nCONFIG_X86_32=y\n");
    const files = await archiveFiles(debian);
    const order = files.get("lib/modules/load-order")?.trimEnd().split("\n").map((path) => path.replace(/.*\//, ""));
    assert(order !== undefined);
    for (
      const [before, after] of [["vmw_vmci.ko", "vmw_balloon.ko"], ["virtio.ko", "virtio_ring.ko"], [
        "virtio_ring.ko",
        "virtio_balloon.ko",
      ], ["virtio_pci_modern_dev.ko", "virtio_pci.ko"]]
    ) {
      assert(order.indexOf(before) >= 0 && order.indexOf(before) < order.indexOf(after), `${before} before ${after}`);
    }
    const archive = readCpio(new Uint8Array(gunzipSync(await Deno.readFile(debian.initrd))));
    const links = new Set(archive.flatMap((entry) => entry.kind === "symlink" ? [entry.path] : []));
    const used = ["sh", "mount", "hostname", "insmod", "grep", "stty", "setsid", "cttyhack", "poweroff"];
    assertEquals(used.filter((applet) => !links.has(`bin/${applet}`)), [], "applets that init uses");
  },
});

Deno.test({
  name: "preparing Debian's kernel again reads the cache alone and gives the same initramfs" +
    (debian instanceof LinuxUnavailable ? ` (skipped: ${debian.message})` : ""),
  ignore: debian instanceof LinuxUnavailable,
  async fn() {
    const again = await prepareLinux({ cacheDir, modules, log: () => {}, apt: { searchPath: "/nonexistent" } });
    assertEquals(again, debian);
  },
});
