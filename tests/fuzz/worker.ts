// Runs one target in a thread of its own, so that a case which never ends can be told and ended.

import { fuzz, runCase } from "./target.ts";
import { targetOf } from "./targets.ts";
import type { Job, Report } from "./runner.ts";

const thread = globalThis as unknown as {
  onmessage: (event: MessageEvent<Job>) => void;
  postMessage(report: Report): void;
};

thread.onmessage = async ({ data: { name, seed, budget } }) => {
  const target = targetOf(name);
  try {
    const told = (caseSeed: string, spent: number) => thread.postMessage({ kind: "case", seed: caseSeed, spent });
    const { spent, cases } = budget === undefined
      ? { spent: await runCase(target, seed), cases: 1 }
      : await fuzz(target, seed, budget, told);
    thread.postMessage({ kind: "done", spent, cases, covered: target.covered?.() });
  } catch (cause) {
    thread.postMessage({ kind: "failed", text: cause instanceof Error ? cause.message : String(cause) });
  }
};
