// The balloon plugin: takes memory back from guests by a driver inside each, which knows best what the guest can spare (ESX
// paper, section 3.2). It speaks two protocols, so that drivers which nobody here wrote can be used: VMware's own, and
// virtio-balloon. Sizes come from the allocator, or by hand.

import { definePlugin, type Hasher, type Saved, type StateOwner, turnEnded, type Vm, z } from "../../core/mod.ts";
import * as allocator from "../allocator/mod.ts";
import * as memory from "../memory/mod.ts";
import * as virtio from "../virtio/mod.ts";
import * as x86 from "../x86/mod.ts";
import { Balloon } from "./balloon.ts";
import { type BalloonReport, balloons, type Driver, DRIVERS, STATISTICS } from "./services.ts";
import { VirtioBalloon } from "./virtio.ts";
import { BALLOON_PORT, VmwareBalloon } from "./vmware.ts";

export * from "./services.ts";
export { BALLOON_MAGIC, BALLOON_PORT, Capability, Command, Status } from "./vmware.ts";

const NS_PER_SECOND = 1e9, PERCENT = 100;
/** Statistics in bytes; the others count events, or pages that were looked at. */
const IN_BYTES: ReadonlySet<string> = new Set([
  "swapIn",
  "swapOut",
  "freeMemory",
  "totalMemory",
  "availableMemory",
  "diskCaches",
]);

const targetMib = z.number().min(0).describe("size of the balloon in MiB, by hand; the allocator may ask for more");
const driver = z.enum(DRIVERS).describe(
  "the device that the guest's driver finds: VMware's port (32-bit Linux takes no page in its first 300 s), a virtio " +
    "device, or none",
);
/** What a VM's own options may say in place of the plugin's. */
const vmOptions = z.strictObject({ targetMib: targetMib.optional(), driver: driver.optional() });

/** A VM's balloon with the device in front of it. */
class VmBalloon implements StateOwner {
  constructor(
    readonly balloon: Balloon,
    readonly driver: Driver,
    readonly device: VmwareBalloon | VirtioBalloon | undefined,
  ) {}

  report(): BalloonReport {
    const { balloon, driver, device } = this;
    return {
      driver,
      isConnected: device?.isConnected ?? false,
      targetPages: balloon.targetPages,
      actualPages: balloon.actualPages,
      statistics: device instanceof VirtioBalloon ? device.statistics : {},
    };
  }

  save(): Saved {
    const { byHand, byAllocator } = this.balloon;
    return { byHand, byAllocator, device: this.device?.save() ?? null };
  }

  restore(saved: Saved): void {
    const { byHand, byAllocator, device } = saved as { byHand: number; byAllocator: number; device: Saved };
    Object.assign(this.balloon, { byHand, byAllocator });
    if (device !== null) this.device?.restore(device);
  }

  /** VMware's port is not there for a guest that has not begun to speak on it: then nothing of this enters its state. */
  get hash(): ((hasher: Hasher) => void) | undefined {
    const { device } = this;
    if (device === undefined || (device instanceof VmwareBalloon && !device.isConnected)) return undefined;
    return (hasher) => device.hash(hasher);
  }
}

export default definePlugin({
  name: "balloon",
  summary: "reclaims memory by a driver in the guest: VMware's protocol and virtio-balloon",
  tier: "enhanced",
  requires: ["memory", "allocator", "x86", "virtio"],
  vmOptions,
  options: z.strictObject({
    targetMib: targetMib.default(0),
    driver: driver.default("vmware"),
    maxPercent: z.number().min(0).max(PERCENT).default(65).describe(
      "most of a VM's memory that its balloon may take, in %",
    ),
    pageNs: z.int().min(0).default(500).describe("host time charged for each page that goes in or out"),
    deflateOnOom: z.boolean().default(false)
      .describe("a virtio driver may take pages back when its guest runs out of memory"),
    statsPeriodSeconds: z.number().min(0).default(1)
      .describe("guest seconds from one report of a virtio driver's statistics to the next; 0 for none"),
  }),
  setup({ options, host, on, service, provide, perVm, vmOptions: vmOptionsOf, stats }) {
    const memoryOf = service(memory.guest), mechanism = service(memory.mechanism), reports = service(memory.report);
    const bus = service(x86.bus), processor = service(x86.processor), attach = service(virtio.attach);
    const counters = {
      inflateCount: stats.counter("inflateCount", "requests"),
      deflateCount: stats.counter("deflateCount", "requests"),
      inflatedPages: stats.counter("inflatedPages", "pages"),
      deflatedPages: stats.counter("deflatedPages", "pages"),
      poppedPages: stats.counter("poppedPages", "pages"),
      refusedPages: stats.counter("refusedPages", "pages"),
      statsUpdatesCount: stats.counter("statsUpdatesCount", "reports"),
    };

    const balloonOf = perVm((vm) => {
      const given = vmOptions.parse(vmOptionsOf(vm));
      const guest = memoryOf(vm);
      const balloon = new Balloon({
        vm,
        memory: guest,
        mechanism,
        counters,
        actualPages: () => reports.vm(vm).balloonedPages,
        mostPages: Math.floor((guest.pages * options.maxPercent) / PERCENT),
        charge: (pages) => host.charge(vm, pages * options.pageNs),
      });
      balloon.byHand = (given.targetMib ?? options.targetMib) * memory.FRAMES_PER_MIB;
      const kind = given.driver ?? options.driver;
      return new VmBalloon(balloon, kind, makeDevice(vm, kind, balloon));
    });

    function makeDevice(vm: Vm, kind: Driver, balloon: Balloon): VmwareBalloon | VirtioBalloon | undefined {
      if (kind === "none") return undefined;
      if (kind === "virtio") {
        return new VirtioBalloon({
          clock: vm.clock,
          memory: memoryOf(vm),
          balloon,
          counters,
          deflateOnOom: options.deflateOnOom,
          statisticsPeriodNs: options.statsPeriodSeconds * NS_PER_SECOND,
        }, (device) => attach(vm, device));
      }
      const device = new VmwareBalloon(balloon, memoryOf(vm), () => processor(vm));
      bus.ports(vm, BALLOON_PORT, 1, "VMware balloon", device);
      return device;
    }

    /**
     * A driver that polls finds out by itself; a virtio driver is interrupted. Who asks may do so in the middle of an
     * instruction: so that the interrupt comes at the same step in every engine, it then waits for the turn's end.
     */
    function tellTarget(vm: Vm): void {
      const { device } = balloonOf(vm);
      if (!(device instanceof VirtioBalloon)) return;
      if (vm.state === "ready") return void untold.add(vm);
      device.targetChanged();
      host.wake(vm);
    }
    const untold = new Set<Vm>();
    on(turnEnded, ({ vm }) => {
      if (!untold.delete(vm)) return;
      const { device } = balloonOf(vm);
      if (device instanceof VirtioBalloon) device.targetChanged();
    });

    on(memory.balloonPopped, ({ vm }) => {
      counters.poppedPages.value++;
      host.charge(vm, options.pageNs);
      const { device } = balloonOf(vm);
      if (device instanceof VmwareBalloon) device.reset();
    });

    on(allocator.balloon, ({ vm, pages }) => {
      const { balloon, device } = balloonOf(vm);
      balloon.byAllocator = pages;
      tellTarget(vm);
      return { reachable: device?.isConnected ?? false };
    });

    stats.series("targetPages", "pages", (vm) => balloonOf(vm).balloon.targetPages);
    stats.series("actualPages", "pages", (vm) => balloonOf(vm).balloon.actualPages);
    for (const name of STATISTICS) {
      const unit = IN_BYTES.has(name) ? "bytes" : "events";
      stats.series(name, unit, (vm) => {
        const { driver, statistics } = balloonOf(vm).report();
        return driver === "virtio" ? statistics[name] ?? 0 : undefined;
      });
    }

    provide(balloons, {
      report: (vm) => balloonOf(vm).report(),
      setTarget: (vm, pages) => {
        balloonOf(vm).balloon.byHand = pages;
        tellTarget(vm);
      },
      reset: (vm) => {
        const { device } = balloonOf(vm);
        if (device instanceof VmwareBalloon) device.reset();
      },
    });
  },
});
