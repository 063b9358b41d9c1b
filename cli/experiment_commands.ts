// What the commands about experiments take. What they do is loaded when one of them is given: see experiment.ts.

import { DEFAULT_SEED } from "./defaults.ts";
import type { CommandSpec } from "./options.ts";

/** Where results go, in a folder for each experiment. */
export const DEFAULT_OUT = "out/experiments";

export const experimentCommand: CommandSpec = {
  name: "experiment",
  operands: "NAME|all",
  minOperands: 1,
  maxOperands: 1,
  summary: "Runs an experiment and writes result.json, figure.svg and report.md.",
  options: [
    { name: "out", value: "DIR", help: `where results go, in a folder for each experiment; default: ${DEFAULT_OUT}` },
    { name: "seed", value: "N", help: `first seed; default: ${DEFAULT_SEED}` },
    { name: "seeds", value: "K", help: "how many seeds to run; default: what the experiment says" },
    { name: "quick", help: "a smaller form of it: less time, fewer seeds" },
    {
      name: "set",
      value: "NAME=VALUE",
      repeats: true,
      help: "a knob of the experiment, or an option: PLUGIN.OPTION=VALUE",
    },
    { name: "without", value: "PLUGIN", repeats: true, help: "leave a plugin out" },
    {
      name: "compare",
      value: "targets=A,B,...",
      help: "policies to compare: shares (no policy), names of plugins, paths of files",
    },
  ],
  notes: `
\`ballast experiments\` lists them with their knobs. The status is 1 if an acceptance line does not hold; it is then named.
Everything in result.json but \`timings\` depends on the configuration and the seed alone.`,
};

export const experimentsCommand: CommandSpec = {
  name: "experiments",
  summary: "Lists the experiments with their knobs and defaults.",
  options: [],
};

export const compareCommand: CommandSpec = {
  name: "compare",
  operands: "A.json B.json",
  minOperands: 2,
  maxOperands: 2,
  summary: "Shows two results of one experiment side by side.",
  options: [{ name: "out", value: "FILE.svg", help: "draw both into one figure" }],
};
