// The loadable segments of an ELF32 executable for i386, by physical address. Source: Tool Interface Standard ELF
// Specification 1.2, book I, "Object Files" and "Program Loading"; names are its own.

import type { InputError } from "../../core/mod.ts";

/** A part of a program: `bytes` at `address`, and zeros up to `sizeBytes`. */
export interface Segment {
  readonly address: number;
  readonly bytes: Uint8Array;
  readonly sizeBytes: number;
}

/** 0x7F "ELF", little endian. */
const MAGIC = 0x464c457f;
const ELFCLASS32 = 1, ELFDATA2LSB = 1, ET_EXEC = 2, EM_386 = 3, PT_LOAD = 1;
const FileHeader = {
  class: 4,
  data: 5,
  e_type: 16,
  e_machine: 18,
  e_entry: 24,
  e_phoff: 28,
  e_phentsize: 42,
  e_phnum: 44,
};
const FILE_HEADER_BYTES = 52;
const ProgramHeader = { p_type: 0, p_offset: 4, p_vaddr: 8, p_paddr: 12, p_filesz: 16, p_memsz: 20 };
const PROGRAM_HEADER_BYTES = 32;

export function isElf(file: Uint8Array): boolean {
  return file.length >= FILE_HEADER_BYTES && new DataView(file.buffer, file.byteOffset).getUint32(0, true) === MAGIC;
}

/**
 * The segments to load, and the physical address of the entry: a virtual one is carried over with the segment that it
 * lies in. Throws what `refuse` makes of a reason.
 */
export function readElfSegments(
  file: Uint8Array,
  refuse: (why: string) => InputError,
): { segments: Segment[]; entry: number } {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const u16 = (at: number) => view.getUint16(at, true), u32 = (at: number) => view.getUint32(at, true);
  if (file[FileHeader.class] !== ELFCLASS32 || file[FileHeader.data] !== ELFDATA2LSB) {
    throw refuse("a 64-bit or big-endian ELF file; this machine is IA-32");
  }
  if (u16(FileHeader.e_type) !== ET_EXEC || u16(FileHeader.e_machine) !== EM_386) {
    throw refuse("an ELF file, but no executable for the 386");
  }
  const table = u32(FileHeader.e_phoff), entryBytes = u16(FileHeader.e_phentsize), count = u16(FileHeader.e_phnum);
  if (entryBytes < PROGRAM_HEADER_BYTES || table + count * entryBytes > file.length) {
    throw refuse("its ELF program headers lie outside the file");
  }
  const segments: Segment[] = [];
  const virtualEntry = u32(FileHeader.e_entry);
  let entry = virtualEntry;
  for (let index = 0; index < count; index++) {
    const at = table + index * entryBytes;
    if (u32(at + ProgramHeader.p_type) !== PT_LOAD) continue;
    const address = u32(at + ProgramHeader.p_paddr), sizeBytes = u32(at + ProgramHeader.p_memsz);
    const offset = u32(at + ProgramHeader.p_offset), fileBytes = u32(at + ProgramHeader.p_filesz);
    if (sizeBytes === 0) continue;
    if (fileBytes > sizeBytes || offset + fileBytes > file.length) {
      throw refuse(`its ELF segment ${index} takes ${fileBytes} bytes at ${offset} of a file of ${file.length}`);
    }
    segments.push({ address, sizeBytes, bytes: file.subarray(offset, offset + fileBytes) });
    const virtual = u32(at + ProgramHeader.p_vaddr);
    if (virtualEntry >= virtual && virtualEntry < virtual + sizeBytes) entry = address + (virtualEntry - virtual);
  }
  if (segments.length === 0) throw refuse("its ELF file has nothing to load");
  return { segments, entry };
}
