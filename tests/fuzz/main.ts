// The long mode: `deno task fuzz [TARGET]... [--seed S] [--budget N] [--log FILE]` runs targets with as large a budget as one
// likes and goes on after a failure; `--case SEED` runs one case again. Exit status 1 where something failed.

import { parseGiven } from "../../cli/options.ts";
import { InputError } from "../../core/mod.ts";
import { runJob } from "./runner.ts";
import { targetOf, targets } from "./targets.ts";

const command = {
  name: "fuzz",
  operands: "[TARGET]...",
  maxOperands: targets.length,
  summary: "Runs random hostile guests and inputs against the host.",
  options: [
    { name: "seed", value: "S", help: "seed of all cases; default: the date and time" },
    { name: "budget", value: "N", help: "steps, accesses or inputs of each target; default: what CI spends" },
    { name: "failures", value: "N", help: "failures of a target after which it is left; default 3" },
    { name: "case", value: "SEED", help: "run one case of one target again, by the seed that was printed" },
    { name: "log", value: "FILE", help: "append what is printed to a file" },
    { name: "list", help: "list the targets" },
  ],
} as const;

/** Wall time between two lines of a target that is under way. */
const PROGRESS_MS = 60_000;

async function main(args: readonly string[]): Promise<number> {
  const given = parseGiven(command, args);
  if (given.has("help") || given.has("list")) {
    for (const { name, summary, unit, budget } of targets) {
      console.log(`${name.padEnd(18)} ${budget} ${unit}: ${summary}`);
    }
    return 0;
  }
  const log = given.text("log");
  const say = (line: string) => {
    console.log(line);
    if (log !== undefined) Deno.writeTextFileSync(log, `${new Date().toISOString()} ${line}\n`, { append: true });
  };
  const chosen = given.operands.length === 0 ? targets : given.operands.map(targetOf);
  const seed = given.text("case") ?? given.text("seed") ?? new Date().toISOString();
  const mostFailures = given.integer("failures", 1) ?? 3;
  say(`fuzz ${args.join(" ")}, seed ${seed}, Deno ${Deno.version.deno}`);
  let failed = 0;
  for (const target of chosen) {
    const budget = given.has("case") ? undefined : given.integer("budget", 1) ?? target.budget;
    let spent = 0, cases = 0, failures = 0;
    const startedMs = performance.now();
    let saidMs = startedMs;
    for (let round = 0; failures < mostFailures && (budget === undefined ? round === 0 : spent < budget); round++) {
      let known = 0;
      try {
        const left = budget === undefined ? undefined : budget - spent;
        const outcome = await runJob(
          { name: target.name, seed: round === 0 ? seed : `${seed}+${round}`, budget: left },
          (report) => {
            if (report.kind !== "case") return;
            known = report.spent;
            cases++;
            if (performance.now() - saidMs < PROGRESS_MS) return;
            saidMs = performance.now();
            say(`${target.name}: ${spent + known} ${target.unit} so far`);
          },
        );
        known = outcome.spent;
        if (outcome.covered !== undefined) say(`${target.name}: covered ${JSON.stringify(outcome.covered)}`);
      } catch (cause) {
        failures++;
        say(`FAILED ${cause instanceof Error ? cause.message : cause}`);
      }
      spent += known;
    }
    failed += failures;
    const seconds = ((performance.now() - startedMs) / 1000).toFixed(1);
    say(`${target.name}: ${spent} ${target.unit} in ${cases} cases, ${failures} failed, ${seconds} s`);
  }
  say(`${failed} failed`);
  return failed === 0 ? 0 : 1;
}

main(Deno.args).then((status) => Deno.exit(status)).catch((cause) => {
  if (!(cause instanceof InputError)) throw cause;
  console.error(`fuzz: ${cause.message}`);
  Deno.exit(2);
});
