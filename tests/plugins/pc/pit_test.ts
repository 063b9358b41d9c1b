// The interval timer against the 8254 datasheet: its timing diagrams as tables, a pulse-by-pulse model of the counter as
// oracle, and edges in guest time against exact rational arithmetic.

import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import {
  nsOfPulse,
  Pit,
  PIT_CONTROL,
  PIT_COUNTER_0,
  PIT_COUNTER_2,
  PIT_HZ,
  PortB,
  pulsesAt,
  SYSTEM_CONTROL_B,
} from "../../../plugins/pc/devices/pit.ts";
import { Counter, CounterAccess, STATUS_NULL_COUNT, STATUS_OUT } from "../../../plugins/pc/devices/pit_counter.ts";
import { hashOf, makeVm, pass, passUntil } from "./harness.ts";

/** Control word for a counter: access low then high. */
const control = (counter: number, mode: number, bcd = false) => (counter << 6) | 0x30 | (mode << 1) | (bcd ? 1 : 0);
const LATCH_COUNTER_0 = 0x00;

function makePit() {
  const vm = makeVm();
  const edges: { ns: number; level: boolean }[] = [];
  const pit = new Pit(vm.clock, (level) => edges.push({ ns: vm.clock.nowNs(), level }));
  return { vm, pit, edges };
}

function program(pit: Pit, counter: number, mode: number, count: number, bcd = false): void {
  pit.writeByte(PIT_CONTROL, control(counter, mode, bcd));
  pit.writeByte(PIT_COUNTER_0 + counter, count & 0xff);
  pit.writeByte(PIT_COUNTER_0 + counter, (count >> 8) & 0xff);
}

function readCount(pit: Pit, counter: number): number {
  const low = pit.readByte(PIT_COUNTER_0 + counter);
  return low | (pit.readByte(PIT_COUNTER_0 + counter) << 8);
}

// The datasheet's diagrams: OUT and the counting element at each pulse after the count was written at pulse 0.
Deno.test("each mode counts and drives OUT as its timing diagram shows", () => {
  const diagrams: readonly { mode: number; count: number; gate: boolean; out: string; counts: number[] }[] = [
    { mode: 0, count: 4, gate: true, out: ".____-----", counts: [4, 3, 2, 1, 0, 0xffff, 0xfffe, 0xfffd] },
    { mode: 2, count: 3, gate: true, out: ".--_--_--_", counts: [3, 2, 1, 3, 2, 1, 3, 2, 1] },
    { mode: 3, count: 4, gate: true, out: ".--__--__-", counts: [4, 2, 4, 2, 4, 2, 4, 2] },
    { mode: 3, count: 5, gate: true, out: ".---__---__", counts: [4, 2, 0, 4, 2, 4, 2, 0, 4, 2] },
    { mode: 4, count: 3, gate: true, out: ".---_------", counts: [3, 2, 1, 0, 0xffff, 0xfffe] },
    { mode: 1, count: 3, gate: false, out: ".___---", counts: [3, 2, 1, 0, 0xffff] },
    { mode: 5, count: 3, gate: false, out: ".---_---", counts: [3, 2, 1, 0, 0xffff] },
  ];
  for (const { mode, count, gate, out, counts } of diagrams) {
    const counter = new Counter(gate);
    counter.control(0, mode, CounterAccess.low, false);
    counter.write(0, count);
    if (!gate) counter.setGate(0, true);
    const levels = [...out].map((symbol, pulse) => symbol === "." ? "." : counter.out(pulse) ? "-" : "_").join("");
    assertEquals(levels, out, `OUT in mode ${mode} of ${count}`);
    const again = new Counter(gate);
    again.control(0, mode, CounterAccess.lowThenHigh, false);
    again.write(0, count);
    again.write(0, 0);
    if (!gate) again.setGate(0, true);
    const read = counts.map((_, i) => again.read(i + 1) | (again.read(i + 1) << 8));
    assertEquals(read, counts, `counts in mode ${mode} of ${count}`);
  }
});

/** The counter as the datasheet describes it, one clock pulse at a time. */
class PulseByPulse {
  mode = 0;
  gate: boolean;
  out = true;
  /** Count register, counting element, and what the next pulse does with them. */
  cr = 0;
  ce = 0;
  load = false;
  triggered = false;
  counting = false;
  written = false;
  loaded = false;
  half = 0;
  strobeDone = false;
  constructor(gate: boolean) {
    this.gate = gate;
  }

  control(mode: number): void {
    this.mode = mode;
    this.out = mode !== 0;
    this.load =
      this.triggered =
      this.counting =
      this.written =
      this.loaded =
        false;
    this.strobeDone = false;
  }

  write(count: number): void {
    const isFirst = !this.written;
    this.cr = count;
    this.written = true;
    if (this.mode === 0) {
      this.out = false;
      this.counting = false;
      this.load = true;
    } else if (this.mode === 4) this.load = true;
    else if ((this.mode === 2 || this.mode === 3) && (isFirst || !this.loaded)) this.load = true;
  }

  setGate(level: boolean): void {
    const rises = level && !this.gate;
    this.gate = level;
    if (!level && (this.mode === 2 || this.mode === 3)) {
      this.out = this.written ? true : this.out;
      if (this.loaded) this.triggered = false;
    }
    if (rises && this.mode !== 0 && this.mode !== 4 && this.written) this.triggered = true;
  }

  pulse(): void {
    if (this.load || this.triggered) {
      this.load = this.triggered = false;
      this.ce = this.cr;
      this.loaded = this.counting = true;
      this.half = (this.cr + 1) >> 1;
      this.strobeDone = false;
      this.out = this.mode !== 0 && this.mode !== 1;
      return;
    }
    if (!this.counting) return;
    const needsGate = this.mode !== 1 && this.mode !== 5;
    if (needsGate && !this.gate) {
      if (this.mode === 4 && this.strobeDone) this.out = true;
      return;
    }
    switch (this.mode) {
      case 0:
      case 1:
        this.ce = (this.ce + 0xffff) % 0x10000;
        if (this.ce === 0) this.out = true;
        break;
      case 2:
        if (this.ce === 1) {
          this.ce = this.cr;
          this.out = true;
        } else if (--this.ce === 1) this.out = false;
        break;
      case 3:
        if (--this.half === 0) {
          this.out = !this.out;
          this.half = this.out ? (this.cr + 1) >> 1 : this.cr >> 1;
        }
        break;
      default:
        this.ce = (this.ce + 0xffff) % 0x10000;
        if (this.ce === 0 && !this.strobeDone) {
          this.out = false;
          this.strobeDone = true;
        } else this.out = true;
    }
  }
}

Deno.test("random programming: OUT equals that of a counter simulated pulse by pulse", () => {
  const action = fc.oneof(
    fc.record({ kind: fc.constant("write" as const), count: fc.integer({ min: 2, max: 12 }) }),
    fc.record({ kind: fc.constant("gate" as const), level: fc.boolean() }),
    fc.record({ kind: fc.constant("run" as const), pulses: fc.integer({ min: 1, max: 30 }) }),
    fc.record({ kind: fc.constant("run" as const), pulses: fc.integer({ min: 1, max: 3 }) }),
  );
  const property = fc.property(
    fc.integer({ min: 0, max: 5 }),
    fc.boolean(),
    fc.array(action, { minLength: 3, maxLength: 25 }),
    (mode, gate, actions) => {
      const counter = new Counter(gate), model = new PulseByPulse(gate);
      let now = 0;
      counter.control(now, mode, CounterAccess.low, false);
      model.control(mode);
      for (const action of actions) {
        if (action.kind === "write") {
          counter.write(now, action.count);
          model.write(action.count);
        } else if (action.kind === "gate") {
          counter.setGate(now, action.level);
          model.setGate(action.level);
        } else {
          for (let i = 0; i < action.pulses; i++) {
            const next = counter.nextChange(now), before = counter.out(now);
            now++;
            model.pulse();
            assertEquals(counter.out(now), model.out, `OUT at pulse ${now}`);
            assert(counter.out(now) === before || next <= now, `nextChange gave ${next}, OUT changed at ${now}`);
          }
        }
      }
    },
  );
  fc.assert(property, { numRuns: 2000, seed: 8254 });
});

Deno.test("counts of guest time are exact against rational arithmetic, to the end of the range", () => {
  const HZ = BigInt(PIT_HZ), NS = 1_000_000_000n;
  const property = fc.property(fc.integer({ min: 0, max: 2 ** 52 }), (ns) => {
    assertEquals(BigInt(pulsesAt(ns)), (BigInt(ns) * HZ) / NS);
    const pulse = pulsesAt(ns), first = nsOfPulse(pulse);
    assertEquals(BigInt(first), (BigInt(pulse) * NS + HZ - 1n) / HZ);
    assert(first <= ns && pulsesAt(first) === pulse);
  });
  fc.assert(property, { numRuns: 3000, seed: 1193182 });
});

Deno.test("the k-th rising edge of a rate generator has no drift over an hour", () => {
  const { vm, pit, edges } = makePit();
  const startNs = 123_457, divisor = 59659;
  pass(vm, startNs);
  program(pit, 0, 2, divisor);
  edges.length = 0;
  passUntil(vm, 3600e9);
  const rising = edges.filter(({ level }) => level);
  const HZ = BigInt(PIT_HZ), NS = 1_000_000_000n;
  const firstPulse = (BigInt(startNs) * HZ) / NS + 1n;
  for (const k of [1, 2, 3, 1000, rising.length]) {
    const pulse = firstPulse + BigInt(k * divisor);
    assertEquals(BigInt(rising[k - 1].ns), (pulse * NS + HZ - 1n) / HZ, `edge ${k}`);
  }
  assertEquals(rising.length, Math.floor((pulsesAt(3600e9) - Number(firstPulse)) / divisor));
});

Deno.test("counter 0's OUT is IRQ0: low for one pulse a period in mode 2, for half of it in mode 3", () => {
  for (const [mode, lowPulses] of [[2, 1], [3, 500]] as const) {
    const { vm, pit, edges } = makePit();
    program(pit, 0, mode, 1000);
    edges.length = 0;
    passUntil(vm, nsOfPulse(5001));
    const falls = edges.filter(({ level }) => !level), rises = edges.filter(({ level }) => level);
    assertEquals(rises.length, 5);
    for (let k = 0; k < 5; k++) assertEquals(pulsesAt(rises[k].ns) - pulsesAt(falls[k].ns), lowPulses);
  }
});

Deno.test("mode 0 raises IRQ0 once, N + 1 pulses after the count is written", () => {
  const { vm, pit, edges } = makePit();
  program(pit, 0, 0, 100);
  passUntil(vm, 1e9);
  assertEquals(edges.map(({ ns, level }) => [pulsesAt(ns), level]), [[101, true]]);
  program(pit, 0, 0, 50);
  assertEquals(edges.at(-1)?.level, false);
});

Deno.test("a two-byte count stops a mode 0 counter at its first byte, and OUT falls at once", () => {
  const { vm, pit, edges } = makePit();
  program(pit, 0, 0, 10);
  passUntil(vm, nsOfPulse(20));
  pit.writeByte(PIT_COUNTER_0, 5);
  assertEquals(edges.at(-1)?.level, false);
  const frozen = readCount(pit, 0);
  pass(vm, 1e6);
  assertEquals(readCount(pit, 0), frozen);
});

Deno.test("a count written to a running rate generator takes over at the end of the period", () => {
  const { vm, pit, edges } = makePit();
  program(pit, 0, 2, 100);
  passUntil(vm, nsOfPulse(31));
  pit.writeByte(PIT_COUNTER_0, 40);
  pit.writeByte(PIT_COUNTER_0, 0);
  edges.length = 0;
  passUntil(vm, nsOfPulse(190));
  assertEquals(edges.filter(({ level }) => level).map(({ ns }) => pulsesAt(ns)), [101, 141, 181]);
});

Deno.test("a latched count stays until it is read, through later latches and counting", () => {
  const { vm, pit } = makePit();
  program(pit, 0, 2, 10000);
  passUntil(vm, nsOfPulse(1001));
  pit.writeByte(PIT_CONTROL, LATCH_COUNTER_0);
  pass(vm, 1e6);
  pit.writeByte(PIT_CONTROL, LATCH_COUNTER_0);
  assertEquals(readCount(pit, 0), 9000);
  assert(readCount(pit, 0) < 9000);
});

Deno.test("read-back latches status and count of the selected counters, status read first", () => {
  const { vm, pit } = makePit();
  program(pit, 0, 2, 1000);
  program(pit, 2, 3, 0x1234, true);
  passUntil(vm, nsOfPulse(101));
  pit.writeByte(PIT_CONTROL, 0xc0 | (1 << 1));
  pass(vm, 1e6);
  assertEquals(pit.readByte(PIT_COUNTER_0), STATUS_OUT | 0x30 | (2 << 1));
  assertEquals(readCount(pit, 0), 900);
  // Counter 2's gate is closed: its count is loaded and waits.
  pit.writeByte(PIT_CONTROL, 0xe0 | (1 << 3));
  assertEquals(pit.readByte(PIT_COUNTER_2), STATUS_OUT | 0x30 | (3 << 1) | 1);
  pit.writeByte(PIT_CONTROL, control(0, 2));
  pit.writeByte(PIT_CONTROL, 0xe0 | (1 << 1));
  assertEquals(pit.readByte(PIT_COUNTER_0), STATUS_OUT | STATUS_NULL_COUNT | 0x30 | (2 << 1));
});

Deno.test("BCD counters count in decimal, and 0 is ten thousand", () => {
  const { vm, pit } = makePit();
  program(pit, 0, 2, 0x1000, true);
  passUntil(vm, nsOfPulse(2));
  assertEquals(readCount(pit, 0), 0x0999);
  program(pit, 0, 0, 0, true);
  const start = pulsesAt(vm.clock.nowNs());
  passUntil(vm, nsOfPulse(start + 1 + 9999));
  assertEquals(readCount(pit, 0), 0x0001);
});

Deno.test("low-byte and high-byte access reach their byte alone", () => {
  const counter = new Counter(true);
  counter.control(0, 2, CounterAccess.high, false);
  counter.write(0, 0x12);
  assertEquals(counter.read(1), 0x12);
  assertEquals(counter.read(2), 0x11);
  counter.control(2, 2, CounterAccess.low, false);
  counter.write(2, 0x34);
  assertEquals(counter.read(3), 0x34);
});

Deno.test("port 61h: the gate starts counter 2, OUT2 shows its end, and the refresh bit toggles", () => {
  const { vm, pit } = makePit();
  pit.writeByte(SYSTEM_CONTROL_B, PortB.GATE2);
  program(pit, 2, 0, 1193);
  assertEquals(pit.readByte(SYSTEM_CONTROL_B) & PortB.OUT2, 0);
  passUntil(vm, nsOfPulse(1193));
  assertEquals(pit.readByte(SYSTEM_CONTROL_B) & PortB.OUT2, 0);
  passUntil(vm, nsOfPulse(1194));
  assertEquals(pit.readByte(SYSTEM_CONTROL_B) & (PortB.OUT2 | PortB.GATE2), PortB.OUT2 | PortB.GATE2);
  const toggles = new Set<number>();
  for (let i = 0; i < 4; i++) {
    toggles.add(pit.readByte(SYSTEM_CONTROL_B) & PortB.REFRESH);
    pass(vm, 15_100);
  }
  assertEquals(toggles, new Set([0, PortB.REFRESH]));
});

Deno.test("port 61h reads the same until it is said to be steady no longer", () => {
  for (const [mode, count] of [[0, 500], [2, 40], [3, 61], [1, 30], [4, 77], [5, 9]]) {
    const { vm, pit } = makePit();
    pit.writeByte(SYSTEM_CONTROL_B, PortB.GATE2);
    program(pit, 0, 2, 100);
    program(pit, 2, mode, count);
    let untilNs = 0, value = NaN, periods = 0;
    for (let i = 0; i < 2000; i++) {
      const nowNs = vm.clock.nowNs(), now = pit.readByte(SYSTEM_CONTROL_B);
      if (nowNs < untilNs) assertEquals(now, value, `mode ${mode} at ${nowNs} ns`);
      else [value, untilNs, periods] = [now, pit.steadyUntilNs(SYSTEM_CONTROL_B, nowNs), periods + 1];
      pass(vm, 211);
    }
    assert(periods > 20 && periods < 2000, `${periods} periods in mode ${mode}`);
  }
  assertEquals(makePit().pit.steadyUntilNs(PIT_COUNTER_2, 0), 0);
});

Deno.test("Linux's quick calibration sees counter 2's high byte fall every 256 pulses", () => {
  const { vm, pit } = makePit();
  pit.writeByte(SYSTEM_CONTROL_B, (pit.readByte(SYSTEM_CONTROL_B) & ~PortB.SPEAKER) | PortB.GATE2);
  pit.writeByte(PIT_CONTROL, control(2, 0));
  pit.writeByte(PIT_COUNTER_2, 0xff);
  pit.writeByte(PIT_COUNTER_2, 0xff);
  const changes: number[] = [];
  // However soon after the write it reads, it must not see what was there before.
  let last = 0xff;
  while (changes.length < 20) {
    pit.readByte(PIT_COUNTER_2);
    const high = pit.readByte(PIT_COUNTER_2);
    if (high !== last) changes.push(pulsesAt(vm.clock.nowNs()));
    last = high;
    pass(vm, 100);
  }
  for (let i = 1; i < changes.length; i++) assertEquals(changes[i] - changes[i - 1], 256);
});

Deno.test("edges that pass in one go leave the line at its last level, with an edge in between", () => {
  const { vm, pit, edges } = makePit();
  program(pit, 0, 2, 1000);
  edges.length = 0;
  vm.clock.pass(nsOfPulse(10_500));
  vm.clock.fireDue();
  assertEquals(edges.map(({ level }) => level), [false, true]);
  edges.length = 0;
  passUntil(vm, nsOfPulse(11_001));
  assertEquals(edges.map(({ ns, level }) => [pulsesAt(ns), level]), [[11_000, false], [11_001, true]]);
});

Deno.test("any sequence of accesses is survived, and a restored timer goes on as the saved one", () => {
  const access = fc.record({
    port: fc.constantFrom(PIT_COUNTER_0, 0x41, PIT_COUNTER_2, PIT_CONTROL, SYSTEM_CONTROL_B),
    value: fc.integer({ min: 0, max: 255 }),
    reads: fc.boolean(),
    ns: fc.integer({ min: 0, max: 30_000 }),
  });
  const property = fc.property(
    fc.array(access, { maxLength: 40 }),
    fc.array(access, { maxLength: 40 }),
    (before, after) => {
      const a = makePit(), b = makePit();
      const play = ({ vm, pit }: typeof a, accesses: typeof before) =>
        accesses.map(({ port, value, reads, ns }) => {
          pass(vm, ns);
          return reads ? pit.readByte(port) : pit.writeByte(port, value);
        });
      play(a, before);
      b.vm.clock.restore(a.vm.clock.save() as Parameters<typeof b.vm.clock.restore>[0]);
      b.pit.restore(a.pit.save());
      a.edges.length = 0;
      assertEquals(play(b, after), play(a, after));
      assertEquals(b.edges, a.edges);
      assertEquals(hashOf(b.pit), hashOf(a.pit));
    },
  );
  fc.assert(property, { numRuns: 300, seed: 40 });
});
