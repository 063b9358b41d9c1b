// How long Debian's Linux takes from power-on to the shell's prompt. Needs a filled cache (deno task linux --prepare), and
// is left out without one.

import { fromFileUrl } from "@std/path";
import { addVm, createHost } from "../cli/machine.ts";
import { definePlugin } from "../core/mod.ts";
import { defaultAppend, LinuxUnavailable, prepareLinux } from "../guests/linux/mod.ts";
import * as consoles from "../plugins/console/mod.ts";
import { type Measured, Rates, startMeasuring } from "./rates.ts";

const PROMPT = "/ # ";
const NAME = "boot of Linux to a shell";
const cacheDir = Deno.env.get("BALLAST_CACHE") ?? fromFileUrl(new URL("../cache", import.meta.url));

// No search path: what is not in the cache is not fetched by a bench.
const linux = await prepareLinux({ cacheDir, log: () => {}, apt: { searchPath: "" } }).catch((error: unknown) => {
  if (!(error instanceof LinuxUnavailable)) throw error;
  return undefined;
});
const rates = new Rates("Boot of Linux");

Deno.bench(NAME, { n: 1, warmup: 0, ignore: linux === undefined }, async (bench) => {
  if (linux === undefined) return;
  const [kernel, initrd] = [await Deno.readFile(linux.kernel), await Deno.readFile(linux.initrd)];
  bench.start();
  const measured = await boot(kernel, initrd);
  bench.end();
  rates.add(NAME, measured);
  const { instructions, wallSeconds, cpuSeconds } = measured;
  const times = `${wallSeconds.toFixed(1)} s, ${cpuSeconds.toFixed(1)} s of CPU`;
  console.log(`\n${NAME}: ${times}, ${(instructions / 1e6).toFixed(0)} M instructions`);
});

async function boot(kernel: Uint8Array, initrd: Uint8Array): Promise<Measured> {
  const stopMeasuring = startMeasuring();
  const host = createHost({ plugins: [] });
  let tail = "";
  host.load({
    plugin: definePlugin({
      name: "prompt",
      requires: ["console"],
      setup: ({ on }) =>
        void on(consoles.output, ({ vm, byte }) => {
          tail = (tail + String.fromCharCode(byte)).slice(-PROMPT.length);
          if (tail === PROMPT) vm.end({ reason: "stopped", status: 0 });
        }),
    }),
  });
  const vm = addVm(host, { guest: { linux: { kernel, kernelName: "vmlinuz", initrd, append: defaultAppend } } });
  await host.run();
  if (vm.exit?.reason !== "stopped") throw new Error(`Linux ended with ${JSON.stringify(vm.exit)}`);
  return stopMeasuring(vm.clock.steps);
}
