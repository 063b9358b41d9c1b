// Debian's own balloon drivers on the balloon plugin: VMware's vmw_balloon and virtio_balloon, unmodified, take memory from
// their guest and give it back, and no process ever reads a byte that it did not write.

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import type { PluginChoice } from "../../cli/catalogue.ts";
import { addVm } from "../../cli/machine.ts";
import type { SavedVm } from "../../core/mod.ts";
import { prepareLinux } from "../../guests/linux/mod.ts";
import { memoryWorkloads } from "../../guests/workloads/memory/mod.ts";
import balloonPlugin, { type BalloonReport, balloons, type Driver } from "../../plugins/balloon/mod.ts";
import * as memory from "../../plugins/memory/mod.ts";
import { Machine } from "./machine.ts";
import { cacheDir, linuxTest } from "./prepared.ts";

const MIB_PAGES = memory.FRAMES_PER_MIB, KIB_PER_MIB = 1024;
/** The balloon of the tests, and how exactly MemFree shows it: the kernel uses a little memory besides. */
const TARGET_MIB = 48, TOLERANCE_MIB = 2;
/** Guest seconds in which a driver that polls once a second has done what it was asked for. */
const SETTLE = "sleep 3";
/**
 * VMware's driver waits after its guest has run out of memory, and on a 32-bit kernel it believes that this has just happened
 * until the tick counter, which starts 300 seconds below zero, has wrapped.
 */
const UNTIL_WRAPPED = "sleep 302";

const modules: Readonly<Record<Exclude<Driver, "none">, readonly string[]>> = {
  vmware: ["vmw_balloon"],
  virtio: ["virtio_pci", "virtio_balloon"],
};

function plugins(driver: Driver, options: Readonly<Record<string, unknown>> = {}): readonly PluginChoice[] {
  return ["bt", { plugin: balloonPlugin, options: { driver, ...options } }];
}

const boots = new Map<Driver, Promise<SavedVm>>();

/** A guest at its shell with its driver loaded; booted once. */
function booted(driver: Exclude<Driver, "none">): Promise<SavedVm> {
  let boot = boots.get(driver);
  if (boot === undefined) boots.set(driver, boot = bootWith(driver));
  return boot;
}

async function bootWith(driver: Exclude<Driver, "none">): Promise<SavedVm> {
  const linux = await prepareLinux({
    cacheDir,
    modules: modules[driver],
    extraFiles: await memoryWorkloads(),
    log: () => {},
  });
  const machine = await Machine.powerOn(linux, { plugins: plugins(driver) });
  await machine.runUntil("/ # ");
  if (driver === "vmware") await machine.command(UNTIL_WRAPPED);
  machine.audit();
  return machine.host.save(machine.vm);
}

/** A machine that goes on from there, and what the tests ask of it. */
class BalloonMachine {
  constructor(readonly machine: Machine) {}

  static async restore(
    driver: Exclude<Driver, "none">,
    options: Readonly<Record<string, unknown>> = {},
  ): Promise<BalloonMachine> {
    return new BalloonMachine(Machine.restore(await booted(driver), { plugins: plugins(driver, options) }));
  }

  get report(): BalloonReport {
    return this.machine.host.service(balloons).report(this.machine.vm);
  }
  get actualMib(): number {
    return this.report.actualPages / MIB_PAGES;
  }
  get freeFramesMib(): number {
    return this.machine.host.service(memory.machine).freeFrames / MIB_PAGES;
  }

  setTarget(mib: number): void {
    this.machine.host.service(balloons).setTarget(this.machine.vm, mib * MIB_PAGES);
  }

  command(command: string): Promise<string> {
    return this.machine.command(command);
  }

  /** Inflates or deflates to a size, and gives the driver time for it. */
  async resize(mib: number): Promise<void> {
    this.setTarget(mib);
    await this.command(SETTLE);
  }

  /** What /proc/meminfo says, in MiB. */
  async meminfo(): Promise<{ total: number; free: number }> {
    const text = await this.command("cat /proc/meminfo");
    const field = (name: string) => Number(new RegExp(`^${name}: +(\\d+) kB$`, "m").exec(text)?.[1]) / KIB_PER_MIB;
    return { total: field("MemTotal"), free: field("MemFree") };
  }

  /** Uses nearly all memory once, so that there are frames behind it: the kernel does not clean what it gets back. */
  async dirtyFreeMemory(): Promise<void> {
    await this.command("dd if=/dev/zero of=/tmp/x bs=1M count=90; rm /tmp/x");
  }

  /** Pages in the balloon that hold a frame all the same. */
  framesInBalloon(): number {
    const { host, vm } = this.machine;
    const guest = host.service(memory.guest)(vm), mechanism = host.service(memory.mechanism);
    let held = 0;
    for (let ppn = 0; ppn < guest.pages; ppn++) {
      if (guest.stateOf(ppn) === memory.PageState.ballooned && mechanism.frameOf(vm, ppn) !== undefined) held++;
    }
    return held;
  }

  async kernelComplaints(): Promise<string> {
    return await this.command("dmesg | grep -iE 'oops|BUG|out of memory|killed|corrupt|bad page'");
  }
}

function assertNear(actual: number, expected: number, what: string): void {
  assert(
    Math.abs(actual - expected) <= TOLERANCE_MIB,
    `${what}: ${actual} MiB; expected ${expected} +- ${TOLERANCE_MIB}`,
  );
}

const kinds: readonly [driver: Exclude<Driver, "none">, module: string, totalFalls: boolean][] = [
  ["vmware", "vmw_balloon", false],
  ["virtio", "virtio_balloon", true],
];

for (const [driver, module, totalFalls] of kinds) {
  linuxTest(
    `${module}: a target of ${TARGET_MIB} MiB takes as much from the guest, frees the frames, and is undone`,
    async () => {
      const guest = await BalloonMachine.restore(driver);
      assertStringIncludes(await guest.command("lsmod"), `${module} `);
      assertEquals([guest.report.isConnected, guest.actualMib], [true, 0]);
      await guest.dirtyFreeMemory();
      const before = await guest.meminfo(), framesBefore = guest.freeFramesMib;
      await guest.resize(TARGET_MIB);
      const during = await guest.meminfo();
      assertEquals(guest.actualMib, TARGET_MIB);
      assertNear(before.free - during.free, TARGET_MIB, "MemFree fell");
      assertNear(before.total - during.total, totalFalls ? TARGET_MIB : 0, "MemTotal fell");
      assertEquals(guest.framesInBalloon(), 0);
      // What the balloon took was in use before but for the little that had never been.
      const freed = guest.freeFramesMib - framesBefore;
      assert(freed > TARGET_MIB - 8, `${freed} MiB of frames came free`);
      guest.machine.audit();
      await guest.resize(0);
      const after = await guest.meminfo();
      assertEquals(guest.actualMib, 0);
      assertNear(after.free, before.free, "MemFree afterwards");
      assertEquals(after.total, before.total);
      assertEquals(await guest.kernelComplaints(), "");
      guest.machine.audit();
    },
  );

  linuxTest(
    `${module}: a working set with checksums, files and processes see no wrong byte while the balloon breathes`,
    async () => {
      const guest = await BalloonMachine.restore(driver);
      await guest.dirtyFreeMemory();
      await guest.command("memory-toucher 16 12 1000 > /tmp/toucher &");
      await guest.command("churn 24 128 > /tmp/churned &");
      for (const mib of [60, 20, 66, 0, 50]) {
        await guest.resize(mib);
        guest.machine.audit();
      }
      await guest.resize(40);
      const results = await guest.command("wait; cat /tmp/toucher /tmp/churned");
      assertStringIncludes(results, "toucher: 4096 pages filled\ntoucher: 4096 pages intact\nchurn: 24 files intact\n");
      // VMware's driver gives nothing back for less than a large page, which is 4 MiB without PAE.
      assert(guest.actualMib >= 40 && guest.actualMib < 44, `the balloon holds ${guest.actualMib} MiB`);
      guest.machine.audit();
    },
  );

  linuxTest(`${module}: rmmod gives everything back, and the module can be loaded again`, async () => {
    const guest = await BalloonMachine.restore(driver);
    const before = await guest.meminfo();
    await guest.resize(TARGET_MIB);
    assertEquals(guest.actualMib, TARGET_MIB);
    await guest.command(`rmmod ${module}`);
    assertEquals([guest.report.isConnected, guest.actualMib], [false, 0]);
    const without = await guest.meminfo();
    assertNear(without.free, before.free, "MemFree without the module");
    assertEquals(without.total, before.total);
    await guest.command(`insmod $(find /lib/modules -name ${module}.ko); ${SETTLE}`);
    assertEquals([guest.report.isConnected, guest.actualMib], [true, TARGET_MIB]);
    assertEquals(await guest.kernelComplaints(), "");
    guest.machine.audit();
  });
}

/** Steps in which the drivers, asked at their start, inflate to their target. */
const INFLATION_STEPS = 150e6;

for (const [driver, module] of kinds) {
  linuxTest(`${module}: the interpreter and the translator inflate through the same states`, async () => {
    const hashes: string[] = [];
    for (const engine of [[], ["bt"]]) {
      const chosen = [...engine, { plugin: balloonPlugin, options: { driver } }];
      const guest = new BalloonMachine(Machine.restore(await booted(driver), { plugins: chosen }));
      const { machine } = guest;
      guest.setTarget(TARGET_MIB);
      await machine.runToStep(machine.vm.clock.steps + INFLATION_STEPS);
      assertEquals(guest.actualMib, TARGET_MIB);
      machine.audit();
      hashes.push(machine.host.stateHash(machine.vm));
    }
    assertEquals(hashes[0], hashes[1]);
  });
}

linuxTest(
  "vmw_balloon: a reset by the host, and a page that was used in the balloon, make the driver start over",
  async () => {
    const guest = await BalloonMachine.restore("vmware");
    const { host, vm } = guest.machine;
    await guest.dirtyFreeMemory();
    await guest.resize(TARGET_MIB);
    const pages = host.service(memory.guest)(vm), balloon = host.service(balloons);
    const events: readonly [what: string, happen: () => void][] = [
      ["a reset", () => balloon.reset(vm)],
      ["a page that is used", () => {
        const ppn = Array.from({ length: pages.pages }, (_, i) => i).find((i) =>
          pages.stateOf(i) === memory.PageState.ballooned
        );
        pages.write((ppn ?? 0) * memory.PAGE_SIZE, Uint8Array.of(1));
      }],
    ];
    for (const [what, happen] of events) {
      happen();
      assertEquals(guest.report.isConnected, false, what);
      await guest.command(SETTLE);
      assertEquals([guest.report.isConnected, guest.actualMib], [true, TARGET_MIB], what);
      guest.machine.audit();
    }
    assertEquals(await guest.kernelComplaints(), "");
  },
);

linuxTest("a guest that resets with its balloon inflated leaves every frame to others", async () => {
  const guest = await BalloonMachine.restore("vmware");
  await guest.resize(TARGET_MIB);
  guest.machine.type("reboot -f\n");
  await guest.machine.runToEnd();
  assertEquals(guest.machine.vm.exit?.reason, "reset");
  const { host } = guest.machine;
  addVm(host, { guest: "hello" });
  guest.machine.audit();
  const { private: used, shared } = host.service(memory.machine).frameCounts();
  assert(used + shared < MIB_PAGES, `${used + shared} frames are in use`);
});

linuxTest("virtio_balloon: its statistics are those of /proc/meminfo", async () => {
  const guest = await BalloonMachine.restore("virtio");
  await guest.resize(TARGET_MIB);
  const { total, free } = await guest.meminfo();
  const { statistics } = guest.report;
  const mib = (bytes = NaN) => bytes / KIB_PER_MIB / KIB_PER_MIB;
  assertEquals(mib(statistics.totalMemory), total);
  assertNear(mib(statistics.freeMemory), free, "freeMemory");
  assert((statistics.minorFaults ?? 0) > 100 && mib(statistics.diskCaches) > 1, JSON.stringify(statistics));
  const seen = statistics.minorFaults ?? 0;
  await guest.command("ls > /dev/null; sleep 2");
  assert((guest.report.statistics.minorFaults ?? 0) > seen, "no newer report came");
});

linuxTest("virtio_balloon: deflates when its guest runs out of memory, and nobody is killed", async () => {
  const loaded = await BalloonMachine.restore("virtio");
  await loaded.command("rmmod virtio_balloon");
  // What the device offers is asked for when the module is loaded.
  const options = { plugins: plugins("virtio", { deflateOnOom: true }) };
  const guest = new BalloonMachine(Machine.restore(loaded.machine.host.save(loaded.machine.vm), options));
  const before = await guest.meminfo();
  await guest.command("insmod $(find /lib/modules -name virtio_balloon.ko)");
  await guest.resize(60);
  assertEquals(guest.actualMib, 60);
  assertEquals((await guest.meminfo()).total, before.total);
  assertMatch(await guest.command("memory-toucher 60 2 100"), /toucher: 15360 pages intact/);
  assert(guest.actualMib < 50, `the balloon still holds ${guest.actualMib} MiB`);
  assertEquals(await guest.kernelComplaints(), "");
  guest.machine.audit();
});

linuxTest("the memory workloads run on Linux, and say so when a byte is not what it was", async () => {
  const guest = await BalloonMachine.restore("virtio");
  const { machine } = guest;
  // The kernel's own messages stay off the console.
  await guest.command("dmesg -n 1; yes ballast | head -c 3000000 > /tmp/disk");
  const cases: readonly [command: string, output: string][] = [
    ["file-cache /tmp/disk 2 2", "file-cache: 2 rounds of 2 MiB the same\n"],
    ["churn 9 16", "churn: 9 files intact\n"],
    ["idle 1", "idle: 1 seconds\n"],
    ["memory-toucher 1 2 0", "toucher: 256 pages filled\ntoucher: 256 pages intact\n"],
    ["memory-toucher 1 2; echo $?", "2\n"],
    ["memory-toucher 1000 1 1; echo $?", "2\n"],
    ["churn 1; echo $?", "usage: churn ROUNDS KIB\n2\n"],
  ];
  for (const [command, output] of cases) assertEquals(await guest.command(command), output, command);
  machine.type("memory-toucher 1 2 1000\n");
  await machine.runUntil("pages filled\n");
  // Page 200, before the first pass.
  const pattern = Math.imul(201, 0x9e37_79b1) >>> 0, pages = machine.host.service(memory.guest)(machine.vm);
  const word = new Uint8Array(4), view = new DataView(word.buffer);
  let found = 0;
  for (let ppn = 0; ppn < pages.pages; ppn++) {
    pages.read(ppn * memory.PAGE_SIZE + 1000, word);
    if (view.getUint32(0, true) !== pattern) continue;
    pages.write(ppn * memory.PAGE_SIZE + 1000, Uint8Array.of(word[0] ^ 1));
    found++;
  }
  assertEquals(found, 1);
  await machine.runUntil("toucher: corrupt page 200\n");
});
