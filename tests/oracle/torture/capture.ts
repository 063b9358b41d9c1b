// Records what the torture guest prints under two emulators that nobody here wrote, QEMU's TCG and Bochs, into
// tests/fixtures/torture/<oracle>/<section>.txt. Run it after any change of the guest, with Debian's packages qemu-system-x86,
// bochs and bochs-term installed:
//
//   deno run --allow-read --allow-write --allow-run --allow-env tests/oracle/torture/capture.ts [SECTION...]
//
// QEMU's processor is its Pentium III less what ours does not describe: family 6 model 8 with fpu de pse tsc msr pae cx8 sep pge
// cmov. It does not check segment limits and types on accesses; Bochs does. The fixtures came from QEMU 7.2 and Bochs 2.7.

import { join } from "@std/path";
import type { GuestImage } from "../../../guests/guest.ts";
import { multibootElf } from "./elf.ts";
import { bootRom } from "./rom.ts";
import { MEMORY_MIB, type Oracle, sections } from "./sections.ts";

const QEMU_CPU = "pentium3,-vme,-mce,-apic,-mtrr,-mca,-pat,-pse36,-mmx,-fxsr,-sse";
const TIMEOUT_SECONDS = 120;
const SECTOR_BYTES = 512, VIDEO_ROM_BYTES = 0x8000, BOCHS_BLOCK_BYTES = 0x2_0000;

/** How to run an image: arguments after `timeout`, and what the program reads from its standard input. */
interface Invocation {
  readonly args: readonly string[];
  readonly stdin: string;
}

/** Writes what the emulator loads into `folder`; its serial port's file is `serial`. */
const prepare: Readonly<Record<Oracle, (image: GuestImage, folder: string, serial: string) => Promise<Invocation>>> = {
  async qemu(image, folder, serial) {
    const kernel = join(folder, "torture.elf");
    await Deno.writeFile(kernel, multibootElf(image));
    const args = [
      ...["qemu-system-i386", "-accel", "tcg", "-cpu", QEMU_CPU, "-m", String(MEMORY_MIB), "-display", "none"],
      ...["-no-reboot", "-nodefaults", "-serial", `file:${serial}`],
      ...["-device", "isa-debug-exit,iobase=0xf4,iosize=0x04", "-kernel", kernel],
    ];
    return { args, stdin: "" };
  },
  async bochs(image, folder, serial) {
    const rom = join(folder, "rom.bin"), video = join(folder, "video.bin");
    await Deno.writeFile(rom, bootRom(image.entry));
    await Deno.writeFile(video, new Uint8Array(VIDEO_ROM_BYTES));
    const lines = [
      `megs: ${MEMORY_MIB}`,
      `romimage: file=${rom}, address=0xffff0000`,
      `vgaromimage: file=${video}`,
      "cpu: model=p3_katmai, ips=1000000, reset_on_triple_fault=0, ignore_bad_msrs=0",
      `display_library: rfb, options="timeout=0"`,
      `com1: enabled=1, mode=file, dev=${serial}`,
      `log: ${join(folder, "log.txt")}`,
      ...["panic: action=fatal", "error: action=ignore", "info: action=ignore", "debug: action=ignore"],
    ];
    for (const [i, { address, bytes }] of blocksOf(image).entries()) {
      const file = join(folder, `ram${i}.bin`);
      const padded = new Uint8Array(Math.ceil(bytes.length / SECTOR_BYTES) * SECTOR_BYTES);
      padded.set(bytes);
      await Deno.writeFile(file, padded);
      lines.push(`optramimage${i + 1}: file=${file}, address=0x${address.toString(16)}`);
    }
    const config = join(folder, "bochsrc");
    await Deno.writeTextFile(config, lines.join("\n") + "\n");
    // Debian's Bochs has the debugger built in, which waits for its first command.
    return { args: ["bochs", "-q", "-f", config], stdin: "continue\n" };
  },
};

/** The image in pieces that Bochs can load: its memory is in blocks of 128 KiB, and an image must not cross one's end. */
function blocksOf({ loads }: GuestImage): GuestImage["loads"] {
  return loads.flatMap(({ address, bytes }) => {
    const blocks: { address: number; bytes: Uint8Array }[] = [];
    for (let at = 0; at < bytes.length;) {
      const end = Math.min(bytes.length, at + BOCHS_BLOCK_BYTES - ((address + at) % BOCHS_BLOCK_BYTES));
      blocks.push({ address: address + at, bytes: bytes.subarray(at, end) });
      at = end;
    }
    return blocks;
  });
}

/** Runs one section's image; returns what it printed. Throws where the guest did not reach its end. */
export async function capture(oracle: Oracle, section: string, image: GuestImage): Promise<string> {
  const folder = await Deno.makeTempDir({ prefix: "torture-" });
  try {
    const serial = join(folder, "serial.txt");
    const { args, stdin } = await prepare[oracle](image, folder, serial);
    const child = new Deno.Command("timeout", {
      args: [String(TIMEOUT_SECONDS), ...args],
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    const writer = child.stdin.getWriter();
    await writer.write(new TextEncoder().encode(stdin));
    await writer.close();
    const { code, stderr } = await child.output();
    const text = await Deno.readTextFile(serial);
    if (text.endsWith("end\n")) return text;
    const tail = text.slice(text.length - 400);
    throw new Error(`${oracle}, section ${section}: status ${code}\n${new TextDecoder().decode(stderr)}\n...${tail}`);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

if (import.meta.main) {
  const chosen = Deno.args.length === 0 ? Object.keys(sections) : Deno.args;
  for (const name of chosen) {
    const section = sections[name];
    if (section === undefined) {
      throw new Error(`no section ${name}; expected one of ${Object.keys(sections).join(", ")}`);
    }
    for (const oracle of section.oracles) {
      const text = await capture(oracle, name, section.build());
      const folder = new URL(`../../fixtures/torture/${oracle}/`, import.meta.url);
      await Deno.mkdir(folder, { recursive: true });
      await Deno.writeTextFile(new URL(`${name}.txt`, folder), text);
      console.log(`${oracle} ${name}: ${text.split("\n").length - 2} cases`);
    }
  }
}
