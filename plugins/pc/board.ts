// The main board of one VM: makes its devices, wires their lines, and claims their ports. Where the PC/AT's layout of
// ports and interrupt lines is decided, and nothing else.

import type { Hasher, Saved, StateOwner, Vm, VmExit } from "../../core/mod.ts";
import type { Bus } from "../x86/mod.ts";
import { ACPI_PM_BASE, ACPI_PM_PORTS, AcpiPm, SCI_IRQ } from "./devices/acpi_pm.ts";
import { COPROCESSOR_ERROR, CoprocessorError } from "./devices/coprocessor.ts";
import { DEBUG_EXIT, DEBUG_EXIT_PORTS, DebugExit } from "./devices/debug_exit.ts";
import { Dma, DMA1, DMA1_PORTS, DMA2, DMA2_PORTS, DMA_PAGES, DMA_PAGES_PORTS } from "./devices/dma.ts";
import { IO_APIC_BASE, IO_APIC_BYTES, IoApic } from "./devices/io_apic.ts";
import { type ByteDevice, claimBytePorts } from "./devices/isa.ts";
import { KBC_COMMAND, KBC_DATA, KeyboardController } from "./devices/keyboard.ts";
import {
  AUX_IRQ,
  CLOCK_IRQ,
  COPROCESSOR_IRQ,
  IO_APIC_8259_INPUT,
  ioApicInputOf,
  KEYBOARD_IRQ,
  TIMER_IRQ,
} from "./devices/lines.ts";
import { LINT0, LOCAL_APIC_BASE, LOCAL_APIC_BYTES, LocalApic } from "./devices/local_apic.ts";
import { CONFIG_ADDRESS, FIRMWARE_ROUTES, Pci, PCI_PORTS } from "./devices/pci.ts";
import { ELCR1, Pic, PIC1_COMMAND, PIC2_COMMAND } from "./devices/pic.ts";
import { Pit, PIT_CONTROL, PIT_COUNTER_0, SYSTEM_CONTROL_B } from "./devices/pit.ts";
import { SYSTEM_CONTROL_A, SystemControlA } from "./devices/port92.ts";
import { POST_CODE, PostCode } from "./devices/post80.ts";
import { CMOS_INDEX, Rtc } from "./devices/rtc.ts";
import * as testDevice from "./devices/test_device.ts";
import { COM1, COM2, Uart, UART_PORTS, type UartOptions } from "./devices/uart.ts";
import { Backdoor, BACKDOOR_PORT, type Registers } from "./devices/vmware.ts";

export interface BoardOptions {
  readonly com2: boolean;
  readonly uart: UartOptions;
  /** Time of day at power-on, in seconds since 1970. */
  readonly startSeconds: number;
  /** The power management registers. */
  readonly acpi: boolean;
  /** The two APICs, and the rate of the local one's timer. */
  readonly apic: boolean;
  readonly busMhz: number;
  /** Physical address at which the guest wants to resume from S3: what its FACS says. */
  readonly wakingVector: () => number;
  /** The device that test images drive. */
  readonly testDevice?: boolean;
  /** The processor's registers, for VMware's backdoor; without them there is none. */
  readonly backdoor?: () => Registers;
}

export class Board implements StateOwner {
  readonly pic: Pic;
  readonly apic: LocalApic | undefined;
  readonly ioApic: IoApic | undefined;
  readonly pit: Pit;
  readonly com1: Uart;
  readonly com2: Uart | undefined;
  readonly keyboard: KeyboardController;
  readonly pci: Pci;
  readonly coprocessor: CoprocessorError;
  readonly #owners: readonly [name: string, owner: StateOwner][];

  constructor(vm: Vm, bus: Bus, options: BoardOptions) {
    const { clock } = vm;
    const end = (exit: VmExit) => vm.end(exit);
    const reset = () => end({ reason: "reset", status: 0 });
    // Both controllers see every line; the guest masks what it does not want in one of them.
    const setLine = (irq: number, level: boolean) => {
      this.pic.setLine(irq, level);
      this.ioApic?.setInput(ioApicInputOf(irq), level);
    };
    const line = (irq: number) => (level: boolean) => setLine(irq, level);
    const claim = (first: number, count: number, name: string, device: ByteDevice) =>
      claimBytePorts(bus, vm, first, count, name, device);

    this.pic = new Pic((level) => {
      if (this.apic === undefined) bus.setInterrupt(vm, level);
      this.apic?.setLint(LINT0, level);
      this.ioApic?.setInput(IO_APIC_8259_INPUT, level);
    });
    if (options.apic) {
      this.apic = new LocalApic(clock, options.busMhz, {
        interrupt: (level) => bus.setInterrupt(vm, level),
        nmi: () => bus.raiseNmi(vm),
        init: reset,
        acknowledgeExternal: () => this.pic.acknowledge(),
        endOfInterrupt: (vector) => this.ioApic?.endOfInterrupt(vector),
      });
      this.ioApic = new IoApic(this.apic);
      bus.memory(vm, LOCAL_APIC_BASE, LOCAL_APIC_BYTES, "local APIC", this.apic);
      bus.memory(vm, IO_APIC_BASE, IO_APIC_BYTES, "I/O APIC", this.ioApic);
    }
    bus.interruptController(vm, this.apic ?? this.pic);
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

    const acpi = !options.acpi ? undefined : new AcpiPm(
      clock,
      (level) => setLine(SCI_IRQ, level || this.pci.drives(SCI_IRQ)),
      {
        powerOff: () => end({ reason: "power-off", status: 0 }),
        suspend: () => bus.suspend(vm),
        resume: () => bus.resume(vm, options.wakingVector()),
      },
    );
    if (acpi !== undefined) {
      claim(ACPI_PM_BASE, ACPI_PM_PORTS, "ACPI power management", acpi);
      rtc.onAlarm = () => acpi.alarm();
    }

    // One line is power management's too: it is high while either wants it.
    const setPciLine = (irq: number, level: boolean) => setLine(irq, level || (irq === SCI_IRQ && !!acpi?.sciLevel));
    this.pci = new Pci(vm, bus, { setLine: setPciLine, reset });
    bus.ports(vm, CONFIG_ADDRESS, PCI_PORTS, "PCI configuration", this.pci);
    // As firmware does: PCI interrupts are level-triggered, so that functions can share them.
    this.pic.setLevelTriggered(FIRMWARE_ROUTES.reduce<number>((irqs, irq) => irqs | (1 << irq), 0));

    const portA = new SystemControlA(reset), post = new PostCode(), dma = new Dma();
    this.coprocessor = new CoprocessorError(line(COPROCESSOR_IRQ));
    claim(COPROCESSOR_ERROR, 1, "coprocessor error", this.coprocessor);
    claim(SYSTEM_CONTROL_A, 1, "system control A", portA);
    claim(POST_CODE, 1, "POST code", post);
    claim(DMA1, DMA1_PORTS, "DMA controller 1", dma);
    claim(DMA_PAGES, DMA_PAGES_PORTS, "DMA page registers", dma);
    claim(DMA2, DMA2_PORTS, "DMA controller 2", dma);

    bus.ports(vm, DEBUG_EXIT, DEBUG_EXIT_PORTS, "debug exit", new DebugExit(end));
    if (options.backdoor !== undefined) {
      bus.ports(
        vm,
        BACKDOOR_PORT,
        1,
        "VMware backdoor",
        new Backdoor(vm, options.backdoor, options.startSeconds, options.busMhz),
      );
    }

    const test = options.testDevice ? new testDevice.TestDevice(setLine) : undefined;
    if (test !== undefined) {
      const { TEST_LINES, TEST_LINES_PORTS, TEST_MEMORY_BASE, TEST_MEMORY_BYTES } = testDevice;
      bus.ports(vm, testDevice.TEST_REGISTER, testDevice.TEST_REGISTER_PORTS, "test register", test.register);
      bus.ports(vm, TEST_LINES, TEST_LINES_PORTS, "test interrupt lines", test.lines);
      bus.memory(vm, TEST_MEMORY_BASE, TEST_MEMORY_BYTES, "test memory", test.memory);
    }

    // The APICs come first: restored, they know the levels that the 8259s then say again.
    const { apic, ioApic, pic, pit, com1, com2, keyboard, pci, coprocessor } = this;
    const owners: Record<string, StateOwner | undefined> = {
      apic,
      ioApic,
      pic,
      pit,
      com1,
      com2,
      rtc,
      keyboard,
      pci,
      acpi,
      coprocessor,
      portA,
      post,
      dma,
      test,
    };
    this.#owners = Object.entries(owners).flatMap(([name, owner]) => owner === undefined ? [] : [[name, owner]]);
  }

  save(): Saved {
    return Object.fromEntries(this.#owners.map(([name, owner]) => [name, owner.save()]));
  }
  restore(saved: Saved): void {
    const states = saved as Record<string, Saved>;
    for (const [name, owner] of this.#owners) owner.restore(states[name]);
  }
  hash(hasher: Hasher): void {
    for (const [, owner] of this.#owners) owner.hash?.(hasher);
  }
}
