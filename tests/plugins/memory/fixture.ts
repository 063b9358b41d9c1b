// Hosts with the memory plugin and nothing that executes, for tests of memory and of what stands on it.

import { definePlugin, Host, type Plugin, type Vm } from "../../../core/mod.ts";
import memory, {
  guest,
  type GuestMemory,
  machine,
  type MachineMemory,
  type Mechanism,
  mechanism,
  PAGE_SIZE,
  type Ppn,
  type SwapFile,
} from "../../../plugins/memory/mod.ts";
import { vmConfig } from "../../core/fake_executor.ts";

export const MIB = 1 << 20;
/** MiB that make one page. */
export const PAGE_MIB = PAGE_SIZE / MIB;

/** A host with machine memory, and short names for what the tests use of it. */
export interface MemoryHost {
  readonly host: Host;
  readonly machine: MachineMemory;
  readonly mechanism: Mechanism;
  /** Admits a VM of so many MiB; pages of it behave as the services say. */
  add(name: string, memoryMib: number): Vm;
  memoryOf(vm: Vm): GuestMemory;
}

export function memoryHost(memoryMib: number, ...plugins: readonly Plugin[]): MemoryHost {
  const host = new Host({ memoryMib, seed: 1, quantumNs: 1e6 });
  host.load({ plugin: memory }, ...plugins.map((plugin) => ({ plugin })));
  return {
    host,
    machine: host.service(machine),
    mechanism: host.service(mechanism),
    add: (name, mib) => host.add(vmConfig(name, { memoryMib: mib })),
    memoryOf: (vm) => host.service(guest)(vm),
  };
}

/** A swap file that is a Map. */
export class MapSwapFile implements SwapFile {
  readonly pages = new Map<string, Uint8Array>();
  readonly forgotten: string[] = [];

  write(vm: Vm, ppn: Ppn, contents: Uint8Array): void {
    this.pages.set(`${vm.name}/${ppn}`, contents.slice());
  }

  read(vm: Vm, ppn: Ppn, target: Uint8Array): void {
    const contents = this.pages.get(`${vm.name}/${ppn}`);
    if (contents === undefined) throw new Error(`page ${ppn} of ${vm.name} is not in the swap file`);
    target.set(contents);
  }

  forget(vm: Vm, ppn: Ppn, reason: "read" | "dropped"): void {
    this.pages.delete(`${vm.name}/${ppn}`);
    this.forgotten.push(`${vm.name}/${ppn} ${reason}`);
  }

  holds(vm: Vm, ppn: Ppn): boolean {
    return this.pages.has(`${vm.name}/${ppn}`);
  }
}

/** A policy that listens and nothing else. */
export function listening(setup: Plugin["setup"]): Plugin {
  return definePlugin({ name: "listening", requires: ["memory"], setup });
}

/** A page full of one byte. */
export function pageOf(byte: number): Uint8Array {
  return new Uint8Array(PAGE_SIZE).fill(byte);
}
