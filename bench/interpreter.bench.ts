// How fast the interpreter is: an integer loop, privileged instructions, page tables; and the integer loop on v86, its
// interpreter and its JIT, in the same run (design: at least 60 M instructions/s on an integer loop).

import { findGuest, type GuestOptionValues } from "../guests/mod.ts";
import { runHere } from "./machine.ts";
import { Rates } from "./rates.ts";
import { runOnV86 } from "./v86.ts";

const rates = new Rates("Interpreter", "v86 interpreter");

/** Runs of each bench, after one to warm up. */
const RUNS = 5;

const workloads: readonly { readonly use: string; readonly options: GuestOptionValues }[] = [
  { use: "alu", options: { iterations: 5_000_000 } },
  { use: "privileged", options: { iterations: 20_000 } },
  { use: "pagetable", options: { rounds: 1000 } },
];

/** What each guest prints here. */
const expected = new Map<string, string>();

for (const workload of workloads) {
  const name = `ballast interpreter: ${workload.use}`;
  Deno.bench(name, { group: workload.use, baseline: true, n: RUNS, warmup: 1 }, async (bench) => {
    bench.start();
    const measured = await runHere(workload);
    bench.end();
    rates.add(name, measured);
    expected.set(workload.use, measured.output);
  });
}

const [alu] = workloads;
for (const [name, useJit] of [["v86 interpreter: alu", false], ["v86 JIT: alu", true]] as const) {
  Deno.bench(name, { group: "alu", n: RUNS, warmup: 1 }, async (bench) => {
    const image = findGuest(alu.use)?.build(alu.options);
    if (image === undefined) throw new Error(`no guest ${alu.use}`);
    bench.start();
    const measured = await runOnV86(image, useJit);
    bench.end();
    const ours = expected.get(alu.use);
    if (ours !== undefined && measured.output !== ours) {
      throw new Error(`v86 printed ${measured.output}, not ${ours}`);
    }
    rates.add(name, measured);
  });
}
