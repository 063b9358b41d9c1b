// Wraps a flat guest image as a 32-bit ELF executable with a multiboot header, which QEMU's -kernel loads and enters in flat
// protected mode (Multiboot Specification 0.6.96, section 3; System V ABI, chapter 4).

import type { GuestImage } from "../../../guests/guest.ts";

const ELF_HEADER_BYTES = 52, PROGRAM_HEADER_BYTES = 32, MULTIBOOT_HEADER_BYTES = 12;
const MULTIBOOT_MAGIC = 0x1bad_b002;
const ET_EXEC = 2, EM_386 = 3, EV_CURRENT = 1, PT_LOAD = 1, PF_RWX = 7;
const IDENT = [0x7f, 0x45, 0x4c, 0x46, 1, 1, EV_CURRENT, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/** The executable's bytes: headers, the multiboot header within the first 8 KiB, then one segment a load. */
export function multibootElf(image: GuestImage): Uint8Array<ArrayBuffer> {
  const { loads, entry } = image;
  const multibootAt = ELF_HEADER_BYTES + loads.length * PROGRAM_HEADER_BYTES;
  const firstSegmentAt = multibootAt + MULTIBOOT_HEADER_BYTES;
  const total = loads.reduce((sum, { bytes }) => sum + bytes.length, firstSegmentAt);
  const file = new Uint8Array(total);
  const view = new DataView(file.buffer);
  file.set(IDENT);
  words16(view, 16, [ET_EXEC, EM_386]);
  words32(view, 20, [EV_CURRENT, entry, ELF_HEADER_BYTES, 0, 0]);
  words16(view, 40, [ELF_HEADER_BYTES, PROGRAM_HEADER_BYTES, loads.length, 0, 0, 0]);
  words32(view, multibootAt, [MULTIBOOT_MAGIC, 0, -MULTIBOOT_MAGIC]);
  let at = firstSegmentAt;
  loads.forEach(({ address, bytes }, i) => {
    const header = [PT_LOAD, at, address, address, bytes.length, bytes.length, PF_RWX, 1];
    words32(view, ELF_HEADER_BYTES + i * PROGRAM_HEADER_BYTES, header);
    file.set(bytes, at);
    at += bytes.length;
  });
  return file;
}

function words16(view: DataView, at: number, values: readonly number[]): void {
  values.forEach((value, i) => view.setUint16(at + 2 * i, value, true));
}

function words32(view: DataView, at: number, values: readonly number[]): void {
  values.forEach((value, i) => view.setInt32(at + 4 * i, value, true));
}
