// Readers of symbol files: the text of System.map and /proc/kallsyms (`nm` writes the same: proc(5), nm(1)), and the symbol
// table of a 32-bit ELF file (System V ABI, chapter 4, and its Intel386 supplement).

import { InputError } from "../../core/mod.ts";
import type { Symbol } from "./table.ts";

/** Reads a file of symbols, whichever kind it is. Throws InputError, naming the file, for one that has none. */
export function readSymbols(file: Uint8Array, name: string): Symbol[] {
  const symbols = isElf(file) ? readElf(file, name) : readMap(new TextDecoder().decode(file), name);
  if (symbols.length === 0) throw new InputError(`symbols ${name}: there are none in it`);
  return symbols;
}

/** Symbol types of nm(1) that are no addresses: absolute (per-CPU offsets, constants), undefined, debugging. */
const NO_ADDRESS = /^[AaUNw?-]$/;

/** Lines of `c1000000 T startup_32 [module]`. */
function readMap(text: string, file: string): Symbol[] {
  const symbols: Symbol[] = [];
  for (const [index, line] of text.split("\n").entries()) {
    if (line.trim() === "") continue;
    const match = /^([0-9a-fA-F]{8}|[0-9a-fA-F]{16})\s+(\S)\s+(\S+)(?:\s+\[\S+\])?\s*$/.exec(line);
    if (match === null) {
      throw new InputError(`symbols ${file}:${index + 1}: "${line.slice(0, 40)}"; expected ADDRESS TYPE NAME, or ELF`);
    }
    const [, address, type, name] = match;
    if (!NO_ADDRESS.test(type)) symbols.push({ name, address: parseInt(address, 16) });
  }
  if (symbols.length > 0 && symbols.every(({ address }) => address === 0)) {
    throw new InputError(`symbols ${file}: every address is 0; /proc/kallsyms shows them to root alone`);
  }
  return symbols;
}

/** ELF header and section header fields (System V ABI, figures 4-3 and 4-8), little endian, 32 bits. */
const Elf = { magic: 0x464c457f, class: 4, class32: 1, shoff: 32, shentsize: 46, shnum: 48 } as const;
const Section = { type: 4, offset: 16, size: 20, link: 24, entsize: 36, symtab: 2, dynsym: 11 } as const;
/** Symbol table entries (figure 4-15): types NOTYPE, OBJECT and FUNC name addresses; section 0 is undefined. */
const Sym = { bytes: 16, value: 4, info: 12, section: 14, lastAddressType: 2, absolute: 0xfff1 } as const;

function isElf(file: Uint8Array): boolean {
  return file.length >= 4 && new DataView(file.buffer, file.byteOffset).getUint32(0, true) === Elf.magic;
}

function readElf(file: Uint8Array, name: string): Symbol[] {
  if (file[Elf.class] !== Elf.class32) throw new InputError(`symbols ${name}: not a 32-bit ELF file`);
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  try {
    const start = view.getUint32(Elf.shoff, true), step = view.getUint16(Elf.shentsize, true);
    const sections = Array.from({ length: view.getUint16(Elf.shnum, true) }, (_, i) => start + i * step);
    const tables = sections.filter((at) => view.getUint32(at + Section.type, true) === Section.symtab);
    const chosen = tables.length > 0
      ? tables
      : sections.filter((at) => view.getUint32(at + Section.type, true) === Section.dynsym);
    return chosen.flatMap((at) => {
      const strings = view.getUint32(sections[view.getUint32(at + Section.link, true)] + Section.offset, true);
      return readElfTable(view, at, strings);
    });
  } catch (cause) {
    if (!(cause instanceof RangeError) && !(cause instanceof TypeError)) throw cause;
    throw new InputError(`symbols ${name}: the ELF file is damaged or cut off`, { cause });
  }
}

function readElfTable(view: DataView, section: number, strings: number): Symbol[] {
  const offset = view.getUint32(section + Section.offset, true), size = view.getUint32(section + Section.size, true);
  const symbols: Symbol[] = [];
  for (let at = offset; at + Sym.bytes <= offset + size; at += Sym.bytes) {
    const place = view.getUint16(at + Sym.section, true);
    const isAddress = (view.getUint8(at + Sym.info) & 0xf) <= Sym.lastAddressType && place !== 0 &&
      place !== Sym.absolute;
    const name = readString(view, strings + view.getUint32(at, true));
    if (isAddress && name !== "") symbols.push({ name, address: view.getUint32(at + Sym.value, true) });
  }
  return symbols;
}

function readString(view: DataView, at: number): string {
  let end = at;
  while (view.getUint8(end) !== 0) end++;
  return new TextDecoder().decode(new Uint8Array(view.buffer, view.byteOffset + at, end - at));
}
