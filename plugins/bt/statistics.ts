// What the translator counts, and how it is reported: totals since the start, and ratios of them. All are functions of the
// guests and the configuration, except those whose names begin with `wall`, which are measured on the host's clock and are
// no part of what is compared between runs.

import { Exit } from "./emit/emitter.ts";
import type { ExitSite } from "./emit/exits.ts";
import { SENSITIVE_CLASSES, sensitiveClassNames, sensitiveClassOf } from "./emit/sensitive.ts";
import type { SensitiveClassName } from "./emit/sensitive.ts";
import type { CacheCounts } from "./cache.ts";
import type { Unit } from "./units.ts";

/** Besides those of `Exit`: no translation at the next EIP was found in the jump cache. */
const MISS = 0;

export class TranslatorStatistics {
  regions = 0;
  units = 0;
  instructions = 0;
  cappedUnits = 0;
  guestBytes = 0;
  emittedBytes = 0;
  invalidated = 0;
  evicted = 0;
  retranslated = 0;
  sharedRegions = 0;
  sharedBytes = 0;
  interpretedSteps = 0;
  dispatches = 0;
  regrouped = 0;
  groups = 0;
  coldEntries = 0;
  coldDispatches = 0;
  lateEntries = 0;
  vainRuns = 0;
  traps = 0;
  callouts = 0;
  deviceCallouts = 0;
  exitsCallout = 0;
  exitsDevice = 0;
  /** Sensitive instructions by class that were emulated, by trap or call-out; what has no class comes last. */
  readonly emulated = [...sensitiveClassNames.map(() => 0), 0];
  /** Exits by `Exit`, and `MISS`. */
  readonly exits = [0, 0, 0, 0];
  wallTranslatingMs = 0;
  readonly #startedMs = performance.now();

  /** `cap`: instructions of a unit at the most. */
  constructor(readonly cap: number) {}

  /** A region has been translated. */
  noteRegion(units: readonly Unit[], emittedBytes: number): void {
    this.regions++;
    this.units += units.length;
    this.emittedBytes += emittedBytes;
    for (const { instructions, ending, offset, end } of units) {
      this.instructions += instructions.length;
      this.guestBytes += end - offset;
      if (ending === "next" && instructions.length >= this.cap) this.cappedUnits++;
    }
  }

  /** The instruction of a site is emulated. */
  noteEmulated(site: ExitSite): void {
    site.sensitiveClass ??= classNumber(site);
    this.emulated[site.sensitiveClass]++;
  }

  /** Every figure by its published name, with `cache` as it is now. */
  figures(cache: CacheCounts): Readonly<Record<StatisticName, number>> {
    const { dispatches, coldEntries, exits } = this;
    const { entries } = cache, chained = entries - dispatches;
    return {
      regions: this.regions,
      units: this.units,
      instructions: this.instructions,
      instructionsPerUnit: ratio(this.instructions, this.units),
      cappedShare: ratio(this.cappedUnits, this.units),
      guestBytes: this.guestBytes,
      emittedBytes: this.emittedBytes,
      cachedRegions: cache.regions,
      cachedBytes: cache.emittedBytes,
      invalidated: this.invalidated,
      evicted: this.evicted,
      retranslated: this.retranslated,
      sharedRegions: this.sharedRegions,
      sharedBytes: this.sharedBytes,
      interpretedSteps: this.interpretedSteps,
      groups: this.groups,
      regrouped: this.regrouped,
      dispatches,
      chained,
      chainRate: ratio(chained, entries),
      coldEntries,
      coldDispatches: this.coldDispatches,
      lateEntries: this.lateEntries,
      vainRuns: this.vainRuns,
      hitRate: ratio(entries, entries + coldEntries),
      traps: this.traps,
      callouts: this.callouts,
      deviceCallouts: this.deviceCallouts,
      ...emulatedFigures((name, index) => this.emulated[index] + (name === "mmio" ? this.deviceCallouts : 0)),
      exitsMiss: exits[MISS],
      exitsYield: exits[Exit.yield],
      exitsInterpret: exits[Exit.interpret],
      exitsEmulate: exits[Exit.emulate],
      exitsCallout: this.exitsCallout,
      exitsDevice: this.exitsDevice,
      wallTranslatingSeconds: this.wallTranslatingMs / 1000,
      wallTranslatingShare: ratio(this.wallTranslatingMs, performance.now() - this.#startedMs),
    };
  }
}

function classNumber({ instruction }: ExitSite): number {
  const name = instruction === undefined ? undefined : sensitiveClassOf(instruction);
  return name === undefined ? sensitiveClassNames.length : sensitiveClassNames.indexOf(name);
}

type EmulatedName = `emulated.${SensitiveClassName}`;

/** Something for each class, by the name of its figure. */
function emulatedFigures<T>(figure: (name: SensitiveClassName, index: number) => T): Readonly<Record<EmulatedName, T>> {
  const entries = sensitiveClassNames.map((name, index) => [`emulated.${name}`, figure(name, index)] as const);
  return Object.fromEntries(entries) as Record<EmulatedName, T>;
}

/** A share of nothing is 0. */
function ratio(part: number, whole: number): number {
  return whole === 0 ? 0 : part / whole;
}

/** Unit and meaning of each published figure. Those without another word are totals since the start. */
export const STATISTICS = {
  regions: ["regions", "translated"],
  units: ["translation units", "translated, as parts of regions"],
  instructions: ["instructions", "translated"],
  instructionsPerUnit: ["instructions", "mean length of a translation unit"],
  cappedShare: [
    "share of units",
    "units that ended because they had as many instructions as `unitInstructions` allows",
  ],
  guestBytes: ["bytes", "of guest code translated, counted once for each unit that they are in"],
  emittedBytes: ["bytes", "of WebAssembly modules made of them"],
  cachedRegions: ["regions", "in the translation cache now"],
  cachedBytes: ["bytes", "of modules in the translation cache now; `cacheKib` is their limit"],
  invalidated: ["regions", "discarded because their code was written to, or its frame taken"],
  evicted: [
    "regions",
    "discarded because the translation cache was full, or their frame mapped at too many linear pages",
  ],
  retranslated: [
    "regions",
    "forgotten because the form of one of their instructions, or what shares look-ups with it, changed",
  ],
  sharedRegions: ["regions", "that more than one VM has entered"],
  sharedBytes: ["bytes", "of modules that were not made again because another VM had made them"],
  groups: ["regions", "made of others that lead to each other"],
  regrouped: ["regions", "that were compiled anew as parts of groups"],
  interpretedSteps: ["steps", "taken by the interpreter"],
  dispatches: ["entries", "into translations from the run loop"],
  chained: ["entries", "into translations from translations and from cold code, mostly through the jump cache"],
  chainRate: ["share of entries", "those that were chained"],
  coldEntries: ["entries", "left to the interpreter because there was no translation"],
  coldDispatches: ["entries", "into the interpreter of cold code from the run loop"],
  lateEntries: [
    "entries",
    "left to the interpreter because the turn's end was nearer than the way through a translation",
  ],
  vainRuns: ["exits", "because accesses that share a TLB look-up did not lie in one page that allows all of them"],
  hitRate: ["share of entries", "those that found a translation"],
  traps: ["instructions", "emulated outside the translation cache"],
  callouts: ["calls", "from translations to the emulator, devices' included"],
  deviceCallouts: ["calls", "from translations to device memory"],
  ...emulatedFigures((name) => {
    return ["instructions", `emulated by trap or call-out: ${SENSITIVE_CLASSES[name].describe}`] as const;
  }),
  exitsMiss: ["exits", "because the run loop has to look for a translation of the next EIP, or to make one"],
  exitsYield: ["exits", "because the turn ended, or was about to"],
  exitsInterpret: ["exits", "because an instruction or an access is left to the interpreter"],
  exitsEmulate: ["exits", "because a sensitive instruction is handled by trap"],
  exitsCallout: ["exits", "because of what a call-out for an instruction did"],
  exitsDevice: ["exits", "because of what a call-out for device memory did"],
  wallTranslatingSeconds: ["seconds of wall time", "spent translating; measured, not modelled"],
  wallTranslatingShare: [
    "share of wall time",
    "spent translating, since the plugin was loaded; measured, not modelled",
  ],
} as const satisfies Readonly<Record<string, readonly [unit: string, describe: string]>>;

export type StatisticName = keyof typeof STATISTICS;
