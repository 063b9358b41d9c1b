// The virtio plugin: carries paravirtual devices over PCI (Virtio 1.2). It adds nothing to a machine by itself; plugins
// that are devices attach to it.

import { definePlugin, z } from "../../core/mod.ts";
import * as memory from "../memory/mod.ts";
import * as pc from "../pc/mod.ts";
import { attach } from "./services.ts";
import { PciTransport } from "./transport.ts";

export * from "./services.ts";
export { Chain, type Segment } from "./chain.ts";
export { VirtQueue } from "./queue.ts";

export default definePlugin({
  name: "virtio",
  summary: "virtio over PCI: transport and queues for paravirtual devices",
  tier: "base",
  requires: ["memory", "x86", "pc"],
  options: z.strictObject({}),
  setup({ service, provide, stats, log }) {
    const memoryOf = service(memory.guest), busOf = service(pc.pci);
    const failures = stats.counter("failures", "times a driver broke the rules");
    provide(attach, (vm, device) => {
      let isTold = false;
      return new PciTransport(device, {
        memory: memoryOf(vm),
        bus: busOf(vm),
        failed: (reason) => {
          failures.value++;
          // Once: a hostile guest could fail for ever.
          if (!isTold) log(`${vm.name}: ${device.name} needs a reset: ${reason}`);
          isTold = true;
        },
      });
    });
  },
});
