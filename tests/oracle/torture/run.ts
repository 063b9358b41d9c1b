// Runs a section of the torture guest in a host with the base plugins.

import { Host } from "../../../core/mod.ts";
import type { GuestImage } from "../../../guests/guest.ts";
import bootPlugin, { loader } from "../../../plugins/boot/mod.ts";
import memoryPlugin from "../../../plugins/memory/mod.ts";
import pcPlugin, { serial } from "../../../plugins/pc/mod.ts";
import x86Plugin from "../../../plugins/x86/mod.ts";
import { MEMORY_MIB, sections } from "./sections.ts";

/** Far more steps than any section takes. */
const MOST_STEPS = 60_000_000;
/** Host memory beyond the guest's, for the hypervisor's own. */
const SPARE_MIB = 4;

/** The lines that section `name` prints. */
export function run(name: string): string[] {
  return runImage(name, sections[name].build());
}

/** The lines that an image prints; how the machine ended is the last, where it was not by the debug-exit port. */
export function runImage(name: string, image: GuestImage): string[] {
  const host = new Host({ memoryMib: MEMORY_MIB + SPARE_MIB, seed: 1, quantumNs: 1e6 });
  for (const plugin of [memoryPlugin, x86Plugin, pcPlugin, bootPlugin]) host.load({ plugin });
  const vm = host.add({ name, memoryMib: MEMORY_MIB, minMib: 0, shares: 1000, cpuMhz: 1000, options: {} });
  let text = "";
  host.service(serial)(vm).attach({
    transmit: (byte) => void (text += String.fromCharCode(byte)),
    nextByte: () => undefined,
  });
  host.service(loader).load(vm, { image });
  host.runTo(vm, MOST_STEPS);
  const ending = vm.exit?.reason === "debug-exit" ? "" : `ended by ${JSON.stringify(vm.exit)}`;
  return (text + ending).split("\n");
}
