// The trap bench's machines run exactly the operations that they count, and its drawings show what was measured.

import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { NanoMachine } from "../../cli/nano.ts";
import { drawLadderSvg, drawRung, drawTable, type Rung } from "../../cli/traps.ts";
import { InputError } from "../../core/mod.ts";
import { nanoOperations } from "../../guests/mod.ts";
import { sensitiveClasses, sensitiveClassNames } from "../../plugins/bt/mod.ts";

/** Operations after which the guest is in its loop and the loop is translated. */
const BEYOND_START = 20_000;
/** Of a thousand: some lie where the budget ends in the middle of a unit, and are interpreted. */
const MOST = 900;

for (const engine of ["interpreter", "bt"] as const) {
  Deno.test(`a thousand operations of the nanobench are whole rounds of its loop (${engine})`, () => {
    for (const operation of Object.keys(nanoOperations)) {
      const machine = new NanoMachine(operation, engine);
      machine.run(BEYOND_START);
      const before = machine.place();
      for (const count of [10, 1000, 50]) {
        machine.run(count);
        const { eip, rounds } = machine.place();
        assertEquals([eip, before.rounds - rounds], [before.eip, count / 10], operation);
        before.rounds = rounds;
      }
    }
  });
}

Deno.test("every class of sensitive instructions has an operation", () => {
  assertEquals(sensitiveClassNames.filter((name) => !Object.hasOwn(nanoOperations, name)), []);
});

Deno.test("a class's machine handles the operation in the form it was asked for", () => {
  for (const name of sensitiveClassNames) {
    for (const form of sensitiveClasses[name].forms) {
      const machine = new NanoMachine(name, form);
      machine.run(BEYOND_START);
      const before = machine.counts();
      machine.run(1000);
      const { traps, callouts, interpretedSteps } = machine.counts();
      const seen = { trap: traps - before.traps, callout: callouts - before.callouts };
      if (form === "in-tc") assertEquals(seen, { trap: 0, callout: 0 }, name);
      else if (name === "mmio" && form === "trap") assert(interpretedSteps - before.interpretedSteps >= MOST, name);
      else assert(seen[form] >= MOST, `${name} ${form}: ${JSON.stringify(seen)}`);
    }
  }
});

const rung: Rung = { name: "rdtsc", interpretedNs: 40, forms: [["trap", 100], ["callout", 50], ["in-tc", 5]] };

Deno.test("the ladder's bars are as long as the times, the longest across", () => {
  const bars = drawRung(rung).split("\n").slice(1, 4).map((line) => line.match(/█/g)?.length ?? 0);
  assertEquals(bars, [60, 30, 3]);
});

Deno.test("the table has ratios to the fastest form, and the paper's cycles", () => {
  const text = drawTable([rung, { name: "cpuid", interpretedNs: 9, forms: [["trap", 30], ["callout", 20]] }]);
  for (
    const part of ["100 (20x)", "50.0 (10x)", "5.0 (1.0x)", "30.0 (1.5x)", "2030 (9.4x)", "1254 (5.8x)", "216 (1.0x)"]
  ) {
    assertStringIncludes(text, part);
  }
});

Deno.test("the ladder's image has a bar for every form and for the paper's three", () => {
  const svg = drawLadderSvg([rung]);
  assertEquals(svg.match(/<rect x=/g)?.length, 6);
  const widths = [...svg.matchAll(/width="([\d.]+)" height="16"/g)].map(([, width]) => Number(width));
  assert(widths[0] > widths[1] && widths[1] > widths[2] && widths[3] > widths[4], widths.join(" "));
});

Deno.test("an operation that the guest does not have is refused, and those that it has are named", () => {
  const error = assertThrows(() => new NanoMachine("vmcall", "interpreter"), InputError);
  assertStringIncludes(error.message, "syscall, in, cr8wr");
});
