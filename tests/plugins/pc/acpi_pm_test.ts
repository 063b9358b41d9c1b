// ACPI's fixed hardware: the power management timer in guest time, its interrupt, and the way to power off.

import { assertEquals } from "@std/assert";
import {
  AcpiPm,
  nsOfTimerCount,
  Pm1,
  PM1_CONTROL,
  PM1_ENABLE,
  PM1_STATUS,
  PM1_WAKE,
  Pm1Control,
  PM_TIMER,
  PM_TIMER_HZ,
  SLP_TYP_S3,
  SLP_TYP_S5,
  SLP_TYP_SHIFT,
  timerCountsAt,
} from "../../../plugins/pc/devices/acpi_pm.ts";
import { ByteLanes } from "../../../plugins/pc/devices/isa.ts";
import { hashOf, makeVm, pass } from "./harness.ts";

const HALF_RANGE = 2 ** 23, TIMER_RANGE = 2 ** 24;

function makePm() {
  const vm = makeVm(), seen = { sci: false, powerOffs: 0, suspends: 0, resumes: 0 };
  const pm = new AcpiPm(vm.clock, (level) => seen.sci = level, {
    powerOff: () => seen.powerOffs++,
    suspend: () => seen.suspends++,
    resume: () => seen.resumes++,
  });
  const lanes = new ByteLanes(PM1_STATUS, 12, pm);
  return {
    vm,
    pm,
    seen,
    timer: () => lanes.read(PM_TIMER, 4),
    read: (port: number) => lanes.read(port, 2),
    write: (port: number, value: number) => lanes.write(port, 2, value),
  };
}

Deno.test("the timer counts 3,579,545 times a second, exactly, in 24 bits", () => {
  const { vm, timer } = makePm();
  for (const ns of [279, 1, 1e9 - 280, 4e9, 3 * 3600 * 1e9]) {
    pass(vm, ns);
    const exact = (BigInt(vm.clock.nowNs()) * BigInt(PM_TIMER_HZ)) / 1_000_000_000n;
    assertEquals(timer(), Number(exact % BigInt(TIMER_RANGE)), `${vm.clock.nowNs()} ns`);
  }
});

Deno.test("a count's time is the first ns at which it has passed", () => {
  for (const count of [1, 2, 3, PM_TIMER_HZ - 1, PM_TIMER_HZ, HALF_RANGE, 1e12 + 7]) {
    const ns = nsOfTimerCount(count);
    assertEquals([timerCountsAt(ns - 1), timerCountsAt(ns)], [count - 1, count]);
  }
});

Deno.test("the highest bit's changes set the status, which interrupts if enabled and is cleared by writing it", () => {
  const { vm, seen, read, write } = makePm();
  assertEquals(vm.clock.nextTimerNs(), Infinity);
  write(PM1_ENABLE, Pm1.TIMER);
  const change = nsOfTimerCount(HALF_RANGE);
  assertEquals([vm.clock.nextTimerNs(), read(PM1_STATUS), seen.sci], [change, 0, false]);
  pass(vm, change - 1);
  assertEquals([read(PM1_STATUS), seen.sci], [0, false]);
  pass(vm, 1);
  assertEquals([read(PM1_STATUS), seen.sci], [Pm1.TIMER, true]);
  write(PM1_STATUS, 0);
  assertEquals(seen.sci, true);
  write(PM1_STATUS, Pm1.TIMER);
  assertEquals([read(PM1_STATUS), seen.sci, vm.clock.nextTimerNs()], [0, false, nsOfTimerCount(2 * HALF_RANGE)]);
  pass(vm, 3e9);
  assertEquals(seen.sci, true);
  write(PM1_ENABLE, 0);
  assertEquals([read(PM1_STATUS), seen.sci, vm.clock.nextTimerNs()], [Pm1.TIMER, false, Infinity]);
});

Deno.test("events that never happen here can be enabled and read back", () => {
  const { vm, seen, read, write } = makePm();
  write(PM1_ENABLE, 0xffff & ~Pm1.TIMER);
  assertEquals([read(PM1_ENABLE), vm.clock.nextTimerNs()], [0x0720, Infinity]);
  pass(vm, 1e9);
  assertEquals([read(PM1_STATUS), seen.sci], [0, false]);
});

Deno.test("only the sleep type of S5, with sleep enable, powers off; ACPI mode stays on", () => {
  const sleep = (type: number) => (type << SLP_TYP_SHIFT) | Pm1Control.SLP_EN;
  const cases: readonly [value: number, powerOffs: number, readsBack: number][] = [
    [SLP_TYP_S5 << SLP_TYP_SHIFT, 0, 0x1401],
    [sleep(0), 0, 0x0001],
    [sleep(7), 0, 0x1c01],
    [sleep(SLP_TYP_S5), 1, 0x1401],
  ];
  for (const [value, powerOffs, readsBack] of cases) {
    const { seen, read, write } = makePm();
    write(PM1_CONTROL, value);
    assertEquals([seen.powerOffs, read(PM1_CONTROL), seen.suspends], [powerOffs, readsBack, 0], value.toString(16));
  }
});

Deno.test("the alarm wakes from S3 where it is enabled, and says so in the status", () => {
  const { pm, seen, read, write } = makePm();
  write(PM1_CONTROL, (SLP_TYP_S3 << SLP_TYP_SHIFT) | Pm1Control.SLP_EN);
  assertEquals([seen.suspends, seen.powerOffs, read(PM1_CONTROL)], [1, 0, 0x0401]);
  pm.alarm();
  assertEquals([seen.resumes, read(PM1_STATUS), seen.sci], [0, Pm1.RTC, false]);
  write(PM1_ENABLE, Pm1.RTC);
  assertEquals(seen.sci, true);
  pm.alarm();
  assertEquals([seen.resumes, read(PM1_STATUS)], [1, PM1_WAKE | Pm1.RTC]);
  pm.alarm();
  assertEquals(seen.resumes, 1);
  write(PM1_STATUS, PM1_WAKE);
  assertEquals([read(PM1_STATUS), seen.sci], [Pm1.RTC, true]);
  write(PM1_STATUS, Pm1.RTC);
  assertEquals([read(PM1_STATUS), seen.sci], [0, false]);
});

Deno.test("a machine that was saved asleep wakes", () => {
  const a = makePm(), b = makePm();
  a.write(PM1_ENABLE, Pm1.RTC);
  a.write(PM1_CONTROL, (SLP_TYP_S3 << SLP_TYP_SHIFT) | Pm1Control.SLP_EN);
  b.pm.restore(structuredClone(a.pm.save()));
  assertEquals(hashOf(b.pm), hashOf(a.pm));
  b.pm.alarm();
  assertEquals([b.seen.resumes, b.read(PM1_STATUS)], [1, PM1_WAKE | Pm1.RTC]);
});

Deno.test("restored in the middle of a count, the timer interrupts when the saved one does", () => {
  const a = makePm(), b = makePm();
  a.write(PM1_ENABLE, Pm1.TIMER);
  pass(a.vm, 1e9);
  b.vm.clock.restore(a.vm.clock.save() as Parameters<typeof b.vm.clock.restore>[0]);
  b.pm.restore(structuredClone(a.pm.save()));
  assertEquals(hashOf(b.pm), hashOf(a.pm));
  pass(b.vm, nsOfTimerCount(HALF_RANGE) - 1e9 - 1);
  assertEquals(b.seen.sci, false);
  pass(b.vm, 1);
  assertEquals(b.seen.sci, true);
});
