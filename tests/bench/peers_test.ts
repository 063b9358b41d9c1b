// The comparison of engines: what its variables choose, what a boot's marks become, and what the table makes of rounds.
// The engines here are `sh` scripts that print what a guest would.

import { assert, assertEquals, assertMatch, assertRejects, assertThrows } from "@std/assert";
import project from "../../deno.json" with { type: "json" };
import { boot, type BootResult } from "../../bench/peers/boot.ts";
import { type Choices, readChoices } from "../../bench/peers/choices.ts";
import type { EngineRecord } from "../../bench/peers/comparison.ts";
import { type Engine, engines, V8_FLAGS } from "../../bench/peers/engines.ts";
import { comparisonTable, disagreements, geometricMean, median } from "../../bench/peers/table.ts";
import { workloads } from "../../guests/workloads/mod.ts";

Deno.test("without variables everything is compared, in three rounds, the interpreter in one", () => {
  const choices = readChoices(() => undefined);
  assertEquals(engineRounds(choices), [["bt", 3], ["interpreter", 1], ["v86", 3], ["tcg", 3]]);
  assertEquals(choices.runs, workloads.map(({ name, size }) => ({ name, size })));
  assertEquals(choices.clocks, ["wall"]);
});

Deno.test("variables choose engines, workloads with sizes, rounds and the clock", () => {
  const choices = readChoices(variables({
    BALLAST_ENGINES: "tcg,bt:2",
    BALLAST_WORKLOADS: "fork:20,sieve",
    BALLAST_ROUNDS: "5",
    BALLAST_CLOCK: "both",
  }));
  const sieve = workloads.find(({ name }) => name === "sieve");
  assertEquals(engineRounds(choices), [["tcg", 5], ["bt", 2]]);
  assertEquals(choices.runs, [{ name: "fork", size: 20 }, { name: "sieve", size: sieve?.size ?? 0 }]);
  assertEquals(choices.clocks, ["wall", "cpu"]);
});

Deno.test("a wrong variable is refused by name, and told what it may be", () => {
  const cases: [Record<string, string>, RegExp][] = [
    [{ BALLAST_ENGINES: "bt,kvm" }, /BALLAST_ENGINES.*"kvm".*bt, interpreter, v86, tcg/],
    [{ BALLAST_ENGINES: "bt:x" }, /BALLAST_ENGINES: bt x: .*whole number/],
    [{ BALLAST_ENGINES: "" }, /BALLAST_ENGINES.*""/],
    [{ BALLAST_WORKLOADS: "siev" }, /BALLAST_WORKLOADS.*"siev".*sieve/],
    [{ BALLAST_WORKLOADS: "sieve:0" }, /BALLAST_WORKLOADS: sieve 0: .*whole number/],
    [{ BALLAST_WORKLOADS: "fork,fork:2" }, /BALLAST_WORKLOADS.*fork.*twice/],
    [{ BALLAST_ROUNDS: "none" }, /BALLAST_ROUNDS none: .*whole number/],
    [{ BALLAST_CLOCK: "sun" }, /BALLAST_CLOCK sun: .*wall, cpu, both/],
  ];
  for (const [given, message] of cases) {
    const error = assertThrows(() => readChoices(variables(given)), Error);
    assertMatch(error.message, message);
  }
});

Deno.test("a boot gives times between marks, checksums, failures and peak memory, and ends the process", async () => {
  const told: string[] = [];
  const script = `echo noise; echo @init; echo @start sieve; sleep 0.1; printf '@end sieve 00c0ffee\\r\\n'
    echo @start fork; echo "@fail fork waitpid: No child processes"; echo @done; exec sleep 1000`;
  const result = await boot(["sh", "-c", script], { ...patient(), onOutcome: (name) => told.push(name) });
  assertEquals([...result.outcomes.keys()], ["sieve"]);
  assertEquals(result.outcomes.get("sieve")?.checksum, "00c0ffee");
  assertEquals((result.outcomes.get("sieve")?.seconds ?? 0) > 0, true);
  assertEquals([...result.failures], [["fork", "waitpid: No child processes"]]);
  assertEquals(told, ["sieve"]);
  assertEquals(result.broken, undefined);
  assertEquals((result.init?.seconds ?? 0) > 0 && (result.peakRssMib ?? 0) > 0, true);
});

Deno.test("a boot that ends early, or falls silent, says so with the last that was heard", async () => {
  const early = await boot(["sh", "-c", "echo @init; echo panic; echo why >&2; exit 3"], patient());
  assertEquals(early.broken, "ended early with status 3; why; @init; panic");
  assertEquals(early.peakRssMib, undefined);
  const silent = await boot(["sh", "-c", "echo hello; exec sleep 1000"], { ...patient(), patienceSeconds: 1 });
  assertEquals(silent.broken, "no line for 1 s; hello");
});

Deno.test("an interrupted boot ends its process and is no result", async () => {
  const controller = new AbortController();
  const reason = new Error("interrupted");
  const onInit = () => controller.abort(reason);
  const running = boot(["sh", "-c", "echo @init; exec sleep 1000"], {
    ...patient(),
    signal: controller.signal,
    onInit,
  });
  const error = await assertRejects(() => running, Error);
  assertEquals(error, reason);
});

Deno.test("the table has medians, our ratios to the others, means, rows ahead, boots and memory", () => {
  const ours = record("bt", [booted(4, 300, { sieve: 1, fork: 8 }), booted(2, 100, { sieve: 3, fork: 8 })]);
  const rival = record("v86", [booted(9, 400, { sieve: 4, fork: 4 })]);
  const absent = { ...record("tcg", []), missing: "there is no QEMU" };
  assertEquals(
    comparisonTable([ours, rival, absent], runs, "wall").split("\n").slice(0, -2),
    [
      "workload          bt s  v86 s   tcg s  bt/v86  bt/tcg",
      "sieve            2.000  4.000  absent    2.00       -",
      "fork             8.000  4.000  absent    0.50       -",
      "geometric mean                           1.00       -",
      "rows ahead                             1 of 2       -",
      "boot to init, s   3.00   9.00       -    3.00       -",
      "peak RSS, MiB      200    400       -                ",
    ],
  );
});

Deno.test("below the table stands who did not run, what failed, and checksums that differ", () => {
  const failing: BootResult = { ...booted(1, 1, { sieve: 1 }), failures: new Map([["fork", "why"]]) };
  const broken: BootResult = { ...booted(1, 1, { sieve: 1 }, "deadbeef"), broken: "ended early" };
  const records = [record("bt", [failing]), record("v86", [broken]), { ...record("tcg", []), missing: "no QEMU" }];
  assertEquals(comparisonTable(records, runs, "cpu").split("\n").slice(-4), [
    "tcg did not run: no QEMU",
    "bt, round 1: fork failed: why",
    "v86, round 1: ended early",
    "sieve: the checksums differ: bt 00000000, v86 deadbeef",
  ]);
  assertEquals(disagreements(records.slice(0, 1), runs), []);
});

Deno.test("medians and geometric means", () => {
  assertEquals([median([]), median([3]), median([3, 1, 2]), median([4, 1, 2, 3])], [undefined, 3, 2, 2.5]);
  assertEquals(geometricMean([]), undefined);
  assertEquals(geometricMean([0.5, 2])?.toFixed(6), "1.000000");
});

const runs = [{ name: "sieve", size: 1 }, { name: "fork", size: 1 }];

function variables(given: Readonly<Record<string, string>>) {
  return (name: string): string | undefined => given[name];
}

function engineRounds({ engines }: Choices) {
  return engines.map(({ engine, rounds }) => [engine.name, rounds]);
}

function patient() {
  return { signal: new AbortController().signal, patienceSeconds: 100 };
}

function record(name: string, boots: BootResult[]): EngineRecord {
  const engine: Engine | undefined = engines.find((candidate) => candidate.name === name);
  if (engine === undefined) throw new Error(`there is no engine ${name}`);
  return { engine, rounds: boots.length, missing: undefined, boots };
}

function booted(
  initSeconds: number,
  peakRssMib: number,
  seconds: Readonly<Record<string, number>>,
  checksum = "00000000",
): BootResult {
  const outcomes = new Map(
    Object.entries(seconds).map(([name, seconds]) => {
      return [name, { seconds, cpuSeconds: seconds, checksum }];
    }),
  );
  const init = { seconds: initSeconds, cpuSeconds: initSeconds };
  return { init, peakRssMib, outcomes, failures: new Map(), broken: undefined };
}

Deno.test("engines in Deno run with the options of V8 that the tasks which run guests have", () => {
  for (const name of ["run", "linux", "experiment", "suite", "traps", "inspect"] as const) {
    assert(project.tasks[name].startsWith(`deno run ${V8_FLAGS} `), name);
  }
});
