// The torture guest's sections: each is an image of its own and a fixture of its own.

import type { GuestImage } from "../../../guests/guest.ts";
import { buildCases, type TortureCase } from "./harness.ts";
import { controlCases, exceptionCases } from "./exceptions.ts";
import { limitCases } from "./limits.ts";
import { paeCases } from "./pae.ts";
import { pagingCases } from "./paging.ts";
import { buildRealMode } from "./real.ts";
import { restartCases } from "./restart.ts";
import { segmentCases } from "./segments.ts";
import { transferCases } from "./transfers.ts";

/** Guest memory that every section runs in. */
export const MEMORY_MIB = 16;

/** The emulators whose output is recorded. */
export const oracles = ["qemu", "bochs"] as const;
export type Oracle = (typeof oracles)[number];

/** A section: its image, and the emulators whose word on it counts. */
export interface Section {
  readonly build: () => GuestImage;
  readonly oracles: readonly Oracle[];
}

const section = (cases: () => TortureCase[], of: readonly Oracle[] = oracles): Section => ({
  build: () => buildCases(cases()),
  oracles: of,
});

/** All sections, by name. */
export const sections: Readonly<Record<string, Section>> = {
  paging: section(pagingCases),
  pae: section(paeCases),
  restart: section(restartCases),
  segments: section(segmentCases),
  transfers: section(transferCases),
  exceptions: section(exceptionCases),
  real: { build: buildRealMode, oracles },
  limits: section(limitCases, ["bochs"]),
  control: section(controlCases, ["bochs"]),
};
