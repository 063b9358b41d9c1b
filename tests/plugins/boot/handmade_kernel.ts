// A bzImage made by hand: a setup header with the fields of boot.rst, and a protected-mode part of given bytes.

import { Header } from "../../../plugins/boot/bzimage.ts";

export const MIB = 1 << 20;
const BOOT_FLAG = 0xaa55, HEADER_MAGIC = 0x53726448;
const SETUP_SECTORS = 1;
const HEADER_END = 0x268;

export interface KernelFields {
  readonly version: number;
  readonly code: Uint8Array;
  readonly loadflags: number;
  readonly xloadflags: number;
  readonly initrdMax: number;
  readonly commandLineBytes: number;
  readonly preferred: number;
  readonly initSize: number;
}

/** A kernel like Debian's: loads at 1 MiB, unpacks itself at 16 MiB, where it needs 8 MiB. */
export function handmadeKernel(fields: Partial<KernelFields> = {}): Uint8Array {
  const {
    version = 0x20f,
    code = new Uint8Array(1024).fill(0xf4),
    loadflags = 1,
    xloadflags = 0,
    initrdMax = 0x37ff_ffff,
    commandLineBytes = 2047,
    preferred = 16 * MIB,
    initSize = 8 * MIB,
  } = fields;
  const file = new Uint8Array((SETUP_SECTORS + 1) * 512 + code.length);
  const view = new DataView(file.buffer);
  view.setUint8(Header.setup_sects, SETUP_SECTORS);
  view.setUint32(Header.syssize, code.length / 16, true);
  view.setUint16(Header.boot_flag, BOOT_FLAG, true);
  view.setUint8(Header.jump_length, HEADER_END - Header.header);
  view.setUint32(Header.header, HEADER_MAGIC, true);
  view.setUint16(Header.version, version, true);
  view.setUint8(Header.loadflags, loadflags);
  view.setUint32(Header.code32_start, MIB, true);
  view.setUint32(Header.initrd_addr_max, initrdMax, true);
  view.setUint32(Header.kernel_alignment, 16 * MIB, true);
  view.setUint16(Header.xloadflags, xloadflags, true);
  view.setUint32(Header.cmdline_size, commandLineBytes, true);
  view.setBigUint64(Header.pref_address, BigInt(preferred), true);
  view.setUint32(Header.init_size, initSize, true);
  file.set(code, (SETUP_SECTORS + 1) * 512);
  return file;
}
