// The main board of one VM: makes its devices, wires their lines, and claims their ports. Where the PC/AT's layout of
// ports and interrupt lines is decided, and nothing else.

import type { Hasher, Saved, StateOwner, Vm, VmExit } from "../../core/mod.ts";
import type { Bus } from "../x86/mod.ts";
import { DEBUG_EXIT, DEBUG_EXIT_PORTS, DebugExit } from "./devices/debug_exit.ts";
import { Dma, DMA1, DMA1_PORTS, DMA2, DMA2_PORTS, DMA_PAGES, DMA_PAGES_PORTS } from "./devices/dma.ts";
import { type ByteDevice, claimBytePorts } from "./devices/isa.ts";
import { KBC_COMMAND, KBC_DATA, KeyboardController } from "./devices/keyboard.ts";
import { CONFIG_ADDRESS, FIRMWARE_ROUTES, Pci, PCI_PORTS } from "./devices/pci.ts";
import { ELCR1, Pic, PIC1_COMMAND, PIC2_COMMAND } from "./devices/pic.ts";
import { Pit, PIT_CONTROL, PIT_COUNTER_0, SYSTEM_CONTROL_B } from "./devices/pit.ts";
import { SYSTEM_CONTROL_A, SystemControlA } from "./devices/port92.ts";
import { POST_CODE, PostCode } from "./devices/post80.ts";
import { CMOS_INDEX, Rtc } from "./devices/rtc.ts";
import { COM1, COM2, Uart, UART_PORTS, type UartOptions } from "./devices/uart.ts";
import { Backdoor, BACKDOOR_PORT, type Registers } from "./devices/vmware.ts";

/** Interrupt lines of the board's own devices. */
const TIMER_IRQ = 0, KEYBOARD_IRQ = 1, CLOCK_IRQ = 8, AUX_IRQ = 12;

export interface BoardOptions {
  readonly com2: boolean;
  readonly uart: UartOptions;
  /** Time of day at power-on, in seconds since 1970. */
  readonly startSeconds: number;
  /** The processor's registers, for VMware's backdoor; without them there is none. */
  readonly backdoor?: () => Registers;
}

export class Board implements StateOwner {
  readonly pic: Pic;
  readonly pit: Pit;
  readonly com1: Uart;
  readonly com2: Uart | undefined;
  readonly keyboard: KeyboardController;
  readonly pci: Pci;
  readonly #owners: Record<string, StateOwner>;

  constructor(vm: Vm, bus: Bus, options: BoardOptions) {
    const { clock } = vm;
    const end = (exit: VmExit) => vm.end(exit);
    const reset = () => end({ reason: "reset", status: 0 });
    const line = (irq: number) => (level: boolean) => this.pic.setLine(irq, level);
    const claim = (first: number, count: number, name: string, device: ByteDevice) =>
      claimBytePorts(bus, vm, first, count, name, device);

    this.pic = new Pic((level) => bus.setInterrupt(vm, level));
    bus.interruptController(vm, this.pic);
    claim(PIC1_COMMAND, 2, "interrupt controller 1", this.pic);
    claim(PIC2_COMMAND, 2, "interrupt controller 2", this.pic);
    claim(ELCR1, 2, "edge/level control", this.pic);

    this.pit = new Pit(clock, line(TIMER_IRQ));
    claim(PIT_COUNTER_0, PIT_CONTROL - PIT_COUNTER_0 + 1, "interval timer", this.pit);
    claim(SYSTEM_CONTROL_B, 1, "system control B", this.pit);

    this.com1 = new Uart("pc.com1", clock, COM1.base, line(COM1.irq), options.uart);
    claim(COM1.base, UART_PORTS, "COM1", this.com1);
    if (options.com2) {
      this.com2 = new Uart("pc.com2", clock, COM2.base, line(COM2.irq), options.uart);
      claim(COM2.base, UART_PORTS, "COM2", this.com2);
    }

    const rtc = new Rtc(clock, line(CLOCK_IRQ), options.startSeconds, vm.config.memoryMib);
    claim(CMOS_INDEX, 2, "CMOS clock", rtc);

    this.keyboard = new KeyboardController(line(KEYBOARD_IRQ), line(AUX_IRQ), reset);
    claim(KBC_DATA, 1, "keyboard controller data", this.keyboard);
    claim(KBC_COMMAND, 1, "keyboard controller command", this.keyboard);

    this.pci = new Pci(vm, bus, { setLine: (irq, level) => this.pic.setLine(irq, level), reset });
    bus.ports(vm, CONFIG_ADDRESS, PCI_PORTS, "PCI configuration", this.pci);
    // As firmware does: PCI interrupts are level-triggered, so that functions can share them.
    this.pic.setLevelTriggered(FIRMWARE_ROUTES.reduce<number>((irqs, irq) => irqs | (1 << irq), 0));

    const portA = new SystemControlA(reset), post = new PostCode(), dma = new Dma();
    claim(SYSTEM_CONTROL_A, 1, "system control A", portA);
    claim(POST_CODE, 1, "POST code", post);
    claim(DMA1, DMA1_PORTS, "DMA controller 1", dma);
    claim(DMA_PAGES, DMA_PAGES_PORTS, "DMA page registers", dma);
    claim(DMA2, DMA2_PORTS, "DMA controller 2", dma);

    bus.ports(vm, DEBUG_EXIT, DEBUG_EXIT_PORTS, "debug exit", new DebugExit(end));
    if (options.backdoor !== undefined) {
      bus.ports(vm, BACKDOOR_PORT, 1, "VMware backdoor", new Backdoor(vm, options.backdoor, options.startSeconds));
    }

    const { pic, pit, com1, keyboard, pci } = this;
    this.#owners = { pic, pit, com1, rtc, keyboard, pci, portA, post, dma };
    if (this.com2 !== undefined) this.#owners.com2 = this.com2;
  }

  save(): Saved {
    return Object.fromEntries(Object.entries(this.#owners).map(([name, owner]) => [name, owner.save()]));
  }
  restore(saved: Saved): void {
    const states = saved as Record<string, Saved>;
    for (const [name, owner] of Object.entries(this.#owners)) owner.restore(states[name]);
  }
  hash(hasher: Hasher): void {
    for (const owner of Object.values(this.#owners)) owner.hash?.(hasher);
  }
}
