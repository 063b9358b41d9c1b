// Adapter for @std/path 1.x over node:path: exports only what the project imports, with the package's signatures.

import nodePath from "node:path";
import nodeUrl from "node:url";

/** Folder part of a path. */
export function dirname(path: string): string {
  return nodePath.dirname(path);
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

/** Path of a file URL. Throws TypeError for other URLs. */
export function fromFileUrl(url: URL | string): string {
  return nodeUrl.fileURLToPath(url);
}

/** File URL of an absolute path. */
export function toFileUrl(path: string): URL {
  return nodeUrl.pathToFileURL(path);
}
