// Sites: instructions that are no sensitive ones and trap all the same, time and again, because of what they access: a traced
// page table, a device's registers (BT paper, 3.3). The mechanism, for a policy (adaptive-bt): traps are told, and a site can
// be given a specialised form, which does the access from inside the translation, and its common form back. Translations that
// hold the site are forgotten and made anew when they are next entered. Nothing that leads to them is touched: all of it comes
// through the jump cache.

import { decode, type Instruction, Missed, type Processor } from "../x86/mod.ts";
import { type CallOuts, syncLevel } from "./callout.ts";
import * as L from "./layout.ts";
import { walksThroughCode } from "./walks.ts";

/** What a site's accesses trap for. */
export type TrapCause = "page-table" | "device";

/** A site has trapped. */
export interface SiteTrap {
  readonly processor: Processor;
  /** Linear address of its instruction, as a signed word. */
  readonly eip: number;
  readonly cause: TrapCause;
}

/** A site that has its specialised form. */
export interface AdaptedSite {
  readonly eip: number;
  readonly cause: TrapCause;
  /** Whether its stores have the form, or its loads. */
  readonly isWrite: boolean;
  /** Its number in emitted code. */
  readonly index: number;
}

/** How often an adapted site has run, since it was adapted. */
export interface SiteUse {
  /** Accesses that the form did, which would have been traps. */
  readonly handled: number;
  /** Accesses to plain memory. */
  readonly innocent: number;
}

/** Of `bt`: gives sites their forms. All calls may be made between turns, and from a listener of `siteTrapped`. */
export interface Sites {
  /** Gives the site at a linear address the form for a cause. Undefined where its instruction has no such form, or none is free. */
  adapt(trap: SiteTrap): AdaptedSite | undefined;
  /** Gives it its common form back. */
  restore(site: AdaptedSite): void;
  use(site: AdaptedSite): SiteUse;
}

/**
 * Instructions with one access of their ModR/M operand to memory at the most, which is the last thing that they do: by handler.
 * Others (read-modify-write on devices, CMPXCHG, repeated strings) stay with the emulator: 516 of 147,821 such accesses in a
 * boot of Linux and a session that forks without end.
 */
const STORES: ReadonlySet<string> = new Set(["mov", "stos"]);
const UPDATES: ReadonlySet<string> = new Set(["mov", "alu", "xchg", "inc", "dec", "not", "neg", "bt", "stos"]);
const LOADS: ReadonlySet<string> = new Set(["mov", "movzx", "movsx", "alu", "test", "lods"]);

const STATUS_LEAVE = 1, STATUS_GO_ON = 0;
/** Of the packed word that emitted code passes: size, kind, instructions that are not complete, site. */
const SIZE_MASK = 7, WRITE_BIT = 8, INCOMPLETE_SHIFT = 4, INCOMPLETE_MASK = 0xff, SITE_SHIFT = 12;
const PAGE_BYTES = 4096;

/** What emitted code passes to `miss` besides the linear address. */
export function packAccess(site: AdaptedSite, bytes: number, isWrite: boolean, incomplete: number): number {
  return bytes | (isWrite ? WRITE_BIT : 0) | (incomplete << INCOMPLETE_SHIFT) | (site.index << SITE_SHIFT);
}

/** An access that is completed once the instruction has stored. */
interface Pending {
  linear: number;
  size: 1 | 2 | 4;
  ppn: number;
  isDevice: boolean;
  steps: number;
}

export class Adaptations implements Sites {
  /** By linear address. */
  readonly #sites = new Map<number, AdaptedSite>();
  /** Accesses that were done, by the site's number, as this engine counts them; the others are counted by emitted code. */
  readonly #handled = new Float64Array(L.ADAPTED_SITES);
  readonly #free: number[] = Array.from({ length: L.ADAPTED_SITES }, (_, i) => L.ADAPTED_SITES - 1 - i);
  readonly #pending: Pending = { linear: 0, size: 4, ppn: 0, isDevice: false, steps: 0 };
  readonly #numbers: Float64Array;

  constructor(
    readonly words: Int32Array,
    /** Machine address of the hypervisor's area. */
    readonly area: number,
    readonly callOuts: CallOuts,
    /** Forgets what is translated from a linear address, to be translated again at once. */
    readonly forget: (eip: number) => void,
    /** A number that changes when translations are discarded. */
    readonly discarded: () => number,
  ) {
    this.#numbers = new Float64Array(words.buffer, words.byteOffset, words.length >> 1);
  }

  /**
   * The form of an instruction at a linear address; undefined where it is the common one: since the site was adapted, another
   * instruction may have been put there, or be there in another address space.
   */
  readonly at = (eip: number, instruction: Instruction): AdaptedSite | undefined => {
    const site = this.#sites.get(eip);
    return site !== undefined && writesFor(instruction, site.cause) === site.isWrite ? site : undefined;
  };

  adapt({ processor: cpu, eip, cause }: SiteTrap): AdaptedSite | undefined {
    if (this.#sites.has(eip)) return undefined;
    const instruction = instructionAt(cpu, eip);
    if (instruction === undefined) return undefined;
    const isWrite = writesFor(instruction, cause);
    const index = isWrite === undefined ? undefined : this.#free.pop();
    if (isWrite === undefined || index === undefined) return undefined;
    const site: AdaptedSite = { eip, cause, isWrite, index };
    this.#handled[index] = this.words[wordOf(index)] = 0;
    this.#sites.set(eip, site);
    this.forget(eip);
    return site;
  }

  restore(site: AdaptedSite): void {
    if (this.#sites.get(site.eip) !== site) return;
    this.#sites.delete(site.eip);
    this.forget(site.eip);
    this.#free.push(site.index);
  }

  use({ index }: AdaptedSite): SiteUse {
    return { handled: this.#handled[index], innocent: this.words[wordOf(index)] >>> 0 };
  }

  /**
   * Import of regions: the slow path of an adapted site's access. As that of others; but a store to a traced page gets its
   * machine address, and so does an access to a device: that of a scratch word, which holds what was read.
   */
  readonly miss = (linear: number, packed: number): number => {
    const { cpu } = this.callOuts;
    const size = (packed & SIZE_MASK) as 1 | 2 | 4, isWrite = (packed & WRITE_BIT) !== 0;
    if (cpu === undefined) return -1;
    syncLevel(cpu);
    if (isWrite) {
      const address = cpu.mmu.tracedAddress(linear, size, cpu.bank);
      if (address !== -1) return this.#onTable(cpu, linear, size, packed >>> SITE_SHIFT, address);
    }
    if (walksThroughCode(cpu, linear, isWrite, -1)) return -1;
    const { mmu } = cpu, { clock } = cpu.vm;
    const address = mmu.hostAddress(linear, size, isWrite, cpu.bank);
    if (address !== -1) return clock.deadlineSteps <= clock.steps ? -1 : address;
    this.callOuts.noteMiss(cpu);
    const isDevice = mmu.missed === Missed.device;
    if (clock.deadlineSteps <= clock.steps || mmu.missed === Missed.other) return -1;
    if (isDevice && cpu.hooks.accessed.active) return -1;
    const index = packed >>> SITE_SHIFT, { words } = this;
    if (!isDevice) {
      const address = mmu.tracedAddress(linear, size, cpu.bank);
      return address === -1 ? -1 : this.#onTable(cpu, linear, size, index, address);
    }
    const incomplete = (packed >>> INCOMPLETE_SHIFT) & INCOMPLETE_MASK;
    const steps = this.#numbers[L.END_STEPS >> 3] - words[L.BUDGET >> 2] - incomplete;
    const pending = this.#pending;
    pending.linear = linear;
    pending.size = size;
    pending.isDevice = true;
    pending.steps = steps;
    this.#handled[index]++;
    this.callOuts.missedFor = undefined;
    words[L.DEVICE_MISS >> 2] = 0;
    if (isWrite) words[L.AFTER_ACCESS >> 2] = 1;
    else {
      const mustLeave = this.#onDevice(cpu, steps, () => {
        words[L.SCRATCH >> 2] = mmu.readSlow(linear, size, cpu.bank);
      });
      words[L.AFTER_ACCESS >> 2] = mustLeave ? LEAVE_AFTER : 0;
    }
    return (this.area + L.SCRATCH) | 0;
  };

  /** A store to a traced page: its keeper is told now, or, if he looks at what is stored, after it. */
  #onTable(cpu: Processor, linear: number, size: 1 | 2 | 4, index: number, address: number): number {
    const { mmu } = cpu, { words } = this;
    const ppn = mmu.ppnOf(linear);
    this.#handled[index]++;
    if (!mmu.looksAtStores) {
      if (this.#told(cpu, ppn, linear, size)) words[L.AFTER_ACCESS >> 2] = LEAVE_AFTER;
      return address;
    }
    const pending = this.#pending;
    pending.linear = linear;
    pending.size = size;
    pending.ppn = ppn;
    pending.isDevice = false;
    words[L.AFTER_ACCESS >> 2] = 1;
    return address;
  }

  /** Tells of a store; whether to leave after it: where the code that runs has lost its translation, as a block ends then. */
  #told(cpu: Processor, ppn: number, linear: number, size: number): boolean {
    cpu.count = 1;
    cpu.mmu.wasStored(ppn, linear & (PAGE_BYTES - 1), size);
    return cpu.count === 0;
  }

  /** Import of regions: the instruction of an adapted site has stored. Returns whether to leave before the next one. */
  readonly after = (_: number): number => {
    const { cpu } = this.callOuts, { words } = this;
    const isLeaving = words[L.AFTER_ACCESS >> 2] === LEAVE_AFTER;
    words[L.AFTER_ACCESS >> 2] = 0;
    if (isLeaving || cpu === undefined) return STATUS_LEAVE;
    const { linear, size, ppn, isDevice, steps } = this.#pending;
    const { mmu } = cpu;
    if (isDevice) {
      const value = words[L.SCRATCH >> 2];
      return this.#onDevice(cpu, steps, () => mmu.writeSlow(linear, size, value, cpu.bank))
        ? STATUS_LEAVE
        : STATUS_GO_ON;
    }
    return this.#told(cpu, ppn, linear, size) ? STATUS_LEAVE : STATUS_GO_ON;
  };

  /** Lets a device see the exact time; whether what it did must be looked at before another instruction runs. */
  #onDevice(cpu: Processor, steps: number, access: () => void): boolean {
    const { clock } = cpu.vm;
    const { deadlineSteps } = clock, { mode } = cpu, discarded = this.discarded();
    clock.steps = cpu.blockSteps = steps;
    cpu.index = 0;
    access();
    this.callOuts.noteOutside(cpu);
    return cpu.attention !== 0 || clock.deadlineSteps !== deadlineSteps || cpu.mode !== mode ||
      this.discarded() !== discarded || cpu.vm.exit !== undefined || cpu.tlb !== cpu.mmu.data.host;
  }
}

/** Of AFTER_ACCESS: nothing is left to do but to leave. */
const LEAVE_AFTER = 2;

/** Word of a site's count. */
function wordOf(index: number): number {
  return (L.ADAPTED_COUNTS >> 2) + index;
}

/** Whether an instruction's stores, or its loads, have a form for a cause; undefined where it has none. */
function writesFor({ row, isMemory, repeat, segment }: Instruction, cause: TrapCause): boolean | undefined {
  const { handler, operands } = row;
  const isString = handler === "stos" || handler === "lods";
  if (repeat !== 0 || segment >= FIRST_BASED_SEGMENT || !(isMemory || isString || operands.some((o) => o[0] === "O"))) {
    return undefined;
  }
  if (cause === "page-table") return UPDATES.has(handler) ? true : undefined;
  const isStore = isString ? handler !== "lods" : operands[0]?.[0] === "E" || operands[0]?.[0] === "O";
  if (isStore && STORES.has(handler)) return true;
  // ALU operations to memory read and write: they stay with the emulator, but for comparisons.
  if (LOADS.has(handler) && (!isStore || handler === "test" || (handler === "alu" && row.variant === CMP))) {
    return false;
  }
  return undefined;
}

/** FS: it and GS have bases. */
const FIRST_BASED_SEGMENT = 4;
const CMP = 7;

function instructionAt(cpu: Processor, eip: number): Instruction | undefined {
  const { instruction } = cpu.mmu, index = instruction.index(eip);
  const mpn = instruction.host[cpu.bank === 0 ? index * 4 + 3 : instruction.userBank + index * 4 + 3];
  if (!instruction.hits(index, eip) || mpn < 0) return undefined;
  const at = mpn * PAGE_BYTES + (eip & (PAGE_BYTES - 1));
  const decoded = decode(cpu.bytes, at, (mpn + 1) * PAGE_BYTES, 32);
  return typeof decoded === "string" ? undefined : decoded;
}
