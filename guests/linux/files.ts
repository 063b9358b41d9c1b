// Files of the cache: written whole or not at all, and known by their SHA256.
// Where it stands: below apt.ts, package.ts and mod.ts.
// Relies on rename(2) being atomic within one file system.

import { createHash } from "node:crypto";

/** Lower-case hexadecimal SHA256 of `bytes`. */
export function sha256Hex(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** Writes beside `path` and renames, so that nobody, at no time, finds half a file there. */
export async function writeWhole(path: string, bytes: Uint8Array): Promise<void> {
  const temporary = `${path}.${crypto.randomUUID()}.partial`;
  try {
    await Deno.writeFile(temporary, bytes);
    await Deno.rename(temporary, path);
  } catch (error) {
    await Deno.remove(temporary).catch(() => undefined);
    throw error;
  }
}

/** The file's bytes, or undefined when there is none. */
export async function readIfThere(path: string): Promise<Uint8Array | undefined> {
  try {
    return await Deno.readFile(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

/** Whether `path` exists and has exactly the contents that `sha256` names. */
export async function hasDigest(path: string, sha256: string): Promise<boolean> {
  const bytes = await readIfThere(path);
  return bytes !== undefined && sha256Hex(bytes) === sha256;
}
