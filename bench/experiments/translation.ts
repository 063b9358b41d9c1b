// The experiments on translation and traps, after the BT paper.

import breakEven from "./break_even.ts";
import chaining from "./chaining.ts";
import nanobench from "./nanobench.ts";
import rdtscLadder from "./rdtsc_ladder.ts";
import workingSet from "./working_set.ts";

export const translationExperiments = [rdtscLadder, nanobench, workingSet, chaining, breakEven];
