// What gdb and the VMs of a host say to each other, packet by packet and without a socket, for tests.

import { assertEquals } from "@std/assert";
import type { PluginChoice } from "../../../cli/catalogue.ts";
import { addVm, createHost, type GuestChoice } from "../../../cli/machine.ts";
import { type Host, type Vm, vmExited } from "../../../core/mod.ts";
import { debug, GdbSession, stopped } from "../../../plugins/debugger/mod.ts";
import * as memory from "../../../plugins/memory/mod.ts";
import * as x86 from "../../../plugins/x86/mod.ts";
import { runToStop } from "./machine.ts";

export interface Dialogue {
  readonly host: Host;
  readonly vms: readonly Vm[];
  readonly cpus: readonly x86.Processor[];
  /** Sends a packet; the answer, or undefined while there is none. */
  ask(packet: string): string | undefined;
  /** Sends a packet that makes the host run; what is said of the stop. */
  run(packet: string): Promise<string | undefined>;
}

/** A host with these guests, the first of which has stopped before its first instruction as gdb connects. */
export function dialogueOf(
  guests: readonly GuestChoice[],
  options: { readonly plugins?: readonly PluginChoice[]; readonly quantumNs?: number } = {},
): Dialogue {
  const { plugins = [], quantumNs } = options;
  const host = createHost({ memoryMib: 32, plugins: [...plugins, "debugger"], quantumNs });
  const vms = guests.map((guest) => addVm(host, { guest, memoryMib: 4 }));
  const cpus = vms.map(host.service(x86.processor)), debugService = host.service(debug);
  debugService.pause(vms[0]);
  const sent: string[] = [];
  const targets = vms.map((vm, i) => ({
    vm,
    cpu: cpus[i],
    memory: host.service(memory.guest)(vm),
    nameOf: () => "here",
    addressOf: () => 16,
  }));
  const session = new GdbSession(targets, debugService, (data) => sent.push(data));
  host.bus.on(stopped, "test", (stop: Parameters<GdbSession["stopped"]>[0]) => session.stopped(stop));
  host.bus.on(vmExited, "test", () => session.exited());
  const ask = (packet: string) => {
    session.handle(packet);
    return sent.shift();
  };
  const run = async (packet: string) => {
    assertEquals(ask(packet), undefined, packet);
    await runToStop({ host });
    return sent.shift();
  };
  return { host, vms, cpus, ask, run };
}

/** A number as packets have it. */
export const hex = (value: number | undefined) => (value ?? 0).toString(16);

/** A 32-bit register's bytes as packets have them. */
export const wordHex = (value: number) =>
  [0, 8, 16, 24].map((shift) => ((value >>> shift) & 0xff).toString(16).padStart(2, "0")).join("");
