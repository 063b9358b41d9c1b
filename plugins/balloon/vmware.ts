// VMware's balloon protocol: IN EAX, DX on a port of its own, commands and arguments in registers (Linux,
// drivers/misc/vmw_balloon.c, by VMware; ESX paper, section 3.2). The driver polls for its target about once a second, locks
// pages one at a time or by a page full of entries, and starts over when it is told so: after the guest used a page that was
// in its balloon, and whenever the host wants it to. Linux's driver waits for a while after its guest ran out of memory, and
// on 32-bit kernels takes the first 300 seconds of uptime, in which the tick counter has yet to wrap, for such a time.

import type { Hasher, Saved, StateOwner } from "../../core/mod.ts";
import { type GuestMemory, PAGE_SHIFT, PAGE_SIZE, type Ppn } from "../memory/mod.ts";
import type { AccessSize, PortDevice } from "../x86/mod.ts";
import type { Balloon, Outcome } from "./balloon.ts";

export const BALLOON_PORT = 0x5670, BALLOON_MAGIC = 0x456c6d6f;

/** In ECX; EBX and ESI hold the arguments, EBX the resulting target. */
export const Command = {
  START: 0,
  GET_TARGET: 1,
  LOCK: 2,
  UNLOCK: 3,
  GUEST_ID: 4,
  BATCHED_LOCK: 6,
  BATCHED_UNLOCK: 7,
} as const;

/** In EAX, and in each entry of a batch. */
export const Status = {
  SUCCESS: 0,
  CMD_INVALID: 1,
  PPN_INVALID: 2,
  PPN_LOCKED: 3,
  PPN_UNLOCKED: 4,
  PPN_PINNED: 5,
  PPN_NOTNEEDED: 6,
  RESET: 7,
  /** START's: ECX says which capabilities of those requested are granted. */
  SUCCESS_WITH_CAPABILITIES: 0x0300_0000,
} as const;

/**
 * What a driver can do, in EBX of START. Large pages are not granted: what their size is depends on the guest's paging
 * (4 MiB without PAE). Neither is the doorbell, which needs a VMCI device.
 */
export const Capability = { BASIC: 1 << 1, BATCHED: 1 << 2, BATCHED_2M: 1 << 3, SIGNALLED_WAKEUP: 1 << 4 } as const;
const OFFERED = Capability.BASIC | Capability.BATCHED;

/** A batch page's entries: le64, page number above PAGE_SHIFT, status in the low bits. */
const ENTRY_BYTES = 8, STATUS_MASK = 0x1f, HIGH_WORD_PAGES = 2 ** (32 - PAGE_SHIFT);
export const MOST_ENTRIES = PAGE_SIZE / ENTRY_BYTES;

/** Numbers of the registers that carry arguments and results. */
const EAX = 0, ECX = 1, EBX = 3, ESI = 6;
const UNCLAIMED = 0xffff_ffff;

/** The processor's general registers, by their number in an instruction. Values are 32 bits, signed or not. */
export interface Registers {
  getRegister(register: number): number;
  setRegister(register: number, value: number): void;
}

export class VmwareBalloon implements PortDevice, StateOwner {
  /** What the driver was granted; 0 before it has started, and when it has to start over. */
  #capabilities = 0;

  constructor(readonly balloon: Balloon, readonly memory: GuestMemory, readonly registers: () => Registers) {}

  get isConnected(): boolean {
    return this.#capabilities !== 0;
  }

  /**
   * The driver's next command, START aside, is answered by RESET. Pages stay in the balloon until it starts over: the guest
   * has no use for them before, and one that it does use is popped by itself.
   */
  reset(): void {
    this.#capabilities = 0;
  }

  /** Without the magic number this is a port that nobody claimed. */
  read(_port: number, size: AccessSize): number {
    const cpu = this.registers();
    if (size !== 4 || cpu.getRegister(EAX) >>> 0 !== BALLOON_MAGIC) return UNCLAIMED >>> (32 - 8 * size);
    const command = cpu.getRegister(ECX) >>> 0;
    const argument = cpu.getRegister(EBX) >>> 0;
    if (command === Command.START) return this.#start(cpu, argument);
    if (this.#capabilities === 0) return Status.RESET;
    const status = this.#serve(command, argument, cpu.getRegister(ESI) >>> 0);
    if (status === Status.SUCCESS && command !== Command.GUEST_ID) cpu.setRegister(EBX, this.balloon.targetPages);
    return status;
  }

  /** OUT asks nothing here. */
  write(_port: number, _size: AccessSize, _value: number): void {}

  /** A driver that starts holds no page, and one that asks for nothing takes its leave. */
  #start(cpu: Registers, requested: number): number {
    this.balloon.empty();
    this.#capabilities = requested & OFFERED;
    // Drivers from before there were capabilities ask for the basic commands alone and know no other success.
    if ((requested & ~Capability.BASIC) === 0) return Status.SUCCESS;
    cpu.setRegister(ECX, this.#capabilities);
    return Status.SUCCESS_WITH_CAPABILITIES;
  }

  #serve(command: number, argument: number, count: number): number {
    const isBasic = (this.#capabilities & Capability.BASIC) !== 0;
    const isBatched = (this.#capabilities & Capability.BATCHED) !== 0;
    switch (command) {
      case Command.GET_TARGET:
      case Command.GUEST_ID:
        return Status.SUCCESS;
      case Command.LOCK:
      case Command.UNLOCK:
        return isBasic ? this.#single(command === Command.LOCK, argument) : Status.CMD_INVALID;
      case Command.BATCHED_LOCK:
      case Command.BATCHED_UNLOCK:
        return isBatched ? this.#batch(command === Command.BATCHED_LOCK, argument, count) : Status.CMD_INVALID;
      default:
        return Status.CMD_INVALID;
    }
  }

  #single(isLock: boolean, ppn: Ppn): number {
    const { balloon } = this;
    countRequest(balloon, isLock);
    const isNeeded = !isLock || balloon.actualPages < balloon.targetPages;
    const status = isNeeded ? statusOf(isLock ? balloon.inflate(ppn) : balloon.deflate(ppn)) : this.#refuse();
    balloon.moved(1);
    return status;
  }

  /** Serves the first `count` entries of the batch page, and writes each one's status into it. */
  #batch(isLock: boolean, batchPpn: Ppn, count: number): number {
    const { balloon, memory } = this;
    if (count > MOST_ENTRIES) return Status.CMD_INVALID;
    if (batchPpn >= memory.pages) return Status.PPN_INVALID;
    countRequest(balloon, isLock);
    const bytes = new Uint8Array(count * ENTRY_BYTES), entries = new DataView(bytes.buffer);
    memory.read(batchPpn * PAGE_SIZE, bytes);
    // Counting is the dearer part: once a batch.
    let room = isLock ? balloon.targetPages - balloon.actualPages : Infinity;
    for (let at = 0; at < bytes.length; at += ENTRY_BYTES) {
      const low = entries.getUint32(at, true);
      const ppn = (low >>> PAGE_SHIFT) + entries.getUint32(at + 4, true) * HIGH_WORD_PAGES;
      let status: number;
      if (isLock && room <= 0) status = this.#refuse();
      else if (ppn === batchPpn) status = this.#refuse(Status.PPN_PINNED);
      else status = statusOf(isLock ? balloon.inflate(ppn) : balloon.deflate(ppn));
      if (status === Status.SUCCESS) room--;
      entries.setUint32(at, ((low & ~STATUS_MASK) | status) >>> 0, true);
    }
    memory.write(batchPpn * PAGE_SIZE, bytes);
    balloon.moved(count);
    return Status.SUCCESS;
  }

  #refuse(status: number = Status.PPN_NOTNEEDED): number {
    this.balloon.parts.counters.refusedPages.value++;
    return status;
  }

  save(): Saved {
    return { capabilities: this.#capabilities };
  }

  restore(saved: Saved): void {
    this.#capabilities = (saved as { capabilities: number }).capabilities;
  }

  hash(hasher: Hasher): void {
    hasher.word(this.#capabilities);
  }
}

function countRequest({ parts: { counters } }: Balloon, isLock: boolean): void {
  (isLock ? counters.inflateCount : counters.deflateCount).value++;
}

function statusOf(outcome: Outcome): number {
  switch (outcome) {
    case "moved":
      return Status.SUCCESS;
    case "invalid":
      return Status.PPN_INVALID;
    case "locked":
      return Status.PPN_LOCKED;
    case "unlocked":
      return Status.PPN_UNLOCKED;
  }
}
