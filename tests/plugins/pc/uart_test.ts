// The serial port against the PC16550D datasheet, and against what Linux's 8250 driver does: autoconfiguration, start-up,
// console output, and the moment from which input may come.

import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { COM1, Fcr, Ier, Iir, Lcr, Lsr, Mcr, Msr, Reg, Uart } from "../../../plugins/pc/devices/uart.ts";
import type { SerialPeer } from "../../../plugins/pc/services.ts";
import { hashOf, makeVm, pass } from "./harness.ts";

const SETTLE_NS = 20e6;
/** A character of ten bits at 115200 baud, in ns, rounded up. */
const CHARACTER_NS = 86_806;

function makeUart({ pacedTransmit = false } = {}) {
  const vm = makeVm();
  const irq = { level: false };
  const uart = new Uart("com1", vm.clock, COM1.base, (level) => irq.level = level, {
    pacedTransmit,
    settleNs: SETTLE_NS,
  });
  const sent: number[] = [], input: number[] = [];
  const peer: SerialPeer = { transmit: (byte) => void sent.push(byte), nextByte: () => input.shift() };
  uart.attach(peer);
  const write = (register: number, value: number) => uart.writeByte(COM1.base + register, value);
  const read = (register: number) => uart.readByte(COM1.base + register);
  const type = (text: string) => {
    input.push(...new TextEncoder().encode(text));
    uart.inputArrived();
  };
  return { vm, uart, irq, sent, input, write, read, type };
}

type Wired = ReturnType<typeof makeUart>;

const WORD_8N1 = 0x03;
const TRIGGER_8 = 0x80, TRIGGER_1 = 0x00;

/** What Linux's serial8250_startup and set_termios leave behind, in their order. */
function linuxStartUp({ write, read }: Wired, trigger = TRIGGER_8): void {
  write(Reg.FCR, Fcr.ENABLE);
  write(Reg.FCR, Fcr.ENABLE | Fcr.CLEAR_RECEIVER | Fcr.CLEAR_TRANSMITTER);
  write(Reg.FCR, 0);
  read(Reg.LSR), read(Reg.RBR), read(Reg.IIR), read(Reg.MSR);
  write(Reg.LCR, WORD_8N1);
  write(Reg.MCR, Mcr.OUT2);
  write(Reg.IER, Ier.THRE);
  write(Reg.IER, 0);
  read(Reg.LSR), read(Reg.RBR), read(Reg.IIR), read(Reg.MSR);
  write(Reg.IER, Ier.RLS | Ier.RDA);
  write(Reg.LCR, Lcr.DLAB | WORD_8N1);
  write(Reg.DLL, 1);
  write(Reg.DLM, 0);
  write(Reg.LCR, WORD_8N1);
  write(Reg.FCR, Fcr.ENABLE);
  write(Reg.FCR, Fcr.ENABLE | trigger);
  write(Reg.MCR, Mcr.DTR | Mcr.RTS | Mcr.OUT2);
}

const FIFOS = Iir.FIFOS_ENABLED;

Deno.test("Linux's autoconfiguration finds a 16550A", () => {
  const { read, write } = makeUart();
  write(Reg.IER, 0);
  assertEquals(read(Reg.IER) & 0x0f, 0);
  write(Reg.IER, 0x0f);
  assertEquals(read(Reg.IER) & 0x0f, 0x0f);
  write(Reg.IER, 0);
  write(Reg.MCR, Mcr.LOOP | Mcr.OUT2 | Mcr.RTS);
  assertEquals(read(Reg.MSR) & 0xf0, Msr.DCD | Msr.CTS);
  write(Reg.MCR, 0);
  const CONF_MODE_A = 0x80, CONF_MODE_B = 0xbf;
  write(Reg.LCR, CONF_MODE_B);
  write(Reg.FCR, 0);
  write(Reg.LCR, 0);
  write(Reg.FCR, Fcr.ENABLE);
  assertEquals(read(Reg.IIR) >> 6, 3, "FIFOs work");
  write(Reg.LCR, CONF_MODE_A);
  assert(read(Reg.IIR) !== 0, "no enhanced feature register: not a 16650");
  write(Reg.LCR, CONF_MODE_B);
  assert(read(Reg.IIR) !== 0, "not a 16650V2");
  write(Reg.LCR, 0);
  write(Reg.FCR, Fcr.ENABLE | 0x20);
  assertEquals(read(Reg.IIR) & 0xe0, FIFOS, "no 64-byte FIFO: not a 16750");
  write(Reg.IER, 0x40);
  assertEquals(read(Reg.IER), 0, "no unit enable bit: not an XScale port");
  write(Reg.SCR, 0xa5);
  assertEquals(read(Reg.SCR), 0xa5);
});

Deno.test("the divisor latch replaces RBR, THR and IER, and nothing is sent while it does", () => {
  const { read, write, sent } = makeUart();
  write(Reg.LCR, Lcr.DLAB | WORD_8N1);
  write(Reg.DLL, 0x0c);
  write(Reg.DLM, 0x01);
  assertEquals([read(Reg.DLL), read(Reg.DLM)], [0x0c, 0x01]);
  write(Reg.LCR, WORD_8N1);
  assertEquals([read(Reg.IER), sent.length], [0, 0]);
});

Deno.test("bytes are sent at once, and the transmitter is always empty", () => {
  const { read, write, sent } = makeUart();
  write(Reg.LCR, WORD_8N1);
  for (const byte of [0x48, 0x69]) write(Reg.THR, byte);
  assertEquals(sent, [0x48, 0x69]);
  assertEquals(read(Reg.LSR), Lsr.THRE | Lsr.TEMT);
});

Deno.test("the word length cuts what is sent", () => {
  for (const [bits, byte] of [[5, 0x1f], [6, 0x3f], [7, 0x7f], [8, 0xff]]) {
    const { write, sent } = makeUart();
    write(Reg.LCR, bits - 5);
    write(Reg.THR, 0xff);
    assertEquals(sent, [byte]);
  }
});

Deno.test("the transmitter interrupt: raised by enabling it and by emptying, cleared by IIR and by THR", () => {
  const { read, write, irq } = makeUart({ pacedTransmit: true });
  write(Reg.LCR, WORD_8N1);
  write(Reg.MCR, Mcr.OUT2);
  write(Reg.IER, Ier.THRE);
  assertEquals([irq.level, read(Reg.IIR), irq.level, read(Reg.IIR)], [true, Iir.TRANSMITTER_EMPTY, false, Iir.NONE]);
  // Linux's start-up test for ports that do not raise it again.
  write(Reg.IER, 0);
  write(Reg.IER, Ier.THRE);
  assertEquals(read(Reg.IIR), Iir.TRANSMITTER_EMPTY);
  write(Reg.THR, 1);
  assertEquals(irq.level, true, "the holding register moved on at once");
  write(Reg.THR, 2);
  assertEquals(irq.level, false);
});

Deno.test("a paced transmitter takes a character time a byte, and interrupts when its FIFO is empty", () => {
  const { vm, read, write, sent, irq } = makeUart({ pacedTransmit: true });
  write(Reg.LCR, WORD_8N1);
  write(Reg.FCR, Fcr.ENABLE);
  write(Reg.MCR, Mcr.OUT2);
  write(Reg.IER, Ier.THRE);
  read(Reg.IIR);
  for (let byte = 0; byte < 4; byte++) write(Reg.THR, byte);
  read(Reg.IIR);
  assertEquals([sent.length, read(Reg.LSR), irq.level], [0, 0, false]);
  pass(vm, CHARACTER_NS);
  assertEquals([sent.length, irq.level], [1, false]);
  pass(vm, 2 * CHARACTER_NS);
  assertEquals([sent, read(Reg.LSR), irq.level], [[0, 1, 2], Lsr.THRE, true]);
  pass(vm, CHARACTER_NS);
  assertEquals([sent, read(Reg.LSR)], [[0, 1, 2, 3], Lsr.THRE | Lsr.TEMT]);
});

Deno.test("a character takes its bits' time at the programmed divisor", () => {
  const cases: readonly [lcr: number, divisor: number, bits: number][] = [
    [WORD_8N1, 1, 10],
    [WORD_8N1, 12, 10],
    [WORD_8N1 | Lcr.PARITY, 1, 11],
    [WORD_8N1 | Lcr.STOP | Lcr.PARITY, 1, 12],
    [Lcr.STOP, 1, 7.5],
    [0, 96, 7],
  ];
  for (const [lcr, divisor, bits] of cases) {
    const { vm, write, sent } = makeUart({ pacedTransmit: true });
    write(Reg.LCR, lcr | Lcr.DLAB);
    write(Reg.DLL, divisor);
    write(Reg.LCR, lcr);
    write(Reg.THR, 0x15);
    const ns = Math.ceil((bits * divisor * 1e9) / 115200);
    pass(vm, ns - 1);
    assertEquals(sent.length, 0, `${bits} bits at divisor ${divisor}`);
    pass(vm, 1);
    assertEquals(sent, [0x15]);
  }
});

Deno.test("interrupts are identified in order of priority", () => {
  const { vm, read, write, type, irq } = makeUart();
  linuxStartUp({ read, write } as Wired, TRIGGER_1);
  pass(vm, SETTLE_NS);
  type("x");
  pass(vm, CHARACTER_NS);
  write(Reg.IER, 0);
  write(Reg.MCR, Mcr.LOOP | Mcr.OUT2);
  for (let i = 0; i < 16; i++) write(Reg.THR, i);
  write(Reg.MCR, Mcr.OUT2 | Mcr.DTR | Mcr.RTS);
  write(Reg.IER, Ier.RDA | Ier.THRE | Ier.RLS | Ier.MSR);
  assertEquals([irq.level, read(Reg.IIR)], [true, FIFOS | Iir.LINE_STATUS]);
  assertEquals(read(Reg.LSR) & Lsr.OVERRUN, Lsr.OVERRUN);
  assertEquals(read(Reg.IIR), FIFOS | Iir.RECEIVED_DATA);
  while ((read(Reg.LSR) & Lsr.DATA_READY) !== 0) read(Reg.RBR);
  assertEquals(read(Reg.IIR), FIFOS | Iir.TRANSMITTER_EMPTY);
  assertEquals(read(Reg.IIR), FIFOS | Iir.MODEM_STATUS);
  assert((read(Reg.MSR) & (Msr.DCTS | Msr.DDSR | Msr.DDCD)) !== 0);
  assertEquals([irq.level, read(Reg.IIR)], [false, FIFOS | Iir.NONE]);
});

Deno.test("looped back: bytes come back, modem outputs drive the inputs, and the interrupt is cut off", () => {
  const { read, write, sent, irq } = makeUart();
  write(Reg.LCR, WORD_8N1);
  write(Reg.IER, Ier.RDA);
  write(Reg.MCR, Mcr.LOOP | Mcr.OUT2);
  write(Reg.THR, 0x5a);
  assertEquals([read(Reg.LSR) & Lsr.DATA_READY, read(Reg.RBR), sent.length, irq.level], [
    Lsr.DATA_READY,
    0x5a,
    0,
    false,
  ]);
  const wires = [[Mcr.RTS, Msr.CTS], [Mcr.DTR, Msr.DSR], [Mcr.OUT1, Msr.RI], [Mcr.OUT2, Msr.DCD]];
  for (const [output, inputLine] of wires) {
    write(Reg.MCR, Mcr.LOOP | output);
    assertEquals(read(Reg.MSR) & 0xf0, inputLine);
  }
  write(Reg.MCR, Mcr.LOOP | Mcr.OUT1);
  read(Reg.MSR);
  write(Reg.MCR, Mcr.LOOP);
  assertEquals(read(Reg.MSR) & 0x0f, Msr.TERI, "the ring indicator counts when it ends");
});

Deno.test("a break around the loop arrives as a zero with BI and FE, reported once", () => {
  const { read, write } = makeUart();
  write(Reg.FCR, Fcr.ENABLE);
  write(Reg.MCR, Mcr.LOOP);
  write(Reg.LCR, WORD_8N1 | Lcr.BREAK);
  const errors = Lsr.BREAK | Lsr.FRAMING;
  assertEquals(read(Reg.LSR) & (errors | Lsr.FIFO_ERROR | Lsr.DATA_READY), errors | Lsr.FIFO_ERROR | Lsr.DATA_READY);
  assertEquals(read(Reg.LSR) & (errors | Lsr.FIFO_ERROR), 0);
  assertEquals(read(Reg.RBR), 0);
});

Deno.test("without FIFOs a second byte overruns the first, with them the seventeenth is lost", () => {
  const { read, write } = makeUart();
  write(Reg.LCR, WORD_8N1);
  write(Reg.MCR, Mcr.LOOP);
  write(Reg.THR, 1);
  write(Reg.THR, 2);
  assertEquals([read(Reg.LSR) & Lsr.OVERRUN, read(Reg.RBR)], [Lsr.OVERRUN, 2]);
  write(Reg.FCR, Fcr.ENABLE);
  for (let i = 1; i <= 17; i++) write(Reg.THR, i);
  assertEquals(read(Reg.LSR) & Lsr.OVERRUN, Lsr.OVERRUN);
  const received: number[] = [];
  while ((read(Reg.LSR) & Lsr.DATA_READY) !== 0) received.push(read(Reg.RBR));
  assertEquals(received, Array.from({ length: 16 }, (_, i) => i + 1));
});

Deno.test("OUT2 gates the interrupt", () => {
  const { write, irq } = makeUart();
  write(Reg.IER, Ier.THRE);
  assertEquals(irq.level, false);
  write(Reg.MCR, Mcr.OUT2);
  assertEquals(irq.level, true);
});

Deno.test("input waits for Linux's driver: nothing before or during start-up is consumed", () => {
  const wired = makeUart(), { vm, read, write, input, type } = wired;
  type("first");
  pass(vm, 1e9);
  // The kernel's console, before any user opened the port: DTR, no interrupt, polled output.
  write(Reg.MCR, Mcr.DTR);
  for (let line = 0; line < 50; line++) {
    write(Reg.IER, 0);
    for (let i = 0; i < 20; i++) read(Reg.LSR), write(Reg.THR, 0x2e);
    read(Reg.LSR);
    pass(vm, 1e6);
  }
  linuxStartUp(wired);
  pass(vm, SETTLE_NS - 1);
  assertEquals(input.length, 5, "nothing was taken");
  pass(vm, CHARACTER_NS);
  assertEquals(String.fromCharCode(read(Reg.RBR)), "f");
});

Deno.test("a port that is opened, closed and opened again starts anew, and loses nothing", () => {
  const wired = makeUart(), { vm, read, write, input, type } = wired;
  linuxStartUp(wired);
  type("ab");
  pass(vm, SETTLE_NS + 10 * CHARACTER_NS);
  assertEquals([read(Reg.RBR), read(Reg.RBR)], [0x61, 0x62]);
  write(Reg.IER, 0);
  write(Reg.MCR, Mcr.OUT2);
  type("cd");
  pass(vm, 1e9);
  linuxStartUp(wired);
  pass(vm, SETTLE_NS / 2);
  assertEquals(input.length, 2);
  pass(vm, SETTLE_NS);
  assertEquals([read(Reg.RBR), read(Reg.RBR)], [0x63, 0x64]);
});

Deno.test("a guest that never stops printing gets its input too", () => {
  const wired = makeUart(), { vm, write, input, type } = wired;
  linuxStartUp(wired);
  type("q");
  for (let ms = 0; ms < 1100; ms++) {
    write(Reg.THR, 0x2e);
    pass(vm, 1e6);
  }
  assertEquals(input.length, 0);
});

Deno.test("kernel messages that mask the receive interrupt for a while delay input, and lose none", () => {
  const wired = makeUart(), { vm, read, write, type } = wired;
  linuxStartUp(wired);
  pass(vm, SETTLE_NS);
  const text = "the quick brown fox jumps over the lazy dog";
  type(text);
  let received = "";
  for (let i = 0; i < 200; i++) {
    pass(vm, CHARACTER_NS / 2);
    write(Reg.IER, 0);
    write(Reg.THR, 0x23);
    pass(vm, CHARACTER_NS / 3);
    write(Reg.IER, Ier.RDA | Ier.RLS);
    while ((read(Reg.LSR) & Lsr.DATA_READY) !== 0) received += String.fromCharCode(read(Reg.RBR));
  }
  assertEquals(received, text);
});

Deno.test("received bytes come one a character time, interrupt at the trigger level, and after a time-out below it", () => {
  const wired = makeUart(), { vm, read, type, irq } = wired;
  linuxStartUp(wired);
  pass(vm, SETTLE_NS);
  type("0123456789");
  pass(vm, 7 * CHARACTER_NS);
  assertEquals(irq.level, false);
  pass(vm, CHARACTER_NS);
  assertEquals([irq.level, read(Reg.IIR)], [true, FIFOS | Iir.RECEIVED_DATA]);
  for (let i = 0; i < 8; i++) read(Reg.RBR);
  assertEquals(irq.level, false);
  pass(vm, 5 * CHARACTER_NS);
  assertEquals(irq.level, false);
  pass(vm, CHARACTER_NS);
  assertEquals([irq.level, read(Reg.IIR)], [true, FIFOS | Iir.CHARACTER_TIMEOUT]);
  assertEquals([read(Reg.RBR), irq.level, read(Reg.RBR), irq.level], [0x38, false, 0x39, false]);
});

Deno.test("a guest that reads slowly or lowers RTS holds the line, and every byte comes in order", () => {
  const wired = makeUart(), { vm, read, write, input, type } = wired;
  linuxStartUp(wired);
  type("x".repeat(100));
  pass(vm, 1e9);
  assertEquals([input.length, read(Reg.LSR) & Lsr.OVERRUN], [84, 0], "the FIFO is full and did not overrun");
  write(Reg.MCR, Mcr.DTR | Mcr.OUT2);
  for (let i = 0; i < 16; i++) read(Reg.RBR);
  pass(vm, 1e9);
  assertEquals(input.length, 84);
  write(Reg.MCR, Mcr.DTR | Mcr.RTS | Mcr.OUT2);
  pass(vm, 20 * CHARACTER_NS);
  assertEquals(input.length, 68);
});

Deno.test("a guest that polls LSR gets input without interrupts or modem lines", () => {
  const { vm, read, type } = makeUart();
  type("hi");
  let received = "";
  for (let polls = 0; polls < 10_000 && received.length < 2; polls++) {
    if ((read(Reg.LSR) & Lsr.DATA_READY) !== 0) received += String.fromCharCode(read(Reg.RBR));
    pass(vm, 100);
  }
  assertEquals(received, "hi");
});

Deno.test("with no input to come no timer is armed, so that an idle guest is seen to be idle", () => {
  const wired = makeUart(), { vm, type, read } = wired;
  linuxStartUp(wired);
  pass(vm, 1e9);
  assertEquals(vm.clock.nextTimerNs(), Infinity);
  type("a");
  pass(vm, 1e6);
  read(Reg.RBR);
  pass(vm, 1e9);
  assertEquals(vm.clock.nextTimerNs(), Infinity);
});

Deno.test("any sequence of accesses is survived, and a restored port goes on as the saved one", () => {
  const access = fc.record({
    register: fc.integer({ min: 0, max: 7 }),
    value: fc.integer({ min: 0, max: 255 }),
    reads: fc.boolean(),
    ns: fc.constantFrom(0, 1000, 100_000, 30_000_000),
  });
  const accesses = fc.array(access, { maxLength: 40 });
  const property = fc.property(accesses, accesses, fc.boolean(), (before, after, pacedTransmit) => {
    const play = ({ vm, irq, read, write }: Wired, list: typeof before) =>
      list.map(({ register, value, reads, ns }) => {
        pass(vm, ns);
        return [reads ? read(register) : write(register, value), irq.level];
      });
    const a = makeUart({ pacedTransmit }), b = makeUart({ pacedTransmit });
    a.type("a piped standard input");
    play(a, before);
    b.vm.clock.restore(a.vm.clock.save() as Parameters<typeof b.vm.clock.restore>[0]);
    b.uart.restore(a.uart.save());
    b.irq.level = a.irq.level;
    b.input.splice(0, b.input.length, ...a.input);
    a.sent.length = 0;
    assertEquals(play(b, after), play(a, after));
    assertEquals(b.sent, a.sent);
    assertEquals(hashOf(b.uart), hashOf(a.uart));
  });
  fc.assert(property, { numRuns: 300, seed: 16550 });
});
