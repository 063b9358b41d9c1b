// The attack on page sharing that salting is against: a guest guesses what another holds, waits until equal pages are merged,
// and times its first writes to them (Suzaki et al., 2011). A guest's own clock tells it nothing here, as copying is
// host time (law 2); the probe is timed from outside, by what its VM is charged, as a colluder with a clock would.

import { assertEquals, assertGreater } from "@std/assert";
import { addVm, createHost, type VmOptions } from "../../../cli/machine.ts";
import { definePlugin } from "../../../core/mod.ts";
import { type Assembler, eax, ebx, ecx, edi, edx, mem32 } from "../../../guests/assembler/mod.ts";
import { buildProtected, FREE_MEMORY, print } from "../../../guests/runtime.ts";
import * as console from "../../../plugins/console/mod.ts";
import { PAGE_SIZE } from "../../../plugins/memory/mod.ts";
import pageSharing, { sharing } from "../../../plugins/page-sharing/mod.ts";

const PAGES = 32, MEMORY_MIB = 4, COPY_NS = 1000;
const RIGHT = FREE_MEMORY, WRONG = FREE_MEMORY + PAGES * PAGE_SIZE;
/** Page i of the victim is full of SECRET + i. */
const SECRET = 0x5ec2_0000, OTHER = 0x1234_0000;
/** Rounds of a loop of two steps for which the probe waits: many passes of the scan. */
const PATIENCE = 1_500_000;

/** Fills PAGES pages from `address` on with words that are `first` in the first page, one more in the next, and so on. */
function fillPages(asm: Assembler, address: number, first: number): void {
  const next = asm.uniqueLabel("fill");
  asm.mov(edi, address).mov(eax, first).label(next).mov(ecx, PAGE_SIZE / 4).rep().stosd();
  asm.inc(eax).cmp(eax, first + PAGES).jb(next);
}

/** Writes to each of PAGES pages, and prints the name and how long that took by the time stamp counter. */
function timeWrites(asm: Assembler, name: string, address: number): void {
  const next = asm.uniqueLabel("write");
  asm.rdtsc().mov(ebx, eax).mov(edi, address).mov(ecx, PAGES);
  asm.label(next).mov(mem32(edi), 0).add(edi, PAGE_SIZE).dec(ecx).jnz(next);
  asm.rdtsc().sub(eax, ebx).mov(edx, eax);
  print(asm, `${name} `);
  asm.mov(eax, edx).call("printDecimal");
  print(asm, "\n");
}

const victim: VmOptions = {
  name: "victim",
  memoryMib: MEMORY_MIB,
  guest: {
    image: buildProtected((asm) => {
      fillPages(asm, RIGHT, SECRET);
      asm.label("ever").jmp("ever");
    }),
  },
};

const probe: VmOptions = {
  name: "probe",
  memoryMib: MEMORY_MIB,
  guest: {
    image: buildProtected((asm) => {
      fillPages(asm, RIGHT, SECRET);
      fillPages(asm, WRONG, OTHER);
      asm.mov(ecx, PATIENCE).label("wait").dec(ecx).jnz("wait");
      print(asm, "ready\n");
      timeWrites(asm, "right", RIGHT);
      timeWrites(asm, "wrong", WRONG);
    }),
  },
};

/** Runs the probe beside the victim: what it printed, what each half of its writes was charged, and pages merged before. */
async function run(salt: string) {
  const eagerly = { scanMinutes: 1e-6, maxRatePagesPerS: 1e6, hostMibPerSPerGhz: 1e6, periodMs: 1 };
  const lines: string[] = [], charged: number[] = [];
  let mergedPages = 0;
  const watcher = definePlugin({
    name: "watcher",
    requires: ["console", "page-sharing"],
    setup({ on, service }) {
      const shared = service(sharing);
      on(console.line, ({ vm, line }) => {
        if (vm.name !== "probe") return;
        if (lines.length === 0) mergedPages = shared.figures().reclaimedPages - shared.figures().zeroPages;
        lines.push(line.trim());
        charged.push(vm.chargedNs);
      });
    },
  });
  // Scanning is for nothing here, so that copies alone are charged.
  const options = { ...eagerly, salt, scanPageNs: 0, comparePageNs: 0 };
  const host = createHost({
    memoryMib: 32,
    plugins: [{ plugin: pageSharing, options }, watcher],
    options: { memory: { copyPageNs: COPY_NS } },
  });
  addVm(host, victim);
  const attacker = addVm(host, probe);
  await host.run({ stop: () => attacker.state === "exited" });
  const [ready, right, wrong] = charged;
  return { lines, rightNs: right - ready, wrongNs: wrong - right, mergedPages };
}

Deno.test("writes to pages that a guest guessed right cost host time without a salt, and none with a salt for each VM", async () => {
  const unsalted = await run("none"), salted = await run("vm");
  assertGreater(unsalted.mergedPages, PAGES - 2);
  assertEquals(unsalted.rightNs - unsalted.wrongNs, PAGES * COPY_NS, "the guess is confirmed");
  assertEquals(salted.rightNs, salted.wrongNs, "nothing is learned");
});

Deno.test("a guest's own clock tells nothing about what was shared", async () => {
  const unsalted = await run("none"), salted = await run("vm");
  assertEquals(unsalted.lines, salted.lines);
  const [, right, wrong] = unsalted.lines;
  assertEquals(right.replace("right", ""), wrong.replace("wrong", ""));
});
