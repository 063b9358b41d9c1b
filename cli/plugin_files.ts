// Plugins that do not come with Ballast: they are the default exports of files that are named by their paths.

import { toFileUrl } from "@std/path";
import { InputError, type Plugin } from "../core/mod.ts";
import { userPath } from "./files.ts";

/** Whether a plugin's name is the path of a file. */
export function isPluginPath(name: string): boolean {
  return /[/\\]|\.[cm]?[jt]s$/.test(name);
}

/** Imports a plugin from a file, relative to `folder`: its default export. */
export async function loadPlugin(path: string, folder?: string): Promise<Plugin> {
  const file = userPath(path, folder);
  let module: Record<string, unknown>;
  try {
    module = await import(toFileUrl(file).href);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new InputError(`plugin ${path} cannot be loaded: ${reason.split("\n")[0]}`, { cause });
  }
  const plugin = module.default;
  if (!isPlugin(plugin)) {
    throw new InputError(`plugin ${path} has no default export made by definePlugin({ name, setup, ... })`);
  }
  loadedFiles.set(toFileUrl(file).href, plugin.name);
  return plugin;
}

/** Files that plugins were loaded from, with the plugins' names. */
const loadedFiles = new Map<string, string>();
const builtinFolder = new URL("../plugins/", import.meta.url).href;

/** The plugin in whose files an error arose, by its stack; undefined where it is none's, or nobody's can be told. */
export function pluginAtFault(error: unknown): string | undefined {
  for (const line of (error instanceof Error ? error.stack ?? "" : "").split("\n")) {
    const url = /file:\/\/[^\s()]*?(?=:\d+:\d+)/.exec(line)?.[0];
    if (url === undefined) continue;
    const name = loadedFiles.get(url);
    if (name !== undefined) return name;
    if (url.startsWith(builtinFolder)) return url.slice(builtinFolder.length).split("/")[0];
  }
  return undefined;
}

function isPlugin(value: unknown): value is Plugin {
  return typeof value === "object" && value !== null && "name" in value && typeof value.name === "string" &&
    "setup" in value && typeof value.setup === "function";
}
