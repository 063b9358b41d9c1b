// The import graph of the project, read from its sources, and the arrows that its design forbids.

import { dirname, join } from "@std/path";

/** One file's reference to another file of the project, or to a bare name. Paths are relative to the project. */
export interface Arrow {
  readonly from: string;
  readonly to: string;
  readonly isBare: boolean;
}

/** Names of plugins that a plugin requires, by its folder. */
export type Requirements = ReadonlyMap<string, readonly string[]>;

/** Folders that hold nothing of ours. */
const FOREIGN = new Set([".git", "node_modules", "cache", "out"]);

const EXPERIMENTS = "bench/experiments/mod.ts", FRAMEWORK = "bench/experiments/framework/";

/** Every file below a folder, relative to it, in order. */
export function* filesBelow(root: string, folder = ""): Generator<string> {
  const entries = [...Deno.readDirSync(join(root, folder))].toSorted((a, b) => a.name < b.name ? -1 : 1);
  for (const { name, isDirectory, isFile } of entries) {
    const path = folder === "" ? name : `${folder}/${name}`;
    if (isDirectory && !FOREIGN.has(name)) yield* filesBelow(root, path);
    else if (isFile) yield path;
  }
}

/**
 * What a source imports, statically or not: `import ... from "x"`, `export ... from "x"`, `import "x"`, `import("x")`.
 * Statements are told from text by standing at the start of a line, as the formatter puts them.
 */
export function importsOf(source: string): string[] {
  const statements = /^(?:import|export)\b(?:[^"';]*?\bfrom)?\s*["']([^"'\n]+)["']/gm;
  const calls = /^(?!\s*(?:\/\/|\*|\/\*)).*?\bimport\(\s*["']([^"'\n]+)["']/gm;
  return [...source.matchAll(statements), ...source.matchAll(calls)].map(([, specifier]) => specifier);
}

/** Names that a source imports from a bare module, without types. */
export function namesImported(source: string, module: string): string[] {
  const names: string[] = [];
  for (const [, list, specifier] of source.matchAll(/^import\s*\{([^}]*)\}\s*from\s*["']([^"'\n]+)["']/gm)) {
    if (specifier !== module) continue;
    for (const item of list.split(",")) {
      const name = item.trim().split(/\s+as\s+/)[0];
      if (name !== "" && !name.startsWith("type ")) names.push(name);
    }
  }
  return names;
}

/** Arrows of one file. */
export function arrowsOf(from: string, source: string): Arrow[] {
  return importsOf(source).map((specifier) =>
    specifier.startsWith(".")
      ? { from, to: join(dirname(from), specifier).replaceAll("\\", "/"), isBare: false }
      : { from, to: specifier, isBare: true }
  );
}

/** Why the design forbids an arrow, or undefined if it does not. */
export function objection({ from, to, isBare }: Arrow, requirements: Requirements): string | undefined {
  const source = placeOf(from);
  if (isBare) return bareObjection(source, to);
  if (to.startsWith("../")) return "nothing outside the project is imported by path";
  const target = placeOf(to);
  if (source.layer === "core") return target.layer === "core" ? undefined : "core imports nothing of ours";
  if (source.layer === "std") return target.layer === "std" ? undefined : "adapters know nothing of the project";
  if (source.layer === "guests") return target.layer === "guests" ? undefined : "guests know nothing of the host";
  if (source.layer === "plugins") return pluginObjection(source.name, to, requirements);
  if (source.layer === "tests") return undefined;
  if (target.layer === "tests") return "only tests import tests";
  // Of the benches, the command line knows the catalogue of experiments and no more.
  if (source.layer !== "bench" && target.layer === "bench" && !(source.layer === "cli" && to === EXPERIMENTS)) {
    return `benches are programs of their own; only cli/ imports ${EXPERIMENTS}`;
  }
  if (from.startsWith(FRAMEWORK) && to.startsWith("bench/experiments/") && !to.startsWith(FRAMEWORK)) {
    return "the framework knows no experiment";
  }
  if (target.layer === "plugins" && !isComposer(source.layer)) return "only mod.ts and cli/ compose plugins";
  return undefined;
}

/** `core` imports zod and nothing else; adapters stand on what Deno has; the public API is for those outside. */
function bareObjection(source: Place, specifier: string): string | undefined {
  if (source.layer === "core") return specifier === "zod" ? undefined : "core imports nothing but zod";
  if (specifier === "ballast") {
    return source.layer === "tests" || source.layer === "bench" ? undefined : "the public API is for those outside";
  }
  if (source.layer === "std") {
    return specifier.startsWith("@std/") ? "an adapter is what the name stands for" : undefined;
  }
  if (/^@std\/[^/]+\//.test(specifier)) return "only the roots of @std packages are mapped";
  if (specifier.startsWith("jsr:") || specifier.startsWith("http")) return "closed networks cannot reach it";
  if (source.layer === "plugins" && specifier === "zod") return "plugins take z from core";
  return undefined;
}

function pluginObjection(name: string, to: string, requirements: Requirements): string | undefined {
  const target = placeOf(to);
  if (target.layer === "core" || (target.layer === "plugins" && target.name === name)) return undefined;
  if (target.layer !== "plugins") return "a plugin imports core and other plugins alone";
  if (to !== `plugins/${target.name}/mod.ts`) return "another plugin's files are its own; import its mod.ts";
  return requirements.get(name)?.includes(target.name)
    ? undefined
    : `plugin "${name}" does not name "${target.name}" in its requires`;
}

/** Benches measure mechanisms as they are put together by hand. */
function isComposer(layer: string): boolean {
  return layer === "mod.ts" || layer === "cli" || layer === "bench";
}

interface Place {
  /** Folder at the top, or the file itself if it stands there. */
  readonly layer: string;
  /** Folder below it. */
  readonly name: string;
}

function placeOf(path: string): Place {
  const [layer, name = ""] = path.split("/");
  return { layer, name };
}
