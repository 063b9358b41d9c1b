// Cycle counts of the BT paper (Adams and Agesen, ASPLOS 2006): the primitives that models here stand on, and the figures that
// they are held to. Section 3.3 (RDTSC), figure 4 (nanobenchmarks; read off the figure where the text gives no number), table 1
// (exits of a 3.8 GHz Pentium 4), section 6.3 (the translator). No model is fitted to anything else.

/** RDTSC in each form. */
export const PAPER_RDTSC = { trap: 2030, callout: 1254, "in-tc": 216 } as const;
/** Cycles to translate an instruction. */
export const TRANSLATE_CYCLES = 2300;
/** Into the guest, out of it for a page fault, and a read of what the exit was for; ten of these make an exit's handling. */
export const HARDWARE = { entry: 2409, exit: 1931, read: 178, readsPerExit: 10 } as const;

export interface PaperCosts {
  readonly native: number;
  readonly software: number;
  readonly hardware: number;
}

/** Figure 4, by operation. */
export const PAPER_NANO: Readonly<Record<string, PaperCosts>> = {
  syscall: { native: 242, software: 2308, hardware: 246 },
  in: { native: 3209, software: 216, hardware: 15826 },
  cr8wr: { native: 150, software: 35, hardware: 177 },
  callret: { native: 11, software: 51, hardware: 11 },
  pgfault: { native: 1093, software: 3927, hardware: 11242 },
  divzero: { native: 889, software: 3223, hardware: 1014 },
  ptemod: { native: 1, software: 391, hardware: 12733 },
};

/** Figure 5: what a boot and halt of 64-bit Windows XP spends on page-table stores, read off the figure. */
export const BOOT_PTEMOD_SECONDS = { software: 0.11, hardware: 3.49 } as const;

/** What leaving the guest and coming back costs under hardware virtualization, with what the monitor must read. */
export const EXIT_CYCLES = HARDWARE.entry + HARDWARE.exit + HARDWARE.readsPerExit * HARDWARE.read;
/** What a trap costs more than a form in place, and what a call-out does. */
export const TRAP_EXTRA = PAPER_RDTSC.trap - PAPER_RDTSC["in-tc"];
export const CALLOUT_EXTRA = PAPER_RDTSC.callout - PAPER_RDTSC["in-tc"];

/**
 * Predictions from those primitives and the native costs, and what each rests on. Software: a system call is two call-outs,
 * in and out; a fault is a hardware trap into the monitor and a call-out for its IRET. Hardware: what does not exit costs
 * what it does natively; IN and a true page fault exit once; a write to a traced page table exits for the write and again
 * for the hidden fault after it.
 */
export const MODEL_NANO: Readonly<Record<string, Partial<PaperCosts>>> = {
  syscall: { software: PAPER_NANO.syscall.native + 2 * CALLOUT_EXTRA, hardware: PAPER_NANO.syscall.native },
  in: { software: PAPER_RDTSC["in-tc"], hardware: PAPER_NANO.in.native + EXIT_CYCLES },
  cr8wr: { hardware: PAPER_NANO.cr8wr.native },
  callret: { hardware: PAPER_NANO.callret.native },
  pgfault: {
    software: PAPER_NANO.pgfault.native + TRAP_EXTRA + CALLOUT_EXTRA,
    hardware: PAPER_NANO.pgfault.native + EXIT_CYCLES,
  },
  divzero: {
    software: PAPER_NANO.divzero.native + TRAP_EXTRA + CALLOUT_EXTRA,
    hardware: PAPER_NANO.divzero.native,
  },
  ptemod: { software: PAPER_RDTSC["in-tc"], hardware: 2 * EXIT_CYCLES },
};
