// Guest `alu`: the integer loop that interpreter and translator speed is measured on. Eleven or twelve instructions an
// iteration: adds, logic, a shift, a multiplication, a compare with a data-dependent branch, one load and one store.

import { addr, eax, ebx, ecx, edx, esi, mem32 } from "./assembler/mod.ts";
import { defineGuest } from "./guest.ts";
import { buildProtected, print } from "./runtime.ts";

/** The table's page. */
const PAGE_BYTES = 4096;
/** Multiplier of the linear congruential generator in the loop. */
const MULTIPLIER = 0x0019_660d;

export const alu = defineGuest({
  name: "alu",
  summary: "an integer loop to measure speed on",
  description:
    "Runs a loop of integer instructions with one load and one store an iteration and prints `alu: checksum X`. " +
    "The checksum depends on every iteration.",
  memoryMib: 4,
  options: {
    iterations: { default: 10_000_000, min: 1, describe: "times round the loop, 11 or 12 instructions each" },
  },
  build: ({ iterations }) =>
    buildProtected((asm) => {
      asm.mov(ecx, iterations).mov(eax, 1).xor(ebx, ebx).xor(edx, edx).xor(esi, esi);
      asm.align(16).label("loop");
      asm.imul(eax, eax, MULTIPLIER).add(eax, ecx).mov(esi, eax).shr(esi, 24);
      asm.add(ebx, mem32({ index: esi, scale: 4, disp: addr("table") })).xor(edx, ebx);
      asm.mov(mem32({ index: esi, scale: 4, disp: addr("table") }), eax);
      asm.cmp(eax, ebx).jb("below").sub(edx, esi);
      asm.label("below").dec(ecx).jnz("loop");
      print(asm, "alu: checksum ");
      asm.mov(eax, ebx).xor(eax, edx).call("printHex");
      print(asm, "\n");
      // A page of its own: a store beside code is another measurement.
      asm.section("data", () => asm.align(PAGE_BYTES).label("table").zeros(PAGE_BYTES));
    }),
});
