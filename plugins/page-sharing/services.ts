// What page sharing offers to tools, experiments and tests: scanning by hand, and its figures.

import { service, type Vm } from "../../core/mod.ts";
import type { Ppn } from "../memory/mod.ts";
import type { ScanResult, SharerCounts } from "./sharer.ts";

/** Pages of the host by what sharing made of them; the ESX paper's figures 4 and 5 draw the first three. */
export interface SharingFigures {
  /** Pages that map a frame copy-on-write, the zero frame included. */
  readonly sharedPages: number;
  /** Of them, those that no frame is needed for: KSM's `pages_sharing`. */
  readonly reclaimedPages: number;
  /** Of the shared pages, those that map the zero frame. */
  readonly zeroPages: number;
  /** Pages that hold a frame, alone or with others: what the paper takes its percentages of. */
  readonly allocatedPages: number;
}

export interface PageSharing {
  /** Looks at one page, shares it where that is possible, and charges nobody. */
  scan(vm: Vm, ppn: Ppn): ScanResult;
  /** Looks once at every page of every VM, whatever the rates are, and charges nobody. */
  scanAll(): void;
  figures(): SharingFigures;
  readonly counts: Readonly<SharerCounts>;
  /** Bytes of the hash table. */
  readonly metadataBytes: number;
  /** Throws unless the table agrees with itself and with what is shared. */
  audit(): void;
}

export const sharing = service<PageSharing>("page-sharing.sharing");
