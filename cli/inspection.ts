// A guest looked at through its translations: run once by the translator, which tells what it translates, and once by the
// interpreter, which counts. What belongs together is found here; drawing.ts draws it.

import { definePlugin, InputError, type Vm } from "../core/mod.ts";
import type { GuestOptionValues } from "../guests/mod.ts";
import bt, * as translator from "../plugins/bt/mod.ts";
import * as memory from "../plugins/memory/mod.ts";
import * as symbols from "../plugins/symbols/mod.ts";
import { countingEngine, ExecutionCounts } from "./execution_counts.ts";
import { addVm, createHost } from "./machine.ts";

export interface InspectionOptions {
  readonly guest: string;
  readonly guestOptions?: GuestOptionValues;
  /** Options of the translator; without any, "execute once" and every unit for itself, as in the BT paper. */
  readonly translator?: Readonly<Record<string, unknown>>;
  /** Steps that are run and counted. */
  readonly maxSteps: number;
}

/** What the run left behind. */
export interface Inspection {
  readonly guest: string;
  /** In the order in which they were made. */
  readonly translations: readonly translator.TranslationView[];
  readonly counts: ExecutionCounts;
  readonly symbols: symbols.SymbolTable;
  /** Steps that were run. */
  readonly steps: number;
  /** Entries into translations from the dispatcher, which is what chaining avoids. */
  readonly dispatches: number;
}

/** Every unit is translated when control first reaches it, and is a region of its own (BT paper 3.2). */
const EXECUTE_ONCE = { threshold: 0, regionUnits: 1 };

/** Runs the guest for its translations and its counts. */
export function inspectGuest(options: InspectionOptions): Inspection {
  const { guest, guestOptions, maxSteps } = options;
  const choice = { use: guest, options: guestOptions };
  const host = createHost({
    plugins: [{ plugin: bt, options: { ...EXECUTE_ONCE, ...options.translator } }, "symbols"],
  });
  const log = new translator.TranslationLog(host.service(memory.machine).bytes);
  host.load({ plugin: listener(log) });
  const vm = addVm(host, { guest: choice });
  host.runTo(vm, maxSteps);
  const table = host.service(symbols.symbolsOf)(vm);
  return {
    guest,
    translations: log.views((address) => table.nameOf(address)),
    counts: countSteps(choice, vm),
    symbols: table,
    steps: vm.clock.steps,
    dispatches: host.plugins.loaded.get("bt")?.stats.snapshot().dispatches ?? 0,
  };
}

function listener(log: translator.TranslationLog) {
  return definePlugin({
    name: "inspection",
    summary: "collects translations",
    requires: ["bt"],
    setup: ({ on }) => on(translator.translated, (translation) => log.add(translation)),
  });
}

/** Counts the same run once more, in the interpreter. */
function countSteps(
  guest: { readonly use: string; readonly options?: GuestOptionValues },
  { clock }: Vm,
): ExecutionCounts {
  const counts = new ExecutionCounts();
  const host = createHost({ plugins: [countingEngine(counts)] });
  host.runTo(addVm(host, { guest }), clock.steps);
  return counts;
}

/** The translation that holds the instruction at an address. */
export function translationAt(
  { translations }: Inspection,
  address: number,
): translator.TranslationView | undefined {
  const holds = ({ address: first, sizeBytes }: translator.UnitView) => address >= first && address < first + sizeBytes;
  return translations.find((translation) => translation.address === address) ??
    translations.find(({ units }) => units.some(holds));
}

/**
 * The translations that control can reach from one by jumps, without calls, returns and continuations: of a routine, what
 * has run of it. In the order in which they were made.
 */
export function traceFrom(
  { translations }: Inspection,
  first: translator.TranslationView,
): translator.TranslationView[] {
  const found = new Set([first]);
  for (const { units } of found) {
    for (const { kind, link, target } of units.flatMap((unit) => unit.successors)) {
      if (link !== "chained" || kind === "call") continue;
      const next = translations.find(({ address }) => address === target);
      // A set's iteration goes on to what is added during it.
      if (next !== undefined) found.add(next);
    }
  }
  return translations.filter((translation) => found.has(translation));
}

/** The address that a person means, or the routine that has the guest's name; undefined where neither is given. */
export function addressAsked({ guest, symbols: table }: Inspection, text: string | undefined): number | undefined {
  if (text !== undefined) return symbols.parseAddress(text, table);
  const own = [...table.names()].find((name) => name.toLowerCase() === guest);
  return own === undefined ? undefined : table.addressOf(own);
}

/** The trace at an address that was asked for. Throws InputError where nothing is translated there. */
export function traceAt(inspection: Inspection, address: number): translator.TranslationView[] {
  const first = translationAt(inspection, address);
  if (first !== undefined) return traceFrom(inspection, first);
  const at = `0x${address.toString(16)}`;
  throw new InputError(
    inspection.counts.executed(address) > 0
      ? `address ${at}: it is interpreted, not translated`
      : `address ${at}: not reached in ${inspection.steps} steps`,
  );
}
