// The vga plugin: a text-mode VGA for the VMs whose options ask for one, as its BIOS leaves it in mode 3, and a typist for
// the keyboard. Kernels are told of the adapter when they are loaded.

import { definePlugin, type Hasher, InputError, type Saved, type StateOwner, z } from "../../core/mod.ts";
import * as boot from "../boot/mod.ts";
import * as pc from "../pc/mod.ts";
import * as x86 from "../x86/mod.ts";
import { VgaAdapter } from "./adapter.ts";
import { VGA_WINDOW, VGA_WINDOW_BYTES } from "./memory.ts";
import { PORT_RANGES } from "./registers.ts";
import { screen, typist } from "./services.ts";
import { PacedTypist } from "./typing.ts";

export * from "./services.ts";

const vmOptions = z.strictObject({
  enabled: z.boolean().default(false).describe("whether the VM has a VGA"),
});

/** Mode 3, as the adapter is at power-on. */
const TEXT_MODE: boot.TextScreenMode = { address: 0xb_8000, columns: 80, rows: 25, characterLines: 16 };
const NS_PER_MS = 1e6;

/** A VM's adapter, if it has one. */
class MaybeAdapter implements StateOwner {
  constructor(readonly adapter: VgaAdapter | undefined) {}
  save(): Saved {
    return this.adapter?.save() ?? null;
  }
  restore(saved: Saved): void {
    this.adapter?.restore(saved);
  }
  hash(hasher: Hasher): void {
    this.adapter?.hash(hasher);
  }
}

export default definePlugin({
  name: "vga",
  summary: "text-mode VGA for the VMs whose options ask for one, and a typist for the keyboard",
  tier: "base",
  requires: ["x86", "pc", "boot"],
  vmOptions,
  options: z.strictObject({
    keyMs: z.number().min(0.001).default(10).describe("guest ms between two keys that are typed"),
  }),
  setup({ options, on, service, provide, perVm, vmOptions: vmOptionsOf }) {
    const bus = service(x86.bus), keyboardOf = service(pc.keyboard);
    const adapters = perVm((vm) => {
      if (!vmOptions.parse(vmOptionsOf(vm)).enabled) return new MaybeAdapter(undefined);
      const adapter = new VgaAdapter(vm.clock);
      for (const [first, count] of PORT_RANGES) bus.ports(vm, first, count, "VGA", adapter);
      bus.memory(vm, VGA_WINDOW, VGA_WINDOW_BYTES, "VGA", adapter.memory);
      return new MaybeAdapter(adapter);
    });
    const typists = perVm((vm) => new PacedTypist(vm.clock, keyboardOf(vm), options.keyMs * NS_PER_MS));

    on(boot.textScreen, (vm) => adapters(vm).adapter && TEXT_MODE);

    provide(screen, (vm) => {
      const { adapter } = adapters(vm);
      if (adapter === undefined) throw new InputError(`VM "${vm.name}" has no VGA; set its option vga.enabled`);
      return adapter.screen();
    });
    provide(typist, (vm) => typists(vm));
  },
});
