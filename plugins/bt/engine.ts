// The binary translator as an engine: runs translations where there are any, interprets where there are none yet, and
// translates what the interpreter has entered often enough (BT paper 3.2). The interpreter stays the reference: whatever
// emitted code cannot do exactly, it leaves to it, an instruction at a time.

import { Mode, type Processor, state as S, type x86CodeFrames } from "../x86/mod.ts";
import type { Interpreter } from "../x86/mod.ts";
import type { ObservePort, Vm } from "../../core/mod.ts";
import { compileRegion } from "./compile.ts";
import * as L from "./layout.ts";
import { Exit } from "./emit/emitter.ts";
import { completeExit, type ExitSite } from "./emit/exits.ts";
import type { Translation } from "./events.ts";
import {
  COUNT_SHIFT,
  ENTRY_SHIFT,
  entryWord,
  gotoFunction,
  MISS_TYPE,
  REGION_TYPE,
  SLOT_MASK,
  TYPES,
} from "./runtime.ts";
import { findRegion, type Unit } from "./units.ts";
import { walksThroughCode } from "./walks.ts";
import { encodeModule } from "./wasm.ts";

type CodeFrames = x86CodeFrames;

export interface TranslatorOptions {
  /** Entries of a block before it is translated. */
  readonly threshold: number;
  /** Instructions of a translation unit at the most. */
  readonly unitInstructions: number;
  /** Units of a region at the most; 1 makes every unit its own. */
  readonly regionUnits: number;
  /** Translations kept at the most; then all are dropped. */
  readonly cacheRegions: number;
}

/** A compiled region. */
interface Fragment {
  readonly mpn: number;
  /** Linear address of its page. */
  readonly linearPage: number;
  readonly mode: number;
  readonly slot: number;
  /** Its units, of which each can be entered. */
  readonly units: readonly Unit[];
}

/** Where a region is entered: the jump cache's last word (runtime.ts). */
interface Entry {
  readonly fragment: Fragment;
  readonly word: number;
}

/** The translations from one frame. */
interface Page {
  readonly fragments: Set<Fragment>;
  /** By offset and mode. */
  readonly entries: Map<number, Entry>;
}

export interface TranslatorStatistics {
  regions: number;
  units: number;
  instructions: number;
  emittedBytes: number;
  invalidated: number;
  flushes: number;
  interpretedSteps: number;
  dispatches: number;
}

const TABLE_SLOTS = 1 << 16;
/** Largest budget that one entry into translated code is given. */
const MOST_BUDGET = 1 << 30;
/** A page whose code keeps changing is not translated again until it has been left alone for this many entries. */
const REWRITE_PENALTY = 16;

export class Translator {
  readonly name = "bt";
  readonly statistics: TranslatorStatistics = {
    regions: 0,
    units: 0,
    instructions: 0,
    emittedBytes: 0,
    invalidated: 0,
    flushes: 0,
    interpretedSteps: 0,
    dispatches: 0,
  };
  readonly #hypervisor = new WebAssembly.Memory({ initial: L.HYPERVISOR_PAGES, maximum: L.HYPERVISOR_PAGES });
  readonly #words = new Int32Array(this.#hypervisor.buffer);
  readonly #table = new WebAssembly.Table({ element: "anyfunc", initial: TABLE_SLOTS, maximum: TABLE_SLOTS });
  readonly #goto: WebAssembly.ExportValue;
  /** By frame. */
  readonly #pages = new Map<number, Page>();
  /** Rare exits of all regions. */
  readonly #sites: ExitSite[] = [];
  /** The regions' functions by slot. */
  readonly #regions: ((entry: number) => number)[] = [];
  readonly #rewrites = new Map<number, number>();
  #nextSlot = 0;
  #active: Processor | undefined;
  /** Where the active processor's state was before it was moved here. */
  readonly #machinePages: number;

  constructor(
    readonly machine: WebAssembly.Memory,
    readonly bytes: Uint8Array,
    readonly code: CodeFrames,
    readonly interpreter: Interpreter,
    readonly processorOf: (vm: Vm) => Processor,
    readonly options: TranslatorOptions,
    readonly translated: ObservePort<Translation>,
  ) {
    this.#machinePages = machine.buffer.byteLength / 65536;
    this.#words.fill(0xffffffff, L.JUMP_CACHE / 4);
    const runtime = this.#instantiate([{ type: REGION_TYPE, body: gotoFunction(), exported: "goto" }], []);
    this.#goto = runtime.exports.goto;
    code.addUser(this);
  }

  execute(vm: Vm): void {
    const cpu = this.#activate(vm);
    const { clock } = vm;
    // Alignment checks or watchpoints are armed: every access takes the slow path, which is the interpreter's.
    if (cpu.tlb !== cpu.mmu.data.host) return this.interpreter.execute(vm);
    const words = this.#words;
    while (clock.steps < clock.deadlineSteps && cpu.attention === 0) {
      const word = this.#find(cpu);
      const left = clock.deadlineSteps - clock.steps;
      if (word < 0 || left < word >>> COUNT_SHIFT) {
        this.#interpret(cpu);
        continue;
      }
      this.statistics.dispatches++;
      const budget = left < MOST_BUDGET ? left : MOST_BUDGET;
      words[L.BUDGET >> 2] = budget;
      cpu.blockSteps = clock.steps;
      cpu.index = 0;
      const status = this.#regions[word & SLOT_MASK](word >>> ENTRY_SHIFT);
      const site = status === 0 ? undefined : this.#sites[status - 1];
      if (site !== undefined) completeExit(words, site);
      clock.steps += budget - words[L.BUDGET >> 2];
      // A region may leave for the interpreter at the very deadline.
      if (site?.status === Exit.interpret && clock.steps < clock.deadlineSteps) this.#interpret(cpu);
    }
  }

  step(vm: Vm): boolean {
    return this.interpreter.step(vm);
  }

  discard(mpn: number, first: number, last: number): void {
    const page = this.#pages.get(mpn);
    if (page === undefined) return;
    for (const fragment of page.fragments) {
      const hit = fragment.units.some(({ offset, end }) => (offset >> 6) <= last && ((end - 1) >> 6) >= first);
      if (!hit) continue;
      this.#forget(page, fragment);
      this.statistics.invalidated++;
    }
    this.#rewrites.set(mpn, (this.#rewrites.get(mpn) ?? 0) + 1);
    if (page.fragments.size === 0) this.#pages.delete(mpn);
  }

  addLines(mpn: number, lines: [number, number]): void {
    const page = this.#pages.get(mpn);
    if (page === undefined) return;
    for (const { units } of page.fragments) {
      for (const { offset, end } of units) {
        for (let line = offset >> 6; line <= (end - 1) >> 6; line++) lines[line >> 5] |= 1 << (line & 31);
      }
    }
  }

  /** Interprets one block, or what of it the deadline allows. */
  #interpret(cpu: Processor): void {
    const before = cpu.vm.clock.steps;
    this.interpreter.runOnce(cpu);
    this.statistics.interpretedSteps += cpu.vm.clock.steps - before;
  }

  /** Moves a VM's processor to where translated code expects it. */
  #activate(vm: Vm): Processor {
    const cpu = this.processorOf(vm);
    if (this.#active !== cpu) {
      const idle = this.#active;
      if (idle !== undefined) {
        const { data, instruction } = idle.mmu;
        const stateBytes = S.STATE_WORDS * 4, dataBytes = data.host.byteLength;
        const buffer = new ArrayBuffer(stateBytes + dataBytes + instruction.host.byteLength);
        idle.moveTo(buffer, 0, stateBytes, stateBytes + dataBytes);
      }
      cpu.moveTo(this.#hypervisor.buffer, L.STATE, L.DATA_TLB, L.INSTRUCTION_TLB);
      this.#active = cpu;
    }
    return cpu;
  }

  /** The entry of the translation at EIP, compiled now if the interpreter has come here often enough; or -1. */
  #find(cpu: Processor): number {
    const needed = Mode.code32 | Mode.stack32 | Mode.flat;
    if ((cpu.mode & needed) !== needed) return -1;
    const { r } = cpu;
    const isUser = r[S.CPL] === 3;
    const mode = cpu.mode | (isUser ? L.MODE_USER : 0);
    const eip = r[S.EIP];
    const bank = isUser ? L.INSTRUCTION_BANK_BYTES : 0;
    const tlb = L.INSTRUCTION_TLB + bank + ((eip >>> 12) & (L.INSTRUCTION_BANK_BYTES / 16 - 1)) * 16;
    const words = this.#words;
    // Not mapped in the instruction TLB: the interpreter fetches, and faults, first.
    if (words[tlb >> 2] !== (eip & 0xfffff000)) return -1;
    const mpn = words[(tlb + L.TLB_MPN) >> 2];
    words[L.MODE >> 2] = mode;
    words[L.INSTRUCTION_BANK >> 2] = bank;
    words[L.FP_STATE >> 2] = floatingPointState(r);
    const at = (L.JUMP_CACHE + L.jumpCacheIndex(eip) * 16) >> 2;
    if (words[at] === eip && words[at + 1] === mode && words[at + 2] === mpn) return words[at + 3];
    const known = this.#pages.get(mpn)?.entries.get(keyOf(eip, mode));
    const linearPage = eip & 0xfffff000;
    const entry = known?.fragment.linearPage === linearPage ? known : this.#translateIfHot(cpu, mpn, eip, mode);
    if (entry === undefined) return -1;
    words[at] = eip;
    words[at + 1] = mode;
    words[at + 2] = mpn;
    words[at + 3] = entry.word;
    return entry.word;
  }

  #translateIfHot(cpu: Processor, mpn: number, eip: number, mode: number): Entry | undefined {
    const block = this.interpreter.blocks.find((mpn << 12) | (eip & 0xfff), cpu.mode);
    if (block === undefined) return undefined;
    const rewrites = this.#rewrites.get(mpn) ?? 0;
    if (++block.entries < this.options.threshold * (1 + Math.min(rewrites, 64) * REWRITE_PENALTY)) return undefined;
    block.entries = 0;
    return this.#translate(mpn, eip, mode);
  }

  #translate(mpn: number, eip: number, mode: number): Entry | undefined {
    const { unitInstructions, regionUnits, cacheRegions } = this.options;
    const linearPage = eip & 0xfffff000;
    const limits = { cap: unitInstructions, units: regionUnits };
    const entries = this.#pages.get(mpn)?.entries;
    const isKnown = (offset: number) => entries?.get(keyOf(offset, mode))?.fragment.linearPage === linearPage;
    const region = findRegion(this.bytes, mpn * 4096, eip & 0xfff, limits, isKnown);
    const { units } = region;
    if (units.length === 0 || units[0].instructions.length === 0) return undefined;
    if (this.#nextSlot >= Math.min(cacheRegions, TABLE_SLOTS)) this.#flush();
    const slot = this.#nextSlot++;
    const body = compileRegion(region, linearPage, mode & L.MODE_USER ? L.DATA_BANK_BYTES : 0, this.#sites);
    const instance = this.#instantiate([{ type: REGION_TYPE, body, slot, exported: "enter" }], IMPORTS);
    this.#regions[slot] = instance.exports.enter as (entry: number) => number;
    const entry = this.#install({ mpn, linearPage, mode, slot, units });
    for (const { offset, end } of units) this.code.mark(mpn, offset, Math.min(end, 4096) - offset);
    this.statistics.regions++;
    this.statistics.units += units.length;
    for (const unit of units) this.statistics.instructions += unit.instructions.length;
    if (this.translated.active) this.translated.emit({ mpn, eip, mode, region, body });
    return entry;
  }

  /** Makes a region known at each of its units that no other has; returns the entry of the first. */
  #install(fragment: Fragment): Entry {
    const { mpn, mode, units, linearPage, slot } = fragment;
    let page = this.#pages.get(mpn);
    if (page === undefined) this.#pages.set(mpn, page = { fragments: new Set(), entries: new Map() });
    const first = { fragment, word: entryWord(slot, 0, units[0].instructions.length) };
    const { entries } = page;
    for (const [index, { offset, instructions }] of units.entries()) {
      const key = keyOf(offset, mode);
      const other = entries.get(key)?.fragment;
      // The frame is mapped at another address by now: what was made for the other one goes.
      if (other !== undefined && other.linearPage !== linearPage) this.#forget(page, other);
      if (index === 0) entries.set(key, first);
      else if (!entries.has(key)) entries.set(key, { fragment, word: entryWord(slot, index, instructions.length) });
    }
    page.fragments.add(fragment);
    return first;
  }

  /** Forgets a region. Its slot is not used again before the next flush. */
  #forget(page: Page, fragment: Fragment): void {
    const { linearPage, mode, slot, units } = fragment;
    const words = this.#words;
    page.fragments.delete(fragment);
    for (const { offset } of units) {
      const key = keyOf(offset, mode);
      if (page.entries.get(key)?.fragment === fragment) page.entries.delete(key);
      const at = (L.JUMP_CACHE + L.jumpCacheIndex(linearPage | offset) * 16) >> 2;
      if ((words[at + 3] & SLOT_MASK) === slot) words.fill(-1, at, at + 4);
    }
    this.#table.set(slot, null);
  }

  /** Drops every translation: the cache is full. */
  #flush(): void {
    this.#pages.clear();
    this.#words.fill(-1, L.JUMP_CACHE >> 2);
    for (let slot = 0; slot < this.#nextSlot; slot++) this.#table.set(slot, null);
    this.#regions.length = this.#sites.length = 0;
    this.#nextSlot = 0;
    this.statistics.flushes++;
  }

  #instantiate(
    functions: Parameters<typeof encodeModule>[0]["functions"],
    imports: Parameters<typeof encodeModule>[0]["imports"],
  ): WebAssembly.Instance {
    const encoded = encodeModule({
      types: TYPES,
      imports,
      functions,
      machinePages: this.#machinePages,
      hypervisorPages: L.HYPERVISOR_PAGES,
      tableSlots: TABLE_SLOTS,
    });
    this.statistics.emittedBytes += encoded.length;
    const environment: WebAssembly.ModuleImports = {
      machine: this.machine,
      hypervisor: this.#hypervisor,
      table: this.#table,
      miss: this.#miss,
    };
    if (imports.length > 0) environment.goto = this.#goto;
    return new WebAssembly.Instance(new WebAssembly.Module(encoded), { m: environment });
  }

  /** The slow path of an access: fills the TLB and returns the machine address, or -1 where the interpreter must do it. */
  readonly #miss = (linear: number, kind: number): number => {
    const cpu = this.#active;
    if (cpu === undefined || walksThroughCode(cpu, linear, (kind & 8) !== 0)) return -1;
    return cpu.mmu.hostAddress(linear, kind & 7, (kind & 8) !== 0, cpu.bank);
  };
}

/** MXCSR's mask of every exception and its precision flag; these and the bits that must be clear (SDM 1, 10.2.3). */
const MXCSR_FAST = 0x1fa0, MXCSR_FAST_MASK = 0xffe0;

/** FP_STATE of layout.ts. */
function floatingPointState(r: Int32Array): number {
  if ((r[S.CR0] & (S.CR0_EM | S.CR0_TS)) !== 0) return 0;
  if ((r[S.CR4] & S.CR4_OSFXSR) === 0) return L.FP_X87;
  return L.FP_X87 | L.FP_SSE | ((r[S.MXCSR] & MXCSR_FAST_MASK) === MXCSR_FAST ? L.FP_SSE_FAST : 0);
}

/** What tells the entries from one frame apart. */
function keyOf(eip: number, mode: number): number {
  return (eip & 0xfff) | (mode << 12);
}

/** Imports of a region's module, in the order of their indices. */
export const IMPORTS = [{ name: "miss", type: MISS_TYPE }, { name: "goto", type: REGION_TYPE }];
