// The VMware personality: CPUID leaves by which a guest knows its hypervisor, and the backdoor port by which it asks for
// clock rates and memory size (VMware knowledge base 1009458 and "Timekeeping in VMware Virtual Machines"; open-vm-tools,
// backdoor_def.h; Linux, arch/x86/kernel/cpu/vmware.c). With it Linux takes the TSC rate as told, and its balloon driver
// loads. What is not here answers as a command unknown to the hypervisor does.

import type { Vm } from "../../../core/mod.ts";
import type { AccessSize, CpuidResult, PortDevice } from "../../x86/mod.ts";

/** The backdoor: IN EAX, DX with this magic number in EAX and a command in CX. */
export const BACKDOOR_PORT = 0x5658, BACKDOOR_MAGIC = 0x564d5868;
export const BackdoorCommand = { GET_VERSION: 10, GET_MEMORY_SIZE: 20, GET_TIME: 23, GET_HZ: 45 } as const;
const COMMAND_MASK = 0xffff;
/** Result of a command that the hypervisor does not know. */
const UNKNOWN = 0xffff_ffff;
/** Version of the interface, and the product: ESX. */
const INTERFACE_VERSION = 6, PRODUCT_ESX = 2;
/** Rate of the local APIC's timer: VMware's own. */
export const BUS_MHZ = 66;

/** CPUID. */
const LEAF_FEATURES = 1, HYPERVISOR_PRESENT = 0x8000_0000;
export const LEAF_HYPERVISOR = 0x4000_0000, LEAF_TIMING = 0x4000_0010;
/** "VMwareVMware" as three little-endian words. */
const SIGNATURE = { ebx: 0x61774d56, ecx: 0x4d566572, edx: 0x65726177 } as const;

/** Numbers of the registers that carry arguments and results. */
const EAX = 0, ECX = 1, EDX = 2, EBX = 3;
const KILO = 1000, NS_PER_US = 1000, NS_PER_SECOND = 1e9, RANGE_32 = 0x1_0000_0000;

/** The processor's general registers, by their number in an instruction. Values are 32 bits, signed or not. */
export interface Registers {
  getRegister(register: number): number;
  setRegister(register: number, value: number): void;
}

/** Replaces what a CPUID leaf says by what VMware's says. */
export function vmwareCpuid(result: CpuidResult, leaf: number, cpuMhz: number, busMhz: number): CpuidResult {
  if (leaf === LEAF_FEATURES) return { ...result, ecx: (result.ecx | HYPERVISOR_PRESENT) >>> 0 };
  if (leaf === LEAF_HYPERVISOR) return { eax: LEAF_TIMING, ...SIGNATURE };
  if (leaf === LEAF_TIMING) return { eax: cpuMhz * KILO, ebx: busMhz * KILO, ecx: 0, edx: 0 };
  return leaf > LEAF_HYPERVISOR && leaf < LEAF_TIMING ? { eax: 0, ebx: 0, ecx: 0, edx: 0 } : result;
}

/** The backdoor. `startSeconds` is the guest's time of day at power-on, in seconds since 1970. Has no state. */
export class Backdoor implements PortDevice {
  constructor(
    readonly vm: Vm,
    readonly registers: () => Registers,
    readonly startSeconds: number,
    readonly busMhz: number,
  ) {}

  /** Results go to EAX, by IN itself, and to other registers. Without the magic number this is a port nobody claimed. */
  read(_port: number, size: AccessSize): number {
    const cpu = this.registers();
    if (size !== 4 || cpu.getRegister(EAX) >>> 0 !== BACKDOOR_MAGIC) return UNKNOWN >>> (32 - 8 * size);
    const { clock, config } = this.vm;
    switch (cpu.getRegister(ECX) & COMMAND_MASK) {
      case BackdoorCommand.GET_VERSION:
        cpu.setRegister(EBX, BACKDOOR_MAGIC);
        cpu.setRegister(ECX, PRODUCT_ESX);
        return INTERFACE_VERSION;
      case BackdoorCommand.GET_MEMORY_SIZE:
        return config.memoryMib;
      case BackdoorCommand.GET_TIME: {
        const nowNs = clock.nowNs();
        cpu.setRegister(EBX, Math.floor((nowNs % NS_PER_SECOND) / NS_PER_US));
        // No lag behind real time, and minutes west of Greenwich.
        cpu.setRegister(ECX, 0);
        cpu.setRegister(EDX, 0);
        return (this.startSeconds + Math.floor(nowNs / NS_PER_SECOND)) >>> 0;
      }
      case BackdoorCommand.GET_HZ: {
        const hz = config.cpuMhz * KILO * KILO;
        cpu.setRegister(EBX, Math.floor(hz / RANGE_32));
        cpu.setRegister(ECX, this.busMhz * KILO * KILO);
        return hz % RANGE_32;
      }
      default:
        cpu.setRegister(EBX, UNKNOWN);
        return UNKNOWN;
    }
  }

  /** OUT asks nothing here. */
  write(_port: number, _size: AccessSize, _value: number): void {}
}
