// The PC: the devices around the processor, each in its own file under devices/, put together for every VM by the board.
// Ports nobody claims read as ones.

import { definePlugin, InputError, z } from "../../core/mod.ts";
import * as memory from "../memory/mod.ts";
import * as x86 from "../x86/mod.ts";
import { Board } from "./board.ts";
import { IA32_APIC_BASE } from "./devices/local_apic.ts";
import { BUS_MHZ, vmwareCpuid } from "./devices/vmware.ts";
import { startBiosTimer } from "./firmware/bios_timer.ts";
import { FIRMWARE_WAKING_VECTOR } from "./firmware/acpi.ts";
import { FACS_ADDRESS, firmwareTables } from "./firmware/layout.ts";
import { biosTimer, firmware, keyboard, pci, serial } from "./services.ts";

export * from "./services.ts";

/** CPUID leaf 1, EDX: there is a local APIC. */
const LEAF_FEATURES = 1, FEATURE_APIC = 1 << 9;
const NS_PER_MS = 1e6, MS_PER_SECOND = 1000;

export default definePlugin({
  name: "pc",
  summary: "PC/AT devices: 8259s, APICs, timers, serial ports, keyboard, PCI, ACPI, debug exit, VMware personality",
  tier: "base",
  requires: ["memory", "x86"],
  options: z.strictObject({
    vmware: z.boolean().default(true).describe("VMware's CPUID leaves and backdoor port"),
    apic: z.boolean().default(true).describe("a local APIC and an I/O APIC beside the 8259s"),
    acpi: z.boolean().default(true).describe("ACPI's tables, power management timer and power-off"),
    busMhz: z.int().min(1).max(1000).default(BUS_MHZ).describe("rate of the local APIC's timer, before its divider"),
    startTime: z.iso.datetime().default("2026-01-01T00:00:00Z").describe("the guest's time of day (UTC) at power-on"),
    com2: z.boolean().default(false).describe("a second serial port"),
    testDevice: z.boolean().default(false).describe("the device that test images for virtual machines drive"),
    pacedTransmit: z.boolean().default(false).describe("serial ports transmit at the programmed rate, not at once"),
    serialSettleMs: z.number().min(0).default(20)
      .describe("guest ms for which a serial driver must be idle before its first byte comes"),
  }),
  setup({ options, on, service, provide, perVm }) {
    const bus = service(x86.bus), processor = service(x86.processor), guestMemory = service(memory.guest);
    const startSeconds = Math.floor(Date.parse(options.startTime) / MS_PER_SECOND);
    const boards = perVm((vm) => {
      const board = new Board(vm, bus, {
        com2: options.com2,
        uart: { pacedTransmit: options.pacedTransmit, settleNs: options.serialSettleMs * NS_PER_MS },
        startSeconds,
        acpi: options.acpi,
        apic: options.apic,
        busMhz: options.busMhz,
        wakingVector: () => {
          const word = new Uint8Array(4);
          guestMemory(vm).read(FACS_ADDRESS + FIRMWARE_WAKING_VECTOR, word);
          return new DataView(word.buffer).getUint32(0, true);
        },
        testDevice: options.testDevice,
        backdoor: options.vmware ? () => processor(vm) : undefined,
      });
      processor(vm).fpu.onError = (level) => board.coprocessor.setFerr(level);
      return board;
    });
    provide(serial, (vm, port = 1) => {
      const uart = port === 1 ? boards(vm).com1 : boards(vm).com2;
      if (uart === undefined) throw new InputError(`VM "${vm.name}" has no COM2; set the option pc.com2`);
      return uart;
    });
    provide(keyboard, (vm) => boards(vm).keyboard);
    provide(pci, (vm) => boards(vm).pci);
    provide(biosTimer, (vm) => startBiosTimer(boards(vm).pic, boards(vm).pit));
    provide(firmware, (vm) => {
      const { eax: signature, edx: features } = processor(vm).hooks.cpuid(vm, LEAF_FEATURES, 0);
      const { acpi, apic, com2 } = options;
      return firmwareTables({ acpi, apic, com2, processor: { signature, features } });
    });
    if (options.apic) {
      on(x86.cpuid, (result, { vm, leaf }) => {
        if (leaf !== LEAF_FEATURES || !boards(vm).apic?.enabled) return result;
        return { ...result, edx: result.edx | FEATURE_APIC };
      });
      on(x86.readMsr, ({ vm, msr }) => msr === IA32_APIC_BASE ? boards(vm).apic?.readBase() : undefined);
      on(x86.writeMsr, ({ vm, msr, low, high }) => {
        return msr === IA32_APIC_BASE && boards(vm).apic?.writeBase(low, high) ? true : undefined;
      });
    }
    if (options.vmware) {
      on(x86.cpuid, (result, { vm, leaf }) => vmwareCpuid(result, leaf, vm.config.cpuMhz, options.busMhz));
    }
  },
});
