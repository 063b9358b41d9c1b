// A 64 KiB ROM in a BIOS's place, for Bochs: from the reset vector into flat protected mode and to the guest's entry, which
// was loaded as an image of RAM. Intel SDM volume 3A, sections 9.1.4 (first instruction) and 9.9.1 (switching to protected
// mode).

import { addr, Assembler, ax, cr0, cs, ds, eax, es, far, fs, gs, mem, ss } from "../../../guests/assembler/mod.ts";
import { CR0, segment, SELECTOR } from "./layout.ts";

export const ROM_BYTES = 0x1_0000;
/** Where the ROM lies below 1 MiB, and the reset vector's offset in it. */
const ROM_BASE = 0xf_0000, RESET_OFFSET = 0xfff0;

/** The ROM that enters `entry`. */
export function bootRom(entry: number): Uint8Array {
  const asm = new Assembler({ origin: 0, bits: 16 });
  asm.label("boot").cli().o32().lgdt(mem(addr("gdtPointer"), { segment: cs }));
  asm.mov(eax, cr0).or(eax, CR0.PE).mov(cr0, eax).jmpFar(far(SELECTOR.CODE, addr("protected", ROM_BASE), 32));
  asm.bits(32).label("protected").mov(eax, SELECTOR.DATA);
  for (const register of [ds, es, fs, gs, ss]) asm.mov(register, ax);
  asm.mov(eax, entry).jmp(eax);
  asm.align(8).label("gdt").zeros(8).dd(...segment({ access: 0x9b })).dd(...segment({ access: 0x93 }));
  asm.label("gdtPointer").dw(3 * 8 - 1).dd(addr("gdt", ROM_BASE));
  asm.org(RESET_OFFSET).bits(16).jmpFar(far(ROM_BASE >> 4, addr("boot"), 16)).org(ROM_BYTES);
  return asm.assemble().bytes;
}
