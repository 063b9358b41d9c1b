// Boots Linux on Ballast in a process of its own: KERNEL INITRD APPEND MEMORY_MIB [PLUGIN | PLUGIN.OPTION=JSON...], "none"
// being base alone.
// The console is standard output; the process ends when it is killed or the guest ends.

import { addVm, createHost } from "../../cli/machine.ts";
import { definePlugin } from "../../core/mod.ts";
import * as consoles from "../../plugins/console/mod.ts";
import { consoleOut } from "./console_out.ts";

/** Machine memory beyond the guest's. */
const SPARE_MIB = 16;

const [kernelPath, initrdPath, append, memory, ...choices] = Deno.args;
const plugins = choices.filter((choice) => !choice.includes("=")).map((use) => {
  const settings = choices.filter((choice) => choice.startsWith(`${use}.`)).map((choice) =>
    choice.slice(use.length + 1)
  );
  const options = settings.map((setting) => {
    const [name, value] = setting.split("=");
    return [name, JSON.parse(value)];
  });
  return { use, options: Object.fromEntries(options) };
});
const memoryMib = Number(memory);
const [kernel, initrd] = [await Deno.readFile(kernelPath), await Deno.readFile(initrdPath)];
const write = consoleOut();
const host = createHost({
  memoryMib: memoryMib + SPARE_MIB,
  plugins: plugins.length === 0 ? undefined : plugins.filter(({ use }) => use !== "none"),
});
host.load({
  plugin: definePlugin({
    name: "console-out",
    requires: ["console"],
    setup: ({ on }) => void on(consoles.output, ({ byte }) => write(byte)),
  }),
});
const vm = addVm(host, { guest: { linux: { kernel, kernelName: kernelPath, initrd, append } }, memoryMib });
await host.run();
console.error(`the guest ended: ${vm.exit?.reason} ${vm.exit?.detail ?? ""}`);
Deno.exit(1);
