// The virtio-console plugin: a paravirtual console (/dev/hvc0 in a Linux guest) for the VMs whose options ask for one.

import {
  definePlugin,
  type Hasher,
  InputError,
  type Saved,
  service as declareService,
  type StateOwner,
  type Vm,
  z,
} from "../../core/mod.ts";
import * as memory from "../memory/mod.ts";
import type { SerialPort } from "../pc/mod.ts";
import * as virtio from "../virtio/mod.ts";
import { ConsoleDevice } from "./device.ts";

/** The near end of a VM's virtio console, with the contract of a serial port. Throws InputError where there is none. */
export const consolePort = declareService<(vm: Vm) => SerialPort>("virtio-console.port");

const vmOptions = z.strictObject({
  enabled: z.boolean().default(false).describe("whether the VM has a virtio console"),
});

const NS_PER_MS = 1e6;

/** A VM's console, if it has one. */
class MaybeConsole implements StateOwner {
  constructor(readonly device: ConsoleDevice | undefined) {}
  save(): Saved {
    return this.device?.save() ?? null;
  }
  restore(saved: Saved): void {
    this.device?.restore(saved);
  }
  hash(hasher: Hasher): void {
    this.device?.hash(hasher);
  }
}

export default definePlugin({
  name: "virtio-console",
  summary: "virtio consoles for the VMs whose options ask for one",
  tier: "base",
  requires: ["memory", "pc", "virtio"],
  vmOptions,
  options: z.strictObject({
    settleMs: z.number().min(0).default(100)
      .describe("guest ms that a driver is given between its first buffer and its first input"),
  }),
  setup({ options, service, provide, perVm, vmOptions: vmOptionsOf }) {
    const memoryOf = service(memory.guest), attach = service(virtio.attach);
    const consoles = perVm((vm) => {
      const { enabled } = vmOptions.parse(vmOptionsOf(vm));
      if (!enabled) return new MaybeConsole(undefined);
      const settleNs = options.settleMs * NS_PER_MS;
      return new MaybeConsole(
        new ConsoleDevice(vm.clock, memoryOf(vm), settleNs, (device) => attach(vm, device)),
      );
    });
    provide(consolePort, (vm) => {
      const { device } = consoles(vm);
      if (device === undefined) {
        throw new InputError(`VM "${vm.name}" has no virtio console; set its option virtio-console.enabled`);
      }
      return device;
    });
  },
});
