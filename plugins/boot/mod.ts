// The boot plugin: loads flat programs, Linux and Multiboot kernels, without firmware. What firmware would have done is
// done here, and the processor starts at the program's entry.

import { definePlugin, type Vm, z } from "../../core/mod.ts";
import * as memory from "../memory/mod.ts";
import * as pc from "../pc/mod.ts";
import * as x86 from "../x86/mod.ts";
import { checkFlatImage, FLAT_CODE_SELECTOR, FLAT_DATA_SELECTOR, PROTECTED_MODE_ESP, REAL_MODE_SP } from "./flat.ts";
import { BOOT_CS, BOOT_DS, layOutLinux } from "./linux.ts";
import { findMultibootHeader, layOutMultiboot, MULTIBOOT_BOOTLOADER_MAGIC } from "./multiboot.ts";
import {
  type BootSource,
  type FlatImage,
  type LinuxSource,
  loader,
  type MultibootSource,
  textScreen,
} from "./services.ts";

export * from "./services.ts";
export { findMultibootHeader } from "./multiboot.ts";

export default definePlugin({
  name: "boot",
  summary: "loads guests: flat programs, Linux by its 32-bit boot protocol, Multiboot kernels",
  tier: "base",
  requires: ["memory", "x86", "pc"],
  options: z.strictObject({}),
  setup({ service, provide, port }) {
    const memoryOf = service(memory.guest), processorOf = service(x86.processor);
    const firmwareOf = service(pc.firmware);
    const screens = port(textScreen);

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
      const layout = layOutLinux(source, memoryOf(vm).pages * memory.PAGE_SIZE, screens.ask(vm));
      copy(vm, firmwareOf(vm));
      copy(vm, layout.loads);
      const processor = processorOf(vm);
      // No stack: the protocol leaves that to the kernel. EBP, EDI and EBX are 0 since power-on, as it asks.
      processor.enterProtectedFlat({ eip: layout.eip, esp: 0, codeSelector: BOOT_CS, dataSelector: BOOT_DS });
      processor.setRegister(x86.ESI, layout.bootParams);
      processor.setRegister(x86.state.GDTR_BASE, layout.gdt.base);
      processor.setRegister(x86.state.GDTR_LIMIT, layout.gdt.limit);
    }

    function loadMultiboot(vm: Vm, source: MultibootSource): void {
      const layout = layOutMultiboot(source, memoryOf(vm).pages * memory.PAGE_SIZE, screens.ask(vm));
      copy(vm, firmwareOf(vm));
      copy(vm, layout.loads);
      const processor = processorOf(vm);
      processor.enterProtectedFlat({
        eip: layout.entry,
        esp: 0,
        codeSelector: FLAT_CODE_SELECTOR,
        dataSelector: FLAT_DATA_SELECTOR,
      });
      processor.setRegister(x86.EAX, MULTIBOOT_BOOTLOADER_MAGIC);
      processor.setRegister(x86.EBX, layout.information);
    }

    provide(loader, {
      load(vm: Vm, source: BootSource) {
        if ("image" in source) return loadFlat(vm, source.image);
        if ("multiboot" in source) return loadMultiboot(vm, source.multiboot);
        const { linux } = source;
        if (findMultibootHeader(linux.kernel) === undefined) return loadLinux(vm, linux);
        const modules = linux.initrd === undefined ? [] : [{ bytes: linux.initrd, text: linux.initrdName }];
        loadMultiboot(vm, { kernel: linux.kernel, kernelName: linux.kernelName, append: linux.append, modules });
      },
    });
  },
});
