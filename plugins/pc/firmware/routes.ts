// How PCI's interrupt pins reach the interrupt lines, as firmware states it in ACPI's and the MultiProcessor
// Specification's tables alike.

import { DEVICES, FIRMWARE_ROUTES, ISA_BRIDGE_DEVICE, PIRQ_COUNT, pirqOfPin } from "../devices/pci.ts";

/** A pin of a PCI device (INTA# is 0) and the line that it drives, which is the I/O APIC's input too. */
export interface PciInterrupt {
  readonly device: number;
  readonly pin: number;
  readonly irq: number;
}

/** Every pin of every device but the bridges, which have none. */
export function pciInterrupts(): PciInterrupt[] {
  const pins = Array.from({ length: (DEVICES - ISA_BRIDGE_DEVICE - 1) * PIRQ_COUNT }, (_, index) => ({
    device: ISA_BRIDGE_DEVICE + 1 + Math.floor(index / PIRQ_COUNT),
    pin: index % PIRQ_COUNT,
  }));
  return pins.map(({ device, pin }) => ({ device, pin, irq: FIRMWARE_ROUTES[pirqOfPin(device, pin)] }));
}

/** Lines that are level-triggered, in order. */
export const PCI_IRQS: readonly number[] = [...FIRMWARE_ROUTES].sort((a, b) => a - b);
