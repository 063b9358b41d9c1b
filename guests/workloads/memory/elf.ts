// A program for Linux on i386 as an executable file: ELF with one segment to load, statically linked because it asks
// for nothing but the kernel (System V ABI, Intel386 supplement, chapters 4 and 5).

import type { Assembler } from "../../assembler/mod.ts";

/** Where programs are loaded, on a page's boundary; their first byte is their entry. */
export const PROGRAM_ADDRESS = 0x0804_9000;

const PAGE_BYTES = 4096, ELF_HEADER_BYTES = 52, PROGRAM_HEADER_BYTES = 32;
/** \x7fELF, 32 bits, little endian, version 1. */
const IDENTIFICATION = [0x7f, 0x45, 0x4c, 0x46, 1, 1, 1];
const ET_EXEC = 2, EM_386 = 3, EV_CURRENT = 1, PT_LOAD = 1;
/** A header that says what the stack may be used for; without it Linux makes the stack executable, and says so. */
const PT_GNU_STACK = 0x6474_e551;
const PF_READ_WRITE = 6, PF_READ_WRITE_EXECUTE = 7;
/** Offsets in the file header. */
const E_TYPE = 16, E_VERSION = 20, E_EHSIZE = 40;

/** The executable's bytes. The program was assembled at PROGRAM_ADDRESS. Throws for another address. */
export function linuxExecutable(program: Assembler): Uint8Array<ArrayBuffer> {
  const { bytes, origin } = program.assemble();
  if (origin !== PROGRAM_ADDRESS) throw new Error(`a program at ${origin}; expected it at ${PROGRAM_ADDRESS}`);
  const file = new Uint8Array(PAGE_BYTES + bytes.length), view = new DataView(file.buffer);
  file.set(IDENTIFICATION);
  halfWords(view, E_TYPE, [ET_EXEC, EM_386]);
  // Version, entry, program headers, no section headers, no flags.
  words(view, E_VERSION, [EV_CURRENT, origin, ELF_HEADER_BYTES, 0, 0]);
  halfWords(view, E_EHSIZE, [ELF_HEADER_BYTES, PROGRAM_HEADER_BYTES, 2, 0, 0, 0]);
  const { length } = bytes;
  words(view, ELF_HEADER_BYTES, [
    PT_LOAD,
    PAGE_BYTES,
    origin,
    origin,
    length,
    length,
    PF_READ_WRITE_EXECUTE,
    PAGE_BYTES,
  ]);
  words(view, ELF_HEADER_BYTES + PROGRAM_HEADER_BYTES, [PT_GNU_STACK, 0, 0, 0, 0, 0, PF_READ_WRITE, 0]);
  file.set(bytes, PAGE_BYTES);
  return file;
}

function halfWords(view: DataView, at: number, values: readonly number[]): void {
  for (const [i, value] of values.entries()) view.setUint16(at + 2 * i, value, true);
}

function words(view: DataView, at: number, values: readonly number[]): void {
  for (const [i, value] of values.entries()) view.setUint32(at + 4 * i, value, true);
}
