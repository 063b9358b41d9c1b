// Boots Linux on v86 in a process of its own: KERNEL INITRD APPEND MEMORY_MIB BIOS VGA_BIOS. The console is standard
// output; the process ends when it is killed. v86 brings no BIOS: Debian's SeaBIOS serves.

import { fromFileUrl } from "@std/path";
import { V86 } from "v86";
import { consoleOut } from "./console_out.ts";

const [kernel, initrd, append, memoryMib, bios, vgaBios] = Deno.args;
const image = async (path: string) => ({ buffer: (await Deno.readFile(path)).buffer });

const emulator = new V86({
  wasm_path: fromFileUrl(new URL("v86.wasm", import.meta.resolve("v86"))),
  memory_size: Number(memoryMib) << 20,
  bios: await image(bios),
  vga_bios: await image(vgaBios),
  bzimage: await image(kernel),
  initrd: await image(initrd),
  cmdline: append,
  acpi: false,
  autostart: true,
});
emulator.add_listener("serial0-output-byte", consoleOut());
