// The second scene of page sharing: real Linux guests, stock Debian kernels, in place of a mosaic. Each is powered on by itself, a
// while after the one before, at a clock rate of its own and to work of its own, so that none is the same run as another; what
// they have in common is what their systems are made of (ESX paper, section 4.4).

import type { Vm } from "../../core/mod.ts";
import { defaultAppend } from "../../guests/linux/mod.ts";
import * as consoles from "../../plugins/console/mod.ts";
import { sharing } from "../../plugins/page-sharing/mod.ts";
import type { Scene, Stage } from "./framework/scene.ts";
import { readLinux } from "./linux_session.ts";

export const LINUX_VM_MIB = 64;
const SPARE_MIB = 64;
/** Host seconds: a boot at these clock rates and what is done after it, with time to be scanned. */
const BOOT_SECONDS = 32, WORK_SECONDS = 18, STAGE_SECONDS = BOOT_SECONDS + WORK_SECONDS;
/** Clock rates, so that timers tick at other instructions in each. */
const CLOCKS_MHZ = [100, 97, 103, 94];
export const MOST_LINUX_GUESTS = CLOCKS_MHZ.length;
/** What each is told to do. The files that they leave are in memory. */
const WORK = [
  "find / -xdev | sort > /tmp/a; sha256sum /bin/busybox >> /tmp/a",
  "seq 20000 | sort -rn > /tmp/b; gzip /tmp/b",
  "head -c 700000 /bin/busybox | tr a-m n-z > /tmp/c; wc /tmp/c",
  "for i in $(seq 30); do ls -lR /dev > /tmp/d$i; done",
];

/** So many guests, one after the other; `count` is told of the stage when the n-th has worked, and what it returns is kept by n. */
export async function linuxScene(
  guests: number,
  count: (stage: Stage) => Readonly<Record<string, number>>,
): Promise<Scene> {
  const { kernel, initrd } = await readLinux();
  let found: Readonly<Record<string, number>> = {};
  const name = (i: number) => `linux${i + 1}`;
  const numbers = Array.from({ length: guests }, (_, i) => i);
  return {
    hostMib: guests * LINUX_VM_MIB + SPARE_MIB,
    cpuMhz: CLOCKS_MHZ[0],
    plugins: ["page-sharing"],
    options: { "page-sharing": { scanMinutes: 1 / 6, maxRatePagesPerS: 4096, hostMibPerSPerGhz: 10_000 } },
    vms: numbers.map((i) => ({
      name: name(i),
      memoryMib: LINUX_VM_MIB,
      cpuMhz: CLOCKS_MHZ[i],
      startSeconds: i * STAGE_SECONDS,
      guest: { linux: { kernel, kernelName: "vmlinuz", initrd, append: `${defaultAppend} ballast.guest=${name(i)}` } },
    })),
    phases: numbers.flatMap((i) => [
      {
        atSeconds: i * STAGE_SECONDS + BOOT_SECONDS,
        does: `${name(i)}: ${WORK[i]}`,
        act: (stage: Stage) => type(stage, stage.vm(name(i)), WORK[i]),
      },
      {
        atSeconds: (i + 1) * STAGE_SECONDS - 1,
        does: `what ${i + 1} share is counted, after a whole pass`,
        act(stage: Stage) {
          if (i === 0) found = {};
          stage.host.service(sharing).scanAll();
          const figures = Object.entries(count(stage)).map(([figure, value]) => [`${i + 1}.${figure}`, value]);
          found = { ...found, ...Object.fromEntries(figures) };
        },
      },
    ]),
    untilSeconds: guests * STAGE_SECONDS,
    quantumMs: 10,
    sampleSeconds: 5,
    atEnd: () => found,
  };
}

function type({ host }: Stage, vm: Vm, command: string): void {
  host.service(consoles.consoleOf)(vm).input.push(new TextEncoder().encode(`${command}; echo all is done\n`));
}
