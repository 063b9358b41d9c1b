// Memory workloads for Linux guests: a working set with checksums, a file cache, memory that churns, and nothing at all. The
// files go into an initramfs (PrepareLinuxOptions.extraFiles); each says in its source how it is used and what it prints.

import { memoryToucher } from "./toucher.ts";

/** Scripts for busybox's shell, by their names in the guest. */
const SCRIPTS = ["file-cache", "churn", "idle"] as const;

/** The programs by absolute path in the guest. */
export async function memoryWorkloads(): Promise<ReadonlyMap<string, Uint8Array>> {
  const programs = new Map<string, Uint8Array>([["/bin/memory-toucher", memoryToucher()]]);
  for (const name of SCRIPTS) {
    programs.set(`/bin/${name}`, await Deno.readFile(new URL(`${name}.sh`, import.meta.url)));
  }
  return programs;
}
