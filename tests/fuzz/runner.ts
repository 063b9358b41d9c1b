// Starts a target in a thread and watches it: a case that takes longer than any should is a hang, and is told with its seed.

/** What a thread is to do: cases until a budget is spent, or the one case of a seed. */
export interface Job {
  readonly name: string;
  readonly seed: string;
  readonly budget?: number;
}

/** What it says: that a case begins, that all is done, or what failed. */
export type Report =
  | { readonly kind: "case"; readonly seed: string; readonly spent: number }
  | { readonly kind: "done" } & Outcome
  | { readonly kind: "failed"; readonly text: string };

export interface Outcome {
  readonly spent: number;
  readonly cases: number;
  /** As `Target.covered` says. */
  readonly covered?: Readonly<Record<string, number>>;
}

/** Wall time after which a case hangs. The slowest take seconds, on a loaded machine too. */
const HANG_MS = 300_000, LOOK_MS = 1000;

/** Runs a job; throws with the seed of the case that failed or hung. */
export async function runJob(job: Job, told: (report: Report) => void = () => {}): Promise<Outcome> {
  const worker = new Worker(new URL("./worker.ts", import.meta.url), { type: "module", name: `fuzz ${job.name}` });
  const ended = Promise.withResolvers<Outcome>();
  let seed = job.seed, beganMs = performance.now();
  const watch = setInterval(() => {
    if (performance.now() - beganMs < HANG_MS) return;
    ended.reject(new Error(`target ${job.name}, seed "${seed}": no end after ${HANG_MS / 1000} s`));
  }, LOOK_MS);
  worker.onmessage = ({ data }: MessageEvent<Report>) => {
    told(data);
    if (data.kind === "case") [seed, beganMs] = [data.seed, performance.now()];
    else if (data.kind === "done") ended.resolve(data);
    else ended.reject(new Error(data.text));
  };
  worker.onerror = (event) => {
    event.preventDefault();
    ended.reject(new Error(`target ${job.name}, seed "${seed}": ${event.message}`));
  };
  worker.postMessage(job);
  try {
    return await ended.promise;
  } finally {
    clearInterval(watch);
    worker.terminate();
  }
}
