// The board as a guest sees it through its ports: wiring of interrupt lines, the small devices, and what no guest may
// achieve: an exception, growth without bound, or a state that does not survive saving.

import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { Board } from "../../../plugins/pc/board.ts";
import { Pm1, PM1_CONTROL, PM1_ENABLE, PM1_STATUS, PM_TIMER } from "../../../plugins/pc/devices/acpi_pm.ts";
import { DEBUG_EXIT } from "../../../plugins/pc/devices/debug_exit.ts";
import { DMA1, DMA2, DmaReg } from "../../../plugins/pc/devices/dma.ts";
import { IO_APIC_BASE, IoApicReg, IOREGSEL, IOWIN } from "../../../plugins/pc/devices/io_apic.ts";
import { KBC_COMMAND } from "../../../plugins/pc/devices/keyboard.ts";
import { ApicReg, LOCAL_APIC_BASE } from "../../../plugins/pc/devices/local_apic.ts";
import { RESET_CONTROL } from "../../../plugins/pc/devices/pci.ts";
import { Icw1, Icw4, PIC1_COMMAND, PIC1_DATA, PIC2_COMMAND, PIC2_DATA } from "../../../plugins/pc/devices/pic.ts";
import { PIT_CONTROL, PIT_COUNTER_0 } from "../../../plugins/pc/devices/pit.ts";
import { SYSTEM_CONTROL_A } from "../../../plugins/pc/devices/port92.ts";
import { POST_CODE } from "../../../plugins/pc/devices/post80.ts";
import { CMOS_INDEX } from "../../../plugins/pc/devices/rtc.ts";
import { COM1, COM2, Ier, Mcr, Reg } from "../../../plugins/pc/devices/uart.ts";
import type { AccessSize } from "../../../plugins/x86/mod.ts";
import { FakeBus, hashOf, makeVm, pass } from "./harness.ts";

const WAKING_VECTOR = 0x9000;

function makeBoard(parts: { acpi?: boolean; apic?: boolean } = {}) {
  const vm = makeVm(), bus = new FakeBus(), registers = new Uint32Array(8);
  const cpu = {
    getRegister: (register: number) => registers[register],
    setRegister: (register: number, value: number) => void (registers[register] = value),
  };
  const board = new Board(vm, bus, {
    com2: true,
    uart: { pacedTransmit: false, settleNs: 20e6 },
    startSeconds: 1_767_225_600,
    acpi: true,
    apic: true,
    busMhz: 66,
    wakingVector: () => WAKING_VECTOR,
    ...parts,
    backdoor: () => cpu,
  });
  return { vm, bus, board };
}

/** Unmasks an input of the I/O APIC, for the processor. */
function routeIoApic(bus: FakeBus, input: number, entry: number): void {
  const ioApic = bus.memoryAt(IO_APIC_BASE)?.device;
  ioApic?.write(IOREGSEL, 4, IoApicReg.TABLE + 2 * input);
  ioApic?.write(IOWIN, 4, entry);
}

/** Vectors 20h-2Fh, nothing masked. */
function initializePics(bus: FakeBus): void {
  for (
    const [command, data, base, wiring] of [[PIC1_COMMAND, PIC1_DATA, 0x20, 4], [PIC2_COMMAND, PIC2_DATA, 0x28, 2]]
  ) {
    bus.out(command, Icw1.INIT | Icw1.IC4);
    for (const word of [base, wiring, Icw4.PM | Icw4.AEOI, 0]) bus.out(data, word);
  }
}

Deno.test("each device's interrupt arrives on the PC's line for it", () => {
  const cases: readonly [name: string, irq: number, cause: (wired: ReturnType<typeof makeBoard>) => void][] = [
    ["timer", 0, ({ vm, bus }) => {
      for (const [port, value] of [[PIT_CONTROL, 0x30], [PIT_COUNTER_0, 100], [PIT_COUNTER_0, 0]]) bus.out(port, value);
      pass(vm, 1e6);
    }],
    ["keyboard", 1, ({ board }) => board.keyboard.typeScancodes([0x1c])],
    ["COM2", 3, ({ bus }) => {
      bus.out(COM2.base + Reg.MCR, Mcr.OUT2);
      bus.out(COM2.base + Reg.IER, Ier.THRE);
    }],
    ["COM1", 4, ({ bus }) => {
      bus.out(COM1.base + Reg.MCR, Mcr.OUT2);
      bus.out(COM1.base + Reg.IER, Ier.THRE);
    }],
    ["clock", 8, ({ vm, bus }) => {
      // The index and the data register in one 16-bit write.
      bus.out(CMOS_INDEX, 0x120b, 2);
      pass(vm, 1e9);
    }],
    ["mouse", 12, ({ bus }) => {
      for (const [port, value] of [[0x64, 0x60], [0x60, 0x02], [0x64, 0xd4], [0x60, 0xf2]]) bus.out(port, value);
    }],
  ];
  for (const [name, irq, cause] of cases) {
    for (const apic of [true, false]) {
      const wired = makeBoard({ apic });
      initializePics(wired.bus);
      assertEquals(wired.bus.interrupt, false, name);
      cause(wired);
      assertEquals([wired.bus.interrupt, wired.bus.controller?.acknowledge()], [true, 0x20 + irq], name);
    }
    // Through the I/O APIC, the 8259s being masked: vectors 40h and up by input.
    const wired = makeBoard(), input = irq === 0 ? 2 : irq;
    routeIoApic(wired.bus, input, 0x40 + input);
    assertEquals(wired.bus.interrupt, false, name);
    cause(wired);
    assertEquals([wired.bus.interrupt, wired.bus.controller?.acknowledge()], [true, 0x40 + input], name);
  }
});

Deno.test("PCI and power management share line 9: it falls when neither holds it", () => {
  const { vm, bus, board } = makeBoard();
  // INTA# of device 3 is PIRQC#, which firmware routes to line 9.
  const slot = board.pci.add({ name: "f", vendorId: 1, deviceId: 1, classCode: 0, interruptPin: 1 }, 3);
  const SCI_INPUT = 9, VECTOR = 0x49, LEVEL_TRIGGERED = 0x8000;
  routeIoApic(bus, SCI_INPUT, VECTOR | LEVEL_TRIGGERED);
  const end = () => bus.memoryAt(LOCAL_APIC_BASE + ApicReg.EOI)?.device.write(ApicReg.EOI, 4, 0);
  bus.out(PM1_ENABLE, Pm1.TIMER, 2);
  pass(vm, 3e9);
  slot.setInterrupt(true);
  assertEquals(bus.controller?.acknowledge(), VECTOR);
  slot.setInterrupt(false);
  end();
  assertEquals([bus.interrupt, bus.controller?.acknowledge()], [true, VECTOR]);
  slot.setInterrupt(true);
  bus.out(PM1_STATUS, Pm1.TIMER, 2);
  end();
  assertEquals([bus.interrupt, bus.controller?.acknowledge()], [true, VECTOR]);
  slot.setInterrupt(false);
  end();
  assertEquals(bus.interrupt, false);
});

Deno.test("without the options there are no APICs and no power management", () => {
  const { bus } = makeBoard({ acpi: false, apic: false });
  assertEquals([bus.memoryAt(LOCAL_APIC_BASE), bus.memoryAt(IO_APIC_BASE)], [undefined, undefined]);
  assertEquals(bus.in(PM_TIMER, 4), 0xffff_ffff);
});

Deno.test("how a guest ends its VM: debug exit, three ways to reset, ACPI's power-off", () => {
  const cases: readonly [port: number, value: number, size: AccessSize, reason: string, status: number][] = [
    [DEBUG_EXIT, 0, 1, "debug-exit", 1],
    [DEBUG_EXIT, 0x10, 4, "debug-exit", 0x21],
    [DEBUG_EXIT, 0xff, 1, "debug-exit", 0xff],
    [SYSTEM_CONTROL_A, 0x01, 1, "reset", 0],
    [KBC_COMMAND, 0xfe, 1, "reset", 0],
    [RESET_CONTROL, 0x06, 1, "reset", 0],
    [PM1_CONTROL, 0x3401, 2, "power-off", 0],
  ];
  for (const [port, value, size, reason, status] of cases) {
    const { vm, bus } = makeBoard();
    bus.out(port, value, size);
    assertEquals([vm.exit?.reason, vm.exit?.status], [reason, status]);
  }
});

Deno.test("port 92h reads A20 as on, and keeps its other bits", () => {
  const { vm, bus } = makeBoard();
  bus.out(SYSTEM_CONTROL_A, 0x40);
  assertEquals([bus.in(SYSTEM_CONTROL_A), vm.exit], [0x42, undefined]);
});

Deno.test("port 80h keeps the POST code", () => {
  const { bus } = makeBoard();
  bus.out(POST_CODE, 0x55);
  assertEquals(bus.in(POST_CODE), 0x55);
});

Deno.test("DMA registers read back through the byte flip-flop, and a master clear masks all channels", () => {
  const { bus } = makeBoard();
  for (const [base, step] of [[DMA1, 1], [DMA2, 2]]) {
    const at = (register: number) => base + register * step;
    bus.out(at(DmaReg.CLEAR_FLIP_FLOP), 0);
    bus.out(at(2), 0x34);
    bus.out(at(2), 0x12);
    assertEquals([bus.in(at(2)), bus.in(at(2))], [0x34, 0x12]);
    bus.out(at(2), 0x78);
    bus.out(at(DmaReg.CLEAR_FLIP_FLOP), 0);
    assertEquals(bus.in(at(2)), 0x78);
    bus.out(at(DmaReg.CLEAR_MASK), 0);
    bus.out(at(DmaReg.SINGLE_MASK), 0x05);
    assertEquals(bus.in(at(DmaReg.ALL_MASK)), 0x02);
    bus.out(at(DmaReg.REQUEST), 0x06);
    assertEquals(bus.in(at(DmaReg.STATUS)), 0x40);
    bus.out(at(DmaReg.MASTER_CLEAR), 0);
    assertEquals([bus.in(at(DmaReg.ALL_MASK)), bus.in(at(DmaReg.STATUS))], [0x0f, 0]);
  }
  bus.out(0x87, 0xab);
  assertEquals(bus.in(0x87), 0xab);
});

Deno.test("a board that nobody touched has no timer armed", () => {
  assertEquals(makeBoard().vm.clock.nextTimerNs(), Infinity);
});

const access = fc.record({
  place: fc.nat(),
  size: fc.constantFrom<AccessSize>(1, 2, 4),
  value: fc.oneof(fc.integer({ min: 0, max: 255 }), fc.integer({ min: 0, max: 2 ** 32 - 1 })),
  reads: fc.boolean(),
  ns: fc.constantFrom(0, 0, 500, 90_000, 25_000_000),
  /** Device memory instead of a port: an APIC's register. */
  inMemory: fc.boolean(),
});
type Access = typeof access extends fc.Arbitrary<infer T> ? T : never;

/** Plays accesses: what was read, and the interrupts that arrived. */
function play({ vm, bus }: ReturnType<typeof makeBoard>, ports: readonly number[], accesses: readonly Access[]) {
  return accesses.map(({ place, size, value, reads, ns, inMemory }) => {
    vm.clock.pass(ns);
    vm.clock.fireDue();
    if (inMemory) {
      const base = place % 3 === 0 ? IO_APIC_BASE : LOCAL_APIC_BASE,
        offset = (place >> 2) & (base === IO_APIC_BASE ? 0x1f : 0x3ff);
      const device = bus.memoryAt(base)?.device;
      const got = reads ? device?.read(offset, size) : device?.write(offset & ~0xf, 4, value);
      if (typeof got === "number") assert(Number.isInteger(got) && got >= 0 && got < 2 ** (8 * size));
      return [got, bus.interrupt && place % 3 === 0 ? bus.controller?.acknowledge() : -1];
    }
    const port = ports[place % ports.length];
    const read = reads ? bus.in(port, size) : bus.out(port, value >>> (32 - 8 * size) || value & 0xff, size);
    if (typeof read === "number") assert(Number.isInteger(read) && read >= 0 && read < 2 ** (8 * size));
    const vector = bus.interrupt && place % 3 === 0 ? bus.controller?.acknowledge() : -1;
    return [read, vector];
  });
}

Deno.test("no sequence of accesses throws, and a board restored in the middle goes on as the saved one", () => {
  const ports = makeBoard().bus.claimed();
  const accesses = fc.array(access, { maxLength: 60 });
  const property = fc.property(accesses, accesses, (before, after) => {
    const a = makeBoard(), b = makeBoard();
    play(a, ports, before);
    b.vm.clock.restore(a.vm.clock.save() as Parameters<typeof b.vm.clock.restore>[0]);
    b.board.restore(structuredClone(a.board.save()));
    assertEquals(hashOf(b.board), hashOf(a.board));
    assertEquals(play(b, ports, after), play(a, ports, after));
    assertEquals(hashOf(b.board), hashOf(a.board));
  });
  fc.assert(property, { numRuns: 400, seed: 386 });
});

Deno.test("a guest that hammers every port for long does not make the saved state grow", () => {
  const wired = makeBoard(), ports = wired.bus.claimed();
  const sizes: number[] = [];
  for (let round = 0; round < 4; round++) {
    const batch = fc.sample(fc.array(access, { minLength: 2000, maxLength: 2000 }), { numRuns: 1, seed: round })[0];
    play(wired, ports, batch);
    sizes.push(JSON.stringify(wired.board.save()).length);
  }
  assert(Math.max(...sizes) < 20_000, `sizes ${sizes}`);
});
