// The header of a Linux bzImage, read and checked. Source: Linux Documentation/arch/x86/boot.rst, "The Real-Mode Kernel
// Header"; names and offsets are its own.

import { InputError } from "../../core/mod.ts";

/** Offsets of the setup header's fields, in the file and in the zero page. */
export const Header = {
  setup_sects: 0x1f1,
  syssize: 0x1f4,
  vid_mode: 0x1fa,
  boot_flag: 0x1fe,
  /** Low byte of the jump: the header ends this many bytes after it. */
  jump_length: 0x201,
  header: 0x202,
  version: 0x206,
  type_of_loader: 0x210,
  loadflags: 0x211,
  code32_start: 0x214,
  ramdisk_image: 0x218,
  ramdisk_size: 0x21c,
  heap_end_ptr: 0x224,
  cmd_line_ptr: 0x228,
  initrd_addr_max: 0x22c,
  kernel_alignment: 0x230,
  xloadflags: 0x236,
  cmdline_size: 0x238,
  payload_length: 0x24c,
  pref_address: 0x258,
  init_size: 0x260,
} as const;

const BOOT_FLAG = 0xaa55;
/** "HdrS", little endian. */
const HEADER_MAGIC = 0x53726448;
const LOADED_HIGH = 1;
const XLF_KERNEL_64 = 1;
const SECTOR_BYTES = 512;
const PARAGRAPH_BYTES = 16;
const DEFAULT_SETUP_SECTORS = 4;

/** Protocol versions from which a field holds. */
const Since = { commandLine: 0x0202, initrdMax: 0x0203, commandLineSize: 0x0206, initSize: 0x020a };
const SinceXloadflags = 0x020c;
/** What older protocols imply. */
const OLD_INITRD_MAX = 0x37ff_ffff, OLD_COMMAND_LINE_BYTES = 255;

export interface BzImage {
  readonly name: string;
  /** The setup header as the kernel brings it, to be copied into the zero page at `Header.setup_sects`. */
  readonly setupHeader: Uint8Array;
  /** The protected-mode part. */
  readonly kernel: Uint8Array;
  /** Where the protected-mode part is loaded and entered. */
  readonly loadAddress: number;
  /** First byte after all that the kernel occupies until it reads the memory map. */
  readonly end: number;
  /** The last byte of the initrd may not lie above this. */
  readonly initrdMax: number;
  /** Longest command line, without the final zero. */
  readonly commandLineBytes: number;
}

/** Reads a bzImage; throws InputError, one line, when it is none or cannot run here. */
export function readBzImage(file: Uint8Array, name: string): BzImage {
  const refuse = (why: string) => new InputError(`kernel ${name}: ${why}`);
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const u8 = (offset: number) => offset < file.length ? file[offset] : 0;
  const u16 = (offset: number) => u8(offset) | (u8(offset + 1) << 8);
  const u32 = (offset: number) => (u16(offset) | (u16(offset + 2) << 16)) >>> 0;

  if (file.length === 0) throw refuse("the file is empty");
  if (u32(0) === ELF_MAGIC) throw refuse("an ELF file; give the bzImage (on Debian /boot/vmlinuz-*), not vmlinux");
  if (file.length <= Header.version + 1) {
    throw refuse(`truncated: ${file.length} bytes end before the setup header; fetch it again`);
  }
  if (u16(Header.boot_flag) !== BOOT_FLAG || u32(Header.header) !== HEADER_MAGIC) {
    throw refuse(`not a Linux kernel: no "HdrS" at ${hex(Header.header)}; expected a bzImage`);
  }
  const version = u16(Header.version);
  if (version < Since.commandLine) {
    throw refuse(`boot protocol ${versionText(version)}; 2.02 or later is needed (Linux 2.4.0-test3 and later)`);
  }
  const headerEnd = Header.header + u8(Header.jump_length);
  const kernelAt = ((u8(Header.setup_sects) || DEFAULT_SETUP_SECTORS) + 1) * SECTOR_BYTES;
  const kernelBytes = u32(Header.syssize) * PARAGRAPH_BYTES;
  // Linux pads its payload to whole paragraphs; a program without one may end within its last (memtest86+ does).
  const leastBytes = kernelAt + kernelBytes - (u32(Header.payload_length) === 0 ? PARAGRAPH_BYTES - 1 : 0);
  if (file.length < leastBytes || file.length < headerEnd) {
    throw refuse(`truncated: ${file.length} bytes where its header says ${kernelAt + kernelBytes}; fetch it again`);
  }
  if ((u8(Header.loadflags) & LOADED_HIGH) === 0) throw refuse("a zImage, loaded low; expected a bzImage");
  if (version >= SinceXloadflags && (u16(Header.xloadflags) & XLF_KERNEL_64) !== 0) {
    throw refuse("a 64-bit kernel; this machine is IA-32: take a 686 one (Debian's linux-image-686)");
  }

  const loadAddress = u32(Header.code32_start);
  let end = loadAddress + kernelBytes;
  if (version >= Since.initSize) {
    if (view.getUint32(Header.pref_address + 4, true) !== 0) throw refuse("prefers to run above 4 GiB");
    const alignment = Math.max(1, u32(Header.kernel_alignment));
    const runAddress = Math.max(u32(Header.pref_address), Math.ceil(loadAddress / alignment) * alignment);
    end = Math.max(end, runAddress + u32(Header.init_size));
  }
  return {
    name,
    setupHeader: file.slice(Header.setup_sects, headerEnd),
    kernel: file.subarray(kernelAt, kernelAt + kernelBytes),
    loadAddress,
    end,
    initrdMax: version >= Since.initrdMax ? u32(Header.initrd_addr_max) : OLD_INITRD_MAX,
    commandLineBytes: version >= Since.commandLineSize ? u32(Header.cmdline_size) : OLD_COMMAND_LINE_BYTES,
  };
}

/** 0x7F "ELF", little endian. */
const ELF_MAGIC = 0x464c457f;

function versionText(version: number): string {
  return `${version >> 8}.${(version & 0xff).toString().padStart(2, "0")}`;
}

function hex(value: number): string {
  return `0x${value.toString(16)}`;
}
