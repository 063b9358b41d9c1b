// Prepares the Debian guest: fetches Debian's i386 kernel and busybox by package name, builds an initramfs of our own.
// Where it stands: the one entry to guests/linux; everything lands in a cache folder and is reused without a network.
// Facts about this kernel's boot that shaped the defaults are in Linux Documentation/admin-guide/kernel-parameters.txt.

import { z } from "zod";
import { type AptSettings, type DownloadedPackage, PrivateApt } from "./apt.ts";
import { kernelRelease } from "./control.ts";
import { hasDigest, readIfThere, sha256Hex, writeWhole } from "./files.ts";
import { buildInitramfs, compressInitramfs, DEFAULT_INIT } from "./initramfs.ts";
import { moduleLoadOrder, moduleName } from "./modules.ts";
import { readKernelPackage, readPackageFiles } from "./package.ts";

export { type AptSettings, LinuxUnavailable } from "./apt.ts";
export { DEFAULT_INIT } from "./initramfs.ts";

/**
 * What every boot of Debian's kernel here gets: the serial console, a fixed load address, and no ISA PnP scan or crypto
 * self-tests, which are over half of the instructions to init; a panic resets at once, so that it ends the run.
 */
export const defaultAppend = "console=ttyS0 nokaslr noisapnp cryptomgr.notests panic=-1";

/** Added for a boot that uses the PIC pair alone, neither APIC nor ACPI. */
export const picOnlyAppend = "noapic nolapic acpi=off";

/** Which of Debian's i386 kernels: without PAE or with it. */
export type LinuxFlavour = "686" | "686-pae";

export interface PrepareLinuxOptions {
  /** Folder for packages and images, made if missing. Delete it to fetch the newest packages. */
  readonly cacheDir: string;
  /** Default "686". */
  readonly flavour?: LinuxFlavour;
  /** Modules that /init loads, by name; their dependencies come by themselves, built-in ones are skipped. */
  readonly modules?: readonly string[];
  /** More files for the initramfs by absolute guest path; programs become executable. */
  readonly extraFiles?: ReadonlyMap<string, Uint8Array>;
  /** Text of /init. Default: DEFAULT_INIT. */
  readonly init?: string;
  /** Told, a line at a time, what takes long or went wrong on the way. */
  readonly log: (line: string) => void;
  readonly apt?: AptSettings;
}

/** A package in the cache. */
export type CachedPackage = z.infer<typeof cachedPackage>;

export interface PreparedLinux {
  /** Path of the bzImage. */
  readonly kernel: string;
  /** Path of the gzip-compressed initramfs; its name holds a digest of its contents. */
  readonly initrd: string;
  /** Path of the kernel's .config. */
  readonly config: string;
  /** Path of System.map where the package has a real one (Debian keeps it in the -dbg package). */
  readonly systemMap?: string;
  /** The kernel's release, as `uname -r` gives it. */
  readonly version: string;
  readonly packages: { readonly linux: CachedPackage; readonly busybox: CachedPackage };
}

/**
 * Makes the Debian guest ready to boot. The first call downloads about 53 MB with apt; later ones read the cache only.
 * One set of packages and options gives the same initramfs to the byte. Safe to interrupt and to run twice at once.
 * Throws LinuxUnavailable when the packages are neither cached nor to be had, an Error for an unknown module or bad path.
 */
export async function prepareLinux(options: PrepareLinuxOptions): Promise<PreparedLinux> {
  const cache = new LinuxCache(options);
  await cache.open();
  const modules = await cache.modules(options.modules ?? []);
  const archive = buildInitramfs({
    busybox: await cache.busybox(),
    modules,
    extraFiles: options.extraFiles ?? new Map(),
    init: options.init ?? DEFAULT_INIT,
  });
  const initrd = `${cache.folder}/initrd-${sha256Hex(archive).slice(0, 16)}.cpio.gz`;
  const compressed = compressInitramfs(archive);
  if (!await hasDigest(initrd, sha256Hex(compressed))) await writeWhole(initrd, compressed);
  return { ...cache.paths(), initrd };
}

const MANIFEST_FORMAT = 1;
const METAPACKAGE_PREFIX = "linux-image-";
const BUSYBOX_PACKAGE = "busybox-static";
const BUSYBOX_PATH = "bin/busybox";
/** A download folder older than this belongs to a run that was killed. */
const ABANDONED_AFTER_MS = 24 * 3600 * 1000;
const FETCH_FOLDER_PREFIX = ".fetch-";

const cachedFile = z.strictObject({
  path: z.string().describe("relative to the folder of the manifest"),
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
});
const cachedPackage = z.strictObject({
  name: z.string(),
  version: z.string(),
  architecture: z.string(),
  file: cachedFile.describe("the .deb file"),
});
const manifest = z.strictObject({
  format: z.literal(MANIFEST_FORMAT),
  release: z.string().describe("as uname -r gives it"),
  packages: z.strictObject({ linux: cachedPackage, busybox: cachedPackage }),
  files: z.strictObject({
    kernel: cachedFile,
    config: cachedFile,
    systemMap: cachedFile.optional(),
    moduleIndex: cachedFile,
    busybox: cachedFile,
  }),
});
const moduleIndex = z.strictObject({
  builtin: z.array(z.string()),
  modules: z.record(z.string(), z.strictObject({ path: z.string(), depends: z.array(z.string()) })),
});

type CachedFile = z.infer<typeof cachedFile>;
type Manifest = z.infer<typeof manifest>;

/** One flavour's folder in the cache: packages, what was unpacked from them, and a manifest written last. */
class LinuxCache {
  readonly folder: string;
  readonly #options: PrepareLinuxOptions;
  readonly #flavour: LinuxFlavour;
  #current: Manifest | undefined;

  constructor(options: PrepareLinuxOptions) {
    this.#options = options;
    this.#flavour = options.flavour ?? "686";
    this.folder = `${options.cacheDir}/linux-${this.#flavour}`;
  }

  /** Fills the cache unless its manifest holds and every file it names is whole. */
  async open(): Promise<void> {
    await Deno.mkdir(this.folder, { recursive: true });
    this.#current = await this.#readManifest();
    if (this.#current === undefined) await this.#fetch();
  }

  paths(): Omit<PreparedLinux, "initrd"> {
    const { release, packages, files } = this.#manifest();
    const absolute = (file: CachedFile) => `${this.folder}/${file.path}`;
    return {
      kernel: absolute(files.kernel),
      config: absolute(files.config),
      systemMap: files.systemMap === undefined ? undefined : absolute(files.systemMap),
      version: release,
      packages,
    };
  }

  busybox(): Promise<Uint8Array> {
    return Deno.readFile(`${this.folder}/${this.#manifest().files.busybox.path}`);
  }

  /** The wanted modules with their dependencies, in load order. */
  async modules(wanted: readonly string[]): Promise<{ path: string; data: Uint8Array }[]> {
    if (wanted.length === 0) return [];
    const text = await Deno.readTextFile(`${this.folder}/${this.#manifest().files.moduleIndex.path}`);
    const index = moduleIndex.parse(JSON.parse(text));
    const loadable = wanted.filter((name) => !index.builtin.includes(moduleName(name)));
    const order = moduleLoadOrder(new Map(Object.entries(index.modules)), loadable);
    const paths = order.map((name) => index.modules[name].path);
    await this.#unpackModules(paths);
    return await Promise.all(paths.map(async (path) => ({ path, data: await Deno.readFile(this.#modulePath(path)) })));
  }

  #manifest(): Manifest {
    if (this.#current === undefined) throw new Error("the Linux cache is used before it was opened");
    return this.#current;
  }

  /** Where a module from the package is kept: apart for each kernel package, whose versions may share a release. */
  #modulePath(path: string): string {
    const { linux } = this.#manifest().packages;
    return `${this.folder}/${encodeURIComponent(linux.version)}/${moduleName(path)}.ko`;
  }

  async #readManifest(): Promise<Manifest | undefined> {
    const bytes = await readIfThere(`${this.folder}/manifest.json`);
    if (bytes === undefined) return undefined;
    const parsed = manifest.safeParse(parseJson(new TextDecoder().decode(bytes)));
    if (!parsed.success) {
      this.#options.log(`${this.folder}/manifest.json is not readable: fetching the packages anew`);
      return undefined;
    }
    for (const file of Object.values(parsed.data.files)) {
      if (file !== undefined && !await hasDigest(`${this.folder}/${file.path}`, file.sha256)) {
        this.#options.log(`${this.folder}/${file.path} is missing or damaged: fetching the packages anew`);
        return undefined;
      }
    }
    return parsed.data;
  }

  async #fetch(): Promise<void> {
    const { apt, log } = this.#options;
    await this.#removeAbandonedFolders();
    const temporary = await Deno.makeTempDir({ dir: await Deno.realPath(this.folder), prefix: FETCH_FOLDER_PREFIX });
    try {
      const metapackage = METAPACKAGE_PREFIX + this.#flavour;
      const privateApt = new PrivateApt(temporary, apt ?? {}, log);
      const [linux, busybox] = await privateApt.fetchKernel(metapackage, [BUSYBOX_PACKAGE]);
      this.#current = await this.#unpack(linux, busybox);
      await writeWhole(`${this.folder}/manifest.json`, encode(JSON.stringify(this.#current, undefined, 2) + "\n"));
    } finally {
      await Deno.remove(temporary, { recursive: true });
    }
  }

  async #unpack(linux: DownloadedPackage, busybox: DownloadedPackage): Promise<Manifest> {
    const { apt, log } = this.#options;
    log(`unpacking ${linux.record.name} ${linux.record.version} and ${busybox.record.name} ${busybox.record.version}`);
    const kernel = await readKernelPackage(linux.path, apt?.searchPath);
    const busyboxFiles = await readPackageFiles(busybox.path, [BUSYBOX_PATH], apt?.searchPath);
    const kernelFolder = encodeURIComponent(linux.record.version);
    const busyboxFolder = `busybox-${encodeURIComponent(busybox.record.version)}`;
    const index = { builtin: kernel.builtinModules, modules: Object.fromEntries(kernel.modules) };
    return {
      format: MANIFEST_FORMAT,
      release: kernelRelease(linux.record.name),
      packages: { linux: await this.#keepPackage(linux), busybox: await this.#keepPackage(busybox) },
      files: {
        kernel: await this.#keep(`${kernelFolder}/vmlinuz`, kernel.vmlinuz),
        config: await this.#keep(`${kernelFolder}/config`, kernel.config),
        ...kernel.systemMap && { systemMap: await this.#keep(`${kernelFolder}/System.map`, kernel.systemMap) },
        moduleIndex: await this.#keep(`${kernelFolder}/modules.json`, encode(JSON.stringify(index))),
        busybox: await this.#keep(`${busyboxFolder}/busybox`, busyboxFiles.get(BUSYBOX_PATH) ?? new Uint8Array(0)),
      },
    };
  }

  async #keep(path: string, bytes: Uint8Array): Promise<CachedFile> {
    await Deno.mkdir(`${this.folder}/${path.slice(0, path.lastIndexOf("/"))}`, { recursive: true });
    await writeWhole(`${this.folder}/${path}`, bytes);
    return { path, sha256: sha256Hex(bytes) };
  }

  async #keepPackage({ record, path }: DownloadedPackage): Promise<CachedPackage> {
    const { name, version, architecture } = record;
    const file = `packages/${name}_${encodeURIComponent(version)}_${architecture}.deb`;
    return { name, version, architecture, file: await this.#keep(file, await Deno.readFile(path)) };
  }

  /** Reads the modules not yet in the cache out of the kernel package, fetching that again if it was removed. */
  async #unpackModules(paths: readonly string[]): Promise<void> {
    const missing: string[] = [];
    for (const path of paths) {
      if (await readIfThere(this.#modulePath(path)) === undefined) missing.push(path);
    }
    if (missing.length === 0) return;
    const { linux } = this.#manifest().packages;
    const deb = `${this.folder}/${linux.file.path}`;
    if (!await hasDigest(deb, linux.file.sha256)) {
      throw new Error(`${deb} is missing or damaged: delete ${this.folder} to fetch the packages anew`);
    }
    const found = await readPackageFiles(deb, missing, this.#options.apt?.searchPath);
    for (const [path, data] of found) await writeWhole(this.#modulePath(path), data);
  }

  async #removeAbandonedFolders(): Promise<void> {
    for await (const { name } of Deno.readDir(this.folder)) {
      if (!name.startsWith(FETCH_FOLDER_PREFIX)) continue;
      const path = `${this.folder}/${name}`;
      const { mtime } = await Deno.stat(path);
      if (mtime !== null && Date.now() - mtime.getTime() > ABANDONED_AFTER_MS) {
        await Deno.remove(path, { recursive: true });
      }
    }
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

function encode(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}
