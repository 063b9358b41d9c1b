// Binary translation (BT paper, section 3): replaces the interpreter as the engine by one that runs guests from a cache of
// WebAssembly, with results that are identical to the bit.

import { definePlugin, z } from "../../core/mod.ts";
import * as memory from "../memory/mod.ts";
import * as x86 from "../x86/mod.ts";
import { type Form, SENSITIVE_CLASSES, type SensitiveClassName, sensitiveClassNames } from "./emit/sensitive.ts";
import { Translator } from "./engine.ts";
import { sites, siteTrapped, translated } from "./events.ts";
import { type StatisticName, STATISTICS } from "./statistics.ts";

export type { AdaptedSite, Sites, SiteTrap, SiteUse, TrapCause } from "./adaptation.ts";
export * from "./events.ts";
export * from "./inspect.ts";
export {
  type Form,
  SENSITIVE_CLASSES as sensitiveClasses,
  type SensitiveClassName,
  sensitiveClassNames,
} from "./emit/sensitive.ts";

export default definePlugin({
  name: "bt",
  summary: "binary translation to WebAssembly",
  tier: "enhanced",
  requires: ["memory", "x86"],
  replaces: [x86.engine],
  options: z.strictObject({
    threshold: z.int().min(0).max(32766).default(500).describe("entries of a block before it is translated"),
    unitInstructions: z.int().min(1).max(64).default(12).describe("most instructions of a translation unit"),
    regionUnits: z.int().min(1).max(250).default(32).describe("most translation units of a region; 1: no regions"),
    regroupSteps: z.int().min(0).default(1 << 20).describe(
      "steps between two looks at which hot regions to compile anew as one; 0: never",
    ),
    regroupEntries: z.int().min(1).default(4096).describe("entries of a region in between that make it hot"),
    regroupUnitEntries: z.int().min(0).default(100_000).describe(
      "entries into hot regions, for each of their units, that are worth compiling them anew as one",
    ),
    cacheKib: z.int().min(1).max(1 << 20).default(65536).describe("KiB of emitted code in the translation cache"),
    chaining: z.boolean().default(true).describe(
      "translations go on to each other; false: each leaves to the run loop",
    ),
    ...formOptions(),
  }),
  setup({ service, port, provide, options, stats }) {
    const machine = service(memory.machine);
    const translator = new Translator(
      machine.memory,
      machine.bytes,
      service(x86.codeFrames),
      service(x86.interpreter),
      service(x86.processor),
      { ...options, forms: options },
      port(translated),
      port(siteTrapped),
    );
    provide(sites, translator.adaptations);
    provide(x86.engine, translator);
    for (const [name, [unit]] of Object.entries(STATISTICS)) {
      stats.gauge(name, unit, () => translator.figures[name as StatisticName]);
    }
  },
});

/** An option for each class of sensitive instructions: one of the forms that are exact for it, by default the fastest. */
function formOptions() {
  const options = sensitiveClassNames.map((name) => {
    const { forms, describe } = SENSITIVE_CLASSES[name];
    const fastest: Form = forms[forms.length - 1];
    return [name, z.enum<readonly Form[]>(forms).default(fastest).describe(`${forms.join("|")}: ${describe}`)];
  });
  return Object.fromEntries(options) as Record<SensitiveClassName, z.ZodDefault<z.ZodEnum<{ [F in Form]: F }>>>;
}
