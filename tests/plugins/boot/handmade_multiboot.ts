// Multiboot kernels made by hand: an ELF executable or a flat file with addresses in its header, around given code.

import { MIB } from "./handmade_kernel.ts";

const HEADER_MAGIC = 0x1badb002;
const ELF_HEADER_BYTES = 52, PROGRAM_HEADER_BYTES = 32;
export const HAS_ADDRESSES = 1 << 16;

/** A Multiboot header: 12 bytes, or 32 with the addresses of header, load, load end, bss end and entry. */
export function multibootHeader(flags: number, addresses: readonly number[] = []): Uint8Array {
  const words = Uint32Array.of(HEADER_MAGIC, flags, -(HEADER_MAGIC + flags), ...addresses);
  return new Uint8Array(words.buffer);
}

export interface ElfSegment {
  readonly type?: number;
  readonly virtual?: number;
  readonly physical: number;
  readonly bytes: Uint8Array;
  readonly memoryBytes?: number;
}

/** An ELF32 executable for the 386 of the segments, one after the other from file offset 4096. */
export function elfFile(entry: number, segments: readonly ElfSegment[], machine = 3): Uint8Array {
  const start = 4096, total = segments.reduce((sum, { bytes }) => sum + bytes.length, start);
  const file = new Uint8Array(total), view = new DataView(file.buffer);
  file.set([0x7f, 0x45, 0x4c, 0x46, 1, 1, 1]);
  view.setUint16(16, 2, true);
  view.setUint16(18, machine, true);
  view.setUint32(24, entry, true);
  view.setUint32(28, ELF_HEADER_BYTES, true);
  view.setUint16(42, PROGRAM_HEADER_BYTES, true);
  view.setUint16(44, segments.length, true);
  let offset = start;
  for (const [index, { type = 1, physical, virtual = physical, bytes, memoryBytes }] of segments.entries()) {
    const at = ELF_HEADER_BYTES + index * PROGRAM_HEADER_BYTES;
    const fields = [type, offset, virtual, physical, bytes.length, memoryBytes ?? bytes.length];
    for (const [i, value] of fields.entries()) view.setUint32(at + 4 * i, value, true);
    file.set(bytes, offset);
    offset += bytes.length;
  }
  return file;
}

/** An ELF kernel at 1 MiB: its Multiboot header, then `code`, which is its entry. */
export function elfKernel(code: Uint8Array, flags = 0): Uint8Array {
  const header = multibootHeader(flags);
  return elfFile(MIB + header.length, [{ physical: MIB, bytes: Uint8Array.of(...header, ...code) }]);
}

/** A flat kernel at 1 MiB, by addresses in its header, with `bssBytes` behind it. */
export function flatKernel(code: Uint8Array, bssBytes = 0): Uint8Array {
  const end = MIB + 32 + code.length;
  return Uint8Array.of(...multibootHeader(HAS_ADDRESSES, [MIB, MIB, end, end + bssBytes, MIB + 32]), ...code);
}
