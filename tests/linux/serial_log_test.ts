// The kernel's messages on our machine beside those on QEMU 7.2 (tests/fixtures/linux): it complains of nothing that it
// does not complain of there, and every other line that it has here alone is explained.

import { assertEquals } from "@std/assert";
import { bootLinux } from "./boot.ts";
import { linuxTest } from "./prepared.ts";

const fixture = await Deno.readTextFile(new URL("../fixtures/linux/qemu-serial.txt", import.meta.url));

/** Words of a kernel that met what it did not expect. */
const complaint =
  /warn|oops|bug\b|unexpected|error|fail|unable|cannot|corrupt|bad |invalid opcode|fault|call trace|unhandled|spurious|stall/i;

/** Lines that only our machine brings forth, and why. */
const explained: readonly [RegExp, why: string][] = [
  [/^DMI not present or invalid\.$/, "there is no firmware, so no SMBIOS tables"],
  [/^PnPBIOS: PnP BIOS support was not detected\.$/, "there is no firmware"],
  [/^smpboot: weird, boot CPU \(##\) not listed by the BIOS$/, "there is no firmware, so no MP table"],
  [/^APIC: (disable apic facility|switched to apic NOOP)$/, "`nolapic` counts where no MP table lists an APIC"],
  [/^MPTABLE: (OEM|Product) ID: /, "whose table it is"],
  [/^x#\/fpu: x# FPU will use FXSAVE$/, "QEMU's CPU was taken without FXSR"],
  [/^vmware: /, "VMware's personality, which QEMU has not"],
  [/^Hypervisor detected: VMware$/, "VMware's personality"],
  [/^Booting paravirtualized kernel on VMware hypervisor$/, "VMware's personality"],
  [/^Calibrating delay loop \(skipped\) preset value/, "VMware's personality tells the frequency of the TSC"],
  [/^Console: colour dummy device/, "there is no VGA adapter; QEMU's firmware leaves the kernel believing in one"],
  [/^clocksource: tsc: mask: /, "QEMU's line is there, behind the prompt"],
];

/** A log's lines without times, and with "#" for every number, so that sizes, dates and frequencies do not count. */
function normalised(log: string): Set<string> {
  const lines = log.split("\n").map((line) =>
    line.replace(/^(\/ # )?\[ *\d+\.\d+\] /, "").replaceAll(/0x[0-9a-f]+|\d+T\d+|\d+/gi, "#").trimEnd()
  );
  return new Set(lines.filter((line) => line !== "" && !line.startsWith("/ #")));
}

linuxTest("the kernel complains of nothing that it does not complain of on QEMU", async (linux) => {
  const { record } = await bootLinux(linux);
  const elsewhere = normalised(fixture);
  const ours = [...normalised(record.console)].filter((line) => !elsewhere.has(line) && complaint.test(line));
  assertEquals(ours.filter((line) => !explained.some(([pattern]) => pattern.test(line))), []);
});

linuxTest(
  "every line that the kernel prints here and not on QEMU is explained",
  async (linux) => {
    const { record } = await bootLinux(linux);
    const elsewhere = normalised(fixture);
    const ours = [...normalised(record.console)].filter((line) => !elsewhere.has(line));
    assertEquals(ours.filter((line) => !explained.some(([pattern]) => pattern.test(line))), []);
  },
  ({ packages: { linux } }) =>
    fixture.includes(` Debian ${linux.version} `)
      ? undefined
      : `the log from QEMU is of another kernel than ${linux.version}; see tests/fixtures/linux/capture.sh`,
);
