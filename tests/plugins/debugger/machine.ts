// Small machines for the tests of tools: a guest written in a test, run with chosen plugins.

import { addVm, createHost, type GuestChoice } from "../../../cli/machine.ts";
import type { PluginChoice } from "../../../cli/catalogue.ts";
import type { Host, Vm } from "../../../core/mod.ts";
import { Assembler } from "../../../guests/assembler/mod.ts";
import { debug, type Debugger } from "../../../plugins/debugger/mod.ts";
import * as x86 from "../../../plugins/x86/mod.ts";

/** Where programs of tests begin: flat protected mode. */
export const ORIGIN = 0x10_0000;

export interface Program {
  readonly guest: GuestChoice;
  readonly labels: ReadonlyMap<string, number>;
}

/** A program in flat protected mode, interrupts off. */
export function program(write: (asm: Assembler) => void): Program {
  const asm = new Assembler({ origin: ORIGIN, bits: 32 });
  write(asm);
  const { bytes, labels } = asm.assemble();
  return { guest: { image: { loads: [{ address: ORIGIN, bytes }], entry: ORIGIN, mode: "protected" } }, labels };
}

export interface Machine {
  readonly host: Host;
  readonly vm: Vm;
  readonly cpu: x86.Processor;
}

export function machineOf(guest: GuestChoice, plugins: readonly PluginChoice[], memoryMib = 4): Machine {
  const host = createHost({ memoryMib: 32, plugins });
  const vm = addVm(host, { guest, memoryMib });
  return { host, vm, cpu: host.service(x86.processor)(vm) };
}

/** Runs until a VM stops in the debugger or all have ended. */
export async function runToStop({ host }: Pick<Machine, "host">): Promise<Debugger["stopped"]> {
  const debugService = host.service(debug);
  await host.run({ stop: () => debugService.stopped !== undefined });
  return debugService.stopped;
}
