// The binary translator as an engine: runs translations where there are any, interprets where there are none yet, and
// translates what the interpreter has entered often enough (BT paper 3.2). The interpreter stays the reference: whatever
// emitted code cannot do exactly, it leaves to it, an instruction at a time.

import { decode, GuestFault, NO_PAGE, type Processor, state as S, type x86CodeFrames } from "../x86/mod.ts";
import type { Interpreter } from "../x86/mod.ts";
import type { ObservePort, Vm } from "../../core/mod.ts";
import { type Entry, TranslationCache } from "./cache.ts";
import { CallOuts, noteState, syncLevel, TRANSLATED_MODE } from "./callout.ts";
import { Adaptations, type SiteTrap } from "./adaptation.ts";
import { EntryCounts, MOST_ENTRIES } from "./cold/counts.ts";
import { coldForms } from "./cold/forms.ts";
import { COLD_IMPORTS, coldFunction, LOOK, NOT_KNOWN, STILL_COLD } from "./cold/interpreter.ts";
import * as L from "./layout.ts";
import * as Miss from "./miss.ts";
import { Exit } from "./emit/emitter.ts";
import { ExitSites } from "./emit/exit_sites.ts";
import { completeExit, completeFlags, type ExitSite } from "./emit/exits.ts";
import { auxFunction } from "./emit/flag_kinds.ts";
import { IMPORTS, X87_TYPE } from "./emit/imports.ts";
import { x87Functions } from "./emit/x87_runtime.ts";
import { sensitiveChoice, type SensitiveForms } from "./emit/sensitive.ts";
import type { Translation } from "./events.ts";
import { chooseGroups } from "./regroup.ts";
import { Rewrites } from "./rewrites.ts";
import { LAST_WHOLE, RegionMaker } from "./region_maker.ts";
import { COUNT_SHIFT, enterFunction, gotoFunction, leaveFunction, REGION_TYPE } from "./runtime.ts";
import { type StatisticName, TranslatorStatistics } from "./statistics.ts";
import {
  interruptFunction,
  interruptReturnFunction,
  loadSegmentFunction,
  systemEnterFunction,
  systemExitFunction,
  verifyWritableFunction,
} from "./transfers.ts";
import { VainRuns } from "./vain_runs.ts";
import { walksThroughCode } from "./walks.ts";

type CodeFrames = x86CodeFrames;

export interface TranslatorOptions {
  /** Entries of a block before it is translated. */
  readonly threshold: number;
  /** Instructions of a translation unit at the most. */
  readonly unitInstructions: number;
  /** Units of a region at the most; 1 makes every unit its own. */
  readonly regionUnits: number;
  /** Steps between two looks at which regions to compile anew as one, 0 for never; entries in between that make one hot. */
  readonly regroupSteps: number;
  readonly regroupEntries: number;
  /** Entries into a group's regions, for each of its units, that make it worth compiling. */
  readonly regroupUnitEntries: number;
  /** KiB of emitted code kept at the most; the oldest translations go first. */
  readonly cacheKib: number;
  /** Whether translations go on to each other; if not, each leaves to the run loop, which looks for the next. */
  readonly chaining: boolean;
  /** How each class of sensitive instructions is handled. */
  readonly forms: SensitiveForms;
}

const PAGE_SHIFT = 12, PAGE_BYTES = 4096, PAGE_MASK = 0xfff;
/** Units of a region at the most, so that the number of one fits the jump cache's word. */
const MOST_REGION_UNITS = 250;

const MOST_INSTRUCTION_BYTES = 15;
/** Between two looks at what to regroup: new regions below which the next comes later, and how much later at the most. */
const NEW_REGIONS = 4, MOST_LOOK_FACTOR = 16;

export class Translator {
  readonly name = "bt";
  readonly statistics: TranslatorStatistics;
  readonly cache: TranslationCache;
  /** The hypervisor's area of machine memory, and where it begins. */
  readonly #words: Int32Array;
  readonly #area: number;
  readonly #maker: RegionMaker;
  readonly #callOuts: CallOuts;
  readonly adaptations: Adaptations;
  /** Runs the region that a word of the jump cache names; gives its exit status. */
  readonly #enter: (word: number) => number;
  readonly #counts: EntryCounts;
  /** Rare exits of all regions. */
  readonly sites = new ExitSites();
  /** Steps until regions are regrouped; that interval in units of the option; regions made until the last time. */
  #stepsToLook: number;
  #lookFactor = 1;
  #regionsAtLook = 0;
  readonly #rewrites = new Rewrites();
  readonly #vainRuns = new VainRuns();
  /** The slow path has refused an access because of the run that it begins. */
  #isVain = false;
  /** Steps of all VMs, but for the present turn's. */
  #steps = 0;
  #active: Processor | undefined;

  constructor(
    readonly machine: WebAssembly.Memory,
    readonly bytes: Uint8Array,
    readonly code: CodeFrames,
    readonly interpreter: Interpreter,
    readonly processorOf: (vm: Vm) => Processor,
    readonly options: TranslatorOptions,
    translated: ObservePort<Translation>,
    siteTrapped: ObservePort<SiteTrap>,
  ) {
    this.#area = bytes.length;
    this.#words = new Int32Array(machine.buffer, this.#area, L.HYPERVISOR_BYTES / 4);
    this.#words.fill(NO_PAGE, L.DATA_TLB >> 2, L.JUMP_CACHE >> 2);
    this.statistics = new TranslatorStatistics(options.unitInstructions);
    this.cache = new TranslationCache(this.#words, this.sites, options.cacheKib * 1024, this.statistics);
    const callsOutForDevices = options.forms.mmio === "callout";
    this.#callOuts = new CallOuts(
      this.#words,
      this.sites,
      interpreter,
      callsOutForDevices,
      this.statistics,
      siteTrapped,
    );
    const discarded = () => this.statistics.invalidated;
    this.adaptations = new Adaptations(this.#words, this.#area, this.#callOuts, (eip) => this.#forget(eip), discarded);
    this.#stepsToLook = this.#stepsBetweenLooks(true);
    this.#counts = new EntryCounts(this.#words);
    const { threshold, chaining, regionUnits, unitInstructions, forms } = options;
    this.#maker = new RegionMaker({
      ...{ machine, bytes, code, translated, unitInstructions },
      ...{ area: this.#area, cache: this.cache, counts: this.#counts },
      choose: sensitiveChoice(forms),
      placement: { chains: chaining, adaptedAt: this.adaptations.at, isLone: this.#vainRuns.isLone },
      isLarge: regionUnits > 1,
      isWarm: threshold > 0,
    });
    this.#enter = this.#loadRuntime();
    new Uint8Array(machine.buffer, this.#area + L.FORMS).set(new Uint8Array(coldForms(forms).buffer));
    code.addUser(this);
  }

  /** Makes what regions import, and cold code; returns the function that enters regions. */
  #loadRuntime(): (word: number) => number {
    const { threshold, chaining } = this.options;
    const functions = Object.entries(RUNTIME).map(([exported, body]) => {
      const type = IMPORTS.find(({ name }) => name === exported)?.type ?? REGION_TYPE;
      const isGoto = exported === "goto";
      return { type, body: isGoto && !chaining ? leaveFunction() : body(), exported };
    });
    const x87 = x87Functions().map(({ name, body }, index) => ({ type: X87_TYPE + index, body, exported: name }));
    const maker = this.#maker, runtime = maker.load(functions, []);
    Object.assign(maker.imports, {
      miss: this.#miss,
      coldMiss: this.#coldMiss,
      callOut: this.#callOuts.call,
      adaptedMiss: this.adaptations.miss,
      afterAccess: this.adaptations.after,
      known: this.#known,
      ...runtime,
      ...maker.load(x87, []),
    });
    const cold = coldFunction({ area: this.#area, threshold, chaining });
    maker.load([{ type: REGION_TYPE, body: cold, slot: L.COLD_SLOT }], COLD_IMPORTS);
    return runtime.enter as (word: number) => number;
  }

  /** Every published figure by its name (statistics.ts). */
  get figures(): Readonly<Record<StatisticName, number>> {
    return this.statistics.figures(this.cache.counts);
  }

  execute(vm: Vm): void {
    const cpu = this.#activate(vm);
    const { clock } = vm;
    // Alignment checks or watchpoints are armed: every access takes the slow path, which is the interpreter's.
    if (cpu.tlb !== cpu.mmu.data.host) return this.interpreter.execute(vm);
    const callOuts = this.#callOuts, statistics = this.statistics;
    if (this.#stepsToLook <= 0) this.#regroup(vm.id);
    callOuts.begin(cpu);
    const startedAt = clock.steps;
    while (clock.steps < clock.deadlineSteps && cpu.attention === 0) {
      const word = this.#find(cpu);
      if (word >= 0 && word >>> COUNT_SHIFT <= clock.deadlineSteps - clock.steps) {
        this.#run(cpu, word);
        continue;
      }
      if (word < 0) statistics.coldEntries++;
      else statistics.lateEntries++;
      if ((cpu.mode & TRANSLATED_MODE) !== TRANSLATED_MODE) {
        this.#interpret(cpu);
        continue;
      }
      const before = clock.steps;
      this.#run(cpu, L.COLD_SLOT);
      // Only a fetch that fails makes no progress: the interpreter raises it.
      if (clock.steps === before) this.#interpret(cpu);
    }
    this.#stepsToLook -= clock.steps - startedAt;
    this.#steps += clock.steps - startedAt;
  }

  step(vm: Vm): boolean {
    return this.interpreter.step(vm);
  }

  discard(mpn: number, first: number, last: number): void {
    if (!this.cache.hasPage(mpn)) return;
    this.statistics.invalidated += this.cache.forgetLines(mpn, first, last);
    this.#rewrites.note(mpn, this.#steps);
  }

  addLines(mpn: number, lines: [number, number]): void {
    this.cache.addLines(mpn, lines);
  }

  /** Forgets the translations of an instruction, to be made anew as soon as they are entered. */
  #forget(eip: number): void {
    for (const { fragment, starts } of this.cache.holding(eip)) {
      this.cache.forget(fragment);
      this.statistics.retranslated++;
      for (const address of starts) this.#counts.reset(address, MOST_ENTRIES);
    }
  }

  /**
   * Enters a region or cold code, by a word of the jump cache or COLD_SLOT, and does what is left to do when translations and
   * cold code come to a point where the dispatcher has to look.
   */
  #run(cpu: Processor, word: number): void {
    const { clock } = cpu.vm, { statistics } = this, callOuts = this.#callOuts, words = this.#words;
    for (let entered = word;; entered = L.COLD_SLOT) {
      noteState(words, cpu);
      callOuts.giveBudget(cpu);
      cpu.blockSteps = clock.steps;
      cpu.index = 0;
      if (entered === L.COLD_SLOT) statistics.coldDispatches++;
      else statistics.dispatches++;
      const status = this.#enter(entered);
      if (status > 0) {
        this.#leftAt(cpu, status);
        break;
      }
      completeFlags(words);
      callOuts.takeBack(cpu);
      // STI was the last instruction.
      if (cpu.r[S.INTERRUPT_SHADOW] !== 0) {
        cpu.updateAttention();
        break;
      }
      if (status === LOOK) {
        if (callOuts.hasLeft) callOuts.hasLeft = false;
        else if (clock.steps < clock.deadlineSteps) statistics.exits[0]++;
        else statistics.exits[Exit.yield]++;
        break;
      }
      statistics.exits[Exit.interpret]++;
      if (!this.#interpretInLine(cpu)) break;
    }
    statistics.coldEntries += words[L.COLD_ENTRIES >> 2];
    statistics.interpretedSteps += words[L.COLD_STEPS >> 2];
    words[L.COLD_ENTRIES >> 2] = words[L.COLD_STEPS >> 2] = 0;
  }

  /** A region was left at a site. */
  #leftAt(cpu: Processor, status: number): void {
    const site = this.sites.at(status), { clock } = cpu.vm;
    completeExit(this.#words, site);
    this.#callOuts.takeBack(cpu);
    this.statistics.exits[site.status]++;
    if (site.status === Exit.emulate) this.#emulate(cpu, site);
    // A region may leave for the interpreter at the very deadline.
    else if (site.status === Exit.interpret) {
      this.#callOuts.tellTrap(cpu, site.eip);
      if (this.#isVain) {
        this.#isVain = false;
        this.statistics.vainRuns++;
        if (this.#vainRuns.note(site.eip, this.#steps)) this.#forget(site.eip);
      }
      if (clock.steps < clock.deadlineSteps) this.#interpret(cpu);
    }
  }

  /** Interprets one instruction that cold code has no handler for; returns whether that goes on behind it. */
  #interpretInLine(cpu: Processor): boolean {
    const { r } = cpu, { clock } = cpu.vm;
    const eip = r[S.EIP], mpn = this.#maker.fetched(eip & ~PAGE_MASK, r[S.CPL] === 3 ? L.MODE_USER : 0);
    const before = clock.steps;
    const completed = this.interpreter.runFirst(cpu);
    this.statistics.interpretedSteps += clock.steps - before;
    this.#callOuts.noteOutside(cpu);
    // What goes on behind the instruction is no new block, unless it is a string instruction that goes on itself.
    if (!completed || (r[S.EIP] - eip) >>> 0 > MOST_INSTRUCTION_BYTES) return false;
    if (clock.steps >= clock.deadlineSteps || cpu.attention !== 0) return false;
    if ((cpu.mode & TRANSLATED_MODE) !== TRANSLATED_MODE) return false;
    // A unit may begin there all the same.
    if (mpn >= 0 && r[S.EIP] >>> PAGE_SHIFT === eip >>> PAGE_SHIFT) {
      this.#counts.enter((mpn << PAGE_SHIFT) | (r[S.EIP] & PAGE_MASK));
    }
    return true;
  }

  /** Interprets one block, or what of it the deadline allows. */
  #interpret(cpu: Processor): void {
    const before = cpu.vm.clock.steps;
    this.interpreter.runOnce(cpu);
    this.statistics.interpretedSteps += cpu.vm.clock.steps - before;
    this.#callOuts.noteOutside(cpu);
  }

  /** The trap form of a sensitive instruction. */
  #emulate(cpu: Processor, site: ExitSite): void {
    this.interpreter.runInstruction(cpu);
    this.statistics.traps++;
    this.statistics.noteEmulated(site);
    this.#callOuts.noteOutside(cpu);
  }

  /** Moves a VM's processor to where translated code expects it. */
  #activate(vm: Vm): Processor {
    const cpu = this.processorOf(vm);
    if (this.#active !== cpu) {
      this.#active?.moveHome();
      const area = this.#area;
      cpu.moveTo(this.machine.buffer, area + L.STATE, area + L.DATA_TLB, area + L.INSTRUCTION_TLB);
      this.#active = cpu;
    }
    return cpu;
  }

  /** The entry of the translation at EIP, compiled now if the interpreter has come here often enough; or -1. */
  #find(cpu: Processor): number {
    if ((cpu.mode & TRANSLATED_MODE) !== TRANSLATED_MODE) return -1;
    const { r } = cpu;
    const eip = r[S.EIP];
    const isUser = r[S.CPL] === 3;
    const bank = isUser ? L.INSTRUCTION_BANK_BYTES : 0;
    const tlb = L.INSTRUCTION_TLB + bank + ((eip >>> 12) & (L.INSTRUCTION_BANK_BYTES / 16 - 1)) * 16;
    const words = this.#words;
    if (words[tlb >> 2] !== (eip & 0xfffff000) && !this.#fetches(cpu, eip)) return -1;
    const mpn = words[(tlb + L.TLB_MPN) >> 2];
    const mode = cpu.mode | (isUser ? L.MODE_USER : 0);
    const key = L.modeWord(mode, cpu.vm.id), word = this.cache.jump(eip, key, mpn);
    if (word >= 0) return word;
    // Most of what is not there is code that was interpreted a few times: that must cost little.
    const count = this.#counts.enter((mpn << 12) | (eip & 0xfff));
    // A first entry may be one of many whose count has lost its place.
    const isKnown = count === 1 && this.cache.find(mpn, eip, mode) !== undefined;
    if (!isKnown && count < this.#thresholdOf(mpn)) return -1;
    const entry = this.#lookUp(cpu, mpn, eip, mode);
    if (entry === undefined) return -1;
    this.cache.noteJump(entry, key, mpn);
    return entry.word;
  }

  /** Fetches from a page that the instruction TLB does not hold, as the interpreter would now; false where it must. */
  #fetches(cpu: Processor, eip: number): boolean {
    try {
      return cpu.mmu.fetchFrame(eip) >= 0;
    } catch (signal) {
      // The interpreter raises it again.
      if (signal instanceof GuestFault) return false;
      throw signal;
    }
  }

  /** Entries of a block before it is translated; more where code keeps changing. */
  #thresholdOf(mpn: number): number {
    return Math.min(this.options.threshold * this.#rewrites.factor(mpn, this.#steps), MOST_ENTRIES);
  }

  /** The translation that there is, or that is made now. */
  #lookUp({ vm }: Processor, mpn: number, eip: number, mode: number): Entry | undefined {
    const address = (mpn << 12) | (eip & 0xfff);
    const known = this.cache.find(mpn, eip, mode);
    if (known !== undefined) {
      this.cache.noteEntry(known.fragment, vm.id);
      this.#counts.markTranslated(address);
      return known;
    }
    if (this.#counts.isTranslated(address)) {
      // It is no longer, or is at another address.
      this.#counts.reset(address, 1);
      if (this.#thresholdOf(mpn) > 1) return undefined;
    }
    this.#counts.reset(address, 0);
    // No region begins with an instruction across pages.
    const at = mpn * PAGE_BYTES + (eip & PAGE_MASK), end = (mpn + 1) * PAGE_BYTES;
    if ((eip & PAGE_MASK) > LAST_WHOLE && decode(this.bytes, at, end, 32) === "truncated") return undefined;
    const startedMs = performance.now();
    const entry = this.#translate(vm.id, mpn, eip, mode);
    this.statistics.wallTranslatingMs += performance.now() - startedMs;
    return entry;
  }

  #translate(vmId: number, mpn: number, eip: number, mode: number): Entry | undefined {
    return this.#maker.make({
      mpn,
      eip,
      mode,
      entries: [],
      frames: [],
      units: this.options.regionUnits,
      vmIds: [vmId],
      parts: [],
    });
  }

  /** Steps until regions are regrouped: more while there are no new ones, and nothing that was worth it. */
  #stepsBetweenLooks(hasFound: boolean): number {
    const { regroupSteps, regionUnits } = this.options;
    if (regroupSteps === 0 || regionUnits === 1) return Infinity;
    const { regions } = this.statistics;
    const isCalm = !hasFound && regions - this.#regionsAtLook < NEW_REGIONS;
    this.#lookFactor = isCalm ? Math.min(this.#lookFactor * 2, MOST_LOOK_FACTOR) : 1;
    this.#regionsAtLook = regions;
    return regroupSteps * this.#lookFactor;
  }

  /** Compiles regions anew, as one, that lead to each other and are hot. */
  #regroup(vmId: number): void {
    const { regroupEntries: entries, regroupUnitEntries: unitEntries } = this.options;
    const limits = { entries, unitEntries, units: MOST_REGION_UNITS };
    const startedMs = performance.now();
    const groups = chooseGroups(
      this.cache.fragments,
      this.#words,
      limits,
      (page, mode) => this.#maker.fetched(page, mode),
    );
    for (const parts of groups) {
      const [{ spans: [{ mpn, eip }], mode }] = parts;
      const entries = parts.flatMap(({ spans, entries }) => entries.map((index) => spans[index].eip));
      const frames = parts.flatMap(({ spans }) => spans.map(({ mpn, eip }) => [eip & ~PAGE_MASK, mpn] as const));
      const vmIds = [...new Set([vmId, ...parts.flatMap(({ vmIds }) => vmIds)])];
      this.#maker.make({ mpn, eip, mode, entries, frames, units: MOST_REGION_UNITS, vmIds, parts });
      this.statistics.groups++;
      this.statistics.regrouped += parts.length;
    }
    this.#stepsToLook = this.#stepsBetweenLooks(groups.length > 0);
    this.statistics.wallTranslatingMs += performance.now() - startedMs;
  }

  /**
   * Where the jump cache or the instruction TLB does not help: the word of the translation that there is at EIP; NOT_KNOWN
   * where the dispatcher must look, STILL_COLD where there is none to be made yet.
   */
  readonly #known = (eip: number): number => {
    const cpu = this.#active;
    if (cpu === undefined) return NOT_KNOWN;
    const words = this.#words;
    const tlb = L.INSTRUCTION_TLB + words[L.INSTRUCTION_BANK >> 2] +
      ((eip >>> 12) & (L.INSTRUCTION_BANK_BYTES / 16 - 1)) * 16;
    if (words[tlb >> 2] !== (eip & 0xfffff000)) {
      // A stop for a tool must not be thrown through translated code, whose steps would be lost: the dispatcher fetches.
      if (cpu.mmu.stopsFetches) return NOT_KNOWN;
      syncLevel(cpu);
      if (!this.#fetches(cpu, eip)) return NOT_KNOWN;
      // Filling the page may have ended the turn.
      const { clock } = cpu.vm;
      if (clock.deadlineSteps <= clock.steps) return NOT_KNOWN;
    }
    const mpn = words[(tlb + L.TLB_MPN) >> 2], key = words[L.MODE >> 2];
    const word = this.cache.jump(eip, key, mpn);
    if (word >= 0) return word;
    const entry = this.cache.find(mpn, eip, key & L.MODE_MASK);
    if (entry === undefined) {
      const count = this.#counts.enter((mpn << PAGE_SHIFT) | (eip & PAGE_MASK));
      return count < this.#thresholdOf(mpn) ? STILL_COLD : NOT_KNOWN;
    }
    this.cache.noteEntry(entry.fragment, cpu.vm.id);
    this.cache.noteJump(entry, key, mpn);
    return entry.word;
  };

  /** The slow path of an access: fills the TLB and returns the machine address, or -1 where the interpreter must do it. */
  readonly #miss = (linear: number, kind: number): number => this.#fill(linear, kind, -1);

  /** The same from cold code at a machine address, whose bytes must not change while they are looked at. */
  readonly #coldMiss = (linear: number, kind: number, code: number): number => this.#fill(linear, kind, code >>> 12);

  #fill(linear: number, kind: number, codeFrame: number): number {
    const cpu = this.#active, isWrite = Miss.writes(kind);
    if (Miss.beginsRun(kind) && Miss.runCrossesPage(linear, kind)) return this.#refuseRun();
    if (cpu === undefined || walksThroughCode(cpu, linear, isWrite, codeFrame)) return -1;
    syncLevel(cpu);
    const { mmu, bank, vm: { clock } } = cpu, { data } = mmu, { revision } = data;
    const address = mmu.hostAddress(linear, Miss.bytesOf(kind), isWrite, bank);
    // Cold code leaves such an access to the interpreter: a note would be taken for the next region's.
    if (address === -1 && codeFrame < 0) this.#callOuts.noteMiss(cpu);
    // Filling the page may have ended the turn: memory was short, or a disk failed.
    if (address === -1 || clock.deadlineSteps <= clock.steps) return -1;
    // It may have given another page's frame away.
    if (Miss.relies(kind) && data.revision !== revision) return -1;
    if (Miss.beginsRun(kind) && !data.isFast(linear, bank, Miss.runWrites(kind))) return this.#refuseRun();
    return address;
  }

  /** The access is left to the interpreter, for the sake of the run that it would begin. */
  #refuseRun(): number {
    this.#isVain = true;
    return -1;
  }
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
  verifyWritable: verifyWritableFunction,
} as const;
