// Events of the binary translator, for whoever looks at it: tests, statistics, the command `inspect`.

import { observe, service } from "../../core/mod.ts";
import type { Sites, SiteTrap } from "./adaptation.ts";
import type { Region } from "./units.ts";
import type { FunctionBody } from "./wasm.ts";

/** A region of guest code was translated and installed. */
export interface Translation {
  /** Machine page that the code lies in. Instructions' offsets in `region` are offsets in this page. */
  readonly mpn: number;
  /** Linear address of the entry, as a signed word: that of the region's first unit. */
  readonly eip: number;
  /** The mode that it was translated for (`Mode`, and `MODE_USER` of layout.ts). */
  readonly mode: number;
  readonly region: Region;
  /** The emitted function. */
  readonly body: FunctionBody;
}

/** Emitted once per translation, at the moment it is installed, and only while somebody listens. */
export const translated = observe<Translation>("bt.translated");

/**
 * An instruction that is no sensitive one has left the translation cache, or called out of it, because of the memory that it
 * accesses. Emitted only while somebody listens.
 */
export const siteTrapped = observe<SiteTrap>("bt.siteTrapped");
/** Forms of such instructions (adaptation.ts). */
export const sites = service<Sites>("bt.sites");
