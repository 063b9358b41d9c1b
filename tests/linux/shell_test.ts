// Debian's Linux at its shell: commands give right results, and the machine is as described.

import { createHash } from "node:crypto";
import { gunzipSync } from "node:zlib";
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { DEFAULT_VM_MIB } from "../../cli/defaults.ts";
import * as memory from "../../plugins/memory/mod.ts";
import * as x86 from "../../plugins/x86/mod.ts";
import { readCpio } from "../guests/linux/cpio_reader.ts";
import { bootLinux, restoreAt } from "./boot.ts";
import { linuxTest } from "./prepared.ts";

linuxTest("Linux boots to a shell on the serial console", async (linux) => {
  const { record } = await bootLinux(linux);
  assertMatch(record.console, /^\[ {4}0\.000000\] Linux version /);
  assertStringIncludes(record.console, `Linux version ${linux.version} `);
  assertMatch(record.console, /\nBusyBox v[^\n]+built-in shell \(ash\)\n[^\n]*\n\n\/ # $/);
});

linuxTest("commands typed at the shell print what they should", async (linux) => {
  const machine = await restoreAt(linux, "shell");
  const uname = await machine.command("uname -a");
  assertStringIncludes(uname, `Linux ballast ${linux.version} #1 `);
  assertMatch(uname, / i[56]86 GNU\/Linux\n$/);
  const cases: readonly [command: string, output: string][] = [
    ["echo hello, world", "hello, world\n"],
    ["echo $((6 * 7)) $((1 << 30)) $((-7 / 2)) $((-7 % 2))", "42 1073741824 -3 -1\n"],
    ["seq 1 100 | awk '{ sum += $1 } END { print sum }'", "5050\n"],
    ["awk 'BEGIN { print 1 / 3, 22 / 7, -1 / 8 }'", "0.333333 3.14286 -0.125\n"],
    ["awk 'BEGIN { printf \"%.15g %.3e\\n\", 0.1 + 0.2, 1e300 * 1e8 }'", "0.3 1.000e+308\n"],
    ["echo one two three | tr a-z A-Z | rev | sed 's/E/_/g'", "__RHT OWT _NO\n"],
    ["seq 1 300 | sort -rn | head -n 3 | tr '\\n' ' '; echo", "300 299 298 \n"],
    ["(exit 7); echo $?; false || echo or", "7\nor\n"],
    ["sleep 1 & wait; echo waited", "waited\n"],
    ["for i in 1 2 3; do echo -n $i-; done; echo", "1-2-3-\n"],
    ["dd if=/dev/zero bs=4096 count=256 2>/dev/null | wc -c", "1048576\n"],
    ["seq 1 2000 | gzip | gunzip | md5sum", `${digest("md5", numbers(2000))}  -\n`],
  ];
  for (const [command, output] of cases) {
    const shown = await machine.command(command);
    // A background job is announced by its number.
    assertEquals(shown.replace(/^\[1\] \d+\n/, "").replace(/^\[1\]\+ +Done +[^\n]*\n/m, ""), output, command);
  }
  machine.audit();
});

linuxTest("sha256sum in the guest agrees with the host's about a file of two megabytes", async (linux) => {
  const machine = await restoreAt(linux, "shell");
  const archive = readCpio(gunzipSync(await Deno.readFile(linux.initrd)));
  const busybox = archive.find(({ path }) => path === "bin/busybox");
  assert(busybox?.kind === "file" && busybox.data.length > 1e6);
  assertEquals(await machine.command("sha256sum /bin/busybox"), `${digest("sha256", busybox.data)}  /bin/busybox\n`);
});

linuxTest("/proc/cpuinfo describes the processor that CPUID describes", async (linux) => {
  const machine = await restoreAt(linux, "shell");
  const text = await machine.command("cat /proc/cpuinfo");
  const info = new Map(
    text.split("\n").filter((line) => line.includes(":")).map((line) => {
      const [name, value] = line.split(":");
      return [name.trim(), value.trim()];
    }),
  );
  const { eax, edx } = machine.host.service(x86.processor)(machine.vm).hooks.cpuid(machine.vm, 1, 0);
  assertEquals([info.get("processor"), info.get("fpu"), info.get("fpu_exception")], ["0", "yes", "yes"]);
  const family = (eax >> 8) & 15, model = ((eax >> 4) & 15) | (family === 6 || family === 15 ? (eax >> 12) & 0xf0 : 0);
  assertEquals(info.get("cpu family"), String(family === 15 ? family + ((eax >> 20) & 0xff) : family));
  assertEquals([info.get("model"), info.get("stepping")], [String(model), String(eax & 15)]);
  assertEquals(Number(info.get("cpu MHz")), machine.vm.config.cpuMhz);
  const flags = info.get("flags")?.split(" ") ?? [];
  for (
    const [bit, flag] of [[0, "fpu"], [4, "tsc"], [8, "cx8"], [15, "cmov"], [23, "mmx"], [25, "sse"], [26, "sse2"]]
  ) {
    assertEquals(flags.includes(String(flag)), ((edx >> Number(bit)) & 1) === 1, `flag ${flag}`);
  }
});

linuxTest("a Linux VM holds no more machine memory than it touched", async (linux) => {
  const machine = await restoreAt(linux, "shell");
  const report = machine.host.service(memory.report).vm(machine.vm);
  const guest = machine.host.service(memory.guest)(machine.vm);
  assertEquals(report.maxPages, DEFAULT_VM_MIB * memory.FRAMES_PER_MIB);
  let held = 0;
  for (let ppn = 0; ppn < guest.pages; ppn++) if (guest.peek(ppn) !== undefined) held++;
  assertEquals(report.allocatedPages, held);
  const { private: frames } = machine.host.service(memory.machine).frameCounts();
  assertEquals(frames, held);
  // The kernel, its tables and the initramfs take some 40 MiB; free memory is never touched before it is given out.
  const heldMib = held / memory.FRAMES_PER_MIB;
  assert(heldMib > 20 && heldMib < 64, `${heldMib} MiB are held`);
  machine.audit();
});

/** The lines that `seq 1 last` prints. */
function numbers(last: number): string {
  return Array.from({ length: last }, (_, i) => `${i + 1}\n`).join("");
}

function digest(algorithm: "md5" | "sha256", data: string | Uint8Array): string {
  return createHash(algorithm).update(data).digest("hex");
}
