// Law 1 on random code: the translator computes what the interpreter does, to the bit, at whatever step it is stopped. A
// case that differs is cut down to what matters and printed. BALLAST_RANDOM_BLOCKS says how many cases to run (default
// 6,000, which is under a minute); BALLAST_RANDOM_SEED names other ones. A case's code has about fifteen translation units.

import { assert, assertEquals } from "@std/assert";
import { decode, disassemble } from "../../../plugins/x86/mod.ts";
import { Arena, type Start, type TranslatorChoice } from "./arena.ts";
import { L } from "./arena_layout.ts";
import { type RandomCase, randomCase } from "./random_code.ts";

const CASES = Number(Deno.env.get("BALLAST_RANDOM_BLOCKS") ?? 6000);
const SEED = Deno.env.get("BALLAST_RANDOM_SEED") ?? "random blocks";

/** Cases that share their code and begin in different states: translating takes most of the time, and by then code is hot. */
const STARTS = 2;
const CASES_PER_ARENA = 3 * STARTS;

const choices: readonly TranslatorChoice[] = [
  { threshold: 0, unitInstructions: 12, regionUnits: 32, cacheKib: 16384 },
  { threshold: 0, unitInstructions: 1, regionUnits: 1, cacheKib: 16384 },
  { threshold: 1, unitInstructions: 3, regionUnits: 32, cacheKib: 256 },
  { threshold: 0, unitInstructions: 12, regionUnits: 1, cacheKib: 1 },
  { threshold: 2, unitInstructions: 64, regionUnits: 250, cacheKib: 16384 },
  { threshold: 0, unitInstructions: 1, regionUnits: 16, cacheKib: 16384 },
  {
    ...{ threshold: 1, unitInstructions: 3, regionUnits: 2, cacheKib: 16384 },
    ...{ regroupSteps: 100, regroupEntries: 1, regroupUnitEntries: 0 },
  },
  { threshold: 1000, unitInstructions: 12, regionUnits: 32, cacheKib: 16384 },
];

for (const [index, choice] of choices.entries()) {
  const { threshold, unitInstructions, regionUnits, cacheKib } = choice;
  const title = `threshold ${threshold}, ${unitInstructions} instructions a unit, ${regionUnits} units a region, ` +
    `a cache of ${cacheKib} KiB${choice.regroupSteps === undefined ? "" : ", regrouped"}`;
  Deno.test(`random code computes the same under the interpreter and the translator (${title})`, () => {
    const reference = new Arena();
    let translated = new Arena(choice);
    const cases = Math.ceil(CASES / choices.length);
    for (let number = 0; number < cases; number++) {
      // Pages that are rewritten again and again are hardly translated any more, unless the threshold is zero.
      if (threshold > 0 && number % CASES_PER_ARENA === 0) translated = new Arena(choice);
      const random = randomCase(`${SEED} ${index} ${Math.floor(number / STARTS)}`, `${number}`);
      const differences = compare(reference, translated, random);
      assert(differences.length === 0, differences.length === 0 ? "" : report(random, choice, differences));
    }
    assertEquals(reference.host.stateHash(reference.vm), translated.host.stateHash(translated.vm));
    const figures = translated.translator?.statistics;
    assert(figures !== undefined && (threshold > 0 || figures.instructions > cases), "hardly anything was translated");
  });
}

/** Runs a case in both and tells the first differences. */
function compare(reference: Arena, translated: Arena, { start, stops }: RandomCase): string[] {
  reference.begin(start);
  translated.begin(start);
  for (const [i, stop] of stops.entries()) {
    for (const arena of [reference, translated]) {
      if (stop < 0) arena.raiseNmi();
      arena.runTo(Math.abs(stop));
    }
    const differences = reference.differences(translated, i === stops.length - 1);
    if (differences.length > 0) return [`after ${Math.abs(stop)} steps`, ...differences];
  }
  return [];
}

/** Cuts a case down, as long as fresh arenas still differ, and describes what is left. */
function report(random: RandomCase, choice: TranslatorChoice, differences: readonly string[]): string {
  const differ = (smaller: RandomCase) => compare(new Arena(), new Arena(choice), smaller);
  const lines = [`seed "${random.seed}", ${JSON.stringify(choice)}`];
  if (differ(random).length === 0) {
    return [...lines, "differs only after the cases before it:", ...differences].join("\n");
  }
  const small = shrink(random, (smaller) => differ(smaller).length > 0);
  lines.push(...describe(small), "interpreter and translator:", ...differ(small).slice(0, 12));
  return lines.join("\n");
}

function shrink(random: RandomCase, stillDiffers: (smaller: RandomCase) => boolean): RandomCase {
  let best = random;
  const attempt = (smaller: RandomCase): boolean => {
    if (!stillDiffers(smaller)) return false;
    best = smaller;
    return true;
  };
  attempt({ ...best, stops: best.stops.map(Math.abs) });
  for (const stop of best.stops) if (attempt({ ...best, stops: [stop] })) break;
  const last = best.stops.length - 1;
  for (let cut = best.stops[last] >> 1; cut > 0; cut >>= 1) {
    while (
      best.stops[last] > cut && attempt({ ...best, stops: [...best.stops.slice(0, last), best.stops[last] - cut] })
    );
  }
  for (let chunk = best.parts.length; chunk >= 1; chunk >>= 1) {
    for (let first = 0; first < best.parts.length; first += chunk) {
      const code = best.start.code.slice();
      for (const [offset, length] of best.parts.slice(first, first + chunk)) code.fill(0x90, offset, offset + length);
      attempt({ ...best, start: { ...best.start, code } });
    }
  }
  const simpler: Partial<Start>[] = [{ eflags: 2 }, { fs: 0 }, { gs: 0 }, { cpl: 0 }];
  for (let register = 0; register < 8; register++) {
    simpler.push({ registers: best.start.registers.map((value, i) => i === register ? 0 : value) });
  }
  for (const change of simpler) {
    const registers = change.registers?.map((value, i) => value === 0 ? 0 : best.start.registers[i]);
    attempt({ ...best, start: { ...best.start, ...change, ...(registers === undefined ? {} : { registers }) } });
  }
  return best;
}

function describe({ start, stops, parts }: RandomCase): string[] {
  const hex = (value: number) => (value >>> 0).toString(16);
  const lines = [
    `CPL ${start.cpl}, ${start.bits} bits, EFLAGS ${hex(start.eflags)}, FS ${start.fs}, GS ${start.gs}, stops ${stops}`,
    `registers ${start.registers.map(hex).join(" ")}`,
  ];
  for (const [offset, length] of parts) {
    const bytes = start.code.subarray(offset, offset + length);
    if (bytes.every((byte) => byte === 0x90)) continue;
    const eip = L.CODE + start.entry + offset;
    lines.push(`${hex(eip)}  ${[...bytes].map(hex).join(" ").padEnd(30)} ${text(bytes, eip, start.bits)}`);
  }
  return lines;
}

function text(bytes: Uint8Array, eip: number, bits: 16 | 32): string {
  const instruction = decode(bytes, 0, bytes.length, bits);
  return typeof instruction === "string" ? `(${instruction})` : disassemble(instruction, eip);
}
