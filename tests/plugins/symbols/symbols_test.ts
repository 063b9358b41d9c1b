// Symbols: the table both ways, the files it is read from, and addresses as a person writes them.

import { assertEquals, assertThrows } from "@std/assert";
import { InputError } from "../../../core/mod.ts";
import { parseAddress, readSymbols, SymbolTable } from "../../../plugins/symbols/mod.ts";

function tableOf(...symbols: [string, number][]): SymbolTable {
  const table = new SymbolTable();
  table.add(symbols.map(([name, address]) => ({ name, address })));
  return table;
}

Deno.test("an address is named by the last symbol at or before it, as long as that is near", () => {
  const table = tableOf(["b", 0x2000], ["a", 0x1000], ["alias", 0x1000], ["high", 0xc0000000]);
  const cases: [number, string | undefined][] = [
    [0xfff, undefined],
    [0x1000, "a"],
    [0x1fff, "a+0xfff"],
    [0x2000, "b"],
    [0x102000, "b+0x100000"],
    [0x102001, undefined],
    [0xc0000010, "high+0x10"],
  ];
  for (const [address, name] of cases) assertEquals(table.nameOf(address), name, address.toString(16));
  table.add([{ name: "later", address: 0x1800 }]);
  assertEquals([table.nameOf(0x1801), table.addressOf("alias"), table.size], ["later+0x1", 0x1000, 5]);
});

const text = (...lines: string[]) => new TextEncoder().encode(lines.join("\n"));

Deno.test("System.map and /proc/kallsyms are read, but for what is no address", () => {
  const file = text(
    "c1000000 T startup_32",
    "00000000 A per_cpu_start",
    "c1000010 t local",
    "f8000000 t init [vmw]",
    "",
  );
  assertEquals(readSymbols(file, "map"), [
    { name: "startup_32", address: 0xc1000000 },
    { name: "local", address: 0xc1000010 },
    { name: "init", address: 0xf8000000 },
  ]);
});

/** An ELF file with a string table, a symbol table and nothing else. */
function elfFile(elfClass = 1): Uint8Array<ArrayBuffer> {
  const file = new Uint8Array(0x200), view = new DataView(file.buffer);
  view.setUint32(0, 0x464c457f, true);
  file[4] = elfClass;
  view.setUint32(32, 0x100, true);
  view.setUint16(46, 40, true);
  view.setUint16(48, 3, true);
  const section = (index: number, type: number, offset: number, size: number, link: number) => {
    const at = 0x100 + index * 40;
    view.setUint32(at + 4, type, true);
    view.setUint32(at + 16, offset, true);
    view.setUint32(at + 20, size, true);
    view.setUint32(at + 24, link, true);
  };
  section(1, 3, 0x40, 0x20, 0);
  section(2, 2, 0x80, 4 * 16, 1);
  file.set(text("\0main\0data\0file.c\0"), 0x40);
  const symbol = (index: number, name: number, value: number, info: number, place: number) => {
    const at = 0x80 + index * 16;
    view.setUint32(at, name, true);
    view.setUint32(at + 4, value, true);
    file[at + 12] = info;
    view.setUint16(at + 14, place, true);
  };
  symbol(1, 1, 0x08048000, 0x12, 1);
  symbol(2, 6, 0x0804a000, 0x11, 2);
  symbol(3, 11, 0, 4, 0xfff1);
  return file;
}

Deno.test("an ELF file's functions and objects are symbols, its file names are not", () => {
  assertEquals(readSymbols(elfFile(), "a.out"), [
    { name: "main", address: 0x08048000 },
    { name: "data", address: 0x0804a000 },
  ]);
});

const refused: [string, Uint8Array, string][] = [
  ["no symbols", text("c1000000 A nothing"), "there are none in it"],
  ["something else", text("hello, world"), 'symbols it:1: "hello, world"; expected ADDRESS TYPE NAME'],
  ["kallsyms as a user sees it", text("00000000 T a", "00000000 T b"), "every address is 0"],
  ["a 64-bit ELF file", elfFile(2), "not a 32-bit ELF file"],
  ["a damaged ELF file", elfFile().slice(0, 0x120), "damaged or cut off"],
];
for (const [what, file, message] of refused) {
  Deno.test(`a file of ${what} is refused`, () => {
    assertThrows(() => readSymbols(file, "it"), InputError, message);
  });
}

Deno.test("an address is a number, a symbol, or either and an offset", () => {
  const table = tableOf(["main", 0x1000], ["do_fork", 0xc1030000]);
  const cases: [string, number][] = [
    ["0xc1000000", 0xc1000000],
    ["7c00h", 0x7c00],
    ["main", 0x1000],
    ["main+0x10", 0x1010],
    ["main+16", 0x1010],
    ["0xffffffff+1", 0],
  ];
  for (const [written, address] of cases) assertEquals(parseAddress(written, table), address, written);
  const errors: [string, string][] = [
    ["mian", 'did you mean "main"?'],
    ["nowhere_near_anything", "none of the 2 symbols is like it"],
    ["1000", "write a hexadecimal address as 0x1000"],
    ["main+", "expected 0xADDRESS"],
  ];
  for (const [written, message] of errors) assertThrows(() => parseAddress(written, table), InputError, message);
  assertThrows(() => parseAddress("main", new SymbolTable()), InputError, "give them by --symbols FILE");
});
