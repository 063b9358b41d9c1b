// The periodic timer that guests share: PIT counter 0 interrupts at a chosen rate through the PIC, and each interrupt counts a
// tick. Set-up follows the 8259A and 8254 datasheets.

import { addr, al, type Assembler, eax, mem32 } from "./assembler/mod.ts";
import { PIC, PIT } from "./hardware.ts";
import { setGate } from "./runtime.ts";

/** Rates that the PIT's 16-bit divisor can make, in Hz; the upper end leaves an interpreter time to do something between ticks. */
export const TIMER_HZ = { min: 19, max: 10_000 } as const;

/** The variable that counts ticks. */
export const ticks = mem32(addr("ticks"));

/**
 * Starts the timer at `hz` ticks a second; every interrupt but the timer's stays masked. Clobbers eax, ecx and edx. Interrupts
 * come once the guest sets IF.
 */
export function startTimer(asm: Assembler, hz: number): void {
  setGate(asm, PIC.MASTER_VECTOR + PIC.TIMER_IRQ, "timerInterrupt");
  startInterruptController(asm);
  const divisor = Math.round(PIT.FREQUENCY_HZ / hz);
  write(asm, PIT.CONTROL, PIT.CONTROL_COUNTER_0_RATE);
  write(asm, PIT.COUNTER_0, divisor & 0xff);
  write(asm, PIT.COUNTER_0, (divisor >> 8) & 0xff);
  asm.section("data", () => asm.align(4).label("ticks").dd(0));
  asm.section("routines", () => {
    asm.align(16).label("timerInterrupt").push(eax).inc(ticks);
    write(asm, PIC.MASTER_COMMAND, PIC.OCW2_EOI);
    asm.pop(eax).iret();
  });
}

/** Masks every interrupt of both controllers, for guests that set IF but want none. Clobbers al. */
export function maskInterrupts(asm: Assembler): void {
  write(asm, PIC.MASTER_DATA, ALL_LINES);
  write(asm, PIC.SLAVE_DATA, ALL_LINES);
}

const ALL_LINES = 0xff;

function startInterruptController(asm: Assembler): void {
  write(asm, PIC.MASTER_COMMAND, PIC.ICW1_INIT);
  write(asm, PIC.SLAVE_COMMAND, PIC.ICW1_INIT);
  write(asm, PIC.MASTER_DATA, PIC.MASTER_VECTOR);
  write(asm, PIC.SLAVE_DATA, PIC.SLAVE_VECTOR);
  write(asm, PIC.MASTER_DATA, PIC.ICW3_MASTER);
  write(asm, PIC.SLAVE_DATA, PIC.ICW3_SLAVE);
  write(asm, PIC.MASTER_DATA, PIC.ICW4_8086);
  write(asm, PIC.SLAVE_DATA, PIC.ICW4_8086);
  write(asm, PIC.MASTER_DATA, ALL_LINES & ~(1 << PIC.TIMER_IRQ));
  write(asm, PIC.SLAVE_DATA, ALL_LINES);
}

function write(asm: Assembler, port: number, value: number): void {
  asm.mov(al, value).out(port, al);
}
