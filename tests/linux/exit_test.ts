// How a machine ends: Linux powered off, Linux in a panic, and a guest whose processor gives up. Status 3 means that it
// died, and what is known of why comes with it.

import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { runVms } from "../../cli/machine.ts";
import { addr, Assembler, eax, mem } from "../../guests/assembler/mod.ts";
import * as memory from "../../plugins/memory/mod.ts";
import { restoreAt } from "./boot.ts";
import { linuxTest } from "./prepared.ts";

linuxTest("poweroff -f ends the machine with status 0", async (linux) => {
  const machine = await restoreAt(linux, "shell");
  machine.type("poweroff -f\n");
  await machine.runToEnd();
  assertEquals(machine.vm.exit?.status, 0);
  assertMatch(machine.text, /reboot: (System halted|Power down)\n$/);
  machine.audit();
});

linuxTest("leaving the shell powers the machine off", async (linux) => {
  const machine = await restoreAt(linux, "shell");
  machine.type("exit\n");
  await machine.runToEnd();
  assertEquals(machine.vm.exit?.status, 0);
});

const panics: readonly [what: string, commands: readonly string[], reason: RegExp][] = [
  ["panics and resets", ["echo c > /proc/sysrq-trigger"], /sysrq triggered crash/],
  [
    "panics and waits for ever",
    ["echo 0 > /proc/sys/kernel/panic", "echo c > /proc/sysrq-trigger"],
    /sysrq triggered crash/,
  ],
];
for (const [what, commands, reason] of panics) {
  linuxTest(`a kernel that ${what} ends the machine with status 3, the reason and the registers`, async (linux) => {
    const machine = await restoreAt(linux, "shell");
    machine.type(commands.map((command) => `${command}\n`).join(""));
    await machine.runToEnd();
    const { exit } = machine.vm;
    assertEquals([exit?.reason, exit?.status], ["panic", 3]);
    assertMatch(exit?.detail ?? "", reason);
    assertMatch(exit?.detail ?? "", /EAX=[^]*EIP=[^]*CR3=/);
    assertStringIncludes(machine.text, "Kernel panic - not syncing");
    // The kernel's own account of where it was.
    assertStringIncludes(machine.text, "Call Trace:");
    machine.audit();
  });
}

Deno.test("a triple fault ends the machine with status 3 and the registers", async () => {
  const origin = 0x10_0000, marker = 0x1234_5678;
  const asm = new Assembler({ origin });
  // No exception can be delivered through an empty table.
  asm.label("start").lidt(mem(addr("emptyTable"))).mov(eax, marker).label("fault").ud2();
  asm.align(8).label("emptyTable").zeros(8);
  const { bytes, labels } = asm.assemble();
  const image = { loads: [{ address: origin, bytes }], entry: origin, mode: "protected" } as const;
  const { host, vms: [vm] } = await runVms([{ guest: { image }, memoryMib: 4 }]);
  assertEquals([vm.exit?.reason, vm.exit?.status], ["triple-fault", 3]);
  const detail = vm.exit?.detail ?? "";
  const hex = (value: number) => value.toString(16).padStart(8, "0");
  for (const register of [`EAX=${hex(marker)}`, `EIP=${hex(labels.get("fault") ?? 0)}`, "CR0=", "IDT base 00000000"]) {
    assertStringIncludes(detail, register);
  }
  host.service(memory.machine).audit();
});
