// The board as a guest sees it through its ports: wiring of interrupt lines, the small devices, and what no guest may
// achieve: an exception, growth without bound, or a state that does not survive saving.

import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { Board } from "../../../plugins/pc/board.ts";
import { DEBUG_EXIT } from "../../../plugins/pc/devices/debug_exit.ts";
import { DMA1, DMA2, DmaReg } from "../../../plugins/pc/devices/dma.ts";
import { KBC_COMMAND } from "../../../plugins/pc/devices/keyboard.ts";
import { RESET_CONTROL } from "../../../plugins/pc/devices/pci.ts";
import { Icw1, Icw4, PIC1_COMMAND, PIC1_DATA, PIC2_COMMAND, PIC2_DATA } from "../../../plugins/pc/devices/pic.ts";
import { PIT_CONTROL, PIT_COUNTER_0 } from "../../../plugins/pc/devices/pit.ts";
import { SYSTEM_CONTROL_A } from "../../../plugins/pc/devices/port92.ts";
import { POST_CODE } from "../../../plugins/pc/devices/post80.ts";
import { CMOS_INDEX } from "../../../plugins/pc/devices/rtc.ts";
import { COM1, COM2, Ier, Mcr, Reg } from "../../../plugins/pc/devices/uart.ts";
import type { AccessSize } from "../../../plugins/x86/mod.ts";
import { FakeBus, hashOf, makeVm, pass } from "./harness.ts";

function makeBoard() {
  const vm = makeVm(), bus = new FakeBus(), registers = new Uint32Array(8);
  const cpu = {
    getRegister: (register: number) => registers[register],
    setRegister: (register: number, value: number) => void (registers[register] = value),
  };
  const board = new Board(vm, bus, {
    com2: true,
    uart: { pacedTransmit: false, settleNs: 20e6 },
    startSeconds: 1_767_225_600,
    backdoor: () => cpu,
  });
  return { vm, bus, board };
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
    const wired = makeBoard();
    initializePics(wired.bus);
    assertEquals(wired.bus.interrupt, false, name);
    cause(wired);
    assertEquals([wired.bus.interrupt, wired.bus.controller?.acknowledge()], [true, 0x20 + irq], name);
  }
});

Deno.test("how a guest ends its VM: debug exit and three ways to reset", () => {
  const cases: readonly [port: number, value: number, size: AccessSize, reason: string, status: number][] = [
    [DEBUG_EXIT, 0, 1, "debug-exit", 1],
    [DEBUG_EXIT, 0x10, 4, "debug-exit", 0x21],
    [DEBUG_EXIT, 0xff, 1, "debug-exit", 0xff],
    [SYSTEM_CONTROL_A, 0x01, 1, "reset", 0],
    [KBC_COMMAND, 0xfe, 1, "reset", 0],
    [RESET_CONTROL, 0x06, 1, "reset", 0],
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
});
type Access = typeof access extends fc.Arbitrary<infer T> ? T : never;

/** Plays accesses: what was read, and the interrupts that arrived. */
function play({ vm, bus, board }: ReturnType<typeof makeBoard>, ports: readonly number[], accesses: readonly Access[]) {
  return accesses.map(({ place, size, value, reads, ns }) => {
    vm.clock.pass(ns);
    vm.clock.fireDue();
    const port = ports[place % ports.length];
    const read = reads ? bus.in(port, size) : bus.out(port, value >>> (32 - 8 * size) || value & 0xff, size);
    if (typeof read === "number") assert(Number.isInteger(read) && read >= 0 && read < 2 ** (8 * size));
    const vector = bus.interrupt && place % 3 === 0 ? board.pic.acknowledge() : -1;
    return [read, vector];
  });
}

Deno.test("no sequence of port accesses throws, and a board restored in the middle goes on as the saved one", () => {
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
