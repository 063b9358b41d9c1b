// The interrupt controllers against the 8259A datasheet, and against what Linux's i8259 driver does to them.

import { assertEquals } from "@std/assert";
import {
  ELCR1,
  ELCR2,
  Icw1,
  Icw4,
  Ocw2,
  Ocw3,
  Pic,
  PIC1_COMMAND,
  PIC1_DATA,
  PIC2_COMMAND,
  PIC2_DATA,
  POLL_INTERRUPT,
} from "../../../plugins/pc/devices/pic.ts";
import { hashOf } from "./harness.ts";

const MASTER_BASE = 0x20, SLAVE_BASE = 0x28;

interface Wired {
  readonly pic: Pic;
  readonly intr: () => boolean;
}

function wire(): Wired {
  let level = false;
  const pic = new Pic((high) => level = high);
  return { pic, intr: () => level };
}

/** Initializes both controllers as a PC operating system does; everything unmasked. */
function initialized({ icw4 = Icw4.PM as number, slaveIcw4 = Icw4.PM as number } = {}): Wired {
  const wired = wire(), { pic } = wired;
  pic.writeByte(PIC1_COMMAND, Icw1.INIT | Icw1.IC4);
  pic.writeByte(PIC1_DATA, MASTER_BASE);
  pic.writeByte(PIC1_DATA, 1 << 2);
  pic.writeByte(PIC1_DATA, icw4);
  pic.writeByte(PIC2_COMMAND, Icw1.INIT | Icw1.IC4);
  pic.writeByte(PIC2_DATA, SLAVE_BASE);
  pic.writeByte(PIC2_DATA, 2);
  pic.writeByte(PIC2_DATA, slaveIcw4);
  pic.writeByte(PIC1_DATA, 0);
  pic.writeByte(PIC2_DATA, 0);
  return wired;
}

const specific = (level: number) => Ocw2.SPECIFIC_EOI | level;
const readOf = (pic: Pic, command: number, inService: boolean) => {
  pic.writeByte(command, Ocw3.SELECT | Ocw3.RR | (inService ? Ocw3.RIS : 0));
  return pic.readByte(command);
};

Deno.test("every line is delivered under the vector its controller was given, and ends with an EOI", () => {
  for (let irq = 0; irq < 16; irq++) {
    if (irq === 2) continue;
    const { pic, intr } = initialized();
    pic.setLine(irq, true);
    assertEquals(intr(), true);
    assertEquals(pic.acknowledge(), irq < 8 ? MASTER_BASE + irq : SLAVE_BASE + irq - 8);
    assertEquals(intr(), false);
    assertEquals(readOf(pic, PIC1_COMMAND, true), irq < 8 ? 1 << irq : 1 << 2);
    assertEquals(readOf(pic, PIC2_COMMAND, true), irq < 8 ? 0 : 1 << (irq - 8));
    if (irq >= 8) pic.writeByte(PIC2_COMMAND, Ocw2.NON_SPECIFIC_EOI);
    pic.writeByte(PIC1_COMMAND, Ocw2.NON_SPECIFIC_EOI);
    assertEquals(readOf(pic, PIC1_COMMAND, true), 0);
    assertEquals(readOf(pic, PIC2_COMMAND, true), 0);
    assertEquals(intr(), false);
  }
});

Deno.test("requests come in order of priority: 0, 1, 8-15, 3-7", () => {
  const { pic, intr } = initialized();
  for (const irq of [7, 6, 5, 4, 3, 15, 14, 13, 12, 11, 10, 9, 8, 1, 0]) pic.setLine(irq, true);
  const order: number[] = [];
  while (intr()) {
    const vector = pic.acknowledge();
    order.push(vector - MASTER_BASE);
    if (vector >= SLAVE_BASE) pic.writeByte(PIC2_COMMAND, Ocw2.NON_SPECIFIC_EOI);
    pic.writeByte(PIC1_COMMAND, Ocw2.NON_SPECIFIC_EOI);
  }
  assertEquals(order, [0, 1, 8, 9, 10, 11, 12, 13, 14, 15, 3, 4, 5, 6, 7]);
});

Deno.test("a level in service holds back its own and lower levels and lets higher ones through", () => {
  const { pic, intr } = initialized();
  pic.setLine(4, true);
  pic.acknowledge();
  for (const [irq, comes] of [[5, false], [4, false], [3, true]] as const) {
    pic.setLine(irq, false);
    pic.setLine(irq, true);
    assertEquals(intr(), comes, `IRQ ${irq}`);
  }
});

Deno.test("an edge-triggered line requests once, a level-triggered one as long as it is high", () => {
  const { pic, intr } = initialized();
  pic.writeByte(ELCR1, 1 << 5);
  for (const [irq, repeats] of [[4, false], [5, true]] as const) {
    pic.setLine(irq, true);
    pic.acknowledge();
    pic.writeByte(PIC1_COMMAND, specific(irq));
    assertEquals(intr(), repeats, `IRQ ${irq}`);
    pic.setLine(irq, false);
    assertEquals(intr(), false);
  }
});

Deno.test("the edge/level registers keep the timer, keyboard, cascade, clock and FERR lines edge-triggered", () => {
  const { pic } = initialized();
  pic.writeByte(ELCR1, 0xff);
  pic.writeByte(ELCR2, 0xff);
  assertEquals([pic.readByte(ELCR1), pic.readByte(ELCR2)], [0xf8, 0xde]);
});

Deno.test("a request that went away is acknowledged with IR7's vector and leaves nothing in service", () => {
  const { pic, intr } = initialized();
  pic.setLine(3, true);
  pic.setLine(3, false);
  assertEquals(intr(), false);
  assertEquals(pic.acknowledge(), MASTER_BASE + 7);
  assertEquals(readOf(pic, PIC1_COMMAND, true), 0);
});

Deno.test("a real IRQ7 is told from a spurious one by its bit in ISR, as Linux's handler does", () => {
  const { pic } = initialized();
  pic.setLine(7, true);
  assertEquals(pic.acknowledge(), MASTER_BASE + 7);
  assertEquals(readOf(pic, PIC1_COMMAND, true), 1 << 7);
});

Deno.test("a mask holds a request back without losing it", () => {
  const { pic, intr } = initialized();
  pic.writeByte(PIC1_DATA, 1 << 4);
  pic.setLine(4, true);
  assertEquals([intr(), readOf(pic, PIC1_COMMAND, false)], [false, 1 << 4]);
  pic.writeByte(PIC1_DATA, 0);
  assertEquals([intr(), pic.acknowledge()], [true, MASTER_BASE + 4]);
});

Deno.test("automatic EOI leaves nothing in service, and rotates where told to", () => {
  for (const rotates of [false, true]) {
    const { pic } = initialized({ icw4: Icw4.PM | Icw4.AEOI });
    pic.writeByte(PIC1_COMMAND, rotates ? Ocw2.ROTATE_IN_AEOI_SET : Ocw2.ROTATE_IN_AEOI_CLEAR);
    pic.setLine(3, true);
    assertEquals(pic.acknowledge(), MASTER_BASE + 3);
    assertEquals(readOf(pic, PIC1_COMMAND, true), 0);
    pic.setLine(3, false);
    pic.setLine(3, true);
    pic.setLine(4, true);
    assertEquals(pic.acknowledge() - MASTER_BASE, rotates ? 4 : 3);
  }
});

Deno.test("rotation and set priority move the bottom of the order", () => {
  const cases: readonly [name: string, command: number, next: number][] = [
    ["non-specific EOI leaves it", Ocw2.NON_SPECIFIC_EOI, 1],
    ["rotate on non-specific EOI", Ocw2.ROTATE_ON_NON_SPECIFIC_EOI, 5],
    ["rotate on specific EOI", Ocw2.ROTATE_ON_SPECIFIC_EOI | 4, 5],
  ];
  for (const [name, command, next] of cases) {
    const { pic } = initialized();
    pic.setLine(4, true);
    pic.acknowledge();
    pic.setLine(1, true);
    pic.setLine(5, true);
    pic.writeByte(PIC1_COMMAND, command);
    assertEquals(pic.acknowledge() - MASTER_BASE, next, name);
  }
  const { pic } = initialized();
  pic.writeByte(PIC1_COMMAND, Ocw2.SET_PRIORITY | 5);
  for (const irq of [0, 5, 6]) pic.setLine(irq, true);
  assertEquals(pic.acknowledge() - MASTER_BASE, 6);
});

Deno.test("a non-specific EOI ends the level of highest priority", () => {
  const { pic } = initialized();
  pic.setLine(5, true);
  pic.acknowledge();
  pic.setLine(1, true);
  pic.acknowledge();
  pic.writeByte(PIC1_COMMAND, Ocw2.NON_SPECIFIC_EOI);
  assertEquals(readOf(pic, PIC1_COMMAND, true), 1 << 5);
});

Deno.test("in special mask mode a masked level in service lets lower ones through and keeps its bit", () => {
  const { pic, intr } = initialized();
  pic.setLine(3, true);
  pic.acknowledge();
  pic.setLine(6, true);
  assertEquals(intr(), false);
  pic.writeByte(PIC1_COMMAND, Ocw3.SELECT | Ocw3.ESMM | Ocw3.SMM);
  pic.writeByte(PIC1_DATA, 1 << 3);
  assertEquals([intr(), pic.acknowledge()], [true, MASTER_BASE + 6]);
  pic.writeByte(PIC1_COMMAND, Ocw2.NON_SPECIFIC_EOI);
  pic.writeByte(PIC1_COMMAND, Ocw2.NON_SPECIFIC_EOI);
  assertEquals(readOf(pic, PIC1_COMMAND, true), 1 << 3);
  pic.writeByte(PIC1_COMMAND, Ocw3.SELECT | Ocw3.ESMM);
  pic.writeByte(PIC1_COMMAND, Ocw2.NON_SPECIFIC_EOI);
  assertEquals(readOf(pic, PIC1_COMMAND, true), 0);
});

Deno.test("special fully nested mode lets a higher request of the same slave through", () => {
  for (const [icw4, comes] of [[Icw4.PM, false], [Icw4.PM | Icw4.SFNM, true]] as const) {
    const { pic, intr } = initialized({ icw4 });
    pic.setLine(12, true);
    pic.acknowledge();
    pic.setLine(9, true);
    assertEquals(intr(), comes);
    if (comes) assertEquals(pic.acknowledge(), SLAVE_BASE + 1);
    pic.setLine(3, true);
    assertEquals(intr(), false, "IRQ3 is below the cascade");
  }
});

Deno.test("a poll acknowledges: the level in service and a set bit 7, or zero when there is none", () => {
  const { pic, intr } = initialized();
  pic.writeByte(PIC1_COMMAND, Ocw3.SELECT | Ocw3.POLL);
  assertEquals(pic.readByte(PIC1_COMMAND), 0);
  pic.setLine(5, true);
  pic.writeByte(PIC1_COMMAND, Ocw3.SELECT | Ocw3.POLL);
  assertEquals(pic.readByte(PIC1_COMMAND), POLL_INTERRUPT | 5);
  assertEquals([intr(), readOf(pic, PIC1_COMMAND, true)], [false, 1 << 5]);
});

Deno.test("ICW1 clears masks, service and edges, and nothing interrupts until the last ICW", () => {
  const { pic, intr } = initialized();
  pic.setLine(4, true);
  pic.acknowledge();
  pic.setLine(1, true);
  pic.writeByte(PIC1_COMMAND, Icw1.INIT | Icw1.IC4);
  pic.setLine(3, true);
  assertEquals(intr(), false);
  pic.writeByte(PIC1_DATA, 0x47);
  pic.writeByte(PIC1_DATA, 1 << 2);
  pic.writeByte(PIC1_DATA, Icw4.PM);
  assertEquals([intr(), pic.acknowledge()], [true, 0x40 + 3]);
  assertEquals(pic.readByte(PIC1_DATA), 0);
  assertEquals(readOf(pic, PIC1_COMMAND, true), 1 << 3);
  assertEquals(readOf(pic, PIC1_COMMAND, false), 0, "lines that stayed high need a new edge");
});

Deno.test("a single controller without ICW4 takes two initialization words", () => {
  const { pic, intr } = wire();
  pic.writeByte(PIC1_COMMAND, Icw1.INIT | Icw1.SNGL);
  pic.writeByte(PIC1_DATA, 0x60);
  pic.writeByte(PIC1_DATA, 0xfe);
  assertEquals(pic.readByte(PIC1_DATA), 0xfe);
  pic.setLine(0, true);
  assertEquals([intr(), pic.acknowledge()], [true, 0x60]);
});

Deno.test("Linux's probe finds the controller: the master's mask register keeps what is written", () => {
  const { pic } = wire();
  pic.writeByte(PIC2_DATA, 0xff);
  pic.writeByte(PIC1_DATA, 0xfb);
  assertEquals(pic.readByte(PIC1_DATA), 0xfb);
});

Deno.test("Linux's mask-and-acknowledge of a slave line lets the next one in", () => {
  const { pic, intr } = initialized();
  pic.setLine(8, true);
  pic.setLine(14, true);
  assertEquals(pic.acknowledge(), SLAVE_BASE);
  pic.writeByte(PIC2_DATA, 1 << 0);
  pic.writeByte(PIC2_COMMAND, specific(0));
  pic.writeByte(PIC1_COMMAND, specific(2));
  assertEquals([intr(), pic.acknowledge()], [true, SLAVE_BASE + 6]);
});

Deno.test("a slave request that comes while another is in service is delivered after its EOI", () => {
  const { pic, intr } = initialized();
  pic.setLine(12, true);
  pic.acknowledge();
  pic.setLine(9, true);
  assertEquals(intr(), false);
  pic.writeByte(PIC2_COMMAND, specific(4));
  pic.writeByte(PIC1_COMMAND, specific(2));
  assertEquals([intr(), pic.acknowledge()], [true, SLAVE_BASE + 1]);
});

Deno.test("a restored pair goes on as the saved one", () => {
  const { pic } = initialized();
  pic.setLine(4, true);
  pic.acknowledge();
  pic.setLine(1, true);
  pic.setLine(9, true);
  pic.writeByte(PIC1_COMMAND, Ocw3.SELECT | Ocw3.RR | Ocw3.RIS);
  const copy = wire();
  copy.pic.restore(pic.save());
  assertEquals(hashOf(copy.pic), hashOf(pic));
  assertEquals(copy.intr(), true);
  assertEquals(copy.pic.acknowledge(), pic.acknowledge());
  assertEquals(copy.pic.readByte(PIC1_COMMAND), pic.readByte(PIC1_COMMAND));
  assertEquals(hashOf(copy.pic), hashOf(pic));
});
