// The real-time clock against the MC146818 datasheet: the calendar against JavaScript's, formats, updates, interrupts.

import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { fieldsOf, secondsOf, weekdayOf } from "../../../plugins/pc/devices/calendar.ts";
import {
  Cmos,
  CMOS_DATA,
  CMOS_INDEX,
  RegA,
  RegB,
  RegC,
  RegD,
  Rtc,
  Rtc146818,
} from "../../../plugins/pc/devices/rtc.ts";
import { hashOf, makeVm, pass, passUntil } from "./harness.ts";

const SECOND_NS = 1e9, DIVIDER_32KHZ = 0x20, DIVIDER_RESET = 0x60;
const secondsAt = (iso: string) => Date.parse(iso) / 1000;

function makeRtc(start = "2026-01-01T00:00:00Z", memoryMib = 64) {
  const vm = makeVm(memoryMib);
  const irq = { level: false, edges: [] as number[] };
  const rtc = new Rtc(
    vm.clock,
    (level) => {
      if (level && !irq.level) irq.edges.push(vm.clock.nowNs());
      irq.level = level;
    },
    secondsAt(start),
    memoryMib,
  );
  const read = (register: number) => {
    rtc.writeByte(CMOS_INDEX, register);
    return rtc.readByte(CMOS_DATA);
  };
  const write = (register: number, value: number) => {
    rtc.writeByte(CMOS_INDEX, register);
    rtc.writeByte(CMOS_DATA, value);
  };
  /** Century, year, month, date, day of week, hours, minutes, seconds, in hexadecimal. */
  const time = () =>
    [
      Cmos.CENTURY,
      Rtc146818.YEAR,
      Rtc146818.MONTH,
      Rtc146818.DATE_OF_MONTH,
      Rtc146818.DAY_OF_WEEK,
      Rtc146818.HOURS,
      Rtc146818.MINUTES,
      Rtc146818.SECONDS,
    ].map((register) => read(register).toString(16).padStart(2, "0")).join(" ");
  return { vm, rtc, irq, read, write, time };
}

Deno.test("the calendar agrees with JavaScript's over eight thousand years, both ways", () => {
  const property = fc.property(
    fc.integer({ min: secondsAt("1600-01-01"), max: secondsAt("9600-01-01") }),
    (seconds) => {
      const date = new Date(seconds * 1000), fields = fieldsOf(seconds);
      assertEquals(fields, {
        second: date.getUTCSeconds(),
        minute: date.getUTCMinutes(),
        hour: date.getUTCHours(),
        day: date.getUTCDate(),
        month: date.getUTCMonth() + 1,
        year: date.getUTCFullYear(),
      });
      assertEquals([secondsOf(fields), weekdayOf(seconds)], [seconds, date.getUTCDay() + 1]);
    },
  );
  fc.assert(property, { numRuns: 3000, seed: 146818 });
});

Deno.test("at power-on it shows the start time, in BCD and 24 hours, and then guest time only", () => {
  const { vm, time } = makeRtc("2026-01-01T00:00:00Z");
  assertEquals(time(), "20 26 01 01 05 00 00 00");
  passUntil(vm, SECOND_NS - 1);
  assertEquals(time(), "20 26 01 01 05 00 00 00");
  passUntil(vm, SECOND_NS);
  assertEquals(time(), "20 26 01 01 05 00 00 01");
});

Deno.test("days, months, leap days, years and centuries roll over", () => {
  const cases = [
    ["2026-01-01T23:59:59Z", "20 26 01 02 06 00 00 00"],
    ["2026-02-28T23:59:59Z", "20 26 03 01 01 00 00 00"],
    ["2028-02-28T23:59:59Z", "20 28 02 29 03 00 00 00"],
    ["2028-02-29T23:59:59Z", "20 28 03 01 04 00 00 00"],
    ["2026-12-31T23:59:59Z", "20 27 01 01 06 00 00 00"],
    ["2099-12-31T23:59:59Z", "21 00 01 01 06 00 00 00"],
  ];
  for (const [start, next] of cases) {
    const { vm, time } = makeRtc(start);
    pass(vm, SECOND_NS);
    assertEquals(time(), next, start);
  }
});

Deno.test("binary and twelve-hour formats show the same time", () => {
  const { read, write } = makeRtc("2026-11-30T15:47:58Z");
  const shown = () => [Rtc146818.HOURS, Rtc146818.MINUTES, Rtc146818.MONTH].map((register) => read(register));
  const cases: readonly [b: number, shown: number[]][] = [
    [RegB.HOURS_24, [0x15, 0x47, 0x11]],
    [RegB.HOURS_24 | RegB.BINARY, [15, 47, 11]],
    [0, [0x83, 0x47, 0x11]],
    [RegB.BINARY, [0x83, 47, 11]],
  ];
  for (const [b, expected] of cases) {
    write(Rtc146818.B, b);
    assertEquals(shown(), expected);
  }
});

Deno.test("twelve-hour time knows midnight and noon", () => {
  for (const [hour, shown] of [[0, 0x12], [1, 0x01], [11, 0x11], [12, 0x92], [13, 0x81], [23, 0x91]]) {
    const { read, write } = makeRtc(`2026-01-01T${String(hour).padStart(2, "0")}:00:00Z`);
    write(Rtc146818.B, 0);
    assertEquals(read(Rtc146818.HOURS), shown);
    write(Rtc146818.HOURS, shown);
    write(Rtc146818.B, RegB.HOURS_24 | RegB.BINARY);
    assertEquals(read(Rtc146818.HOURS), hour, "written back");
  }
});

Deno.test("UIP is set for 2228 us before each update, and never while SET holds updates back", () => {
  const { vm, read, write } = makeRtc();
  for (
    const [ns, uip] of [[0, 0], [SECOND_NS - 2_228_001, 0], [SECOND_NS - 2_228_000, RegA.UIP], [
      SECOND_NS - 1,
      RegA.UIP,
    ], [SECOND_NS, 0]]
  ) {
    passUntil(vm, ns);
    assertEquals(read(Rtc146818.A) & RegA.UIP, uip, `at ${ns} ns`);
  }
  write(Rtc146818.B, RegB.SET | RegB.HOURS_24);
  passUntil(vm, 2 * SECOND_NS - 1);
  assertEquals(read(Rtc146818.A) & RegA.UIP, 0);
});

Deno.test("Linux sets the clock: SET freezes it, and it runs on from what was written", () => {
  const { vm, read, write, time } = makeRtc();
  pass(vm, 2.5 * SECOND_NS);
  const b = read(Rtc146818.B);
  write(Rtc146818.B, b | RegB.SET);
  write(Rtc146818.A, DIVIDER_RESET | 6);
  pass(vm, 10 * SECOND_NS);
  assertEquals(read(Rtc146818.SECONDS), 2);
  const set: readonly [number, number][] = [
    [Rtc146818.YEAR, 0x31],
    [Rtc146818.MONTH, 0x12],
    [Rtc146818.DATE_OF_MONTH, 0x24],
    [Rtc146818.HOURS, 0x18],
    [Rtc146818.MINUTES, 0x30],
    [Rtc146818.SECONDS, 0x59],
    [Rtc146818.DAY_OF_WEEK, 0x04],
  ];
  for (const [register, value] of set) write(register, value);
  write(Rtc146818.B, b);
  write(Rtc146818.A, DIVIDER_32KHZ | 6);
  assertEquals(time(), "20 31 12 24 04 18 30 59");
  pass(vm, SECOND_NS / 2 - 1);
  assertEquals(read(Rtc146818.SECONDS), 0x59);
  pass(vm, 1);
  assertEquals(time(), "20 31 12 24 04 18 31 00", "the first update comes half a second after the divider's reset");
});

Deno.test("a day of the week that disagrees with the calendar is kept and counts on", () => {
  const { vm, read, write } = makeRtc("2026-01-01T23:59:59Z");
  write(Rtc146818.DAY_OF_WEEK, 7);
  assertEquals(read(Rtc146818.DAY_OF_WEEK), 7);
  pass(vm, SECOND_NS);
  assertEquals(read(Rtc146818.DAY_OF_WEEK), 1);
});

Deno.test("periodic interrupts come at exactly the selected rate, once each after register C is read", () => {
  const rates: readonly [rs: number, hz: number][] = [[1, 256], [2, 128], [3, 8192], [6, 1024], [13, 8], [15, 2]];
  for (const [rs, hz] of rates) {
    const { vm, irq, read, write } = makeRtc();
    write(Rtc146818.A, DIVIDER_32KHZ | rs);
    write(Rtc146818.B, RegB.HOURS_24 | RegB.PIE);
    const count = Math.min(2 * hz, 300);
    for (let k = 1; k <= count; k++) {
      passUntil(vm, Math.ceil((k * SECOND_NS) / hz) - 1);
      assertEquals(irq.edges.length, k - 1, `${hz} Hz, before edge ${k}`);
      pass(vm, 1);
      assertEquals(irq.edges.length, k, `${hz} Hz, edge ${k}`);
      assertEquals(read(Rtc146818.C), RegC.IRQF | RegC.PF | (k % hz === 0 ? RegC.UF : 0));
      assertEquals(irq.level, false);
    }
  }
});

Deno.test("the update interrupt comes every second, and its flag is set without it too", () => {
  const { vm, irq, read, write } = makeRtc();
  pass(vm, SECOND_NS);
  assertEquals([read(Rtc146818.C) & RegC.UF, irq.edges.length], [RegC.UF, 0]);
  write(Rtc146818.B, RegB.HOURS_24 | RegB.UIE);
  for (let second = 2; second < 6; second++) {
    passUntil(vm, second * SECOND_NS);
    assertEquals(irq.edges.length, second - 1);
    assertEquals(read(Rtc146818.C) & (RegC.IRQF | RegC.UF), RegC.IRQF | RegC.UF);
  }
});

Deno.test("SET clears the update interrupt's enable bit", () => {
  const { read, write } = makeRtc();
  write(Rtc146818.B, RegB.HOURS_24 | RegB.UIE | RegB.AIE);
  write(Rtc146818.B, read(Rtc146818.B) | RegB.SET);
  assertEquals(read(Rtc146818.B), RegB.HOURS_24 | RegB.AIE | RegB.SET);
});

Deno.test("the alarm comes at its time of day, and a byte from C0h on matches any", () => {
  const ANY = 0xff;
  const cases: readonly [name: string, alarm: [number, number, number], seconds: number[]][] = [
    ["a time later today", [0x00, 0x01, 0x05], [65, 65 + 86400]],
    ["a time that has passed comes tomorrow", [0x00, 0x00, 0x00], [86400, 2 * 86400]],
    ["every hour", [ANY, 0x00, 0x30], [30, 3630, 7230]],
    ["every minute", [ANY, ANY, 0x07], [7, 67, 127]],
    ["every second", [0xc0, 0xc0, 0xc0], [1, 2, 3]],
    ["every second of a minute", [0x01, 0x02, ANY], [3720, 3721, 3722]],
    ["never", [0x25, 0x00, 0x00], []],
  ];
  for (const [name, [hour, minute, second], expected] of cases) {
    const { vm, irq, read, write } = makeRtc();
    write(Rtc146818.HOURS_ALARM, hour);
    write(Rtc146818.MINUTES_ALARM, minute);
    write(Rtc146818.SECONDS_ALARM, second);
    write(Rtc146818.B, RegB.HOURS_24 | RegB.AIE);
    for (const at of expected) {
      passUntil(vm, at * SECOND_NS);
      assertEquals(read(Rtc146818.C) & (RegC.IRQF | RegC.AF), RegC.IRQF | RegC.AF, `${name}: at ${at} s`);
    }
    assertEquals(irq.edges, expected.map((at) => at * SECOND_NS), name);
    if (expected.length === 0) assertEquals(vm.clock.nextTimerNs(), Infinity, name);
  }
});

Deno.test("without an enabled interrupt no timer is armed", () => {
  const { vm, read, write } = makeRtc();
  write(Rtc146818.A, DIVIDER_32KHZ | 3);
  for (let i = 0; i < 10; i++) read(i);
  assertEquals(vm.clock.nextTimerNs(), Infinity);
});

Deno.test("the chain held in reset stops the clock", () => {
  const { vm, read, write } = makeRtc();
  write(Rtc146818.A, DIVIDER_RESET);
  pass(vm, 100 * SECOND_NS);
  assertEquals([read(Rtc146818.SECONDS), read(Rtc146818.C)], [0, 0]);
});

Deno.test("CMOS memory tells sizes and equipment, keeps what is written, and its checksum holds", () => {
  const sizes: readonly [mib: number, extendedKib: number, above16M: number][] = [
    [8, 7 * 1024, 0],
    [64, 63 * 1024, 48 * 16],
    [1024, 0xffff, 1008 * 16],
  ];
  for (const [mib, extendedKib, above16M] of sizes) {
    const { read, write } = makeRtc(undefined, mib);
    const word = (register: number) => read(register) | (read(register + 1) << 8);
    assertEquals(word(Cmos.BASE_MEMORY_KIB), 640);
    assertEquals(word(Cmos.EXTENDED_MEMORY_KIB), extendedKib);
    assertEquals(word(Cmos.EXTENDED_MEMORY_KIB_COPY), extendedKib);
    assertEquals(word(Cmos.MEMORY_ABOVE_16M_64KIB), above16M);
    let sum = 0;
    for (let i = 0x10; i <= 0x2d; i++) sum += read(i);
    assertEquals((read(Cmos.CHECKSUM_HIGH) << 8) | read(Cmos.CHECKSUM_LOW), sum);
    assert((read(Cmos.EQUIPMENT) & 0x02) !== 0, "a coprocessor");
    assertEquals(read(Rtc146818.D), RegD.VRT);
    write(0x7f, 0xa5);
    assertEquals(read(0x7f), 0xa5);
  }
});

Deno.test("bit 7 of the index masks NMI and is no part of the index", () => {
  const { rtc } = makeRtc();
  rtc.writeByte(CMOS_INDEX, 0x80 | Rtc146818.D);
  assertEquals([rtc.nmiMasked, rtc.readByte(CMOS_DATA)], [true, RegD.VRT]);
});

Deno.test("any sequence of accesses is survived, and a restored clock goes on as the saved one", () => {
  const access = fc.record({
    register: fc.oneof(fc.integer({ min: 0, max: 13 }), fc.integer({ min: 0, max: 255 })),
    value: fc.integer({ min: 0, max: 255 }),
    reads: fc.boolean(),
    ns: fc.constantFrom(0, 1000, 300_000, 999_000_000, 86400 * SECOND_NS),
  });
  const accesses = fc.array(access, { maxLength: 30 });
  const property = fc.property(accesses, accesses, (before, after) => {
    const a = makeRtc(), b = makeRtc();
    const play = ({ vm, irq, read, write }: typeof a, list: typeof before) =>
      list.map(({ register, value, reads, ns }) => {
        // A periodic interrupt left on would fire thousands of times a second for a day: an idle stretch in one go.
        vm.clock.pass(ns);
        vm.clock.fireDue();
        return [reads ? read(register) : write(register, value), irq.level];
      });
    play(a, before);
    b.vm.clock.restore(a.vm.clock.save() as Parameters<typeof b.vm.clock.restore>[0]);
    b.rtc.restore(a.rtc.save());
    b.irq.level = a.irq.level;
    assertEquals(play(b, after), play(a, after));
    assertEquals(hashOf(b.rtc), hashOf(a.rtc));
  });
  fc.assert(property, { numRuns: 300, seed: 70 });
});
