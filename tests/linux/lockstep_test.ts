// Law 1 over a Linux session that forks, executes, maps and unmaps without end, under each MMU plugin: the adapting translator
// and the interpreter go step by step alike, compared every 10,000 steps, from the shell's prompt until the guest halts.

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import type { PluginChoice } from "../../cli/catalogue.ts";
import type { SavedVm } from "../../core/mod.ts";
import type { PreparedLinux } from "../../guests/linux/mod.ts";
import * as debug from "../../plugins/debugger/mod.ts";
import { bootLinux } from "./boot.ts";
import { Machine } from "./machine.ts";
import { linuxTest } from "./prepared.ts";

/** Typed all at once; the shell reads a line when it is done with the one before. */
const SESSION = [
  "for i in 1 2 3 4 5 6; do (echo $i | sed s/1/2/ | cat) & done; wait",
  "i=0; while [ $i -lt 30 ]; do x=$(echo $i | tr 0-9 a-j); i=$((i+1)); done",
  "cd /tmp; cp /bin/busybox .; for i in 1 2 3 4 5 6; do ./busybox true; done",
  "./busybox seq 1 1000 | ./busybox sort -rn | ./busybox md5sum; rm busybox",
  "dd if=/dev/zero bs=1M count=1 2>/dev/null | md5sum; ls -l /proc/self/exe",
  "awk 'BEGIN { for (i = 0; i < 3000; i++) a[i] = i; print length(a) }'",
  "tar cf - /etc /init | gzip -1 | gunzip | tar tf - | wc -l",
  "sh -c 'kill -9 $$'; sh -c 'sh -c \"sh -c true\"' && echo deep",
  "sh -c 'f() { f; }; ulimit -s 128; f' 2>/dev/null; echo stack $?",
  "grep -e pgfault /proc/vmstat; echo forks $(awk '/processes/ { print $2 }' /proc/stat)",
  "poweroff -f",
];
const LEAST_COMPARISONS = 5_000, MOST_STEPS = 2e9, LEAST_PROCESSES = 200;

const ADAPTING: readonly PluginChoice[] = ["bt", { use: "adaptive-bt", options: { threshold: 5, innocentAfter: 500 } }];

/** Where the session begins, by the plugin that manages memory: each is a machine of its own from power-on. */
const mmus: readonly { name: string; mmu: readonly PluginChoice[]; start(linux: PreparedLinux): Promise<SavedVm> }[] = [
  { name: "flush", mmu: [], start: async (linux) => await (await bootLinux(linux)).saved("shell") },
  {
    name: "shadow-mmu",
    mmu: ["shadow-mmu"],
    async start(linux) {
      const machine = await Machine.powerOn(linux, { plugins: [...ADAPTING, "shadow-mmu"] });
      await machine.runUntil("/ # ");
      return machine.host.save(machine.vm);
    },
  },
];

for (const { name, mmu, start } of mmus) {
  linuxTest(
    `the adapting translator and the interpreter go alike through a forking session under ${name}`,
    async (linux) => {
      const saved = await start(linux);
      const machines = [[...ADAPTING, ...mmu], mmu].map((plugins) => Machine.restore(saved, { plugins }));
      const [first, second] = machines.map(({ host, vm }, i) => ({ name: i === 0 ? "bt" : "interpreter", host, vm }));
      for (const machine of machines) machine.type(SESSION.map((line) => `${line}\n`).join(""));
      const lockstep = new debug.Lockstep(first, second);
      const mostSteps = first.vm.clock.steps + MOST_STEPS;
      for (;;) {
        const outcome = lockstep.advance(mostSteps);
        assert(typeof outcome === "string", typeof outcome === "string" ? "" : outcome.report);
        if (outcome === "ended") break;
      }
      const { text } = machines[0];
      assertEquals(machines.map(({ vm }) => vm.exit?.reason), ["halt", "halt"], text.slice(-500));
      assert(lockstep.comparisons > LEAST_COMPARISONS, `${lockstep.comparisons} comparisons`);
      const processes = Number(/^forks (\d+)$/m.exec(text)?.[1]);
      assert(processes > LEAST_PROCESSES, `${processes} processes`);
      // A shell that recurses until its stack ends dies of it.
      assertStringIncludes(text, "\nstack 139\n");
      const { adaptations } = first.host.plugins.loaded.get("adaptive-bt")?.stats.snapshot() ?? {};
      // Without traces nothing traps here: the kernel is left the PIC alone, which it reaches by ports.
      assertEquals(adaptations > 0, mmu.length > 0, `${adaptations} adaptations`);
    },
  );
}
