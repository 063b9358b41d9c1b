// From a plan to an installed region: its units are found, compiled into a module of their own and run, so that its function
// goes to its slot; then the cache and the entry counts know it, and stores to its code are watched for.

import type { ObservePort } from "../../core/mod.ts";
import type { x86CodeFrames } from "../x86/mod.ts";
import type { Entry, Fragment, TranslationCache } from "./cache.ts";
import type { EntryCounts } from "./cold/counts.ts";
import { compileRegion, type Placement } from "./compile.ts";
import { IMPORTS } from "./emit/imports.ts";
import type { SensitiveChoice } from "./emit/sensitive.ts";
import type { Translation } from "./events.ts";
import * as L from "./layout.ts";
import { REGION_TYPE, TYPES } from "./runtime.ts";
import { crossesPage, exitsOf, findRegion } from "./units.ts";
import { Bytes, encodeModule } from "./wasm.ts";

const PAGE_SHIFT = 12, PAGE_MASK = 0xfff;
/** The last offset in a page from which no instruction reaches the next. */
export const LAST_WHOLE = 4096 - 15;

/** What a region is compiled from. */
export interface RegionPlan {
  /** Frame, linear address and mode of its first entry. */
  readonly mpn: number;
  readonly eip: number;
  readonly mode: number;
  /** Linear addresses at which it is entered, too. */
  readonly entries: readonly number[];
  /** Linear pages and their frames; the instruction TLB has others. */
  readonly frames: readonly (readonly [page: number, mpn: number])[];
  /** Units at the most. */
  readonly units: number;
  readonly vmIds: number[];
  /** Regions whose place it takes. */
  readonly parts: readonly Fragment[];
}

/** What regions are made with. */
export interface RegionTools {
  readonly machine: WebAssembly.Memory;
  /** Machine memory's frames, and where the hypervisor's area begins behind them. */
  readonly bytes: Uint8Array;
  readonly area: number;
  readonly code: x86CodeFrames;
  readonly cache: TranslationCache;
  readonly counts: EntryCounts;
  readonly choose: SensitiveChoice;
  /** What every region is placed with. */
  readonly placement: Required<Pick<Placement, "chains" | "adaptedAt" | "isLone">>;
  /** Instructions of a unit at the most; whether a region may lie in several pages; and whether units were run before. */
  readonly unitInstructions: number;
  readonly isLarge: boolean;
  readonly isWarm: boolean;
  readonly translated: ObservePort<Translation>;
}

type Contents = Parameters<typeof encodeModule>[0];

export class RegionMaker {
  /** What modules import, by name. */
  readonly imports: WebAssembly.ModuleImports;
  readonly #words: Int32Array;
  readonly #machinePages: number;
  /** The module that was made last. */
  readonly #module = new Bytes();

  constructor(readonly tools: RegionTools) {
    const { machine, area, cache: { table } } = tools;
    this.imports = { machine, table };
    this.#words = new Int32Array(machine.buffer, area, L.HYPERVISOR_BYTES / 4);
    this.#machinePages = machine.buffer.byteLength / 65536;
  }

  /** Compiles a region and installs it; undefined where no instruction can be translated. */
  make(plan: RegionPlan): Entry | undefined {
    const { mpn, eip, mode, vmIds, parts } = plan;
    const { cache, bytes, counts, code, choose, placement, unitInstructions, isLarge, isWarm, translated } = this.tools;
    const { sites, statistics } = cache;
    const linearPage = eip & ~PAGE_MASK;
    const frames = new Map([[linearPage, mpn], ...plan.frames]);
    const frameOf = (linear: number): number => {
      const page = linear & ~PAGE_MASK;
      let frame = frames.get(page);
      if (frame === undefined) frames.set(page, frame = this.fetched(page, mode));
      return frame;
    };
    const at = (offset: number) => (linearPage + offset) | 0;
    const region = findRegion({
      bytes,
      mpn,
      offsets: [eip, ...plan.entries].map((linear) => (linear - linearPage) | 0),
      limits: { cap: unitInstructions, units: plan.units },
      isKnown: (offset) => {
        const known = cache.find(frameOf(at(offset)), at(offset), mode);
        return known !== undefined && !parts.includes(known.fragment);
      },
      // Before anything has run there is nothing to go by.
      hasRun: !isWarm ? undefined : (offset) => {
        const linear = at(offset);
        // What may cross the page is fetched by the interpreter.
        if ((linear & PAGE_MASK) > LAST_WHOLE) return true;
        return counts.has((frameOf(linear) << PAGE_SHIFT) | (linear & PAGE_MASK));
      },
      frameOf: isLarge ? (page) => frameOf(at(page << PAGE_SHIFT)) : undefined,
      choose,
    });
    const { units, entries } = region;
    if (units.length === 0 || units[0].instructions.length === 0) return undefined;
    const slot = cache.takeSlot();
    const body = compileRegion(region, { linearPage, mode, slot, ...placement }, sites);
    const added = sites.takeAdded();
    const module = this.#encode([{ type: REGION_TYPE, body, slot }], IMPORTS.slice(0, body.callees));
    const emittedBytes = module.length;
    for (const part of parts) cache.forget(part);
    cache.makeRoom(emittedBytes);
    this.#instantiate(module);
    // Where the code lies is all that is kept of it: decoded instructions would be most of what a translation takes.
    const span = (offset: number, end: number) => ({ mpn: frameOf(at(offset)), eip: at(offset), bytes: end - offset });
    const ends = units.map((unit) => crossesPage(unit) ? unit.offset | PAGE_MASK : unit.end - 1);
    const spans = units.map(({ offset }, index) => span(offset, ends[index] + 1));
    // The rest of the instructions that go on in another page.
    for (const unit of units) if (crossesPage(unit)) spans.push(span((unit.offset | PAGE_MASK) + 1, unit.end));
    const exits = new Set(exitsOf(region).map(at));
    const generation = Math.max(-1, ...parts.map(({ generation }) => generation)) + 1;
    const fragment = {
      mode,
      slot,
      spans,
      entries,
      exits,
      generation,
      seenEntries: 0,
      emittedBytes,
      sites: added,
      vmIds,
    };
    const entry = cache.install(fragment, region);
    for (const index of entries) {
      const { mpn, eip } = spans[index];
      counts.markTranslated((mpn << PAGE_SHIFT) | (eip & PAGE_MASK));
    }
    for (const { mpn, eip, bytes } of spans) code.mark(mpn, eip & PAGE_MASK, bytes);
    statistics.noteRegion(units, emittedBytes);
    if (translated.active) translated.emit({ mpn, eip, mode, region, body });
    return entry;
  }

  /** Frame of a page that is in the instruction TLB, or -1: translating must not fetch. */
  fetched(page: number, mode: number): number {
    const bank = mode & L.MODE_USER ? L.INSTRUCTION_BANK_BYTES : 0;
    const tlb = L.INSTRUCTION_TLB + bank + ((page >>> 8) & (L.INSTRUCTION_BANK_BYTES - 16));
    return this.#words[tlb >> 2] === page ? this.#words[(tlb + L.TLB_MPN) >> 2] : -1;
  }

  /** Makes a module of functions and runs it; returns what it exports. */
  load(functions: Contents["functions"], imports: Contents["imports"]): WebAssembly.Exports {
    return this.#instantiate(this.#encode(functions, imports)).exports;
  }

  /** The module's bytes: until the next one is made. */
  #encode(functions: Contents["functions"], imports: Contents["imports"]): Uint8Array<ArrayBuffer> {
    return encodeModule({
      types: TYPES.slice(0, 1 + Math.max(...[...imports, ...functions].map(({ type }) => type))),
      imports,
      functions,
      machinePages: this.#machinePages,
      area: this.tools.area,
      tableSlots: L.ALL_SLOTS,
    }, this.#module);
  }

  #instantiate(module: Uint8Array<ArrayBuffer>): WebAssembly.Instance {
    return new WebAssembly.Instance(new WebAssembly.Module(module), { m: this.imports });
  }
}
