// A whole boot by the command line, in a process of its own: it ends as asked, and passes the same states as the boot that
// the other tests share (law 2).

import { assertEquals } from "@std/assert";
import { defaultAppend, picOnlyAppend } from "../../guests/linux/mod.ts";
import { ballast } from "../cli/command.ts";
import { bootLinux } from "./boot.ts";
import { HASH_EVERY_STEPS } from "./machine.ts";
import { linuxTest } from "./prepared.ts";

// Base, and translated: law 1 over all of a boot.
for (const plugins of ["none", "bt"]) {
  linuxTest(
    `the command line boots Linux through the same states as any other process, plugins: ${plugins}`,
    async (linux) => {
      const { record } = await bootLinux(linux);
      const images = [
        "--kernel",
        linux.kernel,
        "--initrd",
        linux.initrd,
        "--append",
        `${defaultAppend} ${picOnlyAppend}`,
      ];
      const options = ["--plugins", plugins, "--until", "/ # ", "--state-hash", String(HASH_EVERY_STEPS)];
      const { status, stdout, stderr } = await ballast(["run", ...images, ...options]);
      assertEquals(status, 0, stderr);
      assertEquals(stdout.replaceAll("\r", ""), record.console);
      assertEquals(stderr, record.hashes.map(([steps, hash]) => `state-hash ${steps} ${hash}\n`).join(""));
    },
  );
}
