// The command `linux`: prepares Debian's i386 kernel and an initramfs, and boots them to a shell on the serial console.

import { fromFileUrl } from "@std/path";
import { InputError } from "../core/mod.ts";
import { defaultAppend, LinuxUnavailable, prepareLinux } from "../guests/linux/mod.ts";
import { parseConfig } from "./config.ts";
import type { CommandSpec, Given } from "./options.ts";
import { runConfig, runOptions } from "./run.ts";
import { writeStderr } from "./session.ts";

/** Where packages and images are kept, in the project's folder. */
const CACHE_FOLDER = "cache";

export const linuxCommand: CommandSpec = {
  name: "linux",
  summary: "Boots Debian's own kernel to a shell; the first time, apt fetches about 53 MB.",
  options: [
    { name: "append", value: "STRING", help: `added to the kernel command line: ${defaultAppend}` },
    { name: "pae", help: "take Debian's kernel with PAE" },
    { name: "prepare", help: "fetch and build only" },
    ...runOptions,
  ],
  notes: "\nIn a terminal Ctrl-C goes to the guest and Ctrl-A x quits; `poweroff -f` in the guest ends the run.",
};

export async function linux(given: Given): Promise<number> {
  const prepared = await prepare(given.has("pae"));
  if (given.has("prepare")) {
    writeStderr(`Linux ${prepared.version} is ready: ${prepared.kernel}\n`);
    return 0;
  }
  const append = [defaultAppend, given.text("append")].filter((text) => text !== undefined).join(" ");
  const vm = { name: "linux", kernel: prepared.kernel, initrd: prepared.initrd, append };
  return await runConfig(parseConfig({ vms: [vm] }, "the options"), given, CACHE_FOLDER);
}

async function prepare(pae: boolean) {
  const cacheDir = fromFileUrl(new URL(`../${CACHE_FOLDER}`, import.meta.url));
  try {
    return await prepareLinux({
      cacheDir,
      flavour: pae ? "686-pae" : "686",
      log: (line) => writeStderr(`linux: ${line}\n`),
    });
  } catch (cause) {
    if (cause instanceof LinuxUnavailable) throw new InputError(cause.message, { cause });
    if (cause instanceof Deno.errors.NotCapable) {
      throw new InputError(
        `preparing Linux: ${cause.message.split("\n")[0]} (\`deno task linux\` gives all it needs)`,
        {
          cause,
        },
      );
    }
    throw cause;
  }
}
