// Guest `isprime`: the running example of the BT paper (Adams & Agesen, ASPLOS 2006, section 3.1), instruction for instruction,
// with a caller around it. Its translation is a golden test: units, continuations and chains are known from the paper.

import { type Assembler, eax, ecx, edi, edx, esi } from "./assembler/mod.ts";
import { defineGuest } from "./guest.ts";
import { buildProtected, print } from "./runtime.ts";

export const isprime = defineGuest({
  name: "isprime",
  summary: "the BT paper's isPrime",
  description:
    "Calls the BT paper's isPrime with n in EDI, once, and prints `isPrime(n) = 1` or `= 0`. The routine is at " +
    "the symbol isPrime, with the paper's own labels: nexti, prime, notPrime.",
  memoryMib: 4,
  options: { n: { default: 49, min: 0, max: 0x7fff_ffff, describe: "the number to test" } },
  build: ({ n }) =>
    buildProtected((asm) => {
      asm.mov(edi, n).call("isPrime").push(eax);
      print(asm, "isPrime(");
      asm.mov(eax, edi).call("printDecimal");
      print(asm, ") = ");
      asm.pop(eax).call("printDecimal");
      print(asm, "\n");
      asm.section("routines", () => isPrime(asm));
    }),
});

/** The paper's routine: EAX = 1 if EDI is prime, else 0. (It calls 0 and 1 prime, as the paper's C does.) */
function isPrime(asm: Assembler): void {
  asm.align(16).label("isPrime").mov(ecx, edi).mov(esi, 2).cmp(esi, ecx).jge("prime");
  asm.label("nexti").mov(eax, ecx).cdq().idiv(esi).test(edx, edx).jz("notPrime");
  asm.inc(esi).cmp(esi, ecx).jl("nexti");
  asm.label("prime").mov(eax, 1).ret();
  asm.label("notPrime").xor(eax, eax).ret();
}
