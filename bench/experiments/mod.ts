// The catalogue of experiments: one file each, memory first. framework/definition.ts says how to write one.

import type { Experiment } from "./framework/definition.ts";
import balloonOverhead from "./balloon_overhead.ts";
import idleTax from "./idle_tax.ts";
import balloonPop from "./balloon_pop.ts";
import sampling from "./sampling.ts";
import shares from "./shares.ts";
import taxSweep from "./tax_sweep.ts";
import { translationExperiments } from "./translation.ts";

export * from "./framework/mod.ts";

// Each has its own knobs; whoever runs one checks them by its schema.
const memory = [balloonOverhead, sampling, idleTax, taxSweep, shares, balloonPop];
const all = [...memory, ...translationExperiments] as readonly unknown[];

export const experiments = all as readonly Experiment[];
