// Firmware's tables: checksums, pointers and lengths hold, ACPI's and the MultiProcessor Specification's tables agree with
// each other and with the devices, and the AML says what a reader of AML expects.

import { assert, assertEquals, assertThrows } from "@std/assert";
import { ACPI_PM_BASE, PM1_CONTROL, PM_TIMER, SLP_TYP_S3, SLP_TYP_S5 } from "../../../plugins/pc/devices/acpi_pm.ts";
import { IO_APIC_BASE, IO_APIC_ID } from "../../../plugins/pc/devices/io_apic.ts";
import { LOCAL_APIC_BASE } from "../../../plugins/pc/devices/local_apic.ts";
import * as A from "../../../plugins/pc/firmware/aml.ts";
import { FIRMWARE_END, FIRMWARE_FIRST, firmwareTables } from "../../../plugins/pc/firmware/layout.ts";
import { pciInterrupts } from "../../../plugins/pc/firmware/routes.ts";

const processor = { signature: 0x683, features: 0x201 };
const HEADER = 36;

/** The BIOS area as a guest finds it. */
class Area {
  readonly #bytes = new Uint8Array(FIRMWARE_END - FIRMWARE_FIRST);
  readonly #view = new DataView(this.#bytes.buffer);

  constructor(options: { acpi: boolean; apic: boolean; com2: boolean }) {
    let end = FIRMWARE_FIRST;
    for (const { address, bytes } of firmwareTables({ ...options, processor })) {
      assert(address >= end, "tables overlap");
      this.#bytes.set(bytes, address - FIRMWARE_FIRST);
      end = address + bytes.length;
    }
  }
  u8 = (address: number) => this.#view.getUint8(address - FIRMWARE_FIRST);
  u16 = (address: number) => this.#view.getUint16(address - FIRMWARE_FIRST, true);
  u32 = (address: number) => this.#view.getUint32(address - FIRMWARE_FIRST, true);
  bytes = (address: number, size: number) =>
    this.#bytes.subarray(address - FIRMWARE_FIRST, address - FIRMWARE_FIRST + size);
  text = (address: number, size: number) => new TextDecoder().decode(this.bytes(address, size));
  sum = (address: number, size: number) => this.bytes(address, size).reduce((sum, byte) => (sum + byte) & 0xff, 0);

  /** Address of a signature on a 16-byte boundary: the way in which systems look. */
  scan(signature: string): number | undefined {
    for (let at = FIRMWARE_FIRST; at < FIRMWARE_END; at += 16) {
      if (this.text(at, signature.length) === signature) return at;
    }
    return undefined;
  }

  /** Tables of the RSDT by signature, each checked. */
  tables(): Map<string, number> {
    const rsdp = this.scan("RSD PTR ");
    assert(rsdp !== undefined);
    assertEquals(this.sum(rsdp, 20), 0);
    const rsdt = this.u32(rsdp + 16), tables = new Map([["RSDT", rsdt]]);
    for (let at = HEADER; at < this.u32(rsdt + 4); at += 4) {
      const address = this.u32(rsdt + at);
      tables.set(this.text(address, 4), address);
    }
    const fadt = tables.get("FACP");
    assert(fadt !== undefined);
    tables.set("DSDT", this.u32(fadt + 40));
    for (const [signature, address] of tables) {
      assertEquals([signature, this.sum(address, this.u32(address + 4))], [signature, 0]);
    }
    return tables;
  }
}

const everything = new Area({ acpi: true, apic: true, com2: true });

Deno.test("the RSDP leads to tables whose checksums hold; the FACS lies on 64 bytes", () => {
  const tables = everything.tables(), fadt = tables.get("FACP") ?? 0;
  assertEquals([...tables.keys()].sort(), ["APIC", "DSDT", "FACP", "RSDT"]);
  const facs = everything.u32(fadt + 36);
  assertEquals([everything.text(facs, 4), everything.u32(facs + 4), facs % 64], ["FACS", 64, 0]);
});

Deno.test("the FADT says where the fixed hardware is, in old and new fields alike", () => {
  const fadt = everything.tables().get("FACP") ?? 0;
  const cases: readonly [old: number, extended: number, port: number, bits: number][] = [
    [56, 148, ACPI_PM_BASE, 32],
    [64, 172, PM1_CONTROL, 16],
    [76, 208, PM_TIMER, 32],
  ];
  for (const [old, extended, port, bits] of cases) {
    assertEquals([everything.u32(fadt + old), everything.u32(fadt + extended + 4)], [port, port]);
    assertEquals([everything.u8(fadt + extended), everything.u8(fadt + extended + 1)], [1, bits]);
  }
  assertEquals([everything.u16(fadt + 46), everything.u32(fadt + 48)], [9, 0]);
  // The reset register: port CF9h, value 06h, and the flag that says so.
  assertEquals([everything.u32(fadt + 120), everything.u8(fadt + 128)], [0xcf9, 6]);
  assert((everything.u32(fadt + 112) & (1 << 10)) !== 0);
});

/** Entries of the MADT or of the MP table: type, and the bytes. */
function madtEntries(area: Area): [type: number, bytes: Uint8Array][] {
  const madt = area.tables().get("APIC") ?? 0, entries: [number, Uint8Array][] = [];
  const end = madt + area.u32(madt + 4);
  let at = madt + HEADER + 8;
  for (; at < end; at += area.u8(at + 1)) entries.push([area.u8(at), area.bytes(at, area.u8(at + 1))]);
  assertEquals([at, area.u32(madt + HEADER)], [end, LOCAL_APIC_BASE]);
  return entries;
}
function mpEntries(area: Area): [type: number, bytes: Uint8Array][] {
  const pointer = area.scan("_MP_");
  assert(pointer !== undefined);
  assertEquals([area.sum(pointer, 16), area.u8(pointer + 8)], [0, 1]);
  const table = area.u32(pointer + 4), length = area.u16(table + 4), entries: [number, Uint8Array][] = [];
  assertEquals([area.text(table, 4), area.sum(table, length), area.u32(table + 36)], ["PCMP", 0, LOCAL_APIC_BASE]);
  let at = table + 44;
  while (at < table + length) {
    const size = area.u8(at) === 0 ? 20 : 8;
    entries.push([area.u8(at), area.bytes(at, size)]);
    at += size;
  }
  assertEquals([at, entries.length], [table + length, area.u16(table + 34)]);
  return entries;
}

Deno.test("MADT and MP table name the same processor, I/O APIC and inputs", () => {
  const of = (entries: [number, Uint8Array][], type: number) =>
    entries.filter(([t]) => t === type).map(([, bytes]) => bytes);
  const madt = madtEntries(everything), mp = mpEntries(everything);
  const word = (bytes: Uint8Array, at: number) => new DataView(bytes.buffer, bytes.byteOffset).getUint32(at, true);
  assertEquals(of(madt, 0).map((b) => [b[3], b[4]]), of(mp, 0).map((b) => [b[1], b[3] & 1]));
  assertEquals(of(madt, 1).map((b) => [b[2], word(b, 4)]), [[IO_APIC_ID, IO_APIC_BASE]]);
  assertEquals(of(mp, 2).map((b) => [b[1], word(b, 4)]), [[IO_APIC_ID, IO_APIC_BASE]]);
  assertEquals(of(mp, 0).map((b) => [word(b, 4), word(b, 8)]), [[processor.signature, processor.features]]);

  // An ISA line's input and flags by the MADT: its own number and 0, unless overridden.
  const overrides = new Map(of(madt, 2).map((b) => [b[3], { input: word(b, 4), flags: b[8] }]));
  assertEquals(overrides.get(0), { input: 2, flags: 0 });
  const interrupts = of(mp, 3), PCI_BUS = 0, ISA_BUS = 1, INT = 0;
  const isa = interrupts.filter((b) => b[1] === INT && b[4] === ISA_BUS);
  for (const b of isa) {
    const { input, flags } = overrides.get(b[5]) ?? { input: b[5], flags: 0 };
    assertEquals([b[7], b[2]], [input, flags], `ISA line ${b[5]}`);
  }
  const pci = interrupts.filter((b) => b[1] === INT && b[4] === PCI_BUS);
  assertEquals(pci.length, pciInterrupts().length);
  for (const b of pci) assertEquals(overrides.get(b[7]), { input: b[7], flags: b[2] });
  // Every line of the PC has its input, by one bus or the other; the cascade has none.
  const lines = new Set([...isa.map((b) => b[5]), ...pci.map((b) => b[7])]);
  assertEquals([...lines].sort((a, b) => a - b), [0, 1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
});

Deno.test("without APICs there is no MADT and no MP table; without ACPI there is no RSDP", () => {
  const acpiOnly = new Area({ acpi: true, apic: false, com2: false });
  assertEquals([acpiOnly.tables().has("APIC"), acpiOnly.scan("_MP_")], [false, undefined]);
  const apicOnly = new Area({ acpi: false, apic: true, com2: false });
  assertEquals([apicOnly.scan("RSD PTR "), mpEntries(apicOnly).length > 0], [undefined, true]);
  assertEquals(firmwareTables({ acpi: false, apic: false, com2: false, processor }), []);
});

Deno.test("AML terms have the specification's encodings", () => {
  const cases: readonly [name: string, term: A.Aml, bytes: readonly number[]][] = [
    ["Zero", A.integer(0), [0x00]],
    ["One", A.integer(1), [0x01]],
    ["byte", A.integer(0xff), [0x0a, 0xff]],
    ["word", A.integer(0x100), [0x0b, 0x00, 0x01]],
    ["double word", A.integer(0x1_0000), [0x0c, 0, 0, 1, 0]],
    ["EISA identifier", A.eisaId("PNP0A03"), [0x0c, 0x41, 0xd0, 0x0a, 0x03]],
    ["Name", A.name("_UID", A.integer(1)), [0x08, 0x5f, 0x55, 0x49, 0x44, 0x01]],
    ["short name, padded", A.name("KBD", A.integer(0)), [0x08, 0x4b, 0x42, 0x44, 0x5f, 0x00]],
    ["Scope", A.scope("\\_SB"), [0x10, 0x06, 0x5c, 0x5f, 0x53, 0x42, 0x5f]],
    ["Device", A.device("PCI0"), [0x5b, 0x82, 0x05, 0x50, 0x43, 0x49, 0x30]],
    ["Package", A.packageOf(A.integer(5), A.integer(0)), [0x12, 0x05, 0x02, 0x0a, 0x05, 0x00]],
    ["IRQ and end", A.resources(A.irq(12)), [0x11, 0x08, 0x0a, 0x05, 0x22, 0x00, 0x10, 0x79, 0x00]],
    ["ports", A.ports(0x3f8, 8), [0x47, 0x01, 0xf8, 0x03, 0xf8, 0x03, 0x01, 0x08]],
    ["DMA", A.dma(4), [0x2a, 0x10, 0x01]],
  ];
  for (const [name, term, bytes] of cases) assertEquals([...term], [...bytes], name);
  for (const bad of ["", "\\", "TOOLONG", "1ABC", "_SB.PCI0"]) assertThrows(() => A.scope(bad), Error, bad);
});

Deno.test("package lengths of one, two and three bytes count themselves", () => {
  const scopeOf = (bytes: number) => A.scope("\\_SB", new Array<number>(bytes - 5).fill(0));
  const cases: readonly [bodyBytes: number, length: number[]][] = [
    [62, [63]],
    [63, [0x41, 0x04]],
    [4093, [0x4f, 0xff]],
    [4094, [0x81, 0x00, 0x01]],
  ];
  for (const [bodyBytes, length] of cases) {
    const term = scopeOf(bodyBytes);
    assertEquals([term.slice(1, 1 + length.length), term.length], [length, 1 + length.length + bodyBytes]);
  }
});

Deno.test("the DSDT's top level is whole terms, and \\_S3 and \\_S5 have the sleep types that suspend and power off", () => {
  const dsdt = everything.tables().get("DSDT") ?? 0, end = dsdt + everything.u32(dsdt + 4);
  const SCOPE = 0x10, names: string[] = [];
  let at = dsdt + HEADER;
  while (everything.u8(at) === SCOPE) {
    const lead = everything.u8(at + 1), more = lead >> 6;
    let length = more === 0 ? lead & 0x3f : lead & 0xf;
    for (let i = 0; i < more; i++) length |= everything.u8(at + 2 + i) << (4 + 8 * i);
    names.push(everything.text(at + 2 + more, 5));
    at += 1 + length;
  }
  assertEquals(names, ["\\_PR_", "\\_SB_"]);
  const sleep = (type: number) => A.packageOf(A.integer(type), A.integer(0), A.integer(0), A.integer(0));
  const states = [A.name("\\_S3", sleep(SLP_TYP_S3)), A.name("\\_S5", sleep(SLP_TYP_S5))];
  assertEquals([...everything.bytes(at, end - at)], states.flat());
});

Deno.test("COM2 is in the DSDT only where the machine has it", () => {
  const count = (com2: boolean) => {
    const area = new Area({ acpi: true, apic: true, com2 }), dsdt = area.tables().get("DSDT") ?? 0;
    return area.text(dsdt, area.u32(dsdt + 4)).split("COM").length - 1;
  };
  assertEquals([count(false), count(true)], [1, 2]);
});
