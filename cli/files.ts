// Files that a user names: paths relative to where the command was given, and errors in one line.

import { isAbsolute, resolve } from "@std/path";
import { InputError } from "../core/mod.ts";

/** The folder in which the user gave the command: `deno task` runs in the project's root and says it in INIT_CWD. */
export function callerFolder(): string {
  const permission = Deno.permissions.querySync({ name: "env", variable: "INIT_CWD" });
  const given = permission.state === "granted" ? Deno.env.get("INIT_CWD") : undefined;
  return given ?? Deno.cwd();
}

/** A path as the user meant it. */
export function userPath(path: string, folder = callerFolder()): string {
  return isAbsolute(path) ? path : resolve(folder, path);
}

/** Reads a file; `what` it is goes into the error. */
export async function readUserFile(path: string, what: string): Promise<Uint8Array> {
  try {
    return await Deno.readFile(path);
  } catch (cause) {
    throw fileError(cause, what, path, "read");
  }
}

/** Writes a file whole. */
export async function writeUserFile(path: string, what: string, text: string): Promise<void> {
  try {
    await Deno.writeTextFile(path, text);
  } catch (cause) {
    throw fileError(cause, what, path, "write");
  }
}

/** Refuses a file that could not be written later: before hours are spent on what goes into it. Creates it empty. */
export async function expectWritable(path: string, what: string): Promise<void> {
  try {
    (await Deno.open(path, { write: true, create: true })).close();
  } catch (cause) {
    throw fileError(cause, what, path, "write");
  }
}

/** A failed access to a file as one line. */
export function fileError(cause: unknown, what: string, path: string, access: "read" | "write"): Error {
  if (cause instanceof Deno.errors.NotFound) {
    return new InputError(`${what} ${path}: no such ${access === "read" ? "file" : "folder"}`, { cause });
  }
  if (cause instanceof Deno.errors.NotCapable) {
    return new InputError(`${what} ${path}: run deno with --allow-${access} to ${access} it`, { cause });
  }
  if (cause instanceof Deno.errors.PermissionDenied) {
    return new InputError(`${what} ${path}: permission denied`, { cause });
  }
  if (cause instanceof Deno.errors.IsADirectory) return new InputError(`${what} ${path}: is a folder`, { cause });
  return cause instanceof Error
    ? new InputError(`${what} ${path}: ${cause.message}`, { cause })
    : new Error(String(cause));
}
