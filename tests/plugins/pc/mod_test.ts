// The plugin in a host: small real-mode guests that reach the devices by IN, OUT, HLT and interrupts, and the services.

import { assert, assertEquals, assertThrows } from "@std/assert";
import { Host, InputError, type Vm } from "../../../core/mod.ts";
import memoryPlugin, * as memory from "../../../plugins/memory/mod.ts";
import pcPlugin, * as pc from "../../../plugins/pc/mod.ts";
import { BACKDOOR_MAGIC, LEAF_HYPERVISOR } from "../../../plugins/pc/devices/vmware.ts";
import x86Plugin, * as x86 from "../../../plugins/x86/mod.ts";

const ORIGIN = 0x7c00, EXIT_STATUS = 0x21;
/** MOV AL, 10h; OUT F4h, AL: ends the VM with status 21h. */
const EXIT = [0xb0, 0x10, 0xe6, 0xf4];

function boot(code: readonly number[], options: Record<string, unknown> = {}): { host: Host; vm: Vm } {
  const host = new Host({ memoryMib: 16, seed: 1, quantumNs: 1e6 });
  host.load({ plugin: memoryPlugin }, { plugin: x86Plugin }, { plugin: pcPlugin, options });
  const vm = host.add({ name: "guest", memoryMib: 4, minMib: 1, shares: 1000, cpuMhz: 100, options: {} });
  host.service(memory.guest)(vm).write(ORIGIN, Uint8Array.from(code));
  host.service(x86.processor)(vm).enterReal({ cs: 0, ip: ORIGIN, sp: ORIGIN });
  return { host, vm };
}

Deno.test("a guest prints on COM1 and ends by the debug-exit port", async () => {
  const text = "Hi";
  const print = [...text].flatMap((letter) => [0xb0, letter.charCodeAt(0), 0xee]);
  const { host, vm } = boot([0xba, 0xf8, 0x03, ...print, ...EXIT]);
  let sent = "";
  host.service(pc.serial)(vm).attach({
    transmit: (byte) => sent += String.fromCharCode(byte),
    nextByte: () => undefined,
  });
  await host.run();
  assertEquals([sent, vm.exit?.reason, vm.exit?.status], [text, "debug-exit", EXIT_STATUS]);
});

Deno.test("an unmasked x87 error interrupts by IRQ 13 where CR0.NE is clear, and port F0h takes it back", async () => {
  const HANDLER = 0x7d00, VECTOR = 0x75, UNMASKED_ZE = 0x37b, CONTROL_AT = 0x7e00;
  const word = (value: number) => [value & 0xff, value >> 8];
  const store = (at: number, value: number) => [0xc7, 0x06, ...word(at), ...word(value)];
  const code = [
    ...store(VECTOR * 4, HANDLER),
    ...store(VECTOR * 4 + 2, 0),
    ...store(CONTROL_AT, UNMASKED_ZE),
    ...[0xdb, 0xe3, 0xd9, 0x2e, ...word(CONTROL_AT)], // FNINIT; FLDCW
    ...[0xb0, 0xfb, 0xe6, 0x21, 0xb0, 0xdf, 0xe6, 0xa1, 0xfb], // only the cascade and IRQ 13; STI
    ...[0xd9, 0xe8, 0xd9, 0xee, 0xde, 0xf9], // 1 / 0
    ...[0xeb, 0xfe],
  ];
  const { host, vm } = boot(code);
  // OUT F0h; the slave's request register by OCW3 must then be empty: it is the status that the guest ends with.
  const handler = [0xe6, 0xf0, 0xb0, 0x0a, 0xe6, 0xa0, 0xe4, 0xa0, 0xe6, 0xf4];
  host.service(memory.guest)(vm).write(HANDLER, Uint8Array.from(handler));
  await host.run({ untilNs: 1e9 });
  assertEquals([vm.exit?.reason, vm.exit?.status], ["debug-exit", 1]);
});

Deno.test("a halted guest is woken by the timer's interrupt, at the time that it asked for", async () => {
  const HANDLER = 0x7d00, COUNT = 11932; // 10 ms
  const code = [
    ...[0xc7, 0x06, 0x20, 0x00, HANDLER & 0xff, HANDLER >> 8], // MOV word [20h], handler: vector 8
    ...[0xc7, 0x06, 0x22, 0x00, 0x00, 0x00],
    ...[0xb0, 0xfe, 0xe6, 0x21], // unmask IRQ0
    ...[0xb0, 0x30, 0xe6, 0x43], // counter 0, mode 0
    ...[0xb0, COUNT & 0xff, 0xe6, 0x40, 0xb0, COUNT >> 8, 0xe6, 0x40],
    ...[0xfb, 0xf4], // STI; HLT
  ];
  const { host, vm } = boot(code);
  host.service(memory.guest)(vm).write(HANDLER, Uint8Array.from(EXIT));
  await host.run();
  assertEquals([vm.exit?.reason, vm.exit?.status], ["debug-exit", EXIT_STATUS]);
  assertEquals(Math.floor(vm.clock.nowNs() / 1e6), 10);
});

Deno.test("a suspended guest is woken by the clock's alarm alone, where its FACS says, with its memory kept", async () => {
  const RESUME = 0x9000, TIMER = 0x7d00, KEPT = 0x7e00, FAILED = [0xb0, 0x11, 0xe6, 0xf4], COUNT = 11932; // 10 ms
  const cmos = (index: number, value: number) => [0xb0, index, 0xe6, 0x70, 0xb0, value, 0xe6, 0x71];
  const ALARM_ANY = 0xff, CLOCK_24_HOURS = 0x02, ALARM_INTERRUPT = 0x20;
  const code = [
    ...[0xc7, 0x06, 0x20, 0x00, TIMER & 0xff, TIMER >> 8, 0xc7, 0x06, 0x22, 0x00, 0x00, 0x00], // vector 8
    ...[0xb0, 0xfe, 0xe6, 0x21, 0xb0, 0x30, 0xe6, 0x43], // IRQ0, once
    ...[0xb0, COUNT & 0xff, 0xe6, 0x40, 0xb0, COUNT >> 8, 0xe6, 0x40],
    ...[0x01, 0x03, 0x05].flatMap((index) => cmos(index, ALARM_ANY)),
    ...cmos(0x0b, CLOCK_24_HOURS | ALARM_INTERRUPT),
    ...[0xba, 0x02, 0x06, 0xb8, 0x00, 0x04, 0xef], // MOV DX, 602h; MOV AX, 400h; OUT DX, AX: the alarm wakes
    ...[0xc6, 0x06, KEPT & 0xff, KEPT >> 8, 0x10, 0xfb], // MOV byte [KEPT], 10h; STI
    ...[0xba, 0x04, 0x06, 0xb8, 0x00, 0x24, 0xef, ...FAILED], // MOV DX, 604h; MOV AX, 2400h; OUT DX, AX: S3
  ];
  const { host, vm } = boot(code);
  const guest = host.service(memory.guest)(vm), cpu = host.service(x86.processor)(vm);
  guest.write(0xf_000c, Uint8Array.of(RESUME & 0xff, RESUME >> 8, 0, 0));
  guest.write(TIMER, Uint8Array.from(FAILED));
  // Without a stack or a segment set up: MOV AL, [KEPT]; OUT F4h, AL.
  guest.write(RESUME, Uint8Array.of(0xa0, KEPT & 0xff, KEPT >> 8, 0xe6, 0xf4));
  await host.run();
  assertEquals([vm.exit?.reason, vm.exit?.status], ["debug-exit", EXIT_STATUS]);
  assertEquals(Math.floor(vm.clock.nowNs() / 1e6), 1000);
  assertEquals([cpu.getRegister(x86.state.SELECTOR + 1), cpu.eflags() & 0x200], [RESUME >> 4, 0]);
});

Deno.test("IN EAX, DX at VMware's port answers in several registers; without the option it does not", async () => {
  const code = [
    ...[0x66, 0xb8, 0x68, 0x58, 0x4d, 0x56], // MOV EAX, magic
    ...[0x66, 0xb9, 0x0a, 0x00, 0x00, 0x00], // MOV ECX, GETVERSION
    ...[0xba, 0x58, 0x56, 0x66, 0xed], // MOV DX, 5658h; IN EAX, DX
    ...[0x66, 0x89, 0xc6, ...EXIT], // MOV ESI, EAX
  ];
  for (const vmware of [true, false]) {
    const { host, vm } = boot(code, { vmware });
    await host.run();
    const cpu = host.service(x86.processor)(vm);
    assertEquals(cpu.getRegister(x86.ESI), vmware ? 6 : 0xffff_ffff);
    assertEquals(cpu.getRegister(x86.EBX), vmware ? BACKDOOR_MAGIC : 0);
    const leaf = host.bus.port(x86.cpuid).fold({ eax: 0, ebx: 0, ecx: 0, edx: 0 }, {
      vm,
      leaf: LEAF_HYPERVISOR,
      subleaf: 0,
    });
    assertEquals(leaf.eax !== 0, vmware);
  }
});

Deno.test("a guest saved between two bytes of its output is restored and ends in the same state", () => {
  const code = [0xba, 0xf8, 0x03, 0xb0, 0x41, 0xee, 0xee, 0xee, 0xe4, 0x61, 0xeb, 0xf8];
  const { host, vm } = boot(code, { pacedTransmit: true });
  host.runTo(vm, 1000);
  const saved = host.save(vm), at = host.stateHash(vm);
  host.runTo(vm, 3000);
  const later = host.stateHash(vm);
  host.restore(vm, saved);
  assertEquals(host.stateHash(vm), at);
  host.runTo(vm, 3000);
  assertEquals(host.stateHash(vm), later);
});

Deno.test("CPUID and IA32_APIC_BASE show the local APIC, which a guest may turn off; without the option there is none", async () => {
  const FEATURE_APIC = 1 << 9, APIC_BASE = 0x1b;
  const cpuid = [0x66, 0xb8, 0x01, 0x00, 0x00, 0x00, 0x0f, 0xa2]; // MOV EAX, 1; CPUID
  const code = [
    ...[...cpuid, 0x66, 0x89, 0xd6], // MOV ESI, EDX
    ...[0x66, 0xb9, APIC_BASE, 0x00, 0x00, 0x00, 0x0f, 0x32, 0x66, 0x89, 0xc7], // RDMSR; MOV EDI, EAX
    ...[0x80, 0xe4, 0xf7, 0x0f, 0x30], // AND AH, F7h: not enabled; WRMSR
    ...[...cpuid, 0x66, 0x89, 0xd5, ...EXIT], // MOV EBP, EDX
  ];
  const { host, vm } = boot(code);
  await host.run();
  const cpu = host.service(x86.processor)(vm);
  assertEquals([vm.exit?.status, cpu.getRegister(x86.EDI)], [EXIT_STATUS, 0xfee0_0900]);
  assertEquals([cpu.getRegister(x86.ESI) & FEATURE_APIC, cpu.getRegister(x86.EBP) & FEATURE_APIC], [FEATURE_APIC, 0]);

  const without = boot([...cpuid, 0x66, 0x89, 0xd6, ...EXIT], { apic: false });
  await without.host.run();
  assertEquals(without.host.service(x86.processor)(without.vm).getRegister(x86.ESI) & FEATURE_APIC, 0);
});

Deno.test("a halted guest is woken by its local APIC's timer, and powers off through ACPI", async () => {
  const { host, vm } = boot([]);
  const guest = host.service(memory.guest)(vm), cpu = host.service(x86.processor)(vm);
  const GDT = 0x800, IDT = 0x1000, HANDLER = 0x7d00, VECTOR = 0x50, CODE = 0x08, DATA = 0x10;
  const words = (address: number, ...values: readonly number[]) =>
    guest.write(address, new Uint8Array(Uint32Array.from(values).buffer));
  words(GDT, 0, 0, 0xffff, 0x00cf_9a00, 0xffff, 0x00cf_9200);
  words(IDT + 8 * VECTOR, (CODE << 16) | HANDLER, 0x8e00);
  cpu.enterProtectedFlat({ eip: ORIGIN, esp: ORIGIN, codeSelector: CODE, dataSelector: DATA });
  const registers: readonly [register: number, value: number][] = [
    [x86.state.GDTR_BASE, GDT],
    [x86.state.GDTR_LIMIT, 0x17],
    [x86.state.IDTR_BASE, IDT],
    [x86.state.IDTR_LIMIT, 0x7ff],
  ];
  for (const [register, value] of registers) cpu.setRegister(register, value);
  const store = (address: number, value: number) => [0xc7, 0x05, ...little(address), ...little(value)];
  const little = (value: number) => [value & 0xff, (value >>> 8) & 0xff, (value >>> 16) & 0xff, value >>> 24];
  const code = [
    ...store(0xfee0_03e0, 0x0b), // divide by 1
    ...store(0xfee0_0320, VECTOR), // one-shot
    ...store(0xfee0_0380, 66_000), // 1 ms at 66 MHz
    ...[0xfb, 0xf4], // STI; HLT
  ];
  guest.write(ORIGIN, Uint8Array.from(code));
  // MOV DX, 604h; MOV AX, 3401h: S5 and sleep enable; OUT DX, AX.
  guest.write(HANDLER, Uint8Array.of(0x66, 0xba, 0x04, 0x06, 0x66, 0xb8, 0x01, 0x34, 0x66, 0xef));
  await host.run();
  assertEquals([vm.exit?.reason, vm.exit?.status], ["power-off", 0]);
  assertEquals(Math.floor(vm.clock.nowNs() / 1e5), 10);
});

Deno.test("firmware's tables are there for whoever boots, and state the processor that CPUID describes", () => {
  const { host, vm } = boot(EXIT);
  const images = host.service(pc.firmware)(vm);
  assert(images.every(({ address, bytes }) => address >= 0xf_0000 && address + bytes.length <= 0x10_0000));
  const mp = images.find(({ bytes }) => new TextDecoder().decode(bytes.subarray(0, 4)) === "PCMP")?.bytes;
  assert(mp !== undefined);
  const PROCESSOR = 44, view = new DataView(mp.buffer);
  assertEquals([view.getUint32(PROCESSOR + 4, true), view.getUint32(PROCESSOR + 8, true) & (1 << 9)], [0x683, 1 << 9]);
  const none = boot(EXIT, { acpi: false, apic: false });
  assertEquals(none.host.service(pc.firmware)(none.vm), []);
});

Deno.test("COM2 exists only where the option asks for it", () => {
  const { host, vm } = boot(EXIT);
  assertThrows(() => host.service(pc.serial)(vm, 2), InputError, "com2");
  const other = boot(EXIT, { com2: true });
  assertEquals(other.host.service(pc.serial)(other.vm, 2).readyToReceive, false);
});
