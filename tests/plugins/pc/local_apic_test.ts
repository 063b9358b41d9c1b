// The local APIC through its registers: priorities, end of interrupt, the 8259s' way through it, its timer in guest time,
// commands to itself, and errors.

import { assertEquals } from "@std/assert";
import { type ApicMessage, DeliveryMode, Entry, modeBits } from "../../../plugins/pc/devices/apic_message.ts";
import {
  ApicBase,
  ApicError,
  ApicReg,
  LINT0,
  LINT1,
  LOCAL_APIC_BASE,
  LocalApic,
  LVT_PERIODIC,
  Shorthand,
  Svr,
} from "../../../plugins/pc/devices/local_apic.ts";
import { hashOf, makeVm, pass } from "./harness.ts";

const BUS_MHZ = 66, VECTOR_OF_8259 = 0x20;

function makeApic() {
  const vm = makeVm(), ended: number[] = [], counts = { nmi: 0, init: 0, intr: false };
  const apic = new LocalApic(vm.clock, BUS_MHZ, {
    interrupt: (level) => counts.intr = level,
    nmi: () => counts.nmi++,
    init: () => counts.init++,
    acknowledgeExternal: () => VECTOR_OF_8259,
    endOfInterrupt: (vector) => ended.push(vector),
  });
  return {
    vm,
    apic,
    ended,
    counts,
    read: (register: number) => apic.read(register, 4),
    write: (register: number, value: number) => apic.write(register, 4, value),
    send: (vector: number, more: Partial<ApicMessage> = {}) =>
      apic.deliver({
        mode: DeliveryMode.fixed,
        vector,
        levelTriggered: false,
        logical: false,
        destination: 0,
        ...more,
      }),
  };
}

Deno.test("interrupts come by vector, a higher class interrupts a lower one, and EOI ends the highest", () => {
  const { apic, send, write, read, counts } = makeApic();
  for (const vector of [0x41, 0x55, 0x5a]) send(vector);
  assertEquals([counts.intr, apic.acknowledge()], [true, 0x5a]);
  // 55h is of the same class as 5Ah, which is in service.
  assertEquals([counts.intr, read(ApicReg.PPR)], [false, 0x50]);
  send(0x61);
  assertEquals([counts.intr, apic.acknowledge()], [true, 0x61]);
  const order: number[] = [];
  for (let i = 0; i < 4; i++) {
    write(ApicReg.EOI, 0);
    if (counts.intr) order.push(apic.acknowledge());
  }
  assertEquals([order, counts.intr, read(ApicReg.PPR)], [[0x55, 0x41], false, 0]);
});

Deno.test("the task priority holds back its class and those below", () => {
  const { send, write, read, counts } = makeApic();
  write(ApicReg.TPR, 0x53);
  send(0x5f);
  assertEquals([counts.intr, read(ApicReg.PPR)], [false, 0x53]);
  send(0x60);
  assertEquals(counts.intr, true);
  write(ApicReg.TPR, 0x60);
  assertEquals(counts.intr, false);
  write(ApicReg.TPR, 0x40);
  assertEquals(counts.intr, true);
});

Deno.test("IRR, ISR and TMR show where an interrupt stands, and only a level-triggered one's end is announced", () => {
  const { apic, send, write, read, ended } = makeApic();
  send(0x45, { levelTriggered: true });
  send(0x31);
  const at = (register: number, vector: number) => (read(register + (vector >> 5) * 0x10) >>> (vector & 31)) & 1;
  const state = (vector: number) => [ApicReg.IRR, ApicReg.ISR, ApicReg.TMR].map((register) => at(register, vector));
  assertEquals([state(0x45), state(0x31)], [[1, 0, 1], [1, 0, 0]]);
  apic.acknowledge();
  assertEquals(state(0x45), [0, 1, 1]);
  write(ApicReg.EOI, 0);
  apic.acknowledge();
  write(ApicReg.EOI, 0);
  assertEquals([ended, state(0x45), state(0x31)], [[0x45], [0, 0, 0], [0, 0, 0]]);
});

Deno.test("messages reach the processor by identifier, by logical name in both models, and by broadcast", () => {
  const cases: readonly [name: string, more: Partial<ApicMessage>, ldr: number, dfr: number, taken: boolean][] = [
    ["its identifier", { destination: 0 }, 0, 0xffff_ffff, true],
    ["another identifier", { destination: 1 }, 0, 0xffff_ffff, false],
    ["broadcast", { destination: 0xff }, 0, 0xffff_ffff, true],
    ["flat, its bit", { logical: true, destination: 0x05 }, 0x0400_0000, 0xffff_ffff, true],
    ["flat, other bits", { logical: true, destination: 0xfb }, 0x0400_0000, 0xffff_ffff, false],
    ["cluster, its member", { logical: true, destination: 0x23 }, 0x2200_0000, 0x0fff_ffff, true],
    ["cluster, another member", { logical: true, destination: 0x21 }, 0x2200_0000, 0x0fff_ffff, false],
    ["another cluster", { logical: true, destination: 0x32 }, 0x2200_0000, 0x0fff_ffff, false],
    ["lowest priority", { mode: DeliveryMode.lowestPriority }, 0, 0xffff_ffff, true],
    ["start-up, which nobody waits for", { mode: DeliveryMode.startUp }, 0, 0xffff_ffff, false],
  ];
  for (const [name, more, ldr, dfr, taken] of cases) {
    const { write, send, counts } = makeApic();
    write(ApicReg.LDR, ldr);
    write(ApicReg.DFR, dfr);
    assertEquals([send(0x40, more), counts.intr], [taken, taken], name);
  }
});

Deno.test("at power-on the 8259s' interrupts pass through LINT0, first of all, until it is masked", () => {
  const { apic, send, write, counts } = makeApic();
  apic.setLint(LINT0, true);
  send(0xf0);
  assertEquals([counts.intr, apic.acknowledge()], [true, VECTOR_OF_8259]);
  apic.setLint(LINT0, false);
  assertEquals(apic.acknowledge(), 0xf0);
  apic.setLint(LINT0, true);
  assertEquals(counts.intr, true);
  write(ApicReg.LVT_LINT0, modeBits(DeliveryMode.external) | Entry.MASKED);
  assertEquals(counts.intr, false);
});

Deno.test("an acknowledge whose request has gone gets the spurious vector, which is not in service", () => {
  const { apic, write, read } = makeApic();
  write(ApicReg.SVR, Svr.ENABLED | 0xef);
  assertEquals([apic.acknowledge(), read(ApicReg.ISR + 0x70), read(ApicReg.PPR)], [0xef, 0, 0]);
});

Deno.test("LINT1 is NMI's pin; as a fixed interrupt LINT0 is taken on rising edges", () => {
  const { apic, write, counts } = makeApic();
  apic.setLint(LINT1, true);
  apic.setLint(LINT1, true);
  assertEquals(counts.nmi, 1);
  write(ApicReg.LVT_LINT0, 0x71);
  apic.setLint(LINT0, true);
  assertEquals([apic.acknowledge(), counts.intr], [0x71, false]);
});

Deno.test("disabled by software it masks its own table and takes no message", () => {
  const { write, read, send, counts, apic } = makeApic();
  write(ApicReg.SVR, 0xff);
  write(ApicReg.LVT_LINT0, modeBits(DeliveryMode.external));
  apic.setLint(LINT0, true);
  assertEquals([read(ApicReg.LVT_LINT0), send(0x40), counts.intr], [0x1_0700, false, false]);
});

Deno.test("IA32_APIC_BASE turns it off, which leaves the 8259s alone with INTR, and on, in its state after INIT", () => {
  const { apic, read, write, counts, send } = makeApic();
  const [low] = apic.readBase();
  assertEquals(low >>> 0, LOCAL_APIC_BASE + ApicBase.BOOTSTRAP + ApicBase.ENABLED);
  write(ApicReg.TPR, 0x20);
  assertEquals([apic.writeBase(low & ~ApicBase.ENABLED, 0), apic.enabled], [true, false]);
  assertEquals([read(ApicReg.VERSION), send(0x40)], [0xffff_ffff, false]);
  apic.setLint(LINT0, true);
  assertEquals([counts.intr, apic.acknowledge()], [true, VECTOR_OF_8259]);
  assertEquals([apic.writeBase(low, 0), read(ApicReg.TPR), read(ApicReg.SVR), counts.intr], [true, 0, 0xff, false]);
  const refused: readonly [low: number, high: number][] = [[low | 0x400, 0], [low + 0x1000, 0], [low | 1, 0], [low, 1]];
  for (const [low, high] of refused) assertEquals(apic.writeBase(low, high), false);
});

Deno.test("the timer counts bus clocks by its divider, once or periodically, at exact guest times", () => {
  const cases: readonly [code: number, divisor: number][] = [
    [0, 2],
    [1, 4],
    [2, 8],
    [3, 16],
    [8, 32],
    [9, 64],
    [10, 128],
    [11, 1],
  ];
  for (const [code, divisor] of cases) {
    const { vm, apic, write, read, counts } = makeApic();
    write(ApicReg.DIVIDE, code);
    write(ApicReg.LVT_TIMER, 0x50);
    write(ApicReg.INITIAL_COUNT, 66_000);
    // 66,000 counts take divisor milliseconds at 66 MHz.
    pass(vm, divisor * 1e6 / 2);
    assertEquals([read(ApicReg.CURRENT_COUNT), counts.intr], [33_000, false], `divided by ${divisor}`);
    pass(vm, divisor * 1e6 / 2 - 1);
    assertEquals([read(ApicReg.CURRENT_COUNT), counts.intr], [1, false], `divided by ${divisor}`);
    pass(vm, 1);
    assertEquals([read(ApicReg.CURRENT_COUNT), counts.intr, apic.acknowledge()], [0, true, 0x50]);
    assertEquals(vm.clock.nextTimerNs(), Infinity);
  }
});

Deno.test("a periodic count does not drift, and a masked one costs no timer", () => {
  const { vm, apic, write, counts } = makeApic();
  write(ApicReg.DIVIDE, 11);
  write(ApicReg.LVT_TIMER, 0x50 | LVT_PERIODIC);
  write(ApicReg.INITIAL_COUNT, 1001);
  const times: number[] = [];
  for (let i = 1; i <= 300; i++) {
    vm.clock.pass(vm.clock.nextTimerNs() - vm.clock.nowNs());
    vm.clock.fireDue();
    assertEquals([counts.intr, apic.acknowledge()], [true, 0x50]);
    write(ApicReg.EOI, 0);
    times.push(vm.clock.nowNs());
  }
  assertEquals(times, times.map((_, index) => Math.ceil((index + 1) * 1001 * 1000 / 66)));
  write(ApicReg.LVT_TIMER, 0x50 | LVT_PERIODIC | Entry.MASKED);
  assertEquals(vm.clock.nextTimerNs(), Infinity);
  pass(vm, 1e6);
  // It has gone on counting: the next expiry is the next multiple.
  write(ApicReg.LVT_TIMER, 0x50 | LVT_PERIODIC);
  const periods = Math.floor(vm.clock.nowNs() * 66 / 1000 / 1001) + 1;
  assertEquals([counts.intr, vm.clock.nextTimerNs()], [false, Math.ceil(periods * 1001 * 1000 / 66)]);
});

Deno.test("another divider goes on from the present count, and an initial count of 0 stops", () => {
  const { vm, write, read } = makeApic();
  write(ApicReg.DIVIDE, 11);
  write(ApicReg.INITIAL_COUNT, 132_000);
  pass(vm, 1e6);
  write(ApicReg.DIVIDE, 3);
  assertEquals(read(ApicReg.CURRENT_COUNT), 66_000);
  pass(vm, 8e6);
  assertEquals(read(ApicReg.CURRENT_COUNT), 33_000);
  write(ApicReg.INITIAL_COUNT, 0);
  pass(vm, 1e6);
  assertEquals(read(ApicReg.CURRENT_COUNT), 0);
});

Deno.test("commands: to itself and all they interrupt, to others and absent processors they do nothing", () => {
  const short = (shorthand: number) => shorthand << 18;
  const cases: readonly [name: string, low: number, high: number, intr: boolean, nmi: number, init: number][] = [
    ["itself", short(Shorthand.self) | 0x40, 0, true, 0, 0],
    ["all", short(Shorthand.all) | 0x40, 0, true, 0, 0],
    ["others", short(Shorthand.others) | 0x40, 0, false, 0, 0],
    ["its identifier", 0x40, 0, true, 0, 0],
    ["an absent identifier", 0x40, 0x0100_0000, false, 0, 0],
    ["INIT to an absent one", modeBits(DeliveryMode.init) | 0x4000, 0x0100_0000, false, 0, 0],
    ["start-up to an absent one", modeBits(DeliveryMode.startUp) | 0x4010, 0x0100_0000, false, 0, 0],
    ["NMI to itself", modeBits(DeliveryMode.nmi) | 0x4000, 0, false, 1, 0],
    ["INIT to itself", modeBits(DeliveryMode.init) | 0x4000, 0, false, 0, 1],
    ["INIT level de-assert", modeBits(DeliveryMode.init) | short(Shorthand.all) | 0x8000, 0, false, 0, 0],
  ];
  for (const [name, low, high, intr, nmi, init] of cases) {
    const { write, read, counts } = makeApic();
    write(ApicReg.ICR_HIGH, high);
    write(ApicReg.ICR_LOW, low);
    assertEquals(counts, { intr, nmi, init }, name);
    assertEquals(read(ApicReg.ICR_LOW) & Entry.DELIVERY_PENDING, 0, name);
  }
});

Deno.test("errors are noted until ESR is written, and interrupt by their own entry", () => {
  const { write, read, send, counts, apic } = makeApic();
  write(ApicReg.LVT_ERROR, 0x33);
  send(0x0f);
  assertEquals([counts.intr, apic.acknowledge()], [true, 0x33]);
  write(ApicReg.EOI, 0);
  write(ApicReg.ICR_LOW, (Shorthand.self << 18) | 0x05);
  read(0x020 + 0x3d0);
  assertEquals(read(ApicReg.ESR), 0);
  write(ApicReg.ESR, 0);
  const all = ApicError.RECEIVE_ILLEGAL_VECTOR | ApicError.SEND_ILLEGAL_VECTOR | ApicError.ILLEGAL_REGISTER;
  assertEquals(read(ApicReg.ESR), all);
  write(ApicReg.ESR, 0);
  assertEquals(read(ApicReg.ESR), 0);
});

Deno.test("an error entry with an illegal vector does not go round for ever", () => {
  const { write, read, send } = makeApic();
  write(ApicReg.LVT_ERROR, 0x03);
  send(0x02);
  write(ApicReg.ESR, 0);
  assertEquals(read(ApicReg.ESR), ApicError.RECEIVE_ILLEGAL_VECTOR);
});

Deno.test("registers keep only the bits that they have; parts of words read, and do not write", () => {
  const { apic, read, write } = makeApic();
  const cases: readonly [register: number, kept: number][] = [
    [ApicReg.ID, 0xff00_0000],
    [ApicReg.TPR, 0xff],
    [ApicReg.LDR, 0xff00_0000],
    [ApicReg.DFR, 0xffff_ffff],
    [ApicReg.SVR, 0x3ff],
    [ApicReg.LVT_TIMER, 0x3_00ff],
    [ApicReg.LVT_LINT1, 0x1_a7ff],
    [ApicReg.ICR_HIGH, 0xff00_0000],
    [ApicReg.DIVIDE, 0x0b],
    [ApicReg.VERSION, 0x0005_0014],
    [ApicReg.EOI, 0],
  ];
  for (const [register, kept] of cases) {
    write(register, 0xffff_ffff);
    assertEquals(read(register), kept, register.toString(16));
  }
  apic.write(ApicReg.TPR, 1, 0);
  apic.write(ApicReg.TPR + 4, 4, 0);
  assertEquals([read(ApicReg.TPR), apic.read(ApicReg.SVR + 1, 1), apic.read(ApicReg.LVT_LINT1 + 2, 2)], [0xff, 3, 1]);
  assertEquals(read(ApicReg.TPR + 4), 0);
});

Deno.test("a restored APIC goes on as the saved one, its timer included", () => {
  const a = makeApic(), b = makeApic();
  a.write(ApicReg.DIVIDE, 3);
  a.write(ApicReg.LVT_TIMER, 0x50 | LVT_PERIODIC);
  a.write(ApicReg.INITIAL_COUNT, 5000);
  a.send(0x71, { levelTriggered: true });
  a.apic.acknowledge();
  a.send(0x81);
  a.apic.setLint(LINT0, true);
  pass(a.vm, 3e6);
  b.vm.clock.restore(a.vm.clock.save() as Parameters<typeof b.vm.clock.restore>[0]);
  b.apic.restore(structuredClone(a.apic.save()));
  assertEquals([hashOf(b.apic), b.counts.intr], [hashOf(a.apic), true]);
  const play = ({ vm, apic, read, write, ended }: ReturnType<typeof makeApic>) => {
    pass(vm, 1e7);
    apic.setLint(LINT0, false);
    const vectors = [apic.acknowledge()];
    for (let i = 0; i < 3; i++) {
      write(ApicReg.EOI, 0);
      vectors.push(apic.acknowledge());
    }
    return [vectors, ended, read(ApicReg.CURRENT_COUNT), vm.clock.nextTimerNs()];
  };
  assertEquals(play(b), play(a));
  assertEquals(hashOf(b.apic), hashOf(a.apic));
});
