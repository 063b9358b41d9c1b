// A whole machine for device targets: every device that there is, a guest that takes its interrupts and does nothing else,
// and accesses from outside as that guest could make them, each checked to give a value of its size.

import { addVm, createHost } from "../../cli/machine.ts";
import type { Host, Vm } from "../../core/mod.ts";
import * as a from "../../guests/assembler/mod.ts";
import * as memory from "../../plugins/memory/mod.ts";
import * as x86 from "../../plugins/x86/mod.ts";

export type Size = 1 | 2 | 4;
export const MEMORY_MIB = 2, MEMORY_BYTES = MEMORY_MIB << 20;
const ENTRY = 0x7c00, HANDLER = 0x7d00;
/** Where PCI functions begin to have their registers, and the bits that enable them. */
const PCI_ADDRESS = 0xcf8,
  PCI_DATA = 0xcfc,
  PCI_COMMAND = 4,
  PCI_BAR0 = 0x10,
  PCI_ENABLE = 0x8000_0000,
  ALL_ENABLED = 7;
/** Timers that one stretch of time may fire before it is cut short: a guest may have armed the fastest there is. */
const MOST_TIMERS = 200;

export class DeviceMachine {
  readonly host: Host;
  readonly vm: Vm;
  readonly cpu: x86.Processor;
  readonly memory: memory.GuestMemory;

  constructor(readonly driver: "vmware" | "virtio" = "virtio") {
    this.host = createHost({
      memoryMib: MEMORY_MIB + 4,
      plugins: ["balloon"],
      options: { pc: { com2: true, testDevice: true }, balloon: { driver, targetMib: 1 } },
    });
    this.vm = addVm(this.host, {
      guest: { image: { loads: loads(), entry: ENTRY, mode: "real" } },
      memoryMib: MEMORY_MIB,
      options: {
        vga: { enabled: true },
        "virtio-console": { enabled: true },
        "virtio-block": { disks: [{ sizeMib: 1 }] },
      },
    });
    this.cpu = this.host.service(x86.processor)(this.vm);
    this.memory = this.host.service(memory.guest)(this.vm);
  }

  in(port: number, size: Size): number {
    return checked(this.cpu.io.read(this.cpu, port, size), size, `port ${port.toString(16)}h`);
  }

  out(port: number, size: Size, value: number): void {
    this.cpu.io.write(this.cpu, port, size, value);
  }

  load(physical: number, size: Size): number {
    const value = this.cpu.mmu.readSlow(physical | 0, size, 0);
    if (!Number.isInteger(value)) throw new Error(`memory at ${physical.toString(16)}h reads as ${value}`);
    return value;
  }

  store(physical: number, size: Size, value: number): void {
    this.cpu.mmu.writeSlow(physical | 0, size, value | 0, 0);
  }

  /** Lets the guest run for so many steps, and take what interrupts there are. */
  run(steps: number): void {
    this.goOn();
    this.host.runTo(this.vm, this.vm.clock.steps + steps);
  }

  /** Lets guest time pass, timer by timer. */
  pass(ns: number): void {
    const { clock } = this.vm, end = clock.nowNs() + ns;
    for (let fired = 0; fired < MOST_TIMERS && clock.nowNs() < end; fired++) {
      clock.pass(Math.min(end, Math.max(clock.nextTimerNs(), clock.nowNs())) - clock.nowNs());
      clock.fireDue();
    }
  }

  /** A device may have ended the VM, as it should; the case goes on. */
  goOn(): void {
    if (this.vm.exit?.reason === "failed") throw new Error(`the VM failed: ${this.vm.exit.detail}`);
    this.vm.exit = undefined;
    this.vm.state = "ready";
  }

  /** Another machine in this one's state, which must hash the same. */
  copy(): DeviceMachine {
    this.goOn();
    const other = new DeviceMachine(this.driver);
    other.host.restore(other.vm, this.host.save(this.vm));
    const [mine, theirs] = [this.host.stateHash(this.vm), other.host.stateHash(other.vm)];
    if (mine !== theirs) throw new Error(`saved and restored, the state's hash is ${theirs} in place of ${mine}`);
    return other;
  }

  audit(): void {
    this.host.service(memory.machine).audit();
  }

  /** Register of a PCI function: 32 bits. */
  pciRead(device: number, register: number): number {
    this.out(PCI_ADDRESS, 4, (PCI_ENABLE | device << 11 | register) >>> 0);
    return this.in(PCI_DATA, 4);
  }

  /** Enables the virtio function of a type, which is BAR 0's address away. */
  virtio(type: number): number {
    for (let device = 0; device < 32; device++) {
      if (this.pciRead(device, 0) !== ((0x1040 + type) << 16 | 0x1af4) >>> 0) continue;
      this.pciRead(device, PCI_COMMAND);
      this.out(PCI_DATA, 2, ALL_ENABLED);
      return (this.pciRead(device, PCI_BAR0) & ~0xf) >>> 0;
    }
    throw new Error(`no virtio device of type ${type} on the bus`);
  }
}

function checked(value: number, size: Size, where: string): number {
  // A port that nobody claims reads as -1.
  if (value === -1 || (Number.isInteger(value) && value >= 0 && value < 2 ** (8 * size))) return value;
  throw new Error(`${where} reads as ${value} in ${size} bytes`);
}

/** A real-mode program that waits for interrupts and ends each at both controllers. */
function loads(): { address: number; bytes: Uint8Array }[] {
  const main = new a.Assembler({ origin: ENTRY, bits: 16 });
  main.sti().label("wait").inc(a.cx).jmp("wait");
  const handler = new a.Assembler({ origin: HANDLER, bits: 16 });
  handler.push(a.ax).mov(a.al, 0x20).out(0x20, a.al).out(0xa0, a.al).pop(a.ax).iret();
  return [
    { address: 0, bytes: new Uint8Array(new Uint32Array(256).fill(HANDLER).buffer) },
    { address: ENTRY, bytes: main.assemble().bytes },
    { address: HANDLER, bytes: handler.assemble().bytes },
  ];
}
