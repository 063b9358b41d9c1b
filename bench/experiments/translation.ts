// The experiments on translation, traps and shadow memory management, after the BT paper.

import adaptive from "./adaptive.ts";
import breakEven from "./break_even.ts";
import chaining from "./chaining.ts";
import forkwait from "./forkwait.ts";
import mmuTradeoff from "./mmu_tradeoff.ts";
import nanobench from "./nanobench.ts";
import rdtscLadder from "./rdtsc_ladder.ts";
import translator from "./translator.ts";
import trapMix from "./trap_mix.ts";
import workingSet from "./working_set.ts";

export const translationExperiments = [
  rdtscLadder,
  nanobench,
  workingSet,
  translator,
  trapMix,
  adaptive,
  chaining,
  breakEven,
  forkwait,
  mmuTradeoff,
];
