// The boot plugin: loads flat programs and Linux kernels, without firmware. What firmware would have done is done here,
// and the processor starts at the program's entry.

import { definePlugin, type Vm, z } from "../../core/mod.ts";
import * as memory from "../memory/mod.ts";
import * as x86 from "../x86/mod.ts";
import { checkFlatImage, FLAT_CODE_SELECTOR, FLAT_DATA_SELECTOR, PROTECTED_MODE_ESP, REAL_MODE_SP } from "./flat.ts";
import { BOOT_CS, BOOT_DS, layOutLinux } from "./linux.ts";
import { type BootSource, type FlatImage, type LinuxSource, loader } from "./services.ts";

export * from "./services.ts";

export default definePlugin({
  name: "boot",
  summary: "loads guests: flat programs, Linux by its 32-bit boot protocol",
  tier: "base",
  requires: ["memory", "x86", "pc"],
  options: z.strictObject({}),
  setup({ service, provide }) {
    const memoryOf = service(memory.guest), processorOf = service(x86.processor);

    function copy(vm: Vm, loads: FlatImage["loads"]): void {
      const guestMemory = memoryOf(vm);
      for (const { address, bytes } of loads) guestMemory.write(address, bytes);
    }

    function loadFlat(vm: Vm, image: FlatImage): void {
      checkFlatImage(image, memoryOf(vm).pages * memory.PAGE_SIZE);
      copy(vm, image.loads);
      const processor = processorOf(vm);
      if (image.mode === "real") {
        processor.enterReal({ cs: image.entry >> 4, ip: image.entry & 15, sp: REAL_MODE_SP });
      } else {
        processor.enterProtectedFlat({
          eip: image.entry,
          esp: PROTECTED_MODE_ESP,
          codeSelector: FLAT_CODE_SELECTOR,
          dataSelector: FLAT_DATA_SELECTOR,
        });
      }
    }

    function loadLinux(vm: Vm, source: LinuxSource): void {
      const layout = layOutLinux(source, memoryOf(vm).pages * memory.PAGE_SIZE);
      copy(vm, layout.loads);
      const processor = processorOf(vm);
      // No stack: the protocol leaves that to the kernel. EBP, EDI and EBX are 0 since power-on, as it asks.
      processor.enterProtectedFlat({ eip: layout.eip, esp: 0, codeSelector: BOOT_CS, dataSelector: BOOT_DS });
      processor.setRegister(x86.ESI, layout.bootParams);
      processor.setRegister(x86.state.GDTR_BASE, layout.gdt.base);
      processor.setRegister(x86.state.GDTR_LIMIT, layout.gdt.limit);
    }

    provide(loader, {
      load: (vm: Vm, source: BootSource) =>
        "image" in source ? loadFlat(vm, source.image) : loadLinux(vm, source.linux),
    });
  },
});
