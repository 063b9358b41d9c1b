// Sections of cases about what few systems use: hardware task switches, debug registers, V86 mode and alignment checks. They
// are built, run and recorded as the torture guest's are.

import type { GuestImage } from "../../../guests/guest.ts";
import { buildCases } from "../torture/harness.ts";
import { alignmentCases } from "./alignment.ts";
import { debugCases } from "./debug.ts";
import { taskCases } from "./tasks.ts";
import { v86Cases } from "./v86.ts";

/** Builders of the sections' images, by name. */
export const modeSections: Readonly<Record<string, () => GuestImage>> = {
  tasks: () => buildCases(taskCases()),
  debug: () => buildCases(debugCases()),
  v86: () => buildCases(v86Cases()),
  alignment: () => buildCases(alignmentCases()),
};
