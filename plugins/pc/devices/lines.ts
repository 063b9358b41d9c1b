// The PC's sixteen interrupt request lines: which device has which, and how they reach the I/O APIC (IBM PC/AT Technical
// Reference; MultiProcessor Specification 1.4, section 3.6.2.3).

/** Lines of the board's own devices. The serial ports' are in uart.ts, the power management's in acpi_pm.ts. */
export const TIMER_IRQ = 0, KEYBOARD_IRQ = 1, CASCADE_IRQ = 2, CLOCK_IRQ = 8, AUX_IRQ = 12, COPROCESSOR_IRQ = 13;
export const IRQ_LINES = 16;

/** Input 0 takes the 8259s' INTR, so that the timer has input 2, which the cascade leaves free. */
export const IO_APIC_8259_INPUT = 0, IO_APIC_TIMER_INPUT = 2;

/** Input of the I/O APIC that a line drives. */
export function ioApicInputOf(irq: number): number {
  return irq === TIMER_IRQ ? IO_APIC_TIMER_INPUT : irq;
}
