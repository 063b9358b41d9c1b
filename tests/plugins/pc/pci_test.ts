// The PCI bus: configuration mechanism #1 as Linux probes it, base address registers, interrupt routing.

import { assert, assertEquals, assertThrows } from "@std/assert";
import { InputError } from "../../../core/mod.ts";
import {
  CONFIG_ADDRESS,
  CONFIG_DATA,
  FIRMWARE_ROUTES,
  PIRQ_ROUTE_A,
  RESET_CONTROL,
} from "../../../plugins/pc/devices/pci.ts";
import { Pci, PCI_PORTS } from "../../../plugins/pc/devices/pci.ts";
import { Command, Config, MEMORY_WINDOW, PORT_WINDOW, Status } from "../../../plugins/pc/devices/pci_function.ts";
import type { PciFunction } from "../../../plugins/pc/services.ts";
import type { AccessSize } from "../../../plugins/x86/mod.ts";
import { FakeBus, hashOf, makeVm } from "./harness.ts";

function makePci() {
  const vm = makeVm(), bus = new FakeBus(), lines = new Map<number, boolean>();
  let resets = 0;
  const pci = new Pci(vm, bus, { setLine: (irq, level) => lines.set(irq, level), reset: () => resets++ });
  bus.ports(vm, CONFIG_ADDRESS, PCI_PORTS, "pci", pci);
  const select = (device: number, register: number, fn = 0, onBus = 0) =>
    bus.out(CONFIG_ADDRESS, 0x8000_0000 + (onBus << 16) + (device << 11) + (fn << 8) + (register & ~3), 4);
  const read = (device: number, register: number, size: AccessSize = 4) => {
    select(device, register);
    return bus.in(CONFIG_DATA + (register & 3), size);
  };
  const write = (device: number, register: number, value: number, size: AccessSize = 4) => {
    select(device, register);
    bus.out(CONFIG_DATA + (register & 3), value, size);
  };
  const high = () => [...lines].filter(([, level]) => level).map(([irq]) => irq);
  return { pci, bus, select, read, write, high, resets: () => resets };
}

/** A function with a port BAR and a memory BAR whose registers remember the last write. */
function testFunction(name = "test", interruptPin: 1 | 2 | 3 | 4 = 1) {
  const log: [kind: string, offset: number, value: number][] = [];
  const recorder = (kind: string) => ({
    read: (offset: number) => offset,
    write: (offset: number, _size: AccessSize, value: number) => void log.push([kind, offset, value]),
  });
  const fn: PciFunction = {
    name,
    vendorId: 0x1af4,
    deviceId: 0x1002,
    classCode: 0x00ff00,
    subsystemVendorId: 0x1af4,
    subsystemId: 5,
    interruptPin,
    bars: [
      { kind: "port", sizeBytes: 32, device: recorder("port") },
      { kind: "memory", sizeBytes: 4096, device: recorder("memory") },
    ],
    capabilities: [Uint8Array.of(0x09, 0, 5, 1, 2), Uint8Array.of(0x05, 0, 0, 0)],
  };
  return { fn, log };
}

Deno.test("Linux's check for mechanism 1 passes: a byte at CFBh is no address, a double word at CF8h is", () => {
  const { bus, read } = makePci();
  const saved = bus.in(CONFIG_ADDRESS, 4);
  bus.out(CONFIG_ADDRESS + 3, 0x01);
  bus.out(CONFIG_ADDRESS, 0x8000_0000, 4);
  assertEquals(bus.in(CONFIG_ADDRESS, 4), 0x8000_0000);
  bus.out(CONFIG_ADDRESS, saved, 4);
  assertEquals(read(0, Config.REVISION + 2, 2), 0x0600, "a host bridge");
  assertEquals(read(0, 0), 0x1237_8086);
});

Deno.test("absent functions, devices and buses read as ones, and so does all with the enable bit clear", () => {
  const { bus, read, select } = makePci();
  assertEquals(read(5, 0), 0xffff_ffff);
  select(0, 0, 1);
  assertEquals(bus.in(CONFIG_DATA, 4), 0xffff_ffff);
  select(0, 0, 0, 1);
  assertEquals(bus.in(CONFIG_DATA, 4), 0xffff_ffff);
  bus.out(CONFIG_ADDRESS, 0, 4);
  assertEquals(bus.in(CONFIG_DATA, 4), 0xffff_ffff);
});

Deno.test("configuration space is read in bytes, words and double words", () => {
  const { read } = makePci();
  assertEquals([read(1, 0, 2), read(1, 2, 2), read(1, 11, 1), read(1, 8)], [0x8086, 0x7000, 0x06, 0x0601_0000]);
});

Deno.test("identity cannot be written, the interrupt line can", () => {
  const { pci, read, write } = makePci();
  const { fn } = testFunction();
  const { device } = pci.add(fn);
  const before = read(device, 0);
  write(device, 0, 0);
  write(device, Config.CLASS_CODE, 0xff, 1);
  assertEquals([read(device, 0), read(device, Config.CLASS_CODE, 1)], [before, 0x00]);
  write(device, Config.INTERRUPT_LINE, 0x05, 1);
  assertEquals(read(device, Config.INTERRUPT_LINE, 2), 0x0105);
});

Deno.test("a BAR tells its size, and moves its range where it is written", () => {
  const { pci, bus, read, write } = makePci();
  const { fn, log } = testFunction();
  const { device } = pci.add(fn);
  const bar0 = read(device, Config.BAR_0);
  assertEquals(bar0, PORT_WINDOW.first | 1);
  assertEquals(bus.in(PORT_WINDOW.first + 7), 7);
  write(device, Config.BAR_0, 0xffff_ffff);
  assertEquals(read(device, Config.BAR_0), 0xffff_ffe1);
  write(device, Config.BAR_0, 0xd040);
  assertEquals(read(device, Config.BAR_0), 0xd041);
  assertEquals([bus.in(PORT_WINDOW.first + 7), bus.in(0xd047)], [0xff, 7]);
  bus.out(0xd04a, 0x1234, 2);
  assertEquals(log, [["port", 10, 0x1234]]);
  write(device, Config.BAR_0 + 4, 0xffff_ffff);
  assertEquals(read(device, Config.BAR_0 + 4), 0xffff_f000);
  write(device, Config.BAR_0 + 4, MEMORY_WINDOW.first + 0x3000);
  assertEquals(bus.memoryAt(MEMORY_WINDOW.first + 0x3010)?.offset, 0x10);
  assertEquals(bus.memoryAt(MEMORY_WINDOW.first + 0x10), undefined);
  write(device, Config.BAR_0 + 8, 0xffff_ffff);
  assertEquals(read(device, Config.BAR_0 + 8), 0, "no BAR there");
});

Deno.test("the command register turns ranges off, and a BAR outside the bridge's windows answers nowhere", () => {
  const { pci, bus, read, write } = makePci();
  const slot = pci.add(testFunction().fn);
  const { device } = slot;
  assertEquals(read(device, Config.COMMAND, 2), Command.IO | Command.MEMORY);
  write(device, Config.COMMAND, Command.MEMORY | Command.BUS_MASTER, 2);
  assertEquals([bus.in(PORT_WINDOW.first), slot.busMaster], [0xff, true]);
  write(device, Config.COMMAND, Command.IO | Command.MEMORY, 2);
  assertEquals([bus.in(PORT_WINDOW.first), slot.busMaster], [0, false]);
  for (const port of [0x20, 0xbfe0, 0x1_c000]) {
    const claimed = bus.claimed().length;
    write(device, Config.BAR_0, port);
    assert(bus.claimed().length <= claimed);
    assertEquals(bus.in(PORT_WINDOW.first), 0xff);
  }
});

Deno.test("a guest that puts two functions at one place keeps the first, and both come back apart", () => {
  const { pci, bus, read, write } = makePci();
  const a = pci.add(testFunction("a").fn), b = pci.add(testFunction("b").fn);
  const atA = read(a.device, Config.BAR_0), atB = read(b.device, Config.BAR_0);
  write(b.device, Config.BAR_0, atA);
  assertEquals([bus.in((atA & ~1) + 3), bus.in(atB & ~1)], [3, 0xff]);
  write(b.device, Config.BAR_0, atB);
  assertEquals(bus.in((atB & ~1) + 3), 3);
});

Deno.test("capabilities are linked, and announced in the status register", () => {
  const { pci, read } = makePci();
  const { device } = pci.add(testFunction().fn);
  assertEquals(read(device, Config.STATUS, 2) & Status.CAPABILITIES, Status.CAPABILITIES);
  const first = read(device, Config.CAPABILITIES, 1);
  assertEquals([read(device, first, 1), read(device, first + 2, 1)], [0x09, 5]);
  const second = read(device, first + 1, 1);
  assertEquals([read(device, second, 1), read(device, second + 1, 1), second & 3], [0x05, 0, 0]);
});

Deno.test("interrupt pins reach the lines that firmware wrote down, shared ones while any is high", () => {
  const { pci, read, high } = makePci();
  const slots = [1, 2, 3, 4].map((pin) => pci.add(testFunction(`pin ${pin}`, pin as 1 | 2 | 3 | 4).fn));
  for (const slot of slots) {
    slot.setInterrupt(true);
    assertEquals(high(), [read(slot.device, Config.INTERRUPT_LINE, 1)]);
    assertEquals(read(slot.device, Config.STATUS, 2) & Status.INTERRUPT, Status.INTERRUPT);
    slot.setInterrupt(false);
    assertEquals(high(), []);
  }
  const line = read(slots[0].device, Config.INTERRUPT_LINE, 1);
  const other = pci.add(testFunction("shares", 1).fn, slots[0].device + FIRMWARE_ROUTES.length * 2);
  assertEquals(read(other.device, Config.INTERRUPT_LINE, 1), line);
  slots[0].setInterrupt(true);
  other.setInterrupt(true);
  slots[0].setInterrupt(false);
  assertEquals(high(), [line]);
  other.setInterrupt(false);
  assertEquals(high(), []);
});

Deno.test("a guest may route an interrupt elsewhere, disconnect it, or turn the function's pin off", () => {
  const { pci, write, high } = makePci();
  const slot = pci.add(testFunction().fn), pirq = PIRQ_ROUTE_A + ((slot.device - 1) & 3);
  slot.setInterrupt(true);
  write(1, pirq, 5, 1);
  assertEquals(high(), [5]);
  write(1, pirq, 0x85, 1);
  assertEquals(high(), []);
  write(1, pirq, 2, 1);
  assertEquals(high(), [], "IRQ2 is the cascade");
  write(1, pirq, 9, 1);
  assertEquals(high(), [9]);
  write(slot.device, Config.COMMAND, Command.INTX_DISABLE, 2);
  assertEquals(high(), []);
});

Deno.test("reset control resets on the rising edge of its reset bit alone", () => {
  const { bus, resets } = makePci();
  bus.out(RESET_CONTROL, 0x02);
  assertEquals(resets(), 0);
  bus.out(RESET_CONTROL, 0x06);
  bus.out(RESET_CONTROL, 0x06);
  assertEquals([resets(), bus.in(RESET_CONTROL)], [1, 0x06]);
});

Deno.test("a device number that is taken or does not exist is refused by name", () => {
  const { pci } = makePci();
  assertThrows(() => pci.add(testFunction("second").fn, 0), InputError, "host bridge");
  assertThrows(() => pci.add(testFunction("second").fn, 32), InputError, "32");
});

Deno.test("a restored bus maps and routes as the saved one", () => {
  const make = () => {
    const wired = makePci();
    return { ...wired, slot: wired.pci.add(testFunction().fn) };
  };
  const a = make(), b = make();
  a.write(a.slot.device, Config.BAR_0, 0xe000);
  a.write(1, PIRQ_ROUTE_A, 7, 1);
  a.slot.setInterrupt(true);
  b.pci.restore(a.pci.save());
  assertEquals(b.bus.in(0xe009), 9);
  assertEquals(b.bus.in(PORT_WINDOW.first), 0xff);
  assertEquals(b.bus.in(CONFIG_ADDRESS, 4), a.bus.in(CONFIG_ADDRESS, 4));
  b.slot.setInterrupt(false);
  a.slot.setInterrupt(false);
  assertEquals(b.high(), a.high());
  assertEquals(hashOf(b.pci), hashOf(a.pci));
});
