// A virtio block device (Virtio 1.2, section 5.2). Requests are served one after the other, each taking the guest time that
// the latency model gives it; data moves when that time is over. A flush completes once the disk's contents are stable.

import type { GuestClock, GuestTimer, Hasher, Saved, StateOwner } from "../../core/mod.ts";
import type { GuestMemory } from "../memory/mod.ts";
import { Chain, type VirtioDevice, type VirtioPort } from "../virtio/mod.ts";
import { type Disk, SECTOR_BYTES } from "./disk.ts";

export const BLOCK_DEVICE_TYPE = 2;
const CLASS_MASS_STORAGE = 0x018000;
export const Feature = { SIZE_MAX: 1, SEG_MAX: 2, RO: 5, BLK_SIZE: 6, FLUSH: 9 } as const;
/** Configuration space. */
export const Config = { CAPACITY: 0, SIZE_MAX: 8, SEG_MAX: 12, BLK_SIZE: 20 } as const;
const CONFIG_BYTES = 24;
const HIGH_WORD = 0x1_0000_0000;

/** Request header: le32 type, le32 reserved, le64 sector. */
const HEADER_BYTES = 16, HEADER_SECTOR = 8;
export const RequestType = { IN: 0, OUT: 1, FLUSH: 4, GET_ID: 8 } as const;
export const RequestStatus = { OK: 0, IOERR: 1, UNSUPP: 2 } as const;
const STATUS_BYTES = 1, ID_BYTES = 20;

const QUEUE_SIZE = 128;
/** A request's segments: the queue's size less those for header and status. */
const MOST_SEGMENTS = QUEUE_SIZE - 2;
const MOST_SEGMENT_BYTES = 64 * 1024;
/** What a driver that minds these two can ask for at most; what is longer fails. */
export const MOST_REQUEST_BYTES = MOST_SEGMENTS * MOST_SEGMENT_BYTES;

const NS_PER_SECOND = 1e9;

/** Guest time that requests take. */
export interface Latency {
  readonly readLatencyNs: number;
  readonly writeLatencyNs: number;
  readonly flushLatencyNs: number;
  readonly bytesPerSecond: number;
}

/** What the host counts. */
export interface BlockCounters {
  readonly readBytes: { value: number };
  readonly writtenBytes: { value: number };
  readonly requests: { value: number };
  readonly flushes: { value: number };
  readonly errors: { value: number };
}

/** A request under way. */
interface Request {
  readonly chain: Chain;
  readonly type: number;
  readonly sector: number;
}

export interface BlockParts {
  readonly name: string;
  readonly disk: Disk;
  /** What the driver is told as the disk's serial number: at most 20 ASCII characters. */
  readonly id: string;
  readonly clock: GuestClock;
  readonly memory: GuestMemory;
  readonly latency: Latency;
  readonly counters: BlockCounters;
  /** Told of an error of the host's file system; the guest sees an I/O error. */
  readonly diskFailed: (cause: unknown) => void;
}

export class BlockDevice implements VirtioDevice, StateOwner {
  readonly name: string;
  readonly type = BLOCK_DEVICE_TYPE;
  readonly classCode = CLASS_MASS_STORAGE;
  readonly features: readonly number[];
  readonly queueSizes = [QUEUE_SIZE];
  readonly config = new Uint8Array(CONFIG_BYTES);
  readonly #port: VirtioPort;
  readonly #timer: GuestTimer;
  #current: Request | undefined;
  #buffer = new Uint8Array(0);

  constructor(readonly parts: BlockParts, attach: (device: VirtioDevice) => VirtioPort) {
    const { disk, clock } = parts;
    this.name = parts.name;
    const { SIZE_MAX, SEG_MAX, RO, BLK_SIZE, FLUSH } = Feature;
    this.features = [SIZE_MAX, SEG_MAX, BLK_SIZE, FLUSH, ...(disk.isReadOnly ? [RO] : [])];
    const view = new DataView(this.config.buffer), sectors = disk.sizeBytes / SECTOR_BYTES;
    view.setUint32(Config.CAPACITY, sectors % HIGH_WORD, true);
    view.setUint32(Config.CAPACITY + 4, Math.floor(sectors / HIGH_WORD), true);
    view.setUint32(Config.SIZE_MAX, MOST_SEGMENT_BYTES, true);
    view.setUint32(Config.SEG_MAX, MOST_SEGMENTS, true);
    view.setUint32(Config.BLK_SIZE, SECTOR_BYTES, true);
    this.#timer = clock.timer(`${parts.name}.request`, () => this.#finish());
    this.#port = attach(this);
  }

  activated(): void {
    this.#next();
  }

  notified(): void {
    this.#next();
  }

  reset(): void {
    this.#current = undefined;
    this.#timer.disarm();
  }

  /** Starts the next request, unless one is under way. */
  #next(): void {
    if (this.#current !== undefined) return;
    const chain = this.#port.queues[0].take();
    if (chain === undefined) return;
    if (chain.readableBytes < HEADER_BYTES || chain.writableBytes < STATUS_BYTES) {
      return this.#port.fail(`a request without ${HEADER_BYTES} bytes of header and one of status`);
    }
    const header = new DataView(new ArrayBuffer(HEADER_BYTES));
    chain.read(0, new Uint8Array(header.buffer));
    const type = header.getUint32(0, true);
    const sector = header.getUint32(HEADER_SECTOR, true) + header.getUint32(HEADER_SECTOR + 4, true) * HIGH_WORD;
    this.#current = { chain, type, sector };
    this.#timer.arm(this.parts.clock.nowNs() + this.#durationNs(this.#current));
  }

  #durationNs({ chain, type }: Request): number {
    const { readLatencyNs, writeLatencyNs, flushLatencyNs, bytesPerSecond } = this.parts.latency;
    const bytes = Math.min(MOST_REQUEST_BYTES, type === RequestType.OUT ? chain.readableBytes : chain.writableBytes);
    const transferNs = (bytes * NS_PER_SECOND) / bytesPerSecond;
    if (type === RequestType.OUT) return writeLatencyNs + transferNs;
    return type === RequestType.FLUSH ? flushLatencyNs : readLatencyNs + transferNs;
  }

  /** Time is over: moves the data, answers, goes on with the next. */
  #finish(): void {
    const request = this.#current;
    if (request === undefined) return;
    this.#current = undefined;
    const { chain } = request, { counters } = this.parts;
    let status: number, writtenBytes = 0;
    try {
      [status, writtenBytes] = this.#serve(request);
    } catch (cause) {
      this.parts.diskFailed(cause);
      status = RequestStatus.IOERR;
    }
    counters.requests.value++;
    if (status !== RequestStatus.OK) counters.errors.value++;
    // The status is the last writable byte, however much was written before it.
    chain.write(chain.writableBytes - STATUS_BYTES, Uint8Array.of(status));
    this.#port.queues[0].complete(chain, writtenBytes + STATUS_BYTES);
    this.#next();
  }

  /** Returns the request's status, and the bytes written before it. */
  #serve(request: Request): [status: number, writtenBytes: number] {
    switch (request.type) {
      case RequestType.IN:
        return this.#read(request);
      case RequestType.OUT:
        return this.#write(request);
      case RequestType.FLUSH:
        this.parts.disk.flush();
        this.parts.counters.flushes.value++;
        return [RequestStatus.OK, 0];
      case RequestType.GET_ID: {
        const id = new Uint8Array(Math.min(ID_BYTES, request.chain.writableBytes - STATUS_BYTES));
        id.set(new TextEncoder().encode(this.parts.id).subarray(0, id.length));
        return [RequestStatus.OK, request.chain.write(0, id)];
      }
      default:
        return [RequestStatus.UNSUPP, 0];
    }
  }

  #read({ chain, sector }: Request): [number, number] {
    const { disk, counters } = this.parts, bytes = chain.writableBytes - STATUS_BYTES;
    if (!this.#isInDisk(sector, bytes)) return [RequestStatus.IOERR, 0];
    const data = this.#data(bytes);
    disk.read(sector * SECTOR_BYTES, data);
    counters.readBytes.value += bytes;
    return [RequestStatus.OK, chain.write(0, data)];
  }

  #write({ chain, sector }: Request): [number, number] {
    const { disk, counters } = this.parts, bytes = chain.readableBytes - HEADER_BYTES;
    if (disk.isReadOnly || !this.#isInDisk(sector, bytes)) return [RequestStatus.IOERR, 0];
    const data = this.#data(bytes);
    chain.read(HEADER_BYTES, data);
    disk.write(sector * SECTOR_BYTES, data);
    counters.writtenBytes.value += bytes;
    // A driver that cannot flush counts on every write to be stable.
    if (!this.#port.hasFeature(Feature.FLUSH)) disk.flush();
    return [RequestStatus.OK, 0];
  }

  #isInDisk(sector: number, bytes: number): boolean {
    const isWhole = bytes % SECTOR_BYTES === 0 && bytes <= MOST_REQUEST_BYTES;
    return isWhole && sector + bytes / SECTOR_BYTES <= this.parts.disk.sizeBytes / SECTOR_BYTES;
  }

  #data(bytes: number): Uint8Array {
    if (this.#buffer.length < bytes) this.#buffer = new Uint8Array(bytes);
    return this.#buffer.subarray(0, bytes);
  }

  save(): Saved {
    return { ...this.#visibleState(), contents: this.parts.disk.save() };
  }

  restore(saved: Saved): void {
    const { transport, request, contents } = saved as {
      transport: Saved;
      request: { chain: Saved; type: number; sector: number } | null;
      contents: Saved;
    };
    this.#port.restore(transport);
    this.#current = request === null
      ? undefined
      : { ...request, chain: Chain.restore(this.parts.memory, request.chain) };
    this.parts.disk.restore(contents);
  }

  /** The disk's contents do not enter: they are compared once the guest reads them. */
  hash(hasher: Hasher): void {
    hasher.saved(this.#visibleState());
  }

  #visibleState(): { readonly transport: Saved; readonly request: Saved } {
    const current = this.#current;
    return {
      transport: this.#port.save(),
      request: current === undefined
        ? null
        : { chain: current.chain.save(), type: current.type, sector: current.sector },
    };
  }
}
