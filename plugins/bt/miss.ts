// What emitted code tells the slow path of an access, in one word beside the linear address: its size, whether it writes, and
// what hangs on it, since accesses of a run (emit/runs.ts) are made by what one of them has looked up, without a further check.

/** An access that the TLB's fast path does not have. */
export interface MissedAccess {
  /** 1, 2 or 4. */
  readonly bytes: number;
  readonly isWrite: boolean;
  /** Whether addresses that were looked up before must still hold afterwards. */
  readonly relies?: boolean;
  /** The run that it begins: bytes of it that lie below the access, in all at most MOST_RUN_BYTES, and whether it writes. */
  readonly run?: { readonly below: number; readonly bytes: number; readonly isWrite: boolean };
}

export const MOST_RUN_BYTES = 256;
const BYTES = 7, WRITES = 8, RELIES = 16, RUN = 32, RUN_WRITES = 64;
const BELOW_SHIFT = 7, LAST_SHIFT = 15, BYTE = 0xff;

export function packMiss({ bytes, isWrite, relies, run }: MissedAccess): number {
  const access = bytes | (isWrite ? WRITES : 0) | (relies ? RELIES : 0);
  if (run === undefined) return access;
  return access | RUN | (run.isWrite ? RUN_WRITES : 0) | (run.below << BELOW_SHIFT) | ((run.bytes - 1) << LAST_SHIFT);
}

export function bytesOf(kind: number): number {
  return kind & BYTES;
}

export function writes(kind: number): boolean {
  return (kind & WRITES) !== 0;
}

export function relies(kind: number): boolean {
  return (kind & RELIES) !== 0;
}

export function beginsRun(kind: number): boolean {
  return (kind & RUN) !== 0;
}

/** Whether any access of the run writes. */
export function runWrites(kind: number): boolean {
  return (kind & RUN_WRITES) !== 0;
}

/** Whether the run that an access to `linear` begins reaches into another page. */
export function runCrossesPage(linear: number, kind: number): boolean {
  const first = linear - ((kind >>> BELOW_SHIFT) & BYTE), last = first + ((kind >>> LAST_SHIFT) & BYTE);
  return first >> PAGE_SHIFT !== last >> PAGE_SHIFT;
}

const PAGE_SHIFT = 12;
