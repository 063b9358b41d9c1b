// Adapter for @std/path 1.x over node:path: exports only what the project imports, with the package's signatures.

import nodePath from "node:path";
import nodeUrl from "node:url";

/** Last part of a path, without `suffix` if it ends so. */
export function basename(path: string, suffix?: string): string {
  return nodePath.basename(path, suffix);
}

/** Folder part of a path. */
export function dirname(path: string): string {
  return nodePath.dirname(path);
}

/** Extension of a path with its dot, or "". */
export function extname(path: string): string {
  return nodePath.extname(path);
}

/** Whether a path starts at the root. */
export function isAbsolute(path: string): boolean {
  return nodePath.isAbsolute(path);
}

/** Joins parts and normalises the result. */
export function join(path: string | URL, ...paths: string[]): string {
  return nodePath.join(path instanceof URL ? fromFileUrl(path) : path, ...paths);
}

/** Resolves parts to an absolute path, from the right. */
export function resolve(...pathSegments: string[]): string {
  return nodePath.resolve(...pathSegments);
}

/** Path of `to` as seen from the folder `from`. */
export function relative(from: string, to: string): string {
  return nodePath.relative(from, to);
}

/** Path of a file URL. Throws TypeError for other URLs. */
export function fromFileUrl(url: URL | string): string {
  return nodeUrl.fileURLToPath(url);
}

/** File URL of an absolute path. */
export function toFileUrl(path: string): URL {
  return nodeUrl.pathToFileURL(path);
}
