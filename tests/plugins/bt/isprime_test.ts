// The BT paper's running example (section 3.2): isPrime(49), translated unit by unit when control first reaches it. Units,
// their order, chains and the continuations that remain are the paper's.

import { assertEquals, assertGreater } from "@std/assert";
import { inspectGuest, type Inspection, traceAt } from "../../../cli/inspection.ts";
import type { TranslationView } from "../../../plugins/bt/mod.ts";

/** More steps than any of these runs takes. */
const MAX_STEPS = 2_000_000;

/** The guest with a number to test; a region for each unit, unless there may be more units to one. */
function inspectIsPrime(n: number, regionUnits = 1): { inspection: Inspection; trace: TranslationView[] } {
  const inspection = inspectGuest({
    guest: "isprime",
    guestOptions: { n },
    translator: { regionUnits },
    maxSteps: MAX_STEPS,
  });
  return { inspection, trace: traceAt(inspection, addressOf(inspection, "isPrime")) };
}

function addressOf({ symbols }: Inspection, label: string): number {
  const address = symbols.addressOf(label);
  if (address === undefined) throw new Error(`the guest has no label ${label}`);
  return address;
}

/** Label of a unit; the paper's third unit has none: it follows the second one's five instructions. */
const names: Readonly<Record<string, string>> = { "nexti+0x9": "(inc ...)" };

function nameAt({ symbols }: Inspection, address: number): string {
  const name = symbols.nameOf(address) ?? "?";
  return names[name] ?? name;
}

/** Every direct edge as `from -> to`, with what became of it. */
function linksOf(inspection: Inspection, trace: readonly TranslationView[]): Record<string, string> {
  const edges = trace.flatMap(({ units }) => units).flatMap(({ address, successors }) =>
    successors.flatMap(({ target, link }) =>
      target === undefined ? [] : [[`${nameAt(inspection, address)} -> ${nameAt(inspection, target)}`, link]]
    )
  );
  return Object.fromEntries(edges);
}

Deno.test("isPrime(49) becomes the paper's four translation units, in the order in which control reaches them", () => {
  const { inspection, trace } = inspectIsPrime(49);
  const units = trace.flatMap((translation) => translation.units).map(({ address, instructions }) => [
    nameAt(inspection, address),
    instructions.map(({ text }) => text.split(" ")[0]).join(" "),
  ]);
  // The paper writes jz for je.
  assertEquals(units, [
    ["isPrime", "mov mov cmp jge"],
    ["nexti", "mov cdq idiv test je"],
    ["(inc ...)", "inc cmp jl"],
    ["notPrime", "xor ret"],
  ]);
});

Deno.test("isPrime's first unit has the paper's bytes, three IDENT instructions and a JCC", () => {
  const { trace: [{ units: [first] }] } = inspectIsPrime(49);
  const bytes = first.instructions.flatMap((instruction) => [...instruction.bytes]);
  assertEquals(bytes.slice(0, 10), [0x89, 0xf9, 0xbe, 0x02, 0x00, 0x00, 0x00, 0x39, 0xce, 0x7d]);
  assertEquals(first.instructions.map(({ translation }) => translation), ["ident", "ident", "ident", "jcc"]);
  assertEquals(first.instructions.map((i) => i.class), ["innocuous", "innocuous", "innocuous", "control"]);
});

Deno.test("isPrime(49) leaves the paper's two continuations, both to prime, which is never translated", () => {
  const { inspection, trace } = inspectIsPrime(49);
  // The paper elides two of the four that are chained here, by placing the code of the fall-through next: WebAssembly
  // functions have no order, so that it takes a region (below) to elide a jump.
  assertEquals(linksOf(inspection, trace), {
    "isPrime -> prime": "continuation",
    "isPrime -> nexti": "chained",
    "nexti -> notPrime": "chained",
    "nexti -> (inc ...)": "chained",
    "(inc ...) -> nexti": "chained",
    "(inc ...) -> prime": "continuation",
  });
  const prime = addressOf(inspection, "prime");
  const holdsPrime = inspection.translations.some(({ units }) =>
    units.some(({ instructions }) => instructions.some(({ address }) => address === prime))
  );
  assertEquals(holdsPrime, false);
});

Deno.test("the edges of isPrime(49) that are continuations are those that were never taken", () => {
  const { inspection, trace } = inspectIsPrime(49);
  const counts = trace.flatMap(({ units }) => units).flatMap(({ instructions, successors }) => {
    const last = instructions.at(-1);
    return successors.flatMap(({ target, link }) =>
      target === undefined || last === undefined ? [] : [[link, inspection.counts.edge(last.address, target)] as const]
    );
  });
  assertEquals(counts.filter(([link]) => link === "continuation").map(([, count]) => count), [0, 0]);
  // i runs from 2 to 7, which divides 49.
  assertEquals(counts.filter(([link]) => link === "chained").map(([, count]) => count), [1, 1, 5, 5]);
});

Deno.test("another number leaves other continuations: what is not reached is not translated", () => {
  const cases: [n: number, units: string[], continuations: string[]][] = [
    [2, ["isPrime", "prime"], ["isPrime -> nexti"]],
    [7, ["isPrime", "nexti", "(inc ...)", "prime"], ["nexti -> notPrime"]],
    [4, ["isPrime", "nexti", "notPrime"], ["isPrime -> prime", "nexti -> (inc ...)"]],
  ];
  for (const [n, units, continuations] of cases) {
    const { inspection, trace } = inspectIsPrime(n);
    assertEquals(trace.map(({ address }) => nameAt(inspection, address)), units, `isPrime(${n})`);
    const links = Object.entries(linksOf(inspection, trace));
    assertEquals(links.filter(([, link]) => link === "continuation").map(([edge]) => edge), continuations);
  }
});

Deno.test("chained units do not come back to the dispatcher, however often the loop runs", () => {
  // Both are prime and have five digits: they differ in iterations alone.
  const [few, many] = [10_007, 99_991].map((n) => inspectIsPrime(n).inspection);
  assertGreater(many.steps, few.steps + 8 * 80_000);
  assertEquals(many.dispatches, few.dispatches);
});

Deno.test("as a region isPrime is one function: fall-throughs are elided and the loop is a jump inside it", () => {
  const { inspection, trace } = inspectIsPrime(49, 32);
  assertEquals(trace.length, 1);
  const links = Object.entries(linksOf(inspection, trace)).filter(([edge]) => /^(isPrime|nexti|\(inc)/.test(edge));
  assertEquals(Object.fromEntries(links), {
    "isPrime -> prime": "jump",
    "isPrime -> nexti": "elided",
    "nexti -> notPrime": "jump",
    "nexti -> (inc ...)": "elided",
    "(inc ...) -> nexti": "jump",
    "(inc ...) -> prime": "elided",
  });
});
