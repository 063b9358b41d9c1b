// CPUID of the described CPU: a P6-class processor, family 6 model 8, that claims only what works (SDM 2A, "CPUID").
// Plugins change and add leaves through the `x86.cpuid` event.

import type { CpuidResult } from "./services.ts";

/** Feature bits of leaf 1, EDX. */
const Feature = { fpu: 0, pse: 3, tsc: 4, msr: 5, pae: 6, cx8: 8, sep: 11, pge: 13, cmov: 15 } as const;

const FEATURES = Object.values(Feature).reduce<number>((bits, bit) => bits | (1 << bit), 0);

const MAX_BASIC_LEAF = 2, MAX_EXTENDED_LEAF = 0x80000004;
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
      return { ...zeros, eax: SIGNATURE, edx: FEATURES };
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
