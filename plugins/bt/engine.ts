// The binary translator as an engine: runs translations where there are any, interprets where there are none yet, and
// translates what the interpreter has entered often enough (BT paper 3.2). The interpreter stays the reference: whatever
// emitted code cannot do exactly, it leaves to it, an instruction at a time.

import { Mode, type Processor, state as S, type x86CodeFrames } from "../x86/mod.ts";
import type { Interpreter } from "../x86/mod.ts";
import type { Vm } from "../../core/mod.ts";
import { compileRegion } from "./compile.ts";
import * as L from "./layout.ts";
import { Exit } from "./emit/emitter.ts";
import { gotoFunction, MISS_TYPE, REGION_TYPE, SLOT_BITS, TYPES } from "./runtime.ts";
import { findRegion } from "./units.ts";
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

/** A compiled region and how to enter it. */
interface Fragment {
  readonly mpn: number;
  readonly offset: number;
  readonly eip: number;
  readonly mode: number;
  readonly slot: number;
  readonly enter: (entry: number) => number;
  /** Byte ranges of the page that it was made from. */
  readonly ranges: readonly (readonly [offset: number, length: number])[];
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
  /** By frame, then by offset and mode. */
  readonly #fragments = new Map<number, Map<number, Fragment>>();
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
      const fragment = this.#find(cpu);
      if (fragment === undefined) {
        this.#interpret(cpu);
        continue;
      }
      this.statistics.dispatches++;
      const left = clock.deadlineSteps - clock.steps;
      const budget = left < MOST_BUDGET ? left : MOST_BUDGET;
      words[L.BUDGET >> 2] = budget;
      cpu.blockSteps = clock.steps;
      cpu.index = 0;
      const status = fragment.enter(0);
      const done = budget - words[L.BUDGET >> 2];
      clock.steps += done;
      const stuck = status === Exit.interpret || (status === Exit.yield && done === 0);
      if (stuck && clock.steps < clock.deadlineSteps) this.#interpret(cpu);
    }
  }

  step(vm: Vm): boolean {
    return this.interpreter.step(vm);
  }

  discard(mpn: number, first: number, last: number): void {
    const page = this.#fragments.get(mpn);
    if (page === undefined) return;
    for (const [key, fragment] of page) {
      const hit = fragment.ranges.some(([offset, length]) =>
        (offset >> 6) <= last && ((offset + length - 1) >> 6) >= first
      );
      if (!hit) continue;
      page.delete(key);
      this.#forget(fragment);
      this.statistics.invalidated++;
    }
    this.#rewrites.set(mpn, (this.#rewrites.get(mpn) ?? 0) + 1);
    if (page.size === 0) this.#fragments.delete(mpn);
  }

  addLines(mpn: number, lines: [number, number]): void {
    const page = this.#fragments.get(mpn);
    if (page === undefined) return;
    for (const { ranges } of page.values()) {
      for (const [offset, length] of ranges) {
        for (let line = offset >> 6; line <= (offset + length - 1) >> 6; line++) lines[line >> 5] |= 1 << (line & 31);
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

  /** The translation at EIP, compiled now if the interpreter has come here often enough. */
  #find(cpu: Processor): Fragment | undefined {
    const needed = Mode.code32 | Mode.stack32 | Mode.flat;
    if ((cpu.mode & needed) !== needed) return undefined;
    const { r } = cpu;
    const isUser = r[S.CPL] === 3;
    const mode = cpu.mode | (isUser ? L.MODE_USER : 0);
    const eip = r[S.EIP];
    const bank = isUser ? L.INSTRUCTION_BANK_BYTES : 0;
    const entry = L.INSTRUCTION_TLB + bank + ((eip >>> 12) & (L.INSTRUCTION_BANK_BYTES / 16 - 1)) * 16;
    const words = this.#words;
    // Not mapped in the instruction TLB: the interpreter fetches, and faults, first.
    if (words[entry >> 2] !== (eip & 0xfffff000)) return undefined;
    const mpn = words[(entry + L.TLB_MPN) >> 2];
    words[L.MODE >> 2] = mode;
    words[L.INSTRUCTION_BANK >> 2] = bank;
    const offset = eip & 0xfff;
    const known = this.#fragments.get(mpn)?.get(offset | (mode << 12));
    const fragment = known?.eip === eip ? known : this.#translateIfHot(cpu, mpn, eip, mode);
    if (fragment !== undefined) this.#remember(fragment);
    return fragment;
  }

  #translateIfHot(cpu: Processor, mpn: number, eip: number, mode: number): Fragment | undefined {
    const block = this.interpreter.blocks.find((mpn << 12) | (eip & 0xfff), cpu.mode);
    if (block === undefined) return undefined;
    const rewrites = this.#rewrites.get(mpn) ?? 0;
    if (++block.entries < this.options.threshold * (1 + Math.min(rewrites, 64) * REWRITE_PENALTY)) return undefined;
    block.entries = 0;
    return this.#translate(mpn, eip, mode);
  }

  #translate(mpn: number, eip: number, mode: number): Fragment | undefined {
    const offset = eip & 0xfff;
    const { unitInstructions, regionUnits, cacheRegions } = this.options;
    const region = findRegion(this.bytes, mpn * 4096, offset, { cap: unitInstructions, units: regionUnits });
    if (region.units.length === 0 || region.units[0].instructions.length === 0) return undefined;
    if (this.#nextSlot >= Math.min(cacheRegions, TABLE_SLOTS)) this.#flush();
    const slot = this.#nextSlot++;
    const body = compileRegion(region, eip & 0xfffff000, mode & L.MODE_USER ? L.DATA_BANK_BYTES : 0);
    const instance = this.#instantiate([{ type: REGION_TYPE, body, slot, exported: "enter" }], IMPORTS);
    const ranges = region.units.map((unit) => [unit.offset, Math.max(1, unit.end - unit.offset)] as const);
    const enter = instance.exports.enter as (entry: number) => number;
    const fragment: Fragment = { mpn, offset, eip, mode, slot, enter, ranges };
    let page = this.#fragments.get(mpn);
    if (page === undefined) this.#fragments.set(mpn, page = new Map());
    const replaced = page.get(offset | (mode << 12));
    if (replaced !== undefined) this.#forget(replaced);
    page.set(offset | (mode << 12), fragment);
    for (const [at, length] of ranges) this.code.mark(mpn, at, Math.min(length, 4096 - at));
    this.statistics.regions++;
    this.statistics.units += region.units.length;
    for (const unit of region.units) this.statistics.instructions += unit.instructions.length;
    return fragment;
  }

  /** Puts a fragment into the jump cache. */
  #remember({ eip, mode, mpn, slot }: Fragment): void {
    const at = (L.JUMP_CACHE + L.jumpCacheIndex(eip) * 16) >> 2;
    const words = this.#words;
    words[at] = eip;
    words[at + 1] = mode;
    words[at + 2] = mpn;
    words[at + 3] = slot | (0 << SLOT_BITS);
  }

  /** Takes a fragment out of the jump cache. Its slot is not used again before the next flush. */
  #forget({ eip, slot }: Fragment): void {
    const at = (L.JUMP_CACHE + L.jumpCacheIndex(eip) * 16) >> 2;
    if (this.#words[at + 3] === slot) this.#words.fill(-1, at, at + 4);
    this.#table.set(slot, null);
  }

  /** Drops every translation: the cache is full. */
  #flush(): void {
    this.#fragments.clear();
    this.#words.fill(-1, L.JUMP_CACHE >> 2);
    for (let slot = 0; slot < this.#nextSlot; slot++) this.#table.set(slot, null);
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
    return cpu === undefined ? -1 : cpu.mmu.hostAddress(linear, kind & 7, (kind & 8) !== 0, cpu.bank);
  };
}

/** Imports of a region's module, in the order of their indices. */
const IMPORTS = [{ name: "miss", type: MISS_TYPE }, { name: "goto", type: REGION_TYPE }];
