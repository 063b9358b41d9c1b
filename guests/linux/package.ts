// What we take out of Debian's packages: the kernel, its configuration, its modules on demand, the busybox program.
// Where it stands: apt.ts delivers the .deb files, mod.ts caches what is read here.
// Follows deb(5) and the file layout of Debian's linux-image and busybox-static packages.

import { toolCommand, withToolMissingExplained } from "./apt.ts";
import { moduleDependencies, type ModuleFacts, moduleName } from "./modules.ts";
import { readTar, type TarFile } from "./tar.ts";

/** The parts of a linux-image package that a boot needs, and an index of its modules. */
export interface KernelContents {
  /** bzImage. */
  readonly vmlinuz: Uint8Array;
  /** The kernel's .config. */
  readonly config: Uint8Array;
  /** Absent when the package carries only the note that symbols are in its -dbg package. */
  readonly systemMap: Uint8Array | undefined;
  readonly modules: Map<string, ModuleFacts>;
  /** Names of modules that are compiled into the kernel. */
  readonly builtinModules: string[];
}

/** Debian's placeholder for System.map is one line; a real one has tens of thousands. */
const SYSTEM_MAP_MIN_BYTES = 4096;

/** Reads a kernel package. `searchPath` says where dpkg-deb is, default PATH. Throws an Error when a part is missing. */
export async function readKernelPackage(debPath: string, searchPath?: string): Promise<KernelContents> {
  const boot = new Map<string, Uint8Array>();
  const modules = new Map<string, ModuleFacts>();
  let builtinModules: string[] = [];
  const wanted = (path: string): boolean =>
    path.startsWith("boot/") || path.endsWith(".ko") || path.endsWith("/modules.builtin");
  for await (const { path, data } of packageFiles(debPath, wanted, searchPath)) {
    if (path.endsWith(".ko")) {
      modules.set(moduleName(path), { path, depends: moduleDependencies(data) });
    } else if (path.endsWith("/modules.builtin")) {
      builtinModules = new TextDecoder().decode(data).split("\n").filter((line) => line !== "").map(moduleName);
    } else {
      boot.set(path.replace(/^boot\/([^-]+)-.*$/, "$1"), data);
    }
  }
  const vmlinuz = boot.get("vmlinuz");
  const config = boot.get("config");
  if (vmlinuz === undefined || config === undefined) {
    throw new Error(`${debPath} holds no boot/vmlinuz-* or no boot/config-*: not a kernel package`);
  }
  const systemMap = boot.get("System.map");
  return {
    vmlinuz,
    config,
    systemMap: systemMap !== undefined && systemMap.length >= SYSTEM_MAP_MIN_BYTES ? systemMap : undefined,
    modules,
    builtinModules,
  };
}

/** The files at exactly `paths` in a package, by path. Throws an Error that names the first one missing. */
export async function readPackageFiles(
  debPath: string,
  paths: readonly string[],
  searchPath?: string,
): Promise<Map<string, Uint8Array>> {
  const found = new Map<string, Uint8Array>();
  const isWanted = (path: string) => paths.includes(path);
  for await (const { path, data } of packageFiles(debPath, isWanted, searchPath)) found.set(path, data);
  for (const path of paths) {
    if (!found.has(path)) throw new Error(`${debPath} does not hold ${path}`);
  }
  return found;
}

async function* packageFiles(
  debPath: string,
  wanted: (path: string) => boolean,
  searchPath: string | undefined,
): AsyncGenerator<TarFile> {
  const program = "dpkg-deb";
  const child = await withToolMissingExplained(
    program,
    () => toolCommand(program, ["--fsys-tarfile", debPath], { searchPath }).spawn(),
  );
  const messages = new Response(child.stderr).text();
  try {
    yield* readTar(child.stdout, wanted);
  } catch (error) {
    throw new Error(`${debPath} cannot be read: ${(await messages).trim() || String(error)}`, { cause: error });
  }
  const { success } = await child.status;
  if (!success) throw new Error(`${debPath} cannot be unpacked: ${(await messages).trim()}`);
}
