// The catalogue of experiments: one file each, memory first. framework/definition.ts says how to write one.

import type { Experiment } from "./framework/definition.ts";
import balloonOverhead from "./balloon_overhead.ts";
import idleTax from "./idle_tax.ts";
import sampling from "./sampling.ts";

export * from "./framework/mod.ts";

// Each has its own knobs; whoever runs one checks them by its schema.
const all = [balloonOverhead, sampling, idleTax] as readonly unknown[];

export const experiments = all as readonly Experiment[];
