// Guest `rewriter`: a program that never stops writing new code, as one with a just-in-time compiler does. What an engine keeps
// of code has to go when the code goes, or its host grows without bound; each routine's result is checked as it is written.

import {
  addr,
  type Assembler,
  cl,
  eax,
  ebp,
  ebx,
  ecx,
  edi,
  edx,
  esi,
  mem,
  mem16,
  mem32,
  mem8,
} from "./assembler/mod.ts";
import { defineGuest } from "./guest.ts";
import { buildProtected, fail, FREE_MEMORY, print } from "./runtime.ts";

/** A routine is ADD EAX, seed; ROL EAX, count; XOR EAX, NOT seed; RET. */
const ROUTINE = { ADD: 0, ADDEND: 1, ROL: 5, COUNT: 7, XOR: 8, MASK: 9, RET: 13 } as const;
const OPCODE = { ADD_EAX: 0x05, ROL_EAX: 0xc0c1, XOR_EAX: 0x35, RET: 0xc3 } as const;
/** Routines lie as far apart as the lines in which engines find out what a store has hit. */
const STRIDE_BYTES = 64;
const MAX_PLACES = 16_384;
/** Not a multiple of 1 MiB after the program, lest a direct-mapped instruction TLB holds only one of the two at a time. */
const PLACES = FREE_MEMORY + 0x1_0000;
/** Of the generator of seeds (Numerical Recipes, 7.1); the rotation is by a seed's top five bits. */
const FACTOR = 1_664_525, INCREMENT = 1_013_904_223, COUNT_SHIFT = 27;

export const rewriter = defineGuest({
  name: "rewriter",
  summary: "writes new code again and again, and runs it",
  description:
    "Writes `rewrites` small routines of random constants, one after the other into `places` places in turn, so that each " +
    "overwrites an older one, and calls each `calls` times. Every result is checked against the same sum done by code " +
    "that stays; at the end it prints `rewriter: N routines written, checksum X`, and a wrong result ends the machine " +
    "with `rewriter: wrong result`.",
  memoryMib: 4,
  options: {
    rewrites: { default: 1000, min: 1, describe: "routines to write" },
    places: { default: 64, min: 1, max: MAX_PLACES, describe: `places for them, ${STRIDE_BYTES} bytes apart` },
    calls: { default: 4, min: 1, describe: "calls of each" },
  },
  build: ({ rewrites, places, calls }) =>
    buildProtected((asm) => {
      asm.section("data", () => asm.align(4).label("checksum").dd(0).label("written").dd(0));
      asm.mov(esi, 0).mov(edi, PLACES).mov(ebp, rewrites);
      asm.label("rewrite").imul(esi, esi, FACTOR).add(esi, INCREMENT);
      writeRoutine(asm);
      asm.mov(edx, calls);
      asm.label("again").mov(eax, checksum).call(edi).push(eax);
      asm.mov(eax, checksum).add(eax, esi).rol(eax, cl).xor(eax, ebx).mov(checksum, eax);
      asm.pop(eax).cmp(eax, checksum).jne("wrong").dec(edx).jnz("again");
      asm.inc(written).add(edi, STRIDE_BYTES).cmp(edi, PLACES + places * STRIDE_BYTES).jb("next");
      asm.mov(edi, PLACES);
      asm.label("next").dec(ebp).jnz("rewrite");
      print(asm, "rewriter: ");
      asm.mov(eax, written).call("printDecimal");
      print(asm, " routines written, checksum ");
      asm.mov(eax, checksum).call("printHex");
      print(asm, "\n");
      asm.section("routines", () => {
        asm.label("wrong");
        print(asm, "rewriter: wrong result\n");
        fail(asm);
      });
    }),
});

/** Writes a routine for the seed esi at edi; leaves the rotation's count in cl and the mask in ebx. */
function writeRoutine(asm: Assembler): void {
  asm.mov(ecx, esi).shr(ecx, COUNT_SHIFT).mov(ebx, esi).not(ebx);
  asm.mov(mem8(edi, { disp: ROUTINE.ADD }), OPCODE.ADD_EAX).mov(mem(edi, { disp: ROUTINE.ADDEND }), esi);
  asm.mov(mem16(edi, { disp: ROUTINE.ROL }), OPCODE.ROL_EAX).mov(mem(edi, { disp: ROUTINE.COUNT }), cl);
  asm.mov(mem8(edi, { disp: ROUTINE.XOR }), OPCODE.XOR_EAX).mov(mem(edi, { disp: ROUTINE.MASK }), ebx);
  asm.mov(mem8(edi, { disp: ROUTINE.RET }), OPCODE.RET);
}

const checksum = mem32(addr("checksum"));
const written = mem32(addr("written"));
