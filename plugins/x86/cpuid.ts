// CPUID of the described CPU: a P6-class processor, family 6 model 8, that claims only what works (SDM 2A, "CPUID").
// Plugins change and add leaves through the `x86.cpuid` event.

import type { CpuidResult } from "./services.ts";

/** Feature bits of leaf 1, EDX. */
const Feature = {
  fpu: 0,
  de: 2,
  pse: 3,
  tsc: 4,
  msr: 5,
  pae: 6,
  cx8: 8,
  sep: 11,
  pge: 13,
  cmov: 15,
  clfsh: 19,
  mmx: 23,
  fxsr: 24,
  sse: 25,
  sse2: 26,
} as const;

const FEATURES = Object.values(Feature).reduce<number>((bits, bit) => bits | (1 << bit), 0);

/** Leaf 1, ECX bit 31: reserved for hypervisors to say so. Systems then do not expect performance counters. */
const HYPERVISOR_PRESENT = 1 << 31;

const MAX_BASIC_LEAF = 2, MAX_EXTENDED_LEAF = 0x80000004;
/** Leaf 1, EBX bits 8 to 15: the line that CLFLUSH acts on, 64 bytes in units of eight. */
const CLFLUSH_LINE = 8 << 8;
/**
 * The signature of a Pentium III, which had SSE but not SSE2: from it follow the MSRs that systems expect, of which later
 * models have many more. What the processor can do is said by the feature bits alone.
 */
const SIGNATURE = 0x683; // family 6, model 8, stepping 3
const VENDOR = "GenuineIntel", BRAND = "Ballast IA-32 processor";

/** Four letters of a text as a little-endian word. */
function word(text: string, at: number): number {
  let value = 0;
  for (let i = 0; i < 4; i++) value |= (text.charCodeAt(at + i) || 0) << (8 * i);
  return value;
}

/** The described CPU's own answer. Basic leaves beyond the highest answer as the highest does; others with zeros. */
export function describedCpuid(leaf: number): CpuidResult {
  const zeros = { eax: 0, ebx: 0, ecx: 0, edx: 0 };
  if (leaf >= 0x40000000 && leaf < 0x80000000) return zeros;
  switch (leaf) {
    case 0:
      return { eax: MAX_BASIC_LEAF, ebx: word(VENDOR, 0), edx: word(VENDOR, 4), ecx: word(VENDOR, 8) };
    case 1:
      return { ...zeros, eax: SIGNATURE, ebx: CLFLUSH_LINE, ecx: HYPERVISOR_PRESENT, edx: FEATURES };
    case 2:
      // One call suffices (AL = 1); no cache or TLB descriptors.
      return { ...zeros, eax: 1 };
    case 0x80000000:
      return { ...zeros, eax: MAX_EXTENDED_LEAF | 0 };
    case 0x80000002:
    case 0x80000003:
    case 0x80000004: {
      const at = (leaf - 0x80000002) * 16;
      return { eax: word(BRAND, at), ebx: word(BRAND, at + 4), ecx: word(BRAND, at + 8), edx: word(BRAND, at + 12) };
    }
    default:
      return zeros;
  }
}
