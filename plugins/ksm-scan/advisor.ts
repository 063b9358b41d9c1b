// How many pages KSM looks at between two sleeps: a fixed number; Linux's scan-time advisor, which aims at a duration of a
// pass; or MOM's rules, which scan while the host is short of memory (ksm.rules of oVirt's default policy).

export const advisors = ["none", "scan-time", "mom"] as const;
export type Advisor = (typeof advisors)[number];

/** Linux's: the duration aimed at, bounds, and the part of the old number in a new one. */
const TARGET_SCAN_SECONDS = 200, MIN_PAGES = 500, MAX_PAGES = 30_000, MAX_CPU = 0.7, EWMA_WEIGHT = 0.3;
/** MOM's: free memory below which it scans more, by how much, and bounds. */
const FREE_THRESHOLD = 0.2, BOOST = 300, DECAY = 50, MOM_MIN_PAGES = 64, MOM_MAX_PAGES = 1250;

/** After a pass of `passSeconds`: as many pages as would have made it last as long as it should, averaged. */
export function scanTimeAdvice(pages: number, passSeconds: number, sleepSeconds: number, pageSeconds: number): number {
  const wanted = (pages * passSeconds) / TARGET_SCAN_SECONDS;
  const averaged = pages + (1 - EWMA_WEIGHT) * (wanted - pages);
  // Of the time from one wake to the next, scanning takes no more than its part of the processor.
  const most = pageSeconds > 0 ? (MAX_CPU * sleepSeconds) / ((1 - MAX_CPU) * pageSeconds) : MAX_PAGES;
  return Math.round(Math.max(MIN_PAGES, Math.min(MAX_PAGES, most, averaged)));
}

/** MOM's step, from the free part of the host's memory; 0 pages while all VMs fit with the threshold to spare. */
export function momAdvice(pages: number, freePart: number, promisedPart: number): number {
  if (promisedPart + FREE_THRESHOLD < 1) return 0;
  const next = freePart < FREE_THRESHOLD ? pages + BOOST : pages - DECAY;
  return Math.max(MOM_MIN_PAGES, Math.min(MOM_MAX_PAGES, next));
}
