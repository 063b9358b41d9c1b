// Where a Linux kernel, its initrd, command line and boot parameters go in a VM's memory, by the 32-bit boot protocol.
// Source: Linux Documentation/arch/x86/boot.rst, "32-bit Boot Protocol", and zero-page.rst; names are theirs.

import { InputError } from "../../core/mod.ts";
import { type BzImage, Header, readBzImage } from "./bzimage.ts";
import type { LinuxSource, TextScreenMode } from "./services.ts";

/** What to copy where, and the registers at the entry. */
export interface LinuxLayout {
  readonly loads: readonly { readonly address: number; readonly bytes: Uint8Array }[];
  /** Entry of the protected-mode part. */
  readonly eip: number;
  /** Address of the zero page, for ESI. */
  readonly bootParams: number;
  readonly gdt: { readonly base: number; readonly limit: number };
}

/** Selectors that the protocol names, and the descriptors behind them: flat 4 GiB, execute/read and read/write. */
export const BOOT_CS = 0x10, BOOT_DS = 0x18;
const FLAT_CODE = 0x00cf_9a00_0000_ffffn, FLAT_DATA = 0x00cf_9200_0000_ffffn;

/** Type of an E820 range. */
export const E820 = { usable: 1, reserved: 2 } as const;

/** Low memory: what the loader leaves for the kernel, all below the EBDA. */
const GDT_ADDRESS = 0x1000;
const BOOT_PARAMS_ADDRESS = 0x7000;
const COMMAND_LINE_ADDRESS = 0x2_0000;
/** Conventional memory ends here, where a PC keeps its extended BIOS data area. */
const LOW_MEMORY_END = 0x9_fc00;
const BIOS_START = 0xf_0000;
const HIGH_MEMORY_START = 0x10_0000;
/** Memory from here up is hidden by device memory. */
const DEVICE_MEMORY_START = 0xe000_0000;

const PAGE_BYTES = 4096;
const MIB_BYTES = 1 << 20;
const ZERO_PAGE_BYTES = 4096;
/** Fields of the zero page beside the setup header; the first ones are those of its struct screen_info. */
const ORIG_VIDEO_MODE = 0x006, ORIG_VIDEO_COLS = 0x007, ORIG_VIDEO_EGA_BX = 0x00a, ORIG_VIDEO_LINES = 0x00e;
const ORIG_VIDEO_IS_VGA = 0x00f, ORIG_VIDEO_POINTS = 0x010;
const E820_ENTRIES = 0x1e8, E820_TABLE = 0x2d0, E820_ENTRY_BYTES = 20;
/** "Unknown boot loader without an assigned id". */
const LOADER_TYPE = 0xff;
const VID_MODE_NORMAL = 0xffff;
/** A graphics mode that the text console refuses, so that the kernel does not look for a VGA adapter that is not there. */
const NO_TEXT_MODE = 0x12;
/** The BIOS's 80 x 25 colour text mode; and what it says in BX of an adapter with 256 KiB. */
const TEXT_MODE_3 = 3, EGA_BX_256_KIB = 3;

/**
 * Lays a kernel out in `memoryBytes` of memory, and tells it of the text screen, if there is one. Throws InputError, with
 * the arithmetic, for what does not fit.
 */
export function layOutLinux(source: LinuxSource, memoryBytes: number, screen?: TextScreenMode): LinuxLayout {
  const kernel = readBzImage(source.kernel, source.kernelName);
  const memoryEnd = Math.min(memoryBytes, DEVICE_MEMORY_START);
  if (kernel.end > memoryEnd) {
    throw new InputError(
      `kernel ${kernel.name} needs memory up to ${mib(kernel.end)} to unpack itself; the VM has ${mib(memoryEnd)}: ` +
        `give it at least ${Math.ceil(kernel.end / MIB_BYTES)} MiB`,
    );
  }
  const commandLine = encodeCommandLine(source.append ?? "", kernel);
  const initrd = placeInitrd(source, kernel, memoryEnd);
  const loads = [
    { address: GDT_ADDRESS, bytes: gdt() },
    { address: BOOT_PARAMS_ADDRESS, bytes: zeroPage(kernel, initrd, memoryEnd, screen) },
    { address: COMMAND_LINE_ADDRESS, bytes: commandLine },
    { address: kernel.loadAddress, bytes: kernel.kernel },
  ];
  if (initrd !== undefined) loads.push(initrd);
  const gdtLimit = BOOT_DS + 7;
  return {
    loads,
    eip: kernel.loadAddress,
    bootParams: BOOT_PARAMS_ADDRESS,
    gdt: { base: GDT_ADDRESS, limit: gdtLimit },
  };
}

/** The memory map of a VM: [address, size, type]. */
export function memoryMap(memoryEnd: number): [number, number, number][] {
  return [
    [0, LOW_MEMORY_END, E820.usable],
    [BIOS_START, HIGH_MEMORY_START - BIOS_START, E820.reserved],
    [HIGH_MEMORY_START, memoryEnd - HIGH_MEMORY_START, E820.usable],
  ];
}

type Load = { readonly address: number; readonly bytes: Uint8Array };

function encodeCommandLine(append: string, kernel: BzImage): Uint8Array {
  const bytes = new TextEncoder().encode(`${append}\0`);
  const length = bytes.length - 1;
  const most = Math.min(kernel.commandLineBytes, LOW_MEMORY_END - COMMAND_LINE_ADDRESS - 1);
  if (length > most) {
    throw new InputError(`the kernel command line has ${length} bytes; kernel ${kernel.name} takes at most ${most}`);
  }
  if (append.includes("\0")) throw new InputError("the kernel command line holds a zero byte");
  return bytes;
}

/** At the top of what the kernel can reach, on a page boundary. */
function placeInitrd({ initrd, initrdName }: LinuxSource, kernel: BzImage, memoryEnd: number): Load | undefined {
  if (initrd === undefined || initrd.length === 0) return undefined;
  const top = Math.min(memoryEnd, kernel.initrdMax + 1);
  const address = Math.floor((top - initrd.length) / PAGE_BYTES) * PAGE_BYTES;
  if (address < kernel.end) {
    const bounded = top < memoryEnd;
    const needed = Math.ceil((kernel.end + initrd.length + PAGE_BYTES) / MIB_BYTES);
    throw new InputError(
      `initrd ${initrdName ?? ""} of ${mib(initrd.length)} does not fit: kernel ${kernel.name} takes all up to ` +
        `${mib(kernel.end)} of ${mib(top)}, which leaves ${mib(Math.max(0, top - kernel.end))}; ` +
        (bounded ? "the kernel reaches no higher: make the initrd smaller" : `give the VM at least ${needed} MiB`),
    );
  }
  return { address, bytes: initrd };
}

function gdt(): Uint8Array {
  const bytes = new Uint8Array(BOOT_DS + 8);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(BOOT_CS, FLAT_CODE, true);
  view.setBigUint64(BOOT_DS, FLAT_DATA, true);
  return bytes;
}

function zeroPage(
  kernel: BzImage,
  initrd: Load | undefined,
  memoryEnd: number,
  screen: TextScreenMode | undefined,
): Uint8Array {
  const page = new Uint8Array(ZERO_PAGE_BYTES);
  const view = new DataView(page.buffer);
  page.set(kernel.setupHeader, Header.setup_sects);
  if (screen === undefined) page[ORIG_VIDEO_MODE] = NO_TEXT_MODE;
  else {
    page[ORIG_VIDEO_MODE] = TEXT_MODE_3;
    page[ORIG_VIDEO_COLS] = screen.columns;
    page[ORIG_VIDEO_LINES] = screen.rows;
    page[ORIG_VIDEO_POINTS] = screen.characterLines;
    page[ORIG_VIDEO_EGA_BX] = EGA_BX_256_KIB;
    page[ORIG_VIDEO_IS_VGA] = 1;
  }
  page[Header.type_of_loader] = LOADER_TYPE;
  view.setUint16(Header.vid_mode, VID_MODE_NORMAL, true);
  view.setUint32(Header.cmd_line_ptr, COMMAND_LINE_ADDRESS, true);
  view.setUint32(Header.ramdisk_image, initrd?.address ?? 0, true);
  view.setUint32(Header.ramdisk_size, initrd?.bytes.length ?? 0, true);
  const map = memoryMap(memoryEnd);
  page[E820_ENTRIES] = map.length;
  for (const [index, [address, size, type]] of map.entries()) {
    const at = E820_TABLE + index * E820_ENTRY_BYTES;
    view.setBigUint64(at, BigInt(address), true);
    view.setBigUint64(at + 8, BigInt(size), true);
    view.setUint32(at + 16, type, true);
  }
  return page;
}

function mib(bytes: number): string {
  return `${Math.ceil((bytes / MIB_BYTES) * 10) / 10} MiB`;
}
