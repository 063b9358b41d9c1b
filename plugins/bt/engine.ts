// The binary translator as an engine: runs translations where there are any, interprets where there are none yet, and
// translates what the interpreter has entered often enough (BT paper 3.2). The interpreter stays the reference: whatever
// emitted code cannot do exactly, it leaves to it, an instruction at a time.

import { type Processor, state as S, type x86CodeFrames } from "../x86/mod.ts";
import type { Block, Interpreter } from "../x86/mod.ts";
import type { ObservePort, Vm } from "../../core/mod.ts";
import { CallOuts, noteState, syncLevel, TRANSLATED_MODE } from "./callout.ts";
import { compileRegion } from "./compile.ts";
import * as L from "./layout.ts";
import { Exit } from "./emit/emitter.ts";
import { completeExit, completeFlags, type ExitSite } from "./emit/exits.ts";
import { auxFunction } from "./emit/flag_kinds.ts";
import { IMPORTS, X87_TYPE } from "./emit/imports.ts";
import { x87Functions } from "./emit/x87_runtime.ts";
import { type SensitiveChoice, sensitiveChoice, type SensitiveForms } from "./emit/sensitive.ts";
import type { Translation } from "./events.ts";
import { COUNT_SHIFT, enterFunction, entryWord, gotoFunction, REGION_TYPE, SLOT_MASK, TYPES } from "./runtime.ts";
import {
  interruptFunction,
  interruptReturnFunction,
  loadSegmentFunction,
  systemEnterFunction,
  systemExitFunction,
} from "./transfers.ts";
import { findRegion, type Region, type Unit } from "./units.ts";
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
  /** How each class of sensitive instructions is handled. */
  readonly forms: SensitiveForms;
}

/** A compiled region. */
interface Fragment {
  readonly mpn: number;
  /** Linear address of its page. */
  readonly linearPage: number;
  readonly mode: number;
  readonly slot: number;
  /** Its units. */
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
  traps: number;
  callouts: number;
  deviceCallouts: number;
}

const TABLE_SLOTS = 1 << 16;
/** A page whose code keeps changing is not translated again until it has been left alone for this many entries. */
const REWRITE_PENALTY = 16, MOST_REWRITES = 64;

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
    traps: 0,
    callouts: 0,
    deviceCallouts: 0,
  };
  /** The hypervisor's area of machine memory, and where it begins. */
  readonly #words: Int32Array;
  readonly #area: number;
  readonly #table = new WebAssembly.Table({ element: "anyfunc", initial: TABLE_SLOTS, maximum: TABLE_SLOTS });
  /** What the runtime modules export. */
  #runtime: WebAssembly.Exports = {};
  readonly #callOuts: CallOuts;
  readonly #choose: SensitiveChoice;
  /** Runs the region that a word of the jump cache names; gives its exit status. */
  readonly #enter: (word: number) => number;
  /** By frame. */
  readonly #pages = new Map<number, Page>();
  /** Rare exits of all regions. */
  readonly #sites: ExitSite[] = [];
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
    this.#area = bytes.length;
    this.#words = new Int32Array(machine.buffer, this.#area, L.HYPERVISOR_BYTES / 4);
    this.#words.fill(0xffffffff, L.JUMP_CACHE / 4);
    const callsOutForDevices = options.forms.mmio === "callout";
    this.#callOuts = new CallOuts(this.#words, this.#sites, interpreter, callsOutForDevices, this.statistics);
    this.#choose = sensitiveChoice(options.forms);
    const functions = Object.entries(RUNTIME).map(([exported, body]) => {
      const type = IMPORTS.find(({ name }) => name === exported)?.type ?? REGION_TYPE;
      return { type, body: body(), exported };
    });
    const x87 = x87Functions().map(({ name, body }, index) => ({ type: X87_TYPE + index, body, exported: name }));
    this.#runtime = { ...this.#instantiate(functions, []).exports, ...this.#instantiate(x87, []).exports };
    this.#enter = this.#runtime.enter as (word: number) => number;
    code.addUser(this);
  }

  execute(vm: Vm): void {
    const cpu = this.#activate(vm);
    const { clock } = vm;
    // Alignment checks or watchpoints are armed: every access takes the slow path, which is the interpreter's.
    if (cpu.tlb !== cpu.mmu.data.host) return this.interpreter.execute(vm);
    const words = this.#words, callOuts = this.#callOuts;
    callOuts.begin(cpu);
    while (clock.steps < clock.deadlineSteps && cpu.attention === 0) {
      const word = this.#find(cpu);
      const left = clock.deadlineSteps - clock.steps;
      if (word < 0 || left < word >>> COUNT_SHIFT) {
        this.#interpret(cpu, this.#cold);
        continue;
      }
      this.statistics.dispatches++;
      noteState(words, cpu);
      callOuts.giveBudget(cpu);
      cpu.blockSteps = clock.steps;
      cpu.index = 0;
      const status = this.#enter(word);
      const site = status === 0 ? undefined : this.#sites[status - 1];
      if (site === undefined) completeFlags(words);
      else completeExit(words, site);
      callOuts.takeBack(cpu);
      if (site?.status === Exit.emulate) this.#emulate(cpu);
      // A region may leave for the interpreter at the very deadline.
      else if (site?.status === Exit.interpret && clock.steps < clock.deadlineSteps) this.#interpret(cpu);
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
  #interpret(cpu: Processor, block?: Block): void {
    const before = cpu.vm.clock.steps;
    if (block === undefined) this.interpreter.runOnce(cpu);
    else this.interpreter.runBlock(cpu, block);
    this.statistics.interpretedSteps += cpu.vm.clock.steps - before;
    this.#callOuts.noteOutside(cpu);
  }

  /** The trap form of a sensitive instruction. */
  #emulate(cpu: Processor): void {
    this.interpreter.runInstruction(cpu);
    this.statistics.traps++;
    this.#callOuts.noteOutside(cpu);
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
      const area = this.#area;
      cpu.moveTo(this.machine.buffer, area + L.STATE, area + L.DATA_TLB, area + L.INSTRUCTION_TLB);
      this.#active = cpu;
    }
    return cpu;
  }

  /** What is to be interpreted where `#find` found no translation; undefined where that is not known. */
  #cold: Block | undefined;

  /** The entry of the translation at EIP, compiled now if the interpreter has come here often enough; or -1. */
  #find(cpu: Processor): number {
    this.#cold = undefined;
    if ((cpu.mode & TRANSLATED_MODE) !== TRANSLATED_MODE) return -1;
    const { r } = cpu;
    const eip = r[S.EIP];
    const isUser = r[S.CPL] === 3;
    const bank = isUser ? L.INSTRUCTION_BANK_BYTES : 0;
    const tlb = L.INSTRUCTION_TLB + bank + ((eip >>> 12) & (L.INSTRUCTION_BANK_BYTES / 16 - 1)) * 16;
    const words = this.#words;
    // Not mapped in the instruction TLB: the interpreter fetches, and faults, first.
    if (words[tlb >> 2] !== (eip & 0xfffff000)) return -1;
    const mpn = words[(tlb + L.TLB_MPN) >> 2];
    const mode = cpu.mode | (isUser ? L.MODE_USER : 0);
    const at = (L.JUMP_CACHE + L.jumpCacheIndex(eip) * 16) >> 2;
    if (words[at] === eip && words[at + 1] === mode && words[at + 2] === mpn) return words[at + 3];
    // Most of what is not there is code that was interpreted a few times: that must cost little.
    const block = this.interpreter.blocks.find((mpn << 12) | (eip & 0xfff), cpu.mode);
    const isHot = block === undefined || block.isTranslated || ++block.entries >= this.#thresholdOf(mpn);
    const entry = isHot ? this.#lookUp(mpn, eip, mode, block) : undefined;
    if (entry === undefined) {
      this.#cold = block;
      return -1;
    }
    words[at] = eip;
    words[at + 1] = mode;
    words[at + 2] = mpn;
    words[at + 3] = entry.word;
    return entry.word;
  }

  /** Entries of a block before it is translated; more where code keeps changing. */
  #thresholdOf(mpn: number): number {
    const { threshold } = this.options;
    if (this.#rewrites.size === 0) return threshold;
    const rewrites = this.#rewrites.get(mpn) ?? 0;
    return threshold * (1 + Math.min(rewrites, MOST_REWRITES) * REWRITE_PENALTY);
  }

  /** The translation that there is, or that is made now. */
  #lookUp(mpn: number, eip: number, mode: number, block: Block | undefined): Entry | undefined {
    const known = this.#pages.get(mpn)?.entries.get(keyOf(eip, mode));
    if (known?.fragment.linearPage === (eip & 0xfffff000)) {
      if (block !== undefined) block.isTranslated = true;
      return known;
    }
    if (block === undefined) return undefined;
    if (block.isTranslated) {
      // It is no longer, or is at another address.
      block.isTranslated = false;
      block.entries = 1;
      if (this.#thresholdOf(mpn) > 1) return undefined;
    }
    block.entries = 0;
    return this.#translate(mpn, eip, mode);
  }

  #translate(mpn: number, eip: number, mode: number): Entry | undefined {
    const { unitInstructions, regionUnits, cacheRegions } = this.options;
    const linearPage = eip & 0xfffff000;
    const limits = { cap: unitInstructions, units: regionUnits };
    const entries = this.#pages.get(mpn)?.entries;
    const isKnown = (offset: number) => entries?.get(keyOf(offset, mode))?.fragment.linearPage === linearPage;
    const region = findRegion(this.bytes, mpn * 4096, eip & 0xfff, limits, isKnown, this.#choose);
    const { units } = region;
    if (units.length === 0 || units[0].instructions.length === 0) return undefined;
    if (this.#nextSlot >= Math.min(cacheRegions, TABLE_SLOTS)) this.#flush();
    const slot = this.#nextSlot++;
    const body = compileRegion(region, { linearPage, mode, slot }, this.#sites);
    this.#instantiate([{ type: REGION_TYPE, body, slot }], IMPORTS.slice(0, body.callees));
    const entry = this.#install({ mpn, linearPage, mode, slot, units }, region);
    for (const { offset, end } of units) this.code.mark(mpn, offset, Math.min(end, 4096) - offset);
    this.statistics.regions++;
    this.statistics.units += units.length;
    for (const unit of units) this.statistics.instructions += unit.instructions.length;
    if (this.translated.active) this.translated.emit({ mpn, eip, mode, region, body });
    return entry;
  }

  /** Makes a region known at each of its entries that no other has; returns the first. */
  #install(fragment: Fragment, { entries: indices, flow }: Region): Entry {
    const { mpn, mode, units, linearPage, slot } = fragment;
    let page = this.#pages.get(mpn);
    if (page === undefined) this.#pages.set(mpn, page = { fragments: new Set(), entries: new Map() });
    const first = { fragment, word: entryWord(slot, 0, flow.longest[0]) };
    const { entries } = page;
    for (const index of indices) {
      const key = keyOf(units[index].offset, mode);
      const other = entries.get(key)?.fragment;
      // The frame is mapped at another address by now: what was made for the other one goes.
      if (other !== undefined && other.linearPage !== linearPage) this.#forget(page, other);
      if (index === 0) entries.set(key, first);
      else if (!entries.has(key)) entries.set(key, { fragment, word: entryWord(slot, index, flow.longest[index]) });
    }
    page.fragments.add(fragment);
    for (const index of indices) {
      const block = this.interpreter.blocks.find((mpn << 12) | units[index].offset, mode & ~L.MODE_USER);
      if (block !== undefined) block.isTranslated = true;
    }
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
    this.#sites.length = 0;
    this.#nextSlot = 0;
    this.statistics.flushes++;
  }

  #instantiate(
    functions: Parameters<typeof encodeModule>[0]["functions"],
    imports: Parameters<typeof encodeModule>[0]["imports"],
  ): WebAssembly.Instance {
    const encoded = encodeModule({
      types: TYPES.slice(0, 1 + Math.max(...[...imports, ...functions].map(({ type }) => type))),
      imports,
      functions,
      machinePages: this.#machinePages,
      area: this.#area,
      tableSlots: TABLE_SLOTS,
    });
    this.statistics.emittedBytes += encoded.length;
    const environment: WebAssembly.ModuleImports = {
      machine: this.machine,
      table: this.#table,
      miss: this.#miss,
      callOut: this.#callOuts.call,
      ...this.#runtime,
    };
    return new WebAssembly.Instance(new WebAssembly.Module(encoded), { m: environment });
  }

  /** The slow path of an access: fills the TLB and returns the machine address, or -1 where the interpreter must do it. */
  readonly #miss = (linear: number, kind: number): number => {
    const cpu = this.#active;
    if (cpu === undefined || walksThroughCode(cpu, linear, (kind & 8) !== 0)) return -1;
    syncLevel(cpu);
    const address = cpu.mmu.hostAddress(linear, kind & 7, (kind & 8) !== 0, cpu.bank);
    if (address === -1) this.#callOuts.noteMiss(cpu, linear);
    return address;
  };
}

/** What tells the entries from one frame apart. */
function keyOf(eip: number, mode: number): number {
  return (eip & 0xfff) | (mode << 12);
}

/** The runtime module: what regions import of it, by name. */
const RUNTIME = {
  goto: gotoFunction,
  enter: enterFunction,
  aux: auxFunction,
  loadSegment: loadSegmentFunction,
  interrupt: interruptFunction,
  interruptReturn: interruptReturnFunction,
  systemEnter: systemEnterFunction,
  systemExit: systemExitFunction,
} as const;
