// Guest `idle`: a machine with nothing to do. It sleeps in HLT, a timer interrupt wakes it, it sleeps again.

import { eax } from "./assembler/mod.ts";
import { defineGuest } from "./guest.ts";
import { buildProtected, print } from "./runtime.ts";
import { startTimer, ticks, TIMER_HZ } from "./timer.ts";

export const idle = defineGuest({
  name: "idle",
  summary: "sleeps between timer interrupts",
  description: "Sets up interrupts and the PIT, then loops over `sti; hlt`. After `ticks` timer interrupts it prints " +
    "`idle: N ticks` and halts with interrupts off; with `ticks` 0 it sleeps for ever.",
  memoryMib: 4,
  options: {
    ticks: { default: 500, describe: "timer interrupts to live through; 0 for no end" },
    hz: { default: 100, ...TIMER_HZ, describe: "timer interrupts a second" },
  },
  build: ({ ticks: limit, hz }) =>
    buildProtected((asm) => {
      startTimer(asm, hz);
      // STI holds interrupts back for one instruction, so that none is lost between the check and HLT.
      asm.label("sleep").sti().hlt().cli();
      if (limit === 0) asm.jmp("sleep");
      asm.cmp(ticks, limit).jb("sleep");
      print(asm, "idle: ");
      asm.mov(eax, ticks).call("printDecimal");
      print(asm, " ticks\n");
    }),
});
