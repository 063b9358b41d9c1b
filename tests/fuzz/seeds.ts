// Cases that have found faults, and what they found. What each fault is, its own test says.

export interface KeptSeed {
  readonly target: string;
  readonly seed: string;
  readonly found: string;
}

export const seeds: readonly KeptSeed[] = [
  {
    target: "interpreter",
    seed: "c/19",
    found: "a guest under breakpoints had 32 instructions decoded for each that ran",
  },
  { target: "io-apic", seed: "a/0", found: "a restored coprocessor latch pulled down a line that another drove" },
];
