// Records what the cases of these sections print under Bochs 2.7 into tests/fixtures/modes/<section>.txt; ../torture/capture.ts
// says how it is run. Run it after any change of the cases or of the harness:
//
//   deno run --allow-read --allow-write --allow-run --allow-env tests/oracle/modes/capture.ts [SECTION...]
//
// QEMU's TCG 7.2 is no oracle here: it has neither alignment checks nor general detect, drops EXT and RF in task switches,
// and takes data breakpoints for aligned words.

import { capture } from "../torture/capture.ts";
import { modeSections } from "./sections.ts";

const chosen = Deno.args.length === 0 ? Object.keys(modeSections) : Deno.args;
const folder = new URL("../../fixtures/modes/", import.meta.url);
await Deno.mkdir(folder, { recursive: true });
for (const name of chosen) {
  const build = modeSections[name];
  if (build === undefined) {
    throw new Error(`no section ${name}; expected one of ${Object.keys(modeSections).join(", ")}`);
  }
  const text = await capture("bochs", name, build());
  await Deno.writeTextFile(new URL(`${name}.txt`, folder), text);
  console.log(`${name}: ${text.split("\n").length - 2} cases`);
}
