// v86, the rival: runs a guest of ours on it. Without a BIOS it starts a multiboot image in protected mode with flat
// segments, which is our guests' entry state (Multiboot Specification 0.6.96, section 3.1; guests/guest.ts).

import { fromFileUrl } from "@std/path";
import { V86 } from "v86";
import type { GuestImage } from "../guests/mod.ts";
import { type Measured, startMeasuring } from "./rates.ts";

const MAGIC = 0x1bad_b002;
/** The header holds addresses. */
const AOUT_KLUDGE = 1 << 16;
const HEADER_WORDS = 8;
const HEADER_BYTES = HEADER_WORDS * 4;
const MEMORY_BYTES = 16 << 20;
const END_OF_OUTPUT = "\n".charCodeAt(0);

/** The image with a multiboot header before it. */
export function multiboot({ loads, entry, mode }: GuestImage): Uint8Array<ArrayBuffer> {
  const [{ address, bytes }] = loads;
  if (loads.length !== 1 || mode !== "protected") throw new Error("expected one load in protected mode");
  const file = new Uint8Array(HEADER_BYTES + bytes.length);
  const start = address - HEADER_BYTES, end = address + bytes.length;
  const header = [MAGIC, AOUT_KLUDGE, -(MAGIC + AOUT_KLUDGE), start, start, end, end, entry];
  for (const [i, word] of header.entries()) new DataView(file.buffer).setInt32(4 * i, word | 0, true);
  file.set(bytes, HEADER_BYTES);
  return file;
}

/** Runs a guest until it has printed a line; returns that, and its instructions by v86's own counter. */
export async function runOnV86(image: GuestImage, useJit: boolean): Promise<Measured & { readonly output: string }> {
  const emulator = new V86({
    wasm_path: fromFileUrl(new URL("v86.wasm", import.meta.resolve("v86"))),
    memory_size: MEMORY_BYTES,
    multiboot: { buffer: multiboot(image).buffer },
    disable_jit: !useJit,
    autostart: false,
  });
  await new Promise<void>((resolve) => emulator.add_listener("emulator-ready", () => resolve()));
  const printed: number[] = [];
  const done = Promise.withResolvers<Measured>();
  emulator.add_listener("serial0-output-byte", (byte: number) => {
    printed.push(byte);
    if (byte === END_OF_OUTPUT) done.resolve(stopMeasuring(emulator.get_instruction_counter()));
  });
  const stopMeasuring = startMeasuring();
  await emulator.run();
  const measured = await done.promise;
  await emulator.destroy();
  return { ...measured, output: String.fromCharCode(...printed) };
}
