// Flat programs: bytes at guest-physical addresses and an entry in real or in flat protected mode. The entry states are
// those of a boot sector that firmware jumped to, and of a small loader that has entered protected mode.

import { InputError } from "../../core/mod.ts";
import type { FlatImage } from "./services.ts";

/** Real mode: CS:IP is entry >> 4 : entry & 15, the other segments are 0. */
export const REAL_MODE_SP = 0x7c00;
/** Protected mode: flat segments, the stack below the boot sector's end. */
export const PROTECTED_MODE_ESP = 0x9000;
export const FLAT_CODE_SELECTOR = 0x08, FLAT_DATA_SELECTOR = 0x10;

const REAL_MODE_END = 0x10_0000;

/** Throws InputError unless every part and the entry lie in `memoryBytes` of memory. */
export function checkFlatImage(image: FlatImage, memoryBytes: number): void {
  for (const { address, bytes } of image.loads) {
    const end = address + bytes.length;
    if (address < 0 || end > memoryBytes) {
      throw new InputError(
        `the guest's bytes at ${hex(address)} to ${hex(end)} lie beyond its memory of ${
          mib(memoryBytes)
        }; give it more`,
      );
    }
  }
  const limit = image.mode === "real" ? Math.min(REAL_MODE_END, memoryBytes) : memoryBytes;
  if (!(image.entry >= 0 && image.entry < limit)) {
    throw new InputError(`the guest's ${image.mode}-mode entry ${hex(image.entry)} is not below ${hex(limit)}`);
  }
}

function hex(value: number): string {
  return `0x${value.toString(16)}`;
}

function mib(bytes: number): string {
  return `${bytes / (1 << 20)} MiB`;
}
