// The command `inspect`: what the binary translator makes of a guest, unit by unit.

import { InputError, unknownName } from "../core/mod.ts";
import type { TranslationView } from "../plugins/bt/mod.ts";
import { drawLinks, drawTable, drawTranslation } from "./drawing.ts";
import { addressAsked, inspectGuest, type Inspection, traceAt } from "./inspection.ts";
import type { CommandSpec, Given } from "./options.ts";
import { jsonOrText, readSets, typedOptions } from "./run.ts";

/** Steps that are run and counted where nobody says how many. */
const DEFAULT_STEPS = 2_000_000;

export const inspectCommand: CommandSpec = {
  name: "inspect",
  summary: "Shows what the binary translator makes of a guest.",
  options: [
    { name: "guest", value: "NAME", help: "a guest of `ballast guests`" },
    {
      name: "at",
      value: "ADDRESS",
      help: "show the code at 0xADDRESS or SYMBOL; default: the symbol of the guest's name",
    },
    { name: "regions", help: "regroup units into regions, as `run` does; default: every unit for itself" },
    { name: "brief", help: "leave the WebAssembly out" },
    {
      name: "set",
      value: "PLUGIN.OPTION=VALUE",
      repeats: true,
      help: "an option of bt; guest.OPTION=VALUE: the guest's",
    },
    { name: "max-instructions", value: "N", help: `look at the first N steps; default ${DEFAULT_STEPS}` },
  ],
  notes: `
First a table of all translations in the order in which control first reached them, then, each in a box, those at the
address and all that are reached from it by jumps: guest instructions with their class and how each is translated (ident:
the same work in place), the successors, and the WebAssembly that was emitted. A successor is chained where its own
translation exists, and a continuation, which would invoke the translator, where it does not. Counts are exact: they are
the interpreter's, over the same steps.`,
};

/** Prints the inspection; returns the exit status. */
export async function inspect(given: Given): Promise<number> {
  const guest = given.text("guest");
  if (guest === undefined) throw new InputError("give a guest (--guest NAME); see ballast inspect --help");
  const inspection = inspectGuest({ guest, ...readOptions(given, guest) });
  const address = addressAsked(inspection, given.text("at"));
  const shown = address === undefined ? [] : traceAt(inspection, address);
  const text = await draw(inspection, shown, !given.has("brief"));
  const bytes = new TextEncoder().encode(text);
  for (let at = 0; at < bytes.length;) at += Deno.stdout.writeSync(bytes.subarray(at));
  return 0;
}

function readOptions(given: Given, guest: string) {
  const sets = readSets(given.list("set"));
  const other = [...sets.keys()].find((name) => name !== "guest" && name !== "bt");
  if (other !== undefined) throw unknownName("plugin of inspect", other, ["guest", "bt"]);
  const options = Object.entries(sets.get("bt") ?? {}).map(([name, value]) => [name, jsonOrText(value)]);
  return {
    guestOptions: typedOptions(guest, sets.get("guest") ?? {}),
    translator: { ...given.has("regions") ? REGIONS : {}, ...Object.fromEntries(options) },
    maxSteps: given.integer("max-instructions", 1) ?? DEFAULT_STEPS,
  };
}

/** The translator's default. */
const REGIONS = { regionUnits: undefined };

async function draw(
  inspection: Inspection,
  shown: readonly TranslationView[],
  withText: boolean,
): Promise<string> {
  const { guest, translations, steps, dispatches } = inspection;
  const parts = [
    `${guest}: ${steps} steps, ${translations.length} translations, ${dispatches} entries from the dispatcher\n\n`,
    drawTable(inspection, translations),
  ];
  if (shown.length === 0) return `${parts.join("")}\n--at ADDRESS shows one of them in full.\n`;
  const numbers = shown.map((translation) => translations.indexOf(translation) + 1).join(", ");
  parts.push(`\nReached by jumps from the address: ${numbers}. Their successors:\n${drawLinks(shown)}`);
  for (const translation of shown) parts.push("\n", await drawTranslation(inspection, translation, withText));
  return parts.join("");
}
