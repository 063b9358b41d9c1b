// The command `inspect` in a process of its own: what a person sees of the translator's work, and what is refused.

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { ballast } from "./command.ts";

Deno.test("inspect shows the routine of the guest's name: instructions, classes, WebAssembly, chains, continuations", async () => {
  const { status, stdout, stderr } = await ballast(["inspect", "--guest", "isprime"]);
  assertEquals([status, stderr], [0, ""]);
  const [overview, ...boxes] = stdout.split("┌─ ");
  assertMatch(overview, /^isprime: \d+ steps, \d+ translations, \d+ entries from the dispatcher\n/);
  assertMatch(overview, /^ +4 +chained .*\n +2 +continuation /m);
  assertEquals(boxes.map((box) => /^\d+\. (\S+) ─/.exec(box)?.[1]), ["isPrime", "nexti", "nexti+0x9", "notPrime"]);
  const [first] = boxes;
  assertMatch(first, /^│ \w+ {2}89 f9 +mov ecx, edi +innocuous +ident$/m);
  assertMatch(first, /^│ \w+ {2}7d 0e +jge 0x\w+ <prime> +control +jcc$/m);
  assertMatch(first, /^│ taken → +\w+ +prime +continuation +never /m);
  assertMatch(first, /^│ fall-through → +\w+ +nexti +chained +once /m);
  assertMatch(first, /^├─ WebAssembly, \d+ bytes ─/m);
  assertMatch(first, /^│ \(func \$ccf /m);
  assertMatch(first, /\(local\.set \$eip \(i32\.const 0x\w+ \(;prime;\)\)\)/);
});

Deno.test("inspect counts what the reference interpreter did", async () => {
  // i runs from 2 to 96 and divides no time; the digits and the result do not matter here.
  const { stdout } = await ballast(["inspect", "--guest", "isprime", "--brief", "--set", "guest.n=97"]);
  assertMatch(stdout, /nexti ─+\n│ 5 instructions, 9 bytes, executed 95 times$/m);
  assertMatch(stdout, /^│ taken → +\w+ +notPrime +continuation +never /m);
  assertMatch(stdout, /^│ taken → +\w+ +nexti +chained +94 times /m);
  assert(!stdout.includes("(func"), "--brief leaves the WebAssembly out");
});

Deno.test("inspect --regions shows a loop as one function", async () => {
  const { stdout } = await ballast(["inspect", "--guest", "isprime", "--brief", "--regions"]);
  assertMatch(stdout, /unit \d+ of \d+: isPrime ─/);
  assertMatch(stdout, /^│ fall-through → +\w+ +nexti +elided +once /m);
  assertMatch(stdout, /^│ taken → +\w+ +nexti +jump +5 times /m);
  assertMatch(stdout, /unit \d+ of \d+: prime ─+\n│ 2 instructions, 6 bytes, never executed$/m);
});

Deno.test("inspect --at takes a symbol or an address in the middle of a unit, and shows what is left to the interpreter", async () => {
  const bySymbol = await ballast(["inspect", "--guest", "isprime", "--brief", "--at", "putChar"]);
  assertMatch(bySymbol.stdout, /^│ \w+ {2}ec +in al, dx +sensitive +\S+$/m);
  const inTheMiddle = await ballast(["inspect", "--guest", "isprime", "--brief", "--at", "putChar+1"]);
  assertEquals(inTheMiddle.stdout, bySymbol.stdout);
});

Deno.test("inspect without an address shows the table alone where no routine has the guest's name", async () => {
  const { status, stdout } = await ballast(["inspect", "--guest", "alu", "--max-instructions", "10000"]);
  assertEquals(status, 0);
  assertMatch(stdout, /^alu: 10000 steps, /);
  assertStringIncludes(stdout, "--at ADDRESS shows one of them in full");
  assert(!stdout.includes("┌"));
});

const refusals: readonly [string, readonly string[], string][] = [
  ["no guest", [], "give a guest (--guest NAME)"],
  ["an unknown guest", ["--guest", "isprme"], 'unknown guest "isprme"; did you mean "isprime"?'],
  ["an unknown symbol", ["--guest", "isprime", "--at", "nextj"], 'unknown symbol "nextj"; did you mean "nexti"?'],
  ["code that was not reached", ["--guest", "isprime", "--at", "prime"], "not reached in "],
  [
    "code that is interpreted",
    ["--guest", "isprime", "--at", "start", "--set", "bt.threshold=9999"],
    "it is interpreted, not translated",
  ],
  ["another plugin's option", ["--guest", "isprime", "--set", "memory.copyPageNs=1"], "unknown plugin of inspect"],
  ["an unknown option of bt", ["--guest", "isprime", "--set", "bt.treshold=1"], "treshold"],
];
for (const [what, args, message] of refusals) {
  Deno.test(`inspect: ${what} is refused with status 2 and one line`, async () => {
    const { status, stdout, stderr } = await ballast(["inspect", ...args]);
    assertEquals([status, stdout], [2, ""]);
    assertStringIncludes(stderr, message);
    assertEquals(stderr.trimEnd().split("\n").length, 1, stderr);
  });
}
