// The boot plugin on the base machine: what a program finds in registers and memory when it starts.

import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { addVm, createHost, type GuestChoice } from "../../../cli/machine.ts";
import { InputError } from "../../../core/mod.ts";
import * as boot from "../../../plugins/boot/mod.ts";
import * as memory from "../../../plugins/memory/mod.ts";
import * as x86 from "../../../plugins/x86/mod.ts";
import { handmadeKernel, MIB } from "./handmade_kernel.ts";

function started(guest: GuestChoice, memoryMib: number) {
  const host = createHost({ memoryMib: 64 });
  const vm = addVm(host, { guest, memoryMib });
  const cpu = host.service(x86.processor)(vm);
  const guestMemory = host.service(memory.guest)(vm);
  const read = (address: number, length: number) => {
    const bytes = new Uint8Array(length);
    guestMemory.read(address, bytes);
    return bytes;
  };
  return { host, vm, cpu, read };
}

const flatImage = (mode: "real" | "protected", address: number): GuestChoice => ({
  image: { loads: [{ address, bytes: Uint8Array.of(1, 2, 3) }], entry: address, mode },
});

Deno.test("a real-mode program starts at its paragraph, with the other segments at 0 and interrupts off", () => {
  const { cpu, read } = started(flatImage("real", 0x7c0d), 1);
  const { SELECTOR, BASE, EIP } = x86.state;
  assertEquals([cpu.getRegister(SELECTOR + x86.CS), cpu.getRegister(BASE + x86.CS)], [0x7c0, 0x7c00]);
  assertEquals([cpu.getRegister(EIP), cpu.getRegister(x86.ESP)], [0xd, 0x7c00]);
  for (const segment of [x86.DS, x86.ES, x86.SS]) assertEquals(cpu.getRegister(SELECTOR + segment), 0);
  assertEquals([cpu.isProtected, cpu.eflags()], [false, 2]);
  assertEquals(read(0x7c0d, 3), Uint8Array.of(1, 2, 3));
});

Deno.test("a protected-mode program starts in flat segments, without paging and interrupts", () => {
  const { cpu, read } = started(flatImage("protected", MIB), 2);
  const { SELECTOR, BASE, LIMIT, EIP, CR0, CR0_PG } = x86.state;
  assertEquals(cpu.isProtected, true);
  assertEquals(cpu.getRegister(CR0) & CR0_PG, 0);
  assertEquals([cpu.getRegister(EIP), cpu.getRegister(x86.ESP), cpu.eflags()], [MIB, 0x9000, 2]);
  assertEquals(cpu.getRegister(SELECTOR + x86.CS), 0x08);
  for (const segment of [x86.CS, x86.DS, x86.ES, x86.SS]) {
    assertEquals([cpu.getRegister(BASE + segment), cpu.getRegister(LIMIT + segment)], [0, 0xffff_ffff]);
    if (segment !== x86.CS) assertEquals(cpu.getRegister(SELECTOR + segment), 0x10);
  }
  assertEquals([cpu.getRegister(x86.EAX), cpu.getRegister(x86.EBX)], [0, 0]);
  assertEquals(read(MIB, 3), Uint8Array.of(1, 2, 3));
});

Deno.test("a Linux kernel starts by the 32-bit boot protocol, with ESI at its zero page", () => {
  const linux: boot.LinuxSource = { kernel: handmadeKernel(), kernelName: "k", append: "console=ttyS0" };
  const { cpu, read } = started({ linux }, 32);
  const { SELECTOR, EIP, GDTR_BASE, GDTR_LIMIT } = x86.state;
  assertEquals([cpu.getRegister(EIP), cpu.isProtected, cpu.eflags()], [MIB, true, 2]);
  assertEquals([cpu.getRegister(SELECTOR + x86.CS), cpu.getRegister(SELECTOR + x86.DS)], [0x10, 0x18]);
  for (const register of [x86.EBP, x86.EDI, x86.EBX]) assertEquals(cpu.getRegister(register), 0);
  const zeroPage = read(cpu.getRegister(x86.ESI), 4096);
  const commandLine = new DataView(zeroPage.buffer).getUint32(0x228, true);
  assertEquals(new TextDecoder().decode(read(commandLine, 14)), "console=ttyS0\0");
  assertEquals(cpu.getRegister(GDTR_LIMIT), 0x1f);
  assertEquals(read(cpu.getRegister(GDTR_BASE) + 0x15, 1)[0], 0x9a, "the code descriptor is where GDTR says");
});

Deno.test("what does not fit is refused before the VM can run", () => {
  const host = createHost({ memoryMib: 64 });
  const image = flatImage("protected", 4 * MIB);
  const error = assertThrows(() => addVm(host, { guest: image, memoryMib: 4 }), InputError);
  assertStringIncludes(error.message, "0x400000 to 0x400003 lie beyond its memory of 4 MiB");
});
