// Ballast, a hypervisor in TypeScript: its public API under the bare name "ballast", and, run as a program, its command
// line. Plugins from outside import only this.

import { main } from "./cli/main.ts";

export * from "./core/mod.ts";
export * as memory from "./plugins/memory/mod.ts";
export * as allocator from "./plugins/allocator/mod.ts";
export * as swap from "./plugins/swap/mod.ts";
export * as pageSharing from "./plugins/page-sharing/mod.ts";
export * as ksmScan from "./plugins/ksm-scan/mod.ts";
export * as mom from "./plugins/mom/mod.ts";
export * as taxAllocator from "./plugins/tax-allocator/mod.ts";
export * as x86 from "./plugins/x86/mod.ts";
export * as pc from "./plugins/pc/mod.ts";
export * as bt from "./plugins/bt/mod.ts";
export * as vga from "./plugins/vga/mod.ts";
export * as virtio from "./plugins/virtio/mod.ts";
export * as virtioBlock from "./plugins/virtio-block/mod.ts";
export * as virtioConsole from "./plugins/virtio-console/mod.ts";
export * as boot from "./plugins/boot/mod.ts";
export * as console from "./plugins/console/mod.ts";
export * as symbols from "./plugins/symbols/mod.ts";
export * as trace from "./plugins/trace/mod.ts";
export * as debugging from "./plugins/debugger/mod.ts";
export * from "./cli/machine.ts";
export { builtinPlugins, choosePlugins, type PluginChoice } from "./cli/catalogue.ts";
export { loadPlugin } from "./cli/plugin_files.ts";
export { restoreVm, saveVm, type SealedVm } from "./cli/saved_state.ts";
export { makeReport, type RunReport, type VmMemoryReport, type VmReport } from "./cli/report.ts";

if (import.meta.main) main(Deno.args).then((status) => Deno.exit(status));
