// ACPI's tables (ACPI Specification 3.0b, section 5.2): RSDP, RSDT, FADT, FACS, MADT, and the header around the DSDT's
// AML. Each function returns the bytes of one table.

import { ACPI_PM_BASE, PM1_CONTROL, PM1_STATUS, PM_TIMER, SCI_IRQ } from "../devices/acpi_pm.ts";
import { IO_APIC_BASE, IO_APIC_ID } from "../devices/io_apic.ts";
import { ioApicInputOf, TIMER_IRQ } from "../devices/lines.ts";
import { LINT1, LOCAL_APIC_BASE, LOCAL_APIC_ID } from "../devices/local_apic.ts";
import { RESET_CONTROL, ResetControl } from "../devices/pci.ts";
import { Cmos } from "../devices/rtc.ts";
import { PCI_IRQS } from "./routes.ts";
import { CREATOR_ID, OEM_ID, OEM_TABLE_ID, Table } from "./table.ts";

/** Header of every description table. */
export const HEADER_BYTES = 36;
const Header = { LENGTH: 4, REVISION: 8, CHECKSUM: 9, OEM_ID: 10, OEM_TABLE: 16, OEM_REVISION: 24, CREATOR: 28 };
const CREATOR_REVISION = 32, OEM_ID_BYTES = 6, OEM_TABLE_ID_BYTES = 8;

/** A table with its header, to be sealed. */
function described(signature: string, revision: number, size: number): Table {
  return new Table(size).text(0, signature).u32(Header.LENGTH, size).u8(Header.REVISION, revision)
    .text(Header.OEM_ID, OEM_ID, OEM_ID_BYTES).text(Header.OEM_TABLE, OEM_TABLE_ID, OEM_TABLE_ID_BYTES)
    .u32(Header.OEM_REVISION, 1).text(Header.CREATOR, CREATOR_ID).u32(CREATOR_REVISION, 1);
}

/** RSDP of ACPI 1.0, which points to an RSDT alone: all that a 32-bit system needs. On a 16-byte boundary. */
export function rsdp(rsdtAddress: number): Uint8Array {
  const CHECKSUM = 8, OEM = 9, RSDT_ADDRESS = 16, BYTES = 20;
  return new Table(BYTES).text(0, "RSD PTR ").text(OEM, OEM_ID, OEM_ID_BYTES).u32(RSDT_ADDRESS, rsdtAddress)
    .seal(CHECKSUM);
}

/** RSDT: addresses of the other tables. */
export function rsdt(addresses: readonly number[]): Uint8Array {
  const table = described("RSDT", 1, HEADER_BYTES + 4 * addresses.length);
  for (const [index, address] of addresses.entries()) table.u32(HEADER_BYTES + 4 * index, address);
  return table.seal(Header.CHECKSUM);
}

/** DSDT. Revision 1: integers have 32 bits. */
export function dsdt(aml: Uint8Array): Uint8Array {
  return described("DSDT", 1, HEADER_BYTES + aml.length).put(HEADER_BYTES, aml).seal(Header.CHECKSUM);
}

/** Offset in the FACS of the physical address at which a system resumes from S3, in real mode. */
export const FIRMWARE_WAKING_VECTOR = 12;

/** FACS: that address, and the global lock, which no firmware here ever holds. On a 64-byte boundary; has no checksum. */
export function facs(): Uint8Array {
  const LENGTH = 4, VERSION = 32, BYTES = 64;
  return new Table(BYTES).text(0, "FACS").u32(LENGTH, BYTES).u8(VERSION, 1).bytes;
}

const Fadt = {
  FIRMWARE_CTRL: 36,
  DSDT: 40,
  PREFERRED_PM_PROFILE: 45,
  SCI_INT: 46,
  PM1A_EVT_BLK: 56,
  PM1A_CNT_BLK: 64,
  PM_TMR_BLK: 76,
  PM1_EVT_LEN: 88,
  PM1_CNT_LEN: 89,
  PM_TMR_LEN: 91,
  P_LVL2_LAT: 96,
  P_LVL3_LAT: 98,
  CENTURY: 108,
  IAPC_BOOT_ARCH: 109,
  FLAGS: 112,
  RESET_REG: 116,
  RESET_VALUE: 128,
  X_DSDT: 140,
  X_PM1A_EVT_BLK: 148,
  X_PM1A_CNT_BLK: 172,
  X_PM_TMR_BLK: 208,
  BYTES: 244,
} as const;
const FADT_REVISION = 3, PROFILE_DESKTOP = 1;
/** C2 and C3 are not there: latencies above what the specification allows say so. */
const NO_C2 = 101, NO_C3 = 1001;
/** There are ISA devices and an 8042, and there is no VGA. */
const BootArch = { LEGACY_DEVICES: 0x1, HAS_8042: 0x2, NO_VGA: 0x4 } as const;
const FadtFlag = {
  WBINVD: 1 << 0,
  PROC_C1: 1 << 2,
  /** Set: no power and sleep buttons among the fixed registers. FIX_RTC is clear: the alarm is. */
  PWR_BUTTON: 1 << 4,
  SLP_BUTTON: 1 << 5,
  RESET_REG_SUP: 1 << 10,
} as const;
const FADT_FLAGS = Object.values(FadtFlag).reduce<number>((bits, bit) => bits | bit, 0);
const EVENT_BYTES = PM1_CONTROL - PM1_STATUS, CONTROL_BYTES = 2, TIMER_BYTES = 4;

/** FADT: where the fixed hardware is. Has no SMI command port, which means that ACPI mode is always on. */
export function fadt(facsAddress: number, dsdtAddress: number): Uint8Array {
  const table = described("FACP", FADT_REVISION, Fadt.BYTES)
    .u32(Fadt.FIRMWARE_CTRL, facsAddress).u32(Fadt.DSDT, dsdtAddress).u32(Fadt.X_DSDT, dsdtAddress)
    .u8(Fadt.PREFERRED_PM_PROFILE, PROFILE_DESKTOP).u16(Fadt.SCI_INT, SCI_IRQ)
    .u32(Fadt.PM1A_EVT_BLK, ACPI_PM_BASE).u32(Fadt.PM1A_CNT_BLK, PM1_CONTROL).u32(Fadt.PM_TMR_BLK, PM_TIMER)
    .u8(Fadt.PM1_EVT_LEN, EVENT_BYTES).u8(Fadt.PM1_CNT_LEN, CONTROL_BYTES).u8(Fadt.PM_TMR_LEN, TIMER_BYTES)
    .u16(Fadt.P_LVL2_LAT, NO_C2).u16(Fadt.P_LVL3_LAT, NO_C3).u8(Fadt.CENTURY, Cmos.CENTURY)
    .u16(Fadt.IAPC_BOOT_ARCH, BootArch.LEGACY_DEVICES | BootArch.HAS_8042 | BootArch.NO_VGA)
    .u32(Fadt.FLAGS, FADT_FLAGS)
    .u8(Fadt.RESET_VALUE, ResetControl.SYSTEM_RESET | ResetControl.RESET_CPU);
  portAddress(table, Fadt.RESET_REG, RESET_CONTROL, 1, 1);
  portAddress(table, Fadt.X_PM1A_EVT_BLK, ACPI_PM_BASE, EVENT_BYTES, 2);
  portAddress(table, Fadt.X_PM1A_CNT_BLK, PM1_CONTROL, CONTROL_BYTES, 2);
  portAddress(table, Fadt.X_PM_TMR_BLK, PM_TIMER, TIMER_BYTES, 4);
  return table.seal(Header.CHECKSUM);
}

/** A generic address structure in the port space: the register's width, and that of an access, in bytes. */
function portAddress(table: Table, offset: number, port: number, bytes: number, accessBytes: 1 | 2 | 4): void {
  const SYSTEM_IO = 1, ADDRESS = 4;
  table.u8(offset, SYSTEM_IO, 8 * bytes, 0, Math.log2(accessBytes) + 1).u32(offset + ADDRESS, port);
}

/** Polarity and trigger mode of an interrupt, in MADT and MP table alike. 0: as its bus has it. */
export const Inti = { CONFORMS: 0, ACTIVE_HIGH: 0x1, LEVEL: 0xc } as const;

/** MADT: the processor's local APIC, the I/O APIC, and the lines that are not as on an ISA bus. */
export function madt(): Uint8Array {
  const PROCESSOR_ENABLED = 1, ALL_PROCESSORS = 0xff, PCAT_COMPAT = 1;
  const Entry = { LOCAL_APIC: 0, IO_APIC: 1, OVERRIDE: 2, LOCAL_NMI: 4 };
  const override = (irq: number, flags: number) =>
    new Table(10).u8(0, Entry.OVERRIDE, 10, 0, irq).u32(4, ioApicInputOf(irq)).u16(8, flags).bytes;
  const entries = [
    new Table(8).u8(0, Entry.LOCAL_APIC, 8, 0, LOCAL_APIC_ID).u32(4, PROCESSOR_ENABLED).bytes,
    new Table(12).u8(0, Entry.IO_APIC, 12, IO_APIC_ID).u32(4, IO_APIC_BASE).bytes,
    override(TIMER_IRQ, Inti.CONFORMS),
    ...PCI_IRQS.map((irq) => override(irq, Inti.ACTIVE_HIGH | Inti.LEVEL)),
    new Table(6).u8(0, Entry.LOCAL_NMI, 6, ALL_PROCESSORS).u16(3, Inti.CONFORMS).u8(5, LINT1).bytes,
  ];
  const FIRST_ENTRY = HEADER_BYTES + 8;
  const table = described("APIC", 1, FIRST_ENTRY + entries.reduce((sum, entry) => sum + entry.length, 0))
    .u32(HEADER_BYTES, LOCAL_APIC_BASE).u32(HEADER_BYTES + 4, PCAT_COMPAT);
  let at = FIRST_ENTRY;
  for (const entry of entries) {
    table.put(at, entry);
    at += entry.length;
  }
  return table.seal(Header.CHECKSUM);
}
