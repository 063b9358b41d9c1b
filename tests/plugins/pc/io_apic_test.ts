// The I/O APIC: its registers through the window, and when inputs send their messages.

import { assertEquals } from "@std/assert";
import { type ApicMessage, DeliveryMode, Entry, modeBits } from "../../../plugins/pc/devices/apic_message.ts";
import { IO_APIC_INPUTS, IoApic, IoApicReg, IOREGSEL, IOWIN } from "../../../plugins/pc/devices/io_apic.ts";
import { hashOf } from "./harness.ts";

function makeIoApic(accepts = true) {
  const sent: ApicMessage[] = [], external: boolean[] = [];
  const ioApic = new IoApic({
    deliver: (message) => {
      sent.push(message);
      return accepts;
    },
    setExternal: (level) => external.push(level),
  });
  const select = (index: number) => ioApic.write(IOREGSEL, 4, index);
  const read = (index: number) => {
    select(index);
    return ioApic.read(IOWIN, 4);
  };
  const write = (index: number, value: number) => {
    select(index);
    ioApic.write(IOWIN, 4, value);
  };
  return {
    ioApic,
    sent,
    external,
    read,
    write,
    route: (input: number, low: number, high = 0) => {
      write(IoApicReg.TABLE + 2 * input + 1, high);
      write(IoApicReg.TABLE + 2 * input, low);
    },
    entry: (input: number) => read(IoApicReg.TABLE + 2 * input),
  };
}

Deno.test("an 82093AA with 24 inputs, all masked at first", () => {
  const { read, write, entry, ioApic } = makeIoApic();
  assertEquals([read(IoApicReg.VERSION), read(IoApicReg.ID)], [0x0017_0011, 0x0100_0000]);
  for (let input = 0; input < IO_APIC_INPUTS; input++) assertEquals(entry(input), Entry.MASKED);
  write(IoApicReg.ID, 0xffff_ffff);
  write(IoApicReg.VERSION, 0);
  write(IoApicReg.TABLE + 1, 0xffff_ffff);
  write(IoApicReg.TABLE, 0xffff_ffff);
  assertEquals([read(IoApicReg.ID), read(IoApicReg.VERSION)], [0x0f00_0000, 0x0017_0011]);
  assertEquals([read(IoApicReg.TABLE), read(IoApicReg.TABLE + 1)], [0x1_afff, 0xff00_0000]);
  assertEquals([ioApic.read(IOREGSEL, 1), ioApic.read(IOWIN + 3, 1)], [IoApicReg.TABLE + 1, 0xff]);
  assertEquals([read(0x40), read(0xff)], [0, 0]);
});

Deno.test("an edge-triggered input sends once a rising edge, to whom its entry says", () => {
  const { ioApic, route, sent } = makeIoApic();
  route(4, 0x31 | Entry.LOGICAL | modeBits(DeliveryMode.lowestPriority), 0x0300_0000);
  for (const level of [true, true, false, true]) ioApic.setInput(4, level);
  const message = { mode: 1, vector: 0x31, levelTriggered: false, logical: true, destination: 3 };
  assertEquals(sent, [message, message]);
});

Deno.test("an edge on a masked input is lost; a level waits", () => {
  const { ioApic, route, sent } = makeIoApic();
  for (const input of [4, 5]) ioApic.setInput(input, true);
  route(4, 0x31);
  assertEquals(sent.length, 0);
  route(5, 0x41 | Entry.LEVEL_TRIGGERED);
  assertEquals(sent.map(({ vector }) => vector), [0x41]);
});

Deno.test("a level-triggered input sends again after the end of interrupt, as long as it is high", () => {
  const { ioApic, route, entry, sent } = makeIoApic();
  route(9, 0x51 | Entry.LEVEL_TRIGGERED);
  ioApic.setInput(9, true);
  assertEquals([sent.length, entry(9) & Entry.REMOTE_IRR], [1, Entry.REMOTE_IRR]);
  ioApic.setInput(9, false);
  ioApic.setInput(9, true);
  assertEquals(sent.length, 1);
  ioApic.endOfInterrupt(0x52);
  assertEquals(sent.length, 1);
  ioApic.endOfInterrupt(0x51);
  assertEquals(sent.length, 2);
  ioApic.setInput(9, false);
  ioApic.endOfInterrupt(0x51);
  assertEquals([sent.length, entry(9) & Entry.REMOTE_IRR], [2, 0]);
});

Deno.test("a level that nobody takes is not in service, and edge mode ends one that is stuck", () => {
  const refused = makeIoApic(false);
  refused.route(9, 0x51 | Entry.LEVEL_TRIGGERED);
  refused.ioApic.setInput(9, true);
  assertEquals(refused.entry(9) & Entry.REMOTE_IRR, 0);
  const { ioApic, route, entry, sent } = makeIoApic();
  route(9, 0x51 | Entry.LEVEL_TRIGGERED);
  ioApic.setInput(9, true);
  route(9, 0x51 | Entry.MASKED);
  assertEquals(entry(9) & Entry.REMOTE_IRR, 0);
  route(9, 0x51 | Entry.LEVEL_TRIGGERED);
  assertEquals(sent.length, 2);
});

Deno.test("an input in the 8259s' mode passes its level on while it is not masked", () => {
  const { ioApic, route, external, sent } = makeIoApic();
  route(0, modeBits(DeliveryMode.external));
  ioApic.setInput(0, true);
  assertEquals(external.at(-1), true);
  route(0, modeBits(DeliveryMode.external) | Entry.MASKED);
  assertEquals([external.at(-1), sent.length], [false, 0]);
});

Deno.test("a restored I/O APIC goes on as the saved one", () => {
  const a = makeIoApic(), b = makeIoApic();
  a.route(9, 0x51 | Entry.LEVEL_TRIGGERED);
  a.ioApic.setInput(9, true);
  b.ioApic.restore(structuredClone(a.ioApic.save()));
  assertEquals([hashOf(b.ioApic), b.sent.length], [hashOf(a.ioApic), 0]);
  b.ioApic.endOfInterrupt(0x51);
  assertEquals(b.sent.map(({ vector }) => vector), [0x51]);
});
