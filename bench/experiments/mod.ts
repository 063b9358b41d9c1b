// The catalogue of experiments: one file each, memory first. framework/definition.ts says how to write one.

import type { Experiment } from "./framework/definition.ts";
import admission from "./admission.ts";
import balloonOverhead from "./balloon_overhead.ts";
import balloonPop from "./balloon_pop.ts";
import consolidation from "./consolidation.ts";
import doublePaging from "./double_paging.ts";
import idleTax from "./idle_tax.ts";
import pageSharing from "./page_sharing.ts";
import policies from "./policies.ts";
import sampling from "./sampling.ts";
import shares from "./shares.ts";
import sharingCost from "./sharing_cost.ts";
import taxSweep from "./tax_sweep.ts";
import { translationExperiments } from "./translation.ts";

export * from "./framework/mod.ts";

const memory = [
  ...[balloonOverhead, pageSharing, sharingCost, sampling, idleTax, taxSweep],
  ...[shares, consolidation, doublePaging, admission, balloonPop, policies],
];
// Each has its own knobs; whoever runs one checks them by its schema.
const all: readonly unknown[] = [...memory, ...translationExperiments];

export const experiments = all as readonly Experiment[];
