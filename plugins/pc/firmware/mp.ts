// The MultiProcessor Specification's tables (Intel, version 1.4, chapter 4), by which systems without ACPI find the APICs:
// the floating pointer and the configuration table. They say what ACPI's tables say.

import { IO_APIC_BASE, IO_APIC_ID, IO_APIC_VERSION } from "../devices/io_apic.ts";
import { CASCADE_IRQ, ioApicInputOf, IRQ_LINES } from "../devices/lines.ts";
import { LINT0, LINT1, LOCAL_APIC_BASE, LOCAL_APIC_ID, LOCAL_APIC_VERSION } from "../devices/local_apic.ts";
import { Inti } from "./acpi.ts";
import { PCI_IRQS, pciInterrupts } from "./routes.ts";
import { OEM_ID, OEM_TABLE_ID, Table } from "./table.ts";

const SPEC_REVISION = 4;
const Entry = { PROCESSOR: 0, BUS: 1, IO_APIC: 2, IO_INTERRUPT: 3, LOCAL_INTERRUPT: 4 } as const;
const InterruptType = { INT: 0, NMI: 1, EXT_INT: 3 } as const;
const PCI_BUS = 0, ISA_BUS = 1;
/** Every local APIC. */
const ALL_APICS = 0xff;

/** What CPUID says of the processor in EAX and EDX of leaf 1. */
export interface ProcessorIdentity {
  readonly signature: number;
  readonly features: number;
}

/** The floating pointer, on a 16-byte boundary. No default configuration, and no IMCR: virtual wire mode at start. */
export function mpFloatingPointer(tableAddress: number): Uint8Array {
  const BYTES = 16, PARAGRAPHS = 1, CHECKSUM = 10;
  return new Table(BYTES).text(0, "_MP_").u32(4, tableAddress).u8(8, PARAGRAPHS, SPEC_REVISION).seal(CHECKSUM);
}

/** The configuration table. */
export function mpConfiguration({ signature, features }: ProcessorIdentity): Uint8Array {
  const PROCESSOR_USABLE_BOOTSTRAP = 3, IO_APIC_USABLE = 1;
  const bus = (id: number, type: string) => new Table(8).u8(0, Entry.BUS, id).text(2, type, 6).bytes;
  const interrupt = (entry: number, type: number, flags: number, ...rest: readonly number[]) =>
    new Table(8).u8(0, entry, type).u16(2, flags).u8(4, ...rest).bytes;
  const { INT, NMI, EXT_INT } = InterruptType;
  const isaIrqs = Array.from({ length: IRQ_LINES }, (_, irq) => irq)
    .filter((irq) => irq !== CASCADE_IRQ && !PCI_IRQS.includes(irq));
  const entries = [
    new Table(20).u8(0, Entry.PROCESSOR, LOCAL_APIC_ID, LOCAL_APIC_VERSION, PROCESSOR_USABLE_BOOTSTRAP)
      .u32(4, signature).u32(8, features).bytes,
    bus(PCI_BUS, "PCI"),
    bus(ISA_BUS, "ISA"),
    new Table(8).u8(0, Entry.IO_APIC, IO_APIC_ID, IO_APIC_VERSION, IO_APIC_USABLE).u32(4, IO_APIC_BASE).bytes,
    ...isaIrqs.map((irq) =>
      interrupt(Entry.IO_INTERRUPT, INT, Inti.CONFORMS, ISA_BUS, irq, IO_APIC_ID, ioApicInputOf(irq))
    ),
    ...pciInterrupts().map(({ device, pin, irq }) => {
      const source = (device << 2) | pin;
      return interrupt(Entry.IO_INTERRUPT, INT, Inti.ACTIVE_HIGH | Inti.LEVEL, PCI_BUS, source, IO_APIC_ID, irq);
    }),
    interrupt(Entry.LOCAL_INTERRUPT, EXT_INT, Inti.CONFORMS, ISA_BUS, 0, ALL_APICS, LINT0),
    interrupt(Entry.LOCAL_INTERRUPT, NMI, Inti.CONFORMS, ISA_BUS, 0, ALL_APICS, LINT1),
  ];
  const HEADER_BYTES = 44, LENGTH = 4, REVISION = 6, CHECKSUM = 7, OEM = 8, PRODUCT = 16, COUNT = 34, APIC = 36;
  const length = HEADER_BYTES + entries.reduce((sum, entry) => sum + entry.length, 0);
  const table = new Table(length).text(0, "PCMP").u16(LENGTH, length).u8(REVISION, SPEC_REVISION)
    .text(OEM, OEM_ID, 8).text(PRODUCT, OEM_TABLE_ID, 12).u16(COUNT, entries.length).u32(APIC, LOCAL_APIC_BASE);
  let at = HEADER_BYTES;
  for (const entry of entries) {
    table.put(at, entry);
    at += entry.length;
  }
  return table.seal(CHECKSUM);
}
