// What each guest prints on the serial port, option by option, for tests that run guests on an engine. The checksums of
// alu, oscillator and toucher are computed here; those of pagetable and privileged were recorded from QEMU 7.2 (TCG), an
// implementation of IA-32 that shares nothing with ours.

import type { GuestOptionValues } from "../../guests/mod.ts";

/** A run of a guest that ends by power-off, status 0, and all that it prints. */
export interface GuestRun {
  readonly guest: string;
  readonly options: GuestOptionValues;
  readonly output: string;
}

export const guestRuns: readonly GuestRun[] = [
  { guest: "hello", options: {}, output: "hello, world\n" },
  { guest: "hello", options: { text: "gr\u00fc\u00df dich" }, output: "gr\u00fc\u00df dich\n" },
  ...[[0, 1], [1, 1], [2, 1], [4, 0], [49, 0], [97, 1], [7919, 1], [7921, 0]].map(([n, prime]) => ({
    guest: "isprime",
    options: { n },
    output: `isPrime(${n}) = ${prime}\n`,
  })),
  ...[1, 1000, 100_000].map((iterations) => ({
    guest: "alu",
    options: { iterations },
    output: `alu: checksum ${hex(aluChecksum(iterations))}\n`,
  })),
  { guest: "idle", options: { ticks: 20, hz: 100 }, output: "idle: 20 ticks\n" },
  { guest: "idle", options: { ticks: 5, hz: 1000 }, output: "idle: 5 ticks\n" },
  ...[[1, 0xe04e9d1d], [100, 0x4ed94218], [1000, 0xf2ecd2cf]].map(([iterations, checksum]) => ({
    guest: "privileged",
    options: { iterations },
    output: `privileged: ${iterations} iterations, checksum ${hex(checksum)}\n`,
  })),
  ...[[1, 0xaef623ae], [10, 0x1f9f0425], [1000, 0x2b1966f6]].map(([rounds, checksum]) => ({
    guest: "pagetable",
    options: { rounds },
    output: `pagetable: ${rounds} rounds ok, checksum ${hex(checksum)}\n`,
  })),
  ...[[1, 1, 1], [1000, 64, 4], [5000, 3, 2]].map(([rewrites, places, calls]) => ({
    guest: "rewriter",
    options: { rewrites, places, calls },
    output: `rewriter: ${rewrites} routines written, checksum ${hex(rewriterChecksum(rewrites, calls))}\n`,
  })),
  {
    guest: "mosaic",
    options: {
      zeroPages: 9,
      commonPages: 5,
      repeatedPages: 7,
      repeatedKinds: 3,
      ownPages: 4,
      churnPages: 2,
      seconds: 2,
    },
    output: "mosaic: done\n",
  },
  ...(["table", "device"] as const).map((to) => ({
    guest: "oscillator",
    options: { swings: 7, accesses: 100, to },
    output: `oscillator: 7 swings, checksum ${hex(oscillatorChecksum(7, 100, to))}\n`,
  })),
  ...[1, 2].map((skew) => ({
    guest: "pager",
    options: { memoryMib: 1, virtualMib: 2, usesPerTick: 30, skew, hz: 100, seconds: 3, seed: 7 },
    output: pagerFaults(256, 512, skew, 7, [3000, 3000, 3000]).map((faults) => `pager: 3000 uses, ${faults} faults\n`)
      .join(""),
  })),
  {
    guest: "toucher",
    options: { schedule: "0:100,3:200,1:100,4:300", passMs: 20 },
    output: "toucher: phase 1: 0 MiB for 100 ms\ntoucher: phase 2: 3 MiB for 200 ms\n" +
      "toucher: phase 3: 1 MiB for 100 ms\ntoucher: phase 4: 4 MiB for 300 ms\n" +
      `toucher: 1024 pages intact, checksum ${hex(toucherChecksum(1024, 1))}\n`,
  },
];

/** The checksum that guest `alu` prints, by the same steps in numbers of 32 bits. */
export function aluChecksum(iterations: number): number {
  const table = new Int32Array(256);
  let [a, b, d] = [1, 0, 0];
  for (let count = iterations; count > 0; count--) {
    a = (Math.imul(a, 0x0019_660d) + count) | 0;
    const index = a >>> 24;
    b = (b + table[index]) | 0;
    d ^= b;
    table[index] = a;
    if (a >>> 0 >= b >>> 0) d = (d - index) | 0;
  }
  return (b ^ d) >>> 0;
}

/** Faults that guest `pager` counts in each second of so many uses: least recent use, by the book. */
export function pagerFaults(
  frames: number,
  pages: number,
  skew: number,
  seed: number,
  uses: readonly number[],
): number[] {
  const resident = new Set(Array.from({ length: frames }, (_, page) => page));
  const random = () => ((seed = (Math.imul(seed, 0x0019_660d) + 0x3c6e_f35f) >>> 0) >>> 8) % pages;
  return uses.map((count) => {
    let faults = 0;
    for (let use = 0; use < count; use++) {
      const page = Math.min(...Array.from({ length: skew }, random));
      // A set keeps the order of insertion: the first is the least recently used one.
      if (!resident.delete(page)) {
        faults++;
        for (const oldest of resident) {
          resident.delete(oldest);
          break;
        }
      }
      resident.add(page);
    }
    return faults;
  });
}

/** The checksum that guest `rewriter` prints. */
export function rewriterChecksum(rewrites: number, calls: number): number {
  let checksum = 0;
  for (let seed = 1_013_904_223, left = rewrites; left > 0; left--) {
    const count = seed >>> 27;
    for (let call = 0; call < calls; call++) {
      const sum = (checksum + seed) | 0;
      checksum = ((sum << count) | (sum >>> (32 - count))) ^ ~seed;
    }
    seed = (Math.imul(seed, 1_664_525) + 1_013_904_223) | 0;
  }
  return checksum >>> 0;
}

/** The checksum that guest `oscillator` prints. */
export function oscillatorChecksum(swings: number, accesses: number, to: "table" | "device"): number {
  const factor = 0x9e37_79b1;
  let sum = 0;
  const fold = (value: number) => void (sum = (sum << 5 | sum >>> 27) ^ value);
  for (let swing = swings; swing > 0; swing--) {
    for (let n = accesses; n > 0; n--) {
      fold(to === "table" ? Math.imul((5 * n + swing) % 16 + 1, factor) : n % 16 << 4);
    }
    for (let n = accesses; n > 0; n--) fold(Math.imul(n, factor) + swing | 0);
  }
  return sum >>> 0;
}

/** The checksum that guest `toucher` prints after touching the first `pages` pages. */
export function toucherChecksum(pages: number, seed: number): number {
  let checksum = 0;
  for (let page = 0; page < pages; page++) {
    checksum = ((checksum << 5) | (checksum >>> 27)) ^ Math.imul(page + seed * 2 ** 19, 0x9e37_79b1);
  }
  return checksum >>> 0;
}

function hex(value: number): string {
  return value.toString(16).padStart(8, "0");
}
