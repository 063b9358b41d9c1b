// Where a Multiboot kernel, its modules and the boot information go in a VM's memory. Source: Multiboot Specification 0.6.96,
// sections 3.1 (OS image format), 3.2 (machine state) and 3.3 (boot information format); names are its own.

import { InputError } from "../../core/mod.ts";
import { isElf, readElfSegments, type Segment } from "./elf.ts";
import { memoryMap } from "./linux.ts";
import type { MultibootSource, TextScreenMode } from "./services.ts";

/** What the kernel finds in EAX. */
export const MULTIBOOT_BOOTLOADER_MAGIC = 0x2badb002;

/** What to copy where, and the registers at the entry. */
export interface MultibootLayout {
  readonly loads: readonly { readonly address: number; readonly bytes: Uint8Array }[];
  readonly entry: number;
  /** Address of the boot information, for EBX. */
  readonly information: number;
}

/** Where the header may lie, and what it starts with. */
const SEARCH_BYTES = 8192, HEADER_MAGIC = 0x1badb002, HEADER_ALIGNMENT = 4;
const HEADER_BYTES = 12, ADDRESSED_HEADER_BYTES = 32;
const Header = { flags: 4, checksum: 8, header_addr: 12, load_addr: 16, load_end_addr: 20, bss_end_addr: 24 } as const;
const HEADER_ENTRY_ADDR = 28;
/** Header flags: a loader must refuse those below bit 16 that it cannot honour. */
const HeaderFlag = { PAGE_ALIGN: 1, MEMORY_INFO: 2, VIDEO_MODE: 4, HAS_ADDRESSES: 1 << 16 } as const;
const REQUIRED_FLAGS = 0xffff, HONOURED_FLAGS = HeaderFlag.PAGE_ALIGN | HeaderFlag.MEMORY_INFO | HeaderFlag.VIDEO_MODE;

/** Boot information: offsets and flags. */
export const Information = {
  flags: 0,
  mem_lower: 4,
  mem_upper: 8,
  cmdline: 16,
  mods_count: 20,
  mods_addr: 24,
  mmap_length: 44,
  mmap_addr: 48,
  boot_loader_name: 64,
  framebuffer_addr: 88,
  framebuffer_pitch: 96,
  framebuffer_width: 100,
  framebuffer_height: 104,
  framebuffer_bpp: 108,
  framebuffer_type: 109,
} as const;
export const InformationFlag = {
  MEMORY: 1,
  CMDLINE: 4,
  MODULES: 8,
  MEMORY_MAP: 64,
  LOADER_NAME: 512,
  FRAMEBUFFER: 4096,
} as const;
const INFORMATION_BYTES = 120, MODULE_BYTES = 16, MAP_ENTRY_BYTES = 24;
/** The size field of a map entry does not count itself. */
const MAP_ENTRY_SIZE = 20;
const LOADER_NAME = "Ballast";
/** A framebuffer of characters with attributes, whose sizes count characters. */
const FRAMEBUFFER_EGA_TEXT = 2, CELL_BITS = 16;

const PAGE_BYTES = 4096, KIB_BYTES = 1024, MIB_BYTES = 1 << 20;
/** Conventional memory that the boot information may take: above the vectors and the BIOS data area, below the EBDA. */
const LOW_MEMORY_START = 0x1000, LOW_MEMORY_END = 0x9_fc00;
const HIGH_MEMORY_START = 0x10_0000;
/** Memory from here to 1 MiB is the adapters', and from here up the PCI bus's. */
const ADAPTERS_START = 0xa_0000, DEVICE_MEMORY_START = 0xe000_0000;

/** Offset of a valid Multiboot header in a file, or undefined. */
export function findMultibootHeader(file: Uint8Array): number | undefined {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const last = Math.min(file.length, SEARCH_BYTES) - HEADER_BYTES;
  for (let at = 0; at <= last; at += HEADER_ALIGNMENT) {
    if (view.getUint32(at, true) !== HEADER_MAGIC) continue;
    const sum = HEADER_MAGIC + view.getUint32(at + Header.flags, true) + view.getUint32(at + Header.checksum, true);
    if (sum % 0x1_0000_0000 === 0) return at;
  }
  return undefined;
}

/**
 * Lays a kernel out in `memoryBytes` of memory, and tells it of the text screen, if there is one. Throws InputError, with
 * the arithmetic, for what does not fit.
 */
export function layOutMultiboot(
  source: MultibootSource,
  memoryBytes: number,
  screen?: TextScreenMode,
): MultibootLayout {
  const { kernelName } = source, memoryEnd = Math.min(memoryBytes, DEVICE_MEMORY_START);
  const refuse = (why: string) => new InputError(`kernel ${kernelName}: ${why}`);
  const { segments, entry } = readImage(source.kernel, refuse);
  for (const { address, sizeBytes } of segments) {
    const end = address + sizeBytes;
    if (end > memoryEnd || (address < HIGH_MEMORY_START && end > ADAPTERS_START)) {
      throw refuse(
        `its part at ${hex(address)} to ${hex(end)} does not lie in memory, which goes to ${
          hex(ADAPTERS_START)
        } and from ` +
          `${hex(HIGH_MEMORY_START)} to ${hex(memoryEnd)}` + (end > memoryEnd ? "; give the VM more" : ""),
      );
    }
  }
  if (!segments.some(({ address, sizeBytes }) => entry >= address && entry < address + sizeBytes)) {
    throw refuse(`its entry ${hex(entry)} is in no part that is loaded`);
  }
  const modules = placeModules(source, segments, memoryEnd);
  const information = placeInformation(source, modules, segments, memoryEnd, screen);
  return {
    loads: [
      ...segments.flatMap(({ address, bytes, sizeBytes }) => [
        { address, bytes },
        // Memory is zero at power-on; what another part left here before is not.
        ...(sizeBytes > bytes.length
          ? [{ address: address + bytes.length, bytes: new Uint8Array(sizeBytes - bytes.length) }]
          : []),
      ]),
      ...modules,
      information,
    ],
    entry,
    information: information.address,
  };
}

type Load = { readonly address: number; readonly bytes: Uint8Array };
type Refuse = (why: string) => InputError;

/** The parts of a kernel and its entry, by the header's own addresses if it gives them, else by ELF. */
function readImage(file: Uint8Array, refuse: Refuse): { segments: readonly Segment[]; entry: number } {
  const at = findMultibootHeader(file);
  if (at === undefined) throw refuse(`no Multiboot header in its first ${SEARCH_BYTES} bytes`);
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const flags = view.getUint32(at + Header.flags, true);
  const unknown = flags & REQUIRED_FLAGS & ~HONOURED_FLAGS;
  if (unknown !== 0) throw refuse(`its Multiboot header requires flags ${hex(unknown)}, which no one knows`);
  if ((flags & HeaderFlag.HAS_ADDRESSES) !== 0) return readAddressed(file, at, refuse);
  if (isElf(file)) return readElfSegments(file, refuse);
  throw refuse("its Multiboot header gives no addresses (flag 16), and the file is no ELF");
}

/** Section 3.1.3: the header says what of the file goes where. */
function readAddressed(file: Uint8Array, at: number, refuse: Refuse): { segments: Segment[]; entry: number } {
  if (at + ADDRESSED_HEADER_BYTES > file.length) throw refuse("its Multiboot header is cut off");
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const field = (offset: number) => view.getUint32(at + offset, true);
  const loadAddress = field(Header.load_addr), headerAddress = field(Header.header_addr);
  const start = at - (headerAddress - loadAddress);
  if (headerAddress < loadAddress || start < 0) {
    throw refuse(`its Multiboot header loads ${hex(loadAddress)}, which lies before the file or after the header`);
  }
  // Zero means all of the file, and no memory after it.
  const loadEnd = field(Header.load_end_addr) || loadAddress + file.length - start;
  const end = Math.max(loadEnd, field(Header.bss_end_addr));
  const loadedBytes = loadEnd - loadAddress;
  if (loadedBytes < 0 || start + loadedBytes > file.length) {
    throw refuse(
      `its Multiboot header loads up to ${hex(loadEnd)}, which the file of ${file.length} bytes does not reach`,
    );
  }
  const bytes = file.subarray(start, start + loadedBytes);
  return {
    segments: [{ address: loadAddress, bytes, sizeBytes: end - loadAddress }],
    entry: field(HEADER_ENTRY_ADDR),
  };
}

/** One after the other on page boundaries, above the kernel. */
function placeModules({ modules = [], kernelName }: MultibootSource, kernel: readonly Segment[], end: number): Load[] {
  const kernelEnd = kernel.reduce((most, { address, sizeBytes }) => Math.max(most, address + sizeBytes), 0);
  let next = Math.max(HIGH_MEMORY_START, kernelEnd);
  return modules.map(({ bytes, text }, index) => {
    const address = Math.ceil(next / PAGE_BYTES) * PAGE_BYTES;
    next = address + bytes.length;
    if (next > end) {
      throw new InputError(
        `module ${index + 1} (${text ?? "unnamed"}) of kernel ${kernelName} takes memory from ${hex(address)} to ` +
          `${hex(next)}; the VM's goes to ${hex(end)}: give it at least ${Math.ceil(next / MIB_BYTES)} MiB`,
      );
    }
    return { address, bytes };
  });
}

/** The boot information and all that it points to, in one piece where the kernel and its modules leave room. */
function placeInformation(
  source: MultibootSource,
  modules: readonly Load[],
  kernel: readonly Segment[],
  memoryEnd: number,
  screen: TextScreenMode | undefined,
): Load {
  const texts = [source.append ?? "", LOADER_NAME, ...(source.modules ?? []).map(({ text }) => text ?? "")];
  const strings = texts.map((text) => {
    if (text.includes("\0")) throw new InputError("the command line of a kernel or module holds a zero byte");
    return new TextEncoder().encode(`${text}\0`);
  });
  const map = memoryMap(memoryEnd);
  const modulesAt = INFORMATION_BYTES, mapAt = modulesAt + modules.length * MODULE_BYTES;
  const stringsAt = mapAt + map.length * MAP_ENTRY_BYTES;
  const bytes = new Uint8Array(strings.reduce((sum, { length }) => sum + length, stringsAt));
  const base = findRoom(bytes.length, [
    ...kernel,
    ...modules.map((load) => ({ address: load.address, sizeBytes: load.bytes.length })),
  ], memoryEnd);

  const view = new DataView(bytes.buffer);
  const put = (at: number, value: number) => view.setUint32(at, value, true);
  let next = stringsAt;
  const stringAddresses = strings.map((text) => {
    const at = next;
    bytes.set(text, at);
    next += text.length;
    return base + at;
  });
  const { MEMORY, CMDLINE, MODULES, MEMORY_MAP, LOADER_NAME: NAME } = InformationFlag;
  put(Information.flags, MEMORY | CMDLINE | MODULES | MEMORY_MAP | NAME);
  put(Information.mem_lower, LOW_MEMORY_END / KIB_BYTES);
  put(Information.mem_upper, Math.max(0, memoryEnd - HIGH_MEMORY_START) / KIB_BYTES);
  put(Information.cmdline, stringAddresses[0]);
  put(Information.boot_loader_name, stringAddresses[1]);
  put(Information.mods_count, modules.length);
  put(Information.mods_addr, base + modulesAt);
  for (const [index, module] of modules.entries()) {
    const at = modulesAt + index * MODULE_BYTES;
    put(at, module.address);
    put(at + 4, module.address + module.bytes.length);
    put(at + 8, stringAddresses[2 + index]);
  }
  if (screen !== undefined) {
    put(Information.flags, view.getUint32(Information.flags, true) | InformationFlag.FRAMEBUFFER);
    put(Information.framebuffer_addr, screen.address);
    put(Information.framebuffer_pitch, screen.columns * CELL_BITS / 8);
    put(Information.framebuffer_width, screen.columns);
    put(Information.framebuffer_height, screen.rows);
    bytes[Information.framebuffer_bpp] = CELL_BITS;
    bytes[Information.framebuffer_type] = FRAMEBUFFER_EGA_TEXT;
  }
  put(Information.mmap_addr, base + mapAt);
  put(Information.mmap_length, map.length * MAP_ENTRY_BYTES);
  for (const [index, [address, size, type]] of map.entries()) {
    const at = mapAt + index * MAP_ENTRY_BYTES;
    put(at, MAP_ENTRY_SIZE);
    view.setBigUint64(at + 4, BigInt(address), true);
    view.setBigUint64(at + 12, BigInt(size), true);
    put(at + 20, type);
  }
  return { address: base, bytes };
}

interface Taken {
  readonly address: number;
  readonly sizeBytes: number;
}

/** The lowest page boundary in usable memory at which `bytes` bytes are free. */
function findRoom(bytes: number, taken: readonly Taken[], memoryEnd: number): number {
  const ranges = [[LOW_MEMORY_START, Math.min(LOW_MEMORY_END, memoryEnd)], [HIGH_MEMORY_START, memoryEnd]];
  for (const [first, end] of ranges) {
    let at = first;
    for (let moved = true; moved;) {
      const other = taken.find((range) => at < range.address + range.sizeBytes && range.address < at + bytes);
      moved = other !== undefined;
      if (other !== undefined) at = Math.ceil((other.address + other.sizeBytes) / PAGE_BYTES) * PAGE_BYTES;
    }
    if (at + bytes <= end) return at;
  }
  throw new InputError(
    `no room for ${bytes} bytes of boot information beside the kernel and its modules; give the VM more`,
  );
}

function hex(value: number): string {
  return `0x${value.toString(16)}`;
}
