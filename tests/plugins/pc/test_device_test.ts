// The test device through a board's ports and memory: only where it is asked for, and as test images expect it.

import { assert, assertEquals } from "@std/assert";
import { Board } from "../../../plugins/pc/board.ts";
import { IO_APIC_BASE, IoApicReg, IOREGSEL, IOWIN } from "../../../plugins/pc/devices/io_apic.ts";
import { TEST_LINES, TEST_MEMORY_BASE, TEST_REGISTER } from "../../../plugins/pc/devices/test_device.ts";
import { FakeBus, hashOf, makeVm } from "./harness.ts";

function makeBoard(testDevice: boolean) {
  const bus = new FakeBus();
  const board = new Board(makeVm(), bus, {
    com2: false,
    uart: { pacedTransmit: false, settleNs: 0 },
    startSeconds: 0,
    acpi: true,
    apic: true,
    busMhz: 66,
    wakingVector: () => 0,
    testDevice,
  });
  return { bus, board };
}

Deno.test("a board has no test device unless it is asked for", () => {
  const { bus } = makeBoard(false);
  assertEquals([bus.in(TEST_REGISTER), bus.in(TEST_LINES)], [0xff, 0xff]);
  assertEquals(bus.memoryAt(TEST_MEMORY_BASE), undefined);
});

Deno.test("the test register takes accesses of any size at any of its ports", () => {
  const { bus } = makeBoard(true);
  bus.out(TEST_REGISTER, 0x8765_4321, 4);
  bus.out(TEST_REGISTER + 1, 0xaa, 1);
  assertEquals(bus.in(TEST_REGISTER, 4), 0x8765_aa21);
  assertEquals([bus.in(TEST_REGISTER + 1, 2), bus.in(TEST_REGISTER + 3)], [0x65aa, 0x87]);
});

Deno.test("test memory reads back, is saved and is part of the state hash", () => {
  const { bus, board } = makeBoard(true), other = makeBoard(true);
  const memory = bus.memoryAt(TEST_MEMORY_BASE + 0x1000);
  assert(memory !== undefined);
  memory.device.write(memory.offset, 4, 0x8877_6655);
  assertEquals([memory.device.read(memory.offset + 2, 2), memory.device.read(memory.offset, 4)], [0x8877, 0x8877_6655]);
  assert(hashOf(board) !== hashOf(other.board));
  other.board.restore(board.save());
  assertEquals(hashOf(other.board), hashOf(board));
  assertEquals(other.bus.memoryAt(TEST_MEMORY_BASE)?.device.read(0x1000, 4), 0x8877_6655);
});

Deno.test("a write to a test line's port raises that interrupt", () => {
  const { bus } = makeBoard(true), ioApic = bus.memoryAt(IO_APIC_BASE)?.device;
  const LINE = 11, VECTOR = 0x73;
  ioApic?.write(IOREGSEL, 4, IoApicReg.TABLE + 2 * LINE);
  ioApic?.write(IOWIN, 4, VECTOR);
  assertEquals(bus.interrupt, false);
  bus.out(TEST_LINES + LINE, 1, 4);
  assertEquals([bus.interrupt, bus.controller?.acknowledge()], [true, VECTOR]);
});

Deno.test("a line that is high keeps its level through save and restore, though the coprocessor's latch drives it low", () => {
  const { bus, board } = makeBoard(true), other = makeBoard(true);
  const COPROCESSOR_LINE = 13;
  bus.out(TEST_LINES + COPROCESSOR_LINE, 1, 1);
  other.board.restore(board.save());
  assertEquals(hashOf(other.board), hashOf(board));
});
