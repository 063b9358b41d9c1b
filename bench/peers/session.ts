// What both ways to run the comparison share: where the cache is, progress on standard error, and Ctrl-C.

import { fromFileUrl } from "@std/path";

/** Folder of the prepared Linux and of the programs. */
export function cacheDir(): string {
  return Deno.env.get("BALLAST_CACHE") ?? fromFileUrl(new URL("../../cache", import.meta.url));
}

/** Writes one line of progress. */
export function progress(line: string): void {
  const bytes = new TextEncoder().encode(`${line}\n`);
  for (let at = 0; at < bytes.length;) at += Deno.stderr.writeSync(bytes.subarray(at));
}

/** The run was interrupted. */
export class Interrupted extends Error {
  override readonly name = "Interrupted";
}

/** Aborted, with Interrupted, by the first SIGINT or SIGTERM; a second one ends this process as it would any. */
export function interruption(): AbortSignal {
  const controller = new AbortController();
  const signals: Deno.Signal[] = ["SIGINT", "SIGTERM"];
  const interrupt = () => {
    for (const signal of signals) Deno.removeSignalListener(signal, interrupt);
    controller.abort(new Interrupted("interrupted"));
  };
  for (const signal of signals) Deno.addSignalListener(signal, interrupt);
  return controller.signal;
}
