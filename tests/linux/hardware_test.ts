// Debian's kernels, with PAE and without, on all the hardware that the machine has: no option disables APIC or ACPI. They find
// their interrupt controllers and a clock, run a shell, and power off through ACPI.

import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import type { PreparedLinux } from "../../guests/linux/mod.ts";
import { Machine } from "./machine.ts";
import { linuxTest, preparePae } from "./prepared.ts";

/** What a kernel says when hardware is not as it should be. */
const COMPLAINT = /warning|oops|unexpected|\bBUG:|call trace|unable to calibrate|error/i;

const kernels: readonly [name: string, kernel: (linux: PreparedLinux) => PreparedLinux | Promise<PreparedLinux>][] = [
  ["linux-image-686", (linux) => linux],
  ["linux-image-686-pae, page-table isolation on", preparePae],
];
for (const [name, kernel] of kernels) {
  linuxTest(`${name} finds APICs, ACPI and a clock, and powers off`, async (linux) => {
    const machine = await Machine.powerOn(await kernel(linux), { append: "", plugins: ["bt"] });
    await machine.runUntil("/ # ");
    const complaints = machine.text.split("\n").filter((line) => COMPLAINT.test(line));
    assertEquals(complaints, []);
    const interrupts = await machine.command("cat /proc/interrupts");
    assertMatch(interrupts, /IO-APIC +2-edge +timer/);
    assertMatch(interrupts, /IO-APIC +9-fasteoi +acpi/);
    const clock = await machine.command("cat /sys/devices/system/clocksource/clocksource0/current_clocksource");
    assertEquals(clock.trim(), "tsc");
    const flags = await machine.command("grep flags /proc/cpuinfo");
    assertEquals(/\bpti\b/.test(flags), name.includes("pae"));
    machine.type("poweroff -f\n");
    await machine.runToEnd();
    assertStringIncludes(machine.text, "reboot: Power down");
    assertEquals([machine.vm.exit?.reason, machine.vm.exit?.status], ["power-off", 0]);
    machine.audit();
  });
}
