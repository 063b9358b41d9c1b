// The definition block of our DSDT: what ACPI cannot find out by itself (ACPI Specification 3.0b, chapters 5, 6 and 8):
// the processor, the PCI root with its windows and interrupt wiring, the ISA devices by their PNP names, and how to sleep
// and power off. All of it is data: there is no method, because nothing here can be configured.

import { DMA1, DMA1_PORTS, DMA2, DMA2_PORTS, DMA_PAGES, DMA_PAGES_PORTS } from "../devices/dma.ts";
import { SLP_TYP_S3, SLP_TYP_S5 } from "../devices/acpi_pm.ts";
import { KBC_COMMAND, KBC_DATA } from "../devices/keyboard.ts";
import { AUX_IRQ, CASCADE_IRQ, CLOCK_IRQ, KEYBOARD_IRQ, TIMER_IRQ } from "../devices/lines.ts";
import { CONFIG_ADDRESS, ISA_BRIDGE_DEVICE, PCI_PORTS } from "../devices/pci.ts";
import { MEMORY_WINDOW, PORT_WINDOW } from "../devices/pci_function.ts";
import { ELCR1, PIC1_COMMAND, PIC2_COMMAND } from "../devices/pic.ts";
import { PIT_CONTROL, PIT_COUNTER_0, SYSTEM_CONTROL_B } from "../devices/pit.ts";
import { CMOS_INDEX } from "../devices/rtc.ts";
import { COM1, COM2, UART_PORTS } from "../devices/uart.ts";
import * as A from "./aml.ts";
import { pciInterrupts } from "./routes.ts";

const LAST_BUS = 0xff;
/** DMA channel that the second controller passes the first one through. */
const CASCADE_CHANNEL = 4;
/** An address of all functions of a PCI device. */
const ALL_FUNCTIONS = 0xffff, DEVICE_SHIFT = 16;

/** AML of the DSDT, without the table's header. */
export function definitionBlock(options: { readonly com2: boolean }): Uint8Array {
  const serial = [isaDevice("COM1", "PNP0501", 1, A.ports(COM1.base, UART_PORTS), A.irq(COM1.irq))];
  if (options.com2) serial.push(isaDevice("COM2", "PNP0501", 2, A.ports(COM2.base, UART_PORTS), A.irq(COM2.irq)));
  const isaBridge = A.device(
    "ISA",
    A.name("_ADR", A.integer(ISA_BRIDGE_DEVICE << DEVICE_SHIFT)),
    isaDevice(
      "PIC",
      "PNP0000",
      0,
      A.ports(PIC1_COMMAND, 2),
      A.ports(PIC2_COMMAND, 2),
      A.ports(ELCR1, 2),
      A.irq(CASCADE_IRQ),
    ),
    isaDevice("TIMR", "PNP0100", 0, A.ports(PIT_COUNTER_0, PIT_CONTROL - PIT_COUNTER_0 + 1), A.irq(TIMER_IRQ)),
    isaDevice(
      "DMAC",
      "PNP0200",
      0,
      A.ports(DMA1, DMA1_PORTS),
      A.ports(DMA_PAGES, DMA_PAGES_PORTS),
      A.ports(DMA2, DMA2_PORTS),
      A.dma(CASCADE_CHANNEL),
    ),
    isaDevice("RTC", "PNP0B00", 0, A.ports(CMOS_INDEX, 2), A.irq(CLOCK_IRQ)),
    isaDevice("SPKR", "PNP0800", 0, A.ports(SYSTEM_CONTROL_B, 1)),
    isaDevice("KBD", "PNP0303", 0, A.ports(KBC_DATA, 1), A.ports(KBC_COMMAND, 1), A.irq(KEYBOARD_IRQ)),
    isaDevice("MOU", "PNP0F13", 0, A.irq(AUX_IRQ)),
    ...serial,
  );
  const root = A.device(
    "PCI0",
    A.name("_HID", A.eisaId("PNP0A03")),
    A.name("_UID", A.integer(0)),
    A.name(
      "_CRS",
      A.resources(
        A.busWindow(0, LAST_BUS),
        A.ports(CONFIG_ADDRESS, PCI_PORTS),
        A.portWindow(PORT_WINDOW.first, PORT_WINDOW.end - 1),
        A.memoryWindow(MEMORY_WINDOW.first, MEMORY_WINDOW.end - 1),
      ),
    ),
    A.name("_PRT", interruptRouting()),
    isaBridge,
  );
  const sleep = (type: number) => A.packageOf(A.integer(type), A.integer(0), A.integer(0), A.integer(0));
  const terms = [
    A.scope("\\_PR", A.processor("CPU0", 0)),
    A.scope("\\_SB", root),
    A.name("\\_S3", sleep(SLP_TYP_S3)),
    A.name("\\_S5", sleep(SLP_TYP_S5)),
  ];
  return Uint8Array.from(terms.flat());
}

function isaDevice(name: string, id: string, unit: number, ...descriptors: readonly A.Aml[]): A.Aml {
  return A.device(
    name,
    A.name("_HID", A.eisaId(id)),
    A.name("_UID", A.integer(unit)),
    A.name("_CRS", A.resources(...descriptors)),
  );
}

/**
 * One entry a device and pin: address, pin, no link device, interrupt. The ISA bridge's routes are fixed, and the I/O
 * APIC's inputs have the lines' numbers, so that one table serves with it and without.
 */
function interruptRouting(): A.Aml {
  const entries = pciInterrupts().map(({ device, pin, irq }) =>
    A.packageOf(
      A.integer(((device << DEVICE_SHIFT) | ALL_FUNCTIONS) >>> 0),
      A.integer(pin),
      A.integer(0),
      A.integer(irq),
    )
  );
  return A.packageOf(...entries);
}
