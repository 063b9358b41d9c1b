// Runs a guest on our machine for a bench: alone, on base or with given plugins, to its end.

import { addVm, createHost, type GuestChoice, type HostOptions } from "../cli/machine.ts";
import { definePlugin } from "../core/mod.ts";
import * as consoles from "../plugins/console/mod.ts";
import { type Measured, startMeasuring } from "./rates.ts";

const HOST_MIB = 64;

/** The time is that of the run, not of making the host. Throws unless the guest ends well. */
export async function runHere(
  guest: GuestChoice,
  options: HostOptions = { plugins: [] },
  memoryMib?: number,
): Promise<Measured & { readonly output: string }> {
  const host = createHost({ memoryMib: HOST_MIB, ...options });
  const printed: number[] = [];
  host.load({
    plugin: definePlugin({
      name: "printed",
      requires: ["console"],
      setup: ({ on }) => void on(consoles.output, ({ byte }) => void printed.push(byte)),
    }),
  });
  const vm = addVm(host, { guest, memoryMib });
  const stopMeasuring = startMeasuring();
  await host.run();
  const measured = stopMeasuring(vm.clock.steps);
  if (vm.exit?.status !== 0) throw new Error(`the guest ended with ${JSON.stringify(vm.exit)}`);
  return { ...measured, output: String.fromCharCode(...printed) };
}
