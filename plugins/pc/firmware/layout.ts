// Where firmware's tables lie: all in the BIOS area below 1 MiB, which the memory map reserves and where systems look for
// the pointers to them (ACPI Specification 3.0b, section 5.2.5.1; MultiProcessor Specification 1.4, section 4).

import type { FirmwareImage } from "../services.ts";
import { dsdt, facs, fadt, madt, rsdp, rsdt } from "./acpi.ts";
import { definitionBlock } from "./dsdt.ts";
import { mpConfiguration, mpFloatingPointer, type ProcessorIdentity } from "./mp.ts";

export const FIRMWARE_FIRST = 0xf_0000, FIRMWARE_END = 0x10_0000;
/** The FACS comes first: firmware looks here for where a suspended system resumes. */
export const FACS_ADDRESS = FIRMWARE_FIRST;

/** Boundaries: pointers are looked for on 16 bytes; the FACS needs 64; tables are read by words. */
const POINTER_ALIGNMENT = 16, FACS_ALIGNMENT = 64, TABLE_ALIGNMENT = 8;

export interface FirmwareOptions {
  readonly acpi: boolean;
  readonly apic: boolean;
  readonly com2: boolean;
  readonly processor: ProcessorIdentity;
}

/** The tables of a machine with these parts, each with its address. */
export function firmwareTables(options: FirmwareOptions): FirmwareImage[] {
  const images: FirmwareImage[] = [];
  let next = FIRMWARE_FIRST;
  const place = (bytes: Uint8Array, alignment = TABLE_ALIGNMENT): number => {
    const address = Math.ceil(next / alignment) * alignment;
    next = address + bytes.length;
    if (next > FIRMWARE_END) throw new Error(`firmware's tables end at ${next}; they must end by ${FIRMWARE_END}`);
    images.push({ address, bytes });
    return address;
  };
  if (options.acpi) {
    const facsAddress = place(facs(), FACS_ALIGNMENT);
    const dsdtAddress = place(dsdt(definitionBlock(options)));
    const tables = [place(fadt(facsAddress, dsdtAddress))];
    if (options.apic) tables.push(place(madt()));
    place(rsdp(place(rsdt(tables))), POINTER_ALIGNMENT);
  }
  if (options.apic) place(mpFloatingPointer(place(mpConfiguration(options.processor))), POINTER_ALIGNMENT);
  return images;
}
