// Random code that is full of sensitive instructions, for comparing how they are handled: interrupts on and off, I/O and
// device memory that bring deadlines forward, changes of mode, privilege, segments and translation. One seed, one case.

import { Random } from "../../../core/mod.ts";
import type { Start } from "./arena.ts";
import { INTERESTING, L, selectorOf, word } from "./arena_layout.ts";

/**
 * The arena's devices: ports, of which one is steady and, as the TSS has it, not for CPL 3, and one changes as time passes; and
 * a page of device memory over the last data page.
 */
export const DEVICE = {
  PORTS: 0x40,
  PORT_COUNT: 6,
  STEADY_PORT: 0x44,
  TICKING_PORT: 0x45,
  MEMORY: L.DATA + 3 * L.PAGE,
} as const;

export interface SensitiveCase {
  readonly seed: string;
  readonly start: Start;
  /** Ascending step counts at which states are compared; a negative one asks for an NMI there as well. */
  readonly stops: readonly number[];
}

const SLOTS = 24, MOST_STEPS = 500, MOST_STOPS = 5;
/** MSRs: the time stamp, and those of SYSENTER. */
const MSRS = [0x10, 0x174, 0x175, 0x176];
const SELECTORS = [
  ...[0, selectorOf(L.DATA_SYSTEM, 0), selectorOf(L.DATA_USER, 0), selectorOf(L.DATA_USER, 3)],
  ...[selectorOf(L.BASED, 3), selectorOf(L.LIMITED, 0), selectorOf(L.READ_ONLY_SEGMENT, 0), selectorOf(L.CODE_USER, 3)],
];

/** The case of a seed. */
export function sensitiveCase(seed: string): SensitiveCase {
  const random = new Random(seed);
  const oneIn = (count: number) => random.below(count) === 0;
  const pick = <T>(values: readonly T[]): T => values[random.below(values.length)];
  const slot = () => L.CODE + random.below(SLOTS) * L.SLOT;
  const pages = [L.DATA, L.DATA + L.PAGE, DEVICE.MEMORY, L.STACK, L.READ_ONLY, L.ABSENT, L.SUPERVISOR, L.DATA_ALIAS];
  const address = () => pick(oneIn(8) ? pages : [L.DATA, DEVICE.MEMORY]) + random.below(L.PAGE / 4 - 4) * 4;
  const port = () => DEVICE.PORTS + random.below(DEVICE.PORT_COUNT + 1);
  const eax = (value: number) => [0xb8, ...word(value)];
  const flags = () => pick([2, 0x202, 0x402, 0x606, 0x3202, 0x8d7, 0x46]);
  const stack = () => L.STACK + 256 + random.below(L.STACK_BYTES - 512) & ~3;

  /** Instructions that fit into a slot, by what they are about. */
  const kinds: readonly (() => readonly number[])[] = [
    () => [0x0f, 0x31], // rdtsc
    () => oneIn(3) ? [0x0f, 0xa2] : [0x0f, 0x31], // cpuid
    () => [0xe4, port()], // in al, imm8
    () => [0xe4, DEVICE.STEADY_PORT], // the same from the steady port
    () => [0xe4, DEVICE.TICKING_PORT, 0x01, 0xc3, 0xe4, DEVICE.TICKING_PORT], // the same, twice, from the ticking port
    () => [0x66, 0xba, port(), 0, pick([0xec, 0xed])], // mov dx, port; in al, dx or in eax, dx
    () => [pick([0xe6, 0xe7]), port()], // out imm8
    () => [0x66, 0xba, port(), 0, pick([0xee, 0xef])],
    () => [0x66, 0xba, port(), 0, pick([0x6c, 0x6d, 0x6e, 0x6f])], // ins, outs
    () => [pick([0xfa, 0xfb])], // cli, sti
    () => [0x9c, ...(oneIn(2) ? [0x58, 0x35, ...word(pick([0x200, 0x240, 0x3000, 0x100, 0x40000])), 0x50] : []), 0x9d],
    () => [0xfb, pick([0xfa, 0x40, 0x9c, 0xf4])], // sti before others
    () => [0x0f, 0x20, 0xc0 | pick([0, 2, 3, 4]) << 3 | pick([0, 3])], // mov from cr
    () => [0x0f, 0x20, 0xd8, 0x0f, 0x22, 0xd8], // cr3 as it is: a flush
    () => [0x0f, 0x20, 0xc0, 0x35, ...word(pick([8, 0x10000, 0x40000])), 0x0f, 0x22, 0xc0], // cr0: TS, WP, AM
    () => [0x0f, 0x20, 0xe0, 0x35, ...word(pick([4, 0x80, 0x200])), 0x0f, 0x22, 0xe0], // cr4: TSD, PGE, OSFXSR
    () => [0x0f, 0x06], // clts
    () => oneIn(2) ? [0x0f, 0x01, 0xe0 | pick([0, 3])] : [0x0f, 0x01, 0xf0], // smsw, lmsw
    () => [0x0f, pick([0x21, 0x23]), 0xc0 | pick([0, 6]) << 3],
    () => [0x0f, 0x01, 0x3d, ...word(address())], // invlpg
    () => [0xb9, ...word(pick(MSRS)), 0x0f, pick([0x30, 0x32])], // wrmsr, rdmsr
    () => [0xb9, ...word(0x176), ...eax(slot()), 0x0f, 0x30],
    () => [0x0f, 0x01, 0x05, ...word(L.DATA + 64), 0x0f, 0x01, 0x15, ...word(L.DATA + 64)], // sgdt, lgdt
    () => [0x0f, 0x00, 0xc0 | pick([0, 1]) << 3 | 3], // sldt, str
    () => [0x31, 0xc0, 0x0f, 0x00, 0xd0], // lldt 0
    () => [0x6a, pick(SELECTORS), 0x0f, 0x00, 0x2c, 0x24, 0x9c], // push; verw; pushf
    () => [...eax(pick(SELECTORS)), 0x8e, 0xc0 | pick([0, 3, 4, 5, 3, 0]) << 3], // mov segment
    () => [...eax(pick(SELECTORS)), 0x8e, 0xd0, 0xbc, ...word(stack())], // mov ss; mov esp
    () => [0x6a, pick(SELECTORS), ...pick([[0x1f], [0x07], [0x0f, 0xa1], [0x0f, 0xa9], [0x17]])], // push; pop segment
    () => [pick([0xc4, 0xc5]), 0x05, ...word(address())], // les, lds
    () => [pick([0x64, 0x65]), 0xa1, ...word(random.below(64))], // through fs, gs
    () => [0xcd, random.below(256)], // int
    () => [pick([0xcc, 0xce])],
    () => [0x68, ...word(flags()), 0x0e, 0x68, ...word(slot()), 0xcf], // push eflags, cs, eip; iret
    () => [0x6a, 0x23, 0x54, 0x68, ...word(flags()), 0x6a, 0x1b, 0x68, ...word(slot()), 0xcf], // to CPL 3
    () => [0x6a, 0x23, 0x1f, 0x6a, 0x23, 0x07], // DS and ES of CPL 3
    () => [0x6a, 0x23, 0x1f, 0x6a, 0x23, 0x07],
    // At CPL 3, or 0: the steady port, the time stamp, a supervisor page.
    () => pick([[0xe4, DEVICE.STEADY_PORT], [0x0f, 0x31], [0xa1, ...word(L.SUPERVISOR)]]),
    () => [0xcf],
    () => [0x0f, 0x34], // sysenter
    () => [0xba, ...word(slot()), 0xb9, ...word(stack()), ...(oneIn(2) ? [0xfb] : []), 0x0f, 0x35], // sysexit
    () => [0xea, ...word(slot()), pick([8, 0x1b]), 0], // far jmp
    () => [0xa1, ...word(DEVICE.MEMORY + random.below(64) * 4)], // device memory
    () => [pick([0xa3, 0xa2]), ...word(DEVICE.MEMORY + random.below(64) * 4)],
    () => [pick([0x01, 0x09, 0x29, 0x39, 0x87]), 0x0d, ...word(DEVICE.MEMORY + random.below(64) * 4)],
    () => [0xff, 0x35, ...word(DEVICE.MEMORY + random.below(64) * 4)], // push from it
    () => [0xbf, ...word(address()), 0xb9, ...word(random.below(8)), 0xf3, pick([0xaa, 0xab])], // rep stos
    () => oneIn(6) ? [0xf4] : [0x90], // hlt
  ];
  const others: readonly (() => readonly number[])[] = [
    () => [pick([0x40, 0x43, 0x4b, 0x4e, 0xf5, 0xf8, 0x99])],
    () => [pick([0x01, 0x29, 0x31, 0x11, 0x19, 0x39]), 0xc0 | random.below(64) & 0x3f & ~0x24],
    () => [pick([0x8b, 0x89, 0x03, 0x33]), 0x05 | pick([0, 3, 6, 7]) << 3, ...word(address())],
    () => [0x53, 0x5e], // push ebx; pop esi
    () => eax(pick(INTERESTING)),
  ];
  const code: number[] = [];
  while (code.length < SLOTS * L.SLOT) {
    const end = code.length + L.SLOT;
    for (;;) {
      const next = oneIn(2) ? pick(kinds)() : pick(others)();
      if (code.length + next.length > end) break;
      code.push(...next);
      if (oneIn(9) && code.length + 6 <= end) {
        const after = L.CODE + code.length + 6;
        code.push(0x0f, 0x80 | random.below(16), ...word(slot() - after));
      }
    }
    while (code.length < end) code.push(0x90);
  }
  code.push(0xe9, ...word(L.CODE - (L.CODE + code.length + 5)));
  const stops: number[] = [];
  let at = 0;
  for (let count = random.below(MOST_STOPS); count >= 0; count--) {
    at += 1 + random.below(count === 0 ? MOST_STEPS : 40);
    stops.push(oneIn(10) ? -at : at);
  }
  const registers = Array.from({ length: 8 }, () => pick(INTERESTING) | 0);
  registers[4] = stack();
  const start: Start = {
    cpl: oneIn(4) ? 3 : 0,
    bits: 32,
    registers,
    eflags: 2 | (oneIn(2) ? 0x200 : 0) | (oneIn(6) ? 0x3000 : 0) | random.next() & 0x8d5,
    fs: pick([0, L.BASED, L.LIMITED]),
    gs: pick([0, L.BASED]),
    entry: 0,
    code: Uint8Array.from(code),
  };
  return { seed, start, stops };
}
