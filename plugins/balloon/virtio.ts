// A virtio memory balloon (Virtio 1.2, section 5.5): the driver reads its target from the configuration space, sends page
// numbers over one queue when it takes pages and over another when it gives them back, and statistics over a third. Whether
// the driver tells before it uses a page again does not matter: a page that it uses is popped.

import type { GuestClock, GuestTimer, Hasher, Saved, StateOwner } from "../../core/mod.ts";
import type { GuestMemory } from "../memory/mod.ts";
import { Chain, type VirtioDevice, type VirtioPort } from "../virtio/mod.ts";
import type { Balloon } from "./balloon.ts";
import type { GuestStatistics } from "./services.ts";
import { MOST_REPORT_BYTES, parseStatistics } from "./virtio_statistics.ts";

export const BALLOON_DEVICE_TYPE = 5;
/** PCI class: memory controller, other. */
const CLASS_MEMORY = 0x058000;
export const Feature = { STATS_VQ: 1, DEFLATE_ON_OOM: 2 } as const;
/** Configuration space: le32 each, in pages. */
export const Config = { NUM_PAGES: 0, ACTUAL: 4 } as const;
const CONFIG_BYTES = 8;
export const Queue = { INFLATE: 0, DEFLATE: 1, STATS: 2 } as const;
const QUEUE_SIZE = 64;
/** Page numbers are le32, of 4 KiB whatever the guest's pages are. */
const PFN_BYTES = 4;
/** Most page numbers in one buffer. Linux sends 256. */
export const MOST_PFNS = 1024;
/** Guest time after which more requests than fit one go are gone on with. */
const PAUSE_NS = 100_000;

/** What the host counts, over all VMs. */
export interface StatisticsCounters {
  readonly statsUpdatesCount: { value: number };
}

export interface VirtioBalloonParts {
  readonly clock: GuestClock;
  readonly memory: GuestMemory;
  readonly balloon: Balloon;
  readonly counters: StatisticsCounters;
  /** Whether the driver may take pages back when the guest runs out of memory. Linux then leaves MemTotal as it is. */
  readonly deflateOnOom: boolean;
  /** Guest time between two reports of statistics; 0 for none. */
  readonly statisticsPeriodNs: number;
}

export class VirtioBalloon implements VirtioDevice, StateOwner {
  readonly name = "virtio-balloon";
  readonly type = BALLOON_DEVICE_TYPE;
  readonly classCode = CLASS_MEMORY;
  readonly features: readonly number[];
  readonly queueSizes: readonly number[];
  readonly config = new Uint8Array(CONFIG_BYTES);
  readonly #configView = new DataView(this.config.buffer);
  readonly #port: VirtioPort;
  readonly #targetTimer: GuestTimer;
  readonly #requestTimer: GuestTimer;
  readonly #statisticsTimer: GuestTimer;
  /** The buffer that the driver sent its last report in. Given back, it asks for another. */
  #report: Chain | undefined;
  #statistics: GuestStatistics = {};

  constructor(readonly parts: VirtioBalloonParts, attach: (device: VirtioDevice) => VirtioPort) {
    const { deflateOnOom, statisticsPeriodNs, clock } = parts;
    const hasStatistics = statisticsPeriodNs > 0;
    this.features = [...(hasStatistics ? [Feature.STATS_VQ] : []), ...(deflateOnOom ? [Feature.DEFLATE_ON_OOM] : [])];
    this.queueSizes = hasStatistics ? [QUEUE_SIZE, QUEUE_SIZE, QUEUE_SIZE] : [QUEUE_SIZE, QUEUE_SIZE];
    this.#targetTimer = clock.timer("virtio-balloon.target", () => this.#tellTarget());
    this.#requestTimer = clock.timer("virtio-balloon.requests", () => this.#serve());
    this.#statisticsTimer = clock.timer("virtio-balloon.statistics", () => this.#askForStatistics());
    this.#configView.setUint32(Config.NUM_PAGES, parts.balloon.targetPages, true);
    this.#port = attach(this);
  }

  get isConnected(): boolean {
    return this.#port.isActive;
  }

  /** The guest's last report. */
  get statistics(): Readonly<GuestStatistics> {
    return this.#statistics;
  }

  /** The balloon's target may have changed: the driver is interrupted, if it has, when the guest runs next. */
  targetChanged(): void {
    this.#targetTimer.arm(this.parts.clock.nowNs());
  }

  #tellTarget(): void {
    const { targetPages } = this.parts.balloon;
    if (this.#configView.getUint32(Config.NUM_PAGES, true) === targetPages) return;
    this.#configView.setUint32(Config.NUM_PAGES, targetPages, true);
    this.#port.configChanged();
  }

  // For the driver.

  /** Linux makes its first buffers available, and says so, before it is ready. */
  activated(): void {
    this.#serve();
    this.#readStatistics();
  }

  notified(queue: number): void {
    if (queue === Queue.STATS) this.#readStatistics();
    else this.#serve();
  }

  /** `actual` is the driver's own count. The balloon's is that of the pages which are in it. */
  writeConfig(offset: number, size: number, value: number): void {
    if (offset === Config.ACTUAL && size === 4) this.#configView.setUint32(offset, value, true);
  }

  /** The driver that comes next holds no page. */
  reset(): void {
    this.parts.balloon.empty();
    this.#configView.setUint32(Config.ACTUAL, 0, true);
    this.#report = undefined;
    this.#statistics = {};
    this.#requestTimer.disarm();
    this.#statisticsTimer.disarm();
  }

  /** Serves one buffer of each of the two queues; what is left waits a while, so that no request is without bound. */
  #serve(): void {
    if (this.#requestTimer.deadlineNs !== Infinity) return;
    // Deflation first: a page that was given back and taken again ends in the balloon, as the driver has it.
    for (const queue of [Queue.DEFLATE, Queue.INFLATE]) this.#serveOne(queue);
    const { queues } = this.#port;
    if (queues[Queue.INFLATE].waiting + queues[Queue.DEFLATE].waiting > 0) {
      this.#requestTimer.arm(this.parts.clock.nowNs() + PAUSE_NS);
    }
  }

  #serveOne(index: typeof Queue.INFLATE | typeof Queue.DEFLATE): void {
    const { balloon } = this.parts, queue = this.#port.queues[index];
    const chain = queue.take();
    if (chain === undefined) return;
    const pfns = chain.readableBytes / PFN_BYTES;
    if (!Number.isInteger(pfns) || pfns > MOST_PFNS) {
      return this.#port.fail(`queue ${index} has a buffer of ${chain.readableBytes} bytes of page numbers`);
    }
    const isInflation = index === Queue.INFLATE, { counters } = balloon.parts;
    (isInflation ? counters.inflateCount : counters.deflateCount).value++;
    const bytes = new Uint8Array(chain.readableBytes), view = new DataView(bytes.buffer);
    chain.read(0, bytes);
    for (let at = 0; at < bytes.length; at += PFN_BYTES) {
      const pfn = view.getUint32(at, true);
      // A driver is not answered page by page: one that is none of its own, or is there already, is passed over.
      if (isInflation) balloon.inflate(pfn);
      else balloon.deflate(pfn);
    }
    balloon.moved(pfns);
    queue.complete(chain, 0);
  }

  /** Takes the driver's report, and keeps its buffer until the next one is due. */
  #readStatistics(): void {
    const queue = this.#port.queues.at(Queue.STATS);
    if (queue === undefined || queue.waiting === 0) return;
    // The driver has one buffer. Of more, the last counts.
    for (let left = queue.waiting; left > 0; left--) {
      const chain = queue.take();
      if (chain === undefined) return;
      if (this.#report !== undefined) queue.complete(this.#report, 0);
      this.#report = chain;
      const bytes = new Uint8Array(Math.min(chain.readableBytes, MOST_REPORT_BYTES));
      chain.read(0, bytes);
      this.#statistics = { ...this.#statistics, ...parseStatistics(bytes) };
      this.parts.counters.statsUpdatesCount.value++;
    }
    this.#statisticsTimer.arm(this.parts.clock.nowNs() + this.parts.statisticsPeriodNs);
  }

  #askForStatistics(): void {
    const report = this.#report;
    this.#report = undefined;
    if (report !== undefined) this.#port.queues[Queue.STATS].complete(report, 0);
  }

  save(): Saved {
    return {
      transport: this.#port.save(),
      config: this.config.slice(),
      report: this.#report?.save() ?? null,
      statistics: { ...this.#statistics } as Record<string, number>,
    };
  }

  restore(saved: Saved): void {
    const { transport, config, report, statistics } = saved as {
      transport: Saved;
      config: Uint8Array;
      report: Saved;
      statistics: GuestStatistics;
    };
    this.#port.restore(transport);
    this.config.set(config);
    this.#report = report === null ? undefined : Chain.restore(this.parts.memory, report);
    this.#statistics = { ...statistics };
  }

  hash(hasher: Hasher): void {
    hasher.saved(this.save());
  }
}
