// The experiments on translation and traps, after the BT paper.

import nanobench from "./nanobench.ts";
import rdtscLadder from "./rdtsc_ladder.ts";

export const translationExperiments = [rdtscLadder, nanobench];
